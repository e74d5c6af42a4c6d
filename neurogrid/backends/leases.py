"""Which task answers which order: leases, as a state machine without threads, clock or network.

A task holds a few orders at a time, which it carries out one after another. Its lease on them runs out when it has
answered nothing for longer than ever before, by a margin: then what it holds is offered to others as well, and the
first answer counts. A task whose lease has run out, and that nobody has a use for after as long again, is replaced.

Whatever tasks do, each order is answered once or missing once. `now` is in seconds and only grows.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from neurogrid.fl.order import LATE, LOST, Kind, Missing, Order
from neurogrid.fl.update import AgentId

TaskId = int

_MOST_ATTEMPTS = 2
"""An agent whose task is lost this many times is given up: it may be what kills them."""
_TIMES_LONGEST = 4.0
_SHARE_OF_DEADLINE = 0.25
_FAIR_SHARES = 2
_QUICK_S = 0.003
_HOLD_S = 0.4
_BEHIND_S = 0.1  # an agent that takes longer waits for an idle task rather than behind another


@dataclass(eq=False)
class _Job:
    """An order, and who has it.

    `attempt` counts tasks that were lost or held up with it in hand, `first` is the first task that had it.
    """

    order: Order
    deadline: float
    submitted: float
    attempt: int
    open: bool = True
    queue: Literal["", "free", "again"] = ""  # an entry of a queue that a job is not in any more is skipped
    first: TaskId | None = None
    leases: set[TaskId] = field(default_factory=set)
    failed_on: TaskId | None = None
    failure: str = ""


@dataclass(eq=False)
class _Task:
    """A task and what it holds, in the order in which it carries it out; `moved` is when it last answered."""

    number: TaskId
    moved: float = 0.0
    hand: dict[int, _Job] = field(default_factory=dict)
    own: deque[_Job] = field(default_factory=deque)  # waiting, and of agents whose shards it has in memory
    fresh: bool = True
    stalled: bool = False
    replace_at: float = math.inf
    alone: bool = False
    granted: int = 0


class Leases:
    """Orders and the tasks that hold them.

    Args:
        lease_s: the shortest lease.
        most: deltas in a message; a task holds at most twice as many orders.
    """

    def __init__(self, lease_s: float, most: int) -> None:
        self._lease_s = lease_s
        self._most = most
        self._tasks: dict[TaskId, _Task] = {}
        self._jobs: dict[int, _Job] = {}
        self._free: deque[_Job] = deque()  # of agents whose shards nobody has
        self._again: deque[_Job] = deque()  # risks: for one task at a time, alone, after all others
        self._waiting = 0  # jobs whose queue is `free`
        self._home: dict[AgentId, TaskId] = {}
        self._mean_s: dict[Kind, float] = {}
        self._longest_s: dict[bool, float] = {}  # of adapting, which takes as long as several rounds, and of all else
        self._kind: Kind = "train"
        self._wave = 0
        self.next_deadline = math.inf
        self.reassigned = 0
        self.missing: deque[Missing] = deque()
        """Orders that are missing; for the caller to take out."""
        self.drops: dict[TaskId, list[int]] = {}
        """By task, what nobody needs from it any more; for the caller to take out."""

    @property
    def open(self) -> int:
        """How many orders are neither answered nor missing."""
        return len(self._jobs)

    @property
    def live(self) -> list[TaskId]:
        """Tasks whose lease has not run out."""
        return [task.number for task in self._tasks.values() if not task.stalled]

    def versions(self) -> set[int]:
        """Weights that orders refer to, or may still be used for by a task."""
        held = (job for task in self._tasks.values() for job in task.hand.values())
        return {job.order.version for job in (*self._jobs.values(), *held)}

    def submit(self, orders: Sequence[Order], now: float, deadline_s: float) -> None:
        """New orders."""
        deadline = now + deadline_s
        for adapting in self._longest_s:
            self._longest_s[adapting] *= 0.9  # what was slow once is forgotten in some rounds
        for task in self._tasks.values():
            task.granted = len(task.hand)
        for order in orders:
            job = _Job(order, deadline, now, order.attempt)
            self._jobs[order.id] = job
            self._kind = order.kind
            self._put_back(job)
        self._wave = len(self._jobs)
        if orders:
            self.next_deadline = min(self.next_deadline, deadline)

    def join(self, number: TaskId, now: float) -> None:
        """A task is ready."""
        self._tasks[number] = _Task(number, now)

    def leave(self, number: TaskId) -> None:
        """A task is gone: what it held is a risk from now on, and is missing if it was one before."""
        task = self._tasks.pop(number, None)
        if task is None:
            return
        self.drops.pop(number, None)
        self._home = {agent: home for agent, home in self._home.items() if home != number}
        self._free.extend(task.own)
        held = [job for job in task.hand.values() if job.open]
        for job in [*held[1:], *held[:1]]:  # the first was under way, and is tried last
            job.leases.discard(number)
            if not task.stalled:
                job.attempt += 1
            if job.leases or job.queue:
                continue
            if job.attempt >= _MOST_ATTEMPTS:
                self._close(job, LOST, risky=True)
            else:
                self._put_back(job)
        for job in dict.fromkeys(job for job in self._again if job.queue and job.failed_on is not None):
            if all(other == job.failed_on for other in self._tasks):
                self._close(job, job.failure)

    def grant(self, number: TaskId, now: float) -> list[Order]:
        """What the task gets now: what it should hold, less what it holds."""
        task = self._tasks.get(number)
        if task is None or task.stalled or task.alone:
            return []
        wanted = self._wanted(task)
        if len(task.hand) > wanted // 2:
            return []
        picked = self._pick(task, wanted - len(task.hand))
        if not picked and not task.hand:
            picked = self._risk(task)
            task.alone = bool(picked)
        if picked and not task.hand:
            task.moved = now
        for job in picked:
            job.first = job.first or number
            job.leases.add(number)
            task.hand[job.order.id] = job
        task.granted += len(picked)
        return [job.order for job in picked]

    def holds(self, number: TaskId, order_id: int) -> Order | None:
        """The order, if the task holds it."""
        task = self._tasks.get(number)
        job = task.hand.get(order_id) if task is not None else None
        return None if job is None else job.order

    def answer(
        self, number: TaskId, order_id: int, now: float, took_s: float, *, held: bool
    ) -> tuple[Order, float] | None:
        """The task has answered: the order and when it was submitted; None when nobody waits for this from it."""
        job = self._took(number, order_id, now, took_s)
        if job is None:
            return None
        agent = job.order.agent
        if held:
            self._home[agent] = number
        elif self._home.get(agent) == number:
            del self._home[agent]
        if not job.open:
            return None
        self.reassigned += job.first != number
        self._close(job)
        return job.order, job.submitted

    def fail(self, number: TaskId, order_id: int, now: float, took_s: float, reason: str, *, retry: bool) -> None:
        """The task has no answer. With `retry` another one is asked, once, if there is another."""
        job = self._took(number, order_id, now, took_s)
        if job is None or not job.open:
            return
        if retry and job.failed_on is None and len(self._tasks) > 1:
            job.failed_on, job.failure = number, reason
            if not job.leases:
                self._leave_queue(job)
                self._put_back(job)
        elif not job.leases:
            self._close(job, reason)

    def skip(self, number: TaskId, order_id: int, now: float) -> None:
        """The task has left out an order that was dropped."""
        self._took(number, order_id, now, None)

    def cancel(self, order_ids: Iterable[int]) -> None:
        """These are late from now on."""
        for number in order_ids:
            if (job := self._jobs.get(number)) is not None:
                self._close(job, LATE)

    def stood_still(self, seconds: float) -> None:
        """This process did nothing for so long, so that no task was heard."""
        for task in self._tasks.values():
            task.moved += seconds
            task.replace_at += seconds

    def expire(self, now: float) -> list[TaskId]:
        """Ends orders whose deadline has passed, and leases; returns the tasks to be replaced."""
        if now >= self.next_deadline:
            self._end_late(now)
        for task in self._tasks.values():
            if task.hand and not task.stalled and now - task.moved > self._limit_s(task):
                self._stall(task, now + self._limit_s(task))
        busy = {next(iter(task.hand.values())) for task in self._tasks.values() if task.hand}
        blocked = not self.live and any(job.queue and job not in busy for job in self._jobs.values())
        return [t.number for t in self._tasks.values() if t.stalled and now >= t.replace_at and (blocked or useless(t))]

    # What a task should hold.

    def _wanted(self, task: _Task) -> int:
        """About `_HOLD_S` of work; half of a fair share of what waits, so that nobody hoards at a round's end; but at
        least a few milliseconds of work, so that quick agents do not drown in messages."""
        live = max(1, len(self.live))
        mean_s = self._mean_s.get(self._kind)
        if mean_s is None:
            return 1
        share = -(-self._wave // live)
        size = -(-self._waiting // (2 * live))
        if mean_s > 0:
            size = min(max(size, min(int(_QUICK_S / mean_s), share)), int(_HOLD_S / mean_s))
        # One behind another, unless it is the end of the round and they are slow: an idle task could take it.
        size = max(size, 2 if self._waiting > live or mean_s < _BEHIND_S else 1)
        # However quick a task is, it answers for no more than its share allows.
        return min(size, 2 * self._most, len(task.hand) + max(0, _FAIR_SHARES * share - task.granted))

    def _pick(self, task: _Task, most: int) -> list[_Job]:
        """First what it holds the shards of, then what nobody does, and what others do if it has nothing at all."""
        picked = list(self._pop(task.own, most))
        picked += self._pop(self._free, most - len(picked))
        if not picked and not task.hand:
            others = sorted((t for t in self._tasks.values() if t is not task), key=lambda other: -len(other.own))
            for other in others:
                picked += self._pop(other.own, most - len(picked), from_end=True)
        return picked

    def _pop(self, source: deque[_Job], most: int, *, from_end: bool = False) -> Iterator[_Job]:
        while most > 0 and source:
            job = source.pop() if from_end else source.popleft()
            if job.queue == "free":
                most -= 1
                self._leave_queue(job)
                yield job

    def _risk(self, task: _Task) -> list[_Job]:
        for _ in range(len(self._again)):
            job = self._again.popleft()
            if job.queue != "again":
                continue
            if job.failed_on != task.number:
                self._leave_queue(job)
                return [job]
            self._again.append(job)
        return []

    # How jobs move.

    def _put_back(self, job: _Job) -> None:
        if job.attempt or job.failed_on is not None:
            job.queue = "again"
            self._again.append(job)
            return
        job.queue = "free"
        home = self._tasks.get(self._home.get(job.order.agent, -1))
        queue = self._free if home is None or home.stalled else home.own
        # A round waits for its scores and votes, and not for trainings of agents that go on into later rounds.
        (queue.appendleft if job.order.kind in ("score", "vote") else queue.append)(job)
        self._waiting += 1

    def _leave_queue(self, job: _Job) -> None:
        self._waiting -= job.queue == "free"
        job.queue = ""

    def _took(self, number: TaskId, order_id: int, now: float, took_s: float | None) -> _Job | None:
        """The job that the task held until now, if it did; the task is well."""
        task = self._tasks.get(number)
        job = task.hand.pop(order_id, None) if task is not None else None
        if task is None or job is None:
            return None
        if took_s is not None:
            kind = job.order.kind
            self._mean_s[kind] = 0.8 * self._mean_s.get(kind, took_s) + 0.2 * took_s
            if not task.fresh:  # a first answer says how long it takes to start
                adapting = kind == "adapt"
                self._longest_s[adapting] = max(self._longest_s.get(adapting, 0.0), now - task.moved)
            task.fresh = False
        if task.stalled:  # it holds what others were offered after all
            task.stalled, task.replace_at = False, math.inf
            for other in task.hand.values():
                self._leave_queue(other)
        task.moved = now
        task.alone = task.alone and bool(task.hand)
        job.leases.discard(number)
        return job

    def _close(self, job: _Job, reason: str | None = None, *, risky: bool = False) -> None:
        job.open = False
        del self._jobs[job.order.id]
        self._leave_queue(job)
        for number in job.leases:
            self.drops.setdefault(number, []).append(job.order.id)
        if reason is not None:
            self.missing.append(Missing(job.order, reason, risky))

    def _end_late(self, now: float) -> None:
        late = [job for job in self._jobs.values() if job.deadline <= now]
        # Those that tasks are busy with, for too long or not for the first time.
        busy = [(task, next(iter(task.hand.values()))) for task in self._tasks.values() if task.hand]
        risks = {job for task, job in busy if job.attempt or now - task.moved > self._floor_s(task)}
        for job in late:
            self._close(job, job.failure or LATE, risky=job in risks)
        self.next_deadline = min((job.deadline for job in self._jobs.values()), default=math.inf)

    def _limit_s(self, task: _Task) -> float:
        """How long the task may be silent. Without any experience an order may take until its deadline."""
        first = next(iter(task.hand.values()))
        unknown = (first.order.kind == "adapt") not in self._longest_s
        return math.inf if unknown and not useless(task) else self._floor_s(task)

    def _floor_s(self, task: _Task) -> float:
        first = next(iter(task.hand.values()))
        lease_s = min(self._lease_s, _SHARE_OF_DEADLINE * (first.deadline - first.submitted))
        return max(lease_s, _TIMES_LONGEST * self._longest_s.get(first.order.kind == "adapt", 0.0))

    def _stall(self, task: _Task, replace_at: float) -> None:
        """Its lease has run out. It was busy with the first, which is a risk; it has not begun the others."""
        task.stalled, task.replace_at = True, replace_at
        for job in task.own:
            self._free.append(job)
        task.own.clear()
        for place, job in enumerate(job for job in task.hand.values() if job.open):
            if place == 0:
                job.attempt += 1
                if job.order.attempt:
                    self._close(job, LATE, risky=True)
                    continue
            if not job.queue and not job.leases - {task.number}:
                self._put_back(job)


def useless(task: _Task) -> bool:
    """Whether nobody waits for anything that the task holds."""
    return not any(job.open for job in task.hand.values())

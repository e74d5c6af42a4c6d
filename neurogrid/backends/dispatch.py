"""The driver's side of the exchange: knows which tasks are alive, deals a round's agents out to them, collects.

Called by the threads of the streams (`arrived`, `received`, `left`), by a watch thread (`look`) and by the backend
(`run`). One lock guards the state; deltas are copied outside of it, each into its own row.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from neurogrid.backends.answers import MAX_REASON, figures, misnamed
from neurogrid.backends.exchange import Stream, copy_rows, weights_batch
from neurogrid.backends.queue import LOST, RoundQueue, TaskId, chunk_size
from neurogrid.backends.ticket import Answer, Resident, Sent, Ticket, busy_s, losses, updates
from neurogrid.errors import RunError
from neurogrid.fl.update import AgentId, Matrix, Vector, Worked

_LOST_ROUNDS = 2
"""An agent that was lost in this many rounds is not tried again: each try costs up to two tasks."""
_BEHIND_S = 0.1  # an agent that takes longer waits for an idle task rather than behind another
_LONGEST_WAIT_S = 60.0  # a lock cannot wait for infinity, a round may


class Dispatcher:
    """Deals agents out to the tasks that are there.

    Args:
        n_weights: d.
        max_rows: most deltas in a message.
        lost_after_s: a task that says nothing for so long is lost.
        empty_after_s: how long a ticket waits for a task when none is alive.
    """

    def __init__(self, n_weights: int, max_rows: int, lost_after_s: float, empty_after_s: float) -> None:
        self._n_weights = n_weights
        self._max_rows = max_rows
        self._lost_after_s = lost_after_s
        self._empty_after_s = empty_after_s
        self._changed = threading.Condition()
        self._residents: dict[Stream, Resident] = {}
        self._numbers = 0
        self._joined = 0
        self._tickets = 0
        self._ticket: Ticket | None = None
        self._copying = 0
        self._agent_s: dict[str, float] = {}
        self._holders: dict[AgentId, set[TaskId]] = {}
        self._lost_rounds: Counter[AgentId] = Counter()
        self._looked_s = time.monotonic()
        self._empty_since_s = time.monotonic()
        self._unfit = ""
        self._broken: str = ""
        self._stopping = False

    # What the streams call.

    def arrived(self, stream: Stream) -> None:
        """A task has said hello; it gets work when it says that it is ready."""
        with self._changed:
            self._numbers += 1
            self._residents[stream] = Resident(self._numbers, stream, time.monotonic())
            if self._stopping:
                stream.send({"do": "stop"})

    def left(self, stream: Stream) -> None:
        """A task's stream has ended."""
        with self._changed:
            resident = self._residents.pop(stream, None)
            if resident is not None:
                self._lose(resident)
            self._changed.notify_all()

    def received(self, stream: Stream, message: dict[str, Any], batch: pa.RecordBatch | None) -> None:
        """A message of a task. Raises ValueError when the task may not say this."""
        now = time.monotonic()
        with self._changed:
            resident = self._residents[stream]
            if not resident.alive:
                raise ValueError("a task that was given up has come back")
            resident.heard_s = now
        said = message.get("say")
        if said == "updates":
            self._updates(resident, message, batch, now)
        else:
            with self._changed:
                self._said(resident, said, message)

    def _said(self, resident: Resident, said: object, message: dict[str, Any]) -> None:
        ticket = self._ticket
        current = ticket is not None and message.get("ticket") == ticket.number
        if said == "beat":
            if current and ticket is not None:
                self._unstick(ticket, resident, message.get("at"))
        elif said == "ready":
            resident.ready = True
            self._joined += 1
            if ticket is not None:
                ticket.queue.join(resident.task)
                self._feed(ticket)
            self._changed.notify_all()
        elif said == "unfit":
            self._unfit = str(message.get("reason"))[:MAX_REASON]
            self._changed.notify_all()
        elif said == "losses" and current and ticket is not None and ticket.do == "evaluate":
            self._evaluated(ticket, resident, message)
        elif said == "dropped":
            if resident.behind:
                resident.behind = False
                if ticket is not None and resident.alive:
                    ticket.queue.join(resident.task)
                    self._feed(ticket)
        elif said != "losses":
            raise ValueError(f"unknown message {str(said)[:40]!r}")

    def _updates(self, resident: Resident, message: dict[str, Any], batch: pa.RecordBatch | None, now: float) -> None:
        sent = updates(message, batch, self._n_weights)
        with self._changed:
            ticket = self._ticket
            if ticket is None or ticket.do != "train" or message.get("ticket") != ticket.number or not resident.alive:
                return  # of a round that has closed, or of a task that was given up
            assert ticket.deltas is not None
            for index, reason, retry in sent.failed:
                ticket.queue.fail(resident.task, index, reason, retry=retry)
            resident.weights_s = min(resident.weights_s, now - sent.began_s)
            mine = self._accept(ticket, resident, sent, now - ticket.began_s)
            # What is accepted stays so, even if the task is lost during the copy; `_close` waits for the copy.
            self._copying += 1
        try:
            copy_rows(ticket.deltas, [sent.agents[p] for p in mine], sent.deltas, mine)
        finally:
            with self._changed:
                self._copying -= 1
                ticket.bytes_up += sent.nbytes
                self._worked(ticket, resident, sent.busy_s, len(sent.agents) + len(sent.failed))

    def _accept(self, ticket: Ticket, resident: Resident, sent: Sent, arrived_s: float) -> list[int]:
        """The positions of the updates that count in the message, which came `arrived_s` into the round."""
        mine: list[int] = []
        for position, index in enumerate(sent.agents):
            metrics, windows = sent.metrics[position], sent.windows[position]
            reason = misnamed(metrics) or (None if windows >= 0 else "wrong shape: windows is not a count")
            if reason is not None:
                ticket.queue.fail(resident.task, index, reason, retry=False)
            elif ticket.queue.answer(resident.task, index):
                mine.append(position)
                worked = Worked(resident.task, max(0.0, arrived_s - sent.ages_s[position]))
                ticket.answers[index] = Answer(windows, figures(metrics), worked)
                holders = self._holders.setdefault(ticket.agents[index], set())
                (holders.add if sent.held[position] is True else holders.discard)(resident.task)
        return mine

    def _evaluated(self, ticket: Ticket, resident: Resident, message: dict[str, Any]) -> None:
        answers = losses(message)
        for index, metrics in answers:
            if misnamed(metrics) is not None:
                ticket.queue.fail(resident.task, index, "failed", retry=False)
            elif ticket.queue.answer(resident.task, index):
                ticket.answers[index] = Answer(0, figures(metrics), Worked(resident.task, 0.0))
        self._worked(ticket, resident, busy_s(message), len(answers))

    def _unstick(self, ticket: Ticket, resident: Resident, at: Any) -> None:
        """What waits in a task's hand behind an agent that takes long goes to others, when they are idle."""
        queue, before = ticket.queue, resident.at
        resident.at = (ticket.number, at)
        idle = any(not queue.in_hand(other.task) for other in self._workers())
        if resident.at == before and isinstance(at, int) and idle and not queue.waiting:
            back = queue.reclaim(resident.task, at)
            if back:
                resident.stream.send({"do": "return", "ticket": ticket.number, "agents": back})
                self._feed(ticket)

    def _worked(self, ticket: Ticket, resident: Resident, worked_s: float, agents: int) -> None:
        resident.busy_s += worked_s
        ticket.train_s = max(ticket.train_s, resident.busy_s)
        if agents:
            before = self._agent_s.get(ticket.do, worked_s / agents)
            self._agent_s[ticket.do] = 0.7 * before + 0.3 * worked_s / agents
        if ticket is self._ticket:
            self._feed(ticket)
        if not self._copying and (ticket.queue.done or ticket is not self._ticket):
            self._changed.notify_all()

    def _feed(self, ticket: Ticket) -> None:
        """Hands agents to tasks: first to those with none, then, while there are enough, a next chunk behind it."""
        queue, live = ticket.queue, self._workers()
        if not queue.waiting:
            return
        agent_s = self._agent_s.get(ticket.do)
        size = chunk_size(queue.waiting, queue.total, len(live), agent_s, self._max_rows)
        for resident in live:
            if not queue.in_hand(resident.task):
                self._hand_out(ticket, resident, size)
        for resident in live:
            # At the end of the round only behind the last quick agent of a task: what waits behind one that takes long
            # is what an idle task cannot take.
            most = size if queue.waiting > len(live) else int(agent_s is not None and agent_s < _BEHIND_S)
            if 0 < queue.in_hand(resident.task) <= most:
                self._hand_out(ticket, resident, size)

    def _hand_out(self, ticket: Ticket, resident: Resident, size: int) -> None:
        picked = ticket.queue.take(resident.task, size)
        if not picked:
            return
        message = {
            "do": ticket.do,
            "ticket": ticket.number,
            "round": ticket.round,
            "work": [[index, ticket.agents[index]] for index in picked],
        }
        if resident.ticket == ticket.number:
            resident.stream.send(message)
            return
        resident.ticket, resident.weights_s, resident.busy_s = ticket.number, math.inf, 0.0
        ticket.bytes_down += ticket.weights.nbytes
        resident.stream.send(message, ticket.weights)

    def _workers(self) -> list[Resident]:
        return [r for r in self._residents.values() if r.alive and r.ready and not r.behind]

    def _lose(self, resident: Resident) -> None:
        if not resident.alive:
            return
        resident.alive = False
        for holders in self._holders.values():
            holders.discard(resident.task)
        if not any(r.alive and r.ready for r in self._residents.values()):
            self._empty_since_s = time.monotonic()
        if self._ticket is not None and not self._stopping:
            self._ticket.queue.lose(resident.task)
            self._feed(self._ticket)
        self._changed.notify_all()

    # What the backend and its watch thread call.

    def look(self) -> list[Stream]:
        """Gives up tasks that have been silent for too long; their streams, to be cut."""
        now = time.monotonic()
        silent = []
        with self._changed:
            # When this process itself stood still, nobody was silent: nobody was listened to.
            paused_s = max(0.0, now - self._looked_s - self._lost_after_s / 2)
            self._looked_s = now
            for resident in self._residents.values():
                resident.heard_s += paused_s
                # Loading the trainer's libraries may hold the interpreter for long; nothing is lost with such a task.
                allowed_s = self._lost_after_s if resident.ready else self._empty_after_s
                if resident.alive and now - resident.heard_s > allowed_s:
                    self._lose(resident)
                    silent.append(resident.stream)
        return silent

    def job_ended(self, reason: str) -> None:
        """The Spark job is over before its time, and there will be no other."""
        with self._changed:
            self._broken = reason
            self._changed.notify_all()

    @property
    def ready(self) -> int:
        """How many tasks are ready for work."""
        with self._changed:
            return sum(r.alive and r.ready for r in self._residents.values())

    @property
    def joined(self) -> int:
        """How many times a task has become ready."""
        return self._joined

    @property
    def stopping(self) -> bool:
        """Whether the training is over."""
        return self._stopping

    def wait_ready(self, tasks: int, timeout_s: float) -> int:
        """Waits until `tasks` tasks are ready, a trainer could not be made, the job is over, or the time is up."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (ready := sum(r.alive and r.ready for r in self._residents.values())) < tasks:
                left = deadline - time.monotonic()
                if self._unfit:
                    raise RunError("no agent can be trained: the trainer cannot be made", found=self._unfit)
                if left <= 0 or self._broken:
                    break
                self._changed.wait(left)
            return ready

    def stop(self) -> None:
        """Tells all tasks to end."""
        with self._changed:
            self._stopping = True
            for resident in self._residents.values():
                resident.stream.send({"do": "stop"})

    def wait_empty(self, timeout_s: float) -> bool:
        """Waits until no task is left."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._residents, timeout_s)

    def run(self, do: str, round_number: int, agents: Sequence[AgentId], weights: Vector, timeout_s: float,
            deltas: Matrix | None) -> Ticket:  # fmt: skip
        """Has `agents` trained or evaluated, and returns when each is answered or missing.

        Raises:
            RunError: no task is alive, and none comes within the time allowed.
        """
        # A copy, because the batch is written by other threads, the last time perhaps after this call.
        batch = weights_batch(np.array(weights, np.float32))
        with self._changed:
            began = time.monotonic()
            self._tickets += 1
            given_up = {a: LOST for a in agents if self._lost_rounds[a] >= _LOST_ROUNDS}
            workers = [r.task for r in self._workers()]
            queue = RoundQueue(agents, self._holders, workers, given_up)
            ticket = Ticket(self._tickets, do, round_number, agents, batch, queue, deltas, began_s=began)
            self._ticket = ticket
            try:
                self._feed(ticket)
                self._await(ticket, began + timeout_s)
            finally:
                self._close(ticket)
        return ticket

    def _await(self, ticket: Ticket, deadline: float) -> None:
        while not ticket.queue.done:
            now = time.monotonic()
            if now >= deadline:
                return
            limit = deadline
            if not any(r.alive and r.ready for r in self._residents.values()):
                limit = min(deadline, max(self._empty_since_s, ticket.began_s) + self._empty_after_s)
                if self._broken or now >= limit:
                    raise RunError(
                        f"round {ticket.round}: no Spark task is left to train agents",
                        found=self._broken or f"none came back within {self._empty_after_s:g} s",
                        fix="look at the executors' logs, then resume the run",
                    )
            self._changed.wait(min(limit - now, _LONGEST_WAIT_S))

    def _close(self, ticket: Ticket) -> None:
        for resident in self._residents.values():
            if resident.alive and ticket.queue.in_hand(resident.task):
                resident.behind = True
                resident.stream.send({"do": "drop", "ticket": ticket.number})
        ticket.queue.expire()
        self._ticket = None
        self._changed.wait_for(lambda: not self._copying)
        began = [r.weights_s for r in self._residents.values() if r.ticket == ticket.number]
        ticket.send_s = max((began_s - ticket.began_s for began_s in began if began_s < math.inf), default=0.0)
        ticket.executors = sum(r.alive and r.ready for r in self._residents.values())
        if ticket.do == "train":
            self._lost_rounds.update(ticket.agents[index] for index in ticket.queue.losses())

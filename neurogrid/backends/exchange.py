"""The driver's side of the exchange: deals orders out to the tasks that are there, and passes their answers on.

Called by the threads of the streams (`arrived`, `received`, `left`), by a watch thread (`look`) and by whoever asks
for answers. One lock guards the state. An answer is taken as a whole under it: its row is memory of the message that
brought it, so each row that leaves was written for the order that it stands for.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from neurogrid.backends.leases import Leases, TaskId
from neurogrid.backends.server import Stream
from neurogrid.backends.wire import Message, Said, answers, down_schema, rows_batch, work
from neurogrid.errors import RunError
from neurogrid.fl.claims import Refusal, reason
from neurogrid.fl.order import Answer, Order, Scores, Traffic, Update
from neurogrid.fl.update import Matrix, Vector, Worked

_LONGEST_WAIT_S = 60.0  # a lock cannot wait for infinity, a caller may


@dataclass(eq=False)
class _Task:
    """A task, as the driver knows it: its number is never used again, `versions` are the weights that it has."""

    number: TaskId
    stream: Stream
    ready: bool = False
    versions: set[int] = field(default_factory=set)
    busy_s: float = 0.0


class Exchange:
    """Orders to tasks, answers from them.

    Args:
        n_weights: d.
        rows: most answers in a message.
        lease_s: see Leases.
        empty_after_s: how long orders wait for a task when none is there.
        replace: called with the stream of a task that is given up, without the lock.
        coded: whether updates travel as payloads of a codec.
    """

    def __init__(
        self,
        n_weights: int,
        rows: int,
        lease_s: float,
        empty_after_s: float,
        replace: Callable[[Stream], None],
        *,
        coded: bool = False,
    ) -> None:
        self._coded = coded
        self._n_weights = n_weights
        self._rows = rows
        self._lease_s = lease_s
        self._empty_after_s = empty_after_s
        self._replace = replace
        self._changed = threading.Condition()
        self._leases = Leases(lease_s, rows)
        self._tasks: dict[Stream, _Task] = {}
        self._numbers = 0
        self._joined = 0
        self._serial = 0
        self._weights: dict[int, tuple[int, pa.RecordBatch]] = {}  # by version: its serial number on the wire
        self._answers: deque[Answer] = deque()
        self._began: dict[TaskId, float] = {}  # when each task's first order was begun
        self._submitted_s = 0.0
        self._looked_s = self._empty_since_s = time.monotonic()
        self._traffic = {"bytes_down": 0, "bytes_up": 0}
        self._unfit = self._broken = ""
        self.stopping = False

    # What the streams call.

    def arrived(self, stream: Stream) -> None:
        """A task has said hello, and takes the place of its last stream. It gets work when it says that it is ready."""
        with self._changed:
            before = [other for other in self._tasks if other.partition == stream.partition]
            if any(other.hello.attempt > stream.hello.attempt for other in before):
                raise ValueError("a task that was replaced has come back")
            self._numbers += 1
            self._tasks[stream] = _Task(self._numbers, stream)
            if self.stopping:
                stream.send({"do": "stop"})
        for other in before:
            self.left(other)
            other.cut()

    def left(self, stream: Stream) -> None:
        """A task's stream has ended."""
        with self._changed:
            task = self._tasks.pop(stream, None)
            if task is not None:
                self._leases.leave(task.number)
                if not self._ready():
                    self._empty_since_s = time.monotonic()
                self._settle()
                self._changed.notify_all()

    def received(self, stream: Stream, message: Message, batch: pa.RecordBatch | None) -> None:
        """A message of a task. Raises ValueError when the task may not say this."""
        said = message.get("say")
        found = answers(message, batch, self._n_weights, self._rows, coded=self._coded) if said == "answers" else []
        with self._changed:
            task = self._tasks.get(stream)
            if task is None:
                raise ValueError("a task that was given up has come back")
            if said == "answers":
                if self._coded:
                    self._traffic["bytes_up"] += sum(len(e.delta) for e in found if e.delta is not None)
                elif batch is not None:
                    self._traffic["bytes_up"] += batch.nbytes
                now = time.monotonic()
                for each in found:
                    self._take(task, each, now)
            elif said == "ready" and not task.ready:
                task.ready = True
                self._joined += 1
                self._leases.join(task.number, time.monotonic())
            elif said == "unfit":
                self._unfit = reason(message.get("reason"))
            else:
                raise ValueError("an unknown message")
            self._settle()
            self._changed.notify_all()

    def _take(self, task: _Task, said: Said, now: float) -> None:
        """What a task says of one order, if that counts."""
        ended = now - said.age_s
        if said.outcome is None:
            self._leases.skip(task.number, said.order_id, now)
            return
        if isinstance(said.outcome, Refusal):
            self._leases.fail(task.number, said.order_id, now, said.took_s, said.outcome.reason, retry=said.retry)
            return
        asked = self._leases.holds(task.number, said.order_id)
        other = (said.delta is not None, bool(said.outcome.losses))
        if asked is not None and other != (asked.kind == "train", asked.kind == "vote"):
            raise ValueError("an answer to another question")
        taken = self._leases.answer(task.number, said.order_id, now, said.took_s, held=said.held)
        if taken is None:
            return
        order, submitted = taken
        if said.delta is None:
            self._answers.append(Scores(order, said.outcome))
            return
        self._began.setdefault(task.number, ended - said.took_s)
        task.busy_s += said.took_s
        self._answers.append(Update(order, said.delta, said.outcome, Worked(task.number, max(0.0, ended - submitted))))

    def _settle(self) -> None:
        """After any change: what is missing is said, what nobody needs is dropped, and tasks get work."""
        missing, drops = self._leases.missing, self._leases.drops
        while missing:
            self._answers.append(missing.popleft())
        tasks = {task.number: task for task in self._tasks.values()}
        for number, dropped in drops.items():
            tasks[number].stream.send({"do": "drop", "orders": dropped})
        drops.clear()
        # Who doesn't read what has come gets no more.
        if not self.stopping and len(self._answers) <= self._most_unread():
            now = time.monotonic()
            for number, task in tasks.items():
                if orders := self._leases.grant(number, now):
                    self._hand_out(task, orders)

    def _hand_out(self, task: _Task, orders: Sequence[Order]) -> None:
        for version in dict.fromkeys(order.version for order in orders):
            serial, batch = self._weights[version]
            if serial not in task.versions:
                task.versions &= {kept for kept, _ in self._weights.values()}
                task.stream.send({"do": "publish", "version": serial, "keep": sorted(task.versions)}, batch)
                task.versions.add(serial)
                self._traffic["bytes_down"] += batch.nbytes
        task.stream.send(work(orders, {version: serial for version, (serial, _) in self._weights.items()}))

    def _most_unread(self) -> int:
        return 2 * self._rows * len(self._tasks)

    def _ready(self) -> int:
        return sum(task.ready for task in self._tasks.values())

    # What the watch thread and the Spark job's thread call.

    def look(self) -> None:
        """Ends leases that have run out, and replaces tasks that are of no use."""
        now = time.monotonic()
        with self._changed:
            # When this process itself stood still, nobody was silent: nobody was listened to.
            if now - self._looked_s > self._lease_s / 2:
                self._leases.stood_still(now - self._looked_s)
            self._looked_s = now
            given_up = set(self._leases.expire(now))
            streams = [task.stream for task in self._tasks.values() if task.number in given_up]
            self._settle()
            self._changed.notify_all()
        for stream in streams:
            self.left(stream)
            self._replace(stream)

    def job_ended(self, why: str) -> None:
        """The Spark job is over before its time, and there will be no other."""
        with self._changed:
            self._broken = why
            self._changed.notify_all()

    @property
    def ready(self) -> int:
        """How many tasks are ready for work."""
        with self._changed:
            return self._ready()

    @property
    def joined(self) -> int:
        """How many times a task has become ready."""
        return self._joined

    def wait_ready(self, tasks: int, timeout_s: float) -> int:
        """Waits until `tasks` tasks are ready, a trainer could not be made, the job is over, or the time is up."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (ready := self._ready()) < tasks:
                left_s = deadline - time.monotonic()
                if self._unfit:
                    raise RunError("no agent can be trained: the trainer cannot be made", found=self._unfit)
                if left_s <= 0 or self._broken:
                    break
                self._changed.wait(left_s)
            return ready

    def stop(self) -> None:
        """Tells all tasks to end."""
        with self._changed:
            self.stopping = True
            for task in self._tasks.values():
                task.stream.send({"do": "stop"})

    def wait_empty(self, timeout_s: float) -> bool:
        """Waits until no task is left."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._tasks, timeout_s)

    # See fl.order.Backend.

    def publish(self, version: int, weights: Vector | Matrix) -> None:
        """See `Backend`. What is the same as before is not sent again."""
        with self._changed:
            before = self._weights.get(version)
            used = self._leases.versions()
            self._weights = {v: kept for v, kept in self._weights.items() if v in used or v == version}
            # A copy, because the batch is written by other threads, the last time perhaps after this call.
            batch = rows_batch(np.array(np.atleast_2d(weights), np.float32, order="C"), down_schema(self._n_weights))
            if before is None or not before[1].equals(batch):
                self._serial += 1
                self._weights[version] = (self._serial, batch)

    def submit(self, orders: Sequence[Order], deadline_s: float) -> None:
        """See `Backend`."""
        with self._changed:
            if unknown := {order.version for order in orders} - self._weights.keys():
                raise ValueError(f"orders for weights that were not published: {sorted(unknown)}")
            self._submitted_s = time.monotonic()
            self._empty_since_s = max(self._empty_since_s, self._submitted_s)
            self._leases.submit(orders, self._submitted_s, deadline_s)
            self._settle()

    def answers(self, until_s: float) -> Iterator[Answer]:
        """See `Backend`."""
        end = time.monotonic() + until_s
        while self._await_answer(end):
            yield self._answers.popleft()
            if len(self._answers) == self._most_unread():
                with self._changed:
                    self._settle()

    def _await_answer(self, end: float) -> bool:
        """Whether there is an answer, before there can be none or the time is up."""
        if self._answers:
            return True
        with self._changed:
            while not self._answers and self._leases.open:
                now = time.monotonic()
                if now >= self._leases.next_deadline:
                    self._leases.expire(now)
                    self._settle()
                    continue
                until = min(end, self._leases.next_deadline)
                if not self._ready():
                    until = min(until, self._empty_since_s + self._empty_after_s)
                    if self._broken or now >= self._empty_since_s + self._empty_after_s:
                        raise RunError(
                            "no Spark task is left to train agents",
                            found=self._broken or f"none came back within {self._empty_after_s:g} s",
                            fix="look at the executors' logs, then resume the run",
                        )
                if now >= end:
                    return False
                self._changed.wait(min(until - now, _LONGEST_WAIT_S))
            return bool(self._answers)

    def cancel(self, order_ids: Iterable[int]) -> None:
        """See `Backend`."""
        with self._changed:
            self._leases.cancel(order_ids)
            self._settle()

    def traffic(self) -> Traffic:
        """See `Backend`."""
        with self._changed:
            found = Traffic(
                send_s=max((began - self._submitted_s for began in self._began.values()), default=0.0),
                train_s=max((task.busy_s for task in self._tasks.values()), default=0.0),
                executors=len(self._leases.live),
                reassigned=self._leases.reassigned,
                **self._traffic,
            )
            for task in self._tasks.values():
                task.busy_s = 0.0
            self._began.clear()
            self._leases.reassigned = 0
            self._traffic = {"bytes_down": 0, "bytes_up": 0}
            return found

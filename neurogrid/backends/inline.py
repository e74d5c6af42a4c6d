"""Agents one after another in this process: for small federations, tests and debugging. Same results as on Spark."""

import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from neurogrid.errors import RunError
from neurogrid.fl.claims import Refusal
from neurogrid.fl.order import LATE, Answer, Missing, Order, Scores, Traffic, Update
from neurogrid.fl.perform import perform
from neurogrid.fl.update import Matrix, Trainer, TrainerFactory, Vector, Worked
from neurogrid.fl.uplink import Uplink


class InlineBackend:
    """Carries out orders in this process, in the order in which they were submitted, while answers are asked for."""

    def __init__(self, factory: TrainerFactory, uplink: Uplink | None = None) -> None:
        self._factory, self._uplink = factory, uplink
        self._trainer: Trainer | None = None
        self._weights: dict[int, Vector | Matrix] = {}
        self._open: dict[int, tuple[Order, float, float]] = {}  # with when it was submitted, and its deadline
        self._ended: list[Order] = []
        self._train_s = 0.0

    def __enter__(self) -> "InlineBackend":
        self._trainer = self._factory()
        return self

    def __exit__(self, *exc: object) -> None:
        self._trainer = None
        self._weights.clear()
        self._open.clear()
        self._ended.clear()

    def publish(self, version: int, weights: Vector | Matrix) -> None:
        """See `Backend`."""
        used = {order.version for order, _, _ in self._open.values()}
        self._weights = {kept: self._weights[kept] for kept in used}
        self._weights[version] = np.array(weights, np.float32)

    def submit(self, orders: Sequence[Order], deadline_s: float) -> None:
        """See `Backend`. An order that is not begun by its deadline, or ends after it, is late."""
        now = time.perf_counter()
        last = [order for order in orders if order.attempt]
        for order in [*(order for order in orders if not order.attempt), *last]:
            self._open[order.id] = (order, now, now + deadline_s)

    def answers(self, until_s: float) -> Iterator[Answer]:
        """See `Backend`. What has been begun is carried out to its end, whatever the time.

        Raises:
            RunError: the backend has not been entered.
        """
        if self._trainer is None:
            raise RunError("the inline backend runs agents only inside its `with` block")
        end = time.perf_counter() + until_s
        while self._ended or (self._open and time.perf_counter() < end):
            if self._ended:
                yield Missing(self._ended.pop(), LATE)
            else:
                yield self._answer(self._trainer, *self._open.pop(next(iter(self._open))))

    def _answer(self, trainer: Trainer, order: Order, submitted: float, deadline: float) -> Answer:
        if time.perf_counter() >= deadline:
            return Missing(order, LATE)
        weights = self._weights[order.version]
        done = perform(trainer, order.kind, order.agent, order.round, weights, self._uplink, order.remembers)
        if order.kind == "train":
            self._train_s += done.took_s
        if isinstance(done.outcome, Refusal):
            return Missing(order, done.outcome.reason)
        if done.ended_s > deadline:
            return Missing(order, LATE)
        if done.delta is None:
            return Scores(order, done.outcome)
        return Update(order, done.delta, done.outcome, Worked(0, done.ended_s - submitted))

    def cancel(self, order_ids: Iterable[int]) -> None:
        """See `Backend`."""
        self._ended += [self._open.pop(number)[0] for number in order_ids if number in self._open]

    def traffic(self) -> Traffic:
        """See `Backend`: nothing travels."""
        train_s, self._train_s = self._train_s, 0.0
        return Traffic(train_s=train_s)

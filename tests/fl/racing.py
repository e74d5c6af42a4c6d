"""A backend whose agents answer in an order of chance, and a run's record as a replay takes it."""

from neurogrid.backends.inline import InlineBackend
from neurogrid.fl.order import LATE, Missing
from neurogrid.fl.replay import Entry, Recorded, Replayed, remake
from neurogrid.randomness import generator


class Racing(InlineBackend):
    """Each answer is of an open order that is drawn, a score as well as an update; `lose` says who gives none."""

    def __init__(self, factory, seed, lose=lambda order: ""):
        super().__init__(factory)
        self.rng, self.lose = generator(seed, "race"), lose

    def answers(self, until_s):
        while self._ended or self._open:
            if self._ended:
                yield Missing(self._ended.pop(), LATE)
                continue
            order, *times = self._open.pop(int(self.rng.choice(sorted(self._open))))
            reason = self.lose(order)
            if reason:
                yield Missing(order, reason, risky=reason == "lost")
            else:
                yield self._answer(self._trainer, order, *times)


def recorded(records):
    """What is on record of rounds."""
    return {
        r.round_id: Recorded(
            tuple(Entry(a.agent_id, a.answered, a.reason, a.staleness, a.risky, a.voted) for a in r.agents),
            r.w_global_sha256,
        )
        for r in records
    }


def replay(record, federation, settings, factory, wrap=lambda backend: backend):
    """Makes the rounds on record again; the state that it ends in."""
    with wrap(Replayed(InlineBackend(factory), record)) as backend:
        return remake(backend, federation, settings, record)

"""Figures of the runs behind the page of results, as they stand in their evaluations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NEWCOMER_DAYS = 14
"""Own readings of a household that comes later, where one number of days has to be chosen."""
GROUPS = {"trained": "trained households", "held_out": "households that never trained"}


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval; NaN where there is none."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Interval":
        """In another unit; a factor below 0 turns the ends round."""
        ends = (factor * self.low, factor * self.high)
        return Interval(factor * self.value, *(ends if factor > 0 else reversed(ends)))

    @property
    def bare(self) -> "Interval":
        """The figure alone, where its interval would say too much."""
        return Interval(self.value, math.nan, math.nan)


UNKNOWN = Interval(math.nan, math.nan, math.nan)


def interval(figure: Mapping[str, float | None]) -> Interval:
    """Of an evaluation's figure."""
    value, low, high = (math.nan if (end := figure[part]) is None else float(end) for part in ("value", "low", "high"))
    return Interval(value, low, high)


@dataclass(frozen=True)
class Scored:
    """One run: its summary and its evaluation. What an evaluation does not have is UNKNOWN, or None."""

    summary: Mapping[str, Any]
    evaluation: Mapping[str, Any]

    @property
    def test(self) -> Mapping[str, Any]:
        """The test part, by group."""
        found: Mapping[str, Any] = self.evaluation["parts"]["test"]
        return found

    def figure(self, name: str, method: str = "federated", group: str = "trained") -> Interval:
        """One of a method's errors."""
        methods = self.test[group]["methods"]
        return interval(methods[method][name]) if method in methods else UNKNOWN

    def mae(self, method: str, group: str = "trained") -> float:
        """Mean over households, kWh a slot."""
        return self.figure("mae", method, group).value

    @property
    def best_pooled_mae(self) -> float:
        """The least that was reached with pooled readings. Ridge minimises squares, so it is no rival here."""
        return min(self.mae(name) for name in ("pooled", "gbm_pooled") if name in self.test["trained"]["methods"])

    def surge(self, method: str, figure: str, group: str = "trained") -> Interval:
        """Of "any surge in the horizon"."""
        methods = self.test[group]["surges"][-1]["methods"] if self.test[group]["surges"] else {}
        found = methods.get(method, {}).get(figure)
        return UNKNOWN if found is None else interval(found)

    def paired(self, method: str, rival: str, group: str = "trained") -> Mapping[str, Any] | None:
        """A method against a rival over the same households; None where it was not put against it."""
        pairs = self.test[group].get("paired", ())
        return next((pair for pair in pairs if (pair["method"], pair["rival"]) == (method, rival)), None)

    def below(self, method: str, rival: str, group: str = "trained") -> Interval:
        """By how much a method's MAE lies below a rival's on the same households, percent."""
        pair = self.paired(method, rival, group)
        return UNKNOWN if pair is None else interval(pair["mae_change_percent"]).times(-1)

    def better(self, method: str, rival: str, group: str = "trained") -> Interval:
        """Households with a lower MAE than a rival gives them, percent."""
        pair = self.paired(method, rival, group)
        return UNKNOWN if pair is None else interval(pair["better_share"]).times(100)

    def worst_tenth(self, method: str, rival: str, group: str = "trained") -> float:
        """Mean of the own changes of the tenth of households that fare worst against a rival, percent."""
        pair = self.paired(method, rival, group)
        found = None if pair is None else pair["worst_tenth_percent"]
        return math.nan if found is None else float(found)

    @property
    def parity(self) -> Sequence[Mapping[str, Any]]:
        """What households have that come later, by days of own readings."""
        found: Sequence[Mapping[str, Any]] = self.evaluation.get("parity", ())
        return found

    @property
    def newcomers(self) -> Mapping[str, Any] | None:
        """Those with NEWCOMER_DAYS of own readings."""
        return next((row for row in self.parity if row["days"] == NEWCOMER_DAYS), None)

    def quantiles(self, method: str, group: str) -> Mapping[str, Any] | None:
        """A method's, on the test part."""
        found: Mapping[str, Any] = self.evaluation.get("quantiles", {}).get(group, {}).get("test", {})
        return found.get(method)

    @property
    def sums(self) -> Mapping[str, Mapping[str, Any]]:
        """By set of households."""
        found: Mapping[str, Mapping[str, Any]] = self.evaluation.get("sums", {})
        return found


@dataclass(frozen=True)
class Measured:
    """What was run.

    Attributes:
        seeds: of the main runs, each of which draws its own homes.
        main: those runs, in this order. The first says also what households have that come later.
        day, squared, quantiles: a day ahead, with squared loss and with quantiles, with the first seed.
        attacked: by kind of attack, with the first seed.
        minutes: how long it took to make the runs that were not there before.
        made, runs: how many of them were made, and how many there are.
    """

    seeds: Sequence[int]
    main: Sequence[Scored]
    day: Scored
    squared: Scored
    quantiles: Scored
    attacked: Mapping[str, Scored]
    minutes: float
    made: int
    runs: int

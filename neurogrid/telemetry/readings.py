"""Values of metrics on their way to a page: labels, counts, histograms with exemplars."""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.samples import Exemplar, Sample

from neurogrid.telemetry.catalogue import BY_NAME

Readings = dict[str, list[Sample]]
"""Samples by the name of their metric in the catalogue."""


@dataclass
class Histogram:
    """Counts by bound, each with the newest exemplar that fell there."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float | None, trace_id: str = "", at_s: float | None = None) -> None:
        """Counts a value; nothing where there is none."""
        if value is None:
            return
        bucket = bisect.bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if trace_id:
            self.exemplars[bucket] = Exemplar({"trace_id": trace_id}, value, at_s)

    def add(self, counts: Sequence[int], total: float) -> None:
        """Adds counts that were made by the same bounds."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, counts, strict=True)]
        self.total += total


class Values:
    """Collects the samples of one source, all with the labels that are given here."""

    def __init__(self, **labels: str) -> None:
        self._labels = labels
        self.readings: Readings = {}

    def put(self, name: str, value: float | None, exemplar: Exemplar | None = None, /, **labels: str) -> None:
        """A value of a gauge or counter; a figure that does not exist has no sample."""
        if value is not None and math.isfinite(value):
            self._append(name, name, value, labels, exemplar)

    def state(self, name: str, states: Sequence[str], state: str, **labels: str) -> None:
        """1 for the state it is in, 0 for the others."""
        for each in sorted({*states, state}):
            self.put(name, float(each == state), state=each, **labels)

    def histogram(self, name: str, histogram: Histogram, **labels: str) -> None:
        """All samples of a histogram."""
        running = 0
        for bucket, bound in enumerate((*histogram.bounds, math.inf)):
            running += histogram.counts[bucket]
            le = {**labels, "le": "+Inf" if bound == math.inf else repr(bound)}
            self._append(name, f"{name}_bucket", running, le, histogram.exemplars.get(bucket))
        self._append(name, f"{name}_count", running, labels)
        self._append(name, f"{name}_sum", histogram.total, labels)

    def _append(
        self, metric: str, name: str, value: float, labels: Mapping[str, str], exemplar: Exemplar | None = None
    ) -> None:
        assert metric in BY_NAME, metric
        self.readings.setdefault(metric, []).append(Sample(name, {**self._labels, **labels}, value, None, exemplar))

"""What each robust rule and step costs, beside its Gram matrix, beside one pass, and beside byzfl's in the same run.

byzfl gets the same updates as float32 arrays. It is left out where its rule would take minutes, and where it is not
installed.
"""

import sys
import time
import types
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.machinery import PathFinder

import numpy as np

from neurogrid.bench.table import Cell, ResultTable
from neurogrid.fl import steps
from neurogrid.fl.aggregate import average
from neurogrid.fl.built_in import RULES
from neurogrid.fl.registry import BUILT_IN, count
from neurogrid.fl.rows import Rows, gram
from neurogrid.fl.update import Floats, Matrix
from neurogrid.plural import plural
from neurogrid.randomness import generator

COLUMNS = ("rule", "agents", "seconds", "gram_s", "pass_s", "times_gram", "times_pass", "byzfl_s", "times_byzfl")
MOST_FOR_BYZFL = 200
BYZANTINE_SHARE = 0.2
_THEIRS = {  # in byzfl.aggregators
    "mean": "Average",
    "median": "Median",
    "trimmed_mean": "TrMean",
    "krum": "Krum",
    "multi_krum": "MultiKrum",
    "caf": "CAF",
    "geometric_median": "GeometricMedian",
    "centred_clipping": "CenteredClipping",
}
_WITHOUT_F = ("mean", "median", "geometric_median", "centred_clipping")


def bench_rules(agents: Sequence[int], weights: int, repeats: int) -> ResultTable:
    """Judges and averages random updates of which a fifth is longer, by each rule, and by steps before the rules.

    Args:
        agents: numbers of agents.
        weights: of an update.
        repeats: of each; the fastest counts.
    """
    rows: list[tuple[Cell, ...]] = []
    for n in agents:
        deltas = _updates(n, weights)
        f = count(BYZANTINE_SHARE, n)
        cases = {name: partial(_judge, name, deltas, f) for name in RULES if n >= BUILT_IN[name].least(f)}
        cases["arc, caf"] = partial(_judge, "caf", deltas, f, steps.arc)
        cases["nnm, trimmed_mean"] = partial(_judge, "trimmed_mean", deltas, f, steps.nnm)
        gram_s, pass_s = _fastest(partial(gram, deltas), repeats), _fastest(cases["mean"], repeats)
        for name, work in cases.items():
            theirs = _byzfl(name, f) if n <= MOST_FOR_BYZFL else None
            seconds = _fastest(work, repeats)
            theirs_s = _fastest(partial(theirs, deltas), repeats) if theirs else None
            times = seconds / theirs_s if theirs_s else None
            rows.append((name, n, seconds, gram_s, pass_s, seconds / gram_s, seconds / pass_s, theirs_s, times))
    notes = (
        f"{weights:,} weights; f is a fifth of the agents; fastest of {plural(repeats, 'run')}",
        "seconds: judging and the mean together. gram_s: the Gram matrix alone. pass_s: the plain mean",
        "times_byzfl: below 1 is faster than byzfl, which takes 3 iterations for its geometric median, 1 for clipping "
        "and 1 of each power iteration",
    )
    return ResultTable("Robust rules", COLUMNS, tuple(rows), notes)


def _updates(n: int, d: int) -> Matrix:
    rng = generator(1, "bench rules", n)
    deltas = rng.standard_normal((n, d), dtype=np.float32)
    longer = count(BYZANTINE_SHARE, n)
    deltas[:longer] *= rng.uniform(1, 4, (longer, 1)).astype(np.float32)
    return deltas


def _judge(rule: str, deltas: Matrix, f: int, step: Callable[[Matrix, int], Rows] | None = None) -> Floats:
    verdict = RULES[rule](deltas if step is None else step(deltas, f), f)
    n = len(verdict.rows.deltas)
    return average(verdict, np.ones(n), np.zeros(n, np.int64)).share


def _fastest(work: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _byzfl(rule: str, f: int) -> Callable[[Matrix], object] | None:
    """byzfl's own rule; None where it has none."""
    module = _aggregators()
    if rule not in _THEIRS or module is None:
        return None
    made = getattr(module, _THEIRS[rule])
    found: Callable[[Matrix], object] = made() if rule in _WITHOUT_F else made(f)
    return found


@cache
def _aggregators() -> types.ModuleType | None:
    """byzfl's rules without its top module, which imports torchvision; None where it is not installed."""
    spec = PathFinder.find_spec("byzfl")
    if spec is None or spec.submodule_search_locations is None:
        return None
    package = types.ModuleType("byzfl")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["byzfl"] = package
    try:
        from byzfl import aggregators  # noqa: PLC0415 - it is not installed everywhere

        found: types.ModuleType = aggregators
        return found
    finally:
        del sys.modules["byzfl"]

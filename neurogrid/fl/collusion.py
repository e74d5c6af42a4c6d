"""What attackers send together who see the honest updates of their round; attack.py has each of them send it.

Each function takes what the honest agents of a round sent, and gives the one vector that all attackers send.
"""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from neurogrid.fl.update import Floats, Matrix, Vector

FOE_FACTOR = 0.1
_HALVINGS = 30

Collusion = Callable[[Matrix, int], Vector]
"""(n, d) float32 honest updates in an order of their own, n >= 1, and the number of attackers, to (d,) float32."""


def alie(honest: Matrix, attackers: int) -> Vector:
    """Mean less z standard deviations, z as large as hides it (Baruch et al. 2019, arXiv:1902.06156)."""
    return _shifted(honest, -hidden(len(honest) + attackers, attackers) * _deviation(honest))


def hidden(agents: int, attackers: int) -> float:
    """The z of ALIE: so many honest agents are further out that attackers and these are a majority; at least 0."""
    supporters = agents // 2 + 1 - attackers
    share = (agents - attackers - supporters) / (agents - attackers)
    return max(0.0, NormalDist().inv_cdf(share)) if 0 < share < 1 else 0.0


def foe(honest: Matrix, attackers: int) -> Vector:
    """A small share of the honest mean, turned round (fall of empires; Xie et al. 2019, arXiv:1903.03936)."""
    return np.asarray(-FOE_FACTOR * _mean(honest), np.float32)


def min_max(honest: Matrix, attackers: int) -> Vector:
    """As far out as no honest update is from another (Shejwalkar and Houmansadr 2021, NDSS)."""
    between = _squares(honest)
    return _furthest(honest, lambda to: float(to.max()) <= float(between.max()))


def min_sum(honest: Matrix, attackers: int) -> Vector:
    """As far out as its squared distances sum to no more than an honest one's do (Shejwalkar and Houmansadr 2021)."""
    most = float(_squares(honest).sum(1).max())
    return _furthest(honest, lambda to: float(to.sum()) <= most)


def mimic(honest: Matrix, attackers: int) -> Vector:
    """What the first honest agent sends, which then counts for several (Karimireddy et al. 2020, arXiv:2006.09365)."""
    sent: Vector = honest[0].copy()
    return sent


COLLUSIONS: dict[str, Collusion] = {
    "alie": alie,
    "foe": foe,
    "min_max": min_max,
    "min_sum": min_sum,
    "mimic": mimic,
}


def _mean(honest: Matrix) -> Floats:
    return np.asarray(honest.mean(0, dtype=np.float64))


def _deviation(honest: Matrix) -> Floats:
    """Of each weight, of a sample; 0 of a single update."""
    if len(honest) < 2:
        return np.zeros(honest.shape[1])
    return np.asarray(honest.std(0, dtype=np.float64, ddof=1))


def _shifted(honest: Matrix, by: Floats) -> Vector:
    return np.asarray(_mean(honest) + by, np.float32)


def _squares(honest: Matrix) -> Floats:
    """(n, n) squared distances."""
    return np.array([((honest.astype(np.float64) - row) ** 2).sum(1) for row in honest])


def _furthest(honest: Matrix, passes: Callable[[Floats], bool]) -> Vector:
    """The mean less the greatest multiple of the deviation whose squared distances to honest updates pass."""
    direction, low, high = -_deviation(honest), 0.0, 64.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        to = ((honest - _shifted(honest, middle * direction).astype(np.float64)) ** 2).sum(1)
        low, high = (middle, high) if passes(to) else (low, middle)
    return _shifted(honest, low * direction)

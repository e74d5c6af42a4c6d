"""From a plan to epsilon, and from epsilon to the noise: by Google's dp-accounting, and by nothing of our own.

Poisson sampling is accounted for with its amplification, where the two worlds differ by an agent that is there or not
(add-or-remove-one). Everything else is accounted for without amplification, as if each agent had part in each round,
where an agent's updates are replaced by any others of the clip's length (replace-one, so twice the sensitivity).
"""

import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from neurogrid.errors import UsageError
from neurogrid.fl.privacy import PrivacyPlan

if TYPE_CHECKING:
    import dp_accounting

MOST_NOISE = 1e4
_TOLERANCE = 1e-3
"""How far below its budget the epsilon of a noise may lie that was searched for, relative; it is never above."""
Accountant = Literal["pld", "rdp"]


def event(plan: PrivacyPlan, releases: int) -> "dp_accounting.DpEvent":
    """What so many rounds of the plan do, as dp-accounting says it, of sums whose sensitivity is 1.

    With replace-one the sensitivity is twice the clip; dp-accounting's PLD would double it by itself and its RDP would
    not, so it is said here, and the relation that both hear is add-or-remove-one.
    """
    import dp_accounting  # noqa: PLC0415 - with scipy, half a second and 100 MB that most runs do not need

    if plan.mode == "example":
        noisy = dp_accounting.GaussianDpEvent(plan.noise_multiplier)
        step = dp_accounting.PoissonSampledDpEvent(plan.example_rate, noisy)
        return dp_accounting.SelfComposedDpEvent(step, releases * plan.steps)
    if plan.mode == "central" and plan.sampling == "poisson":
        noisy = dp_accounting.GaussianDpEvent(plan.noise_multiplier)
        one = noisy if plan.rate == 1 else dp_accounting.PoissonSampledDpEvent(plan.rate, noisy)
        return dp_accounting.SelfComposedDpEvent(one, releases)
    noisy = dp_accounting.GaussianDpEvent(plan.noise_multiplier / plan.sensitivity)
    return dp_accounting.SelfComposedDpEvent(noisy, releases)


def epsilon(plan: PrivacyPlan, releases: int) -> float:
    """What so many rounds of the plan spend at its delta; infinite where the noise is a test's."""
    if plan.test_seed is not None:
        return math.inf
    return _epsilon(replace(plan, epsilon=0.0, releases=0, level=""), releases)


@lru_cache(maxsize=256)
def _epsilon(plan: PrivacyPlan, releases: int) -> float:
    return composed([(plan, releases)], plan.delta, plan.accountant)


def composed(spent: Iterable[tuple[PrivacyPlan, int]], delta: float, accountant: Accountant = "pld") -> float:
    """Epsilon at `delta` of several plans' rounds together, of one household that had part in all of them.

    The worlds differ by whether the household's updates are in the sums; that is weaker than either relation above, so
    plans of both may be composed.
    """
    _refuse_without_package()
    spent = list(spent)
    events = [event(plan, releases) for plan, releases in spent if releases]
    if not events:
        return 0.0
    from dp_accounting import pld, rdp  # noqa: PLC0415

    most = max(releases * max(plan.steps, 1) for plan, releases in spent)
    counted = (
        pld.PLDAccountant(value_discretization_interval=_interval(most)) if accountant == "pld" else rdp.RdpAccountant()
    )
    with _quiet():
        for one in events:
            counted.compose(one)
        found: float = counted.get_epsilon(delta)
        return float(found)


def noise_for(plan: PrivacyPlan, rounds: int) -> float:
    """The least noise multiplier with which so many rounds stay within the plan's epsilon, which it uses to 99.9%.

    Raises:
        UsageError: none that is of any use does.
    """
    return _noise_for(replace(plan, noise_multiplier=0.0, releases=0, test_seed=None, level=""), rounds)


@lru_cache(maxsize=64)
def _noise_for(plan: PrivacyPlan, rounds: int) -> float:
    def over(noise: float) -> float:
        """By how much the noise's epsilon is above the budget, as a logarithm."""
        spent = epsilon(replace(plan, noise_multiplier=noise), rounds) / plan.epsilon
        return math.log(min(max(spent, 1e-12), 1e12))

    # From above: little noise takes long to account for.
    high = 4.0
    while (excess := over(high)) > 0:
        high *= 2
        if high > MOST_NOISE:
            raise UsageError(
                f"no noise keeps {rounds} rounds within epsilon {plan.epsilon:g} at delta {plan.delta:g}",
                found=f"noise multiplier {high / 2:g} does not",
                fix="raise privacy.epsilon, or lower rounds.count",
            )
    low, missing = high / 2, over(high / 2)
    while missing <= 0:
        low, high, missing, excess = low / 2, low, over(low / 2), missing
    # Between a noise that is too little and one that is enough, epsilon is nearly a power of the noise.
    while excess < -_TOLERANCE:
        share = (missing + _TOLERANCE / 2) / (missing - excess)
        middle = low * (high / low) ** min(max(share, 0.02), 0.98)
        found = over(middle)
        if found > 0:
            low, missing = middle, found
        else:
            high, excess = middle, found
    return high


def affordable(plan: PrivacyPlan, rounds: int) -> int:
    """How many of so many rounds the plan's epsilon pays for."""
    plan = replace(plan, test_seed=None)

    def fits(number: int) -> bool:
        return epsilon(plan, number) <= plan.epsilon

    # From below: what is far above the budget takes long to account for.
    least, most = 0, 1
    while most < rounds and fits(most):
        least, most = most, min(2 * most, rounds)
    if fits(most):
        return most
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    return least


def classic_noise(sensitivity: float, round_epsilon: float, delta: float) -> float:
    """Standard deviation of the classic Gaussian mechanism: S sqrt(2 ln(1.25 / delta)) / epsilon.

    Dwork and Roth 2014, theorem A.1. It holds for one round and for an epsilon of at most 1; it says nothing about
    several rounds, which is what `composed` is for.

    Args:
        sensitivity: L2, by how much one unit may move the sum.
        round_epsilon, delta: of one round.

    Raises:
        ValueError: where the formula does not hold.
    """
    if not 0 < round_epsilon <= 1:
        raise ValueError(f"the classic Gaussian mechanism holds for 0 < epsilon <= 1, not for {round_epsilon:g}")
    if not 0 < delta < 1:
        raise ValueError(f"delta lies between 0 and 1, not at {delta:g}")
    return sensitivity * math.sqrt(2 * math.log(1.25 / delta)) / round_epsilon


def delta_for(agents: int) -> float:
    """The delta of a federation of so many agents: 1e-5, or 1/n^1.1 where that is less.

    Delta is the chance that the promise fails altogether. It has to be far below 1/n: with 1/n it would be kept by
    publishing one household whole. For few agents 1/n^1.1 is far too much (61 agents: 0.011).
    """
    return min(1e-5, math.pow(agents, -1.1))


def _refuse_without_package() -> None:
    if find_spec("dp_accounting") is None:
        raise UsageError(
            "privacy needs the package dp-accounting, which is not installed here",
            fix='install it with `pip install "neurogrid[privacy]"`',
        )


def _interval(rounds: int) -> float:
    """Steps in which PLD keeps losses: as coarse as keeps epsilon right to 1e-3, which is what its time depends on.

    Whatever the step, what comes out is no less than epsilon; by how much it is more grows with the rounds times the
    step squared (1e-4 is dp-accounting's own).
    """
    return max(1e-4, min(5e-4, math.sqrt(1e-4 / rounds)))


@contextmanager
def _quiet() -> Iterator[None]:
    """RDP's orders that do not converge are left out, which costs nothing but a line each in the log."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before

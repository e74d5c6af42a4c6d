"""The robust rules by name: what each needs and what may be said of it.

The config's choices, refusals and documentation, a plan's words and the report's are made of this; so it imports
neither numpy nor a rule before that rule is to run.

Others register rules of their own as entry points of the group `neurogrid.rules`, each a `RuleSpec`.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from neurogrid.plural import plural
from neurogrid.registry import Registry, UnknownNameError

if TYPE_CHECKING:
    from neurogrid.fl.rules import InformedRule, Rule

STAGES = ("admit", "clip", "weigh", "arc", "rule", "mean", "server_step")
"""What happens to a round's updates, in this order, unless the config says otherwise; see stages.py. Before `rule`,
which is the config's own, other rules may go as `rule:NAME`, and then the steps."""
STEPS = ("arc", "bucketing", "nnm")
"""What may change the rows that `rule` judges, in this order; see steps.py."""
GONE = {
    "nnm_trimmed_mean": "the rule nnm_trimmed_mean is now the step nnm before the rule trimmed_mean: set "
    "aggregation.rule to trimmed_mean and aggregation.stages to [admit, clip, weigh, nnm, rule, mean, server_step]",
}
"""Rules of earlier versions, and what to say instead."""


class TooFewAgentsError(ValueError):
    """n agents cannot bear f malicious ones under this rule."""


class NothingToTrimError(ValueError):
    """A rule that cuts f updates was asked to cut none; that is the mean, and has to be asked for by that name."""


@dataclass(frozen=True)
class RuleSpec:
    """A robust rule.

    Attributes:
        name: in the config and in records.
        words: what it is called in a sentence.
        load: gives the rule itself; called where it is to run.
        judges: whether it keeps or drops whole updates (`rows`), weighs them (`shares`), or keeps or drops each weight
            of each update (`entries`).
        least_per_f, least_more: it needs least_per_f * f + least_more agents.
        tolerates: whether it is a defence at all; the f that one without a defence tolerates is 0.
        needs_f: whether it refuses f = 0.
        needs_clear: whether it has to see each update; a rule that does not can be used on their sum alone.
        fixed_rejections: whether it drops honest updates whoever attacks, so that the number dropped says nothing.
        left: of n updates with f malicious, how many it leaves to a rule that follows.
        by: what it judges by beside the updates, which it is called with as its third argument: `votes` of the round's
            agents on them (see votes.py), or which of them are of agents that are `trusted` (see trust.py).
    """

    name: str
    words: str
    load: Callable[[], "Rule | InformedRule"]
    judges: Literal["rows", "shares", "entries"]
    least_per_f: int = 2
    least_more: int = 3
    tolerates: bool = True
    needs_f: bool = False
    needs_clear: bool = True
    fixed_rejections: bool = False
    left: Callable[[int, int], int] = lambda n, _: n
    by: Literal["", "votes", "trusted"] = ""

    def least(self, f: int) -> int:
        """How many agents it takes to bear f malicious ones."""
        return self.least_per_f * f + self.least_more if self.tolerates else 1

    @property
    def least_formula(self) -> str:
        """The same for people: `2f + 3`."""
        return f"{self.least_per_f if self.least_per_f > 1 else ''}f + {self.least_more}" if self.tolerates else "1"

    def refuse(self, n: int, f: int) -> None:
        """Raises TooFewAgentsError or NothingToTrimError where it can't judge `n` agents with `f` malicious."""
        if self.needs_f and f == 0:
            raise NothingToTrimError(f"{self.words} with f = 0 cuts nothing: use the rule mean instead")
        if n < self.least(f):
            raise TooFewAgentsError(
                f"{self.words} with f = {plural(f, 'malicious agent')} needs at least {self.least(f)} agents, got {n}"
            )


def refuse_stages(names: Sequence[str]) -> None:
    """Raises ValueError where these stages can't follow one another.

    Clipping and weighing may be left out. Before `rule` others may go that judge whole updates, and then steps.
    """
    told = " ".join(names)
    if not re.fullmatch(r"admit (clip )?(weigh )?(rule:\S+ )*(arc )?(bucketing )?(nnm )?rule mean server_step", told):
        raise ValueError(
            "stages are admit, clip, weigh, arc, bucketing, nnm, rule, mean and server_step in this order; clip, "
            "weigh, arc, bucketing and nnm may be left out, and after weigh other rules may go as rule:NAME. Rules "
            "that drop updates come before arc, which shortens what agents sent, and arc before what mixes it"
        )
    for name in names:
        if not name.startswith("rule:"):
            continue
        spec = RULES.find(name.removeprefix("rule:"))
        if spec.judges != "rows":
            how = "weighs updates" if spec.judges == "shares" else "judges single weights"
            raise ValueError(f"{name} {how}, so no other rule can follow it; name it in aggregation.rule")


def count(share: float, agents: int) -> int:
    """How many of `agents` a share of them is; exact for shares like 0.2 that binary cannot hold."""
    return int(share * agents + 1e-9)


def at_least(share: float, agents: int) -> int:
    """The fewest of `agents` that are that share of them; exact as `count` is."""
    return math.ceil(share * agents - 1e-9)


def _load_vote() -> "InformedRule":
    from neurogrid.fl.votes import vote  # noqa: PLC0415 - as in _load

    return vote


def _load_fltrust() -> "InformedRule":
    from neurogrid.fl.trust import fltrust  # noqa: PLC0415 - as in _load

    return fltrust


def _load(name: str) -> Callable[[], "Rule"]:
    def load() -> "Rule":
        from neurogrid.fl.built_in import RULES  # noqa: PLC0415 - numpy only where a rule runs

        return RULES[name]

    return load


BUILT_IN = {
    spec.name: spec
    for spec in (
        RuleSpec("mean", "the mean", _load("mean"), "rows", tolerates=False, needs_clear=False),
        RuleSpec("median", "the median of each weight", _load("median"), "entries", least_more=1),
        RuleSpec("trimmed_mean", "the trimmed mean of each weight", _load("trimmed_mean"), "entries", needs_f=True),
        RuleSpec("krum", "Krum", _load("krum"), "rows", fixed_rejections=True, left=lambda _n, _f: 1),
        RuleSpec(
            "multi_krum",
            "Multi-Krum",
            _load("multi_krum"),
            "rows",
            fixed_rejections=True,
            left=lambda n, f: n - f,
        ),
        RuleSpec("bulyan", "Bulyan", _load("bulyan"), "entries", least_per_f=4, needs_f=True, fixed_rejections=True),
        RuleSpec("caf", "the covariance-bound filter", _load("caf"), "shares", least_more=1, needs_f=True),
        RuleSpec("geometric_median", "the geometric median", _load("geometric_median"), "shares", least_more=1),
        RuleSpec("centred_clipping", "centred clipping", _load("centred_clipping"), "shares", least_more=1),
        RuleSpec(
            "vote",
            "the vote of the round's agents",
            _load_vote,
            "rows",
            least_more=1,
            needs_f=True,
            fixed_rejections=True,
            left=lambda n, f: n - f,
            by="votes",
        ),
        RuleSpec(
            "fltrust",
            "the likeness with trusted households' updates",
            _load_fltrust,
            "rows",
            least_per_f=1,
            least_more=1,
            # It drops those that point elsewhere, as many an honest household's does.
            fixed_rejections=True,
            by="trusted",
        ),
    )
}


RULES = Registry("rule", "neurogrid.rules", RuleSpec, BUILT_IN)


def known_rule(name: str) -> RuleSpec | None:
    """The rule of this name, or None where it is not known here: a record may come from elsewhere."""
    try:
        return BUILT_IN.get(name) or RULES.find(name)
    except UnknownNameError:
        return None

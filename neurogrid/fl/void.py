"""Rounds that change nothing: why that is, by the last one's agents, and what to do about it."""

from collections import Counter

from neurogrid.fl.record import Round, reason_kind
from neurogrid.plural import plural

_ADVICE = {
    "late": "raise rounds.timeout_s, or have agents do less with local.steps",
    "lost": "look at the executors' logs: these agents took down or held up their tasks, most often for want of memory",
    "failed": "mend what failed; the executors' logs say more",
    "wrong_shape": "look at the executors' logs: do they run the same version of NeuroGrid as the driver?",
    "not_finite": "lower local.learning_rate, or set local.gradient_clip_norm",
    "bad_windows": "see who claims so with `neurogrid audit` and in the audit's table: those agents are broken or lie",
    "negative_variance": "see whose statistics cannot be in the run's audit: those agents are broken or lie",
    "stale": "raise rounds.max_staleness or rounds.buffer, or lower rounds.agents_per_round",
    "filtered": "see whom the rule has refused, and why, in the run's report and audit",
    "void": "raise rounds.agents_per_round, or lower aggregation.byzantine_share or rounds.min_agents",
    "other": "see the reasons in the run's audit",
}


class VoidRoundsError(RuntimeError):
    """Several rounds in a row changed nothing, so going on is pointless.

    Attributes:
        found: the commonest reason of the last one's agents; empty where there is none but the round's own.
        fix: what to do about that reason.
    """

    def __init__(self, what: str, last: Round | None) -> None:
        super().__init__(f"{what}; the last: {last.void_reason}" if last else what)
        self.found, self.fix = _advice(last) if last else ("", _ADVICE["other"])


def _advice(last: Round) -> tuple[str, str]:
    kinds = Counter(reason_kind(agent.reason) for agent in last.agents)
    # Those that gave an update and fell with the round are not why it fell, where others gave none.
    blamed = {kind: number for kind, number in kinds.items() if kind != "void"}
    if not blamed:
        return "", _ADVICE["void"]
    kind = max(sorted(blamed), key=lambda name: blamed[name])
    reasons = Counter(agent.reason for agent in last.agents if reason_kind(agent.reason) == kind)
    words = max(sorted(reasons), key=lambda reason: reasons[reason])
    return f"{blamed[kind]} of {plural(len(last.agents), 'agent')}: {words}", _ADVICE[kind]

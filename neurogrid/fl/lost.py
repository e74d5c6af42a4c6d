"""Agents that take down or hold up their tasks: what a run remembers of them, in its slot `lost/agents`.

The slot holds, by agent, the last two rounds in which it was such a risk; an agent that answers is taken out.
"""

from collections.abc import Mapping, Sequence

from neurogrid.fl.update import AgentId, RoundResult

PAUSE = 10
Lost = Mapping[AgentId, Sequence[int]]


def attempts(lost: Lost) -> dict[AgentId, int]:
    """Who is to be tried after all others, alone and once; see `Order.attempt`."""
    return dict.fromkeys(lost, 1)


def left_alone(lost: Lost, round_number: int) -> frozenset[AgentId]:
    """Who is not asked in this round: who was a risk twice without an answer between, until `PAUSE` rounds have passed.

    Each try costs a task, or a round the whole of its deadline.
    """
    return frozenset(a for a, rounds in lost.items() if len(rounds) > 1 and round_number <= rounds[-1] + PAUSE)


def after_round(lost: Lost, result: RoundResult, round_number: int) -> dict[AgentId, list[int]]:
    """The slot after a round."""
    # Who has trained but holds up its task when it is to vote is a risk all the same.
    answered = {update.agent for update in result.updates} - result.risky
    kept = {agent: list(rounds) for agent, rounds in lost.items() if agent not in answered}
    for agent in sorted(result.risky):
        kept[agent] = [*kept.get(agent, []), round_number][-2:]
    return kept

"""Which agents have left a run for good: from the next round on no schedule and no panel asks them for anything.

Who left is in a slot of the state, so that a run that goes on leaves them alone too, and in each round's record, so
that a replay draws from the same agents. An agent that has left does not come back within a run.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from neurogrid.fl.record import Figures
from neurogrid.fl.state import State
from neurogrid.fl.update import AgentId

LEFT = "roster/left"
Leaving = Callable[[int], Collection[AgentId]]
"""Asked before each round, with its number: the agents that are not to be asked any more."""


def nobody(number: int) -> Collection[AgentId]:
    """A roster that no agent leaves."""
    return ()


def left(state: State) -> frozenset[AgentId]:
    """Who has left by now."""
    return frozenset(state.json(LEFT)) if LEFT in state.slots else frozenset()


def with_left(state: State, agents: Collection[AgentId]) -> State:
    """The state in which these have left too; the same one where nobody has."""
    gone = left(state) | set(agents)
    return state.with_({LEFT: sorted(gone)}) if gone else state


def staying(agents: Iterable[AgentId], state: State) -> tuple[AgentId, ...]:
    """Those of `agents` that have not left, in their order."""
    gone = left(state)
    return tuple(agent for agent in agents if agent not in gone)


def report(state: State) -> Mapping[str, Figures]:
    """What a round's record says: how many have left, and their agents' names; nothing where nobody has."""
    gone = sorted(left(state))
    return {"roster": {"left_agents": len(gone), "left": " ".join(gone)}} if gone else {}


def recorded_left(figures: Mapping[str, object]) -> frozenset[AgentId]:
    """Inverse of `report`, of a round's figures by their names."""
    return frozenset(str(figures.get("roster.left") or "").split())

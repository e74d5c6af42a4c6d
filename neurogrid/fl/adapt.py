"""After the last round: every agent makes the global weights its own and keeps what comes of it."""

from collections import deque
from collections.abc import Callable, Sequence

from neurogrid.fl import lost
from neurogrid.fl.collect import Inbox
from neurogrid.fl.order import LOST, Missing, Order, Scores, orders
from neurogrid.fl.state import State
from neurogrid.fl.update import AgentId


def adapt(
    inbox: Inbox,
    state: State,
    agents: Sequence[AgentId],
    at_once: int,
    deadline_s: float,
    progress: Callable[[int, int], None],
) -> dict[AgentId, Scores | Missing]:
    """What each of `agents` says of its own model, or why it has none, in their order.

    Some are asked at a time, and others as these answer. So each has a deadline of its own, from when it was asked,
    and several that hang do so beside each other.

    Args:
        inbox: of an entered backend.
        state: after the last round; whom rounds leave alone is not asked here either.
        agents: all of them.
        at_once: how many are asked at a time; when half of them have answered, as many more are.
        deadline_s: who has not answered by then has no model of its own.
        progress: told how many have answered, of how many.

    Raises:
        RunError: nobody is left to adapt them.
    """
    before = state.json("lost/agents")
    attempts, alone = lost.attempts(before), lost.left_alone(before, state.round + 1)
    given = orders(agents, "adapt", state.round, state.round, attempts)
    found: dict[AgentId, Scores | Missing] = {o.agent: Missing(o, LOST) for o in given if o.agent in alone}
    asked = [order for order in given if order.agent not in alone]
    inbox.backend.publish(state.round, state.weights)
    waiting, open_orders = deque(asked), set[Order]()
    while waiting or open_orders:
        more = [waiting.popleft() for _ in range(min(len(waiting), at_once - len(open_orders)))]
        open_orders.update(more)
        inbox.submit(more, deadline_s)
        for answer in inbox.answers(open_orders):
            open_orders.discard(answer.order)
            if isinstance(answer, Scores | Missing):
                found[answer.order.agent] = answer
            progress(len(found), len(agents))
            if waiting and len(open_orders) <= at_once // 2:
                break
    return {agent: found[agent] for agent in agents}

"""After the rounds: each agent makes the last weights its own, where its readings are, on the tasks that are there."""

from neurogrid.fl import roster
from neurogrid.fl.adapt import adapt as ask
from neurogrid.fl.collect import Inbox
from neurogrid.fl.order import Backend
from neurogrid.fl.state import State
from neurogrid.ledger.personal import PersonalAnswers
from neurogrid.pipeline.events import Adapting, Observer
from neurogrid.pipeline.plan import TrainPlan
from neurogrid.workloads.meters.personal import PersonalSettings


def adapt(
    plan: TrainPlan, own: PersonalSettings, backend: Backend, state: State, observer: Observer
) -> PersonalAnswers:
    """Asks every agent that has not left; one that fails, hangs or is lost has no model of its own, which is on record.

    Args:
        plan: of the run.
        own: how agents adapt the weights.
        backend: entered.
        state: after the last round.
        observer: told how many have answered.

    Raises:
        RunError: nobody is left to adapt them.
    """
    agents, rounds = roster.staying(plan.federation.agents, state), plan.rounds
    at_once = max(1, min(rounds.agents_per_round, len(agents)))
    # As long as a round has that trains them on so many windows.
    longer = own.windows / (plan.training.local.steps * plan.training.local.batch_size)
    with observer.during(Adapting()) as progress:
        answers = ask(Inbox(backend), state, agents, at_once, rounds.timeout_s * max(1.0, longer), progress)
    return PersonalAnswers(answers)

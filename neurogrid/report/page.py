"""The report of a run: one self-contained HTML file, the same bytes for the same folder."""

from neurogrid.plural import plural
from neurogrid.report import forecasts, inputs, joining, readings, surges, training
from neurogrid.report.facts import RunFacts, read_run
from neurogrid.report.glance import glance
from neurogrid.report.template import fill
from neurogrid.storage import Place


def render_report(run: Place, warehouse: Place) -> str:
    """A run's report as HTML that needs no network, no script and no other file.

    What is not there yet (an evaluation, the end of the run, any round at all) is said in its place.

    Raises:
        UsageError: there is no run there.
    """
    facts = read_run(run, warehouse)
    sections = [
        glance(facts),
        joining.joining(facts),
        forecasts.forecasts(facts),
        surges.surges(facts),
        training.learning(facts),
        training.trust(facts),
        training.timing(facts),
        inputs.households(facts),
        readings.readings(facts),
    ]
    return fill(
        "page.html",
        title=f"Run {facts.run_id}",
        run_id=facts.run_id,
        summary=_summary(facts),
        verdict=forecasts.verdict(facts),
        status=_status(facts),
        tiles=[
            forecasts.error_tile(facts, "trained"),
            forecasts.error_tile(facts, "held_out"),
            forecasts.better_tile(facts),
            training.defence_tile(facts),
            training.loss_tile(facts),
            training.time_tile(facts),
        ],
        sections=sections,
        settings=inputs.settings(facts),
        record=inputs.record(facts),
    )


def _summary(facts: RunFacts) -> str:
    genesis = facts.genesis
    attack = genesis.get("attack", "none")
    return " · ".join(
        [
            plural(genesis.get("n_agents", 0), "agent"),
            f"{genesis.get('model', '?')}, {plural(genesis.get('n_weights', 0), 'weight')}",
            f"rule {genesis.get('rule', '?')}",
            "no attack" if attack == "none" else f"attack {attack}",
            f"seed {genesis.get('seed', '?')}",
        ]
    )


def _status(facts: RunFacts) -> tuple[str, str]:
    """How the run stands, and its tone."""
    done, asked = len(facts.rounds), facts.genesis.get("rounds", 0)
    if facts.end:
        return f"finished after {plural(done, 'round')}: {facts.end.get('reason', '')}", "good"
    if not done:
        return f"no round finished yet, of {asked}", "warn"
    return (
        f"unfinished: {done} of {plural(asked, 'round')}; `neurogrid run --resume {facts.run_id}` continues it",
        "warn",
    )

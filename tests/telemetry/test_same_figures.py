"""Where no Grafana is at hand: every figure of the terminal view is the exporter's, and the report's."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from same_figures import agreement
from telemetry_run import looked

from neurogrid.fl.record import reason_kind
from neurogrid.ledger.follow import Follower
from neurogrid.ledger.tally import against_f
from neurogrid.report.by_round import column
from neurogrid.report.facts import read_run
from neurogrid.storage import place
from neurogrid.telemetry.catalogue import PHASES


@pytest.fixture(scope="module")
def said(warehouse):
    return Follower(place(str(warehouse)) / "runs" / "r1").look().figures(datetime.now(UTC))


@pytest.fixture(scope="module")
def values(warehouse):
    return looked(warehouse)


def test_every_figure_of_the_terminal_view_is_the_exporters(said, values):
    assert agreement(said, values) == dict.fromkeys(said, True)


def test_the_report_is_drawn_from_the_same_figures_round_by_round(said, warehouse):
    root = place(str(warehouse))
    facts = read_run(root / "runs" / "r1", root)
    for figure, name in (("held_out_loss", "held_out_loss"), ("training_loss", "loss_mean"),
                         ("acceptance", "acceptance_rate")):  # fmt: skip
        assert said[figure] == column(facts.rounds, name), figure
    for phase in ("wallclock", *PHASES):
        seconds = column(facts.rounds, f"{phase}_s")
        assert (said["latency_s"][phase]["last"], said["latency_s"][phase]["longest"]) == (seconds[-1], max(seconds))
    assert said["suspected"] == [against_f(facts.genesis, record) for record in facts.rounds]
    assert max(said["suspected"]) == 1
    asked = Counter(str(row["district"]) for row in facts.agents)
    assert {number: own["asked"] for number, own in said["districts"].items()} == asked
    rejected = Counter((reason_kind(a["reason"]), a["malicious"]) for a in facts.agents if not a["accepted"])
    assert {(entry["reason"], entry["attackers"]): entry["updates"] for entry in said["rejected"]} == rejected
    for way in ("down", "up"):
        assert said[f"bytes_{way}"] == sum(column(facts.rounds, f"bytes_{way}"))

"""The report: whole on its own, plain about what is missing, the same for the same folder."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pages import Page, said_of
from records import evaluation_of, rewrite_round, write_evaluation

from neurogrid.errors import RunError, UsageError
from neurogrid.fl.record import flat
from neurogrid.ledger.chain import sha256
from neurogrid.report.by_round import acceptance, rejections, traffic
from neurogrid.report.charts import heat_map
from neurogrid.report.facts import read_run
from neurogrid.report.forecasts import error_tile
from neurogrid.report.page import render_report
from neurogrid.report.palette import MARKS, PALETTE, TEXT, contrast
from neurogrid.report.picture import BROWSERS, newest_report, save_picture
from neurogrid.report.table import number


def test_a_report_stands_alone_and_is_well_formed(finished_html):
    html = finished_html
    page = Page(html)
    assert page.open == []
    assert page.loads == page.leads_to == []
    assert "script" not in page.tags
    assert "url(http" not in html
    # Ids inside pictures may repeat only where they name the very same thing (a salted hash of it).
    anchors = [i for i in page.ids if not re.fullmatch(r"[mp]?[0-9a-f]{8,}", i)]
    assert len(anchors) == len(set(anchors)), anchors
    assert page.tags.count("svg") >= 7
    assert html.count('role="img" aria-label="') == page.tags.count("svg")
    assert len(html) < 500_000


def test_a_report_says_the_figures_that_the_run_has(finished, finished_html):
    run, _ = finished
    words = Page(finished_html).words
    assert "6.3% below" in words
    assert "MAE" in words
    assert "0.1175 kWh a slot, the median 0.1254; 95% interval" in words
    assert "79%" in words
    assert "Better than its 0.1175 kWh a slot: same model, readings pooled (0.1166)." in words
    audit = [flat(json.loads((run / "rounds" / f"round={n:04d}.json").read_text())) for n in range(1, 11)]
    attacks = sum(r["byzantine_agents_n"] for r in audit)
    caught = sum(round(r["byzantine_agents_n"] * r["rejection_recall"]) for r in audit)
    assert f"recall: {caught} of {attacks}" in words
    assert json.loads((run / "end.json").read_text())["sha256"] in words
    assert "finished after 10 rounds: all rounds done" in words
    assert "very high use, evening peak" in words
    assert "10018238" in words
    assert "1777: 0 measured training slots" in words
    assert "late" in words
    assert "1417.csv unreadable_file: not <CSV>" in words
    assert "1,000.0 kWh read − 2.0 in dropped rows + 5.5 imputed = 1,003.5 written, which balances" in words


def test_the_same_folder_gives_the_same_bytes(finished, finished_html):
    assert render_report(*finished) == finished_html


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"evaluated": False}, "Not evaluated yet. Run `neurogrid evaluate 2026-demo`"),
        ({"evaluated": False, "done": 4}, "unfinished: 4 of 10 rounds"),
        ({"evaluated": False, "agents": 90, "rounds": 12}, "64 of 7"),
        ({"evaluated": False, "rounds": 1}, "finished after 1 round: "),
    ],
)
def test_what_is_missing_is_said_plainly(make_run, parts, said):
    assert said in Page(render_report(*make_run(**parts))).words


def test_a_run_that_only_began_says_what_is_not_there(make_run):
    words = Page(render_report(*make_run(done=0, evaluated=False, known=False))).words
    for said in ("No round has been finished yet", "is not in this warehouse", "There is no data-quality report"):
        assert said in words


FORGED = [
    ("rounds/round=0010.json", '"held_out_loss": [0-9.]+', '"held_out_loss": 0.001'),
    ("rounds/round=0005.json", None, None),
    ("rounds/round=0010.json", None, None),
    ("rounds/round=0003.json", "(?s).*", "[]"),
    ("rounds/round=0003.json", "(?s).*", "[" * 9999),
    ("end.json", "(?s).*", "{}"),
]


@pytest.mark.parametrize(("name", "old", "new"), FORGED)
def test_a_run_that_was_modified_gets_no_report(make_run, name: str, old: str | None, new: str | None) -> None:
    run, warehouse = make_run()
    file = Path((run / name).path)
    if old is None or new is None:
        file.unlink()
    else:
        file.write_text(re.sub(old, new, file.read_text(), count=1))
    with pytest.raises(RunError, match="audit 2026-demo"):
        render_report(run, warehouse)


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda run: (run / "evaluation.parquet").unlink(), "evaluation.parquet: is missing"),
        (lambda run: (run / "evaluation.parquet").write_bytes(b"better"), "evaluation.parquet: was changed"),
        (lambda run: (run / "evaluation.json").write_text("{}"), "evaluation.json: its content was changed"),
        (lambda run: (run / "evaluation.json").write_text("?"), "evaluation.json: is not a JSON record any more"),
        (
            lambda run: (run / "evaluation.json").unlink() or (run / "evaluation.json").mkdir(),
            "is a folder, not a file",
        ),
    ],
)
def test_an_evaluation_that_is_not_what_was_written_is_refused_with_how_to_make_it_again(
    make_run, spoil, found
) -> None:
    run, warehouse = make_run(rounds=1)
    figures = b"each household's own figures"
    (run / "evaluation.parquet").write(figures)
    write_evaluation(run, {**evaluation_of(), "files": {"evaluation.parquet": sha256(figures)}})
    render_report(run, warehouse)
    spoil(Path(run.path))
    with pytest.raises(RunError, match=rf"(?s)the evaluation of run 2026-demo is not.*{found}.*evaluate 2026-demo"):
        render_report(run, warehouse)


def test_rounds_that_changed_nothing_do_not_break_the_report(make_run):
    # Sending a thousand times too much makes the weights overflow nowhere, but a refused update has no norm.
    run, warehouse = make_run(attack="scale", rule="mean", rounds=3)
    void = {"aggregated": False, "void_reason": "usable updates: 1", "held_out_loss": None, "loss_mean": None}
    rewrite_round(run, 2, **void)
    words = Page(render_report(run, warehouse)).words
    assert "1 round changed nothing: usable updates: 1 (1 round)" in words


def test_names_from_files_are_written_as_words_never_as_markup(make_run):
    run, warehouse = make_run(rounds=1)
    (run / "config.yaml").write("x: '<script>alert(1)</script>'\n")
    evaluation = evaluation_of()
    methods = evaluation["parts"]["test"]["trained"]["methods"]
    methods["<b>mine</b>"] = methods["pooled"]
    write_evaluation(run, evaluation)
    html = render_report(run, warehouse)
    assert "<script" not in html
    assert "<b>mine" not in html


@pytest.mark.parametrize("name", [r"$\frac$", "a_$x$", r"\$5", "$$"])
def test_a_name_with_dollars_is_no_formula(name: str) -> None:
    chart = heat_map("map", "Agents", [name, "A2"], [(name, 2)], 1, [])
    assert chart.svg.count(f">{name}</text>") == 2


def test_a_folder_without_a_run_is_refused(finished):
    _, warehouse = finished
    with pytest.raises(UsageError, match="there is no run nowhere to report on"):
        render_report(warehouse / "runs" / "nowhere", warehouse)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_that_readers_need(scheme):
    shade = {name: getattr(both, scheme) for name, both in PALETTE.items()}
    for name in TEXT:
        assert contrast(shade[name], shade["paper"]) >= 4.5, name
        if name in ("ink", "muted", "grey"):
            assert contrast(shade[name], shade["panel"]) >= 4.5, name
    for name in MARKS:
        assert contrast(shade[name], shade["paper"]) >= 3, name


def test_contrast_agrees_with_the_standards_own_examples():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_numbers_have_a_true_minus_and_no_negative_zero():
    assert [number(v, 1) for v in (-1234.56, -0.04, None, float("nan"))] == ["−1,234.6", "0.0", "–", "–"]


def test_a_picture_is_small_enough_for_a_readme(finished_html, tmp_path):
    if not any(shutil.which(name) for name in BROWSERS):
        pytest.skip("no Chromium on this machine")
    html = tmp_path / "report.html"
    html.write_text(finished_html)
    save_picture(html, tmp_path / "docs" / "report.png")
    picture = (tmp_path / "docs" / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert 20_000 < len(picture) < 300_000


def test_the_newest_report_of_a_warehouse_is_found_and_none_is_said(tmp_path):
    with pytest.raises(UsageError, match="no report"):
        newest_report(tmp_path)
    for name in ("2026-01", "2026-02"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "report.html").write_text(name)
    assert newest_report(tmp_path).read_text() == "2026-02"
    assert newest_report(tmp_path / "runs" / "2026-01" / "report.html").read_text() == "2026-01"


def test_a_picture_without_a_browser_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="apt-get install chromium"):
        save_picture(Path("report.html"), tmp_path / "x.png")


def test_a_report_has_the_figures_of_the_dashboards_round_by_round(finished_html):
    for title in (
        "Latency of each round by phase",
        "Sent in each round",
        "Accepted updates by round",
        "Rejected updates by round",
        "Not accepted, by reason",
        "Loss by round, held out and in training",
    ):
        assert title in finished_html, title


def test_where_no_attack_is_simulated_the_page_calls_nobody_honest_and_nobody_an_attacker(make_run):
    words = Page(render_report(*make_run(attack="none", rounds=3))).words
    assert "nobody knows which updates, if any, came from attackers" in words
    for claim in ("honest", "Honest", "no attackers", "From attackers", "an attacker"):
        assert claim not in words


def test_a_screen_reader_says_the_figures_of_a_chart(finished, finished_html):
    facts = read_run(*finished)
    losses = [record["held_out_loss"] for record in facts.rounds]
    said = said_of(finished_html, "Loss by round, held out and in training")
    assert f"held out: first {losses[0]:,.4g}, last {losses[-1]:,.4g}, lowest {min(losses):,.4g}" in said
    requested, accepted = len(facts.agents), sum(row["accepted"] for row in facts.agents)
    said = said_of(finished_html, "Acceptance by agent and round")
    assert f"10 rounds. {requested} updates requested: {accepted} accepted" in said
    assert "federated (this run) 0.1175 (" in said_of(
        finished_html, "Trained households, held-out time: mean absolute error"
    )
    for title in ("Latency of each round by phase", "Norm of the updates as sent, before clipping"):
        assert ", last " in said_of(finished_html, title)


def test_an_axis_of_shares_goes_from_0_to_100_percent(make_run):
    svg = acceptance(read_run(*make_run(attack="none", rule="mean", rounds=3))).svg
    ticks = [float(text) for text in re.findall(r">(\d+(?:\.\d+)?)</text>", svg)]
    assert max(ticks) == 100
    assert min(ticks) == 0


@pytest.mark.parametrize(
    ("below", "value", "interval"),
    [
        ((6.3, 5.8, 6.9), "6.3% below", "95% interval 5.8% to 6.9% below"),
        ((-0.3, -0.4, -0.1), "0.3% above", "95% interval 0.1% to 0.4% above"),
        ((-0.3, -0.4, 0.1), "0.3% above", "95% interval 0.4% above to 0.1% below"),
        ((0.2, -0.1, 0.5), "0.2% below", "95% interval 0.1% above to 0.5% below"),
    ],
)
def test_an_error_and_its_interval_are_both_said_as_above_or_below(make_run, below, value, interval):
    run, warehouse = make_run(rounds=1)
    evaluation = evaluation_of()
    methods = evaluation["parts"]["test"]["trained"]["methods"]
    methods["federated"]["mae_below_median_percent"] = dict(zip(("value", "low", "high"), below, strict=True))
    write_evaluation(run, evaluation)
    tile = error_tile(read_run(run, warehouse), "trained")
    assert (tile.value, tile.detail.partition("; ")[2]) == (value, interval)


def test_what_f_is_and_what_is_held_against_it_is_explained_under_the_chart(make_run):
    note = rejections(read_run(*make_run(rounds=2))).note
    assert "f is the number of malicious agents in a round that the rule tolerates" in note
    assert "Suspected attacks are updates that the rule filtered out" in note


def test_rejections_by_round_are_those_of_the_audit(make_run):
    run, warehouse = make_run()
    facts = read_run(run, warehouse)
    refused = [row for row in facts.agents if row["answered"] and not row["accepted"]]
    svg = rejections(facts).svg
    assert refused
    assert {key.label for key in rejections(facts).keys} == {
        "honest",
        "attackers",
        "suspected attacks",
        "f",
    }
    assert "updates" in svg
    assert {key.label for key in acceptance(facts).keys} == {"all", "district 0", "district 1", "district 2"}
    assert traffic(facts) is not None
    inline = replace(facts, rounds=tuple({**record, "bytes_down": 0, "bytes_up": 0} for record in facts.rounds))
    assert traffic(inline) is None

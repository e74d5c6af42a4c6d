"""The report: whole on its own, plain about what is missing, the same for the same folder."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from neurogrid.errors import UsageError
from neurogrid.report import render_report
from neurogrid.report.by_round import acceptance, rejections, traffic
from neurogrid.report.facts import read_run
from neurogrid.report.palette import MARKS, PALETTE, TEXT, contrast
from neurogrid.report.picture import BROWSERS, newest_report, save_picture
from neurogrid.report.table import number

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Well-formedness, ids, and what it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "srcset") and not value.startswith("#"):
                self.loads.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words += f" {data.strip()}"


def test_a_report_stands_alone_and_is_well_formed(finished_html):
    html = finished_html
    page = Page(html)
    assert page.open == []
    assert page.loads == []
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
    assert "0.1175 kWh a slot beside 0.1254" in words
    assert "79%" in words
    assert "Still lower than its 0.1175 kWh a slot: same model, readings pooled (0.1166)." in words
    audit = [json.loads((run / "rounds" / f"round={n:04d}.json").read_text()) for n in range(1, 11)]
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
    assert "1,000.0 kWh read − 2.0 dropped with its row + 5.5 imputed = 1,003.5 written, which balances" in words


def test_the_same_folder_gives_the_same_bytes(finished, finished_html):
    assert render_report(*finished) == finished_html


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"evaluated": False}, "Not evaluated yet. `neurogrid evaluate 2026-demo`"),
        ({"done": 4}, "unfinished: 4 of 10 rounds"),
        ({"attack": "none", "rounds": 2}, "There were no attackers in this run"),
        ({"agents": 90, "rounds": 12}, "64 of 7"),
        ({"rounds": 1}, "finished after 1 round: "),
    ],
)
def test_what_is_missing_is_said_plainly(make_run, parts, said):
    assert said in Page(render_report(*make_run(**parts))).words


def test_a_run_that_only_began_says_what_is_not_there(make_run):
    words = Page(render_report(*make_run(done=0, evaluated=False, known=False))).words
    for said in ("No round has been finished yet", "is not in this warehouse", "There is no data-quality report"):
        assert said in words


def test_rounds_that_changed_nothing_do_not_break_the_report(make_run):
    # Sending a thousand times too much makes the weights overflow nowhere, but a refused update has no norm.
    run, warehouse = make_run(attack="scale", rule="mean", rounds=3)
    record = json.loads((run / "rounds" / "round=0002.json").read_text())
    record |= {"aggregated": False, "void_reason": "1 usable updates", "held_out_loss": None, "loss_mean": None}
    (run / "rounds" / "round=0002.json").write(json.dumps(record))
    words = Page(render_report(run, warehouse)).words
    assert "1 round changed nothing: 1 usable updates (1 round)" in words
    assert "BROKEN" in words


def test_names_from_files_are_written_as_words_never_as_markup(make_run):
    run, warehouse = make_run(rounds=1)
    (run / "config.yaml").write("x: '<script>alert(1)</script>'\n")
    evaluation = json.loads((run / "evaluation.json").read_text())
    methods = evaluation["parts"]["test"]["trained"]["methods"]
    methods["<b>mine</b>"] = methods["pooled"]
    (run / "evaluation.json").write(json.dumps(evaluation))
    html = render_report(run, warehouse)
    assert "<script" not in html
    assert "<b>mine" not in html


def test_a_folder_without_a_run_is_refused(finished):
    _, warehouse = finished
    with pytest.raises(UsageError, match="there is no run nowhere to report on"):
        render_report(warehouse / "runs" / "nowhere", warehouse)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_that_readers_need(scheme):
    shade = {name: getattr(both, scheme) for name, both in PALETTE.items()}
    for name in TEXT:
        assert contrast(shade[name], shade["paper"]) >= 4.5, name
        if name in ("ink", "muted"):
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


def test_rejections_by_round_are_those_of_the_audit(make_run):
    run, warehouse = make_run()
    facts = read_run(run, warehouse)
    refused = [row for row in facts.agents if row["answered"] and not row["accepted"]]
    svg = rejections(facts).svg
    assert refused
    assert {key.label for key in rejections(facts).keys} == {
        "honest",
        "attackers",
        "count against f",
        "f that the rule bears",
    }
    assert "updates" in svg
    assert {key.label for key in acceptance(facts).keys} == {"all", "district 0", "district 1", "district 2"}
    assert traffic(facts) is not None
    inline = replace(facts, rounds=tuple({**record, "bytes_down": 0, "bytes_up": 0} for record in facts.rounds))
    assert traffic(inline) is None

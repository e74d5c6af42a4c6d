"""A round on a line of a log comes back as the round it was, among lines of others."""

import json
import math
from dataclasses import fields, replace

import pytest

from neurogrid.cli import lines
from neurogrid.fl.record import Round

KINDS = {int: 3, float: 0.1234567890123, str: "a1", bool: True}
REPORTS = {"rule": {"assumed_f": 3}, "truth": {"rejection_recall": 0.5}}
ROUND = Round(
    **{f.name: KINDS[f.type] for f in fields(Round) if f.type in KINDS}, reports=REPORTS, agents=(), districts=()
)


def test_a_round_comes_back_from_its_line_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    with lines.RoundLines(10, 2) as watch:
        watch.show(ROUND)
    first, second = capsys.readouterr().out.splitlines()
    assert lines.parse(first) == ("training", {"rounds": 10, "done": 2})
    kind, content = lines.parse(second) or ("", {})
    assert kind == "round"
    assert lines.to_round(content) == ROUND


def test_a_figure_that_was_not_measured_stays_unmeasured(capsys: pytest.CaptureFixture[str]) -> None:
    reports = {"truth": {"rejection_recall": math.inf}}
    lines.RoundLines(10, 0).show(replace(ROUND, held_out_loss=float("nan"), reports=reports))
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))["held_out_loss"] is None
    back = lines.to_round(lines.parse(last)[1])  # type: ignore[index]
    assert math.isnan(back.held_out_loss)
    assert math.isnan(back.figures["rejection_recall"])


def test_inner_figures_that_are_not_finite_make_no_line_that_is_not_json(capsys: pytest.CaptureFixture[str]) -> None:
    lines.emit("completed", job="train", result={"losses": [1.0, float("nan")], "where": {"deep": -math.inf}})
    assert lines.parse(capsys.readouterr().out.rstrip("\n")) == (
        "completed",
        {"job": "train", "result": {"losses": [1.0, None], "where": {"deep": None}}},
    )


@pytest.mark.parametrize(
    "line",
    ["", "26/11/23 22:00:00 WARN Utils: slow", '{"level": "info"}', '{"neurogrid": "round", "round_id": 1', "null"],
)
def test_lines_of_others_are_none_of_ours(line: str) -> None:
    assert lines.parse(line) is None


def test_a_line_of_another_version_is_refused_as_a_whole() -> None:
    with pytest.raises(TypeError):
        lines.to_round({"round_id": 1})

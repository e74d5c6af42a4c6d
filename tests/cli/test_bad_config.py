"""A config that cannot be used: what is blamed, where in the file, and in which words."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from command import main_code
from in_process import neurogrid

from neurogrid.workloads.meters.evaluation import boosting


def test_the_config_as_json_is_the_config_as_yaml(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for form in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["neurogrid", "config", "show", "--set", "rounds.count=7", *form])
        assert main_code() == 0
        shown.append(capsys.readouterr().out)
    assert yaml.safe_load(shown[0]) == json.loads(shown[1])
    assert json.loads(shown[1])["rounds"]["count"] == 7


CULPRITS = [
    ("--set rounds.cout=3", "--set rounds.cout=3"),
    ("--set seed=4 --set rounds.cout=3", "--set rounds.cout=3"),
    ("--set rounds.cout=3 --set seed=-1", "--set rounds.cout=3 and --set seed=-1"),
    ("-c {tmp}/other.yaml --set rounds.cout=3", "--set rounds.cout=3"),
    ("-c {tmp}/unknown.yaml --set seed=4", "{tmp}/unknown.yaml"),
    ("-c {tmp}/unknown.yaml --set rounds.cuont=4", "{tmp}/unknown.yaml"),
    ("-c {tmp}/unknown.yaml --set seed=-1", "{tmp}/unknown.yaml and --set seed=-1"),
    ("--set rounds.cout=3 --set rounds.cout=4", "--set rounds.cout=3 and --set rounds.cout=4"),
    ("--set sampling.agents=6 --set rounds.min_agents=7", "--set sampling.agents=6 and --set rounds.min_agents=7"),
]


@pytest.mark.parametrize(("given", "blamed"), CULPRITS, ids=[case[0] for case in CULPRITS])
def test_what_is_wrong_in_a_config_is_blamed_on_the_file_or_on_the_set_that_it_comes_from(
    given: str, blamed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unknown.yaml").write_text("rounds:\n  cuont: 3\n")
    (tmp_path / "other.yaml").write_text("seed: 12\n")
    monkeypatch.setattr(sys, "argv", ["neurogrid", "config", "show", *given.format(tmp=tmp_path).split()])
    assert main_code() == 2
    assert f"neurogrid: {blamed.format(tmp=tmp_path)} cannot be used\n" in capsys.readouterr().err


def test_a_wrong_flag_is_blamed_by_its_own_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["neurogrid", "train", "--rounds", "0", "--set", "seed=4"])
    assert main_code() == 2
    assert "neurogrid: --rounds 0 cannot be used\n" in capsys.readouterr().err


BROKEN = {
    "rounds: {count: 3": "line 1, column 18: expected ',' or '}', but got the end of the file, "
    "while parsing a mapping in braces that begins on line 1, column 9",
    "seed: 1\nwarehouse: a: b\n": "line 2, column 13: a colon is not allowed here",
    "rounds:\n\tcount: 3\n": "line 2, column 1: found a tab: indent with spaces",
    "seed: 1\nrun_id: \x07\n": "line 2, column 9: the character U+0007 is not allowed in YAML",
    "rounds:\n  count: 3\n  count: 4\n": "line 3, column 3: the key count is given twice",
    "? [a, b]\n: 1\n": "line 1, column 3: a key must be a word",
    "rounds: {{a: 1}: 2}\n": "line 1, column 10: a key must be a word",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_syntax_error_is_said_with_file_line_and_column_in_words(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["neurogrid", "config", "validate", "-c", str(tmp_path / "own.yaml")])
    assert main_code() == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/own.yaml is not valid YAML\n  found: {BROKEN[text]}" in said
    assert "<unicode string>" not in said
    assert "^" not in said


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{count: 3, count: 4}", "the key count is given twice"),
        ("{[a]: 1}", "a key must be a word"),
        ("[" * 999, "nested too deep"),
        ("[", "the value is not YAML"),
    ],
)
def test_a_value_on_the_command_line_is_read_as_strictly_as_the_file(
    value: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["neurogrid", "config", "show", "--set", f"rounds={value}"])
    assert main_code() == 2
    said = capsys.readouterr().err
    assert "--set rounds: the value is" in said
    assert words in said


@pytest.mark.parametrize("given", ["--config {file}", "-c {file}"])
def test_a_config_is_checked_by_the_flag_that_all_commands_have(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.yaml").write_text("seed: 4\n")
    words = given.format(file=tmp_path / "own.yaml").split()
    monkeypatch.setattr(sys, "argv", ["neurogrid", "config", "validate", *words])
    assert main_code() == 0
    assert f"{tmp_path}/own.yaml is valid" in capsys.readouterr().err


def test_a_comparison_whose_package_is_missing_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boosting, "find_spec", lambda name: None)
    readings, warehouse = tmp_path / "not-there", tmp_path / "warehouse"
    asked = ("--set", "evaluation.comparisons=[gbm_pooled]")
    done = neurogrid("run", "--data-dir", readings, "--warehouse", warehouse, *asked)
    assert done.returncode == 2
    assert "needs the package lightgbm" in done.stderr
    assert "pip install lightgbm" in done.stderr
    assert not warehouse.exists()

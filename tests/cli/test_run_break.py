"""A run goes on with other versions or on another processor only where that is accepted, and then says so for good."""

import shutil
from pathlib import Path

import pytest
from test_run_manifest import Command, drawn, neurogrid, sampled, train  # noqa: F401 - fixtures

from neurogrid import __version__
from neurogrid.lock import is_released
from neurogrid.pipeline import training
from neurogrid.storage import place

OTHER = {"neurogrid": "0.0.1", "torch": "1.0", "processor": "sparc"}


def stop_before_round_2(run: Path) -> None:
    for name in ("end.json", "round_metrics.parquet", "rounds/round=0002.json"):
        (run / name).unlink()


def test_a_run_made_with_other_versions_goes_on_only_where_the_break_is_accepted_and_it_is_shown(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(training, "made_with", lambda: OTHER)
        assert neurogrid(*train(tmp_path, "moved"))[0] == 0
    run, warehouse = tmp_path / "w" / "runs" / "moved", ("--warehouse", tmp_path / "w")
    stop_before_round_2(run)

    code, said, _ = neurogrid("train", "--resume", "moved", *warehouse)
    assert code == 2
    assert "was made with other versions or on another processor" in said["error"]["what"]
    assert ", was 0.0.1; " in said["error"]["found"]
    assert "--accept-break" in said["error"]["fix"]
    assert is_released(place(str(run)))
    assert not (run / "rounds" / "round=0002.json").exists()

    code, _, words = neurogrid("train", "--resume", "moved", "--accept-break", *warehouse)
    assert (code, "a break, which the records say" in words) == (0, True), words
    code, found, _ = neurogrid("audit", "moved", *warehouse)
    assert code == 0
    assert len(found["breaks"]) == 1
    assert found["breaks"][0].startswith("from round 2 on: neurogrid ")
    assert neurogrid("report", "moved", *warehouse)[0] == 0
    assert found["breaks"][0] in (run / "report.html").read_text()


def test_a_run_whose_first_record_says_its_neurogrid_only_goes_on_with_that_one(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As runs before breaks were recorded."""
    runs = tmp_path / "w" / "runs"
    with monkeypatch.context() as patch:
        patch.setattr(training, "made_with", dict)
        assert neurogrid(*train(tmp_path, "old"))[0] == 0
    stop_before_round_2(runs / "old")
    shutil.copytree(runs / "old", tmp_path / "copy")
    code, _, words = neurogrid("train", "--resume", "old", "--warehouse", tmp_path / "w")
    assert code == 0, words
    shutil.rmtree(runs / "old")
    shutil.copytree(tmp_path / "copy", runs / "old")
    monkeypatch.setattr(training, "made_with", lambda: {"neurogrid": "9.9", "torch": "1.0"})
    code, said, _ = neurogrid("train", "--resume", "old", "--warehouse", tmp_path / "w")
    assert (code, said["error"]["found"]) == (2, f"neurogrid 9.9, was {__version__}")

"""The folder for a data-protection officer: it says what the records say, names nobody, and is whole or not there."""

import json
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from neurogrid.errors import RunError, UsageError
from neurogrid.ledger.verify import verify
from neurogrid.report.evidence import evidence


def test_it_says_what_the_records_say_and_its_hashes_are_those_of_the_files(make_run, tmp_path: Path) -> None:
    run, _ = make_run(rounds=4)
    files = evidence(run, tmp_path / "out")
    assert sorted(files) == sorted(path.name for path in (tmp_path / "out").iterdir())
    page = (tmp_path / "out" / "evidence.md").read_text()
    summary = json.loads((Path(run.path) / "run_summary.json").read_text())
    assert f"{summary['malicious_rejected']:,} were rejected" in page
    assert f"{summary['updates_accepted']:,} of {summary['updates_asked']:,} updates" in page
    assert verify(run).head in page
    assert "Differential privacy\n\n- None." in page
    told = (tmp_path / "out" / "sha256.txt").read_text()
    assert len(told.splitlines()) == verify(run).files
    subprocess.run(["sha256sum", "--check", "--quiet"], cwd=run.path, input=told, text=True, check=True)
    bill = json.loads((tmp_path / "out" / "sbom.json").read_text())
    listed = {part["name"]: part["version"] for part in bill["components"]}
    assert listed["numpy"] == metadata.version("numpy")


def test_a_run_that_has_not_ended_or_was_modified_gets_none(make_run, tmp_path: Path) -> None:
    run, _ = make_run(rounds=6, done=3, evaluated=False, run_id="begun")
    with pytest.raises(UsageError, match="no final weights"):
        evidence(run, tmp_path / "out")
    run, _ = make_run(rounds=3, run_id="changed")
    file = Path(run.path) / "config.yaml"
    file.write_text(file.read_text() + "# more\n")
    with pytest.raises(RunError, match="has been modified"):
        evidence(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_its_own_folder_is_made_anew_and_no_other(make_run, tmp_path: Path) -> None:
    run, _ = make_run(rounds=3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is there already"):
        evidence(run, tmp_path / "mine")
    evidence(run, tmp_path / "out")
    (tmp_path / "out" / "sbom.json").unlink()
    assert evidence(run, tmp_path / "out")
    assert (tmp_path / "out" / "sbom.json").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

"""A driver's job without a cluster: what it comes after, what it leaves behind, how it ends."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from neurogrid.cli.job import run_job
from neurogrid.errors import ConfigError, InputError, RunError
from neurogrid.pipeline.completion import COMPLETED, FAILED, RUNNING, Completion, Job
from neurogrid.storage import place

JOBS = Path(__file__).resolve().parents[2] / "jobs"


def job(name: str = "sample", **variables: str) -> Job:
    given = {"JOB": name, "RELEASE": "city", "GENERATION": "g1", **variables}
    return Job.from_environment(name, {f"NEUROGRID_{key}": value for key, value in given.items()})


def leave(folder: Path, name: str, state: str, result: dict[str, Any] | None = None, **variables: str) -> None:
    """The record of another job of the release."""
    Completion(place(str(folder)), job(name, **variables)).write(state, result or {}, {"manifest": "m1"})


def before(folder: Path, **variables: str) -> dict[str, str]:
    return Completion(place(str(folder)), job(**variables)).before()


def test_a_job_takes_over_what_the_one_before_it_made(tmp_path: Path) -> None:
    leave(tmp_path, "etl", COMPLETED)
    assert before(tmp_path, AFTER="etl", AFTER_GENERATION="g1") == {"manifest": "m1"}


def test_a_job_that_comes_after_none_needs_none(tmp_path: Path) -> None:
    assert before(tmp_path) == {}


def test_a_job_whose_predecessor_was_refused_ends_at_once_and_says_why(tmp_path: Path) -> None:
    words = {"what": "no readings", "found": "/data is empty", "fix": "mount them", "exit_code": 2}
    leave(tmp_path, "etl", FAILED, words)
    with pytest.raises(RunError, match="job etl, its predecessor, failed") as told:
        before(tmp_path, AFTER="etl")
    assert told.value.found == "no readings; /data is empty"
    assert told.value.fix.startswith("mount them")


def test_a_run_with_other_settings_leaves_the_record_that_the_releases_own_jobs_need(tmp_path: Path) -> None:
    leave(tmp_path, "train", COMPLETED)
    own, newest = (job("evaluate", AFTER="train", AFTER_GENERATION=generation) for generation in ("g1", ""))
    for state in (RUNNING, FAILED):
        leave(tmp_path, "train", state, {"what": "too few agents", "exit_code": 2}, GENERATION="g1-variant")
        assert Completion(place(str(tmp_path)), own).before() == {"manifest": "m1"}
    assert Completion(place(str(tmp_path)), job("train")).done() is not None
    with pytest.raises(RunError, match="job train, its predecessor, failed"):
        Completion(place(str(tmp_path)), newest).before()


def test_a_job_that_has_no_generation_has_the_newest_record_alone(tmp_path: Path) -> None:
    leave(tmp_path, "etl", COMPLETED, GENERATION="")
    assert [file.name for file in (tmp_path / "jobs" / "city").rglob("*")] == ["etl.json"]
    assert Completion(place(str(tmp_path)), job("etl", GENERATION="")).done() is not None


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (None, "it has no record yet"),
        ({"state": RUNNING}, "it is running since"),
        ({"state": COMPLETED, "GENERATION": "old"}, "its record is of generation old, not g1"),
        ({"state": FAILED, "GENERATION": "old"}, "its record is of generation old, not g1"),
        ({"state": COMPLETED, "RELEASE": "another"}, "it has no record yet"),
    ],
)
def test_a_job_that_starts_before_its_turn_is_refused_and_says_what_it_saw(
    tmp_path: Path, left: dict[str, str] | None, said: str
) -> None:
    if left is not None:
        state = left.pop("state")
        leave(tmp_path, "etl", state, **left)
    with pytest.raises(RunError, match="job etl, its predecessor, has not completed") as told:
        before(tmp_path, AFTER="etl", AFTER_GENERATION="g1")
    assert said in told.value.found


def test_only_a_record_of_the_same_generation_means_that_a_job_is_done(tmp_path: Path) -> None:
    where = place(str(tmp_path))
    assert Completion(where, job()).done() is None
    leave(tmp_path, "sample", COMPLETED)
    assert Completion(where, job()).done() is not None
    assert Completion(where, job(GENERATION="g2")).done() is None
    assert Completion(where, job(SCHEDULED="true")).done() is None
    leave(tmp_path, "sample", RUNNING)
    assert Completion(where, job()).done() is None


def test_a_driver_that_is_started_again_knows_the_steps_of_this_run_and_of_no_other(tmp_path: Path) -> None:
    where, done = place(str(tmp_path)), {"etl": {"files": 3}}
    tonight = {"SCHEDULED": "true", "APPLICATION": "city-nightly-17"}
    for state in (RUNNING, FAILED):
        Completion(where, job("nightly", **tonight)).write(state, {}, {"manifest": "m1"}, done)
        assert Completion(where, job("nightly", **tonight)).begun() == (done, {"manifest": "m1"})
        assert Completion(where, job("nightly", SCHEDULED="true", APPLICATION="city-nightly-18")).begun() == ({}, {})
    Completion(where, job("nightly", **tonight)).write(COMPLETED, {}, {"manifest": "m1"})
    assert Completion(where, job("nightly", **tonight)).begun() == ({}, {})


def test_what_a_job_makes_has_one_name_for_all_starts_of_its_driver() -> None:
    assert job("train").default_id == "city-train-g1"
    assert job("train", APPLICATION="city-train").default_id == "city-train-g1"
    assert job("train", SCHEDULED="true", APPLICATION="city-train-17").default_id == "city-train-17"


def test_a_failed_job_leaves_its_words_for_those_that_come_after(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"warehouse: {tmp_path}/w\nsource: {{path: {tmp_path}/nothing}}\n")
    variables = {"NEUROGRID_CONFIG": str(config), "NEUROGRID_RELEASE": "city"}
    with pytest.raises(Exception, match="nothing"):
        run_job("etl", variables)
    record = json.loads((tmp_path / "w" / "jobs" / "city" / "etl.json").read_text())
    assert (record["state"], record["result"]["exit_code"]) == ("failed", 2)
    with pytest.raises(RunError, match="job etl, its predecessor, failed"):
        run_job("sample", variables | {"NEUROGRID_AFTER": "etl"})


def test_a_training_takes_the_teacher_to_learn_from_out_of_the_record_of_the_job_before_it(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"warehouse: {tmp_path}\nlocal: {{distill_weight: 0.5}}\n")
    variables = {"NEUROGRID_CONFIG": str(config), "NEUROGRID_RELEASE": "city", "NEUROGRID_AFTER": "teacher"}
    before = Completion(place(str(tmp_path)), job("teacher"))
    before.write(COMPLETED, {}, {})
    with pytest.raises(ConfigError, match="needs a teacher to learn from"):
        run_job("train", variables)
    before.write(COMPLETED, {}, {"teacher": "city-teacher-g1"})
    with pytest.raises(InputError, match="manifest"):  # the next thing that is missing here
        run_job("train", variables)


def test_a_job_that_is_done_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"warehouse: {tmp_path}\n")
    leave(tmp_path, "etl", COMPLETED, {"files": 3})
    variables = {"NEUROGRID_CONFIG": str(config), "NEUROGRID_RELEASE": "city", "NEUROGRID_GENERATION": "g1"}
    assert run_job("etl", variables) == {"files": 3}
    out = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["neurogrid"] for line in out] == ["started", "unchanged", "completed"]


def test_a_driver_without_a_config_ends_in_words_and_exit_code_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(JOBS / "train.py")],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={"NEUROGRID_CONFIG": str(tmp_path / "missing.yaml"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 2, done.stderr
    assert "cannot read the config" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["neurogrid"] == "failed"

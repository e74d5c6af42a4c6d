"""How a run on a cluster ends for the person who waited: its result, or the best reason that anybody knows."""

import json
from typing import Any

import pytest

from neurogrid.cli import remote
from neurogrid.cluster.diagnosis import Trouble
from neurogrid.cluster.follow import Became, Said, Suffers
from neurogrid.errors import NeuroGridError, RunError, UsageError

MEMORY = Trouble("d", "the driver used more memory than it may and was killed (OOMKilled)", "limit 1Gi", "raise it")
WAITS = Trouble("d", "the driver waits for a node", "1 Insufficient cpu", "ask for less", waits=True)
EXIT = Trouble("d", "the driver failed", "exit code 1", "see: kubectl logs d", exited=True)


def line(kind: str, **content: Any) -> Said:
    return Said("d", json.dumps({"neurogrid": kind, **content}))


def ending(*happenings: Became | Said | Suffers) -> remote.Outcome:
    with remote.Screen() as screen:
        for happening in happenings:
            screen(happening)
    return screen.outcome


def refusal(*happenings: Became | Said | Suffers) -> NeuroGridError:
    with pytest.raises(NeuroGridError) as caught:
        remote.conclude("r", ending(*happenings))
    return caught.value


def test_a_completed_run_gives_what_the_job_reported() -> None:
    outcome = ending(Became("RUNNING", ""), line("completed", job="etl", result={"files": 3}), Became("COMPLETED", ""))
    assert remote.conclude("r", outcome) == {"files": 3}


@pytest.mark.parametrize(("code", "kind"), [(2, UsageError), (1, RunError)])
def test_a_jobs_own_words_and_exit_code_are_told_before_all_others(code: int, kind: type) -> None:
    said = line("failed", what="no readings", found="an empty folder", fix="fill it", exit_code=code)
    error = refusal(said, Suffers(EXIT), Became("FAILED", "driver container failed"))
    assert type(error) is kind
    assert str(error).splitlines() == ["r failed: no readings", "  found: an empty folder", "  fill it"]


def test_without_words_of_the_job_what_its_pod_suffered_is_the_reason() -> None:
    error = refusal(Suffers(WAITS), Suffers(MEMORY), Became("FAILED", "driver container failed with ExitCode: 137"))
    assert error.exit_code == 1
    assert "OOMKilled" in error.what
    assert error.fix == "raise it"


def test_what_only_waited_once_is_no_reason_for_a_failure() -> None:
    error = refusal(Suffers(WAITS), Became("FAILED", "driver pod not found"))
    assert "Insufficient" not in str(error)
    assert error.found == "driver pod not found"


def test_with_no_reason_at_all_the_end_of_the_log_is_shown() -> None:
    error = refusal(Said("d", "java.lang.Error: strange"), Became("FAILED", ""))
    assert "java.lang.Error: strange" in error.found
    assert "neurogrid k8s logs r" in error.fix


def test_a_run_that_has_not_ended_is_told_with_what_it_waits_for() -> None:
    error = refusal(Became("SUBMITTED", ""), Suffers(WAITS))
    assert error.exit_code == 124
    assert "waits for a node" in error.found


def test_a_stopped_run_is_no_success() -> None:
    assert refusal(Became("SUSPENDED", "")).exit_code == 1


def test_a_pods_exit_code_is_not_told_after_the_jobs_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    ending(line("failed", what="no readings", found="", fix="", exit_code=2), Suffers(EXIT))
    said = capsys.readouterr().err
    assert "no readings" in said
    assert "exit code 1" not in said


def test_rounds_of_another_version_are_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = ending(
        line("training", rounds=2, done=0), line("round", round_id=1, unheard_of=3), Became("COMPLETED", "")
    )
    assert remote.conclude("r", outcome) == {}
    assert "unheard_of" not in capsys.readouterr().err


def test_a_driver_that_was_started_again_says_where_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    ending(line("training", rounds=9, done=0), Became("PENDING_RERUN", ""), line("training", rounds=9, done=4))
    assert "resumes after round 4" in capsys.readouterr().err

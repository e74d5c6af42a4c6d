"""Steps tell an observer what goes on and say nothing themselves; what a terminal shows of it is its own affair."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from test_run_manifest import drawn, sampled  # noqa: F401 - fixtures

from neurogrid.config import Config, load
from neurogrid.pipeline import steps
from neurogrid.pipeline.events import Event, Progress, Rounds, Silent, Unseen, Work
from neurogrid.pipeline.plan import find_manifest, plan_evaluation, plan_training
from neurogrid.pipeline.training import train


class Recording(Silent):
    """Keeps what it was told, and what work went on, in order."""

    def __init__(self) -> None:
        self.told: list[Event | Work] = []

    def tell(self, event: Event) -> None:
        self.told.append(event)

    def during(self, work: Work) -> AbstractContextManager[Progress]:
        self.told.append(work)
        return nullcontext(Unseen())

    @property
    def names(self) -> list[str]:
        return [each if isinstance(each, str) else type(each).__name__ for each in self.told]


def config(folder: Path, *sets: str) -> Config:
    return load((folder / "small.yaml").read_text(), [f"warehouse={folder}/w", "run_id=watched", *sets])


def test_a_training_and_its_evaluation_tell_each_round_and_print_nothing(
    drawn: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = Recording()
    wanted = config(tmp_path)
    summary = train(plan_training(wanted, find_manifest(wanted)), None, seen)
    assert seen.names == [
        *("TrainingBegins", "starting the tasks", "Rounds", "RoundEnded", "RoundEnded", "Adapting", "TrainingEnded")
    ]
    (tmp_path / "w" / "runs" / "watched" / "end.json").unlink()
    for name in ("rounds/round=0002.json", "round_metrics.parquet"):
        (tmp_path / "w" / "runs" / "watched" / name).unlink()

    seen = Recording()
    resumed = train(plan_training(wanted, find_manifest(wanted), "watched"), None, seen)
    assert seen.names == [
        *(
            "TrainingBegins",
            "TrainingResumed",
            "starting the tasks",
            "Rounds",
            "RoundEnded",
            "Adapting",
            "TrainingEnded",
        )
    ]
    assert Rounds(total=2, done=1) in seen.told
    assert resumed["w_final_sha256"] == summary["w_final_sha256"]

    seen = Recording()
    steps.evaluate(plan_evaluation(wanted, "watched"), None, seen)
    assert seen.names == ["Scoring", "Evaluated"]
    assert capsys.readouterr() == ("", "")


def test_a_plan_is_made_without_a_trace_in_the_warehouse(drawn: Path, tmp_path: Path) -> None:  # noqa: F811
    before = sorted((tmp_path / "w").rglob("*"))
    wanted = config(tmp_path, "run_id=planned")
    plans = [plan_training(wanted, find_manifest(wanted)) for _ in range(2)]
    assert sorted((tmp_path / "w").rglob("*")) == before
    assert plans[0].federation.start.tobytes() == plans[1].federation.start.tobytes()
    assert (plans[0].training, plans[0].rounds) == (plans[1].training, plans[1].rounds)

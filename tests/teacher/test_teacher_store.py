"""A teacher's folder: what was changed is found, what is not finished is not used."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import small_teacher
import torch

from neurogrid.errors import RunError, UsageError
from neurogrid.storage import Place, place
from neurogrid.teacher import records
from neurogrid.teacher.households import Taught
from neurogrid.teacher.store import conclude, open_teacher, refuse_other_windows
from neurogrid.workloads.meters.windows import WindowSettings

FACTS = {
    "model": vars(small_teacher.SETTINGS.model),
    "windows": vars(small_teacher.SETTINGS.windows),
    "cadence_minutes": 120,
    "reason": "all epochs done",
}
ENDS = {"train_end": "2024-02-01T00:00:00+00:00", "validation_end": "2024-02-05T00:00:00+00:00"}
LOSSES = (0.9, 0.7, 0.8)


def write_epochs(folder: Place, losses: tuple[float, ...] = LOSSES) -> None:
    ranks = [{"fingerprints": {"meters/Weather_ID=W/Household_ID=a/part-0.parquet": "0" * 64}, "periods": {"a": ENDS}}]
    (folder / "data.json").write(json.dumps({"ranks": ranks}))
    for number, loss in enumerate(losses, 1):
        figures = {"epoch": number, "held_out_loss": loss, "train_s": 1.0, "evaluate_s": 0.5, "windows_per_s": 100.0}
        state = {"weights": {"w": torch.full((2,), float(number))}, "optimiser": {"state": {}}}
        records.write_epoch(folder, records.read(folder), figures, state)


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    root = place(str(tmp_path / "t1"))
    records.begin(root, {"teacher_id": "t1", "households": ["a", "b"], "device": "cpu"}, "seed: 1\n")
    write_epochs(root)
    return root


def test_a_teacher_is_its_best_epoch_and_says_whom_it_learnt_from(folder: Place) -> None:
    metrics = conclude(folder, FACTS)
    teacher = open_teacher(folder)
    assert teacher.weights()["w"].tolist() == [2.0, 2.0]
    a = Taught("0" * 64, datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 5, tzinfo=UTC))
    assert teacher.taught == {"a": a, "b": Taught("", None, None)}
    assert teacher.model == small_teacher.SETTINGS.model
    assert teacher.windows == small_teacher.SETTINGS.windows
    assert teacher.head_sha256 == metrics["head_sha256"] == records.read(folder).head
    assert metrics["best_epoch"] == 2
    assert metrics["held_out_loss"] == 0.7
    assert [epoch["epoch"] for epoch in teacher.metrics["epochs"]] == [1, 2, 3]


def test_a_teacher_that_has_not_ended_is_not_used(folder: Place) -> None:
    with pytest.raises(UsageError, match="not finished"):
        open_teacher(folder)


def test_a_teacher_is_not_begun_twice(folder: Place) -> None:
    with pytest.raises(UsageError, match="exists already"):
        records.begin(folder, {}, "")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("weights.pt", "weights.pt of teacher t1"),
        ("metrics.json", "metrics.json of teacher t1"),
        ("end.json", "end.json of teacher t1"),
        ("epochs/epoch=0001.json", "epochs/epoch=0001.json of teacher t1"),
        ("teacher.json", "teacher.json of teacher t1"),
    ],
)
def test_a_teacher_that_was_changed_is_not_used(folder: Place, path: str, words: str) -> None:
    conclude(folder, FACTS)
    content = (folder / path).read_bytes()
    changed = content.replace(b"t1", b"t2") if b"t1" in content else content[:-5] + b"7" + content[-4:]
    (folder / path).write(changed.replace(b"0.9", b"0.1").replace(b"all epochs done", b"no improvement"))
    with pytest.raises(RunError, match=words):
        open_teacher(folder)


def test_an_epoch_that_is_missing_is_found(folder: Place) -> None:
    Path((folder / "epochs" / "epoch=0001.json").path).unlink()
    with pytest.raises(RunError, match="epoch=0001"):
        records.read(folder)


def test_a_teacher_of_other_slots_is_refused(folder: Place) -> None:
    conclude(folder, FACTS)
    teacher = open_teacher(folder)
    refuse_other_windows(teacher, small_teacher.SETTINGS.windows, 120)
    with pytest.raises(UsageError) as refused:
        refuse_other_windows(teacher, WindowSettings(8, 4, True, False), 30)
    for words in ("horizon_slots 2 against 4", "residual True against False", "cadence_minutes 120 against 30"):
        assert words in refused.value.found

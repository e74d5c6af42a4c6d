"""A teacher's forecast in the agents' loss."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from neurogrid.errors import RunError
from neurogrid.ledger.torchfile import pack
from neurogrid.storage import place
from neurogrid.workloads.meters.distillation import Distillation, load_guide
from neurogrid.workloads.meters.models import LossSettings, ModelSettings, Shape, Windows, build, forecast_loss

SHAPE = Shape(history_slots=6, features=3, horizon_slots=2, known=4)
LARGE, SMALL = ModelSettings("city_lstm", 12, 1, 4), ModelSettings("city_lstm", 3, 1, 4)
LOSS = LossSettings(loss="l1", huber_delta=1.0, surge_weight=1.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only wait for threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def windows(seed: int = 3, count: int = 64) -> Windows:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    return Windows(draw(count, 6, 3), draw(count, 2, 4), draw(count, 2), (draw(count, 2) > 1).float(), draw(count, 3))


def teacher(folder: Path, seed: int = 7) -> Distillation:
    """A teacher whose forecast is not zero everywhere, on disk."""
    model = build(LARGE, SHAPE, seed=seed)
    torch.nn.init.uniform_(model.forecast.weight, -1, 1, generator=torch.Generator().manual_seed(seed))
    content = pack(dict(model.state_dict()))
    (folder / "weights.pt").write_bytes(content)
    return Distillation(place(str(folder / "weights.pt")), hashlib.sha256(content).hexdigest(), LARGE, 0.5)


def test_the_distance_from_the_teacher_is_added_to_the_loss_by_its_weight(tmp_path: Path) -> None:
    guide, batch = load_guide(teacher(tmp_path), SHAPE), windows()
    student = build(SMALL, SHAPE, seed=1)
    towards, _ = guide(batch.history, batch.known)
    forecast, _ = student(batch.history, batch.known)
    plain = forecast_loss(student, LOSS, batch)
    guided = forecast_loss(student, LOSS, batch, towards=towards, towards_weight=0.5)
    assert float((guided - plain).detach()) == pytest.approx(
        0.5 * float((forecast - towards).detach().abs().mean()), rel=1e-5
    )


def test_a_smaller_student_comes_nearer_to_its_teacher_than_without(tmp_path: Path) -> None:
    guide = load_guide(teacher(tmp_path), SHAPE)
    distances = {}
    for weight in (0.0, 4.0):
        student = build(SMALL, SHAPE, seed=1)
        optimiser = torch.optim.Adam(student.parameters(), lr=0.01)
        for step in range(150):
            batch = windows(step)
            towards, _ = guide(batch.history, batch.known)
            optimiser.zero_grad()
            forecast_loss(student, LOSS, batch, towards=towards, towards_weight=weight).backward()
            optimiser.step()
        batch = windows(1000, 500)
        with torch.no_grad():
            away = student(batch.history, batch.known)[0] - guide(batch.history, batch.known)[0]
        distances[weight] = float(away.abs().mean())
    assert distances[4.0] < 0.8 * distances[0.0]


def test_the_teacher_itself_does_not_learn(tmp_path: Path) -> None:
    assert not any(parameter.requires_grad for parameter in load_guide(teacher(tmp_path), SHAPE).parameters())


def test_weights_that_are_not_the_ones_named_are_refused(tmp_path: Path) -> None:
    named = teacher(tmp_path)
    teacher(tmp_path, seed=8)
    with pytest.raises(RunError, match="not the ones that this run began with"):
        load_guide(named, SHAPE)
    (tmp_path / "weights.pt").unlink()
    with pytest.raises(RunError, match="cannot read"):
        load_guide(named, SHAPE)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    named = teacher(tmp_path)
    with pytest.raises(RunError, match="another model"):
        load_guide(Distillation(named.weights_file, named.weights_sha256, SMALL, 0.5), SHAPE)


def test_weights_are_loaded_without_running_code(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"w": Touch()}, tmp_path / "weights.pt")
    content = (tmp_path / "weights.pt").read_bytes()
    named = Distillation(place(str(tmp_path / "weights.pt")), hashlib.sha256(content).hexdigest(), LARGE, 0.5)
    with pytest.raises(RunError, match="no weights"):
        load_guide(named, SHAPE)
    assert not (tmp_path / "ran").exists()

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from normed import NORMED, Normed

from neurogrid.workloads.meters.models import LossSettings, ModelSettings, Shape, Windows, build, forecast_loss
from neurogrid.workloads.meters.registry import MODELS, ModelSpec

SHAPE = Shape(history_slots=24, features=11, horizon_slots=6, known=12)


def settings(name: str) -> ModelSettings:
    return ModelSettings(name=name, hidden=12, layers=2, surge_hidden=8)


def windows(count: int, seed: int = 0) -> Windows:
    random = torch.Generator().manual_seed(seed)
    return Windows(
        torch.randn(count, 24, 11, generator=random),
        torch.randn(count, 6, 12, generator=random),
        torch.randn(count, 6, generator=random),
        (torch.rand(count, 6, generator=random) < 0.1).float(),
        torch.randn(count, 7, generator=random),
    )


@pytest.mark.parametrize("name", MODELS.names())
class TestEveryModel:
    def test_gives_a_forecast_of_each_slot_and_logits_of_each_slot_and_of_any(self, name: str) -> None:
        model = build(settings(name), SHAPE, seed=1)
        forecast, surge = model(*windows(5)[:2])
        assert forecast.shape == (5, 6)
        assert surge.shape == (5, 7)

    def test_starts_as_the_profile_whose_residual_it_forecasts(self, name: str) -> None:
        forecast, surge = build(settings(name), SHAPE, seed=1)(*windows(5)[:2])
        assert not forecast.any()
        assert not surge.any()

    def test_begins_alike_from_one_seed_whatever_torchs_random_state_and_leaves_that_alone(self, name: str) -> None:
        torch.manual_seed(3)
        before = torch.random.get_rng_state()
        one = build(settings(name), SHAPE, seed=1)
        assert torch.equal(before, torch.random.get_rng_state())
        torch.manual_seed(4)
        two, other = build(settings(name), SHAPE, seed=1), build(settings(name), SHAPE, seed=2)
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
        if name == "city_lstm":
            assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))

    def test_judges_each_window_by_itself(self, name: str) -> None:
        model = build(settings(name), SHAPE, seed=1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(5))
            many = windows(7)
            together = model(many.history, many.known)
            alone = model(many.history[3:4], many.known[3:4])
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[3:4], b)

    def test_learns_from_every_one_of_its_weights(self, name: str) -> None:
        model = build(settings(name), SHAPE, seed=1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(5))
        forecast_loss(model, LossSettings("l1", 0.5, 1.0), windows(32)).backward()
        for label, parameter in model.named_parameters():
            assert parameter.grad is not None, label
            assert parameter.grad.abs().sum() > 0, label


def test_the_surge_head_leaves_the_forecasts_weights_alone() -> None:
    model = build(settings("city_lstm"), SHAPE, seed=1)
    batch = windows(16)
    gradients = []
    for weight in (0.0, 5.0):
        model.zero_grad()
        forecast_loss(model, LossSettings("l1", 0.5, weight), batch).backward()
        gradients.append(model.combine.weight.grad.clone())
    assert torch.equal(*gradients)


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        ("l1", lambda e: np.abs(e).mean()),
        ("mse", lambda e: (e**2).mean()),
        ("huber", lambda e: np.where(np.abs(e) <= 0.5, e**2 / 2, 0.5 * (np.abs(e) - 0.25)).mean()),
    ],
)
def test_losses_are_what_their_formulas_say(loss: str, by_hand) -> None:
    model = build(settings("linear"), SHAPE, seed=1)
    batch = windows(9)
    found = forecast_loss(model, LossSettings(loss, 0.5, 0.0), batch)  # the model still forecasts 0
    assert found.item() == pytest.approx(by_hand(batch.target.numpy()), rel=1e-5)
    with_surge = forecast_loss(model, LossSettings(loss, 0.5, 2.0), batch)
    # Its surge logits are 0 too, so what counts is the base: that of each slot, then of any.
    surge, base = batch.surge.numpy(), batch.surge_base.numpy()
    said = 1 / (1 + np.exp(-base))
    happened = np.concatenate([surge, surge.max(axis=1, keepdims=True)], axis=1)
    entropy = -np.log(np.where(happened == 1, said, 1 - said)).mean()
    assert (with_surge - found).item() == pytest.approx(2 * entropy, rel=1e-4)


def test_layers_that_are_not_ours_begin_as_torch_has_them_and_from_the_seed_alone(monkeypatch) -> None:
    monkeypatch.setitem(MODELS.built_in, "normed", ModelSpec("normed", "as others write them", lambda: Normed))
    torch.manual_seed(3)
    one = build(NORMED, SHAPE, seed=1)
    torch.manual_seed(4)
    two, other = build(NORMED, SHAPE, seed=1).state_dict(), build(NORMED, SHAPE, seed=2).state_dict()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.state_dict().items())
    assert not torch.equal(one.seen.weight, other["seen.weight"])
    assert one.seen.weight.abs().max() <= 1 / (11 * 3) ** 0.5
    assert (one.scale, one.norm.running_var.tolist(), one.norm.running_mean.tolist()) == (0.25, [1.0] * 8, [0.0] * 8)


def test_models_are_the_same_in_a_fresh_process() -> None:
    code = (
        "from neurogrid.workloads.meters.models import *; import hashlib; "
        "m = build(ModelSettings('city_lstm', 12, 2, 8), Shape(24, 11, 6, 12), seed=1); "
        "print(hashlib.sha256(b''.join(p.detach().numpy().tobytes() for p in m.parameters())).hexdigest())"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    model = build(settings("city_lstm"), SHAPE, seed=1)
    assert fresh == hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()

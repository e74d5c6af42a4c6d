from itertools import repeat

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neurogrid.fl import local
from neurogrid.fl.local import LocalSettings, learning_rate, train
from neurogrid.fl.weights import FlatModel, flatten, from_state_dict, load, spec_of, state_dict

SETTINGS = LocalSettings(
    optimiser="adam",
    steps=10,
    batch_size=16,
    learning_rate=0.01,
    final_learning_rate_share=0.05,
    gradient_clip_norm=1.0,
    proximal_mu=0.0,
)


def net() -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(number))
    return model


def batches(steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(9)
    inputs = [torch.randn(16, 5, generator=random) for _ in range(steps)]
    return [(x, torch.stack([x.sum(1), x[:, 0] - x[:, 1]], 1)) for x in inputs]


def fit(settings: LocalSettings, steps: int, rate: float = 0.01) -> tuple[np.ndarray, float]:
    model = net()
    weights = flatten(model)
    result = train(
        FlatModel(model),
        weights,
        batches(steps),
        lambda b: nn.functional.mse_loss(model(b[0]), b[1]),
        settings=settings,
        rates=repeat(rate),
        random=np.random.default_rng(0),
    )
    return result.delta, result.loss


def with_(**changes) -> LocalSettings:
    return LocalSettings(**{**SETTINGS.__dict__, **changes})


@pytest.mark.parametrize("clip", [0.0, 0.3])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_training_takes_the_very_steps_of_torchs_own_optimiser(optimiser: str, clip: float) -> None:
    delta, loss = fit(with_(optimiser=optimiser, gradient_clip_norm=clip), 10)
    model = net()
    start = flatten(model)
    step = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimiser](model.parameters(), lr=0.01)
    losses = []
    for x, y in batches(10):
        step.zero_grad()
        value = nn.functional.mse_loss(model(x), y)
        value.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        step.step()
        losses.append(value.item())
    np.testing.assert_allclose(delta, flatten(model) - start, atol=2e-6)
    assert loss == pytest.approx(np.mean(losses))


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_training_lowers_the_loss(optimiser: str) -> None:
    _, few = fit(with_(optimiser=optimiser), 2, rate=0.05)
    _, many = fit(with_(optimiser=optimiser), 60, rate=0.05)
    assert many < 0.7 * few


def test_the_proximal_term_pulls_towards_the_start() -> None:
    lengths = [np.linalg.norm(fit(with_(proximal_mu=mu, optimiser="sgd"), 40)[0]) for mu in (0.0, 1.0, 10.0)]
    assert lengths[0] > lengths[1] > lengths[2]


@pytest.mark.parametrize("mu", [0.0, 2.0])
def test_fedprox_adds_mu_times_the_distance_from_the_start_to_the_gradient(mu: float) -> None:
    # The loss's own gradient is 1 throughout: from 3 to 2.5, then by half of 1 + mu * (2.5 - 3).
    model = nn.Linear(1, 1, bias=False)
    result = train(
        FlatModel(model),
        np.array([3.0], np.float32),
        [torch.ones(1, 1)] * 2,
        lambda b: model(b).sum(),
        settings=with_(optimiser="sgd", proximal_mu=mu, gradient_clip_norm=0.0),
        rates=repeat(0.5),
        random=np.random.default_rng(0),
    )
    assert result.delta.tolist() == [-0.5 - 0.5 * (1 - mu / 2)]


def test_training_leaves_its_start_alone_and_takes_read_only_memory() -> None:
    model = net()
    weights = flatten(model)
    weights.flags.writeable = False
    kept = weights.copy()
    results = [
        train(
            FlatModel(model),
            weights,
            batches(3),
            lambda b: nn.functional.mse_loss(model(b[0]), b[1]),
            settings=SETTINGS,
            rates=repeat(0.01),
            random=np.random.default_rng(0),
        ).delta
        for _ in range(2)
    ]
    np.testing.assert_array_equal(weights, kept)
    np.testing.assert_array_equal(*results)  # the optimiser's state is new each time


def test_training_on_nothing_or_from_weights_of_another_model_is_refused() -> None:
    model = FlatModel(net())

    def train_on_nothing(weights: np.ndarray) -> None:
        random = np.random.default_rng(0)
        train(model, weights, [], lambda _: torch.zeros(()), settings=SETTINGS, rates=[0.1], random=random)

    with pytest.raises(ValueError, match="no batches"):
        train_on_nothing(flatten(net()))
    with pytest.raises(ValueError, match="weights for a model"):
        train_on_nothing(np.zeros(3, np.float32))


@given(rounds=st.integers(2, 200))
@settings(max_examples=20)
def test_the_learning_rate_falls_by_a_cosine_to_its_share(rounds: int) -> None:
    rates = [learning_rate(SETTINGS, number, rounds) for number in range(1, rounds + 1)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0.0005)
    assert rates == sorted(rates, reverse=True)
    assert learning_rate(SETTINGS, rounds + 50, rounds) == pytest.approx(0.0005)


def test_one_round_keeps_the_learning_rate() -> None:
    assert local.learning_rate(SETTINGS, 1, 1) == pytest.approx(0.01)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_weights_go_flat_and_back_without_loss(seed: int) -> None:
    model = net()
    where = spec_of(model)
    vector = np.random.default_rng(seed).normal(size=where.size).astype(np.float32)
    load(model, vector)
    np.testing.assert_array_equal(flatten(model), vector)
    saved = state_dict(where, vector)
    assert list(saved) == list(model.state_dict())
    np.testing.assert_array_equal(from_state_dict(where, saved), vector)
    other = net()
    other.load_state_dict(saved)
    np.testing.assert_array_equal(flatten(other), vector)


def test_weights_of_the_wrong_shape_are_refused() -> None:
    model = net()
    with pytest.raises(ValueError, match=r"\(7,\) weights"):
        load(model, np.zeros(7, np.float32))
    saved = state_dict(spec_of(model), flatten(model))
    saved["0.weight"] = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"0\.weight has shape"):
        from_state_dict(spec_of(model), saved)


def test_a_flat_models_parameters_are_its_vector() -> None:
    model = net()
    before = flatten(model)
    flat = FlatModel(model)
    np.testing.assert_array_equal(flat.shared.weights.numpy(), before)
    flat.shared.weights.mul_(2)
    np.testing.assert_array_equal(flatten(model), 2 * before)

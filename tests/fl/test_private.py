"""Private layers: they never leave an agent, and are fitted anew whenever it trains or scores."""

from itertools import repeat

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from neurogrid.fl.local import LocalResult, LocalSettings, fit_private, train
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.weights import FlatModel, flatten, from_state_dict, load, spec_of, state_dict

SETTINGS = LocalSettings(
    optimiser="sgd",
    steps=4,
    batch_size=16,
    learning_rate=0.05,
    final_learning_rate_share=1.0,
    gradient_clip_norm=0.0,
    proximal_mu=0.0,
    private_steps=6,
)
HEAD = ("3",)


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))


def batches(agent: int, steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Agents want different sums of the same inputs."""
    random = torch.Generator().manual_seed(agent)
    inputs = [torch.randn(16, 5, generator=random) for _ in range(steps)]
    return [(x, torch.stack([(-1) ** agent * x.sum(1), agent * x[:, 0]], 1)) for x in inputs]


def step(flat: FlatModel, weights: np.ndarray, agent: int) -> LocalResult:
    return train(
        flat,
        weights,
        batches(agent, SETTINGS.steps),
        lambda b: nn.functional.mse_loss(flat.model(b[0]), b[1]),
        settings=SETTINGS,
        rates=repeat(SETTINGS.learning_rate),
        random=np.random.default_rng(0),
        private=batches(agent, SETTINGS.private_steps),
    )


def test_private_layers_are_not_in_the_vector_and_everything_else_is() -> None:
    spec = spec_of(net(), HEAD)
    assert [span.name for span in spec.private] == ["3.weight", "3.bias"]
    assert [span.name for span in spec.spans] == [s.name for s in spec_of(net()).spans if not s.name.startswith("3.")]
    vector = flatten(net(), HEAD)
    assert vector.shape == (spec.size,)
    assert FlatModel(net(), HEAD).vector().tobytes() == vector.tobytes()
    assert state_dict(spec, vector).keys() == {span.name for span in spec.spans}
    assert from_state_dict(spec, state_dict(spec_of(net()), flatten(net()))).tobytes() == vector.tobytes()


def test_one_parameter_may_be_private() -> None:
    assert [span.name for span in spec_of(net(), ["3.bias"]).private] == ["3.bias"]


@pytest.mark.parametrize(
    ("private", "words"),
    [
        (["head"], "no layer 'head'; it has 0, 1, 3"),
        (["3.w"], "no layer '3.w'"),
        (["0", "1", "3"], "nothing to train together"),
    ],
)
def test_what_cannot_be_private_is_refused(private: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        spec_of(net(), private)


def test_a_spec_tells_private_tensors_apart() -> None:
    shared = Span("a", (2,), 0, 2)
    with pytest.raises(ValueError, match="told apart"):
        Spec((shared, Span("b", (1,), 2, 3, "private")))
    with pytest.raises(ValueError, match="told apart"):
        Spec((shared,), (Span("b", (1,), 2, 3),))
    with pytest.raises(ValueError, match="same name"):
        Spec((shared,), (Span("a", (1,), 2, 3, "private"),))


def test_private_layers_are_fitted_as_torchs_own_optimiser_does_with_the_rest_held() -> None:
    flat, weights = FlatModel(net(), HEAD), flatten(net(), HEAD)
    flat.load(weights)
    own = batches(1, SETTINGS.private_steps)
    fit_private(flat, own, lambda b: nn.functional.mse_loss(flat.model(b[0]), b[1]), settings=SETTINGS)
    model = net().eval()
    optimiser = torch.optim.SGD(model[3].parameters(), lr=SETTINGS.learning_rate)
    for x, y in own:
        optimiser.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimiser.step()
    np.testing.assert_allclose(flatten(flat.model), flatten(model), atol=1e-6)
    assert flat.vector().tobytes() == weights.tobytes()
    assert all(parameter.requires_grad for parameter in flat.model.parameters())


def test_the_rest_is_then_trained_with_the_private_layers_held() -> None:
    flat, weights = FlatModel(net(), HEAD), flatten(net(), HEAD)
    result = step(flat, weights, 1)
    assert result.delta.shape == weights.shape

    fitted = FlatModel(net(), HEAD)
    fitted.load(weights)
    own = batches(1, SETTINGS.private_steps)
    fit_private(fitted, own, lambda b: nn.functional.mse_loss(fitted.model(b[0]), b[1]), settings=SETTINGS)
    model = net()
    load(model, flatten(fitted.model))
    others = [parameter for name, parameter in model.named_parameters() if not name.startswith("3.")]
    optimiser = torch.optim.SGD(others, lr=SETTINGS.learning_rate)
    model.train()
    for x, y in batches(1, SETTINGS.steps):
        optimiser.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimiser.step()
    np.testing.assert_allclose(result.delta, flatten(model, HEAD) - weights, atol=1e-6)


@given(order=st.permutations([1, 2, 3]))
def test_nothing_of_an_agent_is_left_for_the_next(order: list[int]) -> None:
    flat, weights = FlatModel(net(), HEAD), flatten(net(), HEAD)
    found = {agent: step(flat, weights, agent).delta.tobytes() for agent in order}
    assert found == {agent: step(FlatModel(net(), HEAD), weights, agent).delta.tobytes() for agent in order}


def test_an_agent_that_fails_in_the_midst_leaves_nothing_held() -> None:
    flat, weights = FlatModel(net(), HEAD), flatten(net(), HEAD)

    def fails(batch: object) -> torch.Tensor:
        raise OSError("its readings are gone")

    flat.load(weights)
    with pytest.raises(OSError, match="gone"):
        fit_private(flat, batches(1, 2), fails, settings=SETTINGS)
    assert all(parameter.requires_grad for parameter in flat.model.parameters())


def test_a_private_layer_that_the_loss_does_not_see_stays_as_it_was() -> None:
    flat, weights = FlatModel(net(), HEAD), flatten(net(), HEAD)
    flat.load(weights)
    fit_private(flat, batches(1, 2), lambda b: flat.model[0](b[0]).square().mean(), settings=SETTINGS)
    assert flatten(flat.model).tobytes() == flatten(net()).tobytes()

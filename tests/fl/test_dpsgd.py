"""Gradients of single examples are those of a loop over them, clipped one by one, and noisy as is accounted for."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from neurogrid.fl import dpsgd
from neurogrid.fl.dpsgd import private_gradient
from neurogrid.fl.weights import FlatModel
from neurogrid.randomness import generator


class Recurrent(nn.Module):
    """An LSTM and a linear layer, as the forecasters have."""

    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


def made(kind):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Recurrent() if kind == "lstm" else nn.Sequential(nn.Flatten(), nn.Linear(15, 2))


def drawn(n):
    random = generator(1, "bench readings")
    x, y = random.standard_normal((n, 5, 3)), 10 * random.standard_normal((n, 2))
    return torch.from_numpy(x).float(), torch.from_numpy(y).float()


def gradient(flat, batch, clip_norm=1.0, noise=0.0, expected=8.0, seed=1):
    def loss(parameters, x, y):
        return (functional_call(flat.model, dict(parameters), (x[None],)) - y).square().mean()

    return private_gradient(
        loss,
        dict(flat.model.named_parameters()),
        flat.spec.spans,
        batch,
        clip_norm=clip_norm,
        noise_multiplier=noise,
        expected=expected,
        random=np.random.default_rng(seed),
    )


def by_loop(flat, batch, clip_norm):
    """Example after example, by torch's ordinary gradients and numpy."""
    total = np.zeros(flat.spec.size)
    for x, y in zip(*batch, strict=True):
        flat.shared.gradient.zero_()
        (flat.model(x[None]) - y).square().mean().backward()
        one = flat.shared.gradient.double().numpy().copy()
        total += one * min(1.0, clip_norm / np.linalg.norm(one))
    return total


@pytest.mark.parametrize("kind", ["lstm", "linear"])
@pytest.mark.parametrize("clip_norm", [0.05, 5.0, 1e9])
def test_each_examples_gradient_is_clipped_by_itself(kind, clip_norm, monkeypatch):
    monkeypatch.setattr(dpsgd, "_AT_ONCE", 4)
    flat, batch = FlatModel(made(kind)), drawn(9)
    found, loss = gradient(flat, batch, clip_norm)
    np.testing.assert_allclose(found.numpy(), by_loop(flat, batch, clip_norm) / 8.0, rtol=2e-3, atol=2e-6)
    with torch.no_grad():
        assert loss == pytest.approx(float((flat.model(batch[0]) - batch[1]).square().mean()), rel=1e-4)


def test_a_linear_models_gradient_by_hand():
    """Of w with loss (w x - y)^2: 2 (w x - y) x. At w = 1: x = 1, y = 0 gives 2, and x = 3, y = 2 gives 6."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    flat = FlatModel(model)
    batch = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [2.0]])
    assert gradient(flat, batch, 5.0, expected=2.0)[0].tolist() == pytest.approx([(2 + 5) / 2])


def test_one_example_moves_the_gradient_by_the_clip_over_the_expected_number():
    flat, (x, y) = FlatModel(made("linear")), drawn(6)
    y = y * 1e6
    more, less = gradient(flat, (x, y), 0.3)[0], gradient(flat, (x[:-1], y[:-1]), 0.3)[0]
    assert float(torch.linalg.vector_norm(more - less)) == pytest.approx(0.3 / 8.0, rel=1e-4)


def test_an_example_that_is_not_finite_does_not_take_the_others_with_it():
    flat, (x, y) = FlatModel(made("linear")), drawn(4)
    y[0] = torch.nan
    torch.testing.assert_close(gradient(flat, (x, y))[0], gradient(flat, (x[1:], y[1:]))[0])


def test_a_step_without_any_example_is_noise_alone_of_the_right_size():
    flat, (x, y) = FlatModel(made("linear")), drawn(1)
    drawn_noise = torch.stack([gradient(flat, (x[:0], y[:0]), 0.5, 3.0, 8.0, seed)[0] for seed in range(300)])
    assert float(drawn_noise.std()) == pytest.approx(3.0 * 0.5 / 8.0, rel=0.03)

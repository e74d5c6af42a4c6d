"""Models that keep statistics of their inputs: what of them travels, and what becomes of it where an agent trains."""

from itertools import repeat

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from neurogrid.fl.local import LocalSettings, train
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.weights import FlatModel, flatten, from_state_dict, load, spec_of, state_dict

SETTINGS = LocalSettings("sgd", 4, 8, 0.1, 1.0, 0.0, 0.0)


class Masked(nn.Module):
    """Beside what it learns: a mask of -inf, a constant that isn't saved, and a statistic that it replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf, 0.0]))
        self.register_buffer("cache", torch.zeros(3), persistent=False)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen = 0.5 * self.seen + x.mean()  # another tensor, not the same one with other numbers
            self.cache += 1
        return torch.softmax(self.linear(x) + self.mask, dim=1) * self.cache[:1]


def net(momentum: float | None = 0.1, dropout: float = 0.5) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6, momentum=momentum), nn.Dropout(dropout), nn.Linear(6, 2))


def fit(flat: FlatModel, weights: np.ndarray, batches: list[Tensor], seed: int = 0) -> np.ndarray:
    return train(
        flat,
        weights,
        batches,
        lambda x: flat.model(x).square().mean(),
        settings=SETTINGS,
        rates=repeat(0.1),
        random=np.random.default_rng(seed),
    ).delta


def inputs(seed: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [5 + 3 * torch.randn(8, 3, generator=random) for _ in range(4)]


def test_parameters_come_first_then_statistics_and_neither_counters_nor_masks_nor_what_is_not_saved_travels() -> None:
    named = [(span.name, span.role, span.nonnegative) for span in spec_of(net()).spans]
    assert named == [
        *((name, "shared", False) for name in ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias")),
        ("1.running_mean", "buffer", False),
        ("1.running_var", "buffer", True),
    ]
    assert [span.name for span in spec_of(Masked()).spans] == ["linear.weight", "linear.bias", "seen"]


def test_statistics_go_flat_and_back_without_loss() -> None:
    model, where = net(), spec_of(net())
    vector = np.random.default_rng(0).random(where.size).astype(np.float32)
    load(model, vector)
    assert flatten(model).tobytes() == vector.tobytes()
    flat = FlatModel(net())
    flat.load(vector)
    assert flat.vector().tobytes() == vector.tobytes()
    assert flatten(flat.model).tobytes() == vector.tobytes()
    assert from_state_dict(where, state_dict(where, vector)).tobytes() == vector.tobytes()
    (other := net()).load_state_dict(state_dict(where, vector))
    assert flatten(other).tobytes() == vector.tobytes()


def test_a_delta_holds_how_far_an_agents_statistics_are_from_those_it_began_with() -> None:
    model = net(dropout=0.0)
    start, flat = flatten(model), FlatModel(model)
    delta = fit(flat, start, inputs(1)[:1])
    expected = nn.BatchNorm1d(6)
    expected(net()[0](inputs(1)[0]))
    np.testing.assert_allclose((start + delta)[-12:-6], expected.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose((start + delta)[-6:], expected.running_var.numpy(), rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_an_agents_training_depends_on_nobody_who_was_trained_before_in_the_same_process(momentum) -> None:
    start = flatten(net(momentum))
    alone = fit(FlatModel(net(momentum)), start, inputs(1))
    after = FlatModel(net(momentum))
    fit(after, start, inputs(2), seed=9)
    torch.manual_seed(12345)
    torch.rand(3)
    assert fit(after, start, inputs(1)).tobytes() == alone.tobytes()


def test_what_a_model_draws_itself_depends_on_the_given_stream_alone() -> None:
    start = flatten(net())
    one, same, other = (fit(FlatModel(net()), start, inputs(1), seed) for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes() != other.tobytes()
    load(model := net(), start)
    scored = [model.eval()(inputs(3)[0]) for _ in range(2)]
    assert torch.equal(*scored)


def test_a_module_may_replace_its_statistic_and_what_does_not_travel_is_as_it_was_built_for_each_agent() -> None:
    flat = FlatModel(Masked())
    start = flat.vector()
    first = fit(flat, start, inputs(1))
    assert first[-1] != 0
    assert flat.model.cache.tolist() == [4, 4, 4]
    assert fit(flat, start, inputs(1)).tobytes() == first.tobytes()
    assert np.isfinite(first).all()


def test_training_that_diverges_leaves_nothing_behind() -> None:
    flat = FlatModel(net())
    start = flat.vector()
    alone = fit(flat, start, inputs(1))
    assert not np.isfinite(fit(flat, start, [torch.full((8, 3), torch.inf)])).all()
    assert fit(flat, start, inputs(1)).tobytes() == alone.tobytes()


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([Span("a", (2,), 1, 3)], "has to begin at 0"),
        ([Span("a", (2,), 0, 2), Span("b", (2,), 1, 3)], "has to begin at 2"),
        ([Span("a", (2, 3), 0, 5)], "as many columns as its shape"),
        ([Span("a", (2,), 0, 2), Span("a", (2,), 2, 4)], "same name"),
        ([Span("a", (2,), 0, 2, "buffer"), Span("b", (2,), 2, 4)], "before buffers"),
    ],
)
def test_a_spec_that_is_no_order_of_tensors_is_refused(spans: list[Span], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Spec(tuple(spans))


def test_each_role_is_one_slice_of_the_vector() -> None:
    where = Spec((Span("a", (2,), 0, 2), Span("b", (3,), 2, 5, "buffer"), Span("c", (), 5, 6, "buffer")))
    assert (where.columns("shared"), where.columns("buffer"), where.size) == (slice(0, 2), slice(2, 6), 6)
    assert (where.n_shared, [span.name for span in where.buffers]) == (1, ["b", "c"])
    plain = Spec((Span("a", (2,), 0, 2),))
    assert (plain.columns("shared"), plain.columns("buffer")) == (slice(0, 2), slice(2, 2))

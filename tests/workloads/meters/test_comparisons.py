"""The model trained otherwise, alone or pooled: with the federation's budget, and the weights best on validation."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from neurogrid.config import load
from neurogrid.fl import local
from neurogrid.fl.local import LocalSettings
from neurogrid.fl.weights import FlatModel, flatten
from neurogrid.pipeline import settings as resolved
from neurogrid.randomness import generator
from neurogrid.workloads.meters import central
from neurogrid.workloads.meters.central import CentralSettings
from neurogrid.workloads.meters.evaluation.comparisons import train_alone, train_pooled
from neurogrid.workloads.meters.models import LossSettings, ModelSettings, build, forecast_loss
from neurogrid.workloads.meters.tensors import as_tensors, model_shape
from neurogrid.workloads.meters.windows import WindowSettings, build_shard, gather

WINDOWS = WindowSettings(history_slots=12, horizon_slots=3, known_future=True, residual=True)
MODEL = ModelSettings(name="linear", hidden=8, layers=1, surge_hidden=4)
LOSS = LossSettings(loss="l1", huber_delta=1.0, surge_weight=1.0)
LOCAL = LocalSettings("adam", 10, 32, 0.01, 1.0, 1.0, 0.0)  # a rate that stays: the last weights are not the best
SETTINGS = CentralSettings(WINDOWS, MODEL, LOSS, LOCAL, 200, (0.03,), 100, seed=5)


def by_hand(household, settings: CentralSettings, rate: float) -> list[tuple[float, np.ndarray]]:
    """Validation loss and weights after each twentieth of the steps, each training from the start."""
    shard = build_shard([(household, None)], settings.windows, ("train", "validation"))
    name = household.meta.household_id
    held_out = generator(settings.seed, "central", "validation", name).permutation(shard.origins["validation"])
    random = generator(settings.seed, "central", "batches", name)
    chosen = random.integers(0, len(shard.origins["train"]), (settings.steps, settings.local.batch_size))
    found = []
    for steps in range(settings.steps // 20, settings.steps + 1, settings.steps // 20):
        model = build(settings.model, model_shape(settings.windows), seed=settings.seed)
        start, flat = flatten(model), FlatModel(model)
        local.train(
            flat,
            start,
            (as_tensors(gather(shard, shard.origins["train"][rows])) for rows in chosen[:steps]),
            lambda windows: forecast_loss(model, settings.loss, windows),  # noqa: B023 - called at once
            settings=settings.local,
            rates=(rate * local.cosine(settings.local, step, settings.steps) for step in range(settings.steps)),
            random=generator(settings.seed, "central", "dropout", name),
        )
        model.eval()
        with torch.inference_mode():
            windows = as_tensors(gather(shard, held_out[: settings.validation_windows]))
            found.append((float(forecast_loss(model, settings.loss, windows)), flat.vector()))
    return found


def until_it_is_clear(looks: list[tuple[float, np.ndarray]]) -> list[tuple[float, np.ndarray]]:
    """The looks until five in a row were no better than the best before them."""
    for end in range(6, len(looks)):
        losses = [loss for loss, _ in looks[:end]]
        if min(losses[-5:]) >= min(losses[:-5]):
            return looks[:end]
    return looks


@pytest.mark.parametrize("rates", [(0.03,), (0.001, 0.03)])
def test_a_model_trained_alone_has_the_weights_that_were_best_on_validation(households, rates) -> None:
    household = households[0]
    looks = [look for rate in rates for look in until_it_is_clear(by_hand(household, SETTINGS, rate))]
    found = train_alone(household, replace(SETTINGS, learning_rates=rates))
    best, weights = min(looks, key=lambda look: look[0])
    assert found is not None
    assert best < looks[-1][0], "or nothing was chosen"
    assert found.tobytes() == weights.tobytes()


def test_a_training_that_gets_no_better_is_ended(households, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    real = central.gather

    def counted(shard, origins):
        taken.append(len(origins))
        return real(shard, origins)

    monkeypatch.setattr(central, "gather", counted)
    train_alone(households[0], replace(SETTINGS, learning_rates=(1e-12,), steps=400))
    assert sum(1 for size in taken if size == LOCAL.batch_size) == 6 * 20


def test_without_validation_windows_the_last_weights_count(households) -> None:
    settings = replace(SETTINGS, validation_windows=0, steps=40)
    found = train_alone(households[0], settings)
    assert found is not None
    last = list(islice(by_hand(households[0], replace(settings, validation_windows=1), 0.03), 20))[-1][1]
    assert found.tobytes() == last.tobytes()


def test_rivals_take_as_many_steps_as_the_federation() -> None:
    config = "rounds: {count: 6, agents_per_round: 10}\nlocal: {steps: 7}\nsampling: {agents: 20}\n"
    found = resolved.evaluation(load(config, []))
    assert (found.alone.steps, found.pooled.steps) == (21, 420)
    given = resolved.evaluation(load(config, ["evaluation.alone_steps=5", "evaluation.pooled_steps=9"]))
    assert (given.alone.steps, given.pooled.steps) == (5, 9)


def test_the_better_of_two_pooled_trainings_is_the_one_that_trying_both_would_keep(households) -> None:
    both = train_pooled(households[:2], replace(SETTINGS, learning_rates=(0.001, 0.03)))
    each = [train_pooled(households[:2], replace(SETTINGS, learning_rates=(rate,))) for rate in (0.001, 0.03)]
    assert each[0][0] != each[1][0]
    best = min(each, key=lambda tried: tried[0])
    assert (both[0], both[1].tobytes()) == (best[0], best[1].tobytes())
    unwatched = replace(SETTINGS, learning_rates=(0.03,), validation_windows=0, steps=40)
    assert train_pooled(households[:2], unwatched)[0] == 0

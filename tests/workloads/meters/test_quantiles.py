"""Quantile forecasts: heads, loss, what is usual, scores; against scoringrules and numpy."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import scoringrules
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_households import DAY, agent, fingerprints, make_household, write

from neurogrid.config import Config, load
from neurogrid.data.manifest import Manifest
from neurogrid.errors import ConfigError
from neurogrid.fl.local import LocalSettings
from neurogrid.fl.weights import flatten
from neurogrid.pipeline import settings
from neurogrid.storage import place
from neurogrid.workloads.meters.agent import (
    AgentTrainerFactory,
    TrainingSettings,
    new_model,
    vector_spec,
)
from neurogrid.workloads.meters.distribution import moments, quantiles_kwh
from neurogrid.workloads.meters.evaluation.quantiles import (
    OWN,
    USUAL,
    central,
    margin,
    quantile_figures,
    score_quantiles,
)
from neurogrid.workloads.meters.models import LossSettings, ModelSettings, build, compose, forecast_loss, point
from neurogrid.workloads.meters.models.quantiles import LEAST_STEP, pinball_loss
from neurogrid.workloads.meters.registry import MODELS, ModelSpec
from neurogrid.workloads.meters.tensors import as_tensors, model_shape
from neurogrid.workloads.meters.windows import MEDIAN, PROFILES, WindowSettings, build_shard, gather, profiles

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
WINDOWS = WindowSettings(12, 3, True, True, LEVELS)
MODEL = ModelSettings(name="linear", hidden=8, layers=1, surge_hidden=4)
LOCAL = LocalSettings(
    optimiser="adam",
    steps=10,
    batch_size=32,
    learning_rate=0.01,
    final_learning_rate_share=0.05,
    gradient_clip_norm=1.0,
    proximal_mu=0.0,
)


def training(levels: tuple[float, ...], model: ModelSettings = MODEL, rounds: int = 20) -> TrainingSettings:
    windows = dataclasses.replace(WINDOWS, quantiles=levels)
    return TrainingSettings(windows, model, LossSettings("l1", 1.0, 1.0, levels), LOCAL, rounds, 50, 100, seed=3)


def raw_and_usual(seed: int, levels: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    raw = 5 * torch.randn(6, 3, levels, generator=random)
    usual = torch.randn(6, 3, levels, generator=random).sort(dim=-1).values
    usual[0] = 0.5  # all days alike
    return raw, usual


class TestWithoutQuantiles:
    def test_a_default_model_has_the_spec_and_the_bits_it_had_before_there_were_any(self) -> None:
        plain = TrainingSettings(
            windows=WindowSettings(24, 4, True, True),
            model=settings.model(Config()),
            loss=settings.loss(Config()),
            local=LOCAL,
            rounds=4,
            validation_windows=50,
            cache_mb=100,
            seed=3,
        )
        assert hashlib.sha256(repr(vector_spec(plain)).encode()).hexdigest().startswith("df7b40ce9b09192b")
        weights = flatten(new_model(plain))
        assert hashlib.sha256(weights.tobytes()).hexdigest().startswith("6cc9b69a7af952b7")

    def test_a_small_run_scores_as_it_did_before_there_were_any(self, tmp_path) -> None:
        """By what it found, to six digits: the last bits are another processor's own."""
        households = [make_household(number) for number in range(2)]
        for household in households:
            write(household, tmp_path)
        agents = tuple(agent(household, f"A{i:04}") for i, household in enumerate(households))
        manifest = Manifest(1, 120, "natural", 1, 0.0, (), agents, (), (), fingerprints(tmp_path))
        plain = dataclasses.replace(
            training((), ModelSettings("city_lstm", 48, 1, 48), rounds=4), windows=WindowSettings(24, 4, True, True)
        )
        trainer = AgentTrainerFactory(place(str(tmp_path)), manifest, plain)()
        weights = flatten(new_model(plain))
        for number in range(1, 5):
            for name in ("A0000", "A0001"):
                weights = weights + trainer.train(name, number, weights).delta
        found = [trainer.evaluate(name, weights)["loss"] for name in ("A0000", "A0001")]
        assert found == pytest.approx([0.576155424118042, 0.6742688417434692], rel=1e-6)

    def test_nothing_more_is_kept_of_a_row(self) -> None:
        household = make_household(1)
        plain = build_shard([(household, None)], dataclasses.replace(WINDOWS, quantiles=()))
        more = build_shard([(household, None)], WINDOWS)
        assert plain.profiles.shape[1] == len(PROFILES)
        assert more.nbytes - plain.nbytes == 4 * len(LEVELS) * len(plain.kwh)


def test_windows_are_the_same_after_json_as_a_teacher_keeps_them() -> None:
    assert WindowSettings(**json.loads(json.dumps(vars(WINDOWS)))) == WINDOWS


class TestCompose:
    @given(st.integers(0, 2**32 - 1))
    def test_quantiles_never_cross_and_their_median_is_the_point_forecast(self, seed: int) -> None:
        raw, usual = raw_and_usual(seed)
        found = compose(raw, usual, LEVELS)
        assert (found.diff(dim=-1) >= 0).all()
        assert torch.equal(found[..., 3], point(raw))

    def test_they_start_as_wide_as_usual(self) -> None:
        _, usual = raw_and_usual(1)
        found = compose(torch.zeros_like(usual), usual, LEVELS)
        torch.testing.assert_close(found.diff(dim=-1), usual.diff(dim=-1) + LEAST_STEP, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("levels", [(0.5,), (0.5, 0.9), (0.1, 0.5)])
    def test_a_median_may_stand_at_an_end_or_alone(self, levels) -> None:
        raw, usual = raw_and_usual(2, len(levels))
        assert compose(raw, usual, levels).shape == raw.shape

    def test_the_loss_is_scoringrules_crps_and_of_the_median_alone_it_is_l1(self) -> None:
        raw, usual = raw_and_usual(3)
        quantiles, target = compose(raw, usual, LEVELS), torch.randn(6, 3, generator=torch.Generator().manual_seed(4))
        wanted = scoringrules.crps_quantile(target.numpy(), quantiles.numpy(), np.array(LEVELS)).mean()
        assert pinball_loss(quantiles, target, LEVELS).item() == pytest.approx(wanted, rel=1e-5)
        alone = pinball_loss(quantiles[..., 3:4], target, (0.5,))
        assert alone.item() == pytest.approx((target - quantiles[..., 3]).abs().mean().item(), rel=1e-5)


class TestUsual:
    def test_is_numpys_quantiles_of_the_measured_slots_of_the_28_days_before(self) -> None:
        household = make_household(3)
        found = profiles(household, shift_days=1, quantiles=LEVELS)[:, len(PROFILES) :]
        for row in (29 * DAY, 40 * DAY + 5, 70 * DAY + 11):
            days = row - DAY * np.arange(1, 29)
            days = days[household.observed[days]]
            np.testing.assert_allclose(found[row], np.quantile(household.kwh[days], LEVELS), rtol=1e-5)

    def test_its_median_is_the_profiles_median(self) -> None:
        found = profiles(make_household(3), shift_days=1, quantiles=LEVELS)
        np.testing.assert_allclose(found[:, len(PROFILES) + 3], found[:, MEDIAN], rtol=1e-6)

    def test_an_input_depends_on_nothing_from_its_origin_on(self) -> None:
        household = make_household(3)
        shard = build_shard([(household, None)], WINDOWS)
        at = len(shard.origins["test"]) // 2
        origin = shard.origins["test"][at]
        changed = dataclasses.replace(shard, kwh=shard.kwh.copy())
        later = dataclasses.replace(household, kwh=household.kwh.copy())
        start = len(household.kwh) - (len(shard.kwh) - origin)
        later.kwh[start:] += 7
        other = build_shard([(later, None)], WINDOWS)
        one, two = (gather(s, np.array([origin])) for s in (changed, other))
        assert np.array_equal(one.known, two.known)
        assert np.array_equal(one.usual_quantiles, two.usual_quantiles)
        assert not np.array_equal(one.target_kwh, two.target_kwh)


@pytest.mark.parametrize("name", ["linear", "city_lstm"])
class TestModels:
    def test_start_as_the_median_with_the_usual_spread(self, name: str) -> None:
        shard = build_shard([(make_household(2), None)], WINDOWS)
        batch = gather(shard, shard.origins["train"][:40])
        model = build(dataclasses.replace(MODEL, name=name), model_shape(WINDOWS), seed=1)
        output, surge = model(*as_tensors(batch)[:2])
        assert output.shape == (40, 3, 7)
        assert surge.shape == (40, 4)
        found = quantiles_kwh(output.detach().numpy(), batch, LEVELS)
        usual = batch.base_kwh[..., None] + batch.scale[..., None] * batch.usual_quantiles
        np.testing.assert_allclose(found, usual, atol=4 * LEAST_STEP * float(batch.scale.max()))

    def test_training_brings_the_loss_below_that_of_the_usual_quantiles(self, name: str, warehouse, manifest) -> None:
        wanted = training(LEVELS, dataclasses.replace(MODEL, name=name), rounds=6)
        trainer = AgentTrainerFactory(warehouse, manifest, wanted)()
        weights = flatten(new_model(wanted))
        before = trainer.evaluate("A0000", weights)["loss"]
        for number in range(1, 7):
            weights = weights + trainer.train("A0000", number, weights).delta
        assert trainer.evaluate("A0000", weights)["loss"] < before

    def test_a_guides_quantiles_are_learnt_from(self, name: str) -> None:
        shard = build_shard([(make_household(2), None)], WINDOWS)
        batch = as_tensors(gather(shard, shard.origins["train"][:16]))
        model = build(dataclasses.replace(MODEL, name=name), model_shape(WINDOWS), seed=1)
        loss = LossSettings("l1", 1.0, 0.0, LEVELS)
        same = torch.zeros(16, 3, 7)
        plain = forecast_loss(model, loss, batch)
        assert torch.equal(forecast_loss(model, loss, batch, towards=same, towards_weight=0.5), plain)
        assert forecast_loss(model, loss, batch, towards=same + 1, towards_weight=0.5) > plain


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("[0.1, 0.9]", "should contain 0.5"),
        ("[0.5, 0.1]", "that ascend"),
        ("[0.5, 0.5]", "that ascend"),
        ("[0, 0.5]", "above 0 and below 1"),
        ("[0.5, 1]", "above 0 and below 1"),
        (str([round(0.001 * i, 3) for i in range(401, 600)]), "at most 99"),
    ],
)
def test_quantiles_that_cannot_be_are_refused_in_words(given: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load("", [f"model.quantiles={given}"])


def test_a_loss_that_would_not_be_used_is_refused() -> None:
    with pytest.raises(ConfigError, match="pinball loss"):
        load("", ["model.quantiles=[0.5]", "local.loss=mse"])


def test_another_packages_model_forecasts_one_value_as_ever_and_is_refused_where_quantiles_are_asked_for(
    monkeypatch,
) -> None:
    spec = ModelSpec("theirs", "as others write them", lambda: torch.nn.Linear)
    monkeypatch.setitem(MODELS.built_in, "theirs", spec)
    assert load("", ["model.name=theirs"]).model.quantiles == []
    with pytest.raises(ConfigError, match=r"theirs forecasts one value and no quantiles; .* city_lstm or linear"):
        load("", ["model.name=theirs", "model.quantiles=[0.5]"])


class TestMoments:
    def test_are_those_of_a_uniform_distribution(self) -> None:
        levels = np.linspace(0.01, 0.99, 99)
        mean, variance = moments((2 * levels[None]).astype(np.float32), levels)
        assert mean[0] == pytest.approx(1, abs=0.01)
        assert variance[0] == pytest.approx(4 / 12, rel=0.03)

    def test_are_those_of_an_exponential_one_whose_tail_seven_quantiles_do_not_reach(self) -> None:
        mean, variance = moments(-np.log1p(-np.array([LEVELS])).astype(np.float32), LEVELS)
        assert mean[0] == pytest.approx(1, rel=0.06)
        assert variance[0] == pytest.approx(1, rel=0.06)

    def test_of_a_value_that_is_certain_are_that_and_zero(self) -> None:
        mean, variance = moments(np.full((2, 7), 0.3, np.float32), LEVELS)
        assert mean.tolist() == pytest.approx([0.3, 0.3])
        assert variance.tolist() == pytest.approx([0, 0], abs=1e-9)

    @given(st.integers(0, 2**32 - 1))
    def test_a_mean_lies_above_half_the_median_and_a_variance_is_not_negative(self, seed: int) -> None:
        quantiles = np.random.default_rng(seed).exponential(size=(5, 7)).astype(np.float32).cumsum(axis=1)
        mean, variance = moments(quantiles, LEVELS)
        assert (mean >= quantiles[:, 3] / 2).all()
        assert (variance >= 0).all()


class TestScores:
    def test_are_by_hand(self) -> None:
        household = make_household(1)
        model = build(MODEL, model_shape(WINDOWS), seed=1)
        found = score_quantiles(household, WINDOWS, model).parts["test"]
        shard = build_shard([(household, None)], WINDOWS)
        batch = gather(shard, shard.origins["test"])
        usual = shard.profiles[shard.origins["test"][:, None] + np.arange(3), len(PROFILES) :]
        own = quantiles_kwh(np.zeros((len(batch), 3, 7), np.float32), batch, LEVELS)
        for method, quantiles in ((OWN, own), (USUAL, usual)):
            crps = scoringrules.crps_quantile(batch.target_kwh, quantiles, np.array(LEVELS)).mean()
            assert 2 * found[method].pinball.mean() == pytest.approx(crps, rel=1e-4)
            within = (batch.target_kwh >= quantiles[..., 1]) & (batch.target_kwh <= quantiles[..., 5])
            assert found[method].covered[1] == pytest.approx(within.mean())
            width = (quantiles[..., 5] - quantiles[..., 1]).mean()
            assert found[method].width[1] == pytest.approx(width, rel=1e-5)
            assert found[method].crossed == 0

    def test_intervals_that_cover_too_little_cover_what_they_ought_to_once_corrected(self) -> None:
        """The made-up household is the same at all times, so what validation asks for is what the test part needs."""
        household = make_household(1)
        model = build(MODEL, model_shape(WINDOWS), seed=1)
        with torch.no_grad():
            model.forecast.bias.fill_(-3.0)  # the median too low, every step far too small
        found = score_quantiles(household, WINDOWS, model).parts["test"][OWN]
        for number, (_, _, nominal) in enumerate(central(LEVELS)):
            assert found.covered[number] < nominal - 0.3
            assert found.corrected_covered[number] == pytest.approx(nominal, abs=0.06)
            assert found.corrected_width[number] > found.width[number]

    @given(st.integers(1, 60), st.sampled_from([0.5, 0.8, 0.9]))
    def test_a_margin_covers_as_many_of_those_it_is_made_of_as_it_promises(self, count: int, nominal: float) -> None:
        missed = np.random.default_rng(count).normal(size=count).astype(np.float32)
        found = margin(missed, nominal)
        if np.isnan(found):
            assert np.ceil((count + 1) * nominal - 1e-9) > count
        else:
            assert (missed <= found).mean() >= nominal
            assert (missed < found).mean() <= nominal + 1 / count

    def test_figures_are_means_over_households_that_are_not_quiet(self) -> None:
        model = build(MODEL, model_shape(WINDOWS), seed=1)
        scores = [score_quantiles(make_household(number), WINDOWS, model) for number in range(4)]
        found = quantile_figures(scores, {"house3"}, LEVELS, seed=1, group="trained")["test"]
        crps = [2 * score.parts["test"][OWN].pinball.mean() for score in scores[:3]]
        usual = [2 * score.parts["test"][USUAL].pinball.mean() for score in scores[:3]]
        assert found[OWN].crps.value == pytest.approx(np.mean(crps))
        assert found[OWN].crps_below_usual_percent.value == pytest.approx(100 * (1 - np.mean(crps) / np.mean(usual)))
        assert [interval.nominal for interval in found[OWN].intervals] == [0.9, 0.8, 0.5]
        assert found[USUAL].crps_below_usual_percent.value == pytest.approx(0)

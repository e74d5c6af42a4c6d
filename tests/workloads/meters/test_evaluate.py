import dataclasses
import json
from datetime import UTC, datetime

import duckdb
import numpy as np
import pytest
from normed import NORMED, Normed

from neurogrid.backends.spark import SparkBackend
from neurogrid.data.manifest import Manifest
from neurogrid.errors import RunError
from neurogrid.fl.collect import Inbox, Rows, run_round, score
from neurogrid.fl.local import LocalSettings
from neurogrid.fl.update import RoundPlan
from neurogrid.fl.weights import flatten
from neurogrid.workloads.meters.agent import AgentTrainerFactory, TrainingSettings, new_model
from neurogrid.workloads.meters.central import CentralSettings
from neurogrid.workloads.meters.evaluation import (
    BoostingSettings,
    Evaluation,
    EvaluationSettings,
    evaluate,
)
from neurogrid.workloads.meters.evaluation.boosting import boost_alone, boost_pooled, forecaster
from neurogrid.workloads.meters.evaluation.figures import outputs
from neurogrid.workloads.meters.evaluation.metrics import mase_scale_kwh
from neurogrid.workloads.meters.evaluation.score import score_household
from neurogrid.workloads.meters.models import LossSettings, ModelSettings, build
from neurogrid.workloads.meters.registry import MODELS, ModelSpec
from neurogrid.workloads.meters.tensors import model_shape
from neurogrid.workloads.meters.windows import WindowSettings, build_shard, gather

WINDOWS = WindowSettings(history_slots=12, horizon_slots=3, known_future=True, residual=True)
MODEL = ModelSettings(name="linear", hidden=8, layers=1, surge_hidden=4)
LOSS = LossSettings(loss="l1", huber_delta=1.0, surge_weight=1.0)
LOCAL = LocalSettings(
    optimiser="adam",
    steps=10,
    batch_size=32,
    learning_rate=0.01,
    final_learning_rate_share=0.05,
    gradient_clip_norm=1.0,
    proximal_mu=0.0,
)
CENTRAL = CentralSettings(WINDOWS, MODEL, LOSS, LOCAL, 60, (0.02, 0.001), 100, seed=5)
BOOSTING = BoostingSettings(WINDOWS, seed=5)
COMPARISONS = ("ridge", "alone", "pooled", "gbm_alone", "gbm_pooled")
SETTINGS = EvaluationSettings(WINDOWS, MODEL, COMPARISONS, CENTRAL, CENTRAL, BOOSTING, seed=5)


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return flatten(build(MODEL, model_shape(WINDOWS), seed=1))


@pytest.fixture(scope="module")
def found(warehouse, manifest, weights) -> Evaluation:
    return evaluate(None, warehouse, manifest, {"federated": weights}, SETTINGS)


def test_spark_and_this_process_find_the_same(spark, warehouse, manifest, weights, found) -> None:
    steps: list[tuple[str, int]] = []
    done: dict[str, list[tuple[int, int]]] = {}

    def progress(count: int, total: int) -> None:
        done.setdefault(steps[-1][0], []).append((count, total))

    there = evaluate(
        *(spark, warehouse, manifest, {"federated": weights}, SETTINGS),
        lambda step, count: steps.append((step, count)),
        progress,
    )
    assert json.dumps(there.to_dict()) == json.dumps(found.to_dict())
    trained = [("ridge", 1), ("training alone", 5), ("training pooled", 2), ("boosting pooled", 1)]
    assert steps == [*trained, ("scoring", 7), ("examples", 2)]
    for step, count in steps:
        assert done[step][0] == (0, count)
        assert done[step][-1] == (count, count)
        assert done[step] == sorted(done[step])


def test_errors_are_means_over_households_and_mase_is_by_hand(households, found) -> None:
    group = found.parts["test"]["trained"]
    maes, rmses, mases = [], [], []
    for household in households[:4]:  # the fifth is quiet
        shard = build_shard([(household, None)], WINDOWS)
        batch = gather(shard, shard.origins["test"])
        error = np.abs(batch.base_kwh.astype(float) - batch.target_kwh)  # the start weights forecast the median
        maes.append(error.mean())
        rmses.append(np.sqrt((error**2).mean()))
        mases.append(error.mean() / mase_scale_kwh(household))
    for name in ("federated", "median_28_days"):
        assert group.methods[name].mae.value == pytest.approx(np.mean(maes))
        assert group.methods[name].rmse.value == pytest.approx(np.mean(rmses))
        assert group.methods[name].mase.value == pytest.approx(np.mean(mases))
        assert len(group.methods[name].mae_by_slot) == 3
    assert group.methods["federated"].mae_below_median_percent.value == pytest.approx(0, abs=1e-6)


def test_boosted_trees_forecast_each_household_with_its_own_or_with_all_readings(households, found) -> None:
    pooled = forecaster(boost_pooled(iter(households[:5]), 5, BOOSTING))
    for name, household in (("trained", households[1]), ("held_out", households[5])):
        shard = build_shard([(household, None)], WINDOWS)
        batch = gather(shard, shard.origins["test"])
        own = found.parts["test"][name].mae_by_household[household.meta.household_id]
        trees = {"gbm_pooled": pooled}
        if name == "trained":
            trees["gbm_alone"] = forecaster(boost_alone(household, BOOSTING) or "")
        for method, forecast in trees.items():
            kwh = (batch.base_kwh + batch.scale * forecast(batch)).astype(float)
            assert own[method] == pytest.approx(np.abs(kwh - batch.target_kwh).mean())
        assert ("gbm_alone" in own) == (name == "trained")


def test_the_runs_model_is_put_against_every_other_over_the_households_that_count(found) -> None:
    group = found.parts["test"]["trained"]
    assert {(pair.method, pair.rival) for pair in group.paired} == {
        ("federated", name) for name in group.methods if name != "federated"
    }
    counted = [group.mae_by_household[household] for household in group.households]
    for pair in group.paired:
        changes = [own["federated"] / own[pair.rival] for own in counted]
        means = [np.mean([own[name] for own in counted]) for name in ("federated", pair.rival)]
        assert pair.households == 4
        assert pair.mae_change_percent.value == pytest.approx(100 * (means[0] / means[1] - 1))
        assert pair.worst_tenth_percent == pytest.approx(100 * (max(changes) - 1))
    table = found.to_markdown()
    assert "against each other method" in table
    assert "not shown to differ" in table  # four households can show nothing
    assert "| lower |" not in table
    assert "| higher |" not in table


def test_a_gain_in_surges_is_that_over_the_usual_share_in_every_group_and_for_every_output(found) -> None:
    for group in found.parts["test"].values():
        for surges in group.surges:
            usual = surges.methods["usual_share"].household_f1.value
            for name, how in surges.methods.items():
                gain = how.household_f1.value - usual
                assert how.household_f1_above_usual.value == pytest.approx(gain, abs=1e-9), name


def test_means_are_those_of_the_table_of_households(found) -> None:
    households = found.households  # noqa: F841 - named in the queries
    rows = duckdb.sql(
        """select "group", part, method, avg(mae_kwh), avg(rmse_kwh), 100 * sum(bias_kwh) / sum(load_kwh), median(mase)
        from households where not quiet group by all"""
    ).fetchall()
    assert len(rows) == 2 * sum(len(group.methods) for group in found.parts["test"].values())
    for group, part, method, mae, rmse, bias, mase in rows:
        figures = found.parts[part][group].methods[method]
        wanted = (figures.mae.value, figures.rmse.value, figures.bias_percent.value, figures.mase_median.value)
        assert (mae, rmse, bias, mase) == pytest.approx(wanted)
    assert {name for (name,) in duckdb.sql("select distinct household_id from households where quiet").fetchall()} == {
        "house4"
    }


def test_a_bias_is_that_of_the_sum_by_hand(households, found) -> None:
    forecast = measured = 0.0
    for household in households[:4]:
        shard = build_shard([(household, None)], WINDOWS)
        batch = gather(shard, shard.origins["test"])
        forecast += batch.base_kwh.astype(float).mean()
        measured += batch.target_kwh.astype(float).mean()
    bias = found.parts["test"]["trained"].methods["median_28_days"].bias_percent
    assert bias.value == pytest.approx(100 * (forecast / measured - 1))
    assert bias.low < bias.value < bias.high


def test_households_of_zeros_are_listed_and_not_counted(found) -> None:
    group = found.parts["test"]["trained"]
    assert group.quiet == ("house4",)
    assert group.households == ("house0", "house1", "house2", "house3")
    assert set(group.mae_by_household) == {f"house{i}" for i in range(5)}
    assert found.parts["test"]["held_out"].households == ("house5", "house6")


@pytest.mark.parametrize(("zeros_in", "quiet"), [("training", True), ("test", False)])
def test_whether_a_household_is_quiet_is_told_by_its_training_time_alone(households, weights, zeros_in, quiet) -> None:
    household = households[0]
    kwh = household.kwh.copy()
    if zeros_in == "training":
        kwh[: household.slot(household.meta.train_end)] = 0
    else:
        kwh[household.slot(household.meta.validation_end) :] = 0
    model = build(MODEL, model_shape(WINDOWS), seed=1)
    found = score_household(dataclasses.replace(household, kwh=kwh), WINDOWS, model, {"federated": weights}, {})
    assert found.quiet is quiet


def test_training_beats_the_naive_forecasts_where_there_is_something_to_learn(found) -> None:
    methods = found.parts["test"]["trained"].methods
    assert methods["pooled"].mae.value < methods["median_28_days"].mae.value * 1.02
    assert methods["ridge_federated"].rmse.value < methods["mean_28_days"].rmse.value
    assert methods["median_28_days"].mae.value < methods["persistence"].mae.value
    assert methods["federated"].better_than_alone_share is not None
    assert methods["alone"].households == 4
    assert "alone" not in found.parts["test"]["held_out"].methods
    assert "ridge_federated" in found.parts["test"]["held_out"].methods


def test_always_and_never_are_what_prevalence_says(found) -> None:
    for surges in found.parts["test"]["trained"].surges:
        p = surges.prevalence.value
        assert surges.methods["always"].f1.value == pytest.approx(2 * p / (1 + p))
        assert surges.methods["never"].accuracy.value == pytest.approx(1 - p)
        assert surges.methods["never"].recall.value == 0
    assert tuple(s.output for s in found.parts["test"]["trained"].surges) == outputs(3)


def test_nothing_is_tuned_on_test(households, manifest, warehouse, weights, found, tmp_path) -> None:
    from made_households import fingerprints, write

    from neurogrid.storage import place

    for household in households:
        end = household.slot(household.meta.validation_end)
        kwh = household.kwh.copy()
        kwh[end:] = kwh[end:][::-1] + 1
        write(dataclasses.replace(household, kwh=kwh), tmp_path)
    reversed_test = dataclasses.replace(manifest, fingerprints=fingerprints(tmp_path))
    other = evaluate(None, place(str(tmp_path)), reversed_test, {"federated": weights}, SETTINGS)
    assert other.surge_cuts == found.surge_cuts
    assert other.ridge_alpha == found.ridge_alpha
    one, two = (e.parts["test"]["trained"].methods["persistence"].mae.value for e in (found, other))
    assert one != two


def test_the_tables_name_every_method_and_json_has_no_nan(found) -> None:
    text = found.to_markdown()
    for words in ("federated", "each household alone", "median of the slot", "Better off federated", "house4", "never"):
        assert words in text
    assert "nan" not in text
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_tables_give_every_error_of_every_slot_of_the_horizon(found) -> None:
    methods = found.parts["test"]["trained"].methods
    lines = found.to_markdown().splitlines()
    at = lines.index("Errors by slot of the horizon:")
    assert lines[at + 2].count("MAE") == lines[at + 2].count("RMSE") == lines[at + 2].count("MASE") == 2
    for slot, line in enumerate(lines[at + 4 : at + 7]):
        assert line.startswith(f"| {slot + 1} | {120 * slot} to {120 * slot + 120} |")
        for name in ("federated", "median_28_days"):
            assert f" {methods[name].mae_by_slot[slot].value:.4f} (" in line
            assert f" {methods[name].rmse_by_slot[slot].value:.4f} (" in line
            assert f" {methods[name].mase_by_slot[slot].value:.3f} (" in line


def test_a_missing_household_is_named_with_its_file(warehouse, manifest: Manifest, weights) -> None:
    part = dataclasses.replace(manifest.agents[0].parts[0], household_id="gone")
    broken = dataclasses.replace(manifest, agents=(dataclasses.replace(manifest.agents[0], parts=(part,)),))
    with pytest.raises(RunError, match=r"(?s)household gone.*Household_ID=gone"):
        evaluate(None, warehouse, broken, {"federated": weights}, SETTINGS)


def test_readings_that_changed_since_the_manifest_are_never_scored(households, manifest, weights, tmp_path) -> None:
    from made_households import write

    from neurogrid.storage import place

    for household in households:
        kwh = household.kwh * 2 if household is households[1] else household.kwh
        write(dataclasses.replace(household, kwh=kwh), tmp_path)
    with pytest.raises(RunError, match=r"(?s)household house1\n.*Household_ID=house1.*not the file that the manifest"):
        evaluate(None, place(str(tmp_path)), manifest, {"federated": weights}, SETTINGS)


class TestAgentTrainer:
    SETTINGS = TrainingSettings(WINDOWS, ModelSettings("city_lstm", 8, 1, 4), LOSS, LOCAL, 20, 50, 100, seed=3)

    @pytest.fixture
    def factory(self, warehouse, manifest) -> AgentTrainerFactory:
        return AgentTrainerFactory(warehouse, manifest, self.SETTINGS)

    @pytest.fixture
    def start(self) -> np.ndarray:
        return flatten(build(self.SETTINGS.model, model_shape(WINDOWS), seed=3))

    def test_the_same_seed_round_and_agent_give_the_same_bits_in_any_process(self, spark, factory, start) -> None:
        here = factory()
        here.train("A0001", 1, start)  # what it did before does not matter
        expected = here.train("A0000", 2, start)

        def there(_: object) -> bytes:
            return factory().train("A0000", 2, start).delta.tobytes()

        assert spark.sparkContext.parallelize([1], 1).map(there).collect() == [expected.delta.tobytes()]
        assert expected.windows > 500
        assert expected.delta.dtype == np.float32
        for other in (here.train("A0000", 3, start), here.train("A0001", 2, start)):
            assert other.delta.tobytes() != expected.delta.tobytes()

    def test_a_model_with_statistics_and_dropout_owes_nothing_to_who_was_trained_before(
        self, warehouse, manifest, monkeypatch
    ) -> None:
        monkeypatch.setitem(MODELS.built_in, "normed", ModelSpec("normed", "as others write them", lambda: Normed))
        settings = dataclasses.replace(self.SETTINGS, model=NORMED)
        factory, start = AgentTrainerFactory(warehouse, manifest, settings), flatten(new_model(settings))
        alone, after = factory(), factory()
        after.train("A0001", 1, start)
        after.evaluate("A0001", start)
        trained = alone.train("A0000", 2, start)
        assert after.train("A0000", 2, start).delta.tobytes() == trained.delta.tobytes()
        assert trained.delta[-17:].any()  # the statistics
        scores = [trainer.evaluate("A0000", start + trained.delta) for trainer in (alone, after, after)]
        assert scores == [scores[0]] * 3

    def test_training_lowers_the_validation_loss(self, warehouse, manifest, start) -> None:
        # Without the profiles to start from, there is everything to learn.
        bare = dataclasses.replace(self.SETTINGS, windows=dataclasses.replace(WINDOWS, residual=False))
        trainer, weights = AgentTrainerFactory(warehouse, manifest, bare)(), start
        before = trainer.evaluate("A0000", weights)
        for number in range(1, 15):
            weights = weights + trainer.train("A0000", number, weights).delta
        after = trainer.evaluate("A0000", weights)
        assert after["loss"] < 0.9 * before["loss"]
        assert after["windows"] == before["windows"] == 50

    def test_it_holds_what_it_has_loaded_as_far_as_its_memory_goes(self, warehouse, manifest, start) -> None:
        none = dataclasses.replace(self.SETTINGS, cache_mb=0)
        trainer = AgentTrainerFactory(warehouse, manifest, none)()
        trainer.train("A0000", 1, start)
        assert trainer.holds("A0000")
        trainer.train("A0001", 1, start)
        assert trainer.holds("A0001")
        assert not trainer.holds("A0000")

    def test_an_agent_that_cannot_be_read_or_is_unknown_is_named(self, warehouse, manifest, start) -> None:
        part = dataclasses.replace(manifest.agents[0].parts[0], household_id="gone")
        broken = dataclasses.replace(manifest.agents[0], parts=(part,))
        trainer = AgentTrainerFactory(warehouse, dataclasses.replace(manifest, agents=(broken,)), self.SETTINGS)()
        with pytest.raises(RunError, match=r"(?s)agent A0000.*Household_ID=gone"):
            trainer.train("A0000", 1, start)
        with pytest.raises(RunError, match="A0009 is not in the manifest"):
            trainer.evaluate("A0009", start)

    def test_readings_that_changed_in_mid_run_are_not_trained_on(self, households, manifest, start, tmp_path) -> None:
        from made_households import write

        from neurogrid.storage import place

        for household in households[:2]:
            write(household, tmp_path)
        factory = AgentTrainerFactory(place(str(tmp_path)), manifest, self.SETTINGS)
        holds_it, comes_later = factory(), factory()
        before = holds_it.train("A0000", 1, start)
        (file,) = tmp_path.glob("meters/*/Household_ID=house0/*.parquet")
        file.unlink()
        file.parent.rmdir()
        write(dataclasses.replace(households[0], kwh=households[0].kwh * 3), tmp_path)
        with pytest.raises(RunError, match=r"(?s)agent A0000.*house0.*not the file that the manifest was made from"):
            comes_later.train("A0000", 1, start)
        assert comes_later.train("A0001", 1, start).windows > 0
        assert holds_it.train("A0000", 1, start).delta.tobytes() == before.delta.tobytes()

    def test_a_round_on_spark_opens_no_household_in_the_driver(
        self, spark, exchange, factory, start, monkeypatch
    ) -> None:
        def opened(*_: object) -> None:
            raise AssertionError("the driver has opened a household's readings")

        monkeypatch.setattr("neurogrid.data.manifest.read_household", opened)
        agents = tuple(agent.agent_id for agent in factory.manifest.agents)
        with SparkBackend(spark, factory, start.size, exchange) as backend:
            inbox = Inbox(backend)
            result = run_round(inbox, RoundPlan(1, agents, start, 60.0), Rows())
            scores = score(inbox, agents, 1, start, 60.0)
        assert [update.agent for update in result.updates] == list(agents) == list(scores)
        with pytest.raises(AssertionError, match="opened"):
            factory().train("A0000", 1, start)

    @pytest.mark.parametrize(
        ("of_agent", "of_manifest", "said"),
        [
            (
                {"train_end": datetime(2024, 1, 9, tzinfo=UTC)},
                {},
                "train_end is 2024-03-04.*by the manifest 2024-01-09",
            ),
            ({}, {"cadence_minutes": 60}, "slots of 120 min, by the manifest of 60"),
        ],
    )
    def test_readings_that_are_not_as_the_manifest_says_are_refused_where_they_are(
        self, warehouse, manifest, start, of_agent, of_manifest, said
    ) -> None:
        first = dataclasses.replace(manifest.agents[0], **of_agent)
        other = dataclasses.replace(manifest, agents=(first, *manifest.agents[1:]), **of_manifest)
        with pytest.raises(RunError, match=rf"(?s)agent A0000.*{said}"):
            AgentTrainerFactory(warehouse, other, self.SETTINGS)().train("A0000", 1, start)

    def test_an_agent_without_training_windows_is_named(self, warehouse, manifest, start) -> None:
        part = dataclasses.replace(manifest.agents[0].parts[0], blocks=(500,))
        late = dataclasses.replace(manifest.agents[0], parts=(part,))
        trainer = AgentTrainerFactory(warehouse, dataclasses.replace(manifest, agents=(late,)), self.SETTINGS)()
        with pytest.raises(RunError, match="A0000 has no training windows"):
            trainer.train("A0000", 1, start)
        assert np.isnan(trainer.evaluate("A0000", start)["loss"])

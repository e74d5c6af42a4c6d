"""Personal models: fine-tuned where the readings are, chosen by own validation, kept in files that are checked."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from neurogrid.config import load
from neurogrid.errors import RunError
from neurogrid.fl.local import LocalSettings
from neurogrid.fl.record import weights_sha256
from neurogrid.fl.weights import FlatModel, flatten
from neurogrid.fl.weights import load as load_weights
from neurogrid.pipeline import settings as resolved
from neurogrid.storage import place
from neurogrid.workloads.meters.agent import AgentTrainerFactory, TrainingSettings, completed
from neurogrid.workloads.meters.central import CentralSettings
from neurogrid.workloads.meters.evaluation import BoostingSettings, EvaluationSettings, evaluate
from neurogrid.workloads.meters.models import LossSettings, ModelSettings, build
from neurogrid.workloads.meters.personal import Personal, PersonalSettings, blended, personalise
from neurogrid.workloads.meters.personal_files import PersonalFiles, newcomer
from neurogrid.workloads.meters.tensors import as_tensors, model_shape
from neurogrid.workloads.meters.windows import MEDIAN, WindowSettings, build_shard, gather

WINDOWS = WindowSettings(history_slots=12, horizon_slots=3, known_future=True, residual=True)
MODEL = ModelSettings("city_lstm", 8, 1, 4)
LOSS = LossSettings(loss="l1", huber_delta=1.0, surge_weight=1.0)
LOCAL = LocalSettings("adam", 4, 32, 0.01, 0.05, 1.0, 0.0, 3)
TUNING = CentralSettings(WINDOWS, MODEL, LOSS, LOCAL, 30, (0.01,), 200, seed=5, looks=2)
SETTINGS = PersonalSettings(TUNING, ("usual", "federated", "personal"), 4, dataclasses.replace(TUNING, steps=10))
ALL = dataclasses.replace(SETTINGS, candidates=("usual", "federated", "personal", "alone"))
TRAINING = TrainingSettings(WINDOWS, MODEL, LOSS, LOCAL, 3, 50, 100, seed=5)


@pytest.fixture
def federated() -> np.ndarray:
    random = np.random.default_rng(3)
    weights = flatten(build(MODEL, model_shape(WINDOWS), seed=5))
    return weights + random.normal(0, 0.05, weights.size).astype(np.float32)


@pytest.fixture
def shard(households):
    return build_shard([(households[0], None)], WINDOWS, ("train", "validation"))


def validation_mae(shard, weights: np.ndarray | None, settings=WINDOWS) -> float:
    """Over all validation windows, scaled; of the 28-day median where there are no weights."""
    origins = shard.origins["validation"]
    batch = gather(shard, origins)
    if weights is None:
        median = shard.profiles[origins[:, None] + np.arange(WINDOWS.horizon_slots), MEDIAN]
        return float(np.abs((median - batch.target_kwh) / batch.scale).mean())
    model = build(MODEL, model_shape(settings), seed=5).eval()
    load_weights(model, weights)
    windows = as_tensors(batch)
    with torch.inference_mode():
        forecast, _ = model(windows.history, windows.known)
    return float(np.abs(forecast.numpy() - batch.target).mean())


def test_the_losses_are_those_of_the_weights_that_are_kept(shard, federated) -> None:
    every = dataclasses.replace(ALL, tuning=dataclasses.replace(TUNING, validation_windows=10**6))
    found = personalise(shard, federated, every, "me")
    assert set(found.weights) == {"personal", "alone"}
    wanted = {"usual": None, "federated": federated, **found.weights}
    for name, weights in wanted.items():
        assert found.losses[name] == pytest.approx(validation_mae(shard, weights), rel=1e-5)
    assert found.losses["personal"] < found.losses["federated"]


@pytest.mark.parametrize("parts", [1, 4])
def test_the_choice_is_the_best_of_all_splits_and_so_no_worse_than_any_candidate(shard, federated, parts) -> None:
    found = personalise(shard, federated, dataclasses.replace(ALL, parts=parts), "me")
    assert sum(found.shares.values()) == pytest.approx(1)
    assert all((share * parts) % 1 == 0 for share in found.shares.values())
    assert found.loss <= min(found.losses.values()) + 1e-7
    if parts == 1:
        (chosen,) = found.shares
        assert found.losses[chosen] == found.loss == min(found.losses.values())


def test_with_a_distance_to_pay_for_it_stays_near_the_federated_weights(shard, federated) -> None:
    def distance(mu: float) -> float:
        tuning = dataclasses.replace(TUNING, local=dataclasses.replace(LOCAL, proximal_mu=mu), validation_windows=0)
        found = personalise(shard, federated, dataclasses.replace(SETTINGS, tuning=tuning), "me")
        return float(np.linalg.norm(found.weights["personal"] - federated))

    assert 0 < distance(10.0) < 0.7 * distance(0.0)


def test_a_federated_model_that_is_bad_for_a_household_is_not_chosen(shard, federated) -> None:
    few = dataclasses.replace(SETTINGS, candidates=("usual", "federated"), parts=1)
    found = personalise(shard, federated + 1, few, "me")
    assert found.shares == {"usual": 1.0}
    assert found.weights == {}


def test_it_depends_on_its_arguments_alone(shard, federated) -> None:
    one, other = (personalise(shard, federated, SETTINGS, "me") for _ in range(2))
    assert one.weights["personal"].tobytes() == other.weights["personal"].tobytes()
    assert (one.shares, one.losses, one.loss) == (other.shares, other.losses, other.loss)
    assert (
        personalise(shard, federated, SETTINGS, "you").weights["personal"].tobytes()
        != one.weights["personal"].tobytes()
    )


def test_without_validation_windows_it_takes_what_all_have_and_without_training_nothing_is_tuned(
    shard, federated
) -> None:
    no_choice = dataclasses.replace(shard, origins={**shard.origins, "validation": shard.origins["validation"][:0]})
    found = personalise(no_choice, federated, SETTINGS, "me")
    assert found.shares == {"federated": 1.0}
    assert math.isnan(found.loss)
    nothing = dataclasses.replace(shard, origins={**shard.origins, "train": shard.origins["train"][:0]})
    found = personalise(nothing, federated, SETTINGS, "me")
    assert found.weights == {}
    assert set(found.losses) == {"usual", "federated"}


@given(st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3), st.integers(0, 4), st.integers(0, 4))
def test_a_blend_is_the_weighted_mean(values, a, b) -> None:
    shares = {"usual": a / 8, "federated": b / 8, "personal": (8 - a - b) / 8}
    given_ = {name: np.full((2, 3), value, np.float32) for name, value in zip(shares, values, strict=True)}
    expected = np.average(values, weights=list(shares.values()))
    assert np.allclose(blended(shares, given_), expected, atol=1e-5)


class TestFiles:
    @pytest.fixture
    def kept(self, tmp_path) -> PersonalFiles:
        return PersonalFiles(place(str(tmp_path)), SETTINGS)

    @pytest.fixture
    def mine(self) -> Personal:
        weights = np.arange(6, dtype=np.float32)
        return Personal({"personal": weights}, {"federated": 0.25, "personal": 0.75}, {"federated": 0.5}, 0.4)

    def test_what_was_written_is_found_for_these_weights_and_settings_only(self, kept, mine) -> None:
        kept.write("A1", "abc", "r", mine)
        found = kept.find("A1", "abc", 6)
        assert found is not None
        assert found.weights["personal"].tobytes() == mine.weights["personal"].tobytes()
        assert (found.shares, found.losses, found.loss) == (mine.shares, mine.losses, mine.loss)
        assert kept.find("A1", "abd", 6) is None
        assert kept.find("A2", "abc", 6) is None
        assert kept.find("A1", "abc", 6, "r") is not None
        assert kept.find("A1", "abc", 6, "newer") is None
        other = dataclasses.replace(SETTINGS, parts=1)
        assert dataclasses.replace(kept, settings=other).find("A1", "abc", 6) is None

    def test_an_id_that_is_a_path_is_refused(self, kept, mine) -> None:
        for agent in ("..", "a/b", "../../x", ""):
            with pytest.raises(RunError, match="personal model cannot be kept"):
                kept.write(agent, "abc", "r", mine)

    def test_every_damaged_file_is_refused_and_named(self, kept, mine, tmp_path) -> None:
        kept.write("A1", "abc", "r", mine)
        file = tmp_path / "personal" / "A1.safetensors"
        whole = file.read_bytes()
        random = np.random.default_rng(1)
        refused = 0
        for at in [*range(0, len(whole), 7), *random.integers(0, len(whole), 200)]:
            for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :]):
                file.write_bytes(content)
                try:
                    found = kept.find("A1", "abc", 6)
                except RunError as error:
                    refused += 1
                    assert "A1.safetensors" in error.found  # noqa: PT017
                else:  # a changed figure is still a figure: only types, ranges and sums can be checked
                    assert found is None or found.weights["personal"].shape == (6,)
        assert refused > 100

    @pytest.mark.parametrize(
        "changed",
        [
            {"agent": "A2"},
            {"shares": {"federated": 0.5}},
            {"shares": {"federated": -1, "personal": 2}},
            {"shares": {"alone": 1}},
            {"shares": {"federated": True}},
            {"losses": [1]},
            {"loss": "0.1"},
            {"loss": 1e400},
        ],
    )
    def test_metadata_that_cannot_be_are_refused(self, kept, mine, tmp_path, changed) -> None:
        kept.write("A1", "abc", "r", mine)
        file = tmp_path / "personal" / "A1.safetensors"
        content = file.read_bytes()
        size = int.from_bytes(content[:8], "little")
        said = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["neurogrid"])
        file.write_bytes(save(dict(mine.weights), {"neurogrid": json.dumps({**said, **changed})}))
        with pytest.raises(RunError, match="personal model of agent A1 is damaged"):
            kept.find("A1", "abc", 6)

    @pytest.mark.parametrize(
        "tensors",
        [
            {"personal": np.zeros(5, np.float32)},
            {"personal": np.zeros(6, np.float64)},
            {"personal": np.full(6, np.nan, np.float32)},
            {"personal": np.zeros(6, np.float32), "federated": np.zeros(6, np.float32)},
            {},
        ],
    )
    def test_weights_that_cannot_be_are_refused(self, kept, mine, tmp_path, tensors) -> None:
        kept.write("A1", "abc", "r", mine)
        file = tmp_path / "personal" / "A1.safetensors"
        content = file.read_bytes()
        size = int.from_bytes(content[:8], "little")
        file.write_bytes(save(tensors, json.loads(content[8 : 8 + size])["__metadata__"]))
        with pytest.raises(RunError, match="personal model of agent A1 is damaged"):
            kept.find("A1", "abc", 6)


class TestAgents:
    @pytest.fixture
    def kept(self, tmp_path) -> PersonalFiles:
        return PersonalFiles(place(str(tmp_path)), SETTINGS)

    def trainer(self, warehouse, manifest, kept, training=TRAINING):
        return AgentTrainerFactory(warehouse, manifest, training, None, kept)()

    def test_an_agent_keeps_what_it_made_and_says_how_good_it_is(
        self, warehouse, manifest, kept, federated, shard
    ) -> None:
        said = self.trainer(warehouse, manifest, kept).adapt("A0000", federated)
        found = kept.find("A0000", weights_sha256(federated), federated.size)
        assert found is not None
        expected = personalise(shard, federated, SETTINGS, "A0000")
        assert found.weights["personal"].tobytes() == expected.weights["personal"].tobytes()
        assert said["loss"] == found.loss
        assert said["share_personal"] == found.shares.get("personal", 0.0)
        assert said["windows"] == len(shard.origins["train"])

    def test_asked_again_it_does_not_train_again_unless_its_file_is_damaged(
        self, warehouse, manifest, kept, federated, tmp_path, monkeypatch
    ) -> None:
        from neurogrid.workloads.meters import agent

        trained = itertools.count()
        real = agent.personalise
        monkeypatch.setattr(agent, "personalise", lambda *given_: (next(trained), real(*given_))[1])
        trainer = self.trainer(warehouse, manifest, kept)
        first = trainer.adapt("A0000", federated)
        assert trainer.adapt("A0000", federated) == first
        assert next(trained) == 1
        file = tmp_path / "personal" / "A0000.safetensors"
        whole = file.read_bytes()
        file.write_bytes(whole[:100])
        assert trainer.adapt("A0000", federated) == first
        assert file.read_bytes() == whole
        trainer.adapt("A0000", federated + 0.01)
        assert file.read_bytes() != whole

    def test_private_layers_are_fitted_first_and_then_tuned_with_the_rest(
        self, warehouse, manifest, kept, households
    ) -> None:
        private = dataclasses.replace(TRAINING, private=("forecast",))
        start = FlatModel(build(MODEL, model_shape(WINDOWS), seed=5), private.private).vector()
        self.trainer(warehouse, manifest, kept, private).adapt("A0000", start)
        whole = flatten(build(MODEL, model_shape(WINDOWS), seed=5)).size
        found = kept.find("A0000", weights_sha256(start), whole)
        assert found is not None
        shard = build_shard([(households[0], None)], WINDOWS, ("train", "validation"))
        # The agent's private layers are fitted by its id, as in every round.
        renamed = dataclasses.replace(households[0], meta=dataclasses.replace(households[0].meta, household_id="A0000"))
        expected = personalise(shard, completed(start, renamed, private, "A0000"), SETTINGS, "A0000")
        assert found.weights["personal"].tobytes() == expected.weights["personal"].tobytes()

    def test_a_run_without_them_says_so(self, warehouse, manifest, federated) -> None:
        trainer = AgentTrainerFactory(warehouse, manifest, TRAINING)()
        with pytest.raises(RunError, match="makes no personal models"):
            trainer.adapt("A0000", federated)


def test_an_evaluation_scores_what_agents_keep_and_makes_what_others_lack(
    warehouse, manifest, federated, tmp_path
) -> None:
    kept = PersonalFiles(place(str(tmp_path)), SETTINGS)
    asked = EvaluationSettings(WINDOWS, MODEL, (), TUNING, TUNING, BoostingSettings(WINDOWS, 5), seed=5, personal=kept)
    made_there = evaluate(None, warehouse, manifest, {"federated": federated}, asked).to_dict()
    trainer = AgentTrainerFactory(warehouse, manifest, TRAINING, None, kept)()
    for agent in manifest.agents:
        trainer.adapt(agent.agent_id, federated)
    kept_there = evaluate(None, warehouse, manifest, {"federated": federated}, asked).to_dict()
    assert kept_there == made_there  # who has no file yet gets the same model
    tuned = kept_there["parts"]["validation"]["trained"]["methods"]
    assert tuned["personal"]["mae"]["value"] < tuned["federated"]["mae"]["value"]
    assert tuned["served"]["mae"]["value"] < tuned["federated"]["mae"]["value"]
    trained = kept_there["parts"]["test"]["trained"]["methods"]
    assert trained["served"]["households"] == trained["federated"]["households"]
    held_out = kept_there["parts"]["validation"]["held_out"]["methods"]
    assert held_out["personal"]["mae"]["value"] < held_out["federated"]["mae"]["value"]
    digest = weights_sha256(federated)
    for agent in manifest.agents:
        own = kept.find(agent.agent_id, digest, federated.size)
        assert own is not None
        spoilt = dataclasses.replace(own, weights={"personal": own.weights["personal"] + 1}, shares={"personal": 1.0})
        kept.write(agent.agent_id, digest, manifest.fingerprints[agent.parts[0].path], spoilt)
    spoilt_there = evaluate(None, warehouse, manifest, {"federated": federated}, asked).to_dict()
    methods = spoilt_there["parts"]["test"]["trained"]["methods"]
    assert methods["served"]["mae"] == methods["personal"]["mae"]
    assert methods["personal"]["mae"]["value"] > 2 * trained["personal"]["mae"]["value"]


def test_what_was_tuned_on_newer_readings_is_not_scored(warehouse, manifest, federated, tmp_path) -> None:
    kept = PersonalFiles(place(str(tmp_path)), SETTINGS)
    asked = EvaluationSettings(WINDOWS, MODEL, (), TUNING, TUNING, BoostingSettings(WINDOWS, 5), seed=5, personal=kept)
    before = evaluate(None, warehouse, manifest, {"federated": federated}, asked).to_dict()
    owner = newcomer(manifest.held_out[0].parts[0].household_id)
    spoilt = Personal({"personal": federated + 1}, {"personal": 1.0}, {}, 0.1)
    kept.write(owner, weights_sha256(federated), "of newer readings", spoilt)
    assert evaluate(None, warehouse, manifest, {"federated": federated}, asked).to_dict() == before
    file = tmp_path / "personal" / f"{owner}.safetensors"
    file.write_bytes(file.read_bytes()[:50])  # and a damaged one costs nobody a score
    assert evaluate(None, warehouse, manifest, {"federated": federated}, asked).to_dict() == before


def test_a_fine_tuning_that_diverges_is_no_candidate(shard, federated) -> None:
    wild = dataclasses.replace(TUNING, learning_rates=(1e30,), local=dataclasses.replace(LOCAL, gradient_clip_norm=0.0))
    found = personalise(shard, federated, dataclasses.replace(SETTINGS, tuning=wild), "me")
    assert "personal" not in found.weights
    assert set(found.losses) == {"usual", "federated"}
    tame = dataclasses.replace(wild, learning_rates=(1e30, 0.01))
    again = personalise(shard, federated, dataclasses.replace(SETTINGS, tuning=tame), "me")
    assert again.losses["personal"] < again.losses["federated"]


def test_nothing_of_the_evaluations_keys_tells_whose_models_these_are() -> None:
    one = PersonalFiles(place("/w"), SETTINGS)
    other = dataclasses.replace(SETTINGS, alone=dataclasses.replace(TUNING, steps=99))
    assert one._settings_sha256 == PersonalFiles(place("/w"), other)._settings_sha256
    assert (
        one._settings_sha256 != PersonalFiles(place("/w"), dataclasses.replace(ALL, alone=other.alone))._settings_sha256
    )
    text = "evaluation: {alone_steps: 7, learning_rates: [0.5]}"
    assert resolved.personal(load(text, [])) == resolved.personal(load("", []))

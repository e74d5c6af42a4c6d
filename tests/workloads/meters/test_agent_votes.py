"""What an agent of meters says of candidates: its loss on windows that depend on seed, round and agent alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_households import agent, fingerprints, make_household, write

from neurogrid.data.manifest import Manifest
from neurogrid.errors import UsageError
from neurogrid.fl.local import LocalSettings
from neurogrid.fl.weights import flatten
from neurogrid.fl.weights import load as load_weights
from neurogrid.pipeline.plan import trusted_agents
from neurogrid.randomness import generator
from neurogrid.storage import place
from neurogrid.workloads.meters.agent import VOTE_WINDOWS, AgentTrainerFactory, TrainingSettings
from neurogrid.workloads.meters.models import LossSettings, ModelSettings, build, forecast_loss
from neurogrid.workloads.meters.tensors import as_tensors, model_shape
from neurogrid.workloads.meters.windows import WindowSettings, build_shard, gather

WINDOWS = WindowSettings(history_slots=12, horizon_slots=3, known_future=True, residual=True)
MODEL = ModelSettings("linear", 8, 1, 4)
LOSS = LossSettings(loss="l1", huber_delta=1.0, surge_weight=1.0)
LOCAL = LocalSettings("adam", 4, 32, 0.01, 0.05, 1.0, 0.0, 3)
SETTINGS = TrainingSettings(WINDOWS, MODEL, LOSS, LOCAL, 3, 50, 100, seed=5)


@pytest.fixture
def trainer(tmp_path):
    household = make_household(1)
    write(household, tmp_path)
    manifest = Manifest(1, 120, "natural", 1, 0.0, (), (agent(household, "A0001"),), (), (), fingerprints(tmp_path))
    return AgentTrainerFactory(place(str(tmp_path)), manifest, SETTINGS)()


def test_votes_are_losses_on_training_windows_and_depend_on_nothing_that_was_done_before(trainer) -> None:
    weights = flatten(build(MODEL, model_shape(WINDOWS), seed=5))
    candidates = weights + generator(1, "votes").normal(0, 0.1, (4, weights.size)).astype(np.float32)
    votes = trainer.vote("A0001", 2, candidates)

    shard = build_shard([(make_household(1), None)], WINDOWS, ("train",))
    drawn = generator(5, "votes", 2, "A0001").integers(0, len(shard.origins["train"]), VOTE_WINDOWS)
    windows = as_tensors(gather(shard, shard.origins["train"][drawn]))
    model = build(MODEL, model_shape(WINDOWS), seed=5).eval()
    for candidate, found in zip(candidates, votes, strict=True):
        load_weights(model, candidate)
        with torch.inference_mode():
            assert found == pytest.approx(float(forecast_loss(model, LOSS, windows)), rel=1e-6)

    trainer.train("A0001", 3, weights)
    assert trainer.vote("A0001", 2, candidates[::-1].copy()) == votes[::-1]
    assert trainer.vote("A0001", 3, candidates) != votes


def test_a_trusted_household_is_the_agent_that_holds_it_and_no_other_can_be_trusted() -> None:
    def of(agent_id: str, *parts: tuple[str, tuple[int, ...] | None]) -> SimpleNamespace:
        return SimpleNamespace(
            agent_id=agent_id, parts=tuple(SimpleNamespace(household_id=name, blocks=blocks) for name, blocks in parts)
        )

    agents = (of("A0001", ("x", None)), of("A0002", ("y", None)), of("A0003", ("z", (1, 2))))
    manifest = SimpleNamespace(agents=agents, sha256="0" * 64)
    assert trusted_agents(manifest, ["y"]) == {"A0002"}
    assert trusted_agents(manifest, []) == frozenset()
    for other in ("z", "held out"):
        with pytest.raises(UsageError, match="must name households that are agents") as caught:
            trusted_agents(manifest, ["x", other])
        assert f"no agents of manifest 000000000000: {other}" in str(caught.value.found)

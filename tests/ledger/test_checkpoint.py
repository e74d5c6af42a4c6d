"""What a checkpoint holds, for us and for a stranger; and a folder that was written before checkpoints held slots."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_run
from safetensors import safe_open
from safetensors.numpy import load as unpack_tensors
from safetensors.numpy import load_file
from safetensors.numpy import save as pack_tensors

from neurogrid.errors import UsageError
from neurogrid.fl.rounds import federate
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.state import State
from neurogrid.ledger import Ledger, read_final, read_weights, verify
from neurogrid.ledger.chain import seal, sha256
from neurogrid.ledger.checkpoint import FINAL, pack_state, pack_weights, read_state, state_path
from neurogrid.ledger.records import read_chain, read_end
from neurogrid.storage import place

OLD_RUN = Path(__file__).parent / "old_run"
OTHERS = {
    "select/history": {"A01": [1, 0.1, None, "late"], "A02": []},
    "dp/accountant": np.array([1e-300, np.inf]),
    "agents/A01/counts": np.arange(6).reshape(2, 3),
}


def written(folder, state):
    """The state in a folder, and a record that names it."""
    content = pack_state(state, small_run.SPEC)
    (place(str(folder)) / state_path(state.round)).write(content)
    return seal({"round_id": state.round, "files": {state_path(state.round): sha256(content)}}, "")


def test_a_state_comes_back_with_the_bits_of_every_slot_whatever_the_slots_are(tmp_path):
    state = State.start(small_run.START).with_(OTHERS, round=2)
    back = read_state(place(str(tmp_path)), [{}, {}, written(tmp_path, state)], small_run.SPEC)
    assert (back.round, set(back.slots)) == (2, set(state.slots))
    for name, slot in state.slots.items():
        if isinstance(slot, np.ndarray):
            assert (back.array(name).dtype, back.array(name).shape) == (slot.dtype, slot.shape)
            assert back.array(name).tobytes() == slot.tobytes()
        else:
            assert back.json(name) == slot


def test_the_same_state_is_the_same_bytes(tmp_path):
    slots = dict(State.start(small_run.START).with_(OTHERS).slots)
    backwards = dict(reversed(slots.items()))
    assert pack_state(State(1, slots), small_run.SPEC) == pack_state(State(1, backwards), small_run.SPEC)


def test_a_stranger_can_split_the_weights_of_any_round_by_the_names_of_tensors(tmp_path):
    state = small_run.train(tmp_path / "r1")
    final = load_file(tmp_path / "r1" / "W_final.safetensors")
    with safe_open(tmp_path / "r1" / "W_global" / "round=0008" / "state.safetensors", "numpy") as checkpoint:
        vector, about = checkpoint.get_tensor("model"), json.loads(checkpoint.metadata()["neurogrid"])
        assert checkpoint.get_tensor("server/momentum").tobytes() == state.array("server/momentum").tobytes()
    assert (about["round"], about["slots"]["progress"]["void_in_a_row"]) == (8, 0)
    assert len(about["slots"]["progress"]["held_out"]) == 8
    assert vector.tobytes() == state.weights.tobytes()
    assert [(tensor["name"], tensor["shape"]) for tensor in about["tensors"]] == [
        ("lstm.weight", [10, 5]),
        ("head.bias", [7]),
    ]
    for tensor in about["tensors"]:
        part = vector[tensor["start"] : tensor["stop"]].reshape(tensor["shape"])
        np.testing.assert_array_equal(part, final[tensor["name"]])


def test_a_checkpoint_from_before_tensors_had_roles_is_read(tmp_path):
    state = State.start(small_run.START).with_({}, round=2)
    content = pack_state(state, small_run.SPEC)
    about = json.loads(_metadata(content)["neurogrid"])
    for tensor in about["tensors"]:
        assert tensor.pop("role") == "shared"
    old = pack_tensors(unpack_tensors(content), {"neurogrid": json.dumps(about)})
    (place(str(tmp_path)) / state_path(2)).write(old)
    record = seal({"round_id": 2, "files": {state_path(2): sha256(old)}}, "")
    back = read_state(place(str(tmp_path)), [{}, {}, record], small_run.SPEC)
    assert back.weights.tobytes() == state.weights.tobytes()


def _metadata(content):
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]


def test_a_checkpoint_of_a_model_that_has_a_buffer_where_this_one_has_a_weight_is_refused(tmp_path):
    record = written(tmp_path, State.start(small_run.START).with_({}, round=2))
    other = Spec((small_run.SPEC.spans[0], replace(small_run.SPEC.spans[1], role="buffer")))
    with pytest.raises(UsageError, match="another model"):
        read_state(place(str(tmp_path)), [{}, {}, record], other)


def test_final_weights_hold_a_models_buffers_by_name(tmp_path):
    spec = Spec((*small_run.SPEC.spans, Span("norm.running_var", (), 57, 58, "buffer", nonnegative=True)))
    weights = np.arange(58, dtype=np.float32)
    content = pack_weights(weights, spec)
    (place(str(tmp_path)) / FINAL).write(content)
    end = seal({"files": {FINAL: sha256(content)}}, "")
    assert unpack_tensors(content)["norm.running_var"] == 57
    assert read_final(place(str(tmp_path)), end, spec).tobytes() == weights.tobytes()


def test_final_weights_of_another_model_are_refused(tmp_path):
    small_run.train(tmp_path / "r1", settings=replace(small_run.SETTINGS, rounds=1))
    run = place(str(tmp_path / "r1"))
    other = Spec((Span("linear.weight", (57,), 0, 57),))
    with pytest.raises(UsageError, match=r"another model.*\n  found: the run has head.bias \[7\], lstm"):
        read_final(run, read_end(run), other)


@pytest.fixture
def old_run(tmp_path):
    """Three rounds of small_run by the code before there were slots, with torch's files, and ended."""
    shutil.copytree(OLD_RUN, tmp_path / "r1")
    return tmp_path / "r1"


def test_an_old_run_is_audited_and_its_weights_are_read(old_run):
    run = place(str(old_run))
    found = verify(run)
    assert (found.rounds, found.ended, found.problems) == (3, True, ())
    end = read_end(run)
    final = read_final(run, end, small_run.SPEC)
    weights = [read_weights(run, record, small_run.SPEC) for record in read_chain(run)]
    assert weights[0].tobytes() == small_run.START.tobytes()
    assert weights[3].tobytes() == final.tobytes()
    assert len({w.tobytes() for w in weights}) == 4
    with pytest.raises(UsageError, match="another model"):
        read_final(run, end, Spec((Span("linear.weight", (57,), 0, 57),)))


@pytest.mark.parametrize("stop", [0, 2, 3])
def test_an_old_run_that_was_stopped_goes_on_to_the_bits_of_a_new_one(old_run, tmp_path, stop):
    (old_run / "end.json").unlink()
    (old_run / "W_final.pt").unlink()
    (old_run / "round_metrics.parquet").unlink()
    for number in range(stop + 1, 4):
        (old_run / "rounds" / f"round={number:04d}.json").unlink()
    resumed = small_run.train(old_run)
    whole = small_run.train(tmp_path / "new")
    assert resumed.slots.keys() == whole.slots.keys()
    for name in whole.slots:
        if isinstance(whole.slots[name], np.ndarray):
            assert resumed.array(name).tobytes() == whole.array(name).tobytes()
        else:
            assert resumed.json(name) == whole.json(name)
    run = place(str(old_run))
    assert verify(run).problems == ()
    assert read_final(run, read_end(run), small_run.SPEC).tobytes() == whole.weights.tobytes()


def test_void_rounds_of_an_old_run_are_counted_on(old_run):
    """Its records say so; there was no slot."""
    for name in ("end.json", "W_final.pt", "round_metrics.parquet"):
        (old_run / name).unlink()
    run = place(str(old_run))
    records = read_chain(run)
    records = [records[0], *({**record, "aggregated": number == 1} for number, record in enumerate(records[1:], 1))]
    assert read_state(run, records, small_run.SPEC).progress.void_in_a_row == 2
    void = replace(small_run.SETTINGS, aggregation=replace(small_run.SETTINGS.aggregation, min_agents=99), rounds=5)
    ledger, resumed = Ledger.resume(run, small_run.SPEC)
    with ledger, small_run.attacked() as backend:
        state = federate(resumed.state, small_run.FEDERATION, void, backend, [ledger]).state
    assert state.progress.void_in_a_row == 2

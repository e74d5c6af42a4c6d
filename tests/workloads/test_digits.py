"""Another workload than meters goes through the same loop: what is learnt is the workload's own business."""

from dataclasses import replace

import numpy as np
import pytest
from digits import AGENTS, OWN_NAMES, ROUNDS, SEED, Digits, accuracy, new_model, own_names, write

from neurogrid.backends.inline import InlineBackend
from neurogrid.backends.spark import SparkBackend
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.codecs import TopK
from neurogrid.fl.pipeline import AggregationSettings
from neurogrid.fl.rounds import Federation, RoundSettings, federate
from neurogrid.fl.state import State
from neurogrid.fl.uplink import Uplink
from neurogrid.fl.weights import flatten, spec_of
from neurogrid.storage import place
from neurogrid.workloads.memory_files import MemoryFiles

MODEL = new_model()
SPEC = spec_of(MODEL)
FEDERATION = Federation(AGENTS, {a: i % 3 for i, a in enumerate(AGENTS)}, SPEC, flatten(MODEL), SEED)
SETTINGS = RoundSettings(
    rounds=ROUNDS,
    agents_per_round=8,
    timeout_s=60.0,
    panel_agents=3,
    patience_rounds=0,
    min_improvement=0.0,
    converged_update=0.0,
    aggregation=AggregationSettings("trimmed_mean", 0.2, 3.0, 5, ClipSettings("median", "tensor", 1.0), 0.5, 1.0),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    write(folder)
    return folder


def run(backend, federation=FEDERATION, settings=SETTINGS):
    records = []

    class Watch:
        def after_round(self, record, state):
            records.append(record)

    with backend:
        finish = federate(State.start(federation.start), federation, settings, backend, [Watch()])
    return finish.state.weights, records


@pytest.fixture(scope="module")
def inline(folder):
    return run(InlineBackend(Digits(folder)))


def test_digits_are_learnt_with_the_statistics_that_agents_measured(folder, inline):
    weights, records = inline
    assert accuracy(FEDERATION.start, folder) < 0.3
    assert accuracy(weights, folder) > 0.9
    assert records[-1].held_out_loss < 0.3 * records[0].held_out_loss
    untouched = weights.copy()
    untouched[SPEC.columns("buffer")] = FEDERATION.start[SPEC.columns("buffer")]
    assert accuracy(untouched, folder) < accuracy(weights, folder) - 0.15


@pytest.mark.parametrize("tasks", [1, 2])
def test_digits_have_the_same_bits_on_spark_whatever_the_number_of_tasks_and_whichever_is_killed(
    spark, exchange, folder, inline, tmp_path, tasks
):
    killed = tmp_path / "killed" if tasks == 2 else None
    backend = SparkBackend(spark, Digits(folder, killed), SPEC.size, replace(exchange, tasks=tasks))
    weights, records = run(backend)
    assert killed is None or killed.exists()
    assert weights.tobytes() == inline[0].tobytes()
    assert [r.held_out_loss for r in records] == [r.held_out_loss for r in inline[1]]
    assert [[(a.agent_id, a.reason, a.norm, a.train_loss) for a in r.agents] for r in records] == [
        [(a.agent_id, a.reason, a.norm, a.train_loss) for a in r.agents] for r in inline[1]
    ]


@pytest.mark.slow
def test_what_agents_remember_has_the_same_bits_on_spark_though_a_task_is_killed(
    spark, exchange, folder, inline, tmp_path
):
    settings = replace(SETTINGS, aggregation=replace(SETTINGS.aggregation, rule="mean"))
    found = []
    for name in ("inline", "spark"):
        uplink = Uplink(TopK(0.1), SPEC, 1, MemoryFiles(place(str(tmp_path / name)), "s", 4))
        backend = InlineBackend(Digits(folder), uplink)
        if name == "spark":
            trainers = Digits(folder, tmp_path / "killed")
            backend = SparkBackend(spark, trainers, SPEC.size, replace(exchange, tasks=2), uplink=uplink)
        weights, records = run(backend, replace(FEDERATION, uplink=uplink), settings)
        found.append((weights.tobytes(), [[(a.agent_id, a.reason, a.norm) for a in r.agents] for r in records]))
    assert (tmp_path / "killed").exists()
    assert found[0] == found[1]
    # Bytes on record are those of payloads, and of updates that were sent twice.
    for record in records:
        each = record.reports["uplink"]["update_bytes"]
        sent = record.reports["exchange"]["bytes_up"]
        assert sent % each == 0
        assert sent >= each * sum(a.answered for a in record.agents)
    assert accuracy(weights, folder) > 0.8


@pytest.mark.slow
def test_agents_that_name_the_digits_each_in_their_own_way_learn_together_what_private_layers_leave(
    spark, exchange, tmp_path
):
    write(tmp_path)
    own_names(tmp_path)
    ours = replace(FEDERATION, spec=spec_of(MODEL, OWN_NAMES), start=flatten(MODEL, OWN_NAMES))
    weights, records = run(InlineBackend(Digits(tmp_path, private=OWN_NAMES)), ours)
    _, all_shared = run(InlineBackend(Digits(tmp_path)))
    assert records[-1].held_out_loss < 0.5 * all_shared[-1].held_out_loss
    assert records[-1].held_out_loss < 0.7 * records[0].held_out_loss
    backend = SparkBackend(spark, Digits(tmp_path, private=OWN_NAMES), ours.spec.size, replace(exchange, tasks=2))
    on_spark, again = run(backend, ours)
    assert on_spark.tobytes() == weights.tobytes()
    assert [r.held_out_loss for r in again] == [r.held_out_loss for r in records]


def test_lengths_on_record_are_those_of_weights_alone(inline):
    weights, records = inline
    shared = SPEC.columns("shared")
    drift = np.linalg.norm(weights[shared].astype(np.float64) - FEDERATION.start[shared])
    assert records[-1].w_drift == pytest.approx(drift)
    assert all(record.update_norm < drift for record in records[1:])


def test_variances_stay_above_zero_and_counters_stay_at_home(inline):
    names = [span.name for span in SPEC.spans]
    assert not any("num_batches_tracked" in name for name in names)
    variances = [span for span in SPEC.spans if span.nonnegative]
    assert [span.name for span in variances] == ["layers.1.running_var", "layers.5.running_var"]
    for span in variances:
        assert (inline[0][span.start : span.stop] > 0).all()
        assert not np.array_equal(inline[0][span.start : span.stop], FEDERATION.start[span.start : span.stop])

"""A run's folder while it is written: beginning, rounds, end, resuming, what is durable when, and errors in words."""

import json
import math
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pyarrow.parquet as pq
import pytest
import small_run

from neurogrid.errors import RunError, UsageError
from neurogrid.fl.record import flat, weights_sha256
from neurogrid.fl.rounds import federate
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.state import State
from neurogrid.ledger import Ledger, journal, read_agent_audit, read_round_metrics, verify
from neurogrid.ledger.chain import seal, sha256
from neurogrid.ledger.follow import Follower
from neurogrid.ledger.journal import table_is_due
from neurogrid.ledger.made_with import differences, made_with
from neurogrid.storage import Place, place

BEGIN = State.start(small_run.START)
FIRST, LAST = (f"W_global/round=000{number}/state.safetensors" for number in (0, 4))


def rounds_of(settings_rounds):
    return replace(small_run.SETTINGS, rounds=settings_rounds)


def bits(state):
    return state.weights.tobytes() + state.array("server/momentum").tobytes()


def unfinished(folder, rounds):
    """A run of which `rounds` rounds are durable and the end is not written."""
    ledger, state = small_run.begin_or_resume(place(str(folder)))
    with ledger, small_run.attacked() as backend:
        return federate(state, small_run.FEDERATION, rounds_of(rounds), backend, [ledger]).state


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "r1"
    return folder, small_run.train(folder)


def test_a_finished_run_has_every_file_and_verifies_clean(whole):
    folder, state = whole
    found = verify(place(str(folder)))
    assert found.problems == ()
    assert (found.rounds, found.ended) == (small_run.ROUNDS, True)
    assert found.files == 2 + 3 * small_run.ROUNDS + 4
    summary = json.loads((folder / "run_summary.json").read_text())
    assert summary["w_final_sha256"] == weights_sha256(state.weights)
    assert summary["fact"] == 1
    assert "r1" in (folder / "run_summary.md").read_text()
    assert read_round_metrics(place(str(folder))).num_rows == small_run.ROUNDS
    assert read_agent_audit(place(str(folder))).num_rows == small_run.ROUNDS * 7
    assert (folder / "config.yaml").read_text() == small_run.CONFIG


@pytest.mark.parametrize("stop", [0, 1, 5, 7, 8])
def test_a_run_resumed_after_any_round_ends_with_the_same_bits(whole, tmp_path, stop):
    unfinished(tmp_path / "r1", stop)
    state = small_run.train(tmp_path / "r1")
    assert state.weights.tobytes() == whole[1].weights.tobytes()
    assert repr(state.progress.held_out) == repr(whole[1].progress.held_out)
    assert state.progress.relative_updates == whole[1].progress.relative_updates
    assert verify(place(str(tmp_path / "r1"))).problems == ()


def test_figures_that_json_has_no_word_for_come_back_as_nan(tmp_path):
    settings = replace(small_run.SETTINGS, rounds=1, panel_agents=0)
    small_run.train(tmp_path / "r1", settings=settings)
    run = place(str(tmp_path / "r1"))
    row = read_round_metrics(run).to_pylist()[0]
    assert math.isnan(row["held_out_loss"])
    assert math.isfinite(row["loss_mean"])
    losses = {r["agent_id"]: r["train_loss"] for r in read_agent_audit(run).to_pylist()}
    assert all(math.isnan(loss) == (agent == "A00") for agent, loss in losses.items())
    assert json.loads((tmp_path / "r1" / "rounds" / "round=0001.json").read_text())["held_out_loss"] is None
    assert verify(run).problems == ()


def test_void_rounds_in_a_row_are_counted_on_after_a_resume(tmp_path):
    unfinished(tmp_path / "r1", 1)
    void = replace(rounds_of(3), aggregation=replace(small_run.SETTINGS.aggregation, min_agents=99))
    ledger, state = small_run.begin_or_resume(place(str(tmp_path / "r1")))
    with ledger, small_run.attacked() as backend:
        before = federate(state, small_run.FEDERATION, void, backend, [ledger]).state
    ledger, resumed = Ledger.resume(place(str(tmp_path / "r1")), small_run.SPEC)
    ledger.close()
    assert resumed.state.progress.void_in_a_row == before.progress.void_in_a_row == 2


def test_a_round_is_durable_only_after_every_file_that_its_record_names(tmp_path, monkeypatch):
    written = []
    original = Place.write

    def write(self, content):
        if self.path.endswith(".json") and "/rounds/" in self.path:
            for name, digest in json.loads(content)["files"].items():
                assert name in written
                assert sha256((tmp_path / "r1" / name).read_bytes()) == digest
        original(self, content)
        written.append(self.path.removeprefix(f"{tmp_path}/r1/"))

    monkeypatch.setattr(Place, "write", write)
    small_run.train(tmp_path / "r1", settings=rounds_of(2))
    assert written.index("end.json") == len(written) - 1
    assert written.index("run.json") == 2


def test_a_run_that_exists_is_not_begun_again(whole):
    with pytest.raises(UsageError, match=r"run r1 exists already[\s\S]*--resume r1"):
        Ledger.create(place(str(whole[0])), small_run.GENESIS, small_run.CONFIG, small_run.SPEC, BEGIN)


def test_a_run_that_has_ended_is_not_resumed(whole):
    with pytest.raises(UsageError, match="run r1 has ended"):
        Ledger.resume(place(str(whole[0])), small_run.SPEC)


def test_a_run_that_is_not_there_is_not_resumed(tmp_path):
    with pytest.raises(UsageError, match=r"there is no run r9"):
        Ledger.resume(place(str(tmp_path / "r9")), small_run.SPEC)
    assert not (tmp_path / "r9").exists()


def test_a_live_run_is_refused_to_a_second_writer_and_free_once_it_is_closed(tmp_path):
    ledger, _ = small_run.begin_or_resume(place(str(tmp_path / "r1")))
    for attempt in (
        lambda: Ledger.resume(place(str(tmp_path / "r1")), small_run.SPEC),
        lambda: Ledger.create(place(str(tmp_path / "r1")), small_run.GENESIS, "", small_run.SPEC, BEGIN),
    ):
        with pytest.raises(UsageError, match=r"run r1 is live: another process is writing to it\n  found: process \d+"):
            attempt()
    ledger.close()
    small_run.begin_or_resume(place(str(tmp_path / "r1")))[0].close()


def test_a_run_of_another_model_is_not_resumed(tmp_path):
    unfinished(tmp_path / "r1", 1)
    for other in (
        Spec((Span("lstm.weight", (5, 10), 0, 50), Span("head.bias", (7,), 50, 57))),
        Spec((Span("linear.weight", (57,), 0, 57),)),
    ):
        with pytest.raises(UsageError, match="made with another model"):
            Ledger.resume(place(str(tmp_path / "r1")), other)


def edit(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: edit(run / "rounds/round=0002.json", lambda r: r.update(loss_mean=0.0)), "record of round 2"),
        (lambda run: edit(run / "run.json", lambda r: r.update(seed=1)), "first record of run r1"),
        (lambda run: (run / "run.json").write_text("{"), "run.json is not a JSON record any more"),
        (lambda run: (run / "run.json").write_text("[]"), "run.json is not a JSON record any more"),
        (lambda run: (run / "config.yaml").write_text("seed: 12\n"), "config.yaml of run r1"),
        (lambda run: (run / "config.yaml").unlink(), "config.yaml of run r1 is missing"),
        (
            lambda run: (run / "rounds/round=0002.json").unlink(),
            "round 2 of run r1 is missing, but later ones",
        ),
        (lambda run: (run / "rounds/round=0004.json").unlink(), "records of 3 rounds, but its table lists 4"),
        (lambda run: shutil.rmtree(run / "rounds"), "records of 0 rounds, but its table lists 4"),
        (lambda run: (run / "rounds/round=0003.json").write_text("{"), "record of round 3"),
        (
            lambda run: (run / LAST).write_bytes(b"x"),
            LAST,
        ),
        (lambda run: (run / FIRST).unlink(), FIRST),
    ],
)
def test_a_run_that_was_changed_is_not_resumed(tmp_path, spoil, words):
    unfinished(tmp_path / "runs" / "r1", 4)
    spoil(tmp_path / "runs" / "r1")
    with pytest.raises(RunError, match=words) as error:
        Ledger.resume(place(str(tmp_path / "runs" / "r1")), small_run.SPEC)
    assert f"neurogrid audit r1 --warehouse {tmp_path} says what was changed" in str(error.value)


@pytest.mark.parametrize("part", ["W_global", "audit", "rounds"])
def test_a_round_that_cannot_be_written_ends_the_run_in_words(tmp_path, part):
    run = place(str(tmp_path / "r1"))
    ledger, state = small_run.begin_or_resume(run)
    shutil.rmtree(tmp_path / "r1" / part, ignore_errors=True)
    (tmp_path / "r1" / part).write_text("in the way")
    with pytest.raises(RunError, match="a round of run r1 could not be written") as error, ledger:
        federate(state, small_run.FEDERATION, rounds_of(1), small_run.attacked().__enter__(), [ledger])
    assert "neurogrid train --resume r1" in str(error.value)


def test_a_full_disk_ends_the_run_in_words_and_what_was_durable_is_resumed(whole, tmp_path, monkeypatch):
    original = Place.write

    def full(self, content):
        if "round=0004" in self.path:
            raise OSError(28, "No space left on device")
        original(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Place, "write", full)
        with pytest.raises(RunError, match="No space left on device"):
            small_run.train(tmp_path / "r1")
    state = small_run.train(tmp_path / "r1")
    assert state.weights.tobytes() == whole[1].weights.tobytes()


def test_an_end_that_cannot_be_written_is_said_in_words(tmp_path):
    unfinished(tmp_path / "r1", 1)
    (tmp_path / "r1" / "W_final.safetensors").mkdir()
    with pytest.raises(RunError, match="the end of run r1 could not be written"):
        small_run.train(tmp_path / "r1", settings=rounds_of(1))


def test_a_folder_that_cannot_be_made_is_said_in_words_and_leaves_no_lock(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match="the folder of run r1 could not be written"):
        small_run.begin_or_resume(place(str(tmp_path / "runs" / "r1")))
    (tmp_path / "r2").mkdir()
    (tmp_path / "r2" / "config.yaml").mkdir()
    for _ in range(2):
        with pytest.raises(RunError, match="the folder of run r2 could not be written"):
            small_run.begin_or_resume(place(str(tmp_path / "r2")))


def test_the_head_is_the_newest_records_hash_and_each_follows_the_one_before(whole):
    folder, _ = whole
    names = ["run.json", *(f"rounds/round={n:04d}.json" for n in range(1, 9)), "end.json"]
    previous = ""
    for name in names:
        record = json.loads((folder / name).read_text())
        assert record["previous_sha256"] == previous
        previous = record["sha256"]
        content = {k: v for k, v in record.items() if k not in ("sha256", "previous_sha256")}
        assert seal(content, record["previous_sha256"]) == record
    assert verify(place(str(folder))).head == previous


def test_the_table_of_rounds_is_the_records(whole):
    table = pq.read_table(whole[0] / "round_metrics.parquet").to_pylist()
    for row in table:
        record = flat(json.loads((whole[0] / "rounds" / f"round={row['round_id']:04d}.json").read_text()))
        assert {"assumed_f", "clip.clipped_agents"} < set(row)
        assert row.pop("record_sha256") == record["sha256"]
        assert {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} == {
            k: record[k] for k in row
        }


def test_a_state_is_not_changed_by_the_rounds_after_it(tmp_path):
    seen: list[tuple[State, bytes]] = []

    class Watch:
        def after_round(self, record, state):
            seen.append((state, bits(state)))

    small_run.train(tmp_path / "r1", settings=rounds_of(3), observers=[Watch()])
    assert all(bits(state) == then for state, then in seen)


def test_a_rounds_record_says_in_sum_what_the_audits_say_agent_by_agent(tmp_path):
    attack = replace(small_run.ATTACKERS.settings, fraction=0.3, noise_std=1e6)
    small_run.train(tmp_path / "r1", attackers=replace(small_run.ATTACKERS, settings=attack))
    run = place(str(tmp_path / "r1"))
    agents = read_agent_audit(run).to_pylist()
    for row in read_round_metrics(run).to_pylist():
        own = [a for a in agents if a["round_id"] == row["round_id"]]
        rejected = [a for a in own if not a["accepted"]]
        for malicious in (True, False):
            said = sum(r["agents"] for r in row["rejections"] if r["malicious"] == malicious)
            assert said == sum(a["malicious"] == malicious for a in rejected)
        assert {r["reason"] for r in row["rejections"]} <= {"filtered"}
        for district in row["districts"]:
            there = [a for a in own if a["district"] == district["district"]]
            assert (district["asked"], district["accepted"]) == (len(there), sum(a["accepted"] for a in there))
        assert sum(d["asked"] for d in row["districts"]) == sum(row["agent_train_counts"]) == 7
        assert row["agent_train_s"] == pytest.approx(sum(a["train_s"] for a in own))
        assert abs(datetime.now(UTC) - datetime.fromisoformat(row["recorded"])).total_seconds() < 60
        assert row["trace_id"] == ""
    assert verify(run).problems == ()


def test_the_table_of_rounds_costs_little_however_many_rounds_there_are():
    rows = 0
    written = [rows := rounds for rounds in range(1, 10_001) if table_is_due(rows, rounds)]
    assert written[:16] == list(range(1, 17))
    assert sum(written) < 20 * 10_000
    assert all(after <= before * 1.07 for before, after in pairwise(written[16:]))


def test_a_run_that_is_stopped_in_order_has_all_its_rounds_in_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "table_is_due", lambda rows, rounds: False)
    unfinished(tmp_path / "r1", 3)
    assert read_round_metrics(place(str(tmp_path / "r1"))).num_rows == 3
    assert verify(place(str(tmp_path / "r1"))).problems == ()


HUGE = {"wallclock_s": 1e308, "held_out_loss": math.inf}


def test_no_figure_keeps_a_round_from_being_durable_or_a_run_from_ending(tmp_path):
    ledger, state = small_run.begin_or_resume(place(str(tmp_path / "r1")))

    class Spoilt:
        """What agents and tasks may say of themselves."""

        def after_round(self, record, state):
            agents = tuple(replace(agent, train_s=1e308, train_loss=-math.inf) for agent in record.agents)
            reports = {**record.reports, "exchange": {**record.reports["exchange"], "train_s": math.inf}}
            ledger.after_round(replace(record, agents=agents, reports=reports, **HUGE), state)

    with ledger, small_run.attacked() as backend:
        state = federate(state, small_run.FEDERATION, rounds_of(2), backend, [Spoilt()]).state
        ledger.flush()
        followed = Follower(place(str(tmp_path / "r1"))).look()
        assert followed.state(datetime.now(UTC)) == "running"
        json.dumps(followed.figures(datetime.now(UTC)), allow_nan=False)
        ledger.finish(state, "all rounds done", {})
    run = place(str(tmp_path / "r1"))
    assert verify(run).problems == ()
    record = json.loads((tmp_path / "r1" / "rounds" / "round=0001.json").read_text())
    assert record["agent_train_s"] is None
    summary = json.loads((tmp_path / "r1" / "run_summary.json").read_text())
    assert (summary["wallclock_s"], summary["median_s"]["train"]) == (None, None)
    assert "| time of all rounds (s) | none |" in (tmp_path / "r1" / "run_summary.md").read_text()


def test_a_run_that_goes_on_with_other_versions_says_from_which_round_on(tmp_path):
    ledger = Ledger.create(
        place(str(tmp_path / "r1")),
        replace(small_run.GENESIS, made_with={"torch": "2.5", "numpy": "1", "python": "3"}),
        small_run.CONFIG,
        small_run.SPEC,
        BEGIN,
    )
    ledger.close()
    run = place(str(tmp_path / "r1"))
    for rounds, torch in ((1, "2.5"), (3, "2.6"), (4, "2.6"), (4, "2.7")):
        ledger, found = Ledger.resume(run, small_run.SPEC)
        now = {"torch": torch, "numpy": "1", "python": "3"}
        with ledger, small_run.attacked() as backend:
            if differences(found.made_with, now):
                ledger.goes_on_with(now)
            state = federate(found.state, small_run.FEDERATION, rounds_of(rounds), backend, [ledger]).state
            if torch == "2.7":
                ledger.finish(state, "all rounds done", {})
    assert verify(run).breaks == ("from round 2 on: torch 2.6, was 2.5", "from the end on: torch 2.7, was 2.6")
    assert verify(run).problems == ()


def test_what_a_run_is_made_with_is_versions_and_what_chooses_kernels():
    assert made_with() == made_with()
    assert set(made_with()) == {"neurogrid", "python", "numpy", "torch", "processor", "instructions"}
    assert all(isinstance(value, str) and value for value in made_with().values())
    assert "openblas" in made_with()["instructions"]
    assert differences({"neurogrid": "0.0.1"}, {"neurogrid": "1", "torch": "2"}) == ["neurogrid 1, was 0.0.1"]

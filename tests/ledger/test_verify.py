"""What `verify` says of a run's folder after each kind of change: the file that was changed, and no other."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import small_run
from safetensors.numpy import load_file, save_file

from neurogrid.errors import UsageError
from neurogrid.ledger import verify
from neurogrid.ledger.chain import seal, sha256, to_text
from neurogrid.ledger.records import read_end
from neurogrid.plural import plural
from neurogrid.storage import place


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "r1"
    small_run.train(folder)
    leave_evaluation(folder)
    return folder


def leave_evaluation(folder):
    run = place(str(folder))
    (run / "evaluation.parquet").write(b"own figures")
    found = {"mae": 0.2, "files": {"evaluation.parquet": sha256(b"own figures")}}
    (run / "evaluation.json").write(to_text(seal(found, read_end(run)["sha256"])))


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "r1")
    return tmp_path / "r1"


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_table(path, column, value):
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[1] = value
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type)), path)


def swap(one, other):
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def add_one(path):
    weights = load_file(path)
    save_file({**weights, "head.bias": weights["head.bias"] + 1}, path)


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def folder_for(path):
    path.unlink()
    path.mkdir()


START = "W_global/round=0000/state.safetensors"
RECORD, CHECKPOINT = "rounds/round=0003.json", "W_global/round=0003/state.safetensors"
AUDIT, DISTRICTS = "audit/agent_round_audit/round=0003.parquet", "audit/district_round_summary/round=0003.parquet"
METRICS, LAST = "round_metrics.parquet", f"rounds/round={small_run.ROUNDS:04d}.json"
EVALUATION = "evaluation.json"
CHANGED, GONE = "was changed", "is missing"
TAMPERINGS = [
    ("an edited record", lambda r: edit_json(r / RECORD, loss_mean=0.001), {RECORD: "its content was changed"}),
    ("a record's own hash", lambda r: edit_json(r / RECORD, sha256="0" * 64), {RECORD: "its content was changed"}),
    ("a record without a hash", lambda r: edit_json(r / RECORD, sha256=None), {RECORD: "its content was changed"}),
    ("a NaN in a record", lambda r: edit_json(r / RECORD, loss_mean=float("nan")), {RECORD: "its content was changed"}),
    ("files that are none", lambda r: edit_json(r / RECORD, files=["x"]), {RECORD: "its content was changed"}),
    ("a removed record", lambda r: (r / RECORD).unlink(), {RECORD: GONE}),
    ("the newest record removed", lambda r: (r / LAST).unlink(), {LAST: GONE}),
    ("a truncated record", lambda r: halve(r / RECORD), {RECORD: "is not a JSON record any more"}),
    ("a record that is a list", lambda r: (r / RECORD).write_text("[]"), {RECORD: "is not a JSON record any more"}),
    (
        "a stray record",
        lambda r: (r / "rounds/round=x.json").write_text("{}"),
        {"rounds/round=x.json": "is not the record of a round"},
    ),
    ("the first record removed", lambda r: (r / "run.json").unlink(), {"run.json": GONE}),
    ("an edited first record", lambda r: edit_json(r / "run.json", seed=1), {"run.json": "its content was changed"}),
    ("an edited last record", lambda r: edit_json(r / "end.json", rounds=2), {"end.json": "its content was changed"}),
    (
        "swapped checkpoints",
        lambda r: swap(r / CHECKPOINT, r / "W_global/round=0005/state.safetensors"),
        {CHECKPOINT: CHANGED, "W_global/round=0005/state.safetensors": CHANGED},
    ),
    ("a removed checkpoint", lambda r: (r / CHECKPOINT).unlink(), {CHECKPOINT: GONE}),
    ("a truncated checkpoint", lambda r: halve(r / CHECKPOINT), {CHECKPOINT: CHANGED}),
    (
        "the start's weights",
        lambda r: halve(r / START),
        {START: CHANGED},
    ),
    ("an edited audit row", lambda r: edit_table(r / AUDIT, "accepted", False), {AUDIT: CHANGED}),
    ("an edited district", lambda r: edit_table(r / DISTRICTS, "malicious", 9), {DISTRICTS: CHANGED}),
    ("an edited metric", lambda r: edit_table(r / METRICS, "held_out_loss", 0.1), {METRICS: "row of round 2 differs"}),
    ("a truncated table", lambda r: halve(r / METRICS), {METRICS: "is not a Parquet file any more"}),
    ("a removed table", lambda r: (r / METRICS).unlink(), {METRICS: GONE}),
    ("an edited config", lambda r: (r / "config.yaml").write_text("seed: 12\n"), {"config.yaml": CHANGED}),
    ("other final weights", lambda r: add_one(r / "W_final.safetensors"), {"W_final.safetensors": CHANGED}),
    ("an edited summary", lambda r: edit_json(r / "run_summary.json", rounds=1), {"run_summary.json": CHANGED}),
    ("an edited evaluation", lambda r: edit_json(r / EVALUATION, mae=0.1), {EVALUATION: "its content was changed"}),
    ("an evaluation without hashes", lambda r: (r / EVALUATION).write_text("{}"), {EVALUATION: "its content was"}),
    (
        "an edited household's figures",
        lambda r: (r / "evaluation.parquet").write_text("better ones"),
        {"evaluation.parquet": "was changed since evaluation.json was written"},
    ),
    (
        "figures that are gone",
        lambda r: (r / "evaluation.parquet").unlink(),
        {"evaluation.parquet": "is missing (evaluation.json names it)"},
    ),
    ("a truncated evaluation", lambda r: halve(r / EVALUATION), {EVALUATION: "is not a JSON record any more"}),
    (
        "a folder in an evaluation's place",
        lambda r: folder_for(r / EVALUATION),
        {EVALUATION: "is a folder, not a file"},
    ),
    (
        "a folder in the place of figures",
        lambda r: folder_for(r / "evaluation.parquet"),
        {"evaluation.parquet": "is a folder, not a file (evaluation.json names it)"},
    ),
    (
        "another run's evaluation",
        lambda r: (r / EVALUATION).write_text(to_text(seal({"mae": 0.1}, "0" * 64))),
        {EVALUATION: "does not follow end.json"},
    ),
    ("a removed end", lambda r: (r / "end.json").unlink(), {EVALUATION: "does not follow end.json"}),
    ("an edited page", lambda r: (r / "run_summary.md").write_text("fine"), {"run_summary.md": CHANGED}),
]


@pytest.mark.parametrize(("tamper", "expected"), [t[1:] for t in TAMPERINGS], ids=[t[0] for t in TAMPERINGS])
def test_what_was_changed_is_named_and_nothing_else(run, tamper, expected):
    tamper(run)
    problems = verify(place(str(run))).problems
    assert {p.split(": ", 1)[0] for p in problems} == set(expected)
    for path, words in expected.items():
        assert any(p.startswith(f"{path}: ") and words in p for p in problems), problems


def test_a_run_as_it_was_written_has_no_problem(run):
    assert verify(place(str(run))).problems == ()


def test_a_run_evaluated_before_evaluations_were_records_has_no_problem(run):
    record = json.loads((run / "end.json").read_text())
    content = {k: v for k, v in record.items() if k not in ("sha256", "previous_sha256", "followed_by")}
    (run / "end.json").write_text(to_text(seal(content, record["previous_sha256"])))
    (run / EVALUATION).write_text('{"mae": 0.2}')
    found = verify(place(str(run)))
    assert (found.problems, found.evaluation) == ((), "")


def test_evaluating_anew_leaves_the_head_that_somebody_may_keep_elsewhere(run):
    before = verify(place(str(run)))
    (run / EVALUATION).write_text(to_text(seal({"mae": 0.3}, before.head)))
    after = verify(place(str(run)))
    assert after.problems == ()
    assert after.head == before.head == json.loads((run / "end.json").read_text())["sha256"]
    assert after.evaluation != before.evaluation


def test_a_record_edited_and_sealed_again_no_longer_fits_the_next(run):
    record = json.loads((run / RECORD).read_text())
    content = {k: v for k, v in record.items() if k not in ("sha256", "previous_sha256")}
    (run / RECORD).write_text(to_text(seal({**content, "loss_mean": 0.0}, record["previous_sha256"])))
    problems = verify(place(str(run))).problems
    assert any(p.startswith("rounds/round=0004.json: does not follow the record before it") for p in problems)
    assert any(p == "round_metrics.parquet: row of round 3 differs from its record" for p in problems)


def test_a_chain_that_was_rewritten_whole_has_another_head(run, whole):
    honest = verify(place(str(whole))).head
    previous = json.loads((run / "rounds/round=0002.json").read_text())["sha256"]
    for path in [*sorted((run / "rounds").glob("round=*.json"))[2:], run / "end.json"]:
        record = json.loads(path.read_text())
        content = {k: v for k, v in record.items() if k not in ("sha256", "previous_sha256")}
        if "reports" in content:
            content["reports"]["audit"]["loss_mean"] = 0.0
        sealed = seal(content, previous)
        path.write_text(to_text(sealed))
        previous = sealed["sha256"]
    assert verify(place(str(run))).head == previous != honest


def test_a_round_that_was_rolled_back_leaves_its_row_in_the_table(run):
    for path in (EVALUATION, "end.json", LAST):
        (run / path).unlink()
    problems = verify(place(str(run))).problems
    assert problems == (f"round_metrics.parquet: has a row of round {small_run.ROUNDS}, of which there is no record",)


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_table_one_round_behind_is_what_a_kill_leaves_and_no_tampering(run, rounds):
    (run / EVALUATION).unlink()
    (run / "end.json").unlink()
    for number in range(rounds + 1, small_run.ROUNDS + 1):
        (run / "rounds" / f"round={number:04d}.json").unlink()
    table = pq.read_table(run / METRICS)
    if rounds == 1:
        (run / METRICS).unlink()
    else:
        pq.write_table(table.slice(0, rounds - 1), run / METRICS)
    found = verify(place(str(run)))
    assert (found.problems, found.rounds, found.ended) == ((), rounds, False)
    if rounds > 1:
        pq.write_table(table.slice(0, rounds - 2), run / METRICS)
        assert verify(place(str(run))).problems == (
            f"{METRICS}: has {plural(rounds - 2, 'row')}, but there are {rounds} records",
        )


def test_what_a_killed_writer_left_beside_is_no_problem(run):
    (run / "rounds" / ".round=0009.json.123-1.tmp").write_text("{")
    assert verify(place(str(run))).problems == ()


def test_a_run_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(UsageError, match="there is no run r9"):
        verify(place(str(tmp_path / "r9")))


def test_verifying_changes_nothing(run):
    def content():
        return {p: p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}

    before = content()
    verify(place(str(run)))
    assert content() == before


def test_a_record_named_after_a_number_far_off_is_told_in_a_few_words(run):
    (run / "rounds" / "round=99999999999.json").write_text("{}")
    problems = verify(place(str(run))).problems
    assert any(problem.endswith("to rounds/round=99999999998.json: are missing") for problem in problems), problems
    assert len(problems) < 10

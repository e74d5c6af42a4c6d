"""Writing a run's folder, and taking up a run that was interrupted.

A round is durable once `rounds/round=NNNN.json` is there: it is written last and names the round's other files by
hash. Writing happens in one thread beside the next round's training, in order, so a kill loses little.
"""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import pyarrow as pa

from neurogrid.errors import RunError, UsageError
from neurogrid.fl.record import Round, weights_sha256
from neurogrid.fl.spec import Spec
from neurogrid.fl.state import State
from neurogrid.fl.update import Vector
from neurogrid.ledger.chain import Record, parse, seal, sha256, to_text
from neurogrid.ledger.checkpoint import FINAL, pack_state, pack_weights, read_state, read_weights, state_path
from neurogrid.ledger.made_with import MadeWith, newest
from neurogrid.ledger.records import changed, command, read_chain, read_named, refuse_begun, refuse_ended, round_name
from neurogrid.ledger.summary import summarise_run, to_markdown
from neurogrid.ledger.table import AGENT_AUDIT, DISTRICT_AUDIT, metrics_table, read_round_metrics, to_parquet
from neurogrid.ledger.tally import tally
from neurogrid.lock import FolderLock
from neurogrid.plural import plural
from neurogrid.storage import Place

VERSION = 2
"""Of a run's folder. 1: checkpoints of torch, with weights and momentum only; they are still read."""


@dataclass(frozen=True)
class Genesis:
    """What a run is made from: the first record of its chain, without the hashes of what lies beside it.

    `teacher` is the id of the teacher it starts or learns from, `teacher_sha256` that teacher's last record's hash.
    `start_run` is the id of the run whose last weights it starts from, `start_run_sha256` its last record's hash.
    `made_with` is what else its bits depend on, see `made_with.py`. `privacy` is its plan of noise and accounting,
    empty without any.
    """

    run_id: str
    manifest_id: str
    manifest_sha256: str
    neurogrid_version: str
    seed: int
    model: str
    n_weights: int
    n_agents: int
    rounds: int
    rule: str
    attack: str
    started: str
    teacher: str = ""
    teacher_sha256: str = ""
    start_run: str = ""
    start_run_sha256: str = ""
    made_with: MadeWith = field(default_factory=dict)
    privacy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Resumed:
    """A run taken up again: the state after its last durable round, the weights it began with, and what its newest
    rounds were made with."""

    state: State
    start: Vector
    genesis: Record
    made_with: MadeWith


@contextmanager
def _writing(run: Place, what: str, fix: str) -> Iterator[None]:
    """What the disk says, in words: full, not allowed, not a folder."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{what} of run {run.name} could not be written", found=str(error), fix=fix) from error


def _resume_with(run: Place) -> str:
    return f"make room or access there, then: {command(run, 'train --resume {}')}"


def _rows_of_table(run: Place, rounds: int) -> int:
    """How many the run's table of rounds has; raises RunError where it names rounds whose records are gone."""
    try:
        named: int = read_round_metrics(run).num_rows
    except (OSError, pa.ArrowException):  # it is made anew of the records
        return 0
    if named > rounds:
        raise changed(run, f"run {run.name} has records of {plural(rounds, 'round')}, but its table lists {named}")
    return named


class RoundTrace(Protocol):
    """Traces rounds beside the ledger; its ids stand in the rounds' records, and nothing depends on them."""

    def trace_id(self, round_id: int) -> str:
        """Of the round that `after_round` was last called with, hexadecimal; empty where it is not traced."""
        ...

    def persisted(self, round_id: int, persist_s: float) -> None:
        """The round has just become durable, which took `persist_s`."""
        ...


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Ledger:
    """Observer of `federate` that makes every round durable. Close it, or use it as a context manager."""

    def __init__(self, run: Place, spec: Spec, records: list[Record], lock: FolderLock, rows: int = 0) -> None:
        self._run, self._spec, self._records, self._lock = run, spec, records, lock
        self._rows, self._new = rows, 0  # of the table of rounds as it is stored; rounds that are to come into it
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._pending: Future[None] | None = None
        self._trace: RoundTrace | None = None
        self._break: MadeWith = {}

    @classmethod
    def create(cls, run: Place, genesis: Genesis, config_yaml: str, spec: Spec, start: State) -> "Ledger":
        """Begins a new run's folder with the state before its first round.

        Raises:
            UsageError: the folder has a run in it already, or another process holds it.
            RunError: it cannot be written to.
        """
        with _writing(run, "the folder", "make room or access there, or choose another place for runs"):
            lock = FolderLock(run, f"run {run.name}")
            try:
                record = cls._begin(run, genesis, config_yaml, spec, start, lock)
            except BaseException:
                lock.release()
                raise
        return cls(run, spec, [record], lock)

    @staticmethod
    def _begin(run: Place, genesis: Genesis, config_yaml: str, spec: Spec, start: State, lock: FolderLock) -> Record:
        refuse_begun(run)
        contents = {state_path(0): pack_state(start, spec), "config.yaml": config_yaml.encode()}
        for path, content in contents.items():
            (run / path).write(content)
        files = {path: sha256(content) for path, content in contents.items()}
        record = seal({"version": VERSION, **asdict(genesis), "writer": lock.holder, "files": files}, "")
        lock.check()
        refuse_begun(run)
        (run / "run.json").write(to_text(record))
        return record

    @classmethod
    def resume(cls, run: Place, spec: Spec) -> tuple["Ledger", Resumed]:
        """Takes up a run after its last durable round.

        Raises:
            UsageError: there is no such run, it has ended, or another process holds it.
            RunError: its records, its config or its last checkpoint are not what they were.
        """
        if not (run / "run.json").exists():
            raise UsageError(
                f"there is no run {run.name}", found=f"no {run}/run.json", fix="a run's id is the name of its folder"
            )
        with _writing(run, "the lock", _resume_with(run)):
            lock = FolderLock(run, f"run {run.name}")
        try:
            refuse_ended(run)
            records = read_chain(run)
            genesis, rounds = records[0], records[1:]
            rows = _rows_of_table(run, len(rounds))
            read_named(run, genesis, "config.yaml")
            start = read_weights(run, genesis, spec)
            state = read_state(run, records, spec)
        except BaseException:
            lock.release()
            raise
        return cls(run, spec, [genesis, *rounds], lock, rows), Resumed(state, start, genesis, newest(records))

    @property
    def head(self) -> str:
        """SHA-256 of the newest record."""
        return str(self._records[-1]["sha256"])

    def traced_by(self, trace: "RoundTrace | None") -> None:
        """Each round's record will name its trace, which hears how long making the round durable took."""
        self._trace = trace

    def goes_on_with(self, made_with: MadeWith) -> None:
        """Records a break: the rounds from here on are made with something else than those before."""
        self._break = made_with

    def after_round(self, record: Round, state: State) -> None:
        """Waits for the round before to be durable, then writes this one beside the next round's training."""
        self.flush()
        self._pending = self._writer.submit(self._persist, record, state)

    def flush(self) -> None:
        """Returns when all rounds so far are durable; raises what went wrong in writing them."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            with _writing(self._run, "a round", _resume_with(self._run)):
                pending.result()

    def _persist(self, record: Round, state: State) -> None:
        self._refuse_others()
        began = time.perf_counter()
        name = round_name(record.round_id)
        contents = {
            state_path(record.round_id): pack_state(state, self._spec),
            f"audit/agent_round_audit/{name}.parquet": to_parquet(map(asdict, record.agents), AGENT_AUDIT),
            f"audit/district_round_summary/{name}.parquet": to_parquet(map(asdict, record.districts), DISTRICT_AUDIT),
        }
        for path, content in contents.items():
            (self._run / path).write(content)
        persist_s = time.perf_counter() - began
        self._append(
            f"rounds/{name}.json",
            {
                **record.core,
                **tally(record),
                "persist_s": persist_s,
                "recorded": _now(),
                "trace_id": self._trace.trace_id(record.round_id) if self._trace else "",
                "files": {path: sha256(content) for path, content in contents.items()},
            },
        )
        if self._trace:
            self._trace.persisted(record.round_id, persist_s)
        self._new += 1
        if table_is_due(self._rows, len(self._records) - 1):
            self._write_table()

    def _refuse_others(self) -> None:
        """Raises RunError where the run is not this process's any more, or another has written to it."""
        self._lock.check()
        number = len(self._records) - 1
        path = f"rounds/{round_name(number)}.json" if number else "run.json"
        found = parse((self._run / path).read_bytes()) or {}
        if found.get("sha256") != self.head:
            raise self._written_by_another(path)

    def _append(self, path: str, content: Mapping[str, Any]) -> Record:
        """Writes the next record of the chain, unless the run is another's by now: it is never written over."""
        made_with = {"made_with": self._break} if self._break else {}
        sealed = seal({**content, **made_with, "writer": self._lock.holder}, self.head)
        self._lock.check()
        if (self._run / path).exists():
            raise self._written_by_another(path)
        (self._run / path).write(to_text(sealed))
        self._records.append(sealed)
        self._break = {}
        return sealed

    def _written_by_another(self, path: str) -> RunError:
        return RunError(
            f"another process has written to run {self._run.name}",
            found=f"{self._run}/{path} is not this process's",
            fix=f"let that one go on; or, once it has ended: {command(self._run, 'audit {}')}",
        )

    def _write_table(self) -> None:
        (self._run / "round_metrics.parquet").write(self._metrics())
        self._rows, self._new = len(self._records) - 1, 0

    def _metrics(self) -> bytes:
        return metrics_table(self._records[1:])

    def finish(
        self, state: State, reason: str, facts: Mapping[str, Any], files: Mapping[str, bytes] | None = None
    ) -> Record:
        """Closes the chain: final weights, metrics, summary.

        Args:
            state: the last.
            reason: why the run ended.
            facts: further figures for the summary, by name.
            files: further files of the end, by name; the record has their hashes.

        Raises:
            RunError: it could not be written.
        """
        self.flush()
        with _writing(self._run, "the end", _resume_with(self._run)):
            return self._finish(state, reason, facts, files or {})

    def _finish(self, state: State, reason: str, facts: Mapping[str, Any], files: Mapping[str, bytes]) -> Record:
        self._refuse_others()
        genesis, rounds = self._records[0], self._records[1:]
        summary = summarise_run(genesis, rounds, reason, weights_sha256(state.weights), facts)
        contents: dict[str, bytes] = {
            **files,
            FINAL: pack_weights(state.weights, self._spec),
            "round_metrics.parquet": self._metrics(),
            "run_summary.json": (json.dumps(summary, indent=2, sort_keys=True, allow_nan=False) + "\n").encode(),
            "run_summary.md": to_markdown(summary).encode(),
        }
        for path, content in contents.items():
            (self._run / path).write(content)
        self._new = 0
        return self._append(
            "end.json",
            {
                "reason": reason,
                "rounds": state.round,
                "ended": _now(),
                "w_final_sha256": weights_sha256(state.weights),
                "files": {path: sha256(content) for path, content in contents.items()},
                # Without this an evaluation whose hashes were taken out would pass for one of an older NeuroGrid.
                "followed_by": ["evaluation.json"],
            },
        )

    def close(self) -> None:
        """Waits for what is being written, leaves the table of rounds whole, and lets go of the run."""
        try:
            self.flush()
            if self._new:
                self._lock.check()
                with suppress(OSError):  # it is made anew of the records
                    self._write_table()
        finally:
            self._writer.shutdown()
            self._lock.release()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def table_is_due(rows: int, rounds: int) -> bool:
    """Whether a table of so many rows is to be written anew for so many rounds.

    It is written whole. After each round that would cost the square of the rounds; so after a sixteenth more of them.
    """
    return rounds - rows >= max(1, rows // 16)

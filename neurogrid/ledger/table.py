"""The run's tables: round metrics and the two audits, their columns and how they are read."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.fl.record import COLUMNS, AgentRecord, DistrictRecord, flat
from neurogrid.ledger.chain import Record
from neurogrid.ledger.records import round_number
from neurogrid.ledger.tally import TALLY
from neurogrid.storage import Place

_TYPES: dict[Any, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    bool | None: pa.bool_(),
}


def _schema(record: type) -> list[tuple[str, pa.DataType]]:
    return [(f.name, _TYPES[f.type]) for f in fields(record)]


AGENT_AUDIT = pa.schema(_schema(AgentRecord))
DISTRICT_AUDIT = pa.schema(_schema(DistrictRecord))
ROUND_METRICS = pa.schema(
    [
        *((name, _TYPES[kind]) for name, kind in COLUMNS.items()),
        *TALLY,
        ("persist_s", pa.float64()),
        ("recorded", pa.string()),
        ("trace_id", pa.string()),
        ("record_sha256", pa.string()),
    ],
)
"""A round's figures, then what it says of its agents in sum, the seconds that making it durable took and when that was
(UTC), the id of its trace (empty without one), its record's hash. After them stand its stages' further figures."""


def metrics_row(record: Record) -> dict[str, Any]:
    """A round's record as its row of round_metrics; what JSON could not hold is NaN again."""
    figures = flat(record)
    row = {name: figures.get(name) for name in ROUND_METRICS.names} | {"record_sha256": record["sha256"]}
    floats = {f.name for f in ROUND_METRICS if str(f.type) == "double"}
    row = {name: float("nan") if value is None and name in floats else value for name, value in row.items()}
    return row | {name: value for name, value in sorted(figures.items()) if "." in name}


def metrics_table(records: Iterable[Record]) -> bytes:
    """Rounds' records as the bytes of round_metrics.parquet."""
    rows = [metrics_row(record) for record in records]
    further = {name: type(value) for row in rows for name, value in row.items() if "." in name and value is not None}
    schema = [*ROUND_METRICS, *(pa.field(name, _TYPES[kind]) for name, kind in sorted(further.items()))]
    return to_parquet(rows, pa.schema(schema))


def to_parquet(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Rows as the bytes of one Parquet file."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), sink, compression="zstd")
    return sink.getvalue()


def read_round_metrics(run: Place) -> pa.Table:
    """The run's round metrics, one row a durable round; raises FileNotFoundError before the first."""
    return pq.read_table(pa.BufferReader((run / "round_metrics.parquet").read_bytes()))


def read_agent_audit(run: Place) -> pa.Table:
    """One row an agent and round, of all durable rounds."""
    return _read_parts(run, "agent_round_audit", AGENT_AUDIT)


def _read_parts(run: Place, audit: str, schema: pa.Schema) -> pa.Table:
    # A round that was being written when its run was killed has an audit and no record: it never happened.
    durable = {place.name.removesuffix(".json") for place in (run / "rounds").children()}
    parts = [part for part in (run / "audit" / audit).children() if part.name.removesuffix(".parquet") in durable]
    parts.sort(key=lambda part: round_number(part.name))
    tables = [pq.read_table(pa.BufferReader(part.read_bytes())) for part in parts]
    # A run that an older NeuroGrid began has fewer columns in the rounds that were its own.
    return pa.concat_tables([schema.empty_table(), *tables], promote_options="default")

"""The run's tables: round metrics and the two audits, their columns and how they are read."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from neurogrid.fl.record import AgentRecord, DistrictRecord, Round
from neurogrid.ledger.records import round_number
from neurogrid.ledger.tally import TALLY
from neurogrid.storage import Place

_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}


def _schema(record: type) -> list[tuple[str, pa.DataType]]:
    return [(f.name, _TYPES[f.type]) for f in fields(record) if f.type in _TYPES]


AGENT_AUDIT = pa.schema(_schema(AgentRecord))
DISTRICT_AUDIT = pa.schema(_schema(DistrictRecord))
ROUND_METRICS = pa.schema(
    [
        *_schema(Round),
        *TALLY,
        ("persist_s", pa.float64()),
        ("recorded", pa.string()),
        ("trace_id", pa.string()),
        ("record_sha256", pa.string()),
    ],
)
"""A round's figures, in the order of `Round`, then what it says of its agents in sum, the seconds that making it
durable took and when that was (UTC), the id of its trace (empty without one), its record's hash."""


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
    return pa.concat_tables(tables) if tables else schema.empty_table()

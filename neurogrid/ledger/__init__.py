"""A run's folder: durable round records in a hash chain, audit tables, checkpoints, resume, summary, verification.

    config.yaml                         the whole config of the run
    run.json                            the first record of the chain: what the run is made from
    W_global/round=0000/                state.safetensors: the start; then one checkpoint a round, of all slots
    audit/agent_round_audit/            one Parquet file a round, one row an agent
    audit/district_round_summary/       likewise, one row a district
    rounds/round=0001.json              the record that makes a round durable; written last, names the others by hash
    round_metrics.parquet               the records as one table
    W_final.safetensors                 the last weights by the model's own names; written at the end
    run_summary.json .md                likewise
    end.json                            the last record of the rounds' chain
    evaluation.json                     what was evaluated: a record that follows the last one, written anew each time
    evaluation.parquet                  each household's own figures, which that record names by hash

Every record carries the SHA-256 of the one before it. Nothing here imports a backend.
"""

from neurogrid.ledger.checkpoint import read_final, read_weights
from neurogrid.ledger.journal import Genesis, Ledger, Resumed
from neurogrid.ledger.summary import RunSummary, summarise_run
from neurogrid.ledger.table import AGENT_AUDIT, DISTRICT_AUDIT, ROUND_METRICS, read_agent_audit, read_round_metrics
from neurogrid.ledger.verify import Verification, verify

__all__ = [
    "AGENT_AUDIT",
    "DISTRICT_AUDIT",
    "ROUND_METRICS",
    "Genesis",
    "Ledger",
    "Resumed",
    "RunSummary",
    "Verification",
    "read_agent_audit",
    "read_final",
    "read_round_metrics",
    "read_weights",
    "summarise_run",
    "verify",
]

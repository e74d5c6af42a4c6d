"""What a run's folder and its warehouse hold, read once. Whatever is not there yet is None or empty."""

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from neurogrid.data.manifest import Manifest, read_manifest
from neurogrid.errors import RunError, UsageError
from neurogrid.ledger import read_agent_audit
from neurogrid.ledger.chain import is_intact
from neurogrid.ledger.records import changed, read_rounds
from neurogrid.storage import Place

Record = dict[str, Any]


@dataclass(frozen=True)
class RunFacts:
    """Everything that the report says, unformatted.

    Attributes:
        run_id: the run's name.
        genesis: what it was made from (run.json).
        rounds: the durable rounds' records, in order.
        agents: the audit, one row an agent and round.
        end: the last record of the chain; None while the run is unfinished.
        evaluation: scores on held-out readings.
        config: the run's whole configuration.
        manifest: who the agents are.
        quality: the data-quality report of the ETL.
        chain_intact: whether every record fits its own hash and follows the one before it.
    """

    run_id: str
    genesis: Record
    rounds: tuple[Record, ...]
    agents: tuple[Record, ...]
    end: Record | None
    evaluation: Record | None
    config: Record
    manifest: Manifest | None
    quality: Record | None
    chain_intact: bool

    @property
    def head(self) -> str:
        """SHA-256 of the newest record."""
        return str((self.end or (self.rounds or (self.genesis,))[-1])["sha256"])


def read_run(run: Place, warehouse: Place) -> RunFacts:
    """Reads all that there is of a run.

    Raises:
        UsageError: there is no run there.
        InputError: the run's manifest was changed since.
        RunError: a file is not what was written, and cannot be read.
    """
    genesis = _read_json(run / "run.json")
    if genesis is None:
        raise UsageError(
            f"there is no run {run.name} to report on",
            found=f"no {run}/run.json",
            fix=f"runs are under {warehouse}/runs",
        )
    try:
        rounds, agents = read_rounds(run), read_agent_audit(run).to_pylist()
    except (ValueError, pa.ArrowException) as error:
        raise changed(run, f"a record or an audit of run {run.name} is not what was written: {error}") from error
    end = _read_json(run / "end.json")
    config = yaml.safe_load((run / "config.yaml").read_text()) if (run / "config.yaml").exists() else {}
    manifest = warehouse / "manifests" / str(genesis.get("manifest_id", "")) / "manifest.json"
    return RunFacts(
        run_id=str(genesis["run_id"]),
        genesis=genesis,
        rounds=tuple(rounds),
        agents=tuple(agents),
        end=end,
        evaluation=_read_json(run / "evaluation.json"),
        config=config if isinstance(config, dict) else {},
        manifest=read_manifest(manifest) if manifest.exists() else None,
        quality=_read_json(warehouse / "quality" / "report.json"),
        chain_intact=_chain_intact([genesis, *rounds, *([end] if end else [])]),
    )


def _read_json(place: Place) -> Record | None:
    if not place.exists():
        return None
    try:
        content = json.loads(place.read_text())
    except ValueError as error:
        raise RunError(
            f"{place} is not JSON any more", found=str(error), fix="bring back the file as it was"
        ) from error
    return content if isinstance(content, dict) else None


def _chain_intact(records: list[Record]) -> bool:
    previous = ""
    for record in records:
        if not is_intact(record) or record["previous_sha256"] != previous:
            return False
        previous = record["sha256"]
    return True

"""What a run's folder and its warehouse hold, read once. Whatever is not there yet is None or empty."""

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from neurogrid.data.manifest import Manifest, read_manifest
from neurogrid.errors import RunError, UsageError
from neurogrid.fl.record import flat
from neurogrid.ledger import read_agent_audit
from neurogrid.ledger.records import changed, command, read_chain, read_end
from neurogrid.ledger.verify import verify_evaluation
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
        quality_page: whether there is a page of it, too.
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
    quality_page: bool

    @property
    def knows_attackers(self) -> bool:
        """Whether attackers were simulated, so that it is known who they are, and who is honest."""
        return any(row["malicious"] for row in self.agents)

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
    if not (run / "run.json").exists():
        raise UsageError(
            f"there is no run {run.name} to report on",
            found=f"no {run}/run.json",
            fix=f"runs are under {warehouse}/runs",
        )
    genesis, *rounds = read_chain(run)
    end = read_end(run) if (run / "end.json").exists() else None
    if end is not None and (end["previous_sha256"] != [genesis, *rounds][-1]["sha256"]):
        raise changed(run, f"records of run {run.name} are missing: its last one follows another than is there")
    try:
        # Of a run without a simulated attack nobody knows, see `knows_attackers`.
        agents = [{**row, "malicious": row["malicious"] is True} for row in read_agent_audit(run).to_pylist()]
    except (ValueError, pa.ArrowException) as error:
        raise changed(run, f"an audit of run {run.name} was modified: {error}") from error
    config = yaml.safe_load((run / "config.yaml").read_text()) if (run / "config.yaml").exists() else {}
    manifest = warehouse / "manifests" / str(genesis.get("manifest_id", "")) / "manifest.json"
    return RunFacts(
        run_id=str(genesis["run_id"]),
        genesis=genesis,
        rounds=tuple(map(flat, rounds)),
        agents=tuple(agents),
        end=end,
        evaluation=_evaluation(run, end),
        config=config if isinstance(config, dict) else {},
        manifest=read_manifest(manifest) if manifest.exists() else None,
        quality=read_json(warehouse / "quality" / "report.json"),
        quality_page=(warehouse / "quality" / "report.html").exists(),
    )


def _evaluation(run: Place, end: Record | None) -> Record | None:
    """What the newest evaluation found; refused where it, or a file that it names, is not what was written."""
    problems: list[str] = []
    verify_evaluation(run, end or {}, problems)
    if problems:
        raise RunError(
            f"the evaluation of run {run.name} is not what was written",
            found="; ".join(problems),
            fix=f"make it again: {command(run, 'evaluate {}')}",
        )
    return read_json(run / "evaluation.json")


def read_json(place: Place) -> Record | None:
    """The JSON object in a file, None if there is no such file; raises RunError where it is not JSON."""
    if not place.exists():
        return None
    try:
        content = json.loads(place.read_text())
    except (ValueError, RecursionError) as error:
        raise RunError(f"{place} is not JSON any more", found=str(error), fix="restore the file as it was") from error
    return content if isinstance(content, dict) else None

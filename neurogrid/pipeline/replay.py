"""A run made again from its records: the same weights must come of its own config, start, manifest and answers."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from neurogrid.backends.inline import InlineBackend
from neurogrid.data.manifest import Manifest
from neurogrid.errors import RunError, UsageError
from neurogrid.fl.attack import Attacked
from neurogrid.fl.order import Backend
from neurogrid.fl.record import Round
from neurogrid.fl.replay import ReplayDiffersError, Replayed, remake
from neurogrid.fl.state import State
from neurogrid.fl.uplink import MemoryHere
from neurogrid.ledger.chain import Record, sha256
from neurogrid.ledger.made_with import breaks, differences, made_with, newest
from neurogrid.ledger.recorded import read_recorded
from neurogrid.ledger.records import read_chain
from neurogrid.pipeline.plan import TrainPlan
from neurogrid.storage import Place

Moved = Callable[[int, int], None]
"""Called with how many rounds are done, and of how many."""


def replay(plan: TrainPlan, moved: Moved) -> int:
    """Trains a run's durable rounds again in this process, and compares the weights after each with the record.

    Agents that answered in a round answer in it again, from weights as old as then; those that are missing on record
    are missing. Nothing is written.

    Args:
        plan: of the run, see `plan_replay`; its records and files are those that were written.
        moved: told how far it is.

    Returns:
        How many rounds were made again.

    Raises:
        UsageError: the run has no rounds, its records do not say enough, or readings, versions or processor are others
            than those that it was made with.
        RunError: a round comes to something else than it has on record; names it.
    """
    records = read_chain(plan.run)
    _refuse_private(plan)
    _refuse_other_software(plan.run, records)
    _refuse_other_readings(plan.warehouse, plan.manifest)
    recorded = read_recorded(plan.run, records)
    federation = plan.federation
    if federation.uplink and federation.uplink.memory:  # a replay begins with the first round, and writes nothing
        federation = replace(federation, uplink=replace(federation.uplink, memory=MemoryHere()))
    backend: Backend = Replayed(InlineBackend(plan.factory, federation.uplink), recorded)
    if plan.attackers:
        backend = Attacked(backend, plan.attackers, federation.uplink)
    try:
        with backend:
            remake(backend, federation, plan.rounds, recorded, [_Moved(moved, len(recorded))])
    except ReplayDiffersError as error:
        raise RunError(
            f"run {plan.run.name} cannot be made again from its records",
            found=str(error),
            fix="its records, or some of them, were made up; or it was trained on executors with another processor",
        ) from error
    return len(recorded)


@dataclass(frozen=True)
class _Moved:
    """Observer of a replay."""

    moved: Moved
    rounds: int

    def after_round(self, record: Round, state: State) -> None:
        self.moved(record.round_id, self.rounds)


def _refuse_private(plan: TrainPlan) -> None:
    private = plan.rounds.privacy
    if private and private.test_seed is None:
        raise UsageError(
            f"the rounds of run {plan.run.name} cannot be made again: their noise is on no record",
            found=f"privacy.mode {private.mode}: with the noise on record anybody could take it away",
            fix="`neurogrid audit` without --replay checks its records and files",
        )


def _refuse_other_software(run: Place, records: list[Record]) -> None:
    if len(records) == 1:
        raise UsageError(f"run {run.name} has no round yet, so there is nothing to make again")
    if broken := breaks(records):
        raise UsageError(
            f"run {run.name} was made with more than one version or processor, so it cannot be made again with one",
            found="; ".join(broken),
        )
    if others := differences(newest(records), made_with()):
        raise UsageError(
            f"run {run.name} was made with other versions or on another processor, so its weights might differ here",
            found="; ".join(others),
            fix="replay it with those: in the same image, on the same kind of machine",
        )


def _refuse_other_readings(warehouse: Place, manifest: Manifest) -> None:
    """By the hashes of the files alone: an agent's readings are opened where it trains."""
    for agent in manifest.agents:
        for part in agent.parts:
            found = sha256((warehouse / part.path).read_bytes())
            if found != manifest.fingerprints[part.path]:
                raise UsageError(
                    f"the readings of agent {agent.agent_id} are not those that the run was made with",
                    found=f"{warehouse / part.path} has SHA-256 {found[:12]}, by the manifest "
                    f"{manifest.fingerprints[part.path][:12]}",
                    fix="restore the file as it was",
                )

"""The run whose last weights another run starts from: retraining on newer readings."""

from dataclasses import dataclass

from neurogrid.config import Config
from neurogrid.data.manifest import Manifest, read_manifest
from neurogrid.errors import UsageError
from neurogrid.fl.spec import Spec
from neurogrid.fl.update import Vector
from neurogrid.ledger.checkpoint import read_final
from neurogrid.ledger.records import changed, read_chain, read_end
from neurogrid.pipeline import runs
from neurogrid.storage import place
from neurogrid.teacher.households import Taught, refuse_leaks


@dataclass(frozen=True)
class Earlier:
    """A run that has ended.

    Attributes:
        id: its name.
        head_sha256: of its last record, which names all that its weights are made from.
        weights: (d,) its final weights.
    """

    id: str
    head_sha256: str
    weights: Vector


def find(config: Config, manifest: Manifest, spec: Spec) -> Earlier | None:
    """The run that the config names in `rounds.start_from`, checked against the manifest; None where it names none.

    `spec` is what the model's vector holds.

    Raises:
        UsageError: there is no such run, it has not ended, a teacher is to be started from as well, its model or its
            windows are others, or it learnt from households or time that this federation is tested on.
        InputError: its manifest is not in the warehouse.
        RunError: its folder is not what was written.
    """
    wanted = config.rounds.start_from
    if not wanted:
        return None
    if config.rounds.teacher and not config.local.distill_weight:
        raise UsageError(
            "a federation starts from one model's weights",
            found=f"run {wanted} and teacher {config.rounds.teacher}",
            fix="leave out --from or --teacher; or set local.distill_weight to learn from the teacher's forecasts",
        )
    own = runs.run_config(config.warehouse, wanted, [])
    run = runs.folder(config, wanted)
    records, end = read_chain(run), read_end(run)
    if end["previous_sha256"] != records[-1]["sha256"]:
        raise changed(run, f"the last record of run {wanted} does not follow its newest round")
    theirs = read_manifest(place(config.warehouse) / "manifests" / records[0]["manifest_id"] / "manifest.json")
    _refuse_another_model(own, config, theirs.cadence_minutes, manifest.cadence_minutes)
    refuse_leaks(_taught(theirs), manifest, f"run {wanted}")
    return Earlier(wanted, str(end["sha256"]), read_final(run, end, spec))


def _refuse_another_model(own: Config, config: Config, their_minutes: int, our_minutes: int) -> None:
    theirs = {**own.model.model_dump(), "cadence_minutes": their_minutes}
    ours = {**config.model.model_dump(), "cadence_minutes": our_minutes}
    differing = [f"{name} {theirs[name]} against {value}" for name, value in ours.items() if theirs[name] != value]
    if differing:
        raise UsageError(
            f"run {config.rounds.start_from} has another model than this federation",
            found="the run's " + ", ".join(differing),
            fix="set the model section as the run's config.yaml has it, or start from another run",
        )


def _taught(manifest: Manifest) -> dict[str, Taught]:
    """What a run with this manifest learnt from; the periods of an agent's first household are known."""
    return {
        part.household_id: Taught(
            manifest.fingerprints[part.path],
            agent.train_end if part == agent.parts[0] else None,
            agent.validation_end if part == agent.parts[0] else None,
        )
        for agent in manifest.agents
        for part in agent.parts
    }

"""From a finished run to what forecasting and exporting take, with everything that cannot work refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import neurogrid
from neurogrid.config import Config
from neurogrid.data.cleaning import Cleaning
from neurogrid.data.household import FEATURES
from neurogrid.data.manifest import Manifest, few
from neurogrid.data.optout import refuse_opted_out, tables_to_use
from neurogrid.data.tables import INDEX, CurrentTable, read_tables
from neurogrid.errors import InputError, UsageError
from neurogrid.ledger import read_final
from neurogrid.ledger.checkpoint import pack_weights
from neurogrid.ledger.records import read_end, read_genesis
from neurogrid.pipeline import exporting, runs, settings
from neurogrid.pipeline.exporting import ExportPlan
from neurogrid.pipeline.plan import find_manifest, personal_files, spec
from neurogrid.plural import plural
from neurogrid.serving.folder import About
from neurogrid.storage import Place, place
from neurogrid.workloads.meters.fleet import FleetSettings
from neurogrid.workloads.meters.personal_files import owners

SPARK_FROM_HOUSEHOLDS = 1000
"""Below this, forecasts in this process (9 ms a household) are made sooner than Spark starts."""
SPARK_FROM_PRIVATE_HOUSEHOLDS = 30
"""Likewise where private layers are fitted to each household first."""
FileKind = Literal["parquet", "csv"]


@dataclass(frozen=True)
class ForecastPlan:
    """All that forecasting takes.

    Attributes:
        run: the run's folder, called like the run.
        warehouse: where the tables lie.
        tables: of the households, in the order of their names.
        settings: what forecasts are made with.
        on_spark: whether there are so many that Spark is worth its start.
        out: where the table goes; None is nowhere.
        out_kind: how it is written there.
    """

    run: Place
    warehouse: Place
    tables: tuple[CurrentTable, ...]
    settings: FleetSettings
    on_spark: bool
    out: Place | None
    out_kind: FileKind


def plan_forecasts(
    config: Config, run_id: str, households: Sequence[str], at: str | None, horizon: int | None, out: str | None
) -> ForecastPlan:
    """See ForecastPlan.

    Args:
        config: the run's own.
        run_id: the run, which has ended.
        households: ids; none are all of the warehouse's current ones.
        at: ISO moment with a zone, of the first slot; None is the slot after each household's last one.
        horizon: slots; None is as many as the model forecasts.
        out: a file that ends with .parquet or .csv.

    Raises:
        UsageError: the run has not ended; `at`, `horizon`, `out` or a household cannot be, or one opted out.
        InputError: there are no current tables, or their list does not say how they were made.
        RunError: the run is not what was written.
    """
    warehouse, run, training = place(config.warehouse), runs.folder(config, run_id), settings.training(config)
    weights = read_final(run, read_end(run), spec(training))
    refuse_opted_out(warehouse, households)
    tables = chosen(tables_to_use(warehouse), households)
    manifest = own_manifest(config, run_id)
    minutes = manifest.cadence_minutes
    target, kind = _out(out)
    few_enough = SPARK_FROM_PRIVATE_HOUSEHOLDS if training.private else SPARK_FROM_HOUSEHOLDS
    return ForecastPlan(
        run=run,
        warehouse=warehouse,
        tables=tables,
        settings=FleetSettings(
            training=training,
            weights=weights,
            cleaning=cleaning(warehouse),
            cadence_minutes=minutes,
            at=None if at is None else _moment(at, minutes),
            horizon_slots=_horizon(horizon, training.windows.horizon_slots),
            personal=personal_files(config, run),
            agents=owners(manifest.agents),
        ),
        on_spark=len(tables) >= few_enough,
        out=target,
        out_kind=kind,
    )


def plan_export(config: Config, run_id: str, folder: str) -> ExportPlan:
    """See ExportPlan.

    Args:
        config: the run's own.
        run_id: the run, which has ended.
        folder: a path or URI, of nothing or of an empty folder.

    Raises:
        UsageError: the run has not ended, something lies in the folder, or layers of the model are private.
        InputError, RunError: as `plan_forecasts`.
    """
    training, run, target = settings.training(config), runs.folder(config, run_id), place(folder)
    if training.private:
        raise UsageError(
            f"run {run_id} has no model of its own that could be taken away",
            found=f"its layers {', '.join(training.private)} are fitted to each household (local.private_layers)",
            fix="`neurogrid forecast` fits them to the households of the warehouse",
        )
    exporting.refuse_used(target)
    end, genesis = read_end(run), read_genesis(run)
    vector = read_final(run, end, spec(training))
    about = About(
        run=run_id,
        last_record_sha256=str(end["sha256"]),
        manifest_id=str(genesis["manifest_id"]),
        neurogrid_version=neurogrid.__version__,
        cadence_minutes=own_manifest(config, run_id).cadence_minutes,
        windows=training.windows,
        model=training.model,
        cleaning=cleaning(place(config.warehouse)),
        features=FEATURES,
        known=training.windows.known_names,
        files={},
    )
    return ExportPlan(target, about, vector, pack_weights(vector, spec(training)))


def own_manifest(config: Config, run_id: str) -> Manifest:
    """The manifest that the run was made with; raises as `find_manifest`, and UsageError where it is another one."""
    manifest = find_manifest(runs.with_own_manifest(config, run_id))
    runs.refuse_other_manifest(read_genesis(runs.folder(config, run_id)), manifest)
    return manifest


def cleaning(warehouse: Place) -> Cleaning:
    """How the current tables were made; raises InputError where their list does not say it."""
    tables = read_tables(warehouse)
    try:
        return Cleaning.from_json(tables.cleaning if tables else "")
    except ValueError as error:
        raise InputError(
            f"{warehouse / INDEX} does not say how the tables were made, as local times of coming slots need it",
            found="a list of an older NeuroGrid" if tables and not tables.cleaning else str(error),
            fix="run `neurogrid etl` again, with the settings of before",
        ) from error


def chosen(tables: dict[str, CurrentTable], households: Sequence[str]) -> tuple[CurrentTable, ...]:
    """The tables of these households, or of all; raises UsageError where the warehouse has no such household."""
    unknown = [name for name in households if name not in tables]
    if unknown:
        raise UsageError(
            f"{plural(len(unknown), 'household')} of --households not in the warehouse",
            found=few(unknown),
            fix=f"name some of its {plural(len(tables), 'household')}, for example {', '.join(sorted(tables)[:3])}; "
            "or run `neurogrid etl` on their readings first",
        )
    return tuple(tables[name] for name in sorted(set(households) or tables))


def _moment(at: str, minutes: int) -> datetime:
    fix = "give it like 2024-02-29T13:30:00+01:00, or with Z for UTC"
    try:
        found = datetime.fromisoformat(at)
    except ValueError as error:
        raise UsageError("--at is not a moment in ISO 8601", found=at, fix=fix) from error
    if found.utcoffset() is None:
        raise UsageError("--at has no offset from UTC, so it is not known which moment it means", found=at, fix=fix)
    try:
        found = found.astimezone(UTC)
    except OverflowError as error:
        raise UsageError("--at is no moment that a forecast can have", found=at, fix=fix) from error
    if found.timestamp() % (60 * minutes):
        raise UsageError(
            f"--at is not the start of a slot of {minutes} min",
            found=f"{found:%Y-%m-%dT%H:%M:%S.%fZ}",
            fix=f"slots begin at multiples of {minutes} min of UTC",
        )
    return found


def _horizon(asked: int | None, model_slots: int) -> int:
    if asked is not None and not 1 <= asked <= model_slots:
        raise UsageError(
            f"--horizon has to be from 1 to {model_slots}: that is what the run's model forecasts",
            found=str(asked),
            fix="train a run with a larger model.horizon_slots to see further",
        )
    return asked or model_slots


def _out(out: str | None) -> tuple[Place | None, FileKind]:
    if out is None:
        return None, "parquet"
    target, ending = place(out), out.rpartition(".")[2].lower()
    if ending not in ("parquet", "csv"):
        raise UsageError("--out has to end with .parquet or .csv", found=out, fix="name such a file")
    if target.is_folder():
        raise UsageError("--out is a folder", found=str(target), fix="name a file in it")
    return target, "csv" if ending == "csv" else "parquet"

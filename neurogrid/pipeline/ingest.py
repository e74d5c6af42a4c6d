"""Raw readings to clean tables, as the command line does it: what is needed for it, and no more.

`neurogrid etl` is run again and again, and often finds nothing to do. So nothing here imports torch, and Spark's own
modules only where a session is opened.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import neurogrid
from neurogrid.cli import show
from neurogrid.config import Config
from neurogrid.data.clean import EtlSettings
from neurogrid.data.etl import run_etl
from neurogrid.data.grid import check_cadence
from neurogrid.data.layouts.declaration import Declaration, Quality
from neurogrid.data.manifest import Manifest
from neurogrid.data.sources import Source, open_source
from neurogrid.data.tables import INDEX
from neurogrid.errors import RunError
from neurogrid.lock import FolderLock
from neurogrid.plural import plural
from neurogrid.storage import place, refuse_unwritable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Result = dict[str, Any]


@contextmanager
def when_needed(session: AbstractContextManager["SparkSession"]) -> Iterator[Callable[[], "SparkSession"]]:
    """Opens a session when it is first asked for: starting Spark takes seconds that some commands can spare."""
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(session))


@contextmanager
def session(config: Config) -> Iterator["SparkSession"]:
    """The one Spark session of a command."""
    from neurogrid.session import spark_session  # noqa: PLC0415 - pyspark loads in a second

    refuse_unwritable(place(config.warehouse))
    master = config.spark.master
    starting = spark_session("neurogrid", master, config.spark.options, _spark_log(config))
    with ExitStack() as stack:
        with show.waiting(f"starting Spark on {master}"):
            spark = stack.enter_context(starting)
        yield spark


def find_source(config: Config) -> Source:
    """The raw readings; raises InputError where there are none, or they do not fit the cadence, before Spark starts."""
    section = config.source
    source = open_source(
        section.kind,
        place(section.path),
        section.exclude,
        section.limit_households or None,
        generic=generic(config) if section.kind == "generic" else None,
        timezone=section.timezone,
        net_meters=config.etl.net_meters,
    )
    check_cadence(source.cadence_minutes, config.etl.cadence_minutes)
    source.refuse_unlike()
    return source


def etl_settings(config: Config) -> EtlSettings:
    """See EtlSettings."""
    return EtlSettings(**config.etl.model_dump())


def generic(config: Config) -> Declaration:
    """The user's own declaration. Times of an IANA zone say where the households are, if nothing else does."""
    own = config.source.generic
    fixed = own.time_zone in ("", "UTC") or own.time_zone[0] in "+-"
    quality = Quality(own.quality, tuple(own.quality_good), tuple(own.quality_estimated), tuple(own.quality_missing))
    return Declaration(
        name="generic",
        about="declared in source.generic",
        files=own.files,
        shape=own.shape,
        separator=own.separator,
        encoding=own.encoding,
        decimal=own.decimal,
        nulls=tuple(own.nulls),
        header=own.header,
        skip_lines=own.skip_lines,
        household=own.household,
        time=tuple(own.time),
        time_format=own.time_format,
        energy=tuple(own.energy),
        optional_energy=tuple(own.optional_energy),
        export=tuple(own.export),
        not_households=tuple(own.not_households),
        unit=own.unit,
        register=own.holds == "register",
        ends=own.label == "end",
        zone=own.time_zone,
        repeated=own.repeated_hour,
        copied_hour=own.copied_hour,
        timezone="UTC" if fixed else own.time_zone,
        cadence_minutes=own.cadence_minutes,
        quality=quality if own.quality else None,
        leading_zeros=own.leading_zeros,
    )


def do_etl(config: Config, spark: Callable[[], "SparkSession"], source: Source) -> Result:
    """Raw files to clean tables; opens a session where a file has to be read."""
    warehouse = place(config.warehouse)
    show.heading("ETL")
    show.facts([("from", f"{config.source.path} ({source.kind})"), ("to", f"{warehouse}/meters")])
    refuse_unwritable(warehouse)
    with FolderLock(warehouse / "meters", f"the ETL into {warehouse}"), show.bar("household files") as bar:
        try:
            report = run_etl(spark, source, warehouse, etl_settings(config), bar)
        except RunError:  # not one file could be used: the page says why
            write_quality_page(config, None)
            raise
        write_quality_page(config, None)
    faults = {
        **report.faults,
        **{f"weather {kind}": n for own in report.weather_faults.values() for kind, n in own.items()},
    }
    passed = ", ".join(f"{plural(len(names), 'name')} ({rule})" for rule, names in report.passed_over.items())
    show.facts(
        [
            (
                "households" if source.declaration.staged else "files",
                f"{report.files}, of which {len(report.unusable)} unusable",
            ),
            *([("unchanged", f"{plural(report.unchanged, 'file')}, not read again")] if report.unchanged else []),
            *([("passed over", passed)] if passed else []),
            ("rows read", f"{report.file_rows:,}"),
            (
                "tables",
                f"{plural(report.households, 'household')}, {report.slots:,} slots of {report.cadence_minutes} min",
            ),
            ("measured", f"{report.load_tiers['observed'] / max(report.slots, 1):.1%} of slots, the rest imputed"),
            ("faults", ", ".join(f"{kind} {n:,}" for kind, n in sorted(faults.items())) or "none"),
            *([("doubtful", ", ".join(report.doubtful))] if report.doubtful else []),
            *([("all doubtful", "; ".join(report.source_doubts))] if report.source_doubts else []),
            *([("not any more", _few(report.removed))] if report.removed else []),
            ("report", f"{warehouse}/quality/report.html"),
            ("took", f"{report.seconds:.1f} s"),
        ]
    )
    return {**json.loads(report.to_json()), "unchanged": report.unchanged, "seconds": report.seconds}


def write_quality_page(config: Config, manifest: Manifest | None) -> None:
    """The warehouse's data-quality page; with a manifest, its clusters' usual days."""
    warehouse = place(config.warehouse)
    if not (warehouse / "quality" / "report.json").exists():  # tables that came from elsewhere
        return
    # Drawn anew only where something that it shows has changed: it takes longer than to find that nothing has.
    shown = [warehouse / name for name in ("quality/report.json", "quality/faults.parquet", INDEX)]
    parts = [file.read_bytes() if file.exists() else b"" for file in shown]
    said = f"{neurogrid.__version__} {config.show_households} {manifest.sha256 if manifest else ''}"
    made_from = f"<!-- {hashlib.sha256(b''.join([*parts, said.encode()])).hexdigest()} -->\n"
    file = warehouse / "quality" / "report.html"
    if file.exists() and file.read_bytes().endswith(made_from.encode()):
        return
    from neurogrid.report.quality import render_quality  # noqa: PLC0415 - jinja2 loads where a page is drawn

    file.write(render_quality(warehouse, manifest, show_households=config.show_households) + made_from)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _spark_log(config: Config) -> Path | None:
    """Where Spark's log goes: a file in a local warehouse; otherwise the terminal, as pods' logs need."""
    if "://" in config.warehouse or not config.spark.master.startswith("local"):
        return None
    return Path(config.warehouse).expanduser() / "logs" / "spark.log"

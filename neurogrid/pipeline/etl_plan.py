"""From the config to what an ETL takes: the raw readings, as their folder has them, and how they are cleaned.

`neurogrid etl` is run again and again, and often finds nothing to do. So nothing here imports torch or Spark.
"""

from dataclasses import dataclass

from neurogrid.config import Config
from neurogrid.data.cleaning import EtlSettings
from neurogrid.data.grid import check_cadence
from neurogrid.data.layouts.declaration import Declaration, Quality
from neurogrid.data.sources import Source, open_source
from neurogrid.storage import Place, place


@dataclass(frozen=True)
class EtlPlan:
    """All that an ETL takes.

    Attributes:
        warehouse: where the tables go.
        path: of the readings, as it was given.
        source: what lies there.
        settings: see there.
        cadence_minutes: length of the tables' slots.
        show_households: whether the page of data quality shows single households.
    """

    warehouse: Place
    path: str
    source: Source
    settings: EtlSettings
    cadence_minutes: int
    show_households: bool


def plan_etl(config: Config) -> EtlPlan:
    """Raises InputError where there are no readings, or they do not fit the cadence: before Spark starts."""
    section = config.source
    source = open_source(
        section.kind,
        place(section.path),
        section.exclude,
        section.limit_households or None,
        generic=_generic(config) if section.kind == "generic" else None,
        timezone=section.timezone,
        net_meters=config.etl.net_meters,
    )
    cadence = check_cadence(source.cadence_minutes, config.etl.cadence_minutes)
    source.refuse_unlike()
    settings = EtlSettings(**config.etl.model_dump())
    return EtlPlan(place(config.warehouse), section.path, source, settings, cadence, config.show_households)


def _generic(config: Config) -> Declaration:
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

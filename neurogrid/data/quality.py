"""The data-quality report: what came in, what was wrong with it, what went out. As JSON for tools, Markdown for people.

It says nothing of time or place of the run, so the same data gives the same bytes.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from neurogrid.data.clean import Outcome
from neurogrid.data.counts import Counts
from neurogrid.data.doubts import Series, doubts, doubts_of_source
from neurogrid.data.faults import MEANINGS, Fault, FaultLog
from neurogrid.data.folder import Listing
from neurogrid.data.household import HouseholdMeta

TIERS = ("observed", "trailing_mean", "slot_mean", "zero")
WORST_LISTED = 10
UNUSABLE_LISTED = 50
PASSED_OVER_LISTED = 10
ENERGY_TOLERANCE = 1e-5
"""Energies are written as 32-bit floats, so what goes out may differ from what came in by this share."""


@dataclass(frozen=True)
class HouseholdRow:
    """One household of the report's tables."""

    household_id: str
    weather_id: str
    rows: int
    observed: int
    faults: int
    energy_kwh: float
    zero_share: float
    longest_gap_minutes: int

    @property
    def missing_share(self) -> float:
        """Share of slots that were not measured."""
        return 1 - self.observed / self.rows


@dataclass(frozen=True)
class QualityReport:
    """What an ETL run found and made.

    Attributes:
        source: kind of the source.
        cadence_minutes: length of a slot of the tables.
        files: household files found; `excluded` of them not counted.
        passed_over: names in the folder that are no household's file, by the rule that says so.
        file_rows: rows of all files that could be read.
        households: tables written.
        slots: rows of all tables; `slots - load_tiers["observed"]` were missing.
        load_tiers, weather_tiers: slots by how their value came to be.
        faults: of all household files and the household list, by kind.
        list_faults: those of the household list again, by its file.
        unusable: file name and reason of each file that gave no table.
        weather_faults: by station and kind.
        doubtful: households that are used and doubtful as a whole, and why.
        source_doubts: what is doubtful of all households together.
        worst: households with the largest share of missing slots.
        energy_read_kwh: of usable values; `energy_dropped_kwh` of it stood in rows that found no slot.
        energy_imputed_kwh: filled into slots; `energy_written_kwh` is what the tables hold.
        zero_readings: measured values that are exactly zero.
        unchanged: files that were the same as in the last ETL, and not read again.
        removed: households of the last ETL that have no current table any more.
        seconds: wall time of the run; not part of the files.
    """

    source: str
    cadence_minutes: int
    files: int
    excluded: tuple[str, ...]
    passed_over: Mapping[str, tuple[str, ...]]
    file_rows: int
    households: int
    slots: int
    load_tiers: Mapping[str, int]
    weather_tiers: Mapping[str, int]
    faults: Mapping[str, int]
    list_faults: Mapping[str, FaultLog]
    unusable: Mapping[str, str]
    weather_faults: Mapping[str, Mapping[str, int]]
    doubtful: Mapping[str, str]
    source_doubts: tuple[str, ...]
    worst: tuple[HouseholdRow, ...]
    energy_read_kwh: float
    energy_dropped_kwh: float
    energy_imputed_kwh: float
    energy_written_kwh: float
    zero_readings: int
    unchanged: int
    removed: tuple[str, ...]
    seconds: float

    @property
    def energy_balanced(self) -> bool:
        """Whether the tables hold what was read, less what was dropped, plus what was imputed."""
        expected = self.energy_read_kwh - self.energy_dropped_kwh + self.energy_imputed_kwh
        return abs(self.energy_written_kwh - expected) <= ENERGY_TOLERANCE * max(abs(expected), 1.0)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, two spaces; without `seconds` and `unchanged`, which differ from run to run."""
        content = {name: value for name, value in vars(self).items() if name not in ("seconds", "unchanged")}
        content["list_faults"] = {
            file: {"counts": log.counts, "listed": [vars(note) for note in log.notes]}
            for file, log in self.list_faults.items()
        }
        content["worst"] = [vars(row) | {"missing_share": row.missing_share} for row in self.worst]
        return json.dumps(content | {"energy_balanced": self.energy_balanced}, sort_keys=True, indent=2) + "\n"

    def to_markdown(self) -> str:
        """A page for an engineer: totals, faults with what was done about them, worst households, unusable files."""
        parts = (self._totals(), self._faults(), self._doubtful(), self._worst(), self._unusable(), self._passed_over())
        return "\n".join(line for part in parts for line in part) + "\n"

    def _totals(self) -> list[str]:
        missing = self.slots - self.load_tiers[TIERS[0]]
        lines = [
            f"# Data quality: {self.source}, {self.cadence_minutes}-minute slots",
            "",
            "| | |",
            "| --- | ---: |",
            f"| Household files | {self.files:,} ({len(self.excluded):,} more left out by the user) |",
            f"| Names passed over | {sum(map(len, self.passed_over.values())):,} |",
            f"| Files that could not be used | {len(self.unusable):,} |",
            f"| Households written | {self.households:,} |",
            f"| Rows in their files | {self.file_rows:,} |",
            f"| Slots written | {self.slots:,} |",
            f"| Slots not measured | {missing:,} ({missing / max(self.slots, 1):.2%}) |",
            f"| Readings of zero | {self.zero_readings:,} |",
            f"| Energy read | {self.energy_read_kwh:,.1f} kWh |",
            f"| Energy in dropped rows | {self.energy_dropped_kwh:,.1f} kWh |",
            f"| Energy imputed | {self.energy_imputed_kwh:,.1f} kWh |",
            f"| Energy written | {self.energy_written_kwh:,.1f} kWh |",
            f"| Read - dropped + imputed = written | {'yes' if self.energy_balanced else '**NO**'} |",
            "",
            "## Source of the values",
            "",
            "| | load | share | weather | share |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        for tier in TIERS:
            load, weather = self.load_tiers[tier], self.weather_tiers[tier]
            total = max(self.slots, 1)
            lines.append(f"| {tier} | {load:,} | {load / total:.3%} | {weather:,} | {weather / total:.3%} |")
        return lines

    def _faults(self) -> list[str]:
        lines = ["", "## Faults", ""]
        if not self.faults and not self.weather_faults:
            return [*lines, "None."]
        lines += ["| fault | count | what it is and what was done |", "| --- | ---: | --- |"]
        lines += [
            f"| {kind} | {count:,} | {MEANINGS[Fault(kind)]} |"
            for kind, count in sorted(self.faults.items(), key=lambda item: (-item[1], item[0]))
        ]
        lines += ["", "Each is listed with its file and line in faults.parquet (the first of each kind a household)."]
        lines += self._list_faults()
        if self.weather_faults:
            lines += ["", "| weather station | fault | count |", "| --- | --- | ---: |"]
            lines += [
                f"| {station} | {kind} | {count:,} |"
                for station, faults in self.weather_faults.items()
                for kind, count in faults.items()
            ]
        return lines

    def _list_faults(self) -> list[str]:
        lines: list[str] = []
        for file, log in self.list_faults.items():
            lines += ["", "| household list | line | fault | what the cells were |", "| --- | ---: | --- | --- |"]
            lines += [f"| {file} | {note.line} | {note.kind} | {_cell(note.text)} |" for note in log.notes]
            more = sum(log.counts.values()) - len(log.notes)
            lines += ["", f"and {more:,} more of {file}, counted above"] if more else []
        return lines

    def _doubtful(self) -> list[str]:
        lines = ["", "## All households are doubtful", ""] if self.source_doubts else []
        lines += [f"{text}\n" for text in self.source_doubts]
        if self.doubtful:
            lines += ["", "## Doubtful households", "", "They are used; leave them out with source.exclude.", ""]
            lines += ["| household | what is doubtful |", "| --- | --- |"]
        return lines + [f"| {household} | {_cell(text)} |" for household, text in self.doubtful.items()]

    def _worst(self) -> list[str]:
        lines = ["", "## Households with most slots missing", ""]
        lines += ["| household | station | slots | missing | longest gap | zeros | faults | kWh |"]
        lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
        return lines + [
            f"| {row.household_id} | {row.weather_id} | {row.rows:,} | {row.missing_share:.2%} "
            f"| {row.longest_gap_minutes / 60:,.1f} h | {row.zero_share:.1%} | {row.faults:,} | {row.energy_kwh:,.1f} |"
            for row in self.worst
        ]

    def _unusable(self) -> list[str]:
        lines = ["", "## Files that could not be used", ""]
        if not self.unusable:
            return [*lines, "None."]
        shown = list(self.unusable.items())[:UNUSABLE_LISTED]
        lines += ["| file | reason |", "| --- | --- |"]
        lines += [f"| {name} | {_cell(reason)} |" for name, reason in shown]
        if len(shown) < len(self.unusable):
            lines += ["", f"and {len(self.unusable) - len(shown):,} more in report.json"]
        return lines

    def _passed_over(self) -> list[str]:
        if not self.passed_over:
            return []
        lines = ["", "## Names passed over", "", "| rule | names | which |", "| --- | ---: | --- |"]
        for rule, names in self.passed_over.items():
            more = f" and {len(names) - PASSED_OVER_LISTED:,} more" if len(names) > PASSED_OVER_LISTED else ""
            lines.append(f"| {rule} | {len(names):,} | {_cell(', '.join(names[:PASSED_OVER_LISTED]))}{more} |")
        return lines


def _cell(text: str) -> str:
    """Text that neither ends a cell of a Markdown table nor breaks its line."""
    return " ".join(text.split()).replace("|", "/")


def quality_report(
    source: str,
    cadence_minutes: int,
    outcomes: Sequence[Outcome],
    listing: Listing,
    weather_faults: Mapping[str, FaultLog],
    max_power_kw: float,
) -> QualityReport:
    """Adds up the outcomes of all files, in the order of households; what only the whole ETL knows is still empty."""
    used = [(o, o.meta, o.counts) for o in outcomes if o.meta is not None and o.counts is not None]
    faults: Counter[str] = Counter()
    for outcome in outcomes:
        faults.update({str(kind): count for kind, count in outcome.faults.items() if count})
    for log in (*listing.faults.values(), *listing.list_faults.values()):
        faults.update({str(kind): count for kind, count in log.counts.items()})
    rows = [_row(o, meta, counts) for o, meta, counts in used]
    series = [_series(o, meta, counts) for o, meta, counts in used]
    worst = sorted(rows, key=lambda row: (-row.missing_share, row.household_id))[:WORST_LISTED]
    return QualityReport(
        source=source,
        cadence_minutes=cadence_minutes,
        files=len(outcomes),
        excluded=listing.excluded,
        passed_over=listing.passed_over,
        file_rows=sum(o.file_rows for o in outcomes),
        households=len(used),
        slots=sum(meta.rows for _, meta, _ in used),
        load_tiers=_sum_tiers([counts.load_tiers for _, _, counts in used]),
        weather_tiers=_sum_tiers([counts.weather_tiers for _, _, counts in used]),
        faults=dict(sorted(faults.items())),
        list_faults={file: log for file, log in listing.list_faults.items() if log.counts.total()},
        unusable={o.file: _reason(o) for o in outcomes if o.meta is None},
        weather_faults={
            station: {str(kind): count for kind, count in sorted(log.counts.items()) if count}
            for station, log in sorted(weather_faults.items())
            if sum(log.counts.values())
        },
        doubtful=doubts(series, max_power_kw),
        source_doubts=doubts_of_source(series),
        worst=tuple(worst),
        energy_read_kwh=sum(counts.energy_read_kwh for _, _, counts in used),
        energy_dropped_kwh=sum(counts.energy_dropped_kwh for _, _, counts in used),
        energy_imputed_kwh=sum(counts.energy_imputed_kwh for _, _, counts in used),
        energy_written_kwh=sum(counts.energy_written_kwh for _, _, counts in used),
        zero_readings=sum(counts.zero_readings for _, _, counts in used),
        unchanged=0,
        removed=(),
        seconds=0.0,
    )


def _row(outcome: Outcome, meta: HouseholdMeta, counts: Counts) -> HouseholdRow:
    return HouseholdRow(
        household_id=outcome.household_id,
        weather_id=meta.weather_id,
        rows=meta.rows,
        observed=meta.observed,
        faults=sum(outcome.faults.values()),
        energy_kwh=counts.energy_written_kwh,
        zero_share=counts.zero_readings / max(counts.file_rows, 1),
        longest_gap_minutes=counts.longest_gap_minutes,
    )


def _series(outcome: Outcome, meta: HouseholdMeta, counts: Counts) -> Series:
    hours = meta.observed * meta.cadence_minutes / 60
    measured = counts.energy_read_kwh - counts.energy_dropped_kwh
    return Series(
        meta.household_id,
        measured / hours if hours else 0.0,
        counts.longest_flat_minutes,
        estimated_share=outcome.faults[Fault.ESTIMATED] / max(outcome.file_rows, 1),
        local_as_utc=bool(outcome.faults[Fault.LOCAL_AS_UTC]),
        unit_change=bool(outcome.faults[Fault.UNIT_CHANGE]),
        power=bool(outcome.faults[Fault.POWER]),
    )


def _sum_tiers(tiers: Sequence[tuple[int, ...]]) -> dict[str, int]:
    return {name: sum(counts[tier] for counts in tiers) for tier, name in enumerate(TIERS)}


def _reason(outcome: Outcome) -> str:
    """The fault that made the file unusable is the last that was found."""
    if not outcome.notes:
        return "see the counts of faults"
    note = outcome.notes[-1]
    return f"{note.kind}: {note.text}"


def households_table(outcomes: Sequence[Outcome]) -> pa.Table:
    """One row a household that has a table: its metadata, scales, counts and summary, and its faults by kind."""
    rows = []
    for outcome in outcomes:
        if outcome.meta is None or outcome.counts is None or outcome.summary is None:
            continue
        meta = vars(outcome.meta) | {}
        scales = meta.pop("scales")
        row = meta | {"table": outcome.table, "file": outcome.file, "file_rows": outcome.counts.file_rows}
        for name, scale in sorted(scales.items()):
            row |= {f"{name}_mean": scale.mean, f"{name}_std": scale.std}
        for name, tiers in (("load", outcome.counts.load_tiers), ("weather", outcome.counts.weather_tiers)):
            row |= {f"{name}_{tier}_slots": count for tier, count in zip(TIERS, tiers, strict=True)}
        row |= {name: value for name, value in vars(outcome.counts).items() if name.startswith("energy_")}
        row |= {"zero_readings": outcome.counts.zero_readings}
        row |= {"longest_gap_minutes": outcome.counts.longest_gap_minutes}
        row |= vars(outcome.summary)
        row |= {f"fault_{kind}": outcome.faults[kind] for kind in Fault}
        rows.append(row)
    return pa.Table.from_pylist(rows)


def faults_table(outcomes: Sequence[Outcome], listing: Listing, weather_faults: Mapping[str, FaultLog]) -> pa.Table:
    """Every fault that is listed: whose, of which file, where, what the cells were."""
    schema = pa.schema([("household_id", pa.string()), ("file", pa.string()), ("kind", pa.string())])
    schema = schema.append(pa.field("line", pa.int32())).append(pa.field("text", pa.string()))
    rows = [(o.household_id, o.file, str(n.kind), n.line, n.text) for o in outcomes for n in o.notes]
    rows += [(house, "", str(n.kind), n.line, n.text) for house, log in listing.faults.items() for n in log.notes]
    rows += [("", file, str(n.kind), n.line, n.text) for file, log in listing.list_faults.items() for n in log.notes]
    rows += [("", station, str(n.kind), n.line, n.text) for station, log in weather_faults.items() for n in log.notes]
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)

"""Damaged files by the million, outside of pytest: `python -m tests.data.fuzz --files 1000000`.

Each file is a sample of a layout with some bytes changed, and goes the whole way that its readings go: it gives
energies, or is refused in words, and no energy is made up. File n of a seed is always the same; one that stumbles is
kept, and the command ends with exit code 1. test_mutated_tables.py runs the same check on a few.
"""

import argparse
import bz2
import gzip
import io
import lzma
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa

from neurogrid.data.archives import unpack
from neurogrid.data.clean import clean_household
from neurogrid.data.energies import energies
from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.grid import to_grid
from neurogrid.data.layouts.builtin import BUILT_IN, HEAPO, LCL, SGSC, SGSC_TRIAL, UCI
from neurogrid.data.layouts.declaration import Declaration, Quality
from neurogrid.data.layouts.formats import FORMATS
from neurogrid.data.layouts.labels import labelled
from neurogrid.data.layouts.pieces import Piece, content_of
from neurogrid.data.layouts.recognise import Beginnings, match
from neurogrid.data.layouts.table import Rows, read_piece
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.weather import NO_STATION
from neurogrid.errors import RunError
from neurogrid.storage import place
from tests.data import test_archives, test_espi, test_homeassistant, test_nem, test_p1, test_simbench
from tests.data.meter_files import meter_csv, series, settings
from tests.data.mutated import damaged, keeps_the_schema
from tests.data.test_citylearn import building

WHOLE_WAY = 20
"""Of so many files one becomes a table."""
NEARLY = 1e-9


@dataclass(frozen=True)
class Sample:
    """A file that is damaged; without a declaration it is an archive."""

    name: str
    content: bytes
    declaration: Declaration | None


def _rows(template: str, count: int, minutes: int, first: str = "2013-10-05T00:00", end: str = "\n") -> str:
    """Lines with a time and a value each: {t} is the time, {v} the value, {n} its number."""
    start = datetime.fromisoformat(first)
    return "".join(
        template.format(t=start + timedelta(minutes=minutes * n), v=round(0.1 + n * 37 % 101 / 100, 3), n=n) + end
        for n in range(count)
    )


_HEAPO = meter_csv("1", series([round(0.1 + n * 37 % 101 / 100, 3) for n in range(60)])).encode()
_SGSC_HEADER = "customer_id,reading_datetime,calendar_key,event_key,general_supply_kwh,controlled_load_kwh\n"
_SGSC = (_SGSC_HEADER + _rows("1,{t:%Y-%m-%d %H:%M:%S},1,0,{v},0.1", 96, 30)).encode()
_LONG = "".join(_rows(f"{h},{{t:%Y-%m-%d %H:%M:%S}},{{n}},0,{{v}},", 24, 30) for h in (1, 2))
_LCL = "LCLid,stdorToU,DateTime,KWH/hh (per half hour) \r\n" + _rows(
    "MAC000002,Std,{t:%Y-%m-%d %H:%M:%S}.0000000, {v} ", 48, 30, end="\r\n"
)
_UCI = '"";"MT_001";"MT_002"\n' + _rows('"{t:%Y-%m-%d %H:%M:%S}";{v};{v}', 40, 15, "2013-10-26T20:00").replace(".", ",")
_GENERIC = "Meter;Date;Time;In;Out;Status\n" + _rows(
    "DE-1;{t:%d.%m.%Y;%H:%M};{v};0.0;M", 60, 15, "2025-04-06T00:00"
).replace(";0.", ";0,").replace("M\n", "E\n", 3)
_REGISTER = "time\treading\n" + "".join(f"{1_700_000_000 + 900 * n}\t{1000 + n * n % 37 + 9 * n}\n" for n in range(60))

# Hours whose load only rises would be a register.
_CITYLEARN = re.sub(
    rb"20\.5,([\d.]+)", lambda load: b"20.5,%.1f" % (float(load[1]) * 4 % 7), building(date(2022, 1, 29), 3)
)

_DECLARED = Declaration(
    name="generic", shape="long", separator=";", decimal=",", household="Meter", time=("Date", "Time"),
    time_format="%d.%m.%Y %H:%M", energy=("In",), export=("Out",), zone="Australia/Lord_Howe",
    timezone="Australia/Lord_Howe", quality=Quality("Status", ("M",), ("E",), ("N",)),
)  # fmt: skip
_COUNTER = Declaration(
    name="generic", separator="\t", time=("time",), time_format="unix", energy=("reading",), unit="Wh", register=True,
    zone="UTC",
)  # fmt: skip


def _of_format(name: str, content: bytes, file: str = "a.csv") -> Sample:
    found = next(each for each in BUILT_IN if each.name == name)
    zone = "Europe/Amsterdam" if found.zone == "local" else found.zone
    return Sample(file, content, replace(found, zone=zone))


def _zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.csv", content)
    return packed.getvalue()


SAMPLES = {
    "heapo": Sample("1.csv", _HEAPO, HEAPO),
    "sgsc": Sample("1.csv", _SGSC, SGSC),
    "sgsc trial": Sample("all.csv", (_SGSC_HEADER.upper() + _LONG).encode(), SGSC_TRIAL),
    "lcl": Sample("a.csv", _LCL.encode(), LCL),
    "uci": Sample("a.txt", _UCI.encode(), UCI),
    "generic": Sample("a.csv", _GENERIC.encode(), _DECLARED),
    "generic in UTF-16": Sample("a.csv", _GENERIC.encode("utf-16"), replace(_DECLARED, encoding="utf-16")),
    "register": Sample("1.csv", _REGISTER.encode(), _COUNTER),
    "nem12": _of_format("nem12", test_nem.SAMPLE),
    "espi": _of_format("espi", test_espi.SAMPLE, "a.xml"),
    "p1": _of_format("p1", test_p1.SAMPLE, "a.log"),
    "homewizard": _of_format("homewizard", test_p1.WIZARD),
    "dsmr_reader": _of_format("dsmr_reader", test_p1.READER),
    "homeassistant": _of_format("homeassistant", test_homeassistant.SAMPLE),
    "ha_statistics": _of_format("ha_statistics", test_homeassistant.STATISTICS),
    "citylearn": _of_format("citylearn", _CITYLEARN),
    "simbench": _of_format("simbench", test_simbench.SAMPLE),
    "gzip": Sample("1.csv.gz", gzip.compress(_HEAPO), HEAPO),
    "bz2": Sample("1.csv.bz2", bz2.compress(_HEAPO), HEAPO),
    "xz": Sample("1.csv.xz", lzma.compress(_HEAPO), HEAPO),
    "zst": Sample("1.csv.zst", pa.compress(_HEAPO, "zstd", asbytes=True), HEAPO),
    "zip": Sample("1.csv.zip", _zipped(_HEAPO), HEAPO),
    **{name: Sample(name, content, None) for name, content in test_archives.PACKED.items() if name[0] == "r"},
}
"""By what they are."""


def survives(sample: Sample, content: bytes, random: Random, folder: Path) -> str:
    """What came of a damaged file, in a word; whatever stumbles raises.

    Args:
        sample: what it was.
        content: what it is now.
        random: for the treatments.
        folder: is empty before and after.
    """
    if sample.declaration is None:
        return _unpacks_or_is_refused(sample.name, content, folder)
    path = folder / sample.name
    path.write_bytes(content)
    try:
        match(place(str(path)), sample.declaration, Beginnings())
        faults = FaultLog(5)
        households = _households(sample.declaration, path, faults)
    except UnusableFileError as error:
        return _refused(error.text)
    finally:
        path.unlink()
    whole = random.randrange(WHOLE_WAY) == 0
    treatment = {
        "registers": random.choice(("refuse", "differences")),
        "net_meters": random.choice(("refuse", "import", "export", "net")),
        "catch_up": random.choice(("spread", "missing")),
        "estimated": random.choice(("use", "missing")),
    }
    outcomes = [_gives_energies(rows, sample.declaration, treatment, whole) for rows in households.values()]
    return "read" if any(outcomes) else "refused"


def _refused(text: str) -> str:
    assert text, "refused without a word"
    return "refused"


def _households(declaration: Declaration, path: Path, faults: FaultLog) -> dict[str, list[Rows]]:
    """All rows of a file by household, as splitting a file of many would give them."""
    found: dict[str, list[Rows]] = {}
    if declaration.format != "csv":
        with content_of(place(str(path))) as stream:
            for table in FORMATS[declaration.format].rows(stream, path.name, faults):
                keeps_the_schema(table)
                for name in table["household"].unique().to_pylist():
                    found.setdefault(name, []).append(_rows_of(table.filter(pa.compute.field("household") == name)))
        return found
    owner = None if declaration.staged else "1"
    for rows in read_piece(Piece(place(str(path))), None, declaration, owner, faults, 1 << 20):
        for name, own in _by_household(rows):
            found.setdefault(name, []).append(own)
    return found


def _rows_of(table: pa.Table) -> Rows:
    value = table["value"].to_numpy()
    columns = (table["label"].to_numpy(), value, table["export"].to_numpy(), np.isnan(value))
    minutes = int(table["minutes"].to_numpy().max())
    line = table["line"].to_numpy().astype(np.int32)
    return Rows(None, *columns, table["estimated"].to_numpy(), line, table.num_rows, minutes)


def _by_household(rows: Rows) -> Iterator[tuple[str, Rows]]:
    if rows.household is None:
        yield "1", rows
        return
    codes = rows.household.indices.to_numpy()
    for code, name in enumerate(rows.household.dictionary.to_pylist()):
        which = codes == code
        names = ("labels", "value", "export", "empty", "estimated", "line")
        own = {each: getattr(rows, each)[which] for each in names}
        yield name, replace(rows, household=None, file_rows=int(which.sum()), read=None, **own)


def _gives_energies(parts: list[Rows], declaration: Declaration, ways: dict[str, str], whole: bool) -> bool:
    faults, etl = FaultLog(5), settings(cadence_minutes=None, **ways)
    try:
        found = labelled(parts, declaration, ways["net_meters"], faults)
        values = found.kwh[found.kwh > 0]
        made = energies(found, etl.treatment, faults)
        kwh = made.table["kWh"].to_numpy()
        total = float(kwh.sum())
        _is_no_more(total, float(values[np.isfinite(values)].sum()), faults)
        grid = to_grid(made.table, made.cadence_minutes, 400.0, faults)
        placed = float(np.nansum(grid.kwh)) + grid.dropped_kwh
        assert abs(placed - total) <= NEARLY * max(abs(total), float(np.abs(kwh).sum()), 1.0), (placed, total)
        assert not np.isinf(grid.kwh).any()
        assert len(grid.kwh) < 401 * 1440 * 60
        if whole:
            names, minutes = ("1", "none"), grid.cadence_minutes
            table = clean_household(names, grid, NO_STATION, declaration.timezone, minutes, etl).table
            assert all(column.null_count == 0 for column in table.columns)
            assert np.isfinite(table["kWh"].to_numpy()).all()
    except UnusableFileError as error:
        return _refused(error.text) == "read"
    return True


def _is_no_more(total: float, before: float, faults: FaultLog) -> None:
    """Energies sum to what the values summed to, or to less by what was counted; a register's are its differences."""
    if faults.counts[Fault.REGISTER] or faults.counts[Fault.NET_METER]:
        return
    nearly = NEARLY * max(before, 1.0)
    assert total <= before + nearly, (total, before)
    left_out = (Fault.ABSURD, Fault.CATCH_UP, Fault.ESTIMATED)
    if not any(faults.counts[kind] for kind in left_out):
        assert total >= before - nearly, (total, before)


def _unpacks_or_is_refused(name: str, content: bytes, folder: Path) -> str:
    within = folder / "within"
    within.mkdir()
    (within / name).write_bytes(content)
    try:
        unpack(within / name, test_archives.LIMIT)
    except RunError as error:
        return _refused(error.found or "")
    else:
        return "read"
    finally:
        assert [each.name for each in folder.iterdir()] == ["within"]
        assert not any(each.is_symlink() for each in within.rglob("*"))
        shutil.rmtree(within)


def run(files: int, seed: int, first: int, kept: Path, every_s: float) -> int:
    """Tries so many files; how many stumbled, each of which is put into the folder `kept` with its traceback."""
    counts: Counter[str] = Counter()
    names, began, said = list(SAMPLES), time.perf_counter(), 0.0
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place_:
        folder = Path(place_)
        for number in range(first, first + files):
            name = names[number % len(names)]
            random = Random(f"{seed}/{number}")
            content = damaged(SAMPLES[name].content, random)
            try:
                counts[f"{name}: {survives(SAMPLES[name], content, random, folder)}"] += 1
            except Exception:  # whatever it is, it is a finding
                counts["stumbled"] += 1
                kept.mkdir(parents=True, exist_ok=True)
                (kept / f"{seed}-{number}-{SAMPLES[name].name}").write_bytes(content)
                (kept / f"{seed}-{number}.txt").write_text(f"{name}\n{traceback.format_exc()}")
            if (seconds := time.perf_counter() - began) > said + every_s:
                said = seconds
                print(f"{number + 1 - first:,} files, {counts['stumbled']} stumbled, {seconds:.0f} s", flush=True)
    for name, count in sorted(counts.items()):
        print(f"{name:30} {count:9,}")
    seconds = time.perf_counter() - began
    print(f"{files:,} files of seed {seed} from {first:,} on in {seconds:.0f} s, {counts['stumbled']} stumbled")
    return counts["stumbled"]


def main() -> int:
    """The command; exit code 1 if a file stumbled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first file, to go on or to repeat one")
    parser.add_argument("--kept", type=Path, default=Path("build/fuzz"), help="folder for files that stumble")
    given = parser.parse_args()
    return int(run(given.files, given.seed, given.first, given.kept, every_s=60) > 0)


if __name__ == "__main__":
    sys.exit(main())

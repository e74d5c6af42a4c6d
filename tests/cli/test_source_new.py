"""`neurogrid source new`: a declaration from what a strange folder looks like, which the ETL then reads."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml
from in_process import neurogrid

from neurogrid.cli.source_commands import _below
from neurogrid.config import load

FIRST = datetime(2025, 2, 13)


def times(count: int, minutes: int) -> list[datetime]:
    return [FIRST + timedelta(minutes=minutes * n) for n in range(count)]


def newcomer(folder: Path) -> None:
    rows = [
        f"DE{h};{at:%d.%m.%Y};{at:%H:%M};0,{n % 90 + 10};{'E' if n % 40 == 3 else 'W'}"
        for h in range(12)
        for n, at in enumerate(times(96, 15))
    ]
    text = "Zählpunkt;Datum;Uhrzeit;Verbrauch (kWh);Status\n" + "\n".join(rows) + "\n"
    (folder / "export.csv").write_bytes(text.encode("cp1252"))


def wide(folder: Path) -> None:
    rows = [f'"{at:%Y-%m-%d %H:%M:%S}";1,5;2,25;{n},0' for n, at in enumerate(times(96, 15))]
    (folder / "LD.txt").write_text('"";"MT_001";"MT_002";"MT_003"\n' + "\n".join(rows) + "\n")


def each(folder: Path) -> None:
    for house in ("a", "b"):
        rows = [f"{at:%m/%d/%Y %I:%M %p}\t{1000 + n}" for n, at in enumerate(times(80, 30))]
        (folder / f"{house}.txt").write_text("Made by a logger\nwhen\tWh\n" + "\n".join(rows) + "\n")


def unnamed(folder: Path) -> None:
    rows = [f"{1739404800 + 900 * n},{0.25 * n}" for n in range(96)]
    (folder / "m1.csv").write_text("\n".join(rows) + "\n")


def below(folder: Path) -> None:
    (folder / "lists").mkdir()
    (folder / "lists" / "houses.csv").write_text("id,people\n1,2\n2,3\n")
    (folder / "meters").mkdir()
    wide(folder / "meters")


CASES: list[tuple[Callable[[Path], None], dict[str, object]]] = [
    (
        newcomer,
        {
            "shape": "long",
            "separator": ";",
            "encoding": "cp1252",
            "decimal": ",",
            "household": "Zählpunkt",
            "time": ["Datum", "Uhrzeit"],
            "time_format": "%d.%m.%Y %H:%M",
            "energy": ["Verbrauch (kWh)"],
            "unit": "kWh",
            "cadence_minutes": 15,
            "quality_good": ["W"],
            "quality_estimated": ["E"],
        },
    ),
    (wide, {"shape": "wide", "separator": ";", "decimal": ",", "time": [""], "time_format": "iso"}),
    (
        each,
        {
            "shape": "household",
            "separator": "tab",
            "skip_lines": 1,
            "time_format": "%m/%d/%Y %I:%M %p",
            "unit": "Wh",
            "holds": "register",
            "cadence_minutes": 30,
        },
    ),
    (unnamed, {"header": False, "time": ["1"], "time_format": "unix", "energy": ["2"], "holds": "register"}),
    (below, {"shape": "wide"}),
]


@pytest.mark.parametrize(("make", "expected"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_it_finds_what_can_be_seen_and_a_dry_run_reads_by_it(
    tmp_path: Path, make: Callable[[Path], None], expected: dict[str, object]
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "new.yaml"
    raw.mkdir()
    make(raw)
    done = neurogrid("source", "new", raw, "--out", out)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(out.read_text())["source"]["generic"]
    assert {key: found.get(key) for key in expected} == expected
    assert "# please check" in out.read_text()
    load(out.read_text())
    tried = neurogrid("etl", "--dry-run", "-c", out, "--warehouse", tmp_path / "w")
    assert tried.returncode == 0, tried.stderr
    assert "kWh\n" in tried.stderr
    assert "cannot be used" not in tried.stderr


def test_a_file_is_not_overwritten_without_being_told(tmp_path: Path) -> None:
    newcomer(tmp_path)
    out = tmp_path / "mine.yaml"
    out.write_text("mine")
    refused = neurogrid("source", "new", tmp_path, "--out", out)
    assert (refused.returncode, out.read_text()) == (2, "mine")
    assert "--force" in refused.stderr
    assert neurogrid("source", "new", tmp_path, "--out", out, "--force").returncode == 0
    assert out.read_text() != "mine"


def test_without_a_file_to_write_it_prints_the_declaration(tmp_path: Path) -> None:
    newcomer(tmp_path)
    assert yaml.safe_load(neurogrid("source", "new", tmp_path).stdout)["source"]["kind"] == "generic"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no table in"),
        ("just words\nand more words\n", "no table in"),
        ("a,b\nx,1\ny,2\n", "looks like a time"),
        ("at,b\n2025-01-01T00:00:00Z,x\n2025-01-01T00:15:00Z,y\n", "looks like energy or power"),
    ],
)
def test_a_folder_without_readings_is_refused_in_words(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "x.csv").write_text(content)
    done = neurogrid("source", "new", tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert says in done.stderr


@pytest.mark.parametrize(
    ("folder", "below", "where"),
    [
        ("raw", "", "raw"),
        ("raw/", "/x/y", "raw/x/y"),
        ("s3://b/raw?region=eu", "/x", "s3://b/raw/x?region=eu"),
        ("s3://b/raw?region=eu", "", "s3://b/raw?region=eu"),
    ],
)
def test_the_folder_is_written_as_it_was_given(folder: str, below: str, where: str) -> None:
    assert _below(folder, below) == where


def test_the_column_of_households_is_found_by_what_it_does_whatever_its_name(tmp_path: Path) -> None:
    rows = [
        f"{at:%Y-%m-%d %H:%M};{h};N;{(n * h) % 40 / 100}" for n, at in enumerate(times(96, 15)) for h in range(3, 9)
    ]
    (tmp_path / "all.csv").write_text("when;kto;sort;kwh\n" + "\n".join(rows) + "\n")
    made = yaml.safe_load(neurogrid("source", "new", tmp_path).stdout)["source"]["generic"]
    assert (made["shape"], made["household"], made["energy"]) == ("long", "kto", ["kwh"])


@pytest.mark.parametrize(
    ("name", "unit"),
    [("kw", "kW"), ("Power KW", "kW"), ("kW", "kW"), ("KWH/hh", "kWh"), ("load_mwh", "MWh"), ("Wh", "Wh")],
)
def test_the_unit_is_what_the_columns_name_says(tmp_path: Path, name: str, unit: str) -> None:
    rows = [f"{at:%Y-%m-%d %H:%M},{0.1 * (n % 9):.1f}" for n, at in enumerate(times(96, 15))]
    (tmp_path / "a.csv").write_text(f"time,{name}\n" + "\n".join(rows) + "\n")
    made = yaml.safe_load(neurogrid("source", "new", tmp_path).stdout)
    assert made["source"]["generic"]["unit"] == unit

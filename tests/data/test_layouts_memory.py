"""Large files of many households are split in bounded memory, whatever they unpack to."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

MEGABYTES = 150
LIMIT_MB = 300

MEASURE = """
import json, resource, sys, time
from pathlib import Path
from neurogrid.data.layouts.buckets import read_household
from neurogrid.data.layouts.parts import stage_piece
from neurogrid.data.sources import open_source
from neurogrid.data.faults import FaultLog
from neurogrid.data.staging import households_of, plan
from neurogrid.storage import place

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

raw, staging = sys.argv[1:]
source = open_source("auto", place(raw), (), None)
listing = source.listing(5)
work, unusable = plan(source, listing.files, place(staging), 5)
before = peak_mb()
began = time.perf_counter()
done = [stage_piece(task) for task in work]
split = peak_mb() - before
took = time.perf_counter() - began
found = households_of(source, listing, work, done, unusable, 5)
rows = sum(source.read(file, FaultLog(5)).file_rows for file in found.files[::50])
print(json.dumps({"split": split, "read": peak_mb() - before, "pieces": len(work), "buckets": work[0].buckets,
                  "households": len(found.files), "rows": sum(done_.lines for done_ in done), "seconds": took}))
"""


def long_file(raw: Path, packed: bool) -> int:
    """Readings of 300 households, by time; returns its rows."""
    times = [
        f"2013-{m:02}-{d:02} {h:02}:{q:02}:00"
        for m in range(1, 13)
        for d in range(1, 29)
        for h in range(24)
        for q in (0, 30)
    ]
    head = b"LCLid,stdorToU,DateTime,KWH/hh (per half hour) \r\n"
    rows = size = 0
    name = "all.csv.gz" if packed else "all.csv"
    with gzip.open(raw / name, "wb", 1) if packed else (raw / name).open("wb") as file:
        file.write(head)
        for n, time in enumerate(times):
            block = "".join(
                f"MAC{h:06},Std,{time}.0000000, {(n * 7 + h) % 1000 / 1000} \r\n" for h in range(300)
            ).encode()
            file.write(block)
            rows, size = rows + 300, size + len(block)
            if size > MEGABYTES << 20:
                break
    return rows


def wide_file(raw: Path) -> int:
    """Readings of 1,000 clients in columns; returns its readings."""
    count = 0
    with (raw / "LD.txt").open("w") as file:
        file.write('"";' + ";".join(f'"MT_{n:03}"' for n in range(1000)) + "\n")
        for n in range(18_000):
            day, slot = divmod(n, 96)
            label = f"2013-{day // 28 + 1:02}-{day % 28 + 1:02} {slot // 4:02}:{slot % 4 * 15:02}:00"
            file.write(
                f'"{label}";' + ";".join(f"{(n * 7 + m) % 1000 / 100}".replace(".", ",") for m in range(1000)) + "\n"
            )
            count += 1000
            if file.tell() > MEGABYTES << 20:
                break
    return count


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["long", "packed", "wide"])
def test_a_large_file_is_split_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    wide_file(raw) if kind == "wide" else long_file(raw, kind == "packed")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, raw, tmp_path / "staging"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    print(measured)
    assert measured["households"] == (1000 if kind == "wide" else 300)
    assert measured["split"] < LIMIT_MB
    assert measured["read"] < LIMIT_MB

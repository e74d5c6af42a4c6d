"""The yardsticks of whole commands: lean scripts do the same work as each other, and figures judge the goals."""

from pathlib import Path

import duckdb
import pytest

from neurogrid.bench.etl_cold import AGAIN, FIRST, START, verdicts
from neurogrid.bench.etl_lean import _duckdb, _polars
from neurogrid.data.synthetic import make_benchmark


def test_both_lean_scripts_write_the_same_energies(tmp_path: Path) -> None:
    make_benchmark(tmp_path / "data", 3, 960, seed=2)
    found = []
    for name, run in (("duckdb", _duckdb), ("polars", _polars)):
        (tmp_path / name).mkdir()
        run(tmp_path / "data", tmp_path / name, 1024)
        query = f"""SELECT Household_ID, count(*), sum(missing), sum(kWh::DOUBLE) FILTER (missing = 0), min(Timestamp)
            FROM read_parquet('{tmp_path / name}/*/*.parquet', hive_partitioning = true) GROUP BY 1 ORDER BY 1"""
        found.append(duckdb.sql(query).fetchall())
    assert len(found[0]) == 3
    assert sum(row[2] for row in found[0]) > 0
    for one, other in zip(*found, strict=True):
        assert (one[:3], one[4]) == (other[:3], other[4])
        assert one[3] == pytest.approx(other[3])


def test_goals_are_judged_beyond_sparks_start() -> None:
    seconds = {FIRST: [10.0, 12.0, 11.0], AGAIN: [1.0, 2.0, 1.1], START: [5.0], "duckdb, lean": [6.0]}
    _, beyond, again = verdicts(seconds, 3)
    assert "takes 1.00 of the time of duckdb, lean; goal, at most 1: met" in beyond
    assert "0.10 of the first time; goal, at most 0.1: met" in again
    missed = verdicts({**seconds, FIRST: [20.0], AGAIN: [2.1]}, 3)
    assert [note.count("**missed**") for note in missed] == [0, 1, 1]

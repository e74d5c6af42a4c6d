"""The benchmark of many files: it runs the command whole, and its figures judge the goals."""

from pathlib import Path

import pytest

from neurogrid.bench.etl_large import Measured, bench_large, verdicts


@pytest.mark.slow
def test_the_whole_command_is_measured_with_all_its_processes(tmp_path: Path) -> None:
    table = bench_large(tmp_path, 2, 960, 2, 1)
    assert [row[0] for row in table.rows] == [2, 4]
    for row in table.rows:
        cells = dict(zip(table.columns, row, strict=True))
        memory, seconds = cells["peak_memory_mb"], cells["median_s"]
        assert isinstance(memory, float)
        assert isinstance(seconds, float)
        assert memory > 200  # a JVM and two Pythons hold more, and the benchmark itself is none of them
        assert seconds > 1
    assert not (tmp_path / "large").exists()


def test_growth_and_memory_are_judged() -> None:
    small, met, missed = Measured(10, 900, 1), Measured(105, 2900, 9), Measured(106, 3100, 9)
    said = verdicts({140: [small], 1400: [met]}, 10)
    assert "10 times the files take 10.5 times as long; goal, at most 10.5: met" in said
    assert [note.count("**missed**") for note in verdicts({140: [small], 1400: [missed]}, 10)] == [1, 1, 0]

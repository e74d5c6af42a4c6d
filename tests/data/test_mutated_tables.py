"""Damaged files: whatever the bytes, a file gives readings or is refused in words, and no energy is made up."""

from pathlib import Path
from random import Random

import pytest

from tests.data.fuzz import SAMPLES, main, survives
from tests.data.mutated import damaged

TABLES = [name for name, sample in SAMPLES.items() if sample.declaration and sample.declaration.format == "csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_gives_readings_or_is_refused_in_words(folder: Path, name: str) -> None:
    for number in range(100):
        random = Random(number)
        survives(SAMPLES[name], damaged(SAMPLES[name].content, random), random, folder)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_that_is_not_damaged_is_read(folder: Path, name: str) -> None:
    assert survives(SAMPLES[name], SAMPLES[name].content, Random(1), folder) == "read"


def test_each_file_of_a_seed_is_damaged_in_the_same_way_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*given: str) -> list[str]:
        monkeypatch.setattr("sys.argv", ["fuzz", "--kept", str(tmp_path), *given])
        assert main() == 0
        return capsys.readouterr().out.splitlines()[:-1]

    whole = run("--files", "140")
    assert run("--files", "140") == whole
    assert run("--files", "70", "--first", "70") != whole

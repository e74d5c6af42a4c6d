"""Names of rounds: ten thousand come after one thousand, wherever names are listed."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neurogrid.ledger.records import round_name, round_number
from neurogrid.ledger.table import read_agent_audit
from neurogrid.storage import place


@pytest.mark.parametrize("number", [0, 1, 9999, 10_000, 123_456])
def test_a_rounds_number_is_read_from_its_name_and_from_its_files(number: int) -> None:
    for name in (round_name(number), f"rounds/{round_name(number)}.json", f"{round_name(number)}.parquet"):
        assert round_number(name) == number
    for other in (
        "end.json",
        "round=.json",
        "round=1.json.tmp",
        "round=1x",
        ".round=1.json",
        "round=\N{SUPERSCRIPT TWO}",
    ):
        assert round_number(other) == 0


def test_the_audit_is_in_the_order_of_the_rounds(tmp_path: Path) -> None:
    audit = tmp_path / "audit" / "agent_round_audit"
    audit.mkdir(parents=True)
    (tmp_path / "rounds").mkdir()
    numbers = [1, 999, 1000, 1001, 9999, 10_000, 10_001]
    for number in numbers:
        (tmp_path / "rounds" / f"{round_name(number)}.json").write_text("{}")
        pq.write_table(pa.table({"round_id": [number]}), audit / f"{round_name(number)}.parquet")
    assert read_agent_audit(place(str(tmp_path)))["round_id"].to_pylist() == numbers

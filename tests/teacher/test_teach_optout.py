"""Who opted out is drawn for no new teacher, and a teacher that learns from them does not go on."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_teach_refusals import CONFIG, warehouse  # noqa: F401 - a fixture

from neurogrid.config import load
from neurogrid.data.optout import opt_out
from neurogrid.errors import UsageError
from neurogrid.pipeline.teach_plan import plan_teaching
from neurogrid.storage import place


def test_whoever_opted_out_is_not_taught_anew_and_not_taught_on(
    warehouse: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    for part in warehouse.iterdir():
        if part.name != "optout":
            (tmp_path / part.name).symlink_to(part)
    drawn = ["teacher.share=1.0", "teacher.apart=false", f"warehouse={tmp_path}"]
    config = load(CONFIG, drawn)
    before = {table.household_id for table in plan_teaching(config, "begun").households}
    assert before == {"house0", "house1", "house3", "house4"}
    opt_out(place(str(tmp_path)), ["house4"], datetime(2026, 1, 2, tzinfo=UTC))
    assert {table.household_id for table in plan_teaching(config).households} == before - {"house4"}
    with pytest.raises(UsageError, match=r"(?s)opted out.*house4"):
        plan_teaching(config, "begun")

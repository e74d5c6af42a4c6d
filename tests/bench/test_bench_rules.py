"""The benchmark of rules measures every rule that enough agents are there for, and byzfl beside it."""

from neurogrid.bench.rules import COLUMNS, bench_rules
from neurogrid.fl.built_in import RULES


def test_every_rule_has_a_row_with_figures_of_the_same_run() -> None:
    table = bench_rules([6, 15], 200, 1)
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table.rows]
    assert {row["rule"] for row in rows if row["agents"] == 15} == {*RULES, "arc, caf", "nnm, trimmed_mean"}
    assert "bulyan" not in {row["rule"] for row in rows if row["agents"] == 6}
    for row in rows:
        assert row["seconds"] > 0
        assert row["times_gram"] == row["seconds"] / row["gram_s"]
        assert (row["byzfl_s"] is None) == (row["rule"] in ("bulyan", "arc, caf", "nnm, trimmed_mean"))

"""The benchmark of attacks trains for each combination, and says what it did to each rule."""

import pyarrow.parquet as pq
import pytest

from neurogrid.bench.byzantine import AGENTS, COLUMNS, LEAST_IMAGES, TESTED, _dealt, bench_byzantine


@pytest.mark.slow
def test_each_combination_has_a_row_and_the_attack_with_the_lowest_accuracy_is_marked(tmp_path) -> None:
    table = bench_byzantine(["mean", "caf"], ["none", "scale"], [100.0], [1], 12)
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table.rows]
    assert [(r["rule"], r["attack"]) for r in rows] == [(r, a) for r in ("mean", "caf") for a in ("none", "scale")]
    for rule in ("mean", "caf"):
        own = [r for r in rows if r["rule"] == rule]
        assert min(own, key=lambda r: r["accuracy_pct"])["worst"] == "worst"
        assert sum(r["worst"] == "worst" for r in own) == 1
        assert own[0]["recall"] is None
    assert rows[0]["accuracy_pct"] > 60
    assert rows[1]["honest_lost_pct"] == 0  # the mean rejects nobody
    assert rows[1]["recall"] == 0
    table.write(str(tmp_path / "table"))
    assert pq.read_table(tmp_path / "table.parquet").num_rows == 4


def test_each_image_is_dealt_once_and_labels_differ_more_where_alpha_is_small() -> None:
    kinds = {}
    for alpha in (0.1, 100.0):
        shards, tested, _ = _dealt(alpha, 1)
        sizes = [len(labels) for _, labels in shards.values()]
        assert (tuple(shards), sum(sizes), len(tested)) == (AGENTS, 1797 - TESTED, TESTED)
        assert min(sizes) >= LEAST_IMAGES
        kinds[alpha] = sum(len(labels.unique()) for _, labels in shards.values())
    assert kinds[0.1] < 0.6 * kinds[100.0]

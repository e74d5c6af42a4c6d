"""What counts against f: the one definition that the exporter, its alert, the terminal view and the report share."""

import pytest

from neurogrid.fl.record import REASON_KINDS, suspected


@pytest.mark.parametrize("kind", REASON_KINDS)
def test_only_what_was_judged_counts_against_f(kind: str) -> None:
    counted = suspected("trimmed_mean", [(kind, 4), (kind, 1)])
    assert counted == (5 if kind in {"filtered", "not_finite", "bad_windows"} else 0)


@pytest.mark.parametrize("rule", ["krum", "multi_krum"])
def test_what_krum_filters_whoever_attacks_does_not_count_against_f(rule: str) -> None:
    assert suspected(rule, [("filtered", 14), ("not_finite", 2), ("bad_windows", 1)]) == 3

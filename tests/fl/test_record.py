"""What counts against f: the one definition that the exporter, its alert, the terminal view and the report share."""

import pytest

from neurogrid.fl.record import REASON_KINDS, flat, suspected


@pytest.mark.parametrize("kind", REASON_KINDS)
def test_only_what_was_judged_counts_against_f(kind: str) -> None:
    counted = suspected("trimmed_mean", [(kind, 4), (kind, 1)])
    assert counted == (5 if kind in {"filtered", "not_finite", "bad_windows", "negative_variance"} else 0)


@pytest.mark.parametrize("rule", ["krum", "multi_krum"])
def test_what_krum_filters_whoever_attacks_does_not_count_against_f(rule: str) -> None:
    assert suspected(rule, [("filtered", 14), ("not_finite", 2), ("bad_windows", 1)]) == 3


def test_a_figure_has_one_name_and_a_record_of_before_there_were_reports_stays_as_it_is() -> None:
    record = {"round_id": 4, "reports": {"rule": {"assumed_f": 3}, "clip": {"clipped_agents": 2}}}
    found = flat(record)
    assert {name: found[name] for name in ("round_id", "assumed_f", "clip.clipped_agents", "byzantine_agents_n")} == {
        "round_id": 4,
        "assumed_f": 3,
        "clip.clipped_agents": 2,
        "byzantine_agents_n": 0,
    }
    former = {"round_id": 4, "assumed_f": 3}
    assert flat(former) == former

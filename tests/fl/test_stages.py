"""What the server makes of a round's updates, agent by agent."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from neurogrid.fl.aggregate import average, capped_weights
from neurogrid.fl.audit import audit_agents
from neurogrid.fl.built_in import RULES
from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.pipeline import AggregationSettings, assumed_f, make_stages, run_stages
from neurogrid.fl.registry import STAGES, NothingToTrimError
from neurogrid.fl.rules import multi_krum, trimmed_mean
from neurogrid.fl.spec import Span, Spec
from neurogrid.fl.stages import MOST_WINDOWS, Asked
from neurogrid.fl.state import State
from neurogrid.fl.update import Phases, RoundResult, Update

SPEC = Spec((Span("a", (20,), 0, 20), Span("b", (5, 2), 20, 30)))
SETTINGS = AggregationSettings("trimmed_mean", 0.2, 2.0, 2, ClipSettings("median", "tensor", 1.0), 0.0, 1.0)
N = 15
AGENTS = tuple(f"A{i:02}" for i in range(N))
DISTRICTS = {agent: i % 3 for i, agent in enumerate(AGENTS)}
ASKED = Asked(AGENTS, DISTRICTS, SPEC)
STATE = State.start(np.zeros(SPEC.size, np.float32))
DELTAS = np.random.default_rng(0).standard_normal((N, SPEC.size)).astype(np.float32)


def answers(deltas=DELTAS, windows=None, leave_out=(), missing=None) -> RoundResult:
    kept = [i for i in range(N) if i not in leave_out]
    rows = deltas[kept].copy()
    claims = windows or {}
    updates = tuple(
        Update(AGENTS[i], rows[row], claims.get(i, 100 + i), {"loss": 0.5 + i, "train_s": 0.1})
        for row, i in enumerate(kept)
    )
    return RoundResult(updates, rows, missing or {}, Phases(0.0, 0.0, 0.0))


def outcome(result: RoundResult, settings: AggregationSettings = SETTINGS, asked: Asked = ASKED):
    """What the stages made of it, with the audit as `agents`."""
    found = run_stages(make_stages(settings, 1), result, asked, STATE)
    return SimpleNamespace(**vars(found), agents=audit_agents(4, asked, result, found, None))


def spoilt(row: int, value: float) -> np.ndarray:
    deltas = DELTAS.copy()
    deltas[row, 17] = value
    return deltas


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (answers(spoilt(6, np.nan)), "not finite"),
        (answers(spoilt(6, np.inf)), "not finite"),
        (answers(spoilt(6, -np.inf)), "not finite"),
        (answers(windows={6: 0}), "claims 0 windows"),
        (answers(windows={6: -3}), "claims -3 windows"),
        (answers(windows={6: MOST_WINDOWS}), "claims 2147483648 windows"),
    ],
)
def test_an_update_that_is_none_is_refused_with_the_reason_and_reaches_no_rule(rule, result, reason):
    settings = replace(SETTINGS, rule=rule, byzantine_share=0.1 if rule == "bulyan" else 0.2)
    result = replace(result, deltas=result.deltas.copy())
    found = outcome(result, settings)
    without = outcome(answers(leave_out=(6,)), settings)
    assert found.mean.delta.tobytes() == without.mean.delta.tobytes()
    refused = found.agents[6]
    assert (refused.answered, refused.accepted, refused.share, refused.reason) == (True, False, 0.0, reason)
    others = [a for a in found.agents if a.agent_id != "A06"]
    assert repr(others) == repr([a for a in without.agents if a.agent_id != "A06"])


def test_an_agent_without_an_update_costs_its_own_update_only():
    found = outcome(answers(leave_out=(2, 9), missing={"A02": "late", "A09": "lost"}))
    assert [found.agents[i].reason for i in (2, 9)] == ["late", "lost"]
    assert not any(found.agents[i].answered for i in (2, 9))
    assert found.mean is not None
    assert sum(a.share for a in found.agents) == pytest.approx(1)


def test_f_is_counted_from_the_agents_asked_so_that_missing_honest_ones_give_attackers_nothing():
    # f = 3 of 15 asked needs 9; with seven missing, two would be enough for a rule that counted those who came.
    found = outcome(answers(leave_out=range(7)))
    assert found.mean is None
    assert found.void == "the trimmed mean of each weight with f = 3 malicious agents needs at least 9 agents, got 8"
    assert {a.reason for a in found.agents[7:]} == {f"round void: {found.void}"}
    assert outcome(answers(leave_out=range(6))).mean is not None


def test_too_few_usable_updates_make_a_round_void_with_the_numbers():
    found = outcome(answers(leave_out=range(3)), replace(SETTINGS, min_agents=13))
    assert found.mean is None
    assert found.void == "12 usable updates of 15 requested, rounds.min_agents is 13"
    assert not any(a.accepted or a.share for a in found.agents)


def test_a_trimmed_mean_with_nobody_to_trim_stops_the_run():
    with pytest.raises(NothingToTrimError):
        outcome(answers(), replace(SETTINGS, byzantine_share=0.0))


def test_the_record_has_each_agents_own_figures():
    deltas = DELTAS.copy()
    deltas[3] *= 100
    plain = tuple(stage for stage in STAGES if stage not in ("clip", "arc"))
    found = outcome(answers(deltas), replace(SETTINGS, rule="multi_krum", stages=plain))
    record = found.agents[3]
    assert (record.round_id, record.agent_id, record.district, record.windows) == (4, "A03", 0, 103)
    assert record.norm == pytest.approx(np.linalg.norm(deltas[3]))
    assert (record.train_loss, record.train_s) == (3.5, 0.1)
    assert (record.accepted, record.reason) == (False, "filtered by multi_krum")
    assert record.score > max(a.score for i, a in enumerate(found.agents) if i != 3)
    assert [a.agent_id for a in found.agents] == list(AGENTS)


def test_the_norm_on_record_is_that_before_clipping_and_the_factor_what_clipping_left():
    deltas = DELTAS.copy()
    deltas[3] *= 100
    found = outcome(answers(deltas))
    assert found.agents[3].norm == pytest.approx(np.linalg.norm(deltas[3]))
    assert found.agents[3].clip_factor == pytest.approx(0.01, rel=0.5)


def test_each_stage_has_a_report_of_its_own_and_only_those_that_ran():
    deltas = DELTAS.copy()
    deltas[3] *= 100
    found = outcome(answers(spoilt(6, np.nan)), SETTINGS)
    assert list(found.reports) == list(STAGES)
    assert found.reports["admit"]["refused_agents"] == 1
    assert found.reports["weigh"]["capped_agents"] == 0
    assert outcome(answers(deltas)).reports["clip"]["clipped_agents"] == sum(
        a.clip_factor < 1 for a in outcome(answers(deltas)).agents
    )
    void = outcome(answers(leave_out=range(14)))
    assert (list(void.reports), void.slots) == (["admit"], {})


def test_the_weighing_says_how_many_were_stale_and_by_how_much():
    stale = replace(answers(), staleness={AGENTS[2]: 3, AGENTS[5]: 1})
    assert outcome(stale).reports["weigh"] == {"capped_agents": 0, "stale_agents": 2, "greatest_staleness": 3}


def test_stages_that_are_left_out_do_nothing():
    plain = outcome(answers(), replace(SETTINGS, rule="mean", stages=("admit", "rule", "mean", "server_step")))
    np.testing.assert_allclose(plain.mean.delta, DELTAS.astype(np.float64).mean(axis=0), rtol=1e-5, atol=1e-7)
    assert all(np.isnan(a.clip_factor) for a in plain.agents)


def test_a_rule_that_goes_before_another_takes_out_what_it_drops():
    stages = ("admit", "weigh", "rule:multi_krum", "rule", "mean", "server_step")
    deltas = DELTAS.copy()
    deltas[[2, 9]] += 5
    found = outcome(answers(deltas), replace(SETTINGS, stages=stages))
    dropped = [a for a in found.agents if a.reason == "filtered by multi_krum"]
    assert {"A02", "A09"} < {a.agent_id for a in dropped}
    assert len(dropped) == found.reports["rule:multi_krum"]["dropped_agents"] == 3
    left = np.array([i for i, a in enumerate(found.agents) if a not in dropped])
    weights = capped_weights(np.array([100 + i for i in range(N)]), 2.0)[left]
    expected = average(trimmed_mean(deltas[left], 3), weights, left % 3)
    assert found.mean.delta.tobytes() == expected.delta.tobytes()


def neurogrids_own(deltas: np.ndarray, districts: dict[str, int]) -> SimpleNamespace:
    """Multi-Krum and then the trimmed mean in each district of five with f = 1, then the mean by samples."""
    stages = ("admit", "weigh", "rule:multi_krum", "rule", "mean", "server_step")
    settings = replace(SETTINGS, scope="district", stages=stages)
    return outcome(answers(deltas), settings, replace(ASKED, districts=districts))


def test_district_scope_judges_each_district_alone_and_weighs_their_means_by_samples():
    found = neurogrids_own(DELTAS, DISTRICTS)
    means, weights = [], []
    for district in range(3):
        rows = np.array([i for i in range(N) if i % 3 == district])
        kept = rows[multi_krum(DELTAS[rows], 1).kept]
        own = capped_weights(np.array([100 + i for i in range(N)]), 2.0)[kept]
        means.append(average(trimmed_mean(DELTAS[kept], 1), own, np.zeros(len(kept), np.int64)).delta)
        weights.append(own.sum())
    np.testing.assert_allclose(found.mean.delta, np.average(means, axis=0, weights=weights), rtol=1e-5, atol=1e-7)
    assert sum(a.share for a in found.agents) == pytest.approx(1)
    assert sum(a.reason == "filtered by multi_krum" for a in found.agents) == 3
    assert assumed_f(replace(SETTINGS, scope="district"), ASKED) == 3  # one in each of three districts


def test_district_scope_bears_an_attacker_in_each_district_and_breaks_at_two_in_one():
    deltas = DELTAS.copy()
    deltas[:3] = 50  # A00, A01, A02
    apart, together = DISTRICTS, {agent: i // 5 for i, agent in enumerate(AGENTS)}
    assert np.abs(neurogrids_own(deltas, apart).mean.delta).max() < 3
    assert np.abs(neurogrids_own(deltas, together).mean.delta).max() > 10


def test_a_district_too_small_for_its_f_is_left_out_with_the_reason_and_all_of_them_make_a_round_void():
    districts = {agent: 0 if i < 4 else 1 for i, agent in enumerate(AGENTS)}
    settings = replace(SETTINGS, scope="district")
    found = outcome(answers(), settings, replace(ASKED, districts=districts))
    words = "the trimmed mean of each weight with f = 0 cuts nothing: use the rule mean instead"
    assert {a.reason for a in found.agents[:4]} == {f"round void in district 0: {words}"}
    assert found.reports["rule"] == {"judged_groups": 1, "groups_too_small": 1}
    assert sum(a.share for a in found.agents[4:]) == pytest.approx(1)
    alone = outcome(answers(), settings, replace(ASKED, districts={agent: i // 4 for i, agent in enumerate(AGENTS)}))
    assert alone.void == words


def test_a_scaled_update_has_no_more_say_than_an_honest_one():
    deltas = DELTAS.copy()
    deltas[3] *= 1e6
    settings = replace(SETTINGS, rule="mean")
    moved = outcome(answers(deltas), settings).mean.delta - outcome(answers(), settings).mean.delta
    assert np.linalg.norm(moved) < 0.15 * np.median(np.linalg.norm(DELTAS, axis=1))


def test_claimed_windows_buy_no_more_share_than_the_cap():
    found = outcome(answers(windows={3: 10**9}), replace(SETTINGS, rule="mean"))
    honest = sum(100 + i for i in range(N) if i != 3)
    median = np.median([10**9 if i == 3 else 100 + i for i in range(N)])
    assert found.agents[3].share == pytest.approx(2 * median / (honest + 2 * median))

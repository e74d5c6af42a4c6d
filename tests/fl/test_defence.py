"""What the server makes of a round's updates, agent by agent."""

from dataclasses import replace

import numpy as np
import pytest

from neurogrid.fl.clip import ClipSettings
from neurogrid.fl.defence import MOST_WINDOWS, DefenceSettings, defend
from neurogrid.fl.registry import NothingToTrimError
from neurogrid.fl.rules import RULES
from neurogrid.fl.update import Layout, Phases, RoundPlan, RoundResult, TensorSpan, Update

LAYOUT = Layout((TensorSpan("a", (20,), 0, 20), TensorSpan("b", (5, 2), 20, 30)))
SETTINGS = DefenceSettings("trimmed_mean", 0.2, 2.0, 2, ClipSettings("median", "tensor", 1.0))
N = 15
AGENTS = tuple(f"A{i:02}" for i in range(N))
DISTRICTS = {agent: i % 3 for i, agent in enumerate(AGENTS)}
PLAN = RoundPlan(4, AGENTS, np.zeros(LAYOUT.size, np.float32), 10.0)
DELTAS = np.random.default_rng(0).standard_normal((N, LAYOUT.size)).astype(np.float32)


def answers(deltas=DELTAS, windows=None, leave_out=(), missing=None) -> RoundResult:
    kept = [i for i in range(N) if i not in leave_out]
    rows = deltas[kept].copy()
    claims = windows or {}
    updates = tuple(
        Update(AGENTS[i], rows[row], claims.get(i, 100 + i), {"loss": 0.5 + i, "train_s": 0.1})
        for row, i in enumerate(kept)
    )
    return RoundResult(updates, rows, missing or {}, Phases(0.0, 0.0, 0.0))


def outcome(result: RoundResult, settings: DefenceSettings = SETTINGS):
    return defend(result, PLAN, DISTRICTS, LAYOUT, settings)


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
    settings = replace(SETTINGS, rule=rule)
    result = replace(result, deltas=result.deltas.copy())
    found = outcome(result, settings)
    without = outcome(answers(leave_out=(6,)), settings)
    assert found.aggregate.delta.tobytes() == without.aggregate.delta.tobytes()
    refused = found.agents[6]
    assert (refused.answered, refused.accepted, refused.share, refused.reason) == (True, False, 0.0, reason)
    others = [a for a in found.agents if a.agent_id != "A06"]
    assert repr(others) == repr([a for a in without.agents if a.agent_id != "A06"])


def test_an_agent_without_an_update_costs_its_own_update_only():
    found = outcome(answers(leave_out=(2, 9), missing={"A02": "late", "A09": "lost"}))
    assert [found.agents[i].reason for i in (2, 9)] == ["late", "lost"]
    assert not any(found.agents[i].answered for i in (2, 9))
    assert found.aggregate is not None
    assert sum(a.share for a in found.agents) == pytest.approx(1)


def test_f_is_counted_from_the_agents_asked_so_that_missing_honest_ones_give_attackers_nothing():
    # f = 3 of 15 asked needs 9; with seven missing, two would be enough for a rule that counted those who came.
    found = outcome(answers(leave_out=range(7)))
    assert found.aggregate is None
    assert (
        found.void_reason
        == "the trimmed mean of each weight with f = 3 malicious agents needs at least 9 agents, got 8"
    )
    assert {a.reason for a in found.agents[7:]} == {f"round void: {found.void_reason}"}
    assert outcome(answers(leave_out=range(6))).aggregate is not None


def test_too_few_usable_updates_make_a_round_void_with_the_numbers():
    found = outcome(answers(leave_out=range(3)), replace(SETTINGS, min_agents=13))
    assert found.aggregate is None
    assert found.void_reason == "12 usable updates of 15 requested, rounds.min_agents is 13"
    assert not any(a.accepted or a.share for a in found.agents)


def test_a_trimmed_mean_with_nobody_to_trim_stops_the_run():
    with pytest.raises(NothingToTrimError):
        outcome(answers(), replace(SETTINGS, byzantine_share=0.0))


def test_the_record_has_each_agents_own_figures():
    deltas = DELTAS.copy()
    deltas[3] *= 100
    found = outcome(answers(deltas), replace(SETTINGS, rule="multi_krum", clip=ClipSettings("none", "tensor", 1.0)))
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


def test_a_scaled_update_has_no_more_say_than_an_honest_one():
    deltas = DELTAS.copy()
    deltas[3] *= 1e6
    settings = replace(SETTINGS, rule="mean")
    moved = outcome(answers(deltas), settings).aggregate.delta - outcome(answers(), settings).aggregate.delta
    assert np.linalg.norm(moved) < 0.15 * np.median(np.linalg.norm(DELTAS, axis=1))


def test_claimed_windows_buy_no_more_share_than_the_cap():
    found = outcome(answers(windows={3: 10**9}), replace(SETTINGS, rule="mean"))
    honest = sum(100 + i for i in range(N) if i != 3)
    median = np.median([10**9 if i == 3 else 100 + i for i in range(N)])
    assert found.agents[3].share == pytest.approx(2 * median / (honest + 2 * median))

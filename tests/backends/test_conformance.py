"""What every backend promises, asked of each of them: this process and Spark."""

import itertools
import math
import time

import numpy as np
import pytest
from numpy_trainer import SETTINGS, D, Numpy

from neurogrid.backends.inline import InlineBackend
from neurogrid.backends.spark import SparkBackend
from neurogrid.fl.order import LATE, Missing, Order, Scores, Update
from neurogrid.randomness import generator

WEIGHTS = generator(1, "weights").normal(size=D).astype(np.float32)
IDS = itertools.count(10**9)


@pytest.fixture(scope="module", params=["inline", "spark"])
def backend(request):
    if request.param == "inline":
        made = InlineBackend(Numpy())
    else:
        made = SparkBackend(request.getfixturevalue("spark"), Numpy(), D, SETTINGS)
    with made as entered:
        yield entered


def orders(*agents, kind="train", version=0, round_number=1):
    return [Order(next(IDS), agent, kind, round_number, version) for agent in agents]


def gathered(backend, asked, deadline_s=20.0):
    """By agent, the answers: their kinds, and copies of what is in them."""
    backend.submit(asked, deadline_s)
    found = {}
    for answer in backend.answers(math.inf):
        assert answer.order not in found
        what = (answer.delta.tobytes(), answer.claims) if isinstance(answer, Update) else None
        found[answer.order] = (type(answer), what or getattr(answer, "claims", None) or answer.reason)
    assert set(found) == set(asked)
    return {order.agent: answer for order, answer in found.items()}


def test_each_order_is_answered_or_missing_once_with_the_bits_that_the_agent_gives(backend):
    backend.publish(0, WEIGHTS)
    found = gathered(backend, orders("A1", "raises", "short", "nan", "A2"))
    for agent in ("A1", "A2", "nan"):
        update = Numpy()().train(agent, 1, WEIGHTS)
        kind, (delta, claims) = found[agent]
        assert kind is Update
        assert delta == update.delta.tobytes()
        assert claims.windows == len(agent)
    assert found["raises"] == (Missing, "failed: ValueError: no readings")
    assert found["short"] == (Missing, f"wrong shape: delta is (3,) float32, not ({D},) float32")


def test_scores_and_updates_may_be_asked_of_several_versions_at_once(backend):
    backend.publish(1, WEIGHTS)
    backend.publish(2, WEIGHTS + 1)
    backend.publish(1, WEIGHTS)
    first = orders("A1", kind="score", version=1)
    backend.submit(first, 20.0)
    backend.publish(2, WEIGHTS + 1)
    found = gathered_more(backend, first, orders("A2", kind="score", version=2) + orders("A3", version=2))
    reference = Numpy()()
    assert found["A1"].metrics["loss"] == reference.evaluate("A1", WEIGHTS)["loss"]
    assert found["A2"].metrics["loss"] == reference.evaluate("A2", WEIGHTS + 1)["loss"]
    assert found["A3"].metrics["loss"] == reference.train("A3", 1, WEIGHTS + 1).metrics["loss"]


def gathered_more(backend, before, asked):
    backend.submit(asked, 20.0)
    found = {answer.order: answer.claims for answer in backend.answers(math.inf)}
    assert set(found) == {*before, *asked}
    return {order.agent: claims for order, claims in found.items()}


def test_claims_that_cannot_be_are_the_same_refusal_everywhere(backend):
    backend.publish(0, WEIGHTS)
    found = gathered(backend, orders("huge", "exits", "A1"))
    assert found["huge"][0] is Update
    assert found["huge"][1][1].metrics == {}
    assert found["exits"] == (Missing, "failed: SystemExit: 3")
    assert found["A1"][0] is Update


def test_an_order_that_is_not_answered_by_its_deadline_is_late_and_its_late_answer_is_dropped(backend):
    backend.publish(0, WEIGHTS)
    began = time.monotonic()
    found = gathered(backend, orders("A1", "dozes", "A2"), deadline_s=0.4)
    assert time.monotonic() - began < 4
    assert found["dozes"] == (Missing, LATE)
    assert found["A1"][0] is Update
    after = gathered(backend, orders("A1", "A2", "A3", "A4"))
    assert {kind for kind, _ in after.values()} == {Update}


def test_cancelled_orders_are_late_at_once_and_the_others_are_answered(backend):
    backend.publish(0, WEIGHTS)
    asked = orders(*[f"A{i}" for i in range(30)])
    backend.submit(asked, 20.0)
    backend.cancel([order.id for order in asked[10:]])
    backend.cancel([5])
    found = {answer.order: answer for answer in backend.answers(math.inf)}
    assert set(found) == set(asked)
    assert all(isinstance(found[order], Update) for order in asked[:2])
    assert all(isinstance(found[order], Missing) and found[order].reason == LATE for order in asked[20:])


def test_a_caller_may_stop_listening_and_hear_the_rest_later(backend):
    backend.publish(0, WEIGHTS)
    asked = orders(*[f"A{i}" for i in range(40)])
    backend.submit(asked, 20.0)
    heard = [answer.order for answer in itertools.islice(backend.answers(math.inf), 7)]
    heard_late = [answer.order for answer in backend.answers(math.inf)]
    assert len(heard) == 7
    assert not set(heard) & set(heard_late)
    assert list(backend.answers(math.inf)) == []


def test_a_caller_that_reads_slowly_hears_everything(backend):
    backend.publish(0, WEIGHTS)
    asked = orders(*[f"A{i}" for i in range(120)])
    backend.submit(asked, 20.0)
    heard = []
    for answer in backend.answers(math.inf):
        time.sleep(0.001)
        heard.append(answer.order)
    assert sorted(order.id for order in heard) == [order.id for order in asked]


def test_no_orders_are_no_answers(backend):
    backend.submit([], 20.0)
    assert list(backend.answers(math.inf)) == []


def test_scores_of_an_agent_that_fails_are_missing(backend):
    backend.publish(0, WEIGHTS)
    found = gathered(backend, orders("A1", "raises", kind="score"))
    assert found["A1"][0] is Scores
    assert found["raises"] == (Missing, "failed: ValueError: no readings")


def test_traffic_is_what_was_done_since_it_was_last_asked_for(backend):
    backend.publish(0, WEIGHTS)
    backend.traffic()
    gathered(backend, orders("A1", "A2"))
    seen = backend.traffic()
    assert seen.train_s > 0
    assert backend.traffic().train_s == 0
    assert seen.executors in {1, 2}


def test_an_agent_that_adapts_the_weights_says_what_is_known_of_it_and_sends_no_weights(backend):
    backend.publish(3, WEIGHTS)
    found = gathered(backend, orders("A1", "raises", "A22", kind="adapt", version=3))
    kind, claims = found["A1"]
    assert kind is Scores
    assert claims.metrics == {"loss": float(WEIGHTS.sum()), "share_personal": 0.75}
    assert claims.windows == 2
    assert found["raises"] == (Missing, "failed: ValueError: no readings")
    assert found["A22"][1].windows == 3


def test_agents_vote_on_several_candidates_at_once_beside_what_they_train_from(backend):
    backend.publish(4, WEIGHTS)
    first = orders("A1", "A2", version=4)
    backend.submit(first, 20.0)
    candidates = WEIGHTS + np.arange(5, dtype=np.float32)[:, None]
    backend.publish(-5, candidates)
    found = gathered_more(backend, first, orders("A3", "A4", "nan", kind="vote", version=-5, round_number=5))
    expected = tuple(float(weights.sum()) + 5 for weights in candidates)
    assert found["A3"].losses == found["A4"].losses == expected
    assert found["nan"].losses == (math.inf,) * 5
    assert found["A1"].metrics["loss"] == Numpy()().train("A1", 1, WEIGHTS).metrics["loss"]
    backend.publish(-6, candidates[:1])
    found = gathered(backend, orders("A1", "raises", kind="vote", version=-6, round_number=6))
    assert found["A1"][1].losses == (float(candidates[0].sum()) + 6,)
    assert found["raises"] == (Missing, "failed: ValueError: no readings")

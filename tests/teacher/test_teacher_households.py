"""Whom a teacher learns from, and that no federation is tested with what its teacher knows."""

from dataclasses import replace
from datetime import timedelta

import pytest
import small_teacher
from hypothesis import given
from hypothesis import strategies as st

from neurogrid.data.tables import CurrentTable
from neurogrid.errors import UsageError
from neurogrid.storage import Place, place
from neurogrid.teacher.households import Consent, Taught, choose, deal, refuse_leaks

AGENTS, HELD_OUT, IDLE = ("house0", "house1"), ("house2",), ("house3", "house4")
MANIFEST = small_teacher.manifest(AGENTS, HELD_OUT, IDLE)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("households")
    small_teacher.make_warehouse(root)
    return place(str(root))


def consent(*names: str, share: float = 0.0, apart: bool = True, seed: int = 1) -> Consent:
    return Consent(names, share, apart, seed)


def names(found: tuple[CurrentTable, ...]) -> list[str]:
    return [household.household_id for household in found]


def test_a_list_is_taught_as_it_stands_and_an_agent_may_be_in_it(warehouse: Place) -> None:
    assert names(choose(MANIFEST, warehouse, consent("house4", "house0"))) == ["house0", "house4"]


def test_a_share_is_never_drawn_of_held_out_households_and_apart_of_no_agents(warehouse: Place) -> None:
    assert names(choose(MANIFEST, warehouse, consent(share=1.0))) == list(IDLE)
    assert names(choose(MANIFEST, warehouse, consent(share=1.0, apart=False))) == sorted(AGENTS + IDLE)
    some = {tuple(names(choose(MANIFEST, warehouse, consent(share=0.5, seed=seed)))) for seed in range(8)}
    assert some == {("house3",), ("house4",)}


def test_a_share_is_drawn_of_those_who_have_not_opted_out(warehouse: Place) -> None:
    found = choose(MANIFEST, warehouse, consent(share=1.0, apart=False), without={"house1", "house4"})
    assert names(found) == ["house0", "house3"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (consent(), "neither list nor share"),
        (consent("house0", share=0.5), "both"),
        (consent("house0", "house2"), "both taught and held out"),
        (consent("house0", "nobody"), "not there: nobody"),
        (consent("house0", "house0"), "1 named twice"),
        (consent(share=0.2), "draws no household"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_who_may_not_be_taught_is_refused_in_words(warehouse: Place, asked: Consent, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        choose(MANIFEST, warehouse, asked)
    assert refused.value.fix


def test_a_federation_that_holds_out_a_taught_household_refuses_the_teacher() -> None:
    unknown = Taught("", None, None)
    refuse_leaks({"house3": unknown}, MANIFEST, "t1")
    with pytest.raises(UsageError, match=r"holds out.*\n.*house2"):
        refuse_leaks({"house3": unknown, "house2": unknown}, MANIFEST, "t1")


A0 = MANIFEST.agents[0]
DAY = timedelta(days=1)
THIS = "1" * 64


@pytest.mark.parametrize(
    ("taught", "words"),
    [
        (Taught(THIS, None, None), ""),
        (Taught("2" * 64, A0.train_end, A0.validation_end), ""),
        (Taught("2" * 64, A0.train_end + DAY, A0.validation_end), "house0 was taught until 2024-02-12"),
        (Taught("2" * 64, A0.train_end, A0.validation_end + DAY), "house0 was validated until 2024-02-19"),
        (Taught("2" * 64, None, None), "house0 has another table by now"),
    ],
)
def test_a_teacher_that_may_know_the_time_a_federation_tests_on_is_refused(taught: Taught, words: str) -> None:
    drawn = replace(MANIFEST, fingerprints={part.path: THIS for agent in MANIFEST.agents for part in agent.parts})
    if not words:
        refuse_leaks({"house0": taught}, drawn, "t1")
        return
    with pytest.raises(UsageError, match=f"tunes or tests on.*\n.*{words}"):
        refuse_leaks({"house0": taught}, drawn, "t1")


def test_of_a_household_whose_weeks_are_dealt_out_only_the_same_table_is_known_to_be_safe() -> None:
    both = replace(A0, parts=(*A0.parts, *MANIFEST.agents[1].parts))
    prints = {part.path: THIS for part in both.parts}
    drawn = replace(MANIFEST, agents=(both,), fingerprints=prints)
    early = {"house1": Taught("2" * 64, A0.first, A0.first)}
    with pytest.raises(UsageError, match="house1 has another table by now"):
        refuse_leaks(early, drawn, "t1")
    refuse_leaks({"house1": Taught(THIS, None, None)}, drawn, "t1")


def test_more_ranks_than_households_are_refused() -> None:
    with pytest.raises(UsageError, match="fewer households than ranks, of which each needs one: 3 ranks"):
        deal([CurrentTable("a", "none", 5), CurrentTable("b", "none", 5)], 3)


@given(st.lists(st.integers(1, 10_000), min_size=4, max_size=40), st.integers(1, 4))
def test_every_household_is_one_ranks_and_no_rank_holds_more_than_the_largest_above_another(
    rows: list[int], ranks: int
) -> None:
    households = [CurrentTable(f"h{number}", "none", count) for number, count in enumerate(rows)]
    hands = deal(households, ranks)
    assert sorted(h.household_id for hand in hands for h in hand) == sorted(h.household_id for h in households)
    sizes = [sum(h.rows for h in hand) for hand in hands]
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= max(rows)
    assert deal(list(reversed(households)), ranks) == hands

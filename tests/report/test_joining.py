"""What the page says of joining: the evaluation's figures, and no claim that the corrected test does not bear."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joined import figure, joined_evaluation, pair
from pages import Page, said_of
from records import evaluation_of, write_evaluation

from neurogrid.report.facts import read_run
from neurogrid.report.forecasts import better_tile, error_tile, verdict
from neurogrid.report.household_charts import ByDays, Gains, by_days, gains
from neurogrid.report.joining import claim, joining, percent_below
from neurogrid.report.page import render_report
from neurogrid.report.table import figure as cell
from neurogrid.storage import place

OLD_RUN = Path(__file__).parent.parent / "ledger" / "old_run"


def page_of(make_run, evaluation: dict[str, Any]) -> str:
    run, warehouse = make_run(rounds=1)
    write_evaluation(run, evaluation)
    return render_report(run, warehouse)


@pytest.fixture
def html(make_run) -> str:
    return page_of(make_run, joined_evaluation())


def test_the_page_begins_with_forecasts_then_says_what_joining_gave(html) -> None:
    anchors = re.findall(r'<section id="([^"]+)"', html)
    assert anchors[:3] == ["glance", "joining", "forecasts"]
    page = Page(html)
    assert page.open == []
    assert page.loads == []
    assert "script" not in page.tags
    assert html.count("<style") == 1  # one of a picture would rule all others


def test_claims_are_the_figures_of_the_paired_table(html) -> None:
    words = Page(html).words
    assert (
        "what a household uses has a lower error than the same model trained alone: the mean MAE is 2.5% below the "
        "other’s (95% interval 0.6% to 4.1% below), corrected p = 0.030. Better off are 29 of 40 households, 72% "
        "(95% interval 56% to 85%)."
    ) in words
    assert (
        "it is not shown that errors of what a household uses and of the 28-day median differ: the mean MAE is 1.2% "
        "above the other’s (95% interval 6.0% above to 3.0% below), corrected p = 0.210. Better off is 1 of 40 "
        "households, 2%"
    ) in words


@given(
    shown=st.sampled_from(["lower", "higher", ""]),
    ends=st.tuples(*[st.floats(-90, 300)] * 3).map(sorted),
    p_value=st.none() | st.floats(0, 1),
)
def test_a_claim_says_better_or_worse_only_where_the_test_does(shown, ends, p_value) -> None:
    low, value, high = ends
    said = claim(pair("federated", "alone", shown, p_value, figure(value, low, high), figure(0.5, None, None)))
    assert ("has a lower error" in said) == (shown == "lower")
    assert ("has a higher error" in said) == (shown == "higher")
    assert ("not shown" in said) == (shown == "")
    # The value's side, as in the words beside it.
    assert f"{abs(value):,.1f}% {'below' if value <= 0 else 'above'} the other’s" in said


def test_the_table_has_percents_below_as_all_others_with_turned_intervals(make_run) -> None:
    run, warehouse = make_run(rounds=1)
    write_evaluation(run, joined_evaluation())
    (table, parity) = joining(read_run(run, warehouse)).tables
    found = [[one if isinstance(one, str) else (one.text, one.small) for one in row] for row in table.rows]
    assert found[0][3:] == [("2.5", "0.6 to 4.1"), ("72", "56 to 85"), ("−3.2", ""), ("0.030", ""), "lower"]
    assert found[2][3:] == [("−6.5", "−9.0 to −1.5"), ("25", "10 to 40"), ("−3.2", ""), ("< 0.001", ""), "higher"]
    assert [column.unit for column in table.columns[3:6]] == [
        "% below the other’s",
        "% of households",
        "% below the other’s",
    ]
    assert parity.rows[0][2:] == [
        cell(figure(1.2, -70.5, 98.0), 1), cell(figure(4.0, -25.0, 13.9), 1), cell(figure(10.2, -20.0, 78.0), 1),
        cell(figure(75, 19, 99), 0), cell(figure(100, 40, 100), 0),
    ]  # fmt: skip


def test_days_to_parity_are_said_as_the_evaluation_has_them(html) -> None:
    words = Page(html).words
    assert (
        "With 7 days of own readings (4 households that never trained), better off than alone are 75% (95% interval "
        "19% to 99%) with the federated model as it is, and 100% (95% interval 40% to 100%) with it fine-tuned"
    ) in words
    assert "as low as that of the federated model as it is with 28 days." in words
    assert "as low as that of the fine-tuned one with none of these numbers of days, up to 28." in words
    said = said_of(html, "Days to parity: households that join late")
    assert "alone: 1.2 with 7 days, 9.4 with 28 days" in said


def test_the_picture_of_households_counts_those_that_are_better_off(make_run, html) -> None:
    group = joined_evaluation()["parts"]["test"]["trained"]
    below = percent_below(group, "served", "alone")
    assert len(below) == 40
    assert min(below) == pytest.approx(-1000)
    said = said_of(html, "Trained households, held-out time: against the same model trained alone")
    assert f"what a household uses: better for {sum(value > 0 for value in below)} of 40, from " in said
    assert "to -1,000%" in said
    assert "More than 100% above is cut; the most is 1,000%." in Page(html).words


def test_headlines_are_of_what_a_household_uses(make_run) -> None:
    run, warehouse = make_run(rounds=1)
    evaluation = joined_evaluation()
    methods = evaluation["parts"]["test"]["trained"]["methods"]
    methods["served"]["mae_below_median_percent"] = figure(12.3, 6.9, 33.5)
    methods["served"]["better_than_alone_share"] = figure(0.73, 0.45, 0.92)
    write_evaluation(run, evaluation)
    facts = read_run(run, warehouse)
    tile, better = error_tile(facts, "trained"), better_tile(facts)
    assert (tile.value, tile.detail) == (
        "12.3% below", "0.1100 kWh a slot, the median 0.1254; 95% interval 6.9% to 33.5% below",
    )  # fmt: skip
    assert (better.value, better.detail.partition(".")[0]) == ("73%", "of those that trained; 95% interval 45% to 92%")
    assert "that each household has made of the federated one for itself is 12.3% below" in verdict(facts)


def test_the_week_has_its_interval_and_says_how_much_of_it_is_covered(html) -> None:
    said = said_of(html, "Smallest error: household h0")
    assert "kW over 168 h from 2024-03-01 23:00 UTC" in said
    assert "67% of slots within the 80% interval" in said
    words = Page(html).words
    assert "The load should lie within the band in 80% of slots." in words
    assert "The band covers 67% of the slots shown." in words
    assert html.count('fill-opacity="0.22"') == 3


def test_how_often_a_surge_came_is_said_beside_how_likely_it_was(html) -> None:
    said = said_of(html, "Trained households, held-out time: how often a surge came, by how likely it was said to be")
    assert "what a household uses: said 5%, came 0% of 100, said 15%, came 10% of 200" in said
    words = Page(html).words
    assert "0.032 0.020 to 0.050" in words
    assert f"has a Brier score of {0.115 * 0.885:.3f}" in words


def test_a_thousand_households_keep_the_page_and_its_pictures_small(make_run) -> None:
    html = page_of(make_run, joined_evaluation(1000))
    assert len(html) < 500_000
    (picture,) = re.findall(
        r"<svg[^>]*aria-label=\"Trained households, held-out time: against the 28.*?</svg>", html, re.DOTALL
    )
    assert len(picture) < 20_000
    assert "Each bar is the mean of 6.7 neighbours on average." in Page(html).words


@pytest.mark.parametrize("count", [1, 2, 149, 150, 151, 1000])
def test_bars_of_any_number_of_households_are_their_means_in_order(count: int) -> None:
    values = [float(number) for number in range(count)]
    chart = gains("t", Gains("ours", "good", values), [], "alone")
    boxes = re.findall(r"M[\d.]+ [\d.]+h", chart.svg)
    assert len(boxes) == min(count, 150) - (count <= 150)  # 0 has no bar
    assert f"better for {count - 1} of {count}" in chart.svg


def test_without_households_figures_or_pairs_the_page_says_so(make_run) -> None:
    words = Page(page_of(make_run, evaluation_of())).words
    assert "An older version made this evaluation, without comparisons household by household." in words


def test_without_a_model_trained_alone_the_page_says_what_makes_one(make_run) -> None:
    evaluation = joined_evaluation()
    del evaluation["parity"]
    for group in evaluation["parts"]["test"].values():
        del group["methods"]["alone"]
        group["paired"] = [one for one in group["paired"] if one["rival"] != "alone"]
        for mae in group["mae_by_household"].values():
            del mae["alone"]
    html = page_of(make_run, evaluation)
    assert "the comparison `alone` makes one" in Page(html).words
    assert "against the same model trained alone" not in html
    assert "Days to parity" not in html


def test_a_run_of_an_old_version_has_a_page() -> None:
    words = Page(render_report(place(str(OLD_RUN)), place(str(OLD_RUN.parent)))).words
    assert "Not evaluated yet." in words


def test_an_example_of_an_older_evaluation_has_no_band(make_run) -> None:
    evaluation = joined_evaluation()
    for key in ("method", "interval"):
        del evaluation["examples"][key]
    for one in evaluation["examples"]["forecasts"]:
        one["stretch"] = {k: v for k, v in one["stretch"].items() if k not in ("low_kwh", "high_kwh")}
    html = page_of(make_run, evaluation)
    assert "by the federated model" in Page(html).words
    assert 'fill-opacity="0.22"' not in html


@pytest.mark.parametrize(
    ("found", "small"),
    [
        (figure(0.5, 0.2, 0.9), "0.2 to 0.9"),
        (figure(0.5, 0.2, 2e16), "0.2 or more"),
        (figure(-5.0, -1e9, 3.0), "3.0 or less"),
        (figure(0.5, None, None), ""),
        (figure(0.0, -1.0, 2.0), "−1.0 to 2.0"),
    ],
)
def test_an_end_so_far_off_that_it_says_nothing_is_not_written(found, small: str) -> None:
    assert cell(found, 1).small == small


def test_intervals_beyond_the_picture_are_cut_and_the_picture_says_so() -> None:
    wide = ByDays("alone", "violet", [1.0, 2.0], [-500.0, float("nan")], [900.0, float("nan")], dashed=True)
    chart = by_days("t", [7, 14], [wide], "% below")
    assert "some are cut" in chart.note
    numbers = [float(y) for y in re.findall(r"[ML ][\d.]+ (-?[\d.]+)", "".join(re.findall(r' d="([^"]*)"', chart.svg)))]
    assert 0 <= min(numbers) <= max(numbers) <= 240
    narrow = ByDays("alone", "violet", [1.0, 2.0], [0.0, 1.0], [2.0, 3.0], dashed=True)
    assert "cut" not in by_days("t", [7, 14], [narrow], "% below").note

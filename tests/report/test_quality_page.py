"""The data-quality page: its figures are those of the tables, with DuckDB as the witness; whole on its own; plain."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from pages import Page, said_of
from quality_tables import FAULTS, HOSTILE, HOUSEHOLDS, Made, made_warehouse
from records import manifest_of

from neurogrid.data.manifest import Manifest
from neurogrid.errors import RunError
from neurogrid.report.page import render_report
from neurogrid.report.quality import render_quality
from neurogrid.report.quality_facts import household_tables, read_quality
from neurogrid.report.quality_sections import MOST_ROWS, coverage, shapes, weather
from neurogrid.report.table import percent
from neurogrid.storage import Place, place

MAP = "Measured slots by household and week"
WEATHER_MAP = "Slots with measured weather by station and week"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return made_warehouse(tmp_path_factory.mktemp("quality"))


@pytest.fixture(scope="module")
def html(warehouse: Place) -> str:
    return render_quality(warehouse, None, show_households=True)


def rows_of(svg: str) -> dict[str, float]:
    """Share of each row of a map, in percent, by its label: what resting the mouse on it says."""
    found = re.findall(r"<title>([^<]*): ([\d.]+)%</title>", svg)
    return {label: float(share) for label, share in found}


def test_the_page_stands_alone_and_is_well_formed(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert page.loads == page.leads_to == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert len(page.ids) == len(set(page.ids))
    assert html.startswith('<!doctype html>\n<html lang="en">')
    assert "<title>NeuroGrid: Data quality</title>" in html
    assert html.count('role="img" aria-label="') == page.tags.count("svg") == 6
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_the_same_tables_give_the_same_bytes(warehouse: Place, html: str) -> None:
    assert render_quality(warehouse, None, show_households=True) == html


def test_each_households_share_is_what_duckdb_counts_in_its_table(warehouse: Place) -> None:
    svg = str(coverage(read_quality(warehouse, None, show_households=False)).wide[0].svg)
    files = f"{warehouse.path}/meters/*/*/*.parquet"
    counted = duckdb.sql(
        f"SELECT regexp_extract(filename, 'Household_ID=([^/]+)', 1), avg(CASE load_tier WHEN 0 THEN 1 ELSE 0 END) "
        f"FROM read_parquet('{files}', filename=true, hive_partitioning=false) GROUP BY 1"
    ).fetchall()
    every = duckdb.sql(
        f"SELECT avg(CASE load_tier WHEN 0 THEN 1 ELSE 0 END) FROM read_parquet('{files}', hive_partitioning=false)"
    ).fetchall()[0][0]
    expected = {household: round(100 * share, 2) for household, share in counted} | {"all 4": round(100 * every, 2)}
    assert rows_of(svg) == pytest.approx(expected, abs=0.006)
    # The worst comes first, under the row of all.
    assert list(rows_of(svg)) == ["all 4", "1001", "1002", "1004", "1003"]


def test_the_colour_of_each_week_is_that_of_its_share(warehouse: Place) -> None:
    facts = read_quality(warehouse, None, show_households=False)
    (found,) = [h for h in facts.households if h.household_id == "1001"]
    weeks = duckdb.sql(
        "SELECT date_trunc('week', \"Timestamp\" AT TIME ZONE 'UTC') AS w, count(*), sum((load_tier = 0)::INT) "
        f"FROM '{household_tables(warehouse)['1001']}' GROUP BY w ORDER BY w"
    ).fetchall()
    assert found.slots.tolist() == [slots for _, slots, _ in weeks]
    assert found.measured.tolist() == [measured for _, _, measured in weeks]
    monday = datetime(1970, 1, 5, tzinfo=UTC) + timedelta(weeks=found.first_week)
    assert monday.date() == weeks[0][0].date()
    (row,) = re.findall(r"1001</text>\n((?:<path.*?</path>\n)+)", str(coverage(facts).wide[0].svg))
    shown = np.full(len(weeks), -1)
    for path, level in re.findall(r'd="([^"]*)" fill="var\(--level-(\d)\)"', row):
        for x, width in re.findall(r"M([\d.]+) [\d.]+h([\d.]+)v", path):
            # This household's weeks are all weeks, from the left edge to the right one.
            left, week = 48, (1028 - 48) / len(weeks)
            start = round((float(x) - left) / week)
            shown[start : start + round(float(width) / week)] = int(level)
    levels = []
    for _, slots, measured in weeks:
        share = measured / slots
        levels.append(0 if share >= 0.99 else 1 if share >= 0.9 else 2 if share >= 0.5 else 3 if share > 0 else 4)
    assert shown.tolist() == levels
    assert set(levels) == {0, 2, 3, 4}


def test_weather_is_counted_by_station_over_its_households(warehouse: Place) -> None:
    svg = str(weather(read_quality(warehouse, None, show_households=False)).wide[0].svg)
    one, two = HOUSEHOLDS[0].hours, HOUSEHOLDS[1].hours
    share = 100 * (one - 300 + two) / (one + two)
    assert rows_of(svg)["8jB (2)"] == pytest.approx(share, abs=0.006)
    assert rows_of(svg)["Hg (1)"] == 100
    assert not any("none" in label for label in rows_of(svg))  # a household without a station is none's gap


def test_totals_and_faults_are_those_of_the_report_with_the_first_example_of_each_kind(html: str) -> None:
    words = " ".join(Page(html).words.split())
    assert "4 households of 5 files" in words
    assert "12 1001.csv, line 17 kWh = '<script>alert(1)</script>'" in words
    assert "kWh = 'n/a'" not in words
    assert "1002.csv, line 4 2023-05-03�T07:00Z, 0.1 kWh" in words
    assert "household 77 77.csv" in words
    assert "8jB bad number" in words
    assert "8jB, line 9 Humidity = 'wet'" in words
    assert "1,000.0 kWh read − 2.0 in dropped rows + 5.5 imputed = 1,003.5 written" in words
    assert "its mean power is 1,000 times that of most" in words
    assert "Left out by you: 1777.csv." in words
    assert "README.txt, <script>alert(1)</script>" in words


def test_names_and_texts_of_files_are_written_as_words_never_as_markup(tmp_path: Path) -> None:
    hostile = '1"><script>alert(2)</script>'
    warehouse = made_warehouse(tmp_path, (Made(hostile.replace("/", "∕"), gaps=((3, 30),)), Made("1002", "<b>Hg<∕b>")))
    html = render_quality(warehouse, None, show_households=True)
    assert "<script" not in html
    assert "<b>Hg" not in html
    assert Page(html).open == []
    assert any(HOSTILE in row[4] for row in FAULTS)


def test_a_screen_reader_says_what_the_pictures_show(html: str) -> None:
    said = said_of(html, MAP)
    assert "4 rows, 9 weeks. all 4: " in said
    assert "Least: 1001: 70.14%" in said
    assert said_of(html, WEATHER_MAP).startswith(f"{WEATHER_MAP}: 2 rows, ")
    said = said_of(html, "Household 1001")
    assert "2023-05-03 to 2023-07-02" in said
    assert "70.14% of slots measured" in said
    assert "mean of all households: lowest" in said_of(html, "A usual day of all households")


def test_the_line_of_a_household_is_the_mean_power_that_was_measured(tmp_path: Path) -> None:
    warehouse = made_warehouse(tmp_path, (Made("1", hours=240, gaps=((100, 130),)),))
    html = render_quality(warehouse, None, show_households=True)
    said = said_of(html, "Household 1")
    low, high = duckdb.sql(
        f"SELECT min(kWh), max(kWh) FROM '{household_tables(warehouse)['1']}' WHERE load_tier = 0"
    ).fetchall()[0]
    assert f"lowest {low:,.4g}, highest {high:,.4g}" in said  # an hour a bin: energy is power
    assert "nothing in 30 of 240 stretches" in said


def test_over_a_longer_time_the_line_is_the_mean_of_what_was_measured_in_each_stretch(
    warehouse: Place, html: str
) -> None:
    stretches = duckdb.sql(
        'SELECT floor(slot / 3) AS b, avg(kWh) FROM (SELECT row_number() OVER (ORDER BY "Timestamp") - 1 AS slot, kWh, '
        f"load_tier FROM '{household_tables(warehouse)['1002']}') WHERE load_tier = 0 GROUP BY b ORDER BY b"
    ).fetchall()
    power = [value for _, value in stretches]  # the first of them from one of its three slots
    said = said_of(html, "Household 1002")
    assert "mean measured power over each 3 h" in said
    assert f"first {power[0]:,.4g}, last {power[-1]:,.4g}, lowest {min(power):,.4g}" in said


def test_no_load_of_a_household_is_drawn_where_it_is_not_to_be_shown(warehouse: Place) -> None:
    html = render_quality(warehouse, None, show_households=False)
    assert "because show_households is off" in html
    assert 'aria-label="Household ' not in html
    assert read_quality(warehouse, None, show_households=False).loads == ()


def test_of_many_households_the_worst_are_shown_and_the_page_says_which(tmp_path: Path) -> None:
    many = tuple(Made(f"{i:04}", hours=48, gaps=((0, i % 40),)) for i in range(MOST_ROWS + 30))
    section = coverage(read_quality(made_warehouse(tmp_path, many), None, show_households=False))
    svg = str(section.wide[0].svg)
    assert len(re.findall("<text", svg)) < MOST_ROWS + 20
    shown = [label for label in re.findall(r">(\d{4})</text>", svg) if len(label) == 4]
    assert len(shown) == MOST_ROWS
    gaps = sorted((i % 40 for i in range(MOST_ROWS + 30)), reverse=True)
    assert {int(label) % 40 for label in shown} == set(gaps[:MOST_ROWS])
    least = percent(1 - gaps[MOST_ROWS] / 48, 2)
    assert f"The {MOST_ROWS} of {MOST_ROWS + 30} households with most slots missing" in section.wide[0].note
    assert f"Each of the others has {least} or more" in section.wide[0].note


def manifest() -> Manifest:
    """Of agents 1000, 1001, ... in clusters 0, 1, 2, 0, ..."""
    return manifest_of(15, 3)


def test_a_clusters_usual_day_is_the_mean_of_its_households_that_duckdb_gives(warehouse: Place) -> None:
    facts = read_quality(warehouse, manifest(), show_households=False)
    (chart,) = shapes(facts).charts
    said = said_of(str(chart.svg), "A usual day of each kind of household")
    # 1001 and 1004 are of cluster 1, 1002 of cluster 2, 1003 of cluster 0.
    days = np.array(
        [
            [
                kw
                for _, kw in duckdb.sql(
                    "SELECT hour(\"Timestamp\" AT TIME ZONE 'UTC') AS h, avg(kWh) FROM "
                    f"'{household_tables(warehouse)[name]}' WHERE load_tier = 0 GROUP BY h ORDER BY h"
                ).fetchall()
            ]
            for name in ("1001", "1004")
        ]
    ).mean(axis=0)
    low, high = int(days.argmin()), int(days.argmax())
    label = "2. like the average household (2 households)"
    assert f"{label}: lowest {days[low]:,.4g} at {low}:00, highest {days[high]:,.4g} at {high}:00" in said
    assert len(chart.keys) == 3


def test_a_table_that_cannot_be_read_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    warehouse = made_warehouse(tmp_path)
    Path(household_tables(warehouse)["1002"]).write_bytes(b"PAR1 no more")
    words = Page(render_quality(warehouse, None, show_households=True)).words
    assert "Table of household 1002 cannot be read" in words
    assert "all 4" in words


def test_only_tables_whose_load_is_drawn_are_read(tmp_path: Path) -> None:
    warehouse = made_warehouse(tmp_path)
    before = render_quality(warehouse, None, show_households=False)
    for path in household_tables(warehouse).values():
        Path(path).unlink()
    assert render_quality(warehouse, None, show_households=False) == before


def test_of_a_warehouse_of_an_older_version_the_page_says_what_to_do(tmp_path: Path) -> None:
    warehouse = made_warehouse(tmp_path)
    index = pq.read_table(tmp_path / "households.parquet")
    pq.write_table(index.drop_columns(["week_slots"]), tmp_path / "households.parquet")
    words = " ".join(Page(render_quality(warehouse, None, show_households=True)).words.split())
    assert "an older version wrote households.parquet; run `neurogrid etl` again" in words


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"energy_balanced": False}, "the energy does not balance"),
        ({"faults": {}}, "No fault was found in any household’s file."),
        ({"doubtful": {}}, "No household stands out as a whole."),
        ({"unusable": {}, "passed_over": {}, "excluded": []}, "Every file was used"),
        ({"worst": []}, "No household lacks a slot."),
    ],
)
def test_what_there_is_nothing_of_is_said_plainly(tmp_path: Path, report: dict[str, object], said: str) -> None:
    assert said in Page(render_quality(made_warehouse(tmp_path, **report), None, show_households=True)).words


def test_an_etl_of_which_no_household_is_left_has_a_page_of_the_reasons(tmp_path: Path) -> None:
    warehouse = made_warehouse(tmp_path, slots=0, worst=[])
    (tmp_path / "households.parquet").unlink()
    words = Page(render_quality(warehouse, None, show_households=True)).words
    assert "No household has a table." in words
    assert "unreadable_file: not a text file" in words


def test_a_warehouse_without_an_etl_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="run `neurogrid etl` first"):
        render_quality(place(str(tmp_path)), None, show_households=True)


def test_a_runs_page_leads_to_the_data_quality_page_where_there_is_one(make_run) -> None:
    """Where there is none it leads nowhere: see test_report.py."""
    run, warehouse = make_run(rounds=1, evaluated=False)
    (warehouse / "quality" / "report.html").write("<!doctype html>")
    page = Page(render_report(run, warehouse))
    assert page.leads_to == ["../../quality/report.html"]
    assert (Path(run.path) / page.leads_to[0]).resolve() == Path(warehouse.path) / "quality" / "report.html"
    assert "quality/report.html in the warehouse" in page.words

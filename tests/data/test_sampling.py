"""Sampling on real Spark: profiles, clusters, who trains, who is held out, what is refused."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_score

from neurogrid.data import clusters
from neurogrid.data.clusters import describe, silhouette
from neurogrid.data.household import (
    FEATURES,
    FIRST_TABLE,
    METADATA_KEY,
    OBSERVED,
    SCHEMA,
    ZERO,
    HouseholdMeta,
    Scale,
    household_path,
)
from neurogrid.data.manifest import Manifest
from neurogrid.data.profiles import MEASURES, profile_households
from neurogrid.data.sampling import SamplingSettings, sample
from neurogrid.data.tables import refuse_missing
from neurogrid.errors import InputError, UsageError
from neurogrid.storage import Place, place

FIRST = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
DAYS, SLOTS_A_DAY = 28, 48
SETTINGS = SamplingSettings(
    seed=5,
    agents=8,
    districts=3,
    clusters=3,
    held_out_share=0.2,
    partition="natural",
    dirichlet_alpha=0.5,
    min_observed_slots=96,
    max_zero_share=0.95,
)


def changed(**settings: object) -> SamplingSettings:
    return SamplingSettings(**{**SETTINGS.__dict__, **settings})


def write_household(root: Path, name: str, kwh: np.ndarray, observed: np.ndarray, minutes: int = 30) -> Path:
    """A household file by the contract; local time is UTC+1, temperature falls where load rises."""
    rows = len(kwh)
    times = [FIRST + timedelta(minutes=minutes * i) for i in range(rows)]
    local = [t + timedelta(hours=1) for t in times]
    hour = np.array([t.hour + t.minute / 60 for t in local])
    columns = {name: np.zeros(rows, np.float32) for name in FEATURES}
    columns["hour_sin"], columns["hour_cos"] = np.sin(hour / 24 * 2 * np.pi), np.cos(hour / 24 * 2 * np.pi)
    columns["is_weekend"] = np.array([t.weekday() >= 5 for t in local], float)
    columns["Temperature_avg_hourly"] = -kwh + 0.1 * np.cos(np.arange(rows))
    tier = np.where(observed, OBSERVED, ZERO).astype(np.uint8)
    table = pa.table(
        {
            "Timestamp": pa.array(times, SCHEMA.field("Timestamp").type),
            **{k: pa.array(v.astype(np.float32)) for k, v in columns.items()},
            "kWh": pa.array(np.where(observed, kwh, 0).astype(np.float32)),
            "load_tier": pa.array(tier),
            "weather_tier": pa.array(np.zeros(rows, np.uint8)),
        },
        SCHEMA,
    )
    train, validation = FIRST + (times[-1] - FIRST) * 0.72, FIRST + (times[-1] - FIRST) * 0.8
    meta = HouseholdMeta(
        household_id=name,
        weather_id="W1",
        cadence_minutes=minutes,
        first=times[0],
        last=times[-1],
        rows=rows,
        observed=int(observed.sum()),
        train_end=train,
        validation_end=validation,
        scales={"Temperature_avg_hourly": Scale(0.0, 1.0)},
        surge_threshold_kwh=1.0,
    )
    path = root / household_path("W1", name, FIRST_TABLE)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: meta.to_json()}), path)
    write_index(root)
    return path


def write_index(root: Path) -> None:
    """households.parquet, as warehouses have had it since before tables were named after their content."""
    names = [folder.name.removeprefix("Household_ID=") for folder in sorted(root.glob("meters/*/*"))]
    columns = {"household_id": names, "weather_id": ["W1"] * len(names), "rows": [1] * len(names)}
    pq.write_table(pa.table(columns), root / "households.parquet")


def load_of(kind: int, number: int, rows: int) -> np.ndarray:
    """0: low and flat; 1: medium with an evening peak; 2: high, at night."""
    hour = (np.arange(rows) / 2 + 1) % 24
    base = (0.1, 0.4, 1.5)[kind] * (1 + 0.03 * number)
    bump = {0: 0 * hour, 1: (hour >= 18) & (hour < 22), 2: hour < 6}[kind]
    noise = np.random.default_rng(number).uniform(0.9, 1.1, rows)
    return base * (1 + 3.0 * bump) * noise


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory) -> Place:
    """15 good households of three kinds, and four that cannot be used."""
    root = tmp_path_factory.mktemp("warehouse")
    rows = DAYS * SLOTS_A_DAY
    everything = np.ones(rows, bool)
    for kind in range(3):
        for number in range(5):
            gaps = everything.copy()
            if kind == 1:
                gaps[10 : 300 + 10 * number] = False
            write_household(root, f"{kind}{number:02d}", load_of(kind, number, rows), gaps)
    write_household(root, "900", load_of(0, 0, rows), ~everything)
    write_household(root, "901", 0 * load_of(0, 0, rows), everything)
    write_household(root, "902", load_of(0, 0, rows), everything, minutes=15)
    broken = root / household_path("W1", "903", FIRST_TABLE)
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"PAR1 this is not one")
    write_index(root)
    return place(str(root))


@pytest.fixture(scope="module")
def manifest(spark, warehouse) -> Manifest:
    return sample(spark, warehouse, SETTINGS)


def test_profiles_agree_with_sql_over_the_same_files_and_see_the_training_period_only(spark, warehouse):
    profiles = {p.household_id: p for p in profile_households(spark, warehouse)}
    ours = profiles["103"]
    path = f"{warehouse}/{ours.path}"
    assert ours.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    theirs = duckdb.sql(
        f"""
        with training as (
          select *, (Timestamp at time zone 'UTC') + interval 1 hour as local from '{path}'
          where (Timestamp at time zone 'UTC') < timestamp '{ours.meta.train_end.replace(tzinfo=None).isoformat()}'
        ), o as (select *, kWh::double as kwh from training where load_tier = 0)
        select avg(kwh), stddev_pop(kwh), max(kwh), avg(kwh) / max(kwh),
          1 - count(*) / (select count(*) from training), avg((kwh = 0)::int),
          sum(kwh) filter (hour(local) < 6) / sum(kwh),
          sum(kwh) filter (hour(local) between 17 and 21) / sum(kwh),
          avg(kwh) filter (isodow(local) > 5) / avg(kwh) filter (isodow(local) <= 5),
          corr(kwh, Temperature_avg_hourly)
        from o
        """
    ).fetchall()[0]
    assert theirs == pytest.approx([ours.measures[name] for name in MEASURES], rel=1e-6)


def test_nothing_of_validation_and_test_changes_a_profile(spark, tmp_path):
    rows = DAYS * SLOTS_A_DAY
    load, observed = load_of(1, 1, rows), np.ones(rows, bool)
    after = load.copy()
    after[int(rows * 0.72) + 1 :] *= 50
    write_household(tmp_path / "a", "1", load, observed)
    write_household(tmp_path / "b", "1", after, observed)
    (a,), (b,) = (profile_households(spark, place(str(tmp_path / x))) for x in "ab")
    assert a.measures == b.measures
    assert a.sha256 != b.sha256


def test_kinds_of_households_become_clusters_in_order_of_their_load(manifest):
    kinds = {a.parts[0].household_id[0]: a.cluster for a in (*manifest.agents, *manifest.held_out)}
    assert kinds == {"0": 0, "1": 1, "2": 2}
    assert [c.households for c in manifest.clusters] == [5, 5, 5]
    assert manifest.silhouette > 0.8
    low, middle, high = (c.description for c in manifest.clusters)
    assert "low use" in low
    assert "evening peak" in middle
    assert "many gaps" in middle
    assert "high use" in high
    assert "much at night" in high


def test_words_are_relative_to_the_population():
    population = np.zeros((4, len(MEASURES)))
    population[:, 0] = [1, 1, 1, 5]

    def members(*mean_kwh: float) -> np.ndarray:
        found = np.zeros((len(mean_kwh), len(MEASURES)))
        found[:, 0] = mean_kwh
        return found

    assert describe(members(5.0), population) == "very high use"
    assert describe(members(1.9), population) == "like the average household"
    assert describe(members(5.0), population * 0 + 5) == "like the average household"
    # The mean of these is far above all others, and so is one of them.
    assert describe(members(20.0, 1.0, 1.0, 0.9), population) == "low use"
    assert describe(members(20.0, 20.0, 1.0, 0.9), population) == "like the average household"
    assert describe(members(np.nan, 5.0, 4.0), population) == "very high use"


@given(seed=st.integers(0, 1000), points=st.integers(3, 40), clusters=st.integers(2, 5))
@settings(deadline=None)
def test_the_silhouette_is_what_scikit_learn_says(seed: int, points: int, clusters: int) -> None:
    random = np.random.default_rng(seed)
    found, labels = random.normal(size=(points, 3)), random.integers(0, clusters, points)
    if not 1 < len(set(labels.tolist())) < points:
        assert len(set(labels.tolist())) > 1 or silhouette(found, labels) == 0
        return
    assert silhouette(found, labels) == pytest.approx(silhouette_score(found, labels))


def test_of_several_starts_the_clusters_closest_to_their_centres_are_taken(spark, monkeypatch) -> None:
    values = np.random.default_rng(2).normal(size=(24, len(MEASURES)))
    scaled = (values - values.mean(0)) / values.std(0, ddof=1)

    def apart(starts: int) -> float:
        monkeypatch.setattr(clusters, "STARTS", starts)
        labels, _ = clusters._kmeans(spark, values, 4, 0)
        return sum(((scaled[labels == i] - scaled[labels == i].mean(0)) ** 2).sum() for i in set(labels.tolist()))

    assert apart(5) < 0.99 * apart(1)


def test_held_out_households_never_train_and_both_follow_the_clusters(manifest):
    trained = {p.household_id for a in manifest.agents for p in a.parts}
    held = {p.household_id for a in manifest.held_out for p in a.parts}
    assert not trained & held
    assert Counter(a.cluster for a in manifest.held_out) == {0: 1, 1: 1, 2: 1}
    assert sorted(Counter(a.cluster for a in manifest.agents).values()) == [2, 3, 3]
    assert sorted(Counter(a.district for a in manifest.agents).values()) == [2, 3, 3]
    assert {a.district for a in manifest.held_out} == {-1}
    assert [a.agent_id for a in manifest.agents] == [f"A{i:04d}" for i in range(1, 9)]


def test_the_number_of_agents_does_not_change_who_is_held_out(spark, warehouse, manifest):
    fewer = sample(spark, warehouse, changed(agents=7))
    assert fewer.held_out == manifest.held_out


def test_households_that_cannot_be_used_are_listed_with_the_reason(manifest):
    reasons = dict(entry.split(": ", 1) for entry in manifest.unused)
    assert reasons["900"] == "0 measured training slots, 96 needed"
    assert reasons["901"] == "100.0% of measured training slots are zero, at most 95% allowed"
    assert reasons["902"] == "slots of 15 minutes, most have 30"
    assert reasons["903"].startswith("not a household file: ")
    assert sum(reason == "usable, not drawn: 8 of 12 train" for reason in reasons.values()) == 4
    assert len(reasons) == 8


def test_the_written_manifest_is_the_one_returned_and_its_profiles_name_every_household(warehouse, manifest):
    folder = warehouse / "manifests" / manifest.sha256[:12]
    assert Manifest.from_json((folder / "manifest.json").read_text()) == manifest
    table = pq.read_table(io.BytesIO((folder / "profiles.parquet").read_bytes())).to_pylist()
    assert Counter(row["role"] for row in table) == {"trained": 8, "held out": 3, "unused": 8}


@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_a_dealt_partition_gives_each_week_that_windows_may_start_in_to_one_agent(spark, warehouse, partition):
    dealt = sample(spark, warehouse, changed(partition=partition))
    weeks = Counter((p.household_id, b) for a in dealt.agents for p in a.parts for b in p.blocks)
    assert set(weeks.values()) == {1}
    assert len(weeks) == 8 * (DAYS // 7 - 1)
    assert all(block > 0 for _, block in weeks), "no window starts in a household's first week"
    assert sum(a.rows for a in dealt.agents) == 8 * (DAYS - 7) * SLOTS_A_DAY
    assert all(p.blocks is None for a in dealt.held_out for p in a.parts)


def contents(warehouse: Place, manifest: Manifest) -> dict[str, bytes]:
    folder = warehouse / "manifests" / manifest.sha256[:12]
    return {name: (folder / name).read_bytes() for name in ("manifest.json", "profiles.parquet")}


def test_the_same_bytes_come_out_again_however_the_files_are_split_into_tasks(spark, warehouse, manifest, monkeypatch):
    before = contents(warehouse, manifest)
    monkeypatch.setattr("neurogrid.data.profiles._FILES_A_TASK", 2)
    assert sample(spark, warehouse, SETTINGS) == manifest
    assert contents(warehouse, manifest) == before


@pytest.mark.slow
def test_the_same_bytes_come_out_on_one_core(warehouse, manifest, tmp_path):
    before = contents(warehouse, manifest)
    script = tmp_path / "one_core.py"
    script.write_text(
        "import json, sys\n"
        "from neurogrid.data.sampling import SamplingSettings, sample\n"
        "from neurogrid.session import spark_session\n"
        "from neurogrid.storage import place\n"
        "with spark_session('one', 'local[1]', {}) as spark:\n"
        "    print(sample(spark, place(sys.argv[1]), SamplingSettings(**json.loads(sys.argv[2]))).sha256)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    run = subprocess.run(
        [sys.executable, str(script), str(warehouse), json.dumps(SETTINGS.__dict__)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert run.stdout.split() == [manifest.sha256], run.stderr[-2000:]
    assert contents(warehouse, manifest) == before


def test_identical_households_are_one_cluster_and_no_crash(spark, tmp_path):
    rows = 14 * SLOTS_A_DAY
    for i in range(4):
        write_household(tmp_path, f"{i}", load_of(0, 0, rows), np.ones(rows, bool))
    one = sample(spark, place(str(tmp_path)), changed(agents=3, clusters=2, districts=1))
    assert [c.households for c in one.clusters] == [4]
    assert one.silhouette == 0
    assert one.clusters[0].description == "like the average household"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"agents": 13},
            "there are too few households for 13 agents, each of which needs one to train on\n  found: 15 usable of 19",
        ),
        ({"clusters": 16}, "16 clusters need at least as many households\n  found: 15 usable of 19"),
        ({"districts": 9}, "8 agents cannot fill 9 districts"),
        ({"min_observed_slots": 5000}, "no household is usable\n  found: 0 usable of 19"),
    ],
)
def test_what_cannot_work_is_refused_with_the_numbers(spark, warehouse, settings, message):
    with pytest.raises(UsageError) as caught:
        sample(spark, warehouse, changed(**settings))
    assert str(caught.value).startswith(message)


def test_a_warehouse_without_meters_is_refused(spark, tmp_path):
    with pytest.raises(InputError, match="there are no households in"):
        sample(spark, place(str(tmp_path)), SETTINGS)


def test_a_manifest_whose_files_are_gone_names_them(spark, tmp_path):
    rows = 14 * SLOTS_A_DAY
    paths = [
        write_household(tmp_path, f"{i}", load_of(i % 3, i, rows), np.ones(rows, bool), minutes=30) for i in range(5)
    ]
    here = place(str(tmp_path))
    drawn = sample(spark, here, changed(agents=5, clusters=2, held_out_share=0.0))
    refuse_missing(drawn, here)
    paths[4].unlink()
    with pytest.raises(InputError) as caught:
        refuse_missing(drawn, here)
    assert "meters/Weather_ID=W1/Household_ID=4/part-0.parquet of agent A" in caught.value.found
    assert "Household_ID=3" not in caught.value.found


def test_a_table_that_says_it_is_anothers_is_not_used(spark, tmp_path):
    rows = 14 * SLOTS_A_DAY
    paths = [
        write_household(tmp_path, f"{i}", load_of(i % 3, i, rows), np.ones(rows, bool), minutes=30) for i in range(5)
    ]
    shutil.copy(paths[0], paths[4])
    drawn = sample(spark, place(str(tmp_path)), changed(agents=4, clusters=2, held_out_share=0.0))
    assert {part.household_id for agent in drawn.agents for part in agent.parts} == {"0", "1", "2", "3"}
    (why,) = drawn.unused
    assert why == "4: not this household's file: it says that it is household 0 of station W1"

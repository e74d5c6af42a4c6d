"""`neurogrid forecast` and `export`: who gets which forecasts, where they are made, what is refused and written."""

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from forecasting_run import RUN, train_run
from pyspark.sql import SparkSession
from safetensors import safe_open
from test_run_manifest import Command, neurogrid, sampled  # noqa: F401 - fixtures

import neurogrid as package
from neurogrid.config import load
from neurogrid.data.manifest import Manifest, read_manifest
from neurogrid.data.tables import CLEANING_KEY, INDEX, current_tables, read_current
from neurogrid.data.weather import VARIABLES
from neurogrid.fl.record import weights_sha256
from neurogrid.pipeline import forecast_plan
from neurogrid.pipeline.forecast_plan import plan_forecasts
from neurogrid.storage import place
from neurogrid.workloads.meters.agent import completed, new_model
from neurogrid.workloads.meters.evaluation.score import score_household
from neurogrid.workloads.meters.fleet import SCHEMA, Answer, forecast_all, to_parquet
from neurogrid.workloads.meters.forecast import Candidates, Forecast, forecast
from neurogrid.workloads.meters.personal import CANDIDATES, Personal
from neurogrid.workloads.meters.personal_files import newcomer

SLOTS = 4


@pytest.fixture(scope="module")
def warehouse(sampled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    root = tmp_path_factory.mktemp("forecasts")
    train_run(sampled, root)
    train_run(sampled, root, "local.private_layers=[forecast]", "local.private_steps=20", run_id="own")
    return root / "w"


def plan_of(warehouse: Path, run_id: str = RUN, at: str | None = None) -> forecast_plan.ForecastPlan:
    text = (warehouse / "runs" / run_id / "config.yaml").read_text()
    return plan_forecasts(load(text, [f"warehouse={warehouse}"]), run_id, (), at, None, None)


def expected(warehouse: Path, run_id: str = RUN) -> dict[str, Forecast]:
    """Each household's forecast by itself, with what its agent has kept read from the file."""
    settings, found = plan_of(warehouse, run_id).settings, {}
    agents = {agent.parts[0].household_id: agent.agent_id for agent in manifest_of(warehouse).agents}
    for name, table in current_tables(place(str(warehouse))).items():
        household = read_current(place(str(warehouse)), table)
        own = settings.weights
        if run_id == "own":
            own = completed(own, household, settings.training, agents.get(name, name))
        chosen = Candidates({"federated": own}, {"federated": 1.0})
        if name in agents:
            with safe_open(warehouse / "runs" / run_id / "personal" / f"{agents[name]}.safetensors", "np") as file:
                shares = json.loads(file.metadata()["neurogrid"])["shares"]
                shares = {each: shares[each] for each in CANDIDATES if each in shares}  # bits depend on the order
                chosen = Candidates({"federated": own, "personal": file.get_tensor("personal")}, shares)
        model, windows = new_model(settings.training), settings.training.windows
        found[name] = forecast(household, model, chosen, windows, settings.cleaning)
    return found


def manifest_of(warehouse: Path) -> Manifest:
    (folder,) = (warehouse / "manifests").iterdir()
    return read_manifest(place(str(folder / "manifest.json")))


def test_every_current_household_gets_forecasts_also_who_came_after_the_run(
    warehouse: Path,
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    out = tmp_path / "forecasts.parquet"
    code, said, words = neurogrid("forecast", RUN, "--warehouse", warehouse, "--out", out)
    assert code == 0, words
    wanted, table = expected(warehouse), pq.read_table(out)
    trained = {part.household_id for agent in manifest_of(warehouse).agents for part in agent.parts}
    assert set(wanted) - trained, "some have never trained"
    personal = {name for name, own in wanted.items() if own.model == "personal"}
    assert personal
    assert personal <= trained
    assert said["personal"] == len(personal)
    assert (said["households"], said["refused"], said["horizon_slots"]) == (len(wanted), {}, SLOTS)
    assert table.schema == SCHEMA
    rows = table.to_pylist()
    assert [row["household_id"] for row in rows] == [name for name in sorted(wanted) for _ in range(SLOTS)]
    for at, row in enumerate(rows):
        own, slot = wanted[row["household_id"]], at % SLOTS
        assert row["start"] == own.start + slot * timedelta(minutes=15)
        assert np.float32(row["forecast_kwh"]) == own.forecast_kwh[slot]
        assert np.float32(row["surge_probability"]) == own.surge_probability[slot]
        assert (row["run"], row["model"]) == (RUN, own.model)
    assert len({tuple(own.forecast_kwh.tolist()) for own in wanted.values()}) == len(wanted)


def test_who_came_later_and_has_a_personal_model_is_served_by_it(warehouse: Path, tmp_path: Path) -> None:
    plan = plan_of(warehouse)
    settings = plan.settings
    name = next(table.household_id for table in plan.tables if table.household_id not in settings.agents)
    assert settings.personal is not None
    weights = {"personal": settings.weights * np.float32(0.5)}
    kept = replace(settings.personal, run=place(str(tmp_path)))
    made = Personal(weights, {"personal": 1.0}, {}, 0.1)
    kept.write(newcomer(name), weights_sha256(settings.weights), "of older readings", made)
    (table,) = (table for table in plan.tables if table.household_id == name)
    (answer,) = forecast_all(None, plan.warehouse, [table], replace(settings, personal=kept), lambda done, total: None)
    household, model = read_current(plan.warehouse, table), new_model(settings.training)
    own = Candidates(weights, {"personal": 1.0})
    wanted = forecast(household, model, own, settings.training.windows, settings.cleaning)
    assert answer.forecast is not None
    assert answer.forecast.model == "personal"
    assert answer.forecast.forecast_kwh.tobytes() == wanted.forecast_kwh.tobytes()
    of_another_run = replace(settings, personal=kept, weights=weights["personal"])
    (answer,) = forecast_all(None, plan.warehouse, [table], of_another_run, lambda done, total: None)
    assert answer.forecast is not None
    assert answer.forecast.model == "federated"


def test_csv_holds_what_parquet_holds_and_a_shorter_horizon_its_beginning(
    warehouse: Path,
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    names = sorted(current_tables(place(str(warehouse))))[:2]
    chosen = [word for name in reversed(names) for word in ("--households", name)]
    command = ("forecast", RUN, "--warehouse", warehouse, *chosen)
    for out in ("all.parquet", "all.csv"):
        assert neurogrid(*command, "--out", tmp_path / out)[0] == 0
    assert neurogrid(*command, "--horizon", 2, "--out", tmp_path / "short.parquet")[0] == 0
    whole, text, short = (
        duckdb.sql(f"select * from '{tmp_path}/{name}'").fetchall()
        for name in ("all.parquet", "all.csv", "short.parquet")
    )
    as_text = [(str(row[0]), row[1].astimezone(UTC), np.float32(row[2]), np.float32(row[3]), *row[4:]) for row in text]
    assert as_text == [(name, at, np.float32(kwh), np.float32(p), *rest) for name, at, kwh, p, *rest in whole]
    assert (tmp_path / "all.csv").read_text().splitlines()[1].split(",")[1].endswith(':00Z"')
    assert short == [row for at, row in enumerate(whole) if at % SLOTS < 2]
    assert {row[0] for row in whole} == set(names)


def test_spark_and_this_process_make_the_same_bits(
    warehouse: Path,
    tmp_path: Path,
    spark: SparkSession,
    neurogrid: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ("forecast", RUN, "--warehouse", warehouse, "--out")
    jobs = spark.sparkContext.statusTracker().getJobIdsForGroup
    before = len(jobs())
    assert neurogrid(*command, tmp_path / "here.parquet")[0] == 0
    assert len(jobs()) == before
    monkeypatch.setattr(forecast_plan, "SPARK_FROM_HOUSEHOLDS", 2)
    assert plan_of(warehouse).on_spark
    assert neurogrid(*command, tmp_path / "there.parquet")[0] == 0
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()
    plan = plan_of(warehouse, "own")
    told: list[tuple[int, int]] = []
    there = forecast_all(spark, plan.warehouse, plan.tables, plan.settings, lambda *done: told.append(done))
    here = forecast_all(None, plan.warehouse, plan.tables, plan.settings, lambda done, total: None)
    made = [[answer.forecast for answer in answers if answer.forecast] for answers in (there, here)]
    assert len(made[0]) == len(plan.tables)
    assert to_parquet(made[0], "own", ()) == to_parquet(made[1], "own", ())
    assert told[-1] == (len(plan.tables), len(plan.tables))


def test_private_layers_are_fitted_to_each_household(warehouse: Path, neurogrid: Command) -> None:  # noqa: F811
    code, said, words = neurogrid("forecast", "own", "--warehouse", warehouse)
    assert code == 0, words
    wanted = expected(warehouse, "own")
    for at, row in enumerate(said["forecasts"]):
        assert row["forecast_kwh"] == pytest.approx(wanted[row["household_id"]].forecast_kwh[at % SLOTS], abs=0)
    assert len(said["forecasts"]) == SLOTS * len(wanted)


def test_a_household_that_cannot_be_forecast_is_named_and_costs_the_others_nothing(
    sampled: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    train_run(sampled, tmp_path)
    warehouse = tmp_path / "w"
    tables = current_tables(place(str(warehouse)))
    agent = manifest_of(warehouse).agents[0]
    (warehouse / "runs" / RUN / "personal" / f"{agent.agent_id}.safetensors").write_bytes(b"x" * 99)
    adapted = agent.parts[0].household_id
    damaged, lost, *rest = sorted(set(tables) - {adapted})
    (warehouse / tables[damaged].path).write_bytes(b"PAR1")
    (warehouse / tables[lost].path).unlink()
    code, said, words = neurogrid("forecast", RUN, "--warehouse", warehouse)
    assert (code, said["households"], set(said["refused"])) == (0, len(rest), {damaged, lost, adapted}), words
    assert f"the personal model of agent {agent.agent_id} is damaged" in said["refused"][adapted]
    assert "its content is not what its name says" in said["refused"][damaged]
    assert f"no forecast of {lost}: its table cannot be read" in words
    assert {row["household_id"] for row in said["forecasts"]} == set(rest)


def test_gaps_before_the_forecast_are_counted_and_a_moment_without_readings_is_refused_with_nothing_written(
    warehouse: Path,
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    ends = {name: own.start for name, own in expected(warehouse).items()}
    name, later = next(iter(ends)), timedelta(minutes=45)
    command = ("forecast", RUN, "--warehouse", warehouse, "--households", name, "--at")
    code, said, words = neurogrid(*command, (ends[name] + later).isoformat())
    assert code == 0, words
    assert said["filled_slots"][name] >= 3
    assert "1 household with gaps in the 16 slots before the forecast" in words
    out = tmp_path / "none.csv"
    for at in ("2031-01-01T00:00Z", "2001-01-01T00:00+01:00"):
        code, said, _ = neurogrid(*command, at, "--out", out)
        assert (code, said["error"]["what"]) == (1, "no forecast could be made of 1 household")
        assert name in said["error"]["found"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "what", "found"),
    [
        (("--households", "nobody"), "1 household of --households not in the warehouse", "nobody"),
        (("--at", "2024-02-29T13:30"), "no offset from UTC", "2024-02-29T13:30"),
        (("--at", "soon"), "--at is not a moment", "soon"),
        (("--at", "2024-02-29T13:31Z"), "--at is not the start of a slot of 15 min", "2024-02-29T13:31:00"),
        (("--at", "0001-01-01T00:00+05:00"), "--at is no moment that a forecast can have", "0001-01-01"),
        (("--horizon", 5), "--horizon has to be from 1 to 4", "5"),
        (("--horizon", 0), "--horizon has to be from 1 to 4", "0"),
        (("--out", "forecasts.xlsx"), "--out has to end with .parquet or .csv", "forecasts.xlsx"),
        (("--out", "{folder}/folder.csv"), "--out is a folder", "folder.csv"),
        (("--set", "model.hidden=9"), "keeps the config", "model.hidden is 9"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_is_read(
    warehouse: Path,
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
    words: tuple[object, ...],
    what: str,
    found: str,
) -> None:
    (tmp_path / "folder.csv").mkdir()
    said_words = [str(word).format(folder=tmp_path) for word in words]
    code, said, _ = neurogrid("forecast", RUN, "--warehouse", warehouse, *said_words)
    assert code == 2
    assert what in said["error"]["what"]
    assert found in said["error"]["found"]


def test_a_run_that_has_not_ended_and_a_list_of_an_older_version_are_refused_with_what_to_do(
    sampled: Path,  # noqa: F811
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    train_run(sampled, tmp_path)
    warehouse, index = tmp_path / "w", tmp_path / "w" / INDEX
    table = pq.read_table(index)
    others = {key: value for key, value in table.schema.metadata.items() if key != CLEANING_KEY}
    for metadata, found in (
        (others, "a list of an older NeuroGrid"),
        ({**others, CLEANING_KEY: b"{}"}, "timezone: Field required"),
        ({**others, CLEANING_KEY: b"["}, "Invalid JSON"),
    ):
        pq.write_table(table.replace_schema_metadata(metadata), index)
        code, said, _ = neurogrid("forecast", RUN, "--warehouse", warehouse)
        assert (code, found in said["error"]["found"], "neurogrid etl" in said["error"]["fix"]) == (2, True, True), said
    made, source = index.read_bytes(), ("-c", tmp_path / "small.yaml", "--data-dir", tmp_path / "data")
    code, said, words = neurogrid("etl", *source, "--warehouse", warehouse)
    assert (code, said["unchanged"] > 0, index.read_bytes() != made) == (0, True, True), words
    assert neurogrid("forecast", RUN, "--warehouse", warehouse)[0] == 0
    (warehouse / "runs" / RUN / "end.json").unlink()
    code, said, _ = neurogrid("forecast", RUN, "--warehouse", warehouse)
    assert (code, said["error"]["what"]) == (2, f"run {RUN} has no final weights yet")


def test_an_answer_that_cannot_be_a_households_is_known_as_such(warehouse: Path) -> None:
    plan = plan_of(warehouse)
    table = plan.tables[0]
    good = expected(warehouse)[table.household_id]
    assert Answer(table.household_id, good, "").is_of(table, plan.settings)
    assert Answer(table.household_id, None, "why").is_of(table, plan.settings)
    nan = good.forecast_kwh * np.float32("nan")
    for bad in (
        Answer("another", good, ""),
        Answer(table.household_id, None, ""),
        Answer(table.household_id, None, "x" * 500),
        Answer(table.household_id, good, "and a reason"),
        *(
            Answer(table.household_id, Forecast(**{**vars(good), **other}), "")
            for other in (
                {"forecast_kwh": nan},
                {"forecast_kwh": good.forecast_kwh[:1]},
                {"surge_probability": good.surge_probability + 1},
                {"start": datetime(2024, 1, 1)},
                {"model": "x"},
                {"quantiles_kwh": good.forecast_kwh[:, None]},
                {"filled_slots": 17},
                {"cadence_minutes": 30},
            )
        ),
    ):
        assert not bad.is_of(table, plan.settings), bad


@pytest.mark.slow
def test_readings_in_memory_get_the_forecast_and_the_score_that_the_warehouse_gives(
    sampled: Path,  # noqa: F811
    warehouse: Path,
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
) -> None:
    code, said, words = neurogrid("export", RUN, tmp_path / "model", "--warehouse", warehouse)
    assert code == 0, words
    assert said["onnx_compared_with_torch"]
    assert said["last_record_sha256"] == json.loads((warehouse / "runs" / RUN / "end.json").read_text())["sha256"]
    model = package.load(tmp_path / "model")
    # The folder has the run's own model, so households that have made it their own are left out.
    wanted = {name: own for name, own in expected(warehouse).items() if own.model == "federated"}
    stations = pd.read_csv(sampled / "data" / "meta_data" / "households.csv", sep=";", dtype=str)
    station = dict(zip(stations.Household_ID, stations.Weather_ID, strict=True))
    settings = plan_of(warehouse).settings
    vector = settings.weights
    assert len(wanted) >= 2
    for name in list(wanted)[:2]:
        readings = of_csv(sampled / "data" / "smart_meter_data" / "15min" / f"{name}.csv").kWh_received_Total
        weather = of_csv(sampled / "data" / "weather_data" / "hourly" / f"{station[name]}.csv")[list(VARIABLES)]
        found = model.forecast(readings.rename(name), weather=weather)
        own = wanted[name]
        assert list(found.columns) == SCHEMA.names
        assert [each.to_pydatetime() for each in found.start] == own.starts
        assert found.forecast_kwh.tolist() == own.forecast_kwh.tolist()
        assert found.surge_probability.tolist() == own.surge_probability.tolist()
        assert set(found.household_id) == {name}

        household = read_current(place(str(warehouse)), current_tables(place(str(warehouse)))[name])
        scored = score_household(household, settings.training.windows, new_model(settings.training), {"m": vector}, {})
        part, (row,) = scored.parts["test"], model.score(readings, weather=weather).to_dict("records")
        assert row["mae_kwh"] == pytest.approx(part.absolute["m"].mean(), abs=0)
        assert row["median_28_days_mae_kwh"] == pytest.approx(part.absolute["median_28_days"].mean(), abs=0)
        assert row["below_median_percent"] == pytest.approx(100 * (1 - row["mae_kwh"] / row["median_28_days_mae_kwh"]))
        assert row["windows"] == part.windows


def of_csv(file: Path) -> pd.DataFrame:
    table = pd.read_csv(file, sep=";")
    table.index = pd.to_datetime(table.Timestamp, utc=True)
    return table[~table.index.duplicated()].sort_index()


def test_an_export_is_refused_where_it_cannot_be_whole(
    warehouse: Path,
    tmp_path: Path,
    neurogrid: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(run_id: str, folder: str) -> dict[str, str]:
        code, said, _ = neurogrid("export", run_id, tmp_path / folder, "--warehouse", warehouse)
        assert code == 2
        return dict(said["error"])

    said = refused("own", "a")
    assert "its layers forecast are fitted to each household" in said["found"]
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").write_text("")
    (tmp_path / "file").write_text("")
    assert refused(RUN, "used")["found"] == "thesis.tex"
    assert "is a file" in refused(RUN, "file")["what"]
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    said = refused(RUN, "b")
    assert "needs the Python package onnxscript" in said["what"]
    assert "neurogrid[export]" in said["fix"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "used"]

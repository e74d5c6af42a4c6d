"""The ETL as a plain DuckDB script: the yardstick of `bench etl`. It does the same job, written as an engineer would.

Typed CSV read by column name, duplicates dropped, the full grid by generate_series, three tiers of imputation from the
past, weather as known at the slot's start, features, scaling by training statistics, Parquet by station and household.
Tiers of the few missing slots are looked up by joins, as this is faster than windows over all rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

READ = """
SET threads = {threads};
SET TimeZone = 'UTC';
SET preserve_insertion_order = false;
CREATE TEMP TABLE raw AS
  SELECT Household_ID AS h, "Timestamp" AS t, first(kWh_received_Total) AS kwh
  FROM read_csv('{source}/smart_meter_data/15min/*.csv', delim = ';', header = true, union_by_name = true,
    types = {{'Household_ID': 'VARCHAR', 'Group': 'VARCHAR', 'AffectsTimePoint': 'VARCHAR', 'Timestamp': 'TIMESTAMPTZ',
      'kWh_received_Total': 'DOUBLE', 'kWh_received_HeatPump': 'DOUBLE', 'kWh_received_Other': 'DOUBLE'}})
  WHERE kWh_received_Total >= 0 AND kWh_received_Total <= {limit_kwh}
  GROUP BY ALL;
"""
"""Readings by household and time, the first of those that stand twice."""

SCRIPT = """
CREATE TEMP TABLE span AS
  SELECT h, Weather_ID AS w, first, rows,
    first + to_minutes(15 * CAST(floor(rows * {train} + 1e-9) AS BIGINT)) AS train_end
  FROM (SELECT h, min(t) AS first, date_diff('minute', min(t), max(t)) // 15 + 1 AS rows FROM raw GROUP BY h)
  JOIN read_csv('{source}/meta_data/households.csv', delim = ';', header = true, all_varchar = true)
    ON h = Household_ID;
CREATE TEMP TABLE grid AS
  SELECT s.h, s.t, raw.kwh, timezone('Europe/Zurich', s.t) AS local
  FROM (SELECT h, unnest(generate_series(first, first + to_minutes(15 * (rows - 1)), INTERVAL 15 MINUTE)) AS t
        FROM span) s
  LEFT JOIN raw ON raw.h = s.h AND raw.t = s.t;
CREATE TEMP TABLE filled AS
  WITH missing AS (SELECT h, t, local FROM grid WHERE kwh IS NULL),
  recent AS (
    SELECT m.h, m.t, avg(raw.kwh) AS kwh
    FROM (SELECT h, t, t - to_minutes(15 * unnest(range(1, {trailing} + 1))) AS before FROM missing) m
    JOIN raw ON raw.h = m.h AND raw.t = m.before GROUP BY ALL),
  rest AS (SELECT * FROM missing ANTI JOIN recent USING (h, t)),
  slot_mean AS (
    SELECT rest.h, rest.t, avg(grid.kwh) AS kwh
    FROM rest JOIN grid ON grid.h = rest.h AND grid.local::TIME = rest.local::TIME
      AND grid.local::DATE < rest.local::DATE
    WHERE grid.kwh IS NOT NULL GROUP BY ALL)
  SELECT m.h, m.t, coalesce(a.kwh, b.kwh, 0) AS kwh,
    CASE WHEN a.kwh IS NOT NULL THEN 1 WHEN b.kwh IS NOT NULL THEN 2 ELSE 3 END AS tier
  FROM missing m LEFT JOIN recent a USING (h, t) LEFT JOIN slot_mean b USING (h, t);
CREATE TEMP TABLE measured AS
  SELECT Weather_ID AS w, "Timestamp" AS t, Temperature_avg_hourly AS v1, Humidity_avg_hourly AS v2,
    Sunshine_duration_hourly AS v3
  FROM read_csv('{source}/weather_data/hourly/*.csv', delim = ';', header = true, union_by_name = true,
    types = {{'Weather_ID': 'VARCHAR', 'Timestamp': 'TIMESTAMPTZ', 'Temperature_avg_hourly': 'DOUBLE',
      'Humidity_avg_hourly': 'DOUBLE', 'Sunshine_duration_hourly': 'DOUBLE'}});
CREATE TEMP TABLE weather AS
  WITH hours AS (
    SELECT w, unnest(generate_series(
      least(min(t), (SELECT date_trunc('hour', min(first)) FROM span)),
      greatest(max(t), (SELECT date_trunc('hour', max(first + to_minutes(15 * rows))) FROM span)),
      INTERVAL 1 HOUR)) AS t
    FROM measured GROUP BY w),
  long AS (
    SELECT hours.w, hours.t, n, CASE n WHEN 1 THEN v1 WHEN 2 THEN v2 ELSE v3 END AS v
    FROM hours CROSS JOIN range(1, 4) AS variables(n) LEFT JOIN measured m ON m.w = hours.w AND m.t = hours.t),
  past AS (
    SELECT w, t, n, v,
      last_value(v IGNORE NULLS) OVER (
        PARTITION BY w, n ORDER BY t ROWS BETWEEN {hold_hours} PRECEDING AND 1 PRECEDING) AS known,
      avg(v) OVER (PARTITION BY w, n, hour(t) ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS usual,
      count(v) OVER (PARTITION BY w, n) AS ever
    FROM long)
  SELECT w, t,
    max(coalesce(v, known, usual, 0)) FILTER (n = 1) AS v1, max(v) FILTER (n = 1) AS o1,
    max(coalesce(v, known, usual, 0)) FILTER (n = 2) AS v2, max(v) FILTER (n = 2) AS o2,
    max(coalesce(v, known, usual, 0)) FILTER (n = 3) AS v3, max(v) FILTER (n = 3) AS o3,
    coalesce(max(CASE WHEN v IS NOT NULL THEN 0 WHEN known IS NOT NULL THEN 1 WHEN usual IS NOT NULL THEN 2 ELSE 3 END)
      FILTER (ever > 0), 3) AS tier
  FROM past GROUP BY w, t;
CREATE TEMP TABLE scales AS
  SELECT grid.h, avg(kwh) AS m0, stddev_pop(kwh) AS s0, avg(o1) AS m1, stddev_pop(o1) AS s1,
    avg(o2) AS m2, stddev_pop(o2) AS s2, coalesce(avg(o3), 0) AS m3, coalesce(stddev_pop(o3), 1) AS s3,
    quantile_cont(kwh, 0.95) AS surge_threshold_kwh
  FROM grid JOIN span ON span.h = grid.h
    LEFT JOIN weather ON weather.w = span.w AND weather.t = date_trunc('hour', grid.t)
  WHERE grid.t < train_end GROUP BY grid.h;
COPY (
  SELECT t AS "Timestamp", CAST((kwh - m0) / s0 AS FLOAT) AS kWh_received_Total,
    CAST(sin(2 * pi() * minute / 1440) AS FLOAT) AS hour_sin, CAST(cos(2 * pi() * minute / 1440) AS FLOAT) AS hour_cos,
    CAST(sin(2 * pi() * weekday / 7) AS FLOAT) AS dow_sin, CAST(cos(2 * pi() * weekday / 7) AS FLOAT) AS dow_cos,
    CAST(weekday >= 5 AS FLOAT) AS is_weekend,
    CAST((v1 - m1) / s1 AS FLOAT) AS Temperature_avg_hourly, CAST((v2 - m2) / s2 AS FLOAT) AS Humidity_avg_hourly,
    CAST((v3 - m3) / s3 AS FLOAT) AS Sunshine_duration_hourly,
    CAST(weather_tier > 0 AS FLOAT) AS weather_missing, CAST(load_tier > 0 AS FLOAT) AS load_missing,
    CAST(kwh AS FLOAT) AS kWh, CAST(load_tier AS UTINYINT) AS load_tier, CAST(weather_tier AS UTINYINT) AS weather_tier,
    w AS Weather_ID, h AS Household_ID
  FROM (
    SELECT grid.t, grid.h, span.w, coalesce(grid.kwh, filled.kwh) AS kwh, coalesce(filled.tier, 0) AS load_tier,
      hour(local) * 60 + minute(local) AS minute, isodow(local) - 1 AS weekday, v1, v2, v3,
      weather.tier AS weather_tier, scales.*
    FROM grid JOIN span ON span.h = grid.h JOIN scales ON scales.h = grid.h
      LEFT JOIN filled ON filled.h = grid.h AND filled.t = grid.t
      LEFT JOIN weather ON weather.w = span.w AND weather.t = date_trunc('hour', grid.t))
) TO '{target}/meters' (FORMAT parquet, COMPRESSION {compression}, PARTITION_BY (Weather_ID, Household_ID));
"""


@dataclass(frozen=True)
class Totals:
    """What both ways must agree on, read back from the Parquet files."""

    slots: int
    households: int
    load_tiers: tuple[int, int, int, int]
    weather_tiers: tuple[int, int, int, int]
    energy_kwh: float
    feature_squares: float


def run_script(source: Path, target: Path, settings: Mapping[str, object]) -> None:
    """Runs the script in a fresh database in memory."""
    import duckdb  # noqa: PLC0415  a yardstick, not a dependency

    target.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        for part in (READ, SCRIPT):
            connection.execute(part.format(source=source, target=target, **settings))


def totals(warehouse: Path) -> Totals:
    """Adds up a warehouse's meter tables, whoever wrote them."""
    import duckdb  # noqa: PLC0415

    squares = " + ".join(
        f'sum("{name}"::DOUBLE ** 2)'
        for name in ("kWh_received_Total", "hour_sin", "dow_cos", "Temperature_avg_hourly", "Humidity_avg_hourly")
    )
    tiers = ", ".join(f"count(*) FILTER ({name}_tier = {n})" for name in ("load", "weather") for n in range(4))
    query = f"""SELECT count(*), count(DISTINCT Household_ID), {tiers}, sum(kWh::DOUBLE), {squares}
        FROM read_parquet('{warehouse}/meters/*/*/*.parquet', hive_partitioning = true)"""  # noqa: S608
    with duckdb.connect() as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return Totals(row[0], row[1], tuple(row[2:6]), tuple(row[6:10]), row[10], row[11])

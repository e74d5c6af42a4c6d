"""What an engineer would write to clean the same files: group, fill the gaps, write; no features, no report.

Run as a program of its own, with Polars or DuckDB: `python -m neurogrid.bench.etl_lean duckdb SOURCE TARGET CORES`.
"""

import sys
from pathlib import Path

from neurogrid.bench.etl_duckdb import READ

ENGINES = ("duckdb", "polars")
LIMIT_KWH = 50.0
TRAILING = 5

SCRIPT = """
CREATE TEMP TABLE grid AS
  SELECT s.h, s.t, raw.kwh
  FROM (SELECT h, unnest(generate_series(min(t), max(t), INTERVAL 15 MINUTE)) AS t FROM raw GROUP BY h) s
  LEFT JOIN raw ON raw.h = s.h AND raw.t = s.t;
CREATE TEMP TABLE recent AS
  SELECT m.h, m.t, avg(raw.kwh) AS kwh
  FROM (SELECT h, t, t - to_minutes(15 * unnest(range(1, {trailing} + 1))) AS before FROM grid WHERE kwh IS NULL) m
  JOIN raw ON raw.h = m.h AND raw.t = m.before GROUP BY ALL;
COPY (
  SELECT grid.h AS Household_ID, grid.t AS "Timestamp", CAST(coalesce(grid.kwh, recent.kwh, 0) AS FLOAT) AS kWh,
    CAST(grid.kwh IS NULL AS UTINYINT) AS missing
  FROM grid LEFT JOIN recent ON recent.h = grid.h AND recent.t = grid.t
) TO '{target}' (FORMAT parquet, COMPRESSION snappy, PARTITION_BY (Household_ID));
"""


def main() -> None:
    """The program."""
    engine, source, target, cores = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    target.mkdir(parents=True, exist_ok=True)
    (_duckdb if engine == "duckdb" else _polars)(source, target, cores)


def _duckdb(source: Path, target: Path, cores: int) -> None:
    import duckdb  # noqa: PLC0415 - a yardstick, not a dependency

    with duckdb.connect() as connection:
        settings = {"limit_kwh": LIMIT_KWH, "trailing": TRAILING, "threads": cores}
        for part in (READ, SCRIPT):
            connection.execute(part.format(source=source, target=target, **settings))


def _polars(source: Path, target: Path, cores: int) -> None:
    import polars as pl  # noqa: PLC0415 - a yardstick, not a dependency

    if pl.thread_pool_size() > cores:
        raise SystemExit(f"set POLARS_MAX_THREADS={cores}: this is on {pl.thread_pool_size()}")
    for file in sorted((source / "smart_meter_data" / "15min").glob("*.csv")):
        kwh = pl.col("kWh_received_Total")
        raw = (
            pl.scan_csv(file, separator=";", schema_overrides={"Household_ID": pl.String})
            .select("Household_ID", pl.col("Timestamp").str.to_datetime("%Y-%m-%d %H:%M:%S%z"), kwh.cast(pl.Float64))
            .filter(kwh.is_between(0, LIMIT_KWH))
            .group_by("Household_ID", "Timestamp")
            .agg(kwh.first())
            .sort("Timestamp")
            .collect()
        )
        grid = raw.upsample("Timestamp", every="15m")
        before = kwh.rolling_mean(TRAILING, min_samples=1).shift(1)
        table = grid.select(
            "Timestamp",
            pl.coalesce(kwh, before, 0.0).cast(pl.Float32).alias("kWh"),
            kwh.is_null().cast(pl.UInt8).alias("missing"),
        )
        folder = target / f"Household_ID={file.stem}"
        folder.mkdir(parents=True)
        table.write_parquet(folder / "part-0.parquet", compression="snappy")


if __name__ == "__main__":
    main()

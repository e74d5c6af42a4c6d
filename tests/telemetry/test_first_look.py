"""What a page says before and while the exporter looks at a warehouse for the first time."""

from telemetry_run import exporter, scraped, train, value

from neurogrid.storage import Place
from neurogrid.telemetry import exporter as telemetry


def test_at_the_first_look_runs_are_on_the_page_as_they_are_read_newest_first_and_whole(tmp_path, monkeypatch):
    for day in (1, 2, 3):
        train(tmp_path, f"r{day}", rounds=2, started=f"2026-01-0{day}T00:00:00+00:00")
    work = exporter(tmp_path)
    assert value(scraped(work), "exporter_warehouse_up") is None, "nobody has looked yet"
    monkeypatch.setattr(telemetry, "_PUBLISH_S", 0.0)
    seen = []
    original = Place.read_bytes

    def read_bytes(self):
        if self.name == "round_metrics.parquet":
            values = scraped(work)
            assert value(values, "exporter_warehouse_up") == 1
            assert not work.ready
            seen.append(
                {run: value(values, "rounds_total", run=run, result="aggregated") for run in ("r3", "r2", "r1")}
            )
        return original(self)

    monkeypatch.setattr(Place, "read_bytes", read_bytes)
    work.look()
    assert seen == [{"r3": None, "r2": None, "r1": None}, {"r3": 2, "r2": None, "r1": None},
                    {"r3": 2, "r2": 2, "r1": None}]  # fmt: skip
    assert work.ready

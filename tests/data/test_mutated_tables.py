"""Damaged tables: whatever the bytes, a file gives readings or is refused in words, and no energy is made up."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from meter_files import meter_csv, series, settings, sgsc_csv, write_heapo

from neurogrid.data.energies import energies
from neurogrid.data.faults import FaultLog
from neurogrid.data.grid import to_grid
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.sources import Source, open_source
from neurogrid.storage import place
from tests.data.mutated import mutated

LOAD = [round(0.1 + n * 37 % 101 / 100, 3) for n in range(60)]
HEAPO = meter_csv("1", series(LOAD)).encode()
TIMES = [f"2013-10-{5 + n // 48:02} {n % 48 // 2:02}:{n % 2 * 30:02}:00" for n in range(96)]
SGSC = sgsc_csv("1", [(at, f"{n % 7 / 10}", "0.1" if n % 3 else "") for n, at in enumerate(TIMES)])


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Source, Path]]:
    heapo = write_heapo(tmp_path_factory.mktemp("heapo"), {"1": HEAPO})
    sgsc = tmp_path_factory.mktemp("sgsc")
    (sgsc / "1.csv").write_bytes(SGSC)
    return {
        "heapo": (open_source("heapo", place(str(heapo)), (), None), heapo / "smart_meter_data" / "15min" / "1.csv"),
        "sgsc": (open_source("sgsc", place(str(sgsc)), (), None), sgsc / "1.csv"),
    }


@pytest.mark.parametrize(("kind", "sample"), [("heapo", HEAPO), ("sgsc", SGSC), ("sgsc", gzip.decompress(SGSC))])
@examples(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_gives_readings_or_is_refused_in_words(
    sources: dict[str, tuple[Source, Path]], kind: str, sample: bytes, data: st.DataObject
) -> None:
    source, path = sources[kind]
    path.write_bytes(data.draw(mutated(sample)))
    ways = {
        "registers": data.draw(st.sampled_from(("refuse", "differences"))),
        "net_meters": data.draw(st.sampled_from(("refuse", "import", "export", "net"))),
        "catch_up": data.draw(st.sampled_from(("spread", "missing"))),
    }
    faults = FaultLog(5)
    try:
        found = energies(source.read(source.listing(5).files[0], faults), settings(**ways).treatment, faults)
        grid = to_grid(found.table, found.cadence_minutes, 400.0, faults)
    except UnusableFileError:
        return
    read = float(found.table["kWh"].to_numpy().sum())
    assert float(np.nansum(grid.kwh)) + grid.dropped_kwh == pytest.approx(read, rel=1e-9, abs=1e-9)
    assert np.isfinite(grid.kwh[~np.isnan(grid.kwh)]).all()
    assert len(grid.kwh) < 400 * 1440 * 60

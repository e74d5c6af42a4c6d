"""An exported model without a run: weights that are drawn, so that every input tells."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from neurogrid.config import load
from neurogrid.data.cleaning import Cleaning, EtlSettings
from neurogrid.data.household import FEATURES
from neurogrid.fl.weights import flatten, spec_of
from neurogrid.ledger.checkpoint import pack_weights
from neurogrid.serving.export import Exported, export, write
from neurogrid.serving.folder import About
from neurogrid.storage import place
from neurogrid.workloads.meters.models import Forecaster, ModelSettings, build
from neurogrid.workloads.meters.tensors import model_shape
from neurogrid.workloads.meters.windows import WindowSettings

WINDOWS = WindowSettings(history_slots=10, horizon_slots=3, known_future=True, residual=True)
CLEANING = Cleaning("Europe/Berlin", EtlSettings(**load("etl: {cadence_minutes: 60}").etl.model_dump()))


def drawn(windows: WindowSettings = WINDOWS, name: str = "city_lstm") -> Forecaster:
    model = build(ModelSettings(name, 8, 1, 4), model_shape(windows), seed=3)
    random = np.random.default_rng(5)
    for parameter in model.parameters():
        parameter.data.numpy()[...] = random.normal(0, 0.2, parameter.shape)
    return model.eval()


def exported(model: Forecaster, windows: WindowSettings = WINDOWS) -> Exported:
    about = About(
        run="r1",
        last_record_sha256="0" * 64,
        manifest_id="m1",
        neurogrid_version="0.1.0",
        cadence_minutes=60,
        windows=windows,
        model=model.settings,
        cleaning=CLEANING,
        features=FEATURES,
        known=windows.known_names,
        files={},
    )
    vector = flatten(model)
    return export(about, vector, pack_weights(vector, spec_of(model)))


@cache
def files(name: str, windows: WindowSettings = WINDOWS) -> Mapping[str, bytes]:
    """Of a model that is exported once: the exporter takes seconds."""
    return exported(drawn(windows, name), windows).files


def write_model(folder: Path, name: str, windows: WindowSettings = WINDOWS) -> Path:
    write(place(str(folder)), files(name, windows))
    return folder

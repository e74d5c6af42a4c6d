"""Gradient-boosted trees (LightGBM) of the residual: what usually forecasts tables best, so a rival for the MAE.

Least absolute errors, stopped early on validation. One model forecasts each slot of the horizon by itself, and has its
number as an input. The package is optional: it is needed only where these comparisons are asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neurogrid.data.household import Household
from neurogrid.errors import RunError, UsageError
from neurogrid.plural import plural
from neurogrid.randomness import generator
from neurogrid.workloads.meters.windows import LOAD, Array, Batch, Indices, Shard, WindowSettings, build_shard, gather

if TYPE_CHECKING:
    from lightgbm import Booster

COMPARISONS = ("gbm_alone", "gbm_pooled")
Forecast = Callable[[Batch], Array]
"""Gives (B, h) forecasts, scaled as a batch's target."""
_TREES, _TREES_UNWATCHED, _PATIENCE = 1000, 200, 30
"""Trees at most, trees where there are no validation windows, and after how many without a gain the training ends."""
_AT_ONCE = 8192
_MOST_TEXT = 64 << 20


@dataclass(frozen=True)
class BoostingSettings:
    """How trees are grown.

    Attributes:
        windows: as in the federation.
        seed: the run's.
        rows: of the table that they learn from at most, each a window and a slot of its horizon. They bound the memory,
            however many households there are: each takes 5 bytes an input and some 100 more. A million rows of 47
            inputs, and the validation rows, took 550 MB.
        validation_rows: the same, of the table that ends the training.
    """

    windows: WindowSettings
    seed: int
    rows: int = 1_000_000
    validation_rows: int = 200_000

    @property
    def inputs(self) -> int:
        """Columns of the table."""
        return self.windows.history_slots + self.windows.features - 1 + self.windows.known + 1


def refuse_without_package(comparisons: Sequence[str]) -> None:
    """Raises UsageError where one of these needs LightGBM, and it is not installed."""
    wanted = [name for name in comparisons if name in COMPARISONS]
    if wanted and find_spec("lightgbm") is None:
        raise UsageError(
            "gradient boosting needs the package lightgbm",
            found=f"evaluation.comparisons has {' and '.join(wanted)}; lightgbm is not installed",
            fix="pip install lightgbm, also where Spark's tasks run; or leave these comparisons out",
        )


def boost_alone(household: Household, settings: BoostingSettings) -> str | None:
    """Trees that saw this household only, in LightGBM's text; None where it has no windows to learn from."""
    table = _Table.empty(settings.rows, settings.inputs)
    watched = _Table.empty(settings.validation_rows, settings.inputs)
    _add(household, settings, (table, watched), (settings.rows, settings.validation_rows))
    return _boost(table, watched, settings.seed, leaves=15) if table.filled else None


def boost_pooled(households: Iterator[Household], count: int, settings: BoostingSettings) -> str:
    """Trees that saw rows of all households, in LightGBM's text.

    Args:
        households: opened one after another; each gives as many rows as the others, or all that it has.
        count: how many they are.
        settings: see there.

    Raises:
        RunError: none of them has a training window.
    """
    table = _Table.empty(settings.rows, settings.inputs)
    watched = _Table.empty(settings.validation_rows, settings.inputs)
    shares = (max(settings.rows // count, 1), max(settings.validation_rows // count, 1))
    for household in households:
        _add(household, settings, (table, watched), shares)
    if not table.filled:
        raise RunError(f"none of {plural(count, 'household')} has a training window")
    return _boost(table, watched, settings.seed, leaves=63)


@lru_cache(maxsize=2)  # the pooled trees are asked for with every household of a task
def forecaster(text: str) -> Forecast:
    """What the trees in LightGBM's text forecast."""
    from lightgbm import Booster  # noqa: PLC0415 - optional

    booster = Booster(model_str=text)

    def forecast(batch: Batch) -> Array:
        count, horizon = batch.target.shape
        slots = (np.full(count, slot) for slot in range(horizon))
        found = [booster.predict(_inputs(batch, slot), num_threads=1) for slot in slots]
        return np.stack(found, axis=1).astype(np.float32)

    return forecast


def is_text(text: str, inputs: int) -> bool:
    """Whether this can be LightGBM's text of trees with so many inputs."""
    return len(text) <= _MOST_TEXT and text.startswith("tree\n") and f"\nmax_feature_idx={inputs - 1}\n" in text[:4096]


@dataclass
class _Table:
    """Rows that are filled one after another, so that they are never there twice."""

    inputs: Array
    targets: Array
    filled: int = 0

    @classmethod
    def empty(cls, rows: int, inputs: int) -> "_Table":
        return cls(np.empty((rows, inputs), np.float32), np.empty(rows, np.float32))

    def add(self, shard: Shard, origins: Indices, most: int, random: np.random.Generator) -> None:
        """Rows of these windows, at most so many, and drawn where there are more."""
        horizon = shard.settings.horizon_slots
        pairs, most = len(origins) * horizon, min(most, len(self.targets) - self.filled)
        chosen = np.sort(random.choice(pairs, most, replace=False)) if pairs > most else np.arange(pairs)
        for at in range(0, len(chosen), _AT_ONCE):
            window, slot = np.divmod(chosen[at : at + _AT_ONCE], horizon)
            batch = gather(shard, origins[window])
            end = self.filled + len(window)
            self.inputs[self.filled : end] = _inputs(batch, slot)
            self.targets[self.filled : end] = batch.target[np.arange(len(window)), slot]
            self.filled = end


def _inputs(batch: Batch, slot: npt.NDArray[np.int64]) -> Array:
    """(B, p): the history's load, the last slot's other features, what is known of each window's `slot`, its number."""
    known = batch.known[np.arange(len(batch)), slot]
    columns = (batch.history[:, :, LOAD], batch.history[:, -1, LOAD + 1 :], known, slot[:, None])
    return np.concatenate(columns, axis=1, dtype=np.float32, casting="same_kind")


def _add(
    household: Household, settings: BoostingSettings, tables: tuple[_Table, _Table], most: tuple[int, int]
) -> None:
    shard = build_shard([(household, None)], settings.windows, ("train", "validation"))
    random = generator(settings.seed, "boosting rows", household.meta.household_id)
    tables[0].add(shard, shard.origins["train"], most[0], random)
    tables[1].add(shard, shard.origins["validation"], most[1], random)


def _boost(table: _Table, watched: _Table, seed: int, *, leaves: int) -> str:
    import lightgbm  # noqa: PLC0415 - optional

    settings = {
        "objective": "l1",
        "num_leaves": leaves,
        "learning_rate": 0.1,
        "min_data_in_leaf": 100,
        "feature_fraction": 0.8,
        "verbosity": -1,
        "seed": seed % 2**31,
        # The same trees on every machine, whatever its number of cores.
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
    }
    data = lightgbm.Dataset(table.inputs[: table.filled], table.targets[: table.filled], params=settings)
    if not watched.filled:
        return str(lightgbm.train(settings, data, _TREES_UNWATCHED).model_to_string())
    held_out = data.create_valid(watched.inputs[: watched.filled], watched.targets[: watched.filled])
    stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
    booster: Booster = lightgbm.train(settings, data, _TREES, [held_out], callbacks=[stop])
    return str(booster.model_to_string(num_iteration=booster.best_iteration))

"""A rank's readings: each of its households' files read once, hashed as it is read, made into windows."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from neurogrid.data.household import household_from
from neurogrid.data.tables import CurrentTable
from neurogrid.errors import RunError
from neurogrid.ledger.chain import sha256
from neurogrid.plural import plural
from neurogrid.randomness import generator
from neurogrid.storage import Place
from neurogrid.teacher.households import changed
from neurogrid.workloads.meters.windows import Indices, Shard, WindowSettings, build_shard, window_origins


@dataclass(frozen=True)
class Readings:
    """What a rank holds.

    Attributes:
        shard: windows of the households' training and validation time.
        validation: the windows that each epoch's model is judged on: each household's own sample, whoever reads it.
        fingerprints: SHA-256 of each file, by its path under the warehouse.
        periods: ISO times of `train_end` and `validation_end` of each household.
        row_groups: how many row groups were read.
    """

    shard: Shard
    validation: Indices
    fingerprints: dict[str, str]
    periods: dict[str, dict[str, str]]
    row_groups: int


def read(
    warehouse: Place,
    households: Sequence[CurrentTable],
    expected: Mapping[str, str],
    windows: WindowSettings,
    validation_windows: int,
    seed: int,
) -> Readings:
    """Reads the households' files, each once and whole.

    Raises:
        RunError: a file cannot be read or differs from `expected`, or no window can be trained on.
    """
    parts, counts, row_groups = [], [], 0
    fingerprints, periods = {}, {}
    for taught in households:
        try:
            content = (warehouse / taught.path).read_bytes()
            household = household_from(io.BytesIO(content))
            row_groups += pq.read_metadata(io.BytesIO(content)).num_row_groups
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                f"cannot read household {taught.household_id} to teach",
                found=f"{taught.path}: {error}",
                fix="run `neurogrid etl` and `neurogrid sample` again, in this order",
            ) from error
        fingerprints[taught.path] = sha256(content)
        periods[taught.household_id] = {
            "train_end": household.meta.train_end.isoformat(),
            "validation_end": household.meta.validation_end.isoformat(),
        }
        parts.append((household, None))
        counts.append(len(window_origins(household, None, windows)["validation"]))
    differing = changed(expected, fingerprints)
    if differing:
        raise RunError(
            f"{differing[0]} is not the file that the manifest was made from",
            found=plural(len(differing), "such file"),
            fix="sample again with `neurogrid sample`, or restore the files that the manifest was made from",
        )
    shard = build_shard(parts, windows, ("train", "validation"))
    if not len(shard.origins["train"]):
        raise RunError(
            "a rank has nothing to train on: its households have no training windows",
            found=", ".join(taught.household_id for taught in households),
            fix="set teacher.ranks lower, or teach households with more measured slots",
        )
    # Windows stand in the order of the households.
    own = np.split(shard.origins["validation"], np.cumsum(counts)[:-1])
    sample = [
        generator(seed, "teacher validation", taught.household_id).permutation(origins)[:validation_windows]
        for taught, origins in zip(households, own, strict=True)
    ]
    return Readings(shard, np.concatenate(sample), fingerprints, periods, row_groups)

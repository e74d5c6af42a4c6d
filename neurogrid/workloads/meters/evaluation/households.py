"""Every household's own figures, one row a household, part of time and method: what all the means are made of."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from neurogrid.workloads.meters.evaluation.score import HouseholdScore

SCHEMA = pa.schema(
    [
        ("household_id", pa.string()),
        ("group", pa.string()),
        ("part", pa.string()),
        ("method", pa.string()),
        ("windows", pa.int64()),
        ("quiet", pa.bool_()),
        ("load_kwh", pa.float64()),
        ("mae_kwh", pa.float64()),
        ("rmse_kwh", pa.float64()),
        ("bias_kwh", pa.float64()),
        ("mase", pa.float64()),
    ]
)
"""Means over a household's windows and slots; `bias_kwh` is of forecast less measured, `load_kwh` what was measured."""


def household_table(groups: Mapping[str, Sequence[HouseholdScore]]) -> pa.Table:
    """The table, by group of households."""
    rows = [row for group, scores in groups.items() for score in scores for row in _rows(group, score)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _rows(group: str, score: HouseholdScore) -> Iterator[dict[str, Any]]:
    for name, part in score.parts.items():
        for method, absolute in part.absolute.items():
            mae = float(absolute.mean())
            yield {
                "household_id": score.household_id,
                "group": group,
                "part": name,
                "method": method,
                "windows": part.windows,
                "quiet": score.quiet,
                "load_kwh": float(part.load.mean()),
                "mae_kwh": mae,
                "rmse_kwh": float(np.sqrt(part.squared[method].mean())),
                "bias_kwh": float(part.signed[method].mean()),
                "mase": mae / score.mase_scale_kwh,
            }

"""What the bits of a run depend on beside its config, seed and data: versions, and the driver's processor.

The first record of a run says it, and so does the first record after a break, from which on the run was made with
something else. Within each stretch a run that is made again comes to the same bits; across a break that is open.
"""

import platform
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from threadpoolctl import threadpool_info

import neurogrid
from neurogrid.ledger.chain import Record

MadeWith = Mapping[str, str]


def made_with() -> MadeWith:
    """Of this process. `instructions` are those that torch and numpy's BLAS choose their kernels by."""
    blas = sorted(
        {f"{own['internal_api']} {own['architecture']}" for own in threadpool_info() if "architecture" in own}
    )
    return {
        "neurogrid": neurogrid.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "processor": platform.machine(),
        "instructions": ", ".join([f"torch {torch.backends.cpu.get_cpu_capability()}", *blas]),
    }


def newest(records: Sequence[Record]) -> MadeWith:
    """What the newest of a run's records were made with; an older NeuroGrid recorded its own version only."""
    return next(
        (record["made_with"] for record in reversed(records) if record.get("made_with")),
        {"neurogrid": str(records[0].get("neurogrid_version", ""))},
    )


def differences(before: MadeWith, after: MadeWith) -> list[str]:
    """What is another now; what was not recorded is not compared."""
    return [
        f"{what} {after[what]}, was {before[what]}" for what in after if before.get(what, after[what]) != after[what]
    ]


def breaks(records: Sequence[Record]) -> list[str]:
    """A sentence for each break of a run, by its records from the first on."""
    found = []
    for number, record in enumerate(records[1:], start=1):
        if record.get("made_with"):
            others = "; ".join(differences(newest(records[:number]), record["made_with"]))
            what = f"round {record['round_id']}" if "round_id" in record else "the end"
            found.append(f"from {what} on: {others}")
    return found

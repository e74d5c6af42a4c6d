"""NeuroGrid: federated load forecasting for smart meters on Apache Spark."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from neurogrid.serving.model import Model

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(folder: "str | Path") -> "Model":
    """Loads a model that `neurogrid export` has written; see docs/python.md.

    Args:
        folder: a path, or the URI of an object store.

    Raises:
        neurogrid.errors.InputError: it is no such folder, or was changed.
    """
    from neurogrid.serving.model import load as load_model  # noqa: PLC0415 - torch and pandas load in seconds

    return load_model(folder)

"""Executes a notebook in an empty folder and writes it again with its outputs: `make notebook`."""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

TIMEOUT_S = 900
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def executed(notebook: Path, folder: Path) -> NotebookNode:
    """The notebook with what its cells give, from top to bottom, in this folder.

    What differs from one execution to the next and says nothing is left out: times, the kernel's own name.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    found = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        found,
        timeout=TIMEOUT_S,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    client.execute()
    found.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    return found


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as empty:
            made = executed(Path(name), Path(empty))
        nbformat.write(made, name)

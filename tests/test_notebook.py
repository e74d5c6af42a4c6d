"""notebooks/demo.ipynb: it runs, without a network, and its committed outputs are those of the present code."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import matplotlib.font_manager  # noqa: F401 - lists the fonts once, so that the kernel does not say that it does
import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "notebooks" / "demo.ipynb"
MOST_CELLS = 10
MOST_BYTES = 300_000
ALIKE = 0.1
"""Other processors round otherwise, and training multiplies that: figures may differ by this share."""
PARTS = re.compile(r"-?\d+(?:\.\d+)?|[^\s\d.-]+|[.-]+")

NO_NETWORK = """
import os, socket, sys

HERE = {"localhost", "::1", "0.0.0.0", "", None, socket.gethostname()}

def refuse(event, arguments):
    host = {"socket.connect": lambda: arguments[1], "socket.getaddrinfo": lambda: arguments[0]}.get(event, lambda: "")()
    host = host[0] if isinstance(host, tuple) else "" if event == "socket.connect" else host
    host = host.decode() if isinstance(host, bytes) else host
    if host not in HERE and not host.startswith("127.") and not host.startswith("::ffff:127."):
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{event} {host}\\n")
        raise OSError(f"no network here: {event} {host}")

sys.addaudithook(refuse)
"""


def committed() -> NotebookNode:
    return nbformat.read(DEMO, as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook: NotebookNode) -> list[list[tuple[str, ...]]]:
    """Of each cell what its outputs are: kind, stream, types of content."""
    return [
        [(each.output_type, each.get("name", ""), *sorted(each.get("data", {}))) for each in cell.outputs]
        for cell in code(notebook)
    ]


def words(notebook: NotebookNode) -> list[str]:
    """Words and numbers of all outputs, in order."""
    texts = [each.get("text") or each.data["text/plain"] for cell in code(notebook) for each in cell.outputs]
    return [part for text in texts for part in PARTS.findall(text)]


def alike(one: str, other: str) -> bool:
    if one == other:  # `NaN` is a number too, and none is near it
        return True
    try:
        return abs(float(one) - float(other)) <= max(ALIKE / 2, ALIKE * abs(float(one)))
    except ValueError:
        return False


def test_the_notebook_is_small_and_has_what_anybody_can_run() -> None:
    notebook = committed()
    nbformat.validate(notebook)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert len(code(notebook)) <= MOST_CELLS
    assert DEMO.stat().st_size <= MOST_BYTES
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))


def test_every_page_that_the_notebook_links_to_exists() -> None:
    text = "\n".join(cell.source for cell in committed().cells if cell.cell_type == "markdown")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (DEMO.parent / link).exists()] == []


def test_the_notebooks_outputs_say_nothing_of_the_machine_and_have_no_warnings() -> None:
    outputs = [each for cell in code(committed()) for each in cell.outputs]
    assert {each.output_type for each in outputs} == {"execute_result", "stream", "display_data"}
    assert {each.name for each in outputs if each.output_type == "stream"} == {"stdout"}
    assert not re.search(r"/(home|root|tmp|Users|usr|opt|work|private)/|Warning|\r", DEMO.read_text())


def test_the_comparison_of_outputs_sees_what_changed() -> None:
    assert PARTS.findall("mae_kwh 0.25\n(12.5%)") == ["mae_kwh", "0.25", "(", "12.5", "%)"]
    assert alike("0.50", "0.51")
    assert alike("25.0", "27")
    assert not alike("0.50", "0.61")
    assert not alike("mae_kwh", "rmse_kwh")
    assert not alike("22", "26")
    assert alike("NaN", "NaN")
    assert not alike("NaN", "0.1")


@pytest.mark.slow
def test_the_notebook_runs_without_a_network_and_gives_what_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: Callable[[Path, Path], NotebookNode] = runpy.run_path(str(ROOT / "notebooks" / "make.py"))["executed"]
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_NETWORK)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{ROOT}")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    made, before = executed(DEMO, tmp_path / "empty"), committed()
    assert not (tmp_path / "asked").exists(), (tmp_path / "asked").read_text()
    assert shown(made) == shown(before), "run `make notebook`"
    found, wanted = words(made), words(before)
    different = [pair for pair in zip(found, wanted, strict=False) if not alike(*pair)]
    assert (different, len(found)) == ([], len(wanted)), "run `make notebook`"

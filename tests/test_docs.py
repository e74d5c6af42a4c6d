"""What the docs say is so: pages made from code are in step, commands they name exist, make lists its targets."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from neurogrid.cli.app import app
from neurogrid.cli.reference import reference
from neurogrid.config import load

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_config_page_is_in_step_with_the_schema() -> None:
    assert (ROOT / "docs" / "config.md").read_text() == reference(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for line in re.findall(r"neurogrid ((?:[a-z][a-z0-9]* ?)+)", "\n".join(re.findall(r"`[^`]+`", page.read_text()))):
        first, *rest = line.split()
        assert first in commands, f"{page.name} names `neurogrid {line}`"
        if rest and hasattr(commands[first], "commands"):
            assert rest[0] in commands[first].commands


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_config_can_be_used(example: Path) -> None:
    load(example.read_text())


def test_make_help_lists_every_target_with_its_words() -> None:
    make = shutil.which("make")
    assert make
    said = subprocess.run([make, "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "demo", "test", "results", "docs"):
        assert re.search(rf"^  {target} +\S+", said, re.MULTILINE)

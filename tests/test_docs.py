"""What the docs say is so: pages made from code are in step, commands they name exist, make lists its targets."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from neurogrid.cli.app import app
from neurogrid.cli.reference import reference
from neurogrid.config import load

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    ROOT / "helm" / "neurogrid" / "README.md",
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$|((?:^    .*\n)+)", re.MULTILINE | re.DOTALL)
BEFORE = re.compile(r"^(\$ |[A-Z_]+=\S+ )*(\.venv/bin/)?")


def test_the_config_page_is_in_step_with_the_schema() -> None:
    assert (ROOT / "docs" / "config.md").read_text() == reference(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    code = "\n".join(re.findall(r"`[^`]+`", page.read_text()))
    for line in re.findall(r"(?<!-n )neurogrid ((?:[a-z][a-z0-9]* ?)+)", code):
        first, *rest = line.split()
        assert first in commands, f"{page.name} names `neurogrid {line}`"
        if rest and hasattr(commands[first], "commands"):
            assert rest[0] in commands[first].commands


def commands_shown() -> list[tuple[str, str]]:
    """Every line of a page's code blocks that starts `neurogrid` or `make`, with the page's name."""
    shown = []
    for name, page in zip(NAMES, PAGES, strict=True):
        for _, fenced, indented in BLOCK.findall(page.read_text()):
            lines = (fenced or indented).replace("\\\n", " ").splitlines()
            words = [BEFORE.sub("", line.strip()) for line in lines]
            shown += [(name, line) for line in words if line.startswith(("neurogrid ", "make "))]
    return shown


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_flag_that_a_page_names_with_a_command_is_one_of_that_command(page: Path) -> None:
    for span in re.findall(r"(?<!`)`neurogrid ([^`]+)`(?!`)", page.read_text()):
        command, words = get_command(app), span.split()
        flags = {flag for parameter in command.params for flag in parameter.opts}
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
            flags |= {flag for parameter in command.params for flag in parameter.opts}
        named = {word.partition("=")[0] for word in words if re.fullmatch("--[a-z-]+(=.*)?", word)}
        if not hasattr(command, "commands"):  # what every command of a group takes may be named with the group
            assert named <= flags | {"--help"}, span


@pytest.mark.parametrize(("page", "line"), commands_shown())
def test_every_command_in_a_code_block_can_be_typed_as_it_stands(page: str, line: str) -> None:
    program, *words = shlex.split(line.split(" | ", maxsplit=1)[0], comments=True)
    if program == "make":
        made = {target for rule in (ROOT / "Makefile", ROOT / "k8s" / "cluster.mk") for target in targets(rule)}
        assert {word for word in words if "=" not in word} <= made, page
        return
    command = get_command(app)
    while hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, f"{page} names {name}"
        command = command.commands[name]
    command.make_context(command.name, words)  # raises where a flag is unknown or a value cannot be


def commands_with(flag: str) -> dict[str, bool]:
    """Every command, and whether it takes the flag."""
    found, left = {}, [("", get_command(app))]
    while left:
        name, command = left.pop()
        if hasattr(command, "commands"):
            left += [(f"{name} {inner}".strip(), one) for inner, one in command.commands.items()]
        else:
            found[name] = any(flag in parameter.opts for parameter in command.params)
    return found


def test_every_command_gives_its_result_as_json_but_those_that_have_none() -> None:
    assert {name for name, takes in commands_with("--json").items() if not takes} == {"exporter", "k8s logs"}


def test_every_step_of_a_run_takes_the_config_that_the_others_take() -> None:
    takes = commands_with("--config")
    steps = ("run", "etl", "sample", "teach", "train", "evaluate", "report", "audit", "config show", "bench results")
    assert all(takes[step] for step in steps)


def targets(rule: Path) -> set[str]:
    names = re.findall(r"^([a-z][a-z0-9 -]*):.*## ", rule.read_text(), re.MULTILINE)
    return {name for group in names for name in group.split()}


def headings(page: Path) -> set[str]:
    """The names under which GitHub links to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_file_and_heading_that_a_page_links_to_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, heading = target.partition("#")
        if not target.startswith("http"):
            there = page.parent / name if name else page
            assert there.exists(), f"{page.name} links to {target}"
            assert not heading or heading in headings(there), f"{page.name} links to {target}"


def test_the_config_on_the_teachers_page_can_be_used() -> None:
    (config,) = [text for kind, text, _ in BLOCK.findall((ROOT / "docs" / "teacher.md").read_text()) if kind == "yaml"]
    load(config)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_config_can_be_used(example: Path) -> None:
    load(example.read_text())


def test_the_glossary_is_sorted_and_has_each_word_once() -> None:
    words = re.findall(r"^\| ([^|]+) \| ", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)[1:]
    assert len(words) > 20
    assert words == sorted(set(words), key=str.lower)


def make(*arguments: str) -> str:
    program = shutil.which("make")
    assert program
    environment = {name: value for name, value in os.environ.items() if name not in ("TORCH_INDEX", "MAKEFLAGS")}
    done = subprocess.run([program, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_make_help_lists_every_target_with_its_words() -> None:
    said = make("help")
    rules = [(ROOT / "Makefile").read_text(), (ROOT / "k8s" / "cluster.mk").read_text()]
    text = "\n".join(rules).replace("\\\n", " ")
    made = re.findall(r"^([a-z][a-z0-9 -]*):(?!=)", text, re.MULTILINE) + re.findall(
        r"^\.PHONY:(.*)$", text, re.MULTILINE
    )
    names = {name for group in made for name in group.split()}
    assert {"setup", "demo", "test", "results", "deploy", "run-train"} <= names
    for target in names:
        assert re.search(rf"^  {target} +\S+ \S+", said, re.MULTILINE), target


def test_the_image_is_built_with_torch_from_the_index_that_is_named() -> None:
    assert "--build-arg TORCH_INDEX=https://torch.example/cpu" in make(
        "-n", "images", "TORCH_INDEX=https://torch.example/cpu"
    )

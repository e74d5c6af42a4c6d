"""Writes what the chart says twice: the config's schema, which pydantic has, and README.md's table of values.

    python helm/generate.py

`make chart-docs` runs it; a test in tests/chart fails while a file is not what this would write.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from neurogrid.config import Config

HERE = Path(__file__).resolve().parent
CHART = HERE / "neurogrid"
MARK = "<!-- values: made by helm/generate.py from the comments of values.yaml -->"
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][\w.-]*):(?P<value>.*)$")


@dataclass(frozen=True)
class Value:
    """One documented value: its path, what the comment says, and its default."""

    path: str
    meaning: str
    default: str


def schema() -> str:
    """values.schema.json: ours, with the config's own schema under `$defs/config`."""
    ours = yaml.safe_load((HERE / "values.schema.yaml").read_text())
    config = Config.model_json_schema()
    parts = config.pop("$defs")
    ours["$defs"] |= {f"config.{name}": part for name, part in parts.items()} | {"config": config}
    return json.dumps(_renamed(ours, set(parts)), indent=1) + "\n"


def _renamed(node: Any, parts: set[str]) -> Any:
    """The config's references point to where its parts now stand. Defaults go: Helm fills none in."""
    if isinstance(node, list):
        return [_renamed(item, parts) for item in node]
    if not isinstance(node, dict):
        return node
    named = {key: _renamed(item, parts) for key, item in node.items() if not (key == "default" and "$ref" in node)}
    reference = str(node.get("$ref", "")).removeprefix("#/$defs/")
    return named | {"$ref": f"#/$defs/config.{reference}"} if reference in parts else named


def values(text: str) -> Iterator[Value]:
    """Every value of values.yaml that has a `# --` comment above it, in the file's order."""
    tree = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            comment = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("#") and comment:
            comment.append(stripped.removeprefix("#").strip())
        elif match := _KEY.match(line):
            indent = len(match["indent"])
            path = [(depth, key) for depth, key in path if depth < indent] + [(indent, match["key"])]
            if comment:
                keys = [key for _, key in path]
                yield Value(".".join(keys), " ".join(comment), json.dumps(_at(tree, keys)))
            comment = []
        else:
            comment = []


def _at(tree: Any, keys: list[str]) -> Any:
    for key in keys:
        tree = tree[key]
    return tree


def readme() -> str:
    """README.md with its table of values as values.yaml has it."""
    text = (CHART / "README.md").read_text()
    head = text.split(MARK)[0].rstrip()
    rows = [
        f"| `{value.path}` | `{value.default}` | {value.meaning} |"
        for value in values((CHART / "values.yaml").read_text())
    ]
    return "\n".join([head, "", MARK, "", "| value | default | meaning |", "|---|---|---|", *rows, ""])


def main() -> None:
    """Writes both."""
    (CHART / "values.schema.json").write_text(schema())
    (CHART / "README.md").write_text(readme())


if __name__ == "__main__":
    main()

"""The config's reference page, made from the schema: docs/config.md is this text."""

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from neurogrid.backends.registry import BACKENDS
from neurogrid.config import keys
from neurogrid.data.layouts.registry import SOURCES
from neurogrid.fl.registry import RULES
from neurogrid.registry import Registry
from neurogrid.workloads.meters.registry import MODELS


def reference() -> str:
    """Markdown: a table a section, one row a key."""
    lines = [
        "# Config",
        "",
        "One YAML file; every key can also be given as `--set section.key=value`. Made by `neurogrid config schema`.",
    ]
    sections = [(name, field) for name, field in keys() if _is_section(field)]
    tops = [(name, field) for name, field in keys() if "." not in name and not _is_section(field)]
    lines += ["", *_table(tops)]
    for section, field in sections:
        inner = [(name, f) for name, f in keys() if name.rpartition(".")[0] == section and not _is_section(f)]
        lines += ["", f"## {section}", "", f"{_sentence(field.description)}", "", *_table(inner)]
        if section in _TABLES:
            lines += ["", *_TABLES[section]()]
    return "\n".join(lines) + "\n"


def _is_section(field: Any) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _table(rows: list[tuple[str, Any]]) -> list[str]:
    table = ["| key | default | values | meaning |", "|---|---|---|---|"]
    for name, field in rows:
        table.append(f"| `{name}` | `{_yaml(field.default)}` | {_values(field)} | {field.description} |")
    return table


def _registered(registry: Registry[Any], where: str) -> list[str]:
    lines = [
        f"Another package adds a {registry.noun} of its own as an entry point of the group `{registry.group}`, as "
        f"`neurogrid/{where}` says.",
        "",
        f"| {registry.noun} | what it is |",
        "|---|---|",
    ]
    said = ((name, found if isinstance(found, Exception) else found.words) for name, found in registry.specs())
    return lines + [f"| `{name}` | {words} |" for name, words in said]


def _rules() -> list[str]:
    lines = [
        "Another package adds a rule of its own as an entry point of the group `neurogrid.rules`, as "
        "`neurogrid/fl/registry.py` says.",
        "",
        "| rule | what it is | keeps or drops | agents needed for f malicious | drops honest updates too |",
        "|---|---|---|---|---|",
    ]
    for name, spec in RULES.specs():
        if isinstance(spec, Exception):
            lines.append(f"| `{name}` | {spec} | | | |")
            continue
        judges = {"rows": "updates", "shares": "parts of updates", "entries": "single weights"}[spec.judges]
        needed = (
            (f"{spec.least_formula}, f > 0" if spec.needs_f else spec.least_formula) if spec.tolerates else "no defence"
        )
        fixed = "yes" if spec.fixed_rejections else "no"
        lines.append(f"| `{spec.name}` | {spec.words} | {judges} | {needed} | {fixed} |")
    return lines


_TABLES: dict[str, Callable[[], list[str]]] = {
    "source": lambda: _registered(SOURCES, "data/layouts/registry.py"),
    "model": lambda: _registered(MODELS, "workloads/meters/registry.py"),
    "aggregation": _rules,
    "backend": lambda: _registered(BACKENDS, "backends/registry.py"),
}
"""Beside the keys of these sections: what is registered."""


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else str(value)


def _values(field: Any) -> str:
    kind = field.annotation
    choices = get_args(kind) if get_origin(kind) is Literal else field.examples
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    limits = []
    for rule in field.metadata:
        for attribute, words in (("gt", "above"), ("ge", "from"), ("lt", "below"), ("le", "to")):
            limit = getattr(rule, attribute, None)
            if limit is not None:
                limits.append(f"{words} {limit}")
    name = {int: "whole number", float: "number", str: "text", bool: "true or false"}.get(kind, "")
    if get_origin(kind) is list:
        name = "list"
    elif get_origin(kind) is dict:
        name = "mapping"
    elif not name:
        name = "whole number or null" if int in get_args(kind) else "text"
    return " ".join([name, *limits])

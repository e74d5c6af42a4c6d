"""`neurogrid source new`: a declaration for a strange folder, as a config with what to check."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from neurogrid.cli import show
from neurogrid.cli.options import Json, print_result
from neurogrid.config.source import GenericSection
from neurogrid.errors import InputError, UsageError

if TYPE_CHECKING:
    from neurogrid.data.layouts.survey import Survey

source_app = typer.Typer(help="Declarations of meter data in tables of your own.", no_args_is_help=True)


@source_app.callback()
def _source() -> None:
    """Keeps `new` a command of its own."""


@source_app.command("new")
def source_new(
    folder: Annotated[str, typer.Argument(help="Folder or URI with the raw readings.")],
    out: Annotated[Path | None, typer.Option(help="YAML file to write; without it, stdout.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a strange folder and write a config that declares its layout, with comments on what to check."""
    from neurogrid.data.layouts.recognise import where_is  # noqa: PLC0415
    from neurogrid.data.layouts.survey import survey  # noqa: PLC0415 - --help must not wait for Arrow
    from neurogrid.storage import place  # noqa: PLC0415

    if out is not None and out.exists() and not force:
        raise UsageError(
            f"{out} already exists",
            found="a file" if out.is_file() else "no file",
            fix="name another with --out, or give --force",
        )
    found = survey(place(folder))
    try:
        known = where_is("auto", place(folder), (), None)[1]
        show.say(f"  {folder} is {known.about}: source.kind auto reads it without a declaration")
    except InputError:
        pass
    keys = _keys(found)
    text = _yaml(_below(folder, found.folder.path.removeprefix(place(folder).path)), keys, found)
    checks = {name: note for name, note in found.notes.items() if note.startswith("please check") or "please" in note}
    show.say(f"  {found.folder}: {found.declaration.shape}, {len(checks)} guesses to check")
    for name, note in checks.items():
        show.say(f"    {name}: {note}")
    if out is not None:
        out.write_text(text, encoding="utf-8")
        show.facts([("written", str(out)), ("next", f"neurogrid etl --dry-run -c {out}")])
    elif not as_json:
        print(text, end="")
    print_result({"path": str(out) if out else None, "generic": keys, "check": checks}, as_json=as_json)


def _keys(found: "Survey") -> dict[str, Any]:
    """The keys of source.generic that are not as by default, or that are to be checked."""
    own = found.declaration
    values: dict[str, Any] = {
        "shape": own.shape,
        "separator": "tab" if own.separator == "\t" else own.separator,
        "encoding": own.encoding,
        "decimal": own.decimal,
        "header": own.header,
        "skip_lines": own.skip_lines,
        "household": own.household,
        "time": list(own.time),
        "time_format": own.time_format,
        "time_zone": own.zone,
        "label": "end" if own.ends else "start",
        "energy": list(own.energy),
        "export": list(own.export),
        "not_households": list(own.not_households),
        "unit": own.unit,
        "holds": "register" if own.register else "energy",
        "cadence_minutes": own.cadence_minutes,
        "quality": own.quality.column if own.quality else "",
        "quality_good": list(own.quality.good) if own.quality else [],
        "quality_estimated": list(own.quality.estimated) if own.quality else [],
        "quality_missing": list(own.quality.missing) if own.quality else [],
    }
    always = {"shape", "separator", "time", "time_format", "time_zone", "label", "unit", "cadence_minutes", "encoding"}
    fields = GenericSection.model_fields
    return {key: value for key, value in values.items() if key in always or value != fields[key].default}


def _below(folder: str, path: str) -> str:
    """A folder below one that was given, in the way that was given: a URI may end with options of its store."""
    base, question, options = folder.partition("?") if "://" in folder else (folder, "", "")
    return f"{base.rstrip('/') or '/'}{path}{question}{options}" if path else folder


def _yaml(where: str, keys: dict[str, Any], found: "Survey") -> str:
    lines = [
        "# Written by `neurogrid source new` from what the files look like. Check what is marked, then see:",
        "#   neurogrid etl --dry-run -c THIS_FILE",
        "source:",
        "  kind: generic",
        f"  path: {_scalar(where)}",
        '  timezone: ""  # of the households, for hours and weekdays; empty: that of time_zone',
        "  generic:",
    ]
    for key, value in keys.items():
        note = found.notes.get(key, "")
        lines.append(f"    {key}: {_scalar(value)}" + (f"  # {note}" if note else ""))
    lines += ["etl:", "  cadence_minutes: null  # keeps the slots of the source"]
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).removesuffix("...\n").strip()
    )

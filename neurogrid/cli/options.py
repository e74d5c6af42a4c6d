"""Flags that several commands share, what the shell completes of them, the config that they add up to, `--json`."""

import json
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from neurogrid.config import AttackSection, Config, load
from neurogrid.errors import ConfigError, NeuroGridError
from neurogrid.storage import place


def _names(context: typer.Context, folder: str, incomplete: str) -> list[str]:
    """Names in a folder of the warehouse that the words typed so far point to."""
    typed = context.params
    try:
        config = load_config(typed.get("config"), typed.get("sets"), {"warehouse": typed.get("warehouse")})
        children = (place(config.warehouse) / folder).children()
    except (NeuroGridError, OSError):
        return []  # whoever presses Tab wants no error; the command itself will say it
    return [child.name for child in children if child.name.startswith(incomplete)]


def run_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the warehouse's runs."""
    return _names(ctx, "runs", incomplete)


def manifest_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the warehouse's manifests."""
    return _names(ctx, "manifests", incomplete)


def teacher_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the warehouse's teachers."""
    return _names(ctx, "teachers", incomplete)


def attack_kinds(incomplete: str) -> list[str]:
    """For the shell: the attacks that there are."""
    kinds = get_args(AttackSection.model_fields["kind"].annotation)
    return [kind for kind in kinds if kind.startswith(incomplete)]


ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="YAML config; defaults without it.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the config.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Warehouse = Annotated[str | None, typer.Option(help="Path or URI of all that NeuroGrid writes.")]
DataDir = Annotated[str | None, typer.Option(help="Folder with the raw readings.")]
ManifestOption = Annotated[
    str | None, typer.Option("--manifest", help="Id or path of a manifest to use.", autocompletion=manifest_ids)
]
TeacherOption = Annotated[
    str | None,
    typer.Option("--teacher", metavar="ID", help="Id or path of a teacher to start from.", autocompletion=teacher_ids),
]
Rounds = Annotated[int | None, typer.Option(help="Number of rounds.")]
Agents = Annotated[int | None, typer.Option(help="Number of agents.")]
Fraction = Annotated[float | None, typer.Option(help="Share of agents that attack.")]
AttackOption = Annotated[str | None, typer.Option(help="none, scale, sign_flip or noise.", autocompletion=attack_kinds)]
Resume = Annotated[
    str | None,
    typer.Option("--resume", metavar="RUN_ID", help="Go on with an interrupted run.", autocompletion=run_ids),
]
RunId = Annotated[
    str, typer.Argument(help="Name of the run, a folder under runs/ in the warehouse.", autocompletion=run_ids)
]


def load_config(
    file: Path | None, sets: list[str] | None, flags: dict[str, Any], *, teacher_follows: bool = False
) -> Config:
    """The config file, then `--set`, then flags; see `config.load`."""
    text = ""
    if file is not None:
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the config {file}", found=str(error)) from error
    given = [f"{key}={json.dumps(value)}" for key, value in flags.items() if value is not None]
    fraction, kind = flags.get("attack.fraction"), flags.get("attack.kind")
    where = str(file) if file else "config"
    config = load(text, [*(sets or []), *given], where=where, teacher_follows=teacher_follows)
    if fraction and kind is None and config.attack.kind == "none":
        raise ConfigError(
            "--byzantine-fraction without an attack does nothing",
            found=f"--byzantine-fraction {fraction}",
            fix="say which with --byzantine-attack scale, sign_flip or noise",
        )
    return config


def print_result(result: Any, *, as_json: bool) -> None:
    """Prints the result as JSON where that is asked for; people were told already."""
    if as_json:
        print(json.dumps(result, indent=2, sort_keys=True, default=str))

"""Flags that several commands share, what the shell completes of them, the config that they add up to, `--json`."""

import json
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from neurogrid.config import AttackSection, Config, load
from neurogrid.errors import ConfigError, NeuroGridError


def _names(context: typer.Context, folder: str, incomplete: str) -> list[str]:
    """Names in a folder of the warehouse that the words typed so far point to."""
    typed = context.params
    try:
        from neurogrid.storage import place  # noqa: PLC0415 - Arrow is not installed everywhere

        config = load_config(typed.get("config"), typed.get("sets"), {"warehouse": typed.get("warehouse")})
        children = (place(config.warehouse) / folder).children()
    except (NeuroGridError, OSError, ImportError):
        return []  # a completion must not show errors; the command itself will
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


ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="YAML config file; without it, the defaults.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a config key; repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Warehouse = Annotated[str | None, typer.Option(help="Folder or URI where NeuroGrid writes everything.")]
DataDir = Annotated[str | None, typer.Option(help="Folder with the raw readings.")]
ManifestOption = Annotated[
    str | None, typer.Option("--manifest", help="Id or path of a manifest to use.", autocompletion=manifest_ids)
]
TeacherOption = Annotated[
    str | None,
    typer.Option("--teacher", metavar="ID", help="Id or path of a teacher to start from.", autocompletion=teacher_ids),
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="RUN_ID", help="Start from a run's last weights.", autocompletion=run_ids),
]
Rounds = Annotated[int | None, typer.Option(help="Number of rounds.")]
Agents = Annotated[int | None, typer.Option(help="Number of agents.")]
Fraction = Annotated[float | None, typer.Option(help="Share of agents that attack, from 0 to 1.")]
AttackOption = Annotated[
    str | None, typer.Option(help="Attack to simulate: none, scale, sign_flip or noise.", autocompletion=attack_kinds)
]
Resume = Annotated[
    str | None,
    typer.Option("--resume", metavar="RUN_ID", help="Continue an interrupted run.", autocompletion=run_ids),
]
AcceptBreak = Annotated[
    bool,
    typer.Option(
        "--accept-break", help="Continue a run also with other versions or on another processor; its records say so."
    ),
]
RunId = Annotated[
    str, typer.Argument(help="Name of the run, a folder under runs/ in the warehouse.", autocompletion=run_ids)
]


_FLAGS = {
    "warehouse": "--warehouse",
    "source.path": "--data-dir",
    "source.exclude": "--exclude",
    "sampling.manifest": "--manifest",
    "sampling.agents": "--agents",
    "rounds.count": "--rounds",
    "rounds.teacher": "--teacher",
    "rounds.start_from": "--from",
    "attack.fraction": "--byzantine-fraction",
    "attack.kind": "--byzantine-attack",
    "teacher.ranks": "--ranks",
    "teacher.epochs": "--epochs",
}
"""The flag that sets a key, for the words of an error."""


def load_config(
    file: Path | None, sets: list[str] | None, flags: dict[str, Any], *, teacher_follows: bool = False
) -> Config:
    """The config file, then `--set`, then flags; see `config.load`."""
    text = ""
    if file is not None:
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"cannot read the config {file}", found=str(error), fix="name a YAML file in UTF-8 with --config"
            ) from error
    given = {
        f"{key}={json.dumps(value)}": f"{_FLAGS.get(key, key)} {value}"
        for key, value in flags.items()
        if value is not None
    }
    fraction, kind = flags.get("attack.fraction"), flags.get("attack.kind")
    where = str(file) if file else "config"
    config = load(text, [*(sets or []), *given], where=where, flags=given, teacher_follows=teacher_follows)
    if fraction and kind is None and config.attack.kind == "none":
        raise ConfigError(
            "--byzantine-fraction without an attack does nothing",
            found=f"--byzantine-fraction {fraction}",
            fix="choose an attack with --byzantine-attack scale, sign_flip or noise",
        )
    return config


def print_result(result: Any, *, as_json: bool) -> None:
    """Prints the result as JSON where that is asked for; people were told already."""
    if as_json:
        print(json.dumps(result, indent=2, sort_keys=True, default=str))

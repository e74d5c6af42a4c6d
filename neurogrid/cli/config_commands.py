"""`neurogrid config`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from neurogrid.cli import show
from neurogrid.cli.options import ConfigFile, Json, Sets, load_config, print_result
from neurogrid.config import Config

config_app = typer.Typer(help="Show, describe or check the config.", no_args_is_help=True)


@config_app.command("show")
def config_show(config: ConfigFile = None, sets: Sets = None, as_json: Json = False) -> None:
    """Show the config that would be used, defaults included, as YAML."""
    from neurogrid.config import to_yaml  # noqa: PLC0415

    used = load_config(config, sets, {})
    print_result(used.model_dump(mode="json"), as_json=as_json)
    if not as_json:
        print(to_yaml(used), end="")


@config_app.command("schema")
def config_schema(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Schema instead of Markdown.")] = False,
) -> None:
    """List every key with its default, unit and meaning."""
    from neurogrid.cli.reference import reference  # noqa: PLC0415

    print(json.dumps(Config.model_json_schema(), indent=2) if as_json else reference(), end="")


@config_app.command("validate")
def config_validate(
    config: Annotated[Path, typer.Option("--config", "-c", help="The YAML config to check.")],
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Check a config. All problems are listed at once."""
    load_config(config, sets, {})
    show.say(f"{config} is valid")
    print_result({"path": str(config), "usable": True}, as_json=as_json)

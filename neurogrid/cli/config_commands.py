"""`neurogrid config`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from neurogrid.cli import show
from neurogrid.cli.options import ConfigFile, Sets, load_config
from neurogrid.config import Config

config_app = typer.Typer(help="Show, describe or check the config.", no_args_is_help=True)


@config_app.command("show")
def config_show(config: ConfigFile = None, sets: Sets = None) -> None:
    """The whole config as it would be used, as YAML."""
    from neurogrid.config import to_yaml  # noqa: PLC0415

    print(to_yaml(load_config(config, sets, {})), end="")


@config_app.command("schema")
def config_schema(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON Schema instead of Markdown.")] = False,
) -> None:
    """Every key with its default, unit and meaning."""
    from neurogrid.cli.reference import reference  # noqa: PLC0415

    print(json.dumps(Config.model_json_schema(), indent=2) if as_json else reference(), end="")


@config_app.command("validate")
def config_validate(config: Annotated[Path, typer.Argument(help="YAML config.")], sets: Sets = None) -> None:
    """Check a config; says what is wrong with it, all at once."""
    load_config(config, sets, {})
    show.say(f"{config} can be used")

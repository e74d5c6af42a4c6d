"""`neurogrid synth` and `neurogrid fetch`: where raw readings come from when nobody has put them there."""

from pathlib import Path
from typing import Annotated

import typer

from neurogrid.cli import show
from neurogrid.cli.options import Json, print_result
from neurogrid.errors import UsageError
from neurogrid.plural import plural

Folder = Annotated[Path, typer.Argument(help="Folder to write to. It must be empty or not exist.")]
IfMissing = Annotated[bool, typer.Option("--if-missing", help="Succeed without changes if the folder already exists.")]


def synth(
    folder: Folder,
    households: Annotated[int, typer.Option(min=1, help="Number of households.")] = 24,
    stations: Annotated[int, typer.Option(min=1, help="Number of weather stations.")] = 3,
    days: Annotated[int, typer.Option(min=2, help="Number of days.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 1,
    if_missing: IfMissing = False,
    as_json: Json = False,
) -> None:
    """Generate made-up readings in the HEAPO layout, with realistic faults."""
    from neurogrid.data.fetch import whole  # noqa: PLC0415 - --help must not wait for Arrow
    from neurogrid.data.synthetic import SyntheticSettings, make_heapo  # noqa: PLC0415

    if not _is_there(folder, if_missing):
        settings = SyntheticSettings(households=households, stations=stations, days=days, seed=seed)
        with show.console.status("  making readings"):
            whole(folder, lambda part: make_heapo(part, settings))
        show.facts(
            [
                (
                    "made",
                    f"{plural(households, 'household')}, {plural(stations, 'weather station')}, {plural(days, 'day')}",
                )
            ]
        )
        show.facts([("in", str(folder))])
    print_result({"path": str(folder), "households": households}, as_json=as_json)


def fetch(
    folder: Folder,
    urls: Annotated[
        list[str], typer.Argument(help="http(s) or s3 URLs of files or archives. A #sha256=... at the end is checked.")
    ],
    if_missing: IfMissing = False,
    unpack_limit_gb: Annotated[float, typer.Option(min=0, help="Most that one archive may unpack to, GB.")] = 100.0,
    as_json: Json = False,
) -> None:
    """Download raw readings into a folder and unpack them."""
    from neurogrid.data.fetch import download, whole  # noqa: PLC0415

    names: list[str] = []
    if not _is_there(folder, if_missing):
        with show.console.status("  fetching readings"):
            whole(folder, lambda part: names.extend(download(urls, part, int(unpack_limit_gb * 1e9))))
        show.facts([("fetched", f"{plural(len(names), 'file')} into {folder}")])
    print_result({"path": str(folder), "files": names}, as_json=as_json)


def _is_there(folder: Path, if_missing: bool) -> bool:
    """Whether there is nothing to do; raises UsageError where something is in the way."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if if_missing and folder.is_dir():
        show.say(f"  {folder} already exists: nothing to do")
        return True
    raise UsageError(f"cannot write to {folder}", found="it exists and is not empty", fix="name another folder")

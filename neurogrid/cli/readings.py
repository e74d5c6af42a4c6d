"""`neurogrid synth` and `neurogrid fetch`: where raw readings come from when nobody has put them there."""

from pathlib import Path
from typing import Annotated

import typer

from neurogrid.cli import show
from neurogrid.cli.options import Json, print_result
from neurogrid.errors import UsageError

Folder = Annotated[Path, typer.Argument(help="Where to write it; must not exist or be empty.")]
IfMissing = Annotated[bool, typer.Option("--if-missing", help="Leave a folder that is there as it is, and be content.")]


def synth(
    folder: Folder,
    households: Annotated[int, typer.Option(min=1, help="Number of households.")] = 24,
    stations: Annotated[int, typer.Option(min=1, help="Number of weather stations.")] = 3,
    days: Annotated[int, typer.Option(min=2, help="Number of days.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 1,
    if_missing: IfMissing = False,
    as_json: Json = False,
) -> None:
    """Make a small HEAPO-shaped data set, faults included."""
    from neurogrid.data.fetch import whole  # noqa: PLC0415 - --help must not wait for Arrow
    from neurogrid.data.synthetic import SyntheticSettings, make_heapo  # noqa: PLC0415

    if not _is_there(folder, if_missing):
        settings = SyntheticSettings(households=households, stations=stations, days=days, seed=seed)
        with show.console.status("  making readings"):
            whole(folder, lambda part: make_heapo(part, settings))
        show.facts([("made", f"{households} households, {stations} weather stations, {days} days in {folder}")])
    print_result({"path": str(folder), "households": households}, as_json=as_json)


def fetch(
    folder: Folder,
    urls: Annotated[
        list[str], typer.Argument(help="http(s) or s3 URLs of files and archives; #sha256=... at the end is checked.")
    ],
    if_missing: IfMissing = False,
    as_json: Json = False,
) -> None:
    """Download raw readings into a folder and unpack them."""
    from neurogrid.data.fetch import download, whole  # noqa: PLC0415

    names: list[str] = []
    if not _is_there(folder, if_missing):
        with show.console.status("  fetching readings"):
            whole(folder, lambda part: names.extend(download(urls, part)))
        show.facts([("fetched", f"{len(names)} files into {folder}")])
    print_result({"path": str(folder), "files": names}, as_json=as_json)


def _is_there(folder: Path, if_missing: bool) -> bool:
    """Whether there is nothing to do; raises UsageError where something is in the way."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if if_missing and folder.is_dir():
        show.say(f"  {folder} is there already")
        return True
    raise UsageError(f"{folder} is in the way", found="it exists and is not empty", fix="name another folder")

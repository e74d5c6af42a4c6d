"""Which layout a folder's files are of, told by what stands in them, and why; a wrong folder is refused in words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyarrow import fs

from neurogrid.data.faults import Fault
from neurogrid.data.folder import NOT_READINGS, candidates, no_readings
from neurogrid.data.layouts.builtin import BUILT_IN
from neurogrid.data.layouts.declaration import Declaration
from neurogrid.data.layouts.formats import FORMATS
from neurogrid.data.layouts.households import LAYOUTS_PAGE
from neurogrid.data.layouts.pieces import first_bytes
from neurogrid.data.layouts.registry import SOURCES
from neurogrid.data.layouts.table import check_columns, header, households_across
from neurogrid.data.readings import Header, UnusableFileError, cells_of
from neurogrid.errors import InputError
from neurogrid.storage import Place

LOOKED_AT = 20
"""Files of which one has to be of a layout: some may be empty, broken or of another kind."""
FOLDERS = 20
"""Folders below the one that was given in which data may lie."""
_BEGINNING = 1 << 16


@dataclass(frozen=True)
class Match:
    """How a file compares with a layout.

    Attributes:
        layout: name of the layout.
        why: what tells that it is; empty if it is not.
        has, lacks: columns of the layout.
    """

    layout: str
    why: str
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


class Beginnings:
    """The first bytes of files, each read once however many layouts it is compared with."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str], bytes | UnusableFileError] = {}

    def of(self, file: Place, encoding: str) -> bytes:
        """A file's beginning in UTF-8; raises UnusableFileError."""
        key = (file.path, encoding)
        if key not in self._read:
            try:
                self._read[key] = first_bytes(file, encoding, _BEGINNING)
            except UnusableFileError as error:
                self._read[key] = error
        found = self._read[key]
        if isinstance(found, UnusableFileError):
            raise found
        return found


def match(file: Place, declaration: Declaration, beginnings: Beginnings) -> Match:
    """Compares a file's beginning with a layout; a file that cannot be read is none of it."""
    try:
        beginning = beginnings.of(file, declaration.encoding)
        if declaration.format != "csv":
            return Match(declaration.name, FORMATS[declaration.format].is_it(beginning[:4096], file.name))
        found = header(beginning, declaration)
    except UnusableFileError:
        return Match(declaration.name, "")
    names = {name.casefold() for name in found.names}
    has = tuple(name for name in declaration.columns if name.strip().casefold() in names)
    lacks = tuple(name for name in declaration.columns if name not in has)
    try:
        check_columns(found, declaration)
    except UnusableFileError:
        return Match(declaration.name, "", has, lacks)
    if declaration.names_like and not _named_alike(found, declaration):
        return Match(declaration.name, "", has, lacks)
    if not _is_of_shape(file, beginning, found, declaration):
        return Match(declaration.name, "", has, lacks)
    return Match(declaration.name, _why(found, declaration), has)


def _why(found: Header, declaration: Declaration) -> str:
    if declaration.shape == "wide":
        first, *others = households_across(found, declaration)
        return f"columns {first} and {len(others)} more, each a household"
    return f"columns {', '.join(declaration.columns)}"


def _named_alike(found: Header, declaration: Declaration) -> bool:
    names = households_across(found, declaration)
    return bool(names) and all(re.fullmatch(declaration.names_like, name) for name in names)


def _is_of_shape(file: Place, beginning: bytes, found: Header, declaration: Declaration) -> bool:
    """Of two layouts with the same columns: whether the file's name is the household of its first row."""
    twins = [other for other in BUILT_IN if other.name == declaration.name and other.shape != declaration.shape]
    if declaration not in BUILT_IN or not twins:
        return True
    lines = [line for line in beginning.decode("utf-8", "replace").splitlines() if line.strip()]
    cells = cells_of(lines[1], declaration.separator) if len(lines) > 1 else ()
    at = found.position(declaration.household, declaration.separator)
    own = len(cells) <= at or file.name.split(".")[0] == cells[at]
    return own == (declaration.shape == "household")


def where_is(kind: str, root: Place, exclude: Sequence[str], generic: Declaration | None) -> tuple[Place, Declaration]:
    """The data set's folder and its layout.

    Args:
        kind: name of a layout, `generic`, or `auto`.
        root: the folder, or the one above it.
        exclude: patterns of names to leave out.
        generic: the user's own declaration.

    Raises:
        InputError: it is no folder, no such data is there, or data of several layouts.
    """
    names = (*SOURCES.names(), "generic", "auto")
    if kind not in names:
        raise InputError(
            f'etl: no source of kind "{kind}"', found=f'kind "{kind}"', fix=f"kinds are {', '.join(names)}"
        )
    if root.filesystem.get_file_info(root.path).type != fs.FileType.Directory:
        raise InputError(
            f"etl: {root} is not a folder",
            found="a file" if root.exists() else "nothing there",
            fix="give the data's folder with --data-dir",
        )
    if kind == "generic":
        if generic is None:
            raise InputError("etl: source.kind generic needs a declaration", fix="write it in source.generic")
        return root, generic
    if kind == "auto":
        wanted = [*BUILT_IN]
    else:
        spec = SOURCES.find(kind)
        wanted = [replace(own, name=kind, about=own.about or spec.words) for own in spec.load()]
    beginnings = Beginnings()
    found = _found([root], wanted, exclude, beginnings)
    if not found:
        below = [child for child in root.children() if not child.name.startswith(".") and child.is_folder()]
        found = _found(below[:FOLDERS], wanted, exclude, beginnings)
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"etl: {root} holds several data sets",
            found=", ".join(f"{declaration.name} in {place}" for place, declaration in found),
            fix="choose one with source.kind, or give its folder with --data-dir",
        )
    raise _unknown(kind, root, wanted, exclude, beginnings)


def _found(
    places: Sequence[Place], wanted: Sequence[Declaration], exclude: Sequence[str], beginnings: Beginnings
) -> list[tuple[Place, Declaration]]:
    """The layouts that are there, each once a place."""
    found: dict[tuple[str, str], tuple[Place, Declaration]] = {}
    for place in places:
        for declaration in wanted:
            if (place.path, declaration.name) not in found and _is_there(place, declaration, exclude, beginnings):
                found[place.path, declaration.name] = place, declaration
    return list(found.values())


def _is_there(folder: Place, declaration: Declaration, exclude: Sequence[str], beginnings: Beginnings) -> bool:
    if declaration.households is not None:
        return (folder / declaration.folder).exists() and (folder / declaration.households.path).exists()
    files = candidates(folder / declaration.folder if declaration.folder else folder, declaration, exclude)
    return any(match(file, declaration, beginnings).why for file in files[:LOOKED_AT])


def refuse_unlike(folder: Place, declaration: Declaration, exclude: Sequence[str]) -> None:
    """Raises InputError where each file of a folder that is looked at lacks a column of the layout."""
    if declaration.format != "csv":
        return
    reasons = []
    for file in candidates(folder, declaration, exclude)[:LOOKED_AT]:
        try:
            check_columns(header(first_bytes(file, declaration.encoding, _BEGINNING), declaration), declaration)
        except UnusableFileError as error:
            if error.fault not in (Fault.MISSING_COLUMN, Fault.AMBIGUOUS_COLUMN):
                return
            reasons.append(f"{file.name}: {error.fault}: {error.text}")
        else:
            return
    if reasons:
        raise InputError(
            f"etl: no file in {folder} has the columns of {declaration.name}",
            found="; ".join(reasons[:2]),
            fix=f"it needs {', '.join(map(repr, declaration.columns))}, separated by '{declaration.separator}'; "
            f"an example is at {LAYOUTS_PAGE}",
        )


def _unknown(
    kind: str, root: Place, wanted: Sequence[Declaration], exclude: Sequence[str], beginnings: Beginnings
) -> InputError:
    """What was looked for, and the layout that comes nearest."""
    names = [child.name for child in root.children()]
    found = f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "an empty folder"
    best: tuple[float, str] = (0.0, "")
    for declaration in wanted:
        for file in candidates(root, declaration, exclude)[:LOOKED_AT]:
            own = match(file, declaration, beginnings)
            share = len(own.has) / max(len(declaration.columns), 1)
            if own.lacks and share > best[0]:
                text = f"{file.name} has {' and '.join(own.has)} of {own.layout}, lacks {', '.join(own.lacks)}"
                best = share, text
    unread = {name: rule for name in names if (rule := no_readings(name)) != NOT_READINGS}
    found += "".join(f"; {name} is passed over, {rule}" for name, rule in list(unread.items())[:2])
    tables = [declaration for declaration in wanted if declaration.format == "csv"]
    formats = [declaration.name for declaration in wanted if declaration.format != "csv"]
    needs = [*dict.fromkeys(map(_needs, tables))]
    needs += [f"{', '.join(formats)}: files of that format"] if formats else []
    what = "known meter data" if kind == "auto" else f"meter data of kind {kind}"
    return InputError(
        f"etl: {root} does not hold {what}",
        found=f"{found}; {best[1]}" if best[1] else found,
        fix=f"for tables of your own, `neurogrid source new {root}` writes a declaration to check; layouts that are "
        f"known: {'; '.join(needs)}; examples are at {LAYOUTS_PAGE}",
    )


def _needs(declaration: Declaration) -> str:
    if declaration.households is not None:
        where = f"{declaration.folder}/<{declaration.household}>.csv"
        return f"{declaration.name} needs {declaration.households.path} and {where}"
    if declaration.shape == "wide":
        return f"{declaration.name} needs columns named like {declaration.names_like}"
    return f"{declaration.name} needs the columns {', '.join(declaration.columns)}"

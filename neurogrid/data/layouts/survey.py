"""A declaration for a strange folder of tables, guessed from what its files look like, for a person to check."""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from neurogrid.data.folder import candidates
from neurogrid.data.layouts.declaration import Declaration, Quality, Shape
from neurogrid.data.layouts.guesses import Column, Times, column_of, times_of
from neurogrid.data.layouts.pieces import first_bytes
from neurogrid.data.readings import UnusableFileError
from neurogrid.data.registers import is_register
from neurogrid.errors import InputError
from neurogrid.storage import Place

SEPARATORS = (";", "\t", "|", ",")
"""Of two that fit alike the first: a decimal comma looks like a separator."""
_LINES = 2000
_FILES = 5
_ID = re.compile(
    r"id\b|_id|lclid|meter|house|customer|client|zae?hl|z.hl|nmi|mpan|mprn|point|site|serial|device|user", re.I
)
_ENERGY = re.compile(
    r"wh\b|kw|energ|verbrauch|consum|load|usage|bezug|import|supply|value|wert|power|leistung|received", re.I
)
_EXPORT = re.compile(r"export|einspeis|feed|generat|return|lieferung|sent|produ", re.I)
_QUALITY = re.compile(r"qual|status|flag|valid", re.I)
_UNIT = re.compile(r"(?<![A-Za-z])(MWh|kWh|Wh|MW|kW|W)(?![A-Za-z])|(?i:kwh)|(?i:mwh)|(?<![A-Za-z])(?i:kw)(?![A-Za-z])")
_PLAUSIBLE_KW = 20.0
"""A household's mean power is hardly ever more, so larger values are Wh or W."""
_SHORT_CODE, _MOST_CODES = 12, 8
_UNIQUE = 0.98


@dataclass(frozen=True)
class Survey:
    """What a folder's tables look like.

    Attributes:
        folder: of the files.
        declaration: guessed.
        notes: why, or what to check, by the declaration's field; "please check" where it is a guess.
    """

    folder: Place
    declaration: Declaration
    notes: Mapping[str, str]


@dataclass
class _Table:
    """A file's beginning, taken apart."""

    stem: str
    encoding: str
    separator: str
    skip_lines: int
    names: list[str]
    header: bool
    columns: list[Column] = field(default_factory=list)


def survey(root: Place) -> Survey:
    """Looks at the first files of a folder, or of the one below it that has most.

    Raises:
        InputError: there is no table in it.
    """
    refusal = InputError(
        f"source new: no table in {root}",
        found=", ".join(child.name for child in root.children()[:8]) or "an empty folder",
        fix="name a folder with .csv or .txt files, plain or packed, whose lines have the same number of cells",
    )
    for folder in _folders_of_tables(root):
        tables = [table for file in candidates(folder, Declaration(""), ())[:_FILES] if (table := _table(file))]
        if tables:
            try:
                return _declare(folder, tables)
            except InputError as error:
                refusal = error
    raise refusal


def _folders_of_tables(root: Place) -> list[Place]:
    """The folder itself if it has files, or those of the two levels below it, the one with most files first."""
    below = [child for child in root.children() if child.is_folder()][:50]
    below += [inner for child in below for inner in child.children()[:50] if inner.is_folder()]
    count = {str(place): len(candidates(place, Declaration(""), ())) for place in (root, *below)}
    if count[str(root)]:
        return [root]
    return sorted((place for place in below if count[str(place)]), key=lambda place: -count[str(place)])


def _table(file: Place) -> _Table | None:
    try:
        raw = first_bytes(file, "utf-8")
    except UnusableFileError:
        return None
    encoding = _encoding(raw)
    text = raw.decode("utf-8-sig" if encoding == "utf-8" else encoding, "replace")
    lines = text.splitlines()[:_LINES]
    if len(text) >= len(raw) // 4 and len(lines) > 1 and len(lines) < _LINES:
        lines = lines[:-1]  # it may be cut
    best: tuple[float, int, str] = (0.0, 1, "")
    for separator in SEPARATORS:
        widths = Counter(len(cells) for cells in _cells(lines, separator))
        width, times = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        score = (round(times / max(len(lines), 1), 1), width)
        if width > 1 and score > best[:2]:
            best = (*score, separator)
    if not best[2] or best[0] < 0.5:
        return None
    separator, width = best[2], best[1]
    rows = _cells(lines, separator)
    skip = next(at for at, cells in enumerate(rows) if len(cells) == width)
    body = [cells for cells in rows[skip:] if len(cells) == width]
    header = not any(_is_datum(cell) for cell in body[0])
    names = [cell.strip() for cell in body[0]] if header else [str(at + 1) for at in range(width)]
    if header:
        body = body[1:]
    if not body:
        return None
    columns = [column_of(name, [cells[at].strip() for cells in body]) for at, name in enumerate(names)]
    return _Table(file.name.split(".")[0], encoding, separator, skip, names, header, columns)


def _encoding(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        raw[:-4].decode("utf-8")
    except UnicodeDecodeError as error:
        return "utf-8" if error.start >= len(raw) - 8 else "cp1252"
    return "utf-8"


def _cells(lines: Sequence[str], separator: str) -> list[list[str]]:
    try:
        return list(csv.reader((line for line in lines if line.strip()), delimiter=separator))
    except csv.Error:
        return []


def _is_datum(cell: str) -> bool:
    return bool(re.fullmatch(r"\s*[-+]?[\d.,:/TZ +-]*\d[\d.,:/TZ +-]*\s*", cell))


def _declare(folder: Place, tables: Sequence[_Table]) -> Survey:
    first = tables[0]
    notes: dict[str, str] = {"encoding": "please check" if first.encoding == "cp1252" else ""}
    times = times_of(first.columns)
    if times is None:
        raise InputError(
            f"source new: no column of {first.stem} looks like a time",
            found=", ".join(f"{column.name} = {column.texts[0]}" for column in first.columns[:6]),
            fix="give each row a date and a time of day, then try again",
        )
    notes["time"], notes["time_format"] = "", times.note
    notes["time_zone"] = _zone_note(times)
    others = [column for column in first.columns if column.name not in times.columns]
    numbers = [column for column in others if column.is_number]
    decimal = "," if any(column.decimal == "," for column in numbers) else "."
    made = Declaration(
        name="generic",
        separator=first.separator,
        encoding=first.encoding,
        decimal="," if decimal == "," else ".",
        header=first.header,
        skip_lines=first.skip_lines,
        time=times.columns,
        time_format=times.pattern,
        zone="" if times.has_offset else "UTC",
    )
    ids = _household(others, times, tables)
    if ids is None and len(numbers) > 2 and not any(_ENERGY.search(column.name) for column in numbers):
        made = replace(made, shape="wide", not_households=tuple(c.name for c in others if not c.is_number))
        notes["shape"] = "each column but the time is taken for a household: please check"
        values = numbers[0]
        own = np.ones(len(values.texts), bool)
    else:
        made, values, own = _long(made, others, numbers, ids, tables, notes)
    return _measured(folder, made, times, values, own, notes)


def _zone_note(times: Times) -> str:
    if times.has_offset:
        return "each time has its own offset"
    return "please check: UTC, an offset like +01:00, or the households' zone (Europe/Zurich) if times are local"


def _long(
    made: Declaration,
    others: Sequence[Column],
    numbers: Sequence[Column],
    ids: Column | None,
    tables: Sequence[_Table],
    notes: dict[str, str],
) -> tuple[Declaration, Column, np.ndarray]:
    """A table with a column of values, and perhaps one of households and one of codes."""
    usable = [column for column in numbers if ids is None or column.name != ids.name]
    exports = [column for column in usable if _EXPORT.search(column.name)]
    energy = [column for column in usable if _ENERGY.search(column.name) and column not in exports]
    energy = energy or [column for column in usable if column not in exports and column.varies]
    if not energy:
        raise InputError(
            f"source new: no column of {tables[0].stem} looks like energy or power",
            found=", ".join(f"{column.name} = {column.texts[0]}" for column in others[:6]),
            fix="give each row a number, then try again",
        )
    notes["energy"] = "" if len(energy) == 1 and _ENERGY.search(energy[0].name) else "please check"
    if len(energy) > 1:
        more = ", ".join(column.name for column in energy[1:6])
        notes["energy"] = f"please check: other columns of numbers are {more}; name several to sum them"
    quality = next((column for column in others if _is_quality(column) and column is not ids), None)
    if exports:
        notes["export"] = "please check; etl.net_meters says what is used"
    made = replace(
        made,
        shape=_shape(ids, tables),
        household=ids.name if ids else "",
        energy=(energy[0].name,),
        export=tuple(column.name for column in exports[:1]),
        quality=_codes(quality) if quality else None,
    )
    notes["household"] = "please check" if ids else "the file's name"
    if made.shape == "household":
        notes["shape"] = "each file is a household: please check"
    if quality:
        notes["quality"] = "please check what each code means; a code that is not named is a fault"
    own = np.array([text == ids.texts[0] for text in ids.texts]) if ids else np.ones(len(energy[0].texts), bool)
    return made, energy[0], own


def _household(others: Sequence[Column], times: Times, tables: Sequence[_Table]) -> Column | None:
    """The column that looks like ids: named so, the same as the file's name, or what tells equal times apart."""
    stems = {table.stem for table in tables}
    for column in others:
        if set(column.texts) <= stems:
            return column
    named = [column for column in others if _ID.search(column.name) and column.decimal == "" and column.is_repeated]
    apart = [column for column in others if column.decimal == "" and _tells_apart(column, times)]
    return next(iter([*named, *sorted(apart, key=lambda column: len(set(column.texts)))]), None)


def _tells_apart(column: Column, times: Times) -> bool:
    """Whether times that stand in several rows have another value of the column in each."""
    rows, own = len(column.texts), len(set(column.texts))
    if len(set(times.us.tolist())) > rows / 2 or not 1 < own <= rows / 2 or _ENERGY.search(column.name):
        return False
    return len(set(zip(times.us.tolist(), column.texts, strict=True))) >= rows * _UNIQUE


def _shape(ids: Column | None, tables: Sequence[_Table]) -> Shape:
    if ids is None:
        return "household"
    for table in tables:
        own = next((column for column in table.columns if column.name == ids.name), None)
        if own is None or set(own.texts) != {table.stem}:
            return "long"
    return "household"


def _is_quality(column: Column) -> bool:
    codes = set(column.texts)
    return bool(
        _QUALITY.search(column.name) and len(codes) <= _MOST_CODES and all(len(code) <= _SHORT_CODE for code in codes)
    )


def _codes(column: Column) -> Quality:
    """The most frequent code is good; others that begin like `estimated`, `substituted` or `final` are estimated."""
    (good, _), *others = Counter(column.texts).most_common()
    estimated = tuple(code for code, _ in others if code[:1].upper() in ("E", "S", "F", "G"))
    return Quality(column.name, (good,), estimated, tuple(code for code, _ in others if code not in estimated))


def _measured(
    folder: Place, made: Declaration, times: Times, values: Column, own: np.ndarray, notes: dict[str, str]
) -> Survey:
    """With what the first household's own rows tell: cadence, unit, register."""
    us = times.us[own]
    steps = np.diff(np.sort(us)) // 60_000_000
    steps = steps[steps > 0]
    cadence = int(np.bincount(np.minimum(steps, 1440)).argmax()) if len(steps) else 15
    notes["cadence_minutes"] = "please check" if not 1 <= cadence <= 60 else ""
    kwh = values.numbers[own][np.argsort(us, kind="stable")]
    finite = kwh[np.isfinite(kwh)]
    register = is_register(kwh)
    notes["holds"] = "please check: values hardly ever fall" if register else ""
    found = _UNIT.search(values.name) if made.shape != "wide" else None
    hours = min(max(cadence, 1), 60) / 60
    if found:
        unit = {"kwh": "kWh", "mwh": "MWh", "kw": "kW"}.get(found[0].lower(), found[0])
        notes["unit"] = "by the column's name"
    else:
        unit = "Wh" if len(finite) and not register and float(finite.mean()) / hours > _PLAUSIBLE_KW else "kWh"
        mean = f"{float(finite.mean()):.3g}" if len(finite) else "nothing"
        notes["unit"] = f"please check: the mean value is {mean}; Wh, kWh, MWh, or W, kW, MW for power"
    notes["label"] = "please check: whether a time names the start or the end of its slot cannot be seen"
    cadence = cadence if 1 <= cadence <= 60 else 15
    return Survey(folder, replace(made, cadence_minutes=cadence, unit=unit, register=register), notes)

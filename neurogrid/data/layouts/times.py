"""Times as text to moments, whole columns at once, strictly: no 30 February, no year 23, nothing behind the time.

Arrow's own reader of ISO times is as strict; its `strptime` is not, so patterns are taken apart here.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

DAY_US = 86_400_000_000
FIRST_US, LAST_US = 631_152_000_000_000, 4_102_444_800_000_000
"""1990 and 2100: no reading is of another time."""
PARTS = {
    "%Y": r"(?P<Y>\d{4})",
    "%y": r"(?P<y>\d{2})",
    "%m": r"(?P<m>\d{1,2})",
    "%d": r"(?P<d>\d{1,2})",
    "%b": r"(?P<b>[A-Za-z]{3})",
    "%H": r"(?P<H>\d{1,2})",
    "%I": r"(?P<I>\d{1,2})",
    "%M": r"(?P<M>\d{2})",
    "%S": r"(?P<S>\d{2})",
    "%f": r"(?P<f>\d{1,9})",
    "%p": r"(?P<p>[AaPp][Mm])",
    "%z": r"(?P<z>Z|[+-]\d{2}:?\d{2})",
    "%%": "%",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True)
class Moments:
    """A column of times.

    Attributes:
        us: (n,) microseconds since 1970, by the text's own clock, or UTC where it has an offset.
        good: (n,) whether the text is a time of the pattern.
        hour_24: (n,) whether it was 24:00, taken as 00:00 of the next day.
    """

    us: npt.NDArray[np.int64]
    good: npt.NDArray[np.bool_]
    hour_24: npt.NDArray[np.bool_]


def pattern_regex(pattern: str) -> str:
    """A pattern like `%d.%m.%Y %H:%M` as a regular expression over a whole text.

    Raises:
        ValueError: a part is unknown, stands twice, or no date and time come out of it.
    """
    pieces, seen = [], []
    for piece in re.split(r"(%.)", pattern):
        if piece.startswith("%") and piece not in PARTS:
            raise ValueError(f"{piece} is not known; known are {' '.join(PARTS)}")
        if piece in seen:
            raise ValueError(f"{piece} stands twice")
        if piece.startswith("%") and piece != "%%":
            seen.append(piece)
        pieces.append(PARTS.get(piece) or re.escape(piece))
    for one, other in (("%Y", "%y"), ("%m", "%b"), ("%d", ""), ("%H", "%I")):
        if (one in seen) + (other in seen) != 1:
            raise ValueError(f"it needs {one}{f' or {other}, not both' if other else ''}")
    if ("%I" in seen) != ("%p" in seen):
        raise ValueError("%I and %p need each other")
    return f"^{''.join(pieces)}$"


def by_pattern(texts: pa.Array, pattern: str) -> Moments:
    """Texts by a pattern; a text that is null is not good."""
    found = pc.extract_regex(pc.utf8_trim_whitespace(texts), pattern_regex(pattern))
    good = np.asarray(found.is_valid().to_numpy(zero_copy_only=False), bool)
    fields = {field.name: found.field(field.name) for field in found.type}

    def number(name: str, absent: int = 0) -> npt.NDArray[np.int64]:
        if name not in fields:
            return np.full(len(texts), absent, np.int64)
        digits = pc.if_else(pa.array(good), fields[name], "0")
        return np.asarray(digits.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)

    def text(name: str) -> list[str]:
        return [(word or "").lower() for word in fields[name].to_pylist()]

    year = number("Y") if "Y" in fields else 2000 + number("y")
    month = number("m")
    if "b" in fields:
        month = np.array([MONTHS.index(word) + 1 if word in MONTHS else 0 for word in text("b")], np.int64)
    day, hour, minute, second = number("d"), number("H"), number("M"), number("S")
    if "I" in fields:
        twelfth = number("I")
        good &= (twelfth >= 1) & (twelfth <= 12)
        hour = twelfth % 12 + 12 * np.array([word == "pm" for word in text("p")], np.int64)
    fraction = np.zeros(len(texts), np.int64)
    if "f" in fields:
        fraction = np.array([int((word or "0")[:6].ljust(6, "0")) for word in fields["f"].to_pylist()], np.int64)
    hour_24 = (hour == 24) & (minute == 0) & (second == 0) & (fraction == 0)
    good &= (year >= 1900) & (month >= 1) & (month <= 12) & (day >= 1)
    good &= ((hour < 24) | hour_24) & (minute < 60) & (second < 60)
    safe_month = np.where(good, (year - 1970) * 12 + month - 1, 0)
    months = safe_month.astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[D]").astype(np.int64)
    good &= day <= after - first
    seconds = ((first + day - 1) * 24 + hour) * 3600 + minute * 60 + second
    us = seconds * 1_000_000 + fraction
    if "z" in fields:
        us -= np.array([_offset_us(word) for word in fields["z"].to_pylist()], np.int64)
    return Moments(np.where(good, us, 0), good, hour_24 & good)


def _offset_us(text: str | None) -> int:
    if not text or text == "Z":
        return 0
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return (1 if text[0] == "+" else -1) * minutes * 60_000_000


def unix(texts: pa.Array, *, us: int) -> Moments:
    """Whole numbers of `us` microseconds each since 1970."""
    trimmed = pc.utf8_trim_whitespace(texts)
    digits_regex = rf"^\d{{1,{17 - len(str(us))}}}$"  # more would overflow
    good = np.asarray(pc.match_substring_regex(trimmed, digits_regex).fill_null(False).to_numpy(False), bool)
    digits = pc.if_else(pa.array(good), trimmed, "0")
    return Moments(
        np.asarray(digits.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64) * us,
        good,
        np.zeros(len(texts), bool),
    )

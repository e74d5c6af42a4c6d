"""Logs of the P1 port: telegrams of smart meters in the Netherlands, Belgium and Luxembourg, one after the other.

Read about the format: Netbeheer Nederland, "Dutch Smart Meter Requirements, P1 Companion Standard" (versions 4 and 5),
and Fluvius' e-MUCS_P1 for Belgium. In short: a telegram begins with `/`, holds lines such as
`1-0:1.8.1(000123.456*kWh)`, and ends with `!` and, from version 4 on, a CRC16 of all that is before it.

    0-0:1.0.0    when, on the clock on the wall, with W (winter, UTC+1) or S (summer, UTC+2)
    1-0:1.8.1    register of energy drawn, tariff 1 (and .2, .3, .4); 1-0:1.8.0 their sum, where those lack
    1-0:2.8.1    the same for energy fed in
    0-0:96.1.1   the meter's number in hexadecimal digits, taken as the household

Telegrams come every second or every ten: of each quarter hour the first within a minute of its beginning is taken as
the state at its beginning. The others are counted as passed over; their checksums are not looked at.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from neurogrid.data.faults import Fault, FaultLog
from neurogrid.data.layouts import text
from neurogrid.data.layouts.blocks import MINUTE_US, SECOND_US, Block
from neurogrid.data.readings import UnusableFileError

NAME = "p1"
ENDS = False
LABELS = "utc"
REGISTER = True
MINUTES = 15

NEAR_US = MINUTE_US
LONGEST_TELEGRAM = 1_000
"""Lines; a telegram has some 30, and Belgian ones with a year of peaks fewer than 100."""
FACTORS = {"": 0.001, "k": 1.0, "m": 1000.0}
"""To kWh, by what stands before Wh."""
_STAMP = re.compile(r"0-0:1\.0\.0(?:\.255)?\((\d{12})([SW]?)\)", re.ASCII)
_REGISTER = re.compile(r"1-\d:([12])\.8\.([0-4])(?:\.255)?\(([^()]*)\)", re.ASCII)
_NUMBER = re.compile(r"0-0:(?:96\.1\.1|96\.1\.0|42\.0\.0)(?:\.255)?\(([0-9A-Fa-f]{2,96})\)", re.ASCII)
_VALUE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\*(k|M)?Wh", re.ASCII | re.IGNORECASE)


def is_it(beginning: bytes, name: str) -> str:
    """Why a file is a log of telegrams; empty where it is not."""
    found = re.search(rb"1-\d:1\.8\.\d(\.255)?\([\d.]+\*[kM]?Wh\)", beginning)
    if found and re.search(rb"(^|\n)/[A-Za-z]{3}\d", beginning):
        return f"it has a telegram with {found[0].decode('ascii', 'replace')}"
    return ""


def rows(stream: BinaryIO, name: str, faults: FaultLog) -> Iterator[pa.Table]:
    """States of the registers at quarter hours, as tables of ROWS.

    Raises:
        UnusableFileError: no telegrams, or none with a time near a quarter hour.
    """
    block, meters, telegrams = Block(), _Meters(text.stem(name), faults), 0
    for telegram in _telegrams(stream, faults):
        telegrams += 1
        meters.take(telegram, block)
        if block.full:
            yield block.table()
    if not telegrams:
        raise UnusableFileError(
            Fault.UNREADABLE_FILE,
            f"no P1 telegram in {name}; wanted are lines from /XXX5... to !, with 1-0:1.8.1(...*kWh)",
        )
    if not meters.taken:
        raise UnusableFileError(
            Fault.NO_READINGS,
            f"{telegrams:,} telegrams, of which none has a time (0-0:1.0.0, DSMR 4 and later) within a minute after a "
            "quarter hour, registers and a checksum that is right; "
            + (faults.cause() or "log one at least each minute"),
        )
    if len(block):
        yield block.table()


@dataclass
class Telegram:
    """One telegram: its lines with their numbers, and the four digits after its end (empty before version 4)."""

    lines: list[tuple[int, str]]
    checksum: str = ""


def _telegrams(stream: BinaryIO, faults: FaultLog) -> Iterator[Telegram]:
    """Telegrams that have an end."""
    telegram: Telegram | None = None
    for number, line in text.lines(stream):
        if line.startswith("/"):
            if telegram is not None:
                faults.add(Fault.BROKEN_ROW, "a telegram without its end (!)", telegram.lines[0][0])
            telegram = Telegram([(number, line)])
        elif telegram is None:
            faults.add(Fault.PASSED_OVER, f"between telegrams: {line!r:.{text.SHOWN}}", number)
        elif line.startswith("!"):
            telegram.checksum = line[1:].strip()[:4]
            yield telegram
            telegram = None
        elif len(telegram.lines) >= LONGEST_TELEGRAM:
            faults.add(Fault.BROKEN_ROW, f"a telegram of more than {LONGEST_TELEGRAM} lines", telegram.lines[0][0])
            telegram = None
        else:
            telegram.lines.append((number, line))
    if telegram is not None:
        faults.add(Fault.CUT_SHORT, "the last telegram has no end (!)", telegram.lines[0][0])


@dataclass
class _Meters:
    """Keeps the first telegram of each quarter hour, by meter."""

    stem: str
    faults: FaultLog
    taken: int = 0
    latest_us: dict[str, int] = field(default_factory=dict)
    registers: dict[str, frozenset[str]] = field(default_factory=dict)

    def take(self, telegram: Telegram, block: Block) -> None:
        """Adds the telegram's state to the block where it is the first of its quarter hour."""
        line = telegram.lines[0][0]
        said = [found for _, each in telegram.lines if each.startswith("0-0:1.0") and (found := _STAMP.match(each))]
        moment_us = _moment_us(said[0][1], said[0][2]) if said else None
        if moment_us is None:
            self.faults.add(Fault.BAD_TIMESTAMP, f"0-0:1.0.0 = {said[0][0] if said else 'not there'}", line)
            return
        label = moment_us - moment_us % (MINUTES * MINUTE_US)
        household = self._household(telegram)
        if moment_us - label >= NEAR_US or self.latest_us.get(household) == label:
            self.faults.add(Fault.PASSED_OVER, "a telegram between quarter hours", line)
            return
        if telegram.checksum and not _is_right(telegram):
            self.faults.add(Fault.BROKEN_ROW, f"checksum {telegram.checksum} is not the telegram's", line)
            return
        drawn, fed_in = self._sums(telegram, household)
        if np.isnan(drawn):
            return
        self.latest_us[household] = label
        self.taken += 1
        block.add(household, label, drawn, line, fed_in)

    def _household(self, telegram: Telegram) -> str:
        digits = next((found[1] for _, each in telegram.lines if (found := _NUMBER.match(each))), "")
        try:
            name = bytes.fromhex(digits).decode("ascii").strip()
        except ValueError:
            return digits or self.stem
        return name if name.isprintable() and name else digits or self.stem

    def _sums(self, telegram: Telegram, household: str) -> tuple[float, float]:
        """Energy drawn and fed in, in kWh; drawn is NaN where the telegram cannot be used, which is counted."""
        states: dict[str, float] = {}
        for number, each in telegram.lines:
            if found := _REGISTER.match(each):
                state = _VALUE.fullmatch(found[3])
                if state is None:
                    self.faults.add(Fault.BAD_NUMBER, f"{found[0]!r:.{text.SHOWN}}; wanted is 000123.456*kWh", number)
                    return np.nan, np.nan
                states[f"{found[1]}.8.{found[2]}"] = float(state[1]) * FACTORS[(state[2] or "").lower()]
        parts = {way: _parts(states, way) for way in "12"}
        if not parts["1"]:
            self.faults.add(
                Fault.BROKEN_ROW, "a telegram without a register of energy drawn (1-0:1.8.x)", telegram.lines[0][0]
            )
            return np.nan, np.nan
        names = frozenset((*parts["1"], *parts["2"]))
        usual = self.registers.setdefault(household, names)
        if names != usual:
            note = f"registers {', '.join(sorted(names))}, where the meter has {', '.join(sorted(usual))}"
            self.faults.add(Fault.BROKEN_ROW, note, telegram.lines[0][0])
            return np.nan, np.nan
        drawn, fed_in = (round(sum(states[name] for name in parts[way]), 6) for way in "12")
        return drawn, fed_in if parts["2"] else np.nan


def _parts(states: dict[str, float], way: str) -> list[str]:
    """The registers whose sum is one direction: those of tariffs, or else the one of all."""
    tariffs = sorted(name for name in states if name.startswith(f"{way}.8.") and not name.endswith(".0"))
    return tariffs or [name for name in (f"{way}.8.0",) if name in states]


def _moment_us(digits: str, season: str) -> int | None:
    """Microseconds UTC of YYMMDDhhmmss with its season; None where there is none, or no such time."""
    if not season:
        return None
    try:
        clock = datetime.strptime(digits, "%y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    moment = clock - timedelta(hours=2 if season == "S" else 1)
    return int(moment.timestamp()) * SECOND_US if moment.year >= 1990 else None


def _is_right(telegram: Telegram) -> bool:
    """Whether the telegram's CRC16 is that of its text, from / to !, with the ends of lines that the meter sent."""
    first, *rest = (line.encode("latin-1", "replace") for _, line in telegram.lines)
    body = b"\r\n".join([*rest, b"!"])
    # An empty line follows the first; logs often lose it, and have other ends of lines.
    return telegram.checksum.upper() in {f"{_crc16(first + end + body):04X}" for end in (b"\r\n\r\n", b"\r\n")}


def _crc16(content: bytes) -> int:
    """CRC16 with the polynomial x16 + x15 + x2 + 1, lowest bit first, from 0."""
    value = 0
    for byte in content:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0xA001 if byte & 1 else 0)
    return byte


_TABLE = [_entry(byte) for byte in range(256)]

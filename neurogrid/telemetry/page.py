"""The page that Prometheus scrapes, kept in pieces: what has not changed since the last scrape is not written anew.

A source (a run, a manifest, the exporter itself) puts its readings; its lines are made once. All metrics of the
catalogue are named even where they have no value yet, so that dashboards of an empty system find them.
"""

import gzip
import re
import threading
from collections.abc import Callable, Iterator
from enum import Enum

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, exposition
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics

from neurogrid.telemetry.catalogue import BY_NAME, CATALOGUE
from neurogrid.telemetry.readings import Readings

_EOF = b"# EOF\n"
_BLOCK = re.compile(rb"^(?=# HELP )", re.MULTILINE)
_HEADER = re.compile(rb"(?:# (?:HELP|TYPE) [^\n]*\n)*")


class Format(Enum):
    """How a page is written."""

    TEXT = "text"
    OPENMETRICS = "openmetrics"

    @property
    def content_type(self) -> str:
        """For the HTTP header."""
        return openmetrics.CONTENT_TYPE_LATEST if self is Format.OPENMETRICS else exposition.CONTENT_TYPE_PLAIN_0_0_4

    @classmethod
    def accepted(cls, header: str) -> "Format":
        """What the client's Accept header asks for; exemplars exist in OpenMetrics only."""
        return cls.OPENMETRICS if "application/openmetrics-text" in header else cls.TEXT


class _Registry:
    """What prometheus_client's writers take."""

    def __init__(self, readings: Readings) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Family]:
        for name, samples in self._readings.items():
            metric = BY_NAME[name]
            family = Family(name.removesuffix("_total"), metric.meaning, metric.kind)
            family.samples = samples
            yield family


def _write(format_: Format, readings: Readings) -> list[bytes]:
    """Each metric's block, header and lines, in the order of `readings`."""
    write: Callable[..., bytes] = (
        openmetrics.generate_latest if format_ is Format.OPENMETRICS else exposition.generate_latest
    )
    text = write(_Registry(readings)).removesuffix(_EOF)
    return [block for block in _BLOCK.split(text) if block]


class Page:
    """All sources' lines. `put`, `keep` and `publish` are called by one thread, `render` by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: dict[str, Readings] = {}
        self._lines: dict[Format, dict[str, dict[str, bytes]]] = {each: {} for each in Format}
        self._pages: dict[Format, tuple[bytes, bytes]] = {}
        names = [metric.name for metric in CATALOGUE]
        self._headers = {
            each: dict(zip(names, _write(each, {name: [] for name in names}), strict=True)) for each in Format
        }
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    def put(self, source: str, readings: Readings) -> None:
        """A source's readings, all of them, instead of those it had."""
        self._readings[source] = readings
        self._forget(source)

    def keep(self, kind: str, sources: set[str]) -> None:
        """Drops the sources whose names begin with `kind` and are not among `sources`."""
        for source in [s for s in self._readings if s.startswith(kind) and s not in sources]:
            del self._readings[source]
            self._forget(source)

    def _forget(self, source: str) -> None:
        for lines in self._lines.values():
            lines.pop(source, None)

    def render(self, format_: Format, *, compressed: bool) -> bytes:
        """The whole page, and this process's own memory and time after it."""
        write = openmetrics.generate_latest if format_ is Format.OPENMETRICS else exposition.generate_latest
        process: bytes = write(self._process)
        with self._lock:
            plain, packed = self._pages[format_]
        # Parts of a gzip stream may follow each other, so the large one is compressed once.
        return packed + gzip.compress(process, 1) if compressed else plain + process

    def publish(self) -> None:
        """From now on `render` gives what was put so far. A scrape neither waits for this nor sees half of it."""
        pages = {format_: self._write_page(format_) for format_ in Format}
        with self._lock:
            self._pages = pages

    def _write_page(self, format_: Format) -> tuple[bytes, bytes]:
        lines = self._lines[format_]
        for source, readings in self._readings.items():
            if source not in lines:
                blocks = zip(readings, _write(format_, readings), strict=True)
                lines[source] = {name: _HEADER.sub(b"", block, count=1) for name, block in blocks}
        parts = []
        for name, header in self._headers[format_].items():
            parts.append(header)
            parts += [own[name] for own in lines.values() if name in own]
        plain = b"".join(parts)
        return plain, gzip.compress(plain, 1)

"""The exporter: looks at a warehouse (and a cluster) every few seconds, and answers who asks for what it found.

It owns no state: every figure is made from durable records, so it may be stopped, moved and started at any time, and
counters go on where they were. Looking happens in one thread, answering in others, so a scrape never waits for storage.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neurogrid.errors import NeuroGridError
from neurogrid.storage import Place
from neurogrid.telemetry.applications import application_readings
from neurogrid.telemetry.page import Format, Page
from neurogrid.telemetry.records import KINDS
from neurogrid.telemetry.warehouse import Warehouse

_log = logging.getLogger(__name__)

_PUBLISH_S = 2.0
"""In a look that is longer, what was read so far is on the page every so many seconds."""

Applications = Callable[[], list[dict[str, Any]]]
"""Lists SparkApplications; raises NeuroGridError where it cannot."""


@dataclass(frozen=True)
class ExporterSettings:
    """How the exporter works.

    Attributes:
        every_s: seconds from the end of one look to the next.
        stuck_after_s: with no progress for so long it is not healthy.
        runs: how many of the newest runs (manifests, teachers) are shown.
        per_agent: whether each agent has series of its own.
        namespace: of the SparkApplications; only a label.
    """

    every_s: float
    stuck_after_s: float
    runs: int
    per_agent: bool
    namespace: str


class Exporter:
    """Keeps a page of metrics up to date. `run` until `stop`, or `look` by hand."""

    def __init__(
        self, warehouse: Place, version: str, settings: ExporterSettings, applications: Applications | None = None
    ) -> None:
        self._settings, self._version, self._applications = settings, version, applications
        self._page = Page()
        self._warehouse = Warehouse(warehouse, self._page, settings.runs, settings.per_agent, self._alive)
        self._progress_s = self._published_s = time.monotonic()
        self._stopping = threading.Event()
        self._kubernetes_up: float | None = None
        self._looked_s: float | None = None
        self._look_took_s: float | None = None
        self._report()

    @property
    def ready(self) -> bool:
        """Whether the warehouse was seen whole once."""
        return self._looked_s is not None

    @property
    def healthy(self) -> bool:
        """Whether looking goes on."""
        return time.monotonic() - self._progress_s < self._settings.stuck_after_s

    def _alive(self) -> None:
        self._progress_s = time.monotonic()
        if self._progress_s - self._published_s >= _PUBLISH_S:
            self._report()

    def look(self) -> None:
        """One look at everything."""
        began = time.perf_counter()
        self._progress_s = self._published_s = time.monotonic()
        self._warehouse.look()
        if self._applications is not None:
            self._look_at_applications(self._applications)
        if self._warehouse.up:
            self._looked_s = time.time()
        self._look_took_s = time.perf_counter() - began
        self._report()
        self._alive()

    def _look_at_applications(self, applications: Applications) -> None:
        reads = self._warehouse.reads
        try:
            found = applications()
        except NeuroGridError:
            # What was seen last is not what is so now.
            self._page.keep("kubernetes", set())
            self._kubernetes_up = 0.0
            reads.fail("kubernetes", "sparkapplications")
        else:
            self._page.put("kubernetes", application_readings(self._settings.namespace, found))
            self._kubernetes_up = 1.0
            reads.succeed("kubernetes", "sparkapplications")

    def _report(self) -> None:
        values, reads = self._warehouse.readings(), self._warehouse.reads
        values.put("neurogrid_build_info", 1, version=self._version)
        values.put("neurogrid_exporter_kubernetes_up", self._kubernetes_up)
        for kind in KINDS:
            values.put("neurogrid_exporter_read_errors_total", reads.errors[kind], kind=kind)
            values.put("neurogrid_exporter_unreadable_records", reads.unreadable(kind), kind=kind)
            values.put("neurogrid_exporter_records_read_total", reads.done[kind], kind=kind)
        values.put("neurogrid_exporter_last_refresh_timestamp_seconds", self._looked_s)
        values.put("neurogrid_exporter_refresh_duration_seconds", self._look_took_s)
        self._page.put("exporter", values.readings)
        self._page.publish()
        self._published_s = time.monotonic()

    def page(self, format_: Format, *, compressed: bool) -> bytes:
        """What Prometheus gets."""
        return self._page.render(format_, compressed=compressed)

    def run(self) -> None:
        """Looks until `stop` is called."""
        while not self._stopping.is_set():
            try:
                self.look()
            except Exception:
                # A fault of ours in one look must not end all later ones; it shows where alerts look for it.
                _log.exception("a look at the warehouse failed")
                self._warehouse.reads.errors["warehouse"] += 1
            self._stopping.wait(self._settings.every_s)

    def stop(self) -> None:
        """Ends `run` after the look that it is at."""
        self._stopping.set()

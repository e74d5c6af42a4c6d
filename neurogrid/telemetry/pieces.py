"""What a warehouse holds beside runs: the newest ETL's report, manifests, teachers, completion records of jobs.

Each is read when it is new or was written anew, and not otherwise.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pyarrow import ArrowException, fs

from neurogrid.data.faults import Fault
from neurogrid.data.quality import TIERS
from neurogrid.storage import Place
from neurogrid.telemetry.page import Page
from neurogrid.telemetry.readings import Readings, Values
from neurogrid.telemetry.records import Reads, Record, UnreadableError, count, number, text
from neurogrid.telemetry.runs import seconds

_JOB_STATES = ("running", "completed", "failed")
_JOULES = 3.6e6  # in a kilowatt hour
_MOST_JOBS = 200
_MOST_CLUSTERS = 50
"""Of a manifest; there are as many as `sampling.clusters` says."""


class Pieces:
    """Looks at everything but the runs.

    Args:
        root: of the warehouse.
        page: where the readings go.
        reads: how reading goes.
        newest: how many manifests and teachers are shown.
    """

    def __init__(self, root: Place, page: Page, reads: Reads, newest: int) -> None:
        self._root, self._page, self._reads, self._newest = root, page, reads, newest
        self._seen: dict[str, tuple[int, int]] = {}
        self._teachers: dict[str, _Teacher] = {}

    def look(self) -> None:
        """Reads what is new."""
        self._each("quality", self._files("quality", "/report.json", recursive=False), _quality)
        self._each("manifest", self._files("manifests", "/manifest.json"), _manifest)
        self._each("job", self._job_files(), _job, _MOST_JOBS)
        self._look_at_teachers()

    def _job_files(self) -> dict[str, fs.FileInfo] | None:
        """A job's newest record is a file of its release's folder; those of each generation lie one folder below."""
        files, depth = self._files("jobs", ".json"), (self._root / "jobs/release/job").path.count("/")
        return files and {path: info for path, info in files.items() if path.count("/") == depth}

    def _files(self, folder: str, ending: str, *, recursive: bool = True) -> dict[str, fs.FileInfo] | None:
        """Files of a folder by path; None where it cannot be listed."""
        selector = fs.FileSelector((self._root / folder).path, allow_not_found=True, recursive=recursive)
        try:
            found = self._root.filesystem.get_file_info(selector)
        except (OSError, ArrowException):
            self._reads.fail("warehouse", f"{self._root}/{folder}")
            return None
        self._reads.succeed("warehouse", f"{self._root}/{folder}")
        files = [info for info in found if info.type == fs.FileType.File and info.path.endswith(ending)]
        # Names that begin with a dot are files that are being written.
        return {info.path: info for info in files if not info.base_name.startswith(".")}

    def _each(
        self,
        kind: str,
        files: Mapping[str, fs.FileInfo] | None,
        read: Callable[[str, Record, float], Readings],
        most: int | None = None,
    ) -> None:
        """Puts the readings of the newest of `files`; reads those that are new or were written anew."""
        if files is None:  # the page keeps what it had
            return
        newest = sorted(files, key=lambda path: (files[path].mtime_ns or 0, path))[-(most or self._newest) :]
        for path in newest:
            info = files[path]
            if self._seen.get(path) == (info.mtime_ns, info.size):
                continue
            name, at_s = path.split("/")[-2], (info.mtime_ns or 0) / 1e9
            try:
                readings = self._reads.json(kind, Place(self._root.filesystem, path), _reader(read, name, path, at_s))
            except UnreadableError:
                continue
            if readings is not None:
                self._page.put(f"{kind}/{path}", readings)
                self._seen[path] = (info.mtime_ns, info.size)
        kept = set(newest)
        self._page.keep(f"{kind}/", {f"{kind}/{path}" for path in kept})
        self._reads.keep(kind, {str(Place(self._root.filesystem, path)) for path in kept})
        prefix = f"{(self._root / _FOLDERS[kind]).path}/"
        self._seen = {p: seen for p, seen in self._seen.items() if p in kept or not p.startswith(prefix)}

    def _look_at_teachers(self) -> None:
        try:
            found = [(place, place / "teacher.json") for place in (self._root / "teachers").children()]
            infos = self._root.filesystem.get_file_info([first.path for _, first in found]) if found else []
        except (OSError, ArrowException):
            self._reads.fail("warehouse", f"{self._root}/teachers")
            return
        self._reads.succeed("warehouse", f"{self._root}/teachers")
        there = [(i.mtime_ns or 0, place) for (place, _), i in zip(found, infos, strict=True) if i.type.value]
        there = sorted(there, key=lambda entry: (entry[0], str(entry[1])))[-self._newest :]
        self._page.keep("teacher/", {f"teacher/{place.name}" for _, place in there})
        known = self._teachers
        self._teachers = {}
        for written, place in there:
            teacher = known.get(place.name)
            if teacher is None or teacher.written != written:
                self._reads.forget(str(place))
                teacher = _Teacher(place, written)
            self._teachers[place.name] = teacher
            if teacher.look(self._reads):
                self._page.put(f"teacher/{place.name}", teacher.readings())
        for name in set(known) - set(self._teachers):
            self._reads.forget(f"{self._root}/teachers/{name}")


_FOLDERS = {"quality": "quality", "manifest": "manifests", "job": "jobs"}


def _reader(
    read: Callable[[str, Record, float], Readings], folder: str, path: str, at_s: float
) -> Callable[[Record], Readings]:
    name = f"{folder}/{path.rsplit('/', 1)[-1].removesuffix('.json')}"
    return lambda record: read(name, record, at_s)


def _quality(_: str, report: Record, at_s: float) -> Readings:
    values = Values()
    unusable, files = len(report["unusable"]), count(report, "files")
    values.put("neurogrid_etl_files", files - unusable, state="used")
    values.put("neurogrid_etl_files", unusable, state="unusable")
    values.put("neurogrid_etl_files", len(report["excluded"]), state="excluded")
    values.put("neurogrid_etl_rows", count(report, "file_rows"))
    values.put("neurogrid_etl_households", count(report, "households"))
    for series in ("load", "weather"):
        tiers = {tier: number for tier, number in report[f"{series}_tiers"].items() if tier in TIERS}
        for tier in tiers:
            values.put("neurogrid_etl_slots", count(tiers, tier), series=series, tier=tier)
        slots = sum(tiers.values())
        values.put("neurogrid_etl_observed_ratio", tiers["observed"] / slots if slots else None, series=series)
    weather: dict[str, int] = {}
    for faults in report["weather_faults"].values():
        for fault in faults:
            weather[fault] = weather.get(fault, 0) + count(faults, fault)
    for source, faults in (("meter", report["faults"]), ("weather", weather)):
        for fault in Fault:
            values.put("neurogrid_etl_faults", int(faults.get(fault.value, 0)), source=source, fault=fault.value)
    for flow in ("read", "dropped", "imputed", "written"):
        kwh = number(report, f"energy_{flow}_kwh")
        values.put("neurogrid_etl_energy_joules", None if kwh is None else kwh * _JOULES, flow=flow)
    values.put("neurogrid_etl_energy_balanced", float(report["energy_balanced"] is True))
    values.put("neurogrid_etl_zero_readings", count(report, "zero_readings"))
    values.put("neurogrid_etl_last_success_timestamp_seconds", at_s)
    return values.readings


def _manifest(name: str, manifest: Record, at_s: float) -> Readings:
    values = Values(manifest=name.split("/", maxsplit=1)[0])
    values.put("neurogrid_sampling_silhouette", number(manifest, "silhouette"))
    values.put("neurogrid_sampling_agents", len(manifest["agents"]))
    values.put("neurogrid_sampling_districts", count(manifest, "districts"))
    values.put("neurogrid_sampling_held_out_households", len(manifest["held_out"]))
    values.put("neurogrid_sampling_unused_households", len(manifest["unused"]))
    for cluster in manifest["clusters"][:_MOST_CLUSTERS]:
        households, label = count(cluster, "households"), str(count(cluster, "number"))
        values.put("neurogrid_sampling_cluster_households", households, cluster=label)
    values.put("neurogrid_sampling_last_success_timestamp_seconds", at_s)
    return values.readings


def _job(name: str, record: Record, _: float) -> Readings:
    release, job = name.split("/")
    values = Values(release=release, neurogrid_job=job)
    state = text(record, "state")
    if state not in _JOB_STATES:
        raise ValueError("a state that no job has")
    values.state("neurogrid_job_state", _JOB_STATES, state)
    values.put("neurogrid_job_started_timestamp_seconds", seconds(text(record, "started")))
    if record["state"] != "running":
        values.put("neurogrid_job_ended_timestamp_seconds", seconds(text(record, "ended")))
    return values.readings


class _Teacher:
    """A teacher's epochs, each read once."""

    def __init__(self, place: Place, written: int) -> None:
        self._place, self.written = place, written
        self._epochs = 0
        self._last: dict[str, Any] = {}

    def look(self, reads: Reads) -> bool:
        """Whether there was something new."""
        before, fresh = self._epochs, not self._last and not self._epochs
        while True:
            file = self._place / "epochs" / f"epoch={self._epochs + 1:04d}.json"
            try:
                found = reads.json("teacher", file, _epoch)
            except UnreadableError:
                break
            if found is None:
                break
            self._epochs, self._last = self._epochs + 1, found
        return fresh or self._epochs != before

    def readings(self) -> Readings:
        values = Values(teacher=self._place.name)
        values.put("neurogrid_teacher_epochs_total", self._epochs)
        values.put("neurogrid_teacher_training_loss", self._last.get("train_loss"))
        values.put("neurogrid_teacher_validation_loss", self._last.get("held_out_loss"))
        values.put("neurogrid_teacher_last_epoch_timestamp_seconds", self._last.get("recorded_s"))
        return values.readings


def _epoch(record: Record) -> dict[str, float | None]:
    figures = {name: number(record, name) for name in ("train_loss", "held_out_loss")}
    return {**figures, "recorded_s": seconds(text(record, "recorded"))}

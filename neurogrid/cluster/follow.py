"""One stream of all that happens to a job: its states, its driver's log, what is wrong with its pods.

The log and the pods are read by threads of their own, since both are connections that say something only now and then;
what they see arrives in one queue, in the order in which it was seen.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from neurogrid.cluster.api import DRIVER_CONTAINER, Cluster, LogLine, UnreachableError
from neurogrid.cluster.application import (
    completed,
    ended,
    error_message,
    name_of,
    pods_selector,
    state,
    stopped,
    waiting,
    waits_for,
)
from neurogrid.cluster.diagnosis import Trouble, application_trouble, log_trouble, pod_trouble
from neurogrid.cluster.launch import held_up_by
from neurogrid.cluster.release import job_of
from neurogrid.errors import NeuroGridError, UsageError

Object = dict[str, Any]

POLL_S = 2.0
PATIENCE_S = 60.0  # an API server that is upgraded is away for less
LAST_LINES_S = 10.0  # how long the log of a driver that has ended may still take to arrive
PARTING_S = 10.0  # executors whose driver leaves with its work done end as they may: only later is it a trouble
WAITS = "WAITS"  # our own word for a state: suspended until its turn comes


@dataclass(frozen=True)
class Became:
    """The application's state, whenever it changes; `message` is the operator's."""

    state: str
    message: str


@dataclass(frozen=True)
class Said:
    """A line of a driver's log."""

    pod: str
    text: str


@dataclass(frozen=True)
class Suffers:
    """Something is wrong; each thing is told once."""

    trouble: Trouble


Happening = Became | Said | Suffers


class Follower:
    """Follows one application; iterate over it.

    It ends when the application has ended and its log is read, or after `timeout_s`. Of what its driver has said
    before, only the last `tail` lines come where that is given.
    """

    def __init__(self, cluster: Cluster, name: str, timeout_s: float = float("inf"), tail: int | None = None) -> None:
        self._cluster, self._name, self._timeout_s, self._tail = cluster, name, timeout_s, tail
        self._seen: queue.SimpleQueue[Happening | Object | Exception] = queue.SimpleQueue()
        self._drivers: dict[str, threading.Thread] = {}
        self._told: set[tuple[str, str]] = set()
        self._events: tuple[float, list[Object]] = (0.0, [])
        self._parting: list[tuple[float, Trouble]] = []

    def __iter__(self) -> Iterator[Happening]:
        self._start(self._watch_pods)
        last, reached, due, until = None, time.monotonic(), 0.0, float("inf")
        deadline = time.monotonic() + self._timeout_s
        while (now := time.monotonic()) < deadline:
            if now >= due:
                due = now + POLL_S
                try:
                    application = self._application()
                except UnreachableError:
                    if now - reached > PATIENCE_S:
                        raise
                    continue
                reached = now
                now_is = WAITS if waiting(application) else state(application)
                if now_is != last:
                    last = now_is
                    yield Became(last, waits_for(application) or error_message(application))
                yield from self._tell(application_trouble(application, age_s(application)))
                if waiting(application):
                    before = held_up_by(self._cluster, application)
                    if before is not None:
                        yield from self._tell(held_up(application, before))
                        # The thread that has just begun to watch comes to rest: one that is cut off in the middle of a
                        # connection, as the process ends, can abort it.
                        yield from self._take(POLL_S)
                        return
                if not completed(application):
                    yield from self._parted(now if not ended(application) else float("inf"))
                if ended(application) or (stopped(application) and last == "SUSPENDED"):
                    until = min(until, now + LAST_LINES_S)
            yield from self._take(min(POLL_S, max(0.05, min(due, deadline) - time.monotonic())))
            if now > until or (until < float("inf") and not any(t.is_alive() for t in self._drivers.values())):
                yield from self._take(0)
                return

    def _application(self) -> Object:
        application = self._cluster.application(self._name)
        if application is None:
            raise UsageError(f"{self._name} no longer exists", found="somebody deleted it", fix="submit it again")
        return application

    def _take(self, wait_s: float) -> Iterator[Happening]:
        """What has arrived, after waiting for the first of it."""
        while True:
            try:
                item = self._seen.get(timeout=wait_s) if wait_s else self._seen.get_nowait()
            except queue.Empty:
                return
            wait_s = 0
            if isinstance(item, Exception):
                raise item
            if isinstance(item, dict):
                self._listen(item)
                trouble = pod_trouble(item, self._recent_events(item))
                if trouble is not None and trouble.exited and _is_executor(item):
                    self._parting.append((time.monotonic() + PARTING_S, trouble))
                else:
                    yield from self._tell(trouble)
                continue
            yield item
            if isinstance(item, Said):
                yield from self._tell(log_trouble(item.pod, item.text))

    def _tell(self, trouble: Trouble | None) -> Iterator[Suffers]:
        if trouble is not None and (trouble.pod, trouble.what) not in self._told:
            self._told.add((trouble.pod, trouble.what))
            yield Suffers(trouble)

    def _parted(self, now: float) -> Iterator[Suffers]:
        """Executors that ended by themselves some time ago, while their driver goes on."""
        due = [trouble for at, trouble in self._parting if at <= now]
        self._parting = [(at, trouble) for at, trouble in self._parting if at > now]
        for trouble in due:
            yield from self._tell(trouble)

    def _recent_events(self, pod: Object) -> list[Object]:
        """Events cost a call: only for pods that do not run as they should, and not more often than we look."""
        if pod.get("status", {}).get("phase") in ("Running", "Succeeded") and not pod["metadata"].get(
            "deletionTimestamp"
        ):
            ready = [c for c in pod["status"].get("conditions", []) if c["type"] == "Ready"]
            if not ready or ready[0]["status"] == "True":
                return []
        if time.monotonic() - self._events[0] > POLL_S:
            self._events = (time.monotonic(), self._cluster.events())
        return self._events[1]

    # ---- threads

    def _start(self, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except Exception as error:  # whatever it is, who iterates has to hear of it
                self._seen.put(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def _watch_pods(self) -> None:
        for pod in self._cluster.watch_pods(pods_selector(self._name)):
            self._seen.put(pod)

    def _listen(self, pod: Object) -> None:
        """Reads the log of a driver as soon as it has one; a restarted driver is another pod of the same name."""
        metadata = pod["metadata"]
        if (metadata.get("labels") or {}).get("spark-role") != "driver" or metadata["uid"] in self._drivers:
            return
        if pod.get("status", {}).get("phase") in ("Running", "Succeeded", "Failed"):
            name = metadata["name"]
            self._drivers[metadata["uid"]] = self._start(lambda: self._read_log(name))

    def _read_log(self, pod: str) -> None:
        try:
            for line in self._cluster.follow_log(pod, DRIVER_CONTAINER, tail=self._tail):
                self._seen.put(Said(pod, line.text))
        except UsageError:
            return  # the pod was deleted meanwhile, and its log with it


def _is_executor(pod: Object) -> bool:
    return (pod["metadata"].get("labels") or {}).get("spark-role") == "executor"


def held_up(application: Object, before: Object) -> Trouble:
    """Why a waiting run will never start by itself."""
    ended_as = "failed" if state(before) == "FAILED" else "was stopped"
    job = job_of(before)
    return Trouble(
        name_of(application),
        f"{name_of(application)} cannot start: {name_of(before)}, its predecessor, {ended_as}",
        " ".join(error_message(before).split())[:300],
        f"see `neurogrid k8s logs {job}`; `neurogrid k8s submit {job}` runs it again, and this one after it",
    )


def driver_of(cluster: Cluster, name: str) -> str | None:
    """Name of the application's newest driver that has begun; None where there is none."""
    pods = cluster.pods(f"{pods_selector(name)},spark-role=driver")
    begun = [pod for pod in pods if pod.get("status", {}).get("phase") not in (None, "Pending")]
    if not begun:
        return None
    return str(max(begun, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))["metadata"]["name"])


def read_log(cluster: Cluster, name: str, tail: int | None = None) -> list[LogLine]:
    """What the application's newest driver has said so far; nothing where there is none."""
    driver = driver_of(cluster, name)
    try:
        return cluster.log(driver, DRIVER_CONTAINER, tail=tail) if driver else []
    except NeuroGridError:
        return []  # evicted pods have no log


def age_s(thing: Object) -> float:
    """How long ago it was made."""
    made = datetime.fromisoformat(str(thing["metadata"]["creationTimestamp"]))
    return (datetime.now(UTC) - made).total_seconds()

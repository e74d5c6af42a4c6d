"""What is told of a run that is followed, and what is not; a scripted cluster stands for the real one."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from neurogrid.cluster import follow
from neurogrid.cluster.api import Cluster, LogLine
from neurogrid.cluster.follow import Became, Follower, Happening, Said, Suffers

Object = dict[str, Any]


def run(state: str = "", after: str = "", **annotations: str) -> Object:
    notes = annotations | ({"neurogrid.io/after": after} if after else {})
    metadata = {"name": "n-train-1", "creationTimestamp": "2026-11-23T00:00:00Z", "annotations": notes, "labels": {}}
    spec = {"suspend": True} if after else {}
    return {"metadata": metadata, "spec": spec, "status": {"applicationState": {"state": state}}}


def executor(code: int) -> Object:
    ended = {"terminated": {"exitCode": code, "reason": "Error"}}
    labels = {"spark-role": "executor", "spark-exec-id": "2"}
    status = {"phase": "Failed", "containerStatuses": [{"name": "x", "state": ended}]}
    return {"metadata": {"name": "n-exec-2", "namespace": "jobs", "uid": "e", "labels": labels}, "status": status}


def driver() -> Object:
    metadata = {"name": "n-driver", "namespace": "jobs", "uid": "d", "labels": {"spark-role": "driver"}}
    return {"metadata": metadata, "status": {"phase": "Running"}}


class Scripted:
    """A cluster whose application is asked for again and again; `state_at` says what it is at which time, seconds."""

    def __init__(
        self, at: Callable[[float], Object], pods: list[Object], others: dict[str, Object] | None = None
    ) -> None:
        self._at, self._pods, self._others = at, pods, others or {}
        self._began = time.monotonic()
        self.tails: list[int | None] = []

    def application(self, name: str) -> Object | None:
        return self._at(time.monotonic() - self._began) if name == "n-train-1" else self._others.get(name)

    def watch_pods(self, selector: str) -> Iterator[Object]:
        yield from self._pods
        threading.Event().wait(30)

    def events(self) -> list[Object]:
        return []

    def follow_log(self, pod: str, container: str, *, tail: int | None = None) -> Iterator[LogLine]:
        self.tails.append(tail)
        yield LogLine("1", "the last line")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL_S", 0.05)
    monkeypatch.setattr(follow, "PARTING_S", 0.3)
    monkeypatch.setattr(follow, "LAST_LINES_S", 0.2)


def followed(scripted: Scripted, seconds: float = 5, tail: int | None = None) -> list[Happening]:
    return list(Follower(cast(Cluster, scripted), "n-train-1", seconds, tail))


def troubles(happenings: list[Happening]) -> list[str]:
    return [happening.trouble.what for happening in happenings if isinstance(happening, Suffers)]


def test_an_executor_that_ends_badly_as_its_driver_leaves_with_the_work_done_is_no_trouble() -> None:
    ends = Scripted(lambda s: run("RUNNING" if s < 0.15 else "COMPLETED"), [executor(50)])
    seen = followed(ends)
    assert seen[-1] == Became("COMPLETED", "")
    assert troubles(seen) == []


@pytest.mark.parametrize("end", ["RUNNING", "FAILED"])
def test_an_executor_that_ends_badly_while_its_driver_goes_on_or_fails_is_told(end: str) -> None:
    seen = followed(Scripted(lambda s: run("RUNNING" if s < 0.1 else end), [executor(50)]), 1)
    assert troubles(seen) == ["executor 2 failed"]


def test_a_run_that_waits_is_followed_until_its_turn_and_to_its_end() -> None:
    before = {"n-sample-1": run("RUNNING")}
    at = Scripted(lambda s: run("SUSPENDED", after="n-sample-1") if s < 0.2 else run("COMPLETED"), [], before)
    states = [happening for happening in followed(at) if isinstance(happening, Became)]
    assert states == [
        Became(follow.WAITS, "waits for n-sample-1; it uses no memory until then"),
        Became("COMPLETED", ""),
    ]


def test_a_run_whose_turn_will_never_come_is_followed_no_longer_and_says_why() -> None:
    before = {"n-sample-1": run("FAILED")}
    began = time.monotonic()
    seen = followed(Scripted(lambda _: run("SUSPENDED", after="n-sample-1"), [], before), 60)
    assert time.monotonic() - began < 10
    assert troubles(seen) == ["n-train-1 cannot start: n-train-1, its predecessor, failed"]


def test_of_what_was_said_before_only_the_tail_is_asked_for() -> None:
    scripted = Scripted(lambda s: run("RUNNING" if s < 0.2 else "COMPLETED"), [driver()])
    seen = followed(scripted, tail=7)
    assert Said("n-driver", "the last line") in seen
    assert scripted.tails == [7]

"""Executors' pods that are lost for good, as the driver of a training on Kubernetes sees them.

Spark alone never replaces an executor on a node that is cut off: Kubernetes leaves its pod Terminating with phase
Running, so Spark counts it as there. Where all tasks of a pod have left us and Kubernetes does not call it ready any
more, we remove the pod by force; Spark then asks for another. What still runs on the lost node is refused for ever.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol

LEAVING = "/tmp/decommissioned"  # noqa: S108 - in a pod, whose /tmp is its own
"""The image's decom.sh makes this file in a pod that is asked to leave its node."""
_HOPELESS = 4
"""A pod that stays ready but has no task for so many times `replace_after_s` hangs, and is removed as well."""

State = Literal["well", "lost", "gone", "strange"]
_log = logging.getLogger(__name__)


class Pods(Protocol):
    """The pods of a namespace."""

    def state(self, name: str, application: str) -> State:
        """Whether the pod is ready, not ready, not there, or no executor of this Spark application.

        Raises OSError when nobody answers.
        """
        ...

    def remove(self, name: str) -> None:
        """Removes the pod by force, without waiting for its node; raises OSError when that does not work."""
        ...


class LostPods:
    """Knows which executors' pods have no task left, and removes those that are lost for good.

    An executor's pod is called like the host that its tasks say they run on. Tasks may say anything, so only a pod that
    Spark itself has labelled as an executor of this application is removed.

    Args:
        pods: to ask and to remove.
        replace_after_s: a pod without tasks for so long is looked at.
        clock: seconds that only grow.
    """

    def __init__(self, pods: Pods, replace_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pods, self._replace_after_s, self._clock = pods, replace_after_s, clock
        self._lock = threading.Lock()
        self._tasks: dict[str, int] = {}
        self._empty_since_s: dict[str, float] = {}
        self._removed: set[str] = set()
        self._refused: set[str] = set()

    def arrived(self, host: str) -> None:
        """A task in this pod has come; raises ValueError when the pod was given up, which is for ever."""
        with self._lock:
            if host in self._removed:
                if host not in self._refused:  # it tries again and again, which is said once
                    self._refused.add(host)
                    _log.warning("pod %s was lost and replaced, and has come back: refused", host)
                raise ValueError(f"pod {host} was lost and has been replaced")
            self._tasks[host] = self._tasks.get(host, 0) + 1
            self._empty_since_s.pop(host, None)

    def left(self, host: str) -> None:
        """A task in this pod has ended, or is given up."""
        with self._lock:
            self._tasks[host] -= 1
            if not self._tasks[host]:
                self._empty_since_s[host] = self._clock()

    def look(self, application: str) -> list[str]:
        """Asks about pods of the application that have long been without tasks; returns those that it removed."""
        now = self._clock()
        with self._lock:
            empty = {h: now - since for h, since in self._empty_since_s.items() if now - since >= self._replace_after_s}
        removed = []
        for host, empty_s in empty.items():
            try:
                state = self._pods.state(host, application)
                if state == "lost" or (state == "well" and empty_s >= _HOPELESS * self._replace_after_s):
                    # First refused, then removed: between the two it must not come back to us.
                    if not self._give_up(host):
                        continue
                    self._pods.remove(host)
                    removed.append(host)
                    _log.warning("pod %s was without tasks for %.0f s and is %s: removed", host, empty_s, state)
                elif state in ("gone", "strange"):
                    self._give_up(host)
            except OSError as error:  # asked again at the next look
                _log.warning("pod %s, without tasks for %.0f s: %s", host, empty_s, error)
                with self._lock:
                    if host in self._removed:
                        self._empty_since_s[host] = now - empty_s
        return removed

    def _give_up(self, host: str) -> bool:
        """False when a task of it has come in the meantime."""
        with self._lock:
            if self._tasks[host]:
                return False
            self._removed.add(host)
            self._empty_since_s.pop(host, None)
            return True

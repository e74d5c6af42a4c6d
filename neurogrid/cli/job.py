"""A driver in a pod: jobs/<step>.py calls `main(step)`, and nothing else.

Its log has words for people, and lines for `neurogrid k8s`. Exit codes are those of the command line.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neurogrid.cli import lines, show
from neurogrid.cli.options import load_config
from neurogrid.cli.terminal import Terminal
from neurogrid.errors import NeuroGridError
from neurogrid.pipeline import events, job
from neurogrid.pipeline.completion import words

CONFIG = "/etc/neurogrid/config.yaml"
STOPPED = 130


def main(step: str) -> None:
    """Does the step as the pod's environment says; ends in words and an exit code."""
    # Kubernetes ends a pod with SIGTERM: leave as cleanly as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        run_job(step, os.environ)
    except NeuroGridError as problem:
        lines.emit("failed", **words(problem))
        show.error(problem)
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        show.say("neurogrid: stopped; the job continues when its driver is started again")
        sys.exit(STOPPED)


def run_job(step: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """The step as the environment says, told in the driver's log; see `pipeline.job.run_job`."""
    file = Path(variables.get("NEUROGRID_CONFIG") or CONFIG)
    return job.run_job(step, load_config(file, None, {}, teacher_follows=True), variables, DriverLog())


class DriverLog(Terminal):
    """Observer of the pipeline in a pod: lines that `neurogrid k8s` reads, and words for the rest."""

    def __init__(self) -> None:
        super().__init__(lines.RoundLines)

    def tell(self, event: events.Event) -> None:
        """Says what has happened."""
        if not isinstance(event, events.JobChanged):
            super().tell(event)
            return
        if event.kind == "unchanged":
            show.say(f"job {event.content['job']} has completed already, at {event.content['ended']}: nothing to do")
        elif event.kind == "next":
            show.say(f"starting the next job, {event.content['run']}")
        lines.emit(event.kind, **event.content)

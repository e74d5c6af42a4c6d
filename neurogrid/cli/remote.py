"""A job on a cluster, as a person sees it: which run is meant, what happens to it, and how it ended.

`k8s.py` has the commands; this module finds what they are about and shows what `neurogrid.cluster` says.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from neurogrid.cli import lines, show
from neurogrid.cluster import application as applications
from neurogrid.cluster.api import Cluster
from neurogrid.cluster.diagnosis import Trouble
from neurogrid.cluster.follow import WAITS, Became, Follower, Happening, Said, Suffers
from neurogrid.cluster.release import Release, job_of
from neurogrid.errors import NeuroGridError, RunError, UsageError
from neurogrid.fl.record import Round

Object = dict[str, Any]

TIMED_OUT = 124
SAID_TWICE = frozenset({"next", "unchanged"})  # for machines, and for people in the line that follows
STATES = {
    "": "waits for the operator",
    "SUBMITTED": "is submitted, its driver is starting",
    "RUNNING": "is running",
    "SUCCEEDING": "is finishing",
    "COMPLETED": "completed",
    "FAILING": "its driver failed",
    "FAILED": "failed",
    "SUBMISSION_FAILED": "could not be submitted",
    "PENDING_RERUN": "is starting again",
    "INVALIDATING": "is being stopped, to start again",
    "SUSPENDING": "is being stopped",
    "SUSPENDED": "is stopped",
    "RESUMING": "is resuming",
    "UNKNOWN": "its driver's node does not answer",
}


class StillRunningError(RunError):
    """A wait was over before the job was."""

    exit_code = TIMED_OUT


def where(cluster: Cluster, namespace: str | None, release: str | None) -> str:
    """The flags that say the same again, for a command that a person is told."""
    return (f" -n {cluster.namespace}" if namespace else "") + (f" --release {release}" if release else "")


def newest(cluster: Cluster, release: Release, wanted: str) -> Object:
    """The application of this name, or of the job of this name the one that is on, else the one last attempted.

    Raises:
        UsageError: there is none.
    """
    own = cluster.applications(release.selector)
    found = [a for a in own if applications.name_of(a) == wanted] or [a for a in own if job_of(a) == wanted]
    if found:
        return max(found, key=applications.recency)
    if wanted in release.templates:
        raise UsageError(f"{wanted} has not run yet", fix=f"start it: neurogrid k8s submit {wanted}")
    raise UsageError(
        f'there is no job or run "{wanted}" in release {release.name}',
        found=", ".join([*release.templates, *sorted(applications.name_of(a) for a in own)]),
        fix="name one of these",
    )


@dataclass
class Outcome:
    """What is known of a run when it has ended.

    Attributes:
        state: the operator's last word.
        message: the operator's reason, where it failed.
        result: what the job itself reported.
        failure: what, found, fix and exit code, where the job itself knew why it failed.
        troubles: what was wrong on the way.
        last_lines: the end of the driver's log.
    """

    state: str = ""
    message: str = ""
    result: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    troubles: list[Trouble] = field(default_factory=list)
    last_lines: list[str] = field(default_factory=list)


class Screen:
    """Shows what happens to a job, rounds as the same live table as on a laptop, and keeps what it comes to."""

    def __init__(self, *, log: bool = False) -> None:
        self.outcome = Outcome()
        self._log, self._stack, self._table = log, ExitStack(), None

    _table: show.RoundTable | None

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def __call__(self, happening: Happening) -> None:
        """Shows one thing."""
        match happening:
            case Became(state, message):
                self.outcome.state, self.outcome.message = state, message
                show.say(f"  {message if state == WAITS else STATES.get(state, state)}")
            case Suffers(trouble):
                self.outcome.troubles.append(trouble)
                if not (trouble.exited and self.outcome.failure):  # its own words are better
                    tell(trouble)
            case Said(_, text):
                self._said(text)

    def _said(self, text: str) -> None:
        parsed = lines.parse(text)
        if parsed is None:
            self.outcome.last_lines = [*self.outcome.last_lines[-19:], text]
            if self._log:
                show.say(f"  {text}")
            return
        kind, content = parsed
        if kind == "training":
            self._open_table(content)
        elif kind == "round":
            record = _round(content)
            if record is not None and self._table is not None:
                self._table.show(record)
            elif record is not None:  # the log is read from its middle on
                show.say(f"  {show.round_words(record)}")
        elif kind == "completed":
            self.outcome.result = content.get("result")
        elif kind == "failed":
            self.outcome.failure = content
            tell(driver_failure(content))
        elif not (self._log and kind in SAID_TWICE):
            show.say(f"  {words(kind, content)}")

    def _open_table(self, content: Mapping[str, Any]) -> None:
        done = int(content.get("done", 0))
        if done:
            show.say(f"  resumes after round {done}")
        if self._table is None:
            table = show.RoundTable(int(content["rounds"]), done)
            self._table = self._stack.enter_context(table)


def _round(content: Mapping[str, Any]) -> Round | None:
    try:
        return lines.to_round(content)
    except TypeError:
        return None  # the release is of another version than this command


def words(kind: str, content: Mapping[str, Any]) -> str:
    """A line for machines, said for people."""
    if kind == "round":
        record = _round(content)
        return show.round_words(record) if record else f"round {content.get('round_id')}"
    if kind == "next":
        return f"starting the next job, {content.get('run')}"
    if kind == "unchanged":
        return f"already completed with this config at {content.get('ended')}: nothing to do (--again runs it again)"
    if kind == "training":
        return f"round {content.get('done')} of {content.get('rounds')} done"
    if kind == "failed":
        return str(NeuroGridError(str(content.get("what")), found=content.get("found", ""), fix=content.get("fix", "")))
    named = {key: value for key, value in content.items() if isinstance(value, str | int | float) and value != ""}
    return ", ".join([kind, *(f"{key} {value}" for key, value in named.items() if key not in ("job", "result"))])


def driver_failure(content: Mapping[str, Any]) -> Trouble:
    """What a driver said when it gave up."""
    what, found, fix = (str(content.get(key) or "") for key in ("what", "found", "fix"))
    return Trouble("", f"the driver failed: {what}", found, fix)


def tell(trouble: Trouble) -> None:
    """A trouble, in the form of an error."""
    mark = "[yellow]waiting:[/yellow]" if trouble.waits else "[red]trouble:[/red]"
    show.console.print(f"  {mark}", end=" ")
    show.say(trouble.what)
    for line in (f"found: {trouble.found}" if trouble.found else "", trouble.fix):
        if line:
            show.say(f"    {line}")


def follow(cluster: Cluster, name: str, timeout_s: float, *, log: bool = False, tail: int | None = None) -> Outcome:
    """Shows all that happens to an application until it has ended.

    Raises:
        StillRunningError: it has not, and the time is over.
    """
    with Screen(log=log) as screen:
        for happening in Follower(cluster, name, timeout_s, tail):
            screen(happening)
    return screen.outcome


def conclude(name: str, outcome: Outcome) -> dict[str, Any]:
    """The result of a run that completed.

    Raises:
        UsageError: the job refused its config or its input.
        RunError: it failed otherwise, or was stopped.
        StillRunningError: it has not ended.
    """
    if outcome.state == "COMPLETED":
        return outcome.result or {}
    if outcome.state == WAITS and any(not trouble.waits for trouble in outcome.troubles):
        raise failure(name, outcome)
    if outcome.state not in applications.ENDED | {"SUSPENDED", "SUSPENDING"}:
        raise StillRunningError(
            f"{name} has not ended yet",
            found=STATES.get(outcome.state, outcome.state)
            + "".join(f"; {trouble.what}" for trouble in outcome.troubles[-1:]),
            fix=f"it continues by itself; wait for it again with: neurogrid k8s wait {name}",
        )
    if outcome.state not in applications.ENDED:
        raise RunError(f"{name} was stopped", fix="finished rounds are kept; submit it again to continue")
    raise failure(name, outcome)


def failure(name: str, outcome: Outcome) -> NeuroGridError:
    """Why a run failed: the job's own words, else what was wrong with its pods, else the operator's, else the log's."""
    if outcome.failure is not None:
        kind = UsageError if outcome.failure.get("exit_code") == UsageError.exit_code else RunError
        said = {key: str(outcome.failure.get(key) or "") for key in ("what", "found", "fix")}
        return kind(f"{name} failed: {said['what']}", found=said["found"], fix=said["fix"])
    fatal = [trouble for trouble in outcome.troubles if not trouble.waits]
    if fatal:
        return RunError(f"{name} failed: {fatal[-1].what}", found=fatal[-1].found, fix=fatal[-1].fix)
    found = outcome.message or "\n         ".join(line for line in outcome.last_lines if line.strip())
    return RunError(f"{name} failed", found=found[-1500:], fix=f"the whole log: neurogrid k8s logs {name}")


def show_result(result: Mapping[str, Any]) -> None:
    """What a job reported: of a training what is shown on a laptop, of others all figures and names."""
    if "held_out_loss_last" in result:
        first, last = (show.number(result[f"held_out_loss_{which}"]) for which in ("first", "last"))
        facts = {
            "ended": f"{result['reason']}, after round {result['rounds']}",
            "held-out loss": f"{first} to {last}",
            "weights": result["w_final_sha256"],
            "ledger": result.get("head_sha256", ""),
            "folder": result.get("path", ""),
        }
    else:
        facts = {key.replace("_", " "): v for key, v in result.items() if isinstance(v, str | int | float)}
    show.facts([(name, _word(value)) for name, value in facts.items() if value != ""])


def _word(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value

"""What a step tells whoever watches it: typed events, work that takes a while, and traces of rounds.

The command line shows them in a terminal, a driver in a pod also writes them as lines for machines. No step depends on
what an observer does with them.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:  # an ETL that finds nothing to do loads neither torch nor Spark
    from neurogrid.data.manifest import Manifest
    from neurogrid.data.quality import QualityReport
    from neurogrid.fl.record import Round
    from neurogrid.fl.rounds import Finish
    from neurogrid.ledger.chain import Record
    from neurogrid.pipeline.etl_plan import EtlPlan
    from neurogrid.pipeline.plan import TrainPlan
    from neurogrid.pipeline.teach_plan import TeachPlan
    from neurogrid.pipeline.whole_run import RunPlan
    from neurogrid.storage import Place
    from neurogrid.teacher.settings import Device
    from neurogrid.telemetry.tracing import RoundTraces


@dataclass(frozen=True)
class Noted:
    """Something that a part has to say in its own words: that a rank was lost, for example."""

    text: str


@dataclass(frozen=True)
class RunBegins:
    """A whole run begins with its readings."""

    plan: "RunPlan"


@dataclass(frozen=True)
class Cleaned:
    """Raw readings have become tables."""

    plan: "EtlPlan"
    report: "QualityReport"


@dataclass(frozen=True)
class Sampled:
    """Agents are chosen."""

    manifest: "Manifest"


@dataclass(frozen=True)
class TrainingBegins:
    """Rounds are about to begin, on this Spark master; empty where agents train in this process."""

    plan: "TrainPlan"
    master: str


@dataclass(frozen=True)
class TrainingResumed:
    """A run goes on after this round; if made with something else than before, with these differences."""

    round: int
    differences: Sequence[str]


@dataclass(frozen=True)
class RoundEnded:
    """A round is over."""

    record: "Round"


@dataclass(frozen=True)
class TrainingEnded:
    """All rounds are over; `summary` is what the run says of them, see `runs.summary`."""

    finish: "Finish"
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class AlreadyTrained:
    """The rounds of a run that was to be gone on with are over; `next_step` says what is left to do."""

    run_id: str
    rounds: int
    next_step: Literal["evaluate", ""]


@dataclass(frozen=True)
class Evaluated:
    """A run's final weights are scored, as this record says."""

    run: "Place"
    record: "Record"


@dataclass(frozen=True)
class Reported:
    """A run's page is there."""

    file: "Place"


@dataclass(frozen=True)
class EpochEnded:
    """An epoch of a teacher is durable; `best` is the epoch with the lowest held-out loss so far."""

    record: "Record"
    best: int


@dataclass(frozen=True)
class Taught:
    """A teacher is finished."""

    folder: "Place"
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class JobChanged:
    """A driver in a pod has begun, had completed before, has completed, or has started what comes after it."""

    kind: Literal["started", "unchanged", "completed", "next"]
    content: Mapping[str, Any]


_OfTraining = TrainingBegins | TrainingResumed | RoundEnded | TrainingEnded | AlreadyTrained
Event = Noted | RunBegins | Cleaned | Sampled | _OfTraining | Evaluated | Reported | EpochEnded | Taught | JobChanged


@dataclass(frozen=True)
class Starting:
    """Spark starts on this master, and takes this process's stderr for its own words meanwhile."""

    master: str


@dataclass(frozen=True)
class Cleaning:
    """Raw readings become tables."""

    plan: "EtlPlan"


@dataclass(frozen=True)
class Rounds:
    """Rounds go by, of which some are done already."""

    total: int
    done: int


@dataclass(frozen=True)
class Scoring:
    """A run's final weights are scored."""

    run_id: str


@dataclass(frozen=True)
class Personalising:
    """Households make a run's last weights their own."""

    run_id: str


@dataclass(frozen=True)
class Forecasting:
    """A run's model forecasts households."""

    run_id: str


@dataclass(frozen=True)
class Teaching:
    """Epochs of a teacher go by, on this device and this Spark master."""

    plan: "TeachPlan"
    device: "Device"
    master: str


@dataclass(frozen=True)
class Adapting:
    """Agents make the last weights their own."""


Work = (
    Literal["sampling", "starting the tasks", "report", "export"]
    | Starting
    | Cleaning
    | Rounds
    | Adapting
    | Scoring
    | Personalising
    | Forecasting
    | Teaching
)


class Progress(Protocol):
    """How far some work is; may be called from another thread."""

    def __call__(self, done: int, total: int) -> None:
        """So many of `total` pieces are done."""
        return

    def step(self, name: str, total: int) -> None:
        """A new part of the work begins."""
        return


class Unseen(Progress):
    """Nobody is told."""


class Observer(Protocol):
    """Whoever watches; what it leaves out is not shown."""

    def tell(self, event: Event) -> None:
        """Something has happened."""
        return

    def during(self, work: Work) -> AbstractContextManager[Progress]:
        """Entered before the work begins, left when it is over or has failed."""
        return nullcontext(Unseen())

    def traces(self, run_id: str) -> "AbstractContextManager[RoundTraces | None]":
        """What traces the rounds of this run; None where nobody asked for it."""
        return nullcontext(None)


class Silent(Observer):
    """Shows nothing."""


SILENT = Silent()

"""Where a round's agents may run, by name. The config's choices are made of this, so it imports no backend.

Others register backends of their own as entry points of the group `neurogrid.backends`, each a `BackendSpec`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neurogrid.registry import Registry

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from neurogrid.backends.pods import LostPods
    from neurogrid.backends.spark import ExchangeSettings
    from neurogrid.fl.order import Backend
    from neurogrid.fl.update import TrainerFactory
    from neurogrid.fl.uplink import Uplink


@dataclass(frozen=True)
class Training:
    """What a backend is made for.

    Attributes:
        factory: makes a trainer; called where agents run.
        n_weights: d.
        exchange: how the driver and others exchange weights and updates.
        spark: an open session; None where the backend needs none.
        pods: on Kubernetes, what replaces executors that are lost for good.
        uplink: how updates travel; None is as float32.
    """

    factory: "TrainerFactory"
    n_weights: int
    exchange: "ExchangeSettings"
    spark: "SparkSession | None" = None
    pods: "LostPods | None" = None
    uplink: "Uplink | None" = None


@dataclass(frozen=True)
class BackendSpec:
    """A backend.

    Attributes:
        name: in the config.
        words: where agents run.
        load: gives what makes one for a training; it has not been entered.
        needs_spark: whether a Spark session is opened for it.
    """

    name: str
    words: str
    load: "Callable[[], Callable[[Training], Backend]]"
    needs_spark: bool = False


def _inline() -> "Callable[[Training], Backend]":
    from neurogrid.backends.inline import InlineBackend  # noqa: PLC0415 - numpy only where agents run

    return lambda training: InlineBackend(training.factory, training.uplink)


def _spark() -> "Callable[[Training], Backend]":
    from neurogrid.backends.spark import SparkBackend  # noqa: PLC0415 - as above

    def made(training: Training) -> SparkBackend:
        if training.spark is None:
            raise ValueError("the spark backend needs a session")
        return SparkBackend(
            training.spark, training.factory, training.n_weights, training.exchange, training.pods, training.uplink
        )

    return made


BUILT_IN = {
    spec.name: spec
    for spec in (
        BackendSpec("spark", "resident Spark tasks", _spark, needs_spark=True),
        BackendSpec("inline", "this process, one agent after another", _inline),
    )
}
BACKENDS = Registry("backend", "neurogrid.backends", BackendSpec, BUILT_IN)

"""The one Spark session of a process, opened when it is needed: it takes seconds to start."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from neurogrid.config import Config
from neurogrid.pipeline.events import SILENT, Observer, Starting
from neurogrid.storage import place, refuse_unwritable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def when_needed(session: AbstractContextManager["SparkSession"]) -> Iterator[Callable[[], "SparkSession"]]:
    """Opens a session when it is first asked for: starting Spark takes seconds that some commands can spare."""
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(session))


@contextmanager
def session(config: Config, observer: Observer = SILENT) -> Iterator["SparkSession"]:
    """The session that the config describes; raises RunError where Spark does not start."""
    from neurogrid.session import spark_session  # noqa: PLC0415 - pyspark loads in a second

    refuse_unwritable(place(config.warehouse))
    master = config.spark.master
    starting = spark_session("neurogrid", master, config.spark.options, _spark_log(config))
    with ExitStack() as stack:
        with observer.during(Starting(master)):
            spark = stack.enter_context(starting)
        yield spark


def _spark_log(config: Config) -> Path | None:
    """Where Spark's log goes: a file in a local warehouse; otherwise the terminal, as pods' logs need."""
    if "://" in config.warehouse or not config.spark.master.startswith("local"):
        return None
    return Path(config.warehouse).expanduser() / "logs" / "spark.log"

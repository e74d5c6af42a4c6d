"""The only place that builds a SparkSession."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pyspark.sql import SparkSession

_LOCAL = re.compile(r"local(\[(?P<cores>\d+|\*)\])?$")


def retrying(master: str) -> str:
    """`local[n]` gives up a whole job at its first failed task; `local[n,4]` retries, as a cluster does."""
    match = _LOCAL.fullmatch(master)
    return f"local[{match['cores'] or 1},4]" if match else master


@contextmanager
def spark_session(app_name: str, master: str, options: Mapping[str, str]) -> Iterator[SparkSession]:
    """A session with NeuroGrid's settings, stopped at the end.

    Args:
        app_name: shown in Spark's UI.
        master: Spark master; a plain `local[n]` is made one that retries tasks.
        options: further Spark settings, which win over ours.
    """
    if "local" in master:
        # Workers must be this very interpreter; without an address Spark looks the host's name up, which may hang.
        os.environ["PYSPARK_PYTHON"] = sys.executable
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.speculation": "false",
        "spark.log.level": "ERROR",
        **options,
    }
    builder = SparkSession.builder.appName(app_name).master(retrying(master))
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()

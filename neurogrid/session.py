"""The only place that builds a SparkSession."""

import logging
import os
import pwd
import re
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import psutil
from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext, accumulators
from pyspark.errors import PySparkException
from pyspark.serializers import read_int
from pyspark.sql import SparkSession

from neurogrid import job_errors
from neurogrid.errors import RunError

# Readings stay in Arrow and Python, so a JVM starts tasks and little else: code that is compiled once, simply, and one
# thread that collects garbage cost it 45% less processor time in a step that takes ten seconds.
_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
CLASSES = Path(sys.prefix) / "share" / "neurogrid" / "classes.jsa"
"""Spark's classes as a JVM holds them, where setup/classes wrote them; a JVM that they don't fit loads classes anew."""
# What a JVM that ends before it answers leaves in the log: its own error, or that of the script that starts it.
_JVM_ENDED = re.compile(r"^(?:Error: |Exception in thread \"main\" )(.+)")
_NO_JAVA = re.compile(r"JAVA_HOME is not set|/java: No such file|java: command not found|UnsupportedClassVersionError")
_FEWEST_FILES = 1024
_LOOPBACK = "127.0.0.1"
_AGAIN_S = 0.1
_INTERRUPTED = threading.Event()
_LOCAL = re.compile(r"local(\[(?P<cores>\d+|\*)\])?$")


def retrying(master: str) -> str:
    """`local[n]` gives up a whole job at its first failed task; `local[n,4]` retries, as a cluster does."""
    match = _LOCAL.fullmatch(master)
    return f"local[{match['cores'] or 1},4]" if match else master


@contextmanager
def _stderr_to(log: Path | None) -> Iterator[None]:
    """What is started inside (the JVM, its workers) writes its stderr to `log`, for good; this process does not."""
    if log is None:
        yield
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    ours = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


@contextmanager
def spark_session(
    app_name: str, master: str, options: Mapping[str, str], log: Path | None = None
) -> Iterator[SparkSession]:
    """A session with NeuroGrid's settings, stopped at the end.

    Args:
        app_name: shown in Spark's UI.
        master: Spark master; a plain `local[n]` is made one that retries tasks. Empty where spark-submit started this
            process: then master, name and every setting that it was given stay as they are.
        options: further Spark settings, which win over ours.
        log: file for what Spark writes to stderr; None leaves it on the terminal.

    Raises:
        RunError: Spark does not start.
    """
    spark = _started(app_name, master, options, log)
    _INTERRUPTED.clear()
    _stop_quietly_on_ctrl_c()
    _accumulate_nothing(spark.sparkContext)
    try:
        try:
            with _no_interrupt_lost():
                yield spark
        finally:
            spark.stop()
    except Exception as error:
        # The JVM gets the signal too: which of its calls then fails, and how, is a matter of luck.
        if _INTERRUPTED.is_set():
            raise KeyboardInterrupt from error
        if isinstance(error, Py4JJavaError | PySparkException):
            raise _in_words(error, log) from error
        raise


def _started(app_name: str, master: str, options: Mapping[str, str], log: Path | None) -> SparkSession:
    local: dict[str, str] = {}
    if "local" in master:
        mapped = f" -XX:SharedArchiveFile={CLASSES} -Xlog:cds=off -Xlog:cds+dynamic=off" if CLASSES.exists() else ""
        local = {"spark.driver.extraJavaOptions": _JVM + mapped}
        # Workers must be this very interpreter; without an address Spark looks the host's name up, which may hang.
        os.environ["PYSPARK_PYTHON"] = sys.executable
        os.environ.setdefault("SPARK_LOCAL_IP", _LOOPBACK)
    written = log.stat().st_size if log and log.exists() else 0
    before = set(psutil.Process().children(recursive=True))
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.python.unix.domain.socket.enabled": "true",
        "spark.speculation": "false",
        "spark.log.level": "ERROR",
        **local,
        **options,
    }
    try:
        with _stderr_to(log):
            given = {} if master else _submitted()
            builder = SparkSession.builder
            if master:
                builder = builder.appName(app_name).master(retrying(master))
            for key, value in settings.items():
                builder = builder if key in given else builder.config(key, value)
            return builder.getOrCreate()
    except KeyboardInterrupt:
        # The JVM ignores Ctrl-C, and one that nobody has answered yet waits for ever.
        for process in set(psutil.Process().children(recursive=True)) - before:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        raise
    except Exception as error:  # py4j and pyspark raise several kinds without a common base
        cause = _why_not_started(error, log, written)
        raise RunError(
            f"Spark does not start on {master or 'the master that spark-submit was given'}",
            found=cause,
            fix="; ".join([*_advice(cause), *([f"Spark's own words are in {log}"] if log else [])]),
        ) from error


def _why_not_started(error: Exception, log: Path | None, written: int) -> str:
    """The cause in a line: of a JVM that never answered it stands in what has been `written` to the log since."""
    said = job_errors.reason(error)
    if "JAVA_GATEWAY_EXITED" not in said or log is None:
        return said
    with log.open("rb") as file:
        file.seek(written)
        text = file.read().decode(errors="replace")
    for line in text.splitlines():
        if ended := _JVM_ENDED.match(line):
            return ended[1]
        if _NO_JAVA.search(line):
            return line
    return said


def _advice(cause: str) -> Iterator[str]:
    """What to do about it: what of this machine or of its environment keeps Spark from starting."""
    if _NO_JAVA.search(cause):
        yield "Java 17 must be on the PATH or in JAVA_HOME"
    for name, harmless in (("SPARK_HOME", ""), ("PYSPARK_SUBMIT_ARGS", ""), ("SPARK_LOCAL_IP", _LOOPBACK)):
        if (value := os.environ.get(name, "")) not in ("", harmless):
            yield f"{name}={value} in the environment decides how Spark starts: unset it unless it is meant"
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < _FEWEST_FILES:
        yield f"only {files} files may be open (ulimit -n), Spark needs more: raise it to {_FEWEST_FILES} or above"
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        yield f"user {os.getuid()} has no name on this machine, which Java needs: run as one that has"


def _in_words(error: Exception, log: Path | None) -> RunError:
    """A job that failed: what its task raised, without the stacks of two languages around it."""
    return RunError(
        "a Spark job failed",
        found=job_errors.reason(error),
        fix=f"Spark's own words are in {log}" if log else "",
    )


def _submitted() -> dict[str, str]:
    """The settings that spark-submit gave to the JVM which started this process."""
    SparkContext._ensure_initialized()
    return dict(SparkConf().getAll())


def refuse_if_interrupted() -> None:
    """Raises KeyboardInterrupt where Ctrl-C has come since the session was opened.

    The JVM gets the signal too, so what a call to it raises then may be another error: for whoever would try again.
    """
    if _INTERRUPTED.is_set():
        raise KeyboardInterrupt


def _stop_quietly_on_ctrl_c() -> None:
    """Ctrl-C is a KeyboardInterrupt and nothing else, and is remembered.

    Spark's own handler asks the JVM to cancel from within the call that was interrupted, which fails in a page of
    tracebacks; stopping the session ends its jobs as well.
    """

    def stop(*_: object) -> None:
        _INTERRUPTED.set()
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, stop)
    # Disabled, not just set to a high level: to find out if a level is on, a logger takes the lock of all logging, and
    # a Ctrl-C in that moment leaves it taken. A thread that ends an object of py4j then waits for ever, and we for it.
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "py4j":
            logging.getLogger(name).disabled = True
    root = logging.getLogger()
    if _not_py4j not in root.filters:
        root.addFilter(_not_py4j)


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Raises a Ctrl-C again that came while an object was ended, where Python only reports what is raised.

    py4j's objects are ended anywhere, with a call to the JVM; a training would go on as if nobody had stopped it.
    """
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # Not from here, where it would be lost as well; a true signal also ends a wait for the JVM.
            again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


class _Unread:
    """Takes the place of pickle where tasks' updates of accumulators come in, and reads past them: we have none."""

    def _read_with_length(self, stream: BinaryIO) -> tuple[None, None]:
        stream.read(read_int(stream))
        return None, None


def _accumulate_nothing(context: SparkContext) -> None:
    """Spark's server of accumulators takes nothing in, and is quiet.

    Any task may send it pickled updates, and so could run its code in this process. It also prints a traceback when the
    JVM goes first, as it may after Ctrl-C; a JVM that has gone is raised by the call that needs it as well.
    """
    accumulators.pickleSer = _Unread()
    server = context._accumulatorServer
    say = server.handle_error

    def handle_error(request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | EOFError):
            say(request, client_address)

    server.handle_error = handle_error


def _not_py4j(record: logging.LogRecord) -> bool:
    """py4j logs a traceback for every call that Ctrl-C interrupts; what matters is raised as well."""
    return "py4j" not in record.pathname

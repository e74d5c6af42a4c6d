"""What a Spark session says, and does not say, when its JVM goes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pyspark.sql import SparkSession

JVM_GOES = """
import time
from neurogrid.session import spark_session
try:
    with spark_session("gone", "local[1]", {}) as spark:
        spark.sparkContext.parallelize([1], 1).map(lambda number: number).count()
        spark.sparkContext._gateway.proc.kill()
        time.sleep(2)
        spark.range(1).count()
except Exception as error:
    print("raised", type(error).__name__)
"""


@pytest.mark.slow
def test_a_jvm_that_goes_is_raised_and_not_printed_by_a_thread_beside() -> None:
    done = subprocess.run([sys.executable, "-c", JVM_GOES], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("raised ")
    assert "Exception occurred during processing of request" not in done.stderr


STARTS = """
from neurogrid.session import spark_session
# Without mapped classes (setup/classes), which would have it started sooner than the test stops it.
with spark_session("stopped", "local[1]", {"spark.driver.extraJavaOptions": "-XX:+UseSerialGC"}):
    print("started", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 0.7, 1.5, 2.2])
def test_ctrl_c_while_spark_starts_leaves_no_process(after_s: float) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as python:
        process = psutil.Process(python.pid)
        while not process.children():
            time.sleep(0.02)
        time.sleep(after_s)
        started = process.children(recursive=True)
        python.send_signal(signal.SIGINT)
        # A JVM that is left holds the pipe open.
        assert python.communicate(timeout=20)[0] == b""
    assert python.returncode == -signal.SIGINT
    psutil.wait_procs(started, timeout=5)
    assert not [left for left in started if left.is_running() and left.status() != psutil.STATUS_ZOMBIE]


FAILS = """
from neurogrid.session import spark_session
def full(number):
    raise OSError(28, "No space left on device")
with spark_session("full", "local[1]", {}) as spark:
    spark.sparkContext.parallelize([1], 1).map(full).collect()
"""


@pytest.mark.slow
def test_a_job_that_fails_is_told_by_what_its_task_raised() -> None:
    done = subprocess.run([sys.executable, "-c", FAILS], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-2:]
    assert last == [
        "neurogrid.errors.RunError: a Spark job failed",
        "  found: OSError: [Errno 28] No space left on device",
    ]


NOT_STARTED = {
    "spark-class: line 71: /nope/bin/java: No such file or directory": "Java 17 must be on the PATH or in JAVA_HOME",
    "JAVA_HOME is not set": "Java 17 must be on the PATH or in JAVA_HOME",
    "Error: Missing application resource.": "",
    'Exception in thread "main" java.lang.IllegalArgumentException: basedir must be absolute': "",
}
TRIES = """
import json, sys
from pathlib import Path
from neurogrid.errors import RunError
from neurogrid.session import spark_session
home = Path(sys.argv[1])
(home / "spark.log").write_text("Error: of the last time\\n")
for line in sys.argv[2:]:
    (home / "bin" / "spark-submit").write_text(f"#!/bin/sh\\necho a warning >&2\\necho '{line}' >&2\\nexit 1\\n")
    try:
        with spark_session("refused", "local[1]", {}, home / "spark.log"):
            pass
    except RunError as error:
        print(json.dumps([error.found, error.fix]))
"""


def test_a_spark_that_does_not_start_says_the_cause_and_blames_java_only_where_java_is_missing(tmp_path: Path) -> None:
    submit = tmp_path / "bin" / "spark-submit"
    submit.parent.mkdir()
    submit.touch(mode=0o755)
    done = subprocess.run(
        [sys.executable, "-c", TRIES, str(tmp_path), *NOT_STARTED],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"SPARK_HOME": str(tmp_path)},
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    for (line, advice), (found, fix) in zip(NOT_STARTED.items(), said, strict=True):
        assert found
        assert line.endswith(found)
        assert ("Java 17" in fix) == bool(advice)
        assert f"SPARK_HOME={tmp_path} in the environment" in fix
        assert fix.endswith(f"Spark's own words are in {tmp_path}/spark.log")


def test_a_local_jvm_compiles_simply(spark: SparkSession) -> None:
    runtime = spark._jvm.java.lang.management.ManagementFactory.getRuntimeMXBean()
    assert {"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"} <= set(runtime.getInputArguments())

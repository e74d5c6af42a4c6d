"""What a Spark session says, and does not say, when its JVM goes."""

import subprocess
import sys

import pytest

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

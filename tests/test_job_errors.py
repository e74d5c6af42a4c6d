"""A failed job is told by what its task raised last, or by what Java said."""

import pytest

from neurogrid.job_errors import reason

WORKER = """An exception was thrown from the Python worker:
Traceback (most recent call last):
  File "worker.py", line 4327, in invoke_udf
    run_process()
           ^^^^^^^
  File "task.py", line 12, in work
"""
CHAINED = """An exception was thrown from the Python worker:
Traceback (most recent call last):
  File "task.py", line 7, in work
ValueError: the first

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "task.py", line 9, in work
OSError: [Errno 28] No space left on device
"""
STAGE = """An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.
: org.apache.spark.SparkException: Job aborted: Python worker exited unexpectedly (crashed).
\tat org.apache.spark.api.python.BasePythonRunner.read(PythonRunner.scala:1136)
"""
IN_JAVA = """An error occurred while calling o1.collect.
: org.apache.spark.SparkException: Job aborted due to stage failure: PythonException: Traceback (most recent call last):
  File "task.py", line 9, in work
OSError: in Arrow
 SQLSTATE: 38000
\tat org.apache.spark.api.python.BasePythonRunner.handlePythonException(PythonRunner.scala:1097)
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WORKER + "KeyError: 'house'\n", "KeyError: 'house'"),
        (WORKER + "neurogrid.errors.RunError: A1 cannot\n  found: line 1\n  do it", "A1 cannot; found: line 1; do it"),
        (CHAINED, "OSError: [Errno 28] No space left on device"),
        (STAGE, "org.apache.spark.SparkException: Job aborted: Python worker exited unexpectedly (crashed)."),
        (IN_JAVA, "OSError: in Arrow"),
        ("[JAVA_GATEWAY_EXITED] Java gateway process exited.", "[JAVA_GATEWAY_EXITED] Java gateway process exited."),
        ("", "RuntimeError"),
        ("x" * 9999, "x" * 400),
    ],
)
def test_the_last_thing_that_was_raised_is_the_reason(text: str, said: str) -> None:
    assert reason(RuntimeError(text)) == said

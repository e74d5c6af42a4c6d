"""The barrier stage in which a teacher's ranks run: TorchDistributor, but for the way in which a result comes back.

TorchDistributor unpickles in the driver what rank 0 returns, and so would run the code of whoever has taken that rank
over. Here its task says it in JSON, and the driver takes nothing but a status.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.ml.torch.log_communication import LogStreamingServer
from pyspark.serializers import CPickleSerializer

from neurogrid.errors import RunError
from neurogrid.teacher.rank import DONE, GAVE_UP, REFUSED, Status

_MOST_BYTES = 1 << 16
_LISTENS_S = 1.0  # until the server of the ranks' words does
_WORDS = {DONE: {"status"}, GAVE_UP: {"status"}, REFUSED: {"status", "what", "found", "fix"}}


class RankStage(TorchDistributor):  # type: ignore[misc]
    """Ranks whose status the driver reads without running anything of theirs."""

    def _run_distributed_training(
        self,
        framework_wrapper_fn: Callable[..., Any],
        train_object: Callable[..., Any] | str,
        run_pytorch_file_fn: Callable[..., Any] | None,
        spark_dataframe: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Status:
        self._check_encryption()
        words = LogStreamingServer()
        self.driver_address = str(self.spark.conf.get("spark.driver.host"))
        words.start(spark_host_address=self.driver_address)
        time.sleep(_LISTENS_S)
        self.log_streaming_server_port = words.port
        body = self._get_spark_task_function(
            framework_wrapper_fn, train_object, run_pytorch_file_fn, spark_dataframe, *args, **kwargs
        )

        def in_json(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in body(batches):
                # Its own result, in the task that made it.
                status = CPickleSerializer().loads(b"".join(batch.column(0).to_pylist()))
                yield pa.RecordBatch.from_pydict({"status": [json.dumps(status)]})

        try:
            ranks = self.spark.range(0, self.num_tasks, 1, self.num_tasks)
            # Text that the JVM has read, and pickles itself. A Ctrl-C would wait in `toArrow` until the job has ended.
            answers = ranks.mapInArrow(in_json, "status string", barrier=True).collect()
        finally:
            words.shutdown()
        return status_of([answer["status"] for answer in answers])


def status_of(answers: list[str | None]) -> Status:
    """The status that the ranks have returned; raises RunError where it is none."""
    try:
        [said] = answers
        if said is None or len(said) > _MOST_BYTES:
            raise ValueError("no text, or a very long one")
        status = json.loads(said)
        if not isinstance(status, dict) or not all(isinstance(word, str) for word in status.values()):
            raise ValueError("not an object of words")
        if status.keys() != _WORDS.get(status.get("status", "")):
            raise ValueError("not a status that there is")
    except (ValueError, RecursionError) as error:
        raise RunError(
            "the teacher's ranks have not returned a status", found=f"{len(answers)} answers: {error}"
        ) from error
    return status

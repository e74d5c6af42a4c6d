"""What a driver in a pod does: jobs/<step>.py calls `main(step)`, and nothing else.

The config comes from a file; who the job is and what it comes after, from the environment (completion.py); master and
settings of Spark, from spark-submit. A driver may be started again at any moment: a step that was under way is gone on
with, one that had completed is left as it is. Exit codes are those of the command line.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from neurogrid.backends.pods import LostPods
from neurogrid.cli import lines, show
from neurogrid.cli.options import load_config
from neurogrid.cluster.launch import hand_on
from neurogrid.cluster.release import selector
from neurogrid.config import Config, refuse_guide_without_teacher
from neurogrid.errors import NeuroGridError, UsageError
from neurogrid.incluster import in_cluster
from neurogrid.pipeline import ingest, runs, steps
from neurogrid.pipeline.completion import COMPLETED, FAILED, RUNNING, Completion, Job, words
from neurogrid.pipeline.teach import do_teach, prepare
from neurogrid.session import spark_session
from neurogrid.storage import place

CONFIG = "/etc/neurogrid/config.yaml"
STOPPED = 130
PIPELINE = ("etl", "sample", "train", "evaluate")
"""What the step `pipeline` does, one after another in one driver: what a schedule can repeat as a whole."""

Made = dict[str, str]
Result = dict[str, Any]


def main(step: str) -> None:
    """Does the step as the pod's environment says; ends in words and an exit code."""
    # Kubernetes ends a pod with SIGTERM: leave as cleanly as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        run_job(step, os.environ)
    except NeuroGridError as problem:
        lines.emit("failed", **words(problem))
        show.error(problem)
        sys.exit(problem.exit_code)
    except KeyboardInterrupt:
        show.say("neurogrid: stopped; the job continues when its driver is started again")
        sys.exit(STOPPED)


def run_job(step: str, variables: Mapping[str, str]) -> Result:
    """One job from its predecessor's record to its own; returns the step's result.

    Args:
        step: which of `STEPS`, or `pipeline`.
        variables: the environment.
    """
    file = Path(variables.get("NEUROGRID_CONFIG") or CONFIG)
    config = load_config(file, None, {}, teacher_follows=True)
    job = Job.from_environment(step, variables)
    completion = Completion(place(config.warehouse), job)
    parts = PIPELINE if step == "pipeline" else (step,)
    lines.emit("started", job=job.name, step=step, run_id=_run_id(config, job) if "train" in parts else None)
    record = completion.done()
    if record is not None:
        show.say(f"job {job.name} has completed already, at {record['ended']}: nothing to do")
        lines.emit("unchanged", job=job.name, ended=record["ended"])
        _start_what_comes_after(job, variables)
        lines.emit("completed", job=job.name, result=record["result"])
        return dict(record["result"])
    made: Made = {}
    done: dict[str, Result] = {}
    try:
        made = completion.before()
        done, made_before = completion.begun()
        made |= made_before
        # One session for all: Spark takes away what executors find their driver by when a session ends.
        with _session(config, job) if len(parts) > 1 else nullcontext():
            for part in parts:
                completion.write(RUNNING, {}, made, done)
                if part not in done:
                    done[part] = STEPS[part](_with(config, made), job, made)
    except NeuroGridError as problem:
        completion.write(FAILED, words(problem), made, done)
        raise
    except Exception as error:  # a fault of ours: those who wait must not do so for ever
        what = f"{type(error).__name__}: {error}"
        completion.write(FAILED, {"what": what, "found": "", "fix": "", "exit_code": 1}, made, done)
        raise
    result = {**done["train"], **done} if step == "pipeline" else done[step]
    completion.write(COMPLETED, result, made)
    _start_what_comes_after(job, variables)
    lines.emit("completed", job=job.name, result=result)
    return result


def _start_what_comes_after(job: Job, variables: Mapping[str, str]) -> None:
    """Resumes the runs that waited for this one. Where that fails the driver does: the operator starts it once more."""
    api = in_cluster(variables)
    if api is None or not job.application or job.scheduled:
        return
    for name in hand_on(api, job.application, selector(job.release)):
        show.say(f"starting the next job, {name}")
        lines.emit("next", run=name)


def _with(config: Config, made: Made) -> Config:
    """The config, with what it leaves open taken from the jobs before."""
    return _set(
        config,
        {
            "sampling": {"manifest": config.sampling.manifest or made.get("manifest", "")},
            "rounds": {"teacher": config.rounds.teacher or made.get("teacher", "")},
        },
    )


def _set(config: Config, values: Mapping[str, Any]) -> Config:
    """The config with some values of some sections set anew, and checked again."""
    content = config.model_dump(mode="json")
    for name, value in values.items():
        content[name] = {**content[name], **value} if isinstance(value, Mapping) else value
    return Config.model_validate(content)


@contextmanager
def _session(config: Config, job: Job) -> Iterator[SparkSession]:
    """The session that spark-submit describes; started as a plain script, the one that the config describes.

    Within a pipeline it is the pipeline's, which lasts.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        yield active
        return
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    master = "" if submitted else config.spark.master
    with spark_session(f"{job.release}-{job.name}", master, config.spark.options) as spark:
        yield spark


def _etl(config: Config, job: Job, made: Made) -> Result:
    source = ingest.find_source(config)
    with ingest.when_needed(_session(config, job)) as spark:
        said = ingest.do_etl(config, spark, source)
    kept = ("files", "file_rows", "households", "slots", "cadence_minutes", "load_tiers", "faults", "seconds")
    return {key: said[key] for key in kept} | {"unusable": len(said["unusable"])}


def _sample(config: Config, job: Job, made: Made) -> Result:
    with _session(config, job) as spark:
        _, result = steps.do_sample(config, spark)
    made["manifest"] = result["manifest_id"]
    return result


def _teacher(config: Config, job: Job, made: Made) -> Result:
    wanted = prepare(_set(config, {"teacher": {"id": config.teacher.id or job.default_id}}), "", [])
    with _session(wanted, job) as spark:
        result = do_teach(wanted, spark, go_on=True)
    made["teacher"] = wanted.teacher.id
    return result


def _run_id(config: Config, job: Job) -> str:
    return config.run_id or job.default_id


def _train(config: Config, job: Job, made: Made) -> Result:
    refuse_guide_without_teacher(config)
    run_id = _run_id(config, job)
    wanted = _set(config, {"run_id": run_id})
    run = place(wanted.warehouse) / "runs" / run_id
    made["run"] = run_id
    resume = ""
    if (run / "run.json").exists():
        runs.refuse_another(wanted, runs.run_config(wanted.warehouse, run_id, []), run_id)
        if (run / "end.json").exists():
            show.say(f"run {run_id} has ended already: nothing to do")
            summary: Result = json.loads((run / "run_summary.json").read_bytes())
            return {**summary, "path": str(run)}
        resume = run_id
        wanted = runs.with_own_manifest(wanted, run_id)
    manifest = steps.find_manifest(wanted)
    if wanted.backend.kind == "inline":
        return steps.do_train(wanted, None, manifest, resume, lines.RoundLines, accept_break=True)
    api = in_cluster(os.environ)
    pods = LostPods(api, wanted.backend.replace_after_s) if api else None
    with _session(wanted, job) as spark:
        # Nobody is there to ask: a driver that comes up on another node, or after an upgrade, says it in the records.
        return steps.do_train(wanted, spark, manifest, resume, lines.RoundLines, pods, accept_break=True)


def _evaluate(config: Config, job: Job, made: Made) -> Result:
    run_id = config.run_id or made.get("run", "")
    if not run_id:
        raise UsageError(
            f"job {job.name} does not know which run to evaluate",
            found="no run_id in the config, and no run was made by the jobs before it",
            fix="set run_id, or run this job after a training job",
        )
    own = runs.run_config(config.warehouse, run_id, [])
    manifest_id = runs.run_manifest(own, run_id)
    wanted = own.model_copy(update={"evaluation": config.evaluation, "spark": config.spark})
    wanted = _set(wanted, {"sampling": {"manifest": manifest_id}})
    drawn = steps.find_manifest(wanted)
    with _session(wanted, job) as spark:
        result = steps.do_evaluate(wanted, spark, run_id, drawn)
    return {"run_id": run_id, "w_final_sha256": result["w_final_sha256"], **steps.do_report(wanted.warehouse, run_id)}


def _bench(config: Config, job: Job, made: Made) -> Result:
    from neurogrid.bench.scale import bench_spark  # noqa: PLC0415 - no other step needs it
    from neurogrid.pipeline import settings  # noqa: PLC0415

    with _session(config, job) as spark:
        table = bench_spark(spark, settings.exchange(config), (15, 100, 1000), config.rounds.count)
    target = place(config.warehouse) / "bench" / job.default_id
    table.write(target)
    show.say(table.to_markdown())
    return {"path": f"{target}.md", "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows]}


STEPS: dict[str, Callable[[Config, Job, Made], Result]] = {
    "etl": _etl,
    "sample": _sample,
    "teacher": _teacher,
    "train": _train,
    "evaluate": _evaluate,
    "bench": _bench,
}

"""What a driver in a pod does: one step of a release, from its predecessor's record to its own.

The config comes from a file; who the job is and what it comes after, from the environment (completion.py); master and
settings of Spark, from spark-submit. A driver may be started again at any moment: a step that was under way is gone on
with, one that had completed is left as it is.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import SparkSession

from neurogrid.backends.pods import LostPods
from neurogrid.cluster.launch import hand_on
from neurogrid.cluster.release import selector
from neurogrid.config import Config, refuse_guide_without_teacher
from neurogrid.errors import NeuroGridError, UsageError
from neurogrid.incluster import in_cluster
from neurogrid.pipeline import etl, plan, runs, sessions, settings, steps
from neurogrid.pipeline.completion import COMPLETED, FAILED, RUNNING, Completion, Job, words
from neurogrid.pipeline.etl_plan import plan_etl
from neurogrid.pipeline.events import SILENT, AlreadyTrained, JobChanged, Noted, Observer
from neurogrid.pipeline.teach_plan import plan_teaching
from neurogrid.pipeline.teaching import teach
from neurogrid.pipeline.training import train
from neurogrid.session import spark_session
from neurogrid.storage import place

PIPELINE = ("etl", "sample", "train", "evaluate")
"""What the step `pipeline` does, one after another in one driver: what a schedule can repeat as a whole."""

Made = dict[str, str]
Result = dict[str, Any]


@dataclass(frozen=True)
class _Driver:
    """The process that does a job: which job, its environment, who is told, and what it and jobs before have made."""

    job: Job
    variables: Mapping[str, str]
    observer: Observer
    made: Made = field(default_factory=dict)


def run_job(step: str, config: Config, variables: Mapping[str, str], observer: Observer = SILENT) -> Result:
    """One job from its predecessor's record to its own; returns the step's result.

    Args:
        step: which of `STEPS`, or `pipeline`.
        config: may leave open what the jobs before make: manifest, teacher, run.
        variables: the environment, which says which job this is.
        observer: told what goes on.
    """
    driver = _Driver(Job.from_environment(step, variables), variables, observer)
    job, made = driver.job, driver.made
    completion = Completion(place(config.warehouse), job)
    parts = PIPELINE if step == "pipeline" else (step,)
    run_id = _run_id(config, job) if "train" in parts else None
    observer.tell(JobChanged("started", {"job": job.name, "step": step, "run_id": run_id}))
    record = completion.done()
    if record is not None:
        observer.tell(JobChanged("unchanged", {"job": job.name, "ended": record["ended"]}))
        _start_what_comes_after(driver)
        observer.tell(JobChanged("completed", {"job": job.name, "result": record["result"]}))
        return dict(record["result"])
    done: dict[str, Result] = {}
    try:
        made |= completion.before()
        done, made_before = completion.begun()
        made |= made_before
        # One session for all: Spark takes away what executors find their driver by when a session ends.
        with _session(config, driver) if len(parts) > 1 else nullcontext():
            for part in parts:
                completion.write(RUNNING, {}, made, done)
                if part not in done:
                    done[part] = STEPS[part](_with(config, made), driver)
    except NeuroGridError as problem:
        completion.write(FAILED, words(problem), made, done)
        raise
    except Exception as error:  # a fault of ours: those who wait must not do so for ever
        what = f"{type(error).__name__}: {error}"
        completion.write(FAILED, {"what": what, "found": "", "fix": "", "exit_code": 1}, made, done)
        raise
    result = {**done["train"], **done} if step == "pipeline" else done[step]
    completion.write(COMPLETED, result, made)
    _start_what_comes_after(driver)
    observer.tell(JobChanged("completed", {"job": job.name, "result": result}))
    return result


def _start_what_comes_after(driver: _Driver) -> None:
    """Resumes the runs that waited for this one. Where that fails the driver does: the operator starts it once more."""
    api, job = in_cluster(driver.variables), driver.job
    if api is None or not job.application or job.scheduled:
        return
    for name in hand_on(api, job.application, selector(job.release)):
        driver.observer.tell(JobChanged("next", {"run": name}))


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
def _session(config: Config, driver: _Driver) -> Iterator[SparkSession]:
    """The session that spark-submit describes; started as a plain script, the one that the config describes.

    Within a pipeline it is the pipeline's, which lasts.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        yield active
        return
    submitted = "PYSPARK_GATEWAY_PORT" in driver.variables
    master = "" if submitted else config.spark.master
    with spark_session(f"{driver.job.release}-{driver.job.name}", master, config.spark.options) as spark:
        yield spark


def _etl(config: Config, driver: _Driver) -> Result:
    cleaning = plan_etl(config)
    with sessions.when_needed(_session(config, driver)) as spark:
        said = etl.figures(etl.etl(cleaning, spark, driver.observer))
    kept = ("files", "file_rows", "households", "slots", "cadence_minutes", "load_tiers", "faults", "seconds")
    return {key: said[key] for key in kept} | {"unusable": len(said["unusable"])}


def _sample(config: Config, driver: _Driver) -> Result:
    drawing = plan.plan_sampling(config)
    with _session(config, driver) as spark:
        result = steps.sampled(drawing.warehouse, steps.sample(drawing, spark, driver.observer))
    driver.made["manifest"] = result["manifest_id"]
    return result


def _teacher(config: Config, driver: _Driver) -> Result:
    wanted = _set(config, {"teacher": {"id": config.teacher.id or driver.job.default_id}})
    teaching = plan_teaching(wanted, go_on=True)
    with _session(wanted, driver) as spark:
        result = teach(teaching, spark, driver.observer)
    driver.made["teacher"] = wanted.teacher.id
    return result


def _run_id(config: Config, job: Job) -> str:
    return config.run_id or job.default_id


def _train(config: Config, driver: _Driver) -> Result:
    refuse_guide_without_teacher(config)
    run_id = _run_id(config, driver.job)
    wanted = _set(config, {"run_id": run_id})
    run = runs.folder(wanted, run_id)
    driver.made["run"] = run_id
    resume = ""
    if (run / "run.json").exists():
        runs.refuse_another(wanted, runs.run_config(wanted.warehouse, run_id, []), run_id)
        if runs.has_ended(run):
            summary: Result = json.loads((run / "run_summary.json").read_bytes())
            driver.observer.tell(AlreadyTrained(run_id, summary["rounds"], ""))
            return {**summary, "path": str(run)}
        resume = run_id
        wanted = runs.with_own_manifest(wanted, run_id)
    # Nobody is there to ask: a driver that comes up on another node, or after an upgrade, says it in the records.
    rounds = plan.plan_training(wanted, plan.find_manifest(wanted), resume, accept_break=True)
    if not rounds.backend.needs_spark:
        return train(rounds, None, driver.observer)
    api = in_cluster(driver.variables)
    pods = LostPods(api, rounds.replace_after_s) if api else None
    with _session(wanted, driver) as spark:
        return train(rounds, spark, driver.observer, pods)


def _evaluate(config: Config, driver: _Driver) -> Result:
    run_id = config.run_id or driver.made.get("run", "")
    if not run_id:
        raise UsageError(
            f"job {driver.job.name} does not know which run to evaluate",
            found="no run_id in the config, and no run was made by the jobs before it",
            fix="set run_id, or run this job after a training job",
        )
    own = runs.run_config(config.warehouse, run_id, [])
    wanted = own.model_copy(update={"evaluation": config.evaluation, "spark": config.spark})
    scoring = plan.plan_evaluation(wanted, run_id)
    with _session(wanted, driver) as spark:
        record = steps.evaluate(scoring, spark, driver.observer)
    page = steps.report(scoring.warehouse, run_id, driver.observer)
    return {"run_id": run_id, "w_final_sha256": record["w_final_sha256"], "path": str(page)}


def _bench(config: Config, driver: _Driver) -> Result:
    from neurogrid.bench.scale import bench_spark  # noqa: PLC0415 - no other step needs it

    with _session(config, driver) as spark:
        table = bench_spark(spark, settings.exchange(config), (15, 100, 1000), config.rounds.count)
    target = place(config.warehouse) / "bench" / driver.job.default_id
    table.write(target)
    driver.observer.tell(Noted(table.to_markdown()))
    return {"path": f"{target}.md", "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows]}


STEPS: dict[str, Callable[[Config, _Driver], Result]] = {
    "etl": _etl,
    "sample": _sample,
    "teacher": _teacher,
    "train": _train,
    "evaluate": _evaluate,
    "bench": _bench,
}

"""Values that cannot work are refused before anything is made, in words that say what to do."""

import json

import pytest
from rendering import SYNTHETIC, Chart, find, merged

from neurogrid.config import load
from neurogrid.errors import ConfigError

ONCE = {"storage": {"claim": {"accessMode": "ReadWriteOnce"}}}
STRICT = {"jobDefaults": {"spread": {"whenUnsatisfiable": "DoNotSchedule"}}}
S3 = {"storage": {"kind": "s3", "s3": {"bucket": "meters"}}}
ALLOCATION = {"dynamicAllocation": {"enabled": True}}

NIGHTLY = {"enabled": True, "step": "pipeline", "schedule": "@daily"}
TEACHER_ON_GPUS = {"enabled": True, "executor": {"gpu": {"quantity": 1}}}

PAIRS = {
    "no readings": ({"data": {"kind": "none"}}, "jobs.etl has no readings"),
    "claim without name": ({"storage": {"kind": "existing"}}, "storage.existingClaim is empty"),
    "bucket without name": ({"storage": {"kind": "s3"}}, "storage.s3.bucket is empty"),
    "history on S3": (merged(S3, {"history": {"enabled": True}}), "history.enabled needs a claim"),
    "data claim without name": ({"data": {"kind": "existing"}}, "data.existingClaim is empty"),
    "URI without one": ({"data": {"kind": "uri"}}, "data.uri is empty"),
    "URI without credentials": ({"data": {"kind": "uri", "uri": "s3://a/b"}}, "storage.kind is claim"),
    "nothing to fetch": ({"data": {"kind": "fetch"}}, "data.fetch.urls is empty"),
    "ingress without domain": ({"ui": {"ingress": {"enabled": True}}}, "ui.ingress.domain is empty"),
    "webhook": ({"spark-operator": {"webhook": {"enable": True}}}, "spark-operator.webhook.enable must be false"),
    "tasks": ({"config": {"backend": {"tasks": 5}}}, "more tasks than the executors have slots"),
    "ranks": (
        {"jobs": {"teacher": {"enabled": True, "config": {"teacher": {"ranks": 5}}}}},
        "teacher.ranks 5, 2 executors with 2 cores are 4 slots",
    ),
    "ranks by default": (
        {"jobs": {"teacher": {"enabled": True, "executor": {"instances": 1, "cores": 1}}}},
        "teacher.ranks 2, 1 executors with 1 cores are 1 slots",
    ),
    "GPUs of training": ({"jobs": {"train": {"executor": {"gpu": {"quantity": 1}}}}}, "GPUs are for the teacher"),
    "GPUs for a CPU": (
        {"config": {"teacher": {"device": "cpu"}}, "jobs": {"teacher": TEACHER_ON_GPUS}},
        "its GPUs would stay idle",
    ),
    "no GPUs": (
        {"config": {"teacher": {"device": "gpu"}}, "jobs": {"teacher": {"enabled": True}}},
        "its executors have none",
    ),
    "ranks without GPUs": (
        {"config": {"teacher": {"ranks": 3}}, "jobs": {"teacher": TEACHER_ON_GPUS}},
        "teacher.ranks 3, 2 executors with 1 GPUs are 2",
    ),
    "allocation of training": ({"jobs": {"train": ALLOCATION}}, "dynamic allocation is not sound for step train"),
    "allocation of a teacher": ({"jobs": {"teacher": ALLOCATION}}, "dynamic allocation is not sound for step teacher"),
    "allocation out of bounds": (
        {"jobs": {"etl": {**ALLOCATION, "executor": {"instances": 9}}}},
        "minExecutors <= executor.instances <= dynamicAllocation.maxExecutors must hold",
    ),
    "one node and spread": (merged(ONCE, STRICT), "a ReadWriteOnce claim keeps all pods on one node"),
    "after nobody": ({"jobs": {"train": {"after": "etll"}}}, 'there is no job "etll"'),
    "circle": ({"jobs": {"etl": {"after": "evaluate"}}}, "jobs wait for each other in a circle"),
    "after itself": ({"jobs": {"etl": {"after": "etl"}}}, "jobs wait for each other in a circle"),
    "no such step": ({"jobs": {"trian": {"enabled": True}}}, "no step is called trian"),
    "two schedules": (
        {"jobs": {job: {"schedule": "@daily"} for job in ("etl", "sample")}},
        "last time's completion would count for this time",
    ),
    "pipeline without readings": (
        {"data": {"kind": "none"}, "jobs": {"etl": {"enabled": False}, "nightly": NIGHTLY}},
        "jobs.nightly has no readings",
    ),
    "tasks of a pipeline": (
        {"jobs": {"nightly": {**NIGHTLY, "config": {"backend": {"tasks": 5}}}}},
        "jobs.nightly: more tasks than the executors have slots",
    ),
    "allocation of a pipeline": (
        {"jobs": {"nightly": {**NIGHTLY, **ALLOCATION}}},
        "dynamic allocation is not sound for step pipeline",
    ),
    "warehouse": ({"config": {"warehouse": "s3://a"}}, "config.warehouse is not yours to set"),
    "path": ({"jobs": {"etl": {"config": {"source": {"path": "x"}}}}}, "config.source.path is not yours to set"),
    "port": ({"config": {"backend": {"port": 1}}}, "config.backend.port is not yours to set"),
    "address": ({"config": {"backend": {"bind_address": "::"}}}, "config.backend.bind_address is not yours to set"),
    "master": ({"config": {"spark": {"master": "local"}}}, "config.spark.master is not yours to set"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_an_impossible_pair_is_refused_with_what_was_found_and_what_to_do(chart: Chart, name: str) -> None:
    values, words = PAIRS[name]
    said = chart.refusal(merged(SYNTHETIC, values))
    assert words in said
    assert "\n  found: " in said or "  found: " in said


CONFIG_PAIRS = {
    "nobody trimmed": ({"aggregation": {"rule": "trimmed_mean", "byzantine_share": 0.01}}, "would trim nobody"),
    "too few for f": ({"rounds": {"agents_per_round": 9}, "aggregation": {"byzantine_share": 0.45}}, "2f + 3 = 11"),
    "fewer agents than a round asks": (
        {"sampling": {"agents": 8}, "aggregation": {"byzantine_share": 0.4}},
        "8 agents, f = 3",
    ),
    "minimum above a round": ({"rounds": {"min_agents": 16}}, "rounds.min_agents 16"),
    "districts": ({"sampling": {"agents": 20, "districts": 21}}, "sampling.districts 21"),
    "nobody to learn from": ({"local": {"distill_weight": 0.5}}, "local.distill_weight needs a teacher"),
    "no time to test on": ({"etl": {"train_share": 0.8, "validation_share": 0.2}}, "below 1"),
}


@pytest.mark.parametrize("name", CONFIG_PAIRS)
def test_a_pair_of_config_keys_that_the_driver_would_refuse_is_refused_before_it_starts(
    chart: Chart, name: str
) -> None:
    config, words = CONFIG_PAIRS[name]
    with pytest.raises(ConfigError):
        load(json.dumps(config))
    assert words in chart.refusal(merged(SYNTHETIC, {"jobs": {"train": {"config": config}}}))


def test_agents_may_learn_from_a_teacher_that_a_job_before_them_makes(chart: Chart) -> None:
    guided = {"config": {"local": {"distill_weight": 0.5}}, "jobs": {"teacher": {"enabled": True}}}
    config = find(chart.render(merged(SYNTHETIC, guided)), "ConfigMap", "ng-train-config")["data"]["config.yaml"]
    assert load(config, teacher_follows=True).local.distill_weight == 0.5
    assert "needs a teacher" in chart.refusal(merged(SYNTHETIC, guided, {"jobs": {"train": {"after": "sample"}}}))


@pytest.mark.parametrize("agents", [9, 11, 100])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.29, 0.3, 0.34, 0.4, 0.45])
def test_the_chart_bears_as_many_malicious_agents_as_the_driver(chart: Chart, agents: int, share: float) -> None:
    config = {
        "sampling": {"agents": agents, "districts": 1},
        "rounds": {"agents_per_round": agents, "min_agents": 1},
        "aggregation": {"byzantine_share": share, "rule": "trimmed_mean"},
    }
    try:
        load(json.dumps(config))
    except ConfigError:
        assert "found: " in chart.refusal(merged(SYNTHETIC, {"config": config}))
    else:
        chart.render(merged(SYNTHETIC, {"config": config}))


def test_a_namespace_that_the_operator_does_not_watch_is_refused(chart: Chart) -> None:
    said = chart.refusal(SYNTHETIC, namespace="meters")
    assert "--set 'spark-operator.spark.jobNamespaces={meters}'" in said


def test_a_release_name_that_leaves_spark_no_letters_is_refused(chart: Chart) -> None:
    assert "is too long" in chart.refusal(SYNTHETIC, release="a-release-with-a-very-long-name-of-its-own")


WRONG = {
    "unknown key": ({"storge": {}}, "additional properties 'storge' not allowed"),
    "unknown key inside": ({"storage": {"bucket": "x"}}, "additional properties 'bucket' not allowed"),
    "unknown config key": ({"config": {"rounds": {"cuont": 1}}}, "'/config/rounds': additional properties 'cuont'"),
    "config out of range": ({"config": {"rounds": {"count": 0}}}, "'/config/rounds/count': minimum: got 0, want 1"),
    "config of a wrong type": ({"config": {"seed": "x"}}, "'/config/seed': got string, want integer"),
    "config not in the list": ({"config": {"aggregation": {"rule": "magic"}}}, "'/config/aggregation/rule'"),
    "a job's config": ({"jobs": {"train": {"config": {"model": {"hidden": -1}}}}}, "'/jobs/train/config/model/hidden'"),
    "a job's unknown key": ({"jobs": {"train": {"executors": 3}}}, "additional properties 'executors' not allowed"),
    "an operator's key": ({"spark-operator": {"webook": {"enable": False}}}, "'webook' not allowed"),
    "an operator's key inside": ({"spark-operator": {"spark": {"jobNamespace": "x"}}}, "'jobNamespace' not allowed"),
    "no cores": ({"jobs": {"train": {"executor": {"cores": 0}}}}, "'/jobs/train/executor/cores': minimum"),
    "half a core": ({"jobs": {"train": {"executor": {"cores": 0.5}}}}, "'/jobs/train/executor/cores'"),
    "a part of a GPU": ({"jobs": {"teacher": {"executor": {"gpu": {"name": "nvidia.com/mig-1g.5gb"}}}}}, "gpu/name'"),
    "memory by another unit": ({"jobDefaults": {"driver": {"memory": "1Gi"}}}, "'/jobDefaults/driver/memory'"),
    "kind of storage": ({"storage": {"kind": "nfs"}}, "'/storage/kind'"),
    "access mode": ({"storage": {"claim": {"accessMode": "ReadOnlyMany"}}}, "'/storage/claim/accessMode'"),
    "a job's name": ({"jobs": {"Train": {}}}, "'Train'"),
    "a name that is taken": ({"jobs": {"history": {"step": "etl"}}}, "'history'"),
    "cron line": ({"jobs": {"etl": {"schedule": "daily"}}}, "'/jobs/etl/schedule'"),
    "hash of what is fetched": ({"data": {"fetch": {"urls": ["https://a/b#md5=1"]}}}, "'/data/fetch/urls/0'"),
    "bucket with a scheme": ({"storage": {"s3": {"bucket": "s3://x"}}}, "'/storage/s3/bucket'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused_by_the_schema(chart: Chart, name: str) -> None:
    values, words = WRONG[name]
    said = chart.refusal(merged(SYNTHETIC, values))
    assert "don't meet the specifications of the schema" in said
    assert words in said

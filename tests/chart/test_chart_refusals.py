"""Values that cannot work are refused before anything is made, in words that say what to do."""

import pytest
from rendering import SYNTHETIC, Chart, merged

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
    "forgotten kind of storage": ({"storage": {"s3": {"bucket": "meters"}}}, "add --set storage.kind=s3"),
    "forgotten kind of readings": ({"data": {"existingClaim": "raw"}}, "add --set data.kind=existing"),
    "one pod's claim": (
        {"storage": {"claim": {"accessMode": "ReadWriteOncePod"}}},
        "cannot serve a driver and its executors",
    ),
    "ingress without domain": ({"ui": {"ingress": {"enabled": True}}}, "ui.domain is empty"),
    "ingress that nobody reaches": ({"ui": {"domain": "a.org", "ingress": {"enabled": True}}}, "ui.from is empty"),
    "no gateway": (
        {"ui": {"domain": "a.org", "gateway": {"enabled": True}}, "network": {"enabled": False}},
        "ui.gateway.parentRefs is empty",
    ),
    "queued allocation": ({"queue": "meters", "jobs": {"etl": ALLOCATION}}, "queue meters, jobs.etl"),
    "memory twice": (
        {"jobs": {"train": {"sparkConf": {"spark.executor.memory": "9g"}}}},
        "set jobs.train.executor.memory",
    ),
    "memory in the config's options": (
        {"config": {"spark": {"options": {"spark.driver.memory": "9g"}}}},
        "jobs.etl: config.spark.options may not set spark.driver.memory",
    ),
    "the release's environment": (
        {"jobDefaults": {"env": [{"name": "NEUROGRID_JOB", "value": "x"}]}},
        "jobs.etl.env may not set NEUROGRID_JOB",
    ),
    "the storage's environment": (
        merged(S3, {"jobDefaults": {"env": [{"name": "AWS_REGION", "value": "x"}]}}),
        "set storage.s3.region",
    ),
    "a part of a GPU": (
        {"jobs": {"teacher": {"executor": {"gpu": {"quantity": 1, "name": "nvidia.com/mig-1g.5gb"}}}}},
        "MIG strategy `single`",
    ),
    "webhook": ({"spark-operator": {"webhook": {"enable": True}}}, "spark-operator.webhook.enable must be false"),
    "GPUs of training": ({"jobs": {"train": {"executor": {"gpu": {"quantity": 1}}}}}, "GPUs are for the teacher"),
    "GPUs for a CPU": (
        {"config": {"teacher": {"device": "cpu"}}, "jobs": {"teacher": TEACHER_ON_GPUS}},
        "its GPUs would stay idle",
    ),
    "allocation of training": ({"jobs": {"train": ALLOCATION}}, "dynamic allocation is not sound for step train"),
    "allocation of a teacher": ({"jobs": {"teacher": ALLOCATION}}, "dynamic allocation is not sound for step teacher"),
    "allocation out of bounds": (
        {"jobs": {"etl": {**ALLOCATION, "executor": {"instances": 9}}}},
        "minExecutors <= executor.instances <= dynamicAllocation.maxExecutors must hold",
    ),
    "one node and spread": (merged(ONCE, STRICT), "a ReadWriteOnce claim keeps all pods on one node"),
    "a job taken away": ({"jobs": {"train": None}}, "switched off by jobs.<job>.enabled=false, and not by null"),
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
    assert "\n  found: " in said


def test_a_namespace_that_the_operator_does_not_watch_is_refused(chart: Chart) -> None:
    said = chart.refusal(SYNTHETIC, namespace="meters")
    assert "--set 'spark-operator.spark.jobNamespaces={meters}'" in said


@pytest.mark.parametrize("release", ["my.release", "7eleven"])
def test_a_release_name_that_can_begin_no_services_name_is_refused(chart: Chart, release: str) -> None:
    assert f"found: {release}" in chart.refusal(SYNTHETIC, release=release)


def test_a_release_name_that_leaves_spark_no_letters_is_refused(chart: Chart) -> None:
    assert "is too long" in chart.refusal(SYNTHETIC, release="a-release-with-a-very-long-name-of-its-own")


WRONG = {
    "unknown key": ({"storge": {}}, "additional properties 'storge' not allowed"),
    "unknown key inside": ({"storage": {"bucket": "x"}}, "additional properties 'bucket' not allowed"),
    "unknown config key": ({"config": {"rounds": {"cuont": 1}}}, "'/config/rounds': additional properties 'cuont'"),
    "config out of range": ({"config": {"rounds": {"count": 0}}}, "'/config/rounds/count': minimum: got 0, want 1"),
    "config of a wrong type": ({"config": {"seed": "x"}}, "'/config/seed': got string, want integer"),
    "config not in the list": ({"config": {"aggregation": {"scope": "magic"}}}, "'/config/aggregation/scope'"),
    "a job's config": ({"jobs": {"train": {"config": {"model": {"hidden": -1}}}}}, "'/jobs/train/config/model/hidden'"),
    "a job's unknown key": ({"jobs": {"train": {"executors": 3}}}, "additional properties 'executors' not allowed"),
    "no cores": ({"jobs": {"train": {"executor": {"cores": 0}}}}, "'/jobs/train/executor/cores': minimum"),
    "half a core": ({"jobs": {"train": {"executor": {"cores": 0.5}}}}, "'/jobs/train/executor/cores'"),
    "memory by a unit that is two": ({"jobDefaults": {"driver": {"memory": "1G"}}}, "'/jobDefaults/driver/memory'"),
    "a digest that is none": ({"image": {"digest": "sha256:12"}}, "'/image/digest'"),
    "a tag that was cut": ({"image": {"tag": 1.0}}, "'/image/tag'"),
    "names anywhere by an empty list": ({"network": {"dns": []}}, "'/network/dns'"),
    "the release's label": ({"commonLabels": {"app.kubernetes.io/instance": "x"}}, "'app.kubernetes.io/instance'"),
    "the release's label of a pod": ({"exporter": {"labels": {"neurogrid.io/job": "x"}}}, "'neurogrid.io/job'"),
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

"""What the chart makes of its values."""

import re
from types import SimpleNamespace
from typing import cast

import yaml
from pyspark.sql import SparkSession
from rendering import NAMESPACE, SYNTHETIC, Chart, all_of, application, environment, find, jobs, merged, pods

from neurogrid.cluster.application import cores
from neurogrid.config import Config
from neurogrid.teacher.distribute import device_for

S3 = {
    "storage": {
        "kind": "s3",
        "s3": {"bucket": "meters", "prefix": "a/b/", "endpoint": "http://s3:7070", "secret": "keys"},
    }
}


def test_jobs_are_spark_applications_of_their_entry_files(chart: Chart) -> None:
    kept = jobs(chart.render(SYNTHETIC))
    files = {job: application["spec"]["mainApplicationFile"] for job, application in kept.items()}
    names = ("etl", "sample", "teacher", "train", "evaluate")
    assert files == {job: f"local:///opt/neurogrid/jobs/{job}.py" for job in names}
    assert {application["metadata"]["namespace"] for application in kept.values()} == {NAMESPACE}


def test_every_job_can_be_submitted_by_hand_from_what_the_release_keeps(chart: Chart) -> None:
    documents = chart.render(SYNTHETIC)
    kept = find(documents, "ConfigMap", "ng-jobs")["data"]
    assert set(kept) == {"etl.yaml", "sample.yaml", "teacher.yaml", "train.yaml", "evaluate.yaml"}
    for name in kept:
        find(documents, "ConfigMap", f"ng-{name.removesuffix('.yaml')}-config")


def test_a_config_is_the_releases_then_the_jobs_then_where_the_release_keeps_things(chart: Chart) -> None:
    values = {"config": {"seed": 7, "rounds": {"count": 5}}, "jobs": {"train": {"config": {"rounds": {"count": 9}}}}}
    documents = chart.render(merged(SYNTHETIC, values))

    def config(job: str) -> Config:
        return Config.model_validate(
            yaml.safe_load(find(documents, "ConfigMap", f"ng-{job}-config")["data"]["config.yaml"])
        )

    assert (config("etl").rounds.count, config("train").rounds.count) == (5, 9)
    assert {config(job).seed for job in ("etl", "sample", "train", "evaluate")} == {7}
    assert config("train").warehouse == "/warehouse"
    assert config("train").backend.port == 7080
    assert config("etl").source.path.startswith("/data/synthetic-")


def test_the_same_values_make_the_same_objects_at_an_install_and_at_an_upgrade_on_any_cluster(chart: Chart) -> None:
    for flags in (("--is-upgrade",), ("--api-versions", "policy/v1beta1"), ("--kube-version", "1.30.0")):
        assert chart.render(SYNTHETIC, flags=flags) == chart.render(SYNTHETIC), flags
    specs = [application["spec"] for application in jobs(chart.render(SYNTHETIC)).values()]
    assert not any("helm.sh/chart" in str(spec) for spec in specs)


def test_no_template_asks_a_cluster(chart: Chart) -> None:
    """helm install, helm template and Argo CD then make the same, also for somebody who may look at little."""
    for template in (chart.path / "templates").rglob("*.*"):
        assert not re.search(r"\blookup\b", template.read_text()), template


def test_a_schedule_makes_a_scheduled_application_of_the_same_template(chart: Chart) -> None:
    values = {"jobs": {"etl": {"schedule": "0 3 * * 1", "timeZone": "Europe/Zurich"}}}
    documents = chart.render(merged(SYNTHETIC, values))
    scheduled = find(documents, "ScheduledSparkApplication", "ng-etl")
    assert (scheduled["spec"]["schedule"], scheduled["spec"]["timeZone"]) == ("0 3 * * 1", "Europe/Zurich")
    assert environment({"spec": scheduled["spec"]["template"]})["NEUROGRID_SCHEDULED"] == "true"


def test_a_second_training_is_a_further_key(chart: Chart) -> None:
    job = {"enabled": True, "step": "train", "after": "sample", "config": {"aggregation": {"rule": "median"}}}
    spec = application(chart, "train-median", {"jobs": {"train-median": job}})["spec"]
    assert spec["mainApplicationFile"].endswith("/train.py")


def test_every_pod_passes_the_restricted_standard_with_a_read_only_root(chart: Chart) -> None:
    documents = chart.render(merged(SYNTHETIC, {"history": {"enabled": True}}))
    ours = {name: pod["spec"] for name, pod in pods(documents).items()}
    assert {"ng-exporter", "ng-history", "ng-train-audit", "train driver", "teacher executor"} <= set(ours)
    operators = [d["spec"]["template"]["spec"] for d in all_of(documents, "Deployment") if "operator" in str(d)]
    for pod in [*ours.values(), *operators]:
        for container in pod["containers"] + pod.get("initContainers", []):
            security = pod["securityContext"] | container["securityContext"]
            assert security["runAsNonRoot"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in pod.get("volumes", []):
            assert set(volume) - {"name"} <= {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}


def test_only_drivers_the_exporter_and_who_submits_have_a_token(chart: Chart) -> None:
    documents = chart.render(merged(SYNTHETIC, {"history": {"enabled": True}}))
    tokens = {name for name, pod in pods(documents).items() if pod["spec"]["automountServiceAccountToken"]}
    (submit,) = (d["metadata"]["name"] for d in all_of(documents, "Job"))
    assert tokens == {"ng-exporter", submit, *(f"{job} driver" for job in jobs(documents))}


def test_the_drivers_role_is_bounded_to_what_spark_does(chart: Chart) -> None:
    rules = find(chart.render(SYNTHETIC), "Role", "ng-driver")["rules"]
    assert {resource for rule in rules for resource in rule["resources"]} == {
        "pods",
        "configmaps",
        "services",
        "persistentvolumeclaims",
        "sparkapplications",
    }
    assert all("*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"] for rule in rules)


def test_rpc_is_authenticated_and_encrypted_and_needs_no_webhook(chart: Chart) -> None:
    conf = application(chart, "train")["spec"]["sparkConf"]
    for key in ("spark.authenticate", "spark.network.crypto.enabled", "spark.io.encryption.enabled"):
        assert conf[key] == "true"
    assert not all_of(chart.render(SYNTHETIC), "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


def test_own_spark_settings_win(chart: Chart) -> None:
    values = {"jobDefaults": {"sparkConf": {"spark.network.timeout": "90s"}}}
    assert application(chart, "etl", values)["spec"]["sparkConf"]["spark.network.timeout"] == "90s"


def test_claims_outlive_the_release(chart: Chart) -> None:
    claims = all_of(chart.render(SYNTHETIC), "PersistentVolumeClaim")
    assert {claim["metadata"]["name"] for claim in claims} == {"ng-warehouse", "ng-data"}
    assert all(claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for claim in claims)


def test_existing_claims_are_mounted_and_none_is_made(chart: Chart) -> None:
    values = {
        "storage": {"kind": "existing", "existingClaim": "big", "subPath": "ng"},
        "data": {"kind": "existing", "existingClaim": "raw", "subPath": "2026"},
    }
    documents = chart.render(values)
    assert not all_of(documents, "PersistentVolumeClaim")
    pod = jobs(documents)["etl"]["spec"]["executor"]["template"]["spec"]
    claims = {
        v["name"]: v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v
    }
    assert claims == {"warehouse": "big", "data": "raw"}
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    assert (mounts["warehouse"]["subPath"], mounts["data"]["subPath"], mounts["data"]["readOnly"]) == (
        "ng",
        "2026",
        True,
    )


def test_readings_are_mounted_where_the_etl_runs_and_nowhere_else(chart: Chart) -> None:
    kept = jobs(chart.render(SYNTHETIC))
    assert {job for job, spark in kept.items() if "mountPath: /data" in yaml.safe_dump(spark)} == {"etl"}


def test_an_object_store_takes_its_keys_from_the_secret(chart: Chart) -> None:
    documents = chart.render(merged(S3, {"data": {"kind": "uri", "uri": "s3://meters/raw"}}))
    assert not all_of(documents, "PersistentVolumeClaim")
    for role in ("driver", "executor"):
        spark = jobs(documents)["train"]
        container = spark["spec"][role]["template"]["spec"]["containers"][0]
        assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
        assert environment(spark, role)["AWS_ENDPOINT_URL"] == "http://s3:7070"
    config = yaml.safe_load(find(documents, "ConfigMap", "ng-etl-config")["data"]["config.yaml"])
    assert (config["warehouse"], config["source"]["path"]) == ("s3://meters/a/b", "s3://meters/raw")


def test_fetched_readings_come_by_an_init_container_of_the_etl_alone(chart: Chart) -> None:
    urls = ["https://example.org/heapo.zip#sha256=" + "0" * 64]
    documents = chart.render({"data": {"kind": "fetch", "fetch": {"urls": urls}}})
    with_init = {
        job: spark["spec"]["driver"]["template"]["spec"]["initContainers"][0]["args"]
        for job, spark in jobs(documents).items()
        if "initContainers" in spark["spec"]["driver"]["template"]["spec"]
    }
    config = yaml.safe_load(find(documents, "ConfigMap", "ng-etl-config")["data"]["config.yaml"])
    assert with_init == {"etl": ["fetch", config["source"]["path"], "--if-missing", *urls]}


def test_a_read_write_once_claim_gathers_every_pod_on_one_node(chart: Chart) -> None:
    many = {"storage": {"claim": {"accessMode": "ReadWriteMany"}}}
    for values, gathers in (({}, True), (many, False)):
        for name, pod in pods(chart.render(merged(SYNTHETIC, values))).items():
            apart = name.startswith("ng-submit-")  # mounts no claim
            assert ("affinity" in pod["spec"]) == (gathers and not apart), name


def test_places_are_chosen_by_role(chart: Chart) -> None:
    values = {
        "jobs": {
            "train": {
                "driver": {"priorityClassName": "high", "tolerations": [{"key": "spot", "operator": "Exists"}]},
                "executor": {"nodeSelector": {"disk": "fast"}},
                "spread": {"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"},
            }
        }
    }
    spec = application(chart, "train", values)["spec"]
    driver, executor = (spec[role]["template"]["spec"] for role in ("driver", "executor"))
    assert (driver["priorityClassName"], driver["tolerations"][0]["key"]) == ("high", "spot")
    assert executor["nodeSelector"] == {"disk": "fast"}
    spread = executor["topologySpreadConstraints"][0]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "DoNotSchedule")
    assert spread["labelSelector"]["matchLabels"]["spark-role"] == "executor"


def test_dynamic_allocation_bounds_the_executors(chart: Chart) -> None:
    values = {"jobs": {"etl": {"dynamicAllocation": {"enabled": True, "minExecutors": 1, "maxExecutors": 8}}}}
    allocation = application(chart, "etl", values)["spec"]["dynamicAllocation"]
    assert allocation == {"enabled": True, "initialExecutors": 2, "minExecutors": 1, "maxExecutors": 8}


def test_a_teachers_executors_ask_spark_for_the_gpus_that_its_ranks_need(chart: Chart) -> None:
    on = {"enabled": True, "executor": {"gpu": {"quantity": 2, "name": "amd.com/gpu"}}}
    documents = chart.render(merged(SYNTHETIC, {"jobs": {"teacher": on}}))
    conf = jobs(documents)["teacher"]["spec"]["sparkConf"]
    found = {key: value for key, value in conf.items() if ".resource." in key}
    assert found == {
        "spark.executor.resource.gpu.amount": "2",
        "spark.executor.resource.gpu.vendor": "amd.com",
        "spark.executor.resource.gpu.discoveryScript": "/opt/gpus.sh",
        "spark.task.resource.gpu.amount": "1",
    }
    spark = SimpleNamespace(sparkContext=SimpleNamespace(getConf=lambda: conf))
    assert device_for(cast(SparkSession, spark), "auto") == "gpu"
    assert ".resource." not in str(jobs(documents)["train"]["spec"]["sparkConf"])


def test_an_executor_has_as_many_slots_as_it_has_both_cores_and_gpus_for(chart: Chart) -> None:
    for gpus, slots in ((0, 2), (1, 1), (4, 2)):
        on = {"enabled": True, "executor": {"cores": 2, "gpu": {"quantity": gpus}}}
        values = {"config": {"teacher": {"ranks": 1}}, "jobs": {"teacher": on}}
        assert cores(application(chart, "teacher", values)) == slots


def test_the_history_server_reads_the_event_logs_that_drivers_write(chart: Chart) -> None:
    documents = chart.render(merged(SYNTHETIC, {"history": {"enabled": True}}))
    history = find(documents, "Deployment", "ng-history")["spec"]["template"]["spec"]["containers"][0]
    spark = jobs(documents)["train"]["spec"]
    driver = spark["driver"]["template"]["spec"]["containers"][0]
    assert spark["sparkConf"]["spark.eventLog.dir"] == "file:///spark-events"
    mounts = [
        next(mount for mount in container["volumeMounts"] if mount["mountPath"] == "/spark-events")
        for container in (history, driver)
    ]
    assert mounts[0] == mounts[1]
    find(documents, "Service", "ng-history")


def test_the_exporter_reads_the_warehouse_and_may_look_at_jobs_only(chart: Chart) -> None:
    documents = chart.render(SYNTHETIC)
    container = find(documents, "Deployment", "ng-exporter")["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][:5] == ["exporter", "--warehouse", "/warehouse", "--port", "9108"]
    assert all(m["readOnly"] for m in container["volumeMounts"] if m["name"] == "warehouse")
    rules = find(documents, "Role", "ng-exporter")["rules"]
    assert rules == [
        {"apiGroups": ["sparkoperator.k8s.io"], "resources": ["sparkapplications"], "verbs": ["get", "list"]}
    ]
    find(documents, "Service", "ng-exporter")
    off = chart.render(merged(SYNTHETIC, {"exporter": {"enabled": False}}))
    assert not [d for d in off if "exporter" in d["metadata"]["name"]]


def test_without_the_operator_nothing_of_it_is_made(chart: Chart) -> None:
    documents = chart.render(merged(SYNTHETIC, {"spark-operator": {"enabled": False}}), namespace="elsewhere")
    assert not [d for d in documents if "operator" in d["metadata"]["name"]]
    assert not all_of(documents, "ClusterRole", "ClusterRoleBinding")


def test_two_releases_in_one_namespace_share_no_object_and_select_no_pod_of_the_other(chart: Chart) -> None:
    first = chart.render(merged(SYNTHETIC, {"history": {"enabled": True}}))
    second = chart.render(
        merged(SYNTHETIC, {"history": {"enabled": True}, "spark-operator": {"enabled": False}}), "other"
    )
    names = [{(d["kind"], d["metadata"]["name"]) for d in documents} for documents in (first, second)]
    assert not names[0] & names[1]
    for policy in all_of(second, "NetworkPolicy"):
        assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "other"


def test_the_notes_say_what_to_do_next(chart: Chart) -> None:
    notes = chart.notes(SYNTHETIC)
    for words in (
        "train (after sample)",
        "get sparkapplications",
        "helm test ng",
        "port-forward",
        "delete pvc ng-warehouse",
    ):
        assert words in notes
    idle = chart.notes({"jobs": {job: {"enabled": False} for job in ("etl", "sample", "train", "evaluate")}})
    assert "neurogrid k8s submit etl" in idle
    assert "port-forward service/ng-train-ui 4040" in notes
    assert "The readings are made up." in notes
    assert "train" not in idle.partition("Spark's UI")[2].partition("\n\n")[0]

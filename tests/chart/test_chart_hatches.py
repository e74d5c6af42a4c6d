"""What a platform team adds to a chart that it has not written: places, labels, volumes, identities, pins."""

import json
from typing import Any

import pytest
from rendering import SYNTHETIC, Chart, all_of, application, find, jobs, merged, pods

HATCHES: dict[str, Any] = {
    "nodeSelector": {"pool": "steady"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
    "priorityClassName": "high",
    "runtimeClassName": "gvisor",
    "labels": {"azure.workload.identity/use": "true"},
    "annotations": {"sidecar.istio.io/inject": "false"},
    "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "volumeMounts": [{"name": "ca", "mountPath": "/ca"}],
}
COMPONENTS = ("exporter", "history", "submit", "test")
EVERYWHERE: dict[str, Any] = {
    "history": {"enabled": True},
    "image": {"pullSecrets": ["registry"]},
    "commonLabels": {"team": "grid"},
    "jobDefaults": dict.fromkeys(("driver", "executor"), HATCHES),
}
EVERYWHERE = merged(EVERYWHERE, dict.fromkeys(COMPONENTS, HATCHES))
DIGEST = "sha256:" + "0a" * 32


def test_every_pod_has_what_the_values_of_its_kind_add(chart: Chart) -> None:
    documents = chart.render(EVERYWHERE)
    found = pods(documents)
    assert {"ng-exporter", "ng-history", "ng-train-audit", "etl driver", "etl executor"} <= set(found)
    assert any(name.startswith("ng-submit-") for name in found)
    for name, pod in found.items():
        metadata, spec = pod["metadata"], pod["spec"]
        assert metadata["labels"].items() >= {"team": "grid", **HATCHES["labels"]}.items(), name
        assert metadata["annotations"].items() >= HATCHES["annotations"].items(), name
        for key in ("nodeSelector", "tolerations", "priorityClassName", "runtimeClassName"):
            assert spec[key] == HATCHES[key], (name, key)
        # The claim's own rule stays beside what was asked for, where there is a claim.
        claim = any("persistentVolumeClaim" in volume for volume in spec["volumes"])
        assert set(spec["affinity"]) == {"nodeAffinity", *(["podAffinity"] if claim else [])}, name
        assert HATCHES["volumes"][0] in spec["volumes"], name
        assert HATCHES["volumeMounts"][0] in spec["containers"][0]["volumeMounts"], name
    own = [pod["spec"] for name, pod in found.items() if name.startswith("ng-")]
    assert all(spec["imagePullSecrets"] == [{"name": "registry"}] for spec in own)
    assert all(spark["spec"]["imagePullSecrets"] == ["registry"] for spark in jobs(documents).values())


def test_pod_affinity_of_the_values_is_kept_beside_the_claims(chart: Chart) -> None:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "cache"}}}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    pod = pods(chart.render({"exporter": {"affinity": affinity}}))["ng-exporter"]["spec"]
    terms = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms[0] == term
    assert [one["topologyKey"] for one in terms] == ["zone", "kubernetes.io/hostname"]


def test_a_release_may_be_called_otherwise_than_with_helm(chart: Chart) -> None:
    def objects(values: dict[str, Any], release: str) -> str:
        found = chart.render({**values, "spark-operator": {"enabled": False}}, release=release)
        return json.dumps(found)

    assert objects({"nameOverride": "ng"}, "team-a.energy.neurogrid") == objects({}, "ng")


def test_common_labels_are_on_every_object_but_select_nothing(chart: Chart) -> None:
    documents = chart.render({"commonLabels": {"team": "grid"}})
    for document in documents:
        if "operator" not in document["metadata"]["name"] and document["kind"] != "PersistentVolumeClaim":
            assert document["metadata"]["labels"].get("team") == "grid", document["metadata"]["name"]
    for document in all_of(documents, "Service", "NetworkPolicy", "Deployment"):
        assert "team" not in str(document["spec"].get("selector", document["spec"].get("podSelector")))


def test_a_running_drivers_node_is_left_alone_by_autoscalers_unless_values_say_otherwise(chart: Chart) -> None:
    ours = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
    spec = application(chart, "train")["spec"]
    assert spec["driver"]["template"]["metadata"]["annotations"].items() >= ours.items()
    assert not ours.keys() & spec["executor"]["template"]["metadata"].get("annotations", {}).keys()
    off = {"jobDefaults": {"driver": {"annotations": dict.fromkeys(ours)}}}
    metadata = application(chart, "train", off)["spec"]["driver"]["template"]["metadata"]
    assert not ours.keys() & metadata.get("annotations", {}).keys()


@pytest.mark.parametrize("change", [{"submit": {"labels": {"a": "b"}}}, {"image": {"pullPolicy": "Always"}}])
def test_a_submitting_job_whose_pods_change_is_another_one(chart: Chart, change: dict[str, Any]) -> None:
    """Kubernetes lets nobody change the pods of a Job that is there."""
    before, after = (all_of(chart.render(values), "Job")[0]["metadata"]["name"] for values in ({}, change))
    assert before != after
    assert before == all_of(chart.render({"rbac": {"user": {"create": False}}}), "Job")[0]["metadata"]["name"]


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ({}, "ghcr.io/neurogrid/spark:0.1.0"),
        ({"tag": 20261101}, "ghcr.io/neurogrid/spark:20261101"),
        ({"tag": "0123"}, "ghcr.io/neurogrid/spark:0123"),
        ({"repository": "localhost:5000/ng/spark", "digest": DIGEST}, f"localhost:5000/ng/spark@{DIGEST}"),
    ],
)
def test_an_image_is_named_by_tag_or_by_digest(chart: Chart, image: dict[str, Any], name: str) -> None:
    documents = chart.render({"image": image})
    assert {spark["spec"]["image"] for spark in jobs(documents).values()} == {name}
    assert pods(documents)["ng-exporter"]["spec"]["containers"][0]["image"] == name


def test_a_tag_of_digits_may_come_from_the_command_line(chart: Chart) -> None:
    documents = chart.render({}, flags=("--set", "image.tag=20261101"))
    assert jobs(documents)["etl"]["spec"]["image"].endswith(":20261101")


def test_a_platform_may_choose_users_and_groups(chart: Chart) -> None:
    left = {"podSecurityContext": dict.fromkeys(["runAsUser", "runAsGroup", "fsGroup"])}
    for name, pod in pods(chart.render(left)).items():
        context = pod["spec"]["securityContext"]
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(context), name
        assert context["runAsNonRoot"] is True


def test_service_accounts_have_the_annotations_of_all_and_their_own(chart: Chart) -> None:
    values = {
        "serviceAccountAnnotations": {"cloud/role": "all"},
        "serviceAccounts": {"executor": {"annotations": {"cloud/role": "reader"}}},
    }
    accounts = all_of(chart.render(merged(values, {"spark-operator": {"enabled": False}})), "ServiceAccount")
    found = {account["metadata"]["name"]: account["metadata"]["annotations"] for account in accounts}
    assert found.pop("ng-executor") == {"cloud/role": "reader"}
    assert {"ng-driver", "ng-exporter", "ng-submit"} <= set(found)
    assert all(annotations == {"cloud/role": "all"} for annotations in found.values())


def test_further_ways_out_are_open_to_every_pod(chart: Chart) -> None:
    rule = {"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}], "ports": [{"protocol": "TCP", "port": 80}]}
    values = {"network": {"extraEgress": [rule]}, "storage": {"kind": "s3", "s3": {"bucket": "meters"}}}
    documents = chart.render(merged(SYNTHETIC, values))
    for name in ("ng-train-driver", "ng-train-executors", "ng-exporter", "ng-test", "ng-submit", "ng-operator"):
        assert rule in find(documents, "NetworkPolicy", name)["spec"]["egress"], name


@pytest.mark.parametrize(
    ("said", "sparks"), [("2g", "2g"), ("2Gi", "2g"), ("512Mi", "512m"), ("1.5g", "1536m"), ("0.5Gi", "512m")]
)
def test_memory_may_be_said_as_spark_or_as_kubernetes_says_it(chart: Chart, said: str, sparks: str) -> None:
    driver = application(chart, "etl", {"jobs": {"etl": {"driver": {"memory": said, "memoryOverhead": said}}}})
    assert (driver["spec"]["driver"]["memory"], driver["spec"]["driver"]["memoryOverhead"]) == (sparks, sparks)


@pytest.mark.parametrize("request_", [0.5, "500m", 2])
def test_cores_may_be_asked_for_as_a_number(chart: Chart, request_: object) -> None:
    spec = application(chart, "etl", {"jobs": {"etl": {"driver": {"coreRequest": request_}}}})["spec"]
    assert spec["driver"]["coreRequest"] == str(request_)


@pytest.mark.parametrize(("given", "made"), [("", None), ("fast", "fast"), ("-", "")])
def test_a_storage_class_is_the_clusters_a_named_one_or_none(chart: Chart, given: str, made: str | None) -> None:
    claim = {"claim": {"storageClass": given}}
    for one in all_of(chart.render({"storage": claim, "data": claim}), "PersistentVolumeClaim"):
        assert one["spec"].get("storageClassName") == made

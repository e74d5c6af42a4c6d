"""What the chart renders is what Kubernetes and the operator take: by their schemas, and by a real API server."""

import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from rendering import ROOT, SYNTHETIC, Chart, jobs, merged

PRIORITY = "system-cluster-critical"
EVERYTHING = merged(
    SYNTHETIC,
    {
        "storage": {"claim": {"accessMode": "ReadWriteOnce", "storageClass": "standard"}, "subPath": "2026"},
        "image": {"pullSecrets": ["registry"]},
        "history": {"enabled": True},
        "ui": {
            "domain": "example.org",
            "from": [{"podSelector": {"matchLabels": {"app": "traefik"}}}],
            "ingress": {"enabled": True, "className": "traefik", "tlsSecret": "cert", "annotations": {"a": "b"}},
        },
        "network": {
            "monitoring": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 5432}]}],
        },
        "tracing": {"endpoint": "http://collector:4318"},
        "serviceAccountAnnotations": {"cloud/role": "meters"},
        "jobDefaults": {
            "driver": {
                "tolerations": [{"key": "spot", "operator": "Exists"}],
                "priorityClassName": "system-cluster-critical",
            },
            "executor": {"nodeSelector": {"disk": "fast"}, "annotations": {"a": "b"}},
            "env": [{"name": "A", "value": "b"}],
            "timeToLiveSeconds": 86400,
        },
        "jobs": {
            "teacher": {"enabled": True},
            "etl": {"dynamicAllocation": {"enabled": True}},
            "evaluate": {"schedule": "0 3 * * *"},
        },
    },
)
S3 = {
    "storage": {
        "kind": "s3",
        "s3": {"bucket": "meters", "prefix": "1", "endpoint": "http://s3:7070", "secret": "keys"},
    },
    "data": {"kind": "uri", "uri": "s3://meters/raw"},
}
FETCHED = {"data": {"kind": "fetch", "fetch": {"urls": ["https://example.org/heapo.zip"]}}}
EXAMPLES = {file.stem: yaml.safe_load(file.read_text()) for file in sorted((ROOT / "k8s" / "values").glob("*.yaml"))}
KINDS = {"defaults": SYNTHETIC, "everything": EVERYTHING, "S3": S3, "fetched": FETCHED} | EXAMPLES
CORE = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / "v1.34.0-local-strict"


NATIVE = ("ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment", "Ingress", "Job", "NetworkPolicy")
NATIVE += ("PersistentVolumeClaim", "Pod", "Role", "RoleBinding", "Service", "ServiceAccount")


@pytest.fixture(scope="session")
def schemas(chart: Chart, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kubernetes' own kinds and the operator's CRDs as JSON schemas, closed as a strict API server has them."""
    folder = tmp_path_factory.mktemp("schemas")
    # Each file refers to one of all definitions by an address on the web: put them into it.
    definitions = (CORE / "_definitions.json").read_text().replace("/api/_definitions.json#", "#")
    parts = json.loads(definitions)["$defs"]
    for file in CORE.glob("*-v1.json"):
        schema = json.loads(file.read_text().replace("/api/_definitions.json#", "#"))
        kind = schema.get("x-kubernetes-group-version-kind", [{}])[0].get("kind")
        if kind in NATIVE:
            schema.pop("$id")
            own = schema | {"$defs": referred_to(schema, parts)}
            (folder / f"{kind.lower()}-v1.json").write_text(json.dumps(own))
    archive = next((chart.path / "charts").glob("*.tgz"))
    with tarfile.open(archive) as tar:
        for member in tar:
            if "/crds/" in member.name:
                crd = yaml.load(tar.extractfile(member), yaml.CSafeLoader)["spec"]
                for version in crd["versions"]:
                    schema = close(version["schema"]["openAPIV3Schema"])
                    (folder / f"{crd['names']['kind'].lower()}-{version['name']}.json").write_text(json.dumps(schema))
    return folder


def referred_to(schema: dict, parts: dict[str, dict]) -> dict[str, dict]:
    """The definitions that a schema needs, near or far: kubeconform compiles all that it gets, which takes seconds."""
    found: dict[str, dict] = {}
    left = [schema]
    while left:
        for name in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(left.pop())):
            if name not in found:
                found[name] = parts[name]
                left.append(parts[name])
    return found


def close(schema: dict) -> dict:
    """Nothing beside the properties that are named; metadata is checked by nobody's CRD."""
    result = {key: close(value) if isinstance(value, dict) else value for key, value in schema.items()}
    if isinstance(result.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result["additionalProperties"] = False
    return result


@pytest.fixture(scope="module")
def judged(chart: Chart, schemas: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """What kubeconform says of each object, by the values it comes from; one process, so that it reads schemas once."""
    if not shutil.which("kubeconform"):
        pytest.skip("kubeconform is not on the PATH")
    folder = tmp_path_factory.mktemp("rendered")
    for kind, values in KINDS.items():
        (folder / f"{kind}.yaml").write_text("\n---\n".join(map(json.dumps, every_object(chart, values))))
    command = ["kubeconform", "-strict", "-output", "json", "-verbose", "-skip", "CustomResourceDefinition"]
    command += ["-schema-location", str(schemas) + "/{{.ResourceKind}}-{{.ResourceAPIVersion}}.json", str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found: dict[str, list[dict[str, str]]] = {kind: [] for kind in KINDS}
    for verdict in json.loads(said)["resources"]:
        found[Path(verdict["filename"]).stem].append(verdict)
    return found


def every_object(chart: Chart, values: dict[str, Any]) -> list[dict[str, Any]]:
    documents = chart.render(values)
    return [*documents, *jobs(documents).values()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_conforms_to_the_schema_of_its_kind(
    chart: Chart, judged: dict[str, list[dict[str, str]]], kind: str
) -> None:
    assert [verdict for verdict in judged[kind] if verdict["status"] != "statusValid"] == []
    assert len(judged[kind]) == len(every_object(chart, KINDS[kind]))


def kubectl(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = ["kubectl", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def space(chart: Chart) -> Iterator[str]:
    """A namespace on a real API server that knows the operator's CRDs."""
    if not os.environ.get("KUBECONFIG") or not shutil.which("kubectl"):
        pytest.skip("KUBECONFIG names no cluster, or kubectl is not on the PATH")
    crds = subprocess.run(["helm", "show", "crds", str(chart.path)], capture_output=True, text=True, check=True).stdout
    assert kubectl("apply", "--server-side", "-f", "-", text=crds).returncode == 0
    assert kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", "-", text=crds).returncode == 0
    # Established kinds are not yet those that the server tells its clients of.
    deadline = time.monotonic() + 60
    while kubectl("get", "sparkapplications", "--all-namespaces").returncode and time.monotonic() < deadline:
        time.sleep(0.5)
    crd = ["crd/sparkapplications.sparkoperator.k8s.io", "crd/scheduledsparkapplications.sparkoperator.k8s.io"]
    assert kubectl("wait", "--for=condition=Established", "--timeout=60s", *crd).returncode == 0
    assert kubectl("create", "namespace", "dry-run").returncode == 0
    # Admission looks a pod's account up, also in a dry run.
    assert kubectl("create", "serviceaccount", "dry-executor", "-n", "dry-run").returncode == 0
    yield "dry-run"
    kubectl("delete", "namespace", "dry-run", "--wait=false")


@pytest.mark.cluster
@pytest.mark.parametrize("kind", KINDS)
def test_a_real_api_server_takes_every_object(chart: Chart, space: str, kind: str) -> None:
    """By a dry run on the server: admission, defaults and strict validation, nothing made."""
    values = merged(KINDS[kind], {"spark-operator": {"spark": {"jobNamespaces": [space]}}})
    documents = chart.render(values, release="dry", namespace=space)
    documents += jobs(documents, "dry").values()
    apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts"]
    done = kubectl(*apply, "-n", space, "-f", "-", text="\n---\n".join(map(json.dumps, documents)))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(documents)

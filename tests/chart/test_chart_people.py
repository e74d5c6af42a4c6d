"""Ways in for people: browsers to the Spark UIs, and a role for whoever runs `neurogrid k8s`."""

import inspect
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any

import pytest
from kubernetes import client
from rendering import SYNTHETIC, Chart, all_of, find, jobs, merged

from neurogrid.cluster.api import Cluster

CONTROLLER = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}}}]
UI = {"ui": {"domain": "example.org", "from": CONTROLLER}, "history": {"enabled": True}}
SERVICES = {
    **{f"ng-{job}.example.org": (f"ng-{job}-ui", 4040) for job in ("etl", "sample", "train", "evaluate")},
    "ng-history.example.org": ("ng-history", 18080),
}


def test_a_service_leads_to_the_drivers_of_each_job_whoever_submitted_them(chart: Chart) -> None:
    documents = chart.render(SYNTHETIC)
    for job, spark in jobs(documents).items():
        service = find(documents, "Service", f"ng-{job}-ui")["spec"]
        assert [port["port"] for port in service["ports"]] == [4040]
        wanted = dict(service["selector"])
        assert wanted.pop("spark-role") == "driver", "Spark's own label of a driver's pod"
        assert spark["spec"]["driver"]["template"]["metadata"]["labels"].items() >= wanted.items()


def test_one_ingress_has_every_name_and_one_certificate_of_them_all(chart: Chart) -> None:
    ingress = {"enabled": True, "className": "traefik", "tlsSecret": "cert", "annotations": {"a": "b"}}
    documents = chart.render(merged(UI, {"ui": {"ingress": ingress}}))
    (made,) = all_of(documents, "Ingress")
    backends = {rule["host"]: rule["http"]["paths"][0]["backend"]["service"] for rule in made["spec"]["rules"]}
    assert {host: (one["name"], one["port"]["number"]) for host, one in backends.items()} == SERVICES
    assert made["spec"]["tls"] == [{"hosts": sorted(SERVICES), "secretName": "cert"}]
    assert (made["spec"]["ingressClassName"], made["metadata"]["annotations"]) == ("traefik", {"a": "b"})
    assert not all_of(documents, "HTTPRoute")
    for name, _ in SERVICES.values():
        find(documents, "Service", name)


def test_a_gateway_has_a_route_for_every_name(chart: Chart) -> None:
    gateway = {"enabled": True, "parentRefs": [{"name": "shared", "namespace": "gateways"}]}
    documents = chart.render(merged(UI, {"ui": {"gateway": gateway}}))
    made = {}
    for route in all_of(documents, "HTTPRoute"):
        (host,), (rule,) = route["spec"]["hostnames"], route["spec"]["rules"]
        (backend,) = rule["backendRefs"]
        made[host] = (backend["name"], backend["port"])
        assert route["spec"]["parentRefs"] == gateway["parentRefs"]
    assert made == SERVICES
    assert not all_of(documents, "Ingress")


def test_the_controllers_pods_reach_the_uis_and_nobody_else_does(chart: Chart) -> None:
    def doors(values: dict[str, Any]) -> set[str]:
        found = set()
        for policy in all_of(chart.render(values), "NetworkPolicy"):
            for rule in policy["spec"].get("ingress", []):
                if rule["from"] == CONTROLLER:
                    assert {port["port"] for port in rule["ports"]} <= {4040, 18080}
                    found.add(policy["metadata"]["name"])
        return found

    drivers = {f"ng-{job}-driver" for job in ("etl", "sample", "teacher", "train", "evaluate")}
    assert doors(UI) == {*drivers, "ng-history"}
    assert doors({"history": {"enabled": True}}) == set()


class Recorder:
    """An API server that answers everybody and keeps what was asked for."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, str, str]] = set()
        recorder = self

        class Api(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                recorder.asked.add(rule(self.command, self.path))
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b'{"items": [{"metadata": {}}], "metadata": {"resourceVersion": "1"}}'
                if "watch=" in self.path:
                    body = b'{"type": "ADDED", "object": {}}\n'
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def rule(method: str, path: str) -> tuple[str, str, str]:
    """What RBAC makes of a request to a namespace: group, resource, verb."""
    plain, _, query = path.partition("?")
    found = re.fullmatch(r"/(?:api|apis/([^/]+))/[^/]+/namespaces/[^/]+/([^/]+)(?:/([^/]+)(?:/([^/]+))?)?", plain)
    assert found, path
    group, resource, name, part = found.groups()
    verbs = {"GET": "get" if name else "list", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
    verb = "watch" if "watch=" in query else verbs[method]
    return group or "", resource + (f"/{part}" if part else ""), verb


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_the_role_for_people_is_exactly_what_the_commands_ask_the_api_server_for(
    chart: Chart, recorder: Recorder
) -> None:
    configuration = client.Configuration(host=f"http://127.0.0.1:{recorder.server.server_port}")
    cluster = Cluster(client.ApiClient(configuration), "meters", configuration.host)
    for name, call in inspect.getmembers(cluster, inspect.ismethod):
        if name.startswith("_") or inspect.isclass(call.__self__):
            continue
        needed = [p for p in inspect.signature(call).parameters.values() if p.default is p.empty]
        answer = call(*({} if "dict" in str(p.annotation) or "Mapping" in str(p.annotation) else "x" for p in needed))
        if inspect.isgenerator(answer):
            list(islice(answer, 2))
    rules = find(chart.render(SYNTHETIC), "Role", "ng-user")["rules"]
    granted = {
        (group, resource, verb)
        for one in rules
        for group in one["apiGroups"]
        for resource in one["resources"]
        for verb in one["verbs"]
    }
    assert granted == recorder.asked


def test_the_role_for_people_is_given_to_whom_the_values_name(chart: Chart) -> None:
    subjects = [{"kind": "Group", "name": "analysts", "apiGroup": "rbac.authorization.k8s.io"}]
    values = {"rbac": {"user": {"subjects": subjects}}}
    binding = find(chart.render(values), "RoleBinding", "ng-user")
    assert (binding["subjects"], binding["roleRef"]["name"]) == (subjects, "ng-user")
    plain = chart.render(SYNTHETIC)
    assert "ng-user" not in {one["metadata"]["name"] for one in all_of(plain, "RoleBinding")}
    off = chart.render({"rbac": {"user": {"create": False}}})
    assert "ng-user" not in json.dumps(off)


def test_the_clusters_role_edit_gets_the_same_rules_only_when_asked(chart: Chart) -> None:
    tenant = {"spark-operator": {"enabled": False}}
    assert not all_of(chart.render(tenant), "ClusterRole")
    documents = chart.render(merged(tenant, {"rbac": {"user": {"aggregate": True}}}))
    (made,) = all_of(documents, "ClusterRole")
    assert made["metadata"]["name"] == "neurogrid-ng-user"
    assert made["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert made["rules"] == find(documents, "Role", "ng-user")["rules"]

"""Kubernetes' API from inside a pod, with the pod's own service account and the standard library.

Drivers resume what comes after them and remove lost pods with it, the exporter lists jobs, and a release's submit job
makes them. The image leaves the Kubernetes client out: these few calls are not worth 126 MB in every pod. Outside of
pods `neurogrid.cluster.api` does the same with that client.
"""

import http.client
import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from neurogrid.errors import RunError

Object = dict[str, Any]
State = Literal["well", "lost", "gone", "strange"]

CREDENTIALS = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts what a pod needs to use its API."""
MERGE = "application/merge-patch+json"
_APPLICATIONS = "/apis/sparkoperator.k8s.io/v1beta2/namespaces/{}/sparkapplications"
_CORE = "/api/v1/namespaces/{}/"
_TIMEOUT_S = 10.0
_TRIES = 3


@dataclass(frozen=True)
class PodApi:
    """The API of the cluster that this pod runs in, for one namespace.

    Attributes:
        address: host and port of the API server.
        credentials: folder with `ca.crt` and `token`, which is read anew for each call, since it changes.
        namespace: where all objects are.
    """

    address: tuple[str, int]
    credentials: Path
    namespace: str

    # ---- SparkApplications and what they are made of; each raises RunError where the API does not do it

    def applications(self, selector: str) -> list[Object]:
        """SparkApplications with these labels."""
        return self._list(_APPLICATIONS.format(quote(self.namespace)), selector)

    def application(self, name: str) -> Object | None:
        """The SparkApplication of this name, if there is one."""
        return self._get(f"{_APPLICATIONS.format(quote(self.namespace))}/{quote(name)}")

    def create_application(self, application: Object) -> Object:
        """Makes a SparkApplication."""
        return self._done("POST", _APPLICATIONS.format(quote(self.namespace)), application)

    def patch_application(self, name: str, change: Mapping[str, Any]) -> None:
        """Changes a SparkApplication by a merge patch."""
        self._done("PATCH", f"{_APPLICATIONS.format(quote(self.namespace))}/{quote(name)}", change)

    def delete_application(self, name: str) -> None:
        """Deletes a SparkApplication, and with it what it owns; one that is not there is no error."""
        with suppress(_AbsentError):
            self._done("DELETE", f"{_APPLICATIONS.format(quote(self.namespace))}/{quote(name)}", {})

    def config_maps(self, selector: str, *, everywhere: bool = False) -> list[Object]:
        """ConfigMaps of the namespace with these labels; a pod's account may not look elsewhere."""
        return [] if everywhere else self._list(self._core("configmaps"), selector)

    def config_map(self, name: str) -> Object | None:
        """The ConfigMap of this name, if there is one."""
        return self._get(self._core(f"configmaps/{quote(name)}"))

    def pods(self, selector: str) -> list[Object]:
        """Pods with these labels."""
        return self._list(self._core("pods"), selector)

    # ---- executors' pods, for a training that has lost one; each raises OSError where nobody answers

    def state(self, name: str, application: str) -> State:
        """Whether the pod is ready, not ready, not there, or no executor of this Spark application, by Spark's labels.

        One that is being removed is lost.
        """
        status, pod = self._call("GET", self._core(f"pods/{quote(name)}"))
        if status == http.client.NOT_FOUND:
            return "gone"
        if status != http.client.OK:
            raise OSError(f"Kubernetes answers {status} for pod {name}: {pod.get('message', '')}")
        labels = pod.get("metadata", {}).get("labels", {})
        if (labels.get("spark-role"), labels.get("spark-app-selector")) != ("executor", application):
            return "strange"
        conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", [])}
        removed = "deletionTimestamp" in pod.get("metadata", {})
        return "well" if conditions.get("Ready") == "True" and not removed else "lost"

    def remove(self, name: str) -> None:
        """Removes the pod by force, without waiting for its node."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}
        status, answer = self._call(
            "DELETE", self._core(f"pods/{quote(name)}"), {**options, "propagationPolicy": "Background"}
        )
        if status not in (http.client.OK, http.client.ACCEPTED, http.client.NOT_FOUND):
            raise OSError(f"Kubernetes answers {status} to the removal of pod {name}: {answer.get('message', '')}")

    # ---- calls

    def _core(self, path: str) -> str:
        return _CORE.format(quote(self.namespace)) + path

    def _list(self, path: str, selector: str) -> list[Object]:
        return list(self._done("GET", f"{path}?labelSelector={quote(selector, safe='')}")["items"])

    def _get(self, path: str) -> Object | None:
        try:
            return self._done("GET", path)
        except _AbsentError:
            return None

    def _done(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Object:
        """The answer to a call that worked. One that nobody answers is tried again."""
        status, problem = 0, ""
        answer: Object = {}
        for _ in range(_TRIES):
            try:
                status, answer = self._call(method, path, body)
                break
            except OSError as error:
                problem = str(error)
        if not status:
            raise RunError(f"Kubernetes' API does not answer: {method} {path}", found=problem)
        if status == http.client.NOT_FOUND:
            raise _AbsentError(f"not in the cluster: {path}", found=str(answer.get("message", "")))
        if status >= http.client.BAD_REQUEST:
            found = f"{status} {answer.get('message', '')}".strip()
            raise RunError(f"Kubernetes refuses {method} {path}", found=found, fix="see the release's roles")
        return answer

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Object]:
        context = ssl.create_default_context(cafile=str(self.credentials / "ca.crt"))
        # A plain connection: a proxy that the environment names for the world outside knows nothing of the API server.
        connection = http.client.HTTPSConnection(*self.address, timeout=_TIMEOUT_S, context=context)
        token = (self.credentials / "token").read_text().strip()
        kind = MERGE if method == "PATCH" else "application/json"
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Authorization": f"Bearer {token}", "Content-Type": kind, "Accept": "application/json"},
            )
            response = connection.getresponse()
            content = json.loads(response.read() or b"{}")
        except (http.client.HTTPException, ValueError) as error:
            raise OSError(f"Kubernetes' API does not answer as it should: {error}") from error
        finally:
            connection.close()
        return response.status, content if isinstance(content, dict) else {}


class _AbsentError(RunError):
    """The object asked for is not there."""


def in_cluster(
    variables: Mapping[str, str], credentials: Path = CREDENTIALS, namespace: str | None = None
) -> PodApi | None:
    """The API of the cluster that this process runs in; None outside of one, or without a service account.

    Args:
        variables: the environment.
        credentials: folder with `ca.crt`, `namespace` and `token`.
        namespace: where objects are; the pod's own where it is not given.
    """
    host, port = variables.get("KUBERNETES_SERVICE_HOST"), variables.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (credentials / "token").exists():
        return None
    own = namespace or (credentials / "namespace").read_text().strip()
    return PodApi((host, int(port)), credentials, own)

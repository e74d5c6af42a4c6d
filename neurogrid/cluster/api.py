"""Calls to the API server, each of which either answers or fails in words. Objects come and go as plain dictionaries.

The only module that knows the Kubernetes client. Nothing here decides anything: what objects mean stands in the modules
beside this one, which are functions of these dictionaries.
"""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import urllib3
import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, list_kube_config_contexts, new_client_from_config
from kubernetes.config.incluster_config import load_incluster_config
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION

from neurogrid.errors import NeuroGridError, RunError, UsageError

Object = dict[str, Any]

GROUP, VERSION, KIND = "sparkoperator.k8s.io", "v1beta2", "sparkapplications"
CONNECT_S, ANSWER_S = 5, 30
WATCH_S = 240  # load balancers in front of API servers drop what is silent for longer
DRIVER_CONTAINER = "spark-kubernetes-driver"
MERGE = "application/merge-patch+json"
_UNREADABLE = (OSError, ValueError, TypeError, yaml.YAMLError)  # all that the client makes of a bad kubeconfig


@dataclass(frozen=True)
class LogLine:
    """A line of a container's log, with the time at which the container runtime took it down."""

    at: str
    text: str


class Cluster:
    """One namespace of one cluster."""

    def __init__(self, connection: client.ApiClient, namespace: str, server: str) -> None:
        self._core, self._custom = client.CoreV1Api(connection), client.CustomObjectsApi(connection)
        self.namespace, self._server = namespace, server

    @classmethod
    def connect(cls, context: str | None, namespace: str | None) -> "Cluster":
        """The cluster of KUBECONFIG (or ~/.kube/config, or the pod's own), in the context's namespace if none is given.

        Raises:
            UsageError: there is no such file or context, or it cannot be read.
        """
        try:
            contexts, current = list_kube_config_contexts()
        except ConfigException as error:
            return cls._inside(namespace, error)
        except _UNREADABLE as error:
            raise _unusable_config(error) from error
        named = {own["name"]: own for own in contexts}
        if context is not None and context not in named:
            raise UsageError(
                f'the kubeconfig has no context "{context}"',
                found=", ".join(named),
                fix="name one of these with --context, or leave it out for the current one",
            )
        chosen = named[context] if context is not None else current
        try:
            connection = new_client_from_config(context=chosen["name"])
        except (ConfigException, *_UNREADABLE) as error:
            raise _unusable_config(error) from error
        own = namespace or chosen["context"].get("namespace") or "default"
        return cls(_impatient(connection), own, connection.configuration.host)

    @classmethod
    def _inside(cls, namespace: str | None, why: Exception) -> "Cluster":
        configuration = client.Configuration()
        try:
            load_incluster_config(client_configuration=configuration)
        except ConfigException:
            raise _unusable_config(why) from why
        return cls(_impatient(client.ApiClient(configuration)), namespace or "default", configuration.host)

    def config_maps(self, selector: str, *, everywhere: bool = False) -> list[Object]:
        """ConfigMaps with these labels, of the namespace or of all."""
        if everywhere:
            return self._list("configmaps of all namespaces", self._core.list_config_map_for_all_namespaces, selector)
        return self._list("configmaps", self._core.list_namespaced_config_map, selector, self.namespace)

    def applications(self, selector: str) -> list[Object]:
        """SparkApplications with these labels."""
        with self._in_words("list", "sparkapplications"):
            found = self._custom.list_namespaced_custom_object(
                GROUP, VERSION, self.namespace, KIND, label_selector=selector, _request_timeout=(CONNECT_S, ANSWER_S)
            )
        return list(found["items"])

    def application(self, name: str) -> Object | None:
        """The SparkApplication of this name, if there is one."""
        try:
            with self._in_words("get", "sparkapplications"):
                found: Object = self._custom.get_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, KIND, name, _request_timeout=(CONNECT_S, ANSWER_S)
                )
        except AbsentError:
            return None
        return found

    def pods(self, selector: str) -> list[Object]:
        """Pods with these labels."""
        return self._list("pods", self._core.list_namespaced_pod, selector, self.namespace)

    def watch_pods(self, selector: str) -> Iterator[Object]:
        """Every pod with these labels, and each again whenever it changes, without end.

        A failed executor's pod is there for a second before Spark deletes it: only a watch sees why it failed.
        """
        while True:
            with self._in_words("watch", "pods"):
                listed = self._read(self._core.list_namespaced_pod, self.namespace, label_selector=selector)
            yield from listed["items"]
            with suppress(UnreachableError), self._in_words("watch", "pods"):
                yield from self._changes(selector, listed["metadata"]["resourceVersion"])

    def _changes(self, selector: str, version: str) -> Iterator[Object]:
        changes = self._core.list_namespaced_pod(
            self.namespace,
            label_selector=selector,
            watch=True,
            resource_version=version,
            timeout_seconds=WATCH_S,
            _request_timeout=(CONNECT_S, WATCH_S + ANSWER_S),
            _preload_content=False,
        )
        for line in _lines(changes):
            change = json.loads(line)
            if change["type"] == "ERROR":
                return  # too old to go on from: list anew
            yield change["object"]

    def events(self) -> list[Object]:
        """The namespace's events, which the cluster keeps for an hour."""
        return self._list("events", self._core.list_namespaced_event, "", self.namespace)

    def create_application(self, application: Object) -> Object:
        """Makes a SparkApplication."""
        with self._in_words("create", "sparkapplications"):
            made: Object = self._custom.create_namespaced_custom_object(
                GROUP, VERSION, self.namespace, KIND, application, _request_timeout=(CONNECT_S, ANSWER_S)
            )
        return made

    def patch_application(self, name: str, change: Mapping[str, Any]) -> None:
        """Changes a SparkApplication by a merge patch."""
        with self._in_words("patch", "sparkapplications"):
            self._custom.patch_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                KIND,
                name,
                change,
                field_manager="neurogrid",
                _content_type=MERGE,
                _request_timeout=(CONNECT_S, ANSWER_S),
            )

    def delete_application(self, name: str) -> None:
        """Deletes a SparkApplication, and with it what it owns; one that is not there is no error."""
        with suppress(AbsentError), self._in_words("delete", "sparkapplications"):
            self._custom.delete_namespaced_custom_object(
                GROUP, VERSION, self.namespace, KIND, name, _request_timeout=(CONNECT_S, ANSWER_S)
            )

    def create_config_map(self, config_map: Object) -> None:
        """Makes a ConfigMap."""
        with self._in_words("create", "configmaps"):
            self._core.create_namespaced_config_map(
                self.namespace, config_map, _request_timeout=(CONNECT_S, ANSWER_S), _preload_content=False
            )

    def config_map(self, name: str) -> Object | None:
        """The ConfigMap of this name, if there is one."""
        try:
            with self._in_words("get", "configmaps"):
                return self._read(self._core.read_namespaced_config_map, name, self.namespace)
        except AbsentError:
            return None

    def patch_config_map(self, name: str, change: Mapping[str, Any]) -> None:
        """Changes a ConfigMap by a merge patch."""
        with self._in_words("patch", "configmaps"):
            self._core.patch_namespaced_config_map(
                name,
                self.namespace,
                change,
                field_manager="neurogrid",
                _content_type=MERGE,
                _request_timeout=(CONNECT_S, ANSWER_S),
                _preload_content=False,
            )

    def log(self, pod: str, container: str, *, tail: int | None = None) -> list[LogLine]:
        """What the container has said so far."""
        with self._in_words("get", "pods/log"):
            said = self._core.read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                timestamps=True,
                tail_lines=tail,
                _request_timeout=(CONNECT_S, ANSWER_S),
                _preload_content=False,
            )
            return [_stamped(line) for line in _lines(said)]

    def follow_log(self, pod: str, container: str, *, tail: int | None = None) -> Iterator[LogLine]:
        """What the container says, until it ends; goes on where it was when the connection breaks or falls silent.

        Of what it has said before, only the last `tail` lines where that is given.
        """
        last, since = "", None
        while True:
            try:
                with self._in_words("get", "pods/log"):
                    said = self._core.read_namespaced_pod_log(
                        pod,
                        self.namespace,
                        container=container,
                        timestamps=True,
                        follow=True,
                        since_seconds=since,
                        tail_lines=None if last else tail,
                        _request_timeout=(CONNECT_S, WATCH_S),
                        _preload_content=False,
                    )
                    for line in map(_stamped, _lines(said)):
                        if line.at > last:
                            last = line.at
                            yield line
                return
            except UnreachableError:
                since = _seconds_since(last) if last else None
                time.sleep(1)

    def _list(self, what: str, call: Any, selector: str, *where: str) -> list[Object]:
        with self._in_words("list", what):
            return list(self._read(call, *where, label_selector=selector)["items"])

    def _read(self, call: Any, *where: str, **options: Any) -> Object:
        # Plain JSON: the client's own classes rename every field, and cost more time than the call.
        answer = call(*where, **options, _request_timeout=(CONNECT_S, ANSWER_S), _preload_content=False)
        content: Object = json.loads(answer.data)
        return content

    @contextmanager
    def _in_words(self, verb: str, what: str) -> Iterator[None]:
        try:
            yield
        except ApiException as error:
            raise _refusal(error, verb, what, self.namespace) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(
                f"the cluster does not answer at {self._server}",
                found=_reason(error),
                fix="is it up (`kubectl get nodes`), and does KUBECONFIG name the right one?",
            ) from error


class UnreachableError(RunError):
    """No answer from the API server."""


class AbsentError(UsageError):
    """The object asked for is not there."""


def _impatient(connection: client.ApiClient) -> client.ApiClient:
    """No silent retries on top of the time limits of each call."""
    connection.configuration.retries = False
    return client.ApiClient(connection.configuration)


def _unusable_config(error: Exception) -> UsageError:
    return UsageError(
        "no cluster to talk to",
        found=f"{' '.join(str(error).split())} ({KUBE_CONFIG_DEFAULT_LOCATION})",
        fix="set KUBECONFIG to the file that `kubectl` uses, or make a cluster with `make cluster-up`",
    )


def _reason(error: Exception) -> str:
    """What the network said, without the client's own objects."""
    text = " ".join(str(error).split())
    return re.sub(r"^<?\w*(Connection|Pool)\([^)]*\)>?: ", "", text) or type(error).__name__


def _refusal(error: ApiException, verb: str, what: str, namespace: str) -> NeuroGridError:
    """What the API server refused, in words."""
    message = _message(error)
    if error.status == 401:
        return UsageError(
            "the cluster does not know you", found=message, fix="log in again; `kubectl get pods` must work first"
        )
    if error.status == 403 and "exceeded quota" not in message:
        return UsageError(
            f"you may not {verb} {what} in namespace {namespace}",
            found=message,
            fix=f"ask for a role that lets you; `kubectl auth can-i --list -n {namespace}` shows what you may",
        )
    if error.status == 404 and what == KIND and "the server could not find" in message:
        return UsageError(
            "this cluster has no Spark operator",
            found=f"no kind SparkApplication ({GROUP}/{VERSION})",
            fix="install the chart with spark-operator.enabled=true (`make deploy`), or the operator by itself",
        )
    if error.status == 404:
        return AbsentError(message or f"no such {what}")
    return RunError(f"the cluster refuses to {verb} {what}", found=message or f"HTTP {error.status} {error.reason}")


def _message(error: ApiException) -> str:
    body = error.body.decode() if isinstance(error.body, bytes) else str(error.body or "")
    try:
        return " ".join(str(json.loads(body)["message"]).split())
    except (ValueError, KeyError, TypeError):
        return " ".join(body.split())[:300]


def _lines(response: Any) -> Iterator[str]:
    """Whole lines of a response as they arrive."""
    rest = b""
    try:
        for chunk in response.stream(1 << 16, decode_content=False):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
    finally:
        response.release_conn()
    if rest:
        yield rest.decode(errors="replace")


def _stamped(line: str) -> LogLine:
    at, _, text = line.partition(" ")
    return LogLine(at, text)


def _seconds_since(stamp: str) -> int:
    """A little more than has passed: clocks differ, and what comes twice is dropped by its time."""
    moment = datetime.fromisoformat(stamp[:19]).replace(tzinfo=UTC)
    return max(1, math.ceil((datetime.now(UTC) - moment).total_seconds()) + 30)

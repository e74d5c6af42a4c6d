"""Why a pod does not run, or ended as it did, and what to do: pure functions of what the API server says of it.

`pod_trouble` is for anything that can be seen on a pod, `log_trouble` for what only Spark's driver says, and
`application_trouble` for what comes before there is a pod.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from neurogrid.cluster.application import error_message, state
from neurogrid.cluster.release import JOB_LABEL, RELEASE_LABEL

Object = dict[str, Any]

KILLED, TERMINATED = 137, 143
RACE_S = 10
UNSEEN_S = 60  # an operator says nothing before its spark-submit is through, which takes a JVM some seconds


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong.

    Attributes:
        pod: name of the pod; the application's where there is no pod yet.
        what: in one sentence.
        found: the cluster's own words, or figures.
        fix: what to do.
        waits: nothing has failed yet, and it may still pass by itself.
        exited: the container ended by itself, and its own log says more.
    """

    pod: str
    what: str
    found: str
    fix: str
    waits: bool = False
    exited: bool = False


@dataclass(frozen=True)
class _Pod:
    """What the words need of a pod."""

    name: str
    role: str
    values: str
    release: str
    raw: Object

    @classmethod
    def of(cls, raw: Object) -> "_Pod":
        metadata = raw["metadata"]
        labels = metadata.get("labels") or {}
        spark_role, job = labels.get("spark-role", ""), labels.get(JOB_LABEL, "<job>")
        role = {"driver": "the driver", "executor": f"executor {labels.get('spark-exec-id', '')}".strip()}.get(
            spark_role, f"pod {metadata['name']}"
        )
        values = f"jobs.{job}.{spark_role or 'driver'}"
        return cls(metadata["name"], role, values, labels.get(RELEASE_LABEL, "neurogrid"), raw)

    def trouble(self, what: str, found: str, fix: str, *, waits: bool = False) -> Trouble:
        return Trouble(self.name, what, " ".join(found.split()), fix, waits)


def pod_trouble(pod: Object, events: Iterable[Object] = ()) -> Trouble | None:
    """What is wrong with a pod; None where it runs, ended well, or has only just been made.

    Args:
        pod: as the API server gives it.
        events: of the namespace, whichever pods they are about.
    """
    own = _Pod.of(pod)
    about = [event for event in events if event.get("involvedObject", {}).get("name") == own.name]
    return (
        _evicted(own)
        or next(filter(None, (_container(own, status) for status in _statuses(pod))), None)
        or _unschedulable(own)
        or _not_mounted(own, about)
        or _lost(own, about)
    )


def _statuses(pod: Object) -> list[Object]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _condition(pod: Object, kind: str) -> Object:
    return next((c for c in pod.get("status", {}).get("conditions", []) if c["type"] == kind), {})


# ---- given up by a node

_DISRUPTIONS = {
    "PreemptionByScheduler": (
        "made room for a pod of higher priority",
        "give it a priority: {values}.priorityClassName",
    ),
    "DeletionByTaintManager": ("was taken off its node, which is lost or tainted", "see `kubectl get nodes`"),
    "EvictionByEvictionAPI": ("was asked to leave its node (a drain, or a scale-down)", "nothing, if that was planned"),
    "DeletionByPodGC": ("was on a node that is gone", "see `kubectl get nodes`"),
}


def _evicted(own: _Pod) -> Trouble | None:
    status = own.raw.get("status", {})
    if status.get("reason") == "Evicted":
        message = status.get("message", "")
        if "ephemeral" in message.lower() or "emptydir" in message.lower() or "disk" in message.lower():
            fix = "more room for Spark's scratch space: a node with more disk, or fewer tasks an executor"
        else:
            fix = f"ask for what it needs, so that it is not the first to go: {own.values}.memory and .memoryOverhead"
        return own.trouble(f"{own.role} was evicted from node {_node(own)}", message, fix)
    disruption = _condition(own.raw, "DisruptionTarget")
    if disruption.get("status") == "True" and disruption.get("reason") in _DISRUPTIONS:
        what, fix = _DISRUPTIONS[disruption["reason"]]
        again = "; its agents go to others" if "executor" in own.role else "; the run continues after a restart"
        found = f"{disruption['reason']}: {disruption.get('message', '')} (node {_node(own)})"
        return own.trouble(f"{own.role} {what}", found, fix.format(values=own.values) + again)
    return None


def _node(own: _Pod) -> str:
    return str(own.raw.get("spec", {}).get("nodeName", "unknown"))


def _lost(own: _Pod, events: list[Object]) -> Trouble | None:
    ready = _condition(own.raw, "Ready")
    not_ready = [event for event in events if event.get("reason") == "NodeNotReady"]
    if own.raw.get("status", {}).get("phase") != "Running" or ready.get("status") != "False" or not not_ready:
        return None
    return own.trouble(
        f"node {_node(own)} of {own.role} does not answer any more",
        not_ready[-1].get("message", ""),
        "rounds continue without it; see `kubectl get nodes`",
    )


# ---- containers

_IMAGES = {
    "ErrImagePull": "cannot be pulled",
    "ImagePullBackOff": "cannot be pulled",
    "ErrImageNeverPull": "is not on the node, and may not be pulled",
    "InvalidImageName": "has an invalid name",
    "ImageInspectError": "cannot be read",
    "RegistryUnavailable": "cannot be pulled: the registry does not answer",
}


def _container(own: _Pod, status: Object) -> Trouble | None:
    waiting, ended = status.get("state", {}).get("waiting"), status.get("state", {}).get("terminated")
    if waiting:
        return _waiting(own, status, waiting)
    if ended and (ended.get("exitCode", 0) != 0 or ended.get("reason") == "OOMKilled"):
        return _ended(own, status, ended)
    return None


def _waiting(own: _Pod, status: Object, waiting: Object) -> Trouble | None:
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGES:
        if reason == "InvalidImageName":
            fix = "correct image.repository and image.tag"
        elif "nauthorized" in message or "denied" in message or "forbidden" in message:
            fix = "give the cluster the registry's password: image.pullSecrets"
        else:
            fix = "build it and hand it over (`make images load`), or correct image.repository and image.tag"
        name = status.get("image", "")
        return own.trouble(f"the image {name} of {own.role} {_IMAGES[reason]}", message, fix, waits=True)
    if reason == "CreateContainerConfigError":
        return own.trouble(
            f"{own.role} needs something that is not in the namespace",
            message,
            "make it; a secret for S3 is named by storage.s3.secret and holds AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
            waits=True,
        )
    if reason in ("CreateContainerError", "RunContainerError", "CrashLoopBackOff"):
        return own.trouble(f"the container of {own.role} does not start", message or reason, _look(own), waits=True)
    return None


def _ended(own: _Pod, status: Object, ended: Object) -> Trouble:
    code = ended.get("exitCode", 0)
    if ended.get("reason") == "OOMKilled":
        limit = _container_spec(own, status).get("resources", {}).get("limits", {}).get("memory", "unknown")
        return own.trouble(
            f"{own.role} used more memory than it may and was killed (OOMKilled)",
            f"limit {limit}, exit code {code}",
            f"raise {own.values}.memoryOverhead (Python and torch) or .memory (the JVM)"
            + (", or give it fewer cores, so fewer agents train at once" if "executor" in own.role else ""),
        )
    if ended.get("reason") in ("StartError", "ContainerCannotRun"):
        return own.trouble(
            f"the container of {own.role} does not start",
            ended.get("message", ""),
            "is image.repository one of NeuroGrid's images?",
        )
    if code in (KILLED, TERMINATED):
        return own.trouble(
            f"{own.role} was stopped from outside",
            f"exit code {code} ({'SIGKILL' if code == KILLED else 'SIGTERM'}) on node {_node(own)}",
            "deleted by somebody, or its node shut down; " + _look(own),
        )
    found = f"exit code {code} {ended.get('message', '')}".strip()
    return Trouble(own.name, f"{own.role} failed", found, _look(own), exited=True)


def _container_spec(own: _Pod, status: Object) -> Object:
    spec = own.raw.get("spec", {})
    every = [*spec.get("initContainers", []), *spec.get("containers", [])]
    return next((c for c in every if c.get("name") == status.get("name")), {})


def _look(own: _Pod) -> str:
    namespace = own.raw["metadata"].get("namespace", "default")
    return f"see: kubectl logs {own.name} -n {namespace}"


# ---- no node

_CAUSES: list[tuple[str, str, str]] = [
    # in the scheduler's words | what it means | what to do
    (
        r"Insufficient (cpu|memory|\S+/gpu)[,.]?$",
        "no node has {0} enough to spare",
        "ask for less ({values}.{key}), or add nodes",
    ),
    (r"Insufficient (\S+?)[,.]?$", "no node has {0} enough to spare", "add nodes that have it"),
    (r"Too many pods", "the nodes hold as many pods as they may", "add nodes"),
    (
        r"pod affinity rules|volume node affinity",
        "the node that its volume is on has no room",
        "free that node, or use a ReadWriteMany claim or S3",
    ),
    (
        r"affinity/selector",
        "no node has the labels that are asked for",
        "correct {values}.nodeSelector ({selector})",
    ),
    (
        r"untolerated taint|had taint",
        "the nodes keep it off by a taint",
        "tolerate it in {values}.tolerations, or see `kubectl describe nodes`",
    ),
    (
        r"topology spread",
        "it may not share a node with pods of its kind",
        "add nodes, or allow it: {job}.spread.whenUnsatisfiable=ScheduleAnyway",
    ),
    (r"unschedulable", "nodes are closed for new pods (cordoned)", "kubectl uncordon"),
    (
        r"persistentvolumeclaim \S+ not found",
        "its volume claim does not exist",
        "make the claim, or correct storage and data in the values",
    ),
    (
        r"unbound immediate PersistentVolumeClaim",
        "its volume claim has no volume yet",
        "see `kubectl describe pvc`; is the storage class there?",
    ),
]
_VALUE_OF = {"cpu": "coreRequest", "memory": "memory and .memoryOverhead", "gpu": "gpu.quantity"}


def _unschedulable(own: _Pod) -> Trouble | None:
    scheduled = _condition(own.raw, "PodScheduled")
    if scheduled.get("status") != "False" or scheduled.get("reason") != "Unschedulable":
        return None
    message = scheduled.get("message", "")
    # The rest is about preemption, which is of no help to anybody who reads this.
    said = re.split(r"\.? (?:no new claims|preemption:|not found$)", message.partition("available: ")[2] or message)[0]
    means, fixes = _causes(own, said)
    what = f"{own.role} waits for a node: {', '.join(means) or 'none takes it'}"
    asked = ", ".join(f"{name} {amount}" for name, amount in _requests(own).items())
    found = said + (f"; it asks for {asked}" if asked else "")
    return own.trouble(what, found, "; ".join(fixes) or f"see: kubectl describe pod {own.name}", waits=True)


def _causes(own: _Pod, said: str) -> tuple[list[str], list[str]]:
    spec = own.raw.get("spec", {})
    selector = ", ".join(f"{key}={value}" for key, value in (spec.get("nodeSelector") or {}).items())
    means: list[str] = []
    fixes: list[str] = []
    for part in re.split(r", (?=\d)", said):
        for pattern, meaning, fix in _CAUSES:
            match = re.search(pattern, part)
            if match is None:
                continue
            of_what = match[1] if match.groups() else ""
            means.append(meaning.format(of_what))
            key = _VALUE_OF.get(of_what.rpartition("/")[2], "")
            fixes.append(fix.format(values=own.values, job=own.values.rpartition(".")[0], key=key, selector=selector))
            break
    return list(dict.fromkeys(means)), list(dict.fromkeys(fixes))


def _requests(own: _Pod) -> dict[str, str]:
    asked: dict[str, str] = {}
    for container in own.raw.get("spec", {}).get("containers", []):
        asked.update(container.get("resources", {}).get("requests", {}))
    return asked


def _not_mounted(own: _Pod, events: list[Object]) -> Trouble | None:
    if own.raw.get("status", {}).get("phase") != "Pending":
        return None
    for event in reversed(events):
        if event.get("reason") in ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox") and _lasts(
            own, event
        ):
            what = "has no network" if event["reason"] == "FailedCreatePodSandBox" else "waits for a volume"
            fix = f"make what is missing; see: kubectl describe pod {own.name}"
            return own.trouble(f"{own.role} {what}", event.get("message", ""), fix, waits=True)
    return None


def _lasts(own: _Pod, event: Object) -> bool:
    """Whether it is more than the first seconds' race: Spark makes the driver's ConfigMap after its pod."""
    if "failed to sync" in event.get("message", "") or not event.get("lastTimestamp"):
        return False
    began, last = (
        datetime.fromisoformat(stamp) for stamp in (own.raw["metadata"]["creationTimestamp"], event["lastTimestamp"])
    )
    return (last - began).total_seconds() > RACE_S


# ---- what only the driver knows, and what comes before there is a pod

_LOST = re.compile(r"Lost executor (\d+) on (\S+): (.*)")
_LOGGED: list[tuple[str, str, str]] = [
    ("exceeded quota", "no more pods fit into the namespace's quota", "ask for less, or have the quota raised"),
    ("violates PodSecurity", "the namespace's Pod Security standard refuses the pods", "see k8s/namespaces.yaml"),
    ("No space left on device", "a disk is full", "a larger claim (storage.claim.size), or nodes with more room"),
]


def log_trouble(pod: str, line: str) -> Trouble | None:
    """What a line of the driver's log says is wrong, where nothing else in the cluster does."""
    match = _LOST.search(line)
    if match and "decommission" not in match[3].lower() and "idle" not in match[3].lower():
        return Trouble(
            pod,
            f"executor {match[1]} is lost",
            match[3].strip(),
            "rounds continue without it; Spark starts another",
        )
    for words, what, fix in _LOGGED:
        if words in line:
            return Trouble(pod, what, line.strip()[:300], fix)
    return None


_SUBMIT = "failed to submit spark application"
_OPERATOR_LOG = "see the operator's log: kubectl logs -A -l app.kubernetes.io/name=spark-operator --tail=50"
_SUBMISSION: list[tuple[str, str]] = [
    (
        "forbidden: User",
        "the operator lacks a right: leave spark-operator.controller.rbac.create on, or see your own operator's role",
    ),
    ("exceeded quota", "the namespace's quota is used up: ask for less, or have it raised"),
    ("violates PodSecurity", "the namespace's Pod Security standard refuses the pod: see k8s/namespaces.yaml"),
    ("failed calling webhook", "the operator's webhook does not answer: see its pods, then submit again"),
    ("exceeded when getting a connection", "the API server was too busy for the operator: submit it again"),
    ("already exists", "what an earlier run left is in the way: `neurogrid k8s cancel` it, then submit again"),
]


def application_trouble(application: Object, age_s: float) -> Trouble | None:
    """What keeps a SparkApplication from getting a driver."""
    name, message = application["metadata"]["name"], error_message(application)
    if not state(application) and age_s > UNSEEN_S:
        namespace = application["metadata"].get("namespace", "")
        return Trouble(
            name,
            "no Spark operator picks up the job",
            f"submitted {age_s:.0f} s ago, and no operator has reacted",
            f"is the operator running, and does it watch namespace {namespace} (spark-operator.spark.jobNamespaces)?",
            waits=True,
        )
    if message and (state(application) == "SUBMISSION_FAILED" or _SUBMIT in message):
        fix = next((advice for words, advice in _SUBMISSION if words in message), _OPERATOR_LOG)
        return Trouble(name, "the operator could not submit the job", _last_words(message), fix)
    return None


def _last_words(message: str) -> str:
    """The reason in what spark-submit printed: its last exception, not its banner."""
    causes = [line.strip() for line in message.splitlines() if "Exception" in line or "rror:" in line]
    text = " ".join((causes[-1] if causes else message).split())
    # Each layer of the operator repeats its own words in front.
    return re.sub(r"(failed to run spark-submit: )+", r"\1", text)[:400]

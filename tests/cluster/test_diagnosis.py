"""What is wrong with a pod, in words, from objects that a real API server gave (recorded.json).

Each pod of the record was made to go wrong in its own way on Kubernetes 1.34; the words are checked for the cause, the
figure that shows it, and the value that cures it.
"""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from neurogrid.cluster.diagnosis import Trouble, application_trouble, log_trouble, pod_trouble

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())

# pod | waits, or has failed | in the sentence | in what was found | in the cure
CASES = [
    ("no-cpu", True, "no node has cpu enough", "64", "jobs.train.executor.coreRequest"),
    ("no-cpu", True, "no node has memory enough", "500Gi", "jobs.train.executor.memory"),
    ("no-node", True, "no node has the labels", "node affinity/selector", "nodeSelector (pool=gpu)"),
    ("no-claim", True, "claim does not exist", '"nowhere"', "make the claim"),
    ("unbound-claim", True, "claim has no volume", "unbound", "describe pvc"),
    ("no-image", True, "cannot be pulled", "no such host", "make images load"),
    ("no-local-image", True, "may not be pulled", "neurogrid/spark:nosuch", "image.repository"),
    ("bad-image", True, "an invalid name", "must be lowercase", "image.tag"),
    ("no-secret", True, "not in the namespace", '"s3-credentials" not found', "storage.s3.secret"),
    ("no-config", True, "waits for a volume", 'configmap "nowhere" not found', "make what is missing"),
    ("too-much-memory", False, "OOMKilled", "limit 40Mi", "jobs.train.executor.memoryOverhead"),
    ("too-much-disk", False, "evicted from node", 'exceeds the limit "10Mi"', "scratch space"),
    ("drained", False, "asked to leave its node", "EvictionByEvictionAPI", "if that was planned"),
    ("no-command", False, "does not start", "no such file", "NeuroGrid's images"),
    ("refused", False, "failed", "exit code 2", "kubectl logs refused"),
]


def recorded(name: str, role: str = "executor") -> dict[str, Any]:
    """The pod with the labels that Spark's pods of a training have."""
    pod = copy.deepcopy(RECORDED["pods"][name])
    pod["metadata"]["labels"] = {"spark-role": role, "spark-exec-id": "3", "neurogrid.io/job": "train"}
    return pod


@pytest.mark.parametrize(("name", "waits", "what", "found", "fix"), CASES)
def test_a_pod_that_does_not_run_says_why_and_what_to_do(
    name: str, waits: bool, what: str, found: str, fix: str
) -> None:
    trouble = pod_trouble(recorded(name), RECORDED["events"])
    assert trouble is not None
    assert what in trouble.what
    assert "executor 3" in trouble.what
    assert found in trouble.found
    assert fix in trouble.fix
    assert trouble.waits == waits


@pytest.mark.parametrize("name", sorted(RECORDED["pods"]))
def test_words_fit_on_a_screen_and_hold_no_part_of_a_template(name: str) -> None:
    trouble = pod_trouble(recorded(name, "driver"), RECORDED["events"])
    if name == "well":
        assert trouble is None
        return
    assert trouble is not None
    for part in (trouble.what, trouble.found, trouble.fix):
        assert part == part.strip()
        assert "\n" not in part
        assert "{" not in part
    assert "the driver" in trouble.what


def test_a_pod_that_has_only_just_been_made_is_in_no_trouble() -> None:
    pod = recorded("well")
    pod["status"] = {"phase": "Pending"}
    assert pod_trouble(pod, RECORDED["events"]) is None


def test_events_of_another_pod_are_not_held_against_this_one() -> None:
    pod = recorded("no-config")
    pod["metadata"]["name"] = "another"
    assert pod_trouble(pod, RECORDED["events"]) is None


def test_preemption_is_not_told_as_a_cause() -> None:
    trouble = pod_trouble(recorded("no-cpu"))
    assert trouble is not None
    assert "reemption" not in trouble.found


def test_a_pod_on_a_node_that_does_not_answer_is_told_from_one_that_is_not_ready_yet() -> None:
    pod = recorded("well")
    pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    assert pod_trouble(pod) is None
    event = {"involvedObject": {"name": "well"}, "reason": "NodeNotReady", "message": "Node is not ready"}
    trouble = pod_trouble(pod, [event])
    assert trouble is not None
    assert "does not answer any more" in trouble.what


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (
            "26/11/23 22:00:00 ERROR TaskSchedulerImpl: Lost executor 2 on 10.244.0.9: The executor with id 2 exited "
            "with exit code 137(SIGKILL, possible container OOM).",
            "executor 2 is lost",
        ),
        ('pods "x" is forbidden: exceeded quota: small, requested: requests.cpu=1, used: 4, limited: 4', "quota"),
        ("java.io.IOException: No space left on device", "a disk is full"),
        ("INFO TaskSchedulerImpl: Lost executor 2 on 10.244.0.9: Executor decommission: finished", None),
        ("26/11/23 22:00:00 INFO TaskSetManager: Finished task 0.0", None),
    ],
)
def test_what_only_the_drivers_log_knows_is_told(line: str, what: str | None) -> None:
    trouble = log_trouble("driver", line)
    assert (trouble is None) if what is None else (trouble is not None and what in trouble.what)


def application(state: str, message: str = "") -> dict[str, Any]:
    own = {"metadata": {"name": "n-train", "namespace": "jobs"}, "spec": {}}
    return own | ({"status": {"applicationState": {"state": state, "errorMessage": message}}} if state else {})


def test_an_application_that_no_operator_looks_at_is_told_after_a_while() -> None:
    assert application_trouble(application(""), 5) is None
    trouble = application_trouble(application(""), 90)
    assert trouble is not None
    assert "no Spark operator picks up the job" in trouble.what
    assert "namespace jobs" in trouble.fix


def test_a_submission_that_failed_for_good_is_told_by_its_innermost_cause() -> None:
    message = (
        "failed to submit spark application: failed to run spark-submit: 26/11/23 INFO banner\n"
        'Exception in thread "main" io.fabric8.kubernetes.client.KubernetesClientException: An error has occurred.\n'
        "\tat io.fabric8.kubernetes.client.dsl.internal.BaseOperation.create(BaseOperation.java:98)\n"
        "Caused by: io.vertx.core.impl.NoStackTraceTimeoutException: The timeout of 10000 ms has been exceeded when "
        "getting a connection to 10.96.0.1:443\n"
    )
    trouble = application_trouble(application("FAILED", message), 5)
    assert trouble is not None
    assert trouble.found.startswith("Caused by: io.vertx")
    assert "submit it again" in trouble.fix
    assert application_trouble(application("FAILED", "driver container failed with ExitCode: 1"), 5) is None


@pytest.mark.parametrize(
    ("message", "found", "fix"),
    [
        # as operator 2.5.2 wrote it when spark-submit died before it could say why
        (
            "failed to submit spark application: failed to run spark-submit: failed to run spark-submit: exit status 1",
            "exit status 1",
            "kubectl logs",
        ),
        (
            "failed to run spark-submit: 26/11/23 WARN banner\nException in thread main KubernetesClientException: "
            'Failure executing: POST. Message: pods "d" is forbidden: exceeded quota: small.\n\tat io.fabric8',
            "exceeded quota: small.",
            "ask for less",
        ),
    ],
)
def test_a_submission_that_failed_gives_the_reason_without_the_banner(message: str, found: str, fix: str) -> None:
    trouble = application_trouble(application("SUBMISSION_FAILED", message), 5)
    assert isinstance(trouble, Trouble)
    assert found in trouble.found
    assert "banner" not in trouble.found
    assert fix in trouble.fix

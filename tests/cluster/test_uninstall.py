"""The end of the first release, after all that other modules did to it: what it made stays, and nothing else."""

import json

import pytest
from releases import Release, helm, wait_for
from strangers import put

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_uninstalling_leaves_the_data_and_nothing_else(first: Release, trained: dict[str, object]) -> None:
    helm("uninstall", first.name, "-n", first.namespace, "--wait", "--timeout", "3m")
    # Pods of `helm test` are Helm's, which leaves them for `--logs`.
    ours = "app.kubernetes.io/instance=first,app.kubernetes.io/component!=test"
    kinds = "pod,deployment,service,configmap,role,networkpolicy,sparkapplication"
    wait_for("all is gone", 90, lambda: not first.kubectl("get", kinds, "-l", ours, "-o", "name").strip())
    reader = put(first.namespace, "reader", claim="first-warehouse")
    record = json.loads(reader.run("cat", "/claim/jobs/first/train.json"))
    assert record["state"] == "completed"
    audit = reader.run("neurogrid", "audit", record["result"]["run_id"], "--warehouse", "/claim", "--ended", "--json")
    assert json.loads(audit)["problems"] == []

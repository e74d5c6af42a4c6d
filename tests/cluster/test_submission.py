"""From what the chart rendered to a run of its own: what is changed, and above all what is not."""

import copy
from typing import Any

import pytest
import yaml

from neurogrid.cluster.application import (
    LONGEST_NAME,
    QUEUE_LABEL,
    Submission,
    active,
    config_map_name,
    ended,
    make_submission,
    on,
    owned_by,
    queued,
    recency,
    step,
    stopped,
    turn,
    value,
    waiting,
    waits_for,
)
from neurogrid.cluster.release import EXECUTORS, Release, find_release
from neurogrid.errors import UsageError

Object = dict[str, Any]


def pod_template(after: str) -> Object:
    env = [
        {"name": "NEUROGRID_GENERATION", "value": "0123456789"},
        {"name": "NEUROGRID_AFTER", "value": "sample" if after else ""},
        {"name": "NEUROGRID_AFTER_GENERATION", "value": after},
    ]
    volumes = [{"name": "config", "configMap": {"name": "n-train-config"}}, {"name": "tmp", "emptyDir": {}}]
    return {"spec": {"containers": [{"name": "c", "env": env}], "volumes": volumes}}


def template(after: str = "9876543210", annotations: Object | None = None, **spec: Any) -> Object:
    return {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {
            "name": "n-train",
            "namespace": "jobs",
            "labels": {"app.kubernetes.io/instance": "n", "app.kubernetes.io/managed-by": "Helm"},
            "annotations": annotations or {},
        },
        "spec": {
            "mainApplicationFile": "local:///opt/neurogrid/jobs/train.py",
            "driver": {"template": pod_template(after)},
            "executor": {"instances": 2, "cores": 2, "template": pod_template(after)},
            **spec,
        },
    }


def run_before(generation: str = "9876543210", **status: Any) -> Object:
    """A run of the job before."""
    env = [{"name": "NEUROGRID_GENERATION", "value": generation}]
    pod = {"spec": {"containers": [{"name": "c", "env": env}]}}
    spec = {"driver": {"template": pod}}
    return {"metadata": {"name": f"n-sample-{generation}", **status}, "spec": spec}


RELEASE = Release("n", "jobs", "u-1", {"train": template()}, {})


def submit(config: str | None = None, executors: int = 2, **options: Any) -> Submission:
    return make_submission(RELEASE, "train", options.pop("of", template()), config, executors, **options)


def generations(application: Object) -> set[str]:
    return {
        entry["value"]
        for role in ("driver", "executor")
        for entry in application["spec"][role]["template"]["spec"]["containers"][0]["env"]
        if entry["name"] == "NEUROGRID_GENERATION"
    }


def test_a_run_without_changes_has_the_templates_spec_and_is_called_after_its_generation() -> None:
    run = submit()
    assert run.application["spec"] == template()["spec"]
    assert run.name == "n-train-0123456789"
    assert run.config_map is None
    assert submit().name == run.name


def test_a_run_is_suspended_until_the_one_before_it_has_completed() -> None:
    waits = submit(before=run_before()).application
    assert waits["spec"]["suspend"] is True
    assert waits["metadata"]["annotations"]["neurogrid.io/after"] == "n-sample-9876543210"
    assert waiting(waits)
    assert not active(waits)
    assert waits_for(waits) == "waits for n-sample-9876543210; it uses no memory until then"
    done = submit(before=run_before(annotations={"neurogrid.io/completed": "true"})).application
    assert "suspend" not in done["spec"]
    assert active(done)


def test_a_run_after_another_result_than_the_releases_own_is_a_run_of_its_own() -> None:
    same, other = submit(before=run_before()), submit(before=run_before("5555555555"))
    assert generations(same.application) == {"0123456789"}
    assert other.name != same.name
    assert value(other.application, "NEUROGRID_AFTER_GENERATION") == "5555555555"
    assert submit(before=run_before("5555555555")).name == other.name


def test_a_queue_gets_a_run_when_its_turn_comes_and_resumes_it_itself() -> None:
    own = template(annotations={"neurogrid.io/queue": "meters"})
    first = submit(of=own).application
    assert (first["spec"]["suspend"], first["metadata"]["labels"][QUEUE_LABEL]) == (True, "meters")
    assert queued(first)
    assert waits_for(first) == "waits in queue meters"
    later = submit(of=own, before=run_before()).application
    assert QUEUE_LABEL not in later["metadata"]["labels"]
    assert not queued(later)
    assert turn(later) == {"metadata": {"labels": {QUEUE_LABEL: "meters"}}, "spec": {"suspend": True}}
    assert turn(submit().application) == {"spec": {"suspend": False}}


def test_what_somebody_stopped_waits_for_no_turn() -> None:
    run = submit(before=run_before()).application
    run["metadata"]["annotations"]["neurogrid.io/stopped"] = "true"
    assert stopped(run)
    assert not waiting(run)
    assert not on(run)


def test_the_run_that_is_on_comes_before_the_one_last_attempted_and_that_before_the_newest_made() -> None:
    def made(name: str, hour: int, state: str, attempted: int | None = None) -> Object:
        stamp = "2026-11-23T{:02d}:00:00Z"
        status = {"applicationState": {"state": state}}
        status |= {"lastSubmissionAttemptTime": stamp.format(attempted)} if attempted else {}
        return {"metadata": {"name": name, "creationTimestamp": stamp.format(hour)}, "spec": {}, "status": status}

    attempted_last = made("a", 1, "FAILED", 9)
    made_last = made("b", 5, "COMPLETED", 6)
    assert max([made_last, attempted_last], key=recency) is attempted_last
    running = made("c", 2, "RUNNING", 3)
    assert max([made_last, running, attempted_last], key=recency) is running


def test_a_run_belongs_to_the_release_and_goes_with_it() -> None:
    metadata = submit().application["metadata"]
    assert metadata["labels"]["app.kubernetes.io/instance"] == "n"
    assert metadata["ownerReferences"] == [{"apiVersion": "v1", "kind": "ConfigMap", "name": "n-jobs", "uid": "u-1"}]
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "neurogrid"


def test_another_config_is_a_config_map_of_the_run() -> None:
    run = submit("rounds: {count: 3}\n")
    assert run.config_map is not None
    assert run.config_map["data"] == {"config.yaml": "rounds: {count: 3}\n"}
    assert run.config_map["metadata"]["name"] == config_map_name(run.application) == run.name


def test_a_run_with_another_result_is_of_another_generation_the_same_for_the_same_variant() -> None:
    changed = generations(submit(variant="rounds: {count: 3}").application)
    assert len(changed) == 1
    assert changed != {"0123456789"}
    assert {len(generation) for generation in changed} == {10}
    assert generations(submit(variant="rounds: {count: 3}").application) == changed
    assert generations(submit(variant="rounds: {count: 4}").application) != changed


def test_a_config_that_changes_no_result_keeps_the_generation_so_that_the_run_goes_on() -> None:
    assert generations(submit("backend: {tasks: 3}\n").application) == {"0123456789"}


def test_the_template_itself_is_left_as_it_was() -> None:
    before = template()
    given = copy.deepcopy(before)
    submit("seed: 2\n", 7, of=given)
    assert given == before


def test_executors_are_set_and_bound_dynamic_allocation_too() -> None:
    assert submit(executors=5).application["spec"]["executor"]["instances"] == 5
    dynamic = {"enabled": True, "initialExecutors": 4, "minExecutors": 1, "maxExecutors": 9}
    spec = submit(executors=2, of=template(dynamicAllocation=dynamic)).application["spec"]
    assert spec["dynamicAllocation"] == {"enabled": True, "initialExecutors": 2, "minExecutors": 1, "maxExecutors": 2}


def test_a_stopped_run_submitted_again_is_not_stopped_any_more() -> None:
    before = template(suspend=True) | {"status": {"applicationState": {"state": "SUSPENDED"}}}
    again = submit(of=before).application
    assert "suspend" not in again["spec"]
    assert "status" not in again


def test_a_name_too_long_for_sparks_services_is_refused() -> None:
    long = Release("n" * (LONGEST_NAME - 10), "jobs", "u", {"train": template()}, {})
    with pytest.raises(UsageError, match="too long by 7 characters"):
        make_submission(long, "train", template(), None, 2)


def test_a_runs_config_goes_when_the_run_goes() -> None:
    made = {"apiVersion": "sparkoperator.k8s.io/v1beta2", "metadata": {"name": "n-train-1", "uid": "u-2"}}
    (owner,) = owned_by(made)["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("SparkApplication", "n-train-1", "u-2")


def test_what_a_job_does_is_its_file_whatever_it_is_called() -> None:
    assert step(template()) == "train"


@pytest.mark.parametrize(
    ("state", "is_active", "has_ended"),
    [
        ("", True, False),
        ("SUBMITTED", True, False),
        ("RUNNING", True, False),
        ("SUBMISSION_FAILED", True, False),  # it is tried again
        ("PENDING_RERUN", True, False),
        ("COMPLETED", False, True),
        ("FAILED", False, True),
    ],
)
def test_only_what_may_still_have_pods_is_active(state: str, is_active: bool, has_ended: bool) -> None:
    application = {"metadata": {}, "spec": {}} | ({"status": {"applicationState": {"state": state}}} if state else {})
    assert active(application) == is_active
    assert ended(application) == has_ended


class Listed:
    """What a namespace holds, and the whole cluster."""

    namespace = "jobs"

    def __init__(self, here: list[Object], everywhere: list[Object] | UsageError) -> None:
        self._here, self._everywhere = here, everywhere

    def config_maps(self, selector: str, *, everywhere: bool = False) -> list[Object]:
        assert "app.kubernetes.io/name=neurogrid" in selector
        if not everywhere:
            return self._here
        if isinstance(self._everywhere, UsageError):
            raise self._everywhere
        return self._everywhere


def config_map(release: str, namespace: str = "jobs", name: str = "", **annotations: str) -> Object:
    labels = {"app.kubernetes.io/instance": release}
    metadata = {"name": name or f"{release}-jobs", "namespace": namespace, "uid": "u-1", "labels": labels}
    notes = {f"{EXECUTORS}{job}": count for job, count in annotations.items()}
    return {"metadata": {**metadata, "annotations": notes}, "data": {"train.yaml": yaml.safe_dump(template())}}


def test_the_only_release_of_the_namespace_is_meant() -> None:
    others = [config_map("a", name="a-train-config"), config_map("a")]
    assert find_release(Listed(others, []), None).name == "a"


def test_of_several_releases_one_has_to_be_named() -> None:
    listed = Listed([config_map("b"), config_map("a")], [])
    with pytest.raises(UsageError, match="several releases") as caught:
        find_release(listed, None)
    assert caught.value.found == "a, b"
    assert find_release(listed, "b").name == "b"


def test_a_release_in_another_namespace_is_pointed_out() -> None:
    with pytest.raises(UsageError, match="no release of NeuroGrid is in namespace jobs") as caught:
        find_release(Listed([], [config_map("a", "power")]), None)
    assert caught.value.found == "a in namespace power"


def test_who_may_not_look_elsewhere_is_told_the_same_without_a_hint() -> None:
    with pytest.raises(UsageError, match="no release x of NeuroGrid is in namespace jobs") as caught:
        find_release(Listed([config_map("a")], UsageError("forbidden")), "x")
    assert caught.value.found == ""


def test_scaled_executors_count_for_the_next_run_and_nonsense_does_not() -> None:
    assert find_release(Listed([config_map("a", train="4")], []), None).executors("train") == 4
    assert find_release(Listed([config_map("a", train="many")], []), None).executors("train") == 2


def test_a_job_that_the_release_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(UsageError, match='release n has no job "tain"') as caught:
        RELEASE.template("tain")
    assert caught.value.found == "train"

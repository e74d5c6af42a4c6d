"""Runs that follow one another: each starts once the one before it has completed, and not before."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from neurogrid.cluster.application import DONE, STOPPED_BY_HAND, make_submission, name_of, waiting
from neurogrid.cluster.launch import hand_on, held_up_by, in_order, launch, launch_release
from neurogrid.cluster.release import Release, find_release

Object = dict[str, Any]
CHAIN = ("etl", "sample", "train")


def template(job: str, after: str, generation: str = "g1") -> Object:
    env = {"GENERATION": generation, "AFTER": after, "AFTER_GENERATION": generation if after else ""}
    named = [{"name": f"NEUROGRID_{key}", "value": value} for key, value in env.items()]
    pod = {"spec": {"containers": [{"name": "c", "env": named}], "volumes": []}}
    labels = {"app.kubernetes.io/instance": "n", "neurogrid.io/job": job}
    return {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": f"n-{job}", "labels": labels, "annotations": {"neurogrid.io/enabled": "true"}},
        "spec": {"executor": {"instances": 1}, "driver": {"template": pod}},
    }


def release(generation: str = "g1", jobs: tuple[str, ...] = CHAIN) -> Release:
    before = dict(zip(jobs, ("", *jobs), strict=False))
    return Release("n", "jobs", "u", {job: template(job, before[job], generation) for job in reversed(jobs)}, {})


def merge(below: Object, change: Object) -> None:
    """A merge patch, as RFC 7396 has it."""
    for key, value in change.items():
        if isinstance(value, dict):
            merge(below.setdefault(key, {}), value)
        elif value is None:
            below.pop(key, None)
        else:
            below[key] = value


class Namespace:
    """SparkApplications of a namespace; `between` is called before each call, as another client's moment."""

    namespace = "jobs"

    def __init__(self) -> None:
        self.there: dict[str, Object] = {}
        self.between: Callable[[], None] = lambda: None
        self.deleted: list[str] = []

    def applications(self, selector: str) -> list[Object]:
        self.between()
        return copy.deepcopy(list(self.there.values()))

    def application(self, name: str) -> Object | None:
        self.between()
        return copy.deepcopy(self.there.get(name))

    def create_application(self, application: Object) -> Object:
        self.between()
        self.there[name_of(application)] = copy.deepcopy(application)
        return copy.deepcopy(application)

    def patch_application(self, name: str, change: Object) -> None:
        self.between()
        merge(self.there[name], change)

    def delete_application(self, name: str) -> None:
        self.between()
        self.deleted.append(name)
        del self.there[name]

    def pods(self, selector: str) -> list[Object]:
        return []

    def config_map(self, name: str) -> Object | None:
        return None

    def suspended(self) -> dict[str, bool]:
        return {name: bool(run["spec"].get("suspend")) for name, run in self.there.items()}

    def state(self, name: str, state: str) -> None:
        self.there[name]["status"] = {"applicationState": {"state": state}}


def test_a_release_starts_with_its_first_job_and_suspends_the_others() -> None:
    api = Namespace()
    launch_release(api, release())
    assert api.suspended() == {"n-etl-g1": False, "n-sample-g1": True, "n-train-g1": True}


def test_each_job_that_completes_resumes_the_one_after_it_and_no_other() -> None:
    api = Namespace()
    launch_release(api, release())
    assert hand_on(api, "n-etl-g1", "") == ["n-sample-g1"]
    assert api.suspended() == {"n-etl-g1": False, "n-sample-g1": False, "n-train-g1": True}
    assert hand_on(api, "n-etl-g1", "") == [], "a driver that is started once more does no harm"
    assert hand_on(api, "n-sample-g1", "") == ["n-train-g1"]


@pytest.mark.parametrize("moment", range(12))
def test_a_run_made_while_the_one_before_it_completes_is_never_left_behind(moment: int) -> None:
    """The driver completes at every moment between two calls of who submits, and the other way round."""
    api = Namespace()
    first = launch(api, make_submission(release(), "etl", template("etl", ""), None, None)).application
    run = make_submission(release(), "sample", template("sample", "etl"), None, None, before=first)
    calls = 0

    def complete() -> None:
        nonlocal calls
        calls += 1
        if calls == moment + 1:
            api.between = lambda: None
            hand_on(api, "n-etl-g1", "")

    api.between = complete
    launch(api, run)
    api.between = lambda: None
    if calls <= moment:
        hand_on(api, "n-etl-g1", "")
    assert api.suspended()["n-sample-g1"] is False


@pytest.mark.parametrize("moment", range(4))
def test_a_run_made_at_any_moment_of_handing_on_is_never_left_behind(moment: int) -> None:
    api = Namespace()
    first = launch(api, make_submission(release(), "etl", template("etl", ""), None, None)).application
    run = make_submission(release(), "sample", template("sample", "etl"), None, None, before=first)
    calls = 0

    def submit() -> None:
        nonlocal calls
        calls += 1
        if calls == moment + 1:
            api.between = lambda: None
            launch(api, run)

    api.between = submit
    hand_on(api, "n-etl-g1", "")
    api.between = lambda: None
    if calls <= moment:
        launch(api, run)
    assert api.suspended()["n-sample-g1"] is False


def test_submitting_the_same_once_more_leaves_what_is_on_or_has_completed() -> None:
    api = Namespace()
    launch_release(api, release())
    api.state("n-etl-g1", "COMPLETED")
    hand_on(api, "n-etl-g1", "")
    api.state("n-sample-g1", "RUNNING")
    before = copy.deepcopy(api.there)
    assert not any(launched.made for launched in launch_release(api, release()))
    assert api.there == before
    assert api.deleted == []


def test_a_run_whose_turn_had_come_unnoticed_is_resumed_by_the_next_submission() -> None:
    api = Namespace()
    launch_release(api, release())
    api.there["n-etl-g1"]["metadata"]["annotations"][DONE] = "true"
    launch_release(api, release())
    assert api.suspended() == {"n-etl-g1": False, "n-sample-g1": False, "n-train-g1": True}


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDED"])
def test_what_failed_or_was_stopped_is_made_anew_by_the_next_submission(state: str) -> None:
    api = Namespace()
    launch_release(api, release())
    api.state("n-etl-g1", state)
    if state == "SUSPENDED":
        merge(
            api.there["n-etl-g1"], {"metadata": {"annotations": {STOPPED_BY_HAND: "true"}}, "spec": {"suspend": True}}
        )
    launched = launch_release(api, release())
    assert [one.made for one in launched] == [True, False, False]
    assert api.deleted == ["n-etl-g1"]
    assert api.suspended() == {"n-etl-g1": False, "n-sample-g1": True, "n-train-g1": True}


def test_other_values_replace_what_the_release_had_made_and_nothing_that_a_person_submitted() -> None:
    api = Namespace()
    launch_release(api, release())
    by_hand = make_submission(release(), "train", template("train", ""), None, None, variant="mine")
    launch(api, by_hand)
    launch_release(api, release("g2"))
    assert set(api.there) == {"n-etl-g2", "n-sample-g2", "n-train-g2", by_hand.name}


def test_what_an_older_chart_installed_itself_is_removed_before_the_same_run_goes_on() -> None:
    api = Namespace()
    old = template("train", "")
    old["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "Helm"
    api.create_application(old)
    launch_release(api, release())
    assert api.deleted == ["n-train"]


def test_a_job_that_is_switched_off_is_not_submitted() -> None:
    own = release()
    own.templates["sample"]["metadata"]["annotations"] = {}
    assert {job for job, _ in in_order(own)} == {"etl", "train"}


def test_a_run_is_held_up_by_a_failure_however_far_before_it() -> None:
    api = Namespace()
    launch_release(api, release())
    train = api.there["n-train-g1"]
    assert waiting(train)
    assert held_up_by(api, train) is None
    api.state("n-etl-g1", "FAILED")
    held = held_up_by(api, train)
    assert held is not None
    assert name_of(held) == "n-etl-g1"


def test_a_release_reads_its_templates_as_the_chart_wrote_them() -> None:
    """What `in_order` needs survives the way through the ConfigMap."""
    written = {f"{job}.yaml": yaml.safe_dump(own) for job, own in release().templates.items()}
    metadata = {"name": "n-jobs", "namespace": "jobs", "uid": "u", "labels": {"app.kubernetes.io/instance": "n"}}

    class Maps:
        namespace = "jobs"

        def config_maps(self, selector: str, *, everywhere: bool = False) -> list[Object]:
            return [{"metadata": metadata, "data": written}]

    assert [job for job, _ in in_order(find_release(Maps(), None))] == list(CHAIN)

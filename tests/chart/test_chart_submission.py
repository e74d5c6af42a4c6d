"""Runs that are submitted by hand, from the templates as the chart renders them; dictionaries stand for the cluster."""

import json
from typing import Any, cast

import pytest
import yaml
from rendering import NAMESPACE, RELEASE, SYNTHETIC, Chart, all_of, application, environment, merged

from neurogrid.cli.k8s_steps import do_scale
from neurogrid.cli.k8s_submit import do_submit, do_submit_all
from neurogrid.cluster.api import Cluster
from neurogrid.cluster.application import LOCKED
from neurogrid.cluster.release import Release, find_release
from neurogrid.errors import ConfigError, RunError, UsageError

Object = dict[str, Any]
LEFT = {
    "spark.authenticate.secret",
    "spark.executor.cores",
    "spark.executor.instances",
    "spark.dynamicAllocation.enabled",
}
"""Left to Spark, and to what the operator makes of the job's other values."""
ALLOCATION = {"enabled": True, "minExecutors": 1, "maxExecutors": 8}


class Kept:
    """ConfigMaps and applications of a namespace, by name."""

    namespace = NAMESPACE

    def __init__(self, documents: list[Object]) -> None:
        self.maps = {d["metadata"]["name"]: d for d in all_of(documents, "ConfigMap")}
        self.on: dict[str, Object] = {}
        for number, config_map in enumerate(self.maps.values()):
            config_map["metadata"]["uid"] = f"u-{number}"

    def config_maps(self, selector: str, *, everywhere: bool = False) -> list[Object]:
        return list(self.maps.values())

    def config_map(self, name: str) -> Object | None:
        return self.maps.get(name)

    def create_config_map(self, config_map: Object) -> None:
        self.maps[config_map["metadata"]["name"]] = config_map

    def patch_config_map(self, name: str, change: Object) -> None:
        self.maps[name] = merged(self.maps[name], change)

    def applications(self, selector: str) -> list[Object]:
        return list(self.on.values())

    def application(self, name: str) -> Object | None:
        return self.on.get(name)

    def patch_application(self, name: str, change: Object) -> None:
        self.on[name] = merged(self.on[name], change)

    def delete_application(self, name: str) -> None:
        del self.on[name]
        self.maps.pop(name, None)  # it belongs to the run

    def pods(self, selector: str) -> list[Object]:
        return []

    def create_application(self, application: Object) -> Object:
        made = merged(application, {"metadata": {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00+00:00"}})
        return self.on.setdefault(made["metadata"]["name"], made)


def installed(chart: Chart, values: Object | None = None) -> tuple[Kept, Cluster, Release]:
    kept = Kept(chart.render(merged(SYNTHETIC, values or {})))
    cluster = cast(Cluster, kept)
    return kept, cluster, find_release(cluster, RELEASE)


def test_a_run_for_which_no_number_is_asked_keeps_its_bounds_of_dynamic_allocation(chart: Chart) -> None:
    kept, cluster, release = installed(chart, {"jobs": {"etl": {"dynamicAllocation": ALLOCATION}}})
    spec = kept.on[do_submit(cluster, release, "etl", None, [], None)]["spec"]
    assert spec["dynamicAllocation"] == {**ALLOCATION, "initialExecutors": 2}
    kept.on.clear()
    spec = kept.on[do_submit(cluster, release, "etl", None, [], 3)]["spec"]
    assert (spec["executor"]["instances"], spec["dynamicAllocation"]["maxExecutors"]) == (3, 3)


def test_a_number_that_was_set_for_the_next_run_is_asked_for(chart: Chart) -> None:
    kept, cluster, release = installed(chart, {"jobs": {"etl": {"dynamicAllocation": ALLOCATION}}})
    do_scale(cluster, release, "etl", 4, now=False)
    name = do_submit(cluster, find_release(cluster, RELEASE), "etl", None, [], None)
    assert kept.on[name]["spec"]["dynamicAllocation"]["maxExecutors"] == 4


@pytest.mark.parametrize(
    ("job", "key"), [("train", "backend.tasks"), ("night", "backend.tasks"), ("teacher", "teacher.ranks")]
)
def test_more_tasks_than_the_run_has_slots_are_refused(chart: Chart, job: str, key: str) -> None:
    kept, cluster, release = installed(chart, {"jobs": {"night": {"step": "pipeline"}}})
    with pytest.raises(UsageError, match=f"{job} would wait for ever: {key}"):
        do_submit(cluster, release, job, None, [f"{key}=5"], 2)
    assert not kept.on


def test_a_run_that_is_on_is_stopped_and_goes_on_under_its_name_with_another_number(chart: Chart) -> None:
    kept, cluster, release = installed(chart)
    name = do_submit(cluster, release, "train", None, ["rounds.count=3"], 1)
    assert do_scale(cluster, release, "train", 3, now=True)["run"] == name
    assert kept.on[name]["spec"]["executor"]["instances"] == 3
    assert "suspend" not in kept.on[name]["spec"]
    assert '"count": 3' in json.dumps(yaml.safe_load(kept.maps[name]["data"]["config.yaml"]))


def test_all_jobs_that_are_enabled_are_submitted_and_no_other(chart: Chart) -> None:
    nightly = {"enabled": True, "step": "pipeline", "schedule": "@daily"}
    kept, cluster, release = installed(chart, {"jobs": {"nightly": nightly}})
    names = do_submit_all(cluster, release)
    assert [kept.on[name]["metadata"]["labels"]["neurogrid.io/job"] for name in names] == [
        "etl",
        "sample",
        "train",
        "evaluate",
    ]
    assert [bool(kept.on[name]["spec"].get("suspend")) for name in names] == [False, True, True, True]


def test_a_config_that_the_program_refuses_is_refused_before_any_job_is_made(chart: Chart) -> None:
    kept, cluster, release = installed(chart)
    for config_map in kept.maps.values():
        if config_map["metadata"]["name"] == "ng-evaluate-config":
            config_map["data"]["config.yaml"] = "rounds: {cuont: 3}\n"
    with pytest.raises(ConfigError, match=r"no key rounds\.cuont"):
        do_submit_all(cluster, release)
    assert not kept.on


@pytest.mark.parametrize(
    "key",
    ["warehouse", "source.path", "backend.port", "backend.bind_address", "backend.driver_host", "spark.master"],
)
def test_what_the_release_decides_cannot_be_set_for_a_run(chart: Chart, key: str) -> None:
    kept, cluster, release = installed(chart)
    with pytest.raises(ConfigError, match=f"{key} belongs to the release"):
        do_submit(cluster, release, "train", None, [f"{key}={5 if key == 'backend.port' else 'x'}"], None)
    assert not kept.on


@pytest.mark.parametrize("key", sorted(LOCKED))
def test_sparks_ports_security_and_slots_are_set_by_nobody_but_the_release(chart: Chart, key: str) -> None:
    for values in ({"jobs": {"etl": {"sparkConf": {key: "9"}}}}, {"config": {"spark": {"options": {key: "9"}}}}):
        assert f"may not set {key}" in chart.refusal(merged(SYNTHETIC, values))
    kept, cluster, release = installed(chart)
    with pytest.raises(ConfigError, match=rf"spark\.options\.{key} belongs to the release"):
        do_submit(cluster, release, "train", None, ["spark=" + json.dumps({"options": {key: "9"}})], None)
    assert not kept.on


def test_the_release_sets_all_that_nobody_else_may(chart: Chart) -> None:
    conf = application(chart, "train")["spec"]["sparkConf"]
    assert {key for key in LOCKED if key not in conf} == LEFT
    same = {"jobs": {"train": {"sparkConf": {"spark.authenticate": "true"}}}}
    assert application(chart, "train", same)["spec"]["sparkConf"] == conf


def test_a_run_with_other_settings_has_a_name_and_a_record_of_its_own_and_comes_after_the_run_that_is_on(
    chart: Chart,
) -> None:
    kept, cluster, release = installed(chart)
    sample = do_submit(cluster, release, "sample", None, ["sampling.agents=9"], None)
    name = do_submit(cluster, release, "train", None, ["rounds.count=3"], None)
    releases, own = (environment(app) for app in (release.template("train"), kept.on[name]))
    assert own["NEUROGRID_GENERATION"] != releases["NEUROGRID_GENERATION"]
    assert own["NEUROGRID_AFTER_GENERATION"] == environment(kept.on[sample])["NEUROGRID_GENERATION"]
    assert kept.on[name]["spec"]["suspend"] is True


def test_a_run_after_one_that_failed_is_refused_with_what_to_do(chart: Chart) -> None:
    kept, cluster, release = installed(chart)
    sample = do_submit(cluster, release, "sample", None, [], None)
    kept.on[sample]["status"] = {"applicationState": {"state": "FAILED"}}
    with pytest.raises(RunError, match="train comes after sample, which failed") as told:
        do_submit(cluster, release, "train", None, [], None)
    assert "neurogrid k8s submit sample" in told.value.fix
    assert set(kept.on) == {sample}

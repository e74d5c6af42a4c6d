"""Which job waits for which, and which of them run again when values change."""

import pytest
from rendering import SYNTHETIC, Chart, application, environment, find, jobs, merged

S3 = {"storage": {"kind": "s3", "s3": {"bucket": "meters"}}}


def test_a_job_waits_for_the_one_before_it_and_passes_over_those_that_are_off(chart: Chart) -> None:
    def after(job: str, values: dict | None = None) -> str:
        return environment(application(chart, job, values))["NEUROGRID_AFTER"]

    assert [after(job) for job in ("etl", "sample", "train", "evaluate")] == ["", "etl", "sample", "train"]
    assert after("train", {"jobs": {"teacher": {"enabled": True}}}) == "teacher"
    assert after("evaluate", {"jobs": {job: {"enabled": False} for job in ("etl", "sample", "train")}}) == ""


def generations(chart: Chart, values: dict | None = None) -> dict[str, str]:
    kept = jobs(chart.render(merged(SYNTHETIC, values or {})))
    return {job: environment(kept[job])["NEUROGRID_GENERATION"] for job in ("etl", "sample", "train", "evaluate")}


def test_a_changed_value_runs_its_job_and_those_after_it_again_and_no_other(chart: Chart) -> None:
    before = generations(chart)
    after = generations(chart, {"jobs": {"sample": {"config": {"sampling": {"agents": 20}}}}})
    assert {job for job in before if before[job] != after[job]} == {"sample", "train", "evaluate"}
    again = generations(chart, {"jobs": {"train": {"rerun": "2"}}})
    assert {job for job in before if before[job] != again[job]} == {"train", "evaluate"}


@pytest.mark.parametrize(
    ("config", "jobs"),
    [
        ({"etl": {"cadence_minutes": 30}}, {"etl", "sample", "train", "evaluate"}),
        ({"source": {"limit_households": 9}}, {"etl", "sample", "train", "evaluate"}),
        ({"seed": 2}, {"sample", "train", "evaluate"}),
        ({"aggregation": {"byzantine_share": 0.3}}, {"sample", "train", "evaluate"}),
        ({"rounds": {"agents_per_round": 14}}, {"sample", "train", "evaluate"}),
        ({"rounds": {"count": 14}, "local": {"steps": 3}, "model": {"hidden": 9}}, {"train", "evaluate"}),
    ],
)
def test_a_setting_of_all_jobs_runs_again_those_whose_result_it_changes(
    chart: Chart, config: dict, jobs: set[str]
) -> None:
    before, after = generations(chart), generations(chart, {"config": config})
    assert {job for job in before if before[job] != after[job]} == jobs


MOUNTED = {"kind": "existing", "existingClaim": "readings", "subPath": "2025"}
FETCHED = {"kind": "fetch", "fetch": {"urls": ["https://example.org/a.zip"]}}
URI = {"kind": "uri", "uri": "s3://meters/2025"}


@pytest.mark.parametrize(
    ("data", "change"),
    [
        (MOUNTED, {"existingClaim": "others"}),
        (MOUNTED, {"subPath": "2026"}),
        (FETCHED, {"fetch": {"urls": ["https://example.org/b.zip"]}}),
        (URI, {"uri": "s3://meters/2026"}),
        *[({"kind": "synthetic"}, {"synthetic": {key: 9}}) for key in ("households", "stations", "days", "seed")],
    ],
)
def test_other_readings_run_etl_again_and_all_jobs_after_it(chart: Chart, data: dict, change: dict) -> None:
    before, after = (generations(chart, merged(S3, {"data": given})) for given in (data, merged(data, change)))
    assert {job for job in before if before[job] != after[job]} == {"etl", "sample", "train", "evaluate"}


def test_readings_that_are_made_or_fetched_have_a_folder_for_each_set_of_values(chart: Chart) -> None:
    """What is there is left as it is (--if-missing), so other values must not find the folder of these."""
    several = [
        {"kind": "synthetic"},
        {"kind": "synthetic", "synthetic": {"seed": 2}},
        FETCHED,
        merged(FETCHED, {"fetch": {"urls": ["https://example.org/b.zip"]}}),
    ]
    folders = []
    for data in several:
        etl = application(chart, "etl", {"data": data})
        folders.append(etl["spec"]["driver"]["template"]["spec"]["initContainers"][0]["args"][1])
    assert len(set(folders)) == len(several)


def test_where_a_job_runs_changes_no_generation(chart: Chart) -> None:
    elsewhere = {
        "config": {"backend": {"tasks": 2}},
        "jobDefaults": {"executor": {"instances": 4, "nodeSelector": {"disk": "fast"}}, "driver": {"memory": "4g"}},
    }
    assert generations(chart, elsewhere) == generations(chart)


def test_a_job_knows_the_generation_of_the_one_it_waits_for(chart: Chart) -> None:
    env = {job: environment(spark) for job, spark in jobs(chart.render(SYNTHETIC)).items()}
    for job in ("sample", "train", "evaluate"):
        before = env[job]["NEUROGRID_AFTER"]
        assert env[job]["NEUROGRID_AFTER_GENERATION"] == env[before]["NEUROGRID_GENERATION"]


def test_a_pipeline_recurs_as_one_driver_that_has_what_each_of_its_steps_needs(chart: Chart) -> None:
    alone = {job: {"enabled": False} for job in ("etl", "sample", "train", "evaluate")}
    nightly = {"enabled": True, "step": "pipeline", "schedule": "@daily"}
    values = {"jobs": {**alone, "nightly": nightly}, "tracing": {"endpoint": "http://collector:4318"}}
    documents = chart.render(merged(SYNTHETIC, values))
    scheduled = find(documents, "ScheduledSparkApplication", "ng-nightly")["spec"]["template"]
    assert scheduled["mainApplicationFile"].endswith("/pipeline.py")
    driver, executor = (scheduled[role]["template"]["spec"] for role in ("driver", "executor"))
    assert driver["initContainers"][0]["args"][0] == "synth"
    for pod in (driver, executor):
        assert "/data" in {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert environment({"spec": scheduled})["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"
    egress = find(documents, "NetworkPolicy", "ng-nightly-driver")["spec"]["egress"]
    assert {"ports": [{"protocol": "TCP", "port": 4318}]} in egress

"""Who may talk to whom, by the policies as written; the cluster tests try the same with real packets."""

import pytest
from rendering import SYNTHETIC, Chart, all_of, environment, find, jobs, merged

MONITORING = {"network": {"monitoring": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]}}


def ports(rules: list[dict]) -> set[int]:
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_every_pod_of_the_release_is_closed_but_for_what_is_allowed(chart: Chart) -> None:
    deny = find(chart.render(SYNTHETIC), "NetworkPolicy", "ng-deny")["spec"]
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & set(deny)
    assert deny["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "neurogrid",
        "app.kubernetes.io/instance": "ng",
    }


def test_only_its_own_executors_reach_a_driver_and_only_on_sparks_ports_and_flights(chart: Chart) -> None:
    ingress = find(chart.render(SYNTHETIC), "NetworkPolicy", "ng-train-driver")["spec"]["ingress"]
    assert ports(ingress) == {7078, 7079, 7080}
    peers = [peer["podSelector"]["matchLabels"] for rule in ingress for peer in rule["from"]]
    assert [(peer["neurogrid.io/job"], peer["spark-role"]) for peer in peers] == [("train", "executor")]


def test_an_executor_takes_blocks_from_its_own_job_and_nothing_else(chart: Chart) -> None:
    spec = find(chart.render(SYNTHETIC), "NetworkPolicy", "ng-train-executors")["spec"]
    assert ports(spec["ingress"]) == {7079}
    assert ports(spec["egress"]) == {53, 7078, 7079, 7080}


def test_free_ports_are_open_between_a_teachers_processes_only(chart: Chart) -> None:
    documents = chart.render(SYNTHETIC)
    wide = [
        policy["metadata"]["name"]
        for policy in all_of(documents, "NetworkPolicy")
        for rule in policy["spec"].get("ingress", [])
        if any("endPort" in port for port in rule["ports"])
    ]
    assert set(wide) == {"ng-teacher-driver", "ng-teacher-executors"}


def test_scraping_is_open_to_whom_the_values_name_and_closed_without(chart: Chart) -> None:
    def scraped(values: dict) -> set[int]:
        policies = all_of(chart.render(merged(SYNTHETIC, values)), "NetworkPolicy")
        rules = [rule for policy in policies for rule in policy["spec"].get("ingress", [])]
        return ports([rule for rule in rules if all("podSelector" not in peer for peer in rule["from"])])

    assert scraped({}) == set()
    assert scraped(MONITORING) == {4040, 9108, 8080}


def test_the_api_server_can_be_named_by_address(chart: Chart) -> None:
    values = {"network": {"apiServer": {"cidrs": ["10.0.0.1/32"], "ports": [6443]}}}
    egress = find(chart.render(merged(SYNTHETIC, values)), "NetworkPolicy", "ng-train-driver")["spec"]["egress"]
    assert {"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}], "ports": [{"protocol": "TCP", "port": 6443}]} in egress


def test_the_object_store_is_open_to_drivers_executors_exporter_and_test(chart: Chart) -> None:
    values = {
        "storage": {"kind": "s3", "s3": {"bucket": "meters", "secret": "keys"}},
        "network": {"storage": {"ports": [7070], "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}},
    }
    rule = {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"protocol": "TCP", "port": 7070}]}
    documents = chart.render(merged(SYNTHETIC, values))
    for name in ("ng-train-driver", "ng-train-executors", "ng-exporter", "ng-test"):
        assert rule in find(documents, "NetworkPolicy", name)["spec"]["egress"]


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("", 443),
        ("https://s3.example.org", 443),
        ("http://s3.example.org", 80),
        ("http://minio.storage:9000", 9000),
        ("https://[fd00::1]:7443/", 7443),
    ],
)
def test_the_object_stores_port_is_that_of_its_endpoint(chart: Chart, endpoint: str, port: int) -> None:
    values = {"storage": {"kind": "s3", "s3": {"bucket": "meters", "endpoint": endpoint}}}
    documents = chart.render(merged(SYNTHETIC, values))
    for name in ("ng-train-executors", "ng-exporter", "ng-test"):
        egress = find(documents, "NetworkPolicy", name)["spec"]["egress"]
        assert [rule["ports"] for rule in egress if "to" not in rule and port in ports([rule])]


def test_the_driver_that_is_told_of_a_collector_is_let_out_to_it_and_nobody_else(chart: Chart) -> None:
    documents = chart.render(merged(SYNTHETIC, {"tracing": {"endpoint": "http://collector.monitoring:4318"}}))
    told = {
        (spark["metadata"]["name"], role)
        for spark in jobs(documents).values()
        for role in ("driver", "executor")
        if environment(spark, role).get("OTEL_EXPORTER_OTLP_ENDPOINT") == "http://collector.monitoring:4318"
    }
    let_out = {
        policy["metadata"]["name"]
        for policy in all_of(documents, "NetworkPolicy")
        if 4318 in ports(policy["spec"].get("egress", []))
    }
    assert (told, let_out) == ({("ng-train", "driver")}, {"ng-train-driver"})
    closed = all_of(chart.render(SYNTHETIC), "NetworkPolicy")
    assert not [policy for policy in closed if 4318 in ports(policy["spec"].get("egress", []))]


def test_the_collectors_pods_can_be_named(chart: Chart) -> None:
    peers = [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
    values = {"tracing": {"endpoint": "https://collector/otlp"}, "network": {"tracing": {"to": peers, "ports": [4318]}}}
    egress = find(chart.render(merged(SYNTHETIC, values)), "NetworkPolicy", "ng-train-driver")["spec"]["egress"]
    assert {"to": peers, "ports": [{"protocol": "TCP", "port": 4318}]} in egress


def test_the_operator_is_reached_by_nobody_and_reaches_the_api_server(chart: Chart) -> None:
    spec = find(chart.render(SYNTHETIC), "NetworkPolicy", "ng-operator")["spec"]
    assert "ingress" not in spec
    assert ports(spec["egress"]) == {53, 443, 6443}


def test_policies_can_be_switched_off(chart: Chart) -> None:
    off = merged(SYNTHETIC, {"network": {"enabled": False}})
    assert not all_of(chart.render(off), "NetworkPolicy")

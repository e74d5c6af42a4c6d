"""What the terminal view, the exporter and Prometheus have to agree on, figure by figure."""

import time

import pytest
from telemetry_run import value

from neurogrid.telemetry.catalogue import PHASES


def last(figures):
    return [figure for figure in figures if figure is not None][-1]


def in_buckets(values, name, own, **labels):
    """Whether a histogram has the longest and the median of these seconds in the buckets that they belong to."""
    buckets = {
        float(dict(key[1])["le"]): count
        for key, count in values.items()
        if key[0] == f"neurogrid_{name}_bucket" and labels.items() <= dict(key[1]).items()
    }
    total = buckets[float("inf")]
    longest = min(bound for bound in buckets if bound >= own["longest"])
    assert buckets[longest] == total
    assert all(count < total for bound, count in buckets.items() if bound < longest)
    median = min(bound for bound in buckets if bound >= own["median"])
    assert buckets[median] >= total / 2
    assert all(count <= total / 2 for bound, count in buckets.items() if bound < median)
    return True


def of_those_that_came(rejected):
    """Share of attackers among rejected updates: what did not come was not rejected."""
    came = {key: n for key, n in rejected.items() if key[0] in ("filtered", "not_finite", "bad_windows")}
    return sum(n for (_, attacked), n in came.items() if attacked) / sum(came.values())


def agreement(said, values):
    """Of each figure of `neurogrid watch --json`, whether it is the one in `values`, samples by name and labels."""

    def of(name, **labels):
        return value(values, name, run=said["run_id"], **labels)

    attackers = sum(entry["updates"] for entry in said["rejected"] if entry["attackers"])
    rejected = {
        (dict(key[1])["reason"], dict(key[1])["attack"] != "none"): int(count)
        for key, count in values.items()
        if key[0] == "neurogrid_agents_rejected_total" and count
    }
    return {
        "run_id": any(name == "neurogrid_run_info" and dict(own)["run"] == said["run_id"] for name, own in values),
        "state": of("run_state", state=said["state"]) == 1,
        "reason": of("run_end_info", reason=said["reason"]) == 1,
        "age_s": said["age_s"] == pytest.approx(time.time() - of("run_last_round_timestamp_seconds"), abs=60),
        "rounds": said["rounds"] == of("run_last_round") == of("round_duration_seconds_count"),
        "rounds_asked": said["rounds_asked"] == of("run_planned_rounds"),
        "void_rounds": said["void_rounds"] == of("rounds_total", result="void"),
        "latency_s": said["latency_s"]["wallclock"]["last"] == of("round_last_duration_seconds")
        and in_buckets(values, "round_duration_seconds", said["latency_s"]["wallclock"])
        and all(in_buckets(values, "round_phase_duration_seconds", said["latency_s"][p], phase=p) for p in PHASES),
        "held_out_loss": last(said["held_out_loss"]) == of("round_held_out_loss")
        and min(said["held_out_loss"]) == of("run_best_held_out_loss"),
        "training_loss": last(said["training_loss"]) == of("round_training_loss"),
        "acceptance": last(said["acceptance"]) == of("round_acceptance_ratio"),
        "updates": said["updates"] == {name: of(f"agents_{name}_total") for name in said["updates"]},
        "districts": said["districts"]
        == {
            number: {name: of(f"district_agents_{name}_total", district=number) for name in ("asked", "accepted")}
            for number in said["districts"]
        },
        "rejected": {(entry["reason"], entry["attackers"]): entry["updates"] for entry in said["rejected"]} == rejected,
        "assumed_f": said["assumed_f"] == of("round_assumed_byzantine_agents"),
        "suspected": last(said["suspected"]) == of("round_suspected_agents")
        and sum(said["suspected"]) == of("agents_suspected_total"),
        "rejection_recall": said["rejection_recall"] == attackers / of("agents_malicious_total", attack="noise"),
        "rejection_precision": said["rejection_precision"] == of_those_that_came(rejected),
        "bytes_down": said["bytes_down"] == of("exchange_bytes_total", direction="down"),
        "bytes_up": said["bytes_up"] == of("exchange_bytes_total", direction="up"),
        "executors": said["executors"] == of("round_executors"),
    }

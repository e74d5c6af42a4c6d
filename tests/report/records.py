"""Records and manifests of runs for the report's tests; records are sealed and chained as the ledger's."""

import json
from datetime import UTC, datetime
from typing import Any

from neurogrid.data.household import FIRST_TABLE, household_path
from neurogrid.data.manifest import Agent, Cluster, Manifest, Part
from neurogrid.ledger.chain import seal, to_text
from neurogrid.storage import Place


def manifest_of(agents: int, districts: int) -> Manifest:
    moment = datetime(2024, 1, 1, tzinfo=UTC)

    def agent(name: str, number: int, district: int) -> Agent:
        part = Part(f"{1000 + number}", "8jB")
        return Agent(name, (part,), number % 3, district, 2880, moment, moment, moment, moment)

    centre = {"peak_kwh": 2.5, "night_share": 0.2, "evening_share": 0.31, "missing_share": 0.013}
    clusters = tuple(
        Cluster(i, 8, {"mean_kwh": mean, **centre}, words)
        for i, (mean, words) in enumerate(
            [(0.11, "low use, few gaps"), (0.2, "like the average household"), (0.48, "very high use, evening peak")]
        )
    )
    trained = tuple(agent(f"A{i + 1:04d}", i, i * districts // agents) for i in range(agents))
    held_out = tuple(agent(f"H{i + 1:04d}", 500 + i, -1) for i in range(4))
    households = [part.household_id for one in (*trained, *held_out) for part in one.parts]
    return Manifest(
        seed=7,
        cadence_minutes=15,
        partition="natural",
        districts=districts,
        silhouette=0.41,
        clusters=clusters,
        agents=trained,
        held_out=held_out,
        unused=("1777: 0 measured training slots, 96 needed", "1800: usable, not drawn: 15 of 18 train"),
        fingerprints={household_path("8jB", name, FIRST_TABLE): "0" * 64 for name in households},
    )


def evaluation_of(*, slots: int = 8) -> dict[str, Any]:
    """In the form of evaluation.json, with plausible figures."""

    def figure(value: float, spread: float = 0.08) -> dict[str, float]:
        return {"value": value, "low": value - spread * abs(value), "high": value + spread * abs(value)}

    mae = {
        "federated": 0.1175,
        "pooled": 0.1166,
        "alone": 0.1232,
        "ridge_federated": 0.1456,
        "median_28_days": 0.1254,
        "mean_28_days": 0.153,
        "yesterday": 0.1811,
        "last_week": 0.1827,
        "persistence": 0.1711,
    }

    def method(value: float) -> dict[str, Any]:
        return {
            "mae": figure(value),
            "rmse": figure(2.1 * value),
            "mase": figure(4 * value),
            "mase_median": figure(3.5 * value),
            "bias_percent": figure(-46.0),
            "household_bias_percent": figure(-45.0),
            "mae_by_slot": [figure(value * (0.85 + 0.3 * i / slots)) for i in range(slots)],
            "mae_below_median_percent": figure(100 * (1 - value / 0.1254), 0.15),
            "better_than_median_share": figure(0.88 if value < 0.12 else 0.2, 0.05),
            "better_than_alone_share": figure(0.79, 0.1),
            "households": 15,
        }

    def detection(f1: float) -> dict[str, Any]:
        return {
            "precision": figure(0.8 * f1),
            "recall": figure(1.2 * f1),
            "f1": figure(f1),
            "household_f1": figure(0.8 * f1),
            "accuracy": figure(0.85),
            "average_precision": {"value": None, "low": None, "high": None},
        }

    surges = [
        {
            "output": "any",
            "prevalence": figure(0.115),
            "methods": {"federated": detection(0.39), "persistence": detection(0.19), "always": detection(0.21)},
        }
    ]

    def group(names: list[str], factor: float, quiet: list[str]) -> dict[str, Any]:
        return {
            "households": names,
            "windows": 12_345,
            "quiet": quiet,
            "without_windows": [],
            "methods": {name: method(value * factor) for name, value in mae.items()},
            "surges": surges,
        }

    test = {
        "trained": group([str(1000 + i) for i in range(15)], 1, ["10018238"]),
        "held_out": group([str(1500 + i) for i in range(4)], 0.95, []),
    }
    return {"cadence_minutes": 15, "history_slots": 48, "horizon_slots": slots, "parts": {"test": test}}


def write_evaluation(run: Place, content: dict[str, Any]) -> None:
    """As an evaluation of that run leaves it."""
    end = run / "end.json"
    previous = json.loads(end.read_text())["sha256"] if end.exists() else ""
    (run / "evaluation.json").write(to_text(seal(content, previous)))


def rewrite_round(run: Place, number: int, **changes: object) -> None:
    """Makes a run whose round says so; every record after it is sealed anew."""
    rounds = sorted((run / "rounds").children(), key=str)
    evaluation = json.loads((run / "evaluation.json").read_text())
    previous = json.loads((run / "run.json").read_text())["sha256"]
    for place in (*rounds, run / "end.json"):
        record = json.loads(place.read_text())
        record |= changes if place.name == f"round={number:04d}.json" else {}
        content = {key: value for key, value in record.items() if key not in ("sha256", "previous_sha256")}
        sealed = seal(content, previous)
        place.write(to_text(sealed))
        previous = str(sealed["sha256"])
    write_evaluation(run, {key: value for key, value in evaluation.items() if "sha256" not in key})

"""A run in a page: what it was, how it went, what came out."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from neurogrid.fl.record import flat, precision
from neurogrid.ledger.chain import Record, plain
from neurogrid.plural import plural

RunSummary = dict[str, Any]
PHASES = ("send", "train", "collect", "aggregate", "evaluate", "persist")


def summarise_run(
    genesis: Record, rounds: Sequence[Record], reason: str, w_final_sha256: str, facts: Mapping[str, Any]
) -> RunSummary:
    """Totals and medians over the run's rounds, JSON-able; None where a figure does not exist."""
    rounds = [flat(record) for record in rounds]
    losses = [r["held_out_loss"] for r in rounds if r["held_out_loss"] is not None]
    asked = sum(r["n_total_agents"] for r in rounds)
    accepted = sum(r["n_accepted_agents"] for r in rounds)
    malicious = sum(r["byzantine_agents_n"] for r in rounds)
    caught = sum(round(r["byzantine_agents_n"] * (r["rejection_recall"] or 0)) for r in rounds)
    rejections = [own for r in rounds for own in r.get("rejections") or ()]
    share = precision((own["reason"], own["malicious"], own["agents"]) for own in rejections)
    return {
        "run_id": genesis["run_id"],
        "manifest_id": genesis["manifest_id"],
        "model": genesis["model"],
        "n_weights": genesis["n_weights"],
        "n_agents": genesis["n_agents"],
        "rule": genesis["rule"],
        "attack": genesis["attack"],
        "seed": genesis["seed"],
        "reason": reason,
        "rounds": len(rounds),
        "void_rounds": sum(not r["aggregated"] for r in rounds),
        "wallclock_s": plain(sum(_measured(rounds, "wallclock_s"))),
        "median_s": {
            "round": _median(rounds, "wallclock_s"),
            **{phase: _median(rounds, f"{phase}_s") for phase in PHASES},
        },
        "held_out_loss_first": losses[0] if losses else None,
        "held_out_loss_last": losses[-1] if losses else None,
        "held_out_loss_best": min(losses) if losses else None,
        "updates_asked": asked,
        "updates_accepted": accepted,
        "updates_late": sum(r["n_late_agents"] for r in rounds),
        "updates_lost": sum(r["n_lost_agents"] for r in rounds),
        "updates_malicious": malicious,
        "malicious_rejected": caught,
        "rejection_recall": caught / malicious if malicious else None,
        "rejection_precision": plain(share) if malicious else None,
        "bytes_down": sum(r["bytes_down"] for r in rounds),
        "bytes_up": sum(r["bytes_up"] for r in rounds),
        "w_final_sha256": w_final_sha256,
        **plain(facts),
    }


def _measured(rounds: Sequence[Record], name: str) -> list[float]:
    return [float(record[name]) for record in rounds if record[name] is not None]


def _median(rounds: Sequence[Record], name: str) -> float | None:
    """None where no round has the figure, or two of them are too large to have a mean."""
    values = _measured(rounds, name)
    middle: float | None = plain(median(values)) if values else None
    return middle


def to_markdown(summary: RunSummary) -> str:
    """The summary for people."""
    lines = [
        f"# Run {summary['run_id']}",
        "",
        f"{plural(summary['rounds'], 'round')} ({summary['reason']}) of {plural(summary['n_agents'], 'agent')}, "
        f"{summary['model']} with {summary['n_weights']:,} weights, rule {summary['rule']}, "
        f"attack {summary['attack']}.",
        "",
        "| figure | value |",
        "|---|---:|",
    ]
    for label, value in _figures(summary):
        lines.append(f"| {label} | {value} |")
    return "\n".join([*lines, ""])


def _figures(summary: RunSummary) -> list[tuple[str, str]]:
    medians = summary["median_s"]
    return [
        ("held-out loss, first round", _number(summary["held_out_loss_first"])),
        ("held-out loss, last round", _number(summary["held_out_loss_last"])),
        ("held-out loss, best round", _number(summary["held_out_loss_best"])),
        ("time of all rounds (s)", _number(summary["wallclock_s"], 1)),
        *[(f"median {name} (ms)", _number(None if s is None else s * 1000, 1)) for name, s in medians.items()],
        ("updates accepted", f"{summary['updates_accepted']} of {summary['updates_asked']}"),
        ("updates late or lost", f"{summary['updates_late'] + summary['updates_lost']}"),
        ("malicious updates rejected", f"{summary['malicious_rejected']} of {summary['updates_malicious']}"),
        ("rejected updates that were malicious", _percent(summary["rejection_precision"])),
        ("sent to agents (MB)", _number(summary["bytes_down"] / 1e6, 1)),
        ("received from agents (MB)", _number(summary["bytes_up"] / 1e6, 1)),
        ("SHA-256 of the final weights", f"`{summary['w_final_sha256']}`"),
    ]


def _number(value: float | None, digits: int = 4) -> str:
    return "none" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.0f}%"

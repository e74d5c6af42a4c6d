"""What the committed dashboards ask, as Grafana would: variables filled in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = ROOT / "helm" / "neurogrid" / "files"
DASHBOARDS = sorted((FILES / "dashboards").glob("*.json"))


@dataclass(frozen=True)
class Asked:
    """One query of a panel."""

    board: str
    panel: str
    expr: str
    instant: bool
    legend: str
    exemplars: bool


def boards() -> dict[str, dict[str, Any]]:
    """Committed dashboards by uid."""
    return {board["uid"]: board for board in (json.loads(path.read_text()) for path in DASHBOARDS)}


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel but the rows between them."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels") or []
        else:
            yield panel


def filled(expr: str, run: str, window: str = "30s") -> str:
    """With variables as they stand when a dashboard opens, and this run chosen."""
    values = {"namespace": ".*", "release": ".*", "application": ".*", "run": run, "window": window}
    for name, value in values.items():
        expr = expr.replace(f"${name}", value)
    assert "$" not in expr, f"a variable that nobody fills: {expr}"
    return expr


def queries(run: str, window: str = "30s") -> list[Asked]:
    """All queries of all panels."""
    found = []
    for uid, board in boards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                expr = filled(target["expr"], run, window)
                instant = bool(target.get("instant"))
                found.append(
                    Asked(
                        uid, panel["title"], expr, instant, target.get("legendFormat", ""), bool(target.get("exemplar"))
                    )
                )
    return found

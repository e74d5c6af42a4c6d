"""Writes the chart's dashboards (helm/neurogrid/files/dashboards): `make dashboards-json`."""

import json
from pathlib import Path
from typing import Any

from board_data import data
from board_resources import resources
from board_run import run
from board_runs import runs
from grafana_foundation_sdk.cog.encoder import JSONEncoder

DASHBOARDS = Path(__file__).resolve().parent.parent.parent / "helm" / "neurogrid" / "files" / "dashboards"


def _written(board: dict[str, Any]) -> str:
    """As a file, without what the SDK adds of its own accord and Grafana's published schema does not know."""
    del board["style"]
    for variable in board["templating"]["list"]:
        for name in ("id", "auto", "auto_min", "auto_count"):
            variable.pop(name, None)
    for panel in board["panels"]:
        if panel["type"] == "table":
            panel["options"].pop("footer", None)
    return json.dumps(board, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def files() -> dict[Path, str]:
    """Every file that is made, with its content."""
    made = {}
    for board in (runs, run, resources, data):
        built = board().build()
        # Links to a panel name it by its number, which Grafana would otherwise give anew at each import.
        for number, panel in enumerate(built.panels or [], 1):
            panel.id_val = number
        content = _written(json.loads(json.dumps(built, cls=JSONEncoder)))
        made[DASHBOARDS / f"{built.uid}.json"] = content
    return made


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

"""Writes monitoring/dashboards/*.json, and the chart's copies of dashboards and alerts: `make dashboards-json`."""

import json
from pathlib import Path

from board_data import data
from board_resources import resources
from board_run import run
from board_runs import runs
from grafana_foundation_sdk.cog.encoder import JSONEncoder

MONITORING = Path(__file__).resolve().parent.parent
IN_THE_CHART = MONITORING.parent / "helm" / "neurogrid" / "files"
"""A chart can read only what lies within it."""


def files() -> dict[Path, str]:
    """Every file that is made, with its content."""
    made = {}
    for board in (runs, run, resources, data):
        built = board().build()
        # Links to a panel name it by its number, which Grafana would otherwise give anew at each import.
        for number, panel in enumerate(built.panels or [], 1):
            panel.id_val = number
        content = json.dumps(built, cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        for folder in (MONITORING / "dashboards", IN_THE_CHART / "dashboards"):
            made[folder / f"{built.uid}.json"] = content
    made[IN_THE_CHART / "alerts.yaml"] = (MONITORING / "alerts.yaml").read_text()
    return made


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

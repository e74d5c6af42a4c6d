"""Real households end to end, by the command: from gzipped CSVs to scores and a ledger that verifies."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROUNDS = 6
SETTINGS = (
    *("source.kind=sgsc", "etl.cadence_minutes=30", "run_id=real", "rounds.server_momentum=0.0"),
    *("rounds.server_step=1.0", "attack.placement=per_round"),
)


def neurogrid(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "neurogrid", *arguments, "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_federation_under_attack_forecasts_real_households_better_than_their_median(
    real_data: Path, tmp_path: Path
) -> None:
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    said = neurogrid(
        *("run", "--data-dir", str(real_data), "--warehouse", str(tmp_path / "w"), "--rounds", str(ROUNDS)),
        *("--byzantine-attack", "sign_flip", "--byzantine-fraction", "0.2", *sets),
    )
    assert said["etl"]["households"] == 77
    assert said["etl"]["energy_balanced"]
    assert said["train"]["updates_malicious"] == ROUNDS * 3
    test = said["evaluate"]["parts"]["test"]
    for group in ("trained", "held_out"):
        assert test[group]["methods"]["federated"]["mae_below_median_percent"]["value"] > 0
    assert neurogrid("audit", "real", "--warehouse", str(tmp_path / "w"))["problems"] == []

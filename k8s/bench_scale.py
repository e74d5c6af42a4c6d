"""Round latencies with few and with more executors, through `neurogrid k8s`: prints a table in Markdown.

Each number of executors gets a run of its own over the same config and data, so the weights must be the same bits.

    python k8s/bench_scale.py --executors 1,2 -n neurogrid --release neurogrid
"""

import argparse
import json
import subprocess
import sys
from typing import Any


def train(executors: int, sets: list[str], flags: list[str]) -> dict[str, Any]:
    """One training to its end; returns its summary."""
    command = [sys.executable, "-m", "neurogrid", "k8s", "submit", "train", "--follow", "--again", "--json"]
    command += [f"--executors={executors}", *(f"--set={key}" for key in sets), *flags]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


def row(executors: int, run: dict[str, Any]) -> str:
    """A line of the table."""
    phases = ("round", "send", "train", "collect", "aggregate", "persist")
    cells = [f"{run['median_s'][phase] * 1000:.0f}" for phase in phases]
    return f"| {executors} | {run['rounds']} | {' | '.join(cells)} | `{run['w_final_sha256'][:12]}` |"


def main() -> None:
    """Runs them one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--executors", default="1,2", help="numbers of executors to try, with commas")
    parser.add_argument("--set", action="append", default=[], help="key=value of the config, as of `k8s submit`")
    own, flags = parser.parse_known_args()
    counts = [int(count) for count in own.executors.split(",")]
    runs = [train(count, own.set, flags) for count in counts]
    print("| executors | rounds | round (ms) | send | train | collect | aggregate | persist | weights |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---|")
    for count, run in zip(counts, runs, strict=True):
        print(row(count, run))
    if len({run["w_final_sha256"] for run in runs}) > 1:
        sys.exit("the weights differ: that must not be")


if __name__ == "__main__":
    main()

"""A run's own count of the rounds that it has given away: `privacy.json` in its folder, written before each of them.

A round that was begun, killed and begun again has been given away twice, with other noise: agents may have seen its
weights before it was durable. So what counts is how often a round was begun, not how many are on record.
"""

import json
from dataclasses import dataclass

from neurogrid.errors import RunError
from neurogrid.fl.privacy import PrivacyPlan
from neurogrid.fl.record import Figures
from neurogrid.privacy.accounting import epsilon
from neurogrid.storage import Place

FILE = "privacy.json"


@dataclass
class Spending:
    """See `neurogrid.fl.privacy.Spending`; one process writes, which holds the run.

    Attributes:
        run: its folder.
        plan: what each round spends.
        entry: its name in the ledger of households.
        releases: rounds begun so far.
    """

    run: Place
    plan: PrivacyPlan
    entry: str
    releases: int = 0

    def exhausted(self) -> bool:
        """Whether one more round would cross the run's budget; without privacy there is none."""
        return self.plan.test_seed is None and self.releases >= self.plan.releases

    def release(self) -> Figures:
        """Counts a round, and returns when that is durable."""
        self.releases += 1
        self.write()
        spent: dict[str, int | float | str | None] = {
            "releases": self.releases,
            "guarantee": self.plan.guarantee,
            "delta": self.plan.delta,
        }
        return spent | {"epsilon": epsilon(self.plan, self.releases) if self.plan.test_seed is None else None}

    def write(self) -> None:
        """Writes the count; raises RunError where that cannot be done, since no round may leave uncounted."""
        try:
            (self.run / FILE).write(json.dumps({"entry": self.entry, "releases": self.releases}) + "\n")
        except OSError as error:
            raise RunError(
                f"what run {self.run.name} spends of its agents' privacy could not be written",
                found=str(error),
                fix="make room or access there, then resume the run",
            ) from error


def found(run: Place, rounds: int) -> tuple[str, int]:
    """The run's entry in the ledger of households, and how many rounds it has begun; `rounds` are on record.

    Raises:
        RunError: the file is not what was written. A run that was stopped before its first round may have none.
    """
    try:
        content = json.loads((run / FILE).read_bytes())
        entry, releases = content["entry"], content["releases"]
        if not isinstance(entry, str) or not isinstance(releases, int) or isinstance(releases, bool) or releases < 0:
            raise ValueError("no count of rounds")
    except FileNotFoundError:
        if rounds == 0:
            return "", 0
        # Each round was counted before it was made, and perhaps more than once.
        raise _unknown(run, "it is gone") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _unknown(run, str(error)) from error
    return entry, max(releases, rounds)


def _unknown(run: Place, why: str) -> RunError:
    return RunError(
        f"nobody knows how much of its budget run {run.name} has spent",
        found=f"{run / FILE}: {why}",
        fix="restore the file, or start a new run",
    )

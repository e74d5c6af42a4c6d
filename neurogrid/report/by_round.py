"""Figures by round: updates accepted, rejected and suspected, beside what the rule tolerates, and bytes sent."""

import math
from collections import Counter
from collections.abc import Sequence

from neurogrid.ledger.tally import against_f
from neurogrid.report.charts import Line, lines
from neurogrid.report.facts import Record, RunFacts
from neurogrid.report.table import Chart

_COLOURS = ("good", "violet", "warn", "grey")
"""Of districts; with more of them than colours, lines would tell nobody anything."""
_F_NOTE = (
    "f is the number of malicious agents in a round that the rule tolerates. Suspected attacks are updates that the "
    "rule filtered out, that were not finite, or that claimed an impossible number of windows. In a round with more of "
    "them than f, other malicious updates may have been accepted. Krum and Multi-Krum always filter some updates out, "
    "so these are not counted."
)


def column(records: Sequence[Record], name: str) -> list[float]:
    """One figure of every record; NaN where there is none."""
    return [math.nan if record.get(name) is None else float(record[name]) for record in records]


def acceptance(facts: RunFacts) -> Chart:
    """Share of the updates asked for that were accepted: all, and by district where those are few."""
    numbers = [record["round_id"] for record in facts.rounds]
    asked, accepted = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for row in facts.agents:
        asked[row["round_id"], row["district"]] += 1
        accepted[row["round_id"], row["district"]] += row["accepted"]
    districts = sorted({district for _, district in asked})
    series = [Line("all", "ours", [100 * share for share in column(facts.rounds, "acceptance_rate")])]
    if 1 < len(districts) <= len(_COLOURS):
        for district, colour in zip(districts, _COLOURS, strict=False):
            at = [(number, district) for number in numbers]
            shares = [100 * accepted[key] / asked[key] if asked[key] else math.nan for key in at]
            series.append(Line(f"district {district}", colour, shares, dashed=True))
    return lines("accepted", "Accepted updates by round", numbers, series, "round", "accepted (%)", percent=True)


def rejections(facts: RunFacts) -> Chart:
    """Updates that came and were not accepted, and those that look like attacks, beside f."""
    numbers = [record["round_id"] for record in facts.rounds]
    refused: dict[bool, Counter[int]] = {False: Counter(), True: Counter()}
    for row in facts.agents:
        if row["answered"] and not row["accepted"]:
            refused[bool(row["malicious"])][row["round_id"]] += 1
    others = "honest" if facts.knows_attackers else "all"
    series = [Line(others, "grey", [float(refused[False][number]) for number in numbers])]
    if facts.knows_attackers:
        series.append(Line("attackers", "attack", [float(refused[True][number]) for number in numbers]))
    series.append(
        Line("suspected attacks", "warn", [float(against_f(facts.genesis, record)) for record in facts.rounds])
    )
    series.append(Line("f", "ours", column(facts.rounds, "assumed_f"), dashed=True))
    return lines("rejected", "Rejected updates by round", numbers, series, "round", "updates", note=_F_NOTE)


def traffic(facts: RunFacts) -> Chart | None:
    """Megabytes to and from the agents' hosts; None where they ran in the driver's own process."""
    down, up = ([value / 1e6 for value in column(facts.rounds, f"bytes_{way}")] for way in ("down", "up"))
    if not any(value > 0 for value in (*down, *up)):
        return None
    numbers = [record["round_id"] for record in facts.rounds]
    series = [Line("weights to the agents’ hosts", "warn", down), Line("updates back", "good", up)]
    return lines("traffic", "Sent in each round", numbers, series, "round", "MB")

"""What the rounds say: loss, time, which updates were accepted and which were not."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from neurogrid.fl.registry import known_rule
from neurogrid.plural import plural
from neurogrid.report.by_round import acceptance, column, rejections, traffic
from neurogrid.report.charts import Cell as MapCell
from neurogrid.report.charts import Line, heat_map, lines, norms, stacked_bars
from neurogrid.report.facts import Record, RunFacts
from neurogrid.report.table import Cell, Chart, Column, Section, Table, Tile, number, percent, seconds

PHASES = (
    ("send", "send weights", "warn"),
    ("train", "train", "ours"),
    ("collect", "collect updates", "good"),
    ("aggregate", "defend and average", "violet"),
    ("evaluate", "held-out loss", "grey"),
)
ATTACKS = {
    "scale": "they send a multiple of their update",
    "sign_flip": "they reverse the sign of their update",
    "noise": "they add noise to their update",
    "free_rider": "they send no change",
    "alie": "they hide together within the spread of honest updates",
    "foe": "they send a small share of the honest mean, reversed",
    "min_max": "they send together the worst that is no further away than honest updates are",
    "min_sum": "they send together the worst that is no further away in sum than honest updates are",
    "mimic": "they all send what one honest agent sends",
}
_MOST_ROWS = 64
NO_ROUNDS = "No round has been finished yet, so there is nothing to show here."


def learning(facts: RunFacts) -> Section:
    """Held-out and training loss by round."""
    section = Section("learning", "Did it learn?", missing=NO_ROUNDS)
    if not facts.rounds:
        return section
    held, trained = column(facts.rounds, "held_out_loss"), column(facts.rounds, "loss_mean")
    numbers = [record["round_id"] for record in facts.rounds]
    known = [loss for loss in held if math.isfinite(loss)]
    lead = (
        "Held-out loss: of the global model after each round, on validation windows that no agent trains on. Training "
        "loss: the mean of what the accepted agents report. Judge by the held-out loss, since attackers can report any "
        "training loss."
    )
    charts: list[Chart] = []
    if any(math.isfinite(v) for v in (*held, *trained)):
        charts.append(
            lines(
                "loss",
                "Loss by round, held out and in training",
                numbers,
                [Line("held out", "ours", held), Line("agents' training", "grey", trained, dashed=True)],
                "round",
                "loss",
            )
        )
    change = column(facts.rounds, "relative_update")
    charts.append(
        lines(
            "change",
            "How much each round changed the model",
            numbers,
            [Line("norm of the change, as a share of the norm of the weights", "violet", [100 * c for c in change])],
            "round",
            "change (%)",
        )
    )
    notes = []
    if len(known) > 1:
        best = min(range(len(held)), key=lambda i: held[i] if math.isfinite(held[i]) else math.inf)
        notes.append(
            f"Held-out loss went from {number(known[0], 4)} to {number(known[-1], 4)} "
            f"({_change(known[0], known[-1])}); the lowest was {number(held[best], 4)} in round {numbers[best]}."
        )
    void = [record for record in facts.rounds if not record["aggregated"]]
    if void:
        reasons = Counter(record["void_reason"] for record in void)
        said = "; ".join(f"{reason} ({plural(count, 'round')})" for reason, count in sorted(reasons.items()))
        notes.append(f"{plural(len(void), 'round')} changed nothing: {said}.")
    return Section("learning", "Did it learn?", lead, charts=tuple(charts), notes=tuple(notes))


def _change(before: float, after: float) -> str:
    if before <= 0:
        return f"by {number(after - before, 4)}"
    return f"{percent(abs(after / before - 1), 1)} {'lower' if after < before else 'higher'}"


def timing(facts: RunFacts) -> Section:
    """Latency by phase, and the bytes on the way."""
    if not facts.rounds:
        return Section("time", "Where the time went", missing=NO_ROUNDS)
    phases = [(key, label, colour, column(facts.rounds, f"{key}_s")) for key, label, colour in PHASES]
    bars = stacked_bars(
        "latency",
        "Latency of each round by phase",
        [
            (label, colour, [1000 * (v if math.isfinite(v) else 0) for v in values])
            for _, label, colour, values in phases
        ],
        "round",
        "ms",
    )
    wall = sum(column(facts.rounds, "wallclock_s"))
    rows: list[list[str | Cell]] = []
    for _, label, _, values in [
        *phases,
        ("", "persist (during the next round)", "", column(facts.rounds, "persist_s")),
    ]:
        finite = sorted(v for v in values if math.isfinite(v))
        share = sum(finite) / wall if wall and not label.startswith("persist") else None
        rows.append(
            [
                label,
                Cell(number(1000 * _middle(finite), 1)),
                Cell(number(1000 * (finite[-1] if finite else math.nan), 1)),
                Cell(percent(share), share=share),
            ]
        )
    rounds = sorted(column(facts.rounds, "wallclock_s"))
    rows.append(
        ["whole round", Cell(number(1000 * _middle(rounds), 1)), Cell(number(1000 * rounds[-1], 1)), Cell("100%")]
    )
    columns = (Column("Phase", numeric=False), Column("Median", "ms"), Column("Longest", "ms"), Column("Of all time"))
    table = Table("Latency by phase", columns, rows, frozenset({len(rows) - 1}))
    down, up = (sum(record.get(key) or 0 for record in facts.rounds) / 1e6 for key in ("bytes_down", "bytes_up"))
    lead = f"{plural(len(facts.rounds), 'round')} took {seconds(wall)}. "
    lead += (
        f"{number(down, 1)} MB of weights went to the hosts of the agents and {number(up, 1)} MB of updates came back; "
        "no readings were sent."
        if down or up
        else "The agents ran inside the driver’s own process, so nothing was sent."
    )
    notes = []
    moved = sum(record.get("reassigned_agents") or 0 for record in facts.rounds)
    if moved:
        notes.append(f"{plural(moved, 'training')} moved from a lost host to another one.")
    sent = traffic(facts)
    title, charts = "Where the time went", (bars,) if sent is None else (bars, sent)
    if len(charts) == 1:
        return Section("time", title, lead, charts=charts, beside=(table,), notes=tuple(notes))
    return Section("time", title, lead, charts=charts, tables=(table,), notes=tuple(notes))


def trust(facts: RunFacts) -> Section:
    """Which updates were accepted, attackers' and honest agents' apart."""
    title = "Which updates were accepted?"
    if not facts.agents:
        return Section("trust", title, missing=NO_ROUNDS)
    rule, attack = facts.genesis.get("rule", "?"), facts.genesis.get("attack", "none")
    spec, attack = known_rule(rule), ATTACKS.get(attack, attack)
    rule = spec.words if spec else rule
    lead = f"Each round, every update is checked, clipped and judged by {rule} over all agents at once. "
    lead += (
        f"In this experiment it is known which agents attack ({attack}), so each decision can be checked."
        if facts.knows_attackers
        else "No attack was simulated in this run, so nobody knows which updates, if any, came from attackers."
    )
    charts = [_norms(facts)] if any(row["answered"] for row in facts.agents) else []
    charts += [acceptance(facts), rejections(facts)]
    beside = tuple(table for table in (_confusion(facts), _reasons(facts)) if table.rows)
    return Section(
        "trust",
        title,
        lead,
        charts=tuple(charts),
        beside=beside,
        wide=(_map(facts),),
        tables=(_districts(facts),),
    )


def defence_tile(facts: RunFacts) -> Tile:
    """Attackers rejected: recall and precision."""
    if not facts.agents:
        return Tile("Attackers rejected", "–", "no round yet")
    attacks = sum(row["malicious"] for row in facts.agents)
    rejected = sum(not row["accepted"] for row in facts.agents)
    caught = sum(row["malicious"] and not row["accepted"] for row in facts.agents)
    if not attacks:
        return Tile(
            "Simulated attackers", "none", f"{percent(rejected / len(facts.agents), 1)} of updates were not accepted"
        )
    detail = f"recall: {number(caught)} of {number(attacks)}. "
    if rejected:
        detail += f"Precision {percent(caught / rejected)}: of {plural(rejected, 'rejected update')}, "
        detail += f"{number(rejected - caught)} came from honest agents"
    else:
        detail += "No update was rejected"
    return Tile("Attackers’ updates rejected", percent(caught / attacks), detail)


def loss_tile(facts: RunFacts) -> Tile:
    """Held-out loss, from the first round to the last."""
    known = [v for v in column(facts.rounds, "held_out_loss") if math.isfinite(v)]
    if not known:
        return Tile("Held-out loss", "–", "not measured yet")
    return Tile(
        "Held-out loss", number(known[-1], 4), f"{number(known[0], 4)} after round 1; " + _change(known[0], known[-1])
    )


def time_tile(facts: RunFacts) -> Tile:
    """How long a round takes."""
    wall = sorted(column(facts.rounds, "wallclock_s"))
    asked = facts.genesis.get("rounds", 0)
    if not wall:
        return Tile("Median round", "–", f"0 of {plural(asked, 'round')} done")
    return Tile(
        "Median round", seconds(_middle(wall)), f"{len(wall)} of {plural(asked, 'round')} in {seconds(sum(wall))}"
    )


def _middle(ordered: Sequence[float]) -> float:
    if not ordered:
        return math.nan
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _map(facts: RunFacts) -> Chart:
    district = {row["agent_id"]: row["district"] for row in facts.agents}
    agents = sorted(district, key=lambda agent: (district[agent], agent))
    shown = agents
    if len(agents) > _MOST_ROWS:
        # Too many to read: those with most against them, attackers first.
        against = Counter(row["agent_id"] for row in facts.agents if not row["accepted"])
        attacks = Counter(row["agent_id"] for row in facts.agents if row["malicious"])
        worst = sorted(agents, key=lambda agent: (-attacks[agent], -against[agent], agent))[:_MOST_ROWS]
        shown = [agent for agent in agents if agent in set(worst)]
    place = {agent: row for row, agent in enumerate(shown)}
    asked = Counter(row["round_id"] for row in facts.agents)
    cells = [
        MapCell(
            row=place[row["agent_id"]],
            column=row["round_id"] - 1,
            share=row["share"] * asked[row["round_id"]] if row["accepted"] else None,
            answered=row["answered"],
            malicious=row["malicious"],
        )
        for row in facts.agents
        if row["agent_id"] in place
    ]
    members = Counter(district[agent] for agent in shown)
    groups = [(f"district {number_}", members[number_]) for number_ in sorted(members)]
    chart = heat_map("acceptance", "Acceptance by agent and round", shown, groups, len(facts.rounds), cells)
    if len(shown) == len(agents):
        return chart
    note = f"The {len(shown)} of {len(agents)} agents that attacked or were rejected most. All are in the audit table."
    return Chart(chart.title, chart.svg, chart.keys, note)


def _norms(facts: RunFacts) -> Chart:
    honest: dict[int, list[float]] = defaultdict(list)
    attackers = []
    for row in facts.agents:
        norm = row["norm"]
        if norm is None or not math.isfinite(norm):
            continue
        if row["malicious"]:
            attackers.append((row["round_id"], norm))
        else:
            honest[row["round_id"]].append(norm)
    rounds = sorted(honest) or [1]
    spread = []
    for number_ in rounds:
        ordered = sorted(honest[number_]) or [math.nan]
        spread.append((ordered[0], _middle(ordered), ordered[-1]))
    whose = "honest agents" if facts.knows_attackers else "all agents"
    return norms("norms", "Norm of the updates as sent, before clipping", rounds, spread, attackers, whose)


def _confusion(facts: RunFacts) -> Table:
    columns = (
        Column("", numeric=False),
        Column("Accepted"),
        Column("Rejected"),
        Column("No answer"),
        Column("Share accepted"),
    )
    rows: list[list[str | Cell]] = []
    others = "honest updates" if facts.knows_attackers else "all updates"
    for label, malicious in ((others, False), ("attackers’ updates", True)):
        own = [row for row in facts.agents if row["malicious"] == malicious]
        if not own:
            continue
        accepted = sum(row["accepted"] for row in own)
        silent = sum(not row["answered"] for row in own)
        share = accepted / len(own)
        rows.append(
            [
                label,
                Cell(number(accepted)),
                Cell(number(len(own) - accepted - silent)),
                Cell(number(silent)),
                Cell(percent(share, 1), share=share),
            ]
        )
    title = "Accepted and rejected" + (", by who sent it" if facts.knows_attackers else "")
    return Table(title, columns, rows)


def _reasons(facts: RunFacts) -> Table:
    honest: Counter[str] = Counter()
    attackers: Counter[str] = Counter()
    for row in facts.agents:
        if not row["accepted"]:
            (attackers if row["malicious"] else honest)[row["reason"] or "unknown"] += 1
    every = honest + attackers
    order = sorted(every, key=lambda reason: (-every[reason], reason))
    counted = {"All": every}
    if facts.knows_attackers:
        counted = {"Honest": honest, "Attackers": attackers, **counted}
    rows: list[list[str | Cell]] = [
        [reason, *(Cell(number(counts[reason])) for counts in counted.values())] for reason in order[:12]
    ]
    columns = (Column("Reason", numeric=False), *map(Column, counted))
    more = len(order) - 12
    return Table(
        "Not accepted, by reason", columns, rows, note=f"and {plural(more, 'rarer reason')}" if more > 0 else ""
    )


def _districts(facts: RunFacts) -> Table:
    grouped: dict[int, list[Record]] = defaultdict(list)
    for row in facts.agents:
        grouped[row["district"]].append(row)
    rows: list[list[str | Cell]] = []
    for district in sorted(grouped):
        own = grouped[district]
        accepted = sum(row["accepted"] for row in own)
        share = accepted / len(own)
        attacks = [Cell(number(sum(row["malicious"] for row in own)))] if facts.knows_attackers else []
        weight = sum(row["share"] for row in own) / max(1, len(facts.rounds))
        rows.append(
            [
                f"district {district}",
                Cell(number(len({row["agent_id"] for row in own}))),
                Cell(number(len(own))),
                *attacks,
                Cell(percent(share, 1), share=share),
                Cell(percent(weight, 1)),
            ]
        )
    columns = (
        Column("District", numeric=False),
        Column("Agents"),
        Column("Updates requested"),
        *([Column("From attackers")] if facts.knows_attackers else []),
        Column("Accepted"),
        Column("Share of the city mean"),
    )
    return Table("By district", columns, rows)

"""Which rows of the benchmark of rounds reach what was aimed at, in words under its table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from neurogrid.bench.table import Cell


@dataclass(frozen=True)
class Goal:
    """A bound on a column.

    Attributes:
        column: whose cells it bounds; rows without a figure there have no such goal.
        bound: the worst that meets it.
        least: whether the bound is the least allowed; else the most.
        agents: the only number of agents that it is for; 0 is any.
    """

    column: str
    bound: float
    least: bool = False
    agents: int = 0

    def concerns(self, row: Mapping[str, Cell]) -> bool:
        """Whether the row is one of those that it is for: rounds on Spark."""
        on_spark = str(row["backend"]).startswith("spark")
        return on_spark and row[self.column] is not None and self.agents in (0, row["agents"])

    def met(self, row: Mapping[str, Cell]) -> bool:
        """Whether the row's figure is on the right side of the bound."""
        figure = row[self.column]
        assert isinstance(figure, int | float)
        return figure >= self.bound if self.least else figure <= self.bound


GOALS = (
    Goal("overhead_ratio", 3),
    Goal("overhead_ms", 250, agents=1000),
    Goal("throughput_share", 0.9, least=True),
    Goal("peak_memory_mb", 4000, agents=1000),
)


def verdicts(columns: Sequence[str], rows: Sequence[Sequence[Cell]], goals: Sequence[Goal] = GOALS) -> Iterator[str]:
    """One line a goal: which rows meet it, and which miss it and by what figure."""
    cells = [dict(zip(columns, row, strict=True)) for row in rows]
    for goal in goals:
        concerned = [row for row in cells if goal.concerns(row)]
        if not concerned:
            continue
        missed = [f"{_name(row)} ({row[goal.column]:.4g})" for row in concerned if not goal.met(row)]
        met = [_name(row) for row in concerned if goal.met(row)]
        words = f"{goal.column} {'at least' if goal.least else 'at most'} {goal.bound:g}"
        parts = [f"met by {'; '.join(met)}"] * bool(met) + [f"**missed** by {'; '.join(missed)}"] * bool(missed)
        yield f"goal, {words}: {', '.join(parts)}"


def _name(row: Mapping[str, Cell]) -> str:
    return f"{row['backend']}, {row['training']}, {row['agents']} agents"

"""What a run's records and audits say of its rounds, as a replay takes it."""

from collections.abc import Sequence

from neurogrid.errors import UsageError
from neurogrid.fl.record import flat
from neurogrid.fl.replay import Entry, Recorded
from neurogrid.fl.roster import recorded_left
from neurogrid.ledger.chain import Record
from neurogrid.ledger.table import read_agent_audit
from neurogrid.storage import Place


def read_recorded(run: Place, records: Sequence[Record]) -> dict[int, Recorded]:
    """By round, whose answers it is made of and the weights after it.

    Args:
        run: whose audits are those that its records name, see `verify`.
        records: of its chain, from the first.

    Raises:
        UsageError: a round is from before audits said all that a replay needs.
    """
    rows = read_agent_audit(run).to_pylist()
    if any(row["risky"] is None for row in rows):
        raise UsageError(
            f"run {run.name} cannot be made again from its records",
            found="its audit, of an older NeuroGrid, does not say enough of whose answers made a round",
            fix="replay a run that began with this version",
        )
    entries: dict[int, list[Entry]] = {record["round_id"]: [] for record in records[1:]}
    for row in rows:
        entry = Entry(row["agent_id"], row["answered"], row["reason"], row["staleness"], row["risky"], row["voted"])
        entries[row["round_id"]].append(entry)
    return {
        r["round_id"]: Recorded(tuple(entries[r["round_id"]]), r["w_global_sha256"], recorded_left(flat(r)))
        for r in records[1:]
    }

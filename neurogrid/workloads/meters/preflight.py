"""What windows ask of readings, refused before anybody trains."""

from datetime import timedelta

from neurogrid.data.manifest import Manifest
from neurogrid.errors import UsageError
from neurogrid.plural import plural
from neurogrid.workloads.meters.windows import WindowSettings, reach_slots


def refuse_without_windows(windows: WindowSettings, manifest: Manifest, min_agents: int) -> None:
    """Refuses history and horizon that are longer than what agents have to train on.

    Raises:
        UsageError: fewer than `min_agents` have a training period that is long enough for one window.
    """
    slot = timedelta(minutes=manifest.cadence_minutes)
    reach = reach_slots(windows, timedelta(days=1) // slot)
    needed = reach + windows.horizon_slots
    # An agent of several households' weeks is not judged: its first household may be the shortest.
    whole = [(agent.train_end - agent.first) // slot for agent in manifest.agents if len(agent.parts) == 1]
    able = len(manifest.agents) - sum(slots < needed for slots in whole)
    if able < min_agents:
        raise UsageError(
            f"a window is longer than the training period: {needed} slots of {manifest.cadence_minutes} min, "
            f"{reach} before its start and {windows.horizon_slots} to forecast",
            found=f"{able} of {plural(len(manifest.agents), 'agent')} have as many in their training period, "
            f"{min_agents} needed; the longest has {max(whole)}",
            fix="lower model.history_slots or model.horizon_slots, take a coarser etl.cadence_minutes, "
            "or use readings of a longer time",
        )

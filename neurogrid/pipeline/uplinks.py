"""How a run's updates travel, and where its agents keep what they remember: from the config and the run's folder."""

import hashlib
import json

from neurogrid.config import Config
from neurogrid.fl.spec import Spec
from neurogrid.fl.uplink import Uplink
from neurogrid.pipeline import settings
from neurogrid.storage import Place
from neurogrid.workloads.memory_files import MemoryFiles

_BACK = 4  # a checkpoint is written while the next round trains, so a run that was stopped goes back by two rounds


def uplink(config: Config, run: Place, spec: Spec) -> Uplink | None:
    """See Uplink; None where updates travel as float32."""
    codec = settings.codec(config)
    if codec is None:
        return None
    if not codec.feedback or not config.uplink.remember:
        return Uplink(codec, spec, config.seed)
    made_of = json.dumps([run.name, config.seed, spec.size, config.uplink.model_dump()], sort_keys=True)
    back = _BACK + (config.rounds.max_staleness if config.rounds.schedule == "buffered" else 0)
    memory = MemoryFiles(run / "memory", hashlib.sha256(made_of.encode()).hexdigest(), back)
    return Uplink(codec, spec, config.seed, memory, config.uplink.remember)

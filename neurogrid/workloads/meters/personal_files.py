"""Personal models on disk: one safetensors file an agent under the run's folder, written where the agent is.

A file holds the agent's own weights by candidate; its metadata says whose they are, of which federated weights and
settings they were made, and what the agent chose.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as unpack_tensors
from safetensors.numpy import save as pack_tensors

from neurogrid.data.household import unusable_name
from neurogrid.data.manifest import Agent
from neurogrid.errors import RunError
from neurogrid.fl.update import AgentId
from neurogrid.storage import Place
from neurogrid.workloads.meters.personal import CANDIDATES, Personal, PersonalSettings

_METADATA = "neurogrid"  # one entry, because the library writes several in no fixed order
_MOST_METADATA = 1 << 20
_FORM = 1
"""Of what settings are told apart by."""


@dataclass(frozen=True)
class PersonalFiles:
    """The personal models of a run.

    Attributes:
        run: the run's folder.
        settings: how they are made.
    """

    run: Place
    settings: PersonalSettings

    def place(self, agent: AgentId) -> Place:
        """Where an agent's lies; raises RunError where its id cannot be the name of a file."""
        why = unusable_name(agent)
        if why:
            raise RunError("an agent's personal model cannot be kept", found=why, fix="sample again")
        return self.run / "personal" / f"{agent}.safetensors"

    def write(self, agent: AgentId, federated_sha256: str, readings_sha256: str, personal: Personal) -> None:
        """Keeps it, with the hashes of the vector and of the readings that it was made of."""
        said = {
            "agent": agent,
            "readings_sha256": readings_sha256,
            "federated_sha256": federated_sha256,
            "settings_sha256": self._settings_sha256,
            "shares": dict(personal.shares),
            "losses": dict(personal.losses),
            "loss": None if math.isnan(personal.loss) else personal.loss,
        }
        text = json.dumps(said, sort_keys=True, allow_nan=False)
        self.place(agent).write(pack_tensors(dict(personal.weights), {_METADATA: text}))

    def remove(self, agent: AgentId) -> None:
        """Takes an agent's away, if there is one: of an agent that was too late the run's record says it has none."""
        if (file := self.place(agent)).exists():
            file.remove()

    def find(
        self, agent: AgentId, federated_sha256: str, n_weights: int, readings_sha256: str | None = None
    ) -> Personal | None:
        """An agent's model; None where it has none yet of these weights, readings and settings.

        Args:
            agent: whose.
            federated_sha256: of the vector that it has to be made of.
            n_weights: of the whole model.
            readings_sha256: of the readings that it has to be made of; None takes any. Who scores a model names them:
                one that was made of newer readings may have been trained on what it is tested on.

        Raises:
            RunError: its file is damaged; names it.
        """
        file = self.place(agent)
        try:
            if file.size_bytes > 4 * n_weights * len(self.settings.trained) + _MOST_METADATA:
                raise ValueError(f"{file.size_bytes:,} bytes are too many")  # before it is read
            said = _metadata(content := file.read_bytes())
            if (said["federated_sha256"], said["settings_sha256"]) != (federated_sha256, self._settings_sha256):
                return None
            if readings_sha256 not in (None, said["readings_sha256"]):
                return None
            return _personal(agent, said, unpack_tensors(content), n_weights, self.settings)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, ArithmeticError, SafetensorError, RecursionError) as error:
            raise RunError(
                f"the personal model of agent {agent} is damaged",
                found=f"{file}: {error}",
                fix="remove the file; it is made again by `neurogrid personalise`",
            ) from error

    @property
    def _settings_sha256(self) -> str:
        own = asdict(self.settings)
        if "alone" not in self.settings.candidates:
            del own["alone"]
        return hashlib.sha256(json.dumps([_FORM, own], sort_keys=True, default=dict).encode()).hexdigest()


def owners(agents: Iterable[Agent]) -> dict[str, AgentId]:
    """By household, the agent that holds all of it and nothing else: its personal model is the household's."""
    return {a.parts[0].household_id: a.agent_id for a in agents if len(a.parts) == 1 and a.parts[0].blocks is None}


def readings_of(fingerprints: Mapping[str, str], agent: Agent) -> str:
    """The hash of an agent's readings, by those of its tables; of a whole household it is its table's own."""
    parts = [(fingerprints[part.path], part.blocks) for part in agent.parts]
    if len(parts) == 1 and parts[0][1] is None:
        return parts[0][0]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def newcomer(household_id: str) -> AgentId:
    """Under what name a household's personal model is kept that is no agent's."""
    return f"household={household_id}"


def _metadata(content: bytes) -> dict[str, Any]:
    size = int.from_bytes(content[:8], "little")
    if not 0 < size <= len(content) - 8:
        raise ValueError("not a safetensors file")
    said = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_METADATA])
    if not isinstance(said, dict):
        raise ValueError("metadata that are not an object")
    return said


def _personal(
    agent: AgentId, said: Mapping[str, Any], tensors: Mapping[str, Any], n_weights: int, settings: PersonalSettings
) -> Personal:
    if said["agent"] != agent:
        raise ValueError(f"it is of agent {said['agent']!r:.80}")
    weights: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if name not in settings.trained:
            raise ValueError(f"weights of {name!r:.80}")
        if tensor.dtype != np.float32 or tensor.shape != (n_weights,) or not np.isfinite(tensor).all():
            raise ValueError(f"{name} is {tensor.dtype} {tensor.shape}, not ({n_weights},) finite float32")
        weights[name] = tensor
    shares, losses = (_figures(said[key]) for key in ("shares", "losses"))
    if any(share < 0 for share in shares.values()) or not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise ValueError("shares that do not add up to 1")
    if not shares.keys() <= set(settings.candidates):
        raise ValueError(f"shares of {', '.join(sorted(shares))}, of which some are no candidates")
    missing = {"personal", "alone"}.intersection(shares) - weights.keys()
    if missing:
        raise ValueError(f"a share of {', '.join(sorted(missing))}, of which there are no weights")
    loss = said["loss"]
    return Personal(weights, shares, losses, math.nan if loss is None else _figure(loss))


def _figures(found: Any) -> dict[str, float]:
    if not isinstance(found, dict):
        raise ValueError("figures that are not an object")
    return {name: _figure(found[name]) for name in CANDIDATES if name in found}


def _figure(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{value!r:.80} is not a finite number")
    return float(value)

"""What agents remember between rounds, on disk: one safetensors file an agent and round, written where the agent is.

It holds what the agent has learnt and not sent yet; see fl/uplink.py. A run that was stopped goes on from a checkpoint
a round or two back, so files that it may ask for again are kept.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as unpack_tensors
from safetensors.numpy import save as pack_tensors

from neurogrid.errors import RunError
from neurogrid.fl.update import AgentId, Vector
from neurogrid.storage import Place

_MOST_HEADER = 1 << 12


@dataclass(frozen=True)
class MemoryFiles:
    """The memories of a run's agents.

    Attributes:
        folder: of the run's memories.
        settings_sha256: of the codec, its share and the seed: what other settings left is not taken.
        back: how many rounds before an order's own an order may be that comes again: those that a run goes back by
            when it was stopped, since checkpoints are written while the next round trains, and the age of an update.
    """

    folder: Place
    settings_sha256: str
    back: int

    def place(self, agent: AgentId, round_number: int) -> Place:
        """Where it lies; a hash stands for the agent, so any id can be one."""
        return self._own(agent) / f"{round_number:06d}.safetensors"

    def read(self, agent: AgentId, round_number: int, n: int) -> Vector:
        """See Memory; raises RunError where the file is not there, or not what was written."""
        _, rest = self._load(agent, round_number, n)
        return rest

    def write(self, agent: AgentId, round_number: int, before: int, rest: Vector) -> None:
        """See Memory. The file appears as a whole; what no run can ask for again is removed after that."""
        numbers = np.array([round_number, before], np.int64)
        content = pack_tensors({"rest": rest, "rounds": numbers, "of": self._of(agent, round_number)})
        self.place(agent, round_number).write(content)
        self._forget(agent, round_number, before, rest.size)

    def _own(self, agent: AgentId) -> Place:
        return self.folder / hashlib.sha256(agent.encode()).hexdigest()[:32]

    def _of(self, agent: AgentId, round_number: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        name = f"{self.settings_sha256}/{round_number}/{agent}".encode()
        return np.frombuffer(hashlib.sha256(name).digest(), np.uint8)

    def _load(self, agent: AgentId, round_number: int, n: int) -> tuple[int, Vector]:
        """The round before, and the memory."""
        file = self.place(agent, round_number)
        try:
            if file.size_bytes > 4 * n + _MOST_HEADER:
                raise ValueError(f"{file.size_bytes:,} bytes are too many")
            found = unpack_tensors(file.read_bytes())
            rest, rounds, of = found["rest"], found["rounds"], found["of"]
            if rest.dtype != np.float32 or rest.shape != (n,) or not np.isfinite(rest).all():
                raise ValueError(f"{rest.dtype} {rest.shape}, not ({n},) finite float32")
            if rounds.dtype != np.int64 or rounds.shape != (2,) or not 0 <= rounds[1] < rounds[0] == round_number:
                raise ValueError("it is of another round")
            if of.tobytes() != self._of(agent, round_number).tobytes():
                raise ValueError("it is of another agent, or was made with other settings")
            return int(rounds[1]), rest
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise RunError(
                f"agent {agent} cannot go on from what it remembered after round {round_number}",
                found=f"{file}: {error}",
                fix="start another run; without this file the run's weights would be others",
            ) from error

    def _forget(self, agent: AgentId, round_number: int, before: int, n: int) -> None:
        """Goes back over the rounds whose updates were taken to one that any order that may come again is after."""
        oldest = before
        while oldest > max(0, round_number - self.back):
            try:
                oldest, _ = self._load(agent, oldest, n)
            except RunError:  # whoever needs it says so
                return
        for file in self._own(agent).children():
            number = file.name.removesuffix(".safetensors")
            if number.isdigit() and int(number) < oldest:
                file.remove()

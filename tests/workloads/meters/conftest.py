"""A small warehouse of made-up households, and the manifest to go with it."""

from pathlib import Path

import pytest
import torch
from made_households import agent, fingerprints, make_household, write

from neurogrid.data.household import Household
from neurogrid.data.manifest import Manifest
from neurogrid.storage import Place, place


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """As in a task; and two processes with two threads each take minutes for seconds of work."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def households() -> list[Household]:
    """Five that train (the fifth falls silent in its test part), two that are held out."""
    return [make_household(number, quiet=number == 4) for number in range(7)]


@pytest.fixture(scope="session")
def warehouse(households: list[Household], tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("warehouse")
    for household in households:
        write(household, root)
    return place(str(root))


@pytest.fixture(scope="session")
def manifest(households: list[Household], warehouse: Place) -> Manifest:
    return Manifest(
        seed=1,
        cadence_minutes=120,
        partition="natural",
        districts=1,
        silhouette=0.0,
        clusters=(),
        agents=tuple(agent(household, f"A{i:04}") for i, household in enumerate(households[:5])),
        held_out=tuple(agent(household, f"H{i:04}") for i, household in enumerate(households[5:])),
        unused=(),
        fingerprints=fingerprints(Path(warehouse.path)),
    )

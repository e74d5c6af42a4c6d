"""byzfl, the oracle of rules, steps and attacks."""

import importlib
import importlib.util
import sys
import types

import pytest


@pytest.fixture(scope="session")
def byzfl() -> types.ModuleType:
    """byzfl's aggregators."""
    return part_of_byzfl("aggregators")


@pytest.fixture(scope="session")
def byzfl_attacks() -> types.ModuleType:
    """byzfl's attacks."""
    return part_of_byzfl("attacks.attacks")


def part_of_byzfl(name: str) -> types.ModuleType:
    """A module of it alone: its top module imports torchvision, which nothing here needs."""
    spec = importlib.util.find_spec("byzfl")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("byzfl is not installed (pip install --no-deps byzfl==0.0.11)")
    package = types.ModuleType("byzfl")
    package.__path__ = list(spec.submodule_search_locations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "byzfl", package)
        return importlib.import_module(f"byzfl.{name}")

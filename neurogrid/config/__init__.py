"""The one YAML config. Only pipeline, which makes plans of it, and the command line read it."""

from neurogrid.config.federation import AttackSection
from neurogrid.config.of_its_time import of_its_time
from neurogrid.config.reading import given, keys, load, refuse_guide_without_teacher, to_yaml, values
from neurogrid.config.sections import Config

__all__ = [
    "AttackSection",
    "Config",
    "given",
    "keys",
    "load",
    "of_its_time",
    "refuse_guide_without_teacher",
    "to_yaml",
    "values",
]

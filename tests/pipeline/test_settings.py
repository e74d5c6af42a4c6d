"""What the config says reaches the settings of the part that it is said of: no key is forgotten on the way."""

import json
from typing import Any, Literal, get_args, get_origin

import pytest

from neurogrid.config import Config, keys, load
from neurogrid.pipeline import settings

SECTIONS = (
    "sampling",
    "model",
    "local",
    "rounds",
    "aggregation",
    "uplink",
    "attack",
    "backend",
    "teacher",
    "evaluation",
    "personal",
)
# These name a folder or a household, or choose between plans; what they do is tested where it is done.
ELSEWHERE = {
    *("sampling.manifest", "rounds.teacher", "rounds.start_from", "local.distill_weight", "backend.kind"),
    *("backend.replace_after_s", "teacher.id", "teacher.households", "teacher.share", "teacher.apart"),
    *("teacher.device", "model.params", "aggregation.trusted_households"),
    *("uplink.share", "uplink.values", "uplink.remember"),
}
OTHERS: dict[str, Any] = {
    "model.name": "linear",
    "model.quantiles": [0.1, 0.5, 0.9],
    "aggregation.rule": "krum",
    "aggregation.stages": ["admit", "weigh", "rule", "mean", "server_step"],
    "attack.kind": "scale",
    "uplink.codec": "q8",
    "backend.driver_host": "here",
    "backend.bind_address": "0.0.0.0",
    "evaluation.comparisons": ["alone"],
    "local.private_layers": ["surge_any"],
    "evaluation.learning_rates": [0.002],
    "personal.learning_rates": [0.001],
    "personal.alone_learning_rates": [0.001],
    "personal.candidates": ["federated", "personal"],
}


def another(key: str, field: Any) -> Any:
    """A value that is not the default, and as good."""
    if key in OTHERS:
        return OTHERS[key]
    if get_origin(field.annotation) is Literal:
        return next(value for value in reversed(get_args(field.annotation)) if value != field.default)
    if isinstance(field.default, bool):
        return not field.default
    return 2 * field.default or 2 if isinstance(field.default, int) else 0.9 * field.default or 0.5


def resolved(config: Config) -> list[Any]:
    """All settings that are made of these sections."""
    made = (settings.sampling, settings.training, settings.rounds, settings.attack, settings.exchange)
    return [
        *(make(config) for make in made),
        settings.evaluation(config),
        settings.personal(config),
        settings.codec(config),
        settings.teacher(config, "cpu"),
    ]


@pytest.mark.parametrize(
    ("key", "field"),
    [
        pytest.param(key, field, id=key)
        for key, field in keys()
        if key.startswith(tuple(f"{section}." for section in SECTIONS))
        and key not in ELSEWHERE
        and key != "aggregation.clip"
    ],
)
def test_a_key_with_another_value_makes_other_settings(key: str, field: Any) -> None:
    attacked = "attack.kind=noise"
    changed = load("", [attacked, f"{key}={json.dumps(another(key, field))}"])
    assert resolved(changed) != resolved(load("", [attacked]))

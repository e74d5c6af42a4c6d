"""YAML and `a.b=c` overrides to a config and back, with words for what is wrong."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from neurogrid.config.sections import Config
from neurogrid.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def load(text: str, overrides: Sequence[str] = (), *, where: str = "config", teacher_follows: bool = False) -> Config:
    """Reads YAML and applies `a.b=c` overrides (values are YAML too).

    `teacher_follows`: whether a teacher to learn from may be named later, by the job that makes it.

    Raises:
        ConfigError: it is no YAML mapping, a key is unknown, or a value cannot be used; all problems are listed.
    """
    raw = given(text, overrides, where=where)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(dict(problem)) for problem in error.errors(include_url=False)]
        raise ConfigError(
            f"{where} cannot be used",
            found="; ".join(problems),
            fix="neurogrid config schema lists every key with its meaning",
        ) from error
    if not teacher_follows:
        refuse_guide_without_teacher(config)
    return config


def refuse_guide_without_teacher(config: Config) -> None:
    """Raises ConfigError where agents are to learn from a teacher's forecasts, and none is named."""
    if config.local.distill_weight and not config.rounds.teacher:
        raise ConfigError(
            "local.distill_weight needs a teacher to learn from",
            found=f"local.distill_weight {config.local.distill_weight:g}, rounds.teacher is empty",
            fix="name one in rounds.teacher (--teacher), or set local.distill_weight to 0",
        )


def given(text: str, overrides: Sequence[str] = (), *, where: str = "config") -> dict[str, Any]:
    """What the YAML and the overrides say, and no default; not yet checked.

    Raises:
        ConfigError: it is no YAML mapping, or an override is no `a.b=c`.
    """
    try:
        raw = _Loader(text).get_single_data() if text.strip() else {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML", found=" ".join(str(error).split())) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must be a mapping of keys to values", found=f"{type(raw).__name__}: {text[:60]!r}")
    for override in overrides:
        _override(raw, override)
    return raw


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError("--set takes key=value", found=override, fix="for example --set rounds.count=20")
    *folders, name = key.strip().split(".")
    section = raw
    for folder in folders:
        inner = section.setdefault(folder, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {folder} is a value, not a section", found=str(inner))
        section = inner
    try:
        section[name] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: the value is not YAML", found=value) from error


def keys(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its pydantic field, sections before what is in them, in the order of the config."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, f"{prefix}{name}.")


def _explain(problem: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = [key for key, _ in keys()]
        same_name = [key for key in known if key.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1]]
        near = same_name or difflib.get_close_matches(path, known, 1, 0.6)
        return f"there is no key {path}" + (f" (did you mean {near[0]}?)" if near else "")
    if problem["type"] == "model_type":
        return f"{path} is a section of keys, found {problem['input']!r}"
    message = problem["msg"].removeprefix("Value error, ")
    if not path:
        return str(message)
    return f"{path}: {message[0].lower()}{message[1:]}, found {problem['input']!r}"


def to_yaml(config: Config) -> str:
    """The whole config, defaults included, as YAML that `load` reads back to the same."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

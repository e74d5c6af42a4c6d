"""YAML and `a.b=c` overrides to a config and back, with words for what is wrong."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from neurogrid.config.sections import Config
from neurogrid.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def load(
    text: str,
    overrides: Sequence[str] = (),
    *,
    where: str = "config",
    flags: Mapping[str, str] | None = None,
    teacher_follows: bool = False,
) -> Config:
    """Reads YAML and applies `a.b=c` overrides (values are YAML too).

    Args:
        text: the YAML.
        overrides: applied in order.
        where: what the YAML is called in an error.
        flags: what an override is called in an error, where it was not given as `--set`.
        teacher_follows: whether a teacher to learn from may be named later, by the job that makes it.

    Raises:
        ConfigError: it is no YAML mapping, a key is unknown, or a value cannot be used; all problems are listed, and
            the error names the file or the overrides that they come from.
    """
    raw = given(text, overrides, where=where)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems = _explain_all(error)
        culprits = [
            where if culprit is None else (flags or {}).get(culprit, f"--set {culprit}")
            for culprit in _culprits(problems, text, overrides)
        ]
        raise ConfigError(
            f"{' and '.join(culprits)} cannot be used",
            found="; ".join(problems),
            fix="neurogrid config schema lists every key with its meaning",
        ) from error
    if not teacher_follows:
        refuse_guide_without_teacher(config)
    return config


def _culprits(problems: Sequence[str], text: str, overrides: Sequence[str]) -> list[str | None]:
    """What the problems come from: None for the YAML, then overrides, each without which a problem is gone."""
    without = {one: _problems(text, [other for other in overrides if other != one]) for one in overrides}
    of_text = _problems(text, ())
    blamed: set[str | None] = set()
    for problem in problems:
        alone = {override for override, left in without.items() if problem not in left}
        blamed |= alone or ({None} if problem in of_text else set(overrides))  # several together, none of them alone
    return [culprit for culprit in (None, *dict.fromkeys(overrides)) if culprit in blamed]


def _problems(text: str, overrides: Sequence[str]) -> list[str]:
    try:
        Config.model_validate(given(text, overrides))
    except ValidationError as error:
        return _explain_all(error)
    except ConfigError:  # an override of a key in a section that another one made
        return []
    return []


def _explain_all(error: ValidationError) -> list[str]:
    return [_explain(dict(problem)) for problem in error.errors(include_url=False)]


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
        raise ConfigError(
            f"{where} is not valid YAML", found=_syntax(error, text), fix="correct that line, then try again"
        ) from error
    except RecursionError as error:
        raise ConfigError(
            f"{where} cannot be read", found="lists or mappings inside each other, too deep", fix=_EXAMPLE
        ) from error
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{where} must be a mapping of keys to values", found=f"{type(raw).__name__}: {text[:60]!r}", fix=_EXAMPLE
        )
    for override in overrides:
        _override(raw, override)
    return raw


_EXAMPLE = "write sections with keys in them, for example rounds: {count: 20}; neurogrid config schema lists them"

_PLAIN_WORDS = {
    "'<stream end>'": "the end of the file",
    "unexpected end of stream": "the end of the file",
    "'<block end>'": "the end of a section",
    "mapping values are not allowed here": "a colon is not allowed here (put a value that has one in quotes)",
    "character '\\t' that cannot start any token": "a tab: indent with spaces",
    "flow mapping": "mapping in braces",
    "flow sequence": "list in brackets",
    "block mapping": "mapping",
    "block collection": "list",
    "quoted scalar": "quoted text",
    "simple key": "key",
}
"""What the YAML library says, and what a person understands."""


def _syntax(error: yaml.YAMLError, text: str) -> str:
    """Where the YAML goes wrong and how: `line 1, column 16: expected ',' or '}', but got the end of the file`."""
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return f"line {line}, column {column}: the character U+{ord(text[error.position]):04X} is not allowed in YAML"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error)
    said = f"{_line_and_column(error.problem_mark)}: {str(error.problem).removeprefix('but ')}"
    if error.context and error.context_mark:
        said += f", {error.context} that begins on {_line_and_column(error.context_mark)}"
    for words, plain in _PLAIN_WORDS.items():
        said = said.replace(words, plain)
    return said


def _line_and_column(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


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
        section[name] = _Loader(value).get_single_data()
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {key}: the value is not YAML",
            found=f"{value}: {error.problem}" if isinstance(error, yaml.constructor.ConstructorError) else value,
            fix="put a value with brackets, braces or colons in quotes",
        ) from error
    except RecursionError as error:
        raise ConfigError(f"--set {key}: the value is nested too deep", found=value[:60], fix=_EXAMPLE) from error


def keys(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its pydantic field, sections before what is in them, in the order of the config."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, f"{prefix}{name}.")


def values(config: Config) -> dict[str, Any]:
    """The value of every key, sections taken apart."""
    found: dict[str, Any] = {}
    for key, field in keys():
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            found[key] = reduce(getattr, key.split("."), config)
    return found


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

"""What every section of the config has in common."""

import re
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from neurogrid.registry import Registry


def name_of(registry: Registry[Any], *others: str) -> AfterValidator:
    """For `Annotated`: a name that is registered and can be used, or one of `others`."""

    def check(value: str) -> str:
        names = (*others, *registry.names())
        if value not in names:
            raise ValueError(f"input should be {' or '.join(map(repr, names))}")
        if value not in others:
            registry.refuse_unusable(value)
        return value

    return AfterValidator(check)


def _types(annotation: Any) -> set[Any]:
    return set(get_args(annotation)) or {annotation}


def _name(value: Any) -> str:
    """The name of a folder, so neither `.` nor `..`; empty where one is to be made up."""
    if isinstance(value, bool):
        raise ValueError("put a name like yes, no, on or off in quotes: YAML reads it as true or false")
    name = "" if value is None else str(value)  # YAML takes one of digits for a number, and nothing for null
    if not re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9._-]{0,99})?", name):
        raise ValueError(
            "a name consists of up to 100 letters, digits, _, - and ., and begins with a letter, a digit or _"
        )
    return name


Name = Annotated[str, BeforeValidator(_name)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Keys that are checked, and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads yes, no, on and off as truth values, and Python counts those among the numbers."""
        if isinstance(value, bool) and {int, float} & _types(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("input should be a number")
        return value

"""What every section of the config has in common."""

from typing import Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo, field_validator

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

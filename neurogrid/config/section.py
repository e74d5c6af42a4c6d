"""What every section of the config has in common."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


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

"""What every section of the configuration is."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, given: Any) -> Any:
        """Else ``true`` would be 1."""
        for name, field in cls.model_fields.items():
            if isinstance(given, dict) and isinstance(given.get(name), bool) and _is_number(field.annotation):
                raise ValueError(f"{name} is a number, not {str(given[name]).lower()}")
        return given


def _is_number(annotation: Any) -> bool:
    """Whether a setting is a number, within bounds or one that may be None too."""
    return annotation in (int, float) or any(map(_is_number, get_args(annotation)))


def refuse_idle(section: Section, names: tuple[str, ...], has_effect: bool, where: str, lead: str = "") -> None:
    """Refuse settings that were changed where they have no effect: their value would be believed to matter."""
    for name in names:
        value = getattr(section, name)
        if not has_effect and value != type(section).model_fields[name].default:
            raise ValueError(f"{lead}{name}={value} has an effect only {where}; leave it out")

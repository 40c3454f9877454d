"""What every section of the configuration is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def refuse_idle(section: Section, names: tuple[str, ...], has_effect: bool, where: str, lead: str = "") -> None:
    """Refuse settings that were changed where they have no effect: their value would be believed to matter."""
    for name in names:
        value = getattr(section, name)
        if not has_effect and value != type(section).model_fields[name].default:
            raise ValueError(f"{lead}{name}={value} has an effect only {where}; leave it out")

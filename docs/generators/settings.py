"""The page of settings: names, types, defaults and meanings of every section of the configuration."""

import inspect
import re
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from generators.commands import cell
from seg.config.sections import Config

_FIELD = re.compile(r"^([\w, ]+): (.*)$")


def page(config: type[BaseModel] = Config) -> str:
    """Every setting, by section."""
    lines = ["# Settings", ""]
    lines += [
        "Any of them can be set with `--set section.key=value`, or in a YAML file given with `--config`;",
        "`config.yaml` in a run folder shows them all. Types and limits are those of {py:obj}`seg.config.sections`.",
        "",
    ]
    for name, field in config.model_fields.items():
        section = field.annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        meanings = attributes(section)
        lines += [f"## {name}", "", markdown(inspect.getdoc(section).split("\n")[0]), ""]
        lines += ["| setting | default | meaning |", "|---|---|---|"]
        for key, inner in section.model_fields.items():
            default = _default(section, key)
            choices = _choices(inner.annotation)
            meaning = markdown(meanings[key])
            if any(f"`{one}`" not in meaning for one in choices):
                meaning += f" One of {', '.join(f'`{one}`' for one in choices)}."
            lines.append(f"| `{name}.{key}` | {cell(default)} | {cell(meaning)} |")
        lines.append("")
    return "\n".join(lines)


def attributes(section: type[BaseModel]) -> dict[str, str]:
    """What the docstring of a section says of each field; a text that several share is that of each.

    Raises:
        KeyError: If a field is not described.
    """
    text = inspect.getdoc(section)
    assert text, f"{section.__name__} has no docstring"
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in text.partition("Attributes:\n")[2].split("\n"):
        if line and not line.startswith(" "):
            break
        indent, body = len(line) - len(line.lstrip()), line.strip()
        match = _FIELD.match(body)
        if indent == 4 and match:
            names = [name.strip() for name in match[1].split(",")]
            found |= {name: [match[2]] for name in names}
        elif body:
            for name in names:
                found[name].append(body)
    if missing := section.model_fields.keys() - found:
        raise KeyError(f"{section.__name__} does not describe {', '.join(sorted(missing))}")
    return {name: " ".join(parts) for name, parts in found.items()}


def markdown(text: str) -> str:
    """A docstring's text as Markdown: its literals have one backtick there."""
    parts = re.split(r"``(.+?)``", text)
    return "".join(f"`{part}`" if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def _default(section: type[BaseModel], key: str) -> str:
    """The default as it stands in ``config.yaml``."""
    if section.model_fields[key].is_required():
        return ""
    value = section().model_dump(mode="json")[key]
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | dict):
        return "`[]`" if not value else f"`{value}`".replace("'", "")
    return f"`{value}`"


def _choices(annotation: Any) -> list[str]:
    """Names that a setting may take, if it takes nothing else."""
    if get_origin(annotation) is None or not get_args(annotation):
        return []
    if str(get_origin(annotation)) == "typing.Literal":
        return [str(one) for one in get_args(annotation)]
    return []

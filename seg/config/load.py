"""YAML files and ``--set`` overrides to a `Config`, and back."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr
from typing import Any

from pydantic import BaseModel, ValidationError

from seg.config.paths import AnyPath, path_or_none
from seg.config.sections import Config
from seg.config.wording import VALUE, clipped
from seg.config.yaml_text import LONGEST, YamlTextError, dump, parse
from seg.errors import WrongUseError

_QUOTED = Repr()
_QUOTED.maxstring = _QUOTED.maxother = _QUOTED.maxlong = VALUE
"""Shows a value of any size in some characters, without going through all of it."""

_DEPTH = 2
"""Parts of a setting's full name."""
_WANTED = {
    **dict.fromkeys(("float_type", "float_parsing"), "a number, such as 0.001"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list, such as [a, b]"),
    **dict.fromkeys(("model_type", "dict_type"), "a section with settings of its own"),
    "string_type": "a text",
    "path_type": "a path",
}
"""What was expected, by pydantic's name of the error."""


_OTHER_NAMES = {
    "modality": "data.bands",
    "dataset": "data.store",
    "architecture": "model.arch",
    "backbone": "model.encoder",
    "pretrained": "model.weights",
    "learning_rate": "train.lr",
}
"""What others, and options of ``seg train``, call settings."""


def load_config(path: AnyPath | None = None, overrides: Iterable[str] = (), **settings: Any) -> Config:
    """A configuration from a file, overrides and settings, the later ones winning.

    Args:
        path: YAML file; keys that it leaves out have their defaults. None: all defaults.
        overrides: ``section.key=value``, the value read as YAML.
        settings: ``section__key=value`` from command-line options; None stands for "not given".

    Raises:
        WrongUseError: If the file is no YAML mapping, a key is unknown or a value is out of range.
    """
    path = path_or_none(path)
    tree = _read(path) if path else {}
    for name, value in settings.items():
        if value is not None:
            _put(tree, name.split("__"), value)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise WrongUseError(f"'--set {clipped(override)}' has no '='; write it as --set train.lr=1e-3")
        keys = key.strip().split(".")
        if not all(keys):
            raise WrongUseError(f"'--set {clipped(override)}' names no setting; write it as --set train.lr=1e-3")
        _put(tree, keys, _parse(text, f"--set {clipped(override)}"))
    return validate(tree, str(path) if path else "the configuration")


def validate(tree: Mapping[str, Any], source: str) -> Config:
    """A configuration from a nested mapping.

    Raises:
        WrongUseError: If a key is unknown or a value is out of range; one sentence about the first such key.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise WrongUseError(f"{source}: {_sentence(error)}") from None


def dump_config(config: Config) -> str:
    """The configuration as YAML, complete, so that `load_config` gives an equal one."""
    return dump(config.model_dump(mode="json"))


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            # One more than is allowed: what is longer is refused without being read.
            text = file.read(LONGEST + 1)
    except FileNotFoundError:
        raise WrongUseError(f"there is no configuration file {path}") from None
    except IsADirectoryError:
        raise WrongUseError(f"{path} is a folder; name a YAML file, such as {path / 'config.yaml'} of a run") from None
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUseError(f"{path} cannot be read as a configuration: {error}") from None
    tree = _parse(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise WrongUseError(f"{path} holds no mapping of sections; see configs/ for examples")
    return tree


def _parse(text: str, source: str) -> Any:
    try:
        return parse(text)
    except YamlTextError as error:
        raise WrongUseError(f"{source} {error}") from None


def _put(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise WrongUseError(
                f"'{clipped('.'.join(keys))}' cannot be set: '{clipped(key)}' is a value, not a section"
            )
        tree = below
    tree[keys[-1]] = value


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"there is no setting '{clipped(key)}'{_hint(first['loc'], first['input'])}"
    if first["type"] == "value_error":
        return f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
    if len(first["loc"]) > _DEPTH:
        # An item of a list: the setting is the list.
        key = ".".join(map(str, first["loc"][:_DEPTH]))
    wanted = _WANTED.get(first["type"])
    message = first["msg"][0].lower() + first["msg"][1:]
    reason = f"it should be {wanted}" if wanted else message.replace("input should", "it should")
    value = "no value" if first["input"] is None else f"the value {clipped(_QUOTED.repr(first['input']))}"
    return f"setting '{key}' has {value}, but {reason}"


def _hint(place: tuple[int | str, ...], value: Any) -> str:
    """The setting that was probably meant, as the end of a sentence; empty if nothing is like it.

    Args:
        place: Where the unknown key stands.
        value: What it was given.
    """
    sections = list(Config.model_fields)
    own, last = clipped(str(place[0])), clipped(str(place[-1]))
    if len(place) == 1 and isinstance(value, dict):
        inner = [clipped(str(key)) for key in value]
        if near := get_close_matches(own.lower(), sections, n=1):
            known = [f"{near[0]}.{key}" for key in inner if f"{near[0]}.{key}" in _keys(Config)]
            return f"; did you mean '{near[0]}'" + (f", as in {known[0]}?" if known else "?")
        last = inner[0] if len(inner) == 1 else last
    if found := _named_like(last.lower().replace("-", "_").rpartition(".")[2], own):
        return f"; did you mean {' or '.join(repr(name) for name in found)}?"
    if near := get_close_matches(own.lower(), sections, n=1):
        return f"; the settings of '{near[0]}' are {', '.join(_of_section(near[0]))}"
    return ""


def _named_like(name: str, section: str) -> list[str]:
    """Settings whose own name is like this one; of several, those of the section."""
    by_name = {other: [setting] for other, setting in _OTHER_NAMES.items()}
    for one in Config.model_fields:
        for setting in _of_section(one):
            by_name.setdefault(setting, []).append(f"{one}.{setting}")
    near = [name] if name in by_name else get_close_matches(name, by_name, n=1, cutoff=0.6)
    found = by_name[near[0]] if near else []
    return [setting for setting in found if setting.startswith(f"{section}.")] or found


def _of_section(section: str) -> list[str]:
    return [name.partition(".")[2] for name in _keys(Config) if name.startswith(f"{section}.")]


def _keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += [prefix + name, *_keys(inner, f"{prefix}{name}.")]
        else:
            keys.append(prefix + name)
    return keys

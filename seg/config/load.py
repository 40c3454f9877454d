"""YAML files and ``--set`` overrides to a `Config`, and back."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from seg.config.errors import WrongUseError
from seg.config.sections import Config


class ConfigError(WrongUseError):
    """A configuration that cannot be used."""


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


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads ``1e-3`` as a number, as YAML 1.2 does and PyYAML does not."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    """A mapping whose keys are all different: YAML forbids repeated ones, and PyYAML lets the last one win."""
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"'{key_node.value}' occurs twice", key_node.start_mark)
        seen.add(key_node.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"),
    list("-+0123456789."),
)


def load_config(path: Path | None = None, overrides: Iterable[str] = (), **settings: Any) -> Config:
    """A configuration from a file, overrides and settings, the later ones winning.

    Args:
        path: YAML file; keys that it leaves out have their defaults. None: all defaults.
        overrides: ``section.key=value``, the value read as YAML.
        settings: ``section__key=value`` from command-line options; None stands for "not given".

    Raises:
        ConfigError: If the file is no YAML mapping, a key is unknown or a value is out of range.
    """
    tree = _read(path) if path else {}
    for name, value in settings.items():
        if value is not None:
            _put(tree, name.split("__"), value)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"'--set {override}' has no '='; write it as --set train.lr=1e-3")
        _put(tree, key.strip().split("."), _parse(text, f"--set {override}"))
    return validate(tree, str(path) if path else "the configuration")


def validate(tree: Mapping[str, Any], source: str) -> Config:
    """A configuration from a nested mapping.

    Raises:
        ConfigError: If a key is unknown or a value is out of range; one sentence about the first such key.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_sentence(error)}") from None


def dump_config(config: Config) -> str:
    """The configuration as YAML, complete, so that `load_config` gives an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a configuration: {error}") from None
    tree = _parse(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds no mapping of sections; see configs/ for examples")
    return tree


def _parse(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        what = f": {error.problem}" if isinstance(error, yaml.constructor.ConstructorError) else ""
        raise ConfigError(f"{source} is no valid YAML{where}{what}") from None


def _put(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise ConfigError(f"'{'.'.join(keys)}' cannot be set: '{key}' is a value, not a section")
        tree = below
    tree[keys[-1]] = value


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = get_close_matches(key, _keys(Config), n=1, cutoff=0.5)
        return f"there is no setting '{key}'" + (f"; did you mean '{near[0]}'?" if near else "")
    if first["type"] == "value_error":
        return f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
    if len(first["loc"]) > _DEPTH:
        # An item of a list: the setting is the list.
        key = ".".join(map(str, first["loc"][:_DEPTH]))
    wanted = _WANTED.get(first["type"])
    message = first["msg"][0].lower() + first["msg"][1:]
    reason = f"it should be {wanted}" if wanted else message.replace("input should", "it should")
    value = "no value" if first["input"] is None else f"the value {first['input']!r}"
    return f"setting '{key}' has {value}, but {reason}"


def _keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += [prefix + name, *_keys(inner, f"{prefix}{name}.")]
        else:
            keys.append(prefix + name)
    return keys

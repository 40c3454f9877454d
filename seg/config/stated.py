"""What the modules of seg state as defaults, read from their source: ``--help`` shows it without importing them."""

import ast
from functools import cache
from importlib.abc import InspectLoader
from importlib.util import find_spec
from typing import Any

_SETTINGS = "seg.config.sections"


class NotStatedError(LookupError):
    """A name that no module of seg gives a plain value; only a bug can cause it."""


def stated(name: str) -> Any:
    """The value that stands in the source.

    Args:
        name: A setting, such as ``train.epochs``, or a constant or a class's default by its whole path, such as
            ``seg.metrics.jackknife.LEVEL``. A member of a table of constants is given by its key.

    Raises:
        NotStatedError: If there is none, or it has to be computed.
    """
    if name.startswith("seg."):
        place, names = _module(name)
        return _value(place, names)
    section, _, setting = name.partition(".")
    return _value(_SETTINGS, (_class_of(section), setting))


def shown(name: str) -> str:
    """The same as a user would write it: ``none``, ``true``, ``0.001``."""
    value = stated(name)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _module(name: str) -> tuple[str, tuple[str, ...]]:
    """The module that a path begins with, and the names that follow: one, or a class and what it has."""
    parts = name.split(".")
    last = next(i for i in range(len(parts) - 1, 0, -1) if parts[i - 1].islower())
    return ".".join(parts[:last]), tuple(parts[last:])


@cache
def _source(module: str) -> ast.Module:
    spec = find_spec(module)
    source = spec.loader.get_source(module) if spec and isinstance(spec.loader, InspectLoader) else None
    if source is None:
        raise NotStatedError(f"the source of {module} is not here")
    return ast.parse(source)


def _class_of(section: str) -> str:
    found = _statement(_source(_SETTINGS), ("Config", section))
    if isinstance(found, ast.AnnAssign) and isinstance(found.annotation, ast.Name):
        return found.annotation.id
    raise NotStatedError(f"there is no section {section}")


def _statement(tree: ast.Module | ast.ClassDef, names: tuple[str, ...]) -> ast.stmt | None:
    """The statement that gives a name its value, or imports it."""
    for line in tree.body:
        if isinstance(line, ast.ClassDef) and line.name == names[0] and len(names) > 1:
            return _statement(line, names[1:])
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.target.id == names[0]:
            return line
        if isinstance(line, ast.Assign) and names[0] in map(ast.unparse, _targets(line)):
            return line
        if isinstance(line, ast.ImportFrom) and any((one.asname or one.name) == names[0] for one in line.names):
            return line
    return None


def _targets(line: ast.Assign) -> list[ast.expr]:
    """What a statement gives a value: one name, or those of ``WINDOW, OVERLAP = 768, 128``."""
    (target,) = line.targets
    return target.elts if isinstance(target, ast.Tuple) else [target]


def _value(module: str, names: tuple[str, ...]) -> Any:
    found = _statement(_source(module), names)
    if isinstance(found, ast.ImportFrom):
        assert found.module is not None
        (original,) = (one.name for one in found.names if (one.asname or one.name) == names[0])
        return _value(found.module, (original, *names[1:]))
    if not isinstance(found, ast.Assign | ast.AnnAssign):
        raise NotStatedError(f"{module} has no {'.'.join(names)}")
    given = found.value
    if isinstance(found, ast.Assign) and isinstance(given, ast.Tuple) and len(_targets(found)) > 1:
        given = given.elts[list(map(ast.unparse, _targets(found))).index(names[0])]
    if isinstance(given, ast.Name):
        return _value(module, (given.id,))
    if isinstance(given, ast.Subscript):
        given = given.slice
    try:
        return None if given is None else ast.literal_eval(given)
    except ValueError:
        raise NotStatedError(f"{module} computes {'.'.join(names)}") from None

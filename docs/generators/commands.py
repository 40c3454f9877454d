"""Pages of the command line, from the application itself: usage, arguments and options of every command.

What typer was given is read, the functions and their annotations, and not what typer makes of it, which is another
thing from version to version.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from seg.cli.command import default_text
from seg.cli.main import app

WORDS: dict[Any, str] = {Path: "path", str: "text", int: "whole number", float: "number", bool: ""}
"""What an option takes, by its type."""


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        path: How it is called, such as ``seg data build``.
        function: What it calls.
    """

    path: str
    function: Callable[..., Any]


@dataclass(frozen=True)
class Parameter:
    """An argument or an option.

    Attributes:
        names: The name of an argument, or the options by which it is given.
        argument: Whether it is an argument.
        kind: Its type, without ``None`` and ``list``.
        several: Whether it may be given more than once.
        default: What it is if not given; None: nothing.
        needed: Whether it must be given.
        info: What typer was told.
    """

    names: tuple[str, ...]
    argument: bool
    kind: Any
    several: bool
    default: Any
    needed: bool
    info: ArgumentInfo | OptionInfo


def pages(folder: Path) -> dict[Path, str]:
    """A page for each command, a group with its commands on one, and a page that lists them; by path."""
    groups: dict[str, list[Command]] = {}
    for command in commands():
        groups.setdefault(command.path.split()[1], []).append(command)
    found = {folder / f"{name}.md": page(name, members) for name, members in groups.items()}
    found[folder / "index.md"] = overview(groups)
    return found


def commands(of: typer.Typer = app, path: str = "seg") -> Iterator[Command]:
    """Every command of an application, those of its groups included."""
    for one in of.registered_commands:
        assert one.callback is not None
        yield Command(f"{path} {one.name or one.callback.__name__.replace('_', '-')}", one.callback)
    for group in of.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f"{path} {group.name}")


def parameters(function: Callable[..., Any]) -> Iterator[Parameter]:
    """Arguments and options of a command, in their order."""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, info = get_args(hints[name])
        members = [one for one in get_args(kind) if one is not NoneType]
        if get_origin(kind) in (Union, UnionType):
            (kind,) = members
        several = get_origin(kind) is list
        kind = get_args(kind)[0] if several else kind
        argument = isinstance(info, ArgumentInfo)
        names = (name.upper(),) if argument else _options(name, kind, info)
        needed = parameter.default is parameter.empty
        yield Parameter(names, argument, kind, several, None if needed else parameter.default, needed, info)


def _options(name: str, kind: Any, info: OptionInfo) -> tuple[str, ...]:
    # Inside Annotated there is no default, and typer takes the first word for the first declaration.
    given = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str)]
    if not given:
        plain_name = name.strip("_").replace("_", "-")
        given = [f"--{plain_name}/--no-{plain_name}" if kind is bool else f"--{plain_name}"]
    return tuple(part for one in given for part in one.split("/"))


def overview(groups: dict[str, list[Command]]) -> str:
    """The page that lists all commands."""
    lines = ["# Commands", "", plain(app.info.help), "", "| command | what it does |", "|---|---|"]
    for name, members in groups.items():
        for command in members:
            anchor = "" if len(command.path.split()) == 2 else f"#{command.path.replace(' ', '-')}"
            lines.append(f"| [`{command.path}`]({name}.md{anchor}) | {cell(paragraphs(command.function)[0])} |")
    assert app.registered_callback is not None
    assert app.registered_callback.callback is not None
    lines += ["", "Options that stand before the command; `--debug` may stand anywhere:", ""]
    lines += [*table(app.registered_callback.callback), ""]
    lines += [
        "Exit codes: 0 done; 2 where the request is at fault, as it names something that is not there or is something "
        "else, or as its options do not go together; 1 for anything else, such as damaged data or a full disk. What is "
        "wrong with a request is said before the work begins.",
        "",
    ]
    lines += ["```{toctree}", ":hidden:", "", *groups, "```", ""]
    return "\n".join(lines)


def page(name: str, members: list[Command]) -> str:
    """The page of a command, or of a group with all of its commands."""
    lines: list[str] = []
    group = len(members[0].path.split()) > 2
    if group:
        (info,) = (one for one in app.registered_groups if one.name == name)
        assert info.typer_instance is not None
        lines += [f"# seg {name}", "", plain(info.typer_instance.info.help), ""]
    for command in members:
        lines += [f"{'##' if group else '#'} {command.path}", ""]
        lines += [text for paragraph in paragraphs(command.function) for text in (paragraph, "")]
        lines += ["```text", usage(command), "```", "", *table(command.function), ""]
    return "\n".join(lines)


def usage(command: Command) -> str:
    """How a command is called, in a line."""
    words = [command.path]
    for one in parameters(command.function):
        if one.argument:
            words.append(f"{one.names[0]}{'...' if one.several else ''}")
        elif one.needed:
            words.append(f"{one.names[0]} {_takes(one).upper()}")
    return " ".join([*words, "[OPTIONS]"])


def table(function: Callable[..., Any]) -> list[str]:
    """A table of arguments and options."""
    rows = [_row(one) for one in parameters(function)]
    return ["| argument or option | takes | meaning |", "|---|---|---|", *rows] if rows else []


def _row(one: Parameter) -> str:
    choices = get_args(one.kind) if get_origin(one.kind) is Literal else ()
    takes = ", ".join(f"`{choice}`" for choice in choices) or cell(_takes(one))
    notes = [plain(one.info.help)]
    if one.info.min is not None:
        notes.append(f"At least {one.info.min}.")
    if one.several and not one.argument and "may be " not in str(one.info.help).lower():
        notes.append("May be given several times.")
    if one.needed and not one.argument:
        notes.append("Needed.")
    if isinstance(one.info.show_default, str):
        notes.append(f"Default: `{default_text(one.info.show_default)}`.")
    elif one.default not in (None, False):
        notes.append("On by default." if one.default is True else f"Default: `{one.default}`.")
    meaning = " ".join(dict.fromkeys(filter(None, notes)))
    return f"| {', '.join(f'`{name}`' for name in one.names)} | {takes} | {cell(meaning)} |"


def _takes(one: Parameter) -> str:
    if get_origin(one.kind) is Literal:
        return ", ".join(get_args(one.kind))
    return str(one.info.metavar or WORDS[one.kind]).lower()


def paragraphs(function: Callable[..., Any]) -> list[str]:
    """What a command says of itself: paragraphs, each on one line."""
    return [plain(" ".join(part.split())) for part in (inspect.getdoc(function) or "").split("\n\n")]


def plain(text: Any) -> str:
    """A help text as Markdown that shows just this text."""
    shown = text if isinstance(text, str) else ""
    for special in "\\`*_<>[]":
        shown = shown.replace(special, f"\\{special}")
    return shown


def cell(text: str) -> str:
    """The same in a table."""
    return text.replace("|", "\\|")

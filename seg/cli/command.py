"""What typer's commands do besides: defaults in the help, lists as they are typed, refusals of a few lines."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from rich.table import Table
from typer import rich_utils
from typer.core import TyperCommand, TyperGroup

from seg.config.stated import shown
from seg.config.wording import SENTENCE, clipped
from seg.errors import WrongUseError

_USAGE_ERROR: Any = typer.BadParameter.__bases__[0]
"""What typer raises for wrong use, whichever library it takes it from."""

_ROOM = 20
"""Characters of the values of an option: in a terminal of 80, more would be broken."""
_KINDS = {str: "TEXT", Path: "PATH", int: "NUMBER", float: "NUMBER"}
_PLACE = re.compile(r"\{([\w.]+)\}")


def default_text(template: str) -> str:
    """A default as ``--help`` shows it.

    Args:
        template: The ``show_default`` of an option: words, in which ``{train.epochs}`` stands for what `stated` knows.
    """
    return _PLACE.sub(lambda match: shown(match[1]), template)


class _WholeNames(Table):
    """A table of options in which values and explanations alone go on in the next line."""

    def add_row(self, *cells: Any, **how: Any) -> None:
        """Add an option: its names in the first columns, then its value and the explanation."""
        super().add_row(*cells, **how)
        for column in self.columns[:-2]:
            column.no_wrap = True


class Command(TyperCommand):
    """A command whose help names the defaults that come from elsewhere, and which knows how lists are typed.

    An option whose ``show_default`` is ``{train.epochs}`` shows what the configuration says; see `default_text`.
    """

    gathers: tuple[str, ...] = ()
    """Options that take all values that follow them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _name_values(self.params)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Put the defaults in and show the help; the process ends after it."""
        _name_values(self.get_params(ctx))
        for option in self.params:
            template = getattr(option, "show_default", None)
            if not isinstance(template, str):
                continue
            if _PLACE.fullmatch(template):
                # A value that could be typed stands without the brackets that typer gives to words.
                option.default, option.show_default = default_text(template), True  # type: ignore[attr-defined]
            else:
                option.show_default = default_text(template)  # type: ignore[attr-defined]
        # Typer leaves the widths to rich, which cuts what is widest, names too.
        rich_utils.Table = _WholeNames  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; where they do not fit, say what became of a list that was typed."""
        lists = [name for option in self.params if getattr(option, "multiple", False) for name in option.opts]
        typed = list(args)
        try:
            return super().parse_args(ctx, self.arranged(args))
        except _USAGE_ERROR as error:
            if hint := self._hint(typed, lists):
                error.message = " ".join(filter(None, (_message(error), hint)))
            raise

    def arranged(self, args: list[str]) -> list[str]:
        """The arguments as typer is to read them."""
        return args

    def _hint(self, args: Sequence[str], lists: Sequence[str]) -> str:
        for option, values in _rows(args):
            if option not in lists or len(values) < 2:
                continue
            if option in self.gathers:
                (out,) = (one.name for one in self.params if one.param_type_name == "argument")
                return (
                    f"All of {clipped(' '.join(values))} was taken for values of {option}; put {str(out).upper()} "
                    "before the options."
                )
            first, second = (clipped(value) for value in values[:2])
            return f"{option} takes one value; repeat it for more: {option} {first} {option} {second}"
        return ""


def _name_values(parameters: Iterable[Any]) -> None:
    """Say what each parameter takes, a flag nothing: typer's own words need pydantic, which is slow to load."""
    for one in parameters:
        kind = getattr(getattr(one, "type_descriptor", None), "annotation", None)
        if one.metavar is not None or kind is None:
            continue
        if one.param_type_name == "argument":
            one.metavar = one.name.upper()
        elif getattr(one, "is_flag", False):
            one.metavar = ""
        else:
            (kind,) = get_args(kind) if get_origin(kind) is list else (kind,)
            one.metavar = _choices(one, get_args(kind)) if get_origin(kind) is Literal else _KINDS[kind]


def _choices(option: Any, names: Sequence[str]) -> str:
    """What stands for the value of an option: its choices, or where they take much room, a word, and the help has them.

    Args:
        option: The option.
        names: Its choices.
    """
    if len(joined := "|".join(names)) <= _ROOM:
        return joined
    option.help = f"{option.help or ''} One of {', '.join(names)}.".strip()
    return str(option.name).upper()


def _message(error: Exception) -> str:
    """What typer would say, ending as a sentence; of a missing argument there is no message yet."""
    text = str(getattr(error, "message", "") or "")
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def _rows(args: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each option as typed, with everything that follows it before the next one."""
    option, values = "", list[str]()
    for arg in [*args, "--"]:
        if arg.startswith("-") and arg != "-":
            yield option, values
            option, _, value = arg.partition("=")
            values = [value] if value else []
        else:
            values.append(arg)


class Group(TyperGroup):
    """The group of all commands: what is wrong with the arguments is said in a sentence, as everything else is."""

    def get_params(self, ctx: Any) -> Any:
        """Options before the command; one that is not given is False, which typer would need pydantic to find."""
        parameters = super().get_params(ctx)
        _name_values(parameters)
        for one in parameters:
            if getattr(one, "is_flag", False) and one.default is None:
                one.default = False
        return parameters

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the options before the command."""
        with _sentences():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Read what follows, and do it."""
        with _sentences():
            return super().invoke(ctx)


@contextmanager
def _sentences() -> Iterator[None]:
    """Within it, what typer would say in a frame of many lines becomes a sentence, with where the options are listed.

    What it shows of a command without arguments is its help.
    """
    try:
        yield
    except _USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        # What pydantic says of a value begins with what it is.
        text = clipped(error.format_message().replace("Value error, ", "").rstrip("."), SENTENCE)
        first, stop, rest = text.partition(". ")
        text = f"{first}; {rest[:1].lower()}{rest[1:]}" if stop else text
        where = getattr(getattr(error, "ctx", None), "command_path", "seg")
        advice = "" if ";" in text else f"; '{where} --help' lists what there is"
        raise WrongUseError(f"{text[:1].lower()}{text[1:]}{advice}") from None

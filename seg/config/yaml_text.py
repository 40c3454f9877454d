"""YAML 1.2 as configurations are written in it: keys that occur once, and of a bounded size."""

from collections.abc import Iterable
from io import StringIO
from typing import Any

from ruamel.yaml import YAML, events
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from seg.errors import SegError

LONGEST = 100_000
"""Characters of a configuration; a complete one takes 2,000."""
DEEPEST = 20
"""Levels of sections and lists within each other; settings need five."""
MOST_NODES = 20_000
"""Values, counted as often as aliases repeat them: a short text of nested aliases may stand for billions."""

# What the library lets through of values that do not fit their tags, such as !!bool maybe or 2001-99-99.
_MISFIT = (ValueError, TypeError, KeyError, AttributeError, OverflowError, NotImplementedError)


class YamlTextError(SegError):
    """A text that is no YAML that a configuration could be; a few words that follow the name of the file."""


def parse(text: str) -> Any:
    """What a text says.

    Raises:
        YamlTextError: If it is no YAML, or too long, too deep or too full of aliases for a configuration.
    """
    if len(text) > LONGEST:
        raise YamlTextError(f"is too long for a configuration, which takes at most {LONGEST:,} characters")
    try:
        _check_size(YAML(typ="safe", pure=True).parse(text))
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", ""))
        what = f": {error.problem.partition(' with value')[0]}" if isinstance(error, DuplicateKeyError) else ""
        if "mapping values are not allowed" in problem:
            what = ": a text that holds ': ' stands in quotes"
        raise YamlTextError(f"is no valid YAML{where}{what}") from None
    except YamlTextError:
        raise
    except _MISFIT as error:
        raise YamlTextError(f"is no valid YAML: a value is not what it is written as ({error})") from None


class _Representer(SafeRepresenter):
    """Escapes the line breaks of Unicode, which the library writes as they are and reads as a space."""


def _represent_text(representer: SafeRepresenter, text: str) -> ScalarNode:
    style = '"' if any(letter in text for letter in "\x85\u2028\u2029") else None
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Representer.add_representer(str, _represent_text)


def dump(tree: dict[str, Any]) -> str:
    """The YAML of plain values, in their order."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    text = StringIO()
    yaml.dump(tree, text)
    return text.getvalue()


def _check_size(parsed: Iterable[events.Event]) -> None:
    """Refuse what lies too deep, stands for too many values or contains itself, before anything is made of it."""
    sizes: dict[str | None, int] = {}
    unfinished: list[tuple[str | None, int]] = [(None, 0)]
    for event in parsed:
        name: str | None = getattr(event, "anchor", None)
        if isinstance(event, events.CollectionStartEvent):
            unfinished.append((name, 1))
            if len(unfinished) > DEEPEST:
                raise YamlTextError(f"goes deeper than {DEEPEST} levels; a configuration has sections with settings")
            continue
        if isinstance(event, events.AliasEvent):
            if any(name == outer for outer, _ in unfinished):
                raise YamlTextError("has an alias within what it names; write what is meant")
            size = sizes.get(name, 0)
        else:
            name, size = unfinished.pop() if isinstance(event, events.CollectionEndEvent) else (name, 1)
            sizes[name] = size
        outer, before = unfinished[-1]
        unfinished[-1] = outer, before + size
        if before + size > MOST_NODES:
            raise YamlTextError(f"stands for more than {MOST_NODES:,} values, aliases followed; write what is meant")

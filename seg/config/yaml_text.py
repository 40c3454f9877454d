"""YAML as configurations are written in it: keys that occur once, numbers in any notation, and of a bounded size."""

import re
from typing import Any

import yaml

from seg.errors import SegError

LONGEST = 100_000
"""Characters of a configuration; a complete one takes 2,000."""
DEEPEST = 20
"""Levels of sections and lists within each other; settings need five."""
MOST_NODES = 20_000
"""Values, counted as often as aliases repeat them: a short text of nested aliases may stand for billions."""

# What PyYAML lets through of values that do not fit their tags, such as !!bool maybe or 2001-99-99.
_MISFIT = (ValueError, TypeError, KeyError, AttributeError, OverflowError)


class YamlTextError(SegError):
    """A text that is no YAML that a configuration could be; a few words that follow the name of the file."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads ``1e-3`` as a number, as YAML 1.2 does and PyYAML does not."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Read a value; one that lies too deep is refused here, before Python's own stack ends."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise YamlTextError(f"goes deeper than {DEEPEST} levels; a configuration has sections with settings")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    """A mapping whose keys are all different: YAML forbids repeated ones, and PyYAML lets the last one win."""
    seen: set[str] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
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


def parse(text: str) -> Any:
    """What a text says.

    Raises:
        YamlTextError: If it is no YAML, or too long, too deep or too full of aliases for a configuration.
    """
    if len(text) > LONGEST:
        raise YamlTextError(f"is too long for a configuration, which takes at most {LONGEST:,} characters")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _nodes(node, {}) > MOST_NODES:
                raise YamlTextError(
                    f"stands for more than {MOST_NODES:,} values, aliases followed; write what is meant"
                )
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        what = f": {error.problem}" if isinstance(error, yaml.constructor.ConstructorError) else ""
        raise YamlTextError(f"is no valid YAML{where}{what}") from None
    except YamlTextError:
        raise
    except _MISFIT as error:
        raise YamlTextError(f"is no valid YAML: a value is not what it is written as ({error})") from None


def _nodes(node: yaml.Node, known: dict[int, int | None]) -> int:
    """How many values a value stands for, itself included; None in `known` marks those that are being counted."""
    if id(node) in known:
        count = known[id(node)]
        if count is None:
            raise YamlTextError("has an alias within what it names; write what is meant")
        return count
    known[id(node)] = None
    below: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        below = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    count = 1 + sum(_nodes(one, known) for one in below)
    known[id(node)] = count
    return count

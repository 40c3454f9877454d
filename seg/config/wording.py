"""Wording of messages."""

from seg.errors import WrongUseError

VALUE = 80
"""Characters of a value that a message quotes."""
SENTENCE = 600
"""Characters of a message: a few lines of a terminal."""


def counted(count: int, one: str, many: str) -> str:
    """A count and what is counted, in the form that goes with it: ``1 patch is``, ``1,000 patches are``."""
    return f"{count:,} {one if count == 1 else many}"


def clipped(text: str, most: int = VALUE) -> str:
    """The text on one line, with what is too long for a message left out of its middle.

    Args:
        text: Anything; what no terminal can show stands as an escape sequence.
        most: Characters to keep.
    """
    length = len(text)
    if length > 4 * most:
        text = text[: 2 * most] + text[-2 * most :]  # what follows takes time, and the middle goes anyway
    shown = " ".join("".join(one if one.isprintable() else _escaped(one) for one in text).split())
    if len(shown) <= most:
        return shown
    end = most // 3
    return f"{shown[: most - end]} ... ({length:,} characters in all) ... {shown[-end:]}"


def _escaped(letter: str) -> str:
    return " " if letter.isspace() else letter.encode("unicode_escape").decode("ascii")


def listed(text: str) -> list[str]:
    """The names of a comma-separated list.

    Raises:
        WrongUseError: If one is empty.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise WrongUseError(f"'{text}' names nothing in one place; give names, separated by commas, or leave it out")
    return names

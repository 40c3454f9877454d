"""What the numbers in class maps made elsewhere mean: stated by whoever made them, never guessed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg.config.wording import clipped
from seg.errors import WrongUseError
from seg.reben.classes import CLASS_NAMES, CLASS_OF_CODE, IGNORE_INDEX, NUM_CLASSES

REBEN, CLC, ALPHABETICAL = NUMBERINGS = ("reben", "clc", "alphabetical")
CHOICES = f"{', '.join(NUMBERINGS)} or a JSON file"
NOTHING = -(2**31)
"""Where a file says that it holds nothing: its nodata value."""
UNKNOWN = 254
"""Stands for a number that means nothing in a numbering."""
_MOST = 65_535
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True)
class Numbering:
    """What numbers mean.

    Attributes:
        name: ``reben``: 0 to 18 in the order of the nomenclature, as ``seg export`` writes them, 255 where nothing is
            predicted. ``clc``: CLC level-3 codes as in the reference maps, of which those without a class and 0 mean
            nothing. ``alphabetical``: 0 to 18 in the alphabetical order of the class names, 255 likewise. Else the
            name of a file.
        classes: Class index by number; 255: no class.
    """

    name: str
    classes: Mapping[int, int]

    def indices(self, values: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
        """Class indices of numbers of any shape: 0 to 18, 255 where nothing is predicted, `UNKNOWN` for no number."""
        last = len(self._lookup) - 1
        inside = (values >= 0) & (values < last)
        found: npt.NDArray[np.uint8] = self._lookup[np.where(inside, values, last)]
        found[values == NOTHING] = IGNORE_INDEX
        return found

    @property
    def meanings(self) -> dict[str, str | None]:
        """Class name by number; None: no class."""
        named = sorted(self.classes.items())
        return {str(number): CLASS_NAMES[index] if index < NUM_CLASSES else None for number, index in named}

    @cached_property
    def bands(self) -> tuple[int, ...] | None:
        """Class index of each band of probabilities, if 0 to 18 number the classes one by one; None otherwise."""
        chosen = [self.classes.get(band, IGNORE_INDEX) for band in range(NUM_CLASSES)]
        return tuple(chosen) if sorted(chosen) == list(range(NUM_CLASSES)) else None

    @property
    def words(self) -> str:
        """The numbers of classes, for a message."""
        numbers = sorted(number for number, index in self.classes.items() if index < NUM_CLASSES)
        every = numbers == list(range(numbers[0], numbers[-1] + 1))
        return f"{numbers[0]} to {numbers[-1]}" if every else f"{', '.join(map(str, numbers[:4]))}, ..., {numbers[-1]}"

    @cached_property
    def _lookup(self) -> npt.NDArray[np.uint8]:
        lookup = np.full(max(self.classes) + 2, UNKNOWN, np.uint8)
        lookup[list(self.classes)] = list(self.classes.values())
        return lookup


def read_numbering(text: str) -> Numbering:
    """A numbering from what somebody typed.

    Args:
        text: One of `NUMBERINGS`, or a JSON file ``{"0": "Urban fabric", ...}`` with the official class name of each
            number, or null where it stands for no class.

    Raises:
        WrongUseError: If it is neither.
    """
    nothing = {IGNORE_INDEX: IGNORE_INDEX}
    if text == REBEN:
        return Numbering(text, {index: index for index in range(NUM_CLASSES)} | nothing)
    if text == ALPHABETICAL:
        return Numbering(text, {i: CLASS_NAMES.index(name) for i, name in enumerate(sorted(CLASS_NAMES))} | nothing)
    if text == CLC:
        return Numbering(text, CLASS_OF_CODE | {0: IGNORE_INDEX})
    path = Path(text)
    if not path.is_file():
        what = "file" if path.suffix else "numbering"
        raise WrongUseError(f"there is no {what} '{clipped(text)}'; choose {CHOICES}")
    return Numbering(path.name, _read(path))


def _read(path: Path) -> dict[int, int]:
    example = '{"0": "Urban fabric", "255": null}'
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError("too large")
        pairs = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
        known = {name: index for index, name in enumerate(CLASS_NAMES)}
        numbers = [(int(key), key, name) for key, name in pairs]
    except json.JSONDecodeError as error:
        raise WrongUseError(f"{path} is not valid JSON ({error.msg} in line {error.lineno}); write {example}") from None
    except (OSError, ValueError, TypeError, RecursionError):
        raise WrongUseError(f"{path} names no class for each number; write it as JSON, such as {example}") from None
    classes: dict[int, int] = {}
    for number, key, name in numbers:
        if name is not None and not (isinstance(name, str) and name in known):
            raise WrongUseError(
                f"{path}: '{clipped(str(name))}' is none of the 19 classes, which are spelled as in the metadata, such "
                f"as '{CLASS_NAMES[0]}'"
            )
        if number in classes or not 0 <= number <= _MOST:
            raise WrongUseError(f"{path}: {clipped(key)} is named twice, or is not from 0 to {_MOST}; name it once")
        classes[number] = IGNORE_INDEX if name is None else known[name]
    if not any(index < NUM_CLASSES for index in classes.values()):
        raise WrongUseError(f"{path} names no class; write it as JSON, such as {example}")
    return classes

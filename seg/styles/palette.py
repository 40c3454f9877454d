"""What the values of a map mean: names and colours, for colour tables, legends and styles."""

from collections.abc import Mapping
from dataclasses import dataclass

from seg.reben.classes import CLASSES, IGNORE_INDEX

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of a map.

    Attributes:
        value: As stored, 0 to 254.
        name: Its name.
        color: Red, green, blue, 0 to 255.
    """

    value: int
    name: str
    color: Color


@dataclass(frozen=True, slots=True)
class Palette:
    """The values that a map may hold besides 255, which is nodata and transparent.

    Attributes:
        entries: By value, from 0 without gaps.
        tag: Beginning of the names of the metadata items that name the values, as in ``CLASS_0 = Urban fabric``.
    """

    entries: tuple[Entry, ...]
    tag: str = "CLASS"

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the values."""
        return tuple(entry.name for entry in self.entries)

    @property
    def colormap(self) -> dict[int, tuple[int, int, int, int]]:
        """Colour table: red, green, blue, alpha of every value, and of nodata."""
        return {entry.value: (*entry.color, 255) for entry in self.entries} | {IGNORE_INDEX: (0, 0, 0, 0)}

    @property
    def tags(self) -> Mapping[str, str]:
        """Metadata of the band."""
        return {f"{self.tag}_{entry.value}": entry.name for entry in self.entries}


SHADES: tuple[Color, ...] = ((247, 251, 255), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107))
"""Of shares from 0 to 1, evenly spaced: the blues of ColorBrewer."""

LAND_COVER = Palette(tuple(Entry(c.index, c.name, c.color) for c in CLASSES))
"""The 19 classes."""

WRONG, RIGHT, UNLABELLED = 0, 1, 2
AGREEMENT = Palette(
    (
        Entry(WRONG, "Wrong", (178, 24, 43)),
        Entry(RIGHT, "Right", (214, 234, 223)),
        Entry(UNLABELLED, "Unlabelled", (150, 150, 150)),
    ),
    tag="VALUE",
)
"""Where a predicted map agrees with its reference; the colours are those of the figures."""

"""The 19-class nomenclature of BigEarthNet and the CORINE Land Cover (CLC) codes behind it.

Sources: Sumbul et al. 2021 (BigEarthNet-MM), whose table fixes the order of the classes; the CLC 2018 legend for the
colours, the level-3 codes and the groups of levels 1 and 2; the reBEN authors' ``clc_metadata.json`` for the grouping.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from seg.errors import UnknownNameError

IGNORE_INDEX = 255
"""Class index of an unlabelled pixel. It takes part in no loss and no score."""


@dataclass(frozen=True, slots=True)
class LandCoverClass:
    """One of the 19 classes.

    Attributes:
        index: Position in the nomenclature, 0 to 18; the value of the class in every class map.
        name: The official name, as in the metadata's ``labels``.
        short: A name of at most 24 characters for tables and figures.
        codes: The CLC level-3 codes that belong to the class.
        color: Red, green, blue (0-255) of its most typical code in the official CLC legend.
    """

    index: int
    name: str
    short: str
    codes: tuple[int, ...]
    color: tuple[int, int, int]

    @property
    def level1(self) -> int:
        """CLC group of level 1, a key of `CLC_GROUPS`: that of its first code, which is its most typical one."""
        return self.codes[0] // 100

    @property
    def level2(self) -> int:
        """CLC group of level 2, a key of `CLC_GROUPS`.

        That of its first code, which is its most typical one: Permanent crops also holds code 241 of group 24, and
        Natural grassland and sparsely vegetated areas code 333 of group 33.
        """
        return self.codes[0] // 10


def hexadecimal(color: tuple[int, int, int]) -> str:
    """Red, green, blue (0-255) as ``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*color)


_TABLE: tuple[tuple[str, str, tuple[int, ...], tuple[int, int, int]], ...] = (
    ("Urban fabric", "Urban fabric", (111, 112), (255, 0, 0)),
    ("Industrial or commercial units", "Industrial, commercial", (121,), (204, 77, 242)),
    ("Arable land", "Arable land", (211, 212, 213), (255, 255, 168)),
    ("Permanent crops", "Permanent crops", (221, 222, 223, 241), (230, 128, 0)),
    ("Pastures", "Pastures", (231,), (230, 230, 77)),
    ("Complex cultivation patterns", "Complex cultivation", (242,), (255, 230, 77)),
    (
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
        "Agriculture with nature",
        (243,),
        (230, 204, 77),
    ),
    ("Agro-forestry areas", "Agro-forestry", (244,), (242, 204, 166)),
    ("Broad-leaved forest", "Broad-leaved forest", (311,), (128, 255, 0)),
    ("Coniferous forest", "Coniferous forest", (312,), (0, 166, 0)),
    ("Mixed forest", "Mixed forest", (313,), (77, 255, 0)),
    ("Natural grassland and sparsely vegetated areas", "Grassland, sparse veg.", (321, 333), (204, 242, 77)),
    ("Moors, heathland and sclerophyllous vegetation", "Moors, heath, scleroph.", (322, 323), (166, 255, 128)),
    ("Transitional woodland, shrub", "Transitional woodland", (324,), (166, 242, 0)),
    ("Beaches, dunes, sands", "Beaches, dunes, sands", (331,), (230, 230, 230)),
    ("Inland wetlands", "Inland wetlands", (411, 412), (166, 166, 255)),
    ("Coastal wetlands", "Coastal wetlands", (421, 422), (204, 204, 255)),
    ("Inland waters", "Inland waters", (511, 512), (128, 242, 230)),
    ("Marine waters", "Marine waters", (521, 522, 523), (230, 242, 255)),
)

CLASSES: tuple[LandCoverClass, ...] = tuple(LandCoverClass(i, *row) for i, row in enumerate(_TABLE))
CLASS_NAMES: tuple[str, ...] = tuple(c.name for c in CLASSES)
NUM_CLASSES = len(CLASSES)

CLC_GROUPS: dict[int, str] = {
    1: "Artificial surfaces",
    11: "Urban fabric",
    12: "Industrial, commercial and transport units",
    2: "Agricultural areas",
    21: "Arable land",
    22: "Permanent crops",
    23: "Pastures",
    24: "Heterogeneous agricultural areas",
    3: "Forest and semi-natural areas",
    31: "Forests",
    32: "Scrub and/or herbaceous vegetation associations",
    33: "Open spaces with little or no vegetation",
    4: "Wetlands",
    41: "Inland wetlands",
    42: "Maritime wetlands",
    5: "Water bodies",
    51: "Inland waters",
    52: "Marine waters",
}
"""Official names of the CLC groups that hold a class: one digit for level 1, two for level 2."""

UNLABELLED_CODES: frozenset[int] = frozenset({122, 123, 124, 131, 132, 133, 141, 142, 332, 334, 335, 423, 999})
"""CLC codes without a class. 999 stands for "no CLC polygon here" and is a real value, not nodata."""
UNLABELLED_LIMIT = 0.25
"""Patches with this share of unlabelled pixels, or more, were left out of reBEN."""
SHARE_SCALE = 250
"""Stored value of a share of 1 (probability, confidence, entropy) in maps of bytes, whose 255 is nodata."""

CLASS_OF_CODE: dict[int, int] = {code: c.index for c in CLASSES for code in c.codes} | dict.fromkeys(
    UNLABELLED_CODES, IGNORE_INDEX
)
"""CLC level-3 code to class index, `IGNORE_INDEX` for the unlabelled codes. Any other code is an error in the data."""

_INDEX_OF_NAME = {name: i for i, name in enumerate(CLASS_NAMES)}


def class_index(name: str) -> int:
    """Index of a class by its official name.

    Raises:
        UnknownNameError: If the name is none of the 19.
    """
    try:
        return _INDEX_OF_NAME[name]
    except KeyError:
        raise UnknownNameError(
            f"'{name}' is not one of the 19 reBEN classes; the names are spelled as in the official metadata, "
            f"for example '{CLASS_NAMES[0]}'"
        ) from None


def label_bits(names: Iterable[str]) -> int:
    """Multi-label as an integer: bit i is set where class i is among the names.

    Raises:
        UnknownNameError: If a name is none of the 19.
    """
    bits = 0
    for name in names:
        bits |= 1 << class_index(name)
    return bits


@cache
def names_of_bits(bits: int) -> tuple[str, ...]:
    """Class names of a multi-label integer, sorted by name as in the official metadata."""
    return tuple(sorted(c.name for c in CLASSES if bits >> c.index & 1))

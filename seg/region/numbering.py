"""Which numbers a land-cover file has: those of CORINE, and which of its two kinds, or those of another product.

CORINE numbers its 44 classes in two ways: by their codes of level 3 (111 to 523), and in its rasters from 1 to 44.
Other products have small numbers too, and a map of theirs would be read without a murmur. What a file's colours and
names say counts first; without them its numbers have to be ones that only CORINE could have, and numbers from 1 to 44
in a file that is called so, or somebody has to decide.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import PurePath
from typing import Literal

from seg.errors import LandCoverError
from seg.rasters.header import editing
from seg.reben.clc_legend import CLC_LEGEND

Numbering = Literal["clc", "grid"]
Color = tuple[int, int, int]

NOTHING = 999
"""The code where there is no polygon."""
CODES = tuple(CLC_LEGEND)
"""The codes of level 3."""
_OWN_CODES = (*CODES, NOTHING)
GRID_NOTHING = 48
"""What CORINE's rasters have for "no data"; the class numbers end at 44."""
WORDS: dict[Numbering, str] = {"clc": "CORINE's codes of level 3", "grid": "CORINE's numbers 1 to 44"}

_LEVEL_2 = {code // 10 for code in CODES}
_NATIONAL_RASTER = "a national raster of 49 classes"
_NATIONAL = frozenset((45, 46, 47, 49))
"""What it has beyond CORINE's numbers; without these it is CORINE's."""
_FILLS = (0, 128, 253, 254, 255, -1, -128, -9999, -32768, 32767, 65535)
"""What files have for no data without declaring it."""
_COARSER = frozenset(("level 1 of CORINE", "level 2 of CORINE"))
_OTHERS: dict[str, frozenset[int]] = {
    "CLC+ Backbone": frozenset((*range(1, 12), 253, 254, 255)),
    "Esri Land Cover": frozenset((1, 2, 4, 5, 7, 8, 9, 10, 11)),
    "ESA WorldCover": frozenset((*range(10, 101, 10), 95)),
    "Dynamic World": frozenset(range(9)),
    "level 1 of CORINE": frozenset(range(1, 6)),
    "level 2 of CORINE": frozenset(_LEVEL_2),
    "reBEN's 19 classes": frozenset(range(20)),
    "MODIS land cover": frozenset((*range(18), 255)),
    "OSO of France": frozenset(range(24)),
    "UK Land Cover Map": frozenset(range(22)),
    "GLC_FCS30": frozenset(
        (10, 11, 12, 20, 51, 52, 61, 62, 71, 72, 81, 82, 91, 92, 120, 121, 122, 130, 140, 150, 152, 153,
         *range(180, 188), 190, 200, 201, 202, 210, 220, 250)
    ),
    "ESA CCI Land Cover": frozenset(
        (10, 11, 12, 20, 30, 40, 50, 60, 61, 62, 70, 71, 72, 80, 81, 82, 90, 100, 110, 120, 121, 122, 130, 140, 150,
         151, 152, 153, 160, 170, 180, 190, 200, 201, 202, 210, 220)
    ),
    "Copernicus Global Land Cover": frozenset((0, *range(20, 101, 10), *range(111, 117), *range(121, 127), 200)),
    "the crop map of the EU (EUCROPMAP)": frozenset(
        (100, *range(211, 220), 221, 222, 223, *range(230, 234), 240, 250, 290, 300, 500, 600, 700, 800)
    ),
    "S2GLC": frozenset((0, 62, 73, 75, 82, 83, 102, 103, 104, 105, 106, 121, 123, 162)),
    "NLCD": frozenset((11, 12, 21, 22, 23, 24, 31, 41, 42, 43, 51, 52, 71, 72, 73, 74, 81, 82, 90, 95)),
    _NATIONAL_RASTER: frozenset(range(1, 50)),
    "CORINE's codes times 10": frozenset(code * 10 for code in CODES),
    "level 4 of CORINE": frozenset(code * 10 + digit for code in CODES for digit in range(1, 10)),
}  # fmt: skip
_OWN: dict[Numbering, frozenset[int]] = {
    "clc": frozenset(_OWN_CODES),
    "grid": frozenset((*range(1, len(CODES) + 1), GRID_NOTHING, NOTHING)),
}
_ENOUGH = 3
"""So many numbers above `_CROWDED` are needed where nothing but the numbers tells: most numberings end before."""
_CROWDED = 23
_CALLED = re.compile(r"(?<![a-z])(?:clc(?!_?plus|\+)|corine)", re.IGNORECASE)
"""In the name of a file that somebody calls CORINE Land Cover."""
_DOTTED = re.compile(r"[1-5]\.\d\.\d\.?")
"""A code of level 3 as the nomenclature writes it: ``1.1.2``."""
_MATCH = 0.75
"""Share of entries that have to be CORINE's for a legend to be."""
_ALIKE = 0.8
"""How alike two names of a class are, from 0 to 1, that editions of the legend spell differently."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Legend:
    """What a file says of its values besides the values.

    Attributes:
        colors: Red, green, blue (0-255) by value.
        texts: Names and other texts by value.
        official: The numbering that files of this form have: CORINE's own raster, or its own column.
    """

    colors: Mapping[int, Color] = field(default_factory=dict)
    texts: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    official: Numbering | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Which numbers a file has, and what that was decided by."""

    numbering: Numbering
    by: str

    def __str__(self) -> str:
        return f"{WORDS[self.numbering]}, by {self.by}"


def decide(
    name: str, values: Iterable[int], legend: Legend, told: Numbering | None, cure: Callable[[Sequence[int]], str]
) -> Decision:
    """Which of CORINE's numbers a file has.

    Args:
        name: The file, for errors.
        values: Those that occur in it, without what it declares as nodata.
        legend: What it says of them.
        told: What the user says.
        cure: What to do about values that are not CORINE's.

    Raises:
        LandCoverError: If they are not CORINE's, or could be another product's as well.
    """
    seen = frozenset(values) - {NOTHING}
    fitting: list[Numbering] = [kind for kind, own in _OWN.items() if seen <= own]
    if told is not None:
        if told not in fitting:
            raise _not_corine(name, seen, told, cure)
        return Decision(told, "--numbering")
    if not fitting:
        raise _not_corine(name, seen, None, cure)
    verdicts = {"names": _named(legend, seen), "colours": _colored(legend, seen)}
    for what, shares in verdicts.items():
        if meant := next((kind for kind in fitting if shares.get(kind, 0) >= _MATCH), None):
            return Decision(meant, f"its {what}")
    kind = fitting[0]
    if other := next((what for what, shares in verdicts.items() if shares), None):
        raise LandCoverError(
            f"the {other} in {name} are not those of CORINE ({_example(legend, seen, other)}); give CORINE Land Cover, "
            f"or say --numbering {kind} if the values are {WORDS[kind]} all the same"
        )
    if not seen:
        return Decision(kind, "its having none")
    others, called = looks_like(seen), _CALLED.search(PurePath(name).name) is not None
    # Whoever gives CORINE's raster other classes keeps its type and nodata, and of coarser ones its name as well.
    unlike = not others or (called and _COARSER.isdisjoint(others))
    if legend.official == kind and (kind == "clc" or unlike):
        return Decision(kind, "its form")
    if others or (kind == "grid" and (not called or sum(value > _CROWDED for value in seen) < _ENOUGH)):
        known = f"{WORDS[kind]}, but also {_either(others)}" if others else f"{WORDS[kind]} or of another product"
        raise LandCoverError(
            f"{name} holds {_listed(sorted(seen))}, which could be {known}; say --numbering {kind} if it is CORINE "
            "Land Cover"
        )
    return Decision(kind, "its values and name" if kind == "grid" else "its values")


def values_of(texts: Iterable[str]) -> dict[str, int | None]:
    """Texts of an attribute as whole numbers; None for what is none."""
    found: dict[str, int | None] = {}
    for text in texts:
        digits = text.strip().removesuffix(".0")
        if _DOTTED.fullmatch(digits):
            digits = digits.replace(".", "")
        found[text] = int(digits) if digits.isdecimal() else None
    return found


def code_table(numbering: Numbering) -> dict[int, int]:
    """Codes of level 3 by the numbers of a numbering."""
    if numbering == "clc":
        return dict(zip(_OWN_CODES, _OWN_CODES, strict=True))
    return dict(enumerate(CODES, 1)) | {GRID_NOTHING: NOTHING, NOTHING: NOTHING}


def other_values(name: str, values: Sequence[object], numbering: Numbering, cure: str) -> LandCoverError:
    """The error for values that a numbering does not have."""
    is_no = "is no" if len(values) == 1 else "are no"
    codes = {"clc": ("code", "CLC level 3 such as 311"), "grid": ("number", "CORINE from 1 to 44")}[numbering]
    plural = "" if len(values) == 1 else "s"
    return LandCoverError(f"{name} holds {_listed(values)}, which {is_no} {codes[0]}{plural} of {codes[1]}; {cure}")


def fill_cure(path: str, copy: str, values: Sequence[int]) -> str:
    """What to do about values in a raster that may stand for no data.

    Args:
        path: As GDAL opens it.
        copy: Name of a copy that says so: the file itself stays as it was delivered.
        values: Those that are not CORINE's.
    """
    one, value = ("one", "VALUE") if len(values) != 1 else (values[0], values[0])
    return (
        f"if {one} stands for no data, give a copy that says so: {editing(path, f'--nodata {value}', copy)}; else give "
        "a raster of CORINE Land Cover"
    )


def _not_corine(
    name: str, seen: frozenset[int], told: Numbering | None, cure: Callable[[Sequence[int]], str]
) -> LandCoverError:
    """The error for values that are not CORINE's, with what they look like."""
    codes, numbers = seen & _OWN["clc"], seen & _OWN["grid"]
    if told is None and codes and numbers and seen <= codes | numbers | set(_FILLS):
        return LandCoverError(
            f"{name} holds both {WORDS['clc']} ({_listed(sorted(codes), 2)}) and small numbers "
            f"({_listed(sorted(numbers), 2)}); give a file of one numbering"
        )
    kind = max(_OWN, key=lambda kind: len(seen & _OWN[kind])) if told is None else told
    wrong = sorted(seen - _OWN[kind])
    exact = [other for other in looks_like(seen) if seen <= _OTHERS[other]]
    only_fills = set(wrong) <= set(_FILLS)
    if others := exact or ([] if only_fills else looks_like(seen)):
        return LandCoverError(
            f"{name} holds {_listed(sorted(seen))}: that looks like {_either(others)}, not like {WORDS[kind]}; "
            f"{cure(wrong) if only_fills else 'give CORINE Land Cover'}"
        )
    if wrong == [0] and kind == "grid" and len(CODES) not in seen:
        return LandCoverError(
            f"{name} holds numbers from 0 to {max(seen)}: CORINE's begin at 1, so they may be its classes counted from "
            f"0, one too low; {cure(wrong)}"
        )
    return other_values(name, wrong, kind, cure(wrong))


def looks_like(seen: frozenset[int]) -> list[str]:
    """Other products that have all these values, apart from undeclared fills; those with the fewest classes first."""
    if not (classes := seen - set(_FILLS)):
        return []
    fitting = [
        (len(own), name)
        for name, own in _OTHERS.items()
        if (classes <= own or seen <= own) and (name != _NATIONAL_RASTER or seen & _NATIONAL)
    ]
    return [name for _, name in sorted(fitting)]


def _named(legend: Legend, seen: frozenset[int]) -> dict[Numbering, float]:
    """Share of the values with texts that these say are CORINE's, by numbering; empty without texts that tell."""
    texts = {value: told for value in seen if (told := [t for t in legend.texts.get(value, ()) if _tells(t, value)])}
    if not texts:
        return {}
    return {
        kind: _share(_is_named(told, table.get(value)) for value, told in texts.items()) for kind, table in _tables()
    }


def _colored(legend: Legend, seen: frozenset[int]) -> dict[Numbering, float]:
    """Share of the values whose colours are CORINE's, by numbering; empty without colours that tell."""
    colors = {value: legend.colors[value] for value in seen if value in legend.colors}
    if all(r == g == b for r, g, b in colors.values()):
        return {}
    return {
        kind: _share(
            (code := table.get(value)) in CLC_LEGEND and _near(color, CLC_LEGEND[code][1])
            for value, color in colors.items()
        )
        for kind, table in _tables()
    }


def _tables() -> list[tuple[Numbering, dict[int, int]]]:
    return [(kind, code_table(kind)) for kind in _OWN]


def _share(found: Iterable[bool]) -> float:
    hits = list(found)
    return sum(hits) / len(hits)


def _tells(text: str, value: int) -> bool:
    """Whether a text says more than the value itself does."""
    return text.strip() != str(value) and (sum(c.isalpha() for c in text) >= 4 or _code_in(text) is not None)


def _code_in(text: str) -> int | None:
    """The code of level 3 that a text is or begins with: ``111``, ``1.1.1`` or ``111 - Continuous urban fabric``."""
    digits = "".join(c for c in text.strip().replace(".", "")[:4] if c.isdigit())
    return int(digits) if len(digits) == 3 and int(digits) in CLC_LEGEND else None


def _is_named(texts: Sequence[str], code: int | None) -> bool:
    if code not in CLC_LEGEND:
        return code == NOTHING
    wanted = CLC_LEGEND[code][0].lower()
    return any(
        _code_in(text) == code or SequenceMatcher(None, text.strip(" 0123456789.-:").lower(), wanted).ratio() >= _ALIKE
        for text in texts
    )


def _near(one: Color, other: Color) -> bool:
    return all(abs(a - b) <= 2 for a, b in zip(one, other, strict=True))


def _example(legend: Legend, seen: frozenset[int], what: str) -> str:
    """A value and what the file says of it."""
    for value in sorted(seen):
        if what == "names" and (told := [t for t in legend.texts.get(value, ()) if _tells(t, value)]):
            return f"{value} is '{told[0][:40]}'"
        if what == "colours" and value in legend.colors:
            return "{} is {}, {}, {}".format(value, *legend.colors[value])
    return ""


def _either(names: Sequence[str]) -> str:
    return " or ".join(names[:3])


def _listed(values: Sequence[object], most: int = _SHOWN) -> str:
    return ", ".join(str(value) or "nothing" for value in values[:most]) + (" and more" if len(values) > most else "")

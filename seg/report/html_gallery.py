"""Pictures of patches as what the template of the HTML report shows."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from seg.figures.pictures import agreement_image, class_image, png_uri
from seg.figures.style import RIGHT, UNLABELLED, WRONG, class_entries
from seg.reben.classes import CLASS_NAMES, CLASSES, IGNORE_INDEX, hexadecimal
from seg.report.gallery import Picture

_SHORT = {c.name: c.short for c in CLASSES}
Entries = tuple[tuple[str, str], ...]
"""Names and CSS colours."""
_MARKS: Entries = (
    ("right", hexadecimal(RIGHT)),
    ("wrong", hexadecimal(WRONG)),
    ("unlabelled", hexadecimal(UNLABELLED)),
)


class Panel(NamedTuple):
    """An image: what it is, a data URI, and what one sees."""

    caption: str
    uri: str
    alt: str


class Chip(NamedTuple):
    """A label that was ``found``, ``missed``, or is ``extra``, as no official label says it."""

    text: str
    kind: str


class HtmlPicture(NamedTuple):
    """A patch of the gallery: why it is shown, its overall accuracy, images, and who decided for which labels."""

    patch_id: str
    why: str
    score: str
    panels: tuple[Panel, ...]
    legend: Entries
    marks: Entries
    decisions: tuple[tuple[str, tuple[Chip, ...]], ...]


def html_picture(picture: Picture, head: bool) -> HtmlPicture:
    """A picture for the page; `head` says whether the model has a scene head."""
    reference_HW, predicted_HW = picture.reference_HW, picture.predicted_HW
    entries = class_entries(np.concatenate([reference_HW, predicted_HW], axis=None))
    labelled_HW = reference_HW != IGNORE_INDEX
    mapped = [CLASS_NAMES[k] for k in np.unique(predicted_HW[labelled_HW]) if k != IGNORE_INDEX]
    decisions = [("Labels on the predicted map", _chips(picture.labels, mapped))]
    if head:
        decisions.insert(0, ("Labels by the scene head", _chips(picture.labels, picture.decided)))
    return HtmlPicture(
        picture.patch_id,
        picture.why,
        f"{100 * picture.score:.1f} %",
        tuple(_panels(picture)),
        tuple((name, hexadecimal(color)) for name, color in entries),
        _MARKS[: 2 if labelled_HW.all() else 3],
        tuple(decisions),
    )


def _panels(picture: Picture) -> Iterable[Panel]:
    if picture.rgb_HW3 is not None:
        yield Panel("Sentinel-2, true colour", png_uri(picture.rgb_HW3), "True-colour image")
    if picture.s1_HW is not None:
        yield Panel("Sentinel-1, VV, −25 to 0 dB", png_uri(picture.s1_HW), "Radar backscatter")
    for caption, classes_HW in (("Reference", picture.reference_HW), ("Predicted", picture.predicted_HW)):
        yield Panel(caption, png_uri(class_image(classes_HW)), f"{caption} map: {_areas(classes_HW)}")
    right = f"Right and wrong pixels: {100 * picture.score:.1f} % of the labelled ones are right"
    agreement = png_uri(agreement_image(picture.reference_HW, picture.predicted_HW))
    yield Panel("Right and wrong", agreement, right)


def _areas(classes_HW: np.ndarray) -> str:
    """The classes of a map with their share of the area, the largest first."""
    counts = np.bincount(classes_HW.ravel(), minlength=IGNORE_INDEX + 1)
    names = {c.index: c.short for c in CLASSES} | {IGNORE_INDEX: "unlabelled"}
    shares = [(counts[index] / classes_HW.size, name) for index, name in names.items() if counts[index]]
    return ", ".join(f"{name} {100 * share:.0f} %" for share, name in sorted(shares, key=lambda part: -part[0]))


def _chips(official: Iterable[str], decided: Iterable[str]) -> tuple[Chip, ...]:
    """Labels that were decided for, compared with the official ones."""
    true, given = set(official), set(decided)
    kinds = (("found", true & given), ("missed", true - given), ("extra", given - true))
    return tuple(Chip(_SHORT[name], kind) for kind, names in kinds for name in sorted(names))

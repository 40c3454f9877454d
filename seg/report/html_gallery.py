"""Pictures of patches as what the template of the HTML report shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seg.figures.pictures import agreement_image, class_image, png_uri
from seg.figures.style import RIGHT, UNLABELLED, WRONG
from seg.reben.classes import CLASS_NAMES, CLASSES, IGNORE_INDEX
from seg.report.gallery import Picture
from seg.report.html_tables import css_color

_SHORT = {c.name: c.short for c in CLASSES}
_MARKS = (("right", css_color(RIGHT)), ("wrong", css_color(WRONG)), ("unlabelled", css_color(UNLABELLED)))


@dataclass(frozen=True)
class Panel:
    """An image: what it is, a data URI, and what one sees."""

    caption: str
    uri: str
    alt: str


@dataclass(frozen=True)
class Chip:
    """A label that was ``found``, ``missed``, or is ``extra``, as no official label says it."""

    text: str
    kind: str


@dataclass(frozen=True)
class HtmlPicture:
    """A patch of the gallery.

    Attributes:
        patch_id: Its id.
        why: Why it is shown.
        score: Overall accuracy in percent.
        panels: Its images.
        legend: Names and CSS colours of the classes on its maps.
        marks: The same for what is right, wrong and unlabelled.
        decisions: Who decided, and the labels: the scene head, if there is one, and the predicted map.
    """

    patch_id: str
    why: str
    score: str
    panels: tuple[Panel, ...]
    legend: tuple[tuple[str, str], ...]
    marks: tuple[tuple[str, str], ...]
    decisions: tuple[tuple[str, tuple[Chip, ...]], ...]


def html_picture(picture: Picture, head: bool) -> HtmlPicture:
    """A picture for the page.

    Args:
        picture: What is shown.
        head: Whether the model has a scene head.
    """
    present = set(np.unique(picture.reference_HW)) | set(np.unique(picture.predicted_HW))
    legend = [(c.short, css_color(c.color)) for c in CLASSES if c.index in present]
    if IGNORE_INDEX in present:
        legend.append(("Unlabelled", css_color(UNLABELLED)))
    unlabelled = bool((picture.reference_HW == IGNORE_INDEX).any())
    return HtmlPicture(
        picture.patch_id,
        picture.why,
        f"{100 * picture.score:.1f} %",
        _panels(picture),
        tuple(legend),
        _MARKS if unlabelled else _MARKS[:2],
        _decisions(picture, head),
    )


def _panels(picture: Picture) -> tuple[Panel, ...]:
    panels = []
    if picture.rgb_HW3 is not None:
        panels.append(Panel("Sentinel-2, true colour", png_uri(picture.rgb_HW3), "True-colour image"))
    if picture.s1_HW is not None:
        panels.append(Panel("Sentinel-1, VV, −25 to 0 dB", png_uri(picture.s1_HW), "Radar backscatter"))
    for caption, classes_HW in (("Reference", picture.reference_HW), ("Predicted", picture.predicted_HW)):
        panels.append(Panel(caption, png_uri(class_image(classes_HW)), f"{caption} map: {_areas(classes_HW)}"))
    agreement = png_uri(agreement_image(picture.reference_HW, picture.predicted_HW))
    right = f"Right and wrong pixels: {100 * picture.score:.1f} % of the labelled ones are right"
    return (*panels, Panel("Right and wrong", agreement, right))


def _areas(classes_HW: np.ndarray) -> str:
    """The classes of a map with their share of the area, the largest first."""
    counts = np.bincount(classes_HW.ravel(), minlength=IGNORE_INDEX + 1)
    shares = [(counts[c.index] / classes_HW.size, c.short) for c in CLASSES if counts[c.index]]
    if counts[IGNORE_INDEX]:
        shares.append((counts[IGNORE_INDEX] / classes_HW.size, "unlabelled"))
    return ", ".join(f"{name} {100 * share:.0f} %" for share, name in sorted(shares, key=lambda part: -part[0]))


def _decisions(picture: Picture, head: bool) -> tuple[tuple[str, tuple[Chip, ...]], ...]:
    """The labels that the scene head and the predicted map give, compared with the official ones."""
    labelled = picture.reference_HW != IGNORE_INDEX
    mapped = [CLASS_NAMES[index] for index in np.unique(picture.predicted_HW[labelled]) if index != IGNORE_INDEX]
    found = [("Labels on the predicted map", _chips(picture.labels, mapped))]
    if head:
        found.insert(0, ("Labels by the scene head", _chips(picture.labels, picture.decided)))
    return tuple(found)


def _chips(official: Sequence[str], decided: Sequence[str]) -> tuple[Chip, ...]:
    true, given = set(official), set(decided)
    kinds = (("found", true & given), ("missed", true - given), ("extra", given - true))
    return tuple(Chip(_SHORT[name], kind) for kind, names in kinds for name in sorted(names))

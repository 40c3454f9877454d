"""The score tables of an evaluation."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from seg.config.wording import counted
from seg.metrics.scene import DEFAULT_THRESHOLD, LabelScores, SceneScores
from seg.metrics.scores import Scores, headline
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.report.formats import Column, Estimate, Table, Value, origin_table, percent_columns, shown, table_title

if TYPE_CHECKING:
    from seg.metrics.jackknife import Interval

Intervals = Mapping[str, "Interval"]
"""Interval of a score by its name in `seg.metrics.jackknife.Replicates`; empty: scores stand alone."""

NO_INTERVALS: Intervals = {}
_AT_DEFAULT = f"at {DEFAULT_THRESHOLD}"
_AT_FITTED = "at thresholds fitted on validation"

HEADLINE = {
    "miou": "mIoU",
    "oa": "OA",
    "ap_macro": "AP macro",
    "f1_macro": f"F1 macro {_AT_DEFAULT}",
    "f1_micro": f"F1 micro {_AT_DEFAULT}",
}
"""The five scores that sum up an evaluation on a screen, two of the masks and three of the labels, with titles."""

_F1_COLUMNS = percent_columns(("f1_macro", "F1 macro"), ("f1_micro", "F1 micro"), ("f1_samples", "F1 samples"))
_PIXEL_COLUMNS = (
    *percent_columns(("iou", "IoU"), ("f1", "F1"), ("precision", "Precision"), ("recall", "Accuracy")),
    Column("pixels", "Pixels", "count"),
)
_PIXEL_MEANS = ("miou", "mf1", "macc", "oa", "fwiou")
_EXACT = Column("reference_exact", "Exact", "percent")


def pixel_summary(scores: Scores, intervals: Intervals = NO_INTERVALS) -> Table | None:
    """mIoU, mF1, mean and overall accuracy and frequency-weighted IoU, in one row; None without masks."""
    if not scores.origin.masks:
        return None
    pixel = scores.pixel
    columns = (
        Column("split", "Split", "text"),
        Column("patches", "Patches", "count"),
        Column("pixels", "Labelled pixels", "count"),
        Column("classes_averaged", "Classes", "count"),
        *percent_columns(("miou", "mIoU"), ("mf1", "mF1"), ("macc", "mAcc"), ("oa", "OA"), ("fwiou", "FWIoU")),
    )
    name = scores.origin.scope.name
    head: tuple[Value, ...] = (name, scores.patches, int(pixel.support.sum()), pixel.classes_averaged)
    row = (*head, *(_estimate(getattr(pixel, name), intervals, name) for name in _PIXEL_MEANS))
    note = f"mIoU, mF1 and mAcc are means over the {pixel.classes_averaged} of {NUM_CLASSES} classes in the reference."
    return origin_table("pixel_summary", scores.origin, "Pixel scores", columns, [row], note)


def headline_lines(scores: Scores, intervals: Intervals = NO_INTERVALS) -> tuple[str, ...]:
    """The scores of `HEADLINE` for the end of a screen, a line each, below what they are of."""
    values = headline(scores)
    lines = {
        title: shown(Column(key, title, "percent"), _estimate(values[key], intervals, key))
        for key, title in HEADLINE.items()
        if key in values
    }
    width = max(map(len, lines))
    # Predictions made elsewhere come from no weights of seg's.
    lacks = "the model has no scene head" if scores.origin.weights else "there are no scene labels"
    without = "" if scores.scene is not None else f"; {lacks}"
    without += "" if scores.origin.masks else "; there are no masks"
    title = f"{table_title(scores.origin, 'Scores in %')}, {counted(scores.patches, 'patch', 'patches')}{without}"
    return (title, *(f"  {name:<{width}}  {value}" for name, value in lines.items()))


def pixel_per_class(scores: Scores, intervals: Intervals = NO_INTERVALS) -> Table | None:
    """IoU, F1, precision and accuracy of each class; None without masks."""
    if not scores.origin.masks:
        return None
    columns = (Column("class", "Class", "class"), *_PIXEL_COLUMNS)
    rows = tuple((name, *cells) for name, cells in zip(CLASS_NAMES, _pixel_cells(scores, intervals), strict=True))
    note = "A dash stands for a class that the reference does not have, or for the precision of one never predicted."
    return origin_table("pixel_per_class", scores.origin, "Pixel scores by class", columns, rows, note)


def scene_summary(scores: Scores, intervals: Intervals = NO_INTERVALS) -> Table | None:
    """AP and F1 of the scene head; None if the model has none."""
    if scores.scene is None:
        return None
    columns = (
        Column("thresholds", "Labels decided", "text"),
        Column("classes_averaged", "Classes", "count"),
        *percent_columns(("ap_macro", "AP macro"), ("ap_micro", "AP micro")),
        *_F1_COLUMNS,
    )
    rows = tuple(
        (
            name,
            scene.classes_averaged,
            _estimate(scene.ap_macro, intervals, "ap_macro"),
            _estimate(scene.ap_micro, intervals, "ap_micro"),
            *_f1_cells(scene, intervals, suffix),
        )
        for name, scene, suffix in ((_decided(scores), scores.scene, ""), (_AT_FITTED, scores.scene_fitted, "_fitted"))
        if scene is not None
    )
    averaged = scores.scene.classes_averaged
    notes = [f"Macro means are over the {averaged} of {NUM_CLASSES} classes that occur; AP needs no threshold."]
    if not scores.origin.ranked:
        notes.append("The labels were decided elsewhere, without probabilities: AP is undefined.")
    if scores.scene_fitted is not None and scores.origin.split == "validation":
        notes.append("The thresholds were fitted on these very patches, so F1 at them is optimistic.")
    return origin_table("scene_summary", scores.origin, "Scene scores", columns, rows, *notes)


def scene_per_class(scores: Scores, intervals: Intervals = NO_INTERVALS) -> Table | None:
    """AP and F1 of each class; None if the model has no scene head."""
    if scores.scene is None:
        return None
    columns = (Column("class", "Class", "class"), *_scene_columns(scores))
    rows = tuple((name, *cells) for name, cells in zip(CLASS_NAMES, _scene_cells(scores, intervals), strict=True))
    note = "A dash stands for a class that no patch has."
    return origin_table("scene_per_class", scores.origin, "Scene scores by class", columns, rows, note)


def joint_summary(scores: Scores, _intervals: Intervals = NO_INTERVALS) -> Table | None:
    """F1 of the labels that the masks imply, beside those of the scene head and of the map; None without masks."""
    if not scores.origin.masks:
        return None
    joint = scores.joint
    columns = (
        Column("labels", "Labels", "text"),
        *_F1_COLUMNS,
        *percent_columns(("agreement", "Agreement with mask")),
    )
    rows: list[tuple[Value, ...]] = [("implied by the predicted mask", *_f1_cells(joint.mask), None)]
    if scores.scene is not None:
        rows.append((f"scene head {_decided(scores)}", *_f1_cells(scores.scene), joint.agreement))
    if scores.scene_fitted is not None:
        rows.append((f"scene head {_AT_FITTED}", *_f1_cells(scores.scene_fitted), joint.agreement_fitted))
    rows.append(("implied by the reference map (ceiling)", *_f1_cells(joint.reference), None))
    exact = shown(_EXACT, joint.reference_exact)
    notes = [
        "Masks and maps imply labels by labelled pixels only; agreement is the share of equal patch-class decisions.",
        f"The reference map implies exactly the official labels in {exact} % of the patches.",
    ]
    if joint.min_share:
        notes.append(f"A class is implied from {100 * joint.min_share:g} % of the labelled area on.")
    return origin_table("joint_summary", scores.origin, "Multi-labels from mask and scene head", columns, rows, *notes)


TABLES: dict[str, Callable[[Scores, Intervals], Table | None]] = {
    "pixel_summary": pixel_summary,
    "pixel_per_class": pixel_per_class,
    "scene_summary": scene_summary,
    "scene_per_class": scene_per_class,
    "joint_summary": joint_summary,
}
"""The tables of an evaluation, in the order in which they are shown; None where a model has nothing to show."""


def score_tables(scores: Scores, intervals: Intervals = NO_INTERVALS) -> tuple[Table, ...]:
    """The tables of an evaluation that apply to its model."""
    return tuple(table for build in TABLES.values() if (table := build(scores, intervals)) is not None)


def per_class(scores: Scores, intervals: Intervals = NO_INTERVALS) -> Table:
    """Every score of every class in one wide table, for machines."""
    columns: tuple[Column, ...] = (Column("class_index", "Index", "count"), Column("class", "Class", "class"))
    parts: list[list[tuple[Value, ...]]] = []
    if scores.origin.masks:
        columns += _PIXEL_COLUMNS
        parts.append(_pixel_cells(scores, intervals))
    if scores.scene is not None:
        columns += _scene_columns(scores)
        parts.append(_scene_cells(scores, intervals))
    rows = tuple(
        (index, name, *(value for cells in row for value in cells))
        for index, (name, *row) in enumerate(zip(CLASS_NAMES, *parts, strict=True))
    )
    return origin_table("per_class", scores.origin, "Scores by class", columns, rows)


def _decided(scores: Scores) -> str:
    """How the labels of `Scores.scene` were decided."""
    return _AT_DEFAULT if scores.origin.ranked else "as given"


def _estimate(value: float, intervals: Intervals, name: str) -> Value:
    """A score with its interval, where there is one."""
    if name not in intervals:
        return value
    return Estimate(value, low=float(intervals[name].low), high=float(intervals[name].high))


def _estimates(values_K: np.ndarray, intervals: Intervals, name: str) -> list[Value]:
    """The same for a score of every class."""
    values: list[Value] = values_K.tolist()
    if name not in intervals:
        return values
    bounds = zip(values_K, intervals[name].low, intervals[name].high, strict=True)
    return [Estimate(float(value), low=float(low), high=float(high)) for value, low, high in bounds]


def _f1_cells(
    labels: LabelScores | SceneScores, intervals: Intervals = NO_INTERVALS, suffix: str = ""
) -> tuple[Value, ...]:
    names = ("f1_macro", "f1_micro", "f1_samples")
    return tuple(_estimate(getattr(labels, name), intervals, name + suffix) for name in names)


def _pixel_cells(scores: Scores, intervals: Intervals) -> list[tuple[Value, ...]]:
    pixel = scores.pixel
    columns = [_estimates(getattr(pixel, name), intervals, name) for name in ("iou", "f1", "precision", "recall")]
    return list(zip(*columns, pixel.support.tolist(), strict=True))


def _scene_columns(scores: Scores) -> tuple[Column, ...]:
    columns = percent_columns(("ap", "AP"), ("scene_f1", f"F1 {_AT_DEFAULT}"))
    if scores.scene_fitted is not None:
        columns += percent_columns(("scene_f1_fitted", "F1 fitted"))
    return (*columns, Column("positives", "Positives", "count"))


def _scene_cells(scores: Scores, intervals: Intervals) -> list[tuple[Value, ...]]:
    assert scores.scene is not None, "the model has no scene head"
    columns = [_estimates(scores.scene.ap, intervals, "ap"), _estimates(scores.scene.f1, intervals, "scene_f1")]
    if scores.scene_fitted is not None:
        columns.append(_estimates(scores.scene_fitted.f1, intervals, "scene_f1_fitted"))
    return list(zip(*columns, scores.scene.support.tolist(), strict=True))

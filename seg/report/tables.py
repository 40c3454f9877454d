"""The score tables of an evaluation, ``scores.json``, and the files they are written to."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg.metrics.scene import DEFAULT_THRESHOLD, LabelScores, SceneScores
from seg.metrics.scores import DEFINITIONS, Scores
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.reben.patch import Split
from seg.report.formats import FORMATS, Column, Table, Value, plain, shown, tidy_csv
from seg.report.record import write_json
from seg.store.atomic import write_text

_AT_DEFAULT = f"at {DEFAULT_THRESHOLD}"
_AT_FITTED = "at thresholds fitted on validation"


def _percent(*names: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(Column(key, title, "percent") for key, title in names)


_F1_COLUMNS = _percent(("f1_macro", "F1 macro"), ("f1_micro", "F1 micro"), ("f1_samples", "F1 samples"))
_PIXEL_COLUMNS = (
    *_percent(("iou", "IoU"), ("f1", "F1"), ("precision", "Precision"), ("recall", "Accuracy")),
    Column("pixels", "Pixels", "count"),
)
_EXACT = Column("reference_exact", "Exact", "percent")


def pixel_summary(scores: Scores) -> Table:
    """mIoU, mF1, mean and overall accuracy and frequency-weighted IoU, in one row."""
    pixel = scores.pixel
    columns = (
        Column("split", "Split", "text"),
        Column("patches", "Patches", "count"),
        Column("pixels", "Labelled pixels", "count"),
        Column("classes_averaged", "Classes", "count"),
        *_percent(("miou", "mIoU"), ("mf1", "mF1"), ("macc", "mAcc"), ("oa", "OA"), ("fwiou", "FWIoU")),
    )
    head: tuple[Value, ...] = (scores.origin.split, scores.patches, int(pixel.support.sum()), pixel.classes_averaged)
    row = (*head, pixel.miou, pixel.mf1, pixel.macc, pixel.oa, pixel.fwiou)
    note = f"mIoU, mF1 and mAcc are means over the {pixel.classes_averaged} of {NUM_CLASSES} classes in the reference."
    return Table("pixel_summary", _title(scores, "Pixel scores"), columns, (row,), (note,))


def pixel_per_class(scores: Scores) -> Table:
    """IoU, F1, precision and accuracy of each class."""
    columns = (Column("class", "Class", "class"), *_PIXEL_COLUMNS)
    rows = tuple((name, *cells) for name, cells in zip(CLASS_NAMES, _pixel_cells(scores), strict=True))
    note = "A dash stands for a class that the reference does not have, or for the precision of one never predicted."
    return Table("pixel_per_class", _title(scores, "Pixel scores by class"), columns, rows, (note,))


def scene_summary(scores: Scores) -> Table | None:
    """AP and F1 of the scene head; None if the model has none."""
    if scores.scene is None:
        return None
    columns = (
        Column("thresholds", "Labels decided", "text"),
        Column("classes_averaged", "Classes", "count"),
        *_percent(("ap_macro", "AP macro"), ("ap_micro", "AP micro")),
        *_F1_COLUMNS,
    )
    rows = tuple(
        (name, scene.classes_averaged, scene.ap_macro, scene.ap_micro, *_f1_cells(scene))
        for name, scene in ((_AT_DEFAULT, scores.scene), (_AT_FITTED, scores.scene_fitted))
        if scene is not None
    )
    averaged = scores.scene.classes_averaged
    notes = [f"Macro means are over the {averaged} of {NUM_CLASSES} classes that occur; AP needs no threshold."]
    if scores.scene_fitted is not None and scores.origin.split == "validation":
        notes.append("The thresholds were fitted on these very patches, so F1 at them is optimistic.")
    return Table("scene_summary", _title(scores, "Scene scores"), columns, rows, tuple(notes))


def scene_per_class(scores: Scores) -> Table | None:
    """AP and F1 of each class; None if the model has no scene head."""
    if scores.scene is None:
        return None
    columns = (Column("class", "Class", "class"), *_scene_columns(scores))
    rows = tuple((name, *cells) for name, cells in zip(CLASS_NAMES, _scene_cells(scores), strict=True))
    note = "A dash stands for a class that no patch has."
    return Table("scene_per_class", _title(scores, "Scene scores by class"), columns, rows, (note,))


def joint_summary(scores: Scores) -> Table:
    """F1 of the labels that the masks imply, beside those of the scene head and of the reference map."""
    joint = scores.joint
    columns = (
        Column("labels", "Labels", "text"),
        *_F1_COLUMNS,
        *_percent(("agreement", "Agreement with mask")),
    )
    rows: list[tuple[Value, ...]] = [("implied by the predicted mask", *_f1_cells(joint.mask), None)]
    if scores.scene is not None:
        rows.append((f"scene head {_AT_DEFAULT}", *_f1_cells(scores.scene), joint.agreement))
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
    title = _title(scores, "Multi-labels from mask and scene head")
    return Table("joint_summary", title, columns, tuple(rows), tuple(notes))


TABLES: dict[str, Callable[[Scores], Table | None]] = {
    "pixel_summary": pixel_summary,
    "pixel_per_class": pixel_per_class,
    "scene_summary": scene_summary,
    "scene_per_class": scene_per_class,
    "joint_summary": joint_summary,
}
"""The tables of an evaluation, in the order in which they are shown; None where a model has nothing to show."""


def score_tables(scores: Scores) -> tuple[Table, ...]:
    """The tables of an evaluation that apply to its model."""
    return tuple(table for build in TABLES.values() if (table := build(scores)) is not None)


def per_class(scores: Scores) -> Table:
    """Every score of every class in one wide table, for machines."""
    columns: tuple[Column, ...] = (
        Column("class_index", "Index", "count"),
        Column("class", "Class", "class"),
        *_PIXEL_COLUMNS,
    )
    parts = [_pixel_cells(scores)]
    if scores.scene is not None:
        columns += _scene_columns(scores)
        parts.append(_scene_cells(scores))
    rows = tuple(
        (index, name, *(value for cells in row for value in cells))
        for index, (name, *row) in enumerate(zip(CLASS_NAMES, *parts, strict=True))
    )
    return Table("per_class", _title(scores, "Scores by class"), columns, rows)


def scores_document(scores: Scores) -> dict[str, Any]:
    """Everything in `Scores` for ``scores.json``: fractions in full precision, None where a score is undefined.

    Scores per class stand under ``per_class`` by official class name.
    """
    joint = scores.joint
    return {
        "title": _title(scores, "Scores"),
        "definitions": DEFINITIONS,
        "split": scores.origin.split,
        "patches": scores.patches,
        "fingerprint": scores.origin.fingerprint,
        "synthetic": scores.origin.synthetic,
        "classes": list(CLASS_NAMES),
        "pixel": _section(scores.pixel),
        "scene": _section(scores.scene),
        "scene_fitted": _section(scores.scene_fitted),
        "joint": {field.name: _section(getattr(joint, field.name)) for field in fields(joint)},
    }


def write_tables(folder: Path, scores: Scores) -> None:
    """Write ``scores.json``, ``per_class.csv`` and ``tables.md``, ``.tex`` and ``.csv`` into a folder.

    The folder is made if need be. Each file appears complete or not at all.

    Raises:
        OSError: If a file cannot be written.
    """
    tables = score_tables(scores)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "scores.json", scores_document(scores))
    write_text(folder / "per_class.csv", FORMATS["csv"](per_class(scores)))
    write_text(folder / "tables.md", "\n".join(map(FORMATS["md"], tables)))
    write_text(folder / "tables.tex", "% needs \\usepackage{booktabs}\n\n" + "\n".join(map(FORMATS["tex"], tables)))
    write_text(folder / "tables.csv", tidy_csv(tables))


def titled(what: str, split: Split, synthetic: bool) -> str:
    """The title of a table of scores: what it shows, of which split, and whether the data is synthetic."""
    warning = "SYNTHETIC data, no benchmark result: " if synthetic else ""
    return f"{warning}{what}, {split} split"


def _title(scores: Scores, what: str) -> str:
    return titled(what, scores.origin.split, scores.origin.synthetic)


def _f1_cells(labels: LabelScores | SceneScores) -> tuple[Value, ...]:
    return labels.f1_macro, labels.f1_micro, labels.f1_samples


def _pixel_cells(scores: Scores) -> list[tuple[Value, ...]]:
    pixel = scores.pixel
    columns = (pixel.iou, pixel.f1, pixel.precision, pixel.recall, pixel.support)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _scene_columns(scores: Scores) -> tuple[Column, ...]:
    columns = _percent(("ap", "AP"), ("scene_f1", f"F1 {_AT_DEFAULT}"))
    if scores.scene_fitted is not None:
        columns += _percent(("scene_f1_fitted", "F1 fitted"))
    return (*columns, Column("positives", "Positives", "count"))


def _scene_cells(scores: Scores) -> list[tuple[Value, ...]]:
    assert scores.scene is not None, "the model has no scene head"
    fitted = () if scores.scene_fitted is None else (scores.scene_fitted.f1,)
    columns = (scores.scene.ap, scores.scene.f1, *fitted, scores.scene.support)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _section(part: Any) -> Any:
    """A score, or the scores of a dataclass with its arrays spread over the classes by name."""
    if not is_dataclass(part):
        return plain(part)
    values: dict[str, Any] = {}
    by_class: dict[str, dict[str, Value]] = {name: {} for name in CLASS_NAMES}
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, np.ndarray):
            for name, entry in zip(CLASS_NAMES, value.tolist(), strict=True):
                by_class[name][field.name] = plain(entry)
        else:
            values[field.name] = plain(value)
    return values | {"per_class": by_class}

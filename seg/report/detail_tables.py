"""Tables beyond those of the scores: parts of a split, confusions, mask against scene head, boundaries, calibration."""

from collections.abc import Sequence

import numpy as np

from seg.metrics.boundary import BoundaryScores
from seg.metrics.calibration import PixelCalibration, Reliability, SceneCalibration
from seg.metrics.confusion import ConfusedPair
from seg.metrics.evidence import Origin
from seg.metrics.hierarchy import HierarchyScores
from seg.metrics.joint import JointDetails
from seg.metrics.ratio import Floats
from seg.metrics.scene import DEFAULT_THRESHOLD, LabelScores
from seg.metrics.slices import RARITY_DIMENSION, ZONE_DIMENSION, Slice
from seg.metrics.sparse import Counts
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.report.formats import Column, Table, Value, origin_table, percent_columns, shown

ALL_CLASSES = "All classes"

_CLASS = Column("class", "Class", "class")
_CLASSES = Column("classes_averaged", "Classes", "count")
_LABEL_COLUMNS = (
    _CLASSES,
    *percent_columns(("f1_macro", "F1 macro"), ("f1_micro", "F1 micro"), ("f1_samples", "F1 samples")),
)
_SCENE_SLICE_COLUMNS = (
    Column("scene_classes", "Label classes", "count"),
    *percent_columns(("ap_macro", "AP macro"), ("f1_macro", "F1 macro")),
)


def slices_table(slices: Sequence[Slice], origin: Origin) -> Table:
    """Scores and support of every slice; without the columns of the scene head, or of masks, if there are none.

    Too wide and too long for a terminal.
    """
    columns: tuple[Column, ...] = (
        Column("dimension", "By", "text"),
        Column("name", "Slice", "text"),
        Column("patches", "Patches", "count"),
    )
    if origin.masks:
        columns += (
            Column("pixels", "Pixels", "count"),
            _CLASSES,
            *percent_columns(("miou", "mIoU"), ("mf1", "mF1"), ("oa", "OA")),
        )
    notes = ["Each mean is over the classes that occur in the slice, as many as the table says: compare with care."]
    if any(one.scene_classes for one in slices):
        columns += _SCENE_SLICE_COLUMNS
        notes.append(f"AP and F1 macro, the latter at {DEFAULT_THRESHOLD}, are over the label classes.")
    dimensions = {one.dimension for one in slices}
    if ZONE_DIMENSION in dimensions:
        notes.append(f"The slices by {ZONE_DIMENSION} are sets of pixels; no scene score belongs to them.")
    if RARITY_DIMENSION in dimensions:
        notes.append(
            f"The slices by {RARITY_DIMENSION} are sets of classes: rare ones have less than 1 % of the labelled "
            "pixels, common ones 5 % or more. Their scores are those of the whole split, OA is the share of their "
            "reference pixels that are right."
        )
    rows = tuple(tuple(getattr(one, column.key) for column in columns) for one in slices)
    return origin_table("slices", origin, "Scores of slices", columns, rows, *notes)


def confused_table(pairs: Sequence[ConfusedPair], origin: Origin) -> Table | None:
    """The classes that are most often taken for others; None without masks."""
    if not origin.masks:
        return None
    columns = (
        Column("true", "True class", "class"),
        Column("predicted", "Predicted as", "class"),
        Column("pixels", "Pixels", "count"),
        *percent_columns(("share_of_true", "Of class"), ("share_of_errors", "Of errors")),
    )
    rows = tuple(
        (CLASS_NAMES[p.true], CLASS_NAMES[p.predicted], p.pixels, p.share_of_true, p.share_of_errors) for p in pairs
    )
    note = "Shares are of the reference pixels of the true class, and of all wrong pixels."
    return origin_table("confused", origin, "Most frequent confusions", columns, rows, note)


def implied_table(joint: JointDetails, origin: Origin) -> Table | None:
    """F1 of the labels that the predicted masks imply by several rules, and of the reference; None without masks."""
    if not origin.masks:
        return None
    columns = (Column("rule", "Labels implied by", "text"), *_LABEL_COLUMNS)
    rows = [(f"predicted mask, {implied.rule}", *_label_cells(implied.labels)) for implied in joint.implied]
    rows.append(("reference map, any area (ceiling)", *_label_cells(joint.ceiling)))
    note = "Areas are shares of the labelled pixels of a patch."
    return origin_table("implied", origin, "Multi-labels implied by areas", columns, rows, note)


def pooled_table(joint: JointDetails, origin: Origin) -> Table | None:
    """AP of the scene scores that follow from the pixels, beside that of the scene head; None without masks."""
    if not origin.masks:
        return None
    columns = (
        Column("rule", "Scene scores from", "text"),
        _CLASSES,
        *percent_columns(("ap_macro", "AP macro"), ("ap_micro", "AP micro")),
    )
    rows = tuple(
        (pooled.rule, int(np.count_nonzero(~np.isnan(pooled.ap))), pooled.ap_macro, pooled.ap_micro)
        for pooled in joint.pooled
    )
    note = (
        "The area share is that of the labelled pixels in the predicted mask; maximum and log-sum-exp are over the "
        "probabilities of all pixels of a patch."
    )
    return origin_table("pooled", origin, "Scene scores from pixels", columns, rows, note)


def pooled_per_class(joint: JointDetails, origin: Origin) -> Table | None:
    """The same for each class."""
    if not origin.masks:
        return None
    columns = (_CLASS, *percent_columns(*((_key(pooled.rule), f"AP {pooled.rule}") for pooled in joint.pooled)))
    rows = _class_rows(*(pooled.ap for pooled in joint.pooled))
    note = "A dash stands for a class that no patch has."
    return origin_table("pooled_per_class", origin, "Scene scores from pixels by class", columns, rows, note)


def disagreement_table(joint: JointDetails, origin: Origin) -> Table | None:
    """Where mask and scene head disagree about a class, and which of the two is right; None without scene head."""
    found = joint.disagreement
    if found is None:
        return None
    columns = (
        _CLASS,
        *percent_columns(("agreement", "Agreement")),
        Column("disagreements", "Disagreements", "count"),
        *percent_columns(("mask_right", "Mask right"), ("head_right", "Head right")),
    )
    overall: tuple[Value, ...] = (
        ALL_CLASSES,
        found.overall_agreement,
        found.overall_disagreements,
        found.overall_mask_right,
        found.overall_head_right,
    )
    rows = (*_class_rows(found.agreement, found.disagreements, found.mask_right, found.head_right), overall)
    decided = "at thresholds fitted on validation" if found.fitted else f"at {DEFAULT_THRESHOLD}"
    note = (
        f"The mask decides by one labelled pixel, the scene head {decided}. Where they disagree, one of them is right."
    )
    return origin_table("disagreement", origin, "Mask against scene head", columns, rows, note)


def hierarchy_table(hierarchy: HierarchyScores, origin: Origin) -> Table | None:
    """IoU of the groups of CORINE Land Cover, level by level; None without masks."""
    if not origin.masks:
        return None
    columns = (
        Column("level", "CLC level", "text"),
        Column("group", "Group", "text"),
        *percent_columns(("iou", "IoU")),
        Column("pixels", "Pixels", "count"),
    )
    rows = tuple(
        (f"level {level.level}", *cells)
        for level in hierarchy.levels
        for cells in zip(level.names, level.iou.tolist(), level.support.tolist(), strict=True)
    )
    miou, oa = percent_columns(("miou", "mIoU"), ("oa", "OA"))
    notes = [
        f"Level {level.level}: mIoU {shown(miou, level.miou)} % over {level.classes_averaged} of {len(level.names)} "
        f"groups, OA {shown(oa, level.oa)} %."
        for level in hierarchy.levels
    ]
    cost = shown(Column("mean_cost", "Cost", "number"), hierarchy.mean_cost)
    notes.append(
        f"A pixel costs {cost} on average: 0 if right, 1/3 if wrong within its group of level 2, 2/3 if within that of "
        "level 1, 1 otherwise."
    )
    return origin_table("hierarchy", origin, "Pixel scores by CLC group", columns, rows, *notes)


def boundary_table(boundary: BoundaryScores | None, origin: Origin) -> Table | None:
    """Boundary IoU of each class; None if it was not measured."""
    if boundary is None:
        return None
    columns = (_CLASS, *percent_columns(("boundary_iou", "Boundary IoU")))
    rows = (*_class_rows(boundary.iou), (ALL_CLASSES, boundary.miou))
    notes = (
        f"IoU of the bands of {boundary.metres:g} m along class boundaries (Cheng et al. 2021). The last row is the "
        f"mean over {boundary.classes_averaged} of {NUM_CLASSES} classes.",
        "A dash stands for a class that the reference does not have, or of which no boundary is seen.",
    )
    return origin_table("boundary", origin, "Boundary IoU", columns, rows, *notes)


def calibration_table(pixel: PixelCalibration | None, scene: SceneCalibration | None, origin: Origin) -> Table | None:
    """Calibration errors of pixels and of scene probabilities; None if there are neither."""
    found: list[tuple[str, Reliability]] = []
    if pixel is not None:
        found.append(("pixels", pixel.before))
        if pixel.after is not None:
            found.append((f"pixels at temperature {pixel.temperature:.3f}", pixel.after))
    if scene is not None:
        found.append(("scene head", scene.overall))
    if not found:
        return None
    columns = (
        Column("probabilities", "Probabilities", "text"),
        Column("count", "Predictions", "count"),
        *percent_columns(("ece", "ECE"), ("mce", "MCE")),
        Column("brier", "Brier", "number"),
        Column("nll", "NLL", "number"),
    )
    rows = tuple((name, int(one.count.sum()), one.ece, one.mce, one.brier, one.nll) for name, one in found)
    notes = [f"Expected and maximum calibration error are over {len(found[0][1].count)} bins of equal width."]
    if pixel is not None and scene is not None:
        notes.append("The Brier score is summed over the classes of a pixel (0 to 2), and of one class of a patch.")
    if pixel is not None and pixel.after is not None and origin.split == "validation":
        notes.append("The temperature was fitted on these very patches, so the scores at it are optimistic.")
    return origin_table("calibration", origin, "Calibration", columns, rows, *notes)


def calibration_per_class(scene: SceneCalibration | None, origin: Origin) -> Table | None:
    """Calibration errors of the scene head for each class; None without one."""
    if scene is None:
        return None
    columns = (_CLASS, *percent_columns(("ece", "ECE")), Column("brier", "Brier", "number"))
    rows = _class_rows(scene.ece_per_class, scene.brier_per_class)
    note = "A dash stands for a class that no patch has."
    return origin_table("calibration_per_class", origin, "Calibration of the scene head by class", columns, rows, note)


def _class_rows(*columns_K: Floats | Counts) -> tuple[tuple[Value, ...], ...]:
    return tuple(zip(CLASS_NAMES, *(column.tolist() for column in columns_K), strict=True))


def _label_cells(labels: LabelScores) -> tuple[Value, ...]:
    return labels.classes_averaged, labels.f1_macro, labels.f1_micro, labels.f1_samples


def _key(rule: str) -> str:
    return "ap_" + rule.replace(" ", "_").replace("-", "_")

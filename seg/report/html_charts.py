"""The charts of the HTML report: from an assessment and its evidence to SVG with a caption."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from seg.figures.curves import Curve, curve_chart, drawn_curve, reliability_chart
from seg.figures.dots import Dot, DotRow, dot_chart
from seg.figures.places import places_chart
from seg.figures.svg import Drawing, inline_svg
from seg.metrics.assess import Assessment
from seg.metrics.calibration import Reliability
from seg.metrics.evidence import Evidence
from seg.metrics.jackknife import LEVEL
from seg.metrics.patch import patch_accuracy
from seg.metrics.ratio import Bools, Floats
from seg.metrics.scene import Probabilities, precision_recall
from seg.reben.classes import CLASSES
from seg.report.formats import UNDEFINED
from seg.report.places import patch_centres


class Chart(NamedTuple):
    """A chart of the page as ``svg`` element; ``small`` ones stand many in a row, ``medium`` two, ``large`` one."""

    svg: Markup
    title: str
    caption: str
    size: str


def pixel_charts(assessment: Assessment) -> list[Chart]:
    """IoU of each class, and its precision beside its accuracy; nothing without masks."""
    if not assessment.scores.origin.masks:
        return []
    pixel = assessment.scores.pixel
    return [
        _class_chart("iou", "IoU by class", assessment, [("IoU", "iou", pixel.iou)], pixel.iou),
        _class_chart(
            "precision",
            "Precision and accuracy by class",
            assessment,
            [("Precision", "precision", pixel.precision), ("Accuracy", "recall", pixel.recall)],
            pixel.iou,
        ),
    ]


def scene_charts(assessment: Assessment) -> list[Chart]:
    """AP of each class, and its F1; nothing without a scene head."""
    scene, fitted = assessment.scores.scene, assessment.scores.scene_fitted
    if scene is None:
        return []
    f1 = [("F1 at 0.5", "scene_f1", scene.f1)]
    if fitted is not None:
        f1.append(("at fitted thresholds", "scene_f1_fitted", fitted.f1))
    if not assessment.scores.origin.ranked:
        return [_class_chart("f1", "F1 of the labels by class", assessment, [("F1", "scene_f1", scene.f1)], scene.f1)]
    return [
        _class_chart("ap", "Average precision by class", assessment, [("AP", "ap", scene.ap)], scene.ap),
        _class_chart("f1", "F1 of the labels by class", assessment, f1, scene.ap),
    ]


def curve_charts(assessment: Assessment, evidence: Evidence) -> list[Chart]:
    """Precision-recall curves: of all decisions together, and of each class that occurs."""
    scene, fitted = assessment.scores.scene, assessment.scores.scene_fitted
    ranked = evidence.probabilities is not None and evidence.origin.ranked
    if scene is None or evidence.probabilities is None or not ranked or not evidence.labels.any():
        return []
    probabilities_NK, labels_NK = evidence.probabilities, evidence.labels
    micro = _pr_curve(probabilities_NK.ravel(), labels_NK.ravel())
    figure = curve_chart(micro, float(labels_NK.mean()), [])
    charts = [_curve("pr-micro", "All classes (micro)", figure, scene.ap_micro)]
    for c in CLASSES:
        positive_N = labels_NK[:, c.index]
        if not positive_N.any():
            continue
        points = [
            (float(at.recall[c.index]), float(at.precision[c.index]), at is fitted)
            for at in (scene, fitted)
            if at is not None and not np.isnan(at.precision[c.index])
        ]
        curve = _pr_curve(probabilities_NK[:, c.index], positive_N)
        figure = curve_chart(curve, float(positive_N.mean()), points, micro)
        charts.append(_curve(f"pr-{c.index}", c.short, figure, float(scene.ap[c.index])))
    return charts


def calibration_charts(assessment: Assessment) -> list[Chart]:
    """Reliability diagrams: of pixels before and after the temperature, and of scene probabilities."""
    charts = []
    if (pixels := assessment.pixel_calibration) is not None:
        labels = {"across": "Confidence of the predicted class", "up": "Share that is right", "what": "pixels"}
        charts.append(_reliability("pixels", "Pixels, as the model gives them", pixels.before, **labels))
        if pixels.after is not None:
            title = f"Pixels, logits divided by the temperature {pixels.temperature:.3g}"
            charts.append(_reliability("pixels-scaled", title, pixels.after, **labels))
    if (scene := assessment.scene_calibration) is not None:
        labels = {"across": "Probability of a class", "up": "Share of patches that have it", "what": "decisions"}
        title = "Scene probabilities, all pairs of patch and class"
        charts.append(_reliability("scenes", title, scene.overall, **labels))
    return charts


def place_charts(assessment: Assessment, evidence: Evidence) -> list[Chart]:
    """Scores by country, and the map of the patches by their overall accuracy; nothing without masks."""
    if not assessment.scores.origin.masks:
        return []
    countries = [part for part in assessment.slices if part.dimension == "country"]
    charts = []
    if countries:
        rows = [
            DotRow(
                part.name or "unknown",
                (Dot(part.miou), Dot(part.oa)),
                f"{_number(part.patches, 'patch', 'patches')}, {_number(part.classes_averaged, 'class', 'classes')}",
            )
            for part in sorted(countries, key=lambda part: (np.isnan(part.miou), -part.miou))
        ]
        title = "Scores by country"
        seen = "; ".join(f"{row.name}: mIoU {_percent(row.dots[0].value)}, {row.note}" for row in rows)
        caption = "The mIoU of a country is a mean over the classes that its reference has."
        figure = dot_chart(rows, ("mIoU", "OA"), "Score, %")
        charts.append(_chart(figure, "countries", title, f"{title}: {seen}.", caption, "medium"))
    accuracy = patch_accuracy(evidence)
    longitude, latitude = patch_centres(evidence.patch_ids)
    shown = ~np.isnan(accuracy) & ~np.isnan(longitude)
    if shown.any():
        names = _country_places(evidence.countries, longitude, latitude, shown)
        figure = places_chart(longitude[shown], latitude[shown], accuracy[shown], names)
        title = "Overall accuracy of the patches, by place"
        low, middle, high = np.quantile(accuracy[shown], (0.05, 0.5, 0.95))
        seen = f"half of the patches reach {_percent(middle)}, 90 % lie between {_percent(low)} and {_percent(high)}"
        caption = f"{seen.capitalize()}. Places follow from the patch ids; a mark is the mean of the patches in it."
        charts.append(
            _chart(figure, "places", title, f"Map of {int(shown.sum()):,} patches: {seen}.", caption, "large")
        )
    return charts


def _class_chart(
    name: str, title: str, assessment: Assessment, scores: list[tuple[str, str, Floats]], order_K: Floats
) -> Chart:
    """A row for each class, the best by `order_K` first; a score is its name, that of its interval, and its values."""
    rows = []
    for index in np.argsort(-order_K, kind="stable"):
        dots = []
        for _, key, value_K in scores:
            interval = assessment.intervals.get(key)
            bounds = (np.nan, np.nan) if interval is None else (interval.low[index], interval.high[index])
            dots.append(Dot(float(value_K[index]), *map(float, bounds)))
        rows.append(DotRow(CLASSES[index].short, tuple(dots), color=CLASSES[index].color))
    names = [score for score, _, _ in scores]
    values = ", ".join(f"{row.name} {' and '.join(_percent(dot.value) for dot in row.dots)}" for row in rows)
    what = " and ".join(names)
    caption = f"{what} of each class."
    if assessment.intervals:
        caption += f" Bars are {100 * LEVEL:g} % intervals; what lies in a single tile has none."
    return _chart(dot_chart(rows, names, f"{what}, %"), name, title, f"{what}: {values}.", caption, "medium")


def _pr_curve(scores_N: Probabilities, positive_N: Bools) -> Curve:
    precision_P, recall_P = precision_recall(scores_N, positive_N)
    return drawn_curve(recall_P, precision_P)


def _curve(name: str, title: str, figure: Drawing, ap: float) -> Chart:
    seen = f"Precision-recall curve; average precision {_percent(ap)}."
    return _chart(figure, name, title, seen, f"AP {_percent(ap)}", "small")


def _reliability(name: str, title: str, reliability: Reliability, **labels: str) -> Chart:
    figure = reliability_chart(reliability.count, reliability.confidence, reliability.accuracy, **labels)
    numbers = f"ECE {_percent(reliability.ece)}, MCE {_percent(reliability.mce)}, Brier {reliability.brier:.4f}"
    seen = f"Reliability diagram over {len(reliability.count)} bins; {numbers}."
    return _chart(figure, f"reliability-{name}", title, seen, f"{numbers}.", "medium")


def _country_places(
    countries: pa.DictionaryArray, longitude: Floats, latitude: Floats, shown: Bools
) -> dict[str, tuple[float, float]]:
    """Below the southernmost patch of each of several countries, the one with most patches first."""
    counts = pc.value_counts(countries.cast(pa.string()).filter(pa.array(shown)))
    pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    named = countries.cast(pa.string()).to_numpy(zero_copy_only=False)
    places = {}
    for name, _ in sorted(pairs, key=lambda pair: (-pair[1], pair[0])):
        here = shown & (named == name)
        if name:
            places[name] = (float(np.median(longitude[here])), float(latitude[here].min()))
    return places if len(places) > 1 else {}


def _chart(figure: Drawing, name: str, title: str, description: str, caption: str, size: str) -> Chart:
    return Chart(Markup(inline_svg(figure, name, title, description)), title, caption, size)


def _number(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def _percent(value: float) -> str:
    return UNDEFINED if np.isnan(value) else f"{100 * value:.1f} %"

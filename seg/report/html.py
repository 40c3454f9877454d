"""The HTML report of an evaluation: one file that needs no network, for a screen of any size and for paper."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

from seg.metrics.assess import Assessment
from seg.metrics.evidence import Evidence, Origin
from seg.metrics.jackknife import LEVEL, Interval
from seg.metrics.scores import Scores
from seg.reben.classes import CLASSES, NUM_CLASSES, hexadecimal
from seg.report.anchors import OWN_DATA, named_data
from seg.report.coverage import brackets_note
from seg.report.formats import UNDEFINED, Table, table_title
from seg.report.gallery import Picture
from seg.report.html_charts import Chart, calibration_charts, curve_charts, pixel_charts, place_charts, scene_charts
from seg.report.html_gallery import HtmlPicture, html_picture
from seg.report.html_tables import ConfusionRow, HtmlTable, confusion_rows, html_table
from seg.report.results import detail_tables, summary_tables
from seg.styles.pages import render_html

_TITLES = ("Run", "Model")
"""What of a run stands in titles."""


class Headline(NamedTuple):
    """A score at the top of the page; the positions are percent of a scale from 0 to 100 %."""

    name: str
    value: str
    interval: str
    note: str
    position: float | None
    low: float | None
    high: float | None


class Section(NamedTuple):
    """A section of the page: anchor, heading, its link in a word or two, text, names of its tables, what it shows."""

    id: str
    title: str
    link: str
    text: str
    names: tuple[str, ...] = ()
    tables: tuple[HtmlTable, ...] = ()
    charts: Sequence[Chart] = ()
    curves: Sequence[Chart] = ()
    confusion: tuple[ConfusionRow, ...] = ()
    pictures: Sequence[HtmlPicture] = ()


PIXELS = Section(
    "pixels",
    "The land-cover map",
    "Map",
    "Scores of single pixels, over all labelled pixels of the split. A class that the reference does not have is "
    "undefined: it is shown as a dash and left out of every mean.",
    ("pixel_summary", "pixel_per_class", "boundary", "hierarchy"),
)
CONFUSION = Section(
    "confusion",
    "What is taken for what",
    "Confusions",
    "Each row is a true class: of 100 of its pixels, so many were predicted as the class of the column. Point at a "
    "cell, or tap it, for the counts.",
    ("confused",),
)
SCENES = Section(
    "scenes",
    "The scene labels",
    "Scene labels",
    "Scores of the multi-label of whole patches. Average precision needs no threshold. In the curves, the dashed line "
    "is guessing and the grey curve all classes together; a ring marks the threshold 0.5, a dot the one fitted on "
    "validation.",
    ("scene_summary", "scene_per_class"),
)
JOINT = Section(
    "joint",
    "Map and labels together",
    "Map and labels",
    "The predicted map implies labels too: how they compare with those of the scene head, and who is right where the "
    "two disagree.",
    ("joint_summary", "implied", "pooled", "pooled_per_class", "disagreement"),
)
MASK_ALONE = JOINT._replace(
    title="The labels that the map implies",
    link="Implied labels",
    text="The predicted map of a patch implies a multi-label for it.",
)
"""That section for a model without a scene head."""
CALIBRATION = Section(
    "calibration",
    "Can its confidence be trusted?",
    "Confidence",
    "A calibrated model is right in 80 % of the cases in which it says 80 %: its dots lie on the dashed diagonal. The "
    "orange lines are what is missing to it, the bars show how often each confidence occurs.",
    ("calibration", "calibration_per_class"),
)
SLICES = Section(
    "slices",
    "Where it works, and where not",
    "Where it works",
    "The same scores for parts of the split. Parts hold different classes, so compare their means with care: the "
    "number of classes stands beside each.",
    ("slices",),
)
GALLERY = Section(
    "gallery",
    "Patches to look at",
    "Patches",
    "The best, the median and the worst patches by overall accuracy, of those with at least a quarter of their pixels "
    "labelled; and, where the model has a scene head, those in which it contradicts the map most.",
)
OTHER = Section("other", "More tables", "More tables", "")


def render_report(
    assessment: Assessment, evidence: Evidence, pictures: Sequence[Picture], about: Mapping[str, str]
) -> str:
    """The report of an evaluation as HTML. The same input always gives the same text.

    Args:
        assessment: What is reported.
        evidence: What it was computed from.
        pictures: Patches to show; none: the report has no gallery.
        about: What the reader should know of the run, by name; ``Run`` becomes the heading, and ``Model`` names the
            page in the tabs and bookmarks of a browser.
    """
    origin, data = assessment.scores.origin, named_data(evidence)
    context = {
        "title": f"{about.get('Run') or 'Evaluation'}, {origin.words}",
        "tab": _tab(about, origin, data),
        "synthetic": origin.simulated,
        "level": f"{100 * LEVEL:g} %",
        "headlines": _headlines(assessment),
        "facts": _facts(assessment, data) | {name: text for name, text in about.items() if name not in _TITLES},
        "interval_note": brackets_note(assessment.tiles).replace("Brackets hold", "Intervals are"),
        "sections": [section for section in _sections(assessment, evidence, pictures) if any(section[5:])],
        "classes": [(c, hexadecimal(c.color), ", ".join(map(str, c.codes))) for c in CLASSES],
    }
    return render_page("report.html.j2", ("report.js",), **context)


def render_page(template: str, scripts: Sequence[str], **context: Any) -> str:
    """A page of HTML that needs no other file, in the style of the report.

    Args:
        template: Its template.
        scripts: Files of its script, beside the templates.
        **context: What the template shows; what is text is escaped.
    """
    return render_html("seg.report", template, "report.css", scripts, **context)


def _tab(about: Mapping[str, str], origin: Origin, data: str) -> str:
    """Model and data, so that the tabs of several reports can be told apart."""
    model = about.get("Model") or about.get("Run") or "Evaluation"
    named = origin.words
    if not origin.on:
        of_data = {"reBEN": " of reBEN", "SYNTHETIC": " of synthetic data", OWN_DATA: " of own patches"}.get(data, "")
        named = named.replace(" split", f" split{of_data}", 1)
    return f"{model} · {named} · seg"


def _sections(assessment: Assessment, evidence: Evidence, pictures: Sequence[Picture]) -> list[Section]:
    scores, origin = assessment.scores, assessment.scores.origin
    tables = (*summary_tables(assessment), *detail_tables(assessment))
    gallery = tuple(html_picture(picture, evidence.probabilities is not None) for picture in pictures)
    sections = [
        PIXELS._replace(charts=pixel_charts(assessment)),
        CONFUSION._replace(confusion=confusion_rows(assessment.counts_KK) if origin.masks else ()),
        SCENES._replace(charts=scene_charts(assessment), curves=curve_charts(assessment, evidence)),
        JOINT if scores.scene is not None else MASK_ALONE,
        CALIBRATION._replace(charts=calibration_charts(assessment)),
        SLICES._replace(charts=place_charts(assessment, evidence)),
        GALLERY._replace(pictures=gallery),
    ]
    placed = {name for section in sections for name in section.names}
    sections.append(OTHER._replace(names=tuple(table.name for table in tables if table.name not in placed)))
    shown = {table.name: _parts(table, origin) for table in tables}
    return [
        section._replace(tables=tuple(part for name in section.names for part in shown.get(name, ())))
        for section in sections
    ]


def _parts(table: Table, origin: Origin) -> list[HtmlTable]:
    """The table for the page; that of the slices becomes one for each dimension, which its first column names."""
    if table.name != "slices" or not table.rows:
        return [html_table(table)]
    parts = []
    for number, (dimension, rows) in enumerate(groupby(table.rows, key=lambda row: str(row[0]))):
        named = replace(table.columns[1], title=dimension[:1].upper() + dimension[1:])
        part = replace(
            table,
            name=f"{table.name}-{number}",
            title=table_title(origin, f"Scores by {dimension}"),
            columns=(named, *table.columns[2:]),
            rows=tuple(row[1:] for row in rows),
            notes=(),
        )
        parts.append(html_table(part))
    return [*parts[:-1], parts[-1]._replace(notes=table.all_notes)]


def _headlines(assessment: Assessment) -> list[Headline]:
    scores = assessment.scores
    averaged = f"mean over {scores.pixel.classes_averaged} of {NUM_CLASSES} classes"
    found: list[tuple[str, float, str, str]] = []
    if scores.origin.masks:
        found += [
            ("mIoU", scores.pixel.miou, "miou", averaged),
            ("mF1", scores.pixel.mf1, "mf1", averaged),
            ("Overall accuracy", scores.pixel.oa, "oa", "share of labelled pixels"),
        ]
    if scores.scene is not None:
        labels, suffix = scores.scene, ""
        decided = "at threshold 0.5" if scores.origin.ranked else "labels as given"
        if scores.scene_fitted is not None:
            labels, suffix = scores.scene_fitted, "_fitted"
            decided = "thresholds fitted on validation"
        averaged = f"mean over {scores.scene.classes_averaged} of {NUM_CLASSES} classes"
        found += [
            ("AP macro", scores.scene.ap_macro, "ap_macro", averaged),
            ("AP micro", scores.scene.ap_micro, "ap_micro", "all patch-class pairs"),
            ("F1 macro", labels.f1_macro, f"f1_macro{suffix}", decided),
        ]
    return [_headline(name, value, assessment.intervals.get(key), note) for name, value, key, note in found]


def _headline(name: str, value: float, interval: Interval | None, note: str) -> Headline:
    if math.isnan(value):
        return Headline(name, UNDEFINED, "", note, None, None, None)
    position, shown = round(100 * value, 2), f"{100 * value:.2f}"
    if interval is None or not float(interval.low) <= float(interval.high):
        return Headline(name, shown, "", note, position, None, None)
    low, high = 100 * float(interval.low), 100 * float(interval.high)
    # From the values themselves: rounded twice, they would differ from those in the tables.
    return Headline(name, shown, f"{low:.1f} to {high:.1f}", note, position, round(low, 2), round(high, 2))


def _thresholds(scores: Scores) -> str:
    if scores.scene is None or not scores.origin.ranked:
        return UNDEFINED
    return "0.5" if scores.scene_fitted is None else "fitted on validation"


def _facts(assessment: Assessment, data: str) -> dict[str, str]:
    """What the evidence says of itself."""
    scores, origin = assessment.scores, assessment.scores.origin
    return {
        "Split": origin.scope.name,
        "Patches": f"{scores.patches:,}",
        "Labelled pixels": f"{int(scores.pixel.support.sum()):,}" if origin.masks else UNDEFINED,
        "S2 tiles": f"{assessment.tiles:,}",
        "Data": data if data != OWN_DATA else f"{data}, so these are no scores of reBEN's split",
        "Data fingerprint": origin.fingerprint,
        "Weights": origin.weights or UNDEFINED,
        "Label thresholds": _thresholds(scores),
        "Temperature": UNDEFINED if origin.temperature is None else f"{origin.temperature:.3f}, fitted on validation",
    }

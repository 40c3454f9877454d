"""The page of a published model: what it is, how to use it, how well it does, and what it must not be used for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
import yaml

from seg.config.synthetic import Synthetic
from seg.config.wording import counted
from seg.metrics.assess import Assessment
from seg.metrics.scores import headline
from seg.reben.bands import SENSORS, of_sensor
from seg.reben.classes import NUM_CLASSES
from seg.report.formats import markdown
from seg.report.results import summary_tables

_HEAD_WORDS = {
    "derived": "scene head, which pools the logits of the pixels,",
    "learned": "scene head, a classifier on the deepest features,",
}
_METRICS = {
    "miou": ("Mean IoU", "mean_iou"),
    "oa": ("Overall accuracy", "accuracy"),
    "ap_macro": ("Average precision, macro", "average_precision"),
    "f1_macro": ("F1, macro", "f1"),
}
"""Scores of the front matter by our name: their name and the hub's type."""


@dataclass(frozen=True)
class Described:
    """What a model's page says beside the scores.

    Attributes:
        name: Of the model.
        folder: Name of its folder.
        licence: Of the weights, as the hub names it: ``mit``, ``cdla-permissive-1.0``.
        bands: Input channels, in order.
        resampling: How 20 m and 60 m bands are brought to 10 m.
        scene_head: ``derived``, ``learned`` or ``none``.
        synthetic: Which of what it was scored and trained on is synthetic.
        facts: What else a reader wants to know, by name.
        onnx: Name of the ONNX file, and largest difference of a probability from torch; None without one.
    """

    name: str
    folder: str
    licence: str
    bands: tuple[str, ...]
    resampling: str
    scene_head: str
    synthetic: Synthetic
    facts: Mapping[str, str]
    onnx: tuple[str, float] | None = None


def model_page(described: Described, assessment: Assessment | None, official: bool) -> str:
    """``README.md`` of a model folder: front matter for the Hugging Face hub, then Markdown.

    Args:
        described: The model.
        assessment: Its scores with their intervals; None if it was not scored.
        official: Whether the scores are of reBEN's test split.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("seg.report", "templates"),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    onnx_file, difference = described.onnx or ("", 0.0)
    sensors = [f"Sentinel-{sensor[1:]}" for sensor in SENSORS if of_sensor(described.bands, sensor)]
    return environment.get_template("model_card.md.j2").render(
        front_matter=yaml.safe_dump(
            _front_matter(described, assessment, official), sort_keys=False, allow_unicode=True
        ),
        title=described.name,
        folder=described.folder,
        synthetic=described.synthetic,
        bands=", ".join(described.bands),
        bands_words=f"{counted(len(described.bands), 'band', 'bands')} of {' and '.join(sensors)}",
        scene_words=_HEAD_WORDS.get(described.scene_head, ""),
        num_classes=NUM_CLASSES,
        resampling=described.resampling,
        facts=described.facts,
        onnx=described.onnx is not None,
        onnx_file=onnx_file,
        onnx_difference=f"{difference:.1g}",
        split=assessment.scores.origin.words if assessment else "",
        patches=f"{assessment.scores.patches:,}" if assessment else "",
        official=official,
        tables=[markdown(table) for table in summary_tables(assessment)] if assessment else [],
    )


def _front_matter(described: Described, assessment: Assessment | None, official: bool) -> dict[str, Any]:
    """What the hub reads: licence, tags and, where there are any, scores."""
    matter: dict[str, Any] = {
        "license": described.licence,
        "library_name": "seg",
        "pipeline_tag": "image-segmentation",
        "tags": ["remote-sensing", "land-cover", "semantic-segmentation", "BigEarthNet", "reBEN", "Sentinel-2"]
        + (["Sentinel-1"] if {"VV", "VH"} & set(described.bands) else [])
        + (["synthetic-data"] if described.synthetic else []),
    }
    if assessment is None:
        return matter
    found = {name: score for name, score in headline(assessment.scores).items() if name in _METRICS}
    metrics = [
        {"type": _METRICS[name][1], "name": _METRICS[name][0], "value": round(score, 6)}
        for name, score in found.items()
        if not math.isnan(score)
    ]
    data = {"type": "reben" if official else "other", "name": "reBEN (BigEarthNet v2.0)" if official else "own patches"}
    if described.synthetic & Synthetic.DATA:
        data = {"type": "synthetic", "name": "SYNTHETIC data of seg"}
    elif described.synthetic & Synthetic.UNTOLD:
        data["name"] = "patches, real or SYNTHETIC (not recorded)"
    task = {"type": "image-segmentation", "name": "Land-cover segmentation"}
    result = {"task": task, "dataset": {**data, "split": assessment.scores.origin.split}, "metrics": metrics}
    matter["model-index"] = [{"name": described.name, "results": [result]}]
    return matter

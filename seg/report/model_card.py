"""The page of a published model: what it is, how to use it, how well it does, and what it must not be used for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jinja2

from seg.config.synthetic import Synthetic
from seg.config.wording import counted
from seg.metrics.assess import Assessment
from seg.metrics.scores import headline
from seg.models.onnx_file import OnnxOptions, Written
from seg.reben.bands import SENSORS, of_sensor
from seg.reben.classes import NUM_CLASSES
from seg.report.formats import markdown, markdown_text
from seg.report.results import summary_tables

_HEAD_WORDS = {
    "masked": "scene head, which judges each class by the features of where the mask sees it and by how much there is,",
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
        scene_head: ``masked``, ``derived``, ``learned`` or ``none``.
        synthetic: Which of what it was scored and trained on is synthetic.
        facts: What else a reader wants to know, by name.
        onnx: Name of the ONNX file, how it was to be written and what became of that; None without one.
        code: File and name in it that build a network of one's own; empty if it is none.
    """

    name: str
    folder: str
    licence: str
    bands: tuple[str, ...]
    resampling: str
    scene_head: str
    synthetic: Synthetic
    facts: Mapping[str, str]
    onnx: tuple[str, OnnxOptions, Written] | None = None
    code: str = ""


def model_page(described: Described, assessment: Assessment | None, official: bool) -> str:
    """``README.md`` of a model folder: front matter for the Hugging Face hub, then Markdown.

    Args:
        described: The model.
        assessment: Its scores with their intervals; None if it was not scored.
        official: Whether the scores are of reBEN's test split.
    """
    sensors = [f"Sentinel-{sensor[1:]}" for sensor in SENSORS if of_sensor(described.bands, sensor)]
    return _template("model_card.md.j2").render(
        front_matter=_front_matter(described, assessment, official),
        title=described.name,
        folder=described.folder,
        synthetic=described.synthetic,
        bands=", ".join(described.bands),
        bands_words=f"{counted(len(described.bands), 'band', 'bands')} of {' and '.join(sensors)}",
        scene_words=_HEAD_WORDS.get(described.scene_head, ""),
        num_classes=NUM_CLASSES,
        resampling=described.resampling,
        facts=described.facts,
        code=described.code,
        onnx=described.onnx[0] if described.onnx else "",
        onnx_sentences=_onnx_sentences(*described.onnx[1:]) if described.onnx else (),
        split=assessment.scores.origin.words if assessment else "",
        patches=f"{assessment.scores.patches:,}" if assessment else "",
        official=official,
        tables=[markdown(table) for table in summary_tables(assessment)] if assessment else [],
    )


def _onnx_sentences(options: OnnxOptions, written: Written) -> tuple[str, ...]:
    """What an ONNX file takes and gives, and how near that is to torch."""
    takes = {
        "stored": "stored values (digital numbers, dB)",
        "normalised": "normalised values",
        "share16": "digital numbers divided by 65,535",
    }[options.values]
    size = "of any height and width" if written.any_size else f"of {written.edge} x {written.edge} pixels"
    sentences = [
        f"It takes {takes} at 10 m, images {size}, and gives probabilities.",
        f"On random images they differ from those of torch by at most {written.difference:.1g}.",
    ]
    if written.changed is not None:
        sentences.append(
            f"Its weights were then rounded to 8 bits, which changes the class of {100 * written.changed:.2g} % of the "
            f"pixels of {written.measured_on} and their probabilities by {written.shift:.2g} on average."
        )
    return tuple(sentences)


def predictions_page(described: Described, assessment: Assessment, official: bool) -> str:
    """``README.md`` for predictions made elsewhere, whose names may be anything; arguments as of `model_page`."""
    origin = assessment.scores.origin
    return _template("predictions_card.md.j2").render(
        # What is partial is no result that a hub should list.
        front_matter=_front_matter(described, None if origin.left_out else assessment, official),
        title=markdown_text(described.name),
        synthetic=described.synthetic,
        left_out=f"{origin.left_out:,}" if origin.left_out else "",
        num_classes=NUM_CLASSES,
        facts={name: markdown_text(text) for name, text in described.facts.items()},
        split=origin.words,
        patches=f"{assessment.scores.patches:,}",
        official=official,
        tables=[markdown(table) for table in summary_tables(assessment)],
    )


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("seg.report", "templates"),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def _front_matter(described: Described, assessment: Assessment | None, official: bool) -> str:
    """What the hub reads: licence, tags and, where there are any, scores; YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    tags = ["remote-sensing", "land-cover", "semantic-segmentation", "BigEarthNet", "reBEN", "Sentinel-2"]
    tags += ["Sentinel-1"] if {"VV", "VH"} & set(described.bands) else []
    tags += ["synthetic-data"] if described.synthetic else []
    data = {"type": "reben" if official else "other", "name": "reBEN (BigEarthNet v2.0)" if official else "own patches"}
    if described.synthetic & Synthetic.DATA:
        data = {"type": "synthetic", "name": "SYNTHETIC data of seg"}
    elif described.synthetic & Synthetic.UNTOLD:
        data["name"] = "patches, real or SYNTHETIC (not recorded)"
    scores = {} if assessment is None else headline(assessment.scores)
    results = [
        EvalResult(
            task_type="image-segmentation",
            task_name="Land-cover segmentation",
            dataset_type=data["type"],
            dataset_name=data["name"],
            dataset_split=assessment.scores.origin.scope.name,
            metric_type=kind,
            metric_name=name,
            metric_value=round(scores[key], 6),
        )
        for key, (name, kind) in _METRICS.items()
        if assessment is not None and not math.isnan(scores.get(key, math.nan))
    ]
    card = ModelCardData(
        license=described.licence,
        library_name="seg",
        pipeline_tag="image-segmentation",
        tags=tags,
        model_name=described.name if results else None,
        eval_results=results or None,
    )
    return str(card.to_yaml())

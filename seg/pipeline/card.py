"""A trained run as a model folder that others can load, read about and cite."""

import json
import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seg.config.installed import not_installed
from seg.config.paths import AnyPath
from seg.config.scope import Scope
from seg.config.synthetic import Synthetic
from seg.config.track import Notify, Track, ignore, silent
from seg.errors import CheckpointError, RunError
from seg.foundation.catalogue import FOUNDATIONS
from seg.metrics.assess import Assessment, assess
from seg.metrics.evidence_file import FILE_NAME
from seg.metrics.evidence_header import SCORED_FILE
from seg.models.card import ModelCard, check_checkpoint
from seg.models.onnx_file import OnnxOptions, Written
from seg.models.weights_file import CARD_FILE, WEIGHTS_FILE, weights_digest
from seg.own.code import CODE_FILE, code_beside, running
from seg.reben.bands import PATCH_SIZE
from seg.reben.patch import Split
from seg.report.anchors import on_official_test
from seg.report.licences import check_licence
from seg.report.model_card import Described, model_page, predictions_page
from seg.runs.entry import Entry, read_entry
from seg.runs.folder import (
    EVALUATIONS,
    EVIDENCE,
    best_checkpoint,
    is_model_folder,
    is_scored,
    read_evidence,
    section,
)
from seg.runs.scopes import named_scope
from seg.runs.validation import validation_patches
from seg.store.whole import whole_folder

README_FILE, HUB_CONFIG_FILE, ONNX_FILE = "README.md", "config.json", "model.onnx"
PREDICTIONS_FILE = "predictions.json"
LICENCE = "mit"


@dataclass(frozen=True)
class Published:
    """Outcome of `write_card`.

    Attributes:
        folder: The model folder.
        scored: Whether its page has scores.
        weights: Whether it has weights: of predictions made elsewhere there is a page alone.
        onnx: What was written as ONNX; None without.
    """

    folder: Path
    scored: bool
    onnx: Written | None
    weights: bool = True


def write_card(
    run: AnyPath,
    out: AnyPath,
    *,
    name: str | None = None,
    licence: str = LICENCE,
    onnx: bool | OnnxOptions = False,
    split: Split | None = None,
    on: str = "",
    countries: str | None = None,
    track: Track = silent,
    notify: Notify = ignore,
) -> Published:
    """Write a model folder in the style of the Hugging Face hub.

    It holds ``model.safetensors``, ``card.json`` (what seg reads), ``config.json`` (what the hub reads), ``README.md``
    with scores, intervals, limits, licence and citation, ``model.onnx`` if asked for, and the code of a network of
    one's own; complete or not at all.

    Of a folder of `score`, which has no weights, there is ``README.md`` alone, and what `score` knows of it.

    Args:
        run: Run folder of `train`; one that was scored gets its scores onto the page. Or a folder of `score`.
        out: The model folder; one that `write_card` wrote is replaced.
        name: Of the model; the run's folder name if None.
        licence: Of the weights, as the hub names licences.
        onnx: Also write the network as ONNX and compare it with torch; how, if not as `OnnxOptions` are by themselves.
        split: Of the scores; the configuration's ``eval.split`` (test) if None.
        on: Scores on other data than those of the training, see `seg.config.scope.scored_on`.
        countries: Scores of these, see `seg.runs.scopes.countries_of`.
        track: Progress.
        notify: Is told what the user must not miss.

    Raises:
        RunError, CheckpointError, EvidenceError: What is wrong with the run.
        CheckpointError: If the network cannot be written as ONNX.
        OSError: If the folder cannot be written.
    """
    run, out = Path(run), Path(out)
    check_licence(licence, notify)
    if is_model_folder(run):
        raise RunError(f"{run} is a model folder already", wrong_use=True)
    if is_scored(run):
        if onnx:
            raise RunError(f"{run} holds predictions, and no network for ONNX; leave out --onnx", wrong_use=True)
        return _of_predictions(read_entry(run), out, name, licence, split, track)
    checkpoint = best_checkpoint(run)
    entry = read_entry(run)
    if onnx and (lacking := not_installed("onnx", "onnxscript", "onnxruntime")):
        raise CheckpointError(f"ONNX needs {lacking}; install them with: pip install 'seg[onnx]'")
    with whole_folder(out, HUB_CONFIG_FILE, "a model folder") as folder:
        _tell_replaced(checkpoint, out, bool(onnx), notify)
        card = check_checkpoint(checkpoint)
        if card.code:
            code = code_beside(checkpoint, card.arch, card.code)
            notify(running(checkpoint / CODE_FILE, code.sha256))
        scope = named_scope(entry, split, on=on, countries=countries)
        assessment, official = _scores(run, scope, track, notify)
        described = Described(
            name=name or run.resolve().name,
            folder=out.resolve().name,
            licence=licence,
            bands=card.bands,
            resampling=card.resampling,
            scene_head=card.scene_head,
            synthetic=_synthetic(card, assessment),
            facts=entry.facts | _foundation(card.encoder) | _trials(entry),
            code=f"{CODE_FILE}:{card.arch.rpartition(':')[2]}" if card.code else "",
        )
        options = OnnxOptions() if onnx is True else onnx or None
        written = _write(run, folder, described, (assessment, official), options)
    return Published(out, assessment is not None, written)


def _foundation(encoder: str) -> dict[str, str]:
    """What whoever passes on a foundation model has to say of it."""
    if encoder not in FOUNDATIONS:
        return {}
    family = FOUNDATIONS[encoder].family
    return {"Foundation model": f"its published weights: {family.licence}; cite {family.citation}"}


def _of_predictions(
    entry: Entry, out: Path, name: str | None, licence: str, split: Split | None, track: Track
) -> Published:
    """The page of predictions made elsewhere."""
    evidence = read_evidence(entry.folder, Scope(split or entry.split))
    with whole_folder(out, PREDICTIONS_FILE, "a page of predictions") as folder:
        assessment = assess(evidence, track)
        described = Described(
            name=name or entry.title,
            folder=out.resolve().name,
            licence=licence,
            bands=(),
            resampling="",
            scene_head="none",
            synthetic=evidence.origin.simulated,
            facts=entry.facts,
        )
        page = predictions_page(described, assessment, on_official_test(evidence))
        (folder / README_FILE).write_text(page, encoding="utf-8")
        shutil.copyfile(entry.folder / SCORED_FILE, folder / PREDICTIONS_FILE)
    return Published(out, True, None, weights=False)


def _write(
    run: Path,
    folder: Path,
    described: Described,
    scores: tuple[Assessment | None, bool],
    onnx: OnnxOptions | None,
) -> Written | None:
    """Fill the model folder; gives what was written as ONNX."""
    from seg.models.checkpoint import load_checkpoint

    checkpoint = best_checkpoint(run)
    model, card = load_checkpoint(checkpoint)
    _copy_weights(checkpoint, folder, card)
    written = None
    if onnx:
        from seg.models.onnx import write_onnx

        patches_NCHW = validation_patches(run) if onnx.quantise else None
        written = write_onnx(folder / ONNX_FILE, model, card, onnx, weights_digest(checkpoint) or "", patches_NCHW)
        described = replace(described, onnx=(ONNX_FILE, onnx, written))
    (folder / README_FILE).write_text(model_page(described, *scores), encoding="utf-8")
    return written


def _trials(entry: Entry) -> dict[str, str]:
    """How many configurations were tried to come to this one, if the record says."""
    trials = section(entry.record, "cost").get("trials")
    return {"Configurations tried": f"{trials:,}"} if isinstance(trials, int) else {}


def _synthetic(card: ModelCard, assessment: Assessment | None) -> Synthetic:
    scored = assessment.scores.origin.synthetic if assessment is not None else False
    return Synthetic.of(data=scored, model=card.data.synthetic)


def _copy_weights(checkpoint: Path, folder: Path, card: ModelCard) -> None:
    for file in (WEIGHTS_FILE, CARD_FILE, *([CODE_FILE] if card.code else [])):
        shutil.copyfile(checkpoint / file, folder / file)
    text = json.dumps(_hub_config(card, weights_digest(checkpoint)), indent=2, ensure_ascii=False) + "\n"
    (folder / HUB_CONFIG_FILE).write_text(text, encoding="utf-8")


def _tell_replaced(checkpoint: Path, out: Path, onnx: bool, notify: Notify) -> None:
    if (earlier := weights_digest(out)) and earlier != weights_digest(checkpoint):
        notify(f"The model in {out} is another one, and is replaced.")
    if not onnx and (out / ONNX_FILE).is_file():
        notify(f"The {ONNX_FILE} of the earlier {out} goes; --onnx writes it anew.")


def _scores(run: Path, scope: Scope, track: Track, notify: Notify) -> tuple[Assessment | None, bool]:
    """What the run scored, and whether that is reBEN's test split; None if it was not scored."""
    if not scope.on and not (run / EVALUATIONS / scope.name / EVIDENCE / FILE_NAME).is_file():
        notify(
            f"{run} was not scored on the {scope.words}, so its page has no scores; "
            f"make them with: seg eval {shlex.quote(str(run))} {scope.eval_options}"
        )
        return None, False
    evidence = read_evidence(run, scope)
    return assess(evidence, track), on_official_test(evidence)


def _hub_config(card: ModelCard, digest: str | None) -> dict[str, Any]:
    """What tools of the hub look for; `CARD_FILE` beside it is what seg reads."""
    return {
        "library_name": "seg",
        "architecture": card.arch,
        "encoder": card.encoder,
        **({"code": card.code} if card.code else {}),
        "fusion": card.fusion,
        "scene_head": card.scene_head,
        "num_channels": len(card.bands),
        "bands": list(card.bands),
        "image_size": PATCH_SIZE + 2 * card.context,
        "image_mean": list(card.mean),
        "image_std": list(card.std),
        "num_labels": len(card.classes),
        "id2label": {str(index): name for index, name in enumerate(card.classes)},
        "label2id": {name: index for index, name in enumerate(card.classes)},
        "weights": digest,
    }

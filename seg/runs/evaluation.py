"""The files of an evaluation within a run: claimed and written together."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from seg.metrics.assess import Assessment
from seg.metrics.evidence import Evidence
from seg.metrics.evidence_file import FILE_NAME as EVIDENCE_NAME
from seg.reben.bands import selection_name
from seg.report.gallery import FILE_NAME as GALLERY_FILE
from seg.report.gallery import Picture
from seg.report.results import RESULT_FILES, write_results
from seg.runs.folder import EVALUATION_FILE, EVIDENCE, RunFiles, section
from seg.store.atomic import write_text
from seg.store.targets import Known, claimed_folder

REPORT_FILE = "report.html"
BOOTSTRAP_SEED = 0
_EVIDENCE_FILE = f"{EVIDENCE}/{EVIDENCE_NAME}"
ALL_FILES = (*RESULT_FILES, REPORT_FILE, EVALUATION_FILE, GALLERY_FILE, _EVIDENCE_FILE)
"""Files of an evaluation."""


def claimed_evaluation(folder: Path, names: Sequence[str] = ALL_FILES) -> AbstractContextManager[object]:
    """Claim files of an evaluation, see `seg.store.targets.claimed_folder`.

    Args:
        folder: ``eval/<name of the evaluation>`` of a run.
        names: Some of `ALL_FILES`.
    """
    known = Known(vouchers=(_EVIDENCE_FILE,), family=ALL_FILES, cure="move them away, and they are written anew")
    return claimed_folder(folder, names, known)


def write_all(
    files: RunFiles,
    folder: Path,
    assessment: Assessment,
    evidence: Evidence,
    pictures: Sequence[Picture],
) -> None:
    """Write tables and report of an evaluation.

    Args:
        files: The run.
        folder: Its ``eval/<split>``.
        assessment, evidence, pictures: What is reported.
    """
    write_results(folder, assessment)
    write_text(folder / REPORT_FILE, rendered(files, assessment, evidence, pictures))


def rendered(files: RunFiles, assessment: Assessment, evidence: Evidence, pictures: Sequence[Picture]) -> str:
    """The report of an evaluation as one page of HTML; arguments as of `write_all`."""
    from seg.report.html import render_report

    return render_report(assessment, evidence, pictures, _about(files, evidence))


def facts_of_run(files: RunFiles) -> dict[str, str]:
    """What a reader wants to know of a run, by name."""
    config, record = files.config, files.record
    versions = section(record, "versions")
    speed = section(record, "throughput").get("patches_per_second")
    parameters = record.get("parameters")
    training = section(record, "training")
    facts = {
        "Architecture": config.model.arch,
        "Encoder": f"{config.model.encoder} (weights: {_weights(files)})",
        "Fusion": config.model.fusion if config.model.fusion != "stack" else "",
        "Scene head": config.model.scene_head,
        "Bands": selection_name(config.data.bands),
        "Parameters": f"{parameters:,}" if isinstance(parameters, int) else "",
        "Epochs": f"{training.get('epochs', '')}, best {training.get('best_epoch', '')}",
        "Training speed": f"{speed:.3g} patches/s" if speed else "",
        "Seed": str(config.train.seed),
        "Trained on data": files.fingerprint,
        "Trained": str(record.get("written_utc", "")).replace("T", " ").replace("+00:00", " UTC"),
        "Versions": ", ".join(f"{name} {versions[name]}" for name in ("seg", "torch", "python") if versions.get(name)),
    }
    return {name: text for name, text in facts.items() if text}


def _about(files: RunFiles, evidence: Evidence) -> Mapping[str, str]:
    """The same for a report, with what was scored."""
    origin = evidence.origin
    scored = {"Scored on": f"{origin.fingerprint}, {origin.words}", "Weights": origin.weights or ""}
    model = f"{files.config.model.arch} {files.config.model.encoder} · {selection_name(files.config.data.bands)}"
    facts = {"Run": files.folder.resolve().name, "Model": model, **facts_of_run(files), **scored}
    return {name: text for name, text in facts.items() if text}


def _weights(files: RunFiles) -> str:
    """What the encoder started from, without the folders of this machine."""
    loaded = files.record.get("weights")
    sources = [entry["source"] for entry in loaded if isinstance(entry, dict)] if isinstance(loaded, list) else []
    return " and ".join(dict.fromkeys(sources)) or files.config.model.weights or "random"

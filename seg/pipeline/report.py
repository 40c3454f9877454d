"""Report a run from its evidence: neither model, images nor GPU are needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seg.config.track import Track, silent
from seg.metrics.assess import Assessment, assess
from seg.metrics.bootstrap import REPLICATES
from seg.metrics.evidence import Evidence
from seg.pipeline.data import Notify, ignore
from seg.pipeline.run_folder import EVALUATIONS, RunError, RunFiles, read_evidence, read_run, section
from seg.reben.bands import selection_name
from seg.reben.patch import Split
from seg.report.formats import Table
from seg.report.gallery import FILE_NAME as GALLERY_FILE
from seg.report.gallery import load_gallery
from seg.report.html import write_report
from seg.report.results import differing_results, summary_tables, write_results

REPORT_FILE = "report.html"
BOOTSTRAP_SEED = 0


class StaleReportError(ValueError):
    """Tables that differ from what their evidence gives."""


@dataclass(frozen=True)
class ReportResult:
    """Outcome of a report.

    Attributes:
        folder: ``eval/<split>`` of the run.
        assessment: Everything that was computed.
        tables: The tables that a user sees first.
    """

    folder: Path
    assessment: Assessment
    tables: tuple[Table, ...]


def report_run(
    run: Path,
    *,
    split: Split | None = None,
    replicates: int = REPLICATES,
    check: bool = False,
    track: Track = silent,
    notify: Notify = ignore,
) -> ReportResult:
    """Compute every score of a run anew from its evidence, and write tables and ``report.html``.

    Args:
        run: Run folder of `train` that was evaluated.
        split: The split; the configuration's ``eval.split`` (test) if None.
        replicates: Resamples of the bootstrap.
        check: Write nothing; compare the tables that are there with what the evidence gives.
        track: Progress.
        notify: Is told what the user must not miss.

    Raises:
        RunError: If the run was not evaluated on the split, or has been trained since.
        EvidenceError: If the evidence is damaged.
        StaleReportError: If a table differs, with `check`.
    """
    files = read_run(run)
    split = split or files.config.eval.split
    evidence = read_evidence(run, split)
    folder = run / EVALUATIONS / split
    if not len(evidence):
        raise RunError(f"the evidence in {folder} holds no patch; run: seg eval {run} --split {split}")
    assessment = assess(evidence, replicates, BOOTSTRAP_SEED, track)
    if check:
        if differences := differing_results(folder, assessment):
            error = StaleReportError(f"{differences[0]}; write the tables anew with: seg report {run} --split {split}")
            for more in differences[1:]:
                error.add_note(more)
            raise error
    else:
        write_all(files, folder, assessment, evidence, notify)
    return ReportResult(folder, assessment, summary_tables(assessment))


def write_all(
    files: RunFiles, folder: Path, assessment: Assessment, evidence: Evidence, notify: Notify = ignore
) -> None:
    """Write tables and report of an evaluation.

    Args:
        files: The run.
        folder: Its ``eval/<split>``.
        assessment, evidence: What is reported.
        notify: Is told if there are no pictures.
    """
    write_results(folder, assessment)
    pictures = load_gallery(folder) if (folder / GALLERY_FILE).exists() else ()
    if not pictures:
        notify("The report has no pictures of patches; 'seg eval' takes them.")
    write_report(folder / REPORT_FILE, assessment, evidence, pictures, _about(files, evidence))


def _about(files: RunFiles, evidence: Evidence) -> Mapping[str, str]:
    """What a reader wants to know of a run, by name."""
    config, record, origin = files.config, files.record, evidence.origin
    versions = section(record, "versions")
    speed = section(record, "throughput").get("patches_per_second")
    parameters = record.get("parameters")
    training = section(record, "training")
    about = {
        "Run": files.folder.resolve().name,
        "Architecture": config.model.arch,
        "Encoder": f"{config.model.encoder} (weights: {config.model.weights or 'random'})",
        "Scene head": config.model.scene_head,
        "Bands": selection_name(config.data.bands),
        "Parameters": f"{parameters:,}" if isinstance(parameters, int) else "",
        "Epochs": f"{training.get('epochs', '')}, best {training.get('best_epoch', '')}",
        "Training speed": f"{speed:.0f} patches/s" if speed else "",
        "Seed": str(config.train.seed),
        "Trained on": files.fingerprint,
        "Scored on": f"{origin.fingerprint}, {origin.split} split",
        "Weights": origin.weights,
        "Trained": str(record.get("written_utc", "")),
        "Versions": ", ".join(f"{name} {versions[name]}" for name in ("seg", "torch", "python") if versions.get(name)),
    }
    return {name: text for name, text in about.items() if text}

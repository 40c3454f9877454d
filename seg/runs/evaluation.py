"""The files of an evaluation within a run: claimed and written together."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from seg.metrics.assess import Assessment
from seg.metrics.evidence import Evidence
from seg.metrics.evidence_file import FILE_NAME as EVIDENCE_NAME
from seg.report.gallery import FILE_NAME as GALLERY_FILE
from seg.report.gallery import Picture
from seg.report.results import RESULT_FILES, write_results
from seg.runs.entry import Entry
from seg.runs.folder import EVALUATION_FILE, EVIDENCE
from seg.store.atomic import write_text
from seg.store.targets import Known, claimed_folder

REPORT_FILE = "report.html"
_EVIDENCE_FILE = f"{EVIDENCE}/{EVIDENCE_NAME}"
ALL_FILES = (*RESULT_FILES, REPORT_FILE, EVALUATION_FILE, GALLERY_FILE, _EVIDENCE_FILE)
"""Files of an evaluation."""


def claimed_evaluation(folder: Path, names: Sequence[str] = ALL_FILES) -> AbstractContextManager[object]:
    """Claim files of an evaluation, see `seg.store.targets.claimed_folder`.

    Args:
        folder: ``eval/<name of the evaluation>`` of a run.
        names: Some of `ALL_FILES`.
    """
    known = Known(vouchers=(_EVIDENCE_FILE,), family=ALL_FILES, cure=", and seg writes its own anew")
    return claimed_folder(folder, names, known)


def write_all(
    entry: Entry,
    folder: Path,
    assessment: Assessment,
    evidence: Evidence,
    pictures: Sequence[Picture],
) -> None:
    """Write tables and report of an evaluation.

    Args:
        entry: The run.
        folder: Its ``eval/<split>``.
        assessment, evidence, pictures: What is reported.
    """
    write_results(folder, assessment)
    write_text(folder / REPORT_FILE, rendered(entry, assessment, evidence, pictures))


def rendered(entry: Entry, assessment: Assessment, evidence: Evidence, pictures: Sequence[Picture]) -> str:
    """The report of an evaluation as one page of HTML; arguments as of `write_all`."""
    from seg.report.html import render_report

    return render_report(assessment, evidence, pictures, _about(entry, evidence))


def _about(entry: Entry, evidence: Evidence) -> Mapping[str, str]:
    """What a reader wants to know of an entry and of what was scored, by name."""
    origin = evidence.origin
    scored = {"Scored on": f"{origin.fingerprint}, {origin.words}", "Weights": origin.weights or ""}
    facts = {"Run": entry.heading, "Model": entry.title, **entry.facts, **scored}
    return {name: text for name, text in facts.items() if text}

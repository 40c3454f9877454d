"""Report a run from its evidence: neither model, images nor GPU are needed."""

import shlex
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from seg.config.paths import AnyPath
from seg.config.track import Notify, Track, ignore, silent
from seg.errors import EvidenceError, RunError
from seg.metrics.assess import Assessment, assess
from seg.metrics.evidence import Evidence
from seg.reben.bands import Sensor
from seg.reben.patch import Split
from seg.report.formats import Table
from seg.report.gallery import FILE_NAME as GALLERY_FILE
from seg.report.gallery import Picture, load_gallery
from seg.report.results import RESULT_FILES, difference, differing_results, summary_tables
from seg.runs.entry import Entry, read_entry
from seg.runs.evaluation import REPORT_FILE, claimed_evaluation, rendered, write_all
from seg.runs.folder import EVALUATIONS, read_evidence, scoring_cure
from seg.runs.scopes import named_scope


@dataclass(frozen=True)
class ReportResult:
    """Outcome of a report.

    Attributes:
        folder: ``eval/<name of the evaluation>`` of the run.
        assessment: Everything that was computed.
        tables: The tables that a user sees first.
    """

    folder: Path
    assessment: Assessment
    tables: tuple[Table, ...]


def report_run(
    run: AnyPath,
    *,
    split: Split | None = None,
    without: Sensor | None = None,
    on: str = "",
    countries: str | None = None,
    mmu: float = 0.0,
    check: bool = False,
    track: Track = silent,
    notify: Notify = ignore,
) -> ReportResult:
    """Compute every score of a run anew from its evidence, and write tables and ``report.html``.

    Args:
        run: Run folder of `train` that was evaluated, or a folder of `score`.
        split: The split; the configuration's ``eval.split`` (test) if None.
        without: Report how it did without this sensor.
        on: Report how it did on other data than those of its training, see `seg.config.scope.scored_on`.
        countries: Report the evaluation that was restricted to these, see `seg.runs.scopes.countries_of`.
        mmu: Report the evaluation of maps that were brought to this minimum mapping unit, hectares.
        check: Write nothing; compare the tables that are there with what the evidence gives, and the headline scores
            with what torchmetrics makes of it.
        track: Progress.
        notify: Is told what the user must not miss.

    Raises:
        RunError: If the run was not evaluated on the split, or has been trained since.
        EvidenceError: If the evidence is damaged.
        RunError: If a table or a headline score differs, with `check`.
    """
    run = Path(run)
    entry = read_entry(run)
    scope = named_scope(entry, split, without=without, on=on, countries=countries, unit=mmu)
    evidence, folder = read_evidence(run, scope), run / EVALUATIONS / scope.name
    if not len(evidence):
        raise RunError(f"the evidence in {folder} holds no patch; {scoring_cure(run, scope)}")
    with nullcontext() if check else claimed_evaluation(folder, (*RESULT_FILES, REPORT_FILE)):
        assessment = assess(evidence, track)
        if check:
            _check(entry, folder, assessment, evidence)
        else:
            told = notify if evidence.origin.masks else ignore
            write_all(entry, folder, assessment, evidence, _pictures(folder, told))
    return ReportResult(folder, assessment, summary_tables(assessment))


def _pictures(folder: Path, notify: Notify) -> tuple[Picture, ...]:
    """The pictures that an evaluation has kept; none, and a word on it, where there are none."""
    pictures: tuple[Picture, ...] = ()
    try:
        pictures = load_gallery(folder) if (folder / GALLERY_FILE).exists() else ()
        if not pictures:
            notify("The report has no pictures of patches; 'seg eval' takes them.")
    except EvidenceError as error:
        notify(f"The report has no pictures of patches: {error}")
    return pictures


def _check(entry: Entry, folder: Path, assessment: Assessment, evidence: Evidence) -> None:
    differences = differing_results(folder, assessment)
    page = folder / REPORT_FILE
    # Published tables may come without the page; where it is, it must be right.
    if page.exists() and (
        sentence := difference(page, rendered(entry, assessment, evidence, _pictures(folder, ignore)))
    ):
        differences.append(sentence)
    if differences:
        command = f"seg report {shlex.quote(str(entry.folder))} {evidence.origin.scope.report_options}"
        cure = f"move what was changed away and write it anew with: {command}"
        more = f", and {len(differences) - 1} more of its files differ" if len(differences) > 1 else ""
        raise RunError(f"{differences[0]}{more}; {cure}")
    from seg.metrics.second_opinion import disputed  # loads torch

    if sentence := disputed(evidence, assessment.scores):
        raise RunError(sentence)

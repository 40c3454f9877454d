"""Pack scored runs into a submission to the benchmark, or write the form that their authors answer first."""

from dataclasses import dataclass
from pathlib import Path

from seg.benchmark.form import form_text, read_answers
from seg.benchmark.layout import MANIFEST_FILE
from seg.benchmark.pack import fill_submission, known_answers, read_seeds
from seg.benchmark.protocol import MIN_SEEDS
from seg.benchmark.records import check_seeds
from seg.config.paths import AnyPath, AnyPaths, path_list, path_or_none
from seg.config.track import Track, silent
from seg.errors import SubmissionError
from seg.runs.entry import read_entry
from seg.store.atomic import write_text
from seg.store.targets import claimed_files
from seg.store.whole import whole_folder


@dataclass(frozen=True)
class Submitted:
    """Outcome of `submit`.

    Attributes:
        folder: The submission; None if only the form was written.
        form: The form.
        left: Its lines that are left to be answered, number and name.
        remarks: What is not refused: of a submission, what is told wherever the entry is shown.
    """

    folder: Path | None
    form: Path
    left: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


_ONE_SEED = (
    "this is one seed, which is an entry only where the method draws no random numbers (deterministic: true); of any "
    f"other, score {MIN_SEEDS} or more seeds and name them all"
)


def submit(
    runs: AnyPaths, out: AnyPath, *, answers: AnyPath | None = None, on: str = "", track: Track = silent
) -> Submitted:
    """Pack the seeds of one entry, or without answers write the form that asks for them.

    Args:
        runs: Runs of `train`, or what `seg score` has scored, that differ in nothing but the seed.
        out: The submission; one that seg wrote is replaced. The form is ``<out>.answers.yaml`` beside it.
        answers: The form, filled in.
        on: The data that they were scored on, see `seg.config.scope.scored_on`.
        track: Progress.

    Raises:
        SubmissionError: If answers are missing or contradict the records, or the evidence is against the protocol.
        RunError, EvidenceError: If a run was not scored or is damaged.
        OSError: If the folder cannot be written.
    """
    paths, out, answers = path_list(runs), Path(out), path_or_none(answers)
    if not paths:
        raise SubmissionError(
            "there is nothing to submit; name folders that 'seg eval' or 'seg score' has scored", wrong_use=True
        )
    if answers is not None and not answers.is_file():
        raise SubmissionError(
            f"there is no file {answers}; the same command without --answers writes the form", wrong_use=True
        )
    seeds = read_seeds([read_entry(path) for path in paths], on)
    if answers is None:
        check_seeds([seed.facts for seed in seeds])
        form = out.with_name(f"{out.resolve().name}.answers.yaml")
        with claimed_files([form]):
            text, left = form_text(known_answers(seeds))
            write_text(form, text)
        return Submitted(None, form, tuple(left), (_ONE_SEED,) if len(seeds) == 1 else ())
    try:
        text = answers.read_bytes().decode()
    except UnicodeDecodeError:
        raise SubmissionError(
            f"{answers} is no text in UTF-8; save it as UTF-8, so that names stay as they are"
        ) from None
    stated = read_answers(text, str(answers))
    with whole_folder(out, MANIFEST_FILE, "a submission") as folder:
        remarks = fill_submission(folder, seeds, stated, text, track)
    return Submitted(out, answers, remarks=remarks)

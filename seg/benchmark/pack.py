"""Packs scored runs into a submission, or writes the form of the answers that it needs first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

from seg.benchmark.card import derived_files
from seg.benchmark.form import Answers, Known, form_text
from seg.benchmark.layout import ANSWERS_FILE, MANIFEST_FILE, manifest_text, seed_files
from seg.benchmark.records import Facts, check_answers, facts_of, prefilled
from seg.benchmark.verify import examine
from seg.config.identity import settings_of_experiment
from seg.config.track import Track, silent
from seg.errors import SubmissionError
from seg.metrics.evidence_file import FILE_NAME
from seg.reben.bands import selection_name
from seg.report.record import json_text
from seg.runs.folder import EVALUATIONS, EVIDENCE, RunFiles, check_evidence, named_data, read_evaluation
from seg.runs.names import experiment

_OF_RUN = (
    *("written_utc", "versions", "source", "hardware", "training", "status", "throughput", "synthetic", "data"),
    *("seeds", "parameters", "weights", "compute", "batch", "cost"),
)
_OF_EVALUATION = ("written_utc", "versions", "hardware", "data", "weights", "compute", "throughput")


@dataclass(frozen=True)
class Seed:
    """A scored run that is to be packed.

    Attributes:
        run: Its settings and record.
        evidence: Folder of its evidence.
        record: What is packed of what is known of it.
        facts: What that says.
        scored_on: Fingerprint of the data that it was scored on.
    """

    run: RunFiles
    evidence: Path
    record: dict[str, Any]
    facts: Facts
    scored_on: str

    @property
    def name(self) -> str:
        """Of its folder in the submission."""
        return str(self.facts.seed or 0)


def read_seeds(runs: Sequence[RunFiles], on: str = "") -> list[Seed]:
    """The runs of an entry, in the order of their seeds.

    Args:
        runs: Runs that differ in nothing but the seed, scored on test.
        on: The data that they were scored on, see `seg.metrics.evidence.scored_on`.

    Raises:
        SubmissionError: If they differ in more.
        RunError, EvidenceError: If one was not scored.
    """
    seeds = []
    for run in runs:
        name = named_data(run, on)
        origin = check_evidence(run.folder, "test", on=name)
        record = seed_record(run, read_evaluation(run.folder, "test", on=name))
        seeds.append(
            Seed(run, run.folder / EVALUATIONS / origin.name / EVIDENCE, record, facts_of(record), origin.fingerprint)
        )
    first, *others = seeds
    for other in others:
        one, two = experiment(first.run), experiment(other.run)
        if differing := [key for key in one | two if one.get(key) != two.get(key)]:
            raise SubmissionError(
                f"{first.run.folder} and {other.run.folder} differ in {differing[0]}, and the seeds of an entry "
                "differ in nothing else; name the runs of one configuration",
                wrong_use=True,
            )
    return sorted(seeds, key=lambda seed: seed.facts.seed or 0)


def seed_record(run: RunFiles, evaluation: dict[str, Any]) -> dict[str, Any]:
    """What is packed of what is known of a training: settings and record, without names of folders."""
    settings = settings_of_experiment(run.config)
    if weights := settings["model"].get("weights"):
        settings["model"]["weights"] = Path(weights).name
    return {
        "seed": run.config.train.seed,
        "settings": settings,
        "run": {name: run.record[name] for name in _OF_RUN if name in run.record},
        "evaluation": {name: evaluation[name] for name in _OF_EVALUATION if name in evaluation},
    }


def known_answers(seeds: Sequence[Seed]) -> Known:
    """What the records answer of the form, and what the network costs."""
    config = seeds[0].run.config
    known = prefilled(
        f"{config.model.arch} {config.model.encoder} {selection_name(config.data.bands)}",
        [seed.facts for seed in seeds],
        None,
    )
    from seg.models.cost import measure  # imports torch

    adds = measure(config.model, config.data.bands).multiply_adds
    return {**known, "multiply_adds": float(f"{adds / 1e9:.4g}")}


def form_of(seeds: Sequence[Seed]) -> tuple[str, list[str]]:
    """The form with what is known, and the lines that are left, see `seg.benchmark.form.form_text`."""
    return form_text(known_answers(seeds))


def fill_submission(folder: Path, seeds: Sequence[Seed], answers: Answers, form: str, track: Track = silent) -> None:
    """Write the files of a submission into an empty folder.

    Args:
        folder: The folder.
        seeds: Its runs.
        answers: What its authors state.
        form: The same as it was written.
        track: Progress.

    Raises:
        SubmissionError: If answers contradict the records, or there are too few seeds.
        RunError, EvidenceError: If evidence cannot be read.
    """
    facts = [seed.facts for seed in seeds]
    check_answers(answers, facts, seeds[0].scored_on)
    for seed in seeds:
        evidence_file, record_file = (folder / name for name in seed_files(seed.name))
        evidence_file.parent.mkdir(parents=True)
        copyfile(seed.evidence / FILE_NAME, evidence_file)
        record_file.write_text(json_text(seed.record), encoding="utf-8")
    names = [seed.name for seed in seeds]
    found = examine(folder, names, facts, track=track)
    derived = derived_files(answers, found.outcome, found.synthetic, found.patches)
    for name, text in (derived | {ANSWERS_FILE: form}).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / MANIFEST_FILE).write_text(manifest_text(folder, answers.name, names), encoding="utf-8")

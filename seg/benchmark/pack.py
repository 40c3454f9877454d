"""Packs scored runs into a submission, or writes the form of the answers that it needs first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

from seg.benchmark.card import derived_files
from seg.benchmark.form import Answers, Known
from seg.benchmark.layout import ANSWERS_FILE, MANIFEST_FILE, manifest_text, seed_files
from seg.benchmark.records import Facts, check_answers, facts_of, prefilled
from seg.benchmark.verify import examine
from seg.config.track import Track, silent
from seg.errors import SubmissionError
from seg.metrics.evidence_file import FILE_NAME
from seg.report.record import json_text
from seg.runs.entry import Entry
from seg.runs.folder import EVALUATIONS, EVIDENCE, check_evidence, is_scored, read_evaluation, read_run
from seg.runs.scopes import ALL_COUNTRIES, named_scope

_OF_RECORD = (
    *("written_utc", "versions", "source", "hardware", "training", "status", "throughput", "synthetic", "data"),
    *("seeds", "parameters", "parameters_trained", "weights", "compute", "batch", "cost", "predictions"),
)
_OF_EVALUATION = ("written_utc", "versions", "hardware", "data", "weights", "compute", "throughput")


@dataclass(frozen=True)
class Seed:
    """A scored run that is to be packed.

    Attributes:
        entry: The run, or the predictions that were scored.
        evidence: Folder of its evidence.
        record: What is packed of what is known of it.
        facts: What that says.
        scored_on: Fingerprint of the data that it was scored on.
    """

    entry: Entry
    evidence: Path
    record: dict[str, Any]
    facts: Facts
    scored_on: str

    @property
    def name(self) -> str:
        """Of its folder in the submission."""
        return str(self.facts.seed or 0)


def read_seeds(entries: Sequence[Entry], on: str = "") -> list[Seed]:
    """The seeds of a submission, in order.

    Args:
        entries: What differs in nothing but the seed, scored on test.
        on: The data that they were scored on, see `seg.config.scope.scored_on`.

    Raises:
        SubmissionError: If they differ in more.
        RunError, EvidenceError: If one was not scored.
    """
    seeds = []
    places = [entry.folder.resolve() for entry in entries]
    if twice := [place for place in places if places.count(place) > 1]:
        raise SubmissionError(f"{twice[0]} is named twice; name each seed once", wrong_use=True)
    for entry in entries:
        if entry.partial:
            raise SubmissionError(
                f"{entry.folder} is PARTIAL: patches were left out, and entries are scored on all of test; score the "
                "predictions of all its patches"
            )
        scope = named_scope(entry, "test", on=on, countries=ALL_COUNTRIES)
        origin = check_evidence(entry.folder, scope)
        record = seed_record(entry, read_evaluation(entry.folder, scope))
        evidence = entry.folder / EVALUATIONS / scope.name / EVIDENCE
        seeds.append(Seed(entry, evidence, record, facts_of(record), origin.fingerprint))
    first, *others = [seed.entry for seed in seeds]
    for other in others:
        names = [*first.settings, *other.settings]
        if differing := [name for name in names if first.settings.get(name) != other.settings.get(name)]:
            raise SubmissionError(
                f"{first.folder} and {other.folder} differ in {differing[0]}, and the seeds of an entry differ in "
                "nothing else; name those of one configuration",
                wrong_use=True,
            )
    return sorted(seeds, key=lambda seed: seed.facts.seed or 0)


def seed_record(entry: Entry, evaluation: dict[str, Any]) -> dict[str, Any]:
    """What is packed of what is known of a training: settings and record, without names of folders."""
    settings = dict(entry.settings)
    if "model.weights" in settings:
        settings["model.weights"] = Path(settings["model.weights"]).name
    return {
        "seed": entry.seed,
        "settings": settings,
        "record": {name: entry.record[name] for name in _OF_RECORD if name in entry.record},
        "evaluation": {name: evaluation[name] for name in _OF_EVALUATION if name in evaluation},
    }


def known_answers(seeds: Sequence[Seed]) -> Known:
    """What the records answer of the form, and what the network costs."""
    first = seeds[0].entry
    known: Known = prefilled(first.name, [seed.facts for seed in seeds])
    if not is_scored(first.folder):
        from seg.models.cost import measure  # imports torch

        config = read_run(first.folder).config
        adds = measure(config.model, config.data.bands, config.data.context).multiply_adds
        known = {**known, "multiply_adds": float(f"{adds / 1e9:.4g}")}
    return known


def fill_submission(
    folder: Path, seeds: Sequence[Seed], answers: Answers, form: str, track: Track = silent
) -> tuple[str, ...]:
    """Write the files of a submission into an empty folder.

    Args:
        folder: The folder.
        seeds: Its runs.
        answers: What its authors state.
        form: The same as it was written.
        track: Progress.

    Returns:
        Remarks that are to be known of it.

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
    return found.remarks

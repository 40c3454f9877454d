"""Whether a submission is what it says: everything in it that follows from its evidence is computed anew."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from seg.benchmark.agreement import check_record, doubts
from seg.benchmark.bounds import read_evidence
from seg.benchmark.card import derived_files
from seg.benchmark.consistency import check_consistency
from seg.benchmark.container import PACK_AGAIN, opened, read_text
from seg.benchmark.form import Answers, read_answers
from seg.benchmark.layout import ANSWERS_FILE, Manifest, read_document, read_manifest, seed_files
from seg.benchmark.outcome import Outcome, SeedOutcome, measured
from seg.benchmark.prints import Prints, nearly_same
from seg.benchmark.protocol import KNOWN_SETS, MADE_UP, OFFICIAL_TEST, SCENES_ALONE, KnownSet
from seg.benchmark.records import Facts, check_answers, check_same_settings, facts_of, unrecorded
from seg.benchmark.reference import Reference, check_same_reference, reference_in, reference_of
from seg.benchmark.seeds import SeenSeed, check_seed, seen_seed
from seg.config.scope import Scope
from seg.config.sections import DataConfig
from seg.config.synthetic import Synthetic
from seg.config.track import Track, silent
from seg.config.wording import clipped, counted
from seg.errors import SubmissionError, UnknownNameError
from seg.metrics.evidence import Evidence
from seg.reben.official import ids_digest, labels_digest
from seg.reben.patch import PatchId
from seg.report.results import text_difference
from seg.runs.scored import outcome_of, scenes_of
from seg.store.index import Index
from seg.store.open import Store
from seg.store.selection import select

_COUNTRY = re.compile(r"(?:[A-Za-z][A-Za-z '.-]{0,59})?")


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """A submission that is what it says.

    Attributes:
        name: Of its folder or zip.
        answers: What its authors state.
        manifest: What it says of itself.
        synthetic: Which of the data and the model is simulated.
        patches: Patches that it was scored on.
        subject: Digest of what was to be predicted; entries compare if theirs are equal.
        predictions: Digests of what was predicted, of each seed.
        prints: Fingerprints of the masks by patch, of each seed.
        outcome: What it comes to.
        referenced: Whether what it says is true was compared with the data or a published digest.
        trained: Whether the records are those of trainings by seg, and not of predictions that were made elsewhere.
        checked: What was found to hold, in words.
        remarks: What is not refused, and is to be known of it wherever it is shown.
        unrecorded: Names of the answers that no record holds.
        unverified: What cannot be known of it, in words.
        compared: By seed, what predictions that were given were found to give, see `seg.benchmark.checks`.
    """

    name: str
    answers: Answers
    manifest: Manifest
    synthetic: Synthetic
    patches: int
    subject: str
    predictions: frozenset[str]
    prints: tuple[Prints, ...]
    outcome: Outcome
    referenced: bool
    trained: bool
    checked: tuple[str, ...]
    remarks: tuple[str, ...]
    unrecorded: tuple[str, ...]
    unverified: tuple[str, ...]
    compared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def verify_submission(path: Path, store: Store | None = None, track: Track = silent) -> Verified:
    """Compute everything anew that follows from the evidence of a submission, and compare.

    Args:
        path: Its folder, or a zip of it.
        store: The data, to compare with what the evidence says is true.
        track: Progress.

    Raises:
        SubmissionError: Of the first thing that is not as it should be.
    """
    with opened(path) as folder:
        manifest = read_manifest(folder)
        answers = read_answers(read_text(folder, ANSWERS_FILE), ANSWERS_FILE)
        if manifest.name != answers.name:
            raise SubmissionError(f"the name in the manifest is not that of the answers; {PACK_AGAIN}")
        records = [read_document(folder, seed_files(seed)[1]) for seed in manifest.seeds]
        check_same_settings(records, manifest.seeds)
        facts = [facts_of(record) for record in records]
        seeds = examine(folder, manifest.seeds, facts, store, track)
        check_answers(answers, facts, seeds.fingerprint)
        if answers.deterministic and seeds.weighed:
            raise SubmissionError("the answer 'deterministic: True' contradicts the evidence, which is of weights")
        derived = derived_files(answers, seeds.outcome, seeds.synthetic, seeds.patches)
        for name, text in derived.items():
            if difference := text_difference(name, read_text(folder, name), text):
                raise SubmissionError(f"{difference}; {PACK_AGAIN}")
    return Verified(
        name=path.resolve().name,
        answers=answers,
        manifest=manifest,
        synthetic=seeds.synthetic,
        patches=seeds.patches,
        subject=seeds.subject,
        predictions=seeds.predictions,
        prints=seeds.prints,
        outcome=seeds.outcome,
        referenced=store is not None or bool(seeds.known and seeds.known.subject),
        checked=(
            f"{len(manifest.files)} files have the hashes of the manifest",
            f"{seeds.patches:,} patches are those of {seeds.known.name}, each once"
            if seeds.known
            else f"{seeds.patches:,} patches are of the test split by their place, each once",
            f"the evidence of {counted(len(manifest.seeds), 'seed', 'seeds')} agrees with itself"
            + ", and with the store" * (store is not None),
            "all scores and tables follow from the evidence",
            "the answers do not contradict the records",
        ),
        trained=all(one.status for one in facts),
        remarks=seeds.remarks,
        unrecorded=unrecorded(facts),
        unverified=_unverified(seeds, answers, unrecorded(facts), store is not None),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """What the seeds of a submission have in common, and what they come to.

    Attributes:
        known: The set of patches, if it is a known one.
        reference: What is true of them.
        fingerprint: Of the data that they were read from.
        synthetic: Which of the data and the model is simulated.
        subject: Digest of the reference.
        predictions: Digests of what each seed has predicted.
        outcome: What the seeds come to.
        bare: Whether evidence of a seed lacks details.
        remarks: Which seeds hardly differ from each other, in words.
        weighed: Whether evidence of a seed names weights.
        fitted: Whether evidence of a seed has thresholds or a temperature.
        prints: Fingerprints of the masks by patch, of each seed.
    """

    known: KnownSet | None
    reference: Reference
    fingerprint: str
    synthetic: Synthetic
    subject: str
    predictions: frozenset[str]
    outcome: Outcome
    bare: bool
    remarks: tuple[str, ...] = ()
    weighed: bool = False
    fitted: bool = False
    prints: tuple[Prints, ...] = ()

    @property
    def patches(self) -> int:
        """Number of patches."""
        return len(self.reference.patch_ids)


def examine(
    folder: Path,
    names: Sequence[str],
    facts: Sequence[Facts],
    store: Store | None = None,
    track: Track = silent,
) -> Examined:
    """Check the evidence of all seeds and compute what they come to.

    Args:
        folder: Of the submission.
        names: Folders of the seeds.
        facts: What their records say.
        store, track: As of `verify_submission`.

    Raises:
        SubmissionError: As `verify_submission`.
    """
    first: Examined | None = None
    outcomes: list[SeedOutcome] = []
    digests: dict[str, str] = {}
    seen: list[SeenSeed] = []
    remarks: list[str] = []
    scenes: set[str] = set()
    for seed, fact in zip(names, facts, strict=True):
        evidence = read_evidence(folder / seed_files(seed)[0])
        _check_patches(evidence)
        reference = reference_of(evidence)
        if first is None:
            first = _first(evidence, reference, store, track)
        else:
            if not reference.patch_ids.equals(first.reference.patch_ids):
                raise SubmissionError(f"seed {seed} was scored on other patches than seed {names[0]}")
            check_same_reference(reference, first.reference, f"seed {names[0]}")
        check_consistency(evidence)
        digest = outcome_of(evidence)
        if digest in digests:
            raise SubmissionError(f"seed {seed} is a copy of seed {digests[digest]}; a seed is a training of its own")
        digests[digest] = seed
        if (weights := evidence.origin.weights) and weights in digests:
            raise SubmissionError(
                f"seed {seed} has the weights of seed {digests[weights]}; a seed is a training of its own"
            )
        digests |= {weights: seed} if weights else {}
        scenes |= {scenes_of(evidence)} if evidence.probabilities is not None else set()
        check_record(seed, fact, evidence)
        bare = evidence.details is None or evidence.details.reliability is None
        fitted = evidence.origin.thresholds is not None or evidence.origin.temperature is not None
        first = replace(
            first,
            bare=first.bare or bare,
            weighed=first.weighed or bool(weights),
            fitted=first.fitted or fitted,
        )
        seen.append(seen_seed(seed, evidence))
        remarks += [*check_seed(seen[-1], seen[:-1]), *doubts(seed, evidence)]
        first = replace(first, prints=(*first.prints, seen[-1].prints))
        if bare and (fact.trained or weights):
            raise SubmissionError(f"the evidence of seed {seed} lacks the details of an evaluation; score it again")
        if (evidence.origin.fingerprint, evidence.origin.simulated) != (first.fingerprint, first.synthetic):
            raise SubmissionError(f"the evidence of seed {seed} says that it is of other data than the others are")
        outcomes.append(measured(fact.seed, evidence, track))
        if outcomes[-1].scores.keys() != outcomes[0].scores.keys():
            raise SubmissionError(f"seed {seed} has other scores than seed {names[0]}: masks or labels are missing")
        del evidence
    assert first is not None
    return replace(
        first, predictions=frozenset(digests) | scenes, outcome=Outcome(tuple(outcomes)), remarks=tuple(remarks)
    )


def _check_patches(evidence: Evidence) -> None:
    """Refuse what is no whole evaluation of a test split, in order."""
    origin = evidence.origin
    if origin.split != "test":
        raise SubmissionError(f"it was scored on the {origin.split} split, and entries are scored on test")
    if origin.left_out or origin.scope != Scope("test", on=origin.on):
        raise SubmissionError(f"it was scored on the {origin.words}, and entries are scored on all of test as it is")
    if not origin.masks and evidence.probabilities is None:
        raise SubmissionError("its evidence holds neither masks nor labels")
    if strange := [one for one in evidence.countries.dictionary.to_pylist() if not _COUNTRY.fullmatch(one)]:
        raise SubmissionError(f"its evidence has patches in '{clipped(strange[0])}', which is no country")
    ids = evidence.patch_ids
    if not len(ids):
        raise SubmissionError("its evidence holds no patch")
    for one in ids.to_pylist():
        try:
            split = PatchId.parse(one).split
        except UnknownNameError as error:
            raise SubmissionError(f"its evidence is of no patch of reBEN: {error}") from None
        if split != "test":
            raise SubmissionError(f"its evidence holds {one}, a patch of the {split} split by its place")
    order = pc.sort_indices(ids)
    if not order.equals(pa.array(range(len(ids)), order.type)):
        raise SubmissionError("the patches of its evidence are not in order: it was edited, as seg sorts them by id")


def _first(evidence: Evidence, reference: Reference, store: Store | None, track: Track) -> Examined:
    """What the first seed says of all, compared with what is known."""
    ids, simulated = reference.patch_ids.to_pylist(), evidence.origin.simulated
    digest, subject = ids_digest(ids), reference.digest
    known = next((one for one in KNOWN_SETS if one.ids == digest), None)
    if known is None and not simulated & Synthetic.DATA:
        raise SubmissionError(
            f"its {len(ids):,} patches are not {OFFICIAL_TEST.name}; score it on all of that, once each"
        )
    if known is not None:
        if known.synthetic != bool(simulated & Synthetic.DATA) or (not known.synthetic and simulated):
            what = "simulated" if simulated else "real"
            raise SubmissionError(f"it says that data or model are {what}, and its patches are {known.name}")
        if labels_digest(ids, reference.label_names) != known.labels:
            raise SubmissionError(f"its true labels are not those of {known.name}; the evidence was edited")
        if known.subject and subject != known.subject:
            raise SubmissionError(f"its true class areas are not those of {known.name}; the evidence was edited")
    if store is not None:
        due = patches_due(store.index)
        lacking = due.filter(pc.invert(pc.is_in(due, value_set=reference.patch_ids)))
        if len(lacking) or (known is None and len(due) < len(ids)):
            raise SubmissionError(
                f"it holds {len(ids):,} patches, and the test split of {store.folder.name} has {len(due):,}; entries "
                "are scored on all of them, and on no others"
            )
        check_same_reference(reference, reference_in(store, reference.patch_ids, track), "the store")
    return Examined(
        known, reference, evidence.origin.fingerprint, simulated, subject, frozenset(), Outcome(()), bare=False
    )


def patches_due(index: Index) -> pa.StringArray:
    """Ids of the patches that an entry is scored on: those of the test split unless others are asked for."""
    rows = select(index, DataConfig(), "test")
    return index.patch_ids.take(rows[index.has_map[rows]])


def _unverified(seeds: Examined, answers: Answers, unknown: Sequence[str], compared: bool) -> tuple[str, ...]:
    found = [
        MADE_UP,
        "what the authors state and no record holds: data, selection, trials elsewhere, and that test was unseen",
        "that the records of the trainings are genuine",
    ]
    if unknown:
        found.append(f"{', '.join(unknown)}, which are not recorded: they are as the authors state them")
    if not compared and not seeds.known:
        found.append("that its patches are all of a test split and no choice of them; compare them with --data STORE")
    if any("ap_macro" in one.scores for one in seeds.outcome.seeds):
        found.append(SCENES_ALONE)
    if not compared and not (seeds.known and seeds.known.subject):
        what = "the true class areas" if seeds.known else "the true labels and class areas"
        found.append(f"{what} of each patch, of which no digest is published; compare them with --data STORE")
    differing = int(((seeds.reference.areas > 0) != seeds.reference.labels).any(axis=1).sum())
    if differing and not (seeds.known and seeds.known.subject):
        found.append(f"why labels and pixels of {differing:,} patches tell of different classes")
    if seeds.fitted:
        found.append(
            "thresholds and temperature, which are fitted on the validation split (scores with them are not ranked)"
        )
    if seeds.bare:
        found.append("the counts against confidences, which this evidence does not have")
    if answers.deterministic:
        found.append("that the method draws no random numbers")
    return tuple(found)


def share_predictions(one: Verified, other: Verified) -> bool:
    """Whether two entries hold the same predictions or weights, or masks that are the same nearly everywhere."""
    near = one.subject == other.subject and any(nearly_same(a, b) for a in one.prints for b in other.prints)
    return near or bool(one.predictions & other.predictions)

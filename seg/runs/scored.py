"""A run with what its evidence came to: scores, those without each tile, and what tells it from other runs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from seg.config.synthetic import Synthetic
from seg.config.track import Track
from seg.errors import RunError
from seg.metrics.evidence import Evidence, Origin, reference_areas
from seg.metrics.jackknife import Replicates, jackknife
from seg.metrics.scores import headline, score_evidence
from seg.report.anchors import on_official_test
from seg.runs.entry import Entry
from seg.runs.folder import read_evaluation

_CURE = "so their scores do not compare; score them on the same data, or add --allow-different-data"
_ALLOW = "so they differ in more than their settings; to compare them all the same, add --allow-different-data"


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """A run, and what its evidence came to.

    Attributes:
        entry: The run.
        evaluation: Record of its evaluation.
        name: Short name of its folder.
        fingerprint: Of the data it was scored on.
        synthetic: Which of what it was scored and trained on is synthetic.
        official: Whether it was scored on reBEN's test split.
        patches: Number of patches.
        weights: Digest of its weights; empty if unknown.
        subject: Digest of what was to be predicted: patches, labels and reference areas.
        outcome: Digest of what was predicted.
        countries: Those that it was restricted to when it was scored; empty: it was not.
        scores: Headline scores.
        replicates: The same without each tile.
    """

    entry: Entry
    evaluation: dict[str, Any]
    name: str
    fingerprint: str
    synthetic: Synthetic
    official: bool
    patches: int
    weights: str
    subject: str
    outcome: str
    scores: dict[str, float]
    replicates: Replicates
    countries: tuple[str, ...] = ()

    @property
    def seed(self) -> int | None:
        """Seed of the training; None if nobody has told it."""
        return self.entry.seed

    @property
    def experiment(self) -> dict[str, str]:
        """What it has in common with the other runs of its configuration; beside the selection of patches."""
        scored = {"scored_on": self.fingerprint, "scored_in": ",".join(self.countries), "patches": str(self.patches)}
        return self.entry.settings | scored


def score_run(entry: Entry, name: str, evidence: Evidence, track: Track) -> ScoredRun:
    """Scores of a run, and those without each tile.

    Args:
        entry, name: The run and its short name.
        evidence: What it did on the split.
        track: Progress.
    """
    origin = evidence.origin
    evaluation = read_evaluation(entry.folder, origin.scope)
    # Neither details nor fitted thresholds are compared, and their intervals take time.
    origin = replace(origin, thresholds=None, temperature=None)
    evidence = replace(evidence, origin=origin, details=None)
    scores = headline(score_evidence(evidence))
    replicates = jackknife(evidence, track)
    return ScoredRun(
        entry=entry,
        evaluation=evaluation,
        name=name,
        fingerprint=origin.fingerprint,
        synthetic=origin.simulated | Synthetic.of(model=entry.record.get("synthetic") is True),
        official=on_official_test(evidence),
        patches=len(evidence),
        weights=origin.weights,
        subject=_subject(evidence),
        outcome=outcome_of(evidence),
        scores=scores,
        replicates=replicates,
        countries=origin.countries,
    )


def check_same_data(names: Sequence[str], entries: Sequence[Entry], origins: Sequence[Origin]) -> None:
    """Refuse runs that were scored or trained on different data.

    Args:
        names: Their short names.
        entries: The runs; what is known to nobody is taken to be the same.
        origins: What their evidence is of.

    Raises:
        RunError: With the fingerprints, and the way round.
    """
    for what, cure, fingerprints in (
        ("scored", _CURE, [origin.fingerprint for origin in origins]),
        ("trained", _ALLOW, [entry.trained_on for entry in entries]),
    ):
        known = [(name, print_) for name, print_ in zip(names, fingerprints, strict=True) if print_ is not None]
        for name, fingerprint in known:
            if fingerprint != known[0][1]:
                pair = f"{known[0][1] or 'unknown'} and {fingerprint or 'unknown'}"
                raise RunError(f"{known[0][0]} and {name} were {what} on different data ({pair}), {cure}")


def check_same_patches(first: ScoredRun, name: str, evidence: Evidence) -> None:
    """Refuse evidence that is not of the very patches that the first run was scored on.

    Raises:
        RunError: With the numbers of patches, and the way round.
    """
    if _subject(evidence) != first.subject:
        sizes = f"{first.patches:,} and {len(evidence):,} patches"
        raise RunError(f"{first.name} and {name} were scored on different patches or references ({sizes}), {_CURE}")


def check_no_copy(scored: Sequence[ScoredRun]) -> None:
    """Refuse a last run that is a copy of another, which would pass for a seed without any deviation.

    Raises:
        RunError: Naming the two.
    """
    *earlier, last = scored
    for run in earlier:
        same = run.outcome == last.outcome or (run.weights and run.weights == last.weights)
        if same and run.seed == last.seed and run.experiment == last.experiment:
            raise RunError(f"{run.name} and {last.name} are the same run; leave one of them out")


def _subject(evidence: Evidence) -> str:
    ids = "\n".join(evidence.patch_ids.to_pylist()).encode()
    return _digest(ids, evidence.labels.tobytes(), reference_areas(evidence).tobytes())


def scenes_of(evidence: Evidence) -> str:
    """A digest of what was predicted of the labels of patches, whatever masks there are beside it."""
    assert evidence.probabilities is not None, "of scene labels"
    ids = "\n".join(evidence.patch_ids.to_pylist()).encode()
    return f"scenes {_digest(ids, evidence.probabilities.tobytes())}"


def outcome_of(evidence: Evidence) -> str:
    """Digest of what was predicted."""
    confusion, scenes = evidence.confusion, evidence.probabilities
    masks = confusion.offsets.tobytes(), confusion.keys.tobytes(), confusion.counts.tobytes()
    return _digest(*masks, b"" if scenes is None else scenes.tobytes())


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()

"""Whether the evidence of a submission is that of predictions which are at hand: they are scored anew and compared."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seg.benchmark.bounds import read_evidence
from seg.benchmark.checks import CONFIDENCES, MASKS, SCENES
from seg.benchmark.container import opened
from seg.benchmark.layout import seed_files
from seg.benchmark.protocol import MADE_UP, SCENES_ALONE
from seg.benchmark.verify import Verified
from seg.config.track import Notify, Track
from seg.config.wording import counted
from seg.errors import SubmissionError, WrongUseError
from seg.metrics.evidence import Details, Evidence
from seg.metrics.ratio import Bools
from seg.metrics.scene import scene_scores
from seg.metrics.sparse import PatchCounts
from seg.predictions.evidence import scored_evidence
from seg.predictions.request import Given, check_given, requested
from seg.prepare.executors import LOCAL
from seg.store.open import Store

_SAME_PROBABILITY, _SAME_SCORE = 1e-5, 1e-3
"""How far what a run predicts again may be from what its evidence says, and scores with it: they hang on the order and
on what lies just above 0.5, which are as anybody likes where probabilities are nearly equal to each other or to that.
The table of predictions made elsewhere is the one that was scored."""
_BLOCK = 4096


@dataclass(frozen=True)
class Predicted:
    """What a seed has predicted.

    Attributes:
        pixels: Class maps or probabilities, as of `seg.pipeline.score`; None: not at hand.
        scene: Table of scene labels likewise.
    """

    pixels: Path | None
    scene: Path | None


def compare_predictions(
    path: Path,
    verified: Verified,
    predicted: Mapping[str, Predicted],
    classes: str | None,
    store: Store,
    track: Track,
    notify: Notify,
) -> Verified:
    """Score predictions of seeds of a submission, and compare with the evidence that it holds of them.

    Args:
        path: The submission.
        verified: What `seg.benchmark.verify.verify_submission` has found.
        predicted: Predictions by seed.
        classes: What the numbers of class maps mean, see `seg.predictions.numbering.Numbering`.
        store: The data.
        track, notify: Are told of progress, and what the user must not miss.

    Returns:
        The submission, with what is known of it now.

    Raises:
        SubmissionError: If predictions give other evidence.
        SegError: One of its other kinds, if predictions cannot be scored.
    """
    seeds = verified.manifest.seeds
    if strange := sorted(predicted.keys() - set(seeds)):
        raise WrongUseError(f"there is no seed {strange[0]} in {verified.name}; it has {', '.join(seeds)}")
    checked: list[str] = []
    same: dict[str, tuple[str, ...]] = {}
    left: set[str] = set()
    with opened(path) as folder:
        for seed in seeds:
            evidence = read_evidence(folder / seed_files(seed)[0])
            told = _told_of(evidence)
            if seed in predicted:
                found = _scored(seed, predicted[seed], classes, store, track, notify)
                compared = _compare(seed, predicted[seed], evidence, found, elsewhere=not verified.trained)
                checked.append(f"the predictions of seed {seed} give its {' and '.join(compared)}")
                same[seed] = tuple(compared)
                told -= set(compared)
            left |= told
    unverified = [one for one in verified.unverified if not (one == SCENES_ALONE and SCENES not in left)]
    if not left & {MASKS, SCENES} and MADE_UP in unverified:
        unverified[unverified.index(MADE_UP)] = "that the predictions are those of the method in the answers"
        if CONFIDENCES in left:
            unverified.append("the confidences of pixels: class maps have none, and exported probabilities are rounded")
    if lacking := [seed for seed in seeds if seed not in predicted]:
        unverified.append(f"what the predictions of seed {', '.join(lacking)} would tell: they were not given")
    return replace(verified, checked=(*verified.checked, *checked), unverified=tuple(unverified), compared=same)


def _told_of(evidence: Evidence) -> set[str]:
    """What evidence tells of predictions."""
    confident = evidence.details is not None and evidence.details.reliability is not None
    there = {MASKS: evidence.origin.masks, SCENES: evidence.probabilities is not None, CONFIDENCES: confident}
    return {what for what, is_there in there.items() if is_there}


def _scored(seed: str, given: Predicted, classes: str | None, store: Store, track: Track, notify: Notify) -> Evidence:
    request = Given(f"seed {seed}", int(seed), given.pixels, classes if given.pixels else None, given.scene, False)
    check_given(request)
    with tempfile.TemporaryDirectory(prefix="seg-verify-") as folder:
        return scored_evidence(requested(request, store, "test", notify), Path(folder), LOCAL, (), track, notify)[0]


def _compare(seed: str, given: Predicted, evidence: Evidence, found: Evidence, *, elsewhere: bool) -> list[str]:
    """What was compared of a seed and is the same; of a run, whose confidences are rounded in maps, nearly the same."""
    if not evidence.patch_ids.equals(found.patch_ids):
        raise SubmissionError(f"the predictions of seed {seed} are of other patches than its evidence")
    told, compared = _told_of(evidence) & _told_of(found), []
    if MASKS in told:
        pairs = [(evidence.confusion, found.confusion)]
        if evidence.details is not None and found.details is not None:
            pairs += [(evidence.details.zones, found.details.zones), (evidence.details.bands, found.details.bands)]
        differing_N = np.logical_or.reduce([_differing(*pair) for pair in pairs])
        _require(MASKS, seed, given.pixels, differing_N, evidence)
        compared.append(MASKS)
    if CONFIDENCES in told and elsewhere:
        _require(CONFIDENCES, seed, given.pixels, _surer_or_less(evidence.details, found.details), evidence)
        compared.append(CONFIDENCES)
    if SCENES in told:
        assert evidence.probabilities is not None, "has scene labels"
        assert found.probabilities is not None, "has scene labels"
        away_NK = np.abs(evidence.probabilities - found.probabilities)
        _require(SCENES, seed, given.scene, (away_NK > (0 if elsewhere else _SAME_PROBABILITY)).any(axis=1), evidence)
        if evidence.origin.ranked != found.origin.ranked:
            decided, other = ("evidence", "table") if found.origin.ranked else ("table", "evidence")
            raise SubmissionError(
                f"the {decided} of seed {seed} holds labels that were decided, and its {other} probabilities"
            )
        if (score := _other_score(evidence, found)) is not None:
            raise SubmissionError(
                f"{given.scene} does not give {score} of the evidence of seed {seed}, though nearly its probabilities: "
                "these are other predictions, or the evidence was edited"
            )
        compared.append(SCENES)
    if not compared:
        raise WrongUseError(
            f"the evidence of seed {seed} is of {' and '.join(sorted(_told_of(evidence)))}, and the predictions are not"
        )
    return compared


def _other_score(one: Evidence, other: Evidence) -> str | None:
    """A score of scene labels that two have not nearly the same, on the same patches; None if there is none."""
    assert one.probabilities is not None, "has scene labels"
    assert other.probabilities is not None, "has scene labels"
    scores = [scene_scores(given, one.labels) for given in (one.probabilities, other.probabilities)]
    for name, title in _SCENE_SCORES.items():
        first, second = (np.asarray(getattr(score, name), float) for score in scores)
        if not np.allclose(first, second, rtol=0, atol=_SAME_SCORE, equal_nan=True):
            return f"the {title}"
    return None


_SCENE_SCORES = {
    "ap": "average precision of each class",
    "ap_micro": "AP micro",
    "f1": "F1 of each class",
    "f1_micro": "F1 micro",
    "f1_samples": "F1 samples",
}


def _surer_or_less(one: Details | None, other: Details | None) -> Bools:
    """Of which patches confidences, losses or pooled probabilities differ, (N,); both have them."""
    assert one is not None, "has confidences"
    assert other is not None, "has confidences"
    assert one.reliability is not None, "has confidences"
    assert other.reliability is not None, "has confidences"
    differing_N = _differing(one.reliability, other.reliability)
    # By their definition these are there or not like the confidences.
    losses = np.array(one.losses_NSL, float), np.array(other.losses_NSL, float)
    differing_N |= ~np.isclose(*losses, rtol=1e-6, atol=0, equal_nan=True).all(axis=(1, 2))
    differing_N |= (np.array(one.pooled_NPK) != np.array(other.pooled_NPK)).any(axis=(1, 2))
    return differing_N


def _differing(one: PatchCounts, other: PatchCounts) -> Bools:
    """Which patches have other counts, (N,)."""
    blocks = [np.arange(begin, min(begin + _BLOCK, len(one))) for begin in range(0, len(one), _BLOCK)]
    return np.concatenate([(one.dense(rows) != other.dense(rows)).any(axis=1) for rows in blocks])


def _require(what: str, seed: str, path: Path | None, differing_N: Bools, evidence: Evidence) -> None:
    """Refuse evidence that predictions do not give."""
    if differing_N.any():
        first = evidence.patch_ids[int(differing_N.argmax())].as_py()
        raise SubmissionError(
            f"{path} does not give the {what} in the evidence of seed {seed}: "
            f"{counted(int(differing_N.sum()), 'patch differs', 'patches differ')}, {first} first; these are other "
            f"predictions{', --classes is another' * (what == MASKS)}, or the evidence was edited"
        )

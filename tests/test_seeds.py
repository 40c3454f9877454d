"""Seeds of an entry differ as trainings of their own do: those of real methods pass, and changed copies do not."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from entries import evidence_on, small_store
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.benchmark.seeds import FEW, LEAST, check_seed, seen_seed
from seg.errors import SubmissionError
from seg.metrics.evidence import CELLS, take_patches
from seg.metrics.evidence_file import load_evidence
from seg.metrics.sparse import sparse_counts
from seg.reben.classes import NUM_CLASSES

ENTRIES = Path(__file__).resolve().parents[1] / "results" / "leaderboard" / "submissions"
REAL = sorted(folder.name for folder in ENTRIES.iterdir() if len(list((folder / "seeds").iterdir())) > 1)


def evidence_of(name):
    return [load_evidence(folder) for folder in sorted((ENTRIES / name / "seeds").iterdir())]


def with_counts(evidence, counts_NKK):
    return replace(evidence, confusion=sparse_counts(counts_NKK.reshape(-1, CELLS)), details=None)


def counts_of(evidence):
    return evidence.confusion.dense().reshape(-1, NUM_CLASSES, NUM_CLASSES)


def moved(evidence, pixels, random):
    """A copy: in each patch, so many pixels of some class are predicted as another one."""
    counts_NKK = counts_of(evidence).copy()
    for counts_KK in counts_NKK:
        filled = np.argwhere(counts_KK)
        if not len(filled):
            continue
        true, predicted = filled[random.integers(len(filled))]
        taken = min(pixels, counts_KK[true, predicted])
        counts_KK[true, predicted] -= taken
        counts_KK[true, (predicted + random.integers(1, NUM_CLASSES)) % NUM_CLASSES] += taken
    noise = random.normal(0, 1e-5, evidence.probabilities.shape)
    probabilities = np.clip(evidence.probabilities + noise, 0, 1).astype(np.float32)
    return replace(with_counts(evidence, counts_NKK), probabilities=probabilities)


@pytest.mark.parametrize("name", REAL)
def test_seeds_of_real_methods_pass_and_changed_copies_do_not(name):
    random = np.random.default_rng(0)
    seeds = [seen_seed(str(number), one) for number, one in enumerate(evidence_of(name))]
    for number, seed in enumerate(seeds):
        assert check_seed(seed, seeds[:number]) == []
    for pixels in (1, 3, 10, 40):
        copy = moved(evidence_of(name)[1], pixels, random)
        with pytest.raises(SubmissionError, match="seeds 1 and copy"):
            check_seed(seen_seed("copy", copy), seeds)


@pytest.mark.parametrize("name", REAL)
def test_differences_are_those_of_the_counts(name):
    """Against all counts of all patches, and far from what is refused or remarked."""
    for one, other in combinations(evidence_of(name), 2):
        first, second = counts_of(one), counts_of(other)
        wrong = [int(counts.sum() - np.einsum("nkk->", counts)) for counts in (first, second)]
        share = np.abs(first - second).sum() / 2 / np.mean(wrong)
        assert share > FEW
        a, b = seen_seed("a", one), seen_seed("b", other)
        assert [a.wrong, b.wrong] == wrong
        limit = share * 1.001
        with pytest.MonkeyPatch.context() as here:
            here.setattr("seg.benchmark.seeds.LEAST", limit)
            with pytest.raises(SubmissionError, match=rf"differ by {100 * share:.2g} % of the pixels"):
                check_seed(b, [a])
            here.setattr("seg.benchmark.seeds.LEAST", share * 0.999)
            here.setattr("seg.benchmark.seeds.FEW", 2.0)
            assert len(check_seed(b, [a])) == 1


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Evidence of two trainings on many patches."""
    store = small_store(tmp_path_factory.mktemp("seeds"))
    rows = np.repeat(np.arange(10), 10)
    return [take_patches(evidence_on(store, seed), rows) for seed in (1, 2)]


@given(st.floats(0.0, 1.0), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_copies_of_which_some_patches_are_others(many, share, seed):
    one, other = many
    random = np.random.default_rng(seed)
    taken = random.random(len(one)) < share
    counts_NKK = np.where(taken[:, None, None], counts_of(other), counts_of(one))
    mixed = replace(with_counts(one, counts_NKK), probabilities=other.probabilities)
    if taken.mean() < 0.45:
        with pytest.raises(SubmissionError, match="seeds 0 and 1 have the very same counts in"):
            check_seed(seen_seed("1", mixed), [seen_seed("0", one)])
    elif taken.mean() > 0.55:
        assert check_seed(seen_seed("1", mixed), [seen_seed("0", one)]) == []


def test_labels_and_masks_count_each_for_themselves(many):
    one, other = many
    closest = np.nextafter(one.probabilities, np.float32(0.5))
    for probabilities in (one.probabilities, closest, one.probabilities + np.float32(1e-5)):
        with pytest.raises(SubmissionError, match="scene predictions of seeds 0 and 1 differ by"):
            check_seed(seen_seed("1", replace(other, probabilities=probabilities)), [seen_seed("0", one)])
    bare = [replace(evidence, probabilities=None) for evidence in many]
    assert check_seed(seen_seed("1", bare[1]), [seen_seed("0", bare[0])]) == []
    labels = [replace(evidence, origin=replace(evidence.origin, masks=False)) for evidence in many]
    assert check_seed(seen_seed("1", labels[1]), [seen_seed("0", labels[0])]) == []
    decided = [replace(one, probabilities=(one.probabilities > 0.5).astype(np.float32)) for one in labels]
    assert check_seed(seen_seed("1", decided[1]), [seen_seed("0", decided[0])]) == []
    assert LEAST < FEW

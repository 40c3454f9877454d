"""Scores over the CLC groups against scikit-learn on relabelled pixels, and the groups themselves."""

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg.metrics.hierarchy import HierarchyScores, hierarchy_scores
from seg.reben.classes import CLASSES, CLC_GROUPS, NUM_CLASSES, class_index

K = NUM_CLASSES
# Written down from the CLC legend, in the order of the 19 classes.
LEVEL_2 = (11, 12, 21, 22, 23, 24, 24, 24, 31, 31, 31, 32, 32, 32, 33, 41, 42, 51, 52)
NAMES = {
    1: ("Artificial surfaces", "Agricultural areas", "Forest and semi-natural areas", "Wetlands", "Water bodies"),
    2: (
        "Urban fabric",
        "Industrial, commercial and transport units",
        "Arable land",
        "Permanent crops",
        "Pastures",
        "Heterogeneous agricultural areas",
        "Forests",
        "Scrub and/or herbaceous vegetation associations",
        "Open spaces with little or no vegetation",
        "Inland wetlands",
        "Maritime wetlands",
        "Inland waters",
        "Marine waters",
    ),
}
URBAN, BROAD_LEAVED, CONIFEROUS = 0, 8, 9
GRASSLAND, BEACHES, INLAND_WATERS, MARINE_WATERS = 11, 14, 17, 18


def relabelled(level: int, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.array(LEVEL_2)[classes] // 10 ** (2 - level)


def scores_of(true: list[int] | npt.NDArray[np.int64], guess: list[int] | npt.NDArray[np.int64]) -> HierarchyScores:
    counts = np.zeros((K, K), np.int64)
    np.add.at(counts, (np.asarray(true, int), np.asarray(guess, int)), 1)
    return hierarchy_scores(counts)


def test_groups_of_the_classes() -> None:
    assert tuple(c.level2 for c in CLASSES) == LEVEL_2
    assert all(c.level1 == c.level2 // 10 for c in CLASSES)
    assert {c.level1 for c in CLASSES} | {c.level2 for c in CLASSES} == CLC_GROUPS.keys()


def test_codes_of_another_group_are_the_two_that_are_documented() -> None:
    strays = {code: c.name for c in CLASSES for code in c.codes if code // 10 != c.level2}
    assert strays == {241: "Permanent crops", 333: "Natural grassland and sparsely vegetated areas"}
    assert all(code // 100 == c.level1 for c in CLASSES for code in c.codes)
    assert class_index("Permanent crops") == 3
    assert class_index("Natural grassland and sparsely vegetated areas") == GRASSLAND


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.lists(st.integers(0, K - 1), min_size=1, max_size=6))
def test_scores_equal_scikit_learn_on_relabelled_pixels(seed: int, pixels: int, classes: list[int]) -> None:
    random = np.random.default_rng(seed)
    true = random.choice(classes, pixels)
    guess = np.where(random.random(pixels) < 0.5, true, random.integers(0, K, pixels))
    scores = scores_of(true, guess)
    assert [level.level for level in scores.levels] == [2, 1]
    for level in scores.levels:
        assert level.names == NAMES[level.level]
        groups = sorted(set(relabelled(level.level, np.arange(K)).tolist()))
        of_true, of_guess = relabelled(level.level, true), relabelled(level.level, guess)
        present = [group for group in groups if group in of_true]
        iou = sk.jaccard_score(of_true, of_guess, labels=present, average=None, zero_division=0)
        expected = dict.fromkeys(groups, np.nan) | dict(zip(present, iou.tolist(), strict=True))
        np.testing.assert_allclose(level.iou, list(expected.values()), rtol=1e-12)
        assert level.support.tolist() == [int((of_true == group).sum()) for group in groups]
        assert level.miou == pytest.approx(iou.mean(), rel=1e-12)
        assert level.oa == pytest.approx(sk.accuracy_score(of_true, of_guess), rel=1e-12)
        assert level.classes_averaged == len(present)


@pytest.mark.parametrize(
    ("true", "guess", "thirds"),
    [
        (CONIFEROUS, CONIFEROUS, 0),
        (CONIFEROUS, BROAD_LEAVED, 1),
        (CONIFEROUS, GRASSLAND, 2),
        (GRASSLAND, BEACHES, 2),
        (INLAND_WATERS, MARINE_WATERS, 2),
        (CONIFEROUS, URBAN, 3),
        (15, INLAND_WATERS, 3),  # inland wetlands
        (3, 5, 2),  # permanent crops, complex cultivation
    ],
)
def test_cost_of_one_mistake(true: int, guess: int, thirds: int) -> None:
    for pair in ((true, guess), (guess, true)):
        assert scores_of([pair[0]], [pair[1]]).mean_cost == pytest.approx(thirds / 3)
    # Among three that are right.
    assert scores_of([true, 2, 2, 2], [guess, 2, 2, 2]).mean_cost == pytest.approx(thirds / 12)


def test_mistakes_within_a_group_are_none_at_its_level() -> None:
    scores = scores_of([CONIFEROUS, CONIFEROUS, URBAN], [BROAD_LEAVED, GRASSLAND, URBAN])
    level_2, level_1 = scores.levels
    assert (level_2.oa, level_1.oa) == (pytest.approx(2 / 3), 1)
    assert (level_2.miou, level_1.miou) == (pytest.approx((0.5 + 1) / 2), 1)
    assert (level_2.classes_averaged, level_1.classes_averaged) == (2, 2)
    assert scores.mean_cost == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)


def test_group_that_is_predicted_but_absent_is_undefined() -> None:
    level_1 = scores_of([URBAN, URBAN], [URBAN, MARINE_WATERS]).levels[1]
    assert (level_1.miou, level_1.classes_averaged) == (0.5, 1)
    assert np.isnan(level_1.iou[4])


def test_without_labelled_pixels_nothing_is_defined() -> None:
    scores = scores_of([], [])
    assert np.isnan(scores.mean_cost)
    assert all(np.isnan([level.miou, level.oa]).all() and np.isnan(level.iou).all() for level in scores.levels)


@settings(deadline=None)
@given(hnp.arrays(np.int64, (K, K), elements=st.integers(0, 2**51), fill=st.just(0)))
def test_scores_equal_exact_arithmetic_on_huge_counts(counts_KK: npt.NDArray[np.int64]) -> None:
    scores = hierarchy_scores(counts_KK)
    cells = [(i, j, int(counts_KK[i, j])) for i in range(K) for j in range(K)]
    total = sum(count for _, _, count in cells)
    if not total:
        return
    cost = Fraction(0)
    for i, j, count in cells:
        ancestors = zip((i, LEVEL_2[i], LEVEL_2[i] // 10), (j, LEVEL_2[j], LEVEL_2[j] // 10), strict=True)
        cost += count * Fraction(sum(first != second for first, second in ancestors), 3)
    assert scores.mean_cost == pytest.approx(float(cost / total), rel=1e-14)
    for level, size in zip(scores.levels, (1, 10), strict=True):
        right = sum(count for i, j, count in cells if LEVEL_2[i] // size == LEVEL_2[j] // size)
        assert level.oa == pytest.approx(float(Fraction(right, total)), rel=1e-14)
        assert int(level.support.sum()) == total


def test_shapes_that_only_a_bug_gives() -> None:
    with pytest.raises(AssertionError):
        hierarchy_scores(np.zeros((5, 5), np.int64))
    with pytest.raises(AssertionError, match="int64"):
        hierarchy_scores(np.zeros((K, K), np.float32))

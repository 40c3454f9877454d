"""Joint scores against brute force."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg.metrics.joint import agreement, implied_labels, joint_scores
from seg.metrics.scene import label_scores
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.reben.reference_map import implied_bits

Areas = npt.NDArray[np.int64]
AREAS = hnp.arrays(np.int64, st.tuples(st.integers(1, 5), st.just(4)), elements=st.integers(0, 14400), fill=st.just(0))
SHARES = st.sampled_from([0.0, 0.001, 0.05, 0.07, 0.1, 0.25, 0.5, 1.0])


@given(AREAS, SHARES)
def test_implied_labels_equal_brute_force(areas: Areas, share: float) -> None:
    implied = implied_labels(areas, share)
    for patch, row in enumerate(areas.tolist()):
        for c, area in enumerate(row):
            assert implied[patch, c] == (area > 0 and area / sum(row) >= share)


def test_share_is_reached_exactly() -> None:
    # 0.07 * 100 is 7.000000000000001 in binary.
    np.testing.assert_array_equal(implied_labels(np.array([[7, 93], [6, 94]]), 0.07), [[True, True], [False, True]])


def test_one_pixel_is_enough_and_no_pixel_implies_nothing() -> None:
    np.testing.assert_array_equal(implied_labels(np.array([[1, 14399], [0, 0]])), [[True, True], [False, False]])
    with pytest.raises(AssertionError):
        implied_labels(np.array([[1]]), 1.5)


@given(hnp.arrays(np.uint8, (4, 4), elements=st.sampled_from([0, 3, 18, IGNORE_INDEX])))
def test_rule_is_that_of_the_official_labels(indices: npt.NDArray[np.uint8]) -> None:
    areas = np.bincount(indices.ravel(), minlength=256)[:NUM_CLASSES]
    bits = int((implied_labels(areas[None])[0] << np.arange(NUM_CLASSES)).sum())
    assert bits == implied_bits(indices)


def test_agreement_is_the_share_of_equal_decisions() -> None:
    first = np.array([[True, False, True], [False, False, False]])
    assert agreement(first, first) == 1
    assert agreement(first, ~first) == 0
    assert agreement(first, np.array([[True, True, True], [False, True, False]])) == pytest.approx(4 / 6)
    assert np.isnan(agreement(first[:0], first[:0]))


def test_joint_scores_hold_mask_head_and_map_against_the_truth() -> None:
    predicted = np.array([[10, 0, 5], [0, 15, 0], [1, 1, 1]])
    reference = np.array([[10, 5, 0], [0, 15, 0], [3, 0, 0]])
    labels = np.array([[True, True, False], [False, True, False], [True, False, True]])
    decided = np.array([[True, True, True], [False, True, False], [True, True, True]])
    joint = joint_scores(predicted, reference, labels, decided, ~decided)
    assert joint.mask.f1_micro == pytest.approx(2 * 4 / (6 + 5))
    assert joint.mask.f1_samples == pytest.approx((2 / 4 + 1 + 4 / 5) / 3)
    assert joint.reference.f1_micro == pytest.approx(2 * 4 / (4 + 5))
    assert joint.reference_exact == pytest.approx(2 / 3)
    assert joint.agreement == pytest.approx(8 / 9)
    assert joint.agreement_fitted == pytest.approx(1 / 9)
    assert joint.min_share == 0


def test_reference_is_scored_by_the_same_rule_as_the_mask() -> None:
    areas = np.array([[1, 99], [50, 50]])
    labels = areas > 0
    joint = joint_scores(areas, areas, labels, min_share=0.02)
    assert joint.mask.f1_micro == joint.reference.f1_micro == label_scores(areas >= 2, labels).f1_micro
    assert joint.reference_exact == 0.5
    assert joint_scores(areas, areas, labels).reference_exact == 1


def test_without_scene_head_there_is_no_agreement() -> None:
    areas = np.array([[1, 0]])
    joint = joint_scores(areas, areas, areas > 0)
    assert np.isnan([joint.agreement, joint.agreement_fitted]).all()

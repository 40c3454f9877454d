"""Confused classes against brute force and scikit-learn."""

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg.metrics.confusion import ConfusedPair, most_confused, normalised
from seg.reben.classes import NUM_CLASSES

Counts = npt.NDArray[np.int64]
COUNTS = hnp.arrays(
    np.int64,
    st.integers(1, 6).map(lambda k: (k, k)),
    elements=st.one_of(st.integers(0, 3), st.integers(0, 2**50)),
    fill=st.just(0),
)


@given(COUNTS, st.integers(0, 40))
def test_most_confused_equals_brute_force(counts: Counts, most: int) -> None:
    rows = counts.tolist()
    size = range(len(rows))
    wrong = {(t, p): rows[t][p] for t in size for p in size if t != p and rows[t][p]}
    ranked = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:most]
    expected = tuple(
        ConfusedPair(t, p, pixels, pixels / sum(rows[t]), pixels / sum(wrong.values())) for (t, p), pixels in ranked
    )
    assert most_confused(counts, most) == expected


@given(COUNTS)
def test_shares_of_the_errors_sum_to_one(counts: Counts) -> None:
    pairs = most_confused(counts, most=counts.size)
    assert sum(pair.pixels for pair in pairs) == counts.sum() - counts.trace()
    if pairs:
        assert sum(pair.share_of_errors for pair in pairs) == pytest.approx(1)


def test_fifteen_pairs_of_19_classes_the_most_frequent_first() -> None:
    counts = np.random.default_rng(0).integers(1, 10**9, (NUM_CLASSES, NUM_CLASSES))
    pairs = most_confused(counts)
    assert len(pairs) == 15
    assert [p.pixels for p in pairs] == sorted(counts[~np.eye(NUM_CLASSES, dtype=bool)], reverse=True)[:15]


def test_equal_pairs_stand_in_the_order_of_the_classes() -> None:
    pairs = most_confused(np.full((4, 4), 5), most=4)
    assert [(p.true, p.predicted) for p in pairs] == [(0, 1), (0, 2), (0, 3), (1, 0)]


def test_counts_stay_as_they_are_and_nothing_wrong_confuses_nothing() -> None:
    counts = np.array([[5, 0], [0, 0]])
    assert most_confused(counts) == ()
    assert most_confused(np.zeros((2, 2), np.int64)) == ()
    np.testing.assert_array_equal(counts, [[5, 0], [0, 0]])


@given(COUNTS)
def test_rows_of_normalised_counts_sum_to_one(counts: Counts) -> None:
    shares = normalised(counts)
    present = counts.sum(axis=1) > 0
    assert np.isnan(shares[~present]).all()
    np.testing.assert_allclose(shares[present].sum(axis=1), 1)


def test_normalised_counts_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    true, predicted = rng.integers(0, 7, 500), rng.integers(0, 7, 500)
    counts = sk.confusion_matrix(true, predicted).astype(np.int64)
    np.testing.assert_allclose(normalised(counts), sk.confusion_matrix(true, predicted, normalize="true"), rtol=1e-15)
    (worst,) = most_confused(counts, most=1)
    assert worst.pixels == sum((true == worst.true) & (predicted == worst.predicted))
    assert worst.share_of_errors == pytest.approx(worst.pixels / sum(true != predicted))


@pytest.mark.parametrize("broken", [np.zeros((2, 3), np.int64), np.zeros(4, np.int64), np.zeros((2, 2))])
@pytest.mark.parametrize("function", [most_confused, normalised])
def test_what_are_no_counts_is_a_bug(function, broken) -> None:
    with pytest.raises(AssertionError):
        function(broken)

"""Scene scores against scikit-learn, torchmetrics and brute force."""

from itertools import pairwise
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

from seg.errors import EvidenceError
from seg.metrics.scene import average_precision, decide, fit_thresholds, label_scores, scene_scores

Bools = npt.NDArray[np.bool_]
Probabilities = npt.NDArray[np.float32]

TIED = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
FREE = st.floats(0, 1, width=32)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Probabilities, Bools]:
    """Probabilities, often tied, and labels, with classes that no patch or every patch has."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=8))
    probabilities = draw(hnp.arrays(np.float32, shape, elements=draw(st.sampled_from([TIED, FREE]))))
    labels = draw(hnp.arrays(np.bool_, shape))
    rule = draw(hnp.arrays(np.int8, shape[1], elements=st.integers(0, 2)))
    return probabilities, (labels & (rule != 0)) | (rule == 2)


@given(cases())
def test_average_precision_equals_scikit_learn(case: tuple[Probabilities, Bools]) -> None:
    probabilities, labels = case
    scores = scene_scores(probabilities, labels)
    present = labels.any(axis=0)
    assert np.isnan(scores.ap[~present]).all()
    expected = [sk.average_precision_score(labels[:, c], probabilities[:, c]) for c in np.flatnonzero(present)]
    np.testing.assert_allclose(scores.ap[present], expected, rtol=1e-12)
    assert scores.classes_averaged == present.sum()
    np.testing.assert_array_equal(scores.support, labels.sum(axis=0))
    if present.any():
        assert scores.ap_macro == pytest.approx(np.mean(expected), rel=1e-12)
        micro = sk.average_precision_score(labels.ravel(), probabilities.ravel())
        assert scores.ap_micro == pytest.approx(micro, rel=1e-12)
    else:
        assert np.isnan([scores.ap_macro, scores.ap_micro, scores.f1_macro, scores.f1_micro]).all()


@given(cases())
def test_f1_equals_scikit_learn_over_the_classes_that_occur(case: tuple[Probabilities, Bools]) -> None:
    probabilities, labels = case
    decided = probabilities > 0.5
    scores = scene_scores(probabilities, labels)
    present = np.flatnonzero(labels.any(axis=0))
    true, guess = labels.astype(int), decided.astype(int)
    if labels.shape[1] > 1:  # one column is binary to scikit-learn, which has no samples average
        samples = sk.f1_score(true, guess, average="samples", zero_division=1.0)
        assert scores.f1_samples == pytest.approx(samples, rel=1e-12)
    for c in range(labels.shape[1]):
        if c not in present:
            assert np.isnan([scores.f1[c], scores.precision[c], scores.recall[c]]).all()
            continue
        precision, recall, f1, _ = sk.precision_recall_fscore_support(
            true[:, c], guess[:, c], average="binary", zero_division=np.nan
        )
        np.testing.assert_allclose(
            [scores.precision[c], scores.recall[c], scores.f1[c]], [precision, recall, f1], rtol=1e-12
        )
    if present.size:
        assert scores.f1_macro == pytest.approx(np.mean(scores.f1[present]), rel=1e-12)
        assert scores.f1_micro == pytest.approx(sk.f1_score(true.ravel(), guess.ravel()), rel=1e-12)


def test_scores_equal_torchmetrics_where_every_class_occurs() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((300, 19)) < np.linspace(0.02, 0.9, 19)
    labels[0] = True
    probabilities = (0.6 * rng.random((300, 19)) + 0.4 * labels).round(2).astype(np.float32)
    scores = scene_scores(probabilities, labels)
    pair = torch.from_numpy(probabilities), torch.from_numpy(labels).long()
    np.testing.assert_allclose(scores.ap, multilabel_average_precision(*pair, 19, average="none"), rtol=1e-5)
    for average in ("macro", "micro"):
        ap, f1 = (getattr(scores, f"{name}_{average}") for name in ("ap", "f1"))
        assert ap == pytest.approx(float(multilabel_average_precision(*pair, 19, average=average)), rel=1e-5)
        assert f1 == pytest.approx(float(multilabel_f1_score(*pair, 19, average=average)), rel=1e-5)


def test_class_without_positives_is_left_out_where_torchmetrics_counts_zero() -> None:
    probabilities = np.array([[0.9, 0.8], [0.1, 0.7]], dtype=np.float32)
    labels = np.array([[True, False], [False, False]])
    scores = scene_scores(probabilities, labels)
    assert (scores.ap_macro, scores.f1_macro, scores.classes_averaged) == (1.0, 1.0, 1)
    # The false alarms of the absent class still count where decisions are taken together.
    assert scores.f1_micro == pytest.approx(2 / (2 + 2))
    assert scores.f1_samples == pytest.approx((2 / 3 + 0) / 2)


@given(cases(), st.randoms(use_true_random=False))
def test_order_of_the_patches_does_not_matter(case: tuple[Probabilities, Bools], random: Random) -> None:
    probabilities, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    before, after = scene_scores(probabilities, labels), scene_scores(probabilities[order], labels[order])
    np.testing.assert_array_equal(before.ap, after.ap)
    np.testing.assert_equal(before.ap_micro, after.ap_micro)
    np.testing.assert_array_equal(
        fit_thresholds(probabilities, labels), fit_thresholds(probabilities[order], labels[order])
    )


def test_class_positive_everywhere_has_perfect_ap() -> None:
    assert average_precision(np.array([0.1, 0.0, 0.9]), np.ones(3, dtype=bool)) == 1.0


def test_equal_scores_have_the_precision_of_chance() -> None:
    assert average_precision(np.full(4, 0.3), np.array([True, False, False, False])) == 0.25


def test_one_patch() -> None:
    scores = scene_scores(np.array([[0.9, 0.6, 0.2]], np.float32), np.array([[True, False, True]]))
    np.testing.assert_array_equal(scores.ap, [1.0, np.nan, 1.0])
    np.testing.assert_array_equal(scores.f1, [1.0, np.nan, 0.0])
    np.testing.assert_array_equal(scores.precision, [1.0, np.nan, np.nan])
    assert scores.f1_samples == pytest.approx(2 / 4)
    assert scores.ap_micro == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_patch_without_labels_that_gets_none_is_right() -> None:
    nothing = np.zeros((2, 3), dtype=bool)
    assert label_scores(nothing, nothing).f1_samples == 1.0
    assert label_scores(np.array([[False], [True]]), nothing[:, :1]).f1_samples == 0.5


def test_no_patches_are_undefined() -> None:
    scores = scene_scores(np.zeros((0, 3), np.float32), np.zeros((0, 3), dtype=bool))
    assert np.isnan([scores.ap_macro, scores.ap_micro, scores.f1_macro, scores.f1_micro, scores.f1_samples]).all()
    np.testing.assert_array_equal(fit_thresholds(np.zeros((0, 3), np.float32), np.zeros((0, 3), dtype=bool)), [0.5] * 3)


def test_decision_needs_more_than_the_threshold_and_has_one_per_class() -> None:
    probabilities = np.array([[0.5, 0.5], [np.nextafter(np.float32(0.5), np.float32(1)), 0.2]], dtype=np.float32)
    np.testing.assert_array_equal(decide(probabilities), [[False, False], [True, False]])
    np.testing.assert_array_equal(decide(probabilities, np.array([0.5, 0.1])), [[False, True], [True, True]])
    scores = scene_scores(probabilities, np.ones((2, 2), dtype=bool), np.array([0.5, 0.1]))
    np.testing.assert_array_equal(scores.recall, [0.5, 1.0])
    np.testing.assert_array_equal(scores.thresholds, [0.5, 0.1])
    np.testing.assert_array_equal(scene_scores(probabilities, np.ones((2, 2), dtype=bool)).thresholds, [0.5, 0.5])


@pytest.mark.parametrize("score", [scene_scores, fit_thresholds])
@pytest.mark.parametrize(
    ("value", "sentence"),
    [(np.nan, "1 of 3 patches are NaN.*train.lr"), (1.5, "sigmoid"), (-0.1, "sigmoid"), (np.inf, "sigmoid")],
)
def test_no_probabilities_are_refused(score, value: float, sentence: str) -> None:  # type: ignore[no-untyped-def]
    probabilities = np.full((3, 2), 0.5, dtype=np.float32)
    probabilities[1, 1] = value
    with pytest.raises(EvidenceError, match=sentence):
        score(probabilities, np.ones((3, 2), dtype=bool))


def test_labels_that_are_not_bool_are_a_bug() -> None:
    with pytest.raises(AssertionError, match="bool"):
        label_scores(np.ones((2, 2), dtype=bool), np.ones((2, 2)))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        scene_scores(np.ones((2, 2), dtype=np.float32), np.ones((2, 3), dtype=bool))


def f1_at(probabilities: npt.NDArray[np.floating], positive: Bools, threshold: float) -> float:
    decided = probabilities.astype(np.float64) > threshold
    return 2 * float((decided & positive).sum()) / float(decided.sum() + positive.sum())


@given(cases())
def test_fitted_thresholds_are_the_best_and_nearest_to_a_half(case: tuple[Probabilities, Bools]) -> None:
    probabilities, labels = case
    fitted = fit_thresholds(probabilities, labels)
    assert ((fitted >= 0) & (fitted < 1)).all()
    for c, threshold in enumerate(fitted):
        scores, positive = probabilities[:, c], labels[:, c]
        if not positive.any():
            assert threshold == 0.5
            continue
        # Every distinct set of decisions, by the middle of each gap between neighbouring probabilities.
        edges = np.unique(np.append(scores.astype(np.float64), 0.0))
        gaps = [(low + high) / 2 for low, high in pairwise(edges)]
        best = max((f1_at(scores, positive, gap) for gap in gaps), default=0.0)
        if best == 0:
            assert threshold == 0.5
        else:
            assert f1_at(scores, positive, threshold) == best
            as_good = [gap for gap in gaps if f1_at(scores, positive, gap) == best]
            assert threshold == max(as_good, key=lambda gap: (-abs(gap - 0.5), gap))


@settings(max_examples=50)
@given(
    hnp.arrays(np.float64, 6, elements=st.floats(0, 1)), st.integers(0, 5), st.sampled_from([np.float32, np.float64])
)
def test_thresholds_part_even_neighbouring_floats(values: npt.NDArray[np.float64], at: int, dtype: type) -> None:
    scores: npt.NDArray[np.floating] = values.astype(dtype)
    scores[0] = np.nextafter(scores[at], dtype(2))
    if scores[0] > 1:
        scores[0], scores[at] = 1, np.nextafter(dtype(1), dtype(0))
    positive = scores >= scores[0]
    fitted = fit_thresholds(scores[:, None], positive[:, None])
    np.testing.assert_array_equal(decide(scores[:, None], fitted)[:, 0], positive)


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_taken() -> None:
    # Deciding for the first patch or for all four gives an F1 of 2/3.
    probabilities = np.array([[0.9], [0.8], [0.7], [0.6]], dtype=np.float32)
    labels = np.array([[True], [False], [False], [True]])
    assert fit_thresholds(probabilities, labels) == pytest.approx([0.3])
    assert fit_thresholds(probabilities - np.float32(0.5), labels) == pytest.approx([0.35])


def test_fitting_helps_where_a_half_is_wrong() -> None:
    probabilities = np.array([[0.1], [0.2], [0.3], [0.4]], dtype=np.float32)
    labels = np.array([[False], [False], [True], [True]])
    fitted = fit_thresholds(probabilities, labels)
    assert fitted == pytest.approx([0.25])
    assert scene_scores(probabilities, labels).f1_macro == 0
    assert scene_scores(probabilities, labels, fitted).f1_macro == 1

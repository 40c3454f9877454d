"""Pixel scores against brute force, torchmetrics and scikit-learn."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index

from seg.errors import EvidenceError
from seg.metrics.pixel import PixelScores, confusion_counts, pixel_scores
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES

Counts = npt.NDArray[np.int64]
MEANS = ("miou", "mf1", "macc", "oa", "fwiou")
PER_CLASS = ("iou", "f1", "precision", "recall")


@st.composite
def masks(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets and predictions over a few classes, so that classes are often absent or predicted but absent."""
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=5))
    true = draw(st.lists(st.sampled_from([*range(NUM_CLASSES), IGNORE_INDEX]), min_size=1, max_size=4))
    guesses = draw(st.lists(st.sampled_from(range(NUM_CLASSES)), min_size=1, max_size=4))
    target = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from(true)))
    predicted = draw(hnp.arrays(np.int64, shape, elements=st.sampled_from(guesses)))
    return torch.from_numpy(target), torch.from_numpy(predicted)


def brute_force_counts(target: torch.Tensor, predicted: torch.Tensor) -> Counts:
    counts = np.zeros((len(target), NUM_CLASSES, NUM_CLASSES), dtype=np.int64)
    for patch, (true_HW, guess_HW) in enumerate(zip(target.tolist(), predicted.tolist(), strict=True)):
        for true_W, guess_W in zip(true_HW, guess_HW, strict=True):
            for true, guess in zip(true_W, guess_W, strict=True):
                if true != IGNORE_INDEX:
                    counts[patch, true, guess] += 1
    return counts


def counts_of(target: list[int], predicted: list[int]) -> Counts:
    counts = confusion_counts(torch.tensor([[target]]), torch.tensor([[predicted]]))
    return counts.sum(0).numpy()


@given(masks())
def test_counts_equal_brute_force(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    counts = confusion_counts(*pair)
    assert counts.dtype == torch.int64
    np.testing.assert_array_equal(counts.numpy(), brute_force_counts(*pair))


@settings(max_examples=25)
@given(masks())
def test_counts_equal_torchmetrics(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    target, predicted = pair
    expected = multiclass_confusion_matrix(predicted, target.long(), NUM_CLASSES, ignore_index=IGNORE_INDEX)
    assert torch.equal(confusion_counts(target, predicted).sum(0), expected)


@pytest.mark.parametrize("target_dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("predicted_dtype", [torch.uint8, torch.int32, torch.int64])
def test_dtypes_and_strides_do_not_matter(target_dtype: torch.dtype, predicted_dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.choice([0, 3, 18, IGNORE_INDEX], (3, 8, 10))).to(target_dtype)
    predicted = torch.from_numpy(rng.integers(0, NUM_CLASSES, (3, 8, 10))).to(predicted_dtype)
    expected = brute_force_counts(target, predicted)
    np.testing.assert_array_equal(confusion_counts(target, predicted).numpy(), expected)
    strided = confusion_counts(target.transpose(1, 2), predicted.transpose(1, 2))
    np.testing.assert_array_equal(strided.numpy(), expected)


def test_empty_batch_has_no_counts() -> None:
    empty = torch.zeros((0, 4, 4), dtype=torch.int64)
    assert confusion_counts(empty, empty).shape == (0, NUM_CLASSES, NUM_CLASSES)


@pytest.mark.parametrize("target", [-1, NUM_CLASSES, 254, 256, 999])
def test_target_that_is_no_class_is_refused(target: int) -> None:
    with pytest.raises(
        EvidenceError, match=rf"1 pixels hold no class index, such as target {target} with prediction 0"
    ):
        confusion_counts(torch.tensor([[[0, target]]]), torch.tensor([[[0, 0]]]))


@pytest.mark.parametrize("predicted", [-1, NUM_CLASSES, IGNORE_INDEX, 1000])
@pytest.mark.parametrize("target", [0, IGNORE_INDEX])
def test_prediction_that_is_no_class_is_refused_even_where_unlabelled(predicted: int, target: int) -> None:
    with pytest.raises(EvidenceError, match=f"target {target} with prediction {predicted}"):
        confusion_counts(torch.tensor([[[0, target]]]), torch.tensor([[[0, predicted]]]))


def test_shapes_and_dtypes_that_only_a_bug_gives() -> None:
    mask = torch.zeros((1, 2, 2), dtype=torch.int64)
    with pytest.raises(AssertionError):
        confusion_counts(mask, mask[:, :1])
    with pytest.raises(AssertionError):
        confusion_counts(mask[0], mask[0])
    with pytest.raises(AssertionError):
        confusion_counts(mask, mask.float())
    with pytest.raises(AssertionError, match="int64"):
        pixel_scores(np.zeros((NUM_CLASSES, NUM_CLASSES), np.float32))


@given(masks())
def test_scores_equal_scikit_learn_over_the_classes_of_the_reference(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    target, predicted = (array.flatten().numpy() for array in pair)
    labelled = target != IGNORE_INDEX
    target, predicted = target[labelled], predicted[labelled]
    scores = pixel_scores(confusion_counts(*pair).sum(0).numpy())
    present = sorted(set(target.tolist()))
    absent = np.setdiff1d(np.arange(NUM_CLASSES), present)
    assert scores.classes_averaged == len(present)
    assert all(np.isnan(getattr(scores, name)[absent]).all() for name in PER_CLASS)
    np.testing.assert_array_equal(scores.support, np.bincount(target, minlength=NUM_CLASSES))
    if not present:
        assert all(np.isnan(getattr(scores, name)) for name in MEANS)
        return
    options = {"labels": present, "average": None, "zero_division": np.nan}
    references = {
        "iou": sk.jaccard_score(target, predicted, **(options | {"zero_division": 0})),
        "f1": sk.f1_score(target, predicted, **options),
        "precision": sk.precision_score(target, predicted, **options),
        "recall": sk.recall_score(target, predicted, **options),
    }
    for name, reference in references.items():
        np.testing.assert_allclose(getattr(scores, name)[present], reference, rtol=1e-12, err_msg=name)
    assert scores.miou == pytest.approx(references["iou"].mean(), rel=1e-12)
    assert scores.mf1 == pytest.approx(references["f1"].mean(), rel=1e-12)
    assert scores.macc == pytest.approx(references["recall"].mean(), rel=1e-12)
    assert scores.oa == pytest.approx(sk.accuracy_score(target, predicted), rel=1e-12)
    weighted = sk.jaccard_score(target, predicted, labels=present, average="weighted")
    assert scores.fwiou == pytest.approx(weighted, rel=1e-12)


def test_iou_equals_torchmetrics_where_every_class_occurs() -> None:
    rng = np.random.default_rng(1)
    target = torch.from_numpy(rng.permutation(np.arange(2000) % NUM_CLASSES)).view(1, 40, 50)
    predicted = torch.where(torch.from_numpy(rng.random((1, 40, 50)) < 0.6), target, target.flip(1))
    scores = pixel_scores(confusion_counts(target, predicted).sum(0).numpy())
    expected = multiclass_jaccard_index(predicted, target, NUM_CLASSES, average="none").double().numpy()
    np.testing.assert_allclose(scores.iou, expected, rtol=1e-6)


def test_predicted_but_absent_class_is_undefined_and_still_counts_as_an_error() -> None:
    # Torchmetrics and the formula give class 5 an IoU of 0, which would lower the mean from 1/2 to 1/3.
    scores = pixel_scores(counts_of([0, 0, 1, 1], [0, 5, 1, 5]))
    assert np.isnan([getattr(scores, name)[5] for name in PER_CLASS]).all()
    assert (scores.miou, scores.classes_averaged) == (0.5, 2)
    assert (scores.oa, scores.fwiou, scores.macc) == (0.5, 0.5, 0.5)


def test_class_that_is_never_predicted_has_no_precision_but_scores_zero() -> None:
    scores = pixel_scores(counts_of([0, 0, 1], [0, 0, 0]))
    assert np.isnan(scores.precision[1])
    assert (scores.iou[1], scores.f1[1], scores.recall[1]) == (0, 0, 0)
    assert scores.miou == pytest.approx((2 / 3 + 0) / 2)


def test_single_class() -> None:
    scores = pixel_scores(counts_of([7, 7, IGNORE_INDEX], [7, 7, 3]))
    assert [getattr(scores, name) for name in MEANS] == [1.0] * 5
    assert (scores.classes_averaged, scores.support[7], scores.support.sum()) == (1, 2, 2)


def test_everything_ignored_is_undefined_without_a_warning() -> None:
    scores: PixelScores = pixel_scores(counts_of([IGNORE_INDEX] * 4, [0, 1, 2, 3]))
    assert all(np.isnan(getattr(scores, name)) for name in MEANS)
    assert all(np.isnan(getattr(scores, name)).all() for name in PER_CLASS)
    assert scores.classes_averaged == 0


@given(hnp.arrays(np.int64, (NUM_CLASSES, NUM_CLASSES), elements=st.integers(0, 2**53), fill=st.just(0)))
def test_scores_equal_exact_arithmetic_on_huge_counts(counts_KK: Counts) -> None:
    # Cells up to 2^53 and sums beyond it: float32 counts stop at 2^24, float64 sums round.
    counts = [[int(cell) for cell in row] for row in counts_KK]
    scores = pixel_scores(counts_KK)
    total = sum(map(sum, counts))
    ious, frequency_weighted = [], Fraction(0)
    for c in range(NUM_CLASSES):
        reference, predicted = sum(counts[c]), sum(row[c] for row in counts)
        assert scores.support[c] == reference
        if reference:
            ious.append(Fraction(counts[c][c], reference + predicted - counts[c][c]))
            frequency_weighted += Fraction(reference, total) * ious[-1]
            assert scores.iou[c] == pytest.approx(float(ious[-1]), rel=1e-14)
            assert scores.f1[c] == pytest.approx(float(Fraction(2 * counts[c][c], reference + predicted)), rel=1e-14)
            assert scores.recall[c] == pytest.approx(float(Fraction(counts[c][c], reference)), rel=1e-14)
    if ious:
        assert scores.miou == pytest.approx(float(sum(ious) / len(ious)), rel=1e-13)
        assert scores.fwiou == pytest.approx(float(frequency_weighted), rel=1e-13)
        assert scores.oa == pytest.approx(
            float(Fraction(sum(counts[c][c] for c in range(NUM_CLASSES)), total)), rel=1e-14
        )


def test_one_pixel_more_than_float32_can_count() -> None:
    counts = np.zeros((NUM_CLASSES, NUM_CLASSES), dtype=np.int64)
    counts[2, 2], counts[2, 4] = 2**24 + 1, 1
    scores = pixel_scores(counts)
    assert scores.support[2] == 2**24 + 2
    assert scores.oa == (2**24 + 1) / (2**24 + 2)


def test_scores_need_no_torch() -> None:
    code = "import sys, seg.metrics.pixel, seg.metrics.scores; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_counts_stay_on_the_device_and_are_the_same_there() -> None:
    rng = np.random.default_rng(2)
    target = torch.from_numpy(rng.choice([0, 3, 18, IGNORE_INDEX], (4, 120, 120)))
    predicted = torch.from_numpy(rng.integers(0, NUM_CLASSES, (4, 120, 120)))
    counts = confusion_counts(target.cuda(), predicted.cuda())
    assert counts.is_cuda
    assert torch.equal(counts.cpu(), confusion_counts(target, predicted))
    with pytest.raises(EvidenceError):
        confusion_counts(target.cuda(), predicted.cuda() + 1)

"""Calibration against torchmetrics, scikit-learn and brute force; the temperature against a root finder."""

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import made_up_evidence
from scipy import optimize, special
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from seg.errors import EvidenceError
from seg.metrics.calibration import (
    PixelCalibration,
    confidence_counts,
    pixel_calibration,
    pooled_scores,
    scene_calibration,
)
from seg.metrics.evidence import CONFIDENCE_BINS, Details, Evidence, Origin, batch_evidence, take_patches
from seg.metrics.pixel import confusion_counts
from seg.metrics.sparse import sparse_counts
from seg.metrics.temperature import TEMPERATURES, LogitSample, fit_temperature
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES

K, BINS = NUM_CLASSES, CONFIDENCE_BINS


def batch(
    seed: int, shape: tuple[int, int, int] = (3, 9, 11), spread: float = 2.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are a little right, and targets of which a fifth is unlabelled."""
    random = np.random.default_rng(seed)
    target = random.integers(0, K, shape)
    logits = spread * random.standard_normal((shape[0], K, *shape[1:]))
    logits += spread * (np.arange(K)[:, None, None] == target[:, None])
    target[random.random(shape) < 0.2] = IGNORE_INDEX
    return torch.from_numpy(logits).float(), torch.from_numpy(target).to(torch.uint8)


def labelled_pixels(
    logits: torch.Tensor, target: torch.Tensor
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    chosen = target != IGNORE_INDEX
    return logits.movedim(1, -1)[chosen].double().numpy(), target[chosen].long().numpy()


def evidence_of(logits: torch.Tensor, target: torch.Tensor, temperature: float | None = None) -> Evidence:
    reliability, losses = confidence_counts(logits, target, temperature)
    size = len(target)
    details = Details(
        zones=sparse_counts(np.zeros((size, 2 * K * K), np.int64)),
        bands=sparse_counts(np.zeros((size, 3 * K), np.int64)),
        reliability=sparse_counts(reliability.numpy()),
        losses_NSL=losses.numpy(),
        pooled_NPK=np.zeros((size, 2, K), np.uint16),
    )
    counts = confusion_counts(target, logits.argmax(1)).numpy()
    origin = Origin("test", "", False, temperature=temperature)
    return batch_evidence(origin, [f"patch {b}" for b in range(size)], counts, counts.any(2), None, details=details)


def calibration_of(logits: torch.Tensor, target: torch.Tensor, temperature: float | None = None) -> PixelCalibration:
    calibration = pixel_calibration(evidence_of(logits, target, temperature))
    assert calibration is not None
    return calibration


def losses_of(logits_NK: npt.NDArray[np.float64], target_N: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Sums of the Brier score and of the negative log-likelihood."""
    p = special.softmax(logits_NK, axis=1)
    return float(((p - np.eye(K)[target_N]) ** 2).sum()), float(-np.log(p[np.arange(len(p)), target_N]).sum())


@pytest.mark.parametrize("temperature", [None, 0.4, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_counts_equal_brute_force(seed: int, temperature: float | None) -> None:
    logits, target = batch(seed)
    reliability, losses = confidence_counts(logits, target, temperature)
    assert (reliability.dtype, reliability.shape) == (torch.int64, (3, 2 * BINS * 3))
    assert (losses.dtype, losses.shape) == (torch.float64, (3, 2, 2))
    parts = reliability.view(3, 2, BINS, 3).numpy()
    for b in range(3):
        for scaled, divisor in enumerate([1.0, temperature]):
            if divisor is None:
                assert not parts[b, scaled].any()
                assert losses[b, scaled].isnan().all()
                continue
            logits_NK, target_N = labelled_pixels(logits[[b]] / divisor, target[[b]])
            expected = np.zeros((BINS, 3))
            for p, true in zip(special.softmax(logits_NK, axis=1), target_N, strict=True):
                number = next(i for i in range(BINS) if i / BINS < p.max() <= (i + 1) / BINS)
                expected[number] += 1, p.argmax() == true, p.max() * 65535
            np.testing.assert_array_equal(parts[b, scaled, :, :2], expected[:, :2])
            assert (np.abs(parts[b, scaled, :, 2] - expected[:, 2]) <= 0.51 * expected[:, 0]).all()
            np.testing.assert_allclose(losses[b, scaled], losses_of(logits_NK, target_N), rtol=1e-5)


@pytest.mark.parametrize("spread", [0.3, 1.5, 6.0])
def test_calibration_equals_torchmetrics_and_scikit_learn(spread: float) -> None:
    logits, target = batch(1, (4, 30, 40), spread)
    calibration = calibration_of(logits, target, 1.7)
    assert calibration.after is not None
    assert calibration.temperature == 1.7
    for scores, divisor in ((calibration.before, 1.0), (calibration.after, 1.7)):
        logits_NK, target_N = labelled_pixels(logits / divisor, target)
        p = special.softmax(logits_NK, axis=1)
        for norm, value in (("l1", scores.ece), ("max", scores.mce)):
            arrays = torch.from_numpy(p), torch.from_numpy(target_N)
            expected = multiclass_calibration_error(*arrays, K, n_bins=BINS, norm=norm)
            assert value == pytest.approx(float(expected), abs=2e-5)
        assert scores.nll == pytest.approx(sk.log_loss(target_N, p, labels=range(K)), rel=1e-5)
        assert scores.brier == pytest.approx(losses_of(logits_NK, target_N)[0] / len(p), rel=1e-5)
        assert int(scores.count.sum()) == len(p)
        filled = scores.count > 0
        assert np.isnan(scores.confidence[~filled]).all()
        assert np.isnan(scores.accuracy[~filled]).all()
        np.testing.assert_allclose((scores.count * scores.accuracy)[filled].sum(), (p.argmax(1) == target_N).sum())
        np.testing.assert_allclose((scores.count * scores.confidence)[filled].sum(), p.max(1).sum(), rtol=1e-5)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]), st.sampled_from([0.5, 1.0]))
@settings(max_examples=30, deadline=None)
def test_right_pixels_are_those_of_the_confusion_counts_even_with_ties(seed: int, levels: int, share: float) -> None:
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.integers(0, levels, (2, K, 5, 6))).float()
    target = torch.from_numpy(
        np.where(random.random((2, 5, 6)) < share, random.integers(0, K, (2, 5, 6)), IGNORE_INDEX)
    )
    evidence = evidence_of(logits, target, 2.0)
    assert evidence.details is not None
    counts = confusion_counts(target, logits.argmax(1)).numpy()
    parts = evidence.details.reliability.dense().reshape(2, 2, BINS, 3).sum(2)
    for scaled in range(2):
        np.testing.assert_array_equal(parts[:, scaled, 0], counts.sum((1, 2)))
        np.testing.assert_array_equal(parts[:, scaled, 1], np.trace(counts, axis1=1, axis2=2))


@pytest.mark.parametrize(("tied", "number"), [(15, 0), (5, 2), (3, 4), (2, 7), (1, 14)])
def test_upper_edge_of_a_bin_belongs_to_it(tied: int, number: int) -> None:
    # So many equal logits, and the others far below: a confidence of one over their number.
    logits = torch.full((1, K, 1, 1), -200.0)
    logits[:, :tied] = 3.3
    count = confidence_counts(logits, torch.zeros(1, 1, 1).long(), None)[0].view(2, BINS, 3)[0, :, 0]
    assert count.tolist() == [int(i == number) for i in range(BINS)]
    above = logits.clone()
    above[:, 0] += 1e-3
    count = confidence_counts(above, torch.zeros(1, 1, 1).long(), None)[0].view(2, BINS, 3)[0, :, 0]
    # One half is no edge, and nothing exceeds 1.
    assert int(count.argmax()) == number + (tied not in (1, 2))


def test_temperature_scales_the_logits() -> None:
    logits, target = batch(5)
    counts, losses = confidence_counts(logits, target, 2.0)
    scaled_counts, scaled_losses = confidence_counts(logits / 2, target, None)
    # Powers of two divide without rounding.
    assert torch.equal(counts.view(3, 2, -1)[:, 1], scaled_counts.view(3, 2, -1)[:, 0])
    assert torch.equal(losses[:, 1], scaled_losses[:, 0])
    same, same_losses = confidence_counts(logits, target, 1.0)
    assert torch.equal(same.view(3, 2, -1)[:, 0], same.view(3, 2, -1)[:, 1])
    assert torch.equal(same_losses[:, 0], same_losses[:, 1])


def test_batches_strides_dtypes_and_unlabelled_logits_do_not_matter() -> None:
    logits, target = batch(6)
    counts, losses = confidence_counts(logits, target, 1.3)
    for b in range(3):
        alone = confidence_counts(logits[[b]], target[[b]], 1.3)
        assert torch.equal(alone[0][0], counts[b])
        torch.testing.assert_close(alone[1][0], losses[b], rtol=1e-12, atol=0)
    last = confidence_counts(logits.to(memory_format=torch.channels_last), target.long(), 1.3)
    assert torch.equal(last[0], counts)
    torch.testing.assert_close(last[1], losses, rtol=1e-6, atol=0)
    elsewhere = torch.where((target == IGNORE_INDEX)[:, None], torch.full_like(logits, torch.nan), logits)
    for expected, found in zip((counts, losses), confidence_counts(elsewhere, target, 1.3), strict=True):
        assert torch.equal(expected, found)
    half = logits.bfloat16()
    assert torch.equal(confidence_counts(half, target, None)[0], confidence_counts(half.float(), target, None)[0])


def test_certain_logits_neither_overflow_nor_lose_the_loss() -> None:
    logits = torch.zeros((1, K, 1, 2))
    logits[0, 4, 0] = 1e4
    counts, losses = confidence_counts(logits, torch.tensor([[[4, 7]]]), None)
    assert counts.view(2, BINS, 3)[0, -1].tolist() == [2, 1, 2 * 65535]
    assert losses[0, 0].tolist() == [2, 1e4]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("k", [0, 7])
def test_diverged_logits_are_refused(value: float, k: int) -> None:
    logits, target = batch(7)
    target[1, 2, 3] = 7
    logits[1, k, 2, 3] = value
    for attempt in (
        lambda: confidence_counts(logits, target, None),
        lambda: confidence_counts(logits, target, 1.2),
        lambda: pooled_scores(logits),
        lambda: fit_temperature(*labelled_pixels(logits, target)),
    ):
        with pytest.raises(EvidenceError, match="diverged; train it again"):
            attempt()


def test_nothing_labelled_and_no_patches_leave_everything_undefined() -> None:
    logits, target = batch(8)
    for calibration in (
        calibration_of(logits, torch.full_like(target, IGNORE_INDEX), 1.5),
        calibration_of(logits[:0], target[:0], 1.5),
    ):
        assert calibration.after is not None
        for scores in (calibration.before, calibration.after):
            assert np.isnan([scores.ece, scores.mce, scores.brier, scores.nll]).all()
            assert np.isnan(scores.confidence).all()
            assert not scores.count.any()


def test_without_temperature_there_is_no_after_and_without_details_nothing() -> None:
    calibration = calibration_of(*batch(9))
    assert calibration.temperature is None
    assert calibration.after is None
    assert pixel_calibration(made_up_evidence(5, 2, details=False)) is None


def test_calibration_is_of_the_summed_counts() -> None:
    logits, target = batch(10, (6, 8, 8))
    whole = calibration_of(logits, target, 1.4)
    flat = calibration_of(logits.movedim(1, 0).flatten(1, 2)[None], target.flatten(0, 1)[None], 1.4)
    assert whole.after is not None
    assert flat.after is not None
    assert (whole.before.ece, whole.after.mce) == (flat.before.ece, flat.after.mce)
    assert whole.after.nll == pytest.approx(flat.after.nll, rel=1e-9)


@pytest.mark.parametrize("spread", [0.1, 3.0, 50.0])
def test_pooled_scores_equal_brute_force(spread: float) -> None:
    logits = batch(11, (4, 7, 8), spread)[0]
    p = special.softmax(logits.double().numpy(), axis=1).reshape(4, K, 56)
    pooled = pooled_scores(logits)
    assert (pooled.dtype, pooled.shape) == (np.uint16, (4, 2, K))
    np.testing.assert_allclose(pooled[:, 0] / 65535, p.max(2), atol=0.51 / 65535)
    lse = (special.logsumexp(5 * p, axis=2) - np.log(56)) / 5
    np.testing.assert_allclose(pooled[:, 1] / 65535, lse, atol=0.52 / 65535)
    assert (pooled[:, 1] <= pooled[:, 0]).all()


def test_pooled_scores_at_their_limits() -> None:
    logits = torch.full((1, K, 4, 4), -300.0)
    logits[0, 3] = 300
    assert pooled_scores(logits)[0, :, 3].tolist() == [65535, 65535]
    assert pooled_scores(logits)[0].sum() == 2 * 65535
    assert pooled_scores(logits[:0]).shape == (0, 2, K)


def binary_error(p: npt.NDArray[np.float32], y: npt.NDArray[np.bool_], norm: str = "l1") -> float:
    # Torchmetrics puts what is exactly 1 into a bin of its own.
    below_1 = torch.from_numpy(p).double().clamp(max=1 - 1e-9)
    return float(binary_calibration_error(below_1, torch.from_numpy(y).long(), BINS, norm))


def scene_evidence(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Evidence:
    p, y = np.asarray(probabilities, np.float32), np.asarray(labels, np.bool_)
    nothing = np.zeros((len(p), K, K), np.int64)
    return batch_evidence(Origin("test", "", False), [f"patch {b}" for b in range(len(p))], nothing, y, p)


@pytest.mark.parametrize("seed", range(3))
def test_scene_calibration_equals_torchmetrics_and_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    p = random.beta(0.4, 0.8, (300, K)).astype(np.float32)
    p[random.random(p.shape) < 0.05] = 0
    p[random.random(p.shape) < 0.05] = 1
    y = random.random(p.shape) < p**1.5 * 0.9 + 0.02
    scores = scene_calibration(scene_evidence(p, y))
    assert scores is not None
    overall = scores.overall
    for norm, value in (("l1", overall.ece), ("max", overall.mce)):
        assert value == pytest.approx(binary_error(p.ravel(), y.ravel(), norm), abs=2e-5)
    assert overall.brier == pytest.approx(sk.brier_score_loss(y.ravel(), p.ravel()), rel=1e-6)
    assert overall.nll == pytest.approx(sk.log_loss(y.ravel(), p.ravel()), rel=1e-5)
    assert (overall.count.sum(), overall.count[0]) == (p.size, (p <= 1 / 15).sum())
    for k in range(K):
        assert scores.ece_per_class[k] == pytest.approx(binary_error(p[:, k], y[:, k]), abs=2e-5)
        assert scores.brier_per_class[k] == pytest.approx(sk.brier_score_loss(y[:, k], p[:, k]), rel=1e-6)


def test_scene_probability_as_good_as_its_word() -> None:
    # Of five with 0.2 one is positive: calibrated, but of little use.
    p = np.zeros((5, K))
    p[:, 2] = 0.2
    labels = np.zeros((5, K), bool)
    labels[3, 2] = True
    scores = scene_calibration(scene_evidence(p, labels))
    assert scores is not None
    assert scores.overall.ece == pytest.approx(0, abs=1e-7)
    assert scores.brier_per_class[2] == pytest.approx(0.16)
    assert scores.overall.count[[0, 2]].tolist() == [5 * (K - 1), 5]
    assert scores.overall.brier == pytest.approx(0.16 / K)
    # Other classes occur nowhere.
    assert np.isnan(np.delete(scores.ece_per_class, 2)).all()
    assert np.isnan(np.delete(scores.brier_per_class, 2)).all()


def test_upper_edge_of_a_bin_belongs_to_it_for_scenes_too() -> None:
    edges = (np.arange(1, BINS) / BINS).astype(np.float32)
    for values, numbers in ((edges, range(14)), (np.nextafter(edges, np.float32(1)), range(1, 15)), ([0, 1], [0, 14])):
        p = np.repeat(np.asarray(values, np.float32)[:, None], K, axis=1)
        scores = scene_calibration(scene_evidence(p, np.zeros(p.shape)))
        assert scores is not None
        assert scores.overall.count.tolist() == [K * (i in numbers) for i in range(BINS)]


def test_scene_probabilities_that_are_certain_and_wrong_have_a_finite_loss() -> None:
    labels = np.eye(2, K, dtype=bool)
    wrong, right = (scene_calibration(scene_evidence(p, labels)) for p in (~labels, labels))
    assert wrong is not None
    assert right is not None
    assert (wrong.overall.brier, wrong.overall.mce, wrong.overall.ece) == (1, 1, 1)
    assert wrong.overall.nll == pytest.approx(23 * np.log(2))
    assert (right.overall.brier, right.overall.nll, right.overall.ece) == (0, 0, 0)


def test_scene_calibration_without_a_head_or_without_patches() -> None:
    assert scene_calibration(made_up_evidence(5, 2, head=False)) is None
    empty = scene_calibration(take_patches(made_up_evidence(5, 2), np.arange(0)))
    assert empty is not None
    assert np.isnan([empty.overall.ece, empty.overall.mce, empty.overall.brier, empty.overall.nll]).all()
    assert np.isnan(empty.ece_per_class).all()


def sampled(seed: int, pixels: int = 20_000) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Calibrated logits: the classes are drawn from their softmax."""
    random = np.random.default_rng(seed)
    logits = 1.5 * random.standard_normal((pixels, K))
    return logits, (logits + random.gumbel(size=logits.shape)).argmax(1)


@pytest.mark.parametrize("true", [0.3, 1.0, 2.5, 9.0])
def test_known_temperature_is_recovered(true: float) -> None:
    logits, target = sampled(0)
    assert fit_temperature(logits * true, target) == pytest.approx(true, rel=0.03)
    fitted = fit_temperature(logits, target)
    assert fitted is not None
    assert fit_temperature(logits * true, target) == pytest.approx(fitted * true, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_fitted_temperature_is_where_the_derivative_vanishes(seed: int) -> None:
    random = np.random.default_rng(seed)
    target = random.integers(0, K, 500)
    logits = random.standard_normal((500, K)) + 1.5 * np.eye(K)[target] * random.random((500, 1))

    def slope(inverse: float) -> float:
        # The mean logit under the softmax less the true one: the derivative by 1 / T, which only rises.
        return float(((special.softmax(logits * inverse, 1) * logits).sum(1) - logits[np.arange(500), target]).mean())

    expected = 1 / optimize.brentq(slope, 1 / 20, 20)
    temperature = fit_temperature(logits.astype(np.float32), target)
    assert temperature == pytest.approx(expected, rel=1e-3)
    at_best = losses_of(logits / temperature, target)[1]
    assert all(losses_of(logits / other, target)[1] >= at_best for other in np.geomspace(*TEMPERATURES, 40))


def test_temperature_without_an_optimum() -> None:
    target = np.arange(K)
    assert fit_temperature(np.zeros((0, K), np.float32), np.zeros(0, np.int64)) is None
    assert fit_temperature(np.zeros((K, K), np.float32), target) == 1
    sharpest = fit_temperature(np.eye(K), target)
    assert sharpest == pytest.approx(TEMPERATURES[0], rel=1e-3)
    assert fit_temperature(-np.eye(K) * 9, target) == pytest.approx(TEMPERATURES[1], rel=1e-3)
    assert fit_temperature(1e4 + np.eye(K) * 1e4, target) is not None


def test_fitted_temperature_lowers_the_measured_loss() -> None:
    logits, target = batch(12, (4, 20, 20), 3.0)
    sample = LogitSample(4)
    sample.add(logits, target, range(4))
    temperature = fit_temperature(*sample.pixels())
    assert temperature is not None
    losses = {t: calibration_of(logits, target, t).after for t in (temperature * 0.9, temperature, temperature * 1.1)}
    nll = [scores.nll for scores in losses.values() if scores is not None]
    assert nll[1] < min(nll[0], nll[2], calibration_of(logits, target).before.nll)


def numbered(patches: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that hold the number of each pixel, and targets that are all labelled."""
    number = torch.arange(patches * height * width).view(patches, 1, height, width)
    return (number * torch.tensor([1, -1])[:, None, None]).float(), torch.ones((patches, height, width)).to(torch.uint8)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 400), st.randoms())
@settings(deadline=None)
def test_sample_is_every_nth_pixel_whatever_the_batches(patches, height, width, most, shuffler) -> None:
    logits, target = numbered(patches, height, width)
    whole, batched = LogitSample(patches, most), LogitSample(patches, most)
    whole.add(logits, target, np.arange(patches))
    order = list(range(patches))
    shuffler.shuffle(order)
    for part in (order[: patches // 3], order[patches // 3 :]):
        batched.add(logits[part], target[part], part)
    taken_logits, taken = whole.pixels()
    numbers = taken_logits[:, 0].astype(int)
    assert (taken_logits[:, 1] == -numbers).all()
    assert (taken == 1).all()
    np.testing.assert_array_equal(np.sort(batched.pixels()[0][:, 0]), numbers)
    total = patches * height * width
    assert 1 <= len(numbers) <= most
    assert numbers[0] == 0
    # Every n-th; and no step that is much too long.
    steps = np.diff(numbers, append=total)
    assert (steps[:-1] == steps[:1]).all()
    if total <= most:
        assert len(numbers) == total


def test_sample_is_spread_over_patches_rows_and_columns() -> None:
    # 120 patches of 12 x 12 and every 12th pixel would be the same column of each.
    logits, target = numbered(120, 12, 12)
    sample = LogitSample(120, 120 * 12)
    sample.add(logits, target, range(120))
    numbers = sample.pixels()[0][:, 0].astype(int)
    assert len(numbers) > 1200
    for values, size in ((numbers // 144, 120), (numbers // 12 % 12, 12), (numbers % 12, 12)):
        counts = np.bincount(values, minlength=size)
        assert counts.max() - counts.min() <= 2


def test_sample_of_less_than_a_pixel_per_patch_reaches_all_places() -> None:
    patches = 3000
    sample = LogitSample(patches, 1000)
    logits, target = numbered(1, 10, 10)
    for number in range(patches):
        sample.add(logits, target, [number])
    places = sample.pixels()[0][:, 0].astype(int)
    assert 900 < len(places) <= 1000
    counts = np.bincount(places, minlength=100)
    assert counts.min() >= 9
    assert counts.max() <= 11


def test_sample_leaves_out_what_is_unlabelled_and_refuses_unknown_patches() -> None:
    logits, target = numbered(2, 3, 3)
    target[1] = IGNORE_INDEX
    sample = LogitSample(2)
    assert fit_temperature(*sample.pixels()) is None
    with torch.inference_mode():
        sample.add(logits, target, [0, 1])
    found, classes = sample.pixels()
    assert (found.dtype, classes.dtype) == (np.float32, np.int64)
    assert found[:, 0].tolist() == list(range(9))
    for wrong in ([0, 2], [-1, 0], [0]):
        with pytest.raises(AssertionError):
            sample.add(logits, target, wrong)


def test_scores_of_evidence_need_no_torch() -> None:
    modules = ", ".join(f"seg.metrics.{name}" for name in ("boundary", "calibration", "hierarchy", "temperature"))
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_counts_stay_on_the_device_and_are_nearly_the_same_there() -> None:
    logits, target = batch(13, (4, 40, 40))
    counts, losses = confidence_counts(logits.cuda(), target.cuda(), 1.5)
    assert counts.is_cuda
    expected, expected_losses = confidence_counts(logits, target, 1.5)
    # Exponentials round in another way, which moves a few confidences by a unit.
    assert int((counts.cpu() - expected).abs().view(-1, BINS, 3)[..., :2].sum()) <= 4
    torch.testing.assert_close(losses.cpu(), expected_losses, rtol=1e-5, atol=0)
    assert np.abs(pooled_scores(logits.cuda()).astype(int) - pooled_scores(logits)).max() <= 1
    sample = LogitSample(4)
    sample.add(logits.cuda(), target.cuda(), range(4))
    assert len(sample.pixels()[1]) == int((target != IGNORE_INDEX).sum())

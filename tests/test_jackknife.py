"""The jackknife of tiles against data sets without them, scikit-learn, SciPy and simulations."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_up import dense_counts, made_up_evidence

from seg.errors import EvidenceError
from seg.metrics import leave_out_ap
from seg.metrics.evidence import CELLS, Evidence, Origin, batch_evidence, take_patches, total_counts
from seg.metrics.jackknife import (
    MEANS,
    Replicates,
    intervals,
    jackknife,
    mean_of,
    paired_test,
    standard_error,
    unpaired_test,
)
from seg.metrics.leave_out_ap import average_precision_without_each
from seg.metrics.pixel import pixel_scores, pixel_values
from seg.metrics.scene import average_precision, label_scores, label_values
from seg.metrics.scores import headline, score_evidence
from seg.metrics.sparse import PatchCounts, offsets_of, sparse_counts
from seg.reben.classes import NUM_CLASSES

K = NUM_CLASSES
PER_CLASS = ("iou", "f1", "precision", "recall", "ap", "scene_f1", "scene_f1_fitted", "boundary_iou")
PIXEL = {"miou", "mf1", "macc", "oa", "fwiou", "iou", "f1", "precision", "recall"}
SCENE = {"ap_macro", "ap_micro", "f1_macro", "f1_micro", "f1_samples", "ap", "scene_f1"}
FITTED = {"f1_macro_fitted", "f1_micro_fitted", "f1_samples_fitted", "scene_f1_fitted"}
CALIBRATION = {"ece", "brier", "boundary_miou", "boundary_iou"}
SCALED = {"ece_scaled", "brier_scaled"}


def tile_names(evidence: Evidence) -> list[str]:
    return evidence.tiles.to_pylist()


def scored(evidence: Evidence) -> dict[str, npt.ArrayLike]:
    """Every score by the names of the jackknife, by other code where there is none for a whole evaluation."""
    scores = score_evidence(evidence)
    expected: dict[str, npt.ArrayLike] = dict(headline(scores))
    expected |= {name: getattr(scores.pixel, name) for name in ("iou", "f1", "precision", "recall")}
    if scores.scene is not None:
        expected |= {"ap": scores.scene.ap, "scene_f1": scores.scene.f1}
    if scores.scene_fitted is not None:
        fitted = scores.scene_fitted
        expected |= {f"{name}_fitted": getattr(fitted, name) for name in ("f1_macro", "f1_micro", "f1_samples")}
        expected |= {"scene_f1_fitted": fitted.f1}
    if (details := evidence.details) is not None:
        bins = details.reliability.dense().reshape(-1, 2, 15, 3).sum(0)
        for s, ending in enumerate(["", "_scaled"] if evidence.origin.temperature else [""]):
            total = bins[s, :, 0].sum()
            error = 0.0
            for pixels, right, confidence in bins[s].tolist():
                error += pixels / total * abs(right / pixels - confidence / 65535 / pixels) if pixels else 0
            expected[f"ece{ending}"] = error if total else np.nan
            expected[f"brier{ending}"] = details.losses_NSL[:, s, 0].sum() / total if total else np.nan
        both, reference, predicted = details.bands.dense().sum(0).reshape(3, K).tolist()
        present = total_counts(evidence).sum(1) > 0
        bands = zip(both, reference, predicted, present, strict=True)
        ious = np.array([b / (r + p - b) if here and r + p else np.nan for b, r, p, here in bands])
        expected["boundary_iou"] = ious
        expected["boundary_miou"] = np.nan if np.isnan(ious).all() else np.nanmean(ious)
    return expected


def without(counts: PatchCounts, keys: Iterable[int]) -> PatchCounts:
    """The counts without some columns."""
    dropped = counts.dense()
    dropped[:, list(keys)] = 0
    return sparse_counts(dropped)


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    """Evidence of few patches in few tiles, often with ties, absent classes, no head or no details."""
    thresholds = draw(st.sampled_from([None, tuple(np.linspace(0.1, 0.7, K).tolist())]))
    temperature = draw(st.sampled_from([None, 1.3]))
    evidence = made_up_evidence(
        draw(st.integers(1, 30)),
        draw(st.integers(1, 9)),
        draw(st.integers(0, 1000)),
        head=draw(st.booleans()),
        details=draw(st.booleans()),
        origin=Origin("test", "made-up", False, "00ff", thresholds, temperature),
        skill=draw(st.sampled_from([0.3, 0.8])),
    )
    absent = draw(st.sets(st.integers(0, K - 1), max_size=K))
    labels = evidence.labels.copy()
    labels[:, list(absent)] = False
    confusion = without(evidence.confusion, [true * K + guess for true in absent for guess in range(K)])
    probabilities = evidence.probabilities
    if probabilities is not None:
        probabilities = probabilities.round(draw(st.sampled_from([0, 1, 7])))
    details = evidence.details
    if details is not None:
        details = replace(details, bands=without(details.bands, [part * K + c for part in (0, 1) for c in absent]))
    return replace(evidence, labels=labels, confusion=confusion, probabilities=probabilities, details=details)


def assert_equal(values: dict[str, npt.NDArray[np.float64]], row: int, expected: dict[str, Any]) -> None:
    assert values.keys() == expected.keys()
    for name, found in values.items():
        assert found.dtype == np.float64
        assert found.shape[1:] == ((K,) if name in PER_CLASS else ())
        np.testing.assert_allclose(found[row], expected[name], rtol=1e-11, err_msg=name)


@settings(deadline=None, max_examples=60)
@given(evidences())
def test_every_score_equals_that_of_the_data_set_without_a_tile(evidence: Evidence) -> None:
    result = jackknife(evidence)
    names = sorted(set(tile_names(evidence)))
    assert list(result.patches) == names
    assert list(result.patches.values()) == [tile_names(evidence).count(name) for name in names]
    assert_equal(result.values, 0, scored(evidence))
    for t, tile in enumerate(names):
        rest = [row for row, of_patch in enumerate(tile_names(evidence)) if of_patch != tile]
        assert_equal(result.values, 1 + t, scored(take_patches(evidence, np.array(rest, dtype=np.int64))))


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("details", [True, False])
@pytest.mark.parametrize("fitted", [True, False])
def test_scores_that_there_are(head: bool, details: bool, fitted: bool) -> None:
    origin = Origin("test", "made-up", False, "00ff", (0.5,) * K if fitted else None, 2.0 if fitted else None)
    evidence = made_up_evidence(20, 3, head=head, details=details, origin=origin)
    expected = PIXEL | (SCENE if head else set()) | (FITTED if head and fitted else set())
    expected |= (CALIBRATION if details else set()) | (SCALED if details and fitted else set())
    result = jackknife(evidence)
    assert result.values.keys() == result.support.keys() == intervals(result).keys() == expected


# --- average precision ------------------------------------------------------------------------------------------------


@st.composite
def rankings(draw: st.DrawFn) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.int64], int]:
    patches, groups = draw(st.integers(0, 40)), draw(st.integers(1, 6))
    elements = draw(st.sampled_from([st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32)]))
    scores = draw(hnp.arrays(np.float32, patches, elements=elements))
    positive = draw(hnp.arrays(np.bool_, patches))
    return scores, positive, draw(hnp.arrays(np.int64, patches, elements=st.integers(0, groups - 1))), groups


@settings(deadline=None)
@given(rankings())
def test_average_precision_equals_that_without_a_group(case) -> None:  # type: ignore[no-untyped-def]
    scores, positive, group, groups = case
    found = average_precision_without_each(scores, positive, group, groups)
    assert found.shape == (1 + groups,)
    for value, left_out in zip(found, (-1, *range(groups)), strict=True):
        rest = group != left_out
        np.testing.assert_allclose(value, average_precision(scores[rest], positive[rest]), rtol=1e-12)
        if positive[rest].any():
            np.testing.assert_allclose(value, sk.average_precision_score(positive[rest], scores[rest]))
        else:
            assert np.isnan(value)


@pytest.mark.parametrize("cells", [1, 150, 10**7])
@pytest.mark.parametrize("decimals", [2, 8])
def test_average_precision_does_not_depend_on_blocks(
    monkeypatch: pytest.MonkeyPatch, cells: int, decimals: int
) -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(3000) < 0.3
    scores = (rng.random(3000) * 0.7 + 0.3 * positive).round(decimals).astype(np.float32)
    group = rng.integers(0, 20, 3000)
    monkeypatch.setattr(leave_out_ap, "CELLS_AT_ONCE", cells)
    found = average_precision_without_each(scores, positive, group, 20)
    rest = [group != left_out for left_out in range(-1, 20)]
    np.testing.assert_allclose(found, [sk.average_precision_score(positive[r], scores[r]) for r in rest], rtol=1e-12)


def test_average_precision_of_half_precision_and_of_double_precision_scores() -> None:
    rng = np.random.default_rng(1)
    positive, group = rng.random(200) < 0.4, rng.integers(0, 3, 200)
    for dtype in (np.float16, np.float64):
        scores = rng.random(200).astype(dtype)
        found = average_precision_without_each(scores, positive, group, 3)
        assert found[0] == pytest.approx(average_precision(scores, positive), rel=1e-12)


# --- scores of many counts at once ------------------------------------------------------------------------------------


@given(hnp.arrays(np.int64, (2, 3, 4, 4), elements=st.integers(0, 9) | st.just(0)))
def test_pixel_scores_of_many_matrices(counts: npt.NDArray[np.int64]) -> None:
    values = pixel_values(counts)
    for at in np.ndindex(2, 3):
        one = pixel_scores(counts[at])
        for name, value in values.items():
            np.testing.assert_array_equal(value[at], getattr(one, name), err_msg=name)


@given(hnp.arrays(np.bool_, (3, 5, 4)), hnp.arrays(np.bool_, (3, 5, 4)))
def test_label_scores_of_many_sets(decided: npt.NDArray[np.bool_], labels: npt.NDArray[np.bool_]) -> None:
    values = label_values(*(array.sum(axis=1) for array in (decided & labels, decided, labels)))
    for i in range(3):
        one = label_scores(decided[i], labels[i])
        for name, value in values.items():
            np.testing.assert_array_equal(value[i], getattr(one, name), err_msg=name)


# --- effective tiles --------------------------------------------------------------------------------------------------


@given(hnp.arrays(np.int64, (6, 3), elements=st.integers(0, 10**6) | st.just(0)))
def test_effective_groups_are_those_of_kish(held: npt.NDArray[np.int64]) -> None:
    """(Σ w)² / Σ w²: from 1, if one group holds all, to their number, if all hold as much."""
    counts = np.zeros((6, K, K), np.int64)
    counts[:, :3, 0] = held
    labels = counts.sum(axis=2) > 0
    ids = [f"S2A_MSIL2A_20170613T101031_N9999_R022_T33U{letter}P_00_00" for letter in "UVWXYZ"]
    evidence = batch_evidence(Origin("test", "made-up", False), ids, counts, labels, None)
    support = jackknife(evidence).support
    for k in range(3):
        weights = [Fraction(int(w)) for w in held[:, k]]
        expected = sum(weights) ** 2 / sum(w * w for w in weights) if any(weights) else 0
        assert support["iou"][k] == pytest.approx(float(expected), rel=1e-12)
        assert (support["iou"][k] > 1) == (np.count_nonzero(held[:, k]) > 1)
    whole = [Fraction(int(w)) for w in held.sum(axis=1)]
    assert support["miou"] == pytest.approx(float(sum(whole) ** 2 / sum(w * w for w in whole)) if any(whole) else 0)


def test_the_order_of_the_patches_does_not_matter() -> None:
    evidence = made_up_evidence(60, 8)
    shuffled = jackknife(take_patches(evidence, np.random.default_rng(0).permutation(60)))
    for name, values in jackknife(evidence).values.items():
        np.testing.assert_allclose(values, shuffled.values[name], rtol=1e-12, err_msg=name)


def test_progress_is_told() -> None:
    seen: list[tuple[str, int, int]] = []

    def track(items, description, total):  # type: ignore[no-untyped-def]
        listed = list(items)
        seen.append((description, total, len(listed)))
        return listed

    jackknife(made_up_evidence(20, 3), track=track)
    assert seen == [("intervals", K + 1, K + 1)]


# --- intervals --------------------------------------------------------------------------------------------------------


def of_classes(values: npt.NDArray[np.float64]) -> tuple[list[float], float]:
    """Means over the classes of all tiles, without each tile, and the variance that stands for what is not known."""
    whole, *without = values.tolist()
    present = [k for k in range(K) if not math.isnan(whole[k])]
    if not present:
        return [math.nan] * len(without), 0.0
    means = [statistics.fmean(whole[k] if math.isnan(row[k]) else row[k] for k in present) for row in without]
    lost = [k for k in present if any(math.isnan(row[k]) for row in without)]
    between = statistics.variance(whole[k] for k in present) if len(present) > 1 else 0.0
    return means, len(lost) * between / len(present) ** 2


@settings(deadline=None, max_examples=60)
@given(evidences(), st.sampled_from([0.95, 0.5]))
def test_intervals_are_what_their_definition_says(evidence: Evidence, level: float) -> None:
    result = jackknife(evidence)
    for name, interval in intervals(result, level).items():
        values, support = result.values[name], result.support[name]
        for at in np.ndindex(values.shape[1:]):
            score, without = values[0, *at], values[1:, *at].tolist()
            unknown = 0.0
            if name in MEANS:
                without, unknown = of_classes(result.values[MEANS[name]])
            tiles, mean = len(without), statistics.fmean(without)
            variance = (tiles - 1) / tiles * sum((one - mean) ** 2 for one in without)
            bias = (tiles - 1) * (mean - score)
            error = math.sqrt(variance + bias**2 + unknown)
            half = scipy.stats.t.ppf((1 + level) / 2, max(support[at] - 1, 1)) * error
            if support[at] <= 1:
                half = math.nan
            assert interval.low[at] == pytest.approx(max(score - half, 0), rel=1e-9, abs=1e-12, nan_ok=True), name
            most = 2 if name.startswith("brier") else 1
            assert interval.high[at] == pytest.approx(min(score + half, most), rel=1e-9, nan_ok=True), name


def test_a_level_is_a_share() -> None:
    with pytest.raises(AssertionError):
        intervals(jackknife(made_up_evidence(20, 3)), 95)


def test_the_error_of_a_mean_is_that_of_the_textbook() -> None:
    """Of a mean the jackknife gives the standard deviation over √T, and no bias."""
    drawn = np.random.default_rng(0).normal(size=(12, 2))
    values = np.concatenate([drawn.mean(0, keepdims=True), (drawn.sum(0) - drawn) / 11])
    np.testing.assert_allclose(standard_error(values), drawn.std(0, ddof=1) / math.sqrt(12), rtol=1e-12)
    assert np.isnan(standard_error(values[:1])).all()


def test_one_tile_has_no_interval() -> None:
    result = jackknife(made_up_evidence(30, 1))
    assert result.tiles == 1
    for name, interval in intervals(result).items():
        assert np.isnan(interval.low).all(), name
        assert np.isnan(interval.high).all(), name
        assert interval.low.shape == ((K,) if name in PER_CLASS else ()), name


def test_class_of_a_single_tile_has_no_interval_and_that_of_two_tiles_has() -> None:
    ids = [
        f"S2A_MSIL2A_20170613T101031_N9999_R022_T33U{end}" for end in ("UP_00_00", "UP_00_01", "XP_00_00", "VP_00_00")
    ]
    counts = np.zeros((4, K, K), np.int64)
    counts[:, 0, 0], counts[:, 0, 1] = (5, 6, 7, 8), 3
    counts[:2, 4, 4], counts[:2, 4, 0] = 2, 1
    counts[2:, 5, 5], counts[2:, 5, 0] = 2, (1, 3)
    labels = counts.sum(axis=2) > 0
    evidence = batch_evidence(Origin("test", "made-up", False), ids, counts, labels, labels.astype(np.float32) / 2)
    assert tile_names(evidence) == ["33UUP", "33UUP", "33UXP", "33UVP"]
    result = jackknife(evidence)
    for name in ("iou", "ap"):
        held = np.array([3, 0, 0, 0, 1, 2] + [0] * (K - 6))
        bounds = intervals(result)[name]
        np.testing.assert_array_equal(result.support[name] > 1, held > 1)
        np.testing.assert_array_equal(np.isfinite(bounds.low), held > 1)
        np.testing.assert_array_equal(np.isfinite(bounds.high), held > 1)
    # Class 4 lies in the first tile alone; without it the mean is that of the other two.
    without = result.values["iou"][1]
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(without)), [0, 5])
    assert result.values["miou"][1] == pytest.approx(np.nanmean(without))


@pytest.mark.parametrize("head", [True, False])
def test_no_labelled_pixel_and_no_label_are_undefined(head: bool) -> None:
    evidence = made_up_evidence(20, 4, head=head)
    assert evidence.details is not None
    empty = PatchCounts(CELLS, offsets_of(np.zeros(20, np.int64)), np.zeros(0, np.uint16), np.zeros(0, np.uint32))
    none = sparse_counts(np.zeros((20, 90), np.int64))
    details = replace(evidence.details, reliability=none, bands=sparse_counts(np.zeros((20, 57), np.int64)))
    nothing = replace(evidence, confusion=empty, labels=np.zeros((20, K), bool), details=details)
    result = jackknife(nothing)
    for name, values in result.values.items():
        if not name.startswith("f1_samples"):  # a patch without labels may still be right
            assert np.isnan(values).all(), name
    for name, interval in intervals(result).items():
        assert np.isnan([interval.low, interval.high]).all(), name


def test_no_patches_are_undefined() -> None:
    result = jackknife(take_patches(made_up_evidence(5, 2), np.zeros(0, np.int64)))
    assert result.tiles == 0
    for name, values in result.values.items():
        assert np.isnan(values).all(), name
        assert len(values) == 1
    assert all(np.isnan(interval.low).all() for interval in intervals(result).values())


PIXELS = np.array([200, 50])


def simulated(
    rng: np.random.Generator, right_T: npt.NDArray[np.float64], patches: int, *, pixels: int = 1, vary: bool = False
) -> Evidence:
    """Two classes of unequal area, of which each tile has its own share right, four fifths of it in the smaller class.

    Args:
        rng: Draws the pixels that are right.
        right_T: Share of right pixels of the first class in each tile.
        patches: Patches of each tile.
        pixels: Multiple of `PIXELS` in each patch.
        vary: Whether areas vary from tile to tile.
    """
    tiles = len(right_T)
    letters = "ABCDEFGHJKLMNPQRSTUV"
    ids = [
        f"S2A_MSIL2A_20170613T101031_N9999_R022_T33U{letters[t // 20]}{letters[t % 20]}_{p:02d}_00"
        for t in range(tiles)
        for p in range(patches)
    ]
    areas_T2 = PIXELS * pixels * np.ones((tiles, 1), np.int64)
    if vary:
        areas_T2 = rng.integers(areas_T2 // 2, areas_T2 * 3 // 2, endpoint=True)
    areas_N2, right_N = np.repeat(areas_T2, patches, axis=0), np.repeat(right_T, patches)
    hits_N2 = rng.binomial(areas_N2, np.stack([right_N, 0.8 * right_N], axis=1))
    counts = np.zeros((tiles * patches, K, K), np.int64)
    counts[:, [0, 1], [0, 1]] = hits_N2
    counts[:, [0, 1], [1, 0]] = areas_N2 - hits_N2
    labels = np.zeros((tiles * patches, K), bool)
    labels[:, :2] = True
    return batch_evidence(Origin("test", "made-up", False), ids, counts, labels, None)


def expected_counts(right: float) -> npt.NDArray[np.int64]:
    """Confusion counts of very many tiles of `simulated`, of which the mean share of right pixels is known."""
    counts = np.zeros((K, K), np.int64)
    hits = np.rint(PIXELS * 10**9 * np.array([right, 0.8 * right])).astype(np.int64)
    counts[[0, 1], [0, 1]], counts[[0, 1], [1, 0]] = hits, PIXELS * 10**9 - hits
    return counts


def test_interval_equals_that_of_scipy() -> None:
    """With as many pixels in every tile, overall accuracy is the mean of the tiles' accuracies."""
    rng = np.random.default_rng(2)
    evidence = simulated(rng, rng.beta(6, 3, 30), patches=3)
    counts = dense_counts(evidence, np.arange(len(evidence))).reshape(30, 3, K, K).sum(axis=1)
    accuracies = np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))
    interval = intervals(jackknife(evidence))["oa"]
    reference = scipy.stats.ttest_1samp(accuracies, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), rel=1e-9)


def test_intervals_cover_the_truth_although_patches_of_a_tile_are_alike() -> None:
    rng = np.random.default_rng(0)
    runs, tiles, patches = 300, 12, 5
    expected = pixel_scores(expected_counts(2 / 3))  # the mean of beta(4, 2)
    truth = {name: getattr(expected, name) for name in ("oa", "miou", "mf1", "macc")}
    covered = dict.fromkeys(truth, 0)
    too_narrow = 0
    for _ in range(runs):
        evidence = simulated(rng, rng.beta(4, 2, tiles), patches, vary=True)
        bounds = intervals(jackknife(evidence))
        for name, value in truth.items():
            covered[name] += bool(bounds[name].low <= value <= bounds[name].high)
        counts = dense_counts(evidence, np.arange(len(evidence)))
        accuracies = np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))
        margin = 1.96 * accuracies.std() / np.sqrt(len(accuracies))
        too_narrow += bool(abs(accuracies.mean() - truth["oa"]) <= margin)
    for name in truth:
        assert 0.92 <= covered[name] / runs <= 0.98, (name, covered)
    # What taking patches for independent would say: far too sure of itself.
    assert too_narrow / runs < 0.75


# --- differences ------------------------------------------------------------------------------------------------------


def made_up_replicates(values: Sequence[float], **changes: object) -> Replicates:
    """The overall accuracy of all tiles, and without each of them."""
    tiles = len(values) - 1
    patches = {f"33UU{letter}": 3 for letter in "ABCDEFGH"[:tiles]}
    made = Replicates(patches, {"oa": np.array(values, float)}, {"oa": np.array(float(tiles))})
    return replace(made, **changes)  # type: ignore[arg-type]


def test_paired_test_equals_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    tiles = rng.beta(5, 3, (2, 8))
    runs = [made_up_replicates([drawn.mean(), *(drawn.sum() - drawn) / 7]) for drawn in tiles]
    found = paired_test(runs[:1], runs[1:], "oa", 0.9)
    reference = scipy.stats.ttest_rel(*tiles)
    assert found.difference == pytest.approx(tiles[0].mean() - tiles[1].mean())
    assert found.p_value == pytest.approx(reference.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval(0.9)), rel=1e-9)
    swapped = paired_test(runs[1:], runs[:1], "oa", 0.9)
    assert (swapped.low, swapped.high, swapped.p_value) == pytest.approx((-found.high, -found.low, found.p_value))
    with_less = replace(runs[1], support={"oa": np.array(5.0)})
    assert paired_test(runs[:1], [with_less], "oa").p_value > found.p_value


def test_unpaired_test_equals_that_of_scipy() -> None:
    rng = np.random.default_rng(4)
    tiles = rng.beta(5, 3, 8), rng.beta(4, 3, 5)
    runs = [made_up_replicates([d.mean(), *(d.sum() - d) / (len(d) - 1)]) for d in tiles]
    found = unpaired_test(runs[:1], runs[1:], "oa")
    reference = scipy.stats.ttest_ind(*tiles, equal_var=False)
    assert found.p_value == pytest.approx(reference.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval(0.95)), rel=1e-9)
    alone = made_up_replicates([0.5, np.nan])
    assert np.isnan(unpaired_test(runs[:1], [alone], "oa").p_value)


def test_p_value_of_no_difference_is_1() -> None:
    run = jackknife(made_up_evidence(80, 8))
    same = paired_test([run], [run], "miou")
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    unpaired = unpaired_test([run], [run], "miou")
    assert unpaired.low < 0 < unpaired.high
    assert unpaired.p_value == 1


def test_p_value_of_the_level_is_that_of_an_interval_that_just_reaches_0() -> None:
    first, second = (jackknife(made_up_evidence(80, 8, skill=skill)) for skill in (0.75, 0.7))
    p_value = paired_test([first], [second], "oa").p_value
    just = paired_test([first], [second], "oa", 1 - p_value)
    assert min(abs(just.low), abs(just.high)) == pytest.approx(0, abs=1e-9)


def test_several_seeds_are_averaged_tile_by_tile() -> None:
    first = [made_up_replicates([0.1, 0.4, 0.9]), made_up_replicates([0.3, 0.6, 0.5])]
    assert mean_of(first).values["oa"] == pytest.approx([0.2, 0.5, 0.7])
    second = [made_up_replicates([0.1, 0.2, 0.1])]
    result = paired_test(first, second, "oa")
    assert result.difference == pytest.approx(0.1)
    assert result == paired_test([mean_of(first)], second, "oa")


def test_bounds_stay_within_what_a_difference_can_be() -> None:
    result = paired_test([made_up_replicates([0.9, 0.9, 0.1])], [made_up_replicates([0.1, 0.2, 0.9])], "oa")
    assert (result.low, result.high) == (-1, 1)


def test_what_is_undefined_without_a_tile_has_no_test() -> None:
    first, second = made_up_replicates([0.1, np.nan, 0.3, 0.5]), made_up_replicates([0.2, 0.1, 0.2, 0.1])
    result = paired_test([first], [second], "oa")
    assert result.difference == pytest.approx(-0.1)
    assert np.isnan([result.low, result.high, result.p_value]).all()
    one = made_up_replicates([0.1, 0.2], support={"oa": np.array(1.0)})
    assert np.isnan(paired_test([one], [one], "oa").p_value)


def test_runs_on_other_patches_are_refused() -> None:
    run = jackknife(made_up_evidence(60, 6))
    with pytest.raises(EvidenceError, match=r"60 patches in 6 tiles and 50 patches in 5 tiles.*same split"):
        paired_test([run], [jackknife(made_up_evidence(50, 5))], "oa")
    with pytest.raises(EvidenceError, match="60 patches in 6 tiles and 59 patches in 6 tiles"):
        paired_test([run, jackknife(made_up_evidence(59, 6))], [run], "oa")
    with pytest.raises(EvidenceError, match="ap_macro"):
        paired_test([run], [jackknife(made_up_evidence(60, 6, head=False))], "ap_macro")
    with pytest.raises(AssertionError, match="per class"):
        paired_test([run], [run], "iou")
    for groups in ([], [run]), ([run], []):
        with pytest.raises(AssertionError):
            paired_test(*groups, "oa")


def test_pairing_sees_small_differences_that_the_intervals_hide() -> None:
    rng = np.random.default_rng(4)
    right = rng.beta(4, 2, 40)
    first, second = (simulated(rng, np.clip(right + shift, 0, 1), 5, pixels=5) for shift in (0.005, 0.0))
    runs = [jackknife(evidence) for evidence in (first, second)]
    (a, b) = (intervals(run)["oa"] for run in runs)
    assert a.low < b.high
    result = paired_test(runs[:1], runs[1:], "oa")
    assert 0 < result.low < result.difference < result.high < 0.01
    assert result.p_value < 0.01


def test_runs_that_do_not_differ_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(1)
    p_values = []
    for _ in range(150):
        right = rng.beta(4, 2, 10)
        # Each run has its own strengths in each tile, none is better over all.
        own = np.clip(right + 0.03 * rng.standard_normal((2, 10)), 0, 1)
        first, second = (jackknife(simulated(rng, right_T, 3)) for right_T in own)
        p_values.append(paired_test([first], [second], "oa").p_value)
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.09
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.07)

"""The bootstrap of tiles against data sets that were replicated by hand, scikit-learn, SciPy and simulations."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
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
from seg.metrics import resampled_ap
from seg.metrics.bootstrap import MEANS, Replicates, bootstrap, draw_tiles, intervals, paired_test
from seg.metrics.evidence import CELLS, Evidence, Origin, batch_evidence, take_patches, total_counts
from seg.metrics.pixel import pixel_scores, pixel_values
from seg.metrics.resampled import resampled_scores
from seg.metrics.resampled_ap import resampled_average_precision
from seg.metrics.scene import average_precision, label_scores, label_values
from seg.metrics.scores import headline, score_evidence
from seg.metrics.sparse import PatchCounts, offsets_of, sparse_counts
from seg.reben.classes import NUM_CLASSES

K = NUM_CLASSES
PER_CLASS = ("iou", "f1", "precision", "recall", "ap", "scene_f1", "scene_f1_fitted")
PIXEL = {"miou", "mf1", "macc", "oa", "fwiou", "iou", "f1", "precision", "recall"}
SCENE = {"ap_macro", "ap_micro", "f1_macro", "f1_micro", "f1_samples", "ap", "scene_f1"}
FITTED = {"f1_macro_fitted", "f1_micro_fitted", "f1_samples_fitted", "scene_f1_fitted"}
CALIBRATION = {"ece", "brier", "boundary_miou"}
SCALED = {"ece_scaled", "brier_scaled"}


def tile_names(evidence: Evidence) -> list[str]:
    return evidence.tiles.to_pylist()


def replicated(evidence: Evidence, times: Sequence[int]) -> Evidence:
    """Evidence in which every patch occurs as often as its tile was drawn."""
    tiles = tile_names(evidence)
    names = sorted(set(tiles))
    rows = [row for row, tile in enumerate(tiles) for _ in range(times[names.index(tile)])]
    return take_patches(evidence, np.array(rows, dtype=np.int64))


def scored(evidence: Evidence) -> dict[str, npt.ArrayLike]:
    """Every score by the names of the bootstrap, by other code where there is none for a whole evaluation."""
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
        ious = [b / (r + p - b) for b, r, p, here in bands if here and r + p]
        expected["boundary_miou"] = np.mean(ious) if ious else np.nan
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


def with_whole_means(expected: dict[str, Any], observed: dict[str, Any]) -> dict[str, Any]:
    """Means over the classes of the whole split: where a replicate lacks one, its score of the whole split counts."""
    for mean, per_class in MEANS.items():
        if mean in expected:
            pairs = zip(expected[per_class], observed[per_class], strict=True)
            filled = [whole if np.isnan(own) else own for own, whole in pairs]
            defined = [value for value in filled if not np.isnan(value)]
            expected[mean] = np.mean(defined) if defined else np.nan
    return expected


@settings(deadline=None, max_examples=60)
@given(evidences(), st.integers(0, 2**32))
def test_every_score_equals_that_of_the_replicated_data_set(evidence: Evidence, seed: int) -> None:
    number = 4
    result = bootstrap(evidence, number, seed)
    names = sorted(set(tile_names(evidence)))
    assert list(result.patches) == names
    assert list(result.patches.values()) == [tile_names(evidence).count(name) for name in names]
    assert (result.tiles, result.replicates, result.seed) == (len(names), number, seed)
    for r, times in enumerate(draw_tiles(len(names), number, seed).tolist()):
        expected = with_whole_means(scored(replicated(evidence, times)), scored(evidence))
        assert result.values.keys() == expected.keys()
        for name, values in result.values.items():
            assert values.dtype == np.float64
            assert values.shape == ((number, K) if name in PER_CLASS else (number,))
            np.testing.assert_allclose(values[r], expected[name], rtol=1e-11, err_msg=name)


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("details", [True, False])
@pytest.mark.parametrize("fitted", [True, False])
def test_scores_that_there_are(head: bool, details: bool, fitted: bool) -> None:
    origin = Origin("test", "made-up", False, "00ff", (0.5,) * K if fitted else None, 2.0 if fitted else None)
    evidence = made_up_evidence(20, 3, head=head, details=details, origin=origin)
    expected = PIXEL | (SCENE if head else set()) | (FITTED if head and fitted else set())
    expected |= (CALIBRATION if details else set()) | (SCALED if details and fitted else set())
    result = bootstrap(evidence, 5)
    assert result.values.keys() == result.support.keys() == intervals(result).keys() == expected


def test_each_group_once_gives_the_scores_themselves() -> None:
    evidence = made_up_evidence(500, 7)
    groups = np.random.default_rng(0).integers(0, 40, 500)
    values, _ = resampled_scores(evidence, groups, np.ones((1, 40), np.int64))
    expected = scored(evidence)
    assert values.keys() == expected.keys()
    for name, value in values.items():
        np.testing.assert_allclose(value[0], expected[name], rtol=1e-12, err_msg=name)


# --- average precision ------------------------------------------------------------------------------------------------


@st.composite
def rankings(draw: st.DrawFn) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.int64], int]:
    patches, groups = draw(st.integers(0, 40)), draw(st.integers(1, 6))
    elements = draw(st.sampled_from([st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32)]))
    scores = draw(hnp.arrays(np.float32, patches, elements=elements))
    positive = draw(hnp.arrays(np.bool_, patches))
    return scores, positive, draw(hnp.arrays(np.int64, patches, elements=st.integers(0, groups - 1))), groups


@settings(deadline=None)
@given(rankings(), st.data())
def test_average_precision_equals_weighted_and_replicated(case, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    scores, positive, group, groups = case
    times = data.draw(hnp.arrays(np.int64, (3, groups), elements=st.integers(0, 4)))
    found = resampled_average_precision(scores, positive, group, times)
    for value, weights in zip(found, times[:, group], strict=True):
        repeated = np.repeat(np.arange(len(scores)), weights)
        np.testing.assert_allclose(value, average_precision(scores[repeated], positive[repeated]), rtol=1e-12)
        if positive[repeated].any():
            np.testing.assert_allclose(value, sk.average_precision_score(positive, scores, sample_weight=weights))
        else:
            assert np.isnan(value)


@pytest.mark.parametrize("block", [1, 7, 128, 10_000])
@pytest.mark.parametrize("decimals", [2, 8])
def test_average_precision_does_not_depend_on_blocks(
    monkeypatch: pytest.MonkeyPatch, block: int, decimals: int
) -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(3000) < 0.3
    scores = (rng.random(3000) * 0.7 + 0.3 * positive).round(decimals).astype(np.float32)
    group = rng.integers(0, 20, 3000)
    times = np.concatenate([np.ones((1, 20), np.int64), rng.integers(0, 4, (5, 20))])
    monkeypatch.setattr(resampled_ap, "LEVELS_AT_ONCE", block)
    found = resampled_average_precision(scores, positive, group, times)
    weighted = [sk.average_precision_score(positive, scores, sample_weight=weights[group]) for weights in times]
    np.testing.assert_allclose(found, weighted, rtol=1e-12)
    assert found[0] == pytest.approx(average_precision(scores, positive), rel=1e-12)


def test_average_precision_of_half_precision_and_of_double_precision_scores() -> None:
    rng = np.random.default_rng(1)
    positive, group = rng.random(200) < 0.4, rng.integers(0, 3, 200)
    for dtype in (np.float16, np.float64):
        scores = rng.random(200).astype(dtype)
        found = resampled_average_precision(scores, positive, group, np.array([[1, 1, 1]]))
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


# --- resampling -------------------------------------------------------------------------------------------------------


def test_same_seed_gives_the_same_replicates_whatever_the_order_of_the_patches() -> None:
    evidence = made_up_evidence(60, 8)
    first, again, other = bootstrap(evidence, 20, 3), bootstrap(evidence, 20, 3), bootstrap(evidence, 20, 4)
    shuffled = bootstrap(take_patches(evidence, np.random.default_rng(0).permutation(60)), 20, 3)
    longer = bootstrap(evidence, 30, 3)
    for name, values in first.values.items():
        np.testing.assert_array_equal(values, again.values[name], err_msg=name)
        np.testing.assert_allclose(values, shuffled.values[name], rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(values, longer.values[name][:20], rtol=1e-12, err_msg=name)
    assert (first.values["miou"] != other.values["miou"]).any()


def test_draws_take_as_many_tiles_as_there_are_and_each_alike() -> None:
    times = draw_tiles(9, 4000, 0)
    assert times.dtype == np.int64
    assert times.shape == (4000, 9)
    assert (times.sum(axis=1) == 9).all()
    np.testing.assert_allclose(times.mean(axis=0), 1, atol=0.08)
    # How often a tile is drawn is binomial: 9 draws with a chance of 1 in 9.
    found = np.bincount(times.ravel(), minlength=10) / times.size
    np.testing.assert_allclose(found, scipy.stats.binom.pmf(np.arange(len(found)), 9, 1 / 9), atol=0.01)
    assert draw_tiles(0, 3, 0).shape == (3, 0)
    with pytest.raises(AssertionError):
        draw_tiles(3, 0, 0)


def test_progress_is_told() -> None:
    seen: list[tuple[str, int, int]] = []

    def track(items, description, total):  # type: ignore[no-untyped-def]
        listed = list(items)
        seen.append((description, total, len(listed)))
        return listed

    bootstrap(made_up_evidence(20, 3), 5, track=track)
    assert seen == [("bootstrap", K + 1, K + 1)]


# --- intervals --------------------------------------------------------------------------------------------------------


def test_intervals_are_percentiles_of_the_replicates_that_are_defined() -> None:
    evidence = made_up_evidence(90, 7, seed=5)
    result = bootstrap(evidence, 200)
    for level in (0.95, 0.5):
        for name, interval in intervals(result, level).items():
            low, high = np.nanpercentile(result.values[name], [50 * (1 - level), 50 * (1 + level)], axis=0)
            enough = result.support[name] >= 2
            np.testing.assert_allclose(interval.low, np.where(enough, low, np.nan), rtol=1e-12, err_msg=name)
            np.testing.assert_allclose(interval.high, np.where(enough, high, np.nan), rtol=1e-12, err_msg=name)
    assert np.isfinite(intervals(result)["miou"].low)
    with pytest.raises(AssertionError):
        intervals(result, 95)


def test_one_tile_has_no_interval() -> None:
    result = bootstrap(made_up_evidence(30, 1), 10)
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
    result = bootstrap(evidence, 300)
    for name in ("iou", "ap"):
        assert result.support[name].tolist() == [3, 0, 0, 0, 1, 2] + [0] * (K - 6)
        bounds = intervals(result)[name]
        np.testing.assert_array_equal(np.isfinite(bounds.low), result.support[name] >= 2)
        np.testing.assert_array_equal(np.isfinite(bounds.high), result.support[name] >= 2)
    # Three draws miss both of the two tiles that hold class 5 with a chance of (1/3)^3.
    assert np.isnan(result.values["iou"][:, 5]).mean() == pytest.approx(1 / 27, abs=0.03)
    assert np.isnan(result.values["iou"][:, 4]).any()
    assert not np.isnan(result.values["miou"]).any()


@pytest.mark.parametrize("head", [True, False])
def test_no_labelled_pixel_and_no_label_are_undefined(head: bool) -> None:
    evidence = made_up_evidence(20, 4, head=head)
    assert evidence.details is not None
    empty = PatchCounts(CELLS, offsets_of(np.zeros(20, np.int64)), np.zeros(0, np.uint16), np.zeros(0, np.uint32))
    none = sparse_counts(np.zeros((20, 90), np.int64))
    details = replace(evidence.details, reliability=none, bands=sparse_counts(np.zeros((20, 57), np.int64)))
    nothing = replace(evidence, confusion=empty, labels=np.zeros((20, K), bool), details=details)
    result = bootstrap(nothing, 10)
    for name, values in result.values.items():
        if not name.startswith("f1_samples"):  # a patch without labels may still be right
            assert np.isnan(values).all(), name
    for name, interval in intervals(result).items():
        assert np.isnan([interval.low, interval.high]).all(), name


def test_no_patches_are_undefined() -> None:
    result = bootstrap(take_patches(made_up_evidence(5, 2), np.zeros(0, np.int64)), 10)
    assert result.tiles == 0
    for name, values in result.values.items():
        assert np.isnan(values).all(), name
        assert len(values) == 10
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
    # With as many pixels in every tile, overall accuracy is the mean of the tiles' accuracies.
    rng = np.random.default_rng(2)
    evidence = simulated(rng, rng.beta(6, 3, 30), patches=3)
    counts = dense_counts(evidence, np.arange(len(evidence))).reshape(30, 3, K, K).sum(axis=1)
    accuracies = np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))
    interval = intervals(bootstrap(evidence, 8000))["oa"]
    reference = scipy.stats.bootstrap(
        (accuracies,), np.mean, n_resamples=8000, method="percentile", random_state=0
    ).confidence_interval
    width = reference.high - reference.low
    assert interval.low == pytest.approx(reference.low, abs=0.04 * width)
    assert interval.high == pytest.approx(reference.high, abs=0.04 * width)


def test_intervals_cover_the_truth_although_patches_of_a_tile_are_alike() -> None:
    rng = np.random.default_rng(0)
    runs, tiles, patches = 300, 40, 5
    expected = pixel_scores(expected_counts(2 / 3))  # the mean of beta(4, 2)
    truth = {name: getattr(expected, name) for name in ("oa", "miou", "mf1", "macc")}
    covered = dict.fromkeys(truth, 0)
    too_narrow = 0
    for run in range(runs):
        evidence = simulated(rng, rng.beta(4, 2, tiles), patches, vary=True)
        bounds = intervals(bootstrap(evidence, 200, run))
        for name, value in truth.items():
            covered[name] += bool(bounds[name].low <= value <= bounds[name].high)
        counts = dense_counts(evidence, np.arange(len(evidence)))
        accuracies = np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2))
        margin = 1.96 * accuracies.std() / np.sqrt(len(accuracies))
        too_narrow += bool(abs(accuracies.mean() - truth["oa"]) <= margin)
    for name in truth:
        assert 0.90 <= covered[name] / runs <= 0.98, (name, covered)
    # What taking patches for independent would say: far too sure of itself.
    assert too_narrow / runs < 0.75


# --- paired tests -----------------------------------------------------------------------------------------------------


def made_up_replicates(values: Sequence[float], tiles: int = 5, **changes: object) -> Replicates:
    patches = {f"33UU{letter}": 3 for letter in "ABCDEFGH"[:tiles]}
    made = Replicates(patches, 0, len(values), {"oa": np.array(values, float)}, {"oa": np.array(tiles)})
    return replace(made, **changes)  # type: ignore[arg-type]


def test_p_value_counts_replicates_on_the_other_side_of_no_difference() -> None:
    zeros = [0.0] * 9
    values = [-0.1, 0.0, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.5]
    result = paired_test([made_up_replicates(values)], [made_up_replicates(zeros)], 0.21, "oa", 0.5)
    assert result.difference == 0.21
    assert result.p_value == pytest.approx(2 * (2 + 1) / (9 + 1))
    assert (result.low, result.high) == pytest.approx(tuple(np.percentile(values, [25, 75])))
    swapped = paired_test([made_up_replicates(zeros)], [made_up_replicates(values)], -0.21, "oa", 0.5)
    assert swapped.p_value == result.p_value
    assert (swapped.low, swapped.high) == pytest.approx((-result.high, -result.low))


def test_p_value_is_never_0_and_never_over_1() -> None:
    evidence = made_up_evidence(80, 8)
    run = bootstrap(evidence, 99)
    same = paired_test([run], [run], 0.0, "miou")
    assert (same.low, same.high, same.p_value) == (0, 0, 1)
    worse = replace(run, values=run.values | {"miou": run.values["miou"] - 0.01})
    assert paired_test([run], [worse], 0.01, "miou").p_value == pytest.approx(2 / 100)


def test_several_seeds_are_averaged_within_each_replicate() -> None:
    first = [made_up_replicates([0.1, 0.4, 0.9]), made_up_replicates([0.3, 0.6, 0.5])]
    second = [made_up_replicates([0.3, 0.2, 0.1])]
    result = paired_test(first, second, 0.3, "oa", 0.9999)
    assert (result.low, result.high) == pytest.approx((-0.1, 0.6), abs=1e-3)


def test_replicates_that_are_undefined_in_a_run_are_left_out() -> None:
    first = made_up_replicates([0.1, np.nan, 0.3, 0.5])
    second = made_up_replicates([0.2, 0.1, np.nan, 0.1])
    result = paired_test([first], [second], 0.1, "oa", 0.9999)
    assert (result.low, result.high) == pytest.approx((-0.1, 0.4), abs=1e-3)
    assert result.p_value == 1.0
    nothing = made_up_replicates([np.nan] * 4)
    undefined = paired_test([nothing], [second], np.nan, "oa")
    assert np.isnan([undefined.low, undefined.high, undefined.p_value]).all()


def test_one_tile_has_no_test() -> None:
    run = made_up_replicates([0.1, 0.2], tiles=1)
    result = paired_test([run], [run], 0.0, "oa")
    assert result.difference == 0
    assert np.isnan([result.low, result.high, result.p_value]).all()


def test_runs_on_other_patches_are_refused() -> None:
    run = bootstrap(made_up_evidence(60, 6), 10)
    with pytest.raises(EvidenceError, match=r"60 patches in 6 tiles and 50 patches in 5 tiles.*same split"):
        paired_test([run], [bootstrap(made_up_evidence(50, 5), 10)], 0.0, "oa")
    with pytest.raises(EvidenceError, match="60 patches in 6 tiles and 59 patches in 6 tiles"):
        paired_test([run, bootstrap(made_up_evidence(59, 6), 10)], [run], 0.0, "oa")
    with pytest.raises(EvidenceError, match="same resamples"):
        paired_test([run], [bootstrap(made_up_evidence(60, 6), 10, seed=1)], 0.0, "oa")
    with pytest.raises(EvidenceError, match="same resamples"):
        paired_test([run], [bootstrap(made_up_evidence(60, 6), 11)], 0.0, "oa")
    with pytest.raises(EvidenceError, match="ap_macro"):
        paired_test([run], [bootstrap(made_up_evidence(60, 6, head=False), 10)], 0.0, "ap_macro")
    with pytest.raises(AssertionError, match="per class"):
        paired_test([run], [run], 0.0, "iou")
    for groups in ([], [run]), ([run], []):
        with pytest.raises(AssertionError):
            paired_test(*groups, 0.0, "oa")


def test_pairing_sees_small_differences_that_the_intervals_hide() -> None:
    rng = np.random.default_rng(4)
    right = rng.beta(4, 2, 40)
    first, second = (simulated(rng, np.clip(right + shift, 0, 1), 5, pixels=5) for shift in (0.005, 0.0))
    runs = [bootstrap(evidence, 500) for evidence in (first, second)]
    (a, b) = (intervals(run)["oa"] for run in runs)
    assert a.low < b.high
    observed = score_evidence(first).pixel.oa - score_evidence(second).pixel.oa
    result = paired_test(runs[:1], runs[1:], observed, "oa")
    assert 0 < result.low < observed < result.high < 0.01
    assert result.p_value < 0.01


def test_runs_that_do_not_differ_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(1)
    p_values = []
    for run in range(150):
        right = rng.beta(4, 2, 40)
        # Each run has its own strengths in each tile, none is better over all.
        own = np.clip(right + 0.03 * rng.standard_normal((2, 40)), 0, 1)
        pair = [simulated(rng, right_T, 3) for right_T in own]
        first, second = (bootstrap(evidence, 150, run) for evidence in pair)
        observed = score_evidence(pair[0]).pixel.oa - score_evidence(pair[1]).pixel.oa
        p_values.append(paired_test([first], [second], observed, "oa").p_value)
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.1
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.07)

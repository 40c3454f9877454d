"""Boundaries against all pairs of pixels, SciPy's distance transform and its erosion."""

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_up import made_up_evidence
from scipy import ndimage

from seg.metrics.boundary import BOUNDARY_METRES, BoundaryScores, boundary_counts, boundary_scores, near_boundary
from seg.metrics.evidence import CELLS, Details, Evidence, Origin, batch_evidence, reference_areas, take_patches
from seg.metrics.sparse import sparse_counts
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.reben.reference_map import class_indices

K = NUM_CLASSES
Map = npt.NDArray[np.uint8]
METRES = (BOUNDARY_METRES, 30.0, 100.0, 10.0, 14.0, 15.0, 9.9)


def distances_of_all_pairs(map_HW: Map, labelled_HW: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Metres from each labelled pixel to the nearest labelled one of another class; infinite if there is none."""
    distances = np.full(map_HW.shape, np.inf)
    pixels = np.argwhere(labelled_HW)
    for here in pixels:
        for there in pixels:
            if map_HW[tuple(here)] != map_HW[tuple(there)]:
                distances[tuple(here)] = min(distances[tuple(here)], 10 * np.hypot(*(here - there)))
    return distances


def distances_of_scipy(map_HW: Map, labelled_HW: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    distances = np.full(map_HW.shape, np.inf)
    for c in np.unique(map_HW[labelled_HW]):
        own, other = labelled_HW & (map_HW == c), labelled_HW & (map_HW != c)
        if other.any():
            distances[own] = 10 * ndimage.distance_transform_edt(~other)[own]
    return distances


@st.composite
def pairs(draw: st.DrawFn, patches: int | None = None) -> tuple[Map, Map]:
    """Patches of large areas with noise, of few classes, often with one class only or nothing labelled."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=26))
    batch = draw(st.integers(1, 3)) if patches is None else patches
    classes = draw(st.lists(st.integers(0, K - 1), min_size=1, max_size=4))
    noise, unlabelled = draw(st.sampled_from([0, 0.01, 0.3])), draw(st.sampled_from([0, 0.2, 0.9, 1]))

    def masks() -> Map:
        rows, columns = np.indices(shape)
        stripes = (rows * random.normal() + columns * random.normal()) // random.uniform(1, 30)
        areas = random.permutation(np.resize(classes, 50))[stripes.astype(int) % 50]
        noisy = random.random((batch, *shape)) < noise
        return np.where(noisy, random.choice(classes, (batch, *shape)), areas).astype(np.uint8)

    target, predicted = masks(), masks()
    if draw(st.booleans()):
        predicted = np.where(random.random(target.shape) < 0.9, target, predicted)
    target[random.random(target.shape) < unlabelled] = IGNORE_INDEX
    return target, predicted


@settings(max_examples=40, deadline=None)
@given(pairs(patches=1))
def test_both_references_agree(pair: tuple[Map, Map]) -> None:
    target, predicted = (maps[0, :9, :9] for maps in pair)
    for each in (target, predicted):
        labelled = target != IGNORE_INDEX
        np.testing.assert_allclose(distances_of_scipy(each, labelled), distances_of_all_pairs(each, labelled))


@settings(deadline=None)
@given(pairs(patches=1))
def test_near_boundary_is_within_a_distance(pair: tuple[Map, Map]) -> None:
    target, predicted = (maps[0] for maps in pair)
    labelled = target != IGNORE_INDEX
    for each in (target, predicted):
        distances = distances_of_scipy(each, labelled)
        for metres in METRES:
            near = near_boundary(each, labelled, metres)
            assert near.dtype == np.bool_
            np.testing.assert_array_equal(near, distances <= metres + 1e-9)


def test_near_boundary_of_real_reference_maps(real) -> None:
    paths = sorted(real.rglob("*_reference_map.tif"))[::5]
    assert len(paths) > 10
    for path in paths:
        with rasterio.open(path) as file:
            target = class_indices(file.read(1), path.name)
        labelled = target != IGNORE_INDEX
        distances = distances_of_scipy(target, labelled)
        for metres in METRES[:3]:
            np.testing.assert_array_equal(near_boundary(target, labelled, metres), distances <= metres + 1e-9)


@settings(deadline=None)
@given(pairs(patches=1))
def test_band_is_the_class_without_its_erosion(pair: tuple[Map, Map]) -> None:
    # The definition of Cheng et al., with a disk, and with everything unknown taken for the class itself.
    target = pair[0][0]
    labelled = target != IGNORE_INDEX
    steps = np.arange(-2, 3)
    disk = steps[:, None] ** 2 + steps**2 <= 4
    near = near_boundary(target, labelled, BOUNDARY_METRES)
    for c in np.unique(target[labelled]):
        own = labelled & (target == c)
        inner = ndimage.binary_erosion(own | ~labelled, disk, border_value=1)
        np.testing.assert_array_equal(near & own, own & ~inner)


@settings(deadline=None)
@given(pairs())
def test_counts_equal_brute_force(pair: tuple[Map, Map]) -> None:
    target, predicted = pair
    expected_zones = np.zeros((len(target), 2, K, K), np.int64)
    expected_bands = np.zeros((len(target), 3, K), np.int64)
    for b in range(len(target)):
        labelled = target[b] != IGNORE_INDEX
        of_target, of_predicted = (distances_of_scipy(maps[b], labelled) for maps in pair)
        for y, x in np.argwhere(labelled):
            true, guess = target[b, y, x], predicted[b, y, x]
            if of_target[y, x] <= 100:
                expected_zones[b, int(of_target[y, x] > 30), true, guess] += 1
            in_reference, in_predicted = of_target[y, x] <= 20, of_predicted[y, x] <= 20
            expected_bands[b, 0, true] += in_reference and in_predicted and true == guess
            expected_bands[b, 1, true] += in_reference
            expected_bands[b, 2, guess] += in_predicted
    zones, bands = boundary_counts(target, predicted)
    assert zones.dtype == bands.dtype == np.int64
    np.testing.assert_array_equal(zones, expected_zones.reshape(-1, 2 * CELLS))
    np.testing.assert_array_equal(bands, expected_bands.reshape(-1, 3 * K))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_dtypes_strides_and_batches_do_not_matter(dtype: type) -> None:
    random = np.random.default_rng(0)
    target = np.kron(random.choice([0, 3, 18, IGNORE_INDEX], (3, 6, 8)), np.ones((1, 4, 4), int))
    predicted = np.kron(random.integers(0, K, (3, 6, 8)), np.ones((1, 4, 4), int))
    zones, bands = boundary_counts(target, predicted)
    for b in range(3):
        alone = boundary_counts(target[[b]].astype(dtype), predicted[[b]].astype(dtype))
        np.testing.assert_array_equal(alone[0][0], zones[b])
        np.testing.assert_array_equal(alone[1][0], bands[b])
    turned = boundary_counts(target.transpose(0, 2, 1), predicted.transpose(0, 2, 1))
    np.testing.assert_array_equal(turned[0], zones)
    np.testing.assert_array_equal(turned[1], bands)


def test_empty_batch_has_no_counts() -> None:
    empty = np.zeros((0, 4, 4), np.uint8)
    assert [counts.shape for counts in boundary_counts(empty, empty)] == [(0, 2 * CELLS), (0, 3 * K)]


def test_values_that_only_a_bug_gives() -> None:
    mask = np.zeros((1, 2, 2), np.uint8)
    for target, predicted in ((mask, mask[:, :1]), (mask[0], mask[0]), (mask + 19, mask), (mask, mask + 255)):
        with pytest.raises(AssertionError):
            boundary_counts(target, predicted)


def test_limits_of_a_zone_belong_to_it() -> None:
    # Pixel x lies 10 x metres from the only pixel of class 1.
    row = np.zeros((1, 1, 14), np.uint8)
    row[0, 0, 0] = 1
    zones, bands = boundary_counts(row, row)
    near, middle = zones.reshape(2, K, K)
    assert (near[1, 1], near[0, 0]) == (1, 3)  # 10, 20, 30 m
    assert (middle[1, 1], middle[0, 0]) == (0, 7)  # 40 to 100 m
    assert bands.reshape(3, K)[:, :2].tolist() == [[2, 1]] * 3  # 10 and 20 m


def test_what_is_unlabelled_is_no_boundary_but_one_lies_across_it() -> None:
    row = np.full((1, 1, 12), IGNORE_INDEX, np.uint8)
    row[0, 0, [0, 1]], row[0, 0, [3, 9]] = 4, 5
    zones, bands = boundary_counts(row, np.full_like(row, 4))
    near, middle = zones.reshape(2, K, K)
    assert (near[4, 4], near[5, 4], middle[5, 4]) == (2, 1, 1)  # 30 and 20 m; 20 m; 80 m
    assert zones.sum() == 4
    assert bands.reshape(3, K)[:, [4, 5]].tolist() == [[0, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize("value", [7, IGNORE_INDEX])
def test_one_class_or_none_has_no_boundary(value: int) -> None:
    target = np.full((2, 9, 9), value, np.uint8)
    assert not any(counts.any() for counts in boundary_counts(target, np.full_like(target, 7)))


def evidence_of(target: Map, predicted: Map) -> Evidence:
    counts = np.zeros((len(target), K, K), np.int64)
    patch, y, x = np.nonzero(target != IGNORE_INDEX)
    np.add.at(counts, (patch, target[patch, y, x], predicted[patch, y, x]), 1)
    zones, bands = boundary_counts(target, predicted)
    nothing = np.zeros((len(target), 90), np.int64)
    losses, pooled = np.zeros((len(target), 2, 2)), np.zeros((len(target), 2, K), np.uint16)
    details = Details(sparse_counts(zones), sparse_counts(bands), sparse_counts(nothing), losses, pooled)
    ids = [f"patch {b}" for b in range(len(target))]
    return batch_evidence(Origin("test", "", False), ids, counts, counts.any(2), None, details=details)


def scores_of(target: Map, predicted: Map) -> BoundaryScores:
    scores = boundary_scores(evidence_of(target, predicted))
    assert scores is not None
    return scores


def halves(left: int, right: int, column: int) -> Map:
    target = np.full((1, 40, 40), left, np.uint8)
    target[:, :, column:] = right
    return target


@pytest.mark.parametrize(("shift", "iou"), [(0, 1), (1, 1 / 3), (2, 0), (9, 0), (-1, 1 / 3)])
def test_boundary_that_is_a_little_off(shift: int, iou: float) -> None:
    scores = scores_of(halves(3, 5, 20), halves(3, 5, 20 + shift))
    assert scores.metres == BOUNDARY_METRES
    assert scores.iou[[3, 5]].tolist() == pytest.approx([iou, iou])
    assert (scores.miou, scores.classes_averaged) == (pytest.approx(iou), 2)
    assert np.isnan(np.delete(scores.iou, [3, 5])).all()


def test_predicted_but_absent_class_is_undefined_and_no_boundary_found_scores_zero() -> None:
    scores = scores_of(halves(3, 5, 20), halves(3, 6, 20))
    assert (scores.iou[3], scores.iou[5]) == (1, 0)
    assert np.isnan(scores.iou[6])
    assert (scores.miou, scores.classes_averaged) == (0.5, 2)


def test_class_without_a_boundary_anywhere_is_undefined() -> None:
    scores = scores_of(halves(3, 3, 20), halves(3, 3, 20))
    assert np.isnan(scores.iou).all()
    assert np.isnan(scores.miou)
    assert scores.classes_averaged == 0
    # An invented boundary is an error of the class that is there.
    assert scores_of(halves(3, 3, 20), halves(3, 5, 20)).iou[3] == 0


def test_scores_are_of_the_summed_counts() -> None:
    evidence = made_up_evidence(80, 5, seed=4)
    scores = boundary_scores(evidence)
    assert scores is not None
    assert evidence.details is not None
    bands = evidence.details.bands.dense().reshape(80, 3, K)
    present = reference_areas(evidence).sum(0) > 0
    ious = []
    for c in range(K):
        both, reference, predicted = (sum(int(row[part, c]) for row in bands) for part in range(3))
        if present[c] and reference + predicted:
            ious.append(both / (reference + predicted - both))
            assert scores.iou[c] == pytest.approx(ious[-1], rel=1e-14)
        else:
            assert np.isnan(scores.iou[c])
    assert (scores.miou, scores.classes_averaged) == (pytest.approx(np.mean(ious)), len(ious))


def test_no_details_no_scores_and_no_patches_nothing_defined() -> None:
    assert boundary_scores(made_up_evidence(5, 2, details=False)) is None
    empty = boundary_scores(take_patches(made_up_evidence(5, 2), np.arange(0)))
    assert empty is not None
    assert np.isnan(empty.miou)

"""Scores of slices against scikit-learn and loops over the patches."""

from collections import defaultdict
from dataclasses import astuple, replace

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from made_up import dense_counts, made_up_evidence

from seg.metrics.evidence import ZONES, Evidence, Origin, batch_evidence, take_patches, total_counts
from seg.metrics.scores import score_evidence
from seg.metrics.slices import PATCH_DIMENSIONS, RARITY_DIMENSION, SEASONS, ZONE_DIMENSION, Slice, slice_scores
from seg.reben.classes import NUM_CLASSES
from seg.reben.patch import PatchId

K = NUM_CLASSES
NAN = float("nan")
ORIGIN = Origin("test", "f", False)
MONTH_NAMES = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def patch_id(month: int = 6, tile: str = "33UUP", cell: int = 0) -> str:
    return f"S2A_MSIL2A_2017{month:02d}13T101031_N9999_R022_T{tile}_{cell // 91:02d}_{cell % 91:02d}"


def evidence_of(
    counts: np.ndarray,
    labels: np.ndarray | None = None,
    probabilities: np.ndarray | None = None,
    ids: list[str] | None = None,
    countries: list[str] | None = None,
) -> Evidence:
    if labels is None:
        labels = counts.sum(axis=2) > 0
    if ids is None:
        ids = [patch_id(cell=n) for n in range(len(counts))]
    return batch_evidence(ORIGIN, ids, counts, labels, probabilities, countries)


def one_class(pixels: list[int], true: int = 0, predicted: int = 0) -> np.ndarray:
    """Counts of patches of a single class each."""
    counts = np.zeros((len(pixels), K, K), np.int64)
    counts[:, true, predicted] = pixels
    return counts


def named(evidence: Evidence, dimension: str) -> dict[str, Slice]:
    return {s.name: s for s in slice_scores(evidence) if s.dimension == dimension}


def pixel_expected(counts: np.ndarray) -> tuple[int, int, float, float, float]:
    """Pixels, classes, mIoU, mF1 and OA by scikit-learn, each confusion cell a weighted sample."""
    if not counts.any():
        return 0, 0, NAN, NAN, NAN
    true, predicted = np.divmod(np.arange(K * K), K)
    present = np.flatnonzero(counts.sum(axis=1)).tolist()
    weights = {"sample_weight": counts.ravel()}
    averaged = weights | {"labels": present, "average": "macro", "zero_division": 0}
    miou = sk.jaccard_score(true, predicted, **averaged)
    mf1 = sk.f1_score(true, predicted, **averaged)
    return int(counts.sum()), len(present), miou, mf1, sk.accuracy_score(true, predicted, **weights)


def scene_expected(
    labels: np.ndarray, probabilities: np.ndarray | None, classes: list[int]
) -> tuple[float, float, int]:
    present = [c for c in classes if labels[:, c].any()]
    if probabilities is None or not present:
        return NAN, NAN, 0
    ap = [sk.average_precision_score(labels[:, c], probabilities[:, c]) for c in present]
    f1 = [sk.f1_score(labels[:, c], probabilities[:, c] > 0.5) for c in present]
    return float(np.mean(ap)), float(np.mean(f1)), len(present)


def parts_of_a_patch(evidence: Evidence, row: int) -> list[tuple[str, str]]:
    """The slices that a patch belongs to, by its id and by fractions in decimal."""
    patch = PatchId.parse(evidence.patch_ids[row].as_py())
    labelled = int(dense_counts(evidence, np.array([row])).sum())
    percent = 100 * (14400 - labelled) / 14400
    season = {12: "winter", 1: "winter", 2: "winter", 3: "spring", 4: "spring", 5: "spring"}
    season |= {6: "summer", 7: "summer", 8: "summer", 9: "autumn", 10: "autumn", 11: "autumn"}
    if percent == 0:
        fraction = "0 %"
    else:
        fraction = "over 0 to 10 %" if percent <= 10 else "over 10 to 25 %" if percent <= 25 else "over 25 %"
    number = int(evidence.labels[row].sum())
    parts = [("country", country)] if (country := evidence.countries[row].as_py()) else []
    return [
        *parts,
        ("month", MONTH_NAMES[patch.acquired.month - 1]),
        ("season", season[patch.acquired.month]),
        ("tile", patch.tile),
        ("unlabelled fraction", fraction),
        ("classes in the patch", "5+" if number >= 5 else str(number)),
    ]


def check_against_loops(evidence: Evidence) -> None:
    found = slice_scores(evidence)
    rows_of = defaultdict(list)
    for row in range(len(evidence)):
        for part in parts_of_a_patch(evidence, row):
            rows_of[part].append(row)
    patch_slices = [s for s in found if s.dimension in PATCH_DIMENSIONS]
    assert len(patch_slices) == len(rows_of)
    probabilities = evidence.probabilities
    for s in patch_slices:
        rows = np.array(rows_of[s.dimension, s.name])
        pixel = pixel_expected(dense_counts(evidence, rows).sum(axis=0))
        subset = None if probabilities is None else probabilities[rows]
        scene = scene_expected(evidence.labels[rows], subset, list(range(K)))
        np.testing.assert_allclose(astuple(s)[2:], (len(rows), *pixel, *scene), rtol=1e-12)


@given(
    st.integers(1, 40),
    st.integers(1, 14),
    st.integers(0, 999),
    st.booleans(),
    st.lists(st.sampled_from(["", "Serbia", "Ireland"]), min_size=40, max_size=40),
)
@settings(max_examples=8, deadline=None, phases=[Phase.generate])  # shrinking takes minutes and explains little
def test_slices_of_patches_equal_loops(patches: int, tiles: int, seed: int, head: bool, countries: list[str]) -> None:
    evidence = made_up_evidence(patches, tiles, seed, head=head, details=False)
    named_countries = batch_evidence(
        evidence.origin,
        evidence.patch_ids.to_pylist(),
        dense_counts(evidence, np.arange(patches)),
        evidence.labels,
        evidence.probabilities,
        countries[:patches],
    )
    check_against_loops(named_countries)


def test_slices_that_are_stored_in_any_order_of_patches_are_the_same() -> None:
    evidence = made_up_evidence(80, 7)
    shuffled = take_patches(evidence, np.random.default_rng(1).permutation(80))
    for first, second in zip(slice_scores(evidence), slice_scores(shuffled), strict=True):
        np.testing.assert_allclose(astuple(first)[2:], astuple(second)[2:], rtol=1e-12)
        assert astuple(first)[:2] == astuple(second)[:2]


def test_a_split_of_one_part_has_the_scores_of_the_split() -> None:
    evidence = made_up_evidence(30, 1, 3)
    scores = score_evidence(evidence)
    assert scores.scene is not None
    (tile,) = named(evidence, "tile").values()
    assert (tile.miou, tile.mf1, tile.oa) == (scores.pixel.miou, scores.pixel.mf1, scores.pixel.oa)
    assert (tile.ap_macro, tile.f1_macro) == (scores.scene.ap_macro, scores.scene.f1_macro)
    assert tile.scene_classes == scores.scene.classes_averaged


@pytest.mark.parametrize("dimension", ["month", "season", "tile", "unlabelled fraction", "classes in the patch"])
def test_every_patch_and_pixel_is_in_one_slice_of_a_dimension(dimension: str) -> None:
    evidence = made_up_evidence(1000, 20, 4)
    slices = named(evidence, dimension).values()
    assert sum(s.patches for s in slices) == 1000
    assert sum(s.pixels for s in slices) == total_counts(evidence).sum()


def test_slices_stand_in_their_natural_order() -> None:
    ids = [patch_id(month, f"3{cell % 3}UUP", cell) for cell, month in enumerate((12, 7, 1, 4, 2, 11, 9))]
    sizes = [14400, 14399, 12960, 12959, 10800, 10799, 1]
    labels = np.arange(K) < np.array([0, 3, 1, 2, 9, 5, 4])[:, None]
    countries = ["Serbia", "Austria", "", "Kosovo", "Finland", "", "Austria"]
    evidence = evidence_of(one_class(sizes), labels, None, ids, countries)
    names = defaultdict(list)
    for s in slice_scores(evidence):
        names[s.dimension].append((s.name, s.patches))
    assert names == {
        "country": [("Austria", 2), ("Finland", 1), ("Kosovo", 1), ("Serbia", 1)],
        "month": [(m, 1) for m in ["January", "February", "April", "July", "September", "November", "December"]],
        "season": list(zip(SEASONS, (3, 1, 1, 2), strict=True)),
        "tile": [("30UUP", 3), ("31UUP", 2), ("32UUP", 2)],
        "unlabelled fraction": [
            ("0 %", 1),
            ("over 0 to 10 %", 2),
            ("over 10 to 25 %", 2),
            ("over 25 %", 2),
        ],
        "classes in the patch": [("0", 1), ("1", 1), ("2", 1), ("3", 1), ("4", 1), ("5+", 2)],
        RARITY_DIMENSION: [("rare", 5), ("common", 6)],
    }


def test_what_is_unknown_of_a_patch_is_in_no_slice() -> None:
    evidence = evidence_of(one_class([5, 7]), ids=["patch", patch_id(5)], countries=["", ""])
    assert named(evidence, "country") == {}
    for dimension, name in (("month", "May"), ("season", "spring"), ("tile", "33UUP")):
        assert {n: s.pixels for n, s in named(evidence, dimension).items()} == {name: 7}
    assert named(evidence, "classes in the patch")["1"].pixels == 12


def test_a_slice_without_labelled_pixels_is_listed_without_pixel_scores() -> None:
    labels = np.zeros((2, K), bool)
    labels[:, 3] = True
    probabilities = np.where(labels, 0.9, 0.1).astype(np.float32)
    ids = [patch_id(3), patch_id(8)]
    months = named(evidence_of(one_class([0, 50]), labels, probabilities, ids), "month")
    empty, full = months["March"], months["August"]
    assert (empty.patches, empty.pixels, empty.classes_averaged) == (1, 0, 0)
    assert np.isnan([empty.miou, empty.mf1, empty.oa]).all()
    assert (empty.ap_macro, empty.f1_macro, empty.scene_classes) == (1, 1, 1)
    assert (full.miou, full.mf1, full.oa) == (1, 1, 1)


def test_a_slice_without_any_label_has_no_scene_scores() -> None:
    labels = np.zeros((1, K), bool)
    (slice_,) = named(evidence_of(one_class([9]), labels, np.full((1, K), 0.9, np.float32)), "month").values()
    assert np.isnan([slice_.ap_macro, slice_.f1_macro]).all()
    assert slice_.scene_classes == 0


def test_classes_absent_from_a_slice_are_not_averaged() -> None:
    counts = np.concatenate([one_class([10], 1, 2), one_class([30], 1, 1), one_class([8], 4, 4)])
    ids = [patch_id(1), patch_id(1, cell=1), patch_id(2)]
    months = named(evidence_of(counts, ids=ids), "month")
    january = months["January"]
    # Class 2 is predicted and never true, so only class 1 counts: 30 of 40 pixels.
    assert (january.classes_averaged, january.miou, january.oa) == (1, 0.75, 0.75)
    assert months["February"].miou == 1


def test_zones_are_parts_of_the_pixels() -> None:
    evidence = made_up_evidence(25, 3, 5)
    assert evidence.details is not None
    zones = named(evidence, ZONE_DIMENSION)
    assert list(zones) == [name for name, _ in ZONES]
    inner = evidence.details.zones.dense().reshape(25, 2, K, K)
    outer = dense_counts(evidence, np.arange(25)) - inner.sum(axis=1)
    for s, counts in zip(zones.values(), (inner[:, 0], inner[:, 1], outer), strict=True):
        patches = sum(bool(patch.any()) for patch in counts)
        expected = (patches, *pixel_expected(counts.sum(axis=0)), NAN, NAN, 0)
        np.testing.assert_allclose(astuple(s)[2:], expected, rtol=1e-12)
    assert sum(s.pixels for s in zones.values()) == total_counts(evidence).sum()


def test_a_zone_without_pixels_is_missing_and_so_are_all_without_details() -> None:
    evidence = made_up_evidence(10, 2, 6)
    assert evidence.details is not None
    zones = evidence.details.zones
    all_near = np.concatenate([evidence.confusion.dense(), np.zeros((10, K * K), np.int64)], axis=1)
    near = replace(evidence.details, zones=type(zones)(zones.size, *sparse_parts(all_near)))
    assert list(named(replace(evidence, details=near), ZONE_DIMENSION)) == ["0-30 m"]
    assert named(replace(evidence, details=None), ZONE_DIMENSION) == {}


def sparse_parts(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, keys = np.nonzero(dense)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])
    return offsets.astype(np.int64), keys.astype(np.uint16), dense[rows, keys].astype(np.uint32)


def test_rarities_are_scores_of_the_split_over_some_classes() -> None:
    evidence = made_up_evidence(200, 5, 8)
    scores = score_evidence(evidence)
    pixel = scores.pixel
    counts = total_counts(evidence)
    share = counts.sum(axis=1) / counts.sum()
    found = named(evidence, RARITY_DIMENSION)
    assert list(found) == ["rare", "medium", "common"]
    for name, low, high in (("rare", 0, 0.01), ("medium", 0.01, 0.05), ("common", 0.05, 1.1)):
        classes = [c for c in range(K) if low <= share[c] < high]
        pixels = counts[classes].sum()
        expected = (
            sum(any(evidence.labels[n, c] for c in classes) for n in range(200)),
            pixels,
            len(classes),
            np.mean([pixel.iou[c] for c in classes]),
            np.mean([pixel.f1[c] for c in classes]),
            sum(counts[c, c] for c in classes) / pixels,
            *scene_expected(evidence.labels, evidence.probabilities, classes),
        )
        np.testing.assert_allclose(astuple(found[name])[2:], expected, rtol=1e-12)


def test_bounds_of_the_rarities_belong_to_the_more_common() -> None:
    sizes = {0: 1, 1: 2, 2: 9, 3: 10, 4: 178}  # of 200: below 1 %, 1 %, below 5 %, 5 %, and the rest
    counts = np.concatenate([one_class([pixels], c, c) for c, pixels in sizes.items()])
    found = named(evidence_of(counts), RARITY_DIMENSION)
    assert {name: (s.classes_averaged, s.pixels) for name, s in found.items()} == {
        "rare": (1, 1),
        "medium": (2, 11),
        "common": (2, 188),
    }


def test_a_rare_class_may_have_labels_without_pixels_and_pixels_without_labels() -> None:
    counts = np.concatenate([one_class([1], 0, 1), one_class([199], 1, 1)])
    labels = np.zeros((2, K), bool)
    labels[1, [1, 2]] = True
    probabilities = np.where(labels, 0.8, 0.2).astype(np.float32)
    found = named(evidence_of(counts, labels, probabilities), RARITY_DIMENSION)
    rare = found["rare"]
    # Class 0 has a pixel, missed, and no label; class 2 has a label, found, and no pixel.
    assert (rare.patches, rare.pixels, rare.classes_averaged, rare.scene_classes) == (1, 1, 1, 1)
    assert (rare.miou, rare.oa, rare.ap_macro, rare.f1_macro) == (0, 0, 1, 1)
    assert list(found) == ["rare", "common"]


def test_nothing_at_all() -> None:
    empty = take_patches(made_up_evidence(5), np.array([], dtype=np.int64))
    assert slice_scores(empty) == ()
    unlabelled = slice_scores(evidence_of(one_class([0]), np.zeros((1, K), bool)))
    assert {s.dimension for s in unlabelled} == {
        "month",
        "season",
        "tile",
        "unlabelled fraction",
        "classes in the patch",
    }
    assert all((s.patches, s.pixels, s.scene_classes) == (1, 0, 0) for s in unlabelled)


def test_one_patch() -> None:
    check_against_loops(made_up_evidence(1, 1))

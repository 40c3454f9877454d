"""Areas adjusted for confusion: the published example, brute force, and what is not known."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_up import dense_counts, made_up_evidence
from scipy import stats

from seg.areas.table import area_table
from seg.config.synthetic import Synthetic
from seg.metrics.area import adjusted_areas, stratified_accuracies, tile_errors
from seg.metrics.evidence import total_counts
from seg.metrics.jackknife import numbered_tiles, standard_error
from seg.metrics.sparse import sparse_counts
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.report.formats import markdown

PUBLISHED = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
"""Map class x true class: deforestation, forest gain, stable forest, stable non-forest."""


def test_example_of_olofsson_and_others():
    """Tables 8 and 9, and the estimates in section 5.2 of the paper: areas in ha with 95 % intervals."""
    mapped = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 0.09
    found = adjusted_areas(mapped, PUBLISHED.T)
    np.testing.assert_allclose(found.area_K, [21_158, 11_686, 285_770, 581_386], atol=1)
    np.testing.assert_allclose(1.96 * found.error_K, [6_158, 3_756, 15_510, 16_282], rtol=2e-3)
    assert found.area_K.sum() == pytest.approx(900_000)
    assert found.assessed_K.all()


def test_accuracies_of_the_example():
    """As published with 95 % intervals; those of producer's accuracies by equation 7, in numbers of pixels."""
    pixels = np.array([200_000, 150_000, 3_200_000, 6_450_000])
    found = stratified_accuracies(pixels, PUBLISHED.T, np.zeros(4))
    assert (round(found.overall, 2), round(1.96 * found.overall_error, 2)) == (0.95, 0.02)
    np.testing.assert_array_equal(found.users_K.round(2), [0.88, 0.73, 0.93, 0.96])
    np.testing.assert_array_equal((1.96 * found.users_error_K).round(2), [0.07, 0.10, 0.04, 0.02])
    np.testing.assert_array_equal(found.producers_K.round(2), [0.75, 0.85, 0.93, 0.96])
    sizes = PUBLISHED.sum(1)
    for j in range(4):
        true = sum(pixels[i] * PUBLISHED[i, j] / sizes[i] for i in range(4))
        users = PUBLISHED[j, j] / sizes[j]
        producers = pixels[j] * users / true
        own = pixels[j] ** 2 * (1 - producers) ** 2 * users * (1 - users) / (sizes[j] - 1)
        others = sum(
            pixels[i] ** 2 * PUBLISHED[i, j] / sizes[i] * (1 - PUBLISHED[i, j] / sizes[i]) / (sizes[i] - 1)
            for i in range(4)
            if i != j
        )
        assert found.producers_error_K[j] == pytest.approx(math.sqrt((own + producers**2 * others) / true**2))


def test_errors_are_those_of_samples_drawn_again_and_again():
    """Of a map whose truth is known: the estimates vary by as much as they say, and are right on average."""
    random = np.random.default_rng(3)
    pixels = 10 * np.array([[400, 60, 20], [30, 150, 10], [5, 15, 40]])
    strata, per_class = pixels.sum(1), 300
    drawn = []
    for _ in range(1500):
        counts = np.array([random.multivariate_hypergeometric(row, per_class) for row in pixels])
        adjusted = adjusted_areas(strata, counts.T, per_class / strata)
        accuracies = stratified_accuracies(strata, counts.T, per_class / strata)
        estimate = np.r_[adjusted.area_K, accuracies.overall, accuracies.users_K, accuracies.producers_K]
        error = np.r_[
            adjusted.error_K, accuracies.overall_error, accuracies.users_error_K, accuracies.producers_error_K
        ]
        drawn.append((estimate, error))
    estimates, errors = np.array(drawn).swapaxes(0, 1)
    truth = np.r_[
        pixels.sum(0),
        np.trace(pixels) / pixels.sum(),
        np.diag(pixels) / strata,
        np.diag(pixels) / pixels.sum(0),
    ]
    # Producer's accuracy is a quotient of estimates: right, and as uncertain as it says, in large samples only.
    np.testing.assert_allclose(estimates.mean(0)[:7], truth[:7], rtol=0.01)
    np.testing.assert_allclose(estimates.mean(0)[7:], truth[7:], rtol=0.02)
    np.testing.assert_allclose(np.sqrt((errors**2).mean(0))[:7], estimates.std(0)[:7], rtol=0.08)
    np.testing.assert_allclose(np.sqrt((errors**2).mean(0))[7:], estimates.std(0)[7:], rtol=0.1)


def test_a_class_that_was_looked_at_as_a_whole_is_certain():
    counts = np.array([[1, 0], [0, 30]])
    found = adjusted_areas(np.array([1, 900]), counts, np.array([1.0, 30 / 900]))
    assert found.error_K.tolist() == [0, 0]
    accuracies = stratified_accuracies(np.array([1, 900]), counts, np.array([1.0, 30 / 900]))
    assert (accuracies.overall, accuracies.overall_error, accuracies.users_error_K[0]) == (1, 0, 0)


@given(arrays(np.int64, (4, 4), elements=st.integers(0, 50)), arrays(np.float64, 4, elements=st.floats(0, 1e6)))
def test_equations_9_to_11_term_by_term(confusion, mapped):
    """In fractions, because the terms of equation 10 cancel."""
    found = adjusted_areas(mapped, confusion)
    total = sum(map(Fraction, mapped.tolist()))
    for j in range(4):
        share, variance, unknown = Fraction(0), Fraction(0), False
        for i in range(4):
            n_i = int(confusion[:, i].sum())
            weight = Fraction(mapped[i].item()) / total if total else Fraction(0)
            if not n_i:
                share += weight * (i == j)
                continue
            p_ij = weight * int(confusion[j, i]) / n_i
            share += p_ij
            unknown |= bool(weight) and n_i == 1
            variance += (weight * p_ij - p_ij**2) / (n_i - 1) if n_i > 1 else 0
        assert found.area_K[j] == pytest.approx(float(total * share), abs=1e-6)
        expected = np.nan if unknown else float(total) * np.sqrt(float(variance))
        assert found.error_K[j] == pytest.approx(expected, abs=1e-3, nan_ok=True)
    np.testing.assert_array_equal(found.assessed_K, confusion.sum(0) > 0)


def test_a_map_without_errors_is_believed():
    found = adjusted_areas(np.array([3.0, 5.0]), np.diag([10, 20]))
    np.testing.assert_array_equal(found.area_K, [3, 5])
    np.testing.assert_array_equal(found.error_K, [0, 0])
    nothing = adjusted_areas(np.zeros(2), np.diag([10, 20]))
    np.testing.assert_array_equal(nothing.area_K, [0, 0])


def test_tiles_that_are_left_out_by_brute_force():
    evidence = made_up_evidence(patches=80, tiles=5, seed=4)
    mapped = np.random.default_rng(0).uniform(0, 100, NUM_CLASSES)
    names, tile_N = numbered_tiles(evidence)
    counts = dense_counts(evidence, np.arange(len(evidence)))
    observed = total_counts(evidence)
    drawn = []
    for left_out in (None, *range(len(names))):
        total = sum(counts[n] for n, tile in enumerate(tile_N) if tile != left_out)
        areas = np.zeros(NUM_CLASSES)
        for i in range(NUM_CLASSES):
            column = total[:, i] if total[:, i].sum() else observed[:, i]
            areas += mapped[i] * (column / column.sum() if column.sum() else np.eye(NUM_CLASSES)[i])
        drawn.append(areas)
    found = tile_errors(mapped, evidence)
    np.testing.assert_allclose(found, standard_error(np.array(drawn)), rtol=1e-9)
    # Pixels of a tile are alike, so whole tiles vary far more than independent pixels would.
    assert (found > adjusted_areas(mapped, observed).error_K).mean() > 0.9


def test_one_tile_says_nothing_of_how_tiles_vary():
    assert tile_errors(np.ones(NUM_CLASSES), made_up_evidence(patches=5, tiles=1)) is None


def test_a_class_that_the_reference_lacks_has_no_estimate():
    evidence = made_up_evidence(40, 4, details=False, head=False)
    dense = evidence.confusion.dense().reshape(len(evidence), NUM_CLASSES, NUM_CLASSES).copy()
    # Nobody has seen class 2; nothing is mapped as, and so nothing known of what is mapped as, class 4.
    dense[:, 2], dense[:, 4], dense[:, :, 4] = 0, 0, 0
    evidence = replace(evidence, confusion=sparse_counts(dense.reshape(len(evidence), -1)))
    mapped = np.full(NUM_CLASSES, 10.0)
    table = area_table(mapped, evidence, "scene", Synthetic.NOTHING)
    keys = [column.key for column in table.columns]
    rows = {row[1]: dict(zip(keys, row, strict=True)) for row in table.rows}
    expected = adjusted_areas(mapped, total_counts(evidence))
    for k, name in enumerate(CLASS_NAMES):
        row = rows[name]
        assert math.isnan(row["adjusted_se_ha"]) == math.isnan(row["adjusted_se_tiles_ha"]) == (k in (2, 4)), name
        assert row["adjusted_ha"] == pytest.approx(math.nan if k == 2 else expected.area_K[k], nan_ok=True)
    text = markdown(table)
    total = mapped.sum()
    # The effective number of tiles, by their labelled pixels, and Student's quantile.
    tiles, held = np.array(evidence.tiles.to_pylist()), dense.sum((1, 2))
    pixels = np.array([held[tiles == tile].sum() for tile in set(tiles)], float)
    quantile = stats.t.ppf(0.975, pixels.sum() ** 2 / (pixels**2).sum() - 1)
    for row in rows.values():
        half = quantile * row["adjusted_se_tiles_ha"]
        ends = np.clip([row["adjusted_ha"] - half, row["adjusted_ha"] + half], 0, total)
        assert (row["adjusted_low_ha"], row["adjusted_high_ha"]) == pytest.approx(tuple(ends), nan_ok=True)
    assert f"The reference of the assessment has no {CLASS_NAMES[2]}: nothing is known of their true areas" in text
    assert f"Nothing was assessed of what is mapped as {CLASS_NAMES[4]}: there the map is believed" in text

"""The simulation of intervals against the scores of seg, and what tables say of its results."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from seg.metrics.jackknife import METHOD
from seg.metrics.pixel import pixel_values
from seg.metrics.scene import average_precision, label_scores
from seg.report.coverage import COVERAGE, brackets_note

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "intervals"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_intervals", ROOT / "scripts" / "check_intervals.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scores_of_a_simulated_split_are_those_of_its_patches(script: ModuleType) -> None:
    """Of patches with the score of their bin, and of counts in which what is taken for a class is one of another."""
    population = script.population(RESULTS / script.TILES)
    sums = script.draw(population, np.random.default_rng(3), 4)[0]
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 0, 1]])
    found = script.scores_of(weights, sums)
    for row, times in enumerate(weights):
        positives_KB, patches_KB = (np.tensordot(times, part, 1) for part in (sums.positives_TKB, sums.patches_TKB))
        for k in range(script.K):
            counts = np.stack([positives_KB[k], patches_KB[k] - positives_KB[k]]).astype(np.int64)
            bins = np.repeat(np.tile(np.arange(counts.shape[1]), 2), counts.ravel())
            true = np.repeat([True, False], counts.sum(axis=1))
            expected = average_precision(bins.astype(np.float32), true)
            assert found["ap"][row, k] == pytest.approx(expected, rel=1e-9, nan_ok=True)
            scored = label_scores((bins > 32)[:, None], true[:, None])
            assert found["scene_f1"][row, k] == pytest.approx(scored.f1[0], rel=1e-9, nan_ok=True)
        hits, areas, predicted = (times @ part for part in (sums.hits_TK, sums.areas_TK, sums.predicted_TK))
        for k in range(script.K):
            # The class against all others.
            rest = int(areas.sum() - areas[k] - (predicted[k] - hits[k]))
            table = np.array([[hits[k], areas[k] - hits[k]], [predicted[k] - hits[k], max(rest, 0)]]).astype(np.int64)
            assert found["iou"][row, k] == pytest.approx(pixel_values(table)["iou"][0], rel=1e-9, nan_ok=True)
        assert found["oa"][row] == pytest.approx(hits.sum() / areas.sum())
        assert found["miou"][row] == pytest.approx(np.nanmean(found["iou"][row]))


def test_tiles_are_drawn_as_the_official_split_has_them(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    population = script.population(RESULTS / script.TILES)
    assert population.patches_T.sum() == 119_825
    assert (population.positives_TK <= population.patches_T[:, None]).all()
    models = script.draw(population, np.random.default_rng(0), 14)
    # All models see the same tiles; what they are right in differs.
    for model in models[1:]:
        np.testing.assert_array_equal(model.areas_TK, models[0].areas_TK)
        np.testing.assert_array_equal(model.patches_TKB.sum(axis=2), models[0].patches_TKB.sum(axis=2))
        assert (model.hits_TK != models[0].hits_TK).any()
    true = script.truth(RESULTS / script.TILES, number=500)
    monkeypatch.setattr(script, "truth", lambda *_: true)
    held, by_class = script.one_split(14, True, RESULTS / script.TILES, False, 0)
    assert len(held) == len(script.SCORES) * len(script.SUBJECTS) * (1 + len(script.METHODS))
    assert all(width > 0 for _, width in held.values())
    assert {number for _, number, _, _ in by_class} <= set(range(2, 15))


def test_tables_say_what_was_simulated() -> None:
    record = json.loads((RESULTS / "intervals.json").read_text(encoding="utf-8"))
    assert record["method"] == METHOD
    assert record["data_sets"] >= 1000
    assert [list(row) for row in COVERAGE] == record["coverage"]
    found = {
        (one["tiles"], each["score"], each["of"]): each["coverage"]
        for one in record["simulations"]
        for each in one["intervals"]
        if each["method"] == METHOD and not one["even"]
    }
    for tiles in (14, 25, 54):
        for score in ("oa", "miou", "ap_macro", "f1_macro"):
            for of in ("score", "equal", "better"):
                assert found[tiles, score, of] > 0.92, (tiles, score, of)


@pytest.mark.parametrize(("tiles", "simulated"), [(2, 2), (4, 3), (14, 14), (24, 14), (46, 25), (54, 54), (900, 54)])
def test_a_table_names_the_next_smaller_simulation(tiles: int, simulated: int) -> None:
    least, most = next(row[1:] for row in COVERAGE if row[0] == simulated)
    assert f"each of the {tiles} S2 tiles" in brackets_note(tiles)
    assert f"splits of {simulated} tiles they held the truth in {least} to {most} % of cases" in brackets_note(tiles)
    assert "no intervals" in brackets_note(1)

"""A minimum mapping unit: against a queue of flooded objects, whatever the strips, and what must hold of any map."""

import csv
import json
from itertools import pairwise
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from commands import run_seg
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import quick_run
from scipy import ndimage
from sklearn.metrics import confusion_matrix

from seg.config.scope import Scope
from seg.config.track import silent
from seg.engine.evaluate import predict as predictions
from seg.errors import RunError, WrongUseError
from seg.generalise.surprisal import PER_NAT, surprisals
from seg.generalise.units import Generalisation, generalised, unit_pixels
from seg.maps import parts
from seg.maps.patches import MAP, patch_file
from seg.metrics.evidence import total_counts
from seg.pipeline.compare import compare
from seg.pipeline.evaluate import evaluate
from seg.pipeline.export import export
from seg.pipeline.predict import predict
from seg.pipeline.report import report_run
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.classes import NUM_CLASSES
from seg.reben.patch import PatchId
from seg.runs.folder import check_evidence, read_evidence
from seg.runs.session import open_session
from seg.runs.use import plan_use
from seg.synthetic.scene import synthesise_scene
from seg.synthetic.tree import synthesise

NODATA = 255


@st.composite
def maps(draw):
    """A small class map with holes, surprisals of all classes, and a unit."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kinds = draw(st.lists(st.sampled_from([0, 1, 5, 18, NODATA]), min_size=1, max_size=4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes_HW = random.choice(np.array(kinds, np.uint8), (height, width))
    # Few levels make ties, many make preferences.
    costs_KHW = random.integers(0, draw(st.sampled_from([2, 255])), (NUM_CLASSES, height, width)).astype(np.uint8)
    return classes_HW, costs_KHW, draw(st.integers(1, 20))


def around(place):
    row, column = place
    return [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]


def flooded(classes_HW):
    """Objects of a map as sets of pixels, by flooding."""
    left = {tuple(place) for place in np.argwhere(classes_HW != NODATA).tolist()}
    while left:
        todo, found = [left.pop()], set()
        while todo:
            place = todo.pop()
            found.add(place)
            mine = [n for n in around(place) if n in left and classes_HW[n] == classes_HW[place]]
            left.difference_update(mine)
            todo += mine
        yield found


def neighbours(classes_HW, found):
    """Classes of the pixels around an object."""
    height, width = classes_HW.shape
    inside = {n for place in found for n in around(place) if 0 <= n[0] < height and 0 <= n[1] < width}
    return {int(classes_HW[n]) for n in inside - found} - {NODATA}


def order(found, width):
    """The smallest first; of equal ones as their first pixels, spread by a multiplication, say."""
    row, column = min(found)
    return len(found), (row * width + column) * 0x9E3779B97F4A7C15 % 2**64


def by_a_queue(classes_HW, costs_KHW, unit, stays=lambda found: False):
    """One object at a time, the map flooded anew after each."""
    result = classes_HW.copy()
    while True:
        small = [found for found in flooded(result) if len(found) < unit and not stays(found)]
        small = [found for found in small if neighbours(result, found)]
        if not small:
            return result
        found = min(small, key=lambda found: order(found, result.shape[1]))
        rows, columns = zip(*found, strict=True)
        costs = {k: int(costs_KHW[k, rows, columns].astype(int).sum()) for k in neighbours(result, found)}
        result[rows, columns] = min(costs, key=lambda k: (costs[k], k))


def in_strips(classes_HW, costs_KHW, unit, heights):
    """The map as it comes out if it goes in in strips."""
    whole, edges = Generalisation(unit), [0]
    while edges[-1] < len(classes_HW):
        edges.append(edges[-1] + heights[(len(edges) - 1) % len(heights)])
    named = [whole.add(classes_HW[a:b], costs_KHW[:, a:b], a) for a, b in pairwise(edges)]
    whole.finish()
    return np.concatenate([whole.classes(names_HW) for names_HW in named])


@settings(max_examples=150, deadline=None)
@given(maps(), st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_the_map_is_that_of_a_queue_whatever_the_strips(given_map, heights):
    classes_HW, costs_KHW, unit = given_map
    expected = by_a_queue(classes_HW, costs_KHW, unit)
    np.testing.assert_array_equal(generalised(classes_HW, costs_KHW, unit, cut=False), expected)
    np.testing.assert_array_equal(in_strips(classes_HW, costs_KHW, unit, heights), expected)


@settings(max_examples=60, deadline=None)
@given(maps())
def test_what_the_edge_cuts_stays(given_map):
    classes_HW, costs_KHW, unit = given_map
    height, width = classes_HW.shape

    def stays(found):
        return any(row in (0, height - 1) or column in (0, width - 1) for row, column in found)

    expected = by_a_queue(classes_HW, costs_KHW, unit, stays)
    np.testing.assert_array_equal(generalised(classes_HW, costs_KHW, unit, cut=True), expected)


@settings(max_examples=60, deadline=None)
@given(maps(), st.booleans())
def test_what_holds_of_any_map(given_map, cut):
    classes_HW, costs_KHW, unit = given_map
    result = generalised(classes_HW, costs_KHW, unit, cut=cut)
    np.testing.assert_array_equal(result == NODATA, classes_HW == NODATA)
    assert set(result.flat) <= set(classes_HW.flat)
    np.testing.assert_array_equal(generalised(result, costs_KHW, unit, cut=cut), result)
    if not cut:
        assert all(len(found) >= unit or not neighbours(result, found) for found in flooded(result))


def test_rows_that_never_come_are_as_if_without_data():
    random = np.random.default_rng(1)
    classes_HW = random.integers(0, 3, (30, 20)).astype(np.uint8)
    costs_KHW = random.integers(0, 255, (NUM_CLASSES, 30, 20)).astype(np.uint8)
    classes_HW[10:14] = NODATA
    whole = Generalisation(9)
    named = [whole.add(classes_HW[a:b], costs_KHW[:, a:b], a) for a, b in ((0, 7), (7, 10), (14, 30))]
    whole.finish()
    given_rows = np.concatenate([whole.classes(names_HW) for names_HW in named])
    expected = generalised(classes_HW, costs_KHW, 9, cut=False)
    np.testing.assert_array_equal(given_rows, np.delete(expected, np.s_[10:14], axis=0))


def test_the_probabilities_decide_and_not_the_size():
    """A lake of four pixels between a large forest and a small field, which the network rather takes it for."""
    classes_HW = np.zeros((8, 20), np.uint8)
    classes_HW[:, 15:] = 1
    classes_HW[3:5, 13:15] = 2
    probabilities_KHW = np.full((NUM_CLASSES, 8, 20), 0.001)
    probabilities_KHW[classes_HW, *np.indices(classes_HW.shape)] = 0.9
    for likely, other in ((0, 1), (1, 0)):
        probabilities_KHW[likely, 3:5, 13:15], probabilities_KHW[other, 3:5, 13:15] = 0.08, 0.02
        costs_KHW = surprisals(torch.from_numpy(probabilities_KHW).log()).numpy()
        result = generalised(classes_HW, costs_KHW, 5, cut=True)
        assert (result[3:5, 13:15] == likely).all()
        np.testing.assert_array_equal(result[classes_HW < 2], classes_HW[classes_HW < 2])
    np.testing.assert_array_equal(generalised(classes_HW, costs_KHW, 4, cut=True), classes_HW)


def test_surprisals_are_negative_logarithms():
    shares = torch.tensor([1.0, np.exp(-1), 0.5, 1e-6, 1e-12, 0.0], dtype=torch.float32)
    expected = [0, PER_NAT, round(np.log(2) * PER_NAT), round(6 * np.log(10) * PER_NAT), 254, 254]
    assert surprisals(shares.log()).tolist() == expected


def test_units_in_pixels():
    assert [unit_pixels(hectares, 10) for hectares in (25, 0.5, 0.005, 0)] == [2500, 50, 1, 0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has been trained for a moment, so that its maps are full of specks."""
    folder = tmp_path_factory.mktemp("unit")
    synthesise(folder / "reben", patches=24)
    build_store(published_sources(folder / "reben"), folder / "store")
    settings = {"data__bands": "B02,B03,B04", "train__batch_size": 8, "train__max_steps": 2}
    return quick_run(folder / "run", folder / "store", **settings)


def values(path: Path):
    with rasterio.open(path) as dataset:
        return dataset.read()


def read(path: Path):
    return values(path)[0]


def predicted(run):
    """Classes and surprisals of each patch of the test split."""
    session = open_session(plan_use(run))
    for prediction in predictions(session.model, session.dataset, session.how(silent)):
        names = session.dataset.patch_ids(prediction.batch.rows_B.numpy())
        shares = (prediction.pixel_logits_BKHW / session.card.calibration).softmax(1)
        for name, shares_KHW in zip(names, shares, strict=True):
            yield PatchId.parse(name), shares_KHW.max(0).indices.byte().numpy(), surprisals(shares_KHW.log()).numpy()


def small_objects(classes_HW, unit):
    """Objects below a unit that have a neighbour, counted by scipy."""
    count = 0
    for k in set(classes_HW.flat) - {NODATA}:
        labelled, found = ndimage.label(classes_HW == k)
        sizes = np.bincount(labelled.ravel(), minlength=found + 1)
        for number in np.flatnonzero(sizes < unit):
            around = ndimage.binary_dilation(labelled == number) & (labelled != number)
            count += number > 0 and bool((classes_HW[around] != NODATA).any())
    return count


def test_patch_maps_and_their_scores(run, tmp_path, no_page):
    plain = evaluate(run)
    before = {path: path.read_bytes() for path in plain.folder.rglob("*") if path.is_file()}
    code, said = run_seg("eval", run, "--mmu", 0.5)
    assert code == 0, said
    folder = run / "eval" / "test-mmu-0.5"
    assert str(folder) in said
    assert "test split in units of at least 0.5 ha" in (folder / "tables.md").read_text()
    assert {path: path.read_bytes() for path in before} == before
    assert json.loads((folder / "scores.json").read_text())["mmu"] == 0.5
    assert json.loads((folder / "eval.json").read_text())["data"]["mmu"] == 0.5
    assert "mmu" not in json.loads((plain.folder / "scores.json").read_text())

    code, said = run_seg("export", run, "--out", tmp_path / "maps", "--mmu", 0.5, "--reference")
    assert code == 0, said
    counts, changed = np.zeros((NUM_CLASSES, NUM_CLASSES), int), 0
    for patch, classes_HW, costs_KHW in predicted(run):
        path = patch_file(tmp_path / "maps", patch, MAP)
        map_HW, truth_HW = read(path), read(path.with_name(f"{patch}_reference.tif"))
        np.testing.assert_array_equal(map_HW, generalised(classes_HW, costs_KHW, 50, cut=True))
        with rasterio.open(path) as dataset:
            assert dataset.tags()["MINIMUM_MAPPING_UNIT_HA"] == "0.5"
        labelled = truth_HW != NODATA
        counts += confusion_matrix(truth_HW[labelled], map_HW[labelled], labels=range(NUM_CLASSES))
        changed += (map_HW != classes_HW).sum()
    assert changed > 1000
    evidence = read_evidence(run, Scope("test", unit=0.5))
    np.testing.assert_array_equal(total_counts(evidence), counts)
    assert evidence.details is not None
    assert evidence.details.reliability is None
    assert read_evidence(run, Scope("test")).origin.unit == 0


def test_an_evaluation_in_units_is_another_one(run, no_page):
    evaluate(run)
    folder = evaluate(run, mmu=2).folder
    (folder / "report.html").unlink()
    for words in (("report", run, "--check"), ("compare", run)):
        code, said = run_seg(*words, "--mmu", 2)
        assert code == 0, said
        assert "mmu-2" in said or "units of at least 2 ha" in said
        code, said = run_seg(*words, "--mmu", 3)
        assert code == 1
        assert "was not scored on the test split in units of at least 3 ha yet; run: seg eval" in said
        assert "--split test --mmu 3" in said
    (run / "eval" / "test-mmu-4").mkdir()
    (run / "eval" / "test-mmu-4" / "evidence").symlink_to(run / "eval" / "test" / "evidence")
    with pytest.raises(RunError, match="holds evidence of the test split;"):
        check_evidence(run, Scope("test", unit=4))


def test_mosaics_are_generalised_as_wholes(run, tmp_path):
    export(run, tmp_path / "plain", mosaic=True)
    done = export(run, tmp_path / "units", mosaic=True, agreement=True, reference=True, mmu=1)
    assert not list((tmp_path / "units").rglob("*surprisals*"))
    changed = 0
    for path in done.mosaics:
        before, after = read(tmp_path / "plain" / path.name), read(path)
        np.testing.assert_array_equal(before == NODATA, after == NODATA)
        assert small_objects(after, 100) == 0
        changed += (before != after).sum()
        beside = (path.name.replace("_map", f"_{name}") for name in ("reference", "agreement"))
        truth, marks = (read(path.with_name(name)) for name in beside)
        known = (truth != NODATA) & (after != NODATA)
        np.testing.assert_array_equal(marks[known], (truth == after)[known])
        costs_KHW = np.full((NUM_CLASSES, *after.shape), 255, np.uint8)
        mine = [(patch, costs) for patch, _, costs in predicted(run) if patch.product in path.name]
        top, left = min(patch.row for patch, _ in mine), min(patch.column for patch, _ in mine)
        for patch, costs in mine:
            rows, columns = (patch.row - top) * 120, (patch.column - left) * 120
            costs_KHW[:, rows : rows + 120, columns : columns + 120] = costs
        np.testing.assert_array_equal(after, generalised(before, costs_KHW, 100, cut=False))
    assert changed > 1000
    # Of single patches a map that was generalised across them says nothing.
    table = geopandas.read_parquet(tmp_path / "units" / "footprints.parquet")
    assert table[["pixel_accuracy", "miou", "map_labels"]].isna().all(None)
    assert table["labelled_share"].notna().all()
    with pytest.raises(WrongUseError, match="leave out --mosaic or --patches"):
        export(run, tmp_path / "both", mosaic=True, patches=True, mmu=1)


def test_a_scene_is_generalised_as_a_whole(run, tmp_path, monkeypatch):
    scene = synthesise_scene(tmp_path / "scene", 240, seed=1).product
    small = {"window": 96, "overlap": 32}
    (plain,) = predict(run, [scene], tmp_path / "plain.tif", **small, probabilities=True)

    original = parts.Unfinished.write_generalised

    def dies(self, number, *given):
        if number == 1:
            raise KeyboardInterrupt
        original(self, number, *given)

    with_units = {**small, "mmu": 1, "areas": True, "probabilities": True}
    monkeypatch.setattr(parts.Unfinished, "write_generalised", dies)
    with pytest.raises(KeyboardInterrupt):
        predict(run, [scene], tmp_path / "map.tif", **with_units)
    monkeypatch.undo()
    assert not (tmp_path / "map.tif").exists()
    strips = sorted((tmp_path / "map.tif.unfinished").glob("surprisals-*.tif"))
    costs_KHW = np.concatenate([values(strip) for strip in strips], axis=1)
    assert len(strips) > 2
    notes = []
    (done,) = predict(run, [scene], tmp_path / "map.tif", **with_units, notify=notes.append)
    assert any("Taking up the map" in note for note in notes)
    assert done.predicted == 0
    assert not (tmp_path / "map.tif.unfinished").exists()
    before, after = read(plain.path), read(done.path)
    np.testing.assert_array_equal(before == NODATA, after == NODATA)
    np.testing.assert_array_equal(after, generalised(before, costs_KHW, 100, cut=False))
    assert small_objects(before, 100) > 20
    assert small_objects(after, 100) == 0
    assert (before != after).sum() > 1000
    with rasterio.open(done.path) as dataset:
        assert dataset.tags()["MINIMUM_MAPPING_UNIT_HA"] == "1"
    with rasterio.open(plain.path) as dataset:
        assert "MINIMUM_MAPPING_UNIT_HA" not in dataset.tags()
    # Pixels remain as predicted where they are shown as such, and areas are those of the map.
    np.testing.assert_array_equal(*(values(tmp_path / f"{name}_probabilities.tif") for name in ("plain", "map")))
    table = csv.DictReader((tmp_path / "map_areas.csv").read_text().splitlines())
    areas = [float(row["mapped_ha"]) for row in table]
    counted = np.bincount(after[after != NODATA], minlength=NUM_CLASSES)
    np.testing.assert_allclose(areas, counted / 100, rtol=0.01)


@pytest.mark.parametrize("unit", [-1.0, float("nan"), float("inf")])
def test_a_unit_that_is_none_is_refused(run, tmp_path, unit):
    maps = ((export, run, tmp_path), (predict, run, ["x"], tmp_path / "map.tif"))
    for call, *targets in ((evaluate, run), (report_run, run), (compare, [run]), *maps):
        with pytest.raises(WrongUseError, match="name hectares, such as --mmu 25"):
            call(*targets, mmu=unit)


@pytest.mark.parametrize("cut", [False, True])
def test_a_unit_beyond_all_numbers_is_one_larger_than_the_map(cut: bool) -> None:
    random = np.random.default_rng(3)
    classes_HW = random.integers(0, 19, (40, 50), dtype=np.uint8)
    costs_KHW = random.integers(0, 255, (19, 40, 50), dtype=np.uint8)
    larger = generalised(classes_HW, costs_KHW, unit_pixels(1_000, 10), cut=cut)
    for hectares in (1e9, 1e17, 1e300):
        same = generalised(classes_HW, costs_KHW, unit_pixels(hectares, 10), cut=cut)
        np.testing.assert_array_equal(same, larger)

"""``seg score``: predictions made elsewhere come to what their definitions say, whatever file they are in."""

import json
import pickle
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up import made_up_evidence
from predicted import ALPHABETICAL, CONTAINERS, Made, N, folder_of
from quick import quick_evaluate, quick_run
from rasterio.transform import Affine
from safetensors.numpy import save_file
from sklearn.metrics import confusion_matrix, f1_score

import seg
from seg.config.sections import DataConfig
from seg.errors import EvidenceError, RunError
from seg.metrics.assess import assess
from seg.metrics.calibration import confidence_counts
from seg.metrics.evidence import Details, Evidence, Origin, batch_evidence, reference_areas, total_counts
from seg.metrics.evidence_file import load_evidence, load_origin, pack_evidence, save_evidence
from seg.metrics.evidence_header import sealed
from seg.metrics.scene import decide
from seg.metrics.scores import score_evidence
from seg.metrics.sparse import PatchCounts, sparse_counts
from seg.pipeline.report import report_run
from seg.pipeline.score import Scored, score
from seg.predictions import misplaced, pieces
from seg.predictions.measure import Truth, measure_pixels
from seg.predictions.numbering import NOTHING, UNKNOWN, Numbering, read_numbering
from seg.predictions.permuted import doubt
from seg.predictions.pixels import PatchPixels, class_map
from seg.predictions.request import Given, requested
from seg.predictions.scene_table import read_scene_table
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.classes import CLASS_NAMES, CLASSES
from seg.runs.entry import read_entry
from seg.store.selection import select


def shuffled(made: Made) -> np.ndarray:
    return np.random.default_rng(1).permutation(len(made.ids))


@pytest.fixture
def page() -> None:
    """The test looks at the page."""


@pytest.fixture(autouse=True)
def without_page(request: pytest.FixtureRequest) -> None:
    """A page takes longer than all else; it is written where somebody looks at it."""
    if "page" not in request.fixturenames:
        request.getfixturevalue("no_page")


def check(done: Scored) -> Any:
    """What is written follows from the evidence; an empty page does not."""
    if not (done.evaluation / "report.html").read_text():
        (done.evaluation / "report.html").unlink()
    return report_run(done.folder, check=True)


def same_evidence(first: Path, second: Path) -> bool:
    one, two = (load_evidence(path / "evidence") for path in (first, second))
    counts = [(e.confusion, e.details.zones, e.details.bands) for e in (one, two)]
    return one.patch_ids.equals(two.patch_ids) and all(
        np.array_equal(a.keys, b.keys) and np.array_equal(a.counts, b.counts) for a, b in zip(*counts, strict=True)
    )


@pytest.fixture(scope="module")
def reference(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluation of the class maps as one plain file."""
    place = tmp_path_factory.mktemp("reference")
    np.savez(place / "a.npz", ids=np.array(made.ids), masks=made.masks)
    done = score(place / "a.npz", name="a", out=place / "a", classes="reben", data=made.store.folder)
    return done.evaluation


def test_counts_and_scores_are_those_of_scikit_learn(made: Made, scored: Callable[..., Scored], tmp_path: Path):
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids), masks=made.masks)
    pq.write_table(made.table(), tmp_path / "scene.parquet")
    done = scored(tmp_path / "a.npz", scene=tmp_path / "scene.parquet")
    evidence = load_evidence(done.evaluation / "evidence")
    inside = made.truth != 255
    expected = confusion_matrix(made.truth[inside], made.masks[inside], labels=range(N))
    np.testing.assert_array_equal(total_counts(evidence), expected)
    present = made.labels.any(0)
    f1 = f1_score(made.labels, made.probabilities > 0.5, average=None, zero_division=0)
    assert done.scores.scene.f1_macro == pytest.approx(f1[present].mean(), abs=1e-12)
    assert done.assessment.boundary is not None
    assert done.assessment.pixel_calibration is None


@pytest.mark.parametrize("kind", ["png", "npy", "tif", "s1"])
def test_a_folder_of_class_maps_at_any_depth(kind: str, made: Made, scored: Any, reference: Path, tmp_path: Path):
    assert same_evidence(scored(folder_of(kind, made, tmp_path / kind)).evaluation, reference)


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("by_patch", [False, True])
def test_a_file_of_arrays(suffix: str, by_patch: bool, made: Made, scored: Any, reference: Path, tmp_path: Path):
    order = shuffled(made)
    path = tmp_path / f"a{suffix}"
    if by_patch:
        arrays = {f"{made.ids[row]}": made.masks[row].astype(np.uint16) for row in order}
        if suffix == ".safetensors":
            save_file(arrays, path)
        else:
            CONTAINERS[suffix](path, arrays)
    else:
        CONTAINERS[suffix](path, {"ids": np.array(made.ids)[order], "masks": made.masks[order]})
    assert same_evidence(scored(path).evaluation, reference)


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_group_is_known_by_its_metadata(version: int, made: Made, scored: Any, reference: Path, tmp_path: Path):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "predicted", mode="w", zarr_format=version)
    ids = np.array(made.ids, "S")
    for name, values in (("ids", ids.view(np.uint8).reshape(len(ids), -1)), ("masks", made.masks)):
        group.create_array(name, data=values)
    assert same_evidence(scored(tmp_path / "predicted").evaluation, reference)


def test_maps_that_lie_otherwise_are_told_of(made: Made, scored: Any, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(misplaced, "_FEWEST", 5)
    monkeypatch.setattr(misplaced, "_OUTSTANDING", 2.0)
    masks = np.where(made.truth == 255, 0, made.truth).astype(np.uint8)
    masks[:, ::7] = 2
    for name, turned in (("right", masks), ("turned", masks[:, ::-1])):
        np.savez(tmp_path / f"{name}.npz", ids=np.array(made.ids), masks=turned)
    assert not any("The maps" in one for one in scored(tmp_path / "right.npz", out=tmp_path / "a").remarks)
    done = scored(tmp_path / "turned.npz", out=tmp_path / "b")
    assert any("The maps look upside down" in one for one in done.remarks)


def test_pieces_that_zarr_lacks_are_told_of(made: Made, scored: Any, tmp_path: Path):
    """Zarr leaves out pieces that hold its fill value alone, so that they may be predictions, or never written."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("ids", data=np.array(made.ids, "S").view(np.uint8).reshape(len(made.ids), -1))
    masks = group.create_array("masks", shape=made.masks.shape, dtype="u1", chunks=(1, 120, 120))
    masks[2:] = made.masks[2:]
    done = scored(tmp_path / "a.zarr")
    (told,) = [one for one in done.remarks if "fill value" in one]
    assert told.startswith(f"a.zarr: 2 pieces of {len(made.ids)} of masks are not there and were taken for the fill")
    assert told in json.loads((done.folder / "scored.json").read_text())["remarks"]
    masks[:] = made.masks
    assert not any("fill value" in one for one in scored(tmp_path / "a.zarr", out=tmp_path / "b").remarks)


def test_half_precision_is_read_without_a_word(made: Made, recwarn: pytest.WarningsRecorder):
    assert (class_map(made.masks[0].astype(np.float16)) == made.masks[0]).all()
    assert not recwarn.list


TEXTS = {
    "category": lambda ids: pa.array(ids).dictionary_encode(),
    "view": lambda ids: pa.array(ids).cast(pa.string_view()),
    "large": lambda ids: pa.array(ids).cast(pa.large_string()),
    "blank behind": lambda ids: pa.array([f"{name} " for name in ids]),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_ids_of_a_table_are_text_of_any_kind(kind: str, made: Made, scored: Any, tmp_path: Path):
    table = made.table()
    expected = read_scene_table(write_table(table, tmp_path / "plain.parquet"))
    place = table.column_names.index("patch_id")
    table = table.set_column(place, "patch_id", TEXTS[kind](table["patch_id"].to_pylist()))
    found = read_scene_table(write_table(table, tmp_path / "a.parquet"))
    assert found.names == expected.names
    assert found.digest == expected.digest


def test_numbers_of_a_table_may_be_decimals(made: Made, tmp_path: Path):
    table, name = made.table(), CLASS_NAMES[2]
    exact = pa.array([Decimal("0.25")] * len(table), pa.decimal128(5, 2))
    table = table.set_column(table.column_names.index(name), name, exact)
    assert (read_scene_table(write_table(table, tmp_path / "a.parquet")).probabilities_NK[:, 2] == 0.25).all()


def with_column(made: Made, numbers: Any) -> pa.Table:
    table, name = made.table(), CLASS_NAMES[2]
    return table.set_column(table.column_names.index(name), name, pa.array(numbers))


def test_a_probability_stays_on_its_side_of_a_half(made: Made, tmp_path: Path):
    """Evidence holds float32, to which a double just above 0.5 is 0.5 itself."""
    exact = np.full(len(made.ids), 0.5)
    exact[::2] += 1e-12
    found = read_scene_table(write_table(with_column(made, exact), tmp_path / "a.parquet"))
    assert (decide(found.probabilities_NK)[:, 2] == (exact > 0.5)).all()
    np.testing.assert_allclose(found.probabilities_NK[:, 2], exact, atol=1e-7)
    assert not found.remarks


def test_probabilities_that_float32_does_not_tell_apart_are_told_of(made: Made, scored: Any, tmp_path: Path):
    exact = 1 - np.geomspace(1e-15, 1e-12, len(made.ids))
    path = write_table(with_column(made, exact), tmp_path / "a.parquet")
    sentence = f"{len(made.ids) - 1} of {19 * len(made.ids)} probabilities differ from others of their class by less"
    assert any(one.startswith(sentence) for one in scored(scene=path).remarks)


def test_decided_labels_that_are_floats_are_told_of(made: Made, scored: Any, tmp_path: Path):
    columns = {name: pa.array((made.probabilities[:, k] > 0.5).astype(float)) for k, name in enumerate(CLASS_NAMES)}
    path = write_table(pa.table({"patch_id": made.ids, **columns}), tmp_path / "a.parquet")
    assert any(one.startswith("All probabilities are 0 or 1") for one in scored(scene=path).remarks)
    assert not any("0 or 1" in one for one in read_scene_table(write_table(made.table(), path)).remarks)


def test_columns_of_a_text_may_be_parted_by_tabs(made: Made, tmp_path: Path):
    expected = read_scene_table(write_table(made.table(), tmp_path / "a.parquet"))
    options = pyarrow.csv.WriteOptions(delimiter="\t")
    pyarrow.csv.write_csv(made.table(), tmp_path / "a.csv", options)
    np.testing.assert_allclose(
        read_scene_table(tmp_path / "a.csv").probabilities_NK, expected.probabilities_NK, rtol=1e-6
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_in_utf_16_is_told_to_be_one(encoding: str, made: Made, tmp_path: Path):
    pyarrow.csv.write_csv(made.table(), tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text((tmp_path / "a.csv").read_text(), encoding=encoding)
    with pytest.raises(EvidenceError, match=r"b\.csv is no text in UTF-8, but perhaps in UTF-16; save it as UTF-8"):
        read_scene_table(tmp_path / "b.csv")


def write_table(table: pa.Table, path: Path) -> Path:
    pq.write_table(table, path)
    return path


def test_what_makes_doubt_is_told_and_kept(made: Made, scored: Any, tmp_path: Path):
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids), masks=np.array(ALPHABETICAL)[made.masks])
    done = scored(tmp_path / "a.npz")
    assert ["look like 'alphabetical'" in remark for remark in done.remarks] == [True]
    assert json.loads((done.folder / "scored.json").read_text())["remarks"] == list(done.remarks)


def test_a_scored_folder_that_cannot_be_read(made: Made, scored: Any, tmp_path: Path, capfd: Any):
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids), masks=made.masks)
    done = scored(tmp_path / "a.npz")
    record = json.loads((done.folder / "scored.json").read_text())
    for change, sentence in (
        ({"format": 9}, "has format 9"),
        ({"name": 3}, "is damaged"),
        ({"seed": "a"}, "is damaged"),
        ({"data": None}, "is damaged"),
    ):
        (done.folder / "scored.json").write_text(json.dumps(record | change))
        with pytest.raises(RunError, match=f"{sentence}.*again with 'seg score'"):
            read_entry(done.folder)
    (done.folder / "scored.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"leave out --mmu: predictions .* are taken as they are"):
        report_run(done.folder, mmu=25)
    report_run(done.folder)
    evidence = done.evaluation / "evidence" / "patches.parquet"
    evidence.write_bytes(evidence.read_bytes()[:900])
    with pytest.raises(EvidenceError, match=r"move .*scored-0 away and score the predictions again with 'seg score'"):
        report_run(done.folder)
    shutil.rmtree(done.evaluation / "evidence")
    with pytest.raises(RunError, match="score the predictions again with 'seg score'"):
        report_run(done.folder)
    again = scored(tmp_path / "a.npz")
    assert check(again).assessment.scores.pixel.miou == done.scores.pixel.miou


# What a model of seg predicts, scored again


@pytest.fixture(scope="module")
def exported(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A run on the store, its maps of patches, and mosaics of them."""
    place = tmp_path_factory.mktemp("exported")
    settings = {"model__encoder": "tu-test_efficientnet", "train__batch_size": 8, "data__bands": "rgb"}
    quick_evaluate(quick_run(place / "run", made.store.folder, **settings))
    seg.export(place / "run", place / "maps", probabilities=True)
    seg.export(place / "run", place / "mosaics", patches=False, mosaic=True)
    return place / "run", place / "maps", place / "mosaics"


def test_what_seg_exports_comes_to_the_same_counts_and_scores(exported: Any, scored: Any):
    run, maps, _ = exported
    done = scored(maps, scene=maps / "footprints.parquet")
    assert same_evidence(done.evaluation, run / "eval" / "test")
    one, two = (load_evidence(place / "evidence") for place in (run / "eval" / "test", done.evaluation))
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    first, second = (
        json.loads((place / "scores.json").read_text()) for place in (run / "eval" / "test", done.evaluation)
    )
    for part in ("pixel", "scene", "boundary", "hierarchy", "confusion"):
        assert first[part] == second[part], part
    for name in ("miou", "oa", "ap_macro", "boundary_miou"):
        assert first["intervals"].get(name) == second["intervals"].get(name)
    # What is exported is calibrated, and rounded to 1/250.
    calibrated = first["pixel_calibration"]["after"] or first["pixel_calibration"]["before"]
    assert second["pixel_calibration"]["before"]["ece"] == pytest.approx(calibrated["ece"], abs=0.01)
    assert second["pixel_calibration"]["before"]["brier"] == pytest.approx(calibrated["brier"], abs=0.01)
    assert (done.evaluation / "gallery.safetensors").stat().st_size > 1000


def test_mosaics_are_cut_by_the_footprints_of_the_patches(made: Made, exported: Any, scored: Any, tmp_path: Path):
    run, _, mosaics = exported
    reference = run / "eval" / "test"
    assert same_evidence(scored(mosaics).evaluation, reference)
    # One whose name says nothing of its product, and another one that covers some of it too.
    product = made.ids[0][:-6]
    of_product = [name for name in made.ids if name.startswith(product)]
    (tmp_path / "a").mkdir()
    shutil.copyfile(mosaics / f"{product}_map.tif", tmp_path / "a" / "one.tif")
    with pytest.raises(EvidenceError, match=r"(is|are) missing"):
        scored(tmp_path / "a") if len(of_product) < len(made.ids) else scored(tmp_path / "nothing.tif")
    done = scored(tmp_path / "a", partial=True)
    assert set(of_product) <= set(load_evidence(done.evaluation / "evidence").patch_ids.to_pylist())
    shutil.copyfile(tmp_path / "a" / "one.tif", tmp_path / "a" / "two.tif")
    with pytest.raises(EvidenceError, match=r"lies in (one|two)\.tif and in (one|two)\.tif"):
        scored(tmp_path / "a", partial=True)
    (tmp_path / "a" / "two.tif").unlink()
    with rasterio.open(tmp_path / "a" / "one.tif") as dataset:
        profile, values = dataset.profile, dataset.read()
    moved = {"transform": profile["transform"] * Affine.translation(0.5, 0)}
    nowhere = {"crs": None, "transform": Affine.identity()}
    for name, changes, sentence in (("half", moved, "covers no patch"), ("no", nowhere, "does not say where it lies")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(tmp_path / f"{name}.tif", "w", **{**profile, **changes}) as dataset:
                dataset.write(values)
        with pytest.raises(EvidenceError, match=sentence):
            scored(tmp_path / f"{name}.tif", partial=True)


def test_a_virtual_raster_is_a_mosaic(made: Made, exported: Any, scored: Any, tmp_path: Path):
    _, _, mosaics = exported
    product = made.ids[0][:-6]
    source = mosaics / f"{product}_map.tif"
    with rasterio.open(source) as dataset:
        a, _, c, _, e, f, *_ = dataset.transform
        size, epsg = f'rasterXSize="{dataset.width}" rasterYSize="{dataset.height}"', dataset.crs.to_epsg()
    (tmp_path / "a.vrt").write_text(
        f"<VRTDataset {size}><SRS>EPSG:{epsg}</SRS><GeoTransform>{c},{a},0,{f},0,{e}</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{source}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    (tmp_path / "one").mkdir()
    shutil.copyfile(source, tmp_path / "one" / "a.tif")
    first, second = (scored(path, partial=True).evaluation for path in (tmp_path / "a.vrt", tmp_path / "one"))
    assert same_evidence(first, second)


# What is given, and what is undefined without it


def test_probabilities_alone_are_decided_by_the_largest(made: Made, scored: Any, reference: Path, tmp_path: Path):
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids), probabilities=made.shares)
    done = scored(tmp_path / "a.npz")
    assert same_evidence(done.evaluation, reference)
    evidence = load_evidence(done.evaluation / "evidence")
    counts, losses = confidence_counts(made.logits, torch.from_numpy(made.truth), None)
    order = np.argsort(made.ids)
    # A softmax of logarithms differs in the last digit.
    np.testing.assert_allclose(evidence.details.reliability.dense(), counts.numpy()[order], rtol=1e-5, atol=2)
    np.testing.assert_allclose(evidence.details.losses_NSL, losses.numpy()[order], rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_a_tie_is_the_class_of_the_map(seed: int, made: Made):
    """Rounded probabilities have ties; the class that the map shows is the one that is right or wrong."""
    shares = np.rint(made.shares[:3] * 10).astype(np.uint8)
    shares[:, 18] += (10 - shares.sum(1)).clip(0, 10).astype(np.uint8)
    shares = shares.astype(np.float32) / shares.sum(1, keepdims=True)
    top = shares == shares.max(1, keepdims=True)
    rng = np.random.default_rng(seed)
    chosen = np.where(top, rng.random(top.shape), -1).argmax(1).astype(np.uint8)
    assert (top.sum(1) > 1).any()
    source = Plain({name: PatchPixels(chosen[i].astype(np.int32), shares[i]) for i, name in enumerate(made.ids[:3])})
    truth = Truth(made.ids[:3], [""] * 3, made.labels[:3], lambda name: made.truth[made.ids.index(name)])
    evidence, _ = measure_pixels(source, read_numbering("reben"), made.ids[:3], truth, Origin("test", "f", False))
    right = evidence.details.reliability.total().reshape(2, -1, 3)[0, :, 1].sum()
    assert right == total_counts(evidence).trace() == ((chosen == made.truth[:3]) & (made.truth[:3] != 255)).sum()


class Plain:
    """A source that holds what it gives."""

    what, files, stamp, masks, shares = "held", 1, "", True, True

    def __init__(self, pixels: dict[str, PatchPixels]) -> None:
        self.pixels, self.names = pixels, tuple(pixels)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        yield lambda name, _: self.pixels[name]


@pytest.mark.usefixtures("page")
def test_without_masks_all_that_follows_from_them_is_undefined(
    made: Made, scored: Any, reference: Path, tmp_path: Path
):
    pq.write_table(made.table(), tmp_path / "a.parquet")
    done = scored(scene=tmp_path / "a.parquet")
    scores = json.loads((done.evaluation / "scores.json").read_text())
    assert [scores[part] for part in ("pixel", "joint", "boundary", "hierarchy", "confusion")] == [None] * 5
    assert scores["scene"]["ap_macro"] > 0
    text = (done.evaluation / "tables.md").read_text() + (done.evaluation / "per_class.csv").read_text()
    assert "IoU" not in text
    assert "implied by the predicted mask" not in text
    html = (done.evaluation / "report.html").read_text()
    assert "<h1>mine, test split</h1>" in html, "a page is headed by the name of what was scored"
    assert ("IoU by class" in html, "Average precision by class" in html) == (False, True)
    # The patches and their references are known to be the same, so that both are compared.
    whole = load_evidence(reference / "evidence")
    np.testing.assert_array_equal(reference_areas(load_evidence(done.evaluation / "evidence")), reference_areas(whole))
    compared = seg.compare([done.folder, reference.parents[1]])
    assert [set(one.scores) & {"miou", "ap_macro"} for one in compared.comparison.configurations] == [
        {"miou"},
        {"ap_macro"},
    ]
    check(done)
    report_run(done.folder)
    assert (done.evaluation / "report.html").read_text() == html


def test_labels_without_probabilities_have_no_average_precision(made: Made, scored: Any, tmp_path: Path):
    decided = made.probabilities > 0.5
    names = [[CLASS_NAMES[k] for k in np.flatnonzero(row)] for row in decided]
    pq.write_table(pa.table({"patch_id": made.ids, "predicted_labels": names}), tmp_path / "lists.parquet")
    text = pa.table({"patch_id": made.ids, "predicted_labels": ["; ".join(row) for row in names]})
    pyarrow.csv.write_csv(text, tmp_path / "text.csv")
    whole = {name: decided[:, k].astype(np.int8) for k, name in enumerate(CLASS_NAMES)}
    pyarrow.csv.write_csv(pa.table({"patch_id": made.ids, **whole}), tmp_path / "numbers.csv")
    values = []
    lines = pa.table({"patch_id": made.ids, **whole})
    pyarrow.csv.write_csv(lines, tmp_path / "semicolons.csv", pyarrow.csv.WriteOptions(delimiter=";"))
    for name in ("lists.parquet", "text.csv", "numbers.csv", "semicolons.csv"):
        done = scored(scene=tmp_path / name)
        scores = json.loads((done.evaluation / "scores.json").read_text())
        assert (scores["scene"]["ap_macro"], scores["scene_calibration"]) == (None, None)
        assert "as given" in (done.evaluation / "tables.md").read_text()
        values.append(scores["scene"]["f1_macro"])
    present = made.labels.any(0)
    expected = f1_score(made.labels, decided, average=None, zero_division=0)[present].mean()
    assert values == pytest.approx([expected] * 4, abs=1e-12)
    check(done)


HOSTILE = "<b>*a*</b>|$x$"


@pytest.mark.usefixtures("page")
def test_a_part_of_the_split_says_so_everywhere(made: Made, scored: Any, reference: Path, tmp_path: Path):
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids[3:]), masks=made.masks[3:])
    done = scored(tmp_path / "a.npz", partial=True, name=HOSTILE)
    assert json.loads((done.folder / "scored.json").read_text())["partial"] is True
    assert json.loads((done.evaluation / "scores.json").read_text())["left_out"] == 3
    assert load_origin(done.evaluation / "evidence").left_out == 3
    for name in ("tables.md", "tables.csv", "tables.tex", "report.html"):
        assert "PARTIAL (3 patches left out) test split" in (done.evaluation / name).read_text(), name
    entry = read_entry(done.folder)
    assert (entry.partial, entry.name, entry.seed, entry.trained_on) == (True, f"{HOSTILE} (PARTIAL)", None, None)
    with pytest.raises(RunError, match="were scored on different patches"):
        seg.compare([reference.parents[1], done.folder])
    compared = seg.compare([reference.parents[1], done.folder], allow_different_data=True, out=tmp_path / "table")
    assert "is PARTIAL" in " ".join(compared.comparison.remarks)
    assert not compared.comparison.pairs
    seg.write_card(done.folder, tmp_path / "page")
    page = (tmp_path / "page" / "README.md").read_text()
    assert "> **PARTIAL.** 3 patches" in page
    assert "model-index" not in page
    for text in (page, (tmp_path / "table" / "compare.md").read_text()):
        assert not re.search(r"(?<!\\)<b>", text)
    assert "<b>" not in (done.evaluation / "report.html").read_text()


def test_seeds_of_one_name_are_one_configuration(made: Made, scored: Any, tmp_path: Path):
    folders = []
    for seed in range(2):
        masks = made.masks.copy()
        masks[:, seed::7] = seed
        np.savez(tmp_path / f"{seed}.npz", ids=np.array(made.ids), masks=masks)
        folders.append(scored(tmp_path / f"{seed}.npz", seed=seed).folder)
    compared = seg.compare(folders)
    (row,) = compared.comparison.configurations
    assert [run.seed for run in row.runs] == [0, 1]
    assert row.scores["miou"].sd > 0
    assert "Made elsewhere" in " ".join(compared.comparison.remarks)
    again = scored(tmp_path / "0.npz", seed=0).folder
    with pytest.raises(RunError, match="are the same run"):
        seg.compare([*folders, again])


@pytest.mark.parametrize("verb", [seg.evaluate, seg.load_model])
def test_predictions_have_no_weights(verb: Any, reference: Path):
    with pytest.raises(RunError, match="holds predictions made elsewhere, and no weights"):
        verb(reference.parents[1])


# Numbers


def numbered(kind: str, masks: np.ndarray, tmp_path: Path) -> tuple[np.ndarray, str]:
    if kind == "clc":
        return np.array([c.codes[-1] for c in CLASSES], np.uint16)[masks], "clc"
    if kind == "alphabetical":
        return np.array(ALPHABETICAL, np.uint8)[masks], "alphabetical"
    (tmp_path / "mine.json").write_text(
        json.dumps({str(3 * k + 1): name for k, name in enumerate(CLASS_NAMES)} | {"0": None})
    )
    return masks * 3 + 1, str(tmp_path / "mine.json")


@pytest.mark.parametrize("kind", ["clc", "alphabetical", "file"])
def test_numbers_mean_what_is_stated(kind: str, made: Made, scored: Any, reference: Path, tmp_path: Path):
    values, classes = numbered(kind, made.masks, tmp_path)
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids), masks=values)
    done = scored(tmp_path / "a.npz", classes=classes)
    assert same_evidence(done.evaluation, reference)
    record = json.loads((done.folder / "scored.json").read_text())["predictions"]
    assert record["classes"] == Path(classes).name
    assert CLASS_NAMES[3] in record["numbers"].values()


def test_probabilities_in_alphabetical_order(made: Made, scored: Any, reference: Path, tmp_path: Path):
    order = np.argsort(ALPHABETICAL)
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids), probabilities=made.shares[:, order].astype(np.float16))
    found = load_evidence(scored(tmp_path / "a.npz", classes="alphabetical").evaluation / "evidence")
    expected = total_counts(load_evidence(reference / "evidence"))
    assert np.abs(total_counts(found) - expected).sum() < 1e-3 * expected.sum()


@pytest.mark.parametrize(
    ("stated", "values", "looks"),
    [
        ("reben", lambda masks: np.array(ALPHABETICAL)[masks], "look like 'alphabetical'"),
        ("alphabetical", lambda masks: masks, "look like 'reben'"),
        ("reben", lambda masks: np.minimum(masks + 1, 18), "look like numbers from 1 to 19 of 'reben'"),
        ("reben", lambda masks: np.roll(np.arange(N), 7)[masks], "look permuted"),
        ("reben", lambda masks: masks, ""),
        ("reben", lambda masks: masks * 0, ""),
    ],
)
def test_numbers_that_seem_to_mean_other_classes_are_pointed_out(stated: str, values: Any, looks: str, made: Made):
    predicted = read_numbering(stated).indices(values(made.masks))
    sentence = doubt(evidence_of(made, predicted), stated)
    assert looks in sentence
    assert bool(sentence) == bool(looks)


def evidence_of(made: Made, predicted: np.ndarray) -> Evidence:
    """Of class indices, by scikit-learn's counts."""
    counts = [
        confusion_matrix(truth[truth != 255], values[truth != 255], labels=range(N)).astype(np.int64)
        for truth, values in zip(made.truth, predicted, strict=True)
    ]
    return batch_evidence(Origin("test", "f", True), made.ids, np.stack(counts), made.labels, None)


@pytest.mark.parametrize("unit", ["patch", "tile"])
def test_an_order_that_is_better_by_chance_raises_no_doubt(unit: str, made: Made):
    """Of one class for each patch or tile, thrown, some order of the classes is far better in a few of them."""
    units = made.ids if unit == "patch" else [name[38:44] for name in made.ids]
    _, numbers = np.unique(units, return_inverse=True)
    raised = 0
    for seed in range(100):
        thrown = np.random.default_rng(seed).integers(0, N, numbers.max() + 1)[numbers]
        predicted = np.broadcast_to(thrown[:, None, None], made.truth.shape).astype(np.uint8)
        raised += bool(doubt(evidence_of(made, predicted), "reben"))
    assert raised <= 5


# Broken off, and done by others


def test_what_is_broken_off_goes_on(made: Made, scored: Any, reference: Path, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(pieces, "PIECE", 5)
    np.savez_compressed(tmp_path / "a.npz", ids=np.array(made.ids), masks=made.masks)
    done, begun = pieces.score_piece, []

    def killed(piece: Any) -> Any:
        begun.append(piece.name)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return done(piece)

    monkeypatch.setattr("seg.predictions.evidence.score_piece", killed)
    with pytest.raises(KeyboardInterrupt):
        scored(tmp_path / "a.npz", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # What is damaged is scored again, what is there is not.
    (tmp_path / ".out.scoring" / "pieces" / "0001.parquet").write_bytes(b"damaged")
    again = scored(tmp_path / "a.npz", out=tmp_path / "out")
    assert begun[3:] == sorted({f"{n:04d}" for n in range(-(-len(made.ids) // 5))} - {"0000"})
    assert same_evidence(again.evaluation, reference)
    assert not (tmp_path / ".out.scoring").exists()


def test_other_predictions_start_anew(made: Made, scored: Any, reference: Path, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(pieces, "PIECE", 5)
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids), masks=made.masks * 0)

    def killed(piece: Any) -> Any:
        if piece.name == "0001":
            raise KeyboardInterrupt
        return pieces.score_piece(piece)

    with monkeypatch.context() as patch:
        patch.setattr("seg.predictions.evidence.score_piece", killed)
        with pytest.raises(KeyboardInterrupt):
            scored(tmp_path / "a.npz", out=tmp_path / "out")
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids), masks=made.masks)
    told: list[str] = []
    again = scored(tmp_path / "a.npz", out=tmp_path / "out", notify=told.append)
    assert "it starts anew" in " ".join(told)
    assert same_evidence(again.evaluation, reference)


def test_others_count_the_same(made: Made, scored: Any, reference: Path, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(pieces, "PIECE", 5)
    folder = folder_of("npy", made, tmp_path / "maps")
    with ThreadPoolExecutor(2) as pool:
        done = scored(folder, executor=pool)
    assert same_evidence(done.evaluation, reference)
    first, second = (load_evidence(place / "evidence") for place in (done.evaluation, reference))
    assert pack_evidence(first) == pack_evidence(second)


def test_a_piece_can_be_sent_and_knows_only_its_own_patches(made: Made, tmp_path: Path):
    folder = folder_of("png", made, tmp_path / "maps")
    given = Given("a", None, folder, "reben", None, False)
    request = requested(given, made.store, "test", lambda _: None)
    (piece,) = pieces.pieces_of(request, tmp_path)
    assert pickle.loads(pickle.dumps(piece)) == piece
    few = replace(piece, source=piece.source.only(piece.names[:2]))
    assert len(pickle.dumps(few)) < len(pickle.dumps(piece))


# Evidence on the disk


@pytest.mark.parametrize("kind", ["masks", "scene", "labels", "partial"])
def test_evidence_of_what_was_not_given_is_read_as_it_was_written(kind: str, tmp_path: Path):
    whole = made_up_evidence(20, 3)
    origin = replace(whole.origin, thresholds=None, temperature=None)
    evidence = replace(whole, origin=origin)
    if kind == "masks":
        evidence = replace(evidence, details=Details(whole.details.zones, whole.details.bands), probabilities=None)
    elif kind == "partial":
        evidence = replace(evidence, origin=replace(origin, left_out=4))
    else:
        nothing = whole.confusion.take(np.arange(0))
        empty = PatchCounts(nothing.size, np.zeros(len(whole) + 1, np.int64), nothing.keys, nothing.counts)
        reference = sparse_counts(reference_areas(whole))
        evidence = replace(
            evidence, origin=replace(origin, masks=False), confusion=empty, reference=reference, details=None
        )
    if kind == "labels":
        decided = (whole.probabilities > 0.5).astype(np.float32)
        evidence = replace(evidence, origin=replace(evidence.origin, ranked=False), probabilities=decided)
    save_evidence(tmp_path, evidence)
    again = load_evidence(tmp_path)
    assert again.origin == evidence.origin
    assert pack_evidence(again) == pack_evidence(evidence)
    np.testing.assert_array_equal(reference_areas(again), reference_areas(whole))
    scores = score_evidence(again)
    assert np.isnan(scores.pixel.miou) == (not again.origin.masks)
    assert np.isnan(scores.joint.mask.f1_macro) == (not again.origin.masks)
    if scores.scene is not None:
        assert np.isnan(scores.scene.ap_macro) == (not again.origin.ranked)
        assert scores.scene.f1_macro > 0
    assess(again)


def test_evidence_that_contradicts_what_it_says_was_given(tmp_path: Path):
    whole = made_up_evidence(20, 3)
    for wrong in (
        replace(whole, origin=replace(whole.origin, masks=False)),
        replace(whole, origin=replace(whole.origin, ranked=False)),
        replace(whole, reference=sparse_counts(reference_areas(whole))),
    ):
        save_evidence(tmp_path, wrong)
        with pytest.raises(EvidenceError, match="is damaged"):
            load_evidence(tmp_path)


def test_evidence_of_the_format_before_is_read(tmp_path: Path):
    whole = made_up_evidence(20, 3)
    path = save_evidence(tmp_path, whole)
    table = pq.read_table(path)
    header = json.loads(table.schema.metadata[b"seg.evidence"])
    for name in ("left_out", "masks", "ranked", "countries"):
        del header[name]
    old = table.replace_schema_metadata({b"seg.evidence": json.dumps(sealed(header | {"format": 2}))})
    pq.write_table(old, path, write_page_checksum=True)
    assert load_evidence(tmp_path).origin == whole.origin


def test_the_published_reference_maps_are_right_everywhere(real: Path, tmp_path: Path):
    """Real GeoTIFFs with codes of CLC, read as they are published."""
    build_store(published_sources(real / "reben-10m-80"), tmp_path / "store", resplit="tile", workers=1)
    maps = real / "reben-10m-80" / "Reference_Maps"
    index = seg.open_store(tmp_path / "store").index
    chosen = index.take(select(index, DataConfig(), "test"))
    table = pa.table({"patch_id": chosen.patch_ids, "predicted_labels": chosen.to_table()["labels"]})
    pq.write_table(table, tmp_path / "labels.parquet")
    given = {"name": "truth", "classes": "clc", "data": tmp_path / "store", "scene": tmp_path / "labels.parquet"}
    with pytest.raises(EvidenceError, match=r"of the train( and validation)? split, and test is scored"):
        score(maps, out=tmp_path / "all", **given)
    (tmp_path / "maps").mkdir()
    for name in chosen.patch_ids.to_pylist():
        shutil.copyfile(next(maps.rglob(f"{name}_reference_map.tif")), tmp_path / "maps" / f"{name}_reference_map.tif")
    done = score(tmp_path / "maps", out=tmp_path / "test", **given)
    scores = done.scores
    assert [done.remarks[0][:20], done.remarks[1][:19]] == ["Every pixel is right", "All labels of every"]
    assert (scores.pixel.oa, scores.pixel.miou, scores.scene.f1_macro) == (1, 1, 1)
    assert scores.pixel.support.sum() > 0


@given(
    numbers=st.dictionaries(st.integers(0, 300), st.sampled_from([*range(N), 255]), min_size=1),
    values=st.lists(st.one_of(st.integers(-5, 400), st.sampled_from([NOTHING, 2**31 - 1])), min_size=1),
)
def test_a_number_means_what_its_table_says_and_nothing_else(numbers: dict[int, int], values: list[int]):
    found = Numbering("mine", numbers).indices(np.array(values, np.int32))
    assert found.tolist() == [255 if value == NOTHING else numbers.get(value, UNKNOWN) for value in values]


@given(st.sampled_from(["uint8", "int16", "int64", "float32", "float64"]), st.integers(0, 18), st.none() | st.just(7))
def test_a_class_map_is_the_same_whatever_its_dtype(dtype: str, value: int, nodata: int | None):
    array = np.full((120, 120), value, dtype)
    expected = NOTHING if value == nodata else value
    assert (class_map(array, nodata) == expected).all()
    assert (class_map(array[None], nodata) == expected).all()

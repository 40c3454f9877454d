"""``seg score``: predictions made elsewhere come to what their definitions say, whatever file they are in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file
from sklearn.metrics import confusion_matrix, f1_score

import seg
from seg.config.sections import DataConfig
from seg.errors import RunError
from seg.maps.geotiff import write_class_map
from seg.metrics.evidence import total_counts
from seg.metrics.evidence_file import load_evidence
from seg.pipeline.score import Scored, score
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.reben.patch import PatchId
from seg.reben.reference_map import class_indices
from seg.runs.entry import read_entry
from seg.store.open import Store
from seg.store.selection import select
from seg.synthetic.tree import synthesise

N = NUM_CLASSES
ALPHABETICAL = [sorted(CLASS_NAMES).index(name) for name in CLASS_NAMES]
"""Alphabetical number of each class."""


class Made:
    """A store, and predictions of its test split: a smooth softmax whose most probable class is often the true one."""

    def __init__(self, folder: Path) -> None:
        synthesise(folder / "tree", 60, 3)
        build_store(published_sources(folder / "tree"), folder / "store", workers=1)
        self.store: Store = seg.open_store(folder / "store")
        self.rows = select(self.store.index, DataConfig(), "test")
        self.index = self.store.index.take(self.rows)
        self.ids: list[str] = self.index.patch_ids.to_pylist()
        self.truth = np.stack([class_indices(self.store.patches.reference_map(f), f) for f in self.ids])
        rng = np.random.default_rng(0)
        logits = rng.normal(size=(len(self.ids), N, 120, 120)).astype(np.float32)
        right = np.where(self.truth == 255, 0, self.truth)[:, None]
        np.put_along_axis(logits, right, np.take_along_axis(logits, right, 1) + 1.5, 1)
        self.logits = torch.from_numpy(logits)
        self.shares = self.logits.softmax(1).numpy()
        self.masks = self.logits.max(1).indices.numpy().astype(np.uint8)
        self.labels = self.index.labels(np.arange(len(self.ids)))
        self.probabilities = np.clip(self.labels * 0.4 + rng.random(self.labels.shape) * 0.6, 0, 1).astype(np.float32)

    def table(self) -> pa.Table:
        columns = {name: self.probabilities[:, k] for k, name in enumerate(CLASS_NAMES)}
        return pa.table({"patch_id": self.ids, **columns})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture
def scored(made: Made, tmp_path: Path) -> Callable[..., Scored]:
    """Scores predictions on the store."""
    numbers = iter(range(100))

    def run(predictions: Path | None = None, **options: Any) -> Scored:
        given = {"name": "mine", "out": tmp_path / f"scored-{next(numbers)}", "data": made.store.folder}
        given |= {"classes": "reben"} if predictions is not None else {}
        return score(predictions, **given | options)

    return run


def write_png(path: Path, values: np.ndarray) -> None:
    assert cv2.imwrite(str(path), values)


def folder_of(kind: str, made: Made, folder: Path) -> Path:
    folder.mkdir()
    for number, (name, values) in enumerate(zip(made.ids, made.masks, strict=True)):
        place = folder / f"{number % 3}" / "deep"
        place.mkdir(parents=True, exist_ok=True)
        match kind:
            case "png":
                write_png(place / f"{name}.png", values)
            case "npy":
                np.save(place / f"{name}_pred.npy", values.astype(np.int64))
            case "tif":
                write_class_map(place / f"{name}_map.tif", values, PatchId.parse(name).georef)
            case "s1":
                np.save(place / f"{made.index.s1_name(number)}.npy", values.astype(np.float32))
    return folder


def hdf5(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            is_text = array.dtype.kind == "U"
            chunks = None if is_text else (1, *array.shape[1:])
            file.create_dataset(name, data=array.tolist() if is_text else array, chunks=chunks)


def zarr(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import zarr as library

    group = library.open_group(path, mode="w", zarr_format=2)
    for name, array in arrays.items():
        stored = array.astype("S") if array.dtype.kind == "U" else array
        group.create_array(name, data=stored, chunks=stored.shape if stored.ndim == 1 else (4, *stored.shape[1:]))


def safetensors(path: Path, arrays: dict[str, np.ndarray]) -> None:
    ids = arrays.pop("ids")
    save_file(arrays, path, {"ids": json.dumps(ids.tolist())})


def savez(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, **arrays)


def savez_compressed(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(path, **arrays)


CONTAINERS = {".npz": savez, "-packed.npz": savez_compressed, ".safetensors": safetensors, ".h5": hdf5, ".zarr": zarr}


def shuffled(made: Made) -> np.ndarray:
    return np.random.default_rng(1).permutation(len(made.ids))


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
    shutil.rmtree(done.evaluation / "evidence")
    with pytest.raises(RunError, match="score the predictions again with 'seg score'"):
        seg.report_run(done.folder)
    again = scored(tmp_path / "a.npz")
    assert seg.report_run(again.folder, check=True).assessment.scores.pixel.miou == done.scores.pixel.miou

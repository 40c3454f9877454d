"""A small store, and predictions of its test split in all the files that ``seg score`` takes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import save_file

import seg
from seg.config.sections import DataConfig
from seg.maps.geotiff import write_class_map
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.reben.patch import PatchId
from seg.reben.reference_map import class_indices
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

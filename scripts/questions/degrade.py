"""Reference maps made worse, as older or coarser maps would be, on single patches of CLC codes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from scipy import ndimage

from seg.reben.classes import CLASS_OF_CODE, IGNORE_INDEX
from seg.reben.reference_map import class_indices, implied_bits
from seg.store.index import Index
from seg.store.open import INDEX_FILE, INFO_FILE, describe, read_description
from seg.store.patches import MAP_SUFFIX, MAP_TENSOR, PatchReader, PatchWriter
from seg.store.tensors import checksum, encode_tensors

Codes = npt.NDArray[np.uint16]
Degrade = Callable[[Codes, np.random.Generator], Codes]

_NO_POLYGON = 999
_HECTARE = 100  # pixels of 10 m x 10 m
_KNOWN = np.array(sorted(code for code, index in CLASS_OF_CODE.items() if index != IGNORE_INDEX), np.uint16)


def shifted(codes_HW: Codes, random: np.random.Generator, pixels: int) -> Codes:
    """Every polygon moved by so many pixels in one random direction; what comes in from outside is unlabelled."""
    angle = random.uniform(0, 2 * np.pi)
    moved = (round(pixels * np.sin(angle)), round(pixels * np.cos(angle)))
    return ndimage.shift(codes_HW, moved, order=0, mode="constant", cval=_NO_POLYGON)  # type: ignore[no-any-return]


def coarser(codes_HW: Codes, random: np.random.Generator, hectares: float) -> Codes:
    """Units below the least mapped area go to their surroundings, the smallest first; pixels take the nearest code."""
    result = codes_HW.copy()
    least = hectares * _HECTARE
    while True:
        units, areas = _units(result)
        small = [unit for unit in range(1, len(areas)) if areas[unit] < least]
        if not small or len(areas) <= 2:
            return result
        inside = units == min(small, key=lambda unit: areas[unit])
        nearest = ndimage.distance_transform_edt(inside, return_distances=False, return_indices=True)
        result = result[tuple(nearest)]


def swapped_edges(codes_HW: Codes, random: np.random.Generator, pixels: int, share: float) -> Codes:
    """Within so many pixels of a boundary, blobs of pixels take the code from its other side."""
    edge = np.zeros(codes_HW.shape, np.bool_)
    edge[:, 1:] |= codes_HW[:, 1:] != codes_HW[:, :-1]
    edge[1:] |= codes_HW[1:] != codes_HW[:-1]
    if not edge.any():
        return codes_HW
    near = ndimage.distance_transform_edt(~edge) <= pixels
    noise = ndimage.gaussian_filter(random.standard_normal(codes_HW.shape), 2.0)
    swapped = near & (noise > np.quantile(noise, 1 - share))
    # The nearest pixel of another code.
    result = codes_HW.copy()
    for code in np.unique(codes_HW):
        inside = codes_HW == code
        nearest = ndimage.distance_transform_edt(inside, return_distances=False, return_indices=True)
        result[swapped & inside] = codes_HW[tuple(nearest)][swapped & inside]
    return result


def wrong_units(codes_HW: Codes, random: np.random.Generator, share: float) -> Codes:
    """A share of the polygons has another code: a thematic error, as CLC allows 15 %."""
    units, areas = _units(codes_HW)
    drawn = random.random(len(areas)) < share
    other = random.choice(_KNOWN, len(areas))
    return np.where(drawn[units], other[units], codes_HW).astype(np.uint16)


def _units(codes_HW: Codes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Connected areas of one code: their numbers from 1 per pixel, and their pixels by number."""
    units, count = np.zeros(codes_HW.shape, np.int64), 0
    for code in np.unique(codes_HW):
        labelled, found = ndimage.label(codes_HW == code)
        units[labelled > 0] = labelled[labelled > 0] + count
        count += found
    return units, np.bincount(units.ravel(), minlength=count + 1)


def degraded_store(store: Path, out: Path, degrade: Degrade, name: str) -> Path:
    """A store whose train and validation maps, and the labels that they imply, are degraded; the test split stays."""
    if out.is_dir():
        return out
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        copy = Path(scratch) / out.name
        shutil.copytree(store, copy)
        _degrade(store, copy, degrade, name)
        copy.rename(out)
    return out


def _degrade(store: Path, copy: Path, degrade: Degrade, name: str) -> None:
    """Write degraded maps, and the labels that they imply, into the copy of a store."""
    index, info = read_description(store)
    reader = PatchReader(store, info.compression is not None)
    bits, sums = index.label_bits.copy(), index.checksums.copy()
    with PatchWriter(copy, replace=True, compact=info.compression is not None) as writer:
        for row in np.flatnonzero((index.splits != 2) & index.has_map):
            patch = index.patch_id(row)
            codes_HW = degrade(reader.reference_map(patch).copy(), np.random.default_rng((1, int(row))))
            value = encode_tensors({MAP_TENSOR: codes_HW})
            writer.put(patch + MAP_SUFFIX, value)
            bits[row], sums[row, 2] = implied_bits(class_indices(codes_HW, patch)), checksum(value)
    new = Index(**{**vars(index), "label_bits": bits, "checksums": sums})

    pq.write_table(new.to_table(), copy / INDEX_FILE, compression="zstd")
    description = describe(
        new, info.bands, seg_version=info.seg_version, synthetic=info.synthetic,
        source={**info.source, "degraded": name}, resplit=info.resplit, compression=info.compression,
    )  # fmt: skip
    (copy / INFO_FILE).write_text(description.to_json(), encoding="utf-8")

"""How often each class occurs in a split: pixels of the reference maps, and labels."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg.config.track import Track, silent
from seg.errors import DamagedError
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import CLASS_NAMES, IGNORE_INDEX, NUM_CLASSES
from seg.reben.reference_map import class_indices
from seg.store.atomic import write_text
from seg.store.index import Rows, hash_names
from seg.store.open import Store
from seg.store.patches import DATA_FILE, MAP_SUFFIX

_CHUNK = 64
"""Patches that are read and counted together."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassFrequencies:
    """How often each class occurs.

    Attributes:
        patches: Number of patches.
        positives_K: Patches with each label, int64.
        pixels_K: Labelled pixels of each class, int64; None: not counted.
    """

    patches: int
    positives_K: Counts
    pixels_K: Counts | None = None

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes without a pixel, or without a label where pixels were not counted."""
        counts_K = self.positives_K if self.pixels_K is None else self.pixels_K
        return tuple(name for name, count in zip(CLASS_NAMES, counts_K.tolist(), strict=True) if not count)

    def record(self) -> dict[str, Any]:
        """The counts by class, for the run record."""
        counts = {"class_pixels": self.pixels_K, "class_patches": self.positives_K}
        return {
            name: dict(zip(CLASS_NAMES, counts_K.tolist(), strict=True))
            for name, counts_K in counts.items()
            if counts_K is not None
        }


def class_frequencies(
    store: Store, rows: Rows, cache: Path | None = None, *, pixels: bool = True, track: Track = silent
) -> ClassFrequencies:
    """How often each class occurs in some patches of a store.

    Args:
        store: The store; only read.
        rows: Rows of its index; with pixels, each must have a reference map.
        cache: Folder where pixel counts are kept for the next time. None, or one that cannot be written: nowhere.
        pixels: Count pixels too, which reads every map once.
        track: Progress over the maps.

    Raises:
        StoreError, DamagedError, UnknownCodeError: If a map is missing or damaged.
    """
    positives_K = np.zeros(NUM_CLASSES, np.int64)
    for begin in range(0, len(rows), 4096):
        positives_K += store.index.labels(rows[begin : begin + 4096]).sum(axis=0)
    if not pixels:
        return ClassFrequencies(len(rows), positives_K)
    file = None if cache is None else cache / f"{_key(store, rows)}.json"
    pixels_K = None if file is None else _read(file)
    if pixels_K is None:
        pixels_K = count_pixels(store, rows, track)
        if file is not None:
            # Counting again is no harm, so a folder that cannot be written is none either.
            with suppress(OSError):
                file.parent.mkdir(parents=True, exist_ok=True)
                write_text(file, json.dumps({"pixels": dict(zip(CLASS_NAMES, pixels_K.tolist(), strict=True))}) + "\n")
    return ClassFrequencies(len(rows), positives_K, pixels_K)


def count_pixels(store: Store, rows: Rows, track: Track = silent) -> Counts:
    """Labelled pixels of each class in the reference maps of some patches, int64.

    Args:
        store: The store.
        rows: Rows of its index; each must have a reference map.
        track: Progress.

    Raises:
        StoreError, DamagedError, UnknownCodeError: If a map is missing or damaged.
    """
    pairs = np.zeros(1 << 16, np.int64)
    indices_BHW = np.empty((_CHUNK, PATCH_SIZE, PATCH_SIZE), np.uint8)
    begins = range(0, len(rows), _CHUNK)
    for begin in track(begins, "maps counted", len(begins)):
        ids = [store.index.patch_id(int(row)) for row in rows[begin : begin + _CHUNK]]
        # The next ones come from the disk while these are counted.
        places = store.map_places(rows[begin : begin + 2 * _CHUNK])
        for patch_id, place, indices_HW in zip(ids, places, indices_BHW, strict=False):
            codes = store.patches.reference_map(patch_id, place)
            if codes.shape != indices_HW.shape:
                raise DamagedError(f"the map of {patch_id} has the shape {codes.shape}; build the store again")
            class_indices(codes, patch_id + MAP_SUFFIX, out=indices_HW)
        # Two neighbouring pixels as one number: half as many to count, which takes half the time.
        pairs += np.bincount(indices_BHW[: len(ids)].reshape(-1).view(np.uint16), minlength=len(pairs))
    square = pairs.reshape(IGNORE_INDEX + 1, IGNORE_INDEX + 1)
    counts_K: Counts = (square.sum(0) + square.sum(1))[:NUM_CLASSES]
    return counts_K


def _key(store: Store, rows: Rows) -> str:
    """Digest of the data and of which patches are counted."""
    digest = hashlib.blake2b(store.info.fingerprint.encode(), digest_size=16)
    chosen = store.index.take(rows)
    hash_names(digest, chosen.patch_ids)
    if not chosen.checksums[:, 2].all():
        # The fingerprint of a bare LMDB knows nothing of its pixels.
        status = (store.patches.folder / DATA_FILE).stat()
        digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def _read(file: Path) -> Counts | None:
    """Counts that were kept; None if there are none, or none that can be used."""
    try:
        pixels = json.loads(file.read_text(encoding="utf-8"))["pixels"]
        counts = [pixels[name] for name in CLASS_NAMES]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not all(type(count) is int and count >= 0 for count in counts):
        return None
    return np.array(counts, np.int64)

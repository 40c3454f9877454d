"""What a store holds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg.config.paths import AnyPath, AnyPaths, path_list
from seg.reben.classes import CLASSES
from seg.store.open import StoreInfo, open_store


@dataclass(frozen=True)
class Description:
    """What a store holds, for people.

    Attributes:
        info: What the store says of itself.
        countries: Patches by country, most first.
        tiles: Number of MGRS tiles.
        flagged: Patches with snow, cloud or cloud shadow.
        classes: Patches with each class by split: (name, train, validation, test).
        bytes: Size on disk.
    """

    info: StoreInfo
    countries: dict[str, int]
    tiles: int
    flagged: int
    classes: list[tuple[str, int, int, int]]
    bytes: int


def describe_store(folder: AnyPath, metadata: AnyPaths = ()) -> Description:
    """Open a store and count what it holds."""
    folder, metadata = Path(folder), path_list(metadata)
    store = open_store(folder, metadata)
    # An LMDB is opened when it is first asked for something; one that cannot be read is no store to describe.
    len(store.patches)
    index = store.index
    labels_NK = index.labels(np.arange(len(index)))
    names, counts = np.unique(index.countries.to_numpy(zero_copy_only=False).astype(str), return_counts=True)
    per_split = [labels_NK[index.splits == split].sum(0) for split in range(3)]
    return Description(
        info=store.info,
        countries=dict(sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])),
        tiles=len(index.tiles.unique()),
        flagged=int((index.snow | index.cloud).sum()),
        classes=[(c.name, *(int(counts[c.index]) for counts in per_split)) for c in CLASSES],  # type: ignore[misc]
        bytes=sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
    )

"""Splits by whole MGRS tiles, for sets too small for the official rule to leave something in every split."""

import numpy as np
import numpy.typing as npt

from seg.reben.patch import SPLITS
from seg.store.index import Index

SHARES = {"train": 0.50, "validation": 0.25, "test": 0.25}
"""The shares of the official splits, rounded."""


class ResplitError(ValueError):
    """A set that cannot be split as asked."""


def split_by_tile(index: Index) -> npt.NDArray[np.int8]:
    """Assign train, validation and test so that all patches of a tile are in one split.

    The tiles are taken by falling number of patches, and each goes to the split that is furthest below its share.
    Depends on nothing but the patch ids.

    Returns:
        Position in `SPLITS` per row, int8.

    Raises:
        ResplitError: If there are fewer than three tiles.
    """
    tiles = index.tiles.to_numpy(zero_copy_only=False).astype("U5")
    names, tile_of_row, counts = np.unique(tiles, return_inverse=True, return_counts=True)
    if len(names) < len(SPLITS):
        raise ResplitError(
            f"--resplit tile needs patches from at least {len(SPLITS)} MGRS tiles, found {len(names)}: "
            f"{', '.join(names)}; build patches of more tiles, or leave --resplit out"
        )
    wanted = np.array([SHARES[split] for split in SPLITS]) * len(index)
    filled = np.zeros(len(SPLITS))
    split_of_tile = np.zeros(len(names), dtype=np.int8)
    # A stable sort leaves tiles of equal size in the order of their names.
    for tile in np.argsort(-counts, kind="stable"):
        # An empty split is the furthest below its share, so the first three tiles fill all three.
        split = int(np.argmax((wanted - filled) / wanted))
        split_of_tile[tile] = split
        filled[split] += counts[tile]
    return split_of_tile[tile_of_row]

"""Which patches lie around each patch: those of the same product, so that all were seen at the same time.

They are found by the names of the patches alone. Nothing but pixels is taken from them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seg.reben.patch import PATCHES_PER_TILE_EDGE
from seg.store.geography import geography
from seg.store.index import BoolArray, Index, Rows

STEPS = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1))
"""A patch and its eight neighbours, by how many patches they lie below and to the right: row by row."""
PLACES = len(STEPS)
MIDDLE = 4
"""The place of the patch itself."""
NOBODY = -1
"""Row where there is no neighbour."""
_EDGE = PATCHES_PER_TILE_EDGE + 2
"""Cells from a row of a tile to the next: one more on either side, so that no row runs on into another."""
_SCENE_OF_S1 = r"(_[^_]+){3}$"
"""What follows the name of a Sentinel-1 scene in that of a patch."""


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The patches around each of some patches.

    Attributes:
        s2_NP: Rows of the index whose Sentinel-2 pixels lie around each patch, int64 (N, `PLACES`); `NOBODY` where
            there is no such patch. The patch itself is in the middle.
        s1_NP: The same for Sentinel-1; only where both patches were cut from the same scene.
        foreign_NP: Whether what lies there is of another split; without meaning where there is nobody.
    """

    s2_NP: Rows
    s1_NP: Rows
    foreign_NP: BoolArray

    def read(self, sensor: str) -> Rows:
        """The rows whose pixels of a sensor (``s1``, ``s2``) are read, (N, `PLACES`)."""
        return self.s1_NP if sensor == "s1" else self.s2_NP

    def record(self, sensors: tuple[str, ...]) -> dict[str, Any]:
        """What a run record says of them: how many patches have all neighbours, and some of another split.

        Args:
            sensors: Those that are read; a patch has all neighbours if it has those of each.
        """
        whole_N = np.all([(self.read(sensor) != NOBODY).all(1) for sensor in sensors], axis=0)
        foreign_N = np.any([((self.read(s) != NOBODY) & self.foreign_NP).any(1) for s in sensors], axis=0)
        return {
            "patches": len(foreign_N),
            "with_all_neighbours": int(whole_N.sum()),
            "with_neighbours_of_other_splits": int(foreign_N.sum()),
        }


def surroundings(index: Index, rows: Rows, same_split: bool = False) -> Surroundings:
    """The patches around some patches, flagged ones included, whatever is selected of the index.

    Args:
        index: All patches of a store.
        rows: Those whose neighbours are wanted.
        same_split: Take only neighbours of the split that the patch itself belongs to.
    """
    place_R = _places(index)
    order_R = np.argsort(place_R)
    sorted_R = place_R[order_R]
    steps_P = np.array([down * _EDGE + right for down, right in STEPS])
    wanted_NP = place_R[rows][:, None] + steps_P
    positions_NP = np.searchsorted(sorted_R, wanted_NP).clip(max=len(sorted_R) - 1)
    found_NP = order_R[positions_NP]
    there_NP = sorted_R[positions_NP] == wanted_NP
    other_NP = index.splits[found_NP] != index.splits[rows][:, None]
    if same_split:
        there_NP &= ~other_NP
    scene_R = _scenes(index.s1_names)
    same_scene_NP = scene_R[found_NP] == scene_R[rows][:, None]
    s2_NP = np.where(there_NP & index.has_s2[found_NP], found_NP, NOBODY)
    s1_NP = np.where(there_NP & index.has_s1[found_NP] & same_scene_NP, found_NP, NOBODY)
    return Surroundings(s2_NP, s1_NP, other_NP)


def _places(index: Index) -> npt.NDArray[np.int64]:
    """A number for each patch: those of a product follow each other row by row."""
    where = geography(index)
    place_R: npt.NDArray[np.int64] = (where.product_N * _EDGE + where.row_N + 1) * _EDGE + where.column_N + 1
    return place_R


def _scenes(s1_names: pa.StringArray) -> npt.NDArray[np.int32]:
    """Number of the Sentinel-1 scene that each patch was cut from."""
    scenes = pc.replace_substring_regex(s1_names, _SCENE_OF_S1, "").dictionary_encode()
    return scenes.indices.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

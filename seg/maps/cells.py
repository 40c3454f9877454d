"""Multi-labels of the 1.2 km cells of a scene, as GeoParquet or GeoPackage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from seg.maps.parts import window_grid
from seg.metrics.scene import DEFAULT_THRESHOLD, decide
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.scenes.cells import cell_grid
from seg.scenes.grid import Window
from seg.scenes.reader import Scene
from seg.vectors.footprints import in_degrees, write_polygons

if TYPE_CHECKING:
    from seg.inference.cells import CellRow


def write_cells(
    path: Path, scene: Scene, rows: Sequence[CellRow], thresholds: Sequence[float] | None, tags: Mapping[str, str]
) -> None:
    """Write a polygon for each cell.

    Columns: ``patch_id`` (as reBEN would name it; null if the product is not known), ``column`` and ``row`` in the tile
    (or in the scene, if the tile is not known), ``data_share`` (of the cell, that has data and was to be mapped),
    ``predicted_labels`` and, as in the footprints of an export, a probability for each class.

    Args:
        path: The GeoParquet, or ending in ``.gpkg`` the GeoPackage; a file of that name is replaced.
        scene: What the cells are of.
        rows: Its cells.
        thresholds: Probability above which each class counts as present; None: 0.5.
        tags: Metadata of the file.

    Raises:
        OSError: If the file cannot be written.
    """
    grid = cell_grid(scene)
    cells = [(row.row, int(column)) for row in rows for column in row.columns_N]
    data_N = np.concatenate([np.empty(0, np.float32), *(row.data_N for row in rows)])
    probabilities_NK = np.concatenate([np.empty((0, NUM_CLASSES), np.float32), *(row.probabilities_NK for row in rows)])
    decided_NK = decide(probabilities_NK, DEFAULT_THRESHOLD if thresholds is None else np.array(thresholds))
    labels = [[name for name, there in zip(CLASS_NAMES, row, strict=True) if there] for row in decided_NK]
    table = pa.table(
        {
            "patch_id": pa.array([grid.patch_id(column, row) for row, column in cells], pa.string()),
            "column": pa.array([grid.column + column for _, column in cells], pa.int32()),
            "row": pa.array([grid.row + row for row, _ in cells], pa.int32()),
            "data_share": pa.array(data_N),
            "predicted_labels": pa.array(labels, pa.list_(pa.string())),
            **{f"probability: {name}": pa.array(probabilities_NK[:, k]) for k, name in enumerate(CLASS_NAMES)},
        }
    )
    places = [
        Window(grid.left + column * PATCH_SIZE, grid.top + row * PATCH_SIZE, PATCH_SIZE, PATCH_SIZE)
        for row, column in cells
    ]
    bounds_N4 = np.array([window_grid(scene.grid, place).bounds for place in places], float).reshape(-1, 4)
    write_polygons(path, table, in_degrees(bounds_N4, scene.grid.epsg), tags)

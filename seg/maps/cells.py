"""Multi-labels of the 1.2 km cells of a scene, as GeoParquet."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg.engine.cells import CellRow
from seg.maps.parts import window_grid
from seg.metrics.scene import DEFAULT_THRESHOLD, decide
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.reben.patch import PATCHES_PER_TILE_EDGE
from seg.scenes.grid import Window
from seg.scenes.reader import Scene
from seg.store.atomic import write_bytes


def write_cells(path: Path, scene: Scene, rows: Sequence[CellRow], thresholds: Sequence[float] | None) -> int:
    """Write a polygon in longitude and latitude for each cell.

    Columns: ``patch_id`` (as reBEN would name it; empty if the product is not known), ``column``, ``row``,
    ``data_share``, ``labels`` (names of the classes above their threshold), and a probability for each class under its
    name.

    Args:
        path: The GeoParquet; a file of that name is replaced.
        scene: What the cells are of.
        rows: Its cells.
        thresholds: Fitted thresholds of the classes; None: 0.5 for each.

    Returns:
        Number of cells.

    Raises:
        OSError: If the file cannot be written.
    """
    import geopandas
    from shapely.geometry import box

    cells = [(row.row, int(column)) for row in rows for column in row.columns_N]
    probabilities_NK = np.concatenate(
        [row.probabilities_NK for row in rows] or [np.empty((0, NUM_CLASSES), np.float32)]
    )
    present_NK = decide(probabilities_NK, DEFAULT_THRESHOLD if thresholds is None else np.array(thresholds))
    places = [
        window_grid(scene.grid, Window(column * PATCH_SIZE, row * PATCH_SIZE, PATCH_SIZE, PATCH_SIZE))
        for row, column in cells
    ]
    table = geopandas.GeoDataFrame(
        {
            "patch_id": [_patch_id(scene, row, column) for row, column in cells],
            "column": [column for _, column in cells],
            "row": [row for row, _ in cells],
            "data_share": np.concatenate([row.data_N for row in rows] or [np.empty(0, np.float32)]),
            "labels": [[name for name, there in zip(CLASS_NAMES, flags, strict=True) if there] for flags in present_NK],
            **{name: probabilities_NK[:, k] for k, name in enumerate(CLASS_NAMES)},
        },
        geometry=[box(*place.bounds) for place in places],
        crs=scene.grid.epsg,
    ).to_crs("OGC:CRS84")
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    write_bytes(path, content.getvalue())
    return len(cells)


def _patch_id(scene: Scene, row: int, column: int) -> str:
    """Of the reBEN patch that the cell would be, if the scene is a whole product."""
    known = scene.product is not None and max(row, column) < PATCHES_PER_TILE_EDGE
    return f"{scene.product}_{column:02d}_{row:02d}" if known else ""

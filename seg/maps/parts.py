"""A map that is being made: its finished strips in ``<map>.unfinished``, so that the work can be taken up again.

The folder also says what the map is of (``identity.json``). Strips appear complete or not at all, and the map itself
only once all of them are there.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.transform import Affine

from seg.errors import ForeignFileError, MapError
from seg.rasters.layer import Array
from seg.reben.classes import CLASS_NAMES, IGNORE_INDEX
from seg.reben.ground import hectares_of
from seg.reben.patch import GeoRef
from seg.scenes.grid import Window
from seg.scenes.left_out import LeftOut
from seg.store.atomic import write_bytes, write_text

if TYPE_CHECKING:
    from seg.inference.cells import CellRow
    from seg.inference.tiled import Piece

SUFFIX = ".unfinished"
IDENTITY_FILE = "identity.json"
BAND_NAMES = {
    "classes": ("land cover",),
    "confidence": ("confidence", "entropy / ln 19"),
    "probabilities": CLASS_NAMES,
}
"""Rasters of a map, and the names of their bands."""
LAYERS = {layer: len(names) for layer, names in BAND_NAMES.items()}
"""Rasters of a map, and how many bands they have."""
SURPRISALS, GENERALISED, OUTLINED = "surprisals", "generalised", "outlined"
"""Strips of what a map is generalised by, with a band for each class, of the classes after that, and of those that
polygons are made of if they are brought to a larger unit."""
_RASTERS = "|".join((*LAYERS, SURPRISALS, GENERALISED, OUTLINED))
_STRIP = (
    rf"(?:{_RASTERS})-\d{{4,}}\.tif|(?:cells|units)-\d{{4,}}\.npy|left-out-\d{{4,}}\.json|{re.escape(IDENTITY_FILE)}"
)
_OWN = re.compile(rf"(?:{_STRIP})|\.(?:{_STRIP})(?:\.[0-9a-f]{{8}})?\.partial")
"""Names of what is written into the folder, complete or not."""
_NAMED = 5


@dataclass(frozen=True)
class Unfinished:
    """The strips of a map.

    Attributes:
        folder: Where they are.
        layers: What is predicted of each strip, some of `LAYERS` and `SURPRISALS`.
        grid: The 10 m grid of the scene.
        identity: What the folder must say that it is of, whenever something is written, because nobody has claimed the
            map meanwhile; empty if it is claimed.
    """

    folder: Path
    layers: tuple[str, ...]
    grid: GeoRef
    identity: str = ""

    def part(self, layer: str, number: int) -> Path:
        """File of a strip."""
        return self.folder / f"{layer}-{number:04d}.tif"

    def lacking(self, strips: Sequence[int]) -> list[int]:
        """Strips that are not finished."""
        return [n for n in strips if not all(self.part(layer, n).is_file() for layer in self.layers)]

    def lacking_cells(self, rows: Sequence[int]) -> list[int]:
        """Rows of cells that are not finished."""
        return [row for row in rows if not self.cells(row).is_file()]

    def require_begun(self) -> None:
        """Make sure that the folder is still of the map that it was begun for, where nobody has claimed it.

        Raises:
            MapError: If another command has finished that map, or begun another one in its place.
        """
        known = self.folder / IDENTITY_FILE
        if self.identity and not (known.is_file() and known.read_bytes() == self.identity.encode()):
            raise MapError(
                f"another command has finished or replaced what was begun in {self.folder} while this one was at work; "
                "run the same command again"
            )

    def _keep(self, path: Path, content: bytes) -> None:
        """Write a file of the folder; what is written while the folder becomes that of another map is gone again."""
        self.require_begun()
        write_bytes(path, content)
        try:
            self.require_begun()
        except MapError:
            path.unlink(missing_ok=True)
            raise

    def write(self, piece: Piece) -> None:
        """Write a strip.

        Raises:
            MapError: As `require_begun`.
            OSError: If the disk does not take it.
        """
        rasters = {
            "classes": piece.classes_HW[None],
            "confidence": piece.certainty_2HW,
            "probabilities": piece.probabilities_KHW,
            SURPRISALS: piece.surprisals_KHW,
        }
        for layer in self.layers:
            values_BHW = rasters[layer]
            assert values_BHW is not None, f"{layer} was not asked for"
            self._keep(self.part(layer, piece.number), _encoded(values_BHW, window_grid(self.grid, piece.place)))

    def write_generalised(self, number: int, classes_HW: npt.NDArray[np.uint8], layer: str) -> None:
        """Write the classes of a strip after they were generalised, to a layer of that.

        Raises:
            OSError: If the disk does not take them.
        """
        with rasterio.open(self.part("classes", number)) as dataset:
            grid = self._grid_of(dataset)
        write_bytes(self.part(layer, number), _encoded(classes_HW[None], grid))

    def _grid_of(self, dataset: DatasetReader) -> GeoRef:
        corner = dataset.transform
        return replace(self.grid, x_min=corner.c, y_max=corner.f, width=dataset.width, height=dataset.height)

    def areas(self, strips: Sequence[int], layer: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Of each value in the class maps of strips: pixels, int64 (256,), and hectares on the ground, float64.

        Args:
            strips: The numbers of the strips.
            layer: ``classes`` or `GENERALISED`.
        """
        counts, hectares = np.zeros(256, np.int64), np.zeros(256)
        for number in strips:
            with rasterio.open(self.part(layer, number)) as dataset:
                of_strip = hectares_of(dataset.read(1), self._grid_of(dataset))
            counts, hectares = counts + of_strip[0], hectares + of_strip[1]
        return counts, hectares

    def write_left_out(self, first: int, left_out: LeftOut) -> None:
        """Keep what was counted while strips were read.

        Args:
            first: The first of the strips that one process reads in one call.
            left_out: What it has counted by now.
        """
        self._keep(self.folder / f"left-out-{first:04d}.json", json.dumps(left_out.record).encode())

    def left_out(self) -> LeftOut:
        """What all processes have counted, in all calls."""
        files = sorted(self.folder.glob("left-out-*.json"))
        return LeftOut.of(json.loads(path.read_text(encoding="utf-8")) for path in files)

    def cells(self, row: int) -> Path:
        """File of a row of cells."""
        return self.folder / f"cells-{row:04d}.npy"

    def write_cells(self, cells: CellRow) -> None:
        """Write a row of cells: column, share with data and probabilities of each.

        Raises:
            MapError: As `require_begun`.
            OSError: If the disk does not take it.
        """
        content = io.BytesIO()
        columns: list[Array] = [cells.columns_N[:, None], cells.data_N[:, None], cells.probabilities_NK]
        np.save(content, np.concatenate(columns, 1).astype(np.float32))
        self._keep(self.cells(cells.row), content.getvalue())

    def read_cells(self, row: int) -> CellRow:
        """Read it again."""
        from seg.inference.cells import CellRow

        table = np.load(self.cells(row), allow_pickle=False)
        return CellRow(row, table[:, 0].astype(np.int64), table[:, 1], table[:, 2:])

    def remove(self) -> None:
        """Remove the folder, unless somebody has put something else into it."""
        _remove_own(self.folder)


def unfinished_folder(path: Path) -> Path:
    """Where the strips of a map go."""
    return path.with_name(path.name + SUFFIX)


def begin_map(folder: Path, identity: dict[str, Any], notify: Callable[[str], None]) -> None:
    """Make the folder, or take up what is in it; what is of another map is thrown away.

    Args:
        folder: From `unfinished_folder`.
        identity: Everything that the strips depend on, as JSON takes it.
        notify: Is told what became of a folder that is there.

    Raises:
        ForeignFileError: If the folder holds something else.
        OSError: If it cannot be made.
    """
    text = identity_text(identity)
    known = folder / IDENTITY_FILE
    if folder.is_dir() and any(folder.iterdir()):
        require_strips(folder)
        if known.is_file() and known.read_bytes() == text.encode():
            notify(f"Taking up the map that was begun in {folder}.")
            if _without_damaged(folder, notify):
                return
        else:
            notify(f"{folder} was begun with another scene, other weights or other settings; starting anew.")
        _remove_own(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(known, text)


def _without_damaged(folder: Path, notify: Callable[[str], None]) -> bool:
    """Remove finished strips and cells that a crash of the machine has left damaged, for them to be made anew.

    Returns:
        Whether the map can be taken up; not if it is lost what was counted while its strips were read.
    """
    damaged = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and not _is_sound(path)]
    for path in damaged:
        path.unlink()
    if damaged:
        names = ", ".join(path.name for path in damaged[:_NAMED])
        more = f" and {len(damaged) - _NAMED} more" if damaged[_NAMED:] else ""
        notify(f"Files in it are damaged and made anew: {names}{more}.")
    return not any(path.suffix == ".json" for path in damaged)


def _is_sound(path: Path) -> bool:
    """Whether the whole of a strip, a row of cells or a count can be read."""
    try:
        if path.suffix == ".tif":
            with rasterio.open(path) as dataset:
                for _, window in dataset.block_windows(1):
                    dataset.read(window=window)
        elif path.suffix == ".npy":
            np.load(path, allow_pickle=False)
        else:
            json.loads(path.read_text(encoding="utf-8"))
    except (RasterioIOError, ValueError, EOFError):
        return False
    return True


def identity_text(identity: dict[str, Any]) -> str:
    """What the folder of a map says that it is of."""
    return json.dumps(identity, indent=2, sort_keys=True) + "\n"


def require_strips(folder: Path) -> None:
    """Refuse a folder in the place of the strips of a map that holds anything else.

    Args:
        folder: From `unfinished_folder`; need not exist.

    Raises:
        ForeignFileError: Naming what it holds.
    """
    if not os.path.lexists(folder):
        return
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [folder.name]
    # Whoever was killed while he wrote what the folder is of has left a part of that alone.
    known = IDENTITY_FILE in there or all(name.startswith(f".{IDENTITY_FILE}.") for name in there)
    strange = [name for name in there if not _OWN.fullmatch(name)] if known else there
    if strange:
        raise ForeignFileError(
            f"{folder} is where the strips of the map go, but holds something else ({', '.join(strange[:_NAMED])}); "
            "move it away or name another --out"
        )


def _remove_own(folder: Path) -> None:
    # What says what the folder is goes last.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == IDENTITY_FILE) if folder.is_dir() else ():
        if _OWN.fullmatch(path.name):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def window_grid(grid: GeoRef, place: Window) -> GeoRef:
    """Where a window of a grid lies."""
    size = grid.pixel_size
    return GeoRef(
        grid.epsg, grid.x_min + place.left * size, grid.y_max - place.top * size, size, place.width, place.height
    )


def _encoded(values_BHW: npt.NDArray[np.uint8], grid: GeoRef) -> bytes:
    """A GeoTIFF, packed quickly: it is read once."""
    bands, height, width = values_BHW.shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=width,
            height=height,
            count=bands,
            dtype="uint8",
            nodata=IGNORE_INDEX,
            crs=CRS.from_epsg(grid.epsg),
            transform=Affine(*grid.transform),
            compress="deflate",
            zlevel=1,
            interleave="band",
            blockysize=min(height, 64),
        ) as dataset:
            dataset.write(values_BHW)
        content: bytes = memory.read()
    return content

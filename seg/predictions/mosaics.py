"""Predictions as georeferenced rasters larger than patches, which are cut by the footprints of the patches."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.errors
import xxhash
from rasterio.windows import Window

from seg.config.wording import clipped
from seg.errors import EvidenceError, PredictionError
from seg.predictions.folder import check_bands, check_plain, masked_out, scale_of
from seg.predictions.numbering import NOTHING, Numbering
from seg.predictions.pixels import PatchPixels, Read, class_map, probabilities, split_name
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import NUM_CLASSES
from seg.reben.patch import GeoRef, PatchId
from seg.store.index import Index, Rows

DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".vrt": "VRT"}
_ROUNDING = 1e-3
"""How far, in pixels, a patch may lie off the grid of a mosaic."""
_MOST_OPEN = 32


@dataclass(frozen=True)
class _Raster:
    """A mosaic: its file, its grid, and what it holds; of a virtual raster without nodata, where it has any sources."""

    path: Path
    epsg: int
    transform: tuple[float, ...]
    shape: tuple[int, int]
    shares: bool
    filled: tuple[tuple[float, ...], ...] | None = None

    def empty_in(self, window: Window) -> npt.NDArray[np.bool_]:
        """Where no source of a virtual raster is, which GDAL gives as 0."""
        empty_HW = np.zeros((window.height, window.width), bool)
        if self.filled is not None:
            empty_HW[:] = True
            for left, top, width, height in self.filled:
                rows = slice(max(round(top) - window.row_off, 0), max(round(top + height) - window.row_off, 0))
                columns = slice(max(round(left) - window.col_off, 0), max(round(left + width) - window.col_off, 0))
                empty_HW[rows, columns] = False
        return empty_HW

    def window(self, georef: GeoRef) -> Window | None:
        """Where a patch lies in it; None if it does not, or not on its grid."""
        a, b, c, d, e, f = self.transform
        if georef.epsg != self.epsg or b or d or a != georef.pixel_size or e != -georef.pixel_size:
            return None
        column, row = (georef.x_min - c) / a, (f - georef.y_max) / a
        if max(abs(column - round(column)), abs(row - round(row))) > _ROUNDING:
            return None
        inside = 0 <= round(column) <= self.shape[1] - PATCH_SIZE and 0 <= round(row) <= self.shape[0] - PATCH_SIZE
        return Window(round(column), round(row), PATCH_SIZE, PATCH_SIZE) if inside else None


@dataclass(frozen=True)
class Mosaics:
    """Mosaics, see `seg.predictions.pixels.Source`.

    Attributes:
        rasters: The mosaics.
        numbering: What their numbers mean.
        names: Ids of the patches that they cover.
        stamp: See there.
    """

    rasters: tuple[_Raster, ...]
    numbering: Numbering
    names: tuple[str, ...]
    stamp: str

    @property
    def what(self) -> str:
        """In a few words."""
        parts = [word for word, there in (("class maps", self.masks), ("probabilities", self.shares)) if there]
        return f"mosaics of {' and '.join(parts)}"

    @property
    def files(self) -> int:
        """How many."""
        return len(self.rasters)

    @property
    def masks(self) -> bool:
        """Whether there are class maps."""
        return any(not raster.shares for raster in self.rasters)

    @property
    def shares(self) -> bool:
        """Whether there are probabilities."""
        return any(raster.shares for raster in self.rasters)

    @property
    def remarks(self) -> tuple[str, ...]:
        """None: what such files lack is refused."""
        return ()

    def only(self, names: Sequence[str]) -> "Mosaics":
        """The same of some patches."""
        return replace(self, names=tuple(names))

    @contextmanager
    def opened(self) -> Iterator[Read]:
        """Reads the patches."""
        with ExitStack() as files:
            datasets: dict[Path, Any] = {}

            def cut(raster: _Raster, window: Window) -> tuple[npt.NDArray[Any], Any, Any]:
                if raster.path not in datasets:
                    if len(datasets) >= _MOST_OPEN:
                        datasets.pop(next(iter(datasets))).close()
                    datasets[raster.path] = files.enter_context(_opened(raster.path))
                try:
                    dataset = datasets[raster.path]
                    return dataset.read(window=window), masked_out(dataset, window), dataset
                except rasterio.errors.RasterioError:
                    raise PredictionError(f"cannot be read from {raster.path.name}, which is damaged") from None

            def read(_: str, patch: PatchId) -> PatchPixels:
                values = self._one(patch, False, cut) if self.masks else None
                shares = self._one(patch, True, cut) if self.shares else None
                return PatchPixels(values, shares)

            yield read

    def _one(self, patch: PatchId, shares: bool, cut: Any) -> Any:
        """The part of the one mosaic that holds a patch."""
        found = []
        for raster in _of_product([raster for raster in self.rasters if raster.shares == shares], patch):
            window = raster.window(patch.georef)
            if window is None:
                continue
            array, masked_HW, dataset = cut(raster, window)
            empty_HW = raster.empty_in(window) if masked_HW is None else masked_HW
            if shares:
                check_bands(dataset.descriptions, self.numbering)
                part: Any = probabilities(array, scale_of(dataset), dataset.nodata, empty_HW)
                holds = bool(part.any())
            else:
                check_plain(dataset)
                part = class_map(array[0], dataset.nodata, empty_HW)
                holds = bool((part != NOTHING).any())
            found.append((holds, part, raster.path.name))
        held = [one for one in found if one[0]] or found[:1]
        if len(held) > 1:
            raise PredictionError(
                f"lies in {held[0][2]} and in {held[1][2]}; name mosaics by their products, or give one"
            )
        if not held:
            raise PredictionError(f"has no {'probabilities' if shares else 'class map'}, and others have")
        return held[0][1]


def open_mosaics(paths: Sequence[Path], numbering: Numbering, index: Index, rows: Rows) -> Mosaics:
    """Mosaics, and which patches they cover.

    Args:
        paths: The rasters.
        numbering: What their numbers mean.
        index, rows: The patches that are looked for.

    Raises:
        EvidenceError: If one cannot be read, says nothing of where it lies, or has bands of neither kind.
    """
    digest = xxhash.xxh3_128()
    rasters = []
    for path in paths:
        with _opened(path) as dataset:
            epsg = dataset.crs.to_epsg() if dataset.crs else None
            if epsg is None or dataset.transform.is_identity:
                raise EvidenceError(
                    f"{path} is named by no patch and does not say where it lies; name it after its patch, or write "
                    "its CRS and transform"
                )
            if dataset.subdatasets:
                raise EvidenceError(f"{path} has {len(dataset.subdatasets)} pages; write one map into a file")
            if dataset.count not in (1, NUM_CLASSES):
                raise EvidenceError(
                    f"{path} has {dataset.count} bands; a class map has one, and probabilities have {NUM_CLASSES}"
                )
            transform = tuple(dataset.transform)[:6]
            filled = _filled(path) if path.suffix.lower() == ".vrt" and dataset.nodata is None else None
            rasters.append(_Raster(path, epsg, transform, dataset.shape, dataset.count == NUM_CLASSES, filled))
        for file in (path, *(_check_sources(path) if path.suffix.lower() == ".vrt" else ())):
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    patches = [(name, PatchId.parse(name)) for name in index.patch_ids.take(rows).to_pylist()]
    names = [name for name, patch in patches if any(r.window(patch.georef) for r in _of_product(rasters, patch))]
    zones = {patch.georef.epsg for _, patch in patches}
    if not names and (others := [raster for raster in rasters if raster.epsg not in zones]):
        raise EvidenceError(
            f"{others[0].path} is in EPSG:{others[0].epsg}, in which no patch of the split lies; give the folder of "
            "the mosaics, each in the UTM zone of its product"
        )
    if not names:
        raise EvidenceError(
            f"{paths[0]} covers no patch of the split on its own grid of 10 m; write it in the UTM zone of its "
            "product, on the grid of the product's pixels"
        )
    return Mosaics(tuple(rasters), numbering, tuple(names), digest.hexdigest())


def _of_product(rasters: Sequence[_Raster], patch: PatchId) -> Sequence[_Raster]:
    """The mosaics that are named by the product of a patch; all of them if none is named by any."""
    named = [raster for raster in rasters if split_name(raster.path.stem)[0] == patch.product]
    return named or [raster for raster in rasters if not _names_a_product(raster.path)]


def _names_a_product(path: Path) -> bool:
    return path.stem.startswith("S2") and "_MSIL2A_" in path.stem and path.stem.count("_") in (5, 6)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if path.suffix.lower() == ".vrt":
        _check_sources(path)
    try:
        dataset = rasterio.open(path, driver=DRIVERS[path.suffix.lower()])
    except rasterio.errors.RasterioError as error:
        reason = " ".join(str(error).split())
        raise EvidenceError(f"{path} cannot be read as a raster ({reason}); write it again") from None
    with dataset:
        yield dataset


_SOURCES = ("sourcefilename", "sourcedataset")
_MOST_TEXT = 1 << 26


def _check_sources(path: Path) -> list[Path]:
    """Refuse a virtual raster of anything but image files on this machine, before GDAL opens one of them.

    Returns:
        The files that it stands for.

    Raises:
        EvidenceError: Naming what it stands for.
    """
    if path.stat().st_size > _MOST_TEXT:
        raise EvidenceError(f"{path} is larger than virtual rasters are; give the rasters that it stands for")
    try:
        elements = list(ElementTree.fromstring(path.read_bytes()).iter())
    except (ElementTree.ParseError, ValueError, LookupError):
        raise EvidenceError(f"{path} is no virtual raster; give the rasters that it stands for") from None
    sources = []
    for element in elements:
        if element.tag.lower() in _SOURCES:
            named = (element.text or "").strip()
            known = Path(named).suffix.lower() in _IMAGES and "\0" not in named
            beside = element.get("relativeToVRT") == "1"
            if Path(named).suffix.lower() == ".vrt":
                raise EvidenceError(
                    f"{path} stands for {clipped(named)}, which is a virtual raster itself; give the folder of the "
                    "rasters"
                )
            source = path.parent / named if beside else Path(named)
            # GDAL goes by what a file holds, which may be another virtual raster whatever it is called.
            if not known or not source.is_file() or not _begins_as_image(source):
                raise EvidenceError(
                    f"{path} stands for {clipped(named)}, which is no image file on this machine; give the rasters "
                    "themselves"
                )
            sources.append(source)
    return sources


def _begins_as_image(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(max(map(len, _MARKS))).startswith(_MARKS)


def _filled(path: Path) -> tuple[tuple[float, ...], ...] | None:
    """Where the first band of a virtual raster has sources: left, top, width and height of each; None: everywhere."""
    band = ElementTree.fromstring(path.read_bytes()).find("VRTRasterBand")
    if band is None or band.get("subClass"):
        return None
    sources = [element for element in band if element.tag.endswith("Source")]
    if any(source.find(tag) is not None for source in sources for tag in ("NODATA", "UseMaskBand")):
        raise EvidenceError(
            f"{path} leaves out pixels of its sources and says no nodata of its own, so that they are 0; give its band "
            "a NoDataValue of 255, or give the rasters themselves"
        )
    places = [source.find("DstRect") for source in sources]
    if any(place is None for place in places):
        return None
    return tuple(
        tuple(float(place.get(name, "nan")) for name in ("xOff", "yOff", "xSize", "ySize"))
        for place in places
        if place is not None
    )


_IMAGES = (".tif", ".tiff", ".png")
_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\x89PNG\r\n\x1a\n")
"""How TIFF, BigTIFF and PNG begin."""

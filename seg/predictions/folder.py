"""Predictions as a folder of files, one for each patch: GeoTIFF, PNG or NPY, named by patch, at any depth."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
import rasterio.crs
import rasterio.enums
import rasterio.errors
import xxhash
from rasterio.windows import Window

from seg.config.wording import clipped, counted
from seg.errors import EvidenceError, PredictionError
from seg.predictions.numbering import Numbering
from seg.predictions.pixels import SIZE, PatchPixels, Read, class_map, is_patch, probabilities, split_name
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.reben.patch import GeoRef, PatchId

DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".png": "PNG", ".npy": ""}
"""Files that are read, with GDAL's driver; no other is let near them, whatever they hold."""
_BESIDE = ("_reference", "_agreement")
"""What ``seg export`` writes of a patch beside the predicted map."""
_PICTURES = ("overview", "legend")
_WARPED = "_warped"
_METRES, _METRES_OF_CRS = 0.01, 1.0
"""How far a georeference may be off: a rounding, not a pixel; and the zone of a CRS without a code."""


@dataclass(frozen=True)
class Folder:
    """A folder of predicted patches, see `seg.predictions.pixels.Source`.

    Attributes:
        path: The folder.
        numbering: What the numbers mean.
        names: Names of the patches.
        maps, volumes: Files by name, from the folder: class maps, and probabilities.
        stamp: See there.
    """

    path: Path
    numbering: Numbering
    names: tuple[str, ...]
    maps: dict[str, str]
    volumes: dict[str, str]
    stamp: str

    @property
    def what(self) -> str:
        """In a few words."""
        parts = [word for word, files in (("class maps", self.maps), ("probabilities", self.volumes)) if files]
        kinds = sorted(
            {Path(name).suffix.lower().lstrip(".") for name in (*self.maps.values(), *self.volumes.values())}
        )
        return f"folder of {' and '.join(parts)} by patch ({', '.join(kinds)})"

    @property
    def files(self) -> int:
        """How many."""
        return len(self.maps) + len(self.volumes)

    @property
    def masks(self) -> bool:
        """Whether there are class maps."""
        return bool(self.maps)

    @property
    def shares(self) -> bool:
        """Whether there are probabilities."""
        return bool(self.volumes)

    @property
    def remarks(self) -> tuple[str, ...]:
        """None: what such files lack is refused."""
        return ()

    def only(self, names: Sequence[str]) -> "Folder":
        """The same of some patches."""
        maps, volumes = ({n: files[n] for n in names if n in files} for files in (self.maps, self.volumes))
        return replace(self, names=tuple(names), maps=maps, volumes=volumes)

    @contextmanager
    def opened(self) -> Iterator[Read]:
        """Reads the patches."""
        with _silent():
            yield self._read

    def _read(self, name: str, patch: PatchId) -> PatchPixels:
        values = shares = None
        for files, is_map in ((self.maps, True), (self.volumes, False)):
            if name not in files:
                if files:
                    raise PredictionError(f"has no {'class map' if is_map else 'probabilities'}, and others have")
                continue
            found = read_file(self.path / files[name], patch, self.numbering, is_map)
            values, shares = (found.values_HW, shares) if is_map else (values, found.shares_KHW)
        return PatchPixels(values, shares)


def open_folder(path: Path, numbering: Numbering) -> Folder | None:
    """A folder with a file for each patch; None if no file in it is named by a patch.

    Raises:
        EvidenceError: If two files are of one patch.
    """
    maps: dict[str, str] = {}
    volumes: dict[str, str] = {}
    patches, digest = 0, xxhash.xxh3_128()
    for file in _files(path):
        name, are_shares = split_name(file.stem)
        if file.suffix.lower() not in DRIVERS or _is_beside(file, path):
            continue
        place = file.relative_to(path).as_posix()
        status = file.stat()
        digest.update(f"{place} {status.st_size} {status.st_mtime_ns}\n".encode())
        patches += is_patch(name)
        files = volumes if are_shares else maps
        if name in files and not is_patch(name):
            name = place  # which is told of: a folder for each patch may have files of one name
        if name in files:
            raise EvidenceError(f"{path}: {files[name]} and {place} are of one patch; leave one of them")
        files[name] = place
    if not patches:
        return None
    # Without an ending, a file tells what it holds.
    if maps and not volumes and _bands_of(path / next(iter(maps.values()))) == NUM_CLASSES:
        maps, volumes = volumes, maps
    names = tuple(dict.fromkeys((*maps, *volumes)))
    return Folder(path, numbering, names, maps, volumes, digest.hexdigest())


def read_file(path: Path, patch: PatchId, numbering: Numbering, is_map: bool) -> PatchPixels:
    """What a file holds of a patch.

    Args:
        path: The file.
        patch: The patch, whose georeference that of the file must be, if it has one.
        numbering: What the numbers mean, which names of bands must not contradict.
        is_map: Whether it is a class map, and not probabilities.

    Raises:
        PredictionError: If it cannot be used.
    """
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise PredictionError("cannot be read: it is cut off, or holds Python objects instead of numbers") from None
        return PatchPixels(class_map(array)) if is_map else PatchPixels(shares_KHW=probabilities(array))
    try:
        with rasterio.open(path, driver=DRIVERS[path.suffix.lower()]) as dataset:
            bands = 1 if is_map else NUM_CLASSES
            if dataset.count != bands:
                raise PredictionError(
                    f"has {dataset.count} bands; a class map has one, with numbers instead of colours, and "
                    f"probabilities have {NUM_CLASSES}"
                )
            # Looked at before anything is decoded: what is small on the disk may be huge.
            if dataset.shape != SIZE:
                raise PredictionError(
                    f"is {dataset.height} x {dataset.width}, and a patch has {SIZE[0]} x {SIZE[1]} pixels"
                )
            if dataset.subdatasets:
                raise PredictionError(f"has {len(dataset.subdatasets)} pages; write one map into a file")
            check_place(dataset, patch)
            if is_map:
                check_plain(dataset)
            empty_HW = masked_out(dataset)
            if is_map:
                return PatchPixels(class_map(dataset.read(1), dataset.nodata, empty_HW))
            check_bands(dataset.descriptions, numbering)
            return PatchPixels(shares_KHW=probabilities(dataset.read(), scale_of(dataset), dataset.nodata, empty_HW))
    except rasterio.errors.RasterioError:
        raise PredictionError("cannot be read: it is cut off, or no such file as its name says") from None


def check_place(dataset: rasterio.DatasetReader, patch: PatchId) -> None:
    """Make sure that a raster lies where its patch does, if it says where it lies.

    Raises:
        PredictionError: If it does not, is shifted, flipped or of other pixels.
    """
    told, georef = dataset.transform, patch.georef
    if dataset.gcps[0]:
        raise PredictionError("has ground control points instead of a grid; write it on the grid of the patch")
    if not told.is_identity and not np.allclose(tuple(told)[:6], georef.transform, rtol=0, atol=_METRES):
        raise PredictionError(
            "does not lie where its patch does (shifted, flipped or of other pixels); write it on the grid of the patch"
        )
    if dataset.crs and not _same_place(dataset.crs, georef):
        epsg = dataset.crs.to_epsg()
        crs = "another CRS" if epsg is None else f"EPSG:{epsg}"
        raise PredictionError(f"is in {crs}, and its patch in EPSG:{georef.epsg}; write it on the patch's grid")


def _unwritten(dataset: rasterio.DatasetReader, window: Window) -> npt.NDArray[np.bool_] | None:
    """Pixels of a GeoTIFF in blocks that are not there, which GDAL gives as 0 unless nodata is declared."""
    if dataset.driver != "GTiff" or dataset.nodata is not None:
        return None
    height, width = dataset.block_shapes[0]
    empty_HW = np.zeros((window.height, window.width), bool)
    for row in range(window.row_off // height, (window.row_off + window.height - 1) // height + 1):
        for column in range(window.col_off // width, (window.col_off + window.width - 1) // width + 1):
            if dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=1) is None:
                top, left = row * height - window.row_off, column * width - window.col_off
                empty_HW[max(top, 0) : top + height, max(left, 0) : left + width] = True
    return empty_HW if empty_HW.any() else None


def check_plain(dataset: rasterio.DatasetReader) -> None:
    """Make sure that the numbers of a class map are those that are stored.

    Raises:
        PredictionError: If it says that they are scaled, or that something is to be added.
    """
    if dataset.scales[0] != 1 or dataset.offsets[0] != 0:
        raise PredictionError(
            f"says scale {dataset.scales[0]:g} and offset {dataset.offsets[0]:g} of its numbers; write those of "
            "classes as they are"
        )


def _same_place(crs: rasterio.crs.CRS, georef: GeoRef) -> bool:
    """Whether a CRS puts the corner of a patch where that of the patch does, whatever it is called."""
    if crs.to_epsg() is not None:
        return bool(crs.to_epsg() == georef.epsg)
    corner = (georef.x_min, georef.y_max)
    try:
        there = pyproj.CRS.from_wkt(crs.to_wkt())
        x, y = pyproj.Transformer.from_crs(there, georef.epsg, always_xy=True).transform(*corner)
    except (pyproj.exceptions.ProjError, rasterio.errors.CRSError):
        return False
    return bool(np.allclose((x, y), corner, rtol=0, atol=_METRES_OF_CRS))


def masked_out(dataset: rasterio.DatasetReader, window: Window | None = None) -> npt.NDArray[np.bool_] | None:
    """Pixels that the mask of a raster says to be invalid, or that were never written; None if nothing tells of any."""
    if rasterio.enums.MaskFlags.per_dataset not in dataset.mask_flag_enums[0]:
        return _unwritten(dataset, window or Window(0, 0, dataset.width, dataset.height))
    return np.asarray(dataset.dataset_mask(window=window) == 0)


def scale_of(dataset: rasterio.DatasetReader) -> float | None:
    """What a stored 1 of probabilities stands for; None if a raster does not say, which GDAL tells as 1.

    Raises:
        PredictionError: If it is not the same in all bands, or something is to be added.
    """
    if len(set(dataset.scales)) > 1 or any(dataset.offsets):
        raise PredictionError("has bands of different scales, or with offsets; write fractions as floats")
    return None if dataset.scales[0] == 1 else float(dataset.scales[0])


def check_bands(names: Sequence[str | None], numbering: Numbering) -> None:
    """Make sure that bands which are named by classes are in the order of the numbering.

    Raises:
        PredictionError: If they are not.
    """
    bands = numbering.bands
    if bands is not None and set(names) == set(CLASS_NAMES) and [CLASS_NAMES[k] for k in bands] != list(names):
        raise PredictionError(
            f"names its bands in another order than that of '{numbering.name}'; choose --classes anew"
        )


def _bands_of(path: Path) -> int:
    """Number of bands of a file; 0 if it cannot be read."""
    try:
        if path.suffix.lower() == ".npy":
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
            return int(shape[0]) if len(shape) == 3 else 1
        with _silent(), rasterio.open(path, driver=DRIVERS[path.suffix.lower()]) as dataset:
            return int(dataset.count)
    except (OSError, ValueError, EOFError, rasterio.errors.RasterioError):
        return 0


@contextmanager
def _silent() -> Iterator[None]:
    """Without a word on rasters that do not say where they lie: their names do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


def _files(path: Path) -> Iterator[Path]:
    """All files below a folder, in the order of their names: no pipes, no devices, and no links that lead out of it.

    Raises:
        EvidenceError: If predictions of patches are such links, or lie in folders that are.
    """
    whole = path.resolve()
    links = []
    for folder, folders, names in os.walk(path):
        folders.sort()
        links += [Path(folder, name) for name in folders if _leads_out(Path(folder, name), whole)]
        for name in sorted(names):
            file = Path(folder, name)
            if name.startswith("."):
                continue
            if _leads_out(file, whole):
                links.append(file)
            elif file.is_file():
                yield file
    meant = [link for link in links if any(map(_is_of_patch, link.iterdir() if link.is_dir() else [link]))]
    if meant:
        raise EvidenceError(
            f"{path}: {counted(len(meant), 'link leads', 'links lead')} out of it or nowhere "
            f"({clipped(meant[0].relative_to(path).as_posix())}), and none is followed; copy there what they stand for"
        )


def _leads_out(place: Path, whole: Path) -> bool:
    return place.is_symlink() and not (place.exists() and place.resolve().is_relative_to(whole))


def _is_of_patch(file: Path) -> bool:
    return file.suffix.lower() in DRIVERS and is_patch(split_name(file.stem)[0])


def _is_beside(file: Path, folder: Path) -> bool:
    """Whether a file is one that ``seg export`` writes beside the predicted maps of patches."""
    of_export = file.stem in _PICTURES and file.parent == folder
    mosaic = file.parent == folder and is_patch(f"{file.stem.rpartition('_')[0]}_00_00")
    return (
        of_export
        or mosaic
        or file.stem.endswith(_BESIDE)
        or (file.parent != folder and file.parent.name.endswith(_WARPED))
    )

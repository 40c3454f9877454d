"""Folders of single-band files, whose names say the band: ``<scene>_B02.tif``, ``B02_10m.jp2``, ``VV.tif``.

Catalogues call them ``blue.tif`` or ``nir08.tif``; these names are known where no other is.
"""

from collections.abc import Sequence
from pathlib import Path

from seg.catalogue.address import Place, gdal_path
from seg.catalogue.names import common_band_in
from seg.errors import BandMissingError, SceneError
from seg.rasters.header import read_header, shown
from seg.rasters.jp2 import require_whole_file
from seg.rasters.layer import Layer, tagged_layer
from seg.rasters.listing import files_below
from seg.rasters.place import require_no_radar_product
from seg.rasters.validity import alpha_band
from seg.reben.bands import BANDS
from seg.reben.names import band_in, metres_in, names_level_1c
from seg.scenes.product_files import level_error

SUFFIXES = (".tif", ".tiff", ".jp2", ".img")
"""``.img`` is what SNAP writes into the folder of its own format."""


def folder_layers(path: Path, needed: Sequence[str]) -> list[Layer]:
    """The needed bands of a folder.

    Raises:
        BandMissingError: If a band lacks.
        SceneError: If the folder holds no bands, has two files for one, or is a part of a SAFE folder.
    """
    if safe := next((place for place in (path, *path.resolve().parents) if place.suffix.upper() == ".SAFE"), None):
        raise SceneError(f"{path} is a part of a Sentinel-2 product, whose metadata are needed too; name {safe} itself")
    files = band_files(path)
    if not files:
        require_no_radar_product(path, files_below(path, 3))
        if kind := next((kind for name, kind in _OWN.items() if (path / name).is_file()), None):
            raise SceneError(f"{path} is {kind}, and no scene; name a Sentinel-2 product or raster", wrong_use=True)
        raise SceneError(
            f"{path} holds no files of single bands; they are named like <scene>_B02.tif, B02_10m.jp2 or blue.tif, and "
            "a SAFE folder has an MTD_MSIL2A.xml at its top",
            wrong_use=True,
        )
    layers = []
    for band in needed:
        if band not in files:
            raise BandMissingError(
                f"{path} has no file for {band} (it has {', '.join(name for name in BANDS if name in files)}); add one "
                f"that is named like <scene>_{band}.tif",
                band,
            )
        layers.append(single_band(band, only_file(band, files[band])))
    return layers


_OWN = {"run.json": "a run", "store.json": "a store of patches, which 'seg export' maps"}
"""What folders of seg are, by a file in them."""


def band_files(path: Path) -> dict[str, list[Path]]:
    """Files of a folder by the band that they name."""
    found: dict[str, list[Path]] = {}
    for file in (path / name for name in files_below(path, 1)):
        band = band_in(file.stem) or common_band_in(file.stem)
        if band and file.suffix.lower() in SUFFIXES:
            if names_level_1c(file.name):
                raise level_error(file, "Level-1C")
            found.setdefault(band, []).append(file)
    return found


def only_file(band: str, files: Sequence[Place]) -> Place:
    """The file of a band; of several resolutions that their names say, the band's own.

    Raises:
        SceneError: If there are several.
    """
    sizes = [metres_in(file.stem) for file in files]
    own = [file for file, size in zip(files, sizes, strict=True) if size == BANDS[band].pixel_size]
    left = own if len(own) == 1 and all(sizes) else files
    if len(left) > 1:
        raise SceneError(f"{', '.join(map(str, left))} are {len(left)} files for {band}; keep one")
    return left[0]


def single_band(band: str, file: Place) -> Layer:
    """A band in a file of its own.

    Raises:
        SceneError: If the file is damaged or holds more bands.
    """
    if file.suffix.lower() == ".jp2" and isinstance(file, Path):
        require_whole_file(file)
    header = read_header(gdal_path(file))
    names = [band, *[None] * (len(header.dtypes) - 1)]
    alpha = alpha_band(header, names)
    if len(header.dtypes) > (1 if alpha is None else 2):
        raise SceneError(
            f"{shown(header.path)} holds {len(header.dtypes)} bands, but its name says {band}; name the file itself as "
            "the scene and its bands with --bands"
        )
    return tagged_layer(band, header, alpha=alpha)

"""Multi-band rasters: all bands of a scene in one file."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seg.catalogue.address import Place, gdal_path
from seg.errors import BandMissingError, SceneError
from seg.rasters.header import Header, editing, read_header, shown
from seg.rasters.jp2 import require_whole_file
from seg.rasters.layer import Layer, tagged_layer
from seg.rasters.validity import alpha_band
from seg.reben.bands import BANDS, S1_BANDS
from seg.reben.names import band_in, names_level_1c
from seg.scenes.grid import SceneUseError
from seg.scenes.product_files import level_error

_UNTOLD = re.compile(r"(?:(?:band|layer|channel|b)?[ _-]?\d*|gr[ae]y|undefined|unknown)", re.IGNORECASE)
"""What tools call bands that nobody has named."""
_METADATA = re.compile(r"(?:MTD_|S2[A-Z]_\w+_MTD_)\w+\.xml", re.IGNORECASE)
_NAMED = 6
UNUSED = "-"
"""Stands for a band of the file that is none of reBEN's, in a list of names."""


def stack_layers(path: Place, bands: Sequence[str] | None, needed: Sequence[str]) -> list[Layer]:
    """The needed bands of a multi-band raster.

    Args:
        path: The raster.
        bands: Names in the order of the file, `UNUSED` for others; None: its band descriptions, or for two bands
            without any, VV and VH.
        needed: What is wanted.

    Raises:
        BandMissingError: If a band lacks.
        SceneError: If the file is damaged, its bands have no names, or one is there twice.
    """
    if names_level_1c(path.name):
        raise level_error(path, "Level-1C")
    if path.suffix.lower() == ".dim":
        raise SceneUseError(f"{path} describes what SNAP keeps in {path.stem}.data beside it; name that folder")
    if _METADATA.fullmatch(path.name):
        raise SceneUseError(f"{path} is one of several metadata files of a product; name the folder that ends in .SAFE")
    if path.suffix.lower() == ".jp2" and isinstance(path, Path):
        require_whole_file(path)
    header = read_header(gdal_path(path))
    if header.mapped:
        raise SceneUseError(f"{path} is a map that seg has made, and no scene; name the scene itself")
    names = _described(header, path, needed) if bands is None else _named(header, bands)
    alpha = alpha_band(header, names)
    # Names that may be mere places are not to be repeated as if somebody had said them.
    guessed = bands is None and numbered_by_place(header)
    told = () if guessed else tuple(name if name in BANDS else UNUSED for name in names)
    layers = []
    for band in needed:
        places = [place for place, name in enumerate(names, 1) if name == band]
        if not places:
            held = ", ".join(name for name in names if name in BANDS)
            raise BandMissingError(
                f"{path} has no {band} (it has {held}); name its bands with --bands in their order", band
            )
        if len(places) > 1:
            raise SceneError(f"{path} has {len(places)} bands named {band}; name its bands with --bands, each once")
        layers.append(replace(tagged_layer(band, header, places[0], alpha), names=told))
    return layers


def unnamed_pair(layer: Layer) -> bool:
    """Whether a polarisation is only assumed to be one, because its file has two bands without names."""
    held = layer.header.descriptions
    return layer.band in S1_BANDS and len(held) == len(S1_BANDS) and not any(map(band_in, held))


def numbered_by_place(header: Header) -> bool:
    """Whether bands are called B1, B2 and so on in that order, as tools that know no names call them too."""
    held = [text.strip().upper() for text in header.descriptions]
    return len(held) > 1 and held == [f"B{place}" for place in range(1, len(held) + 1)]


def renamed(layers: Sequence[Layer]) -> list[str]:
    """A sentence for every file that itself calls bands otherwise than the user does."""
    files: dict[str, list[str]] = {}
    for layer in layers:
        told = band_in(layer.header.descriptions[layer.index - 1])
        if told and told != layer.band:
            files.setdefault(layer.header.path, []).append(f"{told} {layer.band}")
    return [
        f"{shown(path)} itself names its bands otherwise than --bands, which calls its {', its '.join(found[:_NAMED])}"
        f"{' and so on' if len(found) > _NAMED else ''}; make sure that their order is right."
        for path, found in files.items()
    ]


def _named(header: Header, bands: Sequence[str]) -> list[str | None]:
    if unknown := [name for name in bands if name not in BANDS and name != UNUSED]:
        raise SceneUseError(
            f"'{unknown[0]}' is no band of reBEN; bands: {', '.join(BANDS)}, and {UNUSED} for one that is not used"
        )
    if len(bands) != len(header.dtypes):
        raise SceneUseError(
            f"{shown(header.path)} has {len(header.dtypes)} bands, but {len(bands)} were named; name every band in its "
            f"order, {UNUSED} for one that is not used"
        )
    return list(bands)


def _described(header: Header, path: Place, needed: Sequence[str]) -> list[str | None]:
    names = [band_in(text) for text in header.descriptions]
    if any(names):
        return names
    # An alpha band needs no name, and takes none from the others.
    plain = len(names) - 1 if len(names) > 1 and alpha_band(header, names) == len(names) else len(names)
    rest = [None] * (len(names) - plain)
    if plain == 1 and (band := band_in(path.stem)):
        return [band, *rest]
    told = [text for text in header.descriptions[:plain] if not _UNTOLD.fullmatch(text.strip())]
    called = f"its bands are called {', '.join(told[:_NAMED])}"
    if plain == len(S1_BANDS) and set(needed) <= set(S1_BANDS):
        if told:
            raise SceneError(
                f"{path}: {called}, and the model sees VV and VH; give a file that has these, or name its bands with "
                f"--bands in their order, {UNUSED} for others"
            )
        return [*S1_BANDS, *rest]
    which = f"{called}, as none of reBEN's is" if told else "its bands have no names"
    if set(needed) <= set(S1_BANDS):
        # Beside Sentinel-2, --bands is of the other file.
        commands = (editing(gdal_path(path), f"--bidx {n} --description {name}") for n, name in enumerate(needed, 1))
        raise SceneError(f"{path}: {which}; name {' and '.join(needed)}, as in: {' && '.join(commands)}")
    raise SceneError(f"{path}: {which}; name them with --bands in their order, {UNUSED} for others")

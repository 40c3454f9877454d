"""Sentinel-2 Level-2A products: SAFE folders and zips.

The bands lie in ``GRANULE/*/IMG_DATA/R10m``, ``R20m`` and ``R60m``, and ``MTD_MSIL2A.xml`` says how DN become
reflectance (S2-PDGS-TAS-DI-PSD). Before format 14.5, which came with baseline 02.07, the names of elements and files of
Level-2A began with ``L2A_``, and before 14 those of files with ``S2A_USER_``. From baseline 04.00 on DN carry an offset
of 1000, so that noise does not cut off at zero; reBEN's do not.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from xml.etree import ElementTree

from seg.errors import BandMissingError, SceneError
from seg.rasters.header import read_header
from seg.rasters.layer import REFLECTANCE_SCALE, Layer
from seg.reben.bands import BANDS, S2_BANDS
from seg.reben.names import band_in
from seg.scenes.product_files import METADATA, ProductFiles, level_error, require_whole

_BAND_OF_ID = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Band by its number in the metadata."""
OFFSET_FROM = 4.0
"""First baseline whose DN carry the offset."""
OFFSET = -1000.0
_LOCAL = 99.0
"""Baselines from here on (99.99, N9999) are of local runs of sen2cor, which say it if they add the offset."""
_PLACE = re.compile(r"GRANULE/[^/]+/IMG_DATA/R(?P<metres>\d+)m/[^/]+\.(?:jp2|tiff?)", re.IGNORECASE)


# Elements of the format before 14.5, and what they are called now.
_RENAMED = {"L2A_BOA_QUANTIFICATION_VALUE": "BOA_QUANTIFICATION_VALUE", "PRODUCT_URI_2A": "PRODUCT_URI"}


@dataclass(frozen=True, slots=True)
class Radiometry:
    """How DN of a product become reflectance: ``(DN + offset of the band) / quantification``.

    Attributes:
        product: Name of the product, without ``.SAFE``; None if the metadata do not say.
        baseline: Of the processing, such as 5.11.
        quantification: DN of reflectance 1.
        offsets: By band; bands that are not in it have none.
    """

    product: str | None
    baseline: float
    quantification: float
    offsets: Mapping[str, float]


def radiometry(files: ProductFiles) -> Radiometry:
    """Read the metadata of a product.

    Raises:
        SceneError: If they cannot be read, are of another level than 2A, or give offsets that no product has.
    """
    damaged = SceneError(f"{files.source}: its {METADATA} is damaged; get the product anew")
    try:
        root = ElementTree.fromstring(files.metadata)
    except ElementTree.ParseError:
        raise damaged from None
    values: dict[str, str] = {}
    offsets: dict[str, float] = {}
    try:
        for element in root.iter():
            tag, text = element.tag.rsplit("}", 1)[-1], (element.text or "").strip()
            values.setdefault(_RENAMED.get(tag, tag), text)
            if tag == "BOA_ADD_OFFSET":
                offsets[_BAND_OF_ID[int(element.attrib["band_id"])]] = float(text)
        level, baseline = values.get("PROCESSING_LEVEL", "unknown"), float(values["PROCESSING_BASELINE"])
        quantification = float(values["BOA_QUANTIFICATION_VALUE"])
    except (KeyError, ValueError, IndexError):
        if "PROCESSING_LEVEL" in values and not values["PROCESSING_LEVEL"].startswith("Level-2A"):
            raise level_error(files.source, values["PROCESSING_LEVEL"]) from None
        raise damaged from None
    if not level.startswith("Level-2A"):
        raise level_error(files.source, level if level.startswith("Level-") else f"product of unknown level ({level}),")
    if not 0 < quantification < math.inf:
        raise damaged
    if offsets:
        _require_known(offsets, files)
    elif OFFSET_FROM <= baseline < _LOCAL:
        offsets = dict.fromkeys(_BAND_OF_ID, OFFSET)
    uri = values.get("PRODUCT_URI", "")
    return Radiometry(uri.removesuffix(".SAFE") or None, baseline, quantification, offsets)


def _require_known(offsets: Mapping[str, float], files: ProductFiles) -> None:
    """Offsets are the same in all bands of a product; what is not was changed, and nobody knows what to take off."""
    given = {offset: [band for band in BANDS if offsets.get(band) == offset] for offset in offsets.values()}
    missing = [band for band in S2_BANDS if band not in offsets]
    if missing or len(given) > 1 or not given.keys() <= {0.0, OFFSET}:
        said = ", ".join(
            f"{offset:g} ({', '.join(bands[:3])}{', ...' * (len(bands) > 3)})" for offset, bands in given.items()
        )
        lacking = f" and none for {', '.join(missing[:3])}" if missing else ""
        raise SceneError(
            f"{files.source}: its metadata gives offsets of {said}{lacking}, but products have {OFFSET:g} or 0 in all "
            "bands; get the product anew"
        )


def safe_layers(files: ProductFiles, needed: Sequence[str]) -> list[Layer]:
    """The needed bands of a product, each at its own resolution.

    Raises:
        BandMissingError: If a band is missing.
        SceneError: If one is there twice, or its file damaged, or the level is not 2A.
    """
    how = radiometry(files)
    paths = _band_paths(files, needed)
    gain = REFLECTANCE_SCALE / how.quantification
    layers = []
    for band in needed:
        require_whole(files, paths[band])
        header = read_header(files.prefix + paths[band])
        layers.append(Layer(band, header, gain=gain, offset=gain * how.offsets.get(band, 0.0)))
    return layers


def _band_paths(files: ProductFiles, needed: Sequence[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {band: [] for band in needed}
    for path in files.paths:
        place = _PLACE.fullmatch(path)
        band = band_in(PurePosixPath(path).stem) if place else None
        if place and band in found and BANDS[band].pixel_size == int(place["metres"]):
            found[band].append(path)
    for band, paths in found.items():
        where = f"IMG_DATA/R{BANDS[band].pixel_size}m"
        if not paths:
            raise BandMissingError(f"{files.source} has no {band} in {where}; get the whole product", band)
        if len(granules := {PurePosixPath(path).parts[1] for path in paths}) > 1:
            raise SceneError(
                f"{files.source} holds {len(granules)} tiles ({', '.join(sorted(granules))}); leave one in GRANULE"
            )
        if len(paths) > 1:
            raise SceneError(f"{files.source} has {len(paths)} files for {band} ({', '.join(paths)}); keep one")
    return {band: paths[0] for band, paths in found.items()}

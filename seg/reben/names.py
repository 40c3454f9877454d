"""Band names and product names in file names, band descriptions and folders."""

import re
from datetime import datetime

_BAND = re.compile(r"(?<![A-Z0-9])(?:B(?P<number>0?[1-9]|1[12])|(?P<other>B8A|VV|VH))(?![A-Z0-9])", re.IGNORECASE)
_ABOUT = (
    r"[A-Z]*mask|stddev|diff(?:erence)?|ratio|conf(?:idence)?|prob(?:ability)?|counts?|var(?:iance)?|err(?:or)?"
    r"|unc(?:ertainty)?|slope|trend|anomaly"
)
_BEHIND = re.compile(rf"(?<![A-Z])(?:{_ABOUT}|quality|qa|std)(?![A-Z])", re.IGNORECASE)
_BEFORE = re.compile(rf"(?<![A-Z])(?:{_ABOUT})[^A-Z0-9]*$", re.IGNORECASE)
"""Behind the name of a band, or right before it: what is not the band itself, but was made of it or says how good it
is. Before it, quality and the like may be those of the scene."""
_LANDSAT = re.compile(r"(?:L[COTEM]\d\d .*)?SR B\d+", re.IGNORECASE)
"""A band of Landsat, whose B5 is near infrared."""
_PRODUCT = re.compile(r"S2[A-Z]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]", re.ASCII)
_S1_SCENE = re.compile(r"S1[A-Z]_[A-Z]{2}_GRDH_1S[A-Z]{2}_\d{8}T\d{6}", re.ASCII)
_RESOLUTION = re.compile(r"(?<![A-Z0-9])(?P<metres>10|20|60)m(?![A-Z0-9])", re.IGNORECASE)
_LEVEL_1C = re.compile(r"MSIL1C", re.IGNORECASE)


def band_in(text: str) -> str | None:
    """The band that a file stem or a band description names: ``B02`` for ``T33UUP_20170613T101031_B02_10m``, ``B2``.

    None if there is none, if there are several, and if what stands beside it says that it is something about the band.
    """
    words = text.replace("_", " ")
    if _LANDSAT.fullmatch(words.strip()):
        return None
    matches = list(_BAND.finditer(words))
    found = {_band_of(each) for each in matches if _alike(each, matches[-1])}
    if len(found) != 1 or _BEHIND.search(words, matches[-1].end()) or _BEFORE.search(words[: matches[-1].start()]):
        return None
    return found.pop()


def _band_of(found: re.Match[str]) -> str:
    return found["other"].upper() if found["other"] else f"B{int(found['number']):02d}"


def _alike(found: re.Match[str], last: re.Match[str]) -> bool:
    """Whether both are written as one hand names bands: ``plot_b1_B02`` names one band, ``B04_minus_B02`` two."""
    unpadded = len(found["number"] or "00") == 1 and (last["number"] or "").startswith("0")
    return found[0][0] == last[0][0] and not unpadded


def metres_in(text: str) -> int | None:
    """The pixel size that a file stem ends its name with, such as 20 for ``..._B05_20m``."""
    found = _RESOLUTION.search(text.replace("_", " "))
    return int(found["metres"]) if found else None


def product_in(*texts: str) -> str | None:
    """The first Sentinel-2 L2A product that the texts name, without the time of its processing, as reBEN names it."""
    return next((found[0] for text in texts if (found := _PRODUCT.search(text))), None)


def acquired_in(text: str) -> datetime | None:
    """When a Sentinel-2 product of a name was acquired, UTC."""
    found = _PRODUCT.search(text)
    return datetime.strptime(found[0].split("_")[2], "%Y%m%dT%H%M%S") if found else None


def s1_scene_in(*texts: str) -> str | None:
    """The first Sentinel-1 GRD scene that the texts name, up to its start, as reBEN names it."""
    return next((found[0] for text in texts if (found := _S1_SCENE.search(text))), None)


def names_level_1c(text: str) -> bool:
    """Whether a name is that of a Level-1C product, whose values are not surface reflectance."""
    return bool(_LEVEL_1C.search(text))

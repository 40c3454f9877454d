"""What catalogues call the bands of Sentinel-2 and Sentinel-1."""

import re
from collections.abc import Iterable, Mapping

from seg.reben.names import band_in

COMMON_NAMES: Mapping[str, str] = {
    "coastal": "B01", "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06",
    "rededge3": "B07", "rededge071": "B05", "rededge075": "B06", "rededge078": "B07", "nir": "B08", "nir08": "B8A",
    "nir09": "B09", "swir16": "B11", "swir22": "B12", "vv": "VV", "vh": "VH",
}  # fmt: skip
"""reBEN's bands by the common names of STAC (extension eo 1.1 and 2.0) and by what Earth Search makes of them. The name
"rededge" alone is that of four bands."""
CLASSIFICATION = "SCL"
"""The scene classification."""
_CLASSIFICATION = re.compile(r"(?<![A-Z0-9])SCL(?![A-Z0-9])", re.IGNORECASE)
_ENDING = re.compile(r"(?:^|[_\-. ])(?P<name>[a-z]+\d*)(?:[_\-. ](?:10|20|60)m)?$", re.IGNORECASE)


def common_band_in(stem: str) -> str | None:
    """The band that a file stem ends with by its common name: B8A for ``S2A_33UUP_20230613_nir08``; None if none."""
    found = _ENDING.search(stem)
    return COMMON_NAMES.get(found["name"].lower()) if found else None


def band_called(names: Iterable[str]) -> str | None:
    """The band that the first of some names tells, or `CLASSIFICATION`; None if none tells any."""
    for name in names:
        if _CLASSIFICATION.search(name.replace("_", " ")):
            return CLASSIFICATION
        if band := band_in(name) or COMMON_NAMES.get(name.lower()):
            return band
    return None

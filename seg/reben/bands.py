"""Bands and modalities of reBEN.

The statistics are those of the official train split at native resolution, published with the reBEN training scripts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from seg.errors import UnknownNameError

PATCH_METRES = 1200
"""Edge of a patch on the ground."""
PATCH_SIZE = 120
"""Edge of a patch in 10 m pixels; every network sees patches on this grid."""


Sensor = Literal["s1", "s2"]
SENSORS: tuple[Sensor, ...] = ("s1", "s2")


@dataclass(frozen=True, slots=True)
class Band:
    """One band of a patch.

    Attributes:
        name: The name in file names and in the LMDB, such as ``B8A`` or ``VV``.
        sensor: ``s1`` (Sentinel-1 GRD) or ``s2`` (Sentinel-2 L2A).
        pixel_size: Metres per pixel of the stored values.
        dtype: NumPy dtype of the stored values.
        unit: ``DN`` (surface reflectance x 10,000, without the +1000 offset of newer baselines) or ``dB``.
        mean, std: Statistics of the official train split, in that unit.
    """

    name: str
    sensor: Sensor
    pixel_size: int
    dtype: Literal["uint16", "float32"]
    unit: Literal["DN", "dB"]
    mean: float
    std: float

    @property
    def size(self) -> int:
        """Pixels along one edge of a patch in this band: 120, 60 or 20."""
        return PATCH_METRES // self.pixel_size


def _s1(name: str, mean: float, std: float) -> Band:
    return Band(name, "s1", 10, "float32", "dB", mean, std)


def _s2(name: str, pixel_size: int, mean: float, std: float) -> Band:
    return Band(name, "s2", pixel_size, "uint16", "DN", mean, std)


BANDS: dict[str, Band] = {
    band.name: band
    for band in (
        _s1("VV", -12.6439, 5.1335),
        _s1("VH", -19.3526, 5.5905),
        _s2("B01", 60, 361.0768, 575.0687),
        _s2("B02", 10, 438.3721, 607.0269),
        _s2("B03", 10, 614.0557, 603.2968),
        _s2("B04", 10, 588.4096, 684.5688),
        _s2("B05", 20, 942.8433, 738.4327),
        _s2("B06", 20, 1769.9316, 1100.4561),
        _s2("B07", 20, 2049.5515, 1275.8054),
        _s2("B08", 10, 2193.2920, 1369.3717),
        _s2("B8A", 20, 2235.5566, 1356.5441),
        _s2("B09", 60, 2241.4553, 1316.3933),
        _s2("B11", 20, 1568.2268, 1070.1613),
        _s2("B12", 20, 997.7325, 813.5276),
    )
}
"""Every band by name, in the order in which a network sees them unless told otherwise."""

S1_BANDS: tuple[str, ...] = tuple(b.name for b in BANDS.values() if b.sensor == "s1")
S2_BANDS: tuple[str, ...] = tuple(b.name for b in BANDS.values() if b.sensor == "s2")

CIRRUS = "B10"
"""The band of Sentinel-2 that L2A products, and with them reBEN, lack."""

MODALITIES: dict[str, tuple[str, ...]] = {
    "s1": S1_BANDS,
    "s2": S2_BANDS,
    "s1s2": S1_BANDS + S2_BANDS,
    "rgb": ("B04", "B03", "B02"),
    "s2-10m": tuple(b for b in S2_BANDS if BANDS[b].pixel_size == 10),
    "s2-10m-20m": tuple(b for b in S2_BANDS if BANDS[b].pixel_size <= 20),
}
"""Band sets by name."""


def band_names(selection: str, beyond: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of the bands that a modality or a comma-separated list selects, in that order.

    Args:
        selection: A modality (``s1s2``) or a list (``VV,VH,B02,B03,B04,B08``).
        beyond: Names that are taken too, although reBEN does not have the bands.

    Raises:
        UnknownNameError: If the selection is empty, names an unknown band or modality, or names a band twice.
    """
    if selection.strip() in MODALITIES:
        return MODALITIES[selection.strip()]
    names = tuple(part.strip() for part in selection.split(","))
    for name in names:
        if name in MODALITIES:
            raise UnknownNameError(
                f"'{name}' is a modality, which stands alone; among bands, name those of it: "
                f"{','.join(MODALITIES[name])}",
                wrong_use=True,
            )
        if name not in BANDS and name not in beyond:
            near = get_close_matches(name.upper(), BANDS, n=1) or get_close_matches(name.lower(), MODALITIES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UnknownNameError(
                f"'{name}' is neither a band nor a modality of reBEN; {hint}bands: {', '.join(BANDS)}; "
                f"modalities: {', '.join(MODALITIES)}",
                wrong_use=True,
            )
    if twice := {name for name in names if names.count(name) > 1}:
        raise UnknownNameError(
            f"band {', '.join(sorted(twice))} is named twice in '{selection}'; name each band once", wrong_use=True
        )
    return names


def of_sensor(bands: Sequence[str], sensor: str) -> tuple[str, ...]:
    """Those of the bands that a sensor (``s1``, ``s2``) measures, in their order."""
    return tuple(name for name in bands if BANDS[name].sensor == sensor)


def selection_name(bands: tuple[str, ...]) -> str:
    """The modality that these bands make up in this order, or the bands themselves, comma-separated."""
    return next((name for name, members in MODALITIES.items() if members == bands), ",".join(bands))

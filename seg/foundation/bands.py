"""Bands of reBEN as foundation models take them: by wavelength, in the units that a model was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from seg.errors import ModelError
from seg.reben.bands import BANDS, SENSORS, of_sensor

WAVELENGTHS = {
    "B01": 443.0,
    "B02": 490.0,
    "B03": 560.0,
    "B04": 665.0,
    "B05": 705.0,
    "B06": 740.0,
    "B07": 783.0,
    "B08": 842.0,
    "B8A": 865.0,
    "B09": 945.0,
    "B11": 1610.0,
    "B12": 2190.0,
}
"""Central wavelengths of the bands of Sentinel-2 in nanometres, as ESA's user guide gives them."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How a stored value becomes what a model was trained on: ``(value - shift) / scale``, within bounds.

    Attributes:
        shift, scale: In the unit of the band, DN or dB.
        low, high: Bounds of the result.
    """

    shift: float
    scale: float
    low: float = -float("inf")
    high: float = float("inf")


def standardised(names: Sequence[str], means: Sequence[float], stds: Sequence[float]) -> dict[str, Scale]:
    """Scales of models that were trained on values of mean 0 and deviation 1.

    Args:
        names: Bands.
        means, stds: Of the data that the model was trained on, in the order and the units of the bands.
    """
    return {name: Scale(mean, std) for name, mean, std in zip(names, means, stds, strict=True)}


def standardised_as_published(names: Sequence[str]) -> dict[str, Scale]:
    """The same for models whose authors standardise each data set by itself: by reBEN's official train split."""
    return {name: Scale(BANDS[name].mean, BANDS[name].std) for name in names}


def within_deviations(scales: Mapping[str, Scale], bounded: bool) -> dict[str, Scale]:
    """From two deviations below the mean to two above it, onto 0 to 1.

    Args:
        scales: Means as shifts and deviations as scales.
        bounded: Whether what lies beyond becomes 0 or 1.
    """
    bounds = (0.0, 1.0) if bounded else ()
    return {name: Scale(one.shift - 2 * one.scale, 4 * one.scale, *bounds) for name, one in scales.items()}


def check_bands(encoder: str, takes: Sequence[str], whole: bool, bands: Sequence[str]) -> None:
    """Check that an encoder has a place for each band, and that those it cannot do without are there.

    Args:
        encoder: Its name, for errors.
        takes: Bands that it can take.
        whole: Whether it needs all bands of a sensor of which it sees any.
        bands: The bands that there are.

    Raises:
        ModelError: Naming the bands that do not fit, and those that would.
    """
    if unknown := [name for name in bands if name not in takes]:
        fitting = [name for name in takes if name in bands] or takes
        if whole:
            fitting = [name for sensor in SENSORS if of_sensor(fitting, sensor) for name in of_sensor(takes, sensor)]
        raise ModelError(
            f"encoder '{encoder}' has no place for {', '.join(unknown)}; it takes {', '.join(takes)}: use --bands "
            f"{','.join(fitting)}"
        )
    if not whole:
        return
    needed = [name for sensor in SENSORS if of_sensor(bands, sensor) for name in of_sensor(takes, sensor)]
    if missing := [name for name in needed if name not in bands]:
        raise ModelError(
            f"encoder '{encoder}' was trained on {', '.join(needed)} together and cannot do without "
            f"{', '.join(missing)}; use --bands {','.join(needed)}"
        )

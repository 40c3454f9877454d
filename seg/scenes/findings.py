"""What the values of a band are found to be: as a model expects them, doubtful, or in another unit."""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seg.rasters.header import shown
from seg.rasters.layer import Layer
from seg.rasters.place import filled
from seg.rasters.sample import Floats, Sample, at_same_places
from seg.reben.bands import S1_BANDS, S2_BANDS
from seg.reben.names import band_in

Expected = Mapping[str, tuple[float, float]]
"""Mean and standard deviation by band of what a model was trained on."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the values that is not as it should be.

    Attributes:
        text: One sentence with the cure, without a full stop.
        certain: Whether it must be another unit; if not, it is a warning.
    """

    text: str
    certain: bool


@dataclass(frozen=True)
class Spread:
    """The values of a band in reBEN's unit, as far as they were looked at.

    Attributes:
        layer: The band.
        sample: Its pixels with data, at least one.
        stated: Whether it is one of a product, whose metadata say which offset it has.
    """

    layer: Layer
    sample: Sample
    stated: bool = False

    @cached_property
    def _sorted(self) -> Floats:
        return np.sort(self.sample.values)

    @property
    def band(self) -> str:
        """Its name."""
        return self.layer.band

    def at(self, quantile: float) -> float:
        """A quantile, 0 to 1, of the values."""
        place = quantile * (self._sorted.size - 1)
        low, high = self._sorted[math.floor(place)], self._sorted[math.ceil(place)]
        return float(low + (high - low) * (place % 1))

    def share(self, low: float, high: float) -> float:
        """The share of the values from `low` to below `high`, 0 to 1."""
        begin, end = np.searchsorted(self._sorted, (low, high))
        return float((end - begin) / self._sorted.size)

    @cached_property
    def fractional(self) -> bool:
        """Whether most of the values that the file holds are no whole numbers."""
        stored: npt.NDArray[Any] = self.sample.stored
        return self.layer.floating and bool((stored != np.rint(stored)).mean() > 0.5)


def values_at_same_places(spreads: Sequence[Spread]) -> dict[str, Floats]:
    """Values by band in reBEN's unit at the places at which all of them have data."""
    return places_and_values(spreads)[1]


def places_and_values(spreads: Sequence[Spread]) -> tuple[npt.NDArray[np.int64], dict[str, Floats]]:
    """The same, and these places of the lattice."""
    places, same = at_same_places(spread.sample.lattice for spread in spreads)
    there = np.logical_and.reduce([has for _, has in same])
    values = {one.band: one.layer.in_units(held[there]) for one, (held, _) in zip(spreads, same, strict=True)}
    return places[there], values


def named(found: Iterable[Spread]) -> str:
    """Bands and the file, or the first of the files, that they are in."""
    spreads = list(found)
    paths = list(dict.fromkeys(shown(spread.layer.header.path) for spread in spreads))
    like = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{', '.join(spread.band for spread in spreads)} of {paths[0]}{like}"


def tags_of(layer: Layer) -> str:
    """The scale and offset that a file declares for a band; empty if it has none."""
    scale, offset = layer.header.scales[layer.index - 1], layer.header.offsets[layer.index - 1]
    return "" if (scale, offset) == (1, 0) else f"scale {scale:g} and offset {offset:g}"


def cure(layer: Layer, formula: str, right: Sequence[Layer] = ()) -> str:
    """What to type so that a file holds what it should, with what seg is installed with.

    Args:
        layer: One of the bands of the file.
        formula: Of the stored values, as ``rio calc`` understands it.
        right: Bands of the scene that are to stay as they are.
    """
    path = shown(layer.header.path)
    if tags_of(layer):
        return (
            f'its tags say {tags_of(layer)}: correct them, or take them out with python -c "import rasterio; f = '
            f"rasterio.open({path!r}, 'r+'); f.scales, f.offsets = [1] * f.count, [0] * f.count; f.close()\""
        )
    # Without a nodata value, rio calc has none to give the pixels that a mask takes out, so they are filled before it.
    plain = " --not-masked" if layer.nodata is None else ""
    filling, source = filled(layer.header, layer.alpha) if layer.masked else ("", layer.header.path)
    kept = [index for index in range(1, len(layer.header.dtypes) + 1) if index != layer.alpha]
    stay = {one.index for one in right if one.header.path == layer.header.path}
    # What rio calc writes has no names, and two bands without any are VV and VH.
    radar = _polarisations(layer, kept)
    if stay or radar not in ([], kept):
        # Of bands that are put together, rio calc forgets what is masked.
        plain = " --not-masked"
        change = (
            formula
            if layer.nodata is None or math.isnan(layer.nodata)
            else f"(where (== (read 1) {layer.nodata!r}) {layer.nodata!r} {formula})"
        )
        each = (
            f"(read 1 {place})" if index in stay else change.replace("(read 1)", f"(read 1 {place})")
            for index in radar or kept
            for place in (kept.index(index) + 1 if filling else index,)
        )
        formula = f"(asarray {' '.join(each)})"
    calc = f'{filling}rio calc -t float32{plain} "{formula}" {shlex.quote(source)}'
    unit, file = "db" if layer.band in S1_BANDS else "dn", layer.header.file
    new = shlex.quote(f"{file.stem}_{unit}.tif")
    if radar:
        return f"type {calc} {new}, and give that file"
    if len(kept) > 1:
        names = f" {','.join(layer.names[index - 1] for index in kept)}" if layer.names else ""
        return f"type {calc} {new}, and name its bands with --bands{names}"
    # A band in a file of its own is known by the name of the file.
    folder = f"{file.resolve().parent.name}_{unit}"
    target = shlex.quote(f"{folder}/{file.stem}.tif")
    others = (
        f"copy {', '.join(one.band for one in right)} into it as they are" if right else "likewise for each other band"
    )
    return f"type mkdir -p {shlex.quote(folder)} && {calc} {target}, {others}, and give that folder"


def _polarisations(layer: Layer, kept: Sequence[int]) -> list[int]:
    """Bands of a raster, from 1, that hold VV and VH and may stand alone; none if it has others of a scene too."""
    names = [band_in(text) for text in layer.header.descriptions]
    if layer.band not in S1_BANDS or any(name in S2_BANDS for name in names):
        return []
    if all(names.count(band) == 1 for band in S1_BANDS):
        return [names.index(band) + 1 for band in S1_BANDS]
    return list(kept) if len(kept) == len(S1_BANDS) and not any(names) else []

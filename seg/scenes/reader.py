"""A scene and reading windows of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seg.reben.patch import GeoRef
from seg.scenes.grid import Window

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Scene:
    """A scene that has been looked at and can be read.

    Attributes:
        name: Product name or file stem.
        grid: The 10 m grid of the whole scene.
        bands: The bands it gives, in the order of `seg.reben.bands.BANDS`; those that were asked for.
        factors: 10 m pixels per pixel of each band along an edge: 1, 2 or 6.
        identity: Hex digest of what was opened: paths, sizes, times, and what the headers say.
        product: Name of the Sentinel-2 product as reBEN names it, where known.
    """

    name: str
    grid: GeoRef
    bands: tuple[str, ...]
    factors: Mapping[str, int]
    identity: str
    product: str | None

    @contextmanager
    def open(self) -> Iterator["SceneReader"]:
        """A reader; every thread opens its own."""
        yield SceneReader()


class SceneReader:
    """Reads windows of a scene, from `Scene.open`."""

    def read(self, window: Window, bands: Sequence[str]) -> dict[str, Array]:
        """Bands of a window at their own resolution.

        Args:
            window: Within the scene; left and top are multiples of the largest of the scene's factors.
            bands: Some of the scene's bands.

        Returns:
            Band to array of `Window.shape` of its factor: uint16 DN in reBEN's convention for Sentinel-2 (0: no data),
            float32 dB for Sentinel-1 (NaN: no data).

        Raises:
            SceneError: If a file is damaged.
        """
        raise NotImplementedError

    def valid(self, window: Window) -> npt.NDArray[np.bool_]:
        """Where the scene has data: bool (height, width) at 10 m.

        A pixel has data where any of the scene's Sentinel-2 bands and all of its Sentinel-1 bands do. Costs nothing
        right after `read` of all bands of the same window.
        """
        raise NotImplementedError

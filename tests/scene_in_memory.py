"""A scene whose bands are arrays, for tests of what reads scenes: no files, any values, any holes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from seg.reben.bands import BANDS
from seg.reben.patch import GeoRef
from seg.scenes.grid import Window


@dataclass
class SceneInMemory:
    """Stands where a `seg.scenes.reader.Scene` does, and notes what is read of it."""

    arrays: Mapping[str, np.ndarray]
    grid: GeoRef
    data: np.ndarray
    name: str = "made up"
    identity: str = "made-up"
    product: str | None = None
    reads: list[Window] = field(default_factory=list)

    @property
    def bands(self) -> tuple[str, ...]:
        return tuple(self.arrays)

    @property
    def factors(self) -> dict[str, int]:
        return {name: BANDS[name].pixel_size // 10 for name in self.arrays}

    @contextmanager
    def open(self) -> Iterator["ReaderInMemory"]:
        yield ReaderInMemory(self)


@dataclass
class ReaderInMemory:
    scene: SceneInMemory

    def read(self, window: Window, bands: Sequence[str]) -> dict[str, np.ndarray]:
        scene = self.scene
        scene.reads.append(window)
        coarsest = max(scene.factors.values())
        assert window.left % coarsest == 0
        assert window.top % coarsest == 0
        assert 0 <= window.left < window.left + window.width <= scene.grid.width
        assert 0 <= window.top < window.top + window.height <= scene.grid.height
        values = {}
        for name in bands:
            factor = scene.factors[name]
            rows, columns = window.shape(factor)
            top, left = window.top // factor, window.left // factor
            values[name] = scene.arrays[name][top : top + rows, left : left + columns].copy()
        return values

    def valid(self, window: Window) -> np.ndarray:
        rows = slice(window.top, window.top + window.height)
        return self.scene.data[rows, window.left : window.left + window.width].copy()


def scene_in_memory(height: int, width: int, bands: Sequence[str], seed: int = 0, holes: bool = False) -> SceneInMemory:
    """Smooth random values; with holes a corner and an inner rectangle without data."""
    random = np.random.default_rng(seed)
    data = np.ones((height, width), bool)
    if holes:
        data[: height // 3, : width // 4] = False
        data[height // 2 : height // 2 + 9, width // 2 : width // 2 + 17] = False
    arrays = {}
    for name in bands:
        band = BANDS[name]
        factor = band.pixel_size // 10
        rows, columns = -(-height // factor), -(-width // factor)
        rough = random.standard_normal((rows // 8 + 2, columns // 8 + 2))
        values = np.kron(rough, np.ones((8, 8)))[:rows, :columns] + 0.3 * random.standard_normal((rows, columns))
        values = band.mean + band.std * values
        empty = ~_any_data(data, factor)
        if band.sensor == "s2":
            arrays[name] = np.where(empty, 0, np.clip(values, 1, 65535)).astype(np.uint16)
        else:
            arrays[name] = np.where(empty, np.nan, values).astype(np.float32)
    return SceneInMemory(arrays, GeoRef(32633, 300000.0, 5300040.0, 10.0, width, height), data)


def _any_data(data: np.ndarray, factor: int) -> np.ndarray:
    height, width = data.shape
    padded = np.pad(data, ((0, -height % factor), (0, -width % factor)))
    return padded.reshape(padded.shape[0] // factor, factor, -1, factor).any((1, 3))

"""Files of patches, in whatever order an archive has them, put together patch by patch.

An archive whose files stand patch by patch needs no more memory than one patch. In any other order, what does not fit
into memory is put into one nameless file beside the store, which is gone when the process ends, however it ends.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg.store.index import Rows

_HELD_BYTES = 1 << 27
"""Content that is held in memory before it is put on disk."""


class Gatherer:
    """Collects the layers of patches until they are complete; a context manager.

    Args:
        patches: Number of patches; they are known by their rows.
        layers: What a complete patch has.
        folder: Where to put what does not fit into memory.
    """

    def __init__(self, patches: int, layers: Sequence[str], folder: Path) -> None:
        self._layers = {layer: i for i, layer in enumerate(layers)}
        self._folder = folder
        self._seen: npt.NDArray[np.bool_] = np.zeros((patches, len(layers)), np.bool_)
        self._held: dict[int, dict[str, bytes]] = {}
        self._held_bytes = 0
        self._spilled: _Spill | None = None

    def __enter__(self) -> "Gatherer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._spilled:
            self._spilled.close()

    def seen(self, row: int, layer: str) -> bool:
        """Whether the layer of a patch has been marked already."""
        return bool(self._seen[row, self._layers[layer]])

    def mark(self, row: int, layer: str) -> bool:
        """Count a layer of a patch as seen; whether it was the last one."""
        self._seen[row, self._layers[layer]] = True
        return bool(np.all(self._seen[row]))

    def keep(self, row: int, layer: str, content: bytes) -> None:
        """Keep the content of a layer until the patch is taken."""
        self._held.setdefault(row, {})[layer] = content
        self._held_bytes += len(content)
        if self._held_bytes > _HELD_BYTES:
            self._spill()

    def content(self, row: int, layer: str) -> bytes | None:
        """The content of a layer that is still kept."""
        if layer in self._held.get(row, {}):
            return self._held[row][layer]
        return self._spilled.get(row, self._layers[layer]) if self._spilled else None

    def take(self, row: int) -> dict[str, bytes]:
        """The content that is kept of a patch, by layer. It is no longer kept."""
        held = self._held.pop(row, {})
        self._held_bytes -= sum(map(len, held.values()))
        if self._spilled:
            for layer, i in self._layers.items():
                if (content := self._spilled.get(row, i)) is not None:
                    held[layer] = content
                    self._spilled.drop(row, i)
        return held

    def layers(self) -> tuple[str, ...]:
        """The layers that any patch has."""
        some = np.logical_or.reduce(self._seen, axis=0).tolist()
        return tuple(layer for layer, i in self._layers.items() if some[i])

    def complete(self, layers: Sequence[str]) -> Rows:
        """Rows of the patches that have certain layers."""
        return np.flatnonzero(self._seen[:, [self._layers[layer] for layer in layers]].all(axis=1))

    def lacking(self, layers: Sequence[str]) -> dict[int, str]:
        """Patches that have been begun and lack one of certain layers: row and the first layer that is missing."""
        has = self._seen[:, [self._layers[layer] for layer in layers]]
        rows = np.flatnonzero(has.any(axis=1) & ~has.all(axis=1))
        return {int(row): layers[int(np.argmin(has[row]))] for row in rows}

    def _spill(self) -> None:
        self._spilled = self._spilled or _Spill(self._seen.shape, self._folder)
        for row, files in self._held.items():
            for layer, content in files.items():
                self._spilled.put(row, self._layers[layer], content)
        self._held.clear()
        self._held_bytes = 0


class _Spill:
    """A nameless file with the content of layers by row and number of the layer."""

    def __init__(self, shape: tuple[int, ...], folder: Path) -> None:
        self._file: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._begin = np.full(shape, -1, np.int64)
        self._length = np.zeros(shape, np.int32)
        self._end = 0

    def put(self, row: int, layer: int, content: bytes) -> None:
        self._file.seek(self._end)
        self._file.write(content)
        self._begin[row, layer], self._length[row, layer] = self._end, len(content)
        self._end += len(content)

    def get(self, row: int, layer: int) -> bytes | None:
        if self._begin[row, layer] < 0:
            return None
        self._file.seek(int(self._begin[row, layer]))
        content: bytes = self._file.read(int(self._length[row, layer]))
        return content

    def close(self) -> None:
        self._file.close()

    def drop(self, row: int, layer: int) -> None:
        self._begin[row, layer] = -1

"""The files of a patch to the value that is stored."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from seg.errors import ArchiveError
from seg.prepare.layout import MAP_LAYER, Kind, key_of
from seg.prepare.tiff import decode_tiff
from seg.reben.reference_map import class_indices, implied_bits
from seg.store.patches import MAP_TENSOR
from seg.store.tensors import Array, checksum, encode_tensors

_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Part:
    """The files of one part of a patch, on their way to one value of the store.

    Attributes:
        kind: Sentinel-2, Sentinel-1 or map.
        row: Row of the patch in the index.
        name: Name of the patch.
        where: The folder that holds the files, or the name of the archive.
        layers: Layers that make up the value.
        files: Content by layer; None: the files are to be read from the folder.
    """

    kind: Kind
    row: int
    name: str
    where: str
    layers: tuple[str, ...]
    files: dict[str, bytes] | None = None

    def read(self) -> "Part":
        """The part with the content of its files.

        Raises:
            ArchiveError: If one cannot be read.
        """
        if self.files is not None:
            return self
        try:
            files = {layer: _read(f"{self.where}/{self.name}_{layer}.tif") for layer in self.layers}
        except OSError as error:
            raise ArchiveError(f"{error.filename or self.where} cannot be read ({error.strerror})") from None
        return replace(self, files=files)


@dataclass(frozen=True)
class Encoded:
    """A value of the store.

    Attributes:
        kind, row: As in the part.
        key, value: What is stored.
        checksum: Of the value.
        implied: The labels that a map implies, as bits; None for images.
    """

    kind: Kind
    row: int
    key: str
    value: bytes
    checksum: int
    implied: int | None


def _read(path: str) -> bytes:
    # A buffered file object would take seven times as long.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        content = b""
        while chunk := os.read(descriptor, _AT_ONCE):
            content += chunk
        return content
    finally:
        os.close(descriptor)


def decode_part(part: Part) -> dict[str, Array]:
    """The arrays of a part by layer, exactly as stored in the GeoTIFFs.

    Raises:
        ArchiveError: If a file is missing or damaged, or has another shape or dtype than published; names the file.
    """
    files = part.read().files
    assert files is not None
    return {layer: decode_tiff(files[layer], layer, f"{part.where}/{part.name}_{layer}.tif") for layer in part.layers}


def encode_part(part: Part) -> Encoded:
    """The value of a part.

    Raises:
        ArchiveError: See `decode_part`.
        UnknownCodeError: If a map holds a code that is not in the nomenclature; names the file.
    """
    arrays, source = decode_part(part), f"{part.where}/{part.name}_{MAP_LAYER}.tif"
    return encode_arrays(part.kind, part.row, part.name, arrays, source)


def encode_arrays(kind: Kind, row: int, name: str, arrays: Mapping[str, Array], source: str) -> Encoded:
    """The value of arrays by layer.

    Args:
        kind, row, name: As in `Part`.
        arrays: As stored in the GeoTIFFs.
        source: Where a map comes from; named in the error.

    Raises:
        UnknownCodeError: If a map holds a code that is not in the nomenclature.
    """
    implied = None
    if kind == "maps":
        implied = implied_bits(class_indices(arrays[MAP_LAYER], source))
        arrays = {MAP_TENSOR: arrays[MAP_LAYER]}
    value = encode_tensors(arrays)
    return Encoded(kind, row, key_of(kind, name), value, checksum(value), implied)

"""Patches out of unpacked archives."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seg.errors import ArchiveError
from seg.prepare.layout import EXAMPLE, LAYERS, PUBLISHED, WHAT, Kind, group_of, is_patch
from seg.store.index import BoolArray

_SAMPLED = 100
"""Patches whose files count for the identity of a tree: looking at those of all would take minutes."""


@dataclass(frozen=True)
class Tree:
    """What a tree of patches holds.

    Attributes:
        kind: Which part of the data set.
        root: Its folder.
        names: Names of the patches, sorted, as Arrow strings.
        layers: What every patch has.
        incomplete: Names of patches that lack a layer which others have, with the layer; not in `names`.
    """

    kind: Kind
    root: Path
    names: pa.StringArray
    layers: tuple[str, ...]
    incomplete: dict[str, str]

    @property
    def name(self) -> str:
        """The folder's name, for people."""
        return self.root.name

    @property
    def identity(self) -> str:
        """A digest of where the tree lies, which layers it has, and size and time of change of some of its files."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((str(self.root.resolve()), self.layers)).encode())
        for place in range(0, len(self.names), max(1, len(self.names) // _SAMPLED)):
            name = self.names[place].as_py()
            for layer in self.layers:
                status = os.stat(f"{self.folder(name)}/{name}_{layer}.tif")
                digest.update(repr((name, layer, status.st_size, status.st_mtime_ns)).encode())
        return digest.hexdigest()

    def holds(self, names: pa.StringArray) -> BoolArray:
        """Which of some names are there, whole."""
        return pc.is_in(names, self.names).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    def folder(self, name: str) -> str:
        """Folder of a patch."""
        return f"{self.root}/{group_of(self.kind, name)}/{name}"


def scan_tree(root: Path, kind: Kind, layers: Iterable[str]) -> Tree:
    """Look through a tree without opening its files.

    Args:
        root: Folder of products or scenes.
        kind: Which part of the data set.
        layers: Layers to look for.

    Raises:
        ArchiveError: If the folder is missing or holds no such patches.
    """
    expected = tuple(layer for layer in LAYERS[kind] if layer in set(layers))
    # A bit per layer and patch: half a million sets would take more memory than everything else.
    names: list[str] = []
    bits: list[int] = []
    for group in _folders(root):
        for patch in _folders(Path(group.path)):
            if is_patch(kind, patch.name) and group_of(kind, patch.name) == group.name:
                files = set(os.listdir(patch.path))
                names.append(patch.name)
                bits.append(sum(1 << i for i, x in enumerate(expected) if f"{patch.name}_{x}.tif" in files))
    held = int(np.bitwise_or.reduce(np.array([0, *bits], np.uint16)))
    if names and not held:
        raise ArchiveError(f"{root} holds none of {', '.join(expected)}; choose other bands with --bands")
    if not held:
        inside = sorted(root.glob(f"{PUBLISHED[kind]}*"))
        cure = f"did you mean {inside[0]}?" if inside else f"expected {EXAMPLE[kind]}"
        raise ArchiveError(f"{root} holds no {WHAT[kind]} of reBEN; {cure}")
    lacking = {
        name: next(layer for i, layer in enumerate(expected) if held & ~has & 1 << i)
        for name, has in zip(names, bits, strict=True)
        if has != held
    }
    complete = sorted(name for name, has in zip(names, bits, strict=True) if has == held)
    return Tree(
        kind, root, pa.array(complete, pa.string()), tuple(x for i, x in enumerate(expected) if held & 1 << i), lacking
    )


def _folders(folder: Path) -> Iterable[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: entry.name)

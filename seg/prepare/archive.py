"""Patches out of the published trees.

```
<s2>/<product>/<patch_id>/<patch_id>_<BAND>.tif
<s1>/<scene>/<s1_name>/<s1_name>_{VV,VH}.tif
<maps>/<product>/<patch_id>/<patch_id>_reference_map.tif
```
"""

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from seg.reben.bands import BANDS, PATCH_SIZE, S1_BANDS, S2_BANDS
from seg.reben.patch import PatchId, PatchNameError, s1_scene
from seg.store.patches import MAP_SUFFIX
from seg.store.tensors import Array


class ArchiveError(ValueError):
    """A published tree that lacks a file or holds one that is not as published."""


@dataclass(frozen=True)
class Tree:
    """What a tree of patches holds.

    Attributes:
        root: Its folder.
        folders: Folder of each patch, relative to the root, by the name of the patch.
        layers: Names of the files of every patch after ``<name>_``: bands, or ``reference_map``.
    """

    root: Path
    folders: Mapping[str, str]
    layers: tuple[str, ...]

    def file(self, name: str, layer: str) -> Path:
        """Path of one file of a patch."""
        return self.root / self.folders[name] / f"{name}_{layer}.tif"


def scan_tree(root: Path, kind: str) -> Tree:
    """Look through a tree without opening its files.

    Args:
        root: Folder of products or scenes.
        kind: ``s1``, ``s2`` or ``maps``.

    Raises:
        ArchiveError: If the folder is missing or holds no such patches, or a patch lacks a band that others have.
    """
    if not root.is_dir():
        raise ArchiveError(f"there is no folder {root}")
    expected = {"s1": S1_BANDS, "s2": S2_BANDS, "maps": (MAP_SUFFIX[1:],)}[kind]
    layers_of: dict[str, frozenset[str]] = {}
    folders: dict[str, str] = {}
    for group in _folders(root):
        for patch in _folders(Path(group.path)):
            if not _belongs(patch.name, group.name, kind):
                continue
            files = set(os.listdir(patch.path))
            layers = frozenset(layer for layer in expected if f"{patch.name}_{layer}.tif" in files)
            if patch.name in folders:
                raise ArchiveError(f"patch {patch.name} occurs twice below {root}")
            folders[patch.name] = f"{group.name}/{patch.name}"
            layers_of[patch.name] = layers
    held = frozenset[str]().union(*layers_of.values())
    if not held:
        what = {"s1": "Sentinel-1 patches", "s2": "Sentinel-2 patches", "maps": "reference maps"}[kind]
        raise ArchiveError(f"{root} holds no {what} of reBEN; expected {_EXAMPLE[kind]}")
    for name, layers in layers_of.items():
        if lacking := sorted(held - layers):
            raise ArchiveError(
                f"{root / folders[name]}: the file {name}_{lacking[0]}.tif is missing, though others have it; "
                "unpack the archive again, or remove the folder of this patch and build with --partial"
            )
    return Tree(root, folders, tuple(layer for layer in expected if layer in held))


_EXAMPLE = {
    "s1": "<scene>/<name>/<name>_VV.tif",
    "s2": "<product>/<patch_id>/<patch_id>_B02.tif",
    "maps": "<product>/<patch_id>/<patch_id>_reference_map.tif",
}


def _folders(folder: Path) -> Iterable[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: entry.name)


def _belongs(name: str, group: str, kind: str) -> bool:
    """Whether a folder is a patch of reBEN in the folder of its product or scene; others are left alone."""
    try:
        return group == (s1_scene(name) if kind == "s1" else PatchId.parse(name).product)
    except PatchNameError:
        return False


def read_layers(tree: Tree, name: str) -> dict[str, Array]:
    """The arrays of a patch by layer, exactly as stored in the GeoTIFFs.

    Raises:
        ArchiveError: If a file is damaged or has another shape or dtype than published; names the file.
    """
    return {layer: _read_tiff(tree.file(name, layer), layer) for layer in tree.layers}


def _read_tiff(path: Path, layer: str) -> Array:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff") as source:
                if source.count != 1:
                    raise ArchiveError(f"{path}: expected one band, found {source.count}")
                array: Array = source.read(1)
    except RasterioError as error:
        cause = error.__cause__ or error
        raise ArchiveError(f"{path} cannot be read; it is damaged or cut off ({cause})") from None
    band = BANDS.get(layer)
    size, dtype = (band.size, band.dtype) if band else (PATCH_SIZE, "uint16")
    if array.shape != (size, size):
        raise ArchiveError(f"{path}: expected {size} x {size} pixels, found {array.shape[1]} x {array.shape[0]}")
    if array.dtype != dtype:
        raise ArchiveError(f"{path}: expected {dtype} values, found {array.dtype}")
    return array

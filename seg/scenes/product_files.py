"""The files of a Sentinel-2 product, in a folder or in a zip that is read as it is."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from seg.scenes.grid import SceneError
from seg.scenes.header import in_zip

METADATA = "MTD_MSIL2A.xml"
"""The file at the top of a Level-2A product."""
_METADATA_1C = "MTD_MSIL1C.xml"


@dataclass(frozen=True, slots=True)
class ProductFiles:
    """Files of a product by their path below its top folder.

    Attributes:
        source: The folder or zip, as the user named it.
        name: Of the product's top folder, or of the source if a zip holds the files at its root; without ``.SAFE``.
        prefix: What stands before every path for GDAL.
        paths: Relative paths with slashes.
        metadata: Content of `METADATA`.
    """

    source: Path
    name: str
    prefix: str
    paths: tuple[str, ...]
    metadata: bytes


def is_product(path: Path) -> bool:
    """Whether a path is to be read as a Sentinel-2 product: a zip, or a folder that holds one at its top."""
    if path.is_file():
        return path.suffix.lower() == ".zip"
    if path.suffix.upper() == ".SAFE":
        return True
    return bool(_tops([file.relative_to(path).as_posix() for file in _within(path, depth=2)]))


def product_files(path: Path) -> ProductFiles:
    """Find a product in a folder or zip, at its top or one level in.

    Raises:
        SceneError: If the zip is damaged, there is no Level-2A product or more than one.
    """
    if path.is_dir():
        top = _only_top(path, [file.relative_to(path).as_posix() for file in _within(path, depth=2)])
        folder = path / top
        paths = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
        metadata = (folder / METADATA).read_bytes()
        return ProductFiles(path, _product_name(folder.resolve().name), f"{folder}/", tuple(paths), metadata)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/")]
            top = _only_top(path, members)
            prefix = f"{top}/" if top != "." else ""
            metadata = archive.read(prefix + METADATA)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError):
        raise SceneError(f"{path} is damaged or cut off, or no zip: get it anew") from None
    paths = sorted(name.removeprefix(prefix) for name in members if name.startswith(prefix))
    name = _product_name(top if prefix else path.stem)
    return ProductFiles(path, name, in_zip(path) + prefix, tuple(paths), metadata)


def _within(folder: Path, depth: int) -> list[Path]:
    entries = sorted(folder.iterdir())
    below = [file for entry in entries if entry.is_dir() and depth > 1 for file in _within(entry, depth - 1)]
    return [entry for entry in entries if entry.is_file()] + below


def _tops(paths: list[str]) -> list[str]:
    """Folders that hold the metadata of a product, of whatever level."""
    found = [PurePosixPath(path) for path in paths]
    return [str(path.parent) for path in found if path.name in (METADATA, _METADATA_1C) and len(path.parts) <= 2]


def _only_top(source: Path, paths: list[str]) -> str:
    tops = _tops(paths)
    if not tops:
        raise SceneError(f"{source} holds no {METADATA}, so it is no complete Sentinel-2 L2A product; get it anew")
    if len(tops) > 1:
        raise SceneError(f"{source} holds several products ({', '.join(sorted(set(tops)))}); name one of them")
    if str(PurePosixPath(tops[0]) / METADATA) not in paths:
        raise level_error(source, "Level-1C")
    return tops[0]


def level_error(source: Path, level: str) -> SceneError:
    """The error for a product that is not of Level-2A."""
    return SceneError(
        f"{source} is a {level} product, but the models saw surface reflectance: give the Level-2A product of the "
        "same acquisition, or make one with sen2cor"
    )


def _product_name(folder: str) -> str:
    return folder[: -len(".SAFE")] if folder.upper().endswith(".SAFE") else folder

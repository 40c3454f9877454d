"""The files of a Sentinel-2 product, in a folder or in a zip that is read as it is."""

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from seg.catalogue.address import Place, Remote
from seg.catalogue.web import opened_zip
from seg.errors import SceneError
from seg.rasters.header import in_zip
from seg.rasters.jp2 import require_whole_file
from seg.rasters.listing import DAMAGED_ZIP, damaged_zip, files_below, files_in_zip, member_of
from seg.rasters.place import require_no_radar_product
from seg.reben.names import band_in

METADATA = "MTD_MSIL2A.xml"
"""The file at the top of a Level-2A product."""
# Before format 14 of December 2016, the file bore the name of the product.
_METADATA_2A = re.compile(r"MTD_MSIL2A\.xml|S2[A-Z]_[A-Z]{4}_MTD_SAFL2A_.+\.xml", re.IGNORECASE)
_METADATA_1C = re.compile(r"MTD_MSIL1C\.xml|S2[A-Z]_[A-Z]{4}_MTD_SAFL1C_.+\.xml", re.IGNORECASE)
_DEEPEST = 5
"""Parts of the path of that file in a folder: people unpack products into folders of folders."""
_DEPTH_OF_BANDS = 2
"""The same in a folder that has bands of its own."""
_DEEPEST_IN_PRODUCT = 6
_CHUNK = 4 << 20


@dataclass(frozen=True, slots=True)
class ProductFiles:
    """Files of a product by their path below its top folder.

    Attributes:
        source: The folder or zip, as the user named it.
        name: Of the product's top folder, or of the source if a zip holds the files at its root; without ``.SAFE``.
        prefix: What stands before every path for GDAL.
        paths: Relative paths with slashes.
        metadata: Content of `METADATA`.
        inside: What stands before every path in a zip; empty for a folder.
    """

    source: Place
    name: str
    prefix: str
    paths: tuple[str, ...]
    metadata: bytes
    inside: str = ""


def is_metadata(name: str) -> bool:
    """Whether a file is what says of a Level-2A product what it is."""
    return _METADATA_2A.fullmatch(name) is not None


def is_product(path: Place) -> bool:
    """Whether a path is to be read as a Sentinel-2 product: a zip, or a folder that holds one."""
    if isinstance(path, Remote) or path.is_file():
        # What is downloaded may keep the name of the folder in it.
        return path.suffix.lower() in (".zip", ".safe")
    return path.suffix.upper() == ".SAFE" or bool(_metadata_of(_near_top(path)))


def product_files(path: Place) -> ProductFiles:
    """Find a product in a folder or zip, at its top or some levels in.

    Raises:
        SceneError: If the zip is damaged, there is no Level-2A product or more than one.
    """
    if isinstance(path, Path) and path.is_dir():
        found = _only_metadata(path, _near_top(path))
        folder = path / found.parent
        paths = files_below(folder, _DEEPEST_IN_PRODUCT)
        metadata = (path / found).read_bytes()
        return ProductFiles(path, _product_name(folder.resolve().name), f"{folder}/", tuple(paths), metadata)
    members = files_in_zip(path)
    found = _only_metadata(path, members)
    inside = "" if len(found.parts) == 1 else f"{found.parent}/"
    try:
        with opened_zip(path) as archive:
            metadata = archive.read(member_of(archive, str(found)))
    except DAMAGED_ZIP:
        raise damaged_zip(path) from None
    paths = sorted(name.removeprefix(inside) for name in members if name.startswith(inside))
    name = _product_name(found.parent.name if inside else path.stem)
    return ProductFiles(path, name, in_zip(path) + inside, tuple(paths), metadata, inside)


def _near_top(folder: Path) -> list[str]:
    """Files of a folder where the metadata of a product are looked for."""
    top = files_below(folder, 1)
    has_bands = any(band_in(PurePosixPath(name).stem) for name in top)
    return files_below(folder, _DEPTH_OF_BANDS if has_bands else _DEEPEST)


def _metadata_of(paths: list[str]) -> list[PurePosixPath]:
    """The files that say what a product is, of whatever level."""
    found = map(PurePosixPath, paths)
    return [path for path in found if is_metadata(path.name) or _METADATA_1C.fullmatch(path.name)]


def _only_metadata(source: Place, paths: list[str]) -> PurePosixPath:
    found = _metadata_of(paths)
    if not found:
        require_no_radar_product(source, paths)
        raise SceneError(f"{source} holds no {METADATA}, so it is no complete Sentinel-2 L2A product; get it anew")
    # What lies in a product belongs to it, whatever its name is.
    found = [path for path in found if not any(other.parent in path.parent.parents for other in found)]
    tops = sorted({str(path.parent) for path in found})
    if len(tops) > 1:
        listed = ", ".join(tops[:3]) + (f" and {len(tops) - 3} more" if len(tops) > 3 else "")
        raise SceneError(f"{source} holds several products ({listed}); name one of them")
    level_2a = [path for path in found if is_metadata(path.name)]
    if not level_2a:
        raise level_error(source, "Level-1C")
    return level_2a[0]


def level_error(source: object, level: str) -> SceneError:
    """The error for a product that is not of Level-2A."""
    return SceneError(
        f"{source} is a {level} product, but the models saw surface reflectance: give the Level-2A product of the "
        "same acquisition, or make one with ESA's sen2cor (free, from step.esa.int)"
    )


def require_whole(files: ProductFiles, path: str) -> None:
    """Make sure that a file of a product is whole if it is JPEG 2000, or has its checksum if it is in a zip.

    Raises:
        SceneError: If it is damaged.
    """
    if isinstance(files.source, Remote):
        # To look at all of it, all of it would have to be got.
        return
    if files.source.is_file():
        _require_checksum(files, path)
    elif path.lower().endswith(".jp2"):
        require_whole_file(Path(files.prefix) / path)


def _require_checksum(files: ProductFiles, path: str) -> None:
    """GDAL does not compare the checksums of what it reads in parts."""
    try:
        with opened_zip(files.source) as archive, archive.open(member_of(archive, files.inside + path)) as file:
            while file.read(_CHUNK):
                pass
    except (zipfile.BadZipFile, zlib.error, EOFError):
        raise SceneError(f"{files.source}: {path} is damaged, its checksum is wrong; get the zip anew") from None


def _product_name(folder: str) -> str:
    return folder[: -len(".SAFE")] if folder.upper().endswith(".SAFE") else folder

"""What the header of a raster says."""

import itertools
import re
import shlex
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import rasterio
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import Affine, array_bounds

from seg.catalogue.address import Place, Remote, archive_of, is_remote, options_for, shown_remote
from seg.catalogue.web import WAITS, Told, look_at, refused
from seg.errors import SceneError

T = TypeVar("T")
_ZIP = "/vsizip/"
_LISTED = 16
_ZIP_SUFFIX = re.compile(r"\.zip(?=/)", re.IGNORECASE)
# With more threads GDAL keeps errors of the JPEG 2000 decoder to itself and returns whatever the memory held.
_ONE_THREAD = {"GDAL_NUM_THREADS": "1"}
_REFUSAL = re.compile(
    r"HTTP response code: (4\d\d)|(AWS_SECRET_ACCESS_KEY|AccessDenied|InvalidCredentials|GS_SECRET_ACCESS_KEY|"
    r"AZURE_STORAGE_ACCOUNT\+|OSS_SECRET_ACCESS_KEY|SWIFT_STORAGE_URL)"
)
"""What GDAL says of a file that a server does not give, now or later."""


@dataclass(frozen=True, slots=True)
class Header:
    """Of a raster file.

    Attributes:
        path: As GDAL opens it.
        crs, transform: As rasterio gives them, without heights; the CRS None if there is none.
        width, height: Pixels.
        descriptions: Per band; empty where there is none.
        dtypes, scales, offsets, nodata: Per band.
        block: Rows and columns of a block of the first band.
        control_points: Number of ground control points, which rasters have that are on no map grid yet.
        masked: Bands, from 1, with a mask of GDAL's that is made neither of their nodata value nor of an alpha band:
            in the file, in a ``.msk`` beside it, or in a VRT.
        one_mask: Whether that mask is the same for all bands.
        alphas: Bands whose colour is alpha.
        simulated: Whether its tags say so.
        mapped: Whether its tags say that seg has made it of a scene.
        told: What its server says of a file that lies elsewhere.
    """

    path: str
    crs: CRS | None
    transform: Affine
    width: int
    height: int
    descriptions: tuple[str, ...]
    dtypes: tuple[str, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    nodata: tuple[float | None, ...]
    block: tuple[int, int]
    control_points: int = 0
    masked: frozenset[int] = frozenset()
    one_mask: bool = False
    alphas: frozenset[int] = frozenset()
    simulated: bool = False
    mapped: bool = False
    told: Told | None = None

    @property
    def pixel_size(self) -> float:
        """Width of a pixel in units of the CRS."""
        return float(self.transform.a)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in units of the CRS."""
        west, south, east, north = array_bounds(self.height, self.width, self.transform)
        return west, south, east, north

    @property
    def file(self) -> Path:
        """The file on the disk: the zip of a member of one. Of what lies elsewhere only its name is of use."""
        return Path(shown_remote(archive_of(self.path).path)) if self.remote else _archive_and_member(self.path)[0]

    @property
    def remote(self) -> bool:
        """Whether it lies elsewhere."""
        return is_remote(self.path)


def state_of(header: Header) -> tuple[str, int | None, int | str]:
    """Name of the file of a raster, its size, and its time or version."""
    if header.told is not None:
        return header.file.name, header.told.size, header.told.version
    state = header.file.stat()
    return header.file.name, state.st_size, state.st_mtime_ns


def in_zip(archive: Place) -> str:
    """The path of a zip's root as GDAL opens it.

    Braces tell where it ends, whatever its suffix is; unless it has braces of its own that do not pair.
    """
    place = archive.path if isinstance(archive, Remote) else str(archive.resolve())
    return f"{_ZIP}{{{place}}}/" if _paired(place) else f"{_ZIP}{place}/"


def shown(path: str) -> str:
    """A path as the user knows it, without GDAL's prefix."""
    if is_remote(path):
        return shown_remote(path)
    archive, member = _archive_and_member(path)
    return f"{archive}/{member}" if member else path


def editing(path: str, options: str, copy: str = "") -> str:
    """What to type so that a raster says something else of itself.

    Args:
        path: As GDAL opens it.
        options: Of ``rio edit-info``.
        copy: Name of a copy that is to say it; empty: the raster itself, taken out of its zip if it is in one.
    """
    archive, member = _archive_and_member(path)
    first, target = "", path
    if is_remote(path):
        path = shown_remote(path)
        copy = copy or f"{Path(path).stem}_here.tif"
    if copy:
        first, target = f"rio convert {shlex.quote(path)} {shlex.quote(copy)} && ", copy
    elif member:
        first, target = f"python -m zipfile -e {shlex.quote(str(archive))} . && ", member
    return f"{first}rio edit-info {options} {shlex.quote(target)}"


def _archive_and_member(path: str) -> tuple[Path, str]:
    """Zip and path in it of what GDAL opens; a file on the disk is itself and has none."""
    if not path.startswith(_ZIP):
        return Path(path), ""
    place = path.removeprefix(_ZIP)
    if place.startswith("{"):
        ends = [i for i, letter in enumerate(place) if letter == "}" and _paired(place[: i + 1])]
        return Path(place[1 : ends[0]]), place[ends[0] + 2 :]
    ends = [found.end() for found in _ZIP_SUFFIX.finditer(place)]
    end = next((end for end in ends if Path(place[:end]).is_file()), ends[-1] if ends else len(place))
    return Path(place[:end]), place[end + 1 :]


def _paired(text: str) -> bool:
    """Whether every brace has its counterpart."""
    depth = 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if depth < 0:
            return False
    return depth == 0


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Within it, GDAL decodes in the calling thread, and its errors become a `SceneError` that names the file."""
    try:
        with rasterio.Env(**_ONE_THREAD, **options_for(path)):
            yield
    # rasterio reads the name of the CRS as UTF-8, whatever its bytes are.
    except (RasterioError, UnicodeDecodeError) as error:
        if not is_remote(path):
            how = "it is damaged or cut off, or no raster: get it anew"
        elif refusal := _REFUSAL.search(_said(error)):
            raise refused(shown(path), int(refusal[1] or 403)) from None
        else:
            how = "its server breaks off, or it is damaged or no raster: try again, the same command goes on"
        raise SceneError(f"{shown(path)} cannot be read; {how}") from None


def _said(error: BaseException | None) -> str:
    """All that GDAL says of an error, for rasterio tells the last of it."""
    return f"{error} {_said(error.__cause__ or error.__context__)}" if error is not None else ""


def patiently(path: str, read: Callable[[], T]) -> T:
    """Do what reads a file, within `readable`; of one that lies elsewhere some times more, as connections break."""
    for wait in WAITS if is_remote(path) else ():
        try:
            return read()
        except RasterioError as error:
            if _REFUSAL.search(_said(error)):
                raise
        time.sleep(wait)
    return read()


def open_raster(path: str) -> DatasetReader:
    """Open a raster for one thread.

    Raises:
        SceneError: If it is none or damaged.
    """
    # GDAL decodes the blocks of a GeoTIFF one by one unless told otherwise, those of JPEG 2000 several at a time. Those
    # of a server come several at a time anyway, and threads would print what goes wrong.
    several = path.lower().endswith((".tif", ".tiff")) and not is_remote(path)
    threads = {"num_threads": "all_cpus"} if several else {}
    with readable(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return patiently(path, lambda: rasterio.open(path, sharing=False, **threads))


def read_header(path: str) -> Header:
    """The header of a raster.

    Raises:
        SceneError: If it cannot be opened.
    """
    told = look_at(archive_of(path)) if is_remote(path) else None
    with open_raster(path) as raster, readable(path):
        if told is not None and path.startswith("/vsicurl") and told.size is not None:
            patiently(path, lambda: _require_end(raster, path, told.size or 0))
        if not raster.count and not raster.subdatasets:
            raise SceneError(f"{shown(path)} holds no raster; give the file that the scene is in")
        if not raster.count:
            held = " ".join(map(shlex.quote, raster.subdatasets[:_LISTED]))
            raise SceneError(
                f"{shown(path)} holds no bands itself, only other rasters; put those of the scene into one file: "
                f"rio stack {held} -f GTiff -o {shlex.quote(f'{Path(path).stem}.tif')}, and name its bands with --bands"
            )
        flags = [set(each) for each in raster.mask_flag_enums]
        return Header(
            path=path,
            crs=_horizontal(raster.crs) if raster.crs else None,
            transform=raster.transform,
            width=raster.width,
            height=raster.height,
            descriptions=tuple(text or "" for text in raster.descriptions),
            dtypes=tuple(raster.dtypes),
            scales=tuple(raster.scales),
            offsets=tuple(raster.offsets),
            nodata=tuple(raster.nodatavals),
            block=tuple(raster.block_shapes[0]),
            control_points=len(raster.gcps[0]),
            masked=frozenset(i for i, held in enumerate(flags, 1) if _has_mask(held)),
            one_mask=all(MaskFlags.per_dataset in held for held in flags),
            alphas=frozenset(i for i, color in enumerate(raster.colorinterp, 1) if color == ColorInterp.alpha),
            simulated="SYNTHETIC" in raster.tags(),
            mapped={"SEG_VERSION", "MODEL"} <= raster.tags().keys(),
            told=told,
        )


def _require_end(raster: DatasetReader, path: str, size: int) -> None:
    """Make sure that a file elsewhere is as long as the blocks of its bands need.

    Raises:
        SceneError: If it ends before.
    """
    if raster.driver != "GTiff":
        return
    rows, columns = raster.block_shapes[0]
    down, across = -(-raster.height // rows), -(-raster.width // columns)
    bands = raster.indexes if raster.interleaving.name == "band" else raster.indexes[:1]
    for band, row, column in itertools.product(bands, range(down), range(across)):
        begin, length = (
            int(raster.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=band) or 0)
            for what in ("OFFSET", "SIZE")
        )
        if begin + length > size:
            raise SceneError(
                f"{shown(path)} ends early: it has {size:,} bytes, and a block of its band {band} would end at "
                f"{begin + length:,}; have it put there anew, as a whole"
            )


def _horizontal(crs: CRS) -> CRS:
    """The same CRS without heights, which tell nothing of a band."""
    text = crs.to_wkt(version="WKT2_2019")
    if not text.startswith("COMPOUNDCRS") and "CS[Cartesian,3]" not in text:
        return crs
    import pyproj

    whole = pyproj.CRS.from_wkt(text)
    return CRS.from_wkt((whole.sub_crs_list[0] if whole.is_compound else whole.to_2d()).to_wkt())


def _has_mask(flags: set[MaskFlags]) -> bool:
    """Whether GDAL's flags of a band are those of a mask that nothing else in the header tells.

    Values of all bands together that stand for no data (the ``NODATA_VALUES`` of a file) are flagged as a nodata value
    of the whole file.
    """
    if MaskFlags.nodata in flags:
        return MaskFlags.per_dataset in flags
    return not flags & {MaskFlags.all_valid, MaskFlags.alpha}

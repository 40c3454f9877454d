"""Files of many arrays by name, read a few rows at a time: NPZ, safetensors, HDF5 and Zarr.

Nothing is ever unpickled, and nothing is decoded before its declared size was found to be that of what it should hold:
what is small on the disk may be gigabytes of zeros.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from seg.errors import EvidenceError, SegError, WrongUseError
from seg.rasters.listing import directory_size, packed_otherwise

SUFFIXES = (".npz", ".safetensors", ".h5", ".hdf5", ".zarr")
_LOCAL_HEADER = 30
_MOST_CHUNK = 1 << 28
"""Bytes of a piece that is only decoded as a whole."""
_MOST_DIRECTORY = 1 << 20
_CURE = "write it again"


Header = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and dtype of an array."""


class Container(Protocol):
    """Arrays by name.

    Attributes:
        names: Their names.
        notes: What the file says beside.
    """

    @property
    def names(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def notes(self) -> Mapping[str, str]: ...  # noqa: D102

    def header(self, name: str) -> Header:
        """Shape and dtype of an array, after it was found to be one that may be read.

        Raises:
            EvidenceError: If it is none.
        """
        ...

    def rows(self, name: str, begin: int, end: int) -> npt.NDArray[Any]:
        """Rows of an array, along its first axis."""
        ...

    def whole(self, name: str) -> npt.NDArray[Any]:
        """All of an array."""
        ...

    def doubt(self, name: str) -> str:
        """A sentence about an array that may not have been written in full; empty if nothing speaks for it."""
        ...

    def at_once(self, name: str) -> int:
        """How many rows are best read together."""
        ...


def format_of(path: Path) -> str:
    """The suffix of the format of a file or folder, in small letters; a folder with Zarr's metadata needs none."""
    is_zarr = any((path / name).is_file() for name in (".zgroup", "zarr.json"))
    return ".zarr" if is_zarr else path.suffix.lower()


@contextmanager
def opened(path: Path) -> Iterator[Container]:
    """Open a file of arrays, see `format_of`.

    Raises:
        EvidenceError: If it cannot be read.
    """
    with ExitStack() as files:
        container: Container
        with explained(path):
            match format_of(path):
                case ".npz":
                    container = _npz(path, path.stat().st_mtime_ns)
                case ".safetensors":
                    container = _Safetensors(files.enter_context(safe_open(path, framework="numpy")))
                case ".zarr":
                    from seg.predictions.zarr_group import ZarrGroup

                    container = ZarrGroup(path)
                case _:
                    from seg.predictions.hdf5 import Hdf5, opened_file

                    container = Hdf5(path, files.enter_context(opened_file(path)))
        yield container


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """What libraries raise of a file in one sentence.

    Raises:
        EvidenceError: Instead of it.
    """
    try:
        yield
    except SegError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        SafetensorError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        RuntimeError,
    ) as error:
        reason = " ".join(str(error).split())
        raise EvidenceError(f"{path} cannot be read: it is cut off or damaged ({reason}); {_CURE}") from None


def require_installed(path: Path) -> None:
    """Make sure that what reads a file is installed.

    Raises:
        WrongUseError: If it is not.
    """
    package = {".h5": "h5py", ".hdf5": "h5py", ".zarr": "zarr"}.get(format_of(path))
    if package is not None:
        try:
            __import__(package)
        except ImportError:
            raise WrongUseError(
                f"{path} needs {package}, which is not installed; run: pip install 'seg[score]'"
            ) from None


class _Npz:
    """An archive of `numpy.savez` or `numpy.savez_compressed`.

    Of what is packed, rows are unpacked one after the other, and what lies before the first that is asked for is passed
    over: it stays open, so that who asks for the next ones does not begin anew.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self._headers: dict[str, tuple[Header, int, bool]] = {}
        self._members: dict[str, IO[bytes]] = {}
        self.notes: Mapping[str, str] = {}
        members = archive.namelist()
        self.names = [name.removesuffix(".npy") for name in members]
        wrong = [name for name in members if not name.endswith(".npy")]
        if wrong or len(set(members)) < len(members):
            what = f"{wrong[0]}, which is no array" if wrong else "an array twice"
            raise EvidenceError(f"{path} holds {what}; {_CURE}")

    def header(self, name: str) -> Header:
        """Shape and dtype of an array."""
        return self._described(name)[0]

    def _described(self, name: str) -> tuple[Header, int, bool]:
        """The header of an array, where its values begin, and whether they are stored as they are."""
        if name in self._headers:
            return self._headers[name]
        formats, info = np.lib.format, self._archive.getinfo(f"{name}.npy")
        with self._archive.open(info) as member:
            version = formats.read_magic(member)
            read = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
            shape, fortran, dtype = read(member)
            begin = member.tell()
        if dtype.hasobject:
            raise EvidenceError(
                f"{self._path}: {name} holds pickled Python objects, which are never read; write arrays of numbers, "
                "and ids as text"
            )
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if info.file_size != begin + size:
            raise EvidenceError(
                f"{self._path}: {name} is not as large as its header says ({info.file_size - begin:,} bytes instead of "
                f"{size:,}); {_CURE}"
            )
        if fortran and len(shape) > 1:
            raise EvidenceError(f"{self._path}: {name} is in Fortran order; write it from np.ascontiguousarray")
        stored = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
        self._headers[name] = (tuple(shape), dtype), begin, stored
        return self._headers[name]

    def rows(self, name: str, begin: int, end: int) -> npt.NDArray[Any]:
        """Rows of an array."""
        (shape, dtype), start, stored = self._described(name)
        size = int(np.prod(shape[1:], dtype=object)) * dtype.itemsize
        if stored:
            content = self._stored(name, start + begin * size, (end - begin) * size)
        else:
            member = self._members.get(name) or self._members.setdefault(name, self._archive.open(f"{name}.npy"))
            member.seek(start + begin * size)
            content = member.read((end - begin) * size)
        if len(content) != (end - begin) * size:
            raise EvidenceError(f"{self._path}: {name} is cut off; {_CURE}")
        return np.frombuffer(content, dtype).reshape(end - begin, *shape[1:])

    def whole(self, name: str) -> npt.NDArray[Any]:
        """All of an array."""
        (shape, dtype), begin, _ = self._described(name)
        with self._archive.open(f"{name}.npy") as member:
            member.seek(begin)
            content = member.read(int(np.prod(shape, dtype=object)) * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(shape)

    def doubt(self, name: str) -> str:
        """Nothing: such a file is written as a whole."""
        return ""

    def at_once(self, name: str) -> int:
        """How many rows are best read together."""
        return 16

    def _stored(self, name: str, begin: int, size: int) -> bytes:
        """Bytes of an array that is stored as it is: `zipfile` would read all that lies before them."""
        info = self._archive.getinfo(f"{name}.npy")
        with self._path.open("rb") as file:
            file.seek(info.header_offset)
            # The local header may be longer than that of the directory.
            lengths = struct.unpack("<HH", file.read(_LOCAL_HEADER)[-4:])
            file.seek(info.header_offset + _LOCAL_HEADER + sum(lengths) + begin)
            return file.read(size)


@lru_cache(maxsize=1)
def _npz(path: Path, _changed: int) -> _Npz:
    if directory_size(path) > _MOST_DIRECTORY:
        raise EvidenceError(f"{path} holds more arrays than predictions have; {_CURE}")
    archive = zipfile.ZipFile(path)
    if other := packed_otherwise(archive.infolist()):
        raise EvidenceError(f"{path}: {other} is neither stored nor deflated, as numpy.savez_compressed does; {_CURE}")
    return _Npz(path, archive)


class _Safetensors:
    """A safetensors file, which is mapped into memory."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.notes: Mapping[str, str] = file.metadata() or {}
        self.names = list(file.keys())

    def header(self, name: str) -> Header:
        """Shape and dtype of an array."""
        part = self._file.get_slice(name)
        return tuple(part.get_shape()), _dtype(part.get_dtype())

    def rows(self, name: str, begin: int, end: int) -> npt.NDArray[Any]:
        """Rows of an array."""
        part: npt.NDArray[Any] = self._file.get_slice(name)[begin:end]
        return part

    def whole(self, name: str) -> npt.NDArray[Any]:
        """All of an array."""
        array: npt.NDArray[Any] = self._file.get_tensor(name)
        return array

    def doubt(self, name: str) -> str:
        """Nothing: such a file is written as a whole."""
        return ""

    def at_once(self, name: str) -> int:
        """How many rows are best read together."""
        return 16


_DTYPES = {"BOOL": "?", "F16": "f2", "F32": "f4", "F64": "f8", "U8": "u1", "U16": "u2", "U32": "u4", "U64": "u8"}
_DTYPES |= {"I8": "i1", "I16": "i2", "I32": "i4", "I64": "i8"}


def _dtype(name: str) -> np.dtype[Any]:
    """A dtype of safetensors; what NumPy does not know, such as BF16, is void to it."""
    return np.dtype(_DTYPES.get(name, "V2"))


def check_chunk(path: Path, name: str, chunk: tuple[int, ...] | None, dtype: np.dtype[Any]) -> None:
    """Refuse an array in pieces that do not fit into memory.

    Raises:
        EvidenceError: If it is one.
    """
    size = int(np.prod(chunk or (0,), dtype=object)) * dtype.itemsize
    if size > _MOST_CHUNK:
        raise EvidenceError(
            f"{path}: {name} is stored in pieces of {size / 2**20:,.0f} MiB, which are only read as wholes; write it "
            "in pieces of single patches"
        )

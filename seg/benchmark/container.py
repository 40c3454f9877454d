"""The files of a submission, in a folder or in a zip from somebody unknown: bounded before anything is unpacked."""

import hashlib
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from seg.config.wording import clipped
from seg.errors import SubmissionError
from seg.rasters.listing import DAMAGED_ZIP, directory_size, is_litter, packed_otherwise
from seg.store.written import is_record

MOST_FILES = 200
MOST_BYTES = 4 << 30
"""Of all files together: the evidence of ten seeds on the official test split takes a quarter of it."""
MOST_TEXT = 1 << 20
"""Of a file that is no evidence."""
PACK_AGAIN = "pack it again with 'seg submit'"
"""What to do about a submission that is not as it was packed."""
_BLOCK = 1 << 20
_DEEPEST, _LONGEST = 8, 200
"""Folders that a path may have, and characters."""


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder of a submission; a zip is unpacked into one that is gone afterwards.

    Args:
        path: A folder, or a zip that holds its files or the folder.

    Raises:
        SubmissionError: If there is neither, or it holds links, names that lead elsewhere, or too much.
    """
    if path.is_dir() and not path.is_symlink():
        check_folder(path)
        yield path
    elif path.is_file() and path.suffix.lower() == ".zip":
        with tempfile.TemporaryDirectory(prefix="seg-submission-") as folder:
            yield _unpacked(path, Path(folder))
    else:
        what = "is neither a folder nor a zip" if path.exists() else "does not exist"
        what = "is a link" if path.is_symlink() else what
        raise SubmissionError(f"{path} {what}; give what 'seg submit' has written", wrong_use=True)


def check_folder(folder: Path) -> None:
    """Refuse a folder with links, or with more than a submission may hold.

    Raises:
        SubmissionError: Saying which.
    """
    total, called = 0, folder.resolve().name
    for number, path in enumerate(_below(folder), 1):
        name = clipped(path.relative_to(folder).as_posix())
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise SubmissionError(f"{called}: {name} is a link or no plain file; a submission has files alone")
        total += path.stat().st_size if path.is_file() else 0
        _check_bounds(called, number, total)


def _below(folder: Path) -> Iterator[Path]:
    """Everything in a folder, as deep as submissions are."""
    folders = [(folder, 1)]
    while folders:
        place, depth = folders.pop()
        for path in sorted(place.iterdir()):
            yield path
            if path.is_dir() and not path.is_symlink():
                if depth == _DEEPEST:
                    raise SubmissionError(f"{folder.name} has folders in folders, {depth} deep; {PACK_AGAIN}")
                folders.append((path, depth + 1))


def files_in(folder: Path) -> list[str]:
    """Paths of the files of a submission from its folder, sorted, without the record of what seg has written."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if not is_record(name) and not is_litter(name))


def read_text(folder: Path, name: str) -> str:
    """A text of a submission.

    Raises:
        SubmissionError: If it is missing, longer than texts are, or no UTF-8.
    """
    path = folder / name
    if not path.is_file():
        raise SubmissionError(f"there is no {name} in it; {PACK_AGAIN}")
    if path.stat().st_size > MOST_TEXT:
        raise SubmissionError(f"{name} is larger than {MOST_TEXT:,} bytes, and no text of a submission is")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise SubmissionError(f"{name} is no text in UTF-8") from None


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpacked(path: Path, folder: Path) -> Path:
    """Unpack a zip into an empty folder, and find the submission in it."""
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if min((one.header_offset for one in archive.infolist()), default=0):
                raise SubmissionError(f"{path.name} holds something before the zip; zip the submission again")
            members = [one for one in archive.infolist() if not one.is_dir() and not is_litter(one.filename)]
            _check_members(path.name, members)
            for member in members:
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                # Reading ends at the size that is declared, which is within the bounds.
                with archive.open(member) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file, _BLOCK)
    except (*DAMAGED_ZIP, FileExistsError, NotADirectoryError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SubmissionError(f"{path.name} is damaged ({clipped(reason)}); zip the submission again") from None
    there = list(folder.iterdir())
    return there[0] if len(there) == 1 and there[0].is_dir() else folder


def _check_directory(path: Path) -> None:
    """Refuse a directory that is larger than that of any submission: all of it would be kept in memory."""
    if directory_size(path) > MOST_TEXT:
        raise _too_much(path.name)


def _check_members(name: str, members: list[zipfile.ZipInfo]) -> None:
    total = 0
    seen: set[str] = set()
    if other := packed_otherwise(members):
        raise SubmissionError(
            f"{name}: {clipped(other)} is neither stored nor deflated; zip the submission again with another program"
        )
    for number, member in enumerate(members, 1):
        told, shown = member.filename, clipped(member.filename)
        parts = PurePosixPath(told).parts
        if not told.isprintable():
            raise SubmissionError(f"{name} names a file with signs that are no letters; zip the submission again")
        if told.startswith("/") or "\\" in told or ":" in told or ".." in parts:
            raise SubmissionError(f"{name} names a file outside of itself ({shown}); zip the submission again")
        if len(parts) > _DEEPEST or len(told) > _LONGEST:
            raise SubmissionError(f"{name} has a path that no submission has ({shown}); zip the submission again")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG) or member.flag_bits & 1:
            raise SubmissionError(
                f"{name}: {shown} is a link, encrypted or no plain file; a submission has files alone"
            )
        if str(PurePosixPath(told)) in seen:
            raise SubmissionError(f"{name} holds {shown} twice; zip the submission again")
        seen.add(str(PurePosixPath(told)))
        total += member.file_size
        _check_bounds(name, number, total)


def _check_bounds(name: str, files: int, total: int) -> None:
    if files > MOST_FILES or total > MOST_BYTES:
        raise _too_much(name)


def _too_much(name: str) -> SubmissionError:
    return SubmissionError(
        f"{name} holds more than a submission may: {MOST_FILES} files of {MOST_BYTES >> 30} GiB in all"
    )

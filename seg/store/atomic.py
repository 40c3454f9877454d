"""Files and folders that appear complete or not at all.

`replace_folder` writes a complete folder beside the old one (``.<name>.new``), moves the old one aside
(``.<name>.old``), moves the new one into its place and removes the old one. Whatever interrupts it, one complete folder
stays: in place, or aside, where `read_folder` finds it as long as nothing is in place.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from seg.store.written import note_file, partial_of, require_ours

_READ_ATTEMPTS = 5
T = TypeVar("T")


def write_text(path: Path, text: str) -> None:
    """Write a file as UTF-8 with the line ends of the text. It appears complete or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file. It appears complete or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    partial = partial_of(path)
    try:
        partial.write_bytes(content)
        note_file(path, partial)
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _refused(path, error) from error
        raise


def remove_file(path: Path) -> None:
    """Remove a file of a target, if it is there.

    Raises:
        ForeignFileError: If it is claimed, and somebody else has put it there since.
        OSError: If it cannot be removed.
    """
    require_ours(path)
    path.unlink(missing_ok=True)


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """A place for a library to write a file to; on leaving, the file takes the place of `path`, complete and on disk.

    The place is in a hidden folder beside `path`, with whatever else the library puts there meanwhile; the folder is
    gone afterwards, and that of a process that was killed is when its target is claimed again (`seg.store.targets`).

    Raises:
        OSError: If the disk does not take it. The old file, if any, is still there.
    """
    folder = partial_of(path)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        staged = folder / path.name
        yield staged
        with staged.open("rb+") as file:
            os.fsync(file.fileno())
        note_file(path, staged)
        staged.replace(path)
        _flush_entries(path.parent)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refused(path: Path, error: OSError) -> OSError:
    protected = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    cure = "copy its folder to where you may write" if protected else "name a folder that exists and has space left"
    return OSError(f"{path} cannot be written ({error.strerror or error}); {cure}")


def replace_folder(folder: Path, write: Callable[[Path], None], own: Collection[str] = ()) -> None:
    """Put a newly written folder in the place of a folder.

    One process at a time may do this; others may read meanwhile. What somebody else has put into the folder is taken
    over.

    Args:
        folder: What is replaced; made, with its parents, if there is none.
        write: Writes the files into the empty folder that it is given.
        own: Files of the old folder that go, if they are not written again.

    Raises:
        OSError: If the disk does not take it. The old folder is still there, in place or aside.
    """
    folder = folder.resolve()
    staged, _ = _beside(folder)
    recover_folder(folder)
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        write(staged)
        _take_over(folder, staged, own)
        put_in_place(staged, folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _take_over(old: Path, new: Path, own: Collection[str]) -> None:
    """Bring what is only in an old folder into the new one."""
    for path in old.iterdir() if old.is_dir() else ():
        if path.name not in own and not os.path.lexists(new / path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, new / path.name, symlinks=True)
            else:
                shutil.copy2(path, new / path.name, follow_symlinks=False)


def put_in_place(staged: Path, folder: Path) -> None:
    """Move a complete folder into the place of another, or where there is none yet.

    Args:
        staged: A folder beside `folder`; gone afterwards.
        folder: Its place.

    Raises:
        OSError: If the disk does not take it. The old folder is still there, in place or aside.
    """
    folder = folder.resolve()
    _, aside = _beside(folder)
    _flush(staged)
    if folder.exists():
        os.rename(folder, aside)
    os.rename(staged, folder)
    _flush_entries(folder.parent)
    if aside.exists():
        _discard(aside)


def recover_folder(folder: Path) -> None:
    """Tidy up after a `replace_folder` that was cut short, moving the old folder back if nothing is in its place.

    Only the process that replaces the folder may call this; readers do without.
    """
    folder = folder.resolve()
    _, aside = _beside(folder)
    if not aside.exists():
        return
    if folder.exists():
        _discard(aside)
    else:
        os.rename(aside, folder)


def read_folder(folder: Path, read: Callable[[Path], T]) -> T:
    """What ``read`` gives, all from one folder even if another process replaces it meanwhile.

    Args:
        folder: What `replace_folder` wrote, or any other folder.
        read: Reads files of the folder that it is given; called again if the folder has changed since.

    Raises:
        OSError: If the folder is replaced faster than it can be read.
        Exception: What ``read`` raises on a folder that has not changed.
    """
    for _ in range(_READ_ATTEMPTS):
        place = _place(folder)
        before = _identity(place)
        try:
            result = read(place)
        except Exception:
            if _identity(_place(folder)) == before:
                raise
        else:
            if _identity(_place(folder)) == before:
                return result
    raise OSError(f"{folder} is replaced faster than it can be read")


def aside_of(folder: Path) -> Path:
    """Where a folder is moved while another one takes its place."""
    return _beside(folder.resolve())[1]


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")


def _discard(folder: Path) -> None:
    """Remove a folder: first its name, at one stroke, then its files, as far as others do not hold them open."""
    with suppress(FileNotFoundError):
        os.rename(folder, folder.with_name(f"{folder.name}-{time.time_ns()}"))
    for path in list(folder.parent.iterdir()):
        if path.name.startswith(f"{folder.name}-"):
            shutil.rmtree(path, ignore_errors=True)


def _place(folder: Path) -> Path:
    """The folder itself, or where a `replace_folder` that was cut short has put it."""
    _, aside = _beside(folder.resolve())
    return aside if aside.exists() and not folder.exists() else folder


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _flush(folder: Path) -> None:
    """Wait until every file of a folder is on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    _flush_entries(folder)


def _flush_entries(folder: Path) -> None:
    if os.name == "nt":  # where a folder is no file that can be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""What a command is about to write: it is claimed as a whole before the work begins.

A claim holds a lock, so that no two processes are at one target; refuses to begin where a file stands in the way that
seg cannot tell to be its own; and keeps a record of what is written (`seg.store.written`). Under ``torchrun`` the first
process does so, and the others only keep the record.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from seg.errors import ForeignFileError, WrongUseError
from seg.store.locks import locked
from seg.store.marks import is_marked
from seg.store.sidecar import SIDECAR, holds_gdals_own
from seg.store.written import Keeper, State, Written, keeping

LOCK_FILE = ".seg.lock"
"""The lock of a folder, in it; that of anything else is ``.<name>.seg.lock`` beside it."""
_BESIDE = (SIDECAR, ".msk", ".ovr")  # GDAL would take the mask and the pyramids of an earlier raster for a new one's.
_NAMED = 8


@dataclass(frozen=True)
class Known:
    """What is known of the files of a target before its record is read.

    Attributes:
        contents: What a file would hold, where that is known: writing it again destroys nothing.
        vouchers: Files that, if they carry a mark of seg, vouch for the whole family in a folder that has no record.
        family: Files of a folder that only seg writes into, beside those that are claimed.
        cure: What is said after the advice to move files away that are not seg's.
    """

    contents: Mapping[str, str] | None = None
    vouchers: Collection[str] = ()
    family: Collection[str] = ()
    cure: str = ", or name another --out"


@contextmanager
def claimed_folder(folder: Path, names: Iterable[str], known: Known | None = None) -> Iterator[Keeper]:
    """Claim files within a folder, which may hold other things and is made if need be.

    Args:
        folder: The folder.
        names: Paths from the folder of all that may be written, replaced or removed.
        known: What is known of them.

    Raises:
        WrongUseError: If the folder is something else.
        ForeignFileError: If a file is not seg's.
        BusyError: If another process is at it.
        OSError: If the folder cannot be written.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise WrongUseError(f"{folder} is no folder; name one, or one that is not there yet")
    with made(folder), _claimed(folder, folder / LOCK_FILE, folder, names, known or Known()) as keeper:
        yield keeper
        if _rank() == 0:
            keeper.written.merge(keeper.work)


@contextmanager
def claimed_besides(keeper: Keeper, names: Iterable[str], known: Known | None = None) -> Iterator[None]:
    """Claim further files of a folder that is claimed already, the names of which were not known then.

    Raises:
        ForeignFileError: If a file is not seg's.
    """
    with keeping(_checked(keeper.written, names, keeper.work, known or Known())):
        yield


@contextmanager
def claimed_files(paths: Sequence[Path], known: Known | None = None) -> Iterator[Keeper]:
    """Claim files that belong together, in one folder, which is made if need be.

    Args:
        paths: The files, the one that the user named first.
        known: What is known of them, by their names.

    Raises:
        ForeignFileError, BusyError, OSError: As of `claimed_folder`.
    """
    folder, names = paths[0].parent, [path.name for path in paths]
    target, claims = paths[0], known or Known()
    with made(folder), _claimed(folder, lock_beside(target), target, names, claims) as keeper, ExitStack() as others:
        # What one names first may be another's second, and rasters take long to make.
        for path in paths[1:] if _rank() == 0 else ():
            if path.suffix.lower() in (".tif", ".tiff"):
                others.enter_context(locked(lock_beside(path), path))
        yield keeper


@contextmanager
def claimed_place(
    folder: Path, working: Mapping[Path, Callable[[Path], bool]], cure: str = "move it away, or name another folder"
) -> Iterator[None]:
    """Claim the place of a folder that appears as a whole.

    Args:
        folder: The folder.
        working: Folders beside it that will be replaced or removed, and how each is known to be seg's.
        cure: What to do about one that is not.

    Raises:
        ForeignFileError: If one is something else.
        BusyError, OSError: As of `claimed_folder`.
    """
    with made(folder.parent), locked(lock_beside(folder), folder):
        for path, is_ours in working.items():
            if os.path.lexists(path) and not (is_folder(path) and (not any(path.iterdir()) or is_ours(path))):
                raise ForeignFileError(f"{path} is needed for the work, and seg has not made it; {cure}")
        yield


def require_writable(path: Path) -> None:
    """Make sure that something can be made at a path: what is there of it is a folder that may be written to.

    Raises:
        WrongUseError: If not.
    """
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir() and there != path:
        raise WrongUseError(f"{there} is a file, so nothing can be put below it; name a folder that you may write")
    if not os.access(there, os.W_OK):
        raise WrongUseError(f"{there} cannot be written; name a folder that you may write")


def lock_beside(path: Path) -> Path:
    """The lock of what is no folder to write into."""
    path = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
    return path.with_name(f".{path.name}.seg.lock")


def is_folder(path: Path) -> bool:
    """Whether a path is a folder itself, and not a link to one."""
    return path.is_dir() and not path.is_symlink()


def foreign_files(folder: Path, names: Iterable[str], written: Written, known: Known) -> tuple[list[str], list[str]]:
    """What of some files is there and not seg's.

    Args:
        folder: The folder that they are in.
        names: Their paths from it.
        written: Its record.
        known: What else is known.

    Returns:
        The names of those, or of what stands where a folder should be; and the files that are known to be seg's though
        the record does not hold them so.
    """
    foreign: dict[str, None] = {}
    told: list[str] = []
    parents: dict[Path, bool] = {}
    for name in names:
        path = folder / name
        if path.parent not in parents:
            parents[path.parent] = path.parent.is_dir()
            if not parents[path.parent] and (blocking := _blocking(path, folder)):
                foreign[blocking.relative_to(folder).as_posix()] = None
        if parents[path.parent] and os.path.lexists(path) and not (is_file(path) and written.is_unchanged(name)):
            if is_file(path) and _is_known(folder, name, written, known):
                told.append(name)
            else:
                foreign[name] = None
    return list(foreign), told


def _blocking(path: Path, folder: Path) -> Path | None:
    """What stands where a folder of a file should be; None if nothing does."""
    there = next((parent for parent in path.parents if os.path.lexists(parent)), folder)
    return there if folder in there.parents and not there.is_dir() else None


def require_own_folder(out: Path, name: str, *others: str) -> None:
    """Make sure that what is written goes into a folder of its own.

    Args:
        out: The folder.
        name: What it may be called instead, below it.
        others: Files that tell what else it is.

    Raises:
        WrongUseError: If it is a run or a store.
    """
    if any((out / other).is_file() for other in others):
        raise WrongUseError(
            f"{folder_words(out)} is a run or a store; name a folder of its own, such as {out.parent / name}"
        )


def require_free(folder: Path) -> None:
    """Make sure that no other process is at a folder, before work that takes long to begin; it claims it then.

    Raises:
        BusyError: If one is.
    """
    if not _rank():
        with locked(folder / LOCK_FILE, folder):
            pass


def is_file(path: Path) -> bool:
    """Whether a path is a file itself, and not a link to one: seg makes no links."""
    return path.is_file() and not path.is_symlink()


def _is_known(folder: Path, name: str, written: Written, known: Known) -> bool:
    """Whether a file that the record does not hold as it is can be told to be seg's all the same."""
    path = folder / name
    text = (known.contents or {}).get(name)
    if text is not None and path.read_bytes() == text.encode():
        return True
    if name.endswith(SIDECAR):
        raster = name.removesuffix(SIDECAR)
        there = is_file(folder / raster) and holds_gdals_own(path)
        return there and (written.is_unchanged(raster) or _is_marked_anew(folder, raster, written))
    return _is_marked_anew(folder, name, written)


def _is_marked_anew(folder: Path, name: str, written: Written) -> bool:
    # What the record holds otherwise was changed by somebody, who has left the marks where they are.
    return not written.holds(name) and is_marked(folder / name)


@contextmanager
def _claimed(folder: Path, lock: Path, target: Path, names: Iterable[str], known: Known) -> Iterator[Keeper]:
    if rank := _rank():
        keeper = _checked(Written(folder, rank), names, target.name, known)
        with made(folder), keeping(keeper):
            yield keeper
        return
    with locked(lock, target):
        written = Written(folder)
        keeper = _checked(written, names, target.name, known)
        _remove_abandoned(folder, written, target)
        try:
            with keeping(keeper):
                yield keeper
        finally:
            # Nothing temporary is left, whatever became of the work, unless it was killed and did not get here. A full
            # disk must not hide what went wrong before.
            with suppress(OSError):
                written.end(target.name)


def _checked(written: Written, names: Iterable[str], work: str, known: Known) -> Keeper:
    """What keeps the record of some files, none of which is foreign; the first process has looked."""
    all_names = frozenset(names)
    all_names |= {f"{name}{end}" for name in all_names if name.lower().endswith((".tif", ".tiff")) for end in _BESIDE}
    if _rank():
        return Keeper(written, all_names, work, looks=False)
    vouched = set() if written else _vouched(written.folder, all_names, known)
    foreign, told = foreign_files(written.folder, sorted(all_names - vouched), written, known)
    if foreign:
        them = "it" if len(foreign) == 1 else "them"
        raise ForeignFileError(
            f"{folder_words(written.folder)} holds {listed_names(foreign)}, which seg did not write or somebody has "
            f"changed since; move {them} away{known.cure}"
        )
    for name in (*sorted(vouched), *told):
        written.note(name, State.of(written.folder / name))
    return Keeper(written, all_names, work)


def _vouched(folder: Path, names: Collection[str], known: Known) -> set[str]:
    """The files of a folder without a record that are seg's because another one of them is."""
    if not any(is_file(folder / name) and is_marked(folder / name) for name in known.vouchers):
        return set()
    return {name for name in (*names, *known.family) if is_file(folder / name) and not name.endswith(_BESIDE[1:])}


def folder_words(folder: Path) -> str:
    """What a folder is called at the beginning of a sentence."""
    return "the current folder" if str(folder) == "." else str(folder)


def listed_names(names: Sequence[str]) -> str:
    """Names of files, as many as a sentence holds."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _remove_abandoned(folder: Path, written: Written, target: Path) -> None:
    """Remove the temporary files that killed processes have left of this work."""
    for token in written.abandoned(target.name):
        found = folder.rglob(f".*.{token}.partial") if target == folder else folder.glob(f".*.{token}.partial")
        for path in list(found):
            if is_folder(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder, with its parents; what was made is removed again if nothing has come into it."""
    require_writable(folder)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileNotFoundError, PermissionError) as error:
        # Not even root may make folders everywhere.
        raise WrongUseError(f"{folder} cannot be made ({error.strerror}); name a folder that you may write") from None
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):
                path.rmdir()


def _rank() -> int:
    """Which of the processes of ``torchrun`` this one is."""
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    rank = os.environ.get("RANK", "0")
    return int(rank) if several and rank.isdigit() else 0

"""Fetching the published record, or a mirror of it."""

import json
import shutil
import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import requests

from seg.config.track import Track, silent
from seg.errors import ArchiveError, ForeignFileError
from seg.prepare.begun import refuse_foreign
from seg.prepare.transfer import ServedFile, ask, fetch_file, md5_of
from seg.store.atomic import write_text
from seg.store.targets import claimed_folder

RECORD = "https://zenodo.org/records/10891137/files"
"""The published record; a file lies at ``<RECORD>/<name>?download=1``."""

RecordPart = Literal["metadata", "maps", "s2", "s1"]
PARTS: tuple[RecordPart, ...] = get_args(RecordPart)


@dataclass(frozen=True)
class RecordFile:
    """A file of the published record.

    Attributes:
        name: Its name.
        part: What it belongs to.
        md5: Published checksum.
    """

    name: str
    part: RecordPart
    md5: str


FILES = (
    RecordFile("metadata.parquet", "metadata", "55687065e77b6d0b0f1ff604a6e7b49c"),
    RecordFile(
        "metadata_for_patches_with_snow_cloud_or_shadow.parquet", "metadata", "fe31856f4986d446c9468b59d6387c91"
    ),
    RecordFile("Reference_Maps.tar.zst", "maps", "95d85a222fa983faddcac51a19f28917"),
    RecordFile("BigEarthNet-S2.tar.zst", "s2", "2245ed2d1a93f6ce637d839bc856396e"),
    RecordFile("BigEarthNet-S1.tar.zst", "s1", "a55eaa2cdf6a917e296bd6601ec1e348"),
)
"""The published record, small files first."""


@dataclass(frozen=True)
class Fetched:
    """A file that is there now.

    Attributes:
        part: What it belongs to.
        path: Where it is.
        checked: Its md5 sum is the published one; the parts of a split archive have none.
        new: It was fetched, or fetched to its end, by this call.
        earlier: Its md5 sum was compared by an earlier call; since then, its size and time of change are the same.
    """

    part: RecordPart
    path: Path
    checked: bool
    new: bool
    earlier: bool


def check_parts(parts: Sequence[str], mirror: str | None) -> None:
    """Make sure that what is asked for can be fetched at all, before anything is.

    Raises:
        ArchiveError: If a part does not exist, or the mirror is no address.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise ArchiveError(f"'{unknown[0]}' is no part of the record; parts: {', '.join(PARTS)}", wrong_use=True)
    if mirror is not None:
        try:
            address = urlsplit(mirror)
            usable = address.scheme in ("http", "https") and bool(address.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise ArchiveError(
                f"'{mirror}' is no address that can be fetched; one begins with http:// or https://", wrong_use=True
            )


def fetch(
    out: Path, parts: Sequence[RecordPart] = PARTS, mirror: str | None = None, track: Track = silent
) -> list[Fetched]:
    """Fetch the files of the published record.

    A file gets its name when it is complete and its md5 sum is the published one; until then it is ``.<name>.part``,
    which the next call continues. A file that has its name already is fetched no more, but its md5 sum is compared,
    unless an earlier call has done so and neither size nor time of change differ since.

    Args:
        out: The folder to put them in; made if need be.
        parts: What to fetch.
        mirror: Address of a folder that holds the same files, or their parts (``.tar.gzaa``, ``.tar.gzab``, ...).
        track: Progress of each file, in MB.

    Raises:
        ArchiveError: If a file cannot be fetched, is damaged, or there is too little space.
        ForeignFileError: If a file is in the way that seg has not begun.
        BusyError: If another process fetches into the folder.
        OSError: If a file cannot be written.
    """
    check_parts(parts, mirror)
    wanted = [file for file in FILES if file.part in parts]
    if out.exists() and not out.is_dir():
        raise ArchiveError(f"{out} is a file; name a folder", wrong_use=True)
    with claimed_folder(out, ()), requests.Session() as client:
        remotes = [(file.part, remote) for file in wanted for remote in _find(client, file, mirror)]
        refuse_foreign(client, out, [remote for _, remote in remotes])
        receipts = _Receipts(out)
        missing = [remote for _, remote in remotes if not _is_there(out, remote)]
        earlier = {remote for _, remote in remotes if remote not in missing and receipts.hold(remote)}
        for _, remote in remotes:
            if remote not in missing and remote not in earlier:
                _compare(out, remote, track)
                receipts.keep(remote)
        _check_space(out, missing)
        for remote in missing:
            fetch_file(client, out, remote, track)
            receipts.keep(remote)
    return [
        Fetched(part, out / remote.name, remote.md5 is not None, remote in missing, remote in earlier)
        for part, remote in remotes
    ]


def held_parts(out: Path) -> dict[RecordPart, tuple[Path, ...]]:
    """The parts of the record that lie in a folder, whole: their files; of a split archive, its first part."""
    held: dict[RecordPart, tuple[Path, ...]] = {}
    for part in PARTS:
        names = [file.name for file in FILES if file.part == part]
        if all((out / name).is_file() for name in names):
            held[part] = tuple(out / name for name in names)
        elif split := [out / f"{stem}aa" for stem in _split_stems(names[0]) if (out / f"{stem}aa").is_file()]:
            held[part] = (split[0],)
    return held


class _Receipts:
    """The files of a folder whose md5 sums were compared, with the size and time of change that they had then.

    Args:
        folder: The folder; they are kept in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / ".fetched.json"
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            known = {}
        except ValueError:
            known = None
        if not isinstance(known, dict) or not all(isinstance(one, dict) and "md5" in one for one in known.values()):
            raise ForeignFileError(f"{self._file} is not the list that seg keeps there; move it away")
        self._known: dict[str, Any] = known

    def hold(self, remote: ServedFile) -> bool:
        """Whether a file is still the one whose md5 sum was compared."""
        return remote.md5 is not None and self._known.get(remote.name) == self._state(remote)

    def keep(self, remote: ServedFile) -> None:
        """Note that the md5 sum of a file is the published one."""
        if remote.md5 is not None:
            self._known[remote.name] = self._state(remote)
            write_text(self._file, json.dumps(self._known, indent=2) + "\n")

    def _state(self, remote: ServedFile) -> dict[str, Any]:
        status = (self._folder / remote.name).stat()
        return {"md5": remote.md5, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _find(client: requests.Session, file: RecordFile, mirror: str | None) -> list[ServedFile]:
    """Where a file lies: in one piece, or on a mirror in several."""
    if mirror is None:
        remote = ask(client, file.name, f"{RECORD}/{file.name}?download=1", file.md5)
        if remote is None:
            raise ArchiveError(f"the record has no file {file.name} any more; look for a newer version of seg")
        return [remote]
    base = mirror.rstrip("/")
    if whole := ask(client, file.name, f"{base}/{file.name}", file.md5):
        return [whole]
    for stem in _split_stems(file.name):
        pieces = []
        for letters in product(string.ascii_lowercase, repeat=2):
            name = f"{stem}{''.join(letters)}"
            piece = ask(client, name, f"{base}/{name}", None)
            if piece is None:
                break
            pieces.append(piece)
        if pieces:
            return pieces
    raise ArchiveError(f"{base} has neither {file.name} nor the parts of a split archive; look at the address")


def _split_stems(name: str) -> list[str]:
    """What the parts of a split archive are called before ``aa``, ``ab``, ..."""
    stem, dot_tar, _ = name.partition(".tar")
    return [f"{stem}{ending}" for ending in (".tar.gz", ".tar.zst", ".tar")] if dot_tar else []


def _is_there(out: Path, remote: ServedFile) -> bool:
    """Whether a file has all its bytes; one that is too short becomes what has arrived of it."""
    path = out / remote.name
    if not path.is_file():
        return False
    size = path.stat().st_size
    if remote.size is None or size == remote.size:
        return True
    # Only an md5 sum can tell that it was the beginning of this file.
    if size > remote.size or remote.md5 is None:
        raise ArchiveError(f"{path} has {size:,} bytes and the server's {remote.size:,}; remove it to fetch it again")
    if size > _held(out, remote):
        path.replace(remote.partial(out))
    else:
        path.unlink()
    return False


def _compare(out: Path, remote: ServedFile, track: Track) -> None:
    path = out / remote.name
    if remote.md5 is not None and (found := md5_of(path, track)) != remote.md5:
        raise ArchiveError(
            f"{path} is damaged or another file (md5 {found}, published {remote.md5}); remove it and run the same "
            "command to fetch it again"
        )


def _check_space(out: Path, remotes: Sequence[ServedFile]) -> None:
    needed = sum(max(0, (remote.size or 0) - _held(out, remote)) for remote in remotes)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise ArchiveError(
            f"{_amount(needed)} are still to be fetched and {out} has {_amount(free)} left; free some space, "
            "or fetch less with --only"
        )


def _amount(size: int) -> str:
    """A number of bytes, for people."""
    return f"{size / 1e9:,.1f} GB" if size >= 10**9 else f"{size / 1e6:,.1f} MB"


def _held(out: Path, remote: ServedFile) -> int:
    part = remote.partial(out)
    return part.stat().st_size if part.is_file() else 0

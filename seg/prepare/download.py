"""Fetching the published record, or a mirror of it."""

import fcntl
import hashlib
import json
import os
import shutil
import string
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

# Ranges, redirects, proxies and timeouts are requests' work; of the libraries that download by themselves, none both
# resumes and compares a checksum.
import requests

from seg.config.track import Track, silent

RECORD = "https://zenodo.org/records/10891137/files"
"""The published record; a file lies at ``<RECORD>/<name>?download=1``."""

Part = Literal["metadata", "maps", "s2", "s1"]
PARTS: tuple[Part, ...] = get_args(Part)

_CHUNK = 1 << 20
_ATTEMPTS = 6
_FIRST_ATTEMPTS = 3
"""Attempts to reach a server at all: without a network nobody wants to wait for the sentence that says so."""
_PAUSE_SECONDS = 1.0
"""Pause before the second attempt; each further one waits twice as long. Attempts that bring something do not count."""
_TIMEOUT_SECONDS = 30.0
_AS_IT_IS = {"Accept-Encoding": "identity"}


class DownloadError(ValueError):
    """A file that cannot be fetched."""


class _BrokenOffError(Exception):
    """A connection that ended too early."""


@dataclass(frozen=True)
class RecordFile:
    """A file of the published record.

    Attributes:
        name: Its name.
        part: What it belongs to.
        md5: Published checksum.
    """

    name: str
    part: Part
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
    """

    part: Part
    path: Path
    checked: bool
    new: bool


@dataclass(frozen=True)
class _Remote:
    """A file on a server: size in bytes and mark of its version, as far as the server tells."""

    part: Part
    name: str
    url: str
    md5: str | None
    size: int | None
    version: str | None


def fetch(out: Path, parts: Sequence[Part] = PARTS, mirror: str | None = None, track: Track = silent) -> list[Fetched]:
    """Fetch the files of the published record.

    A file gets its name when it is complete and its md5 sum is the published one; until then it is ``.<name>.part``,
    which the next call continues. A file that has its name and the size that the server states is not fetched again.

    Args:
        out: The folder to put them in; made if need be.
        parts: What to fetch.
        mirror: Address of a folder that holds the same files, or their parts (``.tar.gzaa``, ``.tar.gzab``, ...).
        track: Progress of each file, in MB.

    Raises:
        DownloadError: If a file cannot be fetched, or arrives damaged, or there is too little space.
        OSError: If a file cannot be written.
    """
    wanted = [file for file in FILES if file.part in parts]
    with _locked(out), requests.Session() as client:
        remotes = [remote for file in wanted for remote in _find(client, file, mirror)]
        missing = [remote for remote in remotes if not _is_there(out, remote)]
        _check_space(out, missing)
        for remote in missing:
            _fetch(client, out, remote, track)
    return [Fetched(remote.part, out / remote.name, remote.md5 is not None, remote in missing) for remote in remotes]


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Held by one process at a time."""
    if out.exists() and not out.is_dir():
        raise DownloadError(f"{out} is a file; name a folder")
    out.mkdir(parents=True, exist_ok=True)
    path = out / ".fetch.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DownloadError(
                f"another process is fetching into {out}; wait for it, or choose another folder"
            ) from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _find(client: requests.Session, file: RecordFile, mirror: str | None) -> list[_Remote]:
    """Where a file lies: in one piece, or on a mirror in several."""
    if mirror is None:
        remote = _ask(client, file.part, file.name, f"{RECORD}/{file.name}?download=1", file.md5)
        if remote is None:
            raise DownloadError(f"the record has no file {file.name} any more; look for a newer version of seg")
        return [remote]
    base = mirror.rstrip("/")
    if whole := _ask(client, file.part, file.name, f"{base}/{file.name}", file.md5):
        return [whole]
    stem, dot_tar, _ = file.name.partition(".tar")
    for ending in (".tar.gz", ".tar.zst", ".tar") if dot_tar else ():
        pieces = []
        for letters in product(string.ascii_lowercase, repeat=2):
            name = f"{stem}{ending}{''.join(letters)}"
            piece = _ask(client, file.part, name, f"{base}/{name}", None)
            if piece is None:
                break
            pieces.append(piece)
        if pieces:
            return pieces
    raise DownloadError(f"{base} has neither {file.name} nor the parts of a split archive; look at the address")


def _ask(client: requests.Session, part: Part, name: str, url: str, md5: str | None) -> _Remote | None:
    """What the server says of a file; None if it has none."""

    def ask() -> requests.Response:
        response = client.head(url, headers=_AS_IT_IS, timeout=_TIMEOUT_SECONDS, allow_redirects=True)
        if response.status_code != requests.codes.not_found:
            _refuse(response, name)
        return response

    response = _patiently(ask, name)
    if response.status_code == requests.codes.not_found:
        return None
    size = response.headers.get("Content-Length")
    version = response.headers.get("ETag") or response.headers.get("Last-Modified")
    return _Remote(part, name, url, md5, int(size) if size and size.isdigit() else None, version)


def _refuse(response: requests.Response, name: str) -> None:
    code = response.status_code
    if code >= requests.codes.server_error or code == requests.codes.too_many_requests:
        raise _BrokenOffError(f"the server answers {code} {response.reason}")
    if code >= requests.codes.bad_request and code != requests.codes.requested_range_not_satisfiable:
        raise DownloadError(
            f"{name} cannot be fetched: the server answers {code} {response.reason}; look at the address, or "
            "try again later"
        )


_ADDRESSES = (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema)


def _reason(error: Exception) -> str:
    """The innermost cause, which says more than what it is wrapped into."""
    while isinstance(error, requests.RequestException) and error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()) or type(error).__name__


def _patiently(step: Any, name: str) -> Any:
    """What a step gives, tried several times with growing pauses."""
    for attempt in range(_FIRST_ATTEMPTS):
        try:
            return step()
        except _ADDRESSES as error:
            raise DownloadError(f"{name} cannot be fetched: {error}") from None
        except (requests.RequestException, _BrokenOffError) as error:
            reason = _reason(error)
            if attempt + 1 < _FIRST_ATTEMPTS:
                time.sleep(_PAUSE_SECONDS * 2**attempt)
    raise DownloadError(
        f"{name} cannot be fetched ({reason}); look at the network and run the same command to go on"
    ) from None


def _is_there(out: Path, remote: _Remote) -> bool:
    path = out / remote.name
    if not path.is_file():
        return False
    if remote.size is not None and path.stat().st_size != remote.size:
        raise DownloadError(
            f"{path} has {path.stat().st_size:,} bytes and the server's {remote.size:,}; remove it to fetch it again"
        )
    return True


def _check_space(out: Path, remotes: Sequence[_Remote]) -> None:
    needed = sum(max(0, (remote.size or 0) - _held(out, remote)) for remote in remotes)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise DownloadError(
            f"{needed / 1e9:,.1f} GB are still to be fetched and {out} has {free / 1e9:,.1f} GB left; free some space, "
            "or fetch less with --only"
        )


def _held(out: Path, remote: _Remote) -> int:
    part = _part(out, remote)
    return part.stat().st_size if part.is_file() else 0


def _part(out: Path, remote: _Remote) -> Path:
    return out / f".{remote.name}.part"


def _fetch(client: requests.Session, out: Path, remote: _Remote, track: Track) -> None:
    part, note = _part(out, remote), out / f".{remote.name}.json"
    version = {"url": remote.url, "version": remote.version, "size": remote.size}
    known = json.loads(note.read_text()) if note.is_file() else None
    if known != version:
        part.unlink(missing_ok=True)
        note.write_text(json.dumps(version))
    megabytes = -(-(remote.size or 0) // _CHUNK)
    for _ in track(_arriving(client, remote, part), f"{remote.name}, MB", megabytes):
        pass
    found = _md5(part)
    if remote.md5 is not None and found != remote.md5:
        part.unlink()
        note.unlink()
        raise DownloadError(
            f"{remote.name} arrived damaged (md5 {found}, published {remote.md5}) and was removed; run the same "
            "command to fetch it again"
        )
    part.rename(out / remote.name)
    note.unlink()


def _arriving(client: requests.Session, remote: _Remote, part: Path) -> Iterator[None]:
    """Writes what is missing; yields for every MB that is there."""
    yield from (None for _ in range(0, part.stat().st_size if part.is_file() else 0, _CHUNK))
    failures = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            yield from _attempt(client, remote, part, before)
        except (requests.RequestException, _BrokenOffError) as error:
            progressed = part.is_file() and part.stat().st_size > before
            failures = 1 if progressed else failures + 1
            if failures >= _ATTEMPTS:
                raise DownloadError(
                    f"{remote.name} broke off ({_reason(error)}); what has arrived is kept, run the same command to "
                    "go on"
                ) from None
            time.sleep(_PAUSE_SECONDS * 2 ** (failures - 1))
        else:
            return


def _attempt(client: requests.Session, remote: _Remote, part: Path, begin: int) -> Iterator[None]:
    if remote.size is not None and begin == remote.size:
        return
    headers = dict(_AS_IT_IS)
    # A server sends the rest only if the file is still the same one, else the whole.
    if begin and remote.version is not None and not remote.version.startswith("W/"):
        headers |= {"Range": f"bytes={begin}-", "If-Range": remote.version}
    with client.get(remote.url, headers=headers, timeout=_TIMEOUT_SECONDS, stream=True) as response:
        _refuse(response, remote.name)
        rest = response.status_code == requests.codes.partial_content
        if rest and not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            raise _BrokenOffError("the server sends another range than was asked for")
        with part.open("ab" if rest else "wb") as file:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                yield
            file.flush()
            os.fsync(file.fileno())
    size = part.stat().st_size
    if remote.size is not None and size < remote.size:
        raise _BrokenOffError(f"{size:,} of {remote.size:,} bytes arrived")
    if remote.size is not None and size > remote.size:
        part.unlink()
        raise _BrokenOffError("more arrived than the server had announced")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

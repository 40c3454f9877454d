"""One file over HTTP: asked for patiently, taken up where it broke off, compared with its md5 sum.

A file whose md5 sum is known is continued by its size alone, whatever the server tells of versions: if it had begun
with another file, the sum shows that, and it is fetched once more from the beginning. Without a sum, only a file that
the server says is still the same one is continued.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

# Ranges, redirects, proxies and timeouts are requests' work; of the libraries that download by themselves, none both
# resumes and compares a checksum.
import requests
import urllib3.exceptions

from seg.config.track import Track
from seg.errors import ArchiveError

_MEGABYTE = 1 << 20
_AT_ONCE = 1 << 18
_ATTEMPTS = 6
_FIRST_ATTEMPTS = 3
"""Attempts to reach a server at all: without a network nobody wants to wait for the sentence that says so."""
_PAUSE_SECONDS = 1.0
"""Pause before the second attempt; each further one waits twice as long. Attempts that bring something do not count."""
TIMEOUT_SECONDS = 30.0
AS_IT_IS = {"Accept-Encoding": "identity"}

T = TypeVar("T")


class _BrokenOffError(Exception):
    """A connection that ended too early."""


@dataclass(frozen=True)
class ServedFile:
    """A file on a server.

    Attributes:
        name: What it is called here.
        url: Where it is.
        md5: Its published checksum; None where there is none.
        size: In bytes; None if the server does not tell.
        version: The server's mark of its version; None if it has none.
    """

    name: str
    url: str
    md5: str | None
    size: int | None
    version: str | None

    def partial(self, folder: Path) -> Path:
        """Where what has arrived is kept until it is complete."""
        return folder / f".{self.name}.part"


def note_of(remote: ServedFile, folder: Path) -> Path:
    """Where it is kept of what file the beginning has arrived."""
    return folder / f".{remote.name}.json"


def ask(client: requests.Session, name: str, url: str, md5: str | None) -> ServedFile | None:
    """What the server says of a file; None if it has none.

    Raises:
        ArchiveError: If the server cannot be reached or refuses.
    """

    def head() -> requests.Response:
        response = client.head(url, headers=AS_IT_IS, timeout=TIMEOUT_SECONDS, allow_redirects=True)
        if response.status_code in (requests.codes.not_allowed, requests.codes.not_implemented):
            with client.get(url, headers=AS_IT_IS, timeout=TIMEOUT_SECONDS, stream=True) as response:
                pass
        if response.status_code != requests.codes.not_found:
            _refuse(response, name)
        return response

    response = _patiently(head, name)
    if response.status_code == requests.codes.not_found:
        return None
    size = response.headers.get("Content-Length")
    version = response.headers.get("ETag") or response.headers.get("Last-Modified")
    if md5 is None and response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise ArchiveError(f"{name} cannot be fetched: at its address is a page and no file; look at it in a browser")
    # Some say 0 where they do not know; there are no empty files.
    return ServedFile(name, url, md5, int(size) or None if size and size.isdecimal() else None, version)


def fetch_file(client: requests.Session, folder: Path, remote: ServedFile, track: Track) -> None:
    """Fetch a file, or the rest of it. It gets its name when it is complete and has the published md5 sum.

    Args:
        client: The connections.
        folder: Where to put it.
        remote: What and where it is.
        track: Progress, in MB.

    Raises:
        ArchiveError: If it breaks off for good, or arrives damaged.
        OSError: If it cannot be written.
    """
    part, note = remote.partial(folder), note_of(remote, folder)
    _keep_what_continues(remote, part, note)
    while True:
        anew = not part.stat().st_size
        for _ in track(_megabytes(_arriving(client, remote, part)), f"{remote.name}, MB", _count(remote.size or 0)):
            pass
        if remote.md5 is None or (found := md5_of(part, track)) == remote.md5:
            break
        part.unlink()
        if anew:
            note.unlink()
            raise ArchiveError(
                f"{remote.name} arrived damaged (md5 {found}, published {remote.md5}), or the server has another file; "
                "it was removed, run the same command to fetch it again"
            )
        part.touch()
    part.rename(folder / remote.name)
    note.unlink()


def md5_of(path: Path, track: Track) -> str:
    """The md5 sum of a file as hexadecimal digits.

    Args:
        path: The file.
        track: Progress, in MB.
    """
    digest = hashlib.md5(usedforsecurity=False)
    name = path.name.removeprefix(".").removesuffix(".part")
    with path.open("rb") as file:
        blocks = iter(lambda: file.read(_MEGABYTE), b"")
        for block in track(blocks, f"md5 sum of {name}, MB", _count(path.stat().st_size)):
            digest.update(block)
    return digest.hexdigest()


def _keep_what_continues(remote: ServedFile, part: Path, note: Path) -> None:
    """Remove what has arrived unless it is the beginning of this very file, as far as anybody can tell."""
    version = {"url": remote.url, "version": remote.version, "size": remote.size}
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = None
    same = remote.md5 is not None or (known == version and remote.version is not None)
    too_long = part.is_file() and remote.size is not None and part.stat().st_size > remote.size
    if not same or too_long:
        part.unlink(missing_ok=True)
    part.touch()
    note.write_text(json.dumps(version), encoding="utf-8")


def _count(size: int) -> int:
    return -(-size // _MEGABYTE)


def _megabytes(places: Iterator[int]) -> Iterator[None]:
    """One item for each MB that places in a file have reached."""
    shown = 0
    for place in places:
        for _ in range(shown, _count(place)):
            yield
        shown = max(shown, _count(place))


def _arriving(client: requests.Session, remote: ServedFile, part: Path) -> Iterator[int]:
    """Writes what is missing; yields how much is there."""
    failures = 0
    while True:
        before = part.stat().st_size
        yield before
        try:
            yield from _attempt(client, remote, part, before)
        except ArchiveError:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError, _BrokenOffError) as error:
            held = part.stat().st_size
            failures = 1 if held > before else failures + 1
            if failures >= _ATTEMPTS:
                cure = "what has arrived is kept, run the same command to go on" if held else "try again later"
                raise ArchiveError(f"{remote.name} broke off ({_reason(error)}); {cure}") from None
            time.sleep(_PAUSE_SECONDS * 2 ** (failures - 1))
        else:
            return


def _attempt(client: requests.Session, remote: ServedFile, part: Path, begin: int) -> Iterator[int]:
    if remote.size is not None and begin == remote.size:
        return
    headers = AS_IT_IS
    if begin and remote.md5 is not None:
        headers = AS_IT_IS | {"Range": f"bytes={begin}-"}
    elif begin and remote.version is not None and not remote.version.startswith("W/"):
        # A server sends the rest only if the file is still the same one, else the whole.
        headers = AS_IT_IS | {"Range": f"bytes={begin}-", "If-Range": remote.version}
    with client.get(remote.url, headers=headers, timeout=TIMEOUT_SECONDS, stream=True) as response:
        _refuse(response, remote.name)
        said = response.headers.get("Content-Range", "")
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            if said == f"bytes */{begin}":
                return
            os.truncate(part, 0)
            raise _BrokenOffError("the server has less than has arrived")
        rest = response.status_code == requests.codes.partial_content
        if rest and not said.startswith(f"bytes {begin}-"):
            raise _BrokenOffError("the server sends another range than was asked for")
        with part.open("ab" if rest else "wb") as file:
            # Whatever comes is written at once: no connection is too short to bring something.
            while data := response.raw.read1(_AT_ONCE, decode_content=False):
                file.write(data)
                file.flush()
                yield file.tell()
            os.fsync(file.fileno())
    _check_size(remote, part)


def _check_size(remote: ServedFile, part: Path) -> None:
    size = part.stat().st_size
    if not size:
        raise _BrokenOffError("nothing arrived")
    if remote.size is not None and size < remote.size:
        raise _BrokenOffError(f"{size:,} of {remote.size:,} bytes arrived")
    if remote.size is not None and size > remote.size:
        os.truncate(part, 0)
        raise _BrokenOffError("more arrived than the server had announced")


def _refuse(response: requests.Response, name: str) -> None:
    code = response.status_code
    if code >= requests.codes.server_error or code == requests.codes.too_many_requests:
        raise _BrokenOffError(f"the server answers {code} {response.reason}")
    sent = (requests.codes.ok, requests.codes.partial_content, requests.codes.requested_range_not_satisfiable)
    if code not in sent:
        raise ArchiveError(
            f"{name} cannot be fetched: the server answers {code} {response.reason}; look at the address, or "
            "try again later"
        )


def _patiently(step: Callable[[], T], name: str) -> T:
    """What a step gives, tried several times with growing pauses."""
    for attempt in range(_FIRST_ATTEMPTS):
        try:
            return step()
        except ArchiveError:
            raise
        except ValueError:
            # Of requests, urllib3 or urllib: the address, or the one it leads to, is none.
            raise ArchiveError(f"{name} cannot be fetched: its address is none; look at it") from None
        except (requests.RequestException, _BrokenOffError) as error:
            reason = _reason(error)
            if attempt + 1 < _FIRST_ATTEMPTS:
                time.sleep(_PAUSE_SECONDS * 2**attempt)
    raise ArchiveError(f"{name} cannot be fetched ({reason}); look at the network and try again") from None


_REASONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((urllib3.exceptions.NameResolutionError,), "no server of that name is known"),
    ((requests.exceptions.ProxyError,), "the proxy does not let it through"),
    ((requests.exceptions.SSLError, urllib3.exceptions.SSLError), "the server's certificate is not accepted"),
    ((ConnectionRefusedError,), "the server refuses the connection"),
    ((requests.exceptions.Timeout, urllib3.exceptions.TimeoutError), "the server does not answer"),
    ((requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError), "the server sends to what is no address"),
    ((requests.exceptions.TooManyRedirects,), "the server sends from one address to the next"),
)


def _reason(error: BaseException) -> str:
    """What broke a connection, in a few words."""
    if isinstance(error, _BrokenOffError):
        return str(error)
    causes = list(_causes(error))
    for types, reason in _REASONS:
        if any(isinstance(cause, types) for cause in causes):
            return reason
    return "the connection broke"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was made of."""
    yield error
    inside = [*error.args, getattr(error, "reason", None), error.__cause__ or error.__context__]
    for cause in inside:
        if isinstance(cause, BaseException):
            yield from _causes(cause)

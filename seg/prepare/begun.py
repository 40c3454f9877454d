"""What lies in the way of a download: its own beginning, which is continued, or a file of somebody else's, which stays.

A download knows what it has begun by the note beside it (``.<name>.json``). A file that is too short and has no note,
such as one that a browser left, is taken for the beginning of the published one only if the server has the same bytes
at both of its ends.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import requests
import urllib3.exceptions

from seg.errors import ForeignFileError
from seg.prepare.transfer import AS_IT_IS, TIMEOUT_SECONDS, ServedFile, note_of

_COMPARED = 1 << 16


def refuse_foreign(client: requests.Session, out: Path, remotes: Sequence[ServedFile]) -> None:
    """Make sure that nothing is written over or removed that no download of seg has made, before anything is fetched.

    Args:
        client: The connections.
        out: The folder.
        remotes: What is to be in it.

    Raises:
        ForeignFileError: Naming the files.
    """
    foreign = [path.name for remote in remotes for path in _foreign(client, out, remote)]
    if foreign:
        raise ForeignFileError(
            f"{out} holds {', '.join(foreign)}, which seg did not fetch and would write over; move that away, or name "
            "another folder"
        )


def _foreign(client: requests.Session, out: Path, remote: ServedFile) -> list[Path]:
    path, part, note = out / remote.name, remote.partial(out), note_of(remote, out)
    if os.path.lexists(path) and not path.is_file():
        return [path]
    if path.is_file() and (remote.size is None or path.stat().st_size >= remote.size or remote.md5 is None):
        # Nothing is fetched: it is what was asked for, or there is a sentence of its own.
        return []
    found = []
    if path.is_file() and not _is_beginning(client, remote, path):
        found.append(path)
    noted = _is_note(note)
    if os.path.lexists(note) and not noted:
        found.append(note)
    if os.path.lexists(part) and not noted and not _is_beginning(client, remote, part):
        found.append(part)
    return found


def _is_beginning(client: requests.Session, remote: ServedFile, path: Path) -> bool:
    """Whether a file may be continued: nothing is lost if it is, or there is nothing in it."""
    if not path.is_file() or path.is_symlink():
        return False
    return not path.stat().st_size or _begins(client, remote, path)


def _is_note(path: Path) -> bool:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.keys() == {"url", "version", "size"}


def _begins(client: requests.Session, remote: ServedFile, path: Path) -> bool:
    """Whether a file has the first bytes of the server's, and those at its own end."""
    size = path.stat().st_size
    if remote.md5 is None or (remote.size is not None and size > remote.size):
        return False
    with path.open("rb") as file:
        for begin in {0, max(0, size - _COMPARED)}:
            file.seek(begin)
            here = file.read(_COMPARED)
            if here and _range(client, remote, begin, len(here)) != here:
                return False
    return True


def _range(client: requests.Session, remote: ServedFile, begin: int, count: int) -> bytes:
    """Some bytes of the server's file; none if it does not give them."""
    headers = AS_IT_IS | {"Range": f"bytes={begin}-"}
    try:
        with client.get(remote.url, headers=headers, timeout=TIMEOUT_SECONDS, stream=True) as response:
            if response.status_code != requests.codes.partial_content:
                return b""
            content: bytes = response.raw.read(count, decode_content=False)
            return content
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError):
        return b""

"""What seg has written in a folder: the record by which it knows its own files again.

``.seg-written.jsonl`` in the folder holds a line for every file, appended before the file gets its name, so that a run
that is killed at any moment leaves no file that the next one does not know. A file is seg's as long as it has the size
and the time of change, or else the digest, that the record keeps: a copied folder is known by its digests, and a file
that somebody has edited or replaced is not seg's any more.
"""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from threading import Lock
from typing import Any

import xxhash

from seg.errors import ForeignFileError

FILE_NAME = ".seg-written.jsonl"
_FILES = ".seg-written*.jsonl"
_ABOUT = {"about": "What seg has written in this folder. It replaces or removes no other file."}
_BLOCK = 1 << 20
TOKEN = secrets.token_hex(4)
"""In the names of the temporary files of this process: nobody else's file has such a name."""


_SMALL = 1 << 22
"""Files up to so many bytes are always read."""


@dataclass(frozen=True)
class State:
    """A file as it was written.

    Attributes:
        size: In bytes.
        mtime_ns: Time of change, ns since 1970.
        digest: xxh3-128 of its content, hexadecimal.
    """

    size: int
    mtime_ns: int
    digest: str

    @classmethod
    def of(cls, path: Path) -> "State":
        """The state that a file has now."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, _digest(path))

    def is_that_of(self, path: Path) -> bool:
        """Whether a file is as it was; a large one is only read if its time of change differs."""
        status = path.lstat()
        if status.st_size != self.size:
            return False
        # A time of change can be set back; to read a small file costs nothing.
        trusted = status.st_mtime_ns == self.mtime_ns and status.st_size > _SMALL
        return trusted or _digest(path) == self.digest


class Written:
    """The record of a folder.

    Args:
        folder: The folder; need not exist.
        rank: Of several processes, the one that keeps it; each keeps a file of its own, and all are read.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self._file = folder / (FILE_NAME if rank == 0 else f".seg-written.{rank}.jsonl")
        self._states: dict[str, list[State]] = {}
        self._begun: dict[str, str] = {}
        self._appending = Lock()
        for file in sorted(folder.glob(_FILES)):
            for line in _lines(file):
                self._take(line)

    def __bool__(self) -> bool:
        return bool(self._states)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the files that were written, by their paths from the folder."""
        return tuple(self._states)

    def holds(self, name: str) -> bool:
        """Whether a file was written under a name, by its path from the folder."""
        return name in self._states

    def is_unchanged(self, name: str) -> bool:
        """Whether the file of that name is there as it was written."""
        path = self.folder / name
        return path.is_file() and any(state.is_that_of(path) for state in reversed(self._states.get(name, [])))

    def note(self, name: str, state: State) -> None:
        """Keep what a file will be, before it gets its name."""
        self._append({"name": name, **asdict(state)})

    def begin(self, work: str) -> None:
        """Keep that this process has temporary files here, which a next one for the same work may remove."""
        if self._begun.get(TOKEN) != work:
            self._append({"begun": TOKEN, "work": work})

    def abandoned(self, work: str) -> list[str]:
        """Tokens in the names of the temporary files that killed processes have left of some work."""
        return [token for token, of in self._begun.items() if of == work and token != TOKEN]

    def end(self, work: str) -> None:
        """Keep that there are no temporary files of some work any more."""
        for token in [token for token, of in self._begun.items() if of == work]:
            self._append({"ended": token})
        # Others may have kept something since this process has read it.
        if not self and not self._begun and not Written(self.folder):
            self._file.unlink(missing_ok=True)

    def merge(self, work: str) -> None:
        """Take over what other processes have kept of some work that is done, and keep each file once.

        Nobody else may write into the folder meanwhile. A folder that somebody removed needs no record.
        """
        if not self.folder.is_dir():
            return
        others = [file for file in self.folder.glob(_FILES) if file != self._file]
        for file in others:
            for line in _lines(file):
                self._take(line)
        lines = sum(map(len, self._states.values()))
        if not others and lines < 2 * len(self._states):
            return
        self._begun = {token: of for token, of in self._begun.items() if of != work}
        kept = [{"name": name, **asdict(states[-1])} for name, states in self._states.items()]
        kept += [{"begun": token, "work": of} for token, of in self._begun.items()]
        partial = self._file.with_name(f".{self._file.name}.{TOKEN}.partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in (_ABOUT, *kept)), encoding="utf-8")
        partial.replace(self._file)
        for file in others:
            file.unlink()

    def _take(self, line: dict[str, Any]) -> None:
        match line:
            case {"name": str(name), "size": int(size), "mtime_ns": int(mtime_ns), "digest": str(digest)}:
                self._states.setdefault(name, []).append(State(size, mtime_ns, digest))
            case {"begun": str(token), "work": str(work)}:
                self._begun[token] = work
            case {"ended": str(token)}:
                self._begun.pop(token, None)

    def _append(self, line: dict[str, Any]) -> None:
        self._take(line)
        with self._appending:
            new = [] if self._file.exists() else [_ABOUT]
            # At one stroke: others may append to the same record.
            text = "".join(json.dumps(one) + "\n" for one in (*new, line)).encode()
            descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, text)
            finally:
                os.close(descriptor)


@dataclass(frozen=True, eq=False)
class Keeper:
    """Keeps the record of a folder while seg writes into it.

    Attributes:
        written: The record.
        names: The files that may be written, by their paths from the folder.
        work: What tells this work from other work in the same folder.
        looks: Whether this process looks at what is in the way, and no other one.
    """

    written: Written
    names: frozenset[str]
    work: str
    looks: bool = True

    def name_of(self, path: Path) -> str | None:
        """The name of a file that is kept here; None for any other."""
        try:
            name = Path(os.path.abspath(path)).relative_to(os.path.abspath(self.written.folder)).as_posix()
        except ValueError:
            return None
        return name if name in self.names else None

    def is_ours(self, name: str) -> bool:
        """Whether what stands at a name may be replaced or removed."""
        return not self.looks or self.written.is_unchanged(name)


_keepers: list[Keeper] = []
"""Of the folders that this process writes into."""


@contextmanager
def keeping(keeper: Keeper) -> Iterator[None]:
    """Keep every file that is written into a folder meanwhile."""
    _keepers.append(keeper)
    try:
        yield
    finally:
        _keepers.remove(keeper)


def keep_all(folder: Path) -> None:
    """Keep all files of a folder that this process has filled, before it gets its place."""
    written = Written(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not is_record(path.name):
            written.note(path.relative_to(folder).as_posix(), State.of(path))


def is_record(name: str) -> bool:
    """Whether a file of a folder is the record itself."""
    return fnmatch(name, _FILES)


def partial_of(path: Path, what: str = "") -> Path:
    """A place beside a file, for what becomes that file; a next run finds and removes what a killed one left there.

    Args:
        path: The file.
        what: Tells places from each other of which one file needs several.
    """
    for keeper in _keepers:
        if keeper.name_of(path) is not None:
            keeper.written.begin(keeper.work)
    return path.with_name(f".{path.name}{what and f'.{what}'}.{TOKEN}.partial")


def note_file(path: Path, staged: Path) -> None:
    """Keep what a file will be. To be called before the staged file takes its place.

    Raises:
        ForeignFileError: As of `require_ours`.
    """
    require_ours(path)
    for keeper in _keepers:
        name = keeper.name_of(path)
        if name is not None:
            keeper.written.note(name, State.of(staged))


def require_ours(path: Path) -> None:
    """Make sure that a file may still be replaced or removed.

    Raises:
        ForeignFileError: If somebody has put another file there since the work began.
    """
    for keeper in _keepers:
        name = keeper.name_of(path)
        if name is not None and os.path.lexists(path) and not keeper.is_ours(name):
            raise ForeignFileError(
                f"{path} was put there by somebody else while seg was at work; move it away and run the same command "
                "again"
            )


def _digest(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a record; one that a killed process has not finished is none."""
    for line in file.read_bytes().splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document

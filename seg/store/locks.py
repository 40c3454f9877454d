"""Locks: one process at a time works at a target, and the next one learns at once who is at it.

A lock is a hidden file that the system lets go of however its holder ends. The holder writes into it who he is, and
removes it before he lets go; whoever has opened it meanwhile finds it gone, and tries again.
"""

import errno
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from seg.errors import BusyError, WrongUseError

_PATIENCE_SECONDS = 0.3
"""A holder that is just leaving is waited for."""
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What file systems answer that know no locks, such as some in a network."""


@contextmanager
def locked(lock: Path, target: Path) -> Iterator[None]:
    """Hold a lock; nobody waits for it.

    Args:
        lock: Its file, in a folder that is there.
        target: What it guards, for the sentence.

    Raises:
        BusyError: If another process holds it, saying which.
        OSError: If the file cannot be written.
    """
    holder = _acquired(lock, target)
    try:
        with suppress(OSError):
            _sign(lock)
        yield
    finally:
        # Where open files cannot be removed, it stays; that does no harm.
        with suppress(OSError):
            lock.unlink()
        holder.release()


def _acquired(lock: Path, target: Path) -> BaseFileLock:
    try:
        try:
            return _taken(FileLock(lock, thread_local=False))
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            return _taken(SoftFileLock(lock, thread_local=False))
    except Timeout:
        _require_writable(lock.parent)
        raise BusyError(f"{_holder_of(lock)} is writing {target}; wait for it to end, or write elsewhere") from None
    except PermissionError as error:
        raise _not_writable(lock.parent, error) from None


def _require_writable(folder: Path) -> None:
    """Where no file can be made, no other process holds the lock: there cannot be one."""
    try:
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _not_writable(folder, error) from None


def _not_writable(folder: Path, error: OSError) -> WrongUseError:
    return WrongUseError(f"{folder} cannot be written ({error.strerror}); name a folder that you may write")


def _taken(lock: BaseFileLock) -> BaseFileLock:
    lock.acquire(timeout=_PATIENCE_SECONDS, poll_interval=_PATIENCE_SECONDS / 10)
    return lock


def _sign(lock: Path) -> None:
    """Write who holds a lock into it; a lock of another kind has a content of its own."""
    if lock.stat().st_size and "seg" not in _content(lock):
        return
    who = {
        "seg": _command(),
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }
    lock.write_text(json.dumps(who) + "\n", encoding="utf-8")


def _holder_of(lock: Path) -> str:
    who = _content(lock)
    if not {"seg", "process", "host", "since"} <= who.keys():
        return "another process"
    return f"'{who['seg']}' (process {who['process']} on {who['host']}, since {who['since']})"


def _content(lock: Path) -> dict[str, object]:
    try:
        document = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _command() -> str:
    """What this process was started as, without its options: ``seg predict``, ``seg data build``, ``sweep.py``."""
    program, *words = sys.argv or [""]
    if Path(program).name not in ("seg", "__main__.py"):
        return Path(program).name or "python"
    chosen = words[: 2 if words[:1] == ["data"] else 1]
    return " ".join(["seg", *(word for word in chosen if not word.startswith("-"))])

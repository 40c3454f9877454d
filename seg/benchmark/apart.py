"""Submissions of somebody unknown, verified in a process of their own, which has limits and may die.

What a file says of itself is checked before it is read (`seg.benchmark.bounds`), but a reader of a file that lies may
still take any memory or time, or crash. So it is not this process that reads. Of the one that does, memory, processor
time and the size of files are limited where the system can do so, and time on the clock everywhere; what it unpacks
goes into a folder that is removed with it. It is used again after a submission that was found to be good, and after no
other.

This bounds what a submission may use up. It keeps nobody away from files, as a container would.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from seg.benchmark.container import MOST_BYTES
from seg.benchmark.reply import error_text, read_error, read_verified, verified_text
from seg.benchmark.verify import Verified, verify_submission
from seg.config.track import Track, silent
from seg.errors import SegError, SubmissionError
from seg.store.open import Store, open_store
from seg.store.patches import DATA_FILE

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What verifying one submission may take.

    Attributes:
        memory: Bytes of addresses beyond those of the program itself and of the store.
        seconds: On the clock, and for each core in processor time, whatever its size is.
        bytes_per_second: By which larger ones may take longer; those of the official test split take a tenth of it.
        patches_per_second: Likewise of a store that they are compared with.
    """

    memory: int = 8 << 30
    seconds: float = 600.0
    bytes_per_second: float = 2.0**17
    patches_per_second: float = 50.0

    def seconds_for(self, path: Path, patches: int) -> float:
        """How long a submission may take."""
        files = path.rglob("*") if path.is_dir() else [path]
        size = 0
        for file in files:
            with suppress(OSError):
                size += file.lstat().st_size
        return self.seconds + size / self.bytes_per_second + patches / self.patches_per_second


_LIMITS = Limits()
_PATIENCE_SECONDS = 5.0
_LONGEST = 1 << 30
"""Letters of an answer: of 50 seeds on the official test split it has an eighth of it."""
_SERVE = "import sys; sys.path[:] = {path!r}; from seg.benchmark.apart import serve; serve({memory!r})"


class Examiner:
    """Verifies one submission after the other in a process apart; a context manager that ends it.

    Args:
        store: The data, to compare with what the evidence says is true.
        limits: What each may take.
    """

    def __init__(self, store: Store | None = None, limits: Limits = _LIMITS) -> None:
        self._store, self._limits = store, limits
        self._process: subprocess.Popen[str] | None = None
        self._things = ExitStack()

    def __enter__(self) -> "Examiner":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def verify(self, path: Path, track: Track = silent) -> Verified:
        """Verify a submission.

        Args:
            path: Its folder, or a zip of it.
            track: Progress.

        Raises:
            SubmissionError: Of the first thing that is not as it should be, or if it takes too much or ends the
                process.
            OSError: If it cannot be read.
        """
        process = self._process or self._begin()
        seconds = self._limits.seconds_for(path, len(self._store.index) if self._store else 0)
        stopped = threading.Event()

        def stop() -> None:
            stopped.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            what, text = _answered(process, [str(path), seconds], track)
            found = read_verified(text) if what == "found" else read_error(text)
        except (OSError, ValueError):
            self._end()
            raise _ended(seconds if stopped.is_set() else None, process.returncode) from None
        except BaseException:
            self._end(at_once=True)
            raise
        finally:
            timer.cancel()
            timer.join()
        if isinstance(found, Verified):
            if stopped.is_set():
                # Time was up just when it had answered, and it answers no more.
                self._end()
            return found
        self._end()
        if isinstance(found, MemoryError):
            raise _too_large(self._limits.memory)
        if not isinstance(found, (SegError, OSError)):
            found.add_note(what)
        raise found

    def _begin(self) -> "subprocess.Popen[str]":
        room = self._things.enter_context(tempfile.TemporaryDirectory(prefix="seg-verify-", ignore_cleanup_errors=True))
        code = _SERVE.format(path=[one or os.getcwd() for one in sys.path], memory=self._limits.memory)
        environment = {**os.environ, "TMPDIR": room, "TEMP": room, "TMP": room}
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env=environment,
            # Ctrl-C is for this process, which ends the other one.
            start_new_session=True,
        )
        assert self._process.stdin is not None, "it is a pipe"
        _send(self._process.stdin, None if self._store is None else str(self._store.folder))
        return self._process

    def _end(self, at_once: bool = False) -> None:
        """End the process, if there is one, and remove what it has left."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None, "it is a pipe"
            with suppress(OSError):
                process.stdin.close()
            if not at_once:
                # It ends by itself when nothing more is asked, unless it is ending in another way.
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_PATIENCE_SECONDS)
            process.kill()
            process.wait()
            assert process.stdout is not None, "it is a pipe"
            process.stdout.close()
        self._things.close()


def _answered(process: "subprocess.Popen[str]", question: object, track: Track) -> tuple[str, str]:
    """What a process says to a question, and the kind of it; it may tell of progress before.

    Raises:
        OSError, ValueError: If it ends before, or says something else.
    """
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    _send(process.stdin, question)
    ticks: Iterator[int] = iter(())
    while True:
        what, content = json.loads(process.stdout.readline(_LONGEST))
        if what == "work":
            description, total = str(content[0]), int(content[1])
            ticks = iter(track(range(total), description, total))
        elif what == "step":
            next(ticks, None)
        else:
            return str(what), str(content)


def _ended(seconds: float | None, code: int) -> SubmissionError:
    """Why there is no answer, in a sentence."""
    if seconds is not None:
        return SubmissionError(
            f"verifying it was given up after {seconds:,.0f} seconds, and no honest one takes as long"
        )
    signal = f"signal {-code}" if code < 0 else f"code {code}"
    return SubmissionError(
        f"it ended the process that verified it ({signal}): its files are damaged or take more than they say"
    )


def _too_large(memory: int) -> SubmissionError:
    return SubmissionError(f"verifying it takes more than {memory >> 20:,} MiB of memory, and no honest one does")


# ------------------------------------------------------------------------------------------------- in the other process


def serve(memory: int) -> None:
    """Answer what is asked through the standard input, until it ends.

    Args:
        memory: Bytes of addresses that may be taken beyond those that are taken by now, and by the store.
    """
    # Whatever is printed must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    questions = os.fdopen(0, encoding="utf-8", closefd=False)
    folder = json.loads(questions.readline())
    store = None if folder is None else open_store(folder)
    _limit_memory(memory, 0 if folder is None else (Path(folder) / DATA_FILE).stat().st_size)
    for line in questions:
        path, seconds = json.loads(line)
        _limit_time(seconds)
        _send(answers, _verified(Path(path), store, _telling(answers)))


def _verified(path: Path, store: Store | None, track: Track) -> tuple[str, str]:
    """``found`` and the submission, or where an error comes from and the error."""
    try:
        return "found", verified_text(verify_submission(path, store, track))
    # Whatever it is, the process that asked tells of it: errors are answers here.
    except Exception as error:
        return traceback.format_exc(), error_text(error)


def _telling(answers: IO[str]) -> Track:
    """Progress that the other process shows."""

    def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
        _send(answers, ("work", (description, total)))
        for item in items:
            _send(answers, ("step", None))
            yield item

    return track


def _limit_memory(memory: int, store_bytes: int) -> None:
    """Limit addresses, files and dumps, where the system has such limits."""
    with _limiting() as limit:
        import resource

        taken = 0
        with suppress(OSError, ValueError):
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            taken = pages * resource.getpagesize()
        # The file of a store is mapped twice, and grows into nothing that is memory.
        limit(resource.RLIMIT_AS, taken + memory + 2 * store_bytes)
        limit(resource.RLIMIT_FSIZE, MOST_BYTES)
        limit(resource.RLIMIT_CORE, 0)


def _limit_time(seconds: float) -> None:
    """Limit processor time: whoever asks looks at the clock, but may be killed himself."""
    with _limiting() as limit:
        import resource

        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        limit(resource.RLIMIT_CPU, int(used + seconds * (os.cpu_count() or 1)) + 1)


@contextmanager
def _limiting() -> Iterator[Callable[[int, int], None]]:
    """Sets limits as far as the system knows them: Windows has none, macOS not all."""

    def limit(what: int, most: int) -> None:
        import resource

        _, hard = resource.getrlimit(what)
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

    with suppress(ImportError):
        yield limit


def _send(to: IO[str], content: object) -> None:
    to.write(json.dumps(content) + "\n")
    to.flush()

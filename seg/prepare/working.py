"""The folder in which a store is made: it becomes the store when it is complete, and survives what interrupts it.

``.<name>.building`` lies beside the store-to-be and holds the LMDB as far as it has come and ``build.json``: what is
being built, and how far each source has been read. The same command goes on from there.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seg.errors import BuildError, ForeignFileError, StoreError
from seg.store.atomic import aside_of, put_in_place, recover_folder, write_text
from seg.store.offsets import OFFSETS_FILE, was_changed
from seg.store.open import (
    FORMAT,
    FORMAT_COMPACT,
    INDEX_FILE,
    INFO_FILE,
    fingerprint,
    read_description,
    read_format,
    read_info,
)
from seg.store.patches import DATA_FILE, LOCK_FILE
from seg.store.targets import claimed_place

PLAN_FILE = "build.json"
LOG = "dropped.csv"
"""In a store that was cut out of products: the patches that were left out, and why."""
_OF_A_STORE = (DATA_FILE, LOCK_FILE, INDEX_FILE, INFO_FILE, OFFSETS_FILE, LOG)


class Journal:
    """What ``build.json`` says: the plan, and per source what is known of it.

    Args:
        folder: The working folder.
        plan: What is being built.
        sources: What was noted about each source before.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any], sources: Mapping[str, Any]) -> None:
        self._folder = folder
        self._plan = dict(plan)
        self._sources = dict(sources)

    def note(self, source: str, state: Mapping[str, Any]) -> None:
        """Keep something about a source, on disk at once."""
        self._sources[source] = dict(state)
        self.write()

    def of(self, source: str) -> dict[str, Any]:
        """What was noted last; empty if nothing was."""
        return dict(self._sources.get(source, {}))

    def write(self) -> None:
        """Write ``build.json``."""
        write_text(
            self._folder / PLAN_FILE, json.dumps({"plan": self._plan, "sources": self._sources}, indent=2) + "\n"
        )


@contextmanager
def working_folder(
    out: Path,
    plan: Mapping[str, Any],
    force: bool | None,
    holds_nothing: Callable[[Path], bool] | None = None,
    place: Callable[[Path, Path], None] = put_in_place,
) -> Iterator[tuple[Path, Journal]]:
    """The folder to build in, new or as an earlier build of the same plan left it; becomes `out` if all goes well.

    If not, it stays where it holds anything of worth, with a note of that on the exception.

    Args:
        out: The store to make.
        plan: What is being built, of plain JSON types.
        force: Replace a store that is there; None: never.
        holds_nothing: Whether a working folder is not worth keeping; None: while no batch of values is written.
        place: Moves the finished folder to `out`.

    Raises:
        BuildError: If `out` may not be replaced, or an unfinished build has another plan.
        ForeignFileError: If what is in the way is not seg's.
        BusyError: If another process builds it.
    """
    folder = out.resolve().with_name(f".{out.resolve().name}.building")
    with claimed_place(out, {folder: _is_build, aside_of(out): _is_store}):
        recover_folder(out)
        _check_target(out, force)
        folder.mkdir(exist_ok=True)
        try:
            yield folder, _journal(folder, plan)
            place(folder, out)
            (out / PLAN_FILE).unlink()
        except BaseException as error:
            if (holds_nothing or _without_values)(folder):
                shutil.rmtree(folder, ignore_errors=True)
            elif not isinstance(error, BuildError):
                error.add_note(f"What is done is kept in {folder}; the same command goes on from there.")
            raise


def _check_target(out: Path, force: bool | None) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    store = (out / INFO_FILE).is_file()
    if not force:
        cure = " or replace it with --force" if force is not None and store else ""
        raise BuildError(f"{out} is there already; choose another folder{cure}", wrong_use=True)
    if not store:
        raise BuildError(f"{out} is no store, so --force does not replace it; choose another folder", wrong_use=True)
    if changed := _changed(out):
        raise ForeignFileError(
            f"{out / changed} is not as seg wrote it, and --force replaces all of the store; move it away or choose "
            "another folder"
        )
    # A build does not write again what tells of products that were cut.
    if others := sorted(path.name for path in out.iterdir() if path.name not in _OF_A_STORE or path.name == LOG):
        raise ForeignFileError(
            f"{out} holds {', '.join(others)}, which is no part of a store, and --force replaces all of it; move that "
            "away or choose another folder"
        )


def _changed(store: Path) -> str | None:
    """A file of a store that somebody has changed, as far as the store itself tells; None if there is none."""
    try:
        if read_format(store) not in (FORMAT, FORMAT_COMPACT):
            # Of other versions it is not known what they wrote.
            return None
        info = read_info(store)
    except StoreError:
        return INFO_FILE
    if (store / INFO_FILE).read_text(encoding="utf-8") != info.to_json():
        return INFO_FILE
    try:
        index, _ = read_description(store)
    except StoreError:
        return INDEX_FILE
    if fingerprint(index) != info.fingerprint:
        return INDEX_FILE
    return DATA_FILE if was_changed(store) else None


def _is_build(folder: Path) -> bool:
    """Whether a folder is an unfinished build: its journal is the first file that it gets."""
    try:
        document = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.keys() == {"plan", "sources"}


def _is_store(folder: Path) -> bool:
    return (folder / INFO_FILE).is_file() and all(path.name in _OF_A_STORE for path in folder.iterdir())


def _journal(folder: Path, plan: Mapping[str, Any]) -> Journal:
    """The journal of an unfinished build of the same plan, or a new one."""
    plain = json.loads(json.dumps(plan))
    try:
        document = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        document = {"plan": plain, "sources": {}}
        (folder / DATA_FILE).unlink(missing_ok=True)
    if changed := [key for key in plain if document["plan"].get(key) != plain[key]]:
        raise BuildError(
            f"{folder} holds an unfinished build with other settings ({', '.join(changed)}); run its command again to "
            "finish it, or remove the folder to start anew"
        )
    journal = Journal(folder, plain, document["sources"])
    journal.write()
    return journal


def _without_values(folder: Path) -> bool:
    """Whether not even one batch of values has been written."""
    data = folder / DATA_FILE
    return not data.is_file() or data.stat().st_size <= _EMPTY_BYTES


_EMPTY_BYTES = 1 << 16

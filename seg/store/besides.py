"""Whose files a folder holds: seg's, by the record of what it has written there, and those of others."""

from pathlib import Path

from seg.config.track import Notify
from seg.store.targets import folder_words, is_folder, listed_names
from seg.store.written import FILE_NAME as RECORD_FILE
from seg.store.written import Keeper, Written, is_record


def files_of_others(folder: Path) -> list[str]:
    """The files of a folder that are not seg's, by its record, by their paths from it."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not is_folder(path)]
    written = Written(folder)
    return sorted(name for name in names if not is_record(name) and not written.is_unchanged(name))


def has_record(folder: Path) -> bool:
    """Whether seg has made a folder, or written into it: its record is the first file that it gets."""
    return (folder / RECORD_FILE).is_file()


def holds_nothing_else(folder: Path) -> bool:
    """Whether seg has made a folder, by the record in it, and nothing in it is anybody else's or unfinished."""
    return has_record(folder) and not files_of_others(folder)


def tell_besides(keeper: Keeper | None, notify: Notify) -> None:
    """Say what a folder that is written into holds besides; only the first of several processes does.

    Files that are written among others are hard to tell from them afterwards. What is hidden is not meant,
    nor are folders that seg has made.

    Args:
        keeper: Of the folder, once everything is claimed; None: there is no folder.
        notify: Is told, unless there is nothing.
    """
    if keeper is None or not keeper.looks:
        return
    written = keeper.written
    ours = {Path(name).parts[0] for name in (*keeper.names, *written.names)}
    there = [path for path in sorted(written.folder.iterdir()) if not path.name.startswith(".")]
    if others := [path.name for path in there if path.name not in ours and not has_record(path)]:
        notify(f"What else {folder_words(written.folder)} holds stays as it is: {listed_names(others)}.")

"""A folder that appears as a whole in a place that was claimed, and replaces nothing but one of its kind."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seg.errors import ForeignFileError, WrongUseError
from seg.store.atomic import aside_of, put_in_place
from seg.store.besides import files_of_others, has_record, holds_nothing_else
from seg.store.targets import claimed_place, folder_words, listed_names
from seg.store.written import FILE_NAME as RECORD
from seg.store.written import Written, keep_all


@contextmanager
def whole_folder(out: Path, mark: str, kind: str) -> Iterator[Path]:
    """Claim the place of a folder and give one beside it to be filled, which takes the place in the end.

    Args:
        out: The folder; one of its kind that seg wrote is replaced.
        mark: A file that every folder of its kind has.
        kind: What such a folder is, with its article: ``a model folder``.

    Raises:
        WrongUseError: If something else is there.
        ForeignFileError: If it holds files that are not seg's.
        BusyError, OSError: As of `seg.store.targets.claimed_place`.
    """
    place = out.resolve()
    staged = place.with_name(f".{place.name}.unfinished")
    with claimed_place(place, {staged: has_record, aside_of(out): holds_nothing_else}):
        _check_replaceable(out, mark, kind)
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        try:
            Written(staged).begin(out.name)
            yield staged
            keep_all(staged)
            put_in_place(staged, out)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise


def _check_replaceable(out: Path, mark: str, kind: str) -> None:
    empty = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not empty and not (out / mark).is_file():
        names = sorted(path.name for path in out.iterdir() if path.name != RECORD) if out.is_dir() else []
        found = f" ({names[0]})" if names else ""
        raise WrongUseError(f"{folder_words(out)} holds something else than {kind}{found}; name a new one")
    if not empty and not holds_nothing_else(out):
        others = listed_names(files_of_others(out))
        raise ForeignFileError(
            f"{folder_words(out)} holds {others}, which seg did not write or somebody has changed since, and all of it "
            "is replaced; move that away or name another --out"
        )

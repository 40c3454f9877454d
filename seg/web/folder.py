"""The folder of the page of a map: where it is, and whether it is seg's."""

import os
import shutil
from pathlib import Path

from seg.errors import ForeignFileError
from seg.store.atomic import aside_of
from seg.store.besides import holds_nothing_else
from seg.store.targets import is_folder

PAGE = "index.html"
_SUFFIX = "_web"


def page_folder(path: Path) -> Path:
    """The folder of the page of a map."""
    return path.with_name(path.stem + _SUFFIX)


def require_page(folder: Path) -> None:
    """Refuse a folder in the place of a page that holds anything that seg has not written.

    Args:
        folder: From `page_folder`; need not exist.

    Raises:
        ForeignFileError: If it does.
    """
    for path in (folder, aside_of(folder)):
        if os.path.lexists(path) and not (is_folder(path) and _is_ours(path)):
            raise ForeignFileError(
                f"{path} is where the page of the map goes, but holds something that seg did not write or somebody has "
                "changed since; move it away or name another --out"
            )


def remove_page(folder: Path) -> bool:
    """Remove a page, if there is one, and what a killed process has left of one; gives whether there was a page.

    Raises:
        ForeignFileError: As of `require_page`.
    """
    require_page(folder)
    there = folder.is_dir()
    for path in (folder, folder.with_name(f".{folder.name}.new")):
        shutil.rmtree(path, ignore_errors=True)
    return there


def _is_ours(folder: Path) -> bool:
    return not any(folder.iterdir()) or holds_nothing_else(folder)

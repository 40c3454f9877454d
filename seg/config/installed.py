"""Names in the sources of installed packages: what a package that takes seconds to load has, without loading it."""

import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def is_loaded(package: str) -> bool:
    """Whether a package is loaded, so that asking it costs nothing; somebody may have added to it."""
    return package in sys.modules


@cache
def names_in_source(package: str, files: str, pattern: str) -> tuple[str, ...]:
    """What a pattern finds in the sources of a package, each once, in the order of files and lines.

    Args:
        package: A package that is installed; it is not loaded.
        files: Which of its files, such as ``models/*.py``.
        pattern: Regular expression with one group.

    Returns:
        Nothing where the sources are not on the disk, or are written otherwise than the pattern says.
    """
    spec = find_spec(package)
    folders = spec.submodule_search_locations or () if spec else ()
    expression = re.compile(pattern, re.MULTILINE)
    sources = (path.read_text(encoding="utf-8") for folder in folders for path in sorted(Path(folder).glob(files)))
    return tuple(dict.fromkeys(name for source in sources for name in expression.findall(source)))

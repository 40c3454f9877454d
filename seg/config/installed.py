"""What installed packages have that take seconds to load, without loading them: names in their sources, and GPUs."""

import ctypes
import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from seg.errors import WrongUseError


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


def not_installed(*packages: str) -> str:
    """Those of some packages that are not installed, in a list; empty if all are."""
    return ", ".join(name for name in packages if find_spec(name) is None)


def require_device(name: str) -> None:
    """Make sure that a device may be there, as far as it shows without torch.

    Args:
        name: As `seg.config.terms.device_name` takes it.

    Raises:
        WrongUseError: If it is one of CUDA, and torch was built without it or finds no driver.
    """
    if name.partition(":")[0] == "cuda" and not _may_have_cuda():
        raise no_cuda(name, 0)


def no_cuda(name: str, count: int) -> WrongUseError:
    """The error for a device of CUDA that is not there, of so many that are."""
    return WrongUseError(f"device {name} is not there: this machine has {count} CUDA devices; use --device auto")


@cache
def _may_have_cuda() -> bool:
    """Whether torch may find a GPU: that is through the driver's library, if it was built for that."""
    built = dict.fromkeys(names_in_source("torch", "version.py", r"^(cuda|hip)\b.*= ['\"]"))
    if "hip" in built or not find_spec("torch"):
        return True
    if "cuda" not in built:
        return False
    try:
        # Nothing is called: whoever asks for the number of devices must not share memory with other processes.
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True

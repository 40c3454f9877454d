"""Where seg keeps what it can make again: one place for all rooms, and for the user who wants to empty it."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/seg``, else ``~/.cache/seg``; need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seg"

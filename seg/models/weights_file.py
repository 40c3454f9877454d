"""Where the weights of a run lie, and their digest. Without torch, so that reports are made without it."""

import hashlib
from pathlib import Path

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "card.json"
STATE_FILES = "state.safetensors", "state.json"
"""What stands beside them in a checkpoint that a run continues from."""
CHECKPOINTS, LAST, BEST = "checkpoints", "last", "best"
"""The checkpoints of a run, and the folder in it that holds them."""


def weights_digest(folder: Path) -> str | None:
    """32 hexadecimal digits that change with every weight.

    Args:
        folder: A checkpoint.

    Returns:
        None if it has no weights.
    """
    try:
        return file_digest(folder / WEIGHTS_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None


def file_digest(path: Path) -> str:
    """32 hexadecimal digits of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

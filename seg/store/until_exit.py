"""Claims of scripts, which hold until the process ends."""

import atexit
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from seg.errors import SegError
from seg.store.targets import Known, claimed_folder

_until_exit: dict[Path, ExitStack] = {}
"""Claims by their folder."""


def claim_until_exit(folder: Path, names: Sequence[str]) -> None:
    """Claim files that a script will write, see `claimed_folder`, before its work begins, until it ends or claims anew.

    Files that carry a mark of seg vouch for the others.

    Raises:
        SystemExit: With a sentence, if they cannot be had.
    """
    if (earlier := _until_exit.pop(folder.resolve(), None)) is not None:
        earlier.close()
    claims = ExitStack()
    try:
        claims.enter_context(claimed_folder(folder, names, Known(vouchers=names)))
    except (SegError, OSError) as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {error}")
    atexit.register(claims.close)
    _until_exit[folder.resolve()] = claims

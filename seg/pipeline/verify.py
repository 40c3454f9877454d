"""Verify a submission: everything in it that follows from its evidence is computed anew, in a process apart."""

from pathlib import Path

from seg.benchmark.apart import Examiner
from seg.benchmark.verify import Verified
from seg.config.paths import AnyPath, path_or_none
from seg.config.track import Track, silent
from seg.store.open import open_store


def verify(submission: AnyPath, *, data: AnyPath | None = None, track: Track = silent) -> Verified:
    """Verify a submission.

    Args:
        submission: The folder that `submit` wrote, or a zip of it.
        data: The store that it was scored on, to compare labels, class areas and boundaries of every patch with.
        track: Progress.

    Returns:
        What it comes to, what was found to hold, and what cannot be known.

    Raises:
        SubmissionError: Of the first thing that is not as it should be.
        StoreError: If the store cannot be read.
    """
    data = path_or_none(data)
    store = None if data is None else open_store(data)
    with Examiner(store) as examiner:
        return examiner.verify(Path(submission), track)

"""Fetching the published record, or a mirror of it."""

from collections.abc import Sequence
from pathlib import Path

from seg.config.paths import AnyPath
from seg.config.track import Track, silent
from seg.prepare import download


def fetch(
    out: AnyPath, parts: Sequence[download.RecordPart] | None = None, mirror: str | None = None, track: Track = silent
) -> list[download.Fetched]:
    """Fetch the published record; see `seg.prepare.download`.

    Args:
        out: Folder to put the files in.
        parts: Some of metadata, maps, s2, s1; None: all.
        mirror: Address of a folder with the same files, or with split archives.
        track: Progress.

    Raises:
        ArchiveError: If a part does not exist, or a file cannot be fetched.
    """
    return download.fetch(Path(out), download.PARTS if parts is None else parts, mirror, track)

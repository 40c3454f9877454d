"""What metadata parquets say of their data beside the published columns: notes in the metadata of their schema."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

SYNTHETIC_NOTE = b"seg.synthetic"
"""Key under which the metadata parquets of a synthetic reBEN say so; it holds JSON."""


LAND_COVER_NOTE = b"seg.land_cover"
"""Key under which the metadata parquets of a reBEN of one's own say how its land cover was read; it holds JSON."""


def synthetic_mark(paths: Sequence[Path]) -> dict[str, Any] | None:
    """What metadata parquets say of the synthetic reBEN that they belong to; None if they belong to none."""
    return _note(paths, SYNTHETIC_NOTE)


def land_cover_note(paths: Sequence[Path]) -> dict[str, Any] | None:
    """How the land cover was read that metadata parquets are of; None for a reBEN that was not made by seg."""
    return _note(paths, LAND_COVER_NOTE)


def _note(paths: Sequence[Path], key: bytes) -> dict[str, Any] | None:
    for path in paths:
        if note := (pq.read_schema(path).metadata or {}).get(key):
            document: dict[str, Any] = json.loads(note)
            return document
    return None

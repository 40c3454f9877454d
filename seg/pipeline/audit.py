"""Checking and repairing a store."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from seg.config.paths import AnyPath, AnyPaths, path_list, path_or_none
from seg.config.track import Track, silent
from seg.errors import StoreError
from seg.prepare.audit import CHECKS, Audit, audit_source, audit_store
from seg.prepare.layout import Kind
from seg.prepare.repair import repair_store, source_parts
from seg.prepare.sources import Sources, find_sources, open_sources
from seg.store.index import BoolArray, Index
from seg.store.locks import locked
from seg.store.open import INFO_FILE, StoreInfo, open_store, read_description
from seg.store.targets import lock_beside


def check_store(
    folder: AnyPath,
    *,
    metadata: AnyPaths = (),
    s2: AnyPath | None = None,
    s1: AnyPath | None = None,
    maps: AnyPath | None = None,
    repair: bool = False,
    workers: int | None = None,
    track: Track = silent,
) -> Audit:
    """Check a store, compare it with its source where that is given, and repair it if asked.

    Args:
        folder: A store, or a bare rico-hdl LMDB.
        metadata: Metadata parquets of a bare LMDB.
        s2, s1, maps: Trees or archives that the store was built from.
        repair: Read what is bad anew from them. Nobody else may have the store open meanwhile.
        workers: Processes that read.
        track: Progress.

    Returns:
        What was found; after a repair, what is still found, and what was mended.

    Raises:
        StoreError: If there is no store, or a bare LMDB is to be repaired.
    """
    folder, metadata, s2, s1, maps = (
        Path(folder),
        path_list(metadata),
        path_or_none(s2),
        path_or_none(s1),
        path_or_none(maps),
    )
    sources = Sources(s2=s2, s1=s1, maps=maps, metadata=())
    find_sources(sources)
    own = (folder / INFO_FILE).is_file()
    if repair and not (own and sources.paths):
        raise StoreError(
            "a repair needs a store that seg has built, and what it was built from: name it with --s2, --s1 and --maps"
        )
    index, info = _described(folder, metadata, own)
    opened = open_sources(sources, info.bands)
    with locked(lock_beside(folder), folder) if repair else nullcontext():
        audit = audit_store(folder, index, info, workers, track)
        if repair and audit.bad_values():
            repair_store(folder, index, info.bands, opened, audit, track)
            before = [finding for finding in audit.findings if CHECKS[finding.check]]
            audit = audit_store(folder, index, info, workers, track)
            audit = replace(audit, repaired=tuple(finding for finding in before if finding not in audit.findings))
    if opened:
        needed = _held(index)
        total = sum(int(needed[kind].sum()) for kind in opened)
        parts = source_parts(index, opened, info.bands, needed)
        audit = audit_source(audit, index, parts, total, track)
    return audit


def _described(folder: Path, metadata: Sequence[Path], own: bool) -> tuple[Index, StoreInfo]:
    """Index and description; the LMDB of an own store stays closed in this process, so that it can be written."""
    if own:
        return read_description(folder)
    store = open_store(folder, metadata)
    return store.index, store.info


def _held(index: Index) -> dict[Kind, BoolArray]:
    return {"s2": index.has_s2, "s1": index.has_s1, "maps": index.has_map}

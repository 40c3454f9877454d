"""From published trees or archives to a store."""

from pathlib import Path

from seg.config.paths import AnyPath, AnyPaths, path_list, path_or_none
from seg.config.track import Track, silent
from seg.prepare.build import Subset, build_store
from seg.prepare.sources import Sources
from seg.store.open import StoreInfo


def build(
    out: AnyPath,
    *,
    s2: AnyPath | None = None,
    s1: AnyPath | None = None,
    maps: AnyPath | None = None,
    metadata: AnyPaths,
    subset: Subset | None = None,
    resplit: str | None = None,
    partial: bool = False,
    force: bool = False,
    compress: bool = False,
    workers: int | None = None,
    track: Track = silent,
) -> StoreInfo:
    """Convert published trees or archives into a store; see `seg.prepare.build`."""
    out, s2, s1, maps, metadata = Path(out), path_or_none(s2), path_or_none(s1), path_or_none(maps), path_list(metadata)
    sources = Sources(s2=s2, s1=s1, maps=maps, metadata=tuple(metadata))
    return build_store(
        sources,
        out,
        subset=subset,
        resplit=resplit,
        partial=partial,
        force=force,
        compress=compress,
        workers=workers,
        track=track,
    )

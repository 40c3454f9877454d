"""From published trees or archives to a store."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seg.config.sections import DataConfig
from seg.config.synthetic import SYNTHETIC_FILE
from seg.config.track import Track, silent
from seg.config.version import VERSION
from seg.config.wording import counted
from seg.errors import ArchiveError, BuildError
from seg.prepare.fill import Ledger, Order, fill
from seg.prepare.layout import KINDS
from seg.prepare.sources import Opened, Sources, find_sources, names_of, open_sources, wanted_layers, without_bands
from seg.prepare.split import split_by_tile
from seg.prepare.tree import Tree
from seg.prepare.working import working_folder
from seg.reben.bands import BANDS
from seg.reben.patch import Split
from seg.store.compact import COMPRESSION
from seg.store.index import BoolArray, Index, hash_names, read_index
from seg.store.notes import land_cover_note, synthetic_mark
from seg.store.offsets import write_offsets
from seg.store.open import INDEX_FILE, INFO_FILE, StoreInfo, describe
from seg.store.selection import select


@dataclass(frozen=True)
class Subset:
    """The part of the data that a store is to hold.

    Attributes:
        split: One split only.
        countries: These countries only; empty: all.
        bands: These bands only; empty: all that there are.
        limit: The first so many patches: by patch id out of a tree, in its own order out of an archive.
    """

    split: Split | None = None
    countries: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    limit: int | None = None


def build_store(  # noqa: PLR0913
    sources: Sources,
    out: Path,
    *,
    subset: Subset | None = None,
    resplit: str | None = None,
    partial: bool = False,
    force: bool = False,
    compress: bool = False,
    workers: int | None = None,
    track: Track = silent,
) -> StoreInfo:
    """Convert published trees or archives into a store: LMDB, ``index.parquet`` and ``store.json``.

    The store appears under its name only when it is complete. The same call continues a build that was interrupted;
    what comes out does not depend on interruptions or on the number of workers.

    Args:
        sources: Trees or archives, and metadata.
        out: The folder to make.
        subset: Build a part of the data only.
        resplit: ``tile`` assigns the splits anew by whole MGRS tiles; None keeps the official ones.
        partial: Build the patches that are both in the metadata and in the sources instead of refusing a difference.
        force: Replace a store that is there.
        compress: Pack the values, see `seg.store.compact`.
        workers: 1: read, decode and write in turn; more, or None: at once, in threads.
        track: Progress.

    Raises:
        BuildError, ArchiveError, MetadataError, UnknownCodeError: What is wrong with the input, in one sentence.
        OSError: If the disk is full, for example.
    """
    subset = subset or Subset()
    check_build(sources, subset, partial)
    find_sources(sources)
    index = read_index(sources.metadata)
    synthetic = _synthetic_source(sources)
    index = index.take(pc.sort_indices(index.patch_ids).to_numpy())
    opened = open_sources(sources, subset.bands)
    if not opened.keys() & {"s2", "s1"}:
        raise BuildError(f"none of the sources holds any of the bands {', '.join(subset.bands)}")
    if not partial:
        _refuse_absent_bands(opened, subset.bands)
    order = Order(
        opened, subset.bands, subset.limit, partial, compress, in_turn=workers == 1,
        whole=subset.split is None and not subset.countries and subset.limit is None,
    )  # fmt: skip
    chosen = _choose(index, order, subset)
    if resplit == "tile":
        # What cannot be split should show before anything is read.
        split_by_tile(index.take(np.flatnonzero(chosen)))
    with working_folder(out, _plan(index, chosen, sources, subset, compress), force) as (folder, journal):
        ledger = fill(index, chosen, order, folder, journal, track)
        index, implied = _completed(index, ledger, order)
        if resplit == "tile":
            index = index.with_splits(split_by_tile(index))
        return write_description(
            folder,
            index,
            sorted(ledger.bands),
            synthetic=synthetic is not None,
            source=(synthetic or {kind: path.name for kind, path in sources.paths.items()}) | _land_cover(sources),
            resplit=resplit,
            label_mismatches=int((implied[index.has_map] != index.label_bits[index.has_map]).sum())
            if index.has_map.any()
            else None,
            ignored=ledger.ignored,
            unlisted=ledger.unlisted,
            compression=COMPRESSION if compress else None,
        )


def write_description(folder: Path, index: Index, bands: Sequence[str], **known: Any) -> StoreInfo:
    """Write ``index.parquet`` and ``store.json`` of a store.

    Args:
        folder: Where the LMDB is.
        index: Of what it holds.
        bands: Of its values.
        known: What else `describe` is to be told.
    """
    pq.write_table(index.to_table(), folder / INDEX_FILE, compression="zstd")
    write_offsets(index, folder)
    info = describe(index, bands, seg_version=VERSION, **known)
    (folder / INFO_FILE).write_text(info.to_json(), encoding="utf-8")
    return info


def check_build(sources: Sources, subset: Subset, partial: bool) -> None:
    """Make sure that a store can be built as asked, as far as that shows before anything is read.

    Raises:
        BuildError: If no images are named, or bands are asked for that no named source could have.
    """
    if not sources.paths.keys() & {"s2", "s1"}:
        raise BuildError(
            "a store needs images: name the Sentinel-2 tree or archive with --s2, Sentinel-1 with --s1, or both"
        )
    unnamed = [band for band in subset.bands if BANDS[band].sensor not in sources.paths]
    if unnamed and not partial:
        raise BuildError(
            f"no source is named for {', '.join(unnamed)}; name it with --{BANDS[unnamed[0]].sensor}, or leave that "
            "out of --bands"
        )


def _refuse_absent_bands(opened: Opened, bands: Sequence[str]) -> None:
    for kind, source in opened.items():
        if isinstance(source, Tree) and kind != "maps" and bands:
            absent = [layer for layer in wanted_layers(kind, bands) if layer not in source.layers]
            if absent:
                raise without_bands(str(source.root), absent)


def _choose(index: Index, order: Order, subset: Subset) -> BoolArray:
    """The patches that the store is to hold, as far as metadata and trees tell.

    Sentinel-1 and maps may be missing for some patches; a patch without any image, or in the sources without metadata,
    is an error unless the build is partial.
    """
    asked = DataConfig(flagged=True, countries=subset.countries)
    chosen = np.zeros(len(index), np.bool_)
    chosen[select(index, asked, subset.split)] = True
    trees = {kind: source for kind, source in order.opened.items() if isinstance(source, Tree)}
    if not order.partial:
        for tree in trees.values():
            _refuse_differences(index, chosen, tree, lead=tree.kind == order.lead)
    imaged = [tree.holds(names_of(index, kind)) for kind, tree in trees.items() if kind != "maps"]
    if len(imaged) == len(order.opened.keys() - {"maps"}):
        chosen &= np.logical_or.reduce(imaged)
        if not chosen.any():
            raise BuildError("no patch of the metadata is on disk; do the trees and the parquet belong together?")
    if subset.limit is not None and order.lead in trees:
        chosen[np.flatnonzero(chosen)[subset.limit :]] = False
    return chosen


def _refuse_differences(index: Index, chosen: BoolArray, tree: Tree, lead: bool) -> None:
    cure = "build what is in both with --partial"
    names = names_of(index, tree.kind)
    if tree.incomplete:
        name, layer = next(iter(tree.incomplete.items()))
        raise ArchiveError(
            f"{tree.folder(name)}: the file {name}_{layer}.tif is missing, though others have it; unpack the archive "
            "again, or leave such patches out with --partial"
        )
    if lead and (missing := chosen & ~tree.holds(names)).any():
        name = names[int(np.argmax(missing))]
        raise BuildError(f"{_listed(missing)} not on disk, for example {name}; {cure}")
    unlisted = pc.invert(pc.is_in(tree.names, names))
    if count := pc.sum(unlisted).as_py():
        name = tree.names.filter(unlisted)[0]
        raise BuildError(
            f"{counted(count, 'patch', 'patches')} below {tree.root} {'is' if count == 1 else 'are'} not in the "
            f"metadata, for example {name}; "
            f"give further metadata parquets with --metadata, or {cure}"
        )


def _listed(patches: BoolArray) -> str:
    return counted(int(patches.sum()), "patch of the metadata is", "patches of the metadata are")


def _completed(index: Index, ledger: Ledger, order: Order) -> tuple[Index, Any]:
    """The index of what the LMDB holds, and the labels that its maps imply."""
    missing = ledger.chosen & ~ledger.has(order.lead)
    if missing.any() and not order.partial:
        name = names_of(index, order.lead)[int(np.argmax(missing))]
        raise BuildError(
            f"{_listed(missing)} not in {order.opened[order.lead].name}, for example {name}; "
            "build what is in both with --partial"
        )
    has_s2, has_s1, has_map = (ledger.has(kind) for kind in KINDS)
    rows = np.flatnonzero(ledger.chosen & (has_s2 | has_s1))
    if rows.size == 0:
        raise BuildError("no patch of the metadata is in the sources; do they belong together?")
    held = replace(index, has_s2=has_s2, has_s1=has_s1, has_map=has_map, checksums=ledger.checksums)
    return held.take(rows), ledger.implied[rows]


def _plan(index: Index, chosen: BoolArray, sources: Sources, subset: Subset, compress: bool) -> dict[str, Any]:
    """What decides on the content of the LMDB."""
    digest = hashlib.blake2b(digest_size=8)
    rows = index.take(np.flatnonzero(chosen))
    hash_names(digest, rows.patch_ids)
    hash_names(digest, rows.s1_names)
    return {
        "sources": {kind: path.name for kind, path in sources.paths.items()},
        "bands": list(subset.bands),
        "limit": subset.limit,
        "patches": digest.hexdigest(),
        **({"compression": COMPRESSION} if compress else {}),
    }


def _land_cover(sources: Sources) -> dict[str, Any]:
    """How the land cover of a reBEN of one's own was read."""
    note = land_cover_note(sources.metadata)
    return {} if note is None else {"clc": note}


def _synthetic_source(sources: Sources) -> dict[str, Any] | None:
    """The mark of a synthetic reBEN: beside the trees or archives, or in the metadata.

    Raises:
        BuildError: If some of the metadata are of one and some are not: a store is simulated or real as a whole.
    """
    marked = [synthetic_mark([path]) is not None for path in sources.metadata]
    if len(set(marked)) > 1:
        simulated, real = (sources.metadata[marked.index(flag)] for flag in (True, False))
        raise BuildError(f"{simulated} is of SYNTHETIC patches and {real} is not; build a store of each")
    for root in sources.paths.values():
        if (mark := root.resolve().parent / SYNTHETIC_FILE).is_file():
            document: dict[str, Any] = json.loads(mark.read_text(encoding="utf-8"))
            return document
    return synthetic_mark(sources.metadata)

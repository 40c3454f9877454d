"""From published trees to a store."""

import glob
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seg.config.track import Track, silent
from seg.prepare.archive import Tree, read_layers, scan_tree
from seg.prepare.resplit import split_by_tile
from seg.reben.reference_map import class_indices, implied_bits
from seg.store.index import Index, read_index
from seg.store.open import INDEX_FILE, INFO_FILE, StoreInfo, describe
from seg.store.patches import MAP_SUFFIX, MAP_TENSOR, PatchWriter
from seg.store.tensors import checksum, encode_tensors

METADATA_FILES = ("metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet")
"""The published metadata: clear patches, and those with seasonal snow, cloud or cloud shadow."""
SYNTHETIC_FILE = "SYNTHETIC.json"
"""Lies at the top of a synthetic reBEN; a store that is made from one says SYNTHETIC in everything made from it."""

_POOL_PAYS = 200
"""Number of patches from which starting other processes takes less time than it saves."""

_CHUNK = 16
_CHUNKS_AHEAD = 8
"""Patches that a process decodes at a time, and such tasks under way; together they bound the memory."""


class BuildError(ValueError):
    """A store that cannot be built as asked."""


@dataclass(frozen=True)
class Sources:
    """What a store is built from.

    Attributes:
        s2, s1, maps: Roots of the published trees; None where a store is to do without.
        metadata: The metadata parquets.
    """

    s2: Path | None
    s1: Path | None
    maps: Path | None
    metadata: tuple[Path, ...]


def published_sources(tree: Path) -> Sources:
    """The sources in a folder that holds all published parts under their published names."""
    return Sources(
        s2=tree / "BigEarthNet-S2",
        s1=tree / "BigEarthNet-S1",
        maps=tree / "Reference_Maps",
        metadata=tuple(tree / name for name in METADATA_FILES if (tree / name).is_file()),
    )


@dataclass(frozen=True)
class _Patch:
    """One patch on its way into the store."""

    patch_id: str
    s1_name: str
    has_s2: bool
    has_s1: bool
    has_map: bool


@dataclass(frozen=True)
class _Encoded:
    """The values of a patch: key and bytes, the checksums of Sentinel-2, Sentinel-1 and map, and the labels implied."""

    values: tuple[tuple[str, bytes], ...]
    checksums: tuple[int, int, int]
    implied: int | None


def build_store(
    sources: Sources,
    out: Path,
    *,
    resplit: str | None = None,
    partial: bool = False,
    force: bool = False,
    workers: int | None = None,
    track: Track = silent,
) -> StoreInfo:
    """Convert published trees into a store: LMDB, ``index.parquet`` and ``store.json``.

    The store appears under its name only when it is complete.

    Args:
        sources: Trees and metadata.
        out: The folder to make.
        resplit: ``tile`` assigns the splits anew by whole MGRS tiles; None keeps the official ones.
        partial: Build the patches that are both in the metadata and on disk instead of refusing a difference.
        force: Replace a store that is there.
        workers: Processes that decode; None: one per core.
        track: Progress.

    Raises:
        BuildError, ArchiveError, MetadataError, UnknownCodeError: What is wrong with the input, in one sentence.
    """
    trees = {
        kind: scan_tree(root, kind)
        for kind, root in (("s2", sources.s2), ("s1", sources.s1), ("maps", sources.maps))
        if root is not None
    }
    if "s2" not in trees and "s1" not in trees:
        raise BuildError(
            "a store needs images: name the Sentinel-2 tree with --s2, the Sentinel-1 tree with --s1, or both"
        )
    index = _match(read_index(sources.metadata), trees, partial)
    if resplit == "tile":
        index = index.with_splits(split_by_tile(index))
    with _appearing(out, force) as folder:
        index, mismatches = _write_patches(index, trees, folder, workers, track)
        pq.write_table(index.to_table(), folder / INDEX_FILE, compression="zstd")
        synthetic = _synthetic_source(sources)
        info = describe(
            index,
            [layer for kind in ("s1", "s2") if kind in trees for layer in trees[kind].layers],
            seg_version=importlib.metadata.version("seg"),
            synthetic=synthetic is not None,
            source=synthetic or {kind: tree.root.name for kind, tree in trees.items()},
            resplit=resplit,
            label_mismatches=mismatches,
        )
        (folder / INFO_FILE).write_text(info.to_json(), encoding="utf-8")
    return info


def _match(index: Index, trees: dict[str, Tree], partial: bool) -> Index:
    """The index with what each patch has on disk, sorted by patch id.

    Sentinel-1 and maps may be missing for some patches; a patch without any image, or on disk without metadata, is an
    error unless `partial`.
    """
    nothing = np.zeros(len(index), dtype=np.bool_)

    def on_disk(kind: str, names: pa.Array) -> Any:
        if kind not in trees:
            return nothing
        return pc.is_in(names, pa.array(trees[kind].folders, pa.string())).to_numpy(zero_copy_only=False)

    has = {
        "has_s2": on_disk("s2", index.patch_ids),
        "has_s1": on_disk("s1", index.s1_names),
        "has_map": on_disk("maps", index.patch_ids),
    }
    imaged = has["has_s2"] if "s2" in trees else has["has_s1"]
    cure = "build what is in both with --partial"
    if not partial:
        if not imaged.all():
            name = index.patch_id(int(np.argmin(imaged)))
            raise BuildError(f"{(~imaged).sum()} patches of the metadata are not on disk, for example {name}; {cure}")
        for kind, tree in trees.items():
            listed = index.s1_names if kind == "s1" else index.patch_ids
            unlisted = pc.invert(pc.is_in(pa.array(tree.folders, pa.string()), listed))
            if count := pc.sum(unlisted).as_py():
                name = pa.array(tree.folders, pa.string()).filter(unlisted)[0]
                raise BuildError(
                    f"{count} patches below {tree.root} are not in the metadata, for example {name}; "
                    f"give further metadata parquets with --metadata, or {cure}"
                )
    index = Index(**{**vars(index), **has})
    rows = np.flatnonzero(has["has_s2"] | has["has_s1"])
    if rows.size == 0:
        raise BuildError("no patch of the metadata is on disk; do the trees and the parquet belong together?")
    index = index.take(rows)
    return index.take(pc.sort_indices(index.patch_ids).to_numpy())


def _write_patches(
    index: Index, trees: dict[str, Tree], folder: Path, workers: int | None, track: Track
) -> tuple[Index, int | None]:
    """Write the LMDB; the index with checksums, and the number of patches whose labels differ from their map."""
    patches = [
        _Patch(*fields)
        for fields in zip(
            index.patch_ids.to_pylist(),
            index.s1_names.to_pylist(),
            index.has_s2.tolist(),
            index.has_s1.tolist(),
            index.has_map.tolist(),
            strict=True,
        )
    ]
    checksums = np.zeros((len(patches), 3), np.uint64)
    mismatches = 0
    with PatchWriter(folder) as writer, _encoder(trees, len(patches), workers) as encode:
        encoded = track(encode(patches), "patches to LMDB", len(patches))
        for row, (patch, labels) in enumerate(zip(encoded, index.label_bits.tolist(), strict=True)):
            for key, value in patch.values:
                writer.put(key, value)
            checksums[row] = patch.checksums
            mismatches += patch.implied is not None and patch.implied != labels
    return replace(index, checksums=checksums), mismatches if index.has_map.any() else None


@contextmanager
def _encoder(trees: dict[str, Tree], patches: int, workers: int | None) -> Iterator[Any]:
    """A map function that encodes patches in order, in other processes where that pays."""
    workers = workers or os.cpu_count() or 1
    if workers == 1 or patches < _POOL_PAYS:
        yield lambda items: (_encode(trees, patch) for patch in items)
        return
    # Spawned, not forked: the caller may run threads, and a fork would copy their locks.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (trees,)) as pool:
        try:
            yield lambda items: _in_chunks(pool, items)
        except BrokenProcessPool:
            raise BuildError(
                "a decoding process ended unexpectedly, for want of memory or because the calling script has no "
                "'if __name__ == \"__main__\"'; decode in this process with --workers 1"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_worker_trees: dict[str, Tree] = {}


def _start_worker(trees: dict[str, Tree]) -> None:
    _worker_trees.update(trees)


def _encode_chunk(patches: Sequence[_Patch]) -> list[_Encoded]:
    return [_encode(_worker_trees, patch) for patch in patches]


def _in_chunks(pool: ProcessPoolExecutor, patches: Sequence[_Patch]) -> Iterator[_Encoded]:
    """Encoded patches in order, with a bounded number of chunks in flight so that memory stays bounded."""
    chunks: Iterable[Sequence[_Patch]] = (patches[i : i + _CHUNK] for i in range(0, len(patches), _CHUNK))
    flight = []
    for chunk in chunks:
        flight.append(pool.submit(_encode_chunk, chunk))
        if len(flight) >= _CHUNKS_AHEAD:
            yield from flight.pop(0).result()
    for future in flight:
        yield from future.result()


def _encode(trees: dict[str, Tree], patch: _Patch) -> _Encoded:
    values = []
    if patch.has_s2:
        values.append((patch.patch_id, encode_tensors(read_layers(trees["s2"], patch.patch_id))))
    if patch.has_s1:
        values.append((patch.s1_name, encode_tensors(read_layers(trees["s1"], patch.s1_name))))
    implied = None
    if patch.has_map:
        layer = MAP_SUFFIX[1:]
        codes = read_layers(trees["maps"], patch.patch_id)[layer]
        implied = implied_bits(class_indices(codes, str(trees["maps"].file(patch.patch_id, layer))))
        values.append((patch.patch_id + MAP_SUFFIX, encode_tensors({MAP_TENSOR: codes})))
    sums = {key: checksum(value) for key, value in values}
    keys = (patch.patch_id, patch.s1_name, patch.patch_id + MAP_SUFFIX)
    return _Encoded(tuple(values), tuple(sums.get(key, 0) for key in keys), implied)  # type: ignore[arg-type]


def _synthetic_source(sources: Sources) -> dict[str, Any] | None:
    """The mark of a synthetic reBEN, if the trees lie in one."""
    for root in (sources.s2, sources.s1, sources.maps):
        if root is not None and (mark := root.resolve().parent / SYNTHETIC_FILE).is_file():
            document: dict[str, Any] = json.loads(mark.read_text(encoding="utf-8"))
            return document
    return None


@contextmanager
def _appearing(out: Path, force: bool) -> Iterator[Path]:
    """A working folder that becomes `out` if all goes well and vanishes if not."""
    if out.exists() and not force and not (out.is_dir() and not any(out.iterdir())):
        raise BuildError(f"{out} is there already; choose another folder or replace it with --force")
    if out.exists() and force and any(out.iterdir()) and not (out / INFO_FILE).is_file():
        raise BuildError(f"{out} is no store, so --force does not replace it")
    _remove_abandoned(out)
    working = out.with_name(f".{out.name}.{os.getpid()}.building")
    working.mkdir(parents=True)
    try:
        yield working
        if out.exists():
            shutil.rmtree(out)
        working.rename(out)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise


def _remove_abandoned(out: Path) -> None:
    """Remove what builds of this store left behind that were killed before they could tidy up."""
    for working in out.parent.glob(f".{glob.escape(out.name)}.*.building"):
        pid = working.name.split(".")[-2]
        try:
            if int(pid) != os.getpid():
                os.kill(int(pid), 0)
                continue
        except ProcessLookupError:
            pass
        except (ValueError, OSError):
            continue
        shutil.rmtree(working, ignore_errors=True)

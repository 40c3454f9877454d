"""Assigning splits anew, and measuring what a split lets through."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seg.config.paths import AnyPath, AnyPaths, path_list, path_or_none
from seg.config.track import Track, silent
from seg.errors import WrongUseError
from seg.prepare.split import LEFT_OUT, SplitPlan, Splits, assign, check_split, published, require_new, store_of
from seg.reben.patch import SPLITS
from seg.store.atomic import write_bytes
from seg.store.geography import geography
from seg.store.index import OFFICIAL_COLUMNS, Index, read_index
from seg.store.notes import SYNTHETIC_NOTE, synthetic_mark
from seg.store.offsets import write_offsets
from seg.store.open import INDEX_FILE, INFO_FILE, describe, open_store, read_description
from seg.store.patches import DATA_FILE
from seg.store.targets import Known, claimed_files, claimed_folder, claimed_place, require_own_folder

AS_IS = "as it is"
"""The name of the split that the metadata have, unless it is the published one."""


@dataclass(frozen=True)
class Splitted:
    """Patches with new splits.

    Attributes:
        out: Where they are; None if nothing was asked to be written.
        patches: Patches per split.
        left_out: Patches that are in no split, because they lie in the buffer.
        report: Files of the report on leakage.
    """

    out: Path | None
    patches: dict[str, int]
    left_out: int
    report: tuple[Path, ...]


def split(
    sources: AnyPaths,
    plans: Sequence[SplitPlan] = (),
    *,
    out: AnyPath | None = None,
    report: AnyPath | None = None,
    track: Track = silent,
) -> Splitted:
    """Assign splits, write them, and measure what they let through from train to test.

    Args:
        sources: A store of seg, or metadata parquets.
        plans: The splits. One of them can be written; of none, the split of the source is looked at.
        out: The new store, whose images are those of the old one (a hard link where the disk allows it), or the new
            metadata parquet. Patches in the buffer are left out.
        report: Folder for ``leakage.md``, ``.csv``, ``.json`` and ``.png`` on the split of the source and all plans.
        track: Progress over the splits.

    Raises:
        WrongUseError: If the patches cannot be split so, or more than one plan is to be written.
        StoreError, MetadataError: If a source cannot be read.
        OSError: If a file cannot be written.
    """
    sources, out, report = path_list(sources), path_or_none(out), path_or_none(report)
    check_split(sources, plans, out, report)
    store = store_of(sources)
    _require_index(store)
    with _claimed(out, store, report):
        index, synthetic = _opened(sources, store)
        assigned = {plan.words: assign(index, plan) for plan in plans}
        files = _report(index, assigned, report, synthetic, track) if report else []
        splits = next(iter(assigned.values()), index.splits)
        if out is not None:
            rows = np.flatnonzero(splits != LEFT_OUT)
            kept = index.take(rows).with_splits(splits[rows])
            if store is not None:
                _write_store(out, store, kept, plans[0].words)
            else:
                _write_metadata(out, sources, kept)
    counts: dict[str, int] = {name: int((splits == position).sum()) for position, name in enumerate(SPLITS)}
    return Splitted(out, counts, int((splits == LEFT_OUT).sum()), tuple(files))


def _require_index(store: Path | None) -> None:
    """Refuse a folder that has no index of seg's."""
    if store is None or (store / INFO_FILE).is_file():
        return
    open_store(store)
    raise WrongUseError(f"{store} is a bare LMDB, whose splits stand in its metadata; split those, as a parquet")


@contextmanager
def _claimed(out: Path | None, store: Path | None, report: Path | None) -> Iterator[None]:
    """Claim what is to be written."""
    with ExitStack() as claims:
        if out is not None and store is not None:
            claims.enter_context(claimed_place(out, {}))
            # Somebody may have been faster.
            require_new(out)
        elif out is not None:
            claims.enter_context(claimed_files([out]))
        if report is not None:
            require_own_folder(report, "leakage", INFO_FILE)
            from seg.report.leakage_tables import LEAKAGE_FILES

            claims.enter_context(claimed_folder(report, LEAKAGE_FILES, Known(cure=", or name another --report")))
        yield


def _opened(sources: Sequence[Path], store: Path | None) -> tuple[Index, bool]:
    if store is None:
        return read_index(sources), synthetic_mark(sources) is not None
    index, info = read_description(store)
    return index, info.synthetic


def _report(index: Index, assigned: dict[str, Splits], folder: Path, synthetic: bool, track: Track) -> list[Path]:
    from seg.metrics.leakage import correlogram, leakage
    from seg.report.leakage_tables import write_leakage

    is_published = bool((published(index) == index.splits).all())
    named = {SplitPlan().words if is_published else AS_IS: index.splits, **assigned}
    empty = {
        name: [SPLITS[position] for position in (0, 2) if not (splits == position).any()]
        for name, splits in named.items()
    }
    # A small set may lack a split until it is split anew.
    named = {name: splits for name, splits in named.items() if not empty[name]}
    if not named:
        name, lacking = next(iter(empty.items()))
        raise WrongUseError(
            f"the split '{name}' has no {lacking[0]} patch, so nothing can leak; split anew with --rule"
        )
    places, labels_NK = geography(index), index.labels(np.arange(len(index)))
    found = [leakage(name, places, labels_NK, splits) for name, splits in track(named.items(), "splits", len(named))]
    return write_leakage(folder, found, correlogram(places, labels_NK), synthetic)


def _write_metadata(out: Path, sources: Sequence[Path], index: Index) -> None:
    """The metadata of the patches with their new splits, columns as published."""
    table = index.to_table().select(OFFICIAL_COLUMNS)
    mark: dict[str, Any] | None = synthetic_mark(sources)
    if mark is not None:
        table = table.replace_schema_metadata({SYNTHETIC_NOTE: json.dumps(mark)})
    write_bytes(out, _parquet(table))


def _write_store(out: Path, store: Path, index: Index, words: str) -> None:
    """A store of the same images; it appears complete or not at all."""
    _, info = read_description(store)
    new = describe(
        index,
        info.bands,
        seg_version=info.seg_version,
        synthetic=info.synthetic,
        source=info.source,
        resplit=words,
        # They were counted over all patches.
        label_mismatches=info.label_mismatches if len(index) == info.patches else None,
        ignored=info.ignored,
        unlisted=info.unlisted,
        compression=info.compression,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _link(store / DATA_FILE, folder / DATA_FILE)
        (folder / INDEX_FILE).write_bytes(_parquet(index.to_table()))
        write_offsets(index, folder)
        (folder / INFO_FILE).write_text(new.to_json(), encoding="utf-8")
        folder.chmod(0o755)
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        # Another disk, or one without hard links.
        shutil.copyfile(source, target)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]

"""A reBEN of one's own: Sentinel-2 products and CORINE Land Cover to the published tree, or to a store.

Every product is worked through by one process, which keeps what it did in a table (``parts/<product>.parquet`` in the
working folder) when the product is finished. A call that was interrupted goes on with the products that have none.
"""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from seg.catalogue.address import absolute
from seg.catalogue.item import on_disk
from seg.config.synthetic import SYNTHETIC_FILE
from seg.config.track import Track, silent
from seg.errors import BuildError, WrongUseError
from seg.prepare.build import write_description
from seg.prepare.executors import LOCAL, LOGS, opened, results
from seg.prepare.layout import KINDS
from seg.prepare.processes import process_count, processes
from seg.prepare.published_tree import write_metadata
from seg.prepare.working import LOG, working_folder
from seg.reben.bands import S1_BANDS, S2_BANDS
from seg.reben.patch import SPLITS
from seg.region.cut_product import LEFT_OUT, PARTS, REPAIRED, Work, cut_and_join, finish, join
from seg.region.cutting import CutTask
from seg.region.products import plan_of, remarks_on, tasks_of
from seg.region.request import Request, check_make
from seg.scenes.simulated import find_synthetic_mark
from seg.store.atomic import put_in_place
from seg.store.index import OFFICIAL_COLUMNS, Index
from seg.store.notes import LAND_COVER_NOTE, SYNTHETIC_NOTE


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        out: The tree or store.
        patches: Patches per split.
        dropped: Patches that were left out, by reason.
        with_s1: Patches with Sentinel-1.
        tiles: MGRS tiles with their EPSG codes.
        repaired: Invalid polygons that were repaired; None: the land cover is a raster.
        fingerprint: Of the store; None for a tree.
        synthetic: Whether the inputs are simulated.
        remarks: What the user must not miss about the products, a sentence each.
    """

    out: Path
    patches: dict[str, int]
    dropped: dict[str, int]
    with_s1: int
    tiles: dict[str, int]
    repaired: int | None
    fingerprint: str | None
    synthetic: bool
    remarks: tuple[str, ...] = ()


def make_set(
    request: Request,
    out: Path,
    *,
    store: bool = False,
    workers: int | None = None,
    executor: Executor | str = LOCAL,
    slurm: Sequence[str] = (),
    track: Track = silent,
) -> Made:
    """Cut products into patches: the published tree with its metadata, or a store, and a log of what was left out.

    The set appears under its name only when it is complete. The same call continues one that was interrupted; what
    comes out does not depend on interruptions or on who cuts.

    Args:
        request: What it is made from.
        out: The folder to make.
        store: Make a store instead of a tree.
        workers: Processes, each of which cuts a product; None: one per core, up to 8.
        executor, slurm: Who cuts instead of these processes, see `seg.prepare.executors.opened`.
        track: Progress.

    Raises:
        WrongUseError, BuildError: If the set cannot be made as asked, or no patch is left.
        SceneError, LandCoverError: If a file cannot be used.
        OSError: If the disk is full, for example.
    """
    check_make(request)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise WrongUseError(f"{out} is there already; choose another folder")
    tasks = tasks_of(request if executor == LOCAL else _with_whole_paths(request))
    mark = find_synthetic_mark(on_disk((*request.s2, *request.s1, request.clc))) or _mark_elsewhere(tasks)
    ready = working_folder(
        out, plan_of(tasks, store), force=None, holds_nothing=_nothing_done, place=put_in_place if store else _move
    )
    with ready as (folder, _):
        parts = folder / PARTS
        parts.mkdir(exist_ok=True)
        works = [Work(task, folder, store) for task in tasks]
        if executor == LOCAL:
            _cut_all(works, workers, track)
        else:
            _have_cut(works, executor, slurm, parts / LOGS, track)
        for work in works:
            join(work)
        cells = pa.concat_tables([pq.read_table(work.table) for work in works]).sort_by("patch_id")
        noted = [pq.read_schema(work.table).metadata for work in works]
        repaired = {work.task.tile: int(note[REPAIRED]) for work, note in zip(works, noted, strict=True)}
        left_out = [remark for note in noted for remark in json.loads(note[LEFT_OUT])]
        kept = cells.filter(pc.equal(cells["reason"], ""))
        dropped = cells.filter(pc.not_equal(cells["reason"], "")).select(["patch_id", "reason", "unlabelled"])
        if not len(kept):
            # Then there is nothing to go on with.
            shutil.rmtree(parts)
            raise BuildError(f"no patch is left of {len(cells):,} ({_listed(dropped)})")
        index = index_of(kept)
        pyarrow.csv.write_csv(dropped, folder / LOG)
        fingerprint = _describe_store(folder, index, tasks, mark) if store else None
        if not store:
            _write_metadata(folder, index, tasks[0].clc.record, mark)
        shutil.rmtree(parts)
    return Made(
        out=out,
        patches={name: int((index.splits == i).sum()) for i, name in enumerate(SPLITS)},
        dropped={row["values"]: row["counts"] for row in pc.value_counts(dropped["reason"]).to_pylist()},
        with_s1=int(index.has_s1.sum()),
        tiles={task.tile: task.cells.grid.epsg for task in tasks},
        repaired=sum(repaired.values()) if tasks[0].clc.polygons else None,
        fingerprint=fingerprint,
        synthetic=mark is not None,
        remarks=(*remarks_on(tasks), *dict.fromkeys(left_out)),
    )


def _mark_elsewhere(tasks: Sequence[CutTask]) -> dict[str, Any] | None:
    """What marks inputs as simulated that lie elsewhere, beside which nothing is seen."""
    simulated = [task.scene.name for task in tasks if task.scene.synthetic]
    return {"synthetic": True, "source": simulated[0]} if simulated else None


def _cut_all(works: Sequence[Work], workers: int | None, track: Track) -> None:
    """Cut every product that is not finished, and bring the values of a store together."""
    open_works = [work for work in works if not work.table.is_file()]
    count = min(process_count(workers), len(open_works))
    if count > 1:
        with processes(count) as in_order:
            done = in_order(finish, open_works)
            for work, _ in zip(open_works, track(done, "products", len(open_works)), strict=True):
                join(work)
    else:
        rows = sum(work.task.cells.rows for work in open_works)
        for _ in track((row for work in open_works for row in cut_and_join(work)), "rows of patches", rows):
            pass


def _have_cut(works: Sequence[Work], executor: Executor | str, slurm: Sequence[str], logs: Path, track: Track) -> None:
    """Have every product that is not finished cut, each wherever there is somebody."""
    left = [work for work in works if not work.table.is_file()]
    with opened(executor, slurm, logs) as pool:
        for work, done in track(results(pool, finish, left), "products", len(left)):
            done.result()
            join(work)


def _with_whole_paths(request: Request) -> Request:
    """The request as it can be read from any folder."""
    return replace(
        request,
        s2=tuple(absolute(request.s2)),
        s1=tuple(absolute(request.s1)),
        clc=request.clc.absolute(),
        countries=request.countries and request.countries.absolute(),
    )


def index_of(kept: pa.Table) -> Index:
    """The index of the patches that were kept, sorted by patch id."""
    some = np.ones(len(kept), np.bool_)
    has_s1 = pc.not_equal(kept["s1_name"], "").to_numpy()
    return Index(
        **{name: kept[f"{name[:-1]}"].combine_chunks() for name in ("patch_ids", "s1_names", "s2v1_names")},
        label_bits=kept["labels"].to_numpy(),
        splits=kept["split"].to_numpy(),
        countries=kept["country"].combine_chunks().dictionary_encode(),
        snow=kept["snow"].to_numpy(),
        cloud=kept["cloud"].to_numpy(),
        has_s1=has_s1,
        has_s2=some,
        has_map=some,
        checksums=np.stack([kept[f"{kind}_checksum"].to_numpy() for kind in KINDS], axis=1),
    )


def _describe_store(folder: Path, index: Index, tasks: Sequence[CutTask], mark: dict[str, Any] | None) -> str:
    """Write index and description of a store; gives its fingerprint."""
    inputs = {"s2": [task.product for task in tasks], "s1": sorted({name for task in tasks for name in task.s1})}
    source = (mark or inputs) | {"clc": tasks[0].clc.record}
    bands = S2_BANDS + (S1_BANDS if index.has_s1.any() else ())
    info = write_description(folder, index, bands, synthetic=mark is not None, source=source, label_mismatches=0)
    return info.fingerprint


def _write_metadata(folder: Path, index: Index, clc: dict[str, str], mark: dict[str, Any] | None) -> None:
    """Both parquets with the published columns, how the land cover was read, and the mark of simulated inputs."""
    notes = {LAND_COVER_NOTE: json.dumps(clc)} | ({SYNTHETIC_NOTE: json.dumps(mark)} if mark else {})
    if mark is not None:
        (folder / SYNTHETIC_FILE).write_text(json.dumps(mark, indent=2) + "\n")
    write_metadata(folder, index.to_table().select(OFFICIAL_COLUMNS), notes)


def _listed(dropped: pa.Table) -> str:
    counts = pc.value_counts(dropped["reason"]).to_pylist()
    return ", ".join(f"{row['values']}: {row['counts']:,}" for row in counts)


def _move(folder: Path, out: Path) -> None:
    # A tree has too many files to wait until each of them is on the disk.
    folder.rename(out)


def _nothing_done(folder: Path) -> bool:
    return not any((folder / PARTS).glob("*.parquet"))

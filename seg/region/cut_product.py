"""Cutting one product into the tree or store that is being made, and what is kept of that.

What a product came to lies in a table, ``parts/<product>.parquet`` in the working folder, from when it is finished. The
values of a store lie in an LMDB of the product's own until they are brought into that of the store, because only one
process may write to that.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seg.prepare.encode import encode_arrays
from seg.prepare.layout import KINDS, MAP_LAYER, PUBLISHED, Kind, key_of
from seg.prepare.published_tree import write_patch
from seg.reben.bands import of_sensor
from seg.reben.patch import SPLITS
from seg.region.clc import codes_on
from seg.region.cutting import Cut, CutTask, cut_strips
from seg.store.atomic import write_bytes
from seg.store.locks import locked
from seg.store.patches import DATA_FILE, PatchWriter

PARTS = "parts"
"""Folder in the working folder that holds what is known of finished products."""
REPAIRED = b"repaired"
"""Key in the metadata of a table: how many polygons were repaired."""
LEFT_OUT = b"left out"
"""The same: what is to be said of values that cannot be measured, sentences as JSON."""
TABLE = pa.schema(
    {
        "patch_id": pa.string(),
        "reason": pa.string(),
        "unlabelled": pa.float64(),
        "labels": pa.uint32(),
        "split": pa.int8(),
        "snow": pa.bool_(),
        "cloud": pa.bool_(),
        "country": pa.string(),
        "s1_name": pa.string(),
        "s2v1_name": pa.string(),
        **{f"{kind}_checksum": pa.uint64() for kind in KINDS},
    }
)
"""What is kept of a product: a row for every cell of its grid."""


@dataclass(frozen=True)
class Work:
    """A product to cut, and where to."""

    task: CutTask
    folder: Path
    store: bool

    @property
    def name(self) -> str:
        """Name of the product."""
        return self.task.product

    @property
    def table(self) -> Path:
        """Where it is kept what was done; there when the product is finished."""
        return self.folder / PARTS / f"{self.task.product}.parquet"

    @property
    def values(self) -> Path:
        """The LMDB of this product alone, until its values are in that of the store."""
        return self.folder / PARTS / self.task.product


def finish(work: Work) -> None:
    """Cut a product, in a process of its own; see `cut`.

    Raises:
        BusyError: If a process that was given up for dead is still at it.
    """
    with locked(work.table.with_suffix(".lock"), work.table):
        for _ in cut(work):
            pass


def cut_and_join(work: Work) -> Iterator[None]:
    """Cut a product and bring its values into the store; see `cut` and `join`."""
    yield from cut(work)
    join(work)


def cut(work: Work) -> Iterator[None]:
    """Cut a product; gives a sign of life after every row of patches.

    Raises:
        SceneError, LandCoverError: If a file cannot be used.
        OSError: If the disk is full.
    """
    task = work.task
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        codes = stack.enter_context(codes_on(task.clc, task.cells.grid, task.tile))
        keep = _keep_in_tree(work) if not work.store else _keep_in_store(work, stack)
        for strip in cut_strips(task, codes):
            rows += [_row(cut, keep(cut) if not cut.reason else (0, 0, 0)) for cut in strip]
            yield
    left_out = [remark for scene in (task.scene, *task.s1.values()) for remark in scene.remarks_on(scene.left_out)]
    noted = {REPAIRED: str(codes.repaired), LEFT_OUT: json.dumps(left_out)}
    table = pa.Table.from_pylist(rows, schema=TABLE.with_metadata(noted))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_bytes(work.table, sink.getvalue().to_pybytes())


def _keep_in_tree(work: Work) -> "Keep":
    for folder in (PUBLISHED["s2"], PUBLISHED["maps"]):
        shutil.rmtree(work.folder / folder / work.task.product, ignore_errors=True)

    tags = {"LAND_COVER": f"{work.task.clc.path.name}: {work.task.clc.decision}"}

    def keep(cut: Cut) -> tuple[int, ...]:
        write_patch(work.folder, cut.patch, cut.s1_name, dict(cut.bands), cut.codes, tags)
        return (0, 0, 0)

    return keep


def _keep_in_store(work: Work, stack: ExitStack) -> "Keep":
    shutil.rmtree(work.values, ignore_errors=True)
    work.values.mkdir()
    writer = stack.enter_context(PatchWriter(work.values))

    def keep(cut: Cut) -> tuple[int, ...]:
        checksums = []
        for kind, name, arrays in _values(cut):
            value = encode_arrays(kind, 0, name, arrays, name) if arrays else None
            if value is not None:
                writer.put(value.key, value.value)
            checksums.append(value.checksum if value else 0)
        return tuple(checksums)

    return keep


Keep = Callable[[Cut], tuple[int, ...]]
"""Keeps a patch; gives the checksums of its values in the order of `KINDS`, 0 where there is none."""


def _values(cut: Cut) -> Iterator[tuple[Kind, str, dict[str, Any]]]:
    """Kind, name and arrays of the values of a patch, in the order in which a store holds them."""
    name = str(cut.patch)
    by_sensor = {s: {band: cut.bands[band] for band in of_sensor(tuple(cut.bands), s)} for s in ("s2", "s1")}
    yield "s2", name, by_sensor["s2"]
    yield "s1", cut.s1_name, by_sensor["s1"]
    yield "maps", name, {MAP_LAYER: cut.codes}


def _row(cut: Cut, checksums: tuple[int, ...]) -> dict[str, Any]:
    patch = cut.patch
    return {
        "patch_id": str(patch),
        "reason": cut.reason,
        "unlabelled": cut.unlabelled,
        "labels": cut.labels,
        "split": SPLITS.index(patch.split),
        "snow": cut.snow,
        "cloud": cut.cloud,
        "country": cut.country,
        "s1_name": cut.s1_name,
        "s2v1_name": "_".join([*patch.product.split("_")[:3], str(patch.column), str(patch.row)]),
        **{f"{kind}_checksum": value for kind, value in zip(KINDS, checksums, strict=True)},
    }


def join(work: Work) -> None:
    """Bring the values of a finished product into the LMDB of the store, unless that has been done."""
    if not (work.values / DATA_FILE).is_file():
        return
    if not (work.folder / DATA_FILE).is_file():
        (work.values / DATA_FILE).rename(work.folder / DATA_FILE)
    else:
        cells = pq.read_table(work.table, columns=["patch_id", "s1_name", "reason"])
        # Products of one tile may share a Sentinel-1 patch; an earlier call may have come as far as this.
        with PatchWriter(work.folder, replace=True) as store, PatchWriter(work.values) as part:
            for row in cells.filter(pc.equal(cells["reason"], "")).to_pylist():
                names = {"s2": row["patch_id"], "s1": row["s1_name"], "maps": row["patch_id"]}
                for kind in KINDS:
                    if names[kind]:
                        value = part.get(key_of(kind, names[kind]))
                        assert value is not None, "the table says what there is"
                        store.put(key_of(kind, names[kind]), value)
    shutil.rmtree(work.values)

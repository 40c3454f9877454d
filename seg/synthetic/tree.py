"""A synthetic reBEN in the published tree, to try everything out without the 62 GB of the real one.

It follows the real data set in format, names, georeference, split, nomenclature, class frequencies and band statistics,
so that all of `seg` runs on it. Scores on it say nothing about the real data set.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seg.config.synthetic import SYNTHETIC_FILE
from seg.config.track import Track, silent
from seg.errors import WrongUseError
from seg.prepare.processes import process_count, processes
from seg.prepare.published_tree import write_metadata, write_patch
from seg.reben.bands import BANDS, PATCH_SIZE
from seg.reben.classes import names_of_bits
from seg.reben.patch import SPLITS, PatchId, Split
from seg.reben.reference_map import class_indices, implied_bits
from seg.store.index import OFFICIAL_COLUMNS
from seg.store.notes import SYNTHETIC_NOTE
from seg.store.targets import claimed_place
from seg.synthetic.landscape import Codes, Field, land_cover
from seg.synthetic.places import MIN_PATCHES, REGIONS, Block, Region, acquisition, capacity, plan
from seg.synthetic.radiometry import Observed, correction, observe
from seg.synthetic.surface import draw_surface

GENERATOR = "seg.synthetic.tree"
VERSION = 1
"""Raised whenever the same seed gives other data."""
_POOL_PAYS = 200
"""Patches from which drawing in other processes saves more time than starting them takes."""

SNOW_FLAG = 0.28
CLOUD_FLAG = 0.1
"""A patch is flagged when more than this share of its area is under snow, or under cloud or shadow."""

_TYPES = {"labels": pa.list_(pa.field("element", pa.string())), **dict.fromkeys(OFFICIAL_COLUMNS[-2:], pa.bool_())}
_SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in OFFICIAL_COLUMNS])


class SynthesisReport(NamedTuple):
    """What was written: patches, flagged ones included, and how many of them are flagged with snow, and with cloud."""

    patches: int
    per_split: dict[Split, int]
    tiles: int
    products: int
    snow: int
    cloud: int


def check_synthesis(patches: int, seed: int) -> None:
    """Make sure that a synthetic reBEN can be made as asked, as far as that shows before anything is written.

    Raises:
        WrongUseError: If the number of patches or the seed is out of range.
    """
    if not MIN_PATCHES <= patches <= capacity():
        raise WrongUseError(
            f"a synthetic data set holds {MIN_PATCHES} to {capacity()} patches, so that every split is filled and "
            f"every patch has its own place; {patches} were asked for"
        )
    if seed < 0:
        raise WrongUseError(f"the seed must be 0 or more, not {seed}")


def synthesise(
    out: Path, patches: int, seed: int = 0, track: Track = silent, workers: int | None = None
) -> SynthesisReport:
    """Write a synthetic reBEN.

    The tree appears at `out` only when it is complete. The same arguments give the same bytes on the same machine.

    Args:
        out: Folder to create; may exist if it is empty.
        patches: How many patches, flagged ones included.
        seed: Decides everything else, 0 or more.
        track: Progress, called once with the blocks.
        workers: Processes that draw, which changes no byte; None: one per core, up to 8, where that pays.

    Raises:
        WrongUseError: If the number of patches or the seed is out of range, `out` holds something, or a process ends
            unexpectedly.
    """
    check_synthesis(patches, seed)
    mark = {"synthetic": True, "generator": GENERATOR, "version": VERSION, "seed": seed, "patches": patches}
    blocks = list(plan(patches, seed))
    with new_folder(out, mark) as unfinished:
        rows: list[dict[str, Any]] = []
        if workers is None and patches < _POOL_PAYS:
            workers = 1
        with processes(process_count(workers)) as in_order:
            written = in_order(partial(_write_block, unfinished, seed), blocks)
            for of_block in track(written, "Synthesising", len(blocks)):
                rows += of_block
        write_metadata(unfinished, pa.Table.from_pylist(rows, _SCHEMA), {SYNTHETIC_NOTE: json.dumps(mark)})
    splits = Counter(row["split"] for row in rows)
    return SynthesisReport(
        patches=len(rows),
        per_split={split: splits[split] for split in SPLITS},
        tiles=len({block.region for block in blocks}),
        products=len({(block.region, block.visit) for block in blocks}),
        snow=sum(row["contains_seasonal_snow"] for row in rows),
        cloud=sum(row["contains_cloud_or_shadow"] for row in rows),
    )


@contextmanager
def new_folder(out: Path, mark: dict[str, Any]) -> Iterator[Path]:
    """A folder to fill; it becomes `out` on leaving, or is removed if something went wrong.

    Args:
        out: May exist if it is empty.
        mark: What `SYNTHETIC_FILE` says; by it, the folder of a process that was killed is known.

    Raises:
        WrongUseError: If `out` holds something.
        ForeignFileError, BusyError: As of `seg.store.targets.claimed_place`.
    """
    place = out.resolve()
    unfinished = place.with_name(f".{place.name}.unfinished")
    with claimed_place(place, {unfinished: _is_marked}):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise WrongUseError(f"{out} exists and is not an empty folder; name a new one or empty it first")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            (unfinished / SYNTHETIC_FILE).write_text(json.dumps(mark, indent=2) + "\n")
            yield unfinished
            if out.exists():
                out.rmdir()
            unfinished.rename(place)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


def _is_marked(folder: Path) -> bool:
    try:
        document = json.loads((folder / SYNTHETIC_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("generator") == GENERATOR


def _write_block(root: Path, seed: int, block: Block) -> list[dict[str, Any]]:
    """Draw one block and write its patches; returns their metadata rows."""
    codes, scene = draw_block(block, seed)
    region = REGIONS[block.region]
    names = acquisition(region, region.visits[block.visit])
    rows = []
    for i, (column, row) in enumerate(block.cells()):
        patch = PatchId.parse(f"{names.product}_{column:02d}_{row:02d}")
        s1_name = f"{names.scene}_{region.tile}_{column}_{row}"
        y, x = divmod(i, block.columns)
        patch_codes = _cut(codes, y, x, PATCH_SIZE)
        bands = {name: _cut(image, y, x, BANDS[name].size) for name, image in scene.bands.items()}
        write_patch(root, patch, s1_name, bands, patch_codes)
        snow = _share(scene.snow, y, x) > SNOW_FLAG
        rows.append(
            {
                "patch_id": str(patch),
                "labels": list(names_of_bits(implied_bits(class_indices(patch_codes, str(patch))))),
                "split": patch.split,
                "country": region.country,
                "s1_name": s1_name,
                "s2v1_name": "_".join([*names.product.split("_")[:3], str(column), str(row)]),
                "contains_seasonal_snow": snow,
                # The official rows never carry both flags.
                "contains_cloud_or_shadow": not snow and _share(scene.cloud, y, x) > CLOUD_FLAG,
            }
        )
    return rows


def draw_block(block: Block, seed: int) -> tuple[Codes, Observed]:
    """Land cover and images of a block of a data set's seed, as `draw_place` gives them.

    The land depends on the place only, so that later visits see the same land in another season.
    """
    place = (seed, block.region, SPLITS.index(block.split), block.slot, block.rows, block.columns)
    return draw_place(REGIONS[block.region], block.visit, block.rows, block.columns, place)


def draw_place(region: Region, visit: int, rows: int, columns: int, place: tuple[int, ...]) -> tuple[Codes, Observed]:
    """Land cover and images of any piece of land.

    Args:
        region: What occurs there.
        visit: Index into the region's visits.
        rows, columns: Size in patches.
        place: What the land depends on: the seed, the region's number, and whatever tells places apart. What the
            product's correction leaves behind depends on the first two and the visit.

    Returns:
        CLC level-3 codes, uint16 (120 * rows, 120 * columns), and the images.
    """
    land = _random(*place)
    codes = land_cover(region, rows, columns, land)
    surface = draw_surface(codes, land)
    seen = region.visits[visit]
    day = acquisition(region, seen).day_of_year
    residual = correction(seen, _random(*place[:2], visit))
    return codes, observe(surface, region, seen, day, residual, _random(*place, visit))


def _random(*key: int) -> np.random.Generator:
    # SFC64 is the fastest of NumPy's generators, and random numbers are a large part of the work.
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(key)))


def _cut(image: npt.NDArray[Any], row: int, column: int, size: int) -> npt.NDArray[Any]:
    return np.ascontiguousarray(image[row * size : (row + 1) * size, column * size : (column + 1) * size])


def _share(cover: Field | None, row: int, column: int) -> float:
    return 0.0 if cover is None else float(_cut(cover, row, column, PATCH_SIZE).mean())

"""How fast products and land cover become patches, on one core.

A synthetic Sentinel-2 product, Sentinel-1 on a grid of its own, and its CLC codes as polygons in EPSG:3035 in a
GeoPackage. JPEG 2000 is decoded at a speed of its own, so the bands are also read from plain GeoTIFFs at their own
resolution, which costs next to nothing:

- rasterise: reading the polygons that lie on the tile, and the codes of all patches.
- to a store, to a tree: everything from plain bands and polygons to the finished set.
- with Sentinel-1: the same, warping it onto the tile's grid.
- product: the same from the SAFE folder; decode: reading its bands alone.

All files lie in memory where the system has a place for that (/dev/shm), so that no disk is measured: a tree has
fifteen files per patch. The peak of memory is that of the process from its start, with the making of the scene.

    python scripts/bench_make.py [--size 3600] [--rounds 3] [--out results/performance/make]
"""

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from rasterio.features import shapes
from rich.console import Console

from seg.reben.bands import BANDS, PATCH_SIZE, S2_BANDS
from seg.region.clc import codes_on, open_clc
from seg.region.making import make_set
from seg.region.products import tasks_of
from seg.region.request import Request
from seg.report.record import run_record, write_json
from seg.store.atomic import write_text
from seg.store.until_exit import claim_until_exit
from seg.synthetic.scene import SyntheticScene, synthesise_scene

_MEMORY = Path("/dev/shm")
TARGET = 300
"""Patches per second on one core, rasterising and cutting together."""


@dataclass(frozen=True)
class Inputs:
    """Where the files are, and how many patches they hold."""

    scene: SyntheticScene
    bands: Path
    clc: Path
    patches: int
    polygons: int


def make_inputs(folder: Path, size: int) -> Inputs:
    """Write the scene, its bands as plain GeoTIFFs, and the polygons of its codes."""
    scene = synthesise_scene(folder / "scene", size, swath_edge=False)
    bands = folder / "bands"
    bands.mkdir()
    name = "_".join(scene.product.name.split("_")[:6])
    for band in S2_BANDS:
        metres = BANDS[band].pixel_size
        (path,) = scene.product.rglob(f"R{metres}m/*_{band}_{metres}m.jp2")
        with rasterio.open(path) as source:
            profile = {"driver": "GTiff", "width": source.width, "height": source.height, "count": 1, "nodata": 0}
            profile |= {"dtype": "uint16", "crs": source.crs, "transform": source.transform}
            with rasterio.open(bands / f"{name}_{band}.tif", "w", **profile) as target:
                target.write(source.read(1) - np.uint16(1000), 1)
    with rasterio.open(scene.codes) as codes:
        outlines = list(shapes(codes.read(1).astype(np.int32), transform=codes.transform))
    frame = gpd.GeoDataFrame(
        {"Code_18": [str(int(code)) for _, code in outlines]},
        geometry=[shapely.geometry.shape(outline) for outline, _ in outlines],
        crs=scene.grid.epsg,
    )
    frame.to_crs(3035).to_file(folder / "clc.gpkg", engine="pyogrio")
    return Inputs(scene, bands, folder / "clc.gpkg", (size // PATCH_SIZE) ** 2, len(frame))


def rasterise(inputs: Inputs) -> None:
    (task,) = tasks_of(Request((inputs.bands,), inputs.clc))
    with codes_on(open_clc(inputs.clc), task.cells.grid, task.tile) as codes:
        for top in range(0, task.cells.rows, 10):
            codes.read(top * PATCH_SIZE, min(10, task.cells.rows - top) * PATCH_SIZE)


def decode(inputs: Inputs) -> None:
    (task,) = tasks_of(Request((inputs.scene.product,), inputs.clc))
    with task.scene.open() as reader:
        for row in range(task.cells.rows):
            reader.read(task.cells.window(row), S2_BANDS)


def cut(inputs: Inputs, source: Path, store: bool, s1: bool) -> None:
    out = inputs.clc.parent / "out"
    made = make_set(Request((source,), inputs.clc, (inputs.scene.s1,) if s1 else ()), out, store=store, workers=1)
    assert sum(made.patches.values()) + sum(made.dropped.values()) == inputs.patches
    shutil.rmtree(out)


def cases(inputs: Inputs) -> dict[str, Callable[[], None]]:
    """What is measured, by name."""
    product = inputs.scene.product
    return {
        "rasterise": lambda: rasterise(inputs),
        "to a store": lambda: cut(inputs, inputs.bands, store=True, s1=False),
        "to a tree": lambda: cut(inputs, inputs.bands, store=False, s1=False),
        "to a store, with Sentinel-1": lambda: cut(inputs, inputs.bands, store=True, s1=True),
        "to a tree, with Sentinel-1": lambda: cut(inputs, inputs.bands, store=False, s1=True),
        "product to a store, with Sentinel-1": lambda: cut(inputs, product, store=True, s1=True),
        "decode the product": lambda: decode(inputs),
    }


def measure(case: Callable[[], None], rounds: int, patches: int) -> dict[str, float]:
    """Patches per second of the median round, by the clock and by the processor time that it took."""
    seconds, busy = [], []
    for _ in range(rounds):
        began, used = time.perf_counter(), time.process_time()
        case()
        seconds.append(time.perf_counter() - began)
        busy.append(time.process_time() - used)
    return {"clock": patches / statistics.median(seconds), "processor": patches / statistics.median(busy)}


def _markdown(title: str, rates: dict[str, dict[str, float]], record: dict[str, Any], in_memory: bool) -> str:
    lines = [f"# {title}", "", "| case | patches/s | per second of processor time |", "|---|---:|---:|"]
    lines += [f"| {name} | {rate['clock']:,.0f} | {rate['processor']:,.0f} |" for name, rate in rates.items()]
    lines += ["", f"- Target: {TARGET} patches/s, rasterising and cutting together, JPEG 2000 apart."]
    lines += ["- The two columns differ by what other programs took of the core meanwhile."]
    lines += ["- Files lie in memory; no disk is measured."] if in_memory else []
    lines += [f"- Peak memory: {record['results']['peak_gb']:.2f} GB.", f"- One core of {record['hardware']['cpu']}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast products and land cover become patches.")
    parser.add_argument("--size", type=int, default=3600, help="Edge of the synthetic scene, a multiple of 120.")
    parser.add_argument("--rounds", type=int, default=3, help="Rounds of each case.")
    parser.add_argument("--only", help="Cases whose names hold this.")
    parser.add_argument("--folder", type=Path, default=_MEMORY if _MEMORY.is_dir() else None, help="Where to work.")
    parser.add_argument("--out", type=Path, help="Write OUT.json and OUT.md.")
    asked = parser.parse_args()
    if asked.out:
        claim_until_exit(asked.out.parent, [asked.out.with_suffix(suffix).name for suffix in (".json", ".md")])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        inputs = make_inputs(Path(scratch), asked.size)
        rates = {}
        for name, case in cases(inputs).items():
            if asked.only and asked.only not in name:
                continue
            rates[name] = rate = measure(case, asked.rounds, inputs.patches)
            Console().print(f"{name:<40} {rate['clock']:6.0f} patches/s, {rate['processor']:6.0f} by processor time")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    title = f"Products to patches, one core: SYNTHETIC, {inputs.patches:,} patches, {inputs.polygons:,} polygons"
    if asked.out:
        settings = {"size": asked.size, "rounds": asked.rounds, "patches": inputs.patches, "polygons": inputs.polygons}
        record = run_record(synthetic=True, settings=settings, results={**rates, "peak_gb": peak})
        write_json(asked.out.with_suffix(".json"), record)
        write_text(asked.out.with_suffix(".md"), _markdown(title, rates, record, asked.folder == _MEMORY))


if __name__ == "__main__":
    main()

"""How fast a class map becomes polygons, how much memory that takes, and whether their areas are those of the map.

The map is made up in strips: of each of the 19 classes a field of smooth noise, coarse and fine, and at every pixel the
class whose field is the highest, so that objects have 5 to 50 pixels across and ragged borders; without data beyond a
slanted edge, as at that of a swath. In CPU seconds, which other work on the machine hardly changes; the peak of memory
is that of the process that makes the polygons.

    python scripts/bench_polygons.py [--edge 10980] [--simplify 15] [--out results/performance/polygons]
"""

import argparse
import resource
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window
from rich.console import Console

from seg.maps.land_cover import write_land_cover
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.reben.ground import hectares_of
from seg.reben.patch import GeoRef
from seg.report.record import run_record, write_json
from seg.store.atomic import write_text
from seg.store.until_exit import claim_until_exit

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

ROWS = 512
SCALES = {48: 1.0, 10: 0.55}
"""Pixels from node to node of the noise, and how much it counts."""


@dataclass(frozen=True)
class Outlined:
    """What the polygons of a map took.

    Attributes:
        edge: Of the map, pixels.
        simplify: Metres.
        cpu, seconds: CPU seconds of all threads, and seconds.
        gigabytes: Peak of memory.
        polygons: How many there are.
        megabytes: Of their file.
        off: How far the hectares of a class are from those of the map, the most, as a share.
    """

    edge: int
    simplify: float
    cpu: float
    seconds: float
    gigabytes: float
    polygons: int
    megabytes: float
    off: float


def strips(edge: int) -> Iterator[tuple[int, Bytes, Bytes]]:
    """Row, classes and confidences of each strip of a made-up map."""
    random = np.random.default_rng(0)
    fields = [
        [(random.standard_normal((edge // step + 3, edge // step + 3)).astype(np.float32), step) for step in SCALES]
        for _ in range(NUM_CLASSES)
    ]
    columns = np.arange(edge)
    for top in range(0, edge, ROWS):
        rows = np.arange(top, min(top + ROWS, edge))
        highest_HW = np.full((len(rows), edge), -np.inf, np.float32)
        classes_HW = np.zeros(highest_HW.shape, np.uint8)
        for k, field in enumerate(fields):
            values_HW = sum(SCALES[step] * _between(nodes, step, rows, columns) for nodes, step in field)
            higher_HW = values_HW > highest_HW
            highest_HW[higher_HW], classes_HW[higher_HW] = values_HW[higher_HW], k
        confidence_HW = np.clip(highest_HW * 60, 0, 250).astype(np.uint8)
        beyond_HW = columns < 0.1 * edge - 0.12 * rows[:, None]
        classes_HW[beyond_HW] = confidence_HW[beyond_HW] = IGNORE_INDEX
        yield top, classes_HW, confidence_HW


def _between(nodes: Floats, step: int, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Floats:
    """Values between nodes."""
    shape, first = (len(rows), len(columns)), int(rows[0]) // step
    down_HW = np.broadcast_to((rows[:, None] / step - first).astype(np.float32), shape)
    across_HW = np.broadcast_to((columns / step).astype(np.float32), shape)
    some = np.ascontiguousarray(nodes[first : int(rows[-1]) // step + 2])
    values_HW: Floats = cv2.remap(some, across_HW.copy(), down_HW.copy(), cv2.INTER_LINEAR)
    return values_HW


def make(folder: Path, edge: int) -> npt.NDArray[np.float64]:
    """Write a map and its confidences; gives the hectares of each class."""
    grid, hectares = GeoRef(32633, 499_980.0, 5_900_040.0, 10.0, edge, edge), np.zeros(256)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "width": edge, "height": edge, "nodata": IGNORE_INDEX}
    profile |= {"crs": "EPSG:32633", "transform": Affine(*grid.transform), "compress": "deflate", "zlevel": 1}
    with (
        rasterio.open(folder / "classes.tif", "w", **profile) as classes,
        rasterio.open(folder / "confidence.tif", "w", **profile) as confidence,
    ):
        for top, classes_HW, confidence_HW in strips(edge):
            window = Window(0, top, edge, len(classes_HW))
            classes.write(classes_HW, 1, window=window)
            confidence.write(confidence_HW, 1, window=window)
            part = replace(grid, y_max=grid.y_max - top * grid.pixel_size, height=len(classes_HW))
            hectares += hectares_of(classes_HW, part)[1]
    return hectares[:NUM_CLASSES]


def outlined(folder: Path, edge: int, simplify: float, hectares_K: npt.NDArray[np.float64]) -> Outlined:
    """Write the polygons of a map."""
    path, began, cpu = folder / "polygons.gpkg", time.perf_counter(), time.process_time()
    tags = {"SEG_VERSION": "benchmark"}
    write_land_cover(path, [folder / "classes.tif"], [folder / "confidence.tif"], simplify, "made up", tags)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT class, count(*), sum(hectares) FROM polygons GROUP BY class").fetchall()
    off = max(abs(summed - hectares_K[k]) / hectares_K[k] for k, _, summed in rows)
    polygons = sum(count for _, count, _ in rows)
    return Outlined(edge, simplify, cpu, seconds, gigabytes, polygons, path.stat().st_size / 1e6, off)


def table(found: Outlined, cpu: str) -> str:
    """What was measured, as Markdown."""
    cells = [
        f"{found.edge:,} x {found.edge:,}",
        f"{found.simplify:g}",
        f"{found.polygons:,}",
        f"{found.cpu:.1f}",
        f"{found.seconds:.0f}",
        f"{found.gigabytes:.2f}",
        f"{found.megabytes:.0f}",
        f"{found.off:.0e}",
    ]
    lines = [
        "# Polygons of a made-up class map",
        "",
        "| pixels | simplified by, m | polygons | CPU s | s | peak GB | MB | hectares of a class, off by at most |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        "| " + " | ".join(cells) + " |",
        "",
        f"- {cpu}; seconds where other work takes part, CPU seconds count",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a class map becomes polygons.")
    parser.add_argument("--edge", type=int, default=10_980, help="Of the map, pixels.")
    parser.add_argument("--simplify", type=float, default=0.0, help="As of seg predict, metres.")
    parser.add_argument("--out", type=Path, help="Also write OUT.md and OUT.json, with versions and hardware.")
    asked = parser.parse_args()
    if asked.out:
        claim_until_exit(asked.out.parent, [asked.out.with_suffix(suffix).name for suffix in (".json", ".md")])
    with tempfile.TemporaryDirectory() as scratch:
        hectares_K = make(Path(scratch), asked.edge)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(outlined, Path(scratch), asked.edge, asked.simplify, hectares_K).result()
    record = run_record(synthetic=True, settings={}, results={"polygons": asdict(found)})
    text = table(found, f"{record['hardware']['cpu']} ({record['hardware']['cores']} cores)")
    Console(width=160).print(text)
    if asked.out:
        write_json(asked.out.with_suffix(".json"), record)
        write_text(asked.out.with_suffix(".md"), text)


if __name__ == "__main__":
    main()

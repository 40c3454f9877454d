"""How fast patches become batches on one core.

Reads Sentinel-1, Sentinel-2 and the reference map of every patch from a store in the page cache, brings 14 bands to
10 m, normalises, turns CLC codes into class indices and writes whole batches: what `seg.data.dataset.PatchDataset` does
in training. Beside it stands the limit, the bare bytes of a patch copied out of the LMDB. All cases take turns, round
by round, on one core with one thread; the table gives the median over the rounds.

    python scripts/bench_data.py [--data STORE] [--patches 200] [--rounds 5] [--json results/performance/data.json]

Without ``--data`` a synthetic store is made in a temporary folder, which takes much longer than the measurement.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from seg.config.sections import DataConfig
from seg.data.dataset import PatchDataset
from seg.data.order import BatchKey
from seg.pipeline.data import build, synthesise
from seg.reben.bands import MODALITIES
from seg.report.record import run_record, write_json
from seg.store.index import Rows
from seg.store.open import Store, open_store
from seg.store.patches import MAP_SUFFIX

TARGET = 2500
"""Least patches per second on one core, without augmentation."""
BATCH_SIZES = (32, 64)
_DATA = DataConfig(bands=MODALITIES["s1s2"])

Pass = Callable[[], int]
"""Reads every patch once and returns how many there were."""


def synthetic_store(folder: Path, patches: int) -> Store:
    """A new store of synthetic patches."""
    tree = folder / "reben"
    synthesise(tree, patches)
    build(
        folder / "store",
        s2=tree / "BigEarthNet-S2",
        s1=tree / "BigEarthNet-S1",
        maps=tree / "Reference_Maps",
        metadata=[
            tree / "metadata.parquet",
            tree / "metadata_for_patches_with_snow_cloud_or_shadow.parquet",
        ],
    )
    return open_store(folder / "store")


def use_one_core() -> None:
    """Keep this process on one core, with one thread."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def passes(store: Store, rows: Rows) -> dict[str, Pass]:
    """What is measured, by name."""
    cases: dict[str, Pass] = {"bytes out of LMDB": _bytes_pass(store, rows)}
    for augmented in (False, True):
        for size in BATCH_SIZES:
            dataset = PatchDataset(store, rows, _DATA, augment_seed=0 if augmented else None)
            cases[f"batches of {size}{', augmented' if augmented else ''}"] = _batch_pass(dataset, size)
    return cases


def _bytes_pass(store: Store, rows: Rows) -> Pass:
    index = store.index
    keys = [
        key
        for row in rows.tolist()
        for key in (index.patch_id(row), index.s1_name(row), index.patch_id(row) + MAP_SUFFIX)
    ]

    def run() -> int:
        for key in keys:
            value = store.patches.raw(key)
            assert value is not None, f"{key} was there when the store was opened"
            bytes(value)
        return len(rows)

    return run


def _batch_pass(dataset: PatchDataset, size: int) -> Pass:
    keys = [BatchKey(0, tuple(range(start, min(start + size, len(dataset))))) for start in range(0, len(dataset), size)]

    def run() -> int:
        # As in training, where the last batch is let go when the next one is there.
        batch = None
        for key in keys:
            batch = dataset[key]
        assert batch is not None, "there is a patch at least"
        return len(dataset)

    return run


def measure(cases: dict[str, Pass], rounds: int) -> dict[str, list[float]]:
    """Patches per second of every case in every round; one round before them is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, run in cases.items():
            began = time.perf_counter()
            patches = run()
            rate = patches / (time.perf_counter() - began)
            if number:
                rates[name].append(rate)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast patches become batches on one core.")
    parser.add_argument("--data", type=Path, help="A store; a synthetic one is made if not given.")
    parser.add_argument("--patches", type=int, default=200, help="Patches that are read in a round.")
    parser.add_argument("--rounds", type=int, default=5, help="Counted rounds.")
    parser.add_argument("--json", type=Path, help="Also write the figures, with versions and hardware, to this file.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = open_store(arguments.data) if arguments.data else synthetic_store(Path(scratch), arguments.patches)
        rows = store.usable(np.arange(len(store.index)), _DATA.bands, drop_incomplete=True)[: arguments.patches]
        load = os.getloadavg()[0]
        use_one_core()
        rates = measure(passes(store, rows), max(1, arguments.rounds))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    table = Table("case", "patches/s", "best round", "target", title=f"{len(rows)} patches, S1 + S2 + map, one core")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, median in medians.items():
        target = f"{TARGET:,}" if name in {f"batches of {size}" for size in BATCH_SIZES} else ""
        table.add_row(name, f"{median:,.0f}", f"{max(rates[name]):,.0f}", target)
    Console().print(table)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        settings = {
            "patches": len(rows),
            "synthetic": store.info.synthetic,
            "rounds": arguments.rounds,
            "load_before": load,
            "target_patches_per_second": TARGET,
        }
        results = {name: {"median": medians[name], "max": max(rates[name])} for name in rates}
        write_json(arguments.json, run_record(benchmark="data", settings=settings, patches_per_second=results))


if __name__ == "__main__":
    main()

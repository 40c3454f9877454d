"""How fast data move, beside the peers and beside the limits: from the archives to batches.

Everything is made and measured in one run: a synthetic reBEN, its archives, stores; building a store in turn and at
once, reading it with one and with two processes, with warm and with cold cache, and opening an index of the size of the
official metadata.
The peers do their own share of the same work on the same files; what each case does is said in the table.

    pip install -e ".[bench]"
    python scripts/bench_data.py --out results/performance/data [--patches 4000] [--metadata FOLDER] [--peers PYTHON]

ConfigILM asks for numpy 1. So that seg is measured as its users have it, the extra may be installed into an environment
of its own, whose interpreter is named with ``--peers``. Writes ``<out>.json`` and ``<out>.md``. Peers that are not
installed are left out, and said to be; cold reading needs the right to drop the page cache (/proc/sys/vm/drop_caches).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from seg.prepare.sources import METADATA_FILES
from seg.report.formats import FORMATS, Column, Table
from seg.report.record import run_record, write_json
from seg.store.atomic import write_text
from seg.store.until_exit import claim_until_exit

ROUNDS = 5
PARTS = {"s2": "BigEarthNet-S2", "s1": "BigEarthNet-S1", "maps": "Reference_Maps"}
DROP = Path("/proc/sys/vm/drop_caches")
OFFICIAL_ROWS = 549_488


@dataclass(frozen=True)
class Figure:
    """A measured case.

    Attributes:
        group: What is compared with each other.
        case: What was done.
        value: The median over the rounds.
        unit: Its unit.
        best: The best round.
        ratio: Value divided by that of the peer that the group is compared with; None where there is none.
    """

    group: str
    case: str
    value: float
    unit: str
    best: float
    ratio: float | None = None


# --- cases, each run in a process of its own: python bench_data.py --case NAME ARGUMENTS ------------------------------


def case_batches(store: str, size: str, workers: str, augmented: str, rounds: str = str(ROUNDS)) -> list[float]:
    """Patches/s of a loader; the first pass is not counted."""
    from seg.config.sections import DataConfig
    from seg.data.dataset import PatchDataset
    from seg.data.loader import make_loader
    from seg.data.order import BatchOrder
    from seg.reben.bands import MODALITIES
    from seg.store.open import open_store

    _one_thread()
    opened = open_store(Path(store))
    rows = np.tile(np.arange(len(opened.index)), max(1, 4000 // len(opened.index)))
    dataset = PatchDataset(opened, rows, DataConfig(bands=MODALITIES["s1s2"]), 0 if augmented == "True" else None)
    order = BatchOrder(len(rows), int(size), shuffle_seed=0)
    loader = make_loader(dataset, order, int(workers))

    def read() -> int:
        patches = 0
        order.epoch += 1
        for batch in loader:
            patches += len(batch)
        return patches

    return _rates(read, int(rounds))


def case_bytes(store: str) -> list[float]:
    """Patches/s of copying all values of a patch out of the LMDB: the limit."""
    from seg.store.open import open_store
    from seg.store.patches import MAP_SUFFIX

    opened = open_store(Path(store))
    index = opened.index
    keys = [
        key
        for row in range(len(index))
        for key in (index.patch_id(row), index.s1_name(row), index.patch_id(row) + MAP_SUFFIX)
    ]

    def read() -> int:
        for key in keys:
            value = opened.patches.raw(key)
            assert value is not None
            bytes(value)
        return len(index)

    return _rates(read)


def case_memory() -> list[float]:
    """Patches/s of copying the float32 result of a patch, 14 x 120 x 120, from memory to memory: the other limit."""
    source = np.ones((64, 14, 120, 120), np.float32)
    target = np.empty_like(source)

    def copy() -> int:
        for _ in range(20):
            np.copyto(target, source)
        return 20 * len(source)

    return _rates(copy)


def case_configilm(store: str, metadata: str) -> list[float]:
    """Patches/s of ConfigILM: S1 + S2 from the same LMDB, nearest to 120 px, no map, no normalisation, no batch."""
    from configilm.extra.BENv2_utils import BENv2LDMBReader, stack_and_interpolate

    from seg.reben.bands import MODALITIES
    from seg.store.open import open_store

    _one_thread()
    index = open_store(Path(store)).index
    reader = BENv2LDMBReader(
        store, Path(metadata) / METADATA_FILES[0], Path(metadata) / METADATA_FILES[1],
        bands=list(MODALITIES["s1s2"]), process_bands_fn=stack_and_interpolate,
    )  # fmt: skip
    names = [index.patch_id(row) for row in range(min(len(index), 1000))]

    def read() -> int:
        for name in names:
            reader[name]
        return len(names)

    return _rates(read)


def case_torchgeo(tree: str) -> list[float]:
    """Patches/s of torchgeo: S1 + S2 + map of a patch from the GeoTIFFs."""
    from torchgeo.datasets import BigEarthNetV2

    _one_thread()
    dataset = BigEarthNetV2(tree, split="train", bands="all")

    def read() -> int:
        count = min(len(dataset), 150)
        for i in range(count):
            dataset[i]
        return count

    return _rates(read, 3)


def case_index(*paths: str) -> list[float]:
    """Seconds to open an index and select from it, and peak MB of the process before and after."""
    from seg.config.sections import DataConfig
    from seg.store.index import read_index
    from seg.store.selection import select

    before = _peak()
    began = time.perf_counter()
    index = read_index([Path(path) for path in paths])
    select(index, DataConfig(countries=("Finland", "Portugal"), months=(6, 7, 8), classes=("Pastures",)), "train")
    assert len(index) == OFFICIAL_ROWS, len(index)
    return [time.perf_counter() - began, before, _peak()]


def case_cold(store: str, how: str) -> list[float]:
    """Patches/s of one pass in batches of 32 over a store, two loader processes; their start is left out.

    `how` is an order, and with a comma behind it bands.
    """
    from seg.config.sections import DataConfig
    from seg.data.dataset import PatchDataset
    from seg.data.loader import make_loader
    from seg.data.order import BatchOrder
    from seg.reben.bands import MODALITIES
    from seg.store.open import open_store
    from seg.store.patches import PatchReader

    _one_thread()
    how, _, bands = how.partition(", ")
    if bands == "no reading ahead":
        PatchReader.read_ahead = lambda self, keys: None  # type: ignore[method-assign]
        bands = ""
    opened = open_store(Path(store))
    data = DataConfig(bands=MODALITIES[bands or "s1s2"], order="blocks" if how == "blocks" else "shuffle")
    dataset = PatchDataset(opened, np.arange(len(opened.index)), data)
    order = BatchOrder(len(dataset), 32, None if how == "in sequence" else 0, shuffle=data.order)
    batches = iter(make_loader(dataset, order, 2))
    next(batches)
    began = time.perf_counter()
    patches = sum(len(batch) for batch in batches)
    return [patches / (time.perf_counter() - began)]


def case_pread(store: str) -> list[float]:
    """Patches/s of `pread` by 8 threads, the values of patch after patch in the shuffled order: what the disk gives."""
    from concurrent.futures import ThreadPoolExecutor

    from seg.data.order import BatchOrder
    from seg.store.open import open_store
    from seg.store.patches import DATA_FILE

    opened = open_store(Path(store))
    assert opened.offsets is not None, "seg has built it"
    rows = [row for key in BatchOrder(len(opened.index), 32, 0) for row in key.positions]
    stretches = [opened.offsets.stretches(np.array([row])) for row in rows]
    file = os.open(Path(store) / DATA_FILE, os.O_RDONLY)
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda own: [os.pread(file, length, begin) for begin, length in own], stretches):
            pass
    return [len(rows) / (time.perf_counter() - began)]


def _one_thread() -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _rates(read: Callable[[], int], rounds: int = ROUNDS) -> list[float]:
    read()
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        patches = read()
        rates.append(patches / (time.perf_counter() - began))
    return rates


def _peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


CASES: dict[str, Callable[..., list[float]]] = {
    name.removeprefix("case_"): function for name, function in list(globals().items()) if name.startswith("case_")
}


def run_case(name: str, *arguments: object, cores: int = 1, python: str = sys.executable) -> list[float]:
    """A case in a fresh process on so many cores."""
    code = (
        f"import os, sys, runpy; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{cores}]); "
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    command = [python, "-c", code, __file__, "--case", name, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    result: list[float] = json.loads(done.stdout.splitlines()[-1])
    return result


# --- building ---------------------------------------------------------------------------------------------------------


def cpu_seconds(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a command and all its processes, imports included."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.perf_counter() - began


def building(scratch: Path, patches: int) -> list[Figure]:
    """Figures of making an LMDB of the same patches."""
    tree = scratch / "reben"
    metadata = [text for name in METADATA_FILES for text in ("--metadata", str(tree / name))]
    sources = {"tree": {kind: tree / name for kind, name in PARTS.items()}}
    for kind, name in PARTS.items():
        subprocess.run(["tar", "-C", tree, "-cf", scratch / f"{name}.tar", name], check=True)
        sources.setdefault("tar", {})[kind] = scratch / f"{name}.tar"
        if shutil.which("zstd"):
            subprocess.run(["zstd", "-q", "-f", scratch / f"{name}.tar"], check=True)
            sources.setdefault("tar.zst", {})[kind] = scratch / f"{name}.tar.zst"
    commands: dict[str, list[str]] = {}
    for form, paths in sources.items():
        for workers in (1, 2):
            named = [text for kind, path in paths.items() for text in (f"--{kind}", str(path))]
            commands[f"seg data build, {form}, {'read and written at once' if workers > 1 else 'in turn'}"] = [
                sys.executable, "-m", "seg", "data", "build", *named, *metadata, "--workers", str(workers),
                str(scratch / "built"),
            ]  # fmt: skip
    if rico := shutil.which("rico-hdl"):
        commands["rico-hdl, tree, 2 workers"] = [
            rico, "bigearthnet", "--bigearthnet-s1-dir", str(tree / PARTS["s1"]), "--bigearthnet-s2-dir",
            str(tree / PARTS["s2"]), "--bigearthnet-reference-maps", str(tree / PARTS["maps"]),
            "--target-dir", str(scratch / "built"),
        ]  # fmt: skip
    figures = []
    for case, command in commands.items():
        times = []
        for _ in range(3):
            shutil.rmtree(scratch / "built", ignore_errors=True)
            times.append(cpu_seconds(command))
        for unit, seconds in (("patches/CPU s", [cpu for cpu, _ in times]), ("patches/s", [wall for _, wall in times])):
            rates = [patches / second for second in seconds]
            figures.append(Figure("build", case, statistics.median(rates), unit, max(rates)))
    reference = {f.unit: f.value for f in figures if f.case.startswith("rico-hdl")}
    return [Figure(**{**asdict(f), "ratio": f.value / reference[f.unit]}) if reference else f for f in figures]


# --- everything -------------------------------------------------------------------------------------------------------


def has(python: str, package: str) -> bool:
    """Whether an interpreter has a package."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def reading(store: Path, tree: Path, peers: str) -> tuple[list[Figure], list[str]]:
    """Figures of reading with a warm cache, and what could not be measured."""
    cases: dict[str, tuple[object, ...]] = {
        "seg, batches of 32, one core": ("batches", store, 32, 0, False),
        "seg, batches of 64, one core": ("batches", store, 64, 0, False),
        "seg, batches of 32, augmented, one core": ("batches", store, 32, 0, True),
        "seg, batches of 32, two processes, two cores": ("batches", store, 32, 2, False),
        "seg, batches of 64, two processes, two cores": ("batches", store, 64, 2, False),
        "limit: bytes out of the LMDB": ("bytes", store),
        "limit: copying the float32 result": ("memory",),
        "ConfigILM: S1 + S2, nearest, no map, not normalised, not batched": ("configilm", store, tree),
        "torchgeo: S1 + S2 + map from GeoTIFF, bilinear, not normalised, not batched": ("torchgeo", tree),
    }
    rates, left_out = {}, []
    for case, (name, *arguments) in cases.items():
        peer = name in ("configilm", "torchgeo")
        if peer and not has(peers, str(name)):
            left_out.append(f"{name} is not installed (extra `bench`)")
            continue
        cores = 2 if "two cores" in case else 1
        rates[case] = run_case(str(name), *arguments, cores=cores, python=peers if peer else sys.executable)
    reference = next((statistics.median(r) for case, r in rates.items() if case.startswith("ConfigILM")), None)
    figures = []
    for case, values in rates.items():
        median = statistics.median(values)
        ratio = median / reference if reference else None
        figures.append(Figure("read, warm", case, median, "patches/s", max(values), ratio))
    return figures, left_out


def cold_reading(store: Path, compact: Path, patches: int) -> tuple[list[Figure], list[str]]:
    """Figures of reading from the disk, in turns; relative to shuffling without reading ahead."""
    try:
        DROP.write_text("3")
    except OSError:
        return [], ["cold reading: the page cache may not be dropped here"]
    limit, packed = "limit: pread of the same values by 8 threads, shuffled", "shuffle, compact store"
    values = {"shuffle, s2": 2, "shuffle, s2-10m": 2}
    ways = ("shuffle, no reading ahead", "shuffle", "blocks", "in sequence", *values, packed, limit)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    requests: dict[str, list[float]] = {way: [] for way in ways}
    kilobytes: dict[str, list[float]] = {way: [] for way in ways}
    warm: dict[str, list[float]] = {"shuffle": [], "in sequence": []}
    for _ in range(ROUNDS):
        for way in ways:
            folder = compact if way == packed else store
            os.sync()
            DROP.write_text("3")
            before = _disk_reads(store)
            how = way.removesuffix(", compact store")
            rates[way] += run_case("pread", store, cores=2) if way == limit else run_case("cold", folder, how, cores=2)
            after = _disk_reads(store)
            requests[way].append((after[0] - before[0]) / (values.get(way, 3) * patches))
            kilobytes[way].append((after[1] - before[1]) / 2 / patches)
        run_case("cold", store, "shuffle", cores=2)  # now all of it is in memory
        for way in warm:
            warm[way] += run_case("cold", store, way, cores=2)
    first = statistics.median(rates[ways[0]])
    figures = [
        Figure("read, cold", way, statistics.median(r), "patches/s", max(r), statistics.median(r) / first)
        for way, r in rates.items()
    ]
    for what, unit, counts in (("requests", "per value", requests), ("from the disk", "kB/patch", kilobytes)):
        for way, values_of_way in counts.items():
            median = statistics.median(values_of_way)
            figures.append(Figure("read, cold", f"{way}: {what}", median, unit, min(values_of_way)))
    for way, found in warm.items():
        share = 100 * max(0.0, 1 - statistics.median(rates[way]) / statistics.median(found))
        figures.append(Figure("read, cold", f"{way}: share of the time that waits for the disk", share, "%", share))
    return figures, []


def _disk_reads(path: Path) -> tuple[int, int]:
    """Reads that the disk of a path has completed, which a disk that seeks takes its time for; and sectors of 512 B."""
    device = path.stat().st_dev
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)):
            return int(fields[3]), int(fields[5])
    return 0, 0


def randomness(labels_NK: np.ndarray, tiles: np.ndarray, orders: dict[str, np.ndarray]) -> list[Figure]:
    """What an order costs: how alike the patches of a batch are.

    Args:
        labels_NK: Multi-labels of the split, in the order of the store.
        tiles: S2 tile of each.
        orders: Orders by name.
    """
    figures = []
    share_K = labels_NK.mean(0)
    for name, order in orders.items():
        batches = order[: len(order) // 32 * 32].reshape(-1, 32)
        same = np.mean([(np.unique(tiles[b], return_counts=True)[1] * 1.0 @ (
            np.unique(tiles[b], return_counts=True)[1] - 1)) / (32 * 31) for b in batches[:2000]])  # fmt: skip
        off = np.mean([np.abs(labels_NK[b].mean(0) - share_K).sum() for b in batches])
        figures.append(Figure("randomness", f"{name}: pairs of a batch from one tile", 100 * float(same), "%", 0.0))
        figures.append(Figure("randomness", f"{name}: label shares of a batch off by", float(off), "sum |Δ|", 0.0))
    return figures


def official_size(metadata: Path | None, scratch: Path) -> tuple[list[Path], str]:
    """Metadata of the official number of rows: the official files, or names made up."""
    if metadata is not None:
        return [metadata / name for name in METADATA_FILES], "official metadata"
    import pyarrow as pa
    import pyarrow.parquet as pq

    tiles = [f"{zone}U{a}{b}" for zone in (32, 33, 34) for a in "ABCDEFGH"[:7] for b in "ABCDEFGHJ"]
    from seg.errors import UnknownNameError
    from seg.reben.patch import geographic_split, tile_corner

    known = []
    for tile in tiles:
        with suppress(UnknownNameError):
            tile_corner(tile)
            known.append(tile)
    cells = [(tile, c, r) for tile in known for c in range(91) for r in range(91)][:OFFICIAL_ROWS]
    assert len(cells) == OFFICIAL_ROWS, len(cells)
    ids = [f"S2A_MSIL2A_20170613T101031_N9999_R022_T{tile}_{c:02d}_{r:02d}" for tile, c, r in cells]
    table = {
        "patch_id": ids,
        "labels": [["Arable land", "Pastures"] if c % 2 else ["Mixed forest"] for _, c, _ in cells],
        "split": [geographic_split(c, r) for _, c, r in cells],
        "country": ["Finland" if c % 3 else "Portugal" for _, c, _ in cells],
        "s1_name": [f"S1B_IW_GRDH_1SDV_20170612T165809_{tile}_{c}_{r}" for tile, c, r in cells],
        "s2v1_name": [f"S2A_MSIL2A_20170613T101031_{c}_{r}" for _, c, r in cells],
        "contains_seasonal_snow": [False] * OFFICIAL_ROWS,
        "contains_cloud_or_shadow": [False] * OFFICIAL_ROWS,
    }
    pq.write_table(pa.table(table), scratch / "rows.parquet", compression="zstd")
    return [scratch / "rows.parquet"], "made-up metadata"


def orders_of(samples: int) -> dict[str, np.ndarray]:
    """The orders that training can read in, and no shuffling at all for comparison."""
    from seg.data.order import block_order

    random = np.random.default_rng(0)
    return {
        "shuffle": random.permutation(samples),
        "blocks": block_order(samples, random),
        "in sequence": np.arange(samples),
    }


def index_figures(paths: list[Path], label: str) -> list[Figure]:
    runs = [run_case("index", *paths) for _ in range(3)]
    seconds = [run[0] for run in runs]
    peak = max(run[2] for run in runs)
    case = f"open and select from {OFFICIAL_ROWS:,} rows ({label})"
    return [
        Figure("index", case, statistics.median(seconds), "s", min(seconds)),
        Figure("index", f"{case}, peak memory, {runs[0][1]:.0f} MB of it imports", peak, "MB", peak),
    ]


def table_of(figures: Iterable[Figure], title: str) -> Table:
    columns = (
        Column("group", "what", "text"),
        Column("case", "case", "text"),
        Column("value", "median", "text"),
        Column("best", "best", "text"),
        Column("unit", "unit", "text"),
        Column("ratio", "times peer", "text"),
    )

    def shown(value: float | None) -> str:
        if not value:
            return ""
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"

    rows = [(f.group, f.case, shown(f.value), shown(f.best), f.unit, shown(f.ratio)) for f in figures]
    return Table("data", title, columns, tuple(rows))


def main() -> None:
    if sys.argv[1:2] == ["--case"]:
        print(json.dumps(CASES[sys.argv[2]](*sys.argv[3:])))
        return
    parser = argparse.ArgumentParser(description="How fast data move, beside the peers and the limits.")
    parser.add_argument("--patches", type=int, default=4000, help="Patches of the synthetic reBEN.")
    parser.add_argument("--metadata", type=Path, help="Folder of the official metadata parquets.")
    parser.add_argument("--peers", default=sys.executable, help="Interpreter that has the extra `bench`.")
    parser.add_argument("--out", type=Path, help="Write OUT.json and OUT.md.")
    arguments = parser.parse_args()
    if arguments.out:
        claim_until_exit(arguments.out.parent, [arguments.out.with_suffix(suffix).name for suffix in (".json", ".md")])
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        tree, store = scratch / "reben", scratch / "store"
        seg = [sys.executable, "-m", "seg", "data"]
        subprocess.run([*seg, "synth", str(tree), "--patches", str(arguments.patches)], check=True)
        named = [text for kind, part in PARTS.items() for text in (f"--{kind}", str(tree / part))]
        metadata = [text for file in METADATA_FILES for text in ("--metadata", str(tree / file))]
        subprocess.run([*seg, "build", *named, *metadata, str(store)], check=True)
        compact = scratch / "compact"
        subprocess.run([*seg, "build", "--compress", *named, *metadata, str(compact)], check=True)
        figures = building(scratch, arguments.patches)
        warm, left_out = reading(store, tree, arguments.peers)
        cold, not_cold = cold_reading(store, compact, arguments.patches)
        paths, label = official_size(arguments.metadata, scratch)
        figures += warm + cold + index_figures(paths, label)
        from seg.store.index import read_index

        index = read_index(paths)
        rows = np.flatnonzero(index.splits == 0)
        rows = rows[np.argsort(index.patch_ids.take(rows).to_numpy(zero_copy_only=False))]
        tiles = index.tiles.to_numpy(zero_copy_only=False).astype("U5")[rows]
        figures += randomness(index.labels(rows), tiles, orders_of(len(rows)))
    left_out += not_cold
    if not any(figure.case.startswith("rico-hdl") for figure in figures):
        left_out.append("rico-hdl is not on the path")
    table = table_of(figures, f"Data: {arguments.patches} synthetic patches, S1 + S2 + map")
    shown = RichTable(*(column.title for column in table.columns), title=table.title)
    for row in table.rows:
        shown.add_row(*map(str, row))
    Console(width=160).print(shown)
    for sentence in left_out:
        Console().print(f"Left out: {sentence}.")
    if arguments.out:
        settings = {"patches": arguments.patches, "rounds": ROUNDS, "load_before": load, "left_out": left_out}
        record = run_record(benchmark="data", settings=settings, figures=[asdict(figure) for figure in figures])
        write_json(arguments.out.with_suffix(".json"), record)
        notes = "".join(f"\nLeft out: {sentence}.\n" for sentence in left_out)
        write_text(arguments.out.with_suffix(".md"), FORMATS["md"](table) + notes)


if __name__ == "__main__":
    main()

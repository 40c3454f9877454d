"""How fast whole scenes are mapped, beside the bare network on the same windows, and how much memory that takes.

U-Net with a ResNet-18 or ResNet-50 encoder and random weights, the 12 bands of Sentinel-2, on the GPU if there is one,
else on the CPU. Each scene in a process of its own, in which rounds of both alternate; medians of the rounds:

- network: the network as it was trained, on the inputs of all windows, made beforehand, in the batches of the map.
- pixel part: the same without the scene head, which maps do not need.
- strips: reading, the network, blending, and writing strips, which all run at the same time.
- command: everything, with putting the strips together into a Cloud-Optimized GeoTIFF and reading it again.

The same in CPU seconds, which other work on the machine hardly changes. The peak of memory is that of the process
through its first map, GPU memory apart. Scenes: a synthetic Sentinel-2 product (JPEG 2000), its bands as one GeoTIFF
repeated to half a tile, and with --tile a whole tile under a small network, for its memory. With fewer --threads than
cores for the network, decoding has a core of its own.

With --layers EDGE instead: what probabilities and confidence cost besides the class map, of a square GeoTIFF of so many
pixels, under a small network, beside which writing weighs most, and under a ResNet-18.

    python scripts/bench_predict.py [--size 3840] [--rounds 2] [--threads 1] [--tile PRODUCT]
        [--out results/performance/predict]
    python scripts/bench_predict.py --layers 5490 --rounds 1 --out results/performance/predict_layers
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

# As the command line does, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import numpy as np
import rasterio
import torch
from rich.console import Console

from seg.config.load import dump_config
from seg.config.sections import Config, ModelConfig
from seg.inference.strips import StripPreparation, StripReader, View
from seg.inference.torch_network import TorchArithmetic
from seg.inference.windows import lay_windows
from seg.maps.mapping import SceneMap, batch_of_windows
from seg.maps.part import choose_part
from seg.models.card import Data
from seg.models.checkpoint import make_card, save_checkpoint
from seg.models.segmenter import build_segmenter
from seg.pipeline.predict import predict
from seg.reben.bands import BANDS, MODALITIES
from seg.report.record import run_record, write_json
from seg.runs.session import Weights, open_weights
from seg.runs.use import choose_weights
from seg.scenes.open import open_scene
from seg.store.atomic import write_text
from seg.store.until_exit import claim_until_exit
from seg.synthetic.scene import synthesise_scene

TARGET = 0.9
"""Least ratio of the strips' windows per second to those of the bare network."""
MEMORY_TARGET = 4.0
"""GB that a tile of 10,980 x 10,980 pixels may take."""
USED = MODALITIES["s2"]


T = TypeVar("T")

TILE_WIDTH, STRIP_HEIGHT = 10_980, 5490
LAYERS_TARGET = 1.3
"""Most that a map with probabilities and confidence may take, of one without."""


@dataclass(frozen=True)
class Timed:
    """What a scene took; seconds are medians.

    Attributes:
        name, encoder: Of the scene and the network.
        height, width: Pixels.
        windows, window, batch_size: Number of windows, edge, and windows at a time.
        rounds: Of each; 0: one map and no bare network.
        threads: Of the network.
        network, pixel_part, strips, command: Seconds; those of the network 0 without rounds.
        network_cpu, command_cpu: CPU seconds of all threads.
        gigabytes: Peak of memory.
        load: Processes that wanted to run in the last minute, this one's threads among them.
    """

    name: str
    encoder: str
    height: int
    width: int
    windows: int
    window: int
    batch_size: int
    rounds: int
    threads: int
    network: float
    pixel_part: float
    strips: float
    command: float
    network_cpu: float
    command_cpu: float
    gigabytes: float
    load: float


def untrained_run(folder: Path, encoder: str = "resnet18") -> Path:
    """A run folder with random weights."""
    torch.manual_seed(0)
    model = build_segmenter(ModelConfig(arch="unet", encoder=encoder), USED)
    statistics = [(BANDS[name].mean, BANDS[name].std) for name in USED]
    card = make_card(model, statistics, "bilinear", Data(fingerprint="none", synthetic=True, train_patches=0))
    save_checkpoint(folder / "checkpoints" / "best", model, card)
    write_text(folder / "config.yaml", dump_config(Config.model_validate({"data": {"bands": USED}})))
    return folder


def widened(stack: Path, out: Path, height: int = STRIP_HEIGHT, width: int = TILE_WIDTH) -> Path:
    """The bands of a stack, repeated to a height and width."""
    with rasterio.open(stack) as source:
        repeats = -(-np.array([height, width]) // source.shape)
        with rasterio.open(out, "w", **source.profile | {"height": height, "width": width}) as target:
            for number in source.indexes:
                target.write(np.tile(source.read(number), repeats)[:height, :width], number)
            target.descriptions = source.descriptions
    return out


def timed_scene(name: str, path: Path, run: Path, asked: argparse.Namespace, rounds: int) -> Timed:
    """Map a scene, and run the bare network over its windows, in turns."""
    if asked.threads:
        torch.set_num_threads(asked.threads)
    window: int | None = asked.window
    weights = open_weights(choose_weights(run))
    with tempfile.TemporaryDirectory() as scratch:

        def mapped() -> SceneMap:
            (found,) = predict(run, [path], Path(scratch) / "map.tif", window=window)
            return found

        command, command_cpu, found = _timed(mapped)
        gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        networks, parts, whole = [], [], [(command, command_cpu, found.seconds)] if not rounds else []
        for _ in range(rounds):
            networks.append(network_seconds(weights, path, window, weights.model))
            parts.append(network_seconds(weights, path, window, weights.model.pixel_logits))
            seconds, cpu, again = _timed(mapped)
            whole.append((seconds, cpu, again.seconds))
    commands, commands_cpu, strips = zip(*whole, strict=True)
    (networks_s, networks_cpu), (parts_s, _) = (zip(*each or [(0.0, 0.0)], strict=True) for each in (networks, parts))
    on_gpu = weights.compute.device.type != "cpu"
    batch_size = batch_of_windows(weights.config.eval.batch_size, on_gpu, *found.window)
    return Timed(
        name,
        weights.card.encoder,
        found.height,
        found.width,
        found.windows,
        found.window[1],
        batch_size,
        rounds,
        torch.get_num_threads(),
        *(median(each) for each in (networks_s, parts_s, strips, commands, networks_cpu, commands_cpu)),
        gigabytes,
        os.getloadavg()[0],
    )


@dataclass(frozen=True)
class Layers:
    """What a map took without and with probabilities and confidence; medians of the rounds.

    Attributes:
        encoder: Of the network.
        edge: Pixels of the square scene.
        plain, plain_cpu: Seconds, and CPU seconds of all threads, of the class map alone.
        layers, layers_cpu: With all rasters.
        gigabytes: Peak of memory.
        load: As of `Timed`.
    """

    encoder: str
    edge: int
    plain: float
    plain_cpu: float
    layers: float
    layers_cpu: float
    gigabytes: float
    load: float


def timed_layers(path: Path, run: Path, threads: int | None, rounds: int) -> Layers:
    """Map a scene without and with probabilities and confidence, in turns."""
    if threads:
        torch.set_num_threads(threads)
    weights = open_weights(choose_weights(run))
    # What a process does only once counts against them: they come first.
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(max(rounds, 1)):
            for wanted, times in found.items():
                seconds, cpu, (done,) = _timed(
                    lambda wanted=wanted: predict(
                        run, [path], Path(scratch) / "map.tif", probabilities=wanted, confidence=wanted
                    )
                )
                times.append((seconds, cpu))
    medians = [median(each) for wanted in (False, True) for each in zip(*found[wanted], strict=True)]
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return Layers(weights.card.encoder, done.width, *medians, gigabytes, os.getloadavg()[0])


def layers_markdown(found: list[Layers], hardware: dict[str, Any]) -> str:
    """A table of `Layers`."""
    lines = [
        "# Probabilities and confidence beside the class map: 12 bands, random weights",
        "",
        "| pixels | model | class map, s | with all rasters | of it | class map, CPU s | with all rasters | of it | "
        "peak GB | load |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in found:
        cells = [
            f"{each.edge:,} x {each.edge:,}",
            f"U-Net {each.encoder}",
            f"{each.plain:.0f}",
            f"{each.layers:.0f}",
            f"{each.layers / each.plain:.2f}",
            f"{each.plain_cpu:.0f}",
            f"{each.layers_cpu:.0f}",
            f"{each.layers_cpu / each.plain_cpu:.2f}",
            f"{each.gigabytes:.2f}",
            f"{each.load:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    notes = [
        "- Of it: how many times as long the command takes with `--probabilities --confidence` (target "
        f"{LAYERS_TARGET}). What a process does only once counts against it.",
        "- Load: processes that wanted to run; above the number of cores other work took part, and only CPU seconds "
        "count.",
        f"- {hardware['cpu']} ({hardware['cores']} cores)",
    ]
    return "\n".join([*lines, "", *notes]) + "\n"


def network_seconds(
    weights: Weights, path: Path, window: int | None, network: Callable[[torch.Tensor], object]
) -> tuple[float, float]:
    """Seconds and CPU seconds of the network alone on the windows of a scene, without making their inputs."""
    compute, card = weights.compute, weights.card
    scene = open_scene(path, needed=card.bands)
    tiling = lay_windows(
        weights.model.sizes, (scene.grid.height, scene.grid.width), choose_part(scene, None, None).inner, window
    )
    view = View(scene, card.bands, card.resampling)
    prepare = StripPreparation(view, tiling, TorchArithmetic(compute))
    on_gpu = compute.device.type != "cpu"
    size = batch_of_windows(weights.config.eval.batch_size, on_gpu, tiling.rows.window, tiling.columns.window)
    images_CHW = torch.empty(prepare.shape, device=compute.device)
    starts, edge = tiling.columns.starts, tiling.columns.window
    total = total_cpu = 0.0

    def run(images_BCHW: torch.Tensor) -> None:
        with compute.autocast():
            network(images_BCHW)
        if compute.device.type == "cuda":
            torch.cuda.synchronize(compute.device)

    with scene.open() as reader, torch.inference_mode():
        strips = StripReader(view, reader, tiling)
        for number in range(len(tiling.rows.starts)):
            prepare(strips.read(number), images_CHW)
            for first in range(0, len(starts), size):
                windows = [images_CHW[:, :, start : start + edge] for start in starts[first : first + size]]
                images_BCHW = torch.stack(windows).contiguous(memory_format=compute.memory_format)
                seconds, cpu, _ = _timed(lambda images_BCHW=images_BCHW: run(images_BCHW))
                total, total_cpu = total + seconds, total_cpu + cpu
    return total, total_cpu


def _timed(work: Callable[[], T]) -> tuple[float, float, T]:
    """Seconds, CPU seconds of all threads, and what came out."""
    began, began_cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - began, time.process_time() - began_cpu, result


def apart(work: Callable[..., T], *arguments: Any) -> T:
    """Work in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _table(found: list[Timed]) -> list[str]:
    lines = [
        "| scene | pixels | model | threads | windows | network, per s | strips | command | its CPU | strips, of pixel "
        "part | km2/s | peak GB | load |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in found:
        rate = each.windows / each.network if each.network else 0
        shares = [
            f"{100 * bare / ours:.0f} %" if bare else "–"
            for bare, ours in (
                (each.network, each.strips),
                (each.network, each.command),
                (each.network_cpu, each.command_cpu),
                (each.pixel_part, each.strips),
            )
        ]
        cells = [
            each.name,
            f"{each.width:,} x {each.height:,}",
            f"U-Net {each.encoder}",
            str(each.threads),
            f"{each.windows} of {each.window}",
            f"{rate:.2f}" if rate else f"– ({each.windows / each.strips:.2f} with all)",
            *shares,
            f"{each.height * each.width / 1e4 / each.command:.1f}",
            f"{each.gigabytes:.2f}",
            f"{each.load:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _markdown(found: list[Timed], record: dict[str, Any]) -> str:
    hardware, versions = record["hardware"], record["versions"]
    machine = ", ".join([*hardware["gpus"], f"{hardware['cpu']} ({hardware['cores']} cores)"])
    settings = record["settings"]
    notes = [
        f"- Strips and command: share of the bare network's speed on the same windows (target {100 * TARGET:.0f} % for "
        "strips); medians of alternating rounds. Its CPU: the command's share in CPU seconds of all threads. Of pixel "
        "part: against the network without its scene head, which maps do not need.",
        "- Peak GB: resident memory of the whole process through its first map "
        f"(target {MEMORY_TARGET:g} for a tile of {TILE_WIDTH:,} x {TILE_WIDTH:,}).",
        f"- {settings['format']}; reading has threads of its own. Load: processes that wanted to run; above the number "
        "of cores other work took part, and only CPU seconds count.",
        f"- {machine}; torch {versions['torch']}, Python {versions['python']}",
    ]
    return "\n".join(["# Prediction of scenes: 12 bands, random weights", "", *_table(found), "", *notes]) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast scenes are mapped, beside the bare network.")
    parser.add_argument("--size", type=int, default=1920, help="Edge of the synthetic scene, a multiple of 60.")
    parser.add_argument("--threads", type=int, help="Threads of the network; as many as cores if not given.")
    parser.add_argument("--window", type=int, help="Edge of the windows.")
    parser.add_argument("--rounds", type=int, default=3, help="Rounds of each.")
    parser.add_argument("--tile", type=Path, help="A whole Sentinel-2 product, mapped once with a small network.")
    parser.add_argument("--layers", type=int, help="Edge of the scene of which only the cost of layers is measured.")
    parser.add_argument("--out", type=Path, help="Also write OUT.md and OUT.json, with versions and hardware.")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    if asked.out:
        claim_until_exit(asked.out.parent, [asked.out.with_suffix(suffix).name for suffix in (".json", ".md")])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run, deep = untrained_run(folder / "run"), untrained_run(folder / "deep", "resnet50")
        small = untrained_run(folder / "small", "tu-test_efficientnet")
        made = synthesise_scene(folder / "scene", asked.size, swath_edge=False)
        if asked.layers:
            square = widened(made.stack, folder / "square.tif", asked.layers, asked.layers)
            cost = [apart(timed_layers, square, used, asked.threads, asked.rounds) for used in (small, run)]
            record = run_record(synthetic=True, settings={}, results={"layers": [asdict(each) for each in cost]})
            text = layers_markdown(cost, record["hardware"])
            Console(width=200).print(text)
            if asked.out:
                write_json(asked.out.with_suffix(".json"), record)
                write_text(asked.out.with_suffix(".md"), text)
            return
        strip = widened(made.stack, folder / "strip.tif")
        product, stack = "product (JPEG 2000)", "stack (GeoTIFF)"
        scenes = [(product, made.product, run), (product, made.product, deep), (stack, strip, run)]
        found = [apart(timed_scene, name, path, used, asked, asked.rounds) for name, path, used in scenes]
        if asked.tile:
            found.append(apart(timed_scene, "whole tile", asked.tile, small, asked, 0))
        compute = open_weights(choose_weights(run)).compute
    for line in _table(found):
        Console(width=200).print(line)
    if asked.out:
        memory = "channels last" if compute.channels_last else "channels first"
        settings = {
            "format": f"{compute.device.type}, {str(compute.dtype).removeprefix('torch.')}, {memory}",
        }
        record = run_record(synthetic=True, settings=settings, results={"scenes": [asdict(each) for each in found]})
        write_json(asked.out.with_suffix(".json"), record)
        write_text(asked.out.with_suffix(".md"), _markdown(found, record))


if __name__ == "__main__":
    main()

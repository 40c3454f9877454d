"""How fast whole scenes are mapped, beside the bare network on as many windows, and how much memory that takes.

A synthetic Sentinel-2 product, U-Net with a ResNet-18 encoder and random weights, the 12 bands of Sentinel-2, on the
GPU if there is one, else on the CPU:

- network: the batches of the map's windows, one after the other, of random numbers that are on the device already.
- strips: reading the product, the network, blending, and writing strips, which all run at the same time.
- command: everything, with putting the strips together into a Cloud-Optimized GeoTIFF.

The peak of memory is that of the process from its start, GPU memory apart.

    python scripts/bench_predict.py [--size 1920] [--scene PRODUCT] [--window 768] [--out results/performance/predict]
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

# As the command line does, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from rich.console import Console

from seg.config.load import dump_config
from seg.config.sections import Config, ModelConfig
from seg.engine.device import choose_compute
from seg.engine.tiled import ScenePass, window_probabilities
from seg.models.checkpoint import Data, make_card, save_checkpoint
from seg.models.segmenter import build_segmenter
from seg.pipeline.predict import SceneMap, batch_of_windows, predict
from seg.pipeline.session import open_weights
from seg.prepare.synthetic_scene import synthesise_scene
from seg.reben.bands import BANDS, MODALITIES
from seg.report.record import run_record, write_json
from seg.store.atomic import write_text

TARGET = 0.9
"""Least ratio of the strips' windows per second to those of the bare network."""
MEMORY_TARGET = 4.0
"""GB that a tile of 10,980 x 10,980 pixels may take."""
USED = MODALITIES["s2"]


def untrained_run(folder: Path) -> Path:
    """A run folder with random weights."""
    torch.manual_seed(0)
    model = build_segmenter(ModelConfig(arch="unet", encoder="resnet18"), USED)
    statistics = [(BANDS[name].mean, BANDS[name].std) for name in USED]
    card = make_card(model, statistics, "bilinear", Data(fingerprint="none", synthetic=True, train_patches=0))
    save_checkpoint(folder / "checkpoints" / "best", model, card)
    write_text(folder / "config.yaml", dump_config(Config.model_validate({"data": {"bands": USED}})))
    return folder


def network_rate(run: Path, batches: int, side: tuple[int, int]) -> float:
    """Windows per second of the network alone."""
    weights = open_weights(run)
    compute = weights.compute
    batch_size = batch_of_windows(weights, *side)
    how = ScenePass(compute, batch_size)
    images = torch.randn(batch_size, len(USED), *side, device=compute.device)
    with torch.inference_mode():
        window_probabilities(weights.model, images, how)
        _wait(compute.device)
        began = time.perf_counter()
        for _ in range(batches):
            window_probabilities(weights.model, images, how)
        _wait(compute.device)
    return batches * batch_size / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _markdown(title: str, rows: dict[str, str], record: dict[str, Any]) -> str:
    hardware, versions = record["hardware"], record["versions"]
    machine = ", ".join([*hardware["gpus"], f"{hardware['cpu']} ({hardware['cores']} cores)"])
    lines = [f"# {title}", "", "| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows.items())]
    lines += ["", f"- {machine}; torch {versions['torch']}, Python {versions['python']}"]
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast scenes are mapped, beside the bare network.")
    parser.add_argument("--size", type=int, default=1920, help="Edge of the synthetic scene, a multiple of 60.")
    parser.add_argument("--scene", type=Path, help="Another Sentinel-2 product instead.")
    parser.add_argument("--window", type=int, help="Edge of the windows.")
    parser.add_argument("--batches", type=int, default=4, help="Batches of the bare network.")
    parser.add_argument("--out", type=Path, help="Also write OUT.md and OUT.json, with versions and hardware.")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        run = untrained_run(Path(scratch) / "run")
        scene = asked.scene or synthesise_scene(Path(scratch) / "scene", asked.size, swath_edge=False).product
        began = time.perf_counter()
        (found,) = predict(run, [scene], Path(scratch) / "map.tif", window=asked.window)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        bare = network_rate(run, asked.batches, found.window)
        compute = choose_compute(Config().train)
    rows, values = _results(found, seconds, bare, peak)
    title = f"Prediction of {found.height} x {found.width} pixels: U-Net ResNet-18, 12 bands, {compute.device.type}"
    Console().print(title)
    for name, value in rows.items():
        Console().print(f"{name:<40} {value}")
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        settings = {"window": found.window, "windows": found.windows, "device": compute.device.type}
        record = run_record(synthetic=True, settings=settings, results=values)
        write_json(asked.out.with_suffix(".json"), record)
        write_text(asked.out.with_suffix(".md"), _markdown(title, rows, record))


def _results(found: SceneMap, seconds: float, bare: float, peak: float) -> tuple[dict[str, str], dict[str, float]]:
    strips = found.windows / found.seconds
    area = found.height * found.width / 1e4
    rows = {
        "network, windows/s": f"{bare:.2f}",
        f"strips, windows/s (target {100 * TARGET:.0f} %)": f"{strips:.2f} ({100 * strips / bare:.0f} %)",
        "command, windows/s": f"{found.windows / seconds:.2f} ({100 * found.windows / seconds / bare:.0f} %)",
        "command, km2/s": f"{area / seconds:.1f}",
        f"peak memory, GB (target {MEMORY_TARGET:g})": f"{peak:.2f}",
    }
    values = {"network": bare, "strips": strips, "command": found.windows / seconds, "km2": area / seconds, "gb": peak}
    return rows, values


if __name__ == "__main__":
    main()

"""How fast a training step is, beside the same step in a plain PyTorch loop.

U-Net with a ResNet-18 encoder, 14 bands, batches of 16 patches, on the GPU if there is one, else on the CPU:

- plain: what is written everywhere. smp's U-Net with its classification head, images and masks padded to 128 x 128
  beforehand, float32, channels first, cross-entropy and binary cross-entropy, AdamW.
- seg: the step of `seg.engine.train` on 120 x 120, with the formats that `choose_compute` picks by itself; padding,
  cropping, scene head and clipping of the gradient included.

Both train on one fixed batch of synthetic patches and take turns, round by round, in one process; the table gives the
median over the rounds.

    python scripts/bench_train.py [--rounds 5] [--steps 3] [--json results/performance/train.json]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from seg.config.sections import Config
from seg.data.dataset import Batch, PatchDataset
from seg.data.order import BatchKey
from seg.engine.device import choose_compute
from seg.engine.losses.joint import JointLoss
from seg.engine.run import Run
from seg.engine.train import seed_everything, train_step
from seg.metrics.evidence import Origin
from seg.models.checkpoint import Data, make_card
from seg.models.segmenter import build_segmenter
from seg.pipeline.data import build, synthesise
from seg.reben.bands import BANDS, MODALITIES, PATCH_SIZE
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.report.record import run_record, write_json
from seg.store.open import open_store

TARGET = 1.5
"""Least ratio of seg's patches per second to those of the plain loop."""
BATCH_SIZE = 16
_PADDED = 128

Step = Callable[[], None]


def settings() -> Config:
    """What is trained; all else is the default."""
    return Config.model_validate(
        {
            "data": {"bands": MODALITIES["s1s2"]},
            "model": {"arch": "unet", "encoder": "resnet18"},
            "train": {"batch_size": BATCH_SIZE},
        }
    )


def synthetic_patches(folder: Path, config: Config) -> PatchDataset:
    """One batch of synthetic patches, as a data set."""
    tree = folder / "reben"
    synthesise(tree, BATCH_SIZE)
    metadata = [tree / "metadata.parquet", tree / "metadata_for_patches_with_snow_cloud_or_shadow.parquet"]
    build(
        folder / "store",
        s2=tree / "BigEarthNet-S2",
        s1=tree / "BigEarthNet-S1",
        maps=tree / "Reference_Maps",
        metadata=metadata,
        workers=1,
    )
    return PatchDataset(open_store(folder / "store"), np.arange(BATCH_SIZE), config.data)


def plain_step(batch: Batch, config: Config, device: torch.device) -> Step:
    """A step of the plain loop."""
    model = smp.Unet(
        "resnet18",
        encoder_weights=None,
        in_channels=len(config.data.bands),
        classes=NUM_CLASSES,
        aux_params={"classes": NUM_CLASSES},
    ).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.train.lr, weight_decay=config.train.weight_decay)
    margins = [(_PADDED - PATCH_SIZE) // 2] * 4
    images = functional.pad(batch.images_BCHW, margins, mode="reflect").to(device)
    masks = functional.pad(batch.masks_BHW, margins, value=IGNORE_INDEX).long().to(device)
    labels = batch.labels_BK.to(device)
    model.train()

    def step() -> None:
        optimiser.zero_grad()
        pixel_logits, scene_logits = model(images)
        loss = functional.cross_entropy(pixel_logits, masks, ignore_index=IGNORE_INDEX)
        loss = loss + functional.binary_cross_entropy_with_logits(scene_logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def seg_run(dataset: PatchDataset, config: Config, folder: Path) -> Run:
    """A run as `seg train` sets it up."""
    model = build_segmenter(config.model, config.data.bands)
    statistics_of_bands = [(BANDS[name].mean, BANDS[name].std) for name in config.data.bands]
    data = Data(fingerprint="benchmark", synthetic=True, train_patches=len(dataset))
    return Run(
        model=model,
        loss=JointLoss(config.loss),
        train=dataset,
        validation=dataset,
        origin=Origin("validation", "benchmark", True),
        config=config.train,
        compute=choose_compute(config.train),
        workers=0,
        card=make_card(model, statistics_of_bands, config.data.resampling, data),
        folder=folder,
        identity={"data": "benchmark"},
    )


def seg_step(run: Run, batch: Batch) -> Step:
    """A step of a run."""
    on_device = batch.to(run.compute.device)
    sums = torch.zeros(3, dtype=torch.float64, device=run.compute.device)

    def step() -> None:
        run.begin_step(sums)
        train_step(run, on_device)

    return step


def measure(cases: dict[str, Step], device: torch.device, rounds: int, steps: int) -> dict[str, list[float]]:
    """Patches per second of every case in every round; one round before them is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, step in cases.items():
            _wait(device)
            began = time.perf_counter()
            for _ in range(steps):
                step()
            _wait(device)
            rate = steps * BATCH_SIZE / (time.perf_counter() - began)
            if number:
                rates[name].append(rate)
    return rates


def _wait(device: torch.device) -> None:
    """A GPU works on after the call that gave it the work has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a training step is, beside a plain PyTorch loop.")
    parser.add_argument("--rounds", type=int, default=5, help="Counted rounds.")
    parser.add_argument("--steps", type=int, default=3, help="Steps of each kind per round.")
    parser.add_argument("--json", type=Path, help="Also write the figures, with versions and hardware, to this file.")
    arguments = parser.parse_args()
    config = settings()
    compute = choose_compute(config.train)
    seed_everything(config.train.seed, compute.device)
    with tempfile.TemporaryDirectory() as scratch:
        dataset = synthetic_patches(Path(scratch), config)
        batch = dataset[BatchKey(0, tuple(range(BATCH_SIZE)))]
        run = seg_run(dataset, config, Path(scratch) / "checkpoints")
    load = os.getloadavg()[0]
    cases = {"plain": plain_step(batch, config, compute.device), "seg": seg_step(run, batch)}
    rates = measure(cases, compute.device, max(1, arguments.rounds), max(1, arguments.steps))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    # Neighbouring rounds saw the same load, so the ratio is taken within each round.
    ratio = statistics.median(ours / theirs for ours, theirs in zip(rates["seg"], rates["plain"], strict=True))
    formats = f"{compute.dtype}{', channels last' if compute.channels_last else ''}".removeprefix("torch.")
    table = Table("loop", "formats", "patches/s", title=f"U-Net ResNet-18, 14 bands, {compute.device.type}")
    table.columns[2].justify = "right"
    table.add_row("plain", "float32", f"{medians['plain']:.1f}")
    table.add_row("seg", formats, f"{medians['seg']:.1f}")
    Console().print(table)
    Console().print(f"seg / plain: {ratio:.2f} (target {TARGET})")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        conditions = {
            "device": compute.device.type,
            "formats": formats,
            "batch_size": BATCH_SIZE,
            "rounds": arguments.rounds,
            "steps": arguments.steps,
            "load_before": load,
            "target_ratio": TARGET,
        }
        write_json(
            arguments.json,
            run_record(benchmark="train", settings=conditions, patches_per_second=medians, ratio=ratio),
        )


if __name__ == "__main__":
    main()

"""How fast training is, beside the loop that is written everywhere and beside the most that this machine can give.

U-Net with a ResNet-18 encoder, 14 bands, out of a store of synthetic patches, on the GPU if there is one, else on the
CPU:

- plain: what is written everywhere, as Lightning runs it. A DataLoader of single samples, smp's U-Net with its
  classification head, images and masks padded to 128 x 128, float32, channels first, cross-entropy and binary
  cross-entropy, AdamW, the loss read in every step for the progress bar.
- seg: the training of `seg.engine.train` out of the store, with everything that it picks by itself.
- limit: the same steps on one batch that stays on the device; what reading could at best leave of it.

All three take turns, round by round, in one process, on the same patches; the table gives the median over the rounds.
On CUDA it also says for which share of the time the GPU was busy while training out of the store.

    python scripts/bench_train.py [--rounds 5] [--steps 3] [--batch-size 16] [--out results/performance/train]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# As the command line does, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import segmentation_models_pytorch as smp
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from seg.config.sections import Config
from seg.data.dataset import Batch, PatchDataset
from seg.data.loader import make_loader
from seg.data.order import BatchKey
from seg.engine.device import Compute, choose_compute
from seg.engine.distributed import ALONE
from seg.engine.run import Run
from seg.engine.train import train_step, training_batches
from seg.pipeline.build import build
from seg.pipeline.synthesise import synthesise
from seg.reben.bands import MODALITIES, PATCH_SIZE
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.report.record import run_record, write_json
from seg.runs.preparation import loader_workers, prepare
from seg.store.atomic import write_text
from seg.store.until_exit import claim_until_exit

CPU_TARGET = 1.7
"""On a CPU: least ratio of seg's patches per second to those of the plain loop."""
LIMIT_TARGET, BUSY_TARGET = 0.95, 0.9
"""On a GPU: least share of the limit, and least share of the time in which the GPU is busy."""
_PADDED = 128

Step = Callable[[], None]


def settings(store: Path, batch_size: int) -> Config:
    """What is trained; all else is the default."""
    return Config.model_validate(
        {
            "data": {"bands": MODALITIES["s1s2"], "store": store},
            "model": {"arch": "unet", "encoder": "resnet18"},
            "train": {"batch_size": batch_size},
        }
    )


def synthetic_store(folder: Path, patches: int) -> Path:
    """A store of synthetic patches."""
    tree = folder / "reben"
    synthesise(tree, patches)
    metadata = [tree / "metadata.parquet", tree / "metadata_for_patches_with_snow_cloud_or_shadow.parquet"]
    sources = {"s2": tree / "BigEarthNet-S2", "s1": tree / "BigEarthNet-S1", "maps": tree / "Reference_Maps"}
    build(folder / "store", **sources, metadata=metadata, workers=1)
    return folder / "store"


class Samples(Dataset[tuple[torch.Tensor, ...]]):
    """Single samples, as a data set is mostly written."""

    def __init__(self, patches: PatchDataset) -> None:
        self._patches = patches

    def __len__(self) -> int:
        return len(self._patches)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, ...]:
        batch = self._patches[BatchKey(0, (position,))]
        assert isinstance(batch, Batch), "the plain loop reads what is prepared on the CPU"
        margins = [(_PADDED - PATCH_SIZE) // 2] * 4
        image = functional.pad(batch.images_BCHW, margins, mode="reflect")[0]
        return image, functional.pad(batch.masks_BHW, margins, value=IGNORE_INDEX)[0].long(), batch.labels_BK[0]


def plain_step(patches: PatchDataset, config: Config, compute: Compute, workers: int) -> Step:
    """A step of the plain loop."""
    device = compute.device
    model = smp.Unet(
        "resnet18",
        encoder_weights=None,
        in_channels=len(config.data.bands),
        classes=NUM_CLASSES,
        aux_params={"classes": NUM_CLASSES},
    ).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.train.lr, weight_decay=config.train.weight_decay)
    loader = DataLoader(
        Samples(patches),
        config.train.batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        drop_last=True,
    )
    batches = _again_and_again(lambda: iter(loader))
    model.train()

    def step() -> None:
        images, masks, labels = (tensor.to(device) for tensor in next(batches))
        optimiser.zero_grad()
        pixel_logits, scene_logits = model(images)
        loss = functional.cross_entropy(pixel_logits, masks, ignore_index=IGNORE_INDEX)
        loss = loss + functional.binary_cross_entropy_with_logits(scene_logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss.item()

    return step


def seg_step(run: Run) -> Step:
    """A step of a run, out of the store."""
    loader = make_loader(run.train, run.order, run.workers, pin_memory=run.compute.device.type == "cuda")

    def epoch() -> Iterator[Batch]:
        run.order.epoch += 1
        return training_batches(run, loader)

    batches = _again_and_again(epoch)
    sums = _no_losses(run)

    def step() -> None:
        run.begin_step(sums)
        train_step(run, next(batches))

    return step


def limit_step(run: Run) -> Step:
    """A step of a run, on a batch that stays on the device."""
    key = BatchKey(0, tuple(range(run.config.batch_size)))
    batch = next(training_batches(run, [run.train[key]]))
    sums = _no_losses(run)

    def step() -> None:
        run.begin_step(sums)
        train_step(run, batch)

    return step


def _no_losses(run: Run) -> torch.Tensor:
    return torch.zeros(3, dtype=torch.float64, device=run.compute.device)


def _again_and_again(epoch: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    while True:
        yield from epoch()


def measure(
    cases: dict[str, Step], device: torch.device, rounds: int, steps: int, batch_size: int
) -> dict[str, list[float]]:
    """Patches per second of every case in every round; one round before them is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, step in cases.items():
            _wait(device)
            began = time.perf_counter()
            for _ in range(steps):
                step()
            _wait(device)
            rate = steps * batch_size / (time.perf_counter() - began)
            if number:
                rates[name].append(rate)
    return rates


def busy_share(step: Step, device: torch.device, steps: int) -> float | None:
    """Share of the time in which the GPU had work; None without CUDA."""
    if device.type != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        _wait(device)
        began = time.perf_counter()
        for _ in range(steps):
            step()
        _wait(device)
        microseconds = 1e6 * (time.perf_counter() - began)
    on_gpu = torch.autograd.DeviceType.CUDA
    spans = sorted((e.time_range.start, e.time_range.end) for e in profile.events() if e.device_type == on_gpu)
    busy, until = 0.0, 0.0
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy / microseconds


def _wait(device: torch.device) -> None:
    """A GPU works on after the call that gave it the work has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _ratio(rates: dict[str, list[float]], name: str, other: str) -> float:
    """Neighbouring rounds saw the same load, so the ratio is taken within each round."""
    return statistics.median(ours / theirs for ours, theirs in zip(rates[name], rates[other], strict=True))


def _verdicts(device: torch.device, to_plain: float, to_limit: float, busy: float | None) -> list[str]:
    lines = [f"seg / plain: {to_plain:.2f}" + ("" if device.type == "cuda" else f" (target {CPU_TARGET})")]
    if busy is None:
        lines.append(f"seg / limit: {100 * to_limit:.1f} %")
        lines.append("Not measured on a GPU: none was there. The targets there are 95 % of the limit and 90 % busy.")
    else:
        lines.append(f"seg / limit: {100 * to_limit:.1f} % (target {100 * LIMIT_TARGET:.0f} %)")
        lines.append(f"GPU busy: {100 * busy:.1f} % (target {100 * BUSY_TARGET:.0f} %)")
    return lines


def _markdown(title: str, rows: list[tuple[str, str, str]], verdicts: list[str], record: dict[str, Any]) -> str:
    hardware, versions = record["hardware"], record["versions"]
    machine = ", ".join([*hardware["gpus"], f"{hardware['cpu']} ({hardware['cores']} cores)"])
    load = record["settings"]["load_before"]
    lines = [f"# {title}", "", "| loop | formats | patches/s |", "|---|---|---:|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *(f"- {verdict}" for verdict in verdicts)]
    lines += [f"- {machine}; torch {versions['torch']}, Python {versions['python']}; load before: {load:.1f}"]
    return "\n".join(lines) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast training is, beside a plain PyTorch loop.")
    parser.add_argument("--rounds", type=int, default=5, help="Counted rounds.")
    parser.add_argument("--steps", type=int, default=3, help="Steps of each kind per round.")
    parser.add_argument("--batch-size", type=int, default=16, help="Patches per step.")
    parser.add_argument("--patches", type=int, default=200, help="Patches of the store; half of them train.")
    parser.add_argument("--out", type=Path, help="Also write OUT.md and OUT.json, with versions and hardware.")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    if asked.out:
        claim_until_exit(asked.out.parent, [asked.out.with_suffix(suffix).name for suffix in (".json", ".md")])
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        config = settings(synthetic_store(Path(scratch), asked.patches), asked.batch_size)
        compute = choose_compute(config.train)
        workers = loader_workers(None, compute)
        prepared = prepare(config, Path(scratch) / "run", ranks=ALONE, compute=compute)
        run = prepared.run
        on_host = PatchDataset(prepared.store, run.train.rows, config.data, config.train.seed)
        cases = {
            "plain": plain_step(on_host, config, compute, workers),
            "seg": seg_step(run),
            "limit": limit_step(run),
        }
        rates = measure(cases, compute.device, max(1, asked.rounds), max(1, asked.steps), asked.batch_size)
        busy = busy_share(cases["seg"], compute.device, 10 * asked.steps)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    to_plain, to_limit = _ratio(rates, "seg", "plain"), _ratio(rates, "seg", "limit")
    formats = str(compute.dtype).removeprefix("torch.")
    formats += (", channels last" if compute.channels_last else "") + (", compiled" if compute.compile else "")
    title = f"Training: U-Net ResNet-18, 14 bands, batches of {asked.batch_size}, {compute.device.type}"
    rows = [(name, "float32" if name == "plain" else formats, f"{medians[name]:.1f}") for name in cases]
    table = Table("loop", "formats", "patches/s", title=title)
    table.columns[2].justify = "right"
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    verdicts = _verdicts(compute.device, to_plain, to_limit, busy)
    Console().print(*verdicts, sep="\n")
    if asked.out:
        conditions = {
            "device": compute.device.type,
            "formats": formats,
            "preprocess": "device" if run.train.raw else "host",
            "batch_size": asked.batch_size,
            "rounds": asked.rounds,
            "steps": asked.steps,
            "workers": workers,
            "load_before": load,
            "targets": {"cpu": CPU_TARGET, "limit": LIMIT_TARGET, "busy": BUSY_TARGET},
        }
        figures = {"seg_to_plain": to_plain, "seg_to_limit": to_limit, "gpu_busy": busy}
        record = run_record(benchmark="train", settings=conditions, patches_per_second=medians, ratios=figures)
        write_json(asked.out.with_suffix(".json"), record)
        write_text(asked.out.with_suffix(".md"), _markdown(title, rows, verdicts, record))


if __name__ == "__main__":
    main()

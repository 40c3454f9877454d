"""Everything worth knowing of a GPU in minutes, on synthetic data that are made on the spot.

- training out of the store and on one fixed batch, the most that the device gives, at several batch sizes; the share of
  the time in which the GPU is busy; the same with preparation on the host, and without ``torch.compile``;
- evaluation, prediction of a scene with everything beside the map, and the most memory that each took;
- whether two runs of one seed end with equal weights.

Each figure is measured in a process of its own, in the order of their worth; what the time no longer allows is listed
as left out, and what fails with its reason. Without a GPU the small form runs on the CPU, to show that all of it works.

    scripts/bench_gpu.sh [--minutes 8] [--small] [--out results/performance/gpu]
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# As the command line does, before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from bench_train import busy_share, limit_step, measure, seg_step, synthetic_store
from rich.console import Console
from safetensors.torch import load_file

import seg
from seg.config.sections import Config
from seg.engine.device import choose_compute
from seg.engine.distributed import ALONE
from seg.report.record import run_record, write_json
from seg.runs.plan import plan
from seg.runs.preparation import prepare
from seg.store.atomic import write_text
from seg.store.until_exit import claim_until_exit
from seg.synthetic.scene import synthesise_scene

_console = Console()


@dataclass(frozen=True)
class Place:
    """Where things are, and how large.

    Attributes:
        work: Folder for all of it.
        store: The synthetic store.
        encoder: Of the U-Net.
        rounds, steps: Of each training; the first round is not counted.
        scene: Edge of the scene, pixels.
    """

    work: Path
    store: Path
    encoder: str
    rounds: int
    steps: int
    scene: int

    @property
    def run(self) -> Path:
        """The run that is evaluated and maps the scene."""
        return self.work / "run"


Figures = dict[str, float | str | bool | None]


def _memory() -> float:
    """GB: the most that was allocated on the GPU, or held by this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def training(place: Place, batch_size: int, preprocess: str = "auto", compiled: bool | str = "auto") -> Figures:
    """Patches per second out of the store and on a fixed batch, and how busy the GPU is."""
    config = Config.model_validate(
        {
            "data": {"bands": "s1s2", "store": place.store, "preprocess": preprocess},
            "model": {"arch": "unet", "encoder": place.encoder},
            "train": {"batch_size": batch_size, "compile": compiled},
        }
    )
    compute = choose_compute(config.train)
    run = prepare(config, place.work / "none", ranks=ALONE, compute=compute).run
    cases = {"store": seg_step(run), "fixed": limit_step(run)}
    rates = measure(cases, compute.device, place.rounds, place.steps, batch_size)
    best = {name: max(values) for name, values in rates.items()}
    return {
        "out of the store, patches/s": best["store"],
        "one fixed batch, patches/s": best["fixed"],
        "share of it": max(ours / most for ours, most in zip(rates["store"], rates["fixed"], strict=True)),
        "GPU busy": busy_share(cases["store"], compute.device, place.steps),
        "memory, GB": _memory(),
        "formats": f"{compute.dtype}".removeprefix("torch.") + (", compiled" if compute.compile else ""),
        "prepared on": "device" if run.train.raw else "host",
    }


def evaluation(place: Place) -> Figures:
    """Patches per second of `seg eval`, evidence and report apart."""
    _trained(place, place.run)
    seg.evaluate(place.run)
    record = json.loads((place.run / "eval" / "test" / "eval.json").read_text(encoding="utf-8"))
    return {"patches/s": record["throughput"]["patches_per_second"], "memory, GB": _memory()}


def prediction(place: Place) -> Figures:
    """Square kilometres per second of `seg predict` with everything beside the map."""
    _trained(place, place.run)
    scene = synthesise_scene(place.work / "scene", place.scene, 0)
    began = time.perf_counter()
    options = {"probabilities": True, "confidence": True, "labels": True, "areas": True, "quicklook": True}
    made = seg.predict(place.run, [scene.product], place.work / "map.tif", s1=[scene.s1], **options)[0]
    seconds = time.perf_counter() - began
    area = (place.scene / 100) ** 2
    return {"network, km2/s": area / made.seconds, "whole command, km2/s": area / seconds, "memory, GB": _memory()}


def repetition(place: Place) -> Figures:
    """Whether two runs of one seed end with the same weights."""
    weights = []
    for name in ("first", "second"):
        _trained(place, place.work / name)
        weights.append(load_file(place.work / name / "checkpoints" / "last" / "model.safetensors"))
    far = max(float((weights[0][name].double() - weights[1][name].double()).abs().max()) for name in weights[0])
    return {"equal": far == 0, "largest difference": far}


def _trained(place: Place, folder: Path) -> None:
    if not folder.is_dir():
        settings = {"train__epochs": 1, "train__max_steps": 6, "train__batch_size": 16, "train__seed": 3}
        settings |= {"model__arch": "unet", "model__encoder": place.encoder, "data__bands": "s1s2"}
        seg.train(plan(out=folder, data__store=place.store, **settings))


def cases(place: Place, batch_sizes: list[int]) -> dict[str, tuple[Callable[..., Figures], tuple[Any, ...]]]:
    """What is measured, the most telling first."""
    usual = batch_sizes[len(batch_sizes) // 2]
    chosen: dict[str, tuple[Callable[..., Figures], tuple[Any, ...]]] = {
        f"training, batches of {usual}": (training, (usual,)),
        "evaluation": (evaluation, ()),
        "prediction of a scene": (prediction, ()),
        "two runs of one seed": (repetition, ()),
        f"training, batches of {usual}, prepared on the host": (training, (usual, "host")),
        f"training, batches of {usual}, not compiled": (training, (usual, "auto", False)),
    }
    for size in batch_sizes:
        chosen.setdefault(f"training, batches of {size}", (training, (size,)))
    return {name: (work, (place, *options)) for name, (work, options) in chosen.items()}


def measured(work: Callable[..., Figures], arguments: tuple[Any, ...], left: float) -> Figures:
    """Figures of a case from a process of its own; why there are none, if there are none."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        future = pool.submit(work, *arguments)
        try:
            return future.result(left)
        except TimeoutError:
            for process in list(pool._processes.values()):
                process.kill()
            return {"left out": "the time was over"}
        except Exception as error:  # One case that fails is a finding, not the end.
            return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def markdown(title: str, found: dict[str, Figures], record: dict[str, Any]) -> str:
    """Everything as a page."""
    hardware, versions = record["hardware"], record["versions"]
    lines = [f"# {title}", ""]
    lines += [
        f"{', '.join([*hardware['gpus'], hardware['cpu']])} ({hardware['cores']} cores); torch {versions['torch']}"
    ]
    for name, figures in found.items():
        lines += ["", f"## {name}", "", "| what | figure |", "|---|---:|"]
        lines += [f"| {what} | {_shown(value)} |" for what, value in figures.items()]
    return "\n".join(lines) + "\n"


def _shown(value: float | str | bool | None) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8, help="Time for all of it.")
    parser.add_argument("--small", action="store_true", help="Tiny sizes, to see that it works; so without a GPU.")
    parser.add_argument("--out", type=Path, default=Path("results/performance/gpu"), help="OUT.md and OUT.json.")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    end = time.monotonic() + 60 * asked.minutes
    small = asked.small or not torch.cuda.is_available()
    paths = [asked.out.with_suffix(ending) for ending in (".md", ".json")]
    claim_until_exit(asked.out.parent, [path.name for path in paths])
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        store = synthetic_store(work, 60 if small else 2400)
        place = Place(
            work,
            store,
            "tu-test_resnet" if small else "resnet50",
            1 if small else 3,
            1 if small else 10,
            480 if small else 5400,
        )
        found: dict[str, Figures] = {}
        for name, (function, options) in cases(place, [4, 8] if small else [64, 128, 256, 512, 1024]).items():
            left = end - time.monotonic()
            found[name] = measured(function, options, left) if left > 10 else {"left out": "the time was over"}
            _console.print(name, found[name])
        where = (
            torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, small form: only to show that it works"
        )
        record = run_record(
            benchmark="gpu", settings={**asdict(place), "work": "", "store": "", "small": small}, figures=found
        )
        write_json(paths[1], record)
        write_text(paths[0], markdown(f"On a GPU: {where}", found, record))


if __name__ == "__main__":
    main()

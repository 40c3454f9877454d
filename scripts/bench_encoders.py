"""How fast foundation models are as encoders, and how much memory they take, beside a ResNet-50.

The same decoder on each, patches of 120 x 120 pixels, random weights, on the GPU if there is one, else on the CPU:
patches per second of a forward pass, of a training step with the encoder frozen and of one that trains it, and the most
memory that the last two take beyond the weights. Each encoder is measured in a process of its own; one that cannot be
built here is left out, and that is said.

    python scripts/bench_encoders.py [--encoders fm-dofa-base,...] [--batch-size 4] [--out results/performance/encoders]
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Shown

BASE = "resnet50"
DEFAULT = ",".join(
    (
        BASE,
        "fm-dofa-base",
        "fm-croma-base",
        "fm-prithvi2-100",
        "fm-prithvi2-300",
        "fm-terramind1-base",
        "fm-panopticon-base",
        "fm-copernicus-base",
        "fm-satlas-swinv2-base",
    )
)
COLUMNS = {
    "forward": "forward, patches/s",
    "frozen": "frozen, patches/s",
    "train": "trained, patches/s",
    "frozen_mb": "frozen, MB",
    "train_mb": "trained, MB",
}


def measure(encoder: str, arch: str, batch_size: int, rounds: int) -> dict[str, Any]:
    """What one encoder gives, in this process."""
    import torch

    from seg.config.sections import ModelConfig
    from seg.engine.encoder import freeze_encoder
    from seg.foundation.catalogue import FOUNDATIONS
    from seg.models.segmenter import build_segmenter
    from seg.reben.bands import MODALITIES, PATCH_SIZE

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bands = FOUNDATIONS[encoder].family.bands if encoder in FOUNDATIONS else MODALITIES["s1s2"]
    model = build_segmenter(ModelConfig(arch=arch, encoder=encoder), bands).to(device)
    images = torch.randn(batch_size, len(bands), PATCH_SIZE, PATCH_SIZE, device=device)
    found: dict[str, Any] = {"encoder": encoder, "bands": len(bands), "device": device.type}

    def step() -> None:
        logits, scene = model(images)
        loss = logits.float().mean() + scene.mean()
        loss.backward()
        model.zero_grad(set_to_none=True)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    model.eval()
    found["forward"] = batch_size / _seconds(forward, rounds, device)
    model.train()
    # Memory of the system is only known at its peak, so what takes less comes first.
    for name, frozen in (("frozen", True), ("train", False)):
        freeze_encoder(model, frozen)
        before = _peak(device, reset=True)
        found[name] = batch_size / _seconds(step, rounds, device)
        found[f"{name}_mb"] = _peak(device) - before
    return found


def _seconds(work: Any, rounds: int, device: Any) -> float:
    """The least that a round takes; the first is not counted."""
    import torch

    took = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return min(took[1:])


def _peak(device: Any, reset: bool = False) -> float:
    """The most memory so far, MB."""
    import torch

    if device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--encoders", default=DEFAULT, help="Encoders, the first to compare with.")
    parser.add_argument("--arch", default="upernet", help="The decoder of all.")
    parser.add_argument("--batch-size", type=int, default=4, help="Patches per step.")
    parser.add_argument("--rounds", type=int, default=3, help="Steps that are timed, of which the quickest counts.")
    parser.add_argument("--out", type=Path, default=Path("results/performance/encoders"), help="Without suffix.")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.arch, args.batch_size, args.rounds)))
        return
    from seg.report.record import run_record, write_json
    from seg.store.atomic import write_text
    from seg.store.until_exit import claim_until_exit

    files = [args.out.with_suffix(suffix) for suffix in (".json", ".md")]
    claim_until_exit(args.out.parent, [file.name for file in files])
    rows, left_out = [], {}
    for encoder in args.encoders.split(","):
        command = [sys.executable, __file__, "--one", encoder, "--arch", args.arch]
        command += ["--batch-size", str(args.batch_size), "--rounds", str(args.rounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            left_out[encoder] = done.stderr.strip().splitlines()[-1]
            continue
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    settings = {"arch": args.arch, "batch_size": args.batch_size, "rounds": args.rounds}
    write_json(files[0], {**run_record(), **settings, "encoders": rows, "left_out": left_out})
    write_text(files[1], _page(rows, left_out, args))
    Console().print(_shown(rows))


def _cells(row: dict[str, Any]) -> list[str]:
    return [row["encoder"], str(row["bands"]), *(f"{row[key]:,.{0 if key.endswith('mb') else 2}f}" for key in COLUMNS)]


def _shown(rows: list[dict[str, Any]]) -> Shown:
    table = Shown("encoder", "bands", *COLUMNS.values())
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _page(rows: list[dict[str, Any]], left_out: dict[str, str], args: argparse.Namespace) -> str:
    heading = ["encoder", "bands", *COLUMNS.values()]
    device = "a GPU" if any(row["device"] == "cuda" for row in rows) else "a CPU"
    lines = [
        f"### Encoders with {args.arch} on {device}, batches of {args.batch_size} patches, float32",
        "",
        f"| {' | '.join(heading)} |",
        f"| --- |{' ---: |' * (len(heading) - 1)}",
        *(f"| {' | '.join(_cells(row))} |" for row in rows),
        "",
        "MB: the most memory of a step beyond what a forward pass without gradients and the weights had taken before; "
        "gradients of the weights are in it. Weights were random. The quickest of so few steps on a machine that "
        "others worked on too is a lower bound of what it can do.",
        *(f"- Left out: {name} ({reason})" for name, reason in left_out.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

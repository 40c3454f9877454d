"""How long ``seg demo`` takes and what it reaches, with all that this processor has and as one with AVX2 alone.

Each demo is a process of its own, started as a user starts it. The other kind of processor is imitated:
``ONEDNN_MAX_CPU_ISA`` and ``ATEN_CPU_CAPABILITY`` hold oneDNN and torch to AVX2, where ``train.precision=auto`` comes
to float32.

    python scripts/bench_demo.py [--modes native,avx2] [--out results/performance/demo]
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from seg.report.record import run_record, write_json
from seg.store.atomic import write_text
from seg.store.until_exit import claim_until_exit

MODES = {"native": {}, "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}}
TARGETS = {"bfloat16": 90.0, "float32": 240.0}
"""Most seconds on two idle cores, by the format that the processor computes in."""
LEAST_MIOU = 0.25
_SAID = re.compile(r"takes about (.+?) on this machine \((.+?)\)")


def run_demo(environment: dict[str, str]) -> dict[str, Any]:
    """One demo: wall and CPU seconds, what it said of itself, and what it reached."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "demo"
        free = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        load, before, began = os.getloadavg()[0], _cpu_seconds(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "seg", "demo", "--out", str(out)],
            env={**free, "COLUMNS": "200", **environment}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        wall, cpu = time.perf_counter() - began, _cpu_seconds() - before
        record = json.loads((out / "run" / "run.json").read_text())
        scores = json.loads((out / "run" / "eval" / "test" / "scores.json").read_text())
    said = _SAID.search(done.stderr)
    return {
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "training_seconds": record["throughput"]["seconds"],
        "patches_per_second": record["throughput"]["patches_per_second"],
        "said": said[1] if said else None,
        "dtype": record["compute"]["dtype"],
        "instructions": record["compute"]["cpu_instructions"],
        "miou": scores["pixel"]["miou"],
        "load_before": load,
    }


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def markdown(results: list[dict[str, Any]], record: dict[str, Any]) -> str:
    """The figures as a table, and where they were measured."""
    lines = ["# seg demo", ""]
    lines += ["| processor | seconds | target | CPU seconds | training, patches/s | it said | mIoU % | load before |"]
    lines += ["|---|---:|---:|---:|---:|---|---:|---:|"]
    lines += [
        f"| {one['dtype']}, {one['instructions']} | {one['wall_seconds']:.0f} | {TARGETS[one['dtype']]:.0f} | "
        f"{one['cpu_seconds']:.0f} | {one['patches_per_second']:.1f} | {one['said']} | {100 * one['miou']:.1f} | "
        f"{one['load_before']:.1f} |"
        for one in results
    ]
    hardware, versions = record["hardware"], record["versions"]
    lines += [
        "",
        f"- SYNTHETIC data; mIoU on the test split, at least {100 * LEAST_MIOU:.0f} wanted",
        f"- {hardware['cpu']} ({hardware['cores']} cores); torch {versions['torch']}, Python {versions['python']}",
        "- Load: processes that wanted to run before; above the number of cores only the CPU seconds count.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="How long seg demo takes, and what it reaches.")
    parser.add_argument("--modes", default=",".join(MODES), help="Some of native, avx2.")
    parser.add_argument("--out", type=Path, help="Also write OUT.md and OUT.json, with versions and hardware.")
    asked = parser.parse_args()
    if asked.out:
        claim_until_exit(asked.out.parent, [asked.out.with_suffix(suffix).name for suffix in (".json", ".md")])
    results = [{"mode": mode, **run_demo(MODES[mode])} for mode in asked.modes.split(",")]
    record = run_record(benchmark="demo", targets={**TARGETS, "miou": LEAST_MIOU}, results=results)
    text = markdown(results, record)
    print(text)
    if asked.out:
        write_json(asked.out.with_suffix(".json"), record)
        write_text(asked.out.with_suffix(".md"), text)


if __name__ == "__main__":
    main()

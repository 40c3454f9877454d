"""How long ``seg --help`` takes to answer.

Starts the console script of this environment again and again, each time as a new process, and beside it the bare
interpreter, which is the least that any Python command takes. The first start of each is not counted: it fills the disk
cache and writes bytecode.

    python scripts/bench_cli.py [--runs 20] [--json results/performance/cli.json]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from seg.report.record import run_record, write_json
from seg.store.until_exit import claim_until_exit

TARGET_SECONDS = 0.5
"""Most that ``seg --help`` may take, median."""


def seconds_of(command: tuple[str, ...]) -> float:
    """Wall-clock seconds from starting a process to its end.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def measure(runs: int) -> dict[str, list[float]]:
    """Seconds of every counted start, by what was started; the two take turns."""
    suffix = ".exe" if os.name == "nt" else ""
    script = Path(sys.executable).with_name(f"seg{suffix}")
    if not script.is_file():
        raise SystemExit(f"there is no {script.name} beside this Python; install the package into its environment")
    commands = {"seg --help": (str(script), "--help"), "python -c pass": (sys.executable, "-c", "pass")}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            taken = seconds_of(command)
            if run:
                seconds[name].append(taken)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="How long 'seg --help' takes to answer.")
    parser.add_argument("--runs", type=int, default=20, help="Counted starts of each command.")
    parser.add_argument("--json", type=Path, help="Also write the figures, with versions and hardware, to this file.")
    arguments = parser.parse_args()
    if arguments.json:
        claim_until_exit(arguments.json.parent, [arguments.json.name])
    load = os.getloadavg()[0]
    seconds = measure(max(1, arguments.runs))
    results = {name: {"min": min(taken), "median": statistics.median(taken)} for name, taken in seconds.items()}
    table = Table("command", "min s", "median s", "target s", title=f"{arguments.runs} starts each")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, result in results.items():
        target = f"{TARGET_SECONDS:.2f}" if name.startswith("seg") else ""
        table.add_row(name, f"{result['min']:.3f}", f"{result['median']:.3f}", target)
    Console().print(table)
    if arguments.json:
        settings = {"runs": arguments.runs, "load_before": load, "target_seconds": TARGET_SECONDS}
        write_json(arguments.json, run_record(benchmark="cli", settings=settings, seconds=results))


if __name__ == "__main__":
    main()

"""How long scores, intervals and reports of the official test split take, and how much memory, on this machine.

Evidence of as many patches and tiles as the official test split has is made up and saved. Each case then runs in a
fresh process, several times; memory is the peak of the process, its imports included.

    python scripts/bench_report.py --out results/performance/report [--patches 119825]

Writes ``<out>.json`` and ``<out>.md``. Exit code 1 if a limit is not kept, which small runs are not tested for.
"""

import argparse
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from seg.report.formats import FORMATS, Column, Table
from seg.report.record import run_record, write_json
from seg.store.atomic import write_text
from seg.store.until_exit import claim_until_exit

# The tests own the made-up evidence, and are no package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

ROUNDS = 3
OFFICIAL_PATCHES, OFFICIAL_TILES = 119_825, 54
EVIDENCE = Path("eval") / "test" / "evidence"
"""Where a run keeps the evidence of the test split."""


@dataclass(frozen=True)
class Figure:
    """A measured case.

    Attributes:
        case: What was done.
        value: The median over the rounds.
        best: The best round.
        unit: Its unit.
        limit: What the value has to stay below at the official size; None where nothing is asked.
    """

    case: str
    value: float
    best: float
    unit: str
    limit: float | None = None


# --- cases, each run in a process of its own: python bench_report.py --case NAME ARGUMENTS ----------------------------


def case_load(run: str) -> list[float]:
    """Read the evidence."""
    from seg.metrics.evidence_file import load_evidence

    return _measured(lambda: load_evidence(Path(run) / EVIDENCE))


def case_scores(run: str) -> list[float]:
    """All scores of evidence that was read before."""
    from seg.metrics.evidence_file import load_evidence
    from seg.metrics.scores import score_evidence

    evidence = load_evidence(Path(run) / EVIDENCE)
    return _measured(lambda: score_evidence(evidence))


def case_intervals(run: str) -> list[float]:
    """Intervals of evidence that was read before."""
    from seg.metrics.evidence_file import load_evidence
    from seg.metrics.jackknife import intervals, jackknife

    evidence = load_evidence(Path(run) / EVIDENCE)
    return _measured(lambda: intervals(jackknife(evidence)))


def case_report(run: str) -> list[float]:
    """``python -m seg report RUN``, but for the start of Python."""
    sys.argv = ["seg", "report", run]

    def report() -> None:
        try:
            runpy.run_module("seg", run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise

    return _measured(report)


CASES: dict[str, Callable[..., list[float]]] = {
    name.removeprefix("case_"): function for name, function in list(globals().items()) if name.startswith("case_")
}


UNITS = ("s", "CPU s", "MB peak")


def _measured(work: Callable[[], object]) -> list[float]:
    """What some work took, in `UNITS`; the peak is that of the process up to its end."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    seconds = [time.perf_counter() - wall, time.process_time() - cpu]
    lines = Path("/proc/self/status").read_text().splitlines()
    return [*seconds, int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024]


def run_case(name: str, *arguments: object) -> list[float]:
    """A case in a fresh process."""
    command = [sys.executable, __file__, "--case", name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    result: list[float] = json.loads(done.stdout.splitlines()[-1])
    return result


# --- everything -------------------------------------------------------------------------------------------------------


def make_run(folder: Path, patches: int, tiles: int) -> Path:
    """A run folder with what a report is made from; the evidence in it is made up.

    Returns:
        The file that holds the evidence.
    """
    from made_up import made_up_evidence

    from seg.config.load import dump_config
    from seg.config.sections import Config
    from seg.metrics.evidence_file import save_evidence
    from seg.runs.folder import CONFIG_FILE, RECORD_FILE

    write_text(folder / CONFIG_FILE, dump_config(Config()))
    write_json(folder / RECORD_FILE, {"synthetic": False})
    return save_evidence(folder / EVIDENCE, made_up_evidence(patches, tiles))


def has_report() -> bool:
    """Whether this seg knows the command."""
    asked = subprocess.run([sys.executable, "-m", "seg", "report", "--help"], capture_output=True, check=False)
    return asked.returncode == 0


def measure(run: Path) -> tuple[list[Figure], list[str]]:
    """Figures of all cases, and what could not be measured."""
    cases: dict[str, tuple[str, tuple[object, ...], float | None, float | None]] = {
        "read evidence": ("load", (run,), None, None),
        "all scores": ("scores", (run,), None, None),
        "intervals": ("intervals", (run,), 30, 1200),
        "seg report": ("report", (run,), 60, 2000),
    }
    left_out = []
    if not has_report():
        del cases["seg report"]
        left_out.append("this seg has no command report")
    figures = []
    for case, (name, arguments, seconds, megabytes) in cases.items():
        rounds = [run_case(name, *arguments) for _ in range(ROUNDS)]
        limits = seconds, None, megabytes
        for unit, values, limit in zip(UNITS, zip(*rounds, strict=True), limits, strict=True):
            figures.append(Figure(case, statistics.median(values), min(values), unit, limit))
    return figures, left_out


def table_of(figures: Iterable[Figure], title: str) -> Table:
    columns = (
        Column("case", "case", "text"),
        Column("value", "median", "text"),
        Column("best", "best", "text"),
        Column("unit", "unit", "text"),
        Column("limit", "limit", "text"),
    )

    def shown(value: float | None) -> str:
        if value is None:
            return ""
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"

    rows = [(f.case, shown(f.value), shown(f.best), f.unit, shown(f.limit)) for f in figures]
    return Table("report", title, columns, tuple(rows))


def main() -> None:
    if sys.argv[1:2] == ["--case"]:
        print(json.dumps(CASES[sys.argv[2]](*sys.argv[3:])))
        return
    parser = argparse.ArgumentParser(description="How long scores, intervals and reports take, and how much memory.")
    parser.add_argument("--patches", type=int, default=OFFICIAL_PATCHES, help="Patches of the evidence.")
    parser.add_argument("--tiles", type=int, default=OFFICIAL_TILES, help="MGRS tiles that they lie in.")
    parser.add_argument("--out", type=Path, help="Write OUT.json and OUT.md.")
    arguments = parser.parse_args()
    if arguments.out:
        claim_until_exit(arguments.out.parent, [arguments.out.with_suffix(suffix).name for suffix in (".json", ".md")])
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        size = make_run(Path(name), arguments.patches, arguments.tiles).stat().st_size / 1e6
        figures, left_out = measure(Path(name))
    figures.insert(0, Figure("evidence on the disk", size, size, "MB", 150))
    title = f"Reports: made-up evidence of {arguments.patches:,} patches in {arguments.tiles} tiles"
    table = table_of(figures, title)
    shown = RichTable(*(column.title for column in table.columns), title=table.title)
    for row in table.rows:
        shown.add_row(*map(str, row))
    Console(width=120).print(shown)
    for sentence in left_out:
        Console().print(f"Left out: {sentence}.")
    if arguments.out:
        settings = {
            "patches": arguments.patches,
            "tiles": arguments.tiles,
            "rounds": ROUNDS,
            "load_before": load,
            "left_out": left_out,
        }
        record = run_record(benchmark="report", settings=settings, figures=[asdict(figure) for figure in figures])
        write_json(arguments.out.with_suffix(".json"), record)
        notes = "".join(f"\nLeft out: {sentence}.\n" for sentence in left_out)
        write_text(arguments.out.with_suffix(".md"), FORMATS["md"](table) + notes)
    over = [figure for figure in figures if figure.limit is not None and figure.value >= figure.limit]
    if over and arguments.patches >= OFFICIAL_PATCHES:
        sys.exit("over the limit: " + ", ".join(f"{figure.case} ({figure.unit})" for figure in over))


if __name__ == "__main__":
    main()

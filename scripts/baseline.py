"""The baseline grid {unet, deeplabv3plus} x {s1, s2, s1s2} x seeds: trained, scored, compared, and the best one shown.

    python scripts/baseline.py                         # on a synthetic store; results/baseline
    python scripts/baseline.py --data reben.store --epochs 30 --out results/baseline-reben

Writes the tables of ``seg compare``, and of the best run its report, tables and the picture of a map. What is finished
is not done again.
"""

import argparse
import itertools
import shutil
from pathlib import Path

from rich.console import Console

import seg
from seg.pipeline.export import OVERVIEW
from seg.pipeline.report import REPORT_FILE
from seg.prepare.executors import CHOICES, LOCAL
from seg.report.outcomes import Outcome
from seg.runs.data import synthetic_store
from seg.runs.study import Study, Variant

ARCHITECTURES, MODALITIES = ("unet", "deeplabv3plus"), ("s1", "s2", "s1s2")
_console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="Store; a synthetic one if not given.")
    parser.add_argument("--patches", type=int, default=400, help="Patches of the synthetic store.")
    parser.add_argument("--seeds", default="0,1,2", help="Seeds of the training.")
    parser.add_argument("--epochs", type=int, default=10, help="Epochs of each training.")
    parser.add_argument("--encoder", default="resnet18", help="Encoder.")
    parser.add_argument("--batch-size", type=int, default=16, help="Patches per step.")
    parser.add_argument("--work", type=Path, default=Path("runs/baseline"), help="Folder for store and runs.")
    parser.add_argument("--out", type=Path, default=Path("results/baseline"), help="Folder for the results.")
    parser.add_argument("--executor", default=LOCAL, help=f"Who trains: {CHOICES}.")
    parser.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help="An option of sbatch.")
    args = parser.parse_args()
    store = args.data or synthetic_store(args.work / f"synthetic-{args.patches}", args.patches)
    shared = {
        "model__encoder": args.encoder,
        "train__epochs": args.epochs,
        "train__patience": 0,
        "train__batch_size": args.batch_size,
    }
    study = Study(args.work, tuple(int(seed) for seed in args.seeds.split(",")), shared)
    variants = grid(store)
    failed = seg.sweep(study.runs(variants), executor=args.executor, slurm=args.slurm, notify=_console.print)
    for error in failed.values():
        raise error
    outcomes = study.outcomes(variants)
    runs = [run for outcome in outcomes for run in outcome.runs]
    args.out.mkdir(parents=True, exist_ok=True)
    seg.compare(runs, out=args.out / "compare")
    show_best(best_run(outcomes), args.out, args.work)


def grid(store: Path) -> list[Variant]:
    """The six configurations."""
    return [
        Variant(f"{arch} {modality}", {"model__arch": arch, "data__bands": modality}, store)
        for arch, modality in itertools.product(ARCHITECTURES, MODALITIES)
    ]


def best_run(outcomes: list[Outcome]) -> Path:
    """The run with the highest mIoU on the test split: for a picture, not for a claim."""
    return max((score, run) for one in outcomes for score, run in zip(one.values["miou"], one.runs, strict=True))[1]


def show_best(run: Path, out: Path, work: Path) -> None:
    """Report, tables and a picture of a map of one run."""
    best = out / "best"
    shutil.rmtree(best, ignore_errors=True)
    best.mkdir()
    folder = seg.evaluate(run).folder
    for name in (REPORT_FILE, "tables.md", "scores.json", "eval.json"):
        shutil.copy(folder / name, best)
    maps = work / "maps"
    shutil.rmtree(maps, ignore_errors=True)
    seg.export(run, maps, mosaic=True)
    if (maps / OVERVIEW).is_file():
        shutil.copy(maps / OVERVIEW, best)
    (best / "run.txt").write_text(f"{run.name}\n", encoding="utf-8")
    _console.print(f"The best run by mIoU on test: {run}; see {best}")


if __name__ == "__main__":
    main()

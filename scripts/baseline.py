"""The baseline grid {unet, deeplabv3plus} x {s1, s2, s1s2} x seeds: trained, scored, compared, and the best one shown.

    python scripts/baseline.py                         # on a synthetic store; results/baseline
    python scripts/baseline.py --data reben.store --epochs 30 --out results/baseline-reben

Writes the tables of ``seg compare``, and of the best run its report, tables and the picture of a map. What is finished
is not done again.
"""

import argparse
import itertools
from pathlib import Path

from rich.console import Console

import seg
from seg.pipeline.export import OVERVIEW
from seg.prepare.executors import CHOICES, LOCAL
from seg.report.compare_tables import COMPARISON_FILES, write_comparison
from seg.report.outcomes import Outcome
from seg.runs.data import synthetic_store
from seg.runs.evaluation import REPORT_FILE
from seg.runs.study import Study, Variant
from seg.store.atomic import write_bytes, write_text
from seg.store.until_exit import claim_until_exit

BEST, COMPARE, RUN = "best", "compare", "run.txt"
OF_BEST = (REPORT_FILE, "tables.md", "scores.json", "eval.json")
ARCHITECTURES, MODALITIES = ("unet", "deeplabv3plus"), ("s1", "s2", "s1s2")
_console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--out", type=Path, default=Path("results/baseline"), help="Folder for the results.")
    args = parser.parse_args()
    claim_until_exit(args.out / BEST, [*OF_BEST, OVERVIEW, RUN])
    claim_until_exit(args.out / COMPARE, COMPARISON_FILES)
    study, variants = trained_grid(args, store_of(args))
    outcomes = study.outcomes(variants)
    runs = [run for outcome in outcomes for run in outcome.runs]
    compared = seg.compare(runs)
    write_comparison(args.out / COMPARE, compared.comparison, compared.tables)
    show_best(best_run(outcomes), args.out, args.work)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the grid is trained on, how, where and by whom."""
    parser.add_argument("--data", type=Path, help="Store; a synthetic one if not given.")
    parser.add_argument("--patches", type=int, default=400, help="Patches of the synthetic store.")
    parser.add_argument("--seeds", default="0,1,2", help="Seeds of the training.")
    parser.add_argument("--epochs", type=int, default=6, help="Epochs of each training.")
    parser.add_argument("--encoder", default="resnet18", help="Encoder.")
    parser.add_argument("--batch-size", type=int, default=8, help="Patches per step.")
    parser.add_argument("--work", type=Path, default=Path("runs/baseline"), help="Folder for store and runs.")
    parser.add_argument("--executor", default=LOCAL, help=f"Who trains: {CHOICES}.")
    parser.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help="An option of sbatch.")


def store_of(args: argparse.Namespace) -> Path:
    """The store that the grid is trained on, made if it is a synthetic one that is not there yet."""
    return args.data or synthetic_store(args.work / f"synthetic-{args.patches}", args.patches)


def trained_grid(args: argparse.Namespace, store: Path) -> tuple[Study, list[Variant]]:
    """Train and score what of the grid is not done yet."""
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
    return study, variants


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
    best = out / BEST
    best.mkdir(parents=True, exist_ok=True)
    folder = seg.evaluate(run).folder
    overview = seg.export(run, work / "maps" / run.name, mosaic=True).overview
    for path in (*(folder / name for name in OF_BEST), *([overview] if overview else [])):
        write_bytes(best / path.name, path.read_bytes())
    write_text(best / RUN, f"{run.name}\n")
    _console.print(f"The best run by mIoU on test: {run}; see {best}")


if __name__ == "__main__":
    main()

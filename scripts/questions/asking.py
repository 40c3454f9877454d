"""What the scripts beside it share: their options, the store that they ask, and how an answer is given."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from seg.pipeline.sweep import sweep
from seg.prepare.executors import CHOICES, LOCAL
from seg.report.answer import Answer, answer_files, write_answer
from seg.report.formats import Table, to_rich
from seg.report.outcomes import SCORES, Outcome
from seg.runs.data import synthetic_store
from seg.runs.study import Study, Variant
from seg.store.open import read_info
from seg.store.until_exit import claim_until_exit

_console = Console()


def arguments(description: str | None) -> argparse.Namespace:
    """Options that all of them have, read."""
    args = options(description).parse_args()
    # Before hours of training: what is in the way of the answer shows at once.
    claim(args.out)
    return args


def options(description: str | None) -> argparse.ArgumentParser:
    """Options that all of them have, for a script that has more."""
    parser = argparse.ArgumentParser(
        description=(description or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="Store to ask; a synthetic one if not given.")
    parser.add_argument("--patches", type=int, default=400, help="Patches of the synthetic store.")
    parser.add_argument("--seeds", default="0,1,2", help="Seeds of the training.")
    parser.add_argument("--epochs", type=int, default=10, help="Epochs of each training.")
    parser.add_argument("--arch", default="unet", help="Architecture.")
    parser.add_argument("--encoder", default="resnet18", help="Its encoder.")
    parser.add_argument("--batch-size", type=int, default=16, help="Patches per step.")
    parser.add_argument("--work", type=Path, default=Path("runs/questions"), help="Folder for stores and runs.")
    parser.add_argument("--out", type=Path, default=Path("results/questions"), help="Folder for the answer.")
    parser.add_argument("--executor", default=LOCAL, help=f"Who trains: {CHOICES}.")
    parser.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help="An option of sbatch.")
    return parser


def claim(out: Path, name: str | None = None) -> None:
    """Claim the files of the answer, which are named after the script unless they have another name."""
    claim_until_exit(out, answer_files(name or Path(sys.argv[0]).stem))


def base_store(args: argparse.Namespace) -> Path:
    """The store that is asked: the one named, or a synthetic one that is made once."""
    return (
        Path(args.data)
        if args.data is not None
        else synthetic_store(args.work / f"synthetic-{args.patches}", args.patches)
    )


def ask(variants: Sequence[Variant], args: argparse.Namespace) -> list[Outcome]:
    """Train and score every variant with every seed, as far as that was not done."""
    shared = {
        "model__arch": args.arch,
        "model__encoder": args.encoder,
        "train__epochs": args.epochs,
        "train__patience": 0,
        "train__batch_size": args.batch_size,
    }
    seeds = tuple(int(seed) for seed in args.seeds.split(","))
    study = Study(args.work, seeds, shared)
    failed = sweep(study.runs(variants), executor=args.executor, slurm=args.slurm, notify=_console.print)
    for error in failed.values():
        raise error
    return study.outcomes(variants)


def answer(  # noqa: PLR0913
    name: str,
    question: str,
    outcomes: Sequence[Outcome],
    tables: Sequence[Table],
    args: argparse.Namespace,
    *,
    shown: tuple[str, str],
    shows: str,
    does_not: str,
) -> None:
    """Write the answer and print its tables."""
    info = read_info(base_store(args))
    data = f"{args.patches} synthetic patches" if args.data is None else f"the store {args.data.name}"
    found = Answer(
        name=name,
        question=question,
        setting=(
            f"{_named(args.arch)} with {args.encoder}, {args.epochs} epochs of batches of {args.batch_size}, "
            f"seeds {args.seeds}, {data}."
        ),
        command=_command(),
        synthetic=info.synthetic,
        tables=tables,
        shows=shows,
        does_not=does_not,
        rows={one.name: [one.scores.get(key) for key in shown] for one in outcomes},
        scores=[SCORES[key] for key in shown],
    )
    settings = {key: getattr(args, key) for key in ("seeds", "epochs", "batch_size", "arch", "encoder")} | {
        "fingerprint": info.fingerprint
    }
    files = write_answer(found, args.out, settings)
    for table in found.titled_tables:
        _console.print(to_rich(table))
    _console.print(f"Written: {', '.join(file.name for file in files)} in {args.out}")


def _command() -> str:
    """What was typed, without what only concerns this machine."""
    places = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--data", "--work", "--out", "--executor", "--slurm"):
        places.add_argument(option, action="append", default=[])
    of_here, words = places.parse_known_args(sys.argv[1:])
    data = [f"--data {Path(store).name}" for store in of_here.data]
    return " ".join(["python", f"scripts/questions/{Path(sys.argv[0]).name}", *data, *words])


def _named(arch: str) -> str:
    return "U-Net" if arch == "unet" else arch

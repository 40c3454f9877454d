"""What the scripts beside it share: variants and seeds trained, scored and compared, and the files of an answer.

A study trains every variant with every seed. What is finished with the same settings and data is not done again, so a
script that was stopped does what is left when it is started again.
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import seg
from seg.config.load import load_config
from seg.metrics.bootstrap import LEVEL, Replicates, bootstrap, intervals, paired_test
from seg.metrics.evidence import Evidence
from seg.metrics.scores import headline, score_evidence
from seg.pipeline.data import synthesise
from seg.pipeline.job import plan
from seg.pipeline.run_folder import read_evidence
from seg.pipeline.sweep import Job, is_scored, look
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.bands import Sensor
from seg.report.figures.dots import Dot, DotRow, dot_picture
from seg.report.figures.style import write_png
from seg.report.formats import Column, Estimate, Table, document, markdown, tidy_csv, to_rich
from seg.report.record import run_record, write_json
from seg.store.atomic import write_text
from seg.store.open import open_store

SCORES = {"miou": "mIoU", "oa": "OA", "ap_macro": "AP macro", "f1_macro": "F1 macro"}
"""Scores of the tables and figures, by name."""
_SYNTHETIC = "SYNTHETIC data, no benchmark result: "
_OUT = Path("results/questions")
_console = Console()


@dataclass(frozen=True)
class Variant:
    """What is trained.

    Attributes:
        name: In tables.
        settings: ``section__key=value`` beyond those that all share.
        store: What it is trained on.
        test: What it is scored on, if that is another store.
        drop: The sensor that it is not shown when it is scored.
    """

    name: str
    settings: Mapping[str, Any]
    store: Path
    test: Path | None = None
    drop: Sensor | None = None

    @property
    def folder(self) -> str:
        """Name of its run folders, without the seed; the same for all that differ only in how they are scored."""
        choices = [f"{key.rpartition('__')[2]}_{value}" for key, value in sorted(self.settings.items())]
        return "-".join([self.store.name, *choices]).replace(",", "_")


@dataclass(frozen=True)
class Outcome:
    """What a variant came to.

    Attributes:
        name: Of the variant.
        scores: By name: mean over the seeds, standard deviation, interval over tiles of the mean.
        values: Score of each seed, by name.
        replicates: Resamples of each seed.
        patches: Number of patches that it was scored on.
    """

    name: str
    scores: Mapping[str, Estimate]
    values: Mapping[str, tuple[float, ...]]
    replicates: tuple[Replicates, ...]
    patches: int


def arguments(description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Options that all studies have."""
    parser = argparse.ArgumentParser(
        description=description.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="Store to ask; a synthetic one if not given.")
    parser.add_argument("--patches", type=int, default=600, help="Patches of the synthetic store.")
    parser.add_argument("--seeds", default="0,1,2", help="Seeds of the training.")
    parser.add_argument("--epochs", type=int, default=12, help="Epochs of each training.")
    parser.add_argument("--encoder", default="resnet18", help="Encoder of the U-Net.")
    parser.add_argument("--work", type=Path, default=Path("runs/questions"), help="Folder for stores and runs.")
    parser.add_argument("--out", type=Path, default=_OUT, help="Folder for the answer.")
    return parser.parse_args(argv)


def base_store(args: argparse.Namespace) -> Path:
    """The store that is asked: the one named, or a synthetic one that is made once."""
    if args.data is not None:
        return args.data  # type: ignore[no-any-return]
    store: Path = args.work / f"synthetic-{args.patches}"
    if not store.is_dir():
        tree = args.work / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        synthesise(tree, args.patches)
        build_store(published_sources(tree), store)
        shutil.rmtree(tree)
    return store


def study(variants: Sequence[Variant], args: argparse.Namespace) -> list[Outcome]:
    """Train and score every variant with every seed, and put the seeds together."""
    seeds = [int(seed) for seed in args.seeds.split(",")]
    return [_outcome(variant.name, [_evidence(variant, seed, args) for seed in seeds]) for variant in variants]


def _evidence(variant: Variant, seed: int, args: argparse.Namespace) -> Evidence:
    """Train and score, as far as that was not done."""
    folder = args.work / f"{variant.folder}-seed{seed}"
    settings = {
        "model__arch": "unet",
        "model__encoder": args.encoder,
        "train__epochs": args.epochs,
        "train__patience": 0,
        "train__batch_size": 16,
        "train__seed": seed,
        "data__store": variant.store,
        **variant.settings,
    }
    state = look(Job(folder.name, folder, load_config(None, (), **settings), ()), None)
    if state.todo == "blocked":
        raise SystemExit(f"{state.why}")
    if state.todo == "restart":
        shutil.rmtree(folder)
    if state.todo != "finished":
        _console.print(f"training {folder.name}")
        seg.train(plan(out=folder, resume=state.todo == "resume", **({} if state.todo == "resume" else settings)))
    test = variant.test or variant.store
    job = Job(folder.name, folder, load_config(None, (), **settings), ())
    fingerprint = open_store(test).info.fingerprint
    if variant.drop is not None or not is_scored(job, "test") or _scored_on(folder) != fingerprint:
        seg.evaluate(folder, data=test, drop=variant.drop, replicates=10)
    return read_evidence(folder, "test", variant.drop)


def _scored_on(folder: Path) -> str:
    return read_evidence(folder, "test").origin.fingerprint


def _outcome(name: str, evidences: Sequence[Evidence]) -> Outcome:
    """Mean, deviation and interval over the seeds, as `seg.compare` computes them."""
    scores = [headline(score_evidence(evidence)) for evidence in evidences]
    replicates = tuple(bootstrap(evidence) for evidence in evidences)
    values = {key: tuple(one[key] for one in scores) for key in SCORES if key in scores[0]}
    estimates = {}
    for key, found in values.items():
        mean = np.mean([one.values[key] for one in replicates], axis=0)
        bounds = intervals(Replicates(**{**_fields(replicates[0]), "values": {key: mean}}))[key]
        deviation = float(np.std(found, ddof=1)) if len(found) > 1 else None
        estimates[key] = Estimate(float(np.mean(found)), deviation, float(bounds.low), float(bounds.high))
    return Outcome(name, estimates, values, replicates, len(evidences[0]))


def _fields(replicates: Replicates) -> dict[str, Any]:
    names = ("patches", "seed", "replicates", "values", "support")
    return {name: getattr(replicates, name) for name in names}


def difference(first: Outcome, second: Outcome, score: str) -> Estimate:
    """First minus second, with its interval: on the same resamples where both were scored on the same patches."""
    observed = float(np.mean(first.values[score]) - np.mean(second.values[score]))
    if first.replicates[0].patches == second.replicates[0].patches:
        test = paired_test(first.replicates, second.replicates, observed, score)
        return Estimate(observed, None, test.low, test.high)
    # Other patches: the two vary independently, and so do their resamples.
    parts = [np.mean([one.values[score] for one in outcome.replicates], axis=0) for outcome in (first, second)]
    parts[1] = np.random.default_rng(0).permutation(parts[1])
    apart = parts[0] - parts[1]
    low, high = np.nanquantile(apart, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(observed, None, float(low), float(high))


def scores_table(name: str, title: str, outcomes: Sequence[Outcome], notes: Sequence[str] = ()) -> Table:
    """A row per variant."""
    keys = [key for key in SCORES if any(key in outcome.scores for outcome in outcomes)]
    columns = (Column("variant", "Variant", "text"), Column("patches", "Patches", "count"))
    columns += tuple(Column(key, SCORES[key], "percent") for key in keys)
    rows = tuple((one.name, one.patches, *(one.scores.get(key) for key in keys)) for one in outcomes)
    first = outcomes[0].replicates[0]
    brackets = (
        f"Mean over the seeds ± standard deviation, [{100 * LEVEL:g} % interval of the mean over {first.tiles} tiles]; "
        "with few tiles intervals are too narrow."
    )
    return Table(name, title, columns, rows, tuple(notes), brackets)


def differences_table(
    name: str, title: str, pairs: Sequence[tuple[Outcome, Outcome]], notes: Sequence[str] = ()
) -> Table:
    """A row per pair: the first minus the second."""
    keys = [key for key in SCORES if all(key in one.scores for pair in pairs for one in pair)]
    columns = (Column("pair", "Difference", "text"), *(Column(key, SCORES[key], "percent") for key in keys))
    rows = tuple((f"{a.name} - {b.name}", *(difference(a, b, key) for key in keys)) for a, b in pairs)
    return Table(name, title, columns, rows, tuple(notes), f"Brackets hold {100 * LEVEL:g} % intervals over tiles.")


@dataclass(frozen=True)
class Answer:
    """What a study found.

    Attributes:
        name: Of the files.
        question: The title.
        outcomes: The variants, for the figure.
        tables: The tables.
        shown: The two scores of the figure.
        shows, does_not: A sentence each.
    """

    name: str
    question: str
    outcomes: Sequence[Outcome]
    tables: Sequence[Table]
    shown: tuple[str, str]
    shows: str
    does_not: str


def write_answer(answer: Answer, args: argparse.Namespace, synthetic: bool) -> None:
    """Write ``<name>.md``, ``.csv``, ``.json`` and ``.png``."""
    lead = _SYNTHETIC if synthetic else ""
    tables = [Table(t.name, lead + t.title, t.columns, t.rows, t.notes, t.brackets) for t in answer.tables]
    args.out.mkdir(parents=True, exist_ok=True)
    setting = f"U-Net with {args.encoder}, {args.epochs} epochs, seeds {args.seeds}, " + (
        f"{args.patches} synthetic patches." if args.data is None else f"store {args.data.name}."
    )
    text = [f"# {lead}{answer.question}\n", f"{setting}\n", *map(markdown, tables)]
    text += ["\n**What it shows.** " + answer.shows, "\n**What it does not show.** " + answer.does_not]
    text += [f"\n![{answer.question}]({answer.name}.png)\n\n`python scripts/questions/{answer.name}.py`\n"]
    write_text(args.out / f"{answer.name}.md", "\n".join(text))
    write_text(args.out / f"{answer.name}.csv", tidy_csv(tables))
    settings = {"seeds": args.seeds, "epochs": args.epochs, "encoder": args.encoder, "patches": args.patches}
    found = {"question": answer.question, "synthetic": synthetic, "settings": settings}
    found |= {"shows": answer.shows, "does_not_show": answer.does_not, "tables": [document(table) for table in tables]}
    write_json(args.out / f"{answer.name}.json", run_record(**found))
    rows = [DotRow(one.name, tuple(_dot(one.scores.get(key)) for key in answer.shown)) for one in answer.outcomes]
    names = [SCORES[key] for key in answer.shown]
    figure = dot_picture(rows, names, "%", lead + answer.question)
    write_png(args.out / f"{answer.name}.png", figure)
    for table in tables:
        _console.print(to_rich(table))
    _console.print(f"Written: {args.out / answer.name}.md, .csv, .json, .png")


def _dot(estimate: Estimate | None) -> Dot:
    if estimate is None:
        return Dot(float("nan"))
    return Dot(estimate.value, float(estimate.low or "nan"), float(estimate.high or "nan"))


def points(estimate: Estimate) -> str:
    """A difference in words: ``3.1 points [1.2, 4.9]``."""
    return f"{100 * estimate.value:+.1f} points [{100 * (estimate.low or 0):.1f}, {100 * (estimate.high or 0):.1f}]"

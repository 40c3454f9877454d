"""The recipe for few patches over folds of whole tiles, with a pretraining and without, beside a random forest.

Of the 80 real patches of the sample, each is scored once, by a model that has not seen its tile: every fifth tile is a
fold, left out of a training on the others. So all 25 tiles take part in a comparison, where one split has a few.

    python scripts/real_folds.py --tree ../shared/real/reben-10m-80 [--seeds 0,1,2]

Three models are compared: the recipe (``configs/few-patches.yaml``) from random weights; the same beginning with an
encoder that ``seg pretrain`` has let learn from the images of all 80 patches, without a map or a label; and the forest
of `real_sample`. Trained with each of the seeds, and pretrained with each.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from real_sample import BANDS, RECIPE, forest_evidence, options, recipe
from rich.console import Console

from seg.metrics.evidence import Evidence, Origin, merge_evidence
from seg.pipeline.pretrain import pretrain
from seg.pipeline.sweep import sweep
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.patch import PatchId
from seg.report.answer import Answer, answer_files, points, write_answer
from seg.report.formats import to_rich
from seg.report.outcomes import SCORES, Outcome, difference, differences_table, outcome_of, scores_table
from seg.runs.folder import read_evidence
from seg.runs.study import Study, Variant
from seg.store.open import read_info
from seg.store.until_exit import claim_until_exit

NAME = "few_patches_folds"
QUESTION = "The recipe for few patches over folds of whole tiles, 80 real patches"
FOLDS = 5
ORIGIN = Origin("validation", "folds of the sample", synthetic=False)
"""What the merged evidence is of: what is held out stands in the validation split, which chooses nothing here."""
_console = Console()


def main() -> None:
    parser = options(__doc__, epochs=100, work="runs/real-folds")
    parser.add_argument("--pretrain-epochs", type=int, default=150, help="Epochs of each pretraining.")
    args = parser.parse_args()
    claim_until_exit(args.out, answer_files(NAME))
    args.work.mkdir(parents=True, exist_ok=True)
    stores = [fold_store(args.tree, args.work, fold) for fold in range(FOLDS)]
    seeds = tuple(int(seed) for seed in args.seeds.split(","))
    shared = recipe() | {"train__epochs": args.epochs}
    encoders = {seed: pretrained(stores[0], args, seed) for seed in seeds}

    def of(title: str, settings: Callable[[int], dict[str, Any]]) -> Outcome:
        return over_folds(title, stores, seeds, shared, settings, args)

    plain = of("few-patches", lambda _: {})
    begun = of("few-patches, pretrained", lambda seed: {"model__weights": str(encoders[seed])})
    forests = [
        merged([forest_evidence(store, BANDS["s1s2"], seed, "validation") for store in stores]) for seed in seeds
    ]
    publish(plain, begun, outcome_of("random forest", forests), read_info(stores[0]).fingerprint, args)


def fold_store(tree: Path, work: Path, fold: int) -> Path:
    """The sample with the tiles of one fold for validation and all others for training; made once."""
    store = work / f"fold{fold}"
    if store.is_dir():
        return store
    sources = published_sources(tree)
    table = pa.concat_tables([pq.read_table(path) for path in sources.metadata])
    tiles = [PatchId.parse(name).tile for name in table["patch_id"].to_pylist()]
    held_out = set(sorted(set(tiles))[fold::FOLDS])
    splits = ["validation" if tile in held_out else "train" for tile in tiles]
    path = work / f"fold{fold}.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index("split"), "split", pa.array(splits)), path)
    build_store(replace(sources, metadata=(path,)), store)
    return store


def pretrained(store: Path, args: argparse.Namespace, seed: int) -> Path:
    """An encoder that has seen the images of all patches; goes on where it was broken off."""
    return pretrain(
        store,
        args.work / f"pretrained-seed{seed}",
        images="all",
        config=RECIPE,
        notify=_console.print,
        train__epochs=args.pretrain_epochs,
        train__seed=seed,
    ).folder


def over_folds(
    title: str,
    stores: Sequence[Path],
    seeds: Sequence[int],
    shared: dict[str, Any],
    settings: Callable[[int], dict[str, Any]],
    args: argparse.Namespace,
) -> Outcome:
    """Train on all folds but one and score on that one, for each of them and each seed."""
    evidences = []
    for seed in seeds:
        study = Study(args.work, (seed,), shared)
        variants = [Variant(title, settings(seed), store, split="validation") for store in stores]
        failed = sweep(study.runs(variants), executor=args.executor, slurm=args.slurm, notify=_console.print)
        for error in failed.values():
            raise error
        evidences.append(
            merged(
                [
                    read_evidence(study.folders(one)[0], one.scoring.scope(read_info(one.store).fingerprint))
                    for one in variants
                ]
            )
        )
    return outcome_of(title, evidences)


def merged(parts: Sequence[Evidence]) -> Evidence:
    """Evidence of all folds together. Thresholds and temperatures, fitted on what is scored, are left out."""
    return merge_evidence([replace(part, origin=ORIGIN) for part in parts])


def publish(plain: Outcome, begun: Outcome, forest: Outcome, fingerprint: str, args: argparse.Namespace) -> None:
    """Tables, picture and sentences."""
    outcomes = [plain, begun, forest]
    note = (
        f"Every fifth tile is a fold; all {forest.patches} patches are scored, by models that have not seen their tile."
    )
    pairs = [(begun, plain), (plain, forest), (begun, forest)]
    tables = [
        scores_table("scores", QUESTION, outcomes, [note]),
        differences_table("differences", "One against another, on the same patches", pairs),
    ]
    gains, leads = (
        " and by ".join(f"{points(difference(*pair, key))} of {SCORES[key]}" for key in ("miou", "oa"))
        for pair in ((begun, plain), (begun, forest))
    )
    answer = Answer(
        name=NAME,
        question=QUESTION,
        setting=(
            f"`configs/few-patches.yaml`, {args.epochs} epochs, seeds {args.seeds}; pretrained for "
            f"{args.pretrain_epochs} epochs on the images of all 80 patches."
        ),
        command=f"python scripts/real_folds.py --tree reben-10m-80 --seeds {args.seeds} --epochs {args.epochs}",
        synthetic=False,
        tables=tables,
        shows=f"Pretraining changes the recipe by {gains}; with it, recipe and forest differ by {leads}.",
        does_not=(
            "It is no reBEN benchmark result: a network has some sixty patches to learn from. The pretraining has seen "
            "the images that are scored, without maps and labels. The recipe was chosen on other folds of the same "
            "tiles, so that what is scored here is not new to it."
        ),
        rows={one.name: [one.scores.get(key) for key in ("miou", "oa")] for one in outcomes},
        scores=[SCORES[key] for key in ("miou", "oa")],
    )
    settings = {"seeds": args.seeds, "epochs": args.epochs, "pretrain_epochs": args.pretrain_epochs}
    write_answer(answer, args.out, settings | {"fingerprint": fingerprint})
    for each in answer.titled_tables:
        _console.print(to_rich(each))


if __name__ == "__main__":
    main()

"""How optimistic is a random split? The same model under the geographic and under a random split of the same patches.

Both have the same number of training, validation and test patches; the random one puts neighbours, and other dates of
the same ground, on either side.

    python scripts/questions/split_leakage.py [--data STORE] [--seeds 0,1,2]
"""

from pathlib import Path

from asking import answer, arguments, ask, base_store

from seg.pipeline.split import split
from seg.prepare.split import SplitPlan
from seg.report.answer import points
from seg.report.outcomes import difference, differences_table, scores_table
from seg.runs.study import Variant
from seg.store.open import open_store

QUESTION = "How much does a random split flatter a model?"


def random_store(store: Path, work: Path) -> Path:
    """The same patches with random splits of the same sizes."""
    out = work / f"{store.name}-random"
    if not out.is_dir():
        sizes = open_store(store).info.splits
        shares = tuple(float(sizes[name]) for name in ("train", "validation", "test"))
        split([store], [SplitPlan("random", shares)], out=out)
    return out


def main() -> None:
    args = arguments(__doc__)
    store = base_store(args)
    geographic, random = ask(
        [
            Variant("geographic split", {"data__bands": "s2"}, store),
            Variant("random split", {"data__bands": "s2"}, random_store(store, args.work)),
        ],
        args,
    )
    note = "Each is scored on the test patches of its own split, so the two vary independently."
    tables = [
        scores_table("scores", QUESTION, [geographic, random]),
        differences_table("differences", "Optimism of the random split", [(random, geographic)], [note]),
    ]
    optimism, scene = (difference(random, geographic, score) for score in ("miou", "ap_macro"))
    answer(
        "split_leakage",
        QUESTION,
        [geographic, random],
        tables,
        args,
        shown=("miou", "ap_macro"),
        shows=(
            f"The same model scores {points(optimism)} of mIoU and {points(scene)} of AP macro more under the "
            "random split than under the geographic one."
        ),
        does_not=(
            "The test patches differ, so a part of it may be that some are easier; the interval covers that as far "
            "as the tiles vary. How far a split must keep train and test apart is not asked; see results/split."
        ),
    )


if __name__ == "__main__":
    main()

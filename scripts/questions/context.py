"""What do pixels around a patch give? One network, one budget, 0 to 120 pixels of the neighbours in view.

Losses and scores are those of the patches alone. A synthetic store is made of small blocks, so that most of its patches
lie at an edge; patches without all eight neighbours are flagged in a copy of it, and are then nothing but neighbours.

    python scripts/questions/context.py [--data STORE] [--seeds 0,1,2] [--contexts 0,32,60,120]
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
from asking import answer, ask, base_store, claim, options

from seg.config.load import load_config
from seg.models.cost import measure
from seg.reben.patch import SPLITS
from seg.report.answer import points
from seg.report.outcomes import Outcome, difference, differences_table, scores_table
from seg.runs.folder import read_run, section
from seg.runs.study import Variant
from seg.store.open import INDEX_FILE, INFO_FILE, describe, read_description
from seg.store.surroundings import NOBODY, surroundings

QUESTION = "What do pixels around a patch give?"


def main() -> None:
    parser = options(__doc__)
    parser.set_defaults(patches=1600, arch="linknet", encoder="tu-test_resnet")
    parser.add_argument("--contexts", default="0,32,60,120", help="Pixels around a patch, none first.")
    parser.add_argument("--bands", default="s2-10m", help="What the network sees.")
    args = parser.parse_args()
    name = "context" if args.data is None else f"context_{args.data.name}"
    claim(args.out, name)
    if args.data is None:
        whole = base_store(args)
        args.data = surrounded_store(whole, whole.with_name(f"{whole.name}-surrounded"))
    shared = {"data__bands": args.bands, "train__monitor": "miou"}
    contexts = [int(pixels) for pixels in args.contexts.split(",")]
    variants = [Variant(f"{pixels} pixels", {**shared, "data__context": pixels}, args.data) for pixels in contexts]
    alone, *seen = ask(variants, args)
    tables = [
        scores_table("scores", QUESTION, [alone, *seen], [_share(args.data)]),
        differences_table(
            "differences", f"Against {alone.name}, on the same test patches", [(one, alone) for one in seen]
        ),
    ]
    gains = [f"{one.name} {points(difference(one, alone, 'miou'))}" for one in seen]
    right = [f"{one.name} {points(difference(one, alone, 'oa'))}" for one in seen]
    sums = [_multiply_adds(args, pixels) for pixels in contexts]
    costs = [f"{one.name} {each / sums[0]:.1f} times" for one, each in zip(seen, sums[1:], strict=True)]
    answer(
        name,
        QUESTION,
        [alone, *seen],
        tables,
        args,
        shown=("miou", "oa"),
        shows=(
            f"mIoU against {alone.name}: {'; '.join(gains)}. OA: {'; '.join(right)}. "
            f"Multiplications for a patch, against {alone.name}: {'; '.join(costs)}. All trainings together took "
            f"{sum(map(_hours, (alone, *seen))):.2f} hours of a machine that others worked on too."
        ),
        does_not=_does_not(args),
    )


def _does_not(args: argparse.Namespace) -> str:
    return (
        f"So few patches and epochs ({args.epochs}) leave every network far from what it could learn, and a larger "
        "view needs longer to pay. Made-up land has no order beyond that of its own fields and forests: what real land "
        "gives, where a valley or a town goes on, is not asked. Steps are equally many, and computing is not."
    )


def surrounded_store(store: Path, out: Path) -> Path:
    """A copy of a store in which patches without all eight neighbours are flagged, so that they are not selected."""
    if out.is_dir():
        return out
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        copy = Path(scratch) / out.name
        shutil.copytree(store, copy)
        index, info = read_description(store)
        around = surroundings(index, np.arange(len(index)))
        alone = ((around.s2_NP == NOBODY) | (around.s1_NP == NOBODY)).any(1)
        marked = replace(index, cloud=index.cloud | (alone & ~index.snow))
        pq.write_table(marked.to_table(), copy / INDEX_FILE, compression="zstd")
        description = describe(
            marked, info.bands, seg_version=info.seg_version, synthetic=info.synthetic,
            source={**info.source, "flagged": "patches without all neighbours"}, resplit=info.resplit,
            compression=info.compression,
        )  # fmt: skip
        (copy / INFO_FILE).write_text(description.to_json(), encoding="utf-8")
        copy.rename(out)
    return out


def _share(store: Path) -> str:
    """How many of the test patches have all neighbours, in words."""
    index, _ = read_description(store)
    tested = np.flatnonzero((index.splits == SPLITS.index("test")) & ~index.snow & ~index.cloud)
    whole = (surroundings(index, tested).s2_NP != NOBODY).all(1).mean()
    return f"{100 * whole:.1f} % of the test patches have all eight neighbours."


def _hours(outcome: Outcome) -> float:
    """Device hours of the trainings of all seeds."""
    costs = [section(read_run(folder).record, "cost") for folder in outcome.runs]
    return float(sum(cost["device_seconds"] for cost in costs)) / 3600


def _multiply_adds(args: argparse.Namespace, context: int) -> int:
    """Of the network, for one patch with what lies around it."""
    config = load_config(model__arch=args.arch, model__encoder=args.encoder, data__bands=args.bands)
    return measure(config.model, config.data.bands, context).multiply_adds


if __name__ == "__main__":
    main()

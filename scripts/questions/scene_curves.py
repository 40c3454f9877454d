"""How do scene heads go with the number of patches and of epochs? One network, parts of one train split.

A smaller part lies within a larger one (`data.fraction`), and all networks are scored on the same test patches. What
more epochs bring shows on the validation split, epoch by epoch, of those that learned from the whole train split.

    python scripts/questions/scene_curves.py [--data STORE --bands VV,VH,B02,B03,B04,B08] [--parts 0.125,0.25,0.5,1]

Of a store that is named with --data, the answer is called ``scene_curves_<name of the store>``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from asking import answer, ask, base_store, claim, options

from seg.config.sections import DataConfig
from seg.report.answer import points
from seg.report.formats import Column, Estimate, Table, Value
from seg.report.log import read_log
from seg.report.outcomes import Outcome, difference, differences_table, scores_table
from seg.runs.data import split_rows
from seg.runs.study import Variant
from seg.store.open import open_store

QUESTION = "How do scene heads go with the number of patches and of epochs?"
HEADS = {
    "learned": {"model__scene_head": "learned"},
    "derived": {"model__scene_head": "derived"},
    "masked": {"model__scene_head": "masked"},
}
"""Each with the default share of the scene loss."""
MOMENTS = 6
"""Epochs of which scores are shown."""


def main() -> None:
    parser = options(__doc__)
    parser.set_defaults(patches=1200, arch="linknet", encoder="tu-mobilenetv4_conv_small", batch_size=8, epochs=20)
    parser.add_argument("--bands", default="s2", help="Bands that the network sees.")
    parser.add_argument("--parts", default="0.125,0.25,0.5,1", help="Parts of the train split, the largest last.")
    args = parser.parse_args()
    name = "scene_curves" if args.data is None else f"scene_curves_{args.data.name}"
    claim(args.out, name)
    store, parts = base_store(args), [float(part) for part in args.parts.split(",")]
    patches = {part: patches_of(store, part) for part in parts}
    named = {(head, part): f"{head}, {patches[part]} patches" for part in parts for head in HEADS}
    variants = [
        Variant(title, {"data__bands": args.bands, "data__fraction": part, **HEADS[head]}, store)
        for (head, part), title in named.items()
    ]
    outcomes = dict(zip(named, ask(variants, args), strict=True))
    pairs = [(outcomes["masked", part], outcomes[other, part]) for part in parts for other in ("learned", "derived")]
    tables = [
        scores_table("scores", QUESTION, list(outcomes.values())),
        differences_table("heads", "One head against another, on the same test patches", pairs),
        epochs_table([outcomes[head, parts[-1]] for head in HEADS], patches[parts[-1]], args.epochs),
    ]

    def gaps(other: str) -> str:
        """AP macro of the masked head against another one, part by part."""
        found = [difference(outcomes["masked", part], outcomes[other, part], "ap_macro") for part in parts]
        return "; ".join(f"{points(gap)} of {patches[part]} patches" for gap, part in zip(found, parts, strict=True))

    answer(
        name,
        QUESTION,
        list(outcomes.values()),
        tables,
        args,
        shown=("miou", "ap_macro"),
        shows=f"AP macro of the masked head against the learned one: {gaps('learned')}; against the derived one: "
        f"{gaps('derived')}.",
        does_not=(
            "Epochs are equally many, so that a network with few patches takes fewer steps; patches of a part lie "
            "beside each other in few tiles, so that fewer patches are fewer tiles too. Other networks were not asked."
        ),
    )


def patches_of(store: Path, part: float) -> int:
    """How many patches a part of the train split has."""
    return len(split_rows(open_store(store), DataConfig(store=store, fraction=part), "train"))


def epochs_table(outcomes: Sequence[Outcome], patches: int, epochs: int) -> Table:
    """Validation scores at some epochs, means over the seeds."""
    moments = sorted({max(1, round(number)) for number in np.linspace(epochs / MOMENTS, epochs, MOMENTS)})
    rows: list[tuple[Value, ...]] = []
    for one in outcomes:
        logs = [read_log(run) for run in one.runs]
        for score, title in (("val_miou", "mIoU"), ("val_ap_macro", "AP macro")):
            cells = [_over_seeds([float(log[moment - 1][score]) for log in logs]) for moment in moments]
            rows.append((f"{title}, {one.name.partition(',')[0]}", *cells))
    columns = (
        Column("score", "Score", "text"),
        *(Column(f"epoch_{moment}", f"Epoch {moment}", "percent") for moment in moments),
    )
    note = "Scores are means over the seeds ± their standard deviation."
    return Table("epochs", f"On the validation split, {patches} patches to learn from", columns, tuple(rows), (note,))


def _over_seeds(values: Sequence[float]) -> Estimate:
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


if __name__ == "__main__":
    main()

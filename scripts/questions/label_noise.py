"""How much do errors of the reference maps cost? Trained on maps made worse, scored on clean ones.

Errors are of the kinds that CORINE maps have: polygons that lie off by tens of metres, a larger least mapped unit, land
cover swapped along boundaries, polygons of another class. They hit train and validation; the test split stays clean.

    python scripts/questions/label_noise.py [--data STORE] [--seeds 0,1,2]

With `--cures` it asks how much of that comes back when training knows that its maps are noisy: each cure is trained on
the maps with errors and, as a control, on the clean ones.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from asking import answer, ask, base_store, claim, options
from degrade import coarser, degraded_store, shifted, swapped_edges, wrong_units

from seg.report.answer import points
from seg.report.coverage import brackets_note
from seg.report.formats import Column, Estimate, Table, Value
from seg.report.outcomes import Outcome, difference, differences_table, scores_table
from seg.runs.study import Variant

QUESTION = "What do errors of the reference maps cost?"
ERRORS = {
    "polygons off by 50 m": ("shift50m", partial(shifted, pixels=5)),
    "polygons off by 100 m": ("shift100m", partial(shifted, pixels=10)),
    "units below 25 ha merged": ("unit25ha", partial(coarser, hectares=25)),
    "edges swapped within 50 m": ("edges50m", partial(swapped_edges, pixels=5, share=0.4)),
    "15 % of the polygons wrong": ("wrong15", partial(wrong_units, share=0.15)),
}
"""Name in tables, name of the store, and what is done to each map."""


CURES: dict[str, Mapping[str, Any]] = {
    "symmetric cross-entropy": {"loss__pixel": "symmetric_cross_entropy"},
    "generalised cross-entropy": {"loss__pixel": "generalised_cross_entropy"},
    "borders count a quarter": {"loss__pixel": "border_cross_entropy", "loss__border_metres": 30},
    "relaxed within 30 m": {"loss__pixel": "relaxed_cross_entropy", "loss__border_metres": 30},
    "elastic maps": {"data__label_elastic": 20},
    "CutMix": {"train__cutmix": 0.5},
    "copy-paste": {"train__copy_paste": 0.5},
}
"""Name in tables, and what is set for it beyond the settings of the others; nothing was tuned."""
CLEAN = "clean maps"
CURED = ("15 % of the polygons wrong", "units below 25 ha merged")
"""The errors that cost most, which cures are tried on."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--cures", action="store_true", help="Ask how much comes back.")
    parser.add_argument("--only", default=",".join(CURES), help="With --cures: which, by name.")
    parser.add_argument("--without-control", action="store_true", help="With --cures: no cure of clean maps.")
    args = parser.parse_args()
    claim(args.out, "label_noise_cures" if args.cures else None)
    (ask_for_cures if args.cures else ask_for_costs)(args)


def ask_for_costs(args: argparse.Namespace) -> None:
    """What each kind of error costs."""
    clean, *noisy = ask(variants_of(args, [CLEAN, *ERRORS]), args)
    tables = [
        scores_table("scores", QUESTION, [clean, *noisy]),
        differences_table(
            "differences", "Against clean maps, on the same test patches", [(one, clean) for one in noisy]
        ),
    ]
    costs = [f"{one.name} {points(difference(one, clean, 'miou'))}" for one in noisy]
    scene = [f"{one.name} {points(difference(one, clean, 'ap_macro'))}" for one in noisy]
    answer(
        "label_noise",
        QUESTION,
        [clean, *noisy],
        tables,
        args,
        shown=("miou", "ap_macro"),
        shows=f"mIoU against clean maps: {'; '.join(costs)}. AP macro: {'; '.join(scene)}.",
        does_not=(
            "The clean maps are themselves as CORINE draws them, so errors that all of them share are not seen. "
            "Real errors are not independent from patch to patch, as these are."
        ),
    )


def ask_for_cures(args: argparse.Namespace) -> None:
    """How much of what errors cost comes back."""
    names = [name for name in CURES if name in args.only.split(",")]
    assert names, f"--only names none of {', '.join(CURES)}"
    maps = [CLEAN, *CURED]
    variants = [v for name in maps for v in variants_of(args, [name], names if name != CLEAN or control(args) else [])]
    outcomes = dict(zip([variant.name for variant in variants], ask(variants, args), strict=True))
    rows = [gain(outcomes, map_name, name) for map_name in CURED for name in names]
    question = "How much of what errors of the maps cost comes back?"
    differences = [(outcomes[name], outcomes[CLEAN]) for name in CURED]
    if control(args):
        differences += [(outcomes[f"{CLEAN}, {name}"], outcomes[CLEAN]) for name in names]
    tables = [
        cures_table(rows, next(iter(outcomes.values())).replicates[0].tiles),
        differences_table("differences", "Against clean maps, on the same test patches", differences),
        scores_table("scores", question, list(outcomes.values())),
    ]
    answer(
        "label_noise_cures",
        question,
        list(outcomes.values()),
        tables,
        args,
        shown=("miou", "oa"),
        shows=verdict(rows),
        does_not=(
            "Nothing was tuned: each cure has one setting, and so few epochs favour what learns fast. Errors are "
            "independent from patch to patch, as real ones are not. What helps clean maps as much cures no error."
        ),
    )


def control(args: argparse.Namespace) -> bool:
    """Whether cures are tried on clean maps too."""
    return not args.without_control


def variants_of(args: argparse.Namespace, names: Sequence[str], cures: Sequence[str] = ()) -> list[Variant]:
    """Trained on the maps of those names, each as it is and with the cures; scored on clean maps."""
    store = base_store(args)
    found = []
    for name in names:
        suffix, degrade = ERRORS.get(name, ("", None))
        noisy = degraded_store(store, args.work / f"{store.name}-{suffix}", degrade, suffix) if degrade else store
        for cure in ("", *cures):
            settings = {"data__bands": "s2", **CURES.get(cure, {})}
            found.append(Variant(f"{name}, {cure}" if cure else name, settings, noisy, test=store))
    return found


Gain = tuple[str, Estimate, float, Estimate, Estimate]
"""What is cured and how; mIoU won by it, the share of the cost that this is, boundary mIoU won, OA won."""


def gain(outcomes: Mapping[str, Outcome], maps: str, cure: str) -> Gain:
    """What a cure wins on maps with an error, against training on them without it."""
    noisy, cured = outcomes[maps], outcomes[f"{maps}, {cure}"]
    won = {score: difference(cured, noisy, score) for score in ("miou", "boundary_miou", "oa")}
    cost = difference(outcomes[CLEAN], noisy, "miou").value
    share = won["miou"].value / cost if cost > 0 else math.nan
    return cured.name, won["miou"], share, won["boundary_miou"], won["oa"]


def cures_table(gains: Sequence[Gain], tiles: int) -> Table:
    """What each cure wins."""
    columns = (
        Column("cure", "Maps and cure", "text"),
        Column("miou", "mIoU won", "percent"),
        Column("share", "Share of the cost", "percent"),
        Column("boundary_miou", "Boundary mIoU won", "percent"),
        Column("oa", "OA won", "percent"),
    )
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (name, miou, Estimate(share), boundary, oa) for name, miou, share, boundary, oa in gains
    )
    notes = (
        "Against the same maps without a cure, on the clean maps of the test split. Boundaries are scored within 20 m.",
        "The cost is that of the error without a cure; its share has no interval, and none is given without a cost.",
    )
    return Table("cures", "What each cure wins", columns, rows, notes, brackets_note(tiles))


def verdict(gains: Sequence[Gain]) -> str:
    """Which cures bring a third of the cost back for certain."""
    won = [
        f"{name} {points(miou)}, {share:.0%} of the cost"
        for name, miou, share, *_ in gains
        if share >= 1 / 3 and (miou.low or 0) > 0
    ]
    lead = "A third of the cost or more comes back, with an interval above 0, by: " + "; ".join(won) + "."
    return lead if won else "None brings a third of the cost back with an interval above 0."


if __name__ == "__main__":
    main()

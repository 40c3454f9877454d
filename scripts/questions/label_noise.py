"""How much do errors of the reference maps cost? Trained on maps made worse, scored on clean ones.

Errors are of the kinds that CORINE maps have: polygons that lie off by tens of metres, a larger least mapped unit, land
cover swapped along boundaries, polygons of another class. They hit train and validation; the test split stays clean.

    python scripts/questions/label_noise.py [--data STORE] [--seeds 0,1,2]
"""

from functools import partial

from asking import answer, arguments, ask, base_store
from degrade import coarser, degraded_store, shifted, swapped_edges, wrong_units

from seg.report.answer import points
from seg.report.outcomes import difference, differences_table, scores_table
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


def main() -> None:
    args = arguments(__doc__)
    store = base_store(args)
    settings = {"data__bands": "s2"}
    variants = [Variant("clean maps", settings, store)]
    for name, (suffix, degrade) in ERRORS.items():
        noisy = degraded_store(store, args.work / f"{store.name}-{suffix}", degrade, suffix)
        variants.append(Variant(name, settings, noisy, test=store))
    clean, *noisy = ask(variants, args)
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


if __name__ == "__main__":
    main()

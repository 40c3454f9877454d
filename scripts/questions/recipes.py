"""Which recipe? One network and one number of epochs; each change to the training by itself, and all of them together.

- as it is: every setting has its default, and the run keeps the best epoch by the validation split.
- averaged: a moving average of the weights, of which the run keeps the last, whatever validation says.
- jitter: averaged, and training patches are brighter and darker, Sentinel-2 by some 15 %, Sentinel-1 by 1 dB.
- zoom: averaged, and training patches are turned by any angle and scaled by up to 1.5.
- smoothed: averaged, and a tenth of the target of cross-entropy is spread over all classes.
- dice: averaged, and the Dice loss beside cross-entropy.
- mixed: averaged, and half of the patches get a rectangle of another one.
- windows: averaged, and training sees squares of 64 x 64 pixels.
- flat: averaged, and the learning rate stays and falls over the last 30 % instead of all along.
- all of it: jitter, zoom, smoothed, windows and flat together.

    python scripts/questions/recipes.py [--data STORE --bands VV,VH,B02,B03,B04,B08] [--split validation]

Choose by the validation split, which has no say in the training where the last weights are kept, and let the test split
judge what was chosen. Of a store that is named with --data, the answer is called ``recipes_<name of the store>``.
"""

from asking import answer, ask, base_store, claim, options

from seg.report.answer import points
from seg.report.outcomes import difference, differences_table, scores_table
from seg.runs.study import Variant

QUESTION = "Which changes to the training carry over to other tiles?"
AVERAGED = {"train__ema": 0.98, "train__keep": "last"}
JITTER = {"train__reflectance_jitter": 0.15, "train__backscatter_jitter": 1.0}
ZOOM = {"data__augment": [{"D4": {"p": 1.0}}, {"Affine": {"scale": [0.67, 1.5], "rotate": [-30, 30], "p": 1.0}}]}
WINDOWS = {"train__window": 64}
FLAT = {"train__schedule": "trapezoid"}
SMOOTHED = {"loss__label_smoothing": 0.1}
RECIPES = {
    "as it is": {},
    "averaged": AVERAGED,
    "jitter": {**AVERAGED, **JITTER},
    "zoom": {**AVERAGED, **ZOOM},
    "smoothed": {**AVERAGED, **SMOOTHED},
    "dice": {**AVERAGED, "loss__pixel": {"cross_entropy": 1.0, "dice": 1.0}},
    "mixed": {**AVERAGED, "train__cutmix": 0.5},
    "windows": {**AVERAGED, **WINDOWS},
    "flat": {**AVERAGED, **FLAT},
    "all of it": {**AVERAGED, **JITTER, **ZOOM, **SMOOTHED, **WINDOWS, **FLAT},
}


def main() -> None:
    parser = options(__doc__)
    parser.set_defaults(arch="deeplabv3plus", encoder="tu-mobilenetv4_conv_small", batch_size=8, epochs=20)
    parser.add_argument("--bands", default="s1s2", help="Bands that the network sees.")
    parser.add_argument("--split", default="test", choices=("validation", "test"), help="What is scored.")
    parser.add_argument("--recipes", default=",".join(RECIPES), help="Which of them; the first is compared with.")
    args = parser.parse_args()
    chosen = [name.strip() for name in args.recipes.split(",")]
    if unknown := [name for name in chosen if name not in RECIPES]:
        parser.error(f"there is no recipe {unknown[0]!r}; there are {', '.join(RECIPES)}")
    data = "" if args.data is None else f"_{args.data.name}"
    name = f"recipes{data}" + ("" if args.split == "test" else f"_{args.split}")
    claim(args.out, name)
    store = base_store(args)
    outcomes = ask(
        [Variant(title, {"data__bands": args.bands, **RECIPES[title]}, store, split=args.split) for title in chosen],
        args,
    )
    first, *others = outcomes
    tables = [scores_table("scores", QUESTION, outcomes)]
    if others:
        pairs = [(one, first) for one in others]
        tables.append(differences_table("differences", f"Against '{first.name}', on the same patches", pairs))
    best = max(others or outcomes, key=lambda one: one.scores["miou"].value)
    answer(
        name,
        QUESTION,
        outcomes,
        tables,
        args,
        shown=("miou", "oa"),
        shows=(
            f"On the {args.split} split '{best.name}' changes mIoU by {points(difference(best, first, 'miou'))} and "
            f"OA by {points(difference(best, first, 'oa'))} against '{first.name}'."
        ),
        does_not=(
            "What is best of several on the split that chose it flatters it. The budget is small, and neither encoders "
            "nor learning rates were varied beside the recipes."
        ),
    )


if __name__ == "__main__":
    main()

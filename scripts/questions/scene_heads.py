"""Which scene head? One network and one budget, ways to the multi-label; and what each does to the mask.

- pixels alone: no scene head, which the mask of the others is held against.
- learned: a classifier on the mean of the deepest features; its loss weighs as much as that of the pixels.
- derived: log-sum-exp over the pixel logits, nothing else; likewise.
- masked x 1: the deepest features where the mask sees the class, and how much of it there is; likewise.
- masked: the same as it is by default, with 0.3 of the scene loss.

    python scripts/questions/scene_heads.py --patches 1200 [--seeds 0,1,2]
    python scripts/questions/scene_heads.py --data STORE --bands VV,VH,B02,B03,B04,B08

Of a store that is named with --data, the answer is called ``scene_heads_<name of the store>``.
"""

from asking import answer, ask, base_store, claim, options

from seg.report.answer import points
from seg.report.outcomes import difference, differences_table, scores_table
from seg.runs.study import Variant

QUESTION = "Which scene head gives mask and multi-label together?"
HEADS = {
    "pixels alone": {"model__scene_head": "none"},
    "learned": {"model__scene_head": "learned", "loss__scene_weight": 1.0},
    "masked": {"model__scene_head": "masked"},
    "masked x 1": {"model__scene_head": "masked", "loss__scene_weight": 1.0},
    "derived": {"model__scene_head": "derived", "loss__scene_weight": 1.0},
}


def main() -> None:
    parser = options(__doc__)
    parser.set_defaults(arch="linknet", encoder="tu-mobilenetv4_conv_small", batch_size=8, epochs=20)
    parser.add_argument("--bands", default="s2", help="Bands that the network sees.")
    args = parser.parse_args()
    name = "scene_heads" if args.data is None else f"scene_heads_{args.data.name}"
    claim(args.out, name)
    store = base_store(args)
    outcomes = ask([Variant(title, {"data__bands": args.bands, **head}, store) for title, head in HEADS.items()], args)
    pixels, learned, masked, whole, derived = outcomes
    heads = [(masked, learned), (masked, derived), (whole, learned), (masked, whole)]
    alone = [(one, pixels) for one in (masked, whole, learned, derived)]
    tables = [
        scores_table("scores", QUESTION, outcomes, ["The network of pixels alone has no scene scores."]),
        differences_table("heads", "One head against another, on the same test patches", heads),
        differences_table("alone", "Heads against pixels alone, on the same test patches", alone),
    ]
    answer(
        name,
        QUESTION,
        outcomes,
        tables,
        args,
        shown=("miou", "ap_macro"),
        shows=(
            f"The masked head changes AP macro by {points(difference(masked, learned, 'ap_macro'))} against the "
            f"learned one and mIoU by {points(difference(masked, pixels, 'miou'))} against pixels alone."
        ),
        does_not=(
            "The budget is small, and the curves have not flattened; other encoders, more patches and longer training "
            "were not asked, nor the other heads with less of the scene loss."
        ),
    )


if __name__ == "__main__":
    main()

"""Do pixel labels help to name the classes of a scene? One encoder, one budget, three ways to the multi-label.

- scene labels alone: a classifier on the deepest features, trained without the pixel loss.
- both, learned head: the same classifier beside the segmentation, which shares the encoder.
- both, derived head: the multi-label is pooled from the pixel logits themselves.

    python scripts/questions/scene_labels.py [--data STORE] [--seeds 0,1,2]
"""

from asking import answer, arguments, ask, base_store

from seg.report.answer import points
from seg.report.outcomes import difference, differences_table, scores_table
from seg.runs.study import Variant

QUESTION = "What do pixel labels give to scene labels?"


def main() -> None:
    args = arguments(__doc__)
    store = base_store(args)
    shared = {"data__bands": "s2", "train__monitor": "ap_macro"}
    alone, learned, derived = ask(
        [
            Variant("scene labels alone", {**shared, "model__scene_head": "learned", "loss__pixel_weight": 0.0}, store),
            Variant("both, learned head", {**shared, "model__scene_head": "learned"}, store),
            Variant("both, derived head", {**shared, "model__scene_head": "derived"}, store),
        ],
        args,
    )
    pairs = [(learned, alone), (derived, alone), (derived, learned)]
    note = "The model of scene labels alone has a map that was never taught, so its pixel scores mean nothing."
    tables = [
        scores_table("scores", QUESTION, [alone, learned, derived], [note]),
        differences_table("differences", "Differences on the same test patches", pairs),
    ]
    gain, derived_gain = (difference(one, alone, "ap_macro") for one in (learned, derived))
    answer(
        "scene_labels",
        QUESTION,
        [alone, learned, derived],
        tables,
        args,
        shown=("ap_macro", "f1_macro"),
        shows=(
            f"Against scene labels alone, training with pixel labels changes AP macro by {points(gain)} with the "
            f"learned head and by {points(derived_gain)} with the derived head."
        ),
        does_not=(
            "The pixel and the scene labels here come from the same maps; whether pixel labels help against scene "
            "labels from elsewhere, and how it is with longer training or larger encoders, is not asked."
        ),
    )


if __name__ == "__main__":
    main()

"""What does Sentinel-1 add to Sentinel-2? Each sensor alone, both stacked, an encoder for each, and a sensor missing.

python scripts/questions/fusion.py [--data STORE] [--seeds 0,1,2]
"""

from asking import answer, arguments, ask, base_store

from seg.report.answer import points
from seg.report.outcomes import difference, differences_table, scores_table
from seg.runs.study import Variant

QUESTION = "What does the fusion of Sentinel-1 and Sentinel-2 give?"


def main() -> None:
    args = arguments(__doc__)
    store = base_store(args)
    stack = {"data__bands": "s1s2"}
    robust = {**stack, "train__modality_dropout": 0.3}
    dual = {**robust, "model__fusion": "dual"}
    s1, s2, stacked, *missing = ask(
        [
            Variant("s1", {"data__bands": "s1"}, store),
            Variant("s2", {"data__bands": "s2"}, store),
            Variant("s1s2, stacked", stack, store),
            Variant("s1s2, stacked, without s1", stack, store, drop="s1"),
            Variant("stacked, modality dropout", robust, store),
            Variant("stacked, modality dropout, without s1", robust, store, drop="s1"),
            Variant("stacked, modality dropout, without s2", robust, store, drop="s2"),
            Variant("dual, modality dropout", dual, store),
            Variant("dual, modality dropout, without s1", dual, store, drop="s1"),
            Variant("dual, modality dropout, without s2", dual, store, drop="s2"),
        ],
        args,
    )
    blind, robust_both, robust_no_s1, robust_no_s2, dual_both, dual_no_s1, dual_no_s2 = missing
    outcomes = [s1, s2, stacked, *missing]
    pairs = [
        (stacked, s2), (stacked, s1), (dual_both, robust_both), (robust_both, stacked), (blind, s2),
        (robust_no_s1, s2), (dual_no_s1, s2), (robust_no_s2, s1), (dual_no_s2, s1),
    ]  # fmt: skip
    tables = [
        scores_table("scores", QUESTION, outcomes),
        differences_table("differences", "Differences on the same test patches", pairs),
    ]
    gain, loss, mended = (
        difference(stacked, s2, "miou"),
        difference(blind, s2, "miou"),
        difference(dual_no_s1, s2, "miou"),
    )
    answer(
        "fusion",
        QUESTION,
        outcomes,
        tables,
        args,
        shown=("miou", "ap_macro"),
        shows=(
            f"Both sensors stacked differ from Sentinel-2 alone by {points(gain)} of mIoU. Without Sentinel-1 at "
            f"test time the stacked model differs from one that never saw it by {points(loss)}; with an encoder "
            f"for each sensor and modality dropout by {points(mended)}."
        ),
        does_not=(
            "All have the same number of epochs, not the same number of parameters: the dual network has two "
            "encoders. A missing sensor is zero after normalisation, not a noisy or an old image."
        ),
    )


if __name__ == "__main__":
    main()

"""What does a foundation model give over a ResNet of the same budget, frozen and trained, on few and on all labels?

Made for reBEN, a GPU and published weights:

    python scripts/questions/encoders.py --data reben.store --encoder resnet50 --weights imagenet --batch-size 64
"""

import argparse

from asking import answer, ask, base_store, claim, options

from seg.report.answer import points
from seg.report.outcomes import Outcome, difference, differences_table, scores_table
from seg.runs.folder import read_run, section
from seg.runs.study import Variant

QUESTION = "What does a foundation model give over a ResNet of the same budget?"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--weights", default="none", help="What the encoder starts from.")
    parser.add_argument("--foundation", default="fm-dofa-base", help="The foundation model.")
    parser.add_argument("--foundation-weights", default="published", help="What it starts from.")
    parser.add_argument("--shares", default="0.01,0.1,1", help="Shares of the train split.")
    parser.add_argument("--bands", default="s2", help="What the networks see.")
    args = parser.parse_args()
    name = "encoders" if args.data is None else f"encoders_{args.data.name}"
    claim(args.out, name)
    store = base_store(args)
    kinds = {
        f"{args.encoder}, trained": {"model__weights": args.weights},
        f"{args.foundation}, trained": _foundation(args, "train"),
        f"{args.foundation}, frozen": _foundation(args, "frozen"),
    }
    shares = [float(share) for share in args.shares.split(",")]
    variants = [
        Variant(f"{kind}, {100 * share:g} %", {"data__bands": args.bands, "data__fraction": share, **settings}, store)
        for share in shares
        for kind, settings in kinds.items()
    ]
    outcomes = ask(variants, args)
    triples = [outcomes[first : first + len(kinds)] for first in range(0, len(outcomes), len(kinds))]
    pairs = [(one, base) for base, *others in triples for one in others]
    tables = [
        scores_table("scores", QUESTION, outcomes),
        differences_table("differences", "Against the ResNet, on the same test patches", pairs),
    ]
    gains = [f"{one.name} {points(difference(one, base, 'miou'))}" for one, base in pairs]
    answer(
        name,
        QUESTION,
        outcomes,
        tables,
        args,
        shown=("miou", "ap_macro"),
        shows=f"mIoU against {args.encoder} on the same share: {'; '.join(gains)}. {_costs(outcomes)}",
        does_not=_does_not(args),
    )


def _foundation(args: argparse.Namespace, mode: str) -> dict[str, str]:
    return {"model__encoder": args.foundation, "model__weights": args.foundation_weights, "model__encoder_mode": mode}


def _costs(outcomes: list[Outcome]) -> str:
    """The budget: epochs are the same, time is not."""
    hours = [f"{one.name} {_hours(one):.2f}" for one in outcomes]
    return f"Hours of training on a machine that others worked on too, all seeds: {'; '.join(hours)}."


def _hours(outcome: Outcome) -> float:
    costs = [section(read_run(folder).record, "cost") for folder in outcome.runs]
    return float(sum(cost["device_seconds"] for cost in costs)) / 3600


def _does_not(args: argparse.Namespace) -> str:
    words = [
        "Networks had the same number of epochs, not the same time, and one learning rate for all; what each gives "
        "with settings of its own is not asked."
    ]
    if args.data is None:
        words.append(
            "Synthetic land is nothing that archives of real images prepare a model for, so what pretraining gives is "
            "not asked at all: this run only shows that the comparison can be made."
        )
    if args.foundation_weights == "none":
        words.append("The foundation model started from random values, and frozen it is a random projection.")
    return " ".join(words)


if __name__ == "__main__":
    main()

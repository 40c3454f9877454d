"""Whether the evidence of a seed and the record beside it tell of the same training, or of none."""

from seg.benchmark.records import Facts
from seg.config.scope import scored_on
from seg.errors import SubmissionError
from seg.metrics.evidence import Evidence, total_counts
from seg.predictions.permuted import permuted, too_good

_MANY_INVENTED = 0.25
"""Share of the pixels that is remarked: weak models have a tenth of theirs in classes that a small set lacks."""


def check_record(seed: str, fact: Facts, evidence: Evidence) -> None:
    """Refuse evidence of another training than the record beside it, as far as both tell.

    Args:
        seed: What the seed is called.
        fact: What its record says.
        evidence: Its evidence.

    Raises:
        SubmissionError: Saying in what they differ.
    """
    origin = evidence.origin
    if fact.seed is not None and str(fact.seed) != seed:
        raise SubmissionError(f"the record of seed {seed} is that of seed {fact.seed}")
    if fact.seed_trained not in (None, fact.seed):
        raise SubmissionError(f"the record of seed {seed} is that of a training with seed {fact.seed_trained}")
    if origin.on != (scored_on(origin.fingerprint, fact.trained_on) if fact.trained_on else ""):
        raise SubmissionError(
            f"the evidence of seed {seed} and its record do not agree on whether it was scored on the data that it was "
            "trained on"
        )
    if fact.weights_scored and origin.weights and fact.weights_scored != origin.weights:
        raise SubmissionError(
            f"the evidence of seed {seed} is of other weights than those that its record says were scored"
        )
    if fact.context != origin.context:
        raise SubmissionError(
            f"the evidence of seed {seed} was made with {origin.context} pixels around each patch, and its record says "
            f"{fact.context}"
        )
    if fact.patches_scored not in (None, len(evidence)):
        raise SubmissionError(f"the record of seed {seed} says that {fact.patches_scored:,} patches were scored")
    if not fact.trained:
        _check_elsewhere(seed, evidence)
    elif not origin.weights:
        raise SubmissionError(
            f"the record of seed {seed} is that of a training by seg, and its evidence names no weights; one was edited"
        )
    elif fact.synthetic is not None and origin.synthetic_model not in (None, fact.synthetic):
        raise SubmissionError(
            f"the evidence of seed {seed} and its record do not agree on whether it was trained on simulated images"
        )


def doubts(seed: str, evidence: Evidence) -> list[str]:
    """Remarks on what is not refused: invented classes, classes that have changed places, and the reference itself."""
    found = _invented(seed, evidence)
    if (shares := permuted(evidence)) is not None:
        found.append(
            f"the classes of seed {seed} seem to have changed places: {100 * shares[0]:.1f} % of its pixels would "
            f"be right instead of {100 * shares[1]:.1f} %"
        )
    return found + [f"seed {seed}: {one[0].lower()}{one[1:].removesuffix('.')}" for one in too_good(evidence)]


def _invented(seed: str, evidence: Evidence) -> list[str]:
    """A remark on many pixels of classes that the reference lacks: mIoU, which leaves these out, does not see them."""
    counts_KK = total_counts(evidence)
    absent_K = counts_KK.sum(1) == 0
    share = float(counts_KK[:, absent_K].sum() / max(int(counts_KK.sum()), 1))
    if share < _MANY_INVENTED:
        return []
    return [
        f"{100 * share:.0f} % of the pixels of seed {seed} are predicted as classes that no patch of the reference "
        "has, which mIoU does not see"
    ]


def _check_elsewhere(seed: str, evidence: Evidence) -> None:
    """Refuse what only an evaluation of a training by seg writes, where no training is on record."""
    origin = evidence.origin
    told = {
        "weights": bool(origin.weights),
        "a temperature": origin.temperature is not None,
        "thresholds": origin.thresholds is not None,
        "what its model was trained on": bool(origin.synthetic and origin.synthetic_model is not None),
    }
    for what, there in told.items():
        if there:
            raise SubmissionError(
                f"the evidence of seed {seed} tells {what}, and there is no record of a training; it was edited"
            )

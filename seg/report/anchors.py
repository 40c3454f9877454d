"""Published results on the test split of reBEN, to stand beside one's own."""

from dataclasses import astuple, dataclass

from seg.metrics.evidence import Evidence
from seg.reben.official import is_official
from seg.report.formats import Column, Table


@dataclass(frozen=True, slots=True)
class Anchor:
    """A published scene classifier; scores are fractions from 0 to 1.

    Attributes:
        card: Its model card at https://huggingface.co/BIFOLD-BigEarthNetv2-0, where the scores are from.
        ap_macro, ap_micro: Average precision.
        f1_macro, f1_micro: F1.
    """

    card: str
    ap_macro: float
    ap_micro: float
    f1_macro: float
    f1_micro: float


ANCHORS = (
    Anchor("resnet50-all-v0.2.0", 0.7033, 0.8607, 0.6442, 0.7666),
    Anchor("mobilevit_s-all-v0.1.1", 0.7033, 0.8636, 0.6375, 0.7635),
    Anchor("convnextv2_base-all-v0.1.1", 0.6920, 0.8573, 0.6269, 0.7596),
    Anchor("rdnet_base-s2-v0.2.0", 0.6887, 0.8539, 0.6231, 0.7548),
    Anchor("mixer_b16_224-s2-v0.1.1", 0.6784, 0.8441, 0.6161, 0.7442),
    Anchor("vit_base_patch8_224-all-v0.2.0", 0.6676, 0.8422, 0.6032, 0.7458),
    Anchor("resnet50-s1-v0.2.0", 0.6284, 0.8007, 0.5761, 0.7020),
)
"""Results of the model cards, by macro AP."""


def named_data(evidence: Evidence) -> str:
    """What the patches are, for the facts of a report: only all of a published split are reBEN's split."""
    origin = evidence.origin
    if origin.synthetic is None:
        return "not recorded"
    if origin.synthetic:
        return "SYNTHETIC"
    ids = evidence.patch_ids.to_pylist()
    return "reBEN" if is_official(ids, origin.split) else OWN_DATA


OWN_DATA = "own patches or an own split"
"""What is real, and no whole split as it was published."""


def on_official_test(evidence: Evidence) -> bool:
    """Whether the patches are those of reBEN's test split, so that scores stand beside published ones."""
    origin = evidence.origin
    if origin.split != "test" or origin.without or origin.simulated:
        return False
    return is_official(evidence.patch_ids.to_pylist(), "test")


def anchors_table(comparable: bool) -> Table:
    """The published results.

    Args:
        comparable: Whether the runs beside them were scored on reBEN's test split.
    """
    columns = (
        Column("card", "Model card", "text"),
        Column("ap_macro", "AP macro", "percent"),
        Column("ap_micro", "AP micro", "percent"),
        Column("f1_macro", "F1 macro", "percent"),
        Column("f1_micro", "F1 micro", "percent"),
    )
    notes = ["Published; full reBEN test set, no pixel head; uploads were picked by test AP, so they are optimistic."]
    if not comparable:
        notes.insert(0, "Not comparable: these runs are not on reBEN's test split.")
    title = "Published scene scores" if comparable else "Published scene scores (not comparable)"
    return Table("anchors", title, columns, tuple(astuple(anchor) for anchor in ANCHORS), tuple(notes))

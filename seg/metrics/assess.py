"""Everything that a report says of an evaluation, from its evidence."""

from dataclasses import dataclass

from seg.config.track import Track, silent
from seg.metrics.boundary import BoundaryScores, boundary_scores
from seg.metrics.calibration import PixelCalibration, SceneCalibration, pixel_calibration, scene_calibration
from seg.metrics.confusion import ConfusedPair, most_confused
from seg.metrics.evidence import Evidence, total_counts
from seg.metrics.hierarchy import HierarchyScores, hierarchy_scores
from seg.metrics.jackknife import Interval, intervals, jackknife
from seg.metrics.joint import JointDetails, joint_details
from seg.metrics.scores import Scores, score_evidence
from seg.metrics.slices import Slice, slice_scores
from seg.metrics.sparse import Counts


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """Scores of an evaluation, how uncertain they are, and where they come from.

    Attributes:
        scores: The scores proper.
        intervals: 95 % interval by score, see `seg.metrics.jackknife` and its `Replicates` for the names.
        tiles: Number of S2 tiles that the intervals rest on.
        counts_KK: Confusion counts, int64, true x predicted.
        confused: The most confused pairs of classes.
        hierarchy: Scores at levels 2 and 1 of the CLC nomenclature.
        boundary: Scores along class boundaries; None if the evidence has no details.
        pixel_calibration: How far confidences of pixels can be trusted; None if the evidence has no details.
        scene_calibration: The same of scene probabilities; None without a scene head.
        joint: Mask and scene head together.
        slices: Scores of parts of the split.
    """

    scores: Scores
    intervals: dict[str, Interval]
    tiles: int
    counts_KK: Counts
    confused: tuple[ConfusedPair, ...]
    hierarchy: HierarchyScores
    boundary: BoundaryScores | None
    pixel_calibration: PixelCalibration | None
    scene_calibration: SceneCalibration | None
    joint: JointDetails
    slices: tuple[Slice, ...]


def assess(evidence: Evidence, track: Track = silent) -> Assessment:
    """Everything that a report says of an evaluation.

    Args:
        evidence: What the model did on each patch.
        track: Progress of the intervals.
    """
    counts_KK = total_counts(evidence)
    replicates = jackknife(evidence, track)
    return Assessment(
        scores=score_evidence(evidence),
        intervals=intervals(replicates),
        tiles=replicates.tiles,
        counts_KK=counts_KK,
        confused=most_confused(counts_KK),
        hierarchy=hierarchy_scores(counts_KK),
        boundary=boundary_scores(evidence),
        pixel_calibration=pixel_calibration(evidence),
        scene_calibration=scene_calibration(evidence),
        joint=joint_details(evidence),
        slices=slice_scores(evidence),
    )

"""Evidence: what every score of an evaluation can be recomputed from, without a GPU, the model or the images.

`seg.metrics.evidence_file` keeps it on the disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from seg.config.scope import Scope
from seg.config.sections import ContextSplit
from seg.config.synthetic import Synthetic
from seg.errors import EvidenceError
from seg.metrics.ratio import Bools
from seg.metrics.scene import check_probabilities
from seg.metrics.sparse import Counts, PatchCounts, Rows, concatenate, sparse_counts
from seg.reben.bands import Sensor
from seg.reben.classes import NUM_CLASSES
from seg.reben.patch import Split

CELLS = NUM_CLASSES * NUM_CLASSES
"""Cells of a confusion matrix; the number of one is true class x 19 + predicted class."""
ZONES: tuple[tuple[str, float], ...] = (("0-30 m", 30.0), ("30-100 m", 100.0), ("over 100 m", float("inf")))
"""Zones by distance to the nearest class boundary, see `seg.metrics.boundary`: name, and largest distance in metres."""
BAND_PARTS = ("both", "reference", "predicted")
"""What is counted in the bands along class boundaries: key = position in this x 19 + class."""
CONFIDENCE_BINS = 15
"""Bins of equal width for the confidence of pixels, each open below and closed above."""
CONFIDENCE_UNIT = 1 / 65535
"""Confidences are added up as integers in this unit, so that sums do not depend on their order."""
RELIABILITY_PARTS = ("pixels", "right", "confidence")
"""What is counted in each bin: key = (scaled x 15 + bin) x 3 + position in this; scaled is 1 after the temperature."""
POOLINGS = ("max", "lse")
"""How pixel probabilities become a scene score without a head: their maximum, and log-sum-exp with sharpness 5."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the patches of an evaluation are.

    Attributes:
        split: The split they belong to.
        fingerprint: Fingerprint of the data they were read from.
        synthetic: True if that data is synthetic; None: earlier versions recorded only that data or model are.
        weights: Digest of the weights; empty while they are being trained.
        thresholds: Probability above which each class counts as present, fitted on validation; None: not fitted.
        temperature: What pixel logits are divided by to be calibrated, fitted on validation; None: not fitted.
        without: The sensor that the model was not shown; None: it saw all its bands.
        on: What names the data, see `seg.config.scope.scored_on`; empty: those that the model was trained on.
        synthetic_model: True if the data that the model was trained on is synthetic; None likewise.
        left_out: Patches of the split that were not predicted. An evaluation that leaves some out is partial: it says
            so wherever it is shown, and stands in no ranking.
        masks: False if no masks were predicted, so that all that follows from masks is undefined.
        ranked: False if scene labels were decided elsewhere: the probabilities are 0 or 1 and rank nothing, so average
            precision and calibration of the scenes are undefined.
        countries: The countries that the patches were restricted to, in alphabetical order; empty: they were not.
        unit: Hectares of the minimum mapping unit that the predicted maps were brought to; 0: they were not.
        context: Pixels of 10 m around each patch that the model was shown of its neighbours.
        context_split: Of which split the neighbours were: ``any``, or the ``same`` as the patch.
    """

    split: Split
    fingerprint: str
    synthetic: bool | None
    weights: str = ""
    thresholds: tuple[float, ...] | None = None
    temperature: float | None = None
    without: Sensor | None = None
    on: str = ""
    synthetic_model: bool | None = False
    left_out: int = 0
    masks: bool = True
    ranked: bool = True
    countries: tuple[str, ...] = ()
    unit: float = 0.0
    context: int = 0
    context_split: ContextSplit = "any"

    @property
    def simulated(self) -> Synthetic:
        """Which of the data and what the model learned from is synthetic."""
        return Synthetic.of(data=self.synthetic, model=self.synthetic_model)

    @property
    def scope(self) -> Scope:
        """What tells the evaluation from others of the same weights."""
        return Scope(self.split, self.without, self.on, self.countries, self.unit)

    @property
    def words(self) -> str:
        """What was evaluated, for a reader: `Scope.words`, and whether that is all of it."""
        partial = f"PARTIAL ({self.left_out:,} patches left out) " if self.left_out else ""
        whose = "any" if self.context_split == "any" else "its own"
        seen = f" with {self.context} pixels around each patch of {whose} split" if self.context else ""
        return f"{partial}{self.scope.words}{seen}"


@dataclass(frozen=True, slots=True, eq=False)
class Details:
    """What only a whole evaluation measures, and the validation within training leaves out.

    The last three need the probabilities of pixels, and are None where only masks were given.

    Attributes:
        zones: Confusion cells of the pixels in the first and second zone of `ZONES`: key = zone x 361 + cell. The
            pixels of the third zone are the rest.
        bands: Pixels along class boundaries, see `BAND_PARTS`.
        reliability: Pixels, right pixels and summed confidence by bin, before and after the temperature, see
            `RELIABILITY_PARTS`.
        losses_NSL: Sums over the labelled pixels of each patch, float64 (N, 2, 2): before and after the temperature
            (NaN without one), Brier score and negative log-likelihood.
        pooled_NPK: Scene scores pooled from the pixel probabilities, uint16 (N, 2, K), in 1/65535; see `POOLINGS`.
    """

    zones: PatchCounts
    bands: PatchCounts
    reliability: PatchCounts | None = None
    losses_NSL: npt.NDArray[np.float64] | None = None
    pooled_NPK: npt.NDArray[np.uint16] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a model did on each patch of a split. Rows are patches, each of them once.

    Attributes:
        origin: Split, data and weights.
        patch_ids: Arrow strings (N,).
        countries: Arrow dictionary of strings (N,).
        labels: True multi-labels (N, K), bool.
        probabilities: Scene probabilities (N, K), float32, 0 to 1; None if the model has no scene head.
        confusion: Labelled pixels by confusion cell, true x 19 + predicted; none at all without masks.
        details: What else was measured; None for the validation within training, and without masks.
        reference: Labelled pixels by class of the reference, where no confusion tells them; None with masks.
    """

    origin: Origin
    patch_ids: pa.StringArray
    countries: pa.DictionaryArray
    labels: Bools
    probabilities: npt.NDArray[np.float32] | None
    confusion: PatchCounts
    details: Details | None = None
    reference: PatchCounts | None = None

    def __len__(self) -> int:
        return len(self.patch_ids)

    @property
    def tiles(self) -> pa.StringArray:
        """MGRS tile of each patch, such as ``33UUP``, as Arrow strings."""
        return pc.utf8_slice_codeunits(self.patch_ids, 39, 44)


def batch_evidence(
    origin: Origin,
    patch_ids: Sequence[str],
    counts_BKK: Counts,
    labels_BK: Bools,
    probabilities_BK: npt.NDArray[np.float32] | None,
    countries: Sequence[str] | None = None,
    details: Details | None = None,
) -> Evidence:
    """Evidence of one batch; `merge_evidence` makes that of a split from those of its batches.

    Args:
        origin: Split, data and weights.
        patch_ids: Ids of the B patches.
        counts_BKK: Confusion counts of each, int64, see `confusion_counts`.
        labels_BK: True multi-labels, bool.
        probabilities_BK: Scene probabilities, float32; None if the model has no scene head.
        countries: Country of each patch; None: unknown.
        details: What else was measured of them.

    Raises:
        EvidenceError: If a probability is NaN or outside 0 to 1.
    """
    batch = len(patch_ids)
    assert counts_BKK.shape == (batch, NUM_CLASSES, NUM_CLASSES), f"{counts_BKK.shape} for {batch} patches"
    assert labels_BK.shape == (batch, NUM_CLASSES), f"{labels_BK.shape} for {batch} patches"
    assert labels_BK.dtype == np.bool_, f"labels are bool, not {labels_BK.dtype}"
    if probabilities_BK is not None:
        assert probabilities_BK.shape == labels_BK.shape, f"{probabilities_BK.shape} for {batch} patches"
        assert probabilities_BK.dtype == np.float32, f"probabilities are float32, not {probabilities_BK.dtype}"
        check_probabilities(probabilities_BK)
    named = [""] * batch if countries is None else countries
    return Evidence(
        origin=origin,
        patch_ids=pa.array(patch_ids, pa.string()),
        countries=pa.array(named, pa.string()).dictionary_encode(),
        labels=labels_BK,
        probabilities=probabilities_BK,
        confusion=sparse_counts(counts_BKK.reshape(batch, CELLS)),
        details=details,
    )


def merge_evidence(parts: Sequence[Evidence]) -> Evidence:
    """Evidence of all patches of some parts, sorted by patch id, so that it does not depend on who evaluated what.

    Args:
        parts: One or more, of the same origin, from batches or from processes.

    Raises:
        EvidenceError: If a patch occurs more than once.
    """
    assert parts, "there is nothing to merge"
    assert len({part.origin for part in parts}) == 1, "parts of different origin"
    heads = [part.probabilities for part in parts if part.probabilities is not None]
    assert len(heads) in (0, len(parts)), "either every part has scene probabilities or none has"
    details = [part.details for part in parts if part.details is not None]
    assert len(details) in (0, len(parts)), "either every part has details or none has"
    reference = [part.reference for part in parts if part.reference is not None]
    assert len(reference) in (0, len(parts)), "either every part has masks or none has"
    countries = pa.concat_arrays([part.countries.cast(pa.string()) for part in parts])
    merged = Evidence(
        origin=parts[0].origin,
        patch_ids=pa.concat_arrays([part.patch_ids for part in parts]),
        countries=countries.dictionary_encode(),
        labels=np.concatenate([part.labels for part in parts]),
        probabilities=np.concatenate(heads) if heads else None,
        confusion=concatenate([part.confusion for part in parts]),
        details=_merge_details(details) if details else None,
        reference=concatenate(reference) if reference else None,
    )
    check_unique(merged.patch_ids, "the evaluation")
    return take_patches(merged, pc.sort_indices(merged.patch_ids).to_numpy().astype(np.int64))


def _merge_details(parts: Sequence[Details]) -> Details:
    def joined(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        if values[0] is None:
            assert values == [None] * len(parts), "either every part has confidences or none has"
            return None
        return concatenate(values) if isinstance(values[0], PatchCounts) else np.concatenate(values)

    return Details(**{field.name: joined(field.name) for field in fields(Details)})


def take_patches(evidence: Evidence, rows: Rows) -> Evidence:
    """Evidence of some patches only, in the order of `rows`."""
    details = evidence.details
    if details is not None:

        def taken(values: Any) -> Any:
            return values.take(rows) if isinstance(values, PatchCounts) else values if values is None else values[rows]

        details = Details(**{field.name: taken(getattr(details, field.name)) for field in fields(Details)})
    return replace(
        evidence,
        patch_ids=evidence.patch_ids.take(pa.array(rows)),
        countries=evidence.countries.take(pa.array(rows)),
        labels=evidence.labels[rows],
        probabilities=None if evidence.probabilities is None else evidence.probabilities[rows],
        confusion=evidence.confusion.take(rows),
        details=details,
        reference=None if evidence.reference is None else evidence.reference.take(rows),
    )


def total_counts(evidence: Evidence) -> Counts:
    """Confusion counts summed over all patches: int64 (K, K), true x predicted."""
    return evidence.confusion.total().reshape(NUM_CLASSES, NUM_CLASSES)


def reference_areas(evidence: Evidence) -> Counts:
    """Labelled pixels of each patch that belong to each class: int64 (N, K)."""
    if evidence.reference is not None:
        return evidence.reference.dense()
    return evidence.confusion.by_patch(np.arange(CELLS) // NUM_CLASSES, NUM_CLASSES)


def labelled_pixels(evidence: Evidence) -> Counts:
    """Labelled pixels of each patch: int64 (N,)."""
    pixels: Counts = reference_areas(evidence).sum(axis=1)
    return pixels


def predicted_areas(evidence: Evidence) -> Counts:
    """Labelled pixels of each patch that were predicted as each class: int64 (N, K)."""
    return evidence.confusion.by_patch(np.arange(CELLS) % NUM_CLASSES, NUM_CLASSES)


def check_unique(patch_ids: pa.Array, source: str) -> None:
    """Refuse a patch that occurs twice.

    Raises:
        EvidenceError: Naming such a patch.
    """
    counts = pc.value_counts(patch_ids)
    if len(counts) != len(patch_ids):
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))[0].as_py()
        raise EvidenceError(f"{source} counts patch {twice} more than once; every patch of a split counts exactly once")

"""What predictions made elsewhere come to: the evidence of some patches, counted by the functions of ``seg eval``."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from seg.config.wording import counted
from seg.errors import EvidenceError, PredictionError
from seg.metrics.boundary import boundary_counts
from seg.metrics.evidence import CELLS, Details, Evidence, Origin, batch_evidence, merge_evidence
from seg.metrics.sparse import PatchCounts, sparse_counts
from seg.predictions.numbering import NOTHING, UNKNOWN, Numbering
from seg.predictions.pixels import PatchPixels, Source, way_to_fractions
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.reben.patch import PatchId

BATCH = 32
"""Patches that are measured together: 35 MB of probabilities."""
_SUM = 0.05
"""How far from 1 probabilities of a pixel may add up: 19 of them rounded to 1/250 do by 0.038."""
_TIED = 1e-5
"""How far below the largest probability that of the class map may be: ties are broken in many ways."""
_LEAST = 2.0**-23
"""A probability of 0 is taken for this, lest a single pixel make the likelihood infinite."""
_AHEAD = 1e-6
"""By what the logit of the class that the map shows is put ahead of equal ones."""
_NAMED = 3

ClassMap = npt.NDArray[np.uint8]
Shares = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of the patches of a piece.

    Attributes:
        patch_ids, countries: Of each.
        labels_NK: Multi-labels, bool.
        reference: Gives the reference map of a patch: 0 to 18, 255 where unlabelled.
    """

    patch_ids: Sequence[str]
    countries: Sequence[str]
    labels_NK: npt.NDArray[np.bool_]
    reference: Callable[[str], ClassMap]


class Refusals:
    """Patches that cannot be scored, by what is wrong with them."""

    def __init__(self) -> None:
        self._patches: dict[str, list[str]] = defaultdict(list)

    def note(self, patch_id: str, error: PredictionError) -> None:
        """Keep one."""
        self._patches[str(error)].append(patch_id)

    def check(self, what: str, looked_at: int) -> None:
        """Refuse all of it if there is any.

        Raises:
            EvidenceError: With what is wrong most often, how often, and with which patches.
        """
        if not self._patches:
            return
        reason, patches = max(self._patches.items(), key=lambda item: (len(item[1]), item[0]))
        others = sum(map(len, self._patches.values())) - len(patches)
        named = ", ".join(patches[:_NAMED]) + (", ..." if len(patches) > _NAMED else "")
        more = f" ({counted(others, 'more patch has', 'more patches have')} other faults)" if others else ""
        raise EvidenceError(
            f"{what}: of {counted(looked_at, 'patch', 'patches')} looked at so far, {len(patches):,} cannot be "
            f"scored ({named}){more}: it {reason}"
        )


def measure_pixels(
    source: Source, numbering: Numbering, names: Sequence[str], truth: Truth, origin: Origin, what: str = ""
) -> tuple[Evidence, dict[str, str]]:
    """Evidence of the pixels of some patches, and a digest of what was predicted of each, whatever its format.

    Args:
        source: What was predicted.
        numbering: What the numbers mean.
        names: What the source calls the patches.
        truth: What is known of them.
        origin: What is evaluated.
        what: What a refusal names; empty: the kind of the source.

    Raises:
        EvidenceError: If patches cannot be scored.
    """
    refusals, parts, digests = Refusals(), [], {}
    with source.opened() as read:
        for begin in range(0, len(names), BATCH):
            part = slice(begin, begin + BATCH)
            kept, maps, shares, targets = [], [], [], []
            for row, (name, patch_id) in enumerate(zip(names[part], truth.patch_ids[part], strict=True), begin):
                target_HW = truth.reference(patch_id)
                try:
                    predicted_HW, shares_KHW = decided(read(name, PatchId.parse(patch_id)), target_HW, numbering)
                except PredictionError as error:
                    refusals.note(patch_id, error)
                    continue
                digest = xxhash.xxh3_128(predicted_HW.tobytes())
                digest.update(b"" if shares_KHW is None else shares_KHW.tobytes())
                digests[patch_id] = digest.hexdigest()
                kept.append(row)
                targets.append(target_HW)
                maps.append(predicted_HW)
                shares.append(shares_KHW)
            if kept:
                given = None if shares[0] is None else np.stack([one for one in shares if one is not None])
                parts.append(_batch(kept, np.stack(targets), np.stack(maps), given, truth, origin))
    refusals.check(what or source.what, len(names))
    return merge_evidence(parts), digests


def measure_reference(truth: Truth, origin: Origin) -> Evidence:
    """Evidence of patches of which no masks were predicted: what the reference maps hold."""
    number = len(truth.patch_ids)
    areas_NK = np.zeros((number, NUM_CLASSES), np.int64)
    for row, patch_id in enumerate(truth.patch_ids):
        areas_NK[row] = np.bincount(truth.reference(patch_id).ravel(), minlength=IGNORE_INDEX + 1)[:NUM_CLASSES]
    return Evidence(
        origin=origin,
        patch_ids=pa.array(truth.patch_ids, pa.string()),
        countries=pa.array(truth.countries, pa.string()).dictionary_encode(),
        labels=truth.labels_NK,
        probabilities=None,
        confusion=PatchCounts(CELLS, np.zeros(number + 1, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint32)),
        reference=sparse_counts(areas_NK),
    )


def decided(pixels: PatchPixels, target_HW: ClassMap, numbering: Numbering) -> tuple[ClassMap, Shares | None]:
    """The predicted classes of a patch, and the probabilities in the order of the nomenclature, if there are any.

    Where the reference is unlabelled, nothing is asked of a prediction: what is no class there becomes the first one,
    which no count sees.

    Raises:
        PredictionError: If a number means nothing, a labelled pixel has no class, or class map and probabilities
            contradict each other.
    """
    labelled_HW = target_HW != IGNORE_INDEX
    shares_KHW = None if pixels.shares_KHW is None else _ordered(pixels.shares_KHW, labelled_HW, numbering)
    if pixels.values_HW is None:
        assert shares_KHW is not None, "a patch has a class map or probabilities"
        return shares_KHW.argmax(0).astype(np.uint8), shares_KHW
    classes_HW = numbering.indices(pixels.values_HW)
    if (unknown := classes_HW == UNKNOWN).any():
        value = int(pixels.values_HW[unknown].max())
        told = f"{value} or beyond" if value == 2**31 - 1 else str(value)
        from_one = value == NUM_CLASSES and numbering.bands is not None
        raise PredictionError(
            f"holds the number {told}, which means nothing in '{numbering.name}' ({numbering.words}); "
            + "subtract 1 if they begin at 1, or " * from_one
            + "choose --classes anew"
        )
    given_HW = classes_HW != IGNORE_INDEX
    missing = pixels.values_HW[labelled_HW & ~given_HW]
    _require_classes(given_HW, labelled_HW, f" ({missing[0]})" if missing.size and missing[0] != NOTHING else "")
    classes_HW[classes_HW == IGNORE_INDEX] = 0
    if shares_KHW is not None:
        of_map_HW = np.take_along_axis(shares_KHW, classes_HW[None].astype(np.intp), 0)[0]
        other = labelled_HW & (of_map_HW < shares_KHW.max(0) - _TIED)
        if other.any():
            raise PredictionError(
                "has a class map that is not of the most probable classes; give one of the two alone, or both of one "
                "model"
            )
    return classes_HW, shares_KHW


def _ordered(shares_KHW: Shares, labelled_HW: npt.NDArray[np.bool_], numbering: Numbering) -> Shares:
    assert numbering.bands is not None, "was asked for when the predictions were opened"
    shares_KHW = shares_KHW[np.argsort(numbering.bands)]
    sums_HW = shares_KHW.sum(0)
    _require_classes(sums_HW > 0, labelled_HW)
    if (labelled_HW & (np.abs(sums_HW - 1) > _SUM)).any():
        raise PredictionError(f"holds probabilities that do not add up to 1; {way_to_fractions(shares_KHW)}")
    return shares_KHW


def _require_classes(given_HW: npt.NDArray[np.bool_], labelled_HW: npt.NDArray[np.bool_], told: str = "") -> None:
    if (labelled_HW & ~given_HW).any():
        raise PredictionError(
            f"has no class{told} at pixels that are labelled, and none is passed over; predict all pixels"
        )


def _batch(
    rows: list[int], target_BHW: ClassMap, predicted_BHW: ClassMap, shares: Shares | None, truth: Truth, origin: Origin
) -> Evidence:
    import torch

    from seg.metrics.pixel import confusion_counts

    counts = confusion_counts(torch.from_numpy(target_BHW), torch.from_numpy(predicted_BHW)).numpy()
    zones, bands = boundary_counts(target_BHW, predicted_BHW)
    details = Details(sparse_counts(zones), sparse_counts(bands))
    if shares is not None:
        details = _with_confidences(details, target_BHW, predicted_BHW, shares)
    return batch_evidence(
        origin,
        [truth.patch_ids[row] for row in rows],
        counts,
        truth.labels_NK[rows],
        None,
        [truth.countries[row] for row in rows],
        details,
    )


def _with_confidences(details: Details, target_BHW: ClassMap, predicted_BHW: ClassMap, shares_BKHW: Shares) -> Details:
    import torch

    from seg.metrics.calibration import confidence_counts, pooled_scores

    logits = torch.from_numpy(np.maximum(shares_BKHW, _LEAST)).log_()
    # Of equal probabilities, the class that the map shows is the one that is right or wrong.
    chosen = torch.from_numpy(predicted_BHW.astype(np.int64))[:, None]
    given = torch.from_numpy(shares_BKHW)
    tied = (given.gather(1, chosen) >= given.amax(1, keepdim=True) - _TIED) & (logits.argmax(1, keepdim=True) != chosen)
    top = logits.amax(1, keepdim=True) + _AHEAD
    logits.scatter_(1, chosen, torch.where(tied, top, logits.gather(1, chosen)))
    reliability, losses = confidence_counts(logits, torch.from_numpy(target_BHW), None)
    counts = sparse_counts(reliability.numpy())
    return replace(details, reliability=counts, losses_NSL=losses.numpy(), pooled_NPK=pooled_scores(logits))

"""The scores of the benchmark for other people's loops: a collection of torchmetrics.

Nothing is shared with `seg.metrics.scores` but the definitions: pixels and labels are counted by torchmetrics, and
every formula is written another way, in torch, so that `seg.metrics.second_opinion` is one.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.classification import multiclass_confusion_matrix, multilabel_stat_scores

from seg.errors import EvidenceError
from seg.metrics.evidence import CELLS
from seg.metrics.scene import DEFAULT_THRESHOLD
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES

K = NUM_CLASSES
PIXEL_SCORES = ("miou", "mf1", "macc", "oa", "fwiou")
SCENE_SCORES = ("ap_macro", "ap_micro", "f1_macro", "f1_micro", "f1_samples")
_NOBODY = 0
"""In the place of the number of a patch that nobody has named."""


def metric_collection(prefix: str | None = None, **options: Any) -> MetricCollection:
    """The scores of the benchmark as a ``torchmetrics.MetricCollection``, equal to those of `seg eval`.

    ``miou``, ``mf1``, ``macc``, ``oa``, ``fwiou`` of the masks; ``ap_macro``, ``ap_micro`` and, at a threshold of 0.5,
    ``f1_macro``, ``f1_micro`` and ``f1_samples`` of the scene. A score is float64, NaN where it is undefined; a class
    that the reference lacks is left out of the means. Feed it with keywords, see `BenchmarkScore.update`. All ten hold
    their counts in common, in one compute group, and are synchronised across processes by torchmetrics.

    Args:
        prefix: Goes before the names, such as ``val_``.
        options: Of every ``torchmetrics.Metric``, such as ``dist_sync_on_step``.
    """
    names = [*PIXEL_SCORES, *SCENE_SCORES]
    metrics: dict[str, Metric | MetricCollection] = {name: BenchmarkScore(name, **options) for name in names}
    return MetricCollection(metrics, prefix=prefix, compute_groups=[names])


class BenchmarkScore(Metric):
    """One score of `metric_collection`.

    Confusion counts are int64 and summed over patches and processes. Average precision needs the scene probabilities of
    all patches: 95 bytes of each. Where patches are named, what was counted of each of them is kept besides, some 200
    bytes, so that one that comes again, in this process or another, counts once: the first time, in the order of the
    processes. Patches without a name count as often as they come, also where a ``DistributedSampler`` repeats some.
    """

    counts: Tensor
    full_state_update = False
    is_differentiable = False
    higher_is_better = True

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(**options)
        self.name = name
        self.add_state("counts", torch.zeros(K, K, dtype=torch.int64), dist_reduce_fx="sum")
        for state in _EMPTY:
            self.add_state(state, [], dist_reduce_fx="cat")
        self._fill()

    def reset(self) -> None:
        """Forget everything."""
        # Lists that the scores of a group share would be emptied for all of them, while one computes that of a batch.
        for state in _EMPTY:
            setattr(self, state, [])
        super().reset()
        self._fill()

    def _fill(self) -> None:
        # A process that has seen nothing exchanges tensors of the same type as the others.
        for state, empty in _EMPTY.items():
            getattr(self, state).append(empty.to(self.device))

    def update(
        self,
        pixels: Tensor | None = None,
        mask: Tensor | None = None,
        probabilities: Tensor | None = None,
        label: Tensor | None = None,
        patch_id: Sequence[str] | None = None,
        counts: Tensor | None = None,
    ) -> None:
        """Count a batch of B patches; of masks and scene, what is not given is undefined.

        Args:
            pixels: Pixel logits (B, K, H, W), or predicted classes (B, H, W) of any integer dtype.
            mask: Reference classes, 0 to 18, 255 where unlabelled: (B, H, W).
            probabilities: Scene probabilities (B, K), 0 to 1: a sigmoid of the scene logits.
            label: True multi-labels (B, K), bool or 0 and 1.
            patch_id: Names of the patches: each counts once, however often it comes. Name all of them or none.
            counts: Confusion counts (B, K, K), int64, true x predicted, in the place of `pixels` and `mask`.

        Raises:
            EvidenceError: If something does not fit, or a value is out of its range.
        """
        counts_BKK = _counted(pixels, mask, counts)
        scene = None if probabilities is None and label is None else _scene(probabilities, label)
        sizes = {len(part) for part in (counts_BKK, scene and scene[0], patch_id) if part is not None}
        if len(sizes) != 1:
            raise EvidenceError("masks, scene probabilities, labels and patch ids are of one number of patches")
        (batch,) = sizes
        if patch_id is not None and (isinstance(patch_id, str) or not all(isinstance(one, str) for one in patch_id)):
            raise EvidenceError("patch ids are a list of texts, one of each patch")
        if patch_id is None:
            numbers_B = torch.full((batch,), _NOBODY, dtype=torch.int64)
            if counts_BKK is not None:
                self.counts += counts_BKK.sum(dim=0).to(self.device)
        else:
            numbers_B = torch.tensor([_number(name) for name in patch_id], dtype=torch.int64)
            flat_BC = torch.zeros(batch, CELLS, dtype=torch.int64) if counts_BKK is None else counts_BKK.flatten(1)
            patch_E, cell_E = flat_BC.nonzero(as_tuple=True)
            self._keep(entries=torch.stack([cell_E, flat_BC[patch_E, cell_E]], dim=1))
            self._keep(lengths=flat_BC.count_nonzero(dim=1), named=numbers_B)
        if scene is not None:
            self._keep(probabilities=scene[0], labels=scene[1], numbers=numbers_B)

    def compute(self) -> Tensor:
        """The score, float64 (float32 where the device has no such), NaN where it is undefined."""
        if self.name in PIXEL_SCORES:
            value = _PIXEL[self.name](self._all_counts().cpu().double())
        else:
            numbers, probabilities, labels = (self._joined(name) for name in ("numbers", "probabilities", "labels"))
            first = _first_of_each(numbers)
            value = _SCENE[self.name](probabilities[first].cpu().double(), labels[first].cpu())
        return value.to(self.device, torch.float32 if self.device.type == "mps" else torch.float64)

    def _keep(self, **tensors: Tensor) -> None:
        for state, tensor in tensors.items():
            getattr(self, state).append(tensor.detach().to(self.device))

    def _joined(self, state: str) -> Tensor:
        """One tensor, whether it comes from this process or from all."""
        held = getattr(self, state)
        return held if isinstance(held, Tensor) else torch.cat(list(held))

    def _all_counts(self) -> Tensor:
        """Counts of all patches, those with a name once: int64 (K, K)."""
        lengths_N, entries_E2 = self._joined("lengths"), self._joined("entries")
        kept_E = _first_of_each(self._joined("named")).repeat_interleave(lengths_N)
        named = torch.zeros(CELLS, dtype=torch.int64, device=entries_E2.device)
        named.index_add_(0, entries_E2[kept_E, 0], entries_E2[kept_E, 1])
        return self.counts + named.view(K, K)


_EMPTY = {
    "named": torch.zeros(0, dtype=torch.int64),
    "lengths": torch.zeros(0, dtype=torch.int64),
    "entries": torch.zeros(0, 2, dtype=torch.int64),
    "numbers": torch.zeros(0, dtype=torch.int64),
    "probabilities": torch.zeros(0, K),
    "labels": torch.zeros(0, K, dtype=torch.bool),
}
"""States that grow with the patches. Of those with a name: their numbers, how many cells of their confusion counts are
not 0, and these, (E, 2): cell and count. Of all with a scene: their numbers, probabilities and labels."""


# --- counting ---------------------------------------------------------------------------------------------------------


def _counted(pixels: Tensor | None, mask: Tensor | None, counts: Tensor | None) -> Tensor | None:
    """Confusion counts of each patch, int64 (B, K, K)."""
    if counts is not None:
        if pixels is not None or mask is not None:
            raise EvidenceError("confusion counts stand in the place of pixels and mask; give one or the other")
        if counts.shape[1:] != (K, K) or counts.dtype != torch.int64:
            raise EvidenceError(f"confusion counts are int64 (patches, {K}, {K}), not {_described(counts)}")
        if (counts < 0).any():
            raise EvidenceError("confusion counts are numbers of pixels, and some are below 0")
        return counts.detach()
    if pixels is None and mask is None:
        return None
    if pixels is None or mask is None:
        raise EvidenceError("predicted pixels are counted against a mask; give both or neither")
    predicted = _decided(pixels)
    if predicted.shape != mask.shape or mask.ndim != 3 or not (_holds_classes(predicted) and _holds_classes(mask)):
        raise EvidenceError(
            f"pixels are logits (patches, {K}, H, W) or integer classes (patches, H, W), and masks are integer classes "
            f"(patches, H, W), not {_described(pixels)} and {_described(mask)}"
        )
    predicted, mask = predicted.long(), mask.long()
    # Nothing is asked of a prediction where the reference is unlabelled.
    predicted = predicted.masked_fill(mask == IGNORE_INDEX, 0)
    outside = (predicted < 0) | (predicted >= K) | (((mask < 0) | (mask >= K)) & (mask != IGNORE_INDEX))
    if outside.any():
        raise EvidenceError(
            f"{int(outside.sum())} pixels hold no class index: targets are 0 to {K - 1}, or {IGNORE_INDEX} where "
            f"unlabelled, and predictions 0 to {K - 1}"
        )
    each = [
        multiclass_confusion_matrix(*pair, num_classes=K, ignore_index=IGNORE_INDEX, validate_args=False)
        for pair in zip(predicted, mask, strict=True)
    ]
    return torch.stack(each).long() if each else torch.zeros(0, K, K, dtype=torch.int64, device=mask.device)


def _decided(pixels: Tensor) -> Tensor:
    """Classes of pixel logits; anything else as it is."""
    if not (pixels.is_floating_point() and pixels.ndim == 4 and pixels.shape[1] == K):
        return pixels
    if pixels.isnan().any():
        raise EvidenceError("pixel logits hold NaN, so the training has diverged; train again at a lower rate")
    return pixels.detach().argmax(dim=1)


def _holds_classes(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _scene(probabilities: Tensor | None, label: Tensor | None) -> tuple[Tensor, Tensor]:
    """Probabilities, float32, and labels, bool, both (B, K)."""
    if probabilities is None or label is None:
        raise EvidenceError("scene probabilities are scored against labels; give both or neither")
    if probabilities.shape != label.shape or probabilities.shape[1:] != (K,):
        described = f"{_described(probabilities)} and {_described(label)}"
        raise EvidenceError(f"scene probabilities and labels are (patches, {K}), not {described}")
    known = label.bool()
    if (known != label).any():
        raise EvidenceError("labels are 0 or 1")
    # As evidence keeps them; whatever is no number lies outside too.
    kept = probabilities.detach().float()
    if not ((kept >= 0) & (kept <= 1)).all():
        raise EvidenceError("scene probabilities lie between 0 and 1; pass logits through a sigmoid first")
    return kept, known


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _number(name: str) -> int:
    """A number of 64 bits for the name of a patch, never that of nobody."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True) or 1


def _first_of_each(numbers_N: Tensor) -> Tensor:
    """Which patches come for the first time or have no name: bool (N,)."""
    order = numbers_N.argsort(stable=True)
    ranked = numbers_N[order]
    first = torch.ones_like(ranked, dtype=torch.bool)
    first[1:] = (ranked[1:] != ranked[:-1]) | (ranked[1:] == _NOBODY)
    return torch.empty_like(first).scatter_(0, order, first)


# --- formulas, written otherwise than in `seg.metrics.pixel` and `seg.metrics.scene` ----------------------------------


def _jaccard(counts_KK: Tensor) -> Tensor:
    """1 - errors / union of the classes in the reference."""
    errors_K = counts_KK.sum(0) + counts_KK.sum(1) - 2 * counts_KK.diagonal()
    present = counts_KK.sum(1) > 0
    return (1 - errors_K / (errors_K + counts_KK.diagonal()))[present]


def _accuracy(counts_KK: Tensor) -> Tensor:
    return (counts_KK.diagonal() / counts_KK.sum(1))[counts_KK.sum(1) > 0]


def _share(counts_KK: Tensor) -> Tensor:
    return (counts_KK.sum(1) / counts_KK.sum())[counts_KK.sum(1) > 0]


def _mean(values_K: Tensor) -> Tensor:
    return values_K.mean() if len(values_K) else torch.tensor(torch.nan, dtype=torch.float64)


def _total(shares_K: Tensor, values_K: Tensor) -> Tensor:
    return shares_K @ values_K if len(values_K) else _mean(values_K)


_PIXEL: dict[str, Callable[[Tensor], Tensor]] = {
    "miou": lambda counts: _mean(_jaccard(counts)),
    # The Dice coefficient of a class follows from its IoU.
    "mf1": lambda counts: _mean(2 * _jaccard(counts) / (1 + _jaccard(counts))),
    "macc": lambda counts: _mean(_accuracy(counts)),
    "oa": lambda counts: _total(_share(counts), _accuracy(counts)),
    "fwiou": lambda counts: _total(_share(counts), _jaccard(counts)),
}


def _average_precision(scores_N: Tensor, positive_N: Tensor) -> Tensor:
    """The mean over the positives of the precision among all that score as high or higher; NaN without a positive."""
    highest = scores_N[positive_N].sort().values
    everyone = scores_N.sort().values
    positives = len(highest) - torch.searchsorted(highest, highest)
    return _mean(positives.double() / (len(everyone) - torch.searchsorted(everyone, highest)).double())


def _average_precisions(probabilities_NK: Tensor, labels_NK: Tensor) -> Tensor:
    found_K = torch.stack([_average_precision(*pair) for pair in zip(probabilities_NK.T, labels_NK.T, strict=True)])
    return _mean(found_K[~found_K.isnan()])


def _stat_scores(probabilities_NK: Tensor, labels_NK: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Hits and half the errors, summed over patches (axis 0) or over the classes of a patch (axis 1)."""
    decided_NK = (probabilities_NK > DEFAULT_THRESHOLD).long()
    pair = (decided_NK, labels_NK.long()) if axis == 0 else (decided_NK.T, labels_NK.long().T)
    stats = multilabel_stat_scores(*pair, num_labels=pair[0].shape[1], average="none", validate_args=False)
    hits, wrong, _, missed, _ = stats.reshape(-1, 5).double().T
    return hits, (wrong + missed) / 2


def _f1_macro(probabilities_NK: Tensor, labels_NK: Tensor) -> Tensor:
    if not labels_NK.any():
        return _mean(labels_NK.new_zeros(0))
    hits_K, errors_K = _stat_scores(probabilities_NK, labels_NK, 0)
    present = labels_NK.any(dim=0)
    return _mean((hits_K / (hits_K + errors_K))[present])


def _f1_micro(probabilities_NK: Tensor, labels_NK: Tensor) -> Tensor:
    if not labels_NK.any():
        return _mean(labels_NK.new_zeros(0))
    hits_K, errors_K = _stat_scores(probabilities_NK, labels_NK, 0)
    return hits_K.sum() / (hits_K.sum() + errors_K.sum())


def _f1_samples(probabilities_NK: Tensor, labels_NK: Tensor) -> Tensor:
    if not len(labels_NK):
        return _mean(labels_NK.new_zeros(0))
    hits_N, errors_N = _stat_scores(probabilities_NK, labels_NK, 1)
    return torch.where(hits_N + errors_N > 0, hits_N / (hits_N + errors_N), 1.0).mean()


_SCENE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ap_macro": _average_precisions,
    "ap_micro": lambda probabilities, labels: _average_precision(probabilities.flatten(), labels.flatten()),
    "f1_macro": _f1_macro,
    "f1_micro": _f1_micro,
    "f1_samples": _f1_samples,
}

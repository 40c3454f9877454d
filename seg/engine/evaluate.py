"""The evaluation loop: a network over a data set, as evidence from which every score is computed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from seg.config.track import Track, silent
from seg.data.dataset import Batch, PatchDataset
from seg.data.loader import make_loader
from seg.data.order import BatchOrder
from seg.engine.device import Compute
from seg.metrics.boundary import boundary_counts
from seg.metrics.calibration import confidence_counts, pooled_scores
from seg.metrics.evidence import Details, Evidence, Origin, batch_evidence, merge_evidence
from seg.metrics.pixel import confusion_counts
from seg.metrics.sparse import sparse_counts
from seg.metrics.temperature import LogitSample


@dataclass(frozen=True)
class Prediction:
    """What a network says of a batch.

    Attributes:
        batch: The batch, on the device.
        pixel_logits_BKHW: float32.
        scene_probabilities_BK: float32, 0 to 1; None without a scene head.
    """

    batch: Batch
    pixel_logits_BKHW: Tensor
    scene_probabilities_BK: Tensor | None


@dataclass(frozen=True)
class Pass:
    """How a network goes over a data set.

    Attributes:
        compute: Device and formats.
        batch_size: Patches at a time; without influence on the result beyond rounding.
        workers: Loader processes.
        track: Progress over batches.
    """

    compute: Compute
    batch_size: int
    workers: int = 0
    track: Track = silent


def predict(model: nn.Module, dataset: PatchDataset, how: Pass) -> Iterator[Prediction]:
    """Run a network over a data set in the order of its samples, each exactly once.

    Args:
        model: Gives `(pixel_logits, scene_logits)`; set to evaluation mode here and back afterwards.
        dataset: What is predicted.
        how: Device, batch size and loader processes.
    """
    compute = how.compute
    order = BatchOrder(len(dataset), how.batch_size)
    loader = make_loader(dataset, order, how.workers, pin_memory=compute.device.type == "cuda")
    training = model.training
    model.eval()
    try:
        for loaded in how.track(loader, "patches predicted", len(order)):
            batch = loaded.to(compute.device)
            images = batch.images_BCHW.to(memory_format=compute.memory_format)
            with torch.inference_mode(), compute.autocast():
                pixel_logits, scene_logits = model(images)
                probabilities = None if scene_logits is None else scene_logits.float().sigmoid()
            yield Prediction(batch, pixel_logits.float(), probabilities)
    finally:
        model.train(training)


def evaluate(
    model: nn.Module,
    dataset: PatchDataset,
    origin: Origin,
    how: Pass,
    *,
    detailed: bool = False,
    sample: LogitSample | None = None,
) -> Evidence:
    """Evidence of a network on a data set.

    Args:
        model, dataset, how: See `predict`.
        origin: What the patches are; its temperature is the one that calibrated confidences are measured with.
        detailed: Also measure the `Details`, which takes about 1 ms per patch.
        sample: Is given the logits, to fit a temperature.
    """
    parts, done = [], 0
    for prediction in predict(model, dataset, how):
        batch = prediction.batch
        predicted_BHW = prediction.pixel_logits_BKHW.max(1).indices
        counts = confusion_counts(batch.masks_BHW, predicted_BHW)
        probabilities = prediction.scene_probabilities_BK
        rows = batch.rows_B.cpu().numpy()
        if sample is not None:
            sample.add(prediction.pixel_logits_BKHW, batch.masks_BHW, np.arange(done, done + len(rows)))
        done += len(rows)
        parts.append(
            batch_evidence(
                origin,
                dataset.patch_ids(rows),
                counts.cpu().numpy(),
                batch.labels_BK.cpu().numpy().astype(np.bool_),
                None if probabilities is None else probabilities.cpu().numpy(),
                dataset.countries(rows),
                _details(prediction, predicted_BHW, origin.temperature) if detailed else None,
            )
        )
    return merge_evidence(parts)


def _details(prediction: Prediction, predicted_BHW: Tensor, temperature: float | None) -> Details:
    logits_BKHW, target_BHW = prediction.pixel_logits_BKHW, prediction.batch.masks_BHW
    zones, bands = boundary_counts(target_BHW.cpu().numpy(), predicted_BHW.byte().cpu().numpy())
    reliability, losses = confidence_counts(logits_BKHW, target_BHW, temperature)
    return Details(
        zones=sparse_counts(zones),
        bands=sparse_counts(bands),
        reliability=sparse_counts(reliability.cpu().numpy()),
        losses_NSL=losses.cpu().numpy(),
        pooled_NPK=pooled_scores(logits_BKHW),
    )

"""The evaluation loop: a network over a data set, as evidence from which every score is computed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seg.config.track import Track, silent
from seg.data.dataset import Batch, PatchDataset
from seg.data.feed import on_device
from seg.data.loader import make_loader
from seg.data.on_device import preparation
from seg.data.order import BatchOrder
from seg.engine.device import Compute, named_when_full
from seg.engine.distributed import ALONE, Ranks
from seg.generalise.surprisal import surprisals
from seg.generalise.units import generalised, unit_pixels
from seg.metrics.boundary import PIXEL_METRES, boundary_counts
from seg.metrics.calibration import confidence_counts, pooled_scores
from seg.metrics.evidence import Details, Evidence, Origin, batch_evidence, merge_evidence
from seg.metrics.evidence_file import pack_evidence, unpack_evidence
from seg.metrics.pixel import confusion_counts
from seg.metrics.sparse import Counts, sparse_counts
from seg.metrics.temperature import LogitSample
from seg.reben.classes import NUM_CLASSES

_LESS = "lower --batch-size or --set eval.batch_size (train.batch_size while training)"


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

    def classes(self, unit: float = 0.0, temperature: float | None = None) -> Tensor:
        """The predicted maps, int64 (B, H, W).

        Args:
            unit: Hectares of the minimum mapping unit that the map of each patch is brought to by itself; 0: none.
                Objects at the edge of a patch stay: it cuts them, and how large they are is not known.
            temperature: What the logits are divided by to be calibrated; None: nothing.
        """
        classes_BHW = self.pixel_logits_BKHW.max(1).indices
        if not unit:
            return classes_BHW
        costs_BKHW = self.surprisals(temperature).cpu().numpy()
        maps_BHW = classes_BHW.byte().cpu().numpy()
        pixels = unit_pixels(unit, PIXEL_METRES)
        maps = [generalised(*pair, pixels, cut=True) for pair in zip(maps_BHW, costs_BKHW, strict=True)]
        return torch.from_numpy(np.stack(maps)).to(classes_BHW)

    def surprisals(self, temperature: float | None = None) -> Tensor:
        """How little each class is expected, uint8 (B, K, H, W), see `seg.generalise.surprisal`; argument as above."""
        return surprisals((self.pixel_logits_BKHW / (temperature or 1)).log_softmax(1))


@dataclass(frozen=True)
class Pass:
    """How a network goes over a data set.

    Attributes:
        compute: Device and formats.
        batch_size: Patches at a time; without influence on the result beyond rounding.
        workers: Loader processes.
        track: Progress over batches.
        ranks: The processes that share the work; each predicts whole batches of its own.
    """

    compute: Compute
    batch_size: int
    workers: int = 0
    track: Track = silent
    ranks: Ranks = ALONE

    def order(self, patches: int) -> BatchOrder:
        """The batches of this process. They are small enough that no process is without one."""
        batch_size = min(self.batch_size, max(1, patches // self.ranks.count))
        return BatchOrder(patches, batch_size, rank=self.ranks.rank, ranks=self.ranks.count)


def predict(model: nn.Module, dataset: PatchDataset, how: Pass) -> Iterator[Prediction]:
    """Run a network over a data set in the order of its samples, each exactly once over all processes.

    Args:
        model: Gives `(pixel_logits, scene_logits)`; set to evaluation mode here and back afterwards. Of several
            processes, each has to have the same one.
        dataset: What is predicted.
        how: Device, batch size, loader processes and the processes that share the work.

    Raises:
        OutOfMemoryError: Naming the setting to lower.
    """
    compute = how.compute
    order = how.order(len(dataset))
    loader = make_loader(dataset, order, how.workers, pin_memory=compute.device.type == "cuda")
    training = model.training
    model.eval()
    try:
        batches = on_device(loader, compute.device, preparation(dataset, compute.device))
        for batch in how.track(batches, "patches predicted", len(order)):
            images = batch.images_BCHW.to(memory_format=compute.memory_format)
            with named_when_full(_LESS), torch.inference_mode(), compute.autocast():
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
    """Evidence of a network on a data set. Every process has that of the whole data set in the end.

    Args:
        model, dataset, how: See `predict`.
        origin: What the patches are; its temperature is the one that calibrated confidences are measured with.
        detailed: Also measure the `Details`, which takes about 1 ms per patch.
        sample: Is given the logits of this process, to fit a temperature.
    """
    parts, batch_size = [], how.order(len(dataset)).batch_size
    for number, prediction in enumerate(predict(model, dataset, how)):
        batch = prediction.batch
        predicted_BHW = prediction.classes(origin.unit, origin.temperature)
        counts = confusion_counts(batch.masks_BHW, predicted_BHW)
        probabilities = prediction.scene_probabilities_BK
        rows = batch.rows_B.cpu().numpy()
        if sample is not None:
            begin = (number * how.ranks.count + how.ranks.rank) * batch_size
            sample.add(prediction.pixel_logits_BKHW, batch.masks_BHW, np.arange(begin, begin + len(rows)))
        parts.append(
            batch_evidence(
                origin,
                dataset.patch_ids(rows),
                counts.cpu().numpy(),
                batch.labels_BK.cpu().numpy().astype(np.bool_),
                None if probabilities is None else probabilities.cpu().numpy(),
                dataset.countries(rows),
                _details(prediction, predicted_BHW, origin) if detailed else None,
            )
        )
    own = merge_evidence(parts)
    if how.ranks.count == 1:
        return own
    return merge_evidence([unpack_evidence(part) for part in how.ranks.gather(pack_evidence(own))])


def sampled_pixels(sample: LogitSample, ranks: Ranks) -> tuple[npt.NDArray[np.float32], Counts]:
    """The sampled pixels of all processes, on each of them: logits, float32 (N, K), and classes, int64 (N,)."""
    logits_NK, target_N = sample.pixels()
    logits = [np.frombuffer(part, np.float32) for part in ranks.gather(logits_NK.tobytes())]
    targets = [np.frombuffer(part, np.int64) for part in ranks.gather(target_N.tobytes())]
    return np.concatenate(logits).reshape(-1, NUM_CLASSES), np.concatenate(targets)


def _details(prediction: Prediction, predicted_BHW: Tensor, origin: Origin) -> Details:
    logits_BKHW, target_BHW = prediction.pixel_logits_BKHW, prediction.batch.masks_BHW
    zones, bands = boundary_counts(target_BHW.cpu().numpy(), predicted_BHW.byte().cpu().numpy())
    details = Details(zones=sparse_counts(zones), bands=sparse_counts(bands))
    if origin.unit:
        # Confidences are those of pixels by themselves, of which a generalised map is no longer made.
        return details
    reliability, losses = confidence_counts(logits_BKHW, target_BHW, origin.temperature)
    return replace(
        details,
        reliability=sparse_counts(reliability.cpu().numpy()),
        losses_NSL=losses.cpu().numpy(),
        pooled_NPK=pooled_scores(logits_BKHW),
    )

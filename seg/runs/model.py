"""A trained model for one's own programs: from the bands of a patch to a map and a multi-label."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seg.catalogue.hub import fetch
from seg.config.paths import AnyPath
from seg.data.context import picture_size, with_context
from seg.data.devices import find_device
from seg.data.transforms import Normaliser
from seg.errors import CheckpointError, WrongUseError
from seg.metrics.scene import DEFAULT_THRESHOLD, decide
from seg.models.card import ModelCard, read_card
from seg.models.checkpoint import load_checkpoint
from seg.models.segmenter import Segmenter
from seg.models.weights_file import CARD_FILE, WEIGHTS_FILE
from seg.own.code import CODE_FILE
from seg.reben.bands import BANDS
from seg.reben.classes import CLASS_NAMES
from seg.runs.folder import best_checkpoint
from seg.store.surroundings import STEPS

_REFLECTANCE = 2.0
"""The largest reflectance that there is; digital numbers of even the darkest patch go beyond."""
_DECIBELS = 60.0
"""dB beyond which no half of a patch scatters."""
Bands = Mapping[str, npt.NDArray[Any]]
"""Bands of a patch by name."""
_AROUND = frozenset(STEPS) - {(0, 0)}


@dataclass(frozen=True, eq=False)
class PatchPrediction:
    """What a model says of a patch.

    Attributes:
        classes_HW: Class indices, uint8, 120 x 120, 0 to 18.
        probabilities_KHW: float32, 19 x 120 x 120, summing to 1 over the classes; calibrated by the card's temperature.
        scene_K: Probability that each class occurs, float32 (19,); None without a scene head.
        labels: Names of the classes that occur, by the thresholds fitted on validation (0.5 where none were); empty
            without a scene head.
    """

    classes_HW: npt.NDArray[np.uint8]
    probabilities_KHW: npt.NDArray[np.float32]
    scene_K: npt.NDArray[np.float32] | None
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model.

    Attributes:
        network: The network, in evaluation mode; gives `(pixel_logits, scene_logits)` of normalised images.
        card: What it is: bands, statistics, classes, thresholds.
        device: Where it is.
    """

    network: Segmenter
    card: ModelCard
    device: torch.device

    def predict(self, bands: Bands, neighbours: Mapping[tuple[int, int], Bands] | None = None) -> PatchPrediction:
        """Predict one patch of 1200 m x 1200 m, as ``seg eval`` and ``seg export`` do in float32.

        Args:
            bands: Arrays by band name, (row, column), as reBEN stores them: digital numbers without offset for
                Sentinel-2 (120 x 120 for 10 m bands, 60 x 60 for 20 m, 20 x 20 for 60 m), dB for Sentinel-1.
            neighbours: For a model with a context, the same of patches around it by how many patches they lie below
                and to the right: ``(-1, 0)`` is the one above. Where there is none, the patch is reflected.

        Raises:
            CheckpointError: If a band that the model needs is missing or has another shape.
            WrongUseError: If values are certainly in another unit, or the model does not look at neighbours.
        """
        around = dict(neighbours or {})
        if around and not self.card.context:
            raise WrongUseError("the model sees nothing but the patch itself; leave out its neighbours")
        if beyond := [place for place in around if place not in _AROUND]:
            raise WrongUseError(f"{beyond[0]} is no neighbour of a patch; those are (-1, -1) to (1, 1) without (0, 0)")
        for given in (bands, *around.values()):
            self._check(given)
        if self.card.context:
            nine = [self._floats(bands if place == (0, 0) else around.get(place)) for place in STEPS]
            bands = with_context(nine, self.card.bands, self.card.context)
        edge = picture_size(self.card.context)
        image_CHW = np.empty((len(self.card.bands), edge, edge), np.float32)
        Normaliser(self.card.bands, self.card.resampling, self.card.context)(bands, image_CHW)
        with torch.inference_mode():
            pixel_logits, scene_logits = self.network(torch.from_numpy(image_CHW)[None].to(self.device))
            shares_KHW = (pixel_logits[0].float() / self.card.calibration).softmax(0).cpu().numpy()
            scene_K = None if scene_logits is None else scene_logits[0].float().sigmoid().cpu().numpy()
        return PatchPrediction(shares_KHW.argmax(0).astype(np.uint8), shares_KHW, scene_K, self._labels(scene_K))

    def _check(self, bands: Bands) -> None:
        """Refuse bands that are not as reBEN stores them."""
        if missing := [name for name in self.card.bands if name not in bands]:
            are = "is" if len(missing) == 1 else "are"
            raise CheckpointError(f"the model needs {', '.join(self.card.bands)}; {', '.join(missing)} {are} missing")
        for name in self.card.bands:
            size, shape = BANDS[name].size, np.shape(bands[name])
            if shape != (size, size):
                raise CheckpointError(f"{name} has another shape than reBEN's: {shape} instead of {(size, size)}")
            if not np.isfinite(bands[name]).all():
                raise CheckpointError(f"{name} holds values that are not finite; a patch has data everywhere")
        _require_units({name: np.asarray(bands[name], np.float64) for name in self.card.bands})

    def _floats(self, bands: Bands | None) -> Bands | None:
        """Bands of one type, whatever each of them came in: those of neighbours are put together."""
        return None if bands is None else {name: np.asarray(bands[name], np.float32) for name in self.card.bands}

    def _labels(self, scene_K: npt.NDArray[np.float32] | None) -> tuple[str, ...]:
        if scene_K is None:
            return ()
        thresholds = DEFAULT_THRESHOLD if self.card.thresholds is None else np.array(self.card.thresholds)
        decided_K = decide(scene_K[None], thresholds)[0]
        return tuple(name for name, present in zip(CLASS_NAMES, decided_K, strict=True) if present)


def _require_units(bands: Mapping[str, npt.NDArray[np.float64]]) -> None:
    """Refuse values that no patch has: a single one may be all water or all snow, so that only limits of physics tell.

    Raises:
        WrongUseError: Saying what they look like.
    """
    optical = [values for name, values in bands.items() if BANDS[name].sensor == "s2"]
    if optical and 0 < (largest := max(float(values.max()) for values in optical)) <= _REFLECTANCE:
        raise WrongUseError(
            f"the largest value of the Sentinel-2 bands is {largest:.3g}, as of reflectance from 0 to 1; the model "
            "takes digital numbers, which are 10,000 times that"
        )
    for name, values in bands.items():
        if BANDS[name].sensor == "s1" and abs(middle := float(np.median(values))) > _DECIBELS:
            raise WrongUseError(f"half of {name} is beyond {middle:.4g}, which no backscatter in dB is; give it in dB")
        if BANDS[name].sensor == "s1" and float(values.min()) >= 0 < float(values.max()):
            raise WrongUseError(
                f"{name} has no value below 0, as of power; the model takes dB, which is 10 log10 of it"
            )


def load_model(source: AnyPath, device: str | torch.device = "cpu", revision: str = "main") -> Model:
    """A trained model, ready to predict.

    Args:
        source: A folder of ``seg card``, a run folder of ``seg train``, a checkpoint, or the id of a model on the
            Hugging Face hub, ``owner/name``, if there is no such folder.
        device: Where it is to be.
        revision: Commit, branch or tag on the hub.

    Raises:
        WrongUseError: If the device is not there.
        CheckpointError: If there is no model, it is damaged, or nobody has named the code of its network here.
        CheckpointError: If it cannot be fetched.
    """
    device = find_device(device)
    network, card = load_checkpoint(_folder(source, revision), device)
    return Model(network, card, device)


def _folder(source: AnyPath, revision: str) -> Path:
    path = Path(source)
    if path.is_dir():
        return best_checkpoint(path)
    if isinstance(source, str) and source.count("/") == 1 and not source.startswith((".", "/", "~")):
        cure = f"into a folder, with {WEIGHTS_FILE} beside {CARD_FILE}, and load that"
        fetched = [fetch(source, name, revision, cure) for name in (CARD_FILE, WEIGHTS_FILE)]
        if read_card(fetched[0].parent).code:
            # It is fetched, and not run before somebody has read it.
            fetch(source, CODE_FILE, revision, cure)
        return fetched[0].parent
    raise CheckpointError(
        f"there is no folder {path}; give a folder of 'seg card' or 'seg train', or a hub id", wrong_use=True
    )

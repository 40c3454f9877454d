"""A network as ONNX, from stored values to probabilities: the only importer of onnx and onnxruntime."""

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seg.errors import CheckpointError
from seg.models.card import ModelCard
from seg.models.segmenter import Segmenter
from seg.reben.bands import PATCH_SIZE

INPUT, PIXEL_OUTPUT, SCENE_OUTPUT = "bands", "pixel_probabilities", "scene_probabilities"
TOLERANCE = 1e-3
"""Largest difference of a probability between ONNX Runtime and torch; float32 rounds differently in either."""


class _Whole(nn.Module):
    """The network with what stands before and behind it."""

    def __init__(self, model: Segmenter, card: ModelCard) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.model = model
        self.temperature = card.calibration
        self.register_buffer("mean", torch.tensor(card.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(card.std).view(1, -1, 1, 1))

    def forward(self, values_BCHW: Tensor) -> tuple[Tensor, ...]:
        pixel_logits, scene_logits = self.model((values_BCHW - self.mean) / self.std)
        pixel = (pixel_logits / self.temperature).softmax(1)
        return (pixel,) if scene_logits is None else (pixel, scene_logits.sigmoid())


def write_onnx(path: Path, model: Segmenter, card: ModelCard) -> float:
    """Write a network as ONNX and compare it with torch.

    The input ``bands`` is float32 (batch, band, 120, 120), larger by the card's context on every side: digital numbers
    and dB as reBEN stores them, in the order of the card's bands, 20 m and 60 m bands resampled to 10 m. The outputs
    are ``pixel_probabilities``, (batch, 19, 120, 120), calibrated by the card's temperature, and, with a scene head,
    ``scene_probabilities``, (batch, 19), in the order of the card's classes. A batch has any size.

    Args:
        path: The file.
        model: In evaluation mode, on the CPU.
        card: Its card.

    Returns:
        The largest difference of a probability between ONNX Runtime and torch on random patches of the bands' own
        distribution.

    Raises:
        CheckpointError: If the network has parts that ONNX does not know, or ONNX Runtime
            gives other probabilities than torch.
    """
    whole = _Whole(model, card).eval()
    names = [PIXEL_OUTPUT] + ([SCENE_OUTPUT] if card.scene_head != "none" else [])
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                whole,
                (_random_patches(card, 2),),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=names,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    # The exporter runs the whole network through torch's compiler; what that raises has no common ancestor.
    except Exception as error:
        raise CheckpointError(
            f"{card.arch} with encoder {card.encoder} cannot be written as ONNX by this version of torch "
            f"({type(error).__name__}); leave out --onnx"
        ) from error
    finally:
        logger.setLevel(level)
    assert program is not None, "the exporter gives a program"
    program.save(path)
    return _compared(path, whole, card)


def _compared(path: Path, whole: _Whole, card: ModelCard) -> float:
    import onnxruntime

    patches = _random_patches(card, 3)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {INPUT: patches.numpy()})
    with torch.inference_mode():
        expected = whole(patches)
    difference = max(float(np.abs(a - b.numpy()).max()) for a, b in zip(found, expected, strict=True))
    # Not below also refuses NaN.
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"ONNX Runtime gives probabilities that differ by {difference:.2g} from those of torch; leave out --onnx"
        )
    return difference


def _random_patches(card: ModelCard, count: int) -> Tensor:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (card.mean, card.std))
    generator = torch.Generator().manual_seed(0)
    edge = PATCH_SIZE + 2 * card.context
    return mean + std * torch.randn(count, len(card.bands), edge, edge, generator=generator)

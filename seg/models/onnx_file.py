"""ONNX files of networks, read and run without torch: the only importer of onnxruntime."""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from seg.config.installed import not_installed
from seg.config.wording import clipped
from seg.errors import CheckpointError, WrongUseError
from seg.models.card import ModelCard, card_of
from seg.models.frame import TakenSizes

ONNX_SUFFIX = ".onnx"
INPUT, PIXEL_OUTPUT, SCENE_OUTPUT = "bands", "pixel_probabilities", "scene_probabilities"
SEG_KEY = "seg"
"""Of the metadata, what seg itself reads."""
SHARE_16 = 65_535
"""What values of 16 bits are divided by to be shares."""

_TAKES = {"multiple": "multiple", "least": "least", "fixed": "fixed_size", "pads": "pads", "context": "context"}
_LEAST = {"multiple": 1, "least": 1, "context": 0}
_CURE = "make one with: seg card RUN --out FOLDER --onnx"

Values = Literal["stored", "normalised", "share16"]
"""What a network takes: values as reBEN stores them, normalised ones, or stored ones divided by `SHARE_16`."""


@dataclass(frozen=True)
class OnnxOptions:
    """How a network is written as ONNX.

    Attributes:
        values: What it takes.
        tile: Edge of the only images that it takes, pixels, for programs that cut tiles; it then gives pixel
            probabilities alone. None: any size, and scene probabilities too.
        quantise: Store weights as integers of 8 bits.
    """

    values: Values = "stored"
    tile: int | None = None
    quantise: bool = False


@dataclass(frozen=True)
class Written:
    """An ONNX file that was written.

    Attributes:
        difference: Largest difference of a probability between ONNX Runtime and torch, before weights are quantised.
        any_size: Whether it takes images of any size.
        edge: Edge of those that it takes otherwise, pixels.
        changed: Share of the pixels whose class quantised weights change; None if they were not quantised.
        shift: Mean difference of a probability that they make; None likewise.
        measured_on: What that was measured on.
    """

    difference: float
    any_size: bool
    edge: int
    changed: float | None = None
    shift: float | None = None
    measured_on: str = "random images"

    @property
    def summary(self) -> str:
        """What was done, in a sentence or two."""
        size = "images of any size" if self.any_size else f"images of {self.edge} x {self.edge} pixels alone"
        text = f"model.onnx takes {size} and gives the probabilities of torch to within {self.difference:.1g}."
        if self.changed is None:
            return text
        return (
            f"{text} Weights of 8 bits change the class of {100 * self.changed:.2g} % of the pixels of "
            f"{self.measured_on}."
        )


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file, not loaded yet.

    Attributes:
        path: The file.
        card: What its network is, classes in the order of `CLASS_NAMES`.
        weights: Digest of the weights that it was made of, as of `seg.models.weights_file.weights_digest`.
        takes: Sizes of images that it takes.
        values: What it takes.
        quantised: Whether its weights are integers.
        scene: Whether it gives scene probabilities.
    """

    path: Path
    card: ModelCard
    weights: str
    takes: TakenSizes
    values: Values
    quantised: bool
    scene: bool


def seg_metadata(card: ModelCard, weights: str, takes: TakenSizes, options: OnnxOptions, scene: bool) -> dict[str, Any]:
    """What `read_onnx` reads, as JSON takes it."""
    return {
        "card": card.model_dump(mode="json"),
        "weights": weights,
        "takes": {key: getattr(takes, name) for key, name in _TAKES.items()},
        "values": options.values,
        "quantised": options.quantise,
        "scene": scene,
    }


def read_onnx(path: Path) -> OnnxModel:
    """What an ONNX file says of itself.

    Raises:
        CheckpointError: If it is none, or does not say what its inputs are.
        WrongUseError: If there is no such file.
    """
    if not path.is_file():
        raise WrongUseError(f"there is no file {path}; {_CURE}")
    text = _session(path, ["CPUExecutionProvider"], optimise=False).get_modelmeta().custom_metadata_map.get(SEG_KEY)
    if text is None:
        raise CheckpointError(
            f"{path} was not made by seg: its metadata do not say which bands, units, statistics and classes it has; "
            f"{_CURE}"
        )
    try:
        found = json.loads(text)
        card = card_of(found["card"], f"the card in {path}", _CURE)
        takes = found["takes"]
        known = found["values"] in get_args(Values) and isinstance(found["weights"], str)
        fixed = takes["fixed"] is None or (type(takes["fixed"]) is int and takes["fixed"] > 0)
        if not (known and fixed and all(type(takes[key]) is int and takes[key] >= low for key, low in _LEAST.items())):
            raise ValueError("values or sizes of another version")
        sizes = TakenSizes(
            card.network(), takes["multiple"], takes["least"], takes["fixed"], takes["pads"], takes["context"]
        )
        return OnnxModel(
            path, card, found["weights"], sizes, found["values"], bool(found["quantised"]), bool(found["scene"])
        )
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path} has metadata that this seg cannot read ({type(error).__name__}: {error}); {_CURE}"
        ) from None


def providers(device: str) -> list[str]:
    """What ONNX Runtime is to compute with.

    Args:
        device: As `seg.config.terms.device_name` takes it.

    Raises:
        WrongUseError: If it is not there.
    """
    import onnxruntime

    kind, _, number = device.partition(":")
    there = onnxruntime.get_available_providers()
    if kind == "cuda" and "CUDAExecutionProvider" not in there:
        raise WrongUseError(
            f"device {device} is not there: this onnxruntime computes on the CPU alone; use --device cpu, or install "
            "onnxruntime-gpu in its place"
        )
    if kind not in ("auto", "cpu", "cuda"):
        raise WrongUseError(f"ONNX Runtime does not compute on {device}; use --device cpu")
    if kind == "cpu" or "CUDAExecutionProvider" not in there:
        return ["CPUExecutionProvider"]
    if number:
        raise WrongUseError(f"an ONNX file runs on the first GPU that is seen; use --device cuda instead of {device}")
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def runtime_version() -> str:
    """Version of ONNX Runtime."""
    import onnxruntime

    return str(onnxruntime.__version__)


def quantise(plain: Path, path: Path) -> None:
    """Write a file again, its weights as integers of 8 bits; what they are multiplied with is rounded as it runs."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # Of signed weights ONNX Runtime has no convolutions on a CPU.
        quantize_dynamic(plain, path, weight_type=QuantType.QUInt8)
    finally:
        logger.setLevel(level)


def open_session(path: Path, device: str) -> Any:
    """An inference session of ONNX Runtime, on as many threads as ``OMP_NUM_THREADS`` says, or else all cores.

    Raises:
        CheckpointError: If the file cannot be read.
        WrongUseError: If the device is not there.
    """
    return _session(path, providers(device), optimise=True)


def _session(path: Path, used: list[str], optimise: bool) -> Any:
    if lacking := not_installed("onnxruntime"):
        raise CheckpointError(f"ONNX needs {lacking}; install it with: pip install 'seg[onnx]'")
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        settings.intra_op_num_threads = int(threads)
    if not optimise:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(path, settings, providers=used)
    # What it raises has no common ancestor.
    except Exception as error:
        reason = clipped(str(error).partition("\n")[0].rpartition("failed:")[2].strip(" ."))
        raise CheckpointError(f"{path} cannot be read as ONNX ({reason}); copy it again, or {_CURE}") from None

"""A model that is ready to map scenes: a run with torch, or an ONNX file without it."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from seg.errors import WrongUseError
from seg.inference.arithmetic import Network
from seg.models.card import ModelCard
from seg.models.frame import TakenSizes
from seg.models.onnx_file import OnnxModel, runtime_version
from seg.runs.use import ChosenWeights


class Processes(Protocol):
    """Processes that share the rows of a map, as `seg.engine.distributed.Ranks`."""

    @property
    def rank(self) -> int:
        """Number of this process."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def first(self) -> bool:
        """Whether this one writes."""

    def wait(self) -> None:
        """Wait until every process is here."""

    def from_first(self, document: Any) -> Any:
        """What the first process has given, on every process."""


class Alone:
    """A process by itself."""

    rank, count, first = 0, 1, True

    def wait(self) -> None:
        """There is nobody to wait for."""

    def from_first(self, document: Any) -> Any:
        """What it has given."""
        return document


@dataclass(frozen=True)
class Mapper:
    """A model that is ready to map scenes.

    Attributes:
        chosen: The model, and its settings.
        card: What it is.
        network: From bands to probabilities.
        takes: Sizes of images that it takes.
        compute: What its results depend on beside the weights: device and formats, as JSON takes it.
        on_gpu: Whether it is fast with many windows at a time.
        joined: Joins the processes that ``torchrun`` has started.
        ranks: Those processes.
    """

    chosen: ChosenWeights
    card: ModelCard
    network: Network
    takes: TakenSizes
    compute: tuple[Any, ...]
    on_gpu: bool
    joined: Callable[[], AbstractContextManager[Processes]]
    ranks: Processes


def open_mapper(chosen: ChosenWeights) -> Mapper:
    """Load a model for maps, as fast as it gets.

    Raises:
        CheckpointError, WrongUseError: What is wrong with it or with the device, in one sentence.
    """
    if chosen.onnx is not None:
        return _of_onnx(chosen, chosen.onnx)
    return _of_run(chosen)


def _of_onnx(chosen: ChosenWeights, model: OnnxModel) -> Mapper:
    from seg.inference.onnx_network import OnnxNetwork

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise WrongUseError(f"{model.path} is mapped with by one process; start it without torchrun")
    network, alone = OnnxNetwork(model, chosen.config.train.device), Alone()
    compute = ("onnxruntime", runtime_version(), network.on_gpu)
    return Mapper(chosen, model.card, network, model.takes, compute, network.on_gpu, lambda: nullcontext(alone), alone)


def _of_run(chosen: ChosenWeights) -> Mapper:
    import torch

    from seg.engine.distributed import joined
    from seg.inference.torch_network import TorchNetwork
    from seg.models.folding import fold_batch_norm
    from seg.runs.session import open_weights

    weights = open_weights(chosen)
    compute, model = weights.compute, weights.model
    if compute.dtype != torch.float32:
        # No less exact. In float32 maps stay those of `seg export` but for the order of sums.
        fold_batch_norm(model, compute.dtype)
    return Mapper(
        chosen,
        weights.card,
        TorchNetwork(model, compute, weights.card.calibration),
        model.sizes,
        (compute.device.type, str(compute.dtype), compute.channels_last),
        compute.device.type != "cpu",
        lambda: joined(weights.ranks, compute.device),
        weights.ranks,
    )

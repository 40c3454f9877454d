"""The loop of a pretraining: an epoch at a time, saved after each."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from seg.config.training import TrainConfig
from seg.data.dataset import PatchDataset
from seg.data.feed import on_device
from seg.data.loader import make_loader
from seg.data.on_device import preparation
from seg.data.order import BatchOrder
from seg.engine.device import Compute, named_when_full
from seg.engine.guard import norm_of_gradients
from seg.engine.optimiser import make_optimiser, set_learning_rate
from seg.engine.radiometry import jittered
from seg.engine.schedule import learning_rate
from seg.engine.state import random_state, restore_random_state
from seg.engine.windows import windowed
from seg.errors import DamagedError, TrainingError
from seg.models.segmenter import Segmenter
from seg.pretraining.encoder_file import Identity, read_about
from seg.pretraining.masked_images import hidden_cells, masked_error
from seg.store.atomic import staged_file

_ENCODER = "network.encoder."


@dataclass(frozen=True)
class Hiding:
    """What is hidden of an image.

    Attributes:
        share: Of it.
        cell: Edge of the squares, pixels of 10 m.
    """

    share: float
    cell: int


@dataclass(frozen=True)
class PretrainingEpoch:
    """What is known after an epoch.

    Attributes:
        number: From 1.
        error: Mean of `masked_error` over its steps.
        patches_per_second: As said.
    """

    number: int
    error: float
    patches_per_second: float


@dataclass
class Pretraining:
    """Everything that takes part.

    Attributes:
        network: It gives bands, see `seg.pretraining.masked_images.restoring`.
        images: The patches; nobody looks at their maps and labels.
        hiding: What the network is not shown of them.
        config: Epochs, batches, rates, windows and jitter.
        compute: Device and formats.
        workers: Loader processes.
        identity: What must be the same when it goes on.
        epoch: Epochs done.
        errors: Of each of them.
    """

    network: Segmenter
    images: PatchDataset
    hiding: Hiding
    config: TrainConfig
    compute: Compute
    workers: int
    identity: Identity
    epoch: int = 0
    errors: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.network.to(self.compute.device, memory_format=self.compute.memory_format)  # type: ignore[call-overload]
        self.optimiser = make_optimiser(self.network, self.config)
        self.order = BatchOrder(
            len(self.images), self.config.batch_size, self.config.seed, drop_last=True, shuffle=self.images.shuffle
        )

    def run(self) -> Iterator[PretrainingEpoch]:
        """Learn until the last epoch.

        Raises:
            TrainingError: If the error is no longer finite; nothing of that epoch is kept.
            OutOfMemoryError: Naming the setting to change.
        """
        loader = make_loader(self.images, self.order, self.workers, pin_memory=self.compute.device.type == "cuda")
        self.network.train()
        total = self.config.epochs * len(self.order)
        while self.epoch < self.config.epochs:
            began, self.order.epoch = time.perf_counter(), self.epoch
            sums = torch.zeros((), dtype=torch.float64, device=self.compute.device)
            batches = on_device(loader, self.compute.device, preparation(self.images, self.compute.device))
            for number, batch in enumerate(batches):
                step = self.epoch * len(self.order) + number
                set_learning_rate(self.optimiser, learning_rate(step, total, self.config))
                seen = jittered(windowed(batch, self.config, self.epoch), self.config, self.epoch, self.images.bands)
                sums += self._step(seen.images_BCHW, seen.rows_B.tolist())
            error = sums.item() / len(self.order)
            self.epoch += 1
            self.errors.append(error)
            patches = len(self.order) * min(self.config.batch_size, len(self.images))
            yield PretrainingEpoch(self.epoch, error, patches / (time.perf_counter() - began))

    def _step(self, images_BCHW: Tensor, rows: list[int]) -> Tensor:
        edge = images_BCHW.shape[-1]
        hiding = self.hiding
        hidden_B1HW = hidden_cells(rows, edge, hiding.share, hiding.cell, self.config.seed, self.epoch)
        hidden_B1HW = hidden_B1HW.to(images_BCHW.device)
        with named_when_full("lower --batch-size"):
            shown_BCHW = images_BCHW.masked_fill(hidden_B1HW, 0).to(memory_format=self.compute.memory_format)
            with self.compute.autocast():
                restored_BCHW, _ = self.network(shown_BCHW)
            error = masked_error(restored_BCHW, images_BCHW, hidden_B1HW)
            error.backward()  # type: ignore[no-untyped-call]
            norm = norm_of_gradients(self.network.parameters(), self.config.clip_norm)
            if not torch.isfinite(norm):
                raise TrainingError(
                    f"the error or a gradient is no longer finite in epoch {self.epoch + 1}; begin anew with "
                    f"--set train.lr={self.config.lr / 10:g} and another --out"
                )
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        return error.detach().double()

    def save(self, state: Path) -> None:
        """Save all that it needs to go on, complete or not at all."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            for slot, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{name}.{slot}"] = value
        tensors |= random_state(self.compute.device)
        about = {"identity": dict(self.identity), "epoch": self.epoch, "errors": self.errors}
        _write(state, tensors, {"about": json.dumps(about)})

    def load(self, state: Path) -> None:
        """Go back to a state that was saved.

        Raises:
            DamagedError: If it cannot be read, or is of another network.
        """
        about, tensors = read_about(state), load_file(state)
        self.epoch, self.errors = about["epoch"], about["errors"]
        held = {name: tensors.get(f"network.{name}") for name in self.network.state_dict()}
        try:
            self.network.load_state_dict({name: value for name, value in held.items() if value is not None})
        except RuntimeError:
            raise DamagedError(
                f"{state} holds another network than this seg builds, because smp or timm have another version; move "
                "it away and begin anew"
            ) from None
        for name, parameter in self.network.named_parameters():
            start = f"optimiser.{name}."
            slots = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
            self.optimiser.state[parameter] = {slot: self._as_held(value, parameter) for slot, value in slots.items()}
        restore_random_state(tensors, self.compute.device)

    def _as_held(self, value: Tensor, parameter: Tensor) -> Tensor:
        """What an optimiser remembers of a parameter, where and as the optimiser would have it."""
        if value.shape == parameter.shape:
            # In its memory format too: kernels round differently in another one.
            return torch.empty_like(parameter).copy_(value)
        # How many steps were done is counted on the CPU, or where a fused kernel wants it.
        fused = any(group.get("fused") for group in self.optimiser.param_groups)
        return value.to(parameter.device) if fused else value

    def write_encoder(self, path: Path, metadata: dict[str, Any]) -> int:
        """Write the encoder alone, by the names that smp gives its tensors.

        Args:
            path: The file; it appears complete or not at all.
            metadata: What it says of itself.

        Returns:
            How many tensors it holds.
        """
        state = self.network.state_dict()
        encoder = {name.removeprefix(_ENCODER): value for name, value in state.items() if name.startswith(_ENCODER)}
        _write(path, encoder, metadata)
        return len(encoder)


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    # A copy each, because safetensors takes neither tensors that share memory nor channels-last ones.
    copies = {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    with staged_file(path) as staged:
        save_file(copies, staged, metadata)

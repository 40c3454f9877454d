"""What the machine can do: device, number format, memory format."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from seg.config.sections import TrainConfig


class DeviceError(ValueError):
    """A device or number format that this machine does not have."""


@dataclass(frozen=True)
class Compute:
    """How the network runs.

    Attributes:
        device: Where.
        dtype: The number format of the convolutions and matrix products: bfloat16 or float32.
        channels_last: Whether images and weights are stored channel by channel for each pixel.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Context in which the network computes in `dtype`."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            yield


def choose_compute(train: TrainConfig) -> Compute:
    """Device and formats for a configuration.

    ``auto`` takes CUDA, then Apple's MPS, then the CPU, and bfloat16 where the device has instructions for it: emulated
    bfloat16 is slower than float32. The channels-last format follows bfloat16, whose kernels are written for it.

    Raises:
        DeviceError: If the named device or format is not there.
    """
    device = _device(train.device)
    native = _has_bfloat16(device)
    if train.precision == "bfloat16" and device.type == "mps":
        raise DeviceError("bfloat16 training is not supported on mps; use --set train.precision=float32")
    use_bfloat16 = train.precision == "bfloat16" or (train.precision == "auto" and native)
    channels_last = use_bfloat16 if train.channels_last is None else train.channels_last
    return Compute(device, torch.bfloat16 if use_bfloat16 else torch.float32, channels_last)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"'{name}' is no device; use auto, cpu, cuda, cuda:<number> or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(f"device {name} is not there: this machine has {count} CUDA devices; use --device auto")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps is not there; use --device auto")
    elif device.type not in ("cpu", "mps"):
        raise DeviceError(f"'{name}' is no device that seg runs on; use auto, cpu, cuda, cuda:<number> or mps")
    return device


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "sve_bf16", "bf16"))
    return False

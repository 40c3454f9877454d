"""What the machine can do: device, number format, memory format."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from seg.config.training import TrainConfig
from seg.data.devices import find_device
from seg.engine.instructions import cpu_instructions
from seg.errors import OutOfMemoryError, WrongUseError


@dataclass(frozen=True)
class Compute:
    """How the network runs.

    Attributes:
        device: Where.
        dtype: The number format of the convolutions and matrix products: bfloat16 or float32.
        channels_last: Whether images and weights are stored channel by channel for each pixel.
        compile: Whether ``torch.compile`` translates the network.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool
    compile: bool = False

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Context in which the network computes in `dtype`."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            yield


@contextmanager
def named_when_full(cure: str) -> Iterator[None]:
    """Around work that may not fit into memory.

    Args:
        cure: What to change, such as ``lower eval.batch_size``.

    Raises:
        OutOfMemoryError: In place of what torch raises.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(f"out of memory; {cure}") from error
    except RuntimeError as error:
        # The allocator of the CPU has no exception of its own.
        if "DefaultCPUAllocator" in str(error) or "out of memory" in str(error):
            raise OutOfMemoryError(f"out of memory; {cure}") from error
        raise


def choose_compute(train: TrainConfig, gpu: int | None = None) -> Compute:
    """Device and formats for a configuration.

    Args:
        train: The settings.
        gpu: Number of the GPU of this process, if it is one of several; None: it works alone.

    ``auto`` takes CUDA, then Apple's MPS, then the CPU, and bfloat16 where the device has instructions for it: emulated
    bfloat16 is slower than float32. The channels-last format follows bfloat16, whose kernels are written for it.

    Raises:
        WrongUseError: If the named device or format is not there.
    """
    device = find_device(train.device if gpu is None else _own_gpu(train.device, gpu))
    native = _has_bfloat16(device)
    if train.precision == "bfloat16" and device.type == "mps":
        raise WrongUseError("bfloat16 training is not supported on mps; use --set train.precision=float32")
    use_bfloat16 = train.precision == "bfloat16" or (train.precision == "auto" and native)
    channels_last = use_bfloat16 if train.channels_last is None else train.channels_last
    compiled = _can_compile(device) if train.compile == "auto" else train.compile
    return Compute(device, torch.bfloat16 if use_bfloat16 else torch.float32, channels_last, compiled)


def _own_gpu(name: str, gpu: int) -> str:
    """The device of one of several processes: each has a GPU of its own."""
    if name.startswith("cuda:"):
        raise WrongUseError(f"{name} is a single GPU for several processes; use --device cuda, and each takes its own")
    return f"cuda:{gpu}" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else name


def _can_compile(device: torch.device) -> bool:
    """Whether compiling pays and works: on CUDA with Triton and a C compiler, which Triton calls."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return device.type == "cuda" and find_spec("triton") is not None and bool(compiler)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return cpu_instructions().bfloat16
    return False

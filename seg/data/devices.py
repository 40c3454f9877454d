"""The device by its name: where batches travel, and where networks run."""

import torch

from seg.config.installed import no_cuda
from seg.config.terms import device_name
from seg.errors import WrongUseError


def find_device(name: str | torch.device) -> torch.device:
    """A device that this machine has; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        WrongUseError: If the name is none of a device that seg runs on, or the device is not there.
    """
    name = device_name(str(name))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise no_cuda(name, count)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise WrongUseError("device mps is not there; use --device auto")
    return device

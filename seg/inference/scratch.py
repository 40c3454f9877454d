"""Memory that is used again: fresh pages cost a CPU more than what is done with them."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Scratch:
    """One piece of float32 memory, as large as the largest that was asked for."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def __call__(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """A tensor of a shape, its values undefined, good until the next call."""
        count = torch.Size(shape).numel()
        if count > self._memory.numel():
            self._memory = torch.empty(count, device=device)
        return self._memory[:count].view(tuple(shape))

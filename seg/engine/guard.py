"""Stops a run at a loss or gradient that is not finite, with everything as it was before that step."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from seg.engine.state import Progress, random_state, restore_random_state
from seg.store.atomic import write_text

NOT_FINITE_FILE = "not_finite.json"
"""In the folder of the checkpoints: the patches of the batch that ended a run."""

_NAMED = 4
"""Patches that a message names."""


class NotFiniteError(ValueError):
    """A step whose loss or gradient is not finite. It has not changed the run.

    Attributes:
        progress: The position in the run before the step.
        rows_B: The patches of its batch: rows of the store's index, int64.
    """

    def __init__(self, progress: Progress, rows_B: Tensor) -> None:
        super().__init__("a loss or gradient is not finite")
        self.progress = progress
        self.rows_B = rows_B


class Guard:
    """Watches the steps of a run.

    Each step is told of by `begin`, before the forward pass of each of its batches, and `note`, before the optimiser's;
    it is known to be good after the next `settle`. With fused AdamW on CUDA the optimiser itself leaves out a step that
    is not finite, so that nobody waits for the device: the answer is looked at when the next batch is there. Elsewhere
    `note` looks at once.

    Args:
        model: Its buffers are kept, since the forward pass changes batch statistics.
        optimiser: Its steps are watched.
    """

    def __init__(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self._optimiser = optimiser
        self._device = next(model.parameters()).device
        self._deferred = self._device.type == "cuda" and all(group.get("fused") for group in optimiser.param_groups)
        buffers = list(model.buffers())
        dtypes = {buffer.dtype for buffer in buffers}
        self._buffers = [[buffer for buffer in buffers if buffer.dtype == dtype] for dtype in dtypes]
        self._kept = [[buffer.clone() for buffer in group] for group in self._buffers]
        self._random: dict[str, Tensor] = {}
        self._before: tuple[Progress, Tensor] | None = None
        self._rows: list[Tensor] = []
        self._bad: Tensor | None = None

    def begin(self, progress: Progress, sums: Tensor, rows_B: Tensor) -> None:
        """Remember what a step is about to change and the optimiser does not; with its further batches, their patches.

        Args:
            progress: The position in the run.
            sums: Sums of the losses so far, on the device; they replace those of `progress`.
            rows_B: The patches of the batch.
        """
        assert self._bad is None, "the step before was not settled"
        self._rows.append(rows_B)
        if len(self._rows) > 1:
            return
        self._before = replace(progress, scores=list(progress.scores)), sums.clone()
        self._random = random_state(self._device)
        for kept, buffers in zip(self._kept, self._buffers, strict=True):
            torch._foreach_copy_(kept, buffers)

    def note(self, loss: Tensor, norm: Tensor) -> None:
        """Look at a step, or see to it that the optimiser does.

        Args:
            loss: The loss.
            norm: Norm of the gradients.

        Raises:
            NotFiniteError: If one of them is not finite.
        """
        self._bad = ~(loss.detach().isfinite() & norm.isfinite())
        if self._deferred:
            self._optimiser.found_inf = self._bad.float()  # type: ignore[attr-defined]
        else:
            self._check()

    def settle(self) -> bool:
        """Whether there was a step since the last call, which is now known to be good.

        Raises:
            NotFiniteError: If its loss or gradient was not finite.
        """
        if self._bad is None:
            return False
        self._check()
        self._bad = None
        self._rows.clear()
        return True

    def _check(self) -> None:
        if not self._bad:
            return
        self._bad = None
        assert self._before is not None, "a step was noted that was not begun"
        progress, sums = self._before
        rows_B = torch.cat(self._rows)
        self._rows.clear()
        progress.loss_sums = sums.tolist()
        with torch.no_grad():
            for kept, buffers in zip(self._kept, self._buffers, strict=True):
                torch._foreach_copy_(buffers, kept)
        restore_random_state(self._random, self._device)
        raise NotFiniteError(progress, rows_B)


def norm_of_gradients(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Norm of all gradients, which are then scaled down so that it is at most ``most``; 0 leaves them as they are."""
    learning = [parameter for parameter in parameters if parameter.grad is not None]
    if most:
        return nn.utils.clip_grad_norm_(learning, most)
    return nn.utils.get_total_norm([parameter.grad for parameter in learning if parameter.grad is not None])


def note_patches(folder: Path, error: NotFiniteError, patch_ids: list[str], lr: float) -> str:
    """Write the patches of a step that is not finite beside the checkpoints.

    Args:
        folder: Where.
        error: The step.
        patch_ids: The patches of its batch.
        lr: Peak learning rate of the run.

    Returns:
        What has happened and how to go on, in one sentence.
    """
    step, epoch = error.progress.step + 1, error.progress.epoch + 1
    listed = folder / NOT_FINITE_FILE
    write_text(listed, json.dumps({"step": step, "epoch": epoch, "patch_ids": patch_ids}, indent=2) + "\n")
    names = ", ".join(patch_ids[:_NAMED])
    more = f" and {len(patch_ids) - _NAMED} more, listed in {listed}" if len(patch_ids) > _NAMED else ""
    return (
        f"the loss or a gradient is no longer finite at step {step}, in epoch {epoch}, with the patches {names}{more}; "
        "the run is saved as it was before that step: look at the patches with 'seg data check' and continue with "
        f"--resume, or start anew with --set train.lr={lr / 10:g} or --set train.precision=float32"
    )

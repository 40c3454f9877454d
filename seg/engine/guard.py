"""Stops a run at a loss or gradient that is not finite, with everything as it was before that step."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from seg.engine.distributed import ALONE, Ranks
from seg.engine.state import Progress, random_state, restore_random_state
from seg.errors import SegError
from seg.store.atomic import write_text

NOT_FINITE_FILE = "not_finite.json"
"""In the folder of the checkpoints: the patches of the step that ended a run."""

_NAMED = 4
"""Patches that a message names."""


class NotFiniteError(SegError):
    """A step whose loss or gradient is not finite, in this process or in another one. It has not changed the run.

    Attributes:
        progress: The position in the run before the step.
        rows_B: The patches of this process that may be at fault: rows of the store's index, int64.
        at_fault: Whether their loss is not finite; otherwise they are all patches of the step.
    """

    def __init__(self, progress: Progress, rows_B: Tensor, at_fault: bool) -> None:
        super().__init__("the loss or a gradient is not finite; lower the learning rate with --set train.lr")
        self.progress = progress
        self.rows_B = rows_B
        self.at_fault = at_fault


class Guard:
    """Watches the steps of a run.

    Each step is told of by `begin`, before its first forward pass, `watch`, between the forward and the backward pass
    of each of its batches, and `note`, before the optimiser's step; it is known to be good after the next `settle`.
    With fused AdamW on CUDA the optimiser itself leaves out a step that is not finite, so that nobody waits for the
    device: the answer is looked at when the next step begins. Elsewhere `note` looks at once.

    All processes of a run come to the same answer: a loss that is not finite makes the gradient so, and that is
    averaged over them.

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
        self._batches: list[tuple[Tensor, Tensor]] = []
        self._bad: Tensor | None = None

    def begin(self, progress: Progress, sums: Tensor) -> None:
        """Remember what a step is about to change and the optimiser does not.

        Args:
            progress: The position in the run.
            sums: Sums of the losses so far, on the device; they replace those of `progress`.
        """
        assert self._bad is None, "the step before was not settled"
        self._before = replace(progress, scores=list(progress.scores)), sums.clone()
        self._batches = []
        self._random = random_state(self._device)
        for kept, buffers in zip(self._kept, self._buffers, strict=True):
            torch._foreach_copy_(kept, buffers)

    def watch(self, loss: Tensor, rows_B: Tensor) -> Tensor:
        """The loss of a batch, as it is to be differentiated: no gradient is finite if it is not.

        Args:
            loss: The loss.
            rows_B: The patches of the batch.
        """
        known = loss.detach()
        self._batches.append((rows_B, known))
        return loss * torch.where(known.isfinite(), 1.0, torch.nan)

    def note(self, norm: Tensor) -> None:
        """Look at the gradient of a step, or see to it that the optimiser does.

        Args:
            norm: Norm of the gradients.

        Raises:
            NotFiniteError: If it is not finite.
        """
        self._bad = ~norm.isfinite()
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
        return True

    def _check(self) -> None:
        if not self._bad:
            return
        self._bad = None
        assert self._before is not None, "a step was noted that was not begun"
        progress, sums = self._before
        progress.loss_sums = sums.tolist()
        with torch.no_grad():
            for kept, buffers in zip(self._kept, self._buffers, strict=True):
                torch._foreach_copy_(buffers, kept)
        restore_random_state(self._random, self._device)
        faulty = [rows_B for rows_B, loss in self._batches if not loss.isfinite()]
        suspects = faulty or [rows_B for rows_B, _ in self._batches]
        raise NotFiniteError(progress, torch.cat(suspects), bool(faulty))


def norm_of_gradients(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Norm of all gradients, which are then scaled down so that it is at most ``most``; 0 leaves them as they are."""
    learning = [parameter for parameter in parameters if parameter.grad is not None]
    if most:
        return nn.utils.clip_grad_norm_(learning, most)
    return nn.utils.get_total_norm([parameter.grad for parameter in learning if parameter.grad is not None])


def note_patches(folder: Path, error: NotFiniteError, patch_ids: list[str], lr: float, ranks: Ranks = ALONE) -> str:
    """Write the patches of a step that is not finite beside the checkpoints. All processes have to call this.

    Args:
        folder: Where.
        error: The step, as this process knows it.
        patch_ids: The patches of this process that may be at fault.
        lr: Peak learning rate of the run.
        ranks: The processes.

    Returns:
        What has happened and how to go on, in one sentence.
    """
    told = [json.loads(part) for part in ranks.gather(json.dumps([error.at_fault, patch_ids]).encode())]
    listed = [ids for at_fault, ids in told if at_fault] or [ids for _, ids in told]
    suspects = [patch_id for ids in listed for patch_id in ids]
    step, epoch = error.progress.step + 1, error.progress.epoch + 1
    file = folder / NOT_FINITE_FILE
    if ranks.first:
        write_text(file, json.dumps({"step": step, "epoch": epoch, "patch_ids": suspects}, indent=2) + "\n")
    names = ", ".join(suspects[:_NAMED])
    more = f" and {len(suspects) - _NAMED} more, listed in {file}" if len(suspects) > _NAMED else ""
    return (
        f"the loss or a gradient is no longer finite at step {step}, in epoch {epoch}, with the patches {names}{more}; "
        "the run is saved as it was before that step: look at the patches with 'seg data check' and continue with "
        f"--resume, or start anew with --set train.lr={lr / 10:g} or --set train.precision=float32"
    )

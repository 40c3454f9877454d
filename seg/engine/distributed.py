"""Several processes that train or score together, started by ``torchrun``: the only importer of torch.distributed.

Every process works on its own share of the patches. What leaves a process is a gradient, an integer or bytes; nothing
is pickled. Only the first process writes and prints.

Batch statistics: each process normalises with those of its own batch, unless ``train.sync_batchnorm`` is set. The
running averages of the first process are the ones that are evaluated and saved; `Ranks.share_buffers` gives them to
all.
"""

import inspect
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from seg.errors import WorkerError

_ACCEPTED = inspect.signature(DistributedDataParallel).parameters
_OWN_BUFFERS: dict[str, Any] = {
    ("forward_sync_buffers" if "forward_sync_buffers" in _ACCEPTED else "broadcast_buffers"): False
}
"""Buffers are not sent in every step; newer versions of torch have another name for it."""
_PATIENCE = timedelta(minutes=60)
"""How long a process waits for the others: the first one may score and write for long."""


@dataclass(frozen=True)
class Ranks:
    """The processes that work together, as one of them sees them.

    Attributes:
        rank: Number of this process, from 0.
        count: How many there are.
        local_rank: Number of this process on its machine, from 0: the GPU that it takes.
        control: Group for messages between CPUs; None if this process is alone.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    control: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def gather(self, content: bytes) -> list[bytes]:
        """What every process has given, in the order of ranks, on every process."""
        if self.count == 1:
            return [content]
        own = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        with _told_when_one_is_gone():
            dist.all_gather(sizes, torch.tensor([len(own)]), group=self.control)
            longest = max(int(size) for size in sizes)
            parts = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.count)]
            dist.all_gather(parts, nn.functional.pad(own, (0, longest - len(own))), group=self.control)
        return [part[: int(size)].numpy().tobytes() for part, size in zip(parts, sizes, strict=True)]

    def from_first(self, document: Any) -> Any:
        """What the first process has given, on every process; anything that JSON takes."""
        if self.count == 1:
            return document
        return json.loads(self.gather(json.dumps(document).encode() if self.first else b"")[0])

    def total(self, values: list[float]) -> list[float]:
        """Sums over all processes, always added up in the same order."""
        parts = [np.frombuffer(part, np.float64) for part in self.gather(np.array(values, np.float64).tobytes())]
        return [float(value) for value in sum(parts[1:], parts[0])]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return any(part == b"1" for part in self.gather(b"1" if flag else b"0"))

    def wait(self) -> None:
        """Wait until every process is here."""
        self.gather(b"")

    @contextmanager
    def after_first(self) -> Iterator[None]:
        """The first process goes ahead, the others come when it is through: they find what it has put into a cache."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def share_buffers(self, model: nn.Module) -> None:
        """Give the buffers of the first process, batch statistics above all, to every process."""
        if self.count > 1:
            with _told_when_one_is_gone():
                for buffer in model.buffers():
                    dist.broadcast(buffer, 0)

    def wrap(self, model: nn.Module) -> nn.Module:
        """A network that averages its gradients over all processes; the network itself if this process is alone.

        Every process starts with the weights of the first one. To be called anew when other parameters are trained.

        Args:
            model: On its device.
        """
        if self.count == 1:
            return model
        device = next(model.parameters()).device
        with _told_when_one_is_gone():
            network = DistributedDataParallel(
                model,
                device_ids=[device] if device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                find_unused_parameters=_has_idle_parameters(model),
                **_OWN_BUFFERS,
            )
            _settle(network)
        return network


ALONE = Ranks()
"""One process that works by itself."""


def started_ranks() -> Ranks:
    """What ``torchrun`` says in the environment; `ALONE` without it.

    Raises:
        WorkerError: If the environment makes no sense.
    """
    try:
        rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        ranks = Ranks(rank, count, int(os.environ.get("LOCAL_RANK", str(rank))))
    except ValueError:
        raise WorkerError(
            "RANK, WORLD_SIZE and LOCAL_RANK must be numbers; start several processes with torchrun"
        ) from None
    if not 0 <= ranks.rank < ranks.count:
        raise WorkerError(
            f"RANK={ranks.rank} is not among WORLD_SIZE={ranks.count}; start several processes with torchrun"
        )
    return ranks


@contextmanager
def joined(ranks: Ranks, device: torch.device) -> Iterator[Ranks]:
    """Join the processes; they take leave of each other at the end.

    Args:
        ranks: From `started_ranks`.
        device: Of this process.

    Raises:
        WorkerError: If the device cannot do it, or the others do not come.
    """
    if ranks.count == 1 or ranks.control is not None:
        yield ranks
        return
    if device.type not in ("cpu", "cuda"):
        raise WorkerError(f"several processes cannot share {device}; use --device cpu or cuda, or one process")
    gpu = device.type == "cuda"
    try:
        if gpu:
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            backend = "nccl" if gpu else "gloo"
            dist.init_process_group(backend, timeout=_PATIENCE, device_id=device if gpu else None)
        control = dist.new_group(backend="gloo", timeout=_PATIENCE)
        assert isinstance(control, dist.ProcessGroup), "every process is in this group"
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise WorkerError(f"the processes did not find each other ({reason}); start them with torchrun") from error
    try:
        yield replace(ranks, control=control)
    except KeyboardInterrupt:
        # Asked to stop, all of them have come here together.
        dist.destroy_process_group()
        raise
    # After an error the others may still wait for this one: they see it go.
    dist.destroy_process_group()


def check_shares(patches: int, least: int, ranks: Ranks, split: str, cure: str) -> None:
    """Refuse more processes than there is work for.

    Args:
        patches: Patches of the split.
        least: Patches that each process needs at least.
        ranks: The processes.
        split: Name of the split.
        cure: What else to do about it.

    Raises:
        WorkerError: If a process would have nothing to do.
    """
    if ranks.count > 1 and patches < least * ranks.count:
        needs = f"{least} patches each" if least > 1 else "a patch each"
        raise WorkerError(
            f"{ranks.count} processes need {needs}, but the {split} split has {patches}; "
            f"start at most {max(1, patches // least)}{cure}"
        )


def only_last_reduces(network: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Context of one of several batches of a step: gradients are averaged over the processes with the last one only."""
    if isinstance(network, DistributedDataParallel) and not last:
        return network.no_sync()
    return nullcontext()


def synchronise_statistics(model: nn.Module, device: torch.device, ranks: Ranks) -> nn.Module:
    """The network with batch statistics over all processes; of one process, the network as it is.

    Raises:
        WorkerError: On a CPU, where torch has none.
    """
    if device.type != "cuda":
        raise WorkerError("train.sync_batchnorm works on CUDA only; leave it out")
    if ranks.count == 1:
        return model
    synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return synchronised


class Vote:
    """What the processes agree on after every step, without waiting: the answer is that to the question before.

    Alone, a process has its answer at once.

    Args:
        ranks: The processes.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._pending: tuple[dist.Work, Tensor] | None = None

    def ask(self, *wishes: bool) -> tuple[bool, ...]:
        """Whether any process wished each thing when it was asked last; nothing at the first time."""
        if self._ranks.count == 1:
            return wishes
        answer = self.settle() or tuple(False for _ in wishes)
        flags = torch.tensor(wishes, dtype=torch.int32)
        with _told_when_one_is_gone():
            work = dist.all_reduce(flags, dist.ReduceOp.MAX, group=self._ranks.control, async_op=True)
        assert work is not None
        self._pending = work, flags
        return answer

    def settle(self) -> tuple[bool, ...]:
        """The answer that is still open; empty if there is none."""
        if self._pending is None:
            return ()
        work, flags = self._pending
        self._pending = None
        with _told_when_one_is_gone():
            work.wait()
        return tuple(bool(flag) for flag in flags)


def first_to_say(text: str) -> bool:
    """Whether no other process of the run has said this yet; true if that cannot be found out."""
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if started_ranks().count == 1 or not address or not port:
        return True
    try:
        store = TCPStore(address, int(port), is_master=False, timeout=timedelta(seconds=5))
        return bool(store.add(f"seg/said/{text}", 1) == 1)
    except (RuntimeError, ValueError):
        return True


@contextmanager
def _told_when_one_is_gone() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise WorkerError("another process of the run has ended; see what it said") from error


def _settle(network: DistributedDataParallel) -> None:
    """Let torch choose the order in which it sends gradients, which it does with the first pass.

    Sums over three or more processes are rounded by that order: a run that is resumed must not begin with another.
    """
    model, device = network.module, next(network.parameters()).device
    buffers = [buffer.clone() for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        _pass(network, device)
    network.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)


def _has_idle_parameters(model: nn.Module) -> bool:
    """Whether some parameters take no part in the result, so that no gradient of theirs must be waited for."""
    device = next(model.parameters()).device
    trial = deepcopy(model).train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        _pass(trial, device)
    return any(parameter.requires_grad and parameter.grad is None for parameter in trial.parameters())


def _pass(network: nn.Module, device: torch.device) -> None:
    """Forward and backward pass of two random images."""
    bands = getattr(network.module if isinstance(network, DistributedDataParallel) else network, "bands", None)
    assert bands is not None, "a network that does not say what it sees"
    outputs = network(torch.randn(2, len(bands), 64, 64, device=device))
    torch.stack([output.float().sum() for output in outputs if output is not None]).sum().backward()  # type: ignore[no-untyped-call]

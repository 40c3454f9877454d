"""A frozen encoder sees every picture once: what it makes of it is kept, and read when the picture comes again.

Pictures are known by a digest of all that the encoder is given, so whatever is done to them before (other bands, flips,
a sensor that is left out) makes them others, and a feature is never that of something else.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xxhash
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from seg.engine.encoder import bare, encoder_parts
from seg.engine.feature_file import FeatureFile
from seg.engine.run import Run
from seg.models.segmenter import Segmenter

FILE_NAME = "features.bin"
"""In the folder of the checkpoints; of several processes, each has one of its own."""
_GIGABYTE = 10**9
Bytes = npt.NDArray[np.uint8]


@contextmanager
def recalled(run: Run) -> Iterator[None]:
    """Within it, what a frozen encoder has computed once is read from a file, if the run is to keep such a one.

    The file is removed when this ends as it should; that of a run which was stopped stays for the next sitting.

    Raises:
        ForeignFileError: If there is a file in its place that seg has not made.
    """
    network = bare(run.model)
    if not run.config.cache_features or not isinstance(network, Segmenter):
        yield
        return
    names = encoder_parts(network)
    path = run.folder / (f"{run.ranks.rank}-{FILE_NAME}" if run.ranks.rank else FILE_NAME)
    most = int(run.config.cache_features * _GIGABYTE / run.ranks.count)
    file = FeatureFile(path, _about(network, names, run.compute.dtype), most)
    # The averaged network has the same encoder: what does not change has itself as its average.
    networks = [network] if run.averaged is None else [network, bare(run.averaged)]
    parts: list[Any] = []
    for name in names:
        for part in (one.get_submodule(name) for one in networks):
            part.forward = torch.compiler.disable(Recalled(name, part, file).forward)  # type: ignore[no-untyped-call]
            parts.append(part)
    finished = False
    try:
        yield
        finished = True
    finally:
        for part in parts:
            del part.forward
        file.close(remove=finished)


class Recalled:
    """The forward pass of a part of a network that computes as in evaluation and learns nothing.

    While it is trained, for inputs of which gradients are wanted, and for what is no batch of pictures, it does what
    the part does. Of a batch of which some is known, only the rest is computed.

    Args:
        name: Of the part.
        part: The part; its own forward pass is looked up now.
        file: Where features are kept.
    """

    def __init__(self, name: str, part: nn.Module, file: FeatureFile) -> None:
        self._name, self._part, self._file = name, part, file
        self._plain: Callable[..., Any] = part.forward
        self._forms: dict[str, _Form | None] = {}

    def forward(self, *args: Any, **named: Any) -> Any:
        """As the part itself is called."""
        given, spec = tree_flatten((args, named))
        tensors = [value for value in given if isinstance(value, Tensor)]
        if self._part.training or not _are_pictures(given, tensors):
            return self._plain(*args, **named)
        others = [value for value in given if not isinstance(value, Tensor)]
        about = repr((self._name, others, [(one.dtype, tuple(one.shape[1:])) for one in tensors]))
        if about not in self._forms:
            # The first batch of its kind is computed in any case, which shows what the part gives.
            output = self._plain(*args, **named)
            form = self._forms[about] = _Form.of(output, tensors)
            if form is not None:
                for key, content in zip(_keys(about, tensors), form.packed(output), strict=True):
                    self._file.add(key, content)
            return output
        form = self._forms[about]
        if form is None:
            return self._plain(*args, **named)
        keys = _keys(about, tensors)
        contents = [self._file.read(key) for key in keys]
        missing = [number for number, one in enumerate(contents) if one is None]
        if missing:
            rows = torch.tensor(missing, device=tensors[0].device)
            some = [value[rows] if isinstance(value, Tensor) else value for value in given]
            # A batch that is new as a whole stays as it is, and so does how its kernels round.
            args, named = tree_unflatten(some if len(missing) < len(keys) else given, spec)
            output = self._plain(*args, **named)
            for number, content in zip(missing, form.packed(output), strict=True):
                self._file.add(keys[number], content)
                contents[number] = content
            if len(missing) == len(keys):
                return output
        return form.unpacked([one for one in contents if one is not None], tensors)


@dataclass(frozen=True)
class _Kept:
    """A tensor that an encoder gives, as it is of one picture: dtype, shape, and its axes from outer to inner."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "_Kept":
        """How a tensor of a batch is kept."""
        strides: tuple[int, ...] = tensor.stride()
        axes = sorted(range(1, tensor.ndim), key=lambda axis: -strides[axis])
        return cls(tensor.dtype, tuple(tensor.shape[1:]), (0, *axes))

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def tensor(self, bytes_BN: Bytes) -> Tensor:
        """The tensor of a batch, on the CPU."""
        flat_BN = torch.from_numpy(np.ascontiguousarray(bytes_BN)).view(self.dtype)
        # Kernels are chosen by how axes lie in memory, and each rounds in its own way.
        laid_out = flat_BN.view(len(bytes_BN), *self.shape).permute(self.axes).contiguous()
        return laid_out.permute(*np.argsort(self.axes).tolist())


@dataclass(frozen=True)
class _Form:
    """What an encoder gives for pictures of one kind.

    Attributes:
        spec: How it hangs together.
        leaves: What is kept of each picture; the number of the tensor that was given, where that is handed on; and what
            is the same for all pictures.
    """

    spec: TreeSpec
    leaves: tuple[Any, ...]

    @classmethod
    def of(cls, output: Any, tensors: Sequence[Tensor]) -> "_Form | None":
        """The form of an output; None if some of it is neither of one picture each nor plain.

        Args:
            output: What the encoder gave.
            tensors: What it was given for it.
        """
        values, spec = tree_flatten(output)
        handed_on = {id(one): number for number, one in enumerate(tensors)}
        leaves: list[Any] = []
        for value in values:
            if id(value) in handed_on:
                leaves.append(handed_on[id(value)])
            elif isinstance(value, Tensor) and value.ndim and len(value) == len(tensors[0]):
                leaves.append(_Kept.of(value))
            elif value is None:
                leaves.append(None)
            else:
                return None
        return cls(spec, tuple(leaves))

    def packed(self, output: Any) -> list[bytes]:
        """What is kept of each picture of a batch."""
        pairs = zip(tree_flatten(output)[0], self.leaves, strict=True)
        rows = [_bytes_of(value) for value, leaf in pairs if isinstance(leaf, _Kept)]
        return [b"".join(one.tobytes() for one in of_one) for of_one in zip(*rows, strict=True)]

    def unpacked(self, contents: Sequence[bytes], tensors: Sequence[Tensor]) -> Any:
        """The output of a batch, from what was kept and what is given."""
        bytes_BN = np.stack([np.frombuffer(one, np.uint8) for one in contents])
        begin, values = 0, list[Any]()
        for leaf in self.leaves:
            if isinstance(leaf, _Kept):
                values.append(leaf.tensor(bytes_BN[:, begin : begin + leaf.size]).to(tensors[0].device))
                begin += leaf.size
            else:
                values.append(None if leaf is None else tensors[leaf])
        return tree_unflatten(values, self.spec)


def _are_pictures(given: Sequence[Any], tensors: Sequence[Tensor]) -> bool:
    """Whether an encoder is given a batch, without gradients, and beside it what can be told by how it is written."""
    if not tensors or not all(each.ndim and len(each) == len(tensors[0]) for each in tensors):
        return False
    if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        return False
    return all(isinstance(value, Tensor | str | int | float | None) for value in given)


def _keys(about: str, tensors: Sequence[Tensor]) -> list[bytes]:
    """A digest for each picture of all that it is given with."""
    keys = []
    for rows in zip(*map(_bytes_of, tensors), strict=True):
        digest = xxhash.xxh3_128(about.encode())
        for row in rows:
            digest.update(row)
        keys.append(digest.digest())
    return keys


def _bytes_of(tensor: Tensor) -> Bytes:
    """The bytes of each picture, (B, N)."""
    rows: Bytes = tensor.detach().cpu().contiguous().view(len(tensor), -1).view(torch.uint8).numpy()
    return rows


def _about(network: nn.Module, names: Sequence[str], dtype: torch.dtype) -> bytes:
    """Digest of what features follow from beside the pictures: weights and formats."""
    digest = xxhash.xxh3_128(f"{torch.__version__} {dtype}".encode())
    for name in names:
        for key, value in network.get_submodule(name).state_dict().items():
            digest.update(f"{name} {key}".encode())
            digest.update(_bytes_of(value[None]).data)
    return digest.digest()

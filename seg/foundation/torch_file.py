"""Published ``.pth`` files: the only place that reads them, and never anything in them but tensors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

_STARTS = (b"PK", b"\x80")
"""How files that `torch.save` wrote begin: as a zip, earlier as a pickle."""
_WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts put the tensors."""


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """Tensors by name. No code of the file is run: ``weights_only`` builds tensors and plain containers and no more.

    Raises:
        CheckpointError: If it is damaged, or holds more than tensors and plain values.
    """
    require_torch_file(path)
    import torch

    try:
        with warnings.catch_warnings():
            # It warns of the very files that it then refuses.
            warnings.simplefilter("ignore")
            document = torch.load(path, map_location="cpu", weights_only=True)
    # Which exception depends on the damage: zip, unpickling and end-of-file errors have no common class.
    except Exception as error:
        raise _not_tensors(path) from error
    for key in _WRAPPERS:
        if isinstance(document, dict) and isinstance(document.get(key), dict):
            document = document[key]
    if isinstance(document, dict):
        document = _flat(document)
    values = document.items() if isinstance(document, dict) else ()
    # Beside them stand numbers of epochs, settings of optimisers and the like.
    tensors = {str(name): value for name, value in values if isinstance(value, torch.Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors by name; give a file with the state dict of an encoder")
    return tensors


def _flat(document: dict[Any, Any]) -> dict[Any, Any]:
    """State dicts of several parts of a network in one, by the names of the parts and a dot."""
    parts = {name: value for name, value in document.items() if isinstance(value, dict)}
    flat = {name: value for name, value in document.items() if name not in parts}
    return flat | {f"{part}.{name}": value for part, inner in parts.items() for name, value in inner.items()}


def require_torch_file(path: Path) -> None:
    """Refuse a file that does not begin as torch's do; it is not read any further.

    Raises:
        CheckpointError: With the cure.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        if not file.read(2).startswith(_STARTS):
            raise _not_tensors(path)


def _not_tensors(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged or holds more than tensors, which seg does not load; fetch it again, or save its state "
        "dict with safetensors.torch.save_file(tensors, 'model.safetensors') where it came from"
    )

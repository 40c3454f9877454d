"""Published ``.pth`` files: the only place that reads them, and never anything in them but tensors."""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from seg.errors import CheckpointError

_WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts put the tensors."""


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """Tensors by name. No code of the file is run: ``weights_only`` builds tensors and plain containers and no more.

    Raises:
        CheckpointError: If it is damaged, or holds more than tensors and plain values.
    """
    try:
        with warnings.catch_warnings():
            # It warns of the very files that it then refuses.
            warnings.simplefilter("ignore")
            document = torch.load(path, map_location="cpu", weights_only=True)
    # Which exception depends on the damage: zip, unpickling and end-of-file errors have no common class.
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged or holds more than tensors, which seg does not load; fetch it again, or save its state "
            "dict with safetensors.torch.save_file(tensors, 'model.safetensors') where it came from"
        ) from error
    for key in _WRAPPERS:
        if isinstance(document, dict) and isinstance(document.get(key), dict):
            document = document[key]
    tensors = {str(name): value for name, value in document.items()} if isinstance(document, dict) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise CheckpointError(f"{path} holds no tensors by name; give a file with the state dict of an encoder")
    return tensors

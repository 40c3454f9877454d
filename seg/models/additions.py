"""Low-rank additions to the layers of an encoder: out of the weights that are saved, and back for a run that goes on.

They are put in by `seg.engine.lora`. What is saved is the network with its additions added up: plain weights, for which
nobody needs the package that trained them.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

ADAPTER = "default"
"""How the additions of a layer are called in it."""
_BASE, _LOW_RANK = "base_layer", "lora_"


def is_addition(name: str) -> bool:
    """Whether a parameter belongs to a low-rank addition, and not to the layer that it is added to."""
    return f".{_LOW_RANK}" in name


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network as it would be without additions: each is added to the weights of its layer."""
    state = dict(model.state_dict())
    for name, module in layers_with_additions(model):
        for key in [key for key in state if key.startswith(f"{name}.")]:
            value = state.pop(key)
            if key.startswith(f"{name}.{_BASE}."):
                state[key.replace(f"{_BASE}.", "", 1)] = value
        weight = state[f"{name}.weight"]
        state[f"{name}.weight"] = weight + module.get_delta_weight(ADAPTER).detach().to(weight.dtype)
    return state


def apart_state(model: nn.Module) -> dict[str, Tensor]:
    """What `plain_state` adds up, each by itself: tensors of the layers that have additions, and those."""
    names = tuple(f"{name}." for name, _ in layers_with_additions(model))
    return {key: value for key, value in model.state_dict().items() if key.startswith(names)} if names else {}


def put_apart(plain: Mapping[str, Tensor], apart: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the network with additions, from what `plain_state` and `apart_state` gave."""
    inside = f".{_BASE}."
    added_up = {key.replace(inside, ".", 1) for key in apart if inside in key}
    return {key: value for key, value in plain.items() if key not in added_up} | dict(apart)


def layers_with_additions(model: nn.Module) -> list[tuple[str, Any]]:
    """Layers that have additions, and their names."""
    return [(name, one) for name, one in model.named_modules() if hasattr(one, _BASE) and hasattr(one, "lora_A")]

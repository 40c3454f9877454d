"""The encoder as a part of the network that learns at a pace of its own, or not at all."""

import re

import torch
from torch import nn

from seg.config.sections import Config
from seg.config.training import TrainConfig
from seg.errors import ModelError
from seg.models.additions import is_addition
from seg.models.segmenter import Segmenter

_ENCODER = "network.encoder"


def bare(model: nn.Module) -> nn.Module:
    """The network itself, without what torch wraps around it to compile or to distribute it."""
    while True:
        inner = getattr(model, "module", getattr(model, "_orig_mod", None))
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def check_parts(model: Segmenter, config: Config) -> None:
    """Refuse settings of the encoder for a network of one's own that calls no part of it so.

    Raises:
        ModelError: Naming the setting.
    """
    given = {
        f"model.encoder_mode={config.model.encoder_mode}": config.model.encoder_mode != "train",
        "train.freeze_epochs": config.train.freeze_epochs > 0,
        "train.encoder_lr_scale": config.train.encoder_lr_scale != 1,
        "train.layer_decay": config.train.layer_decay < 1,
    }
    named = [name for name, is_given in given.items() if is_given]
    if named and not encoder_parts(model):
        raise ModelError(
            f"{named[0]} is about the encoder, and {model.config.arch} has no part that is called so; leave it out, or "
            "name that part 'encoder' in the network"
        )


def freeze_encoder(model: nn.Module, frozen: bool) -> None:
    """Let the encoder learn or not; a frozen one computes as in evaluation, so its batch statistics stay too.

    Low-rank additions to its layers learn in any case.

    Of one for each sensor both are frozen. What merges their features is no part of what was learned elsewhere, and
    goes on learning.

    Args:
        model: The network, in training mode.
        frozen: Whether the encoder stays as it is.
    """
    network = bare(model)
    if isinstance(network, Segmenter):
        roots = encoder_parts(network)
        assert roots or not frozen, "a network without an encoder"
        for encoder in map(network.get_submodule, roots):
            for name, parameter in encoder.named_parameters():
                parameter.requires_grad_(not frozen or is_addition(name))
            encoder.train(not frozen and model.training)


def rate_scales(model: nn.Module, config: TrainConfig) -> dict[str, float]:
    """Learning rate of each parameter as a multiple of that of the run.

    The deepest layer of the encoder has ``encoder_lr_scale * layer_decay``, the one before it ``layer_decay`` times
    that, and so on to the stem (as in BEiT, Bao et al. 2022, and timm). Without layer decay all of it has
    ``encoder_lr_scale``; everything else has 1.

    Args:
        model: The network, in training mode.
        config: The two settings.

    Returns:
        Scales by the names of the parameters.
    """
    scales = {name: 1.0 for name, _ in model.named_parameters()}
    if not isinstance(model, Segmenter):
        return scales
    depths = _depths(model) if config.layer_decay < 1 else {}
    for name in scales:
        if in_encoder(name):
            scales[name] = config.encoder_lr_scale * config.layer_decay ** depths.get(name, 0)
    return scales


def in_encoder(name: str) -> bool:
    """Whether a parameter belongs to the encoder."""
    return name.startswith(f"{_ENCODER}.")


def _depths(model: Segmenter) -> dict[str, int]:
    """Layers from each encoder parameter up to the decoder: 1 for the deepest layer.

    Where there are several encoders side by side, each counts its own layers.
    """
    called = _call_order(model)
    parameters = dict(model.named_parameters())
    depths: dict[str, int] = {}
    for root in encoder_parts(model):
        own = {name for name in parameters if name.startswith(f"{root}.")}
        with_weights = {_layer(name) for name in own if parameters[name].ndim > 1}
        layers: list[str] = []
        place: dict[str, int] = {}
        for name in (name for name in called if name in own):
            layer = _layer(name)
            # A normalisation that stands alone belongs to the layer before it.
            if not layers or (layer != layers[-1] and layer in with_weights):
                layers.append(layer)
            place[name] = len(layers)
        # What no module calls is used before all of them, as position embeddings are, or not at all.
        depths |= {name: len(layers) + 1 - place.get(name, 1) for name in own}
    return depths


def encoder_parts(model: Segmenter) -> list[str]:
    """Names of the encoders: what has an output stride and holds nothing else that has one.

    A network of one's own has one if it calls a part of it so, and it need not say a stride.
    """
    if model.config.own:
        return [_ENCODER] if model.encoder is not None else []
    names = [
        name for name, module in model.named_modules() if in_encoder(f"{name}.") and hasattr(module, "output_stride")
    ]
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


def _layer(name: str) -> str:
    """What a parameter is in: a numbered block (``layer1.0``, ``stages_2.blocks.3``), or what holds its module."""
    numbered = re.match(r".*?\.\d+(?:\.\d+)*(?=\.)", name)
    return numbered[0] if numbered else name.rsplit(".", 2)[0]


def _call_order(model: Segmenter) -> list[str]:
    """Names of the parameters in the order in which a forward pass comes to them."""
    order: list[str] = []
    handles = []
    for name, module in model.named_modules():
        own = [f"{name}.{parameter}" for parameter, _ in module.named_parameters(recurse=False)]
        if own and in_encoder(f"{name}."):
            handles.append(module.register_forward_pre_hook(lambda _module, _inputs, own=own: order.extend(own)))
    weight = next(model.parameters())
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(weight.new_zeros(1, len(model.bands), model.picture_edge, model.picture_edge))
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return list(dict.fromkeys(order))

"""A published scene classifier into the learned scene head, where both see the same features."""

import timm
import torch
from torch import Tensor

from seg.models.published import Published
from seg.models.segmenter import Segmenter
from seg.models.transfer import Fitted
from seg.models.weights_catalogue import timm_name
from seg.reben.classes import NUM_CLASSES

_TOLERANCE = 1e-3
"""How far logits may lie apart, in their standard deviations: as far as rounding takes them."""


def take_scene_classifier(model: Segmenter, published: Published, fitted: Fitted) -> bool:
    """Give the scene head the weights of a published classifier, if it then says what the published network says.

    A classifier that sees a token, or features behind another norm, convolution or activation, would have the same
    shape and still be worthless; so both networks are run on an image.

    Args:
        model: A network whose encoder has the published weights.
        published: The weights, with their classifier.
        fitted: What they gave to the encoder.

    Returns:
        Whether it was taken; if not, the scene head is as before.
    """
    assert published.classifier is not None
    state = model.state_dict()
    names = ("scene_head.classifier.weight", "scene_head.classifier.bias")
    values = [
        published.tensors[key].flatten(1) if place == 0 else published.tensors[key]
        for place, key in enumerate(published.classifier)
    ]
    if any(name not in state or state[name].shape != value.shape for name, value in zip(names, values, strict=True)):
        return False
    before = {name: state[name].clone() for name in names}
    model.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
    if _says_the_same(model, published, fitted):
        return True
    model.load_state_dict(before, strict=False)
    return False


def _says_the_same(model: Segmenter, published: Published, fitted: Fitted) -> bool:
    name = timm_name(model.config.encoder)
    if not timm.is_model(name):
        return False
    with torch.random.fork_rng(devices=[]):
        network = timm.create_model(name, in_chans=len(model.bands), num_classes=NUM_CLASSES)
    tensors = {**published.tensors, **fitted.stems}
    known = network.state_dict()
    if any(key in known and known[key].shape != value.shape for key, value in tensors.items()):
        return False
    if network.load_state_dict(tensors, strict=False).missing_keys:
        return False
    edge = model.patch_edge
    image_BCHW = torch.randn(1, len(model.bands), edge, edge, generator=torch.Generator().manual_seed(0))
    training = model.training
    model.eval()
    network.eval()
    with torch.no_grad():
        scene_BK: Tensor = model(image_BCHW)[1]
        wanted_BK: Tensor = network(image_BCHW)
    model.train(training)
    return bool((scene_BK - wanted_BK).abs().max() <= _TOLERANCE * wanted_BK.std())

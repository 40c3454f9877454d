"""The cost of networks: against convolutions counted by hand, and real networks against those without weights."""

import pytest
import torch
from torch import nn

from seg.config.sections import ModelConfig
from seg.errors import ModelError
from seg.models import cost
from seg.models.architectures import ARCHITECTURES, SHORT_LIST
from seg.models.cost import cost_of, measure
from seg.models.segmenter import build_segmenter
from seg.pipeline.models import list_models
from seg.reben.bands import MODALITIES

S2 = MODALITIES["s2"]


def counted_by_hooks(model, bands):
    """Multiply-adds of convolutions and linear layers, from the shapes that pass through them."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        if isinstance(layer, nn.ConvTranspose2d):
            # Every input pixel goes to each output channel of its group through the whole kernel.
            total += inputs[0].numel() * (layer.out_channels // layer.groups) * layer.kernel_size[0] ** 2
        elif isinstance(layer, nn.Conv2d):
            height, width = layer.kernel_size
            total += output.numel() * (layer.in_channels // layer.groups) * height * width
        else:
            total += output.numel() * layer.in_features

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, bands, 120, 120))
    for hook in hooks:
        hook.remove()
    return total


def test_the_first_convolution_by_hand():
    """ResNet's stem: 64 filters of 7 x 7 at every second pixel of the patch padded to 128 x 128."""
    stem = 64 * 7 * 7 * 64 * 64
    three, two = (measure(ModelConfig(), bands) for bands in (("B02", "B03", "B04"), ("B02", "B03")))
    assert three.multiply_adds - two.multiply_adds == stem
    assert three.parameters - two.parameters == three.encoder_parameters - two.encoder_parameters == 64 * 7 * 7


@pytest.mark.parametrize(
    ("arch", "encoder"), [("unet", "resnet18"), ("linknet", "mobilenet_v2"), ("deeplabv3plus", "efficientnet-b0")]
)
def test_multiply_adds_are_those_of_the_layers(arch, encoder):
    """Dilated, grouped, transposed and depthwise convolutions, and none of the weights is needed for it."""
    config = ModelConfig(arch=arch, encoder=encoder, scene_head="derived")
    model = build_segmenter(config, S2)
    counted = counted_by_hooks(model, len(S2))
    assert counted > 10**8
    found = measure(config, S2)
    assert found.multiply_adds == counted
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.encoder_parameters == sum(p.numel() for p in model.network.encoder.parameters())


def test_attention_counts():
    """Beside its layers, each of the blocks of a vision transformer takes two products of tokens with tokens."""
    config = ModelConfig(arch="dpt", encoder="tu-test_vit", scene_head="derived")
    model = build_segmenter(config, S2)
    transformer = model.network.encoder.model
    tokens = (128 // 16) ** 2 + transformer.num_prefix_tokens
    attention = 2 * len(transformer.blocks) * tokens**2 * transformer.embed_dim
    assert measure(config, S2).multiply_adds == counted_by_hooks(model, len(S2)) + attention
    assert attention > 0


@pytest.mark.parametrize("head", ["masked", "derived", "learned", "none"])
def test_a_network_without_values_costs_what_a_real_one_does(head):
    config = ModelConfig(arch="segformer", encoder="mit_b0", scene_head=head)
    model = build_segmenter(config, S2)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert measure(config, S2) == cost_of(model)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_what_needs_values_is_built_for_real(monkeypatch):
    built = []

    def build(config, bands, context=0):
        model = build_segmenter(config, bands, context)
        built.append(model)
        if torch.empty(0).device.type == "meta":
            raise RuntimeError("Tensor.item() cannot be called on meta tensors")
        return model

    monkeypatch.setattr(cost, "build_segmenter", build)
    found = measure(ModelConfig(encoder="tu-test_resnet"), S2)
    assert len(built) == 2
    assert found == cost_of(built[1])


def test_default_dtype_and_device_stay():
    measure(ModelConfig(encoder="tu-test_resnet"), S2)
    assert torch.empty(0).device.type == "cpu"


# --- listings --------------------------------------------------------------------------------------------------------


def test_every_architecture_is_listed_with_its_own_encoder():
    """And the default one with a few more, all of which fit it."""
    listing = list_models("s1")
    assert listing.bands == ("VV", "VH")
    pairs = [(network.arch, network.encoder) for network in listing.networks]
    assert len(pairs) == len(set(pairs))
    assert {(name, one.encoder) for name, one in ARCHITECTURES.items()} <= set(pairs)
    assert {encoder for arch, encoder in pairs if arch == "unet"} == set(SHORT_LIST)
    assert listing.misfits == ()
    assert {network.arch for network in listing.networks if network.default} == set(ARCHITECTURES)
    assert set(listing.takes) == set(ARCHITECTURES)
    assert all(0 < n.cost.encoder_parameters < n.cost.parameters for n in listing.networks)


def test_an_encoder_that_does_not_fit_is_named():
    listing = list_models("rgb", encoder="tu-test_vit")
    assert [network.arch for network in listing.networks] == ["dpt"]
    assert {arch for arch, _ in listing.misfits} == set(ARCHITECTURES) - {"dpt"}
    with pytest.raises(ModelError, match="'tu-test_vit' does not fit unet"):
        list_models("rgb", "unet", "tu-test_vit")


def test_an_encoder_for_each_sensor():
    listing = list_models("s1s2", "unet", "tu-test_resnet", fusion="dual")
    config = ModelConfig(arch="unet", encoder="tu-test_resnet", fusion="dual")
    assert listing.networks[0].cost == cost_of(build_segmenter(config, listing.bands))
    assert (
        listing.networks[0].cost.encoder_parameters
        > list_models("s1s2", "unet", "tu-test_resnet").networks[0].cost.encoder_parameters
    )
    with pytest.raises(ModelError, match="needs bands of Sentinel-1 and of Sentinel-2"):
        list_models("s2", fusion="dual")


def test_encoders_by_pattern():
    listing = list_models("rgb", "unet", "tu-test_*net")
    assert {"tu-test_resnet", "tu-test_efficientnet"} <= {network.encoder for network in listing.networks}
    assert all(network.arch == "unet" for network in listing.networks)


def test_all_encoders_are_those_of_smp_and_timm(monkeypatch):
    asked = []

    def note(config, _bands):
        asked.append((config.arch, config.encoder))
        raise ModelError("does not fit")

    monkeypatch.setattr("seg.models.cost.measure", note)
    listing = list_models("rgb", "fpn", every=True)
    assert len(listing.misfits) == len(asked) == len(set(asked)) > 1000
    assert {("fpn", "resnet50"), ("fpn", "tu-resnet50")} <= set(asked)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"arch": "unnet"}, "did you mean"),
        ({"encoder": "resnet19"}, "resnet1"),
        ({"encoder": "nothing*"}, "no encoder is called"),
        ({"bands": "s3"}, "neither a band nor a modality"),
    ],
)
def test_unknown_names(given, message):
    with pytest.raises(ValueError, match=message):
        list_models(**given)

"""Batch normalisation folded into convolutions: the same logits, or nothing is changed."""

import pytest
import torch
from torch import Tensor, nn

from seg.config.sections import ModelConfig
from seg.models.folding import fold_batch_norm
from seg.models.segmenter import Segmenter, build_segmenter

BANDS = ("B02", "B03", "B04", "VV")


def trained(arch: str, encoder: str, **settings: object) -> Segmenter:
    """A network whose statistics and scales are not those of a new one."""
    torch.manual_seed(0)
    model = build_segmenter(ModelConfig(arch=arch, encoder=encoder, **settings), BANDS).eval()
    for norm in norms(model):
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 2)
        norm.weight.data.uniform_(0.5, 1.5)
        norm.bias.data.normal_(0, 0.2)
    return model


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def images(edge: int = 96) -> Tensor:
    return torch.randn(2, len(BANDS), edge, edge, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("arch", "encoder", "settings", "left"),
    [
        ("unet", "resnet18", {}, 0),
        ("deeplabv3plus", "resnet18", {}, 0),
        ("unetplusplus", "tu-test_efficientnet", {}, None),
        ("segformer", "mit_b0", {}, 0),
        ("unet", "resnet18", {"fusion": "dual"}, 0),
    ],
)
def test_logits_stay(arch: str, encoder: str, settings: dict[str, str], left: int | None):
    model = trained(arch, encoder, **settings)
    count = len(norms(model))
    with torch.inference_mode():
        expected = model.pixel_logits(images())
        folded = fold_batch_norm(model, torch.float32)
        found = model.pixel_logits(images())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
    assert folded > 0
    assert len(norms(model)) == count - folded
    assert left is None or len(norms(model)) == left


@torch.inference_mode()
def test_bfloat16_is_no_less_exact_than_before():
    model = trained("unet", "resnet18")
    exact = model.pixel_logits(images())

    def error() -> float:
        with torch.autocast("cpu", torch.bfloat16):
            return float((model.pixel_logits(images()) - exact).square().mean().sqrt())

    before = error()
    fold_batch_norm(model, torch.bfloat16)
    assert error() < 1.1 * before
    assert model.network.encoder.conv1.weight.dtype == torch.bfloat16


class Small(nn.Module):
    """As much of a `Segmenter` as folding looks at."""

    bands, patch_edge = BANDS, 32

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(len(BANDS), 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.other = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.norm.running_mean.fill_(0.5)
        self.other.running_var.fill_(3)


class Looks(Small):
    """Takes what a convolution gives beside the normalisation."""

    def pixel_logits(self, images_BCHW: Tensor) -> Tensor:
        first_BCHW = self.first(images_BCHW)
        return self.norm(first_BCHW) + first_BCHW.abs()


class Repeats(Small):
    """Uses a convolution twice, each time with another normalisation."""

    def pixel_logits(self, images_BCHW: Tensor) -> Tensor:
        inner_BCHW = self.norm(self.second(self.first(images_BCHW).relu())).relu()
        return self.other(self.second(inner_BCHW))


@pytest.mark.parametrize("kind", [Looks, Repeats])
@torch.inference_mode()
def test_what_cannot_be_folded_is_left_as_it_was(kind: type[Small]):
    model = kind().eval()
    modules, expected = dict(model.named_modules()), model.pixel_logits(images(32))
    assert fold_batch_norm(model, torch.bfloat16) == 0
    assert dict(model.named_modules()) == modules
    assert torch.equal(model.pixel_logits(images(32)), expected)

"""A network of one's own: what it lacks is named, and an error in it is its own."""

from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.base import SegmentationHead, SegmentationModel
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn

from seg.config.sections import ModelConfig
from seg.errors import ModelError
from seg.models.architectures import ARCHITECTURES, Architecture
from seg.models.segmenter import build_segmenter
from seg.models.start import _MOST_NAMED, _summed_up


class MadeForThisError(RuntimeError):
    """Not an error of seg."""


class LastLevel(nn.Module):
    """A decoder that takes the finest features, and has an error if asked."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    def forward(self, features: list[Tensor]) -> Tensor:
        if self.error is not None:
            raise self.error
        return features[1]


class Own(SegmentationModel):  # type: ignore[misc]
    """What smp's networks have, but for what is taken away."""

    without: str = ""
    error: Exception | None = None

    def __init__(self, encoder_name: str, encoder_weights: Any, in_channels: int, classes: int, **options: Any) -> None:
        super().__init__()
        self.encoder = get_encoder(encoder_name, in_channels, weights=encoder_weights, **options)
        self.decoder = LastLevel(self.error)
        self.segmentation_head = SegmentationHead(self.encoder.out_channels[1], classes, kernel_size=1, upsampling=2)
        self.classification_head = None
        self.initialize()
        if self.without:
            owner, _, name = self.without.rpartition(".")
            delattr(self.get_submodule(owner) if owner else self, name)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> type[Own]:
    kind = type("MyNet", (Own,), {})
    monkeypatch.setitem(smp.MODEL_ARCHITECTURES_MAPPING, "mynet", kind)
    monkeypatch.setitem(ARCHITECTURES, "mynet", Architecture())
    return kind


CONFIG = ModelConfig(arch="mynet", encoder="tu-test_resnet")


def test_one_that_has_everything_is_built(own: type[Own]) -> None:
    model = build_segmenter(CONFIG, ("B02", "B03")).eval()
    assert model(torch.zeros(1, 2, 120, 120))[0].shape == (1, 19, 120, 120)


@pytest.mark.parametrize("fusion", ["stack", "dual"])
@pytest.mark.parametrize("part", ["encoder", "decoder", "segmentation_head"])
def test_a_part_that_is_lacking_is_named(own: type[Own], part: str, fusion: Any) -> None:
    own.without = part
    with pytest.raises(ModelError) as caught:
        build_segmenter(CONFIG.model_copy(update={"fusion": fusion}), ("VV", "B02"))
    assert f"'mynet' (MyNet) has no {part}" in str(caught.value)
    assert "does not fit" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [MadeForThisError("a bug of mine"), ValueError("a bug of mine"), KeyError("key"), TypeError("a type")]
)
def test_an_error_in_it_is_shown_as_it_is(own: type[Own], error: Exception) -> None:
    own.error = error
    with pytest.raises(type(error)) as caught:
        build_segmenter(CONFIG, ("B02", "B03"))
    assert caught.value is error
    assert any("forward" in entry.name for entry in caught.traceback)
    assert "'mynet'" in error.__notes__[0]


def test_an_encoder_that_does_not_fit_a_network_of_smp_is_still_said_to() -> None:
    with pytest.raises(ModelError, match="does not fit"):
        build_segmenter(ModelConfig(arch="dpt", encoder="resnet18"), ("B02", "B03"))


def test_tensors_that_were_left_out_are_summed_up() -> None:
    few = tuple(f"network.decoder.{i}" for i in range(_MOST_NAMED))
    assert _summed_up(few) == ", ".join(few)
    many = [f"network.decoder.blocks.{i}" for i in range(54)] + ["scene_head.weight", "scene_head.bias", "odd"]
    assert _summed_up(many) == "54 of the decoder and 2 of the scene head and 1 others, such as odd"
    assert len(_summed_up([f"{'x' * 10_000}{i}" for i in range(1000)])) < 200

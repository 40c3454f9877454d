"""Two sensors: an encoder each, networks that miss one, and patches that lose one in training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from seg.config.sections import ModelConfig
from seg.engine.modality_dropout import check_modality_dropout, sensors_present
from seg.errors import ModelError, WrongUseError
from seg.models.architectures import ARCHITECTURES
from seg.models.card import Data
from seg.models.checkpoint import load_checkpoint, make_card, read_checkpoint, save_checkpoint
from seg.models.fusion import DualEncoder, WithoutSensor
from seg.models.segmenter import Segmenter, build_segmenter
from seg.reben.bands import BANDS, MODALITIES
from seg.reben.classes import NUM_CLASSES

MIXED = ("B02", "VH", "B03", "B04", "VV")
S1_AT, S2_AT = [1, 4], [0, 2, 3]
ENCODERS = {"dpt": "tu-test_vit", "segformer": "mit_b0", "pan": "resnet18", "deeplabv3": "resnet18"}
FUSIONS = ("stack", "dual")


def build(arch: str = "linknet", bands: tuple[str, ...] = MIXED, fusion: str = "dual", **more: object) -> Segmenter:
    torch.manual_seed(0)
    settings = {"encoder": ENCODERS.get(arch, "tu-test_resnet"), **more}
    return build_segmenter(ModelConfig(arch=arch, fusion=fusion, **settings), bands)


def images(height: int = 60, width: int = 60, batch: int = 2, bands: int = len(MIXED)) -> Tensor:
    return torch.randn(batch, bands, height, width, generator=torch.Generator().manual_seed(1))


def settle(model: nn.Module) -> nn.Module:
    """Weights away from where they start, so that nothing is zero by chance."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return model.eval()


# ------------------------------------------------------------ two encoders


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_takes_two_encoders(arch: str):
    model = build(arch)
    assert isinstance(model.network.encoder, DualEncoder)
    present = torch.tensor([[True, False], [True, True]])
    logits, scene = model(images(), present)
    (logits.square().mean() + scene.square().mean()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    # Every merge and every constant takes part, or training on several processes would wait for it for ever.
    own = [name for name in gradients if ".merges." in name or ".token_merges." in name or ".absent." in name]
    assert own
    assert all(gradients[name] is not None and gradients[name].isfinite().all() for name in own)
    for sensor, channels in (("s1", 2), ("s2", 3)):
        stem = next(n for n, p in model.named_parameters() if f".encoders.{sensor}." in n and p.ndim == 4)
        assert gradients[stem].shape[1] == channels
        assert gradients[stem].abs().sum() > 0
    model.zero_grad()
    model(images())[0].sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if name in own)

    model.eval()
    for height, width in ((1, 1), (70, 33)):
        with torch.no_grad():
            logits, scene = model(images(height, width, 1))
        assert logits.shape == (1, NUM_CLASSES, height, width)
        assert logits.isfinite().all()
        assert scene.isfinite().all()


@pytest.mark.parametrize("encoder", ["vgg11", "resnet18", "tu-test_efficientnet", "tu-test_convnext"])
def test_every_kind_of_encoder_can_be_two(encoder: str, monkeypatch: pytest.MonkeyPatch):
    """With and without the image as the first level, and with an empty second one."""
    # VGG draws 120 million weights of a classifier, which it then throws away.
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda _: None)
    monkeypatch.setattr(torch.nn.init, "normal_", lambda tensor, *_: tensor)
    model = settle(build("fpn" if "convnext" in encoder else "unet", encoder=encoder))
    single = build("fpn" if "convnext" in encoder else "unet", encoder=encoder, fusion="stack")
    with torch.no_grad():
        merged = model.network.encoder(images(64, 64))
        assert [level.shape for level in merged] == [level.shape for level in single.network.encoder(images(64, 64))]
    assert list(model.network.encoder.out_channels) == list(single.network.encoder.out_channels)
    assert torch.equal(merged[0], images(64, 64)) == (encoder != "vgg11")


def test_it_starts_as_the_mean_of_both_and_each_sensor_sees_its_bands():
    model = build().eval()
    encoder = model.network.encoder
    batch = images(64, 64)
    with torch.no_grad():
        merged = encoder(batch)
        levels = [encoder.encoders["s1"](batch[:, S1_AT]), encoder.encoders["s2"](batch[:, S2_AT])]
    assert torch.equal(merged[0], batch)
    for level in range(1, len(merged)):
        torch.testing.assert_close(merged[level], (levels[0][level] + levels[1][level]) / 2)


def test_the_merge_is_a_convolution_of_the_concatenation():
    model = settle(build())
    encoder = model.network.encoder
    batch = images(64, 64)
    with torch.no_grad():
        merged = encoder(batch)
        both = torch.cat([encoder.encoders["s1"](batch[:, S1_AT])[-1], encoder.encoders["s2"](batch[:, S2_AT])[-1]], 1)
        weight, bias = encoder.merges[-1].weight[:, :, 0, 0], encoder.merges[-1].bias
        expected = torch.einsum("oc,bchw->bohw", weight, both) + bias[:, None, None]
    torch.testing.assert_close(merged[-1], expected, rtol=1e-4, atol=1e-4)


def test_the_learned_scene_head_sees_the_merged_features_of_the_image_alone():
    model = settle(build(scene_head="learned"))
    batch = images(64, 96)
    with torch.no_grad():
        _, scene = model(batch)
        features = model.network.encoder(batch)[-1].mean((2, 3))
        expected = model.scene_head.classifier(features)
    torch.testing.assert_close(scene, expected, rtol=1e-4, atol=1e-4)


def test_the_order_of_the_bands_does_not_decide_which_sensor_they_are_of():
    model = settle(build())
    other = tuple(sorted(MIXED))
    again = settle(build(bands=other))
    # Within a sensor the order is that of the bands: VH, VV and B02, B03, B04 in both.
    again.load_state_dict(model.state_dict())
    batch = images()
    with torch.no_grad():
        moved = again(batch[:, [MIXED.index(name) for name in other]])[0]
        torch.testing.assert_close(moved, model(batch)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bands", [("VV", "VH"), MODALITIES["s2"]])
def test_two_encoders_need_two_sensors(bands: tuple[str, ...]):
    with pytest.raises(ModelError, match=r"fusion 'dual' needs bands of Sentinel-1 and of Sentinel-2, [^\n]*s1s2"):
        build(bands=bands)


def test_what_does_not_fit_is_still_one_sentence():
    with pytest.raises(ModelError, match="encoder 'tu-test_vit' does not fit unet"):
        build("unet", encoder="tu-test_vit")


def test_bfloat16_channels_last_and_compile():
    model = settle(build())
    present = torch.tensor([[True, False], [True, True]])
    with torch.no_grad():
        plain = model(images(), present)[0]
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(images(), present)[0], plain)
        model.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = model(images().to(memory_format=torch.channels_last), present)[0]
    assert low.dtype == torch.bfloat16
    assert (low.float() - plain).std() < 0.1 * plain.std()


# ------------------------------------------------------------ a missing sensor


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("scene_head", ["masked", "derived", "learned"])
@pytest.mark.parametrize(("sensor", "channels"), [("s1", S1_AT), ("s2", S2_AT)])
def test_a_missing_sensor_is_not_looked_at(fusion: str, scene_head: str, sensor: str, channels: list[int]):
    model = settle(build(fusion=fusion, scene_head=scene_head))
    without = WithoutSensor(model, sensor)
    batch, other = images(), images()
    other[:, channels] = torch.nan
    with torch.no_grad():
        expected, scene = without(batch)
        assert torch.equal(without(other)[0], expected)
        assert torch.equal(without(other)[1], scene)
        assert expected.isfinite().all()
        assert (model(batch)[0] - expected).abs().max() > 1e-3
        kept = [index for index in range(len(MIXED)) if index not in channels]
        other[:, kept] += 1
        assert not torch.equal(without(other)[0], expected)


def test_for_one_encoder_a_missing_sensor_is_zero():
    model = settle(build(fusion="stack"))
    batch = images()
    zeroed = batch.clone()
    zeroed[:, S1_AT] = 0
    with torch.no_grad():
        assert torch.equal(WithoutSensor(model, "s1")(batch)[0], model(zeroed)[0])


@pytest.mark.parametrize("arch", ["linknet", "dpt"])
def test_for_two_encoders_a_missing_sensor_is_a_learned_constant(arch: str):
    model = build(arch).eval()
    encoder = model.network.encoder
    with torch.no_grad():
        for name, constant in encoder.absent.items():
            constant.fill_(float(name[1:2]) + int(name.rpartition("_")[2]))
    batch = images(64, 64)
    with torch.no_grad():
        out = encoder(batch, torch.tensor([[False, True], [True, True]]))
        s2 = encoder.encoders["s2"](batch[:, S2_AT])
        s1 = encoder.encoders["s1"](batch[:, S1_AT])
    tokens = isinstance(out, tuple)
    levels, s1_levels, s2_levels = (each[0] if tokens else each for each in (out, s1, s2))
    for level in range(0 if tokens else 1, len(levels)):
        torch.testing.assert_close(levels[level][0], (s2_levels[level][0] + 1 + level) / 2)
        torch.testing.assert_close(levels[level][1], (s1_levels[level][1] + s2_levels[level][1]) / 2)
    if tokens:
        torch.testing.assert_close(out[1][2][0], (s2[1][2][0] + 3) / 2)
    else:
        assert (levels[0][0, S1_AT] == 0).all()
        assert torch.equal(levels[0][1], batch[1])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_all_sensors_present_is_the_network_as_it_is(fusion: str):
    model = settle(build(fusion=fusion))
    with torch.no_grad():
        assert torch.equal(model(images(), torch.ones(2, 2, dtype=torch.bool))[0], model(images())[0])


# ------------------------------------------------------------ checkpoints


def card_of(model: Segmenter) -> object:
    statistics = [(BANDS[name].mean, BANDS[name].std) for name in model.bands]
    return make_card(model, statistics, "bilinear", Data(fingerprint="f", synthetic=False, train_patches=1))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_checkpoint_carries_the_fusion(tmp_path: Path, fusion: str):
    model = settle(build(fusion=fusion))
    save_checkpoint(tmp_path / "best", model, card_of(model))
    loaded, card = load_checkpoint(tmp_path / "best")
    assert (card.fusion, loaded.config.fusion) == (fusion, fusion)
    with torch.no_grad():
        assert torch.equal(loaded(images())[0], model(images())[0])


def test_a_checkpoint_from_before_there_was_fusion(tmp_path: Path):
    model = settle(build(fusion="stack"))
    save_checkpoint(tmp_path / "best", model, card_of(model))
    path = tmp_path / "best" / "card.json"
    card = json.loads(path.read_text()) | {"format": 2}
    del card["fusion"]
    path.write_text(json.dumps(card))
    assert read_checkpoint(tmp_path / "best")[0].fusion == "stack"
    loaded, _ = load_checkpoint(tmp_path / "best")
    with torch.no_grad():
        assert torch.equal(loaded(images())[0], model(images())[0])


# ------------------------------------------------------------ modality dropout


@given(
    probability=st.floats(0.01, 1),
    seed=st.integers(0, 2**31 - 1),
    epoch=st.integers(0, 500),
    rows=st.lists(st.integers(0, 600_000), min_size=1, max_size=40),
)
def test_never_both_sensors_and_always_the_same(probability, seed, epoch, rows):
    present = sensors_present(probability, seed, epoch, np.array(rows))
    assert present.dtype == torch.bool
    assert present.shape == (len(rows), 2)
    assert present.any(1).all()
    # Each patch by itself: neither batches nor processes matter.
    alone = [sensors_present(probability, seed, epoch, np.array([row])) for row in rows]
    assert torch.equal(present, torch.cat(alone))
    if probability == 1:
        assert (present.sum(1) == 1).all()


@pytest.mark.parametrize("probability", [0.1, 0.5, 1.0])
def test_the_sensors_are_lost_as_often_as_asked(probability: float):
    present = sensors_present(probability, 7, 3, np.arange(4000)).float()
    np.testing.assert_allclose(1 - present.mean(0), [probability / 2] * 2, atol=0.03)
    assert not torch.equal(present, sensors_present(probability, 7, 4, np.arange(4000)).float())
    assert not torch.equal(present, sensors_present(probability, 8, 3, np.arange(4000)).float())


def test_without_dropout_nothing_is_drawn():
    assert sensors_present(0.0, 0, 0, np.arange(3)) is None


def test_dropout_needs_two_sensors():
    check_modality_dropout(0.5, MIXED)
    check_modality_dropout(0.0, ("VV",))
    with pytest.raises(WrongUseError, match=r"modality_dropout=0\.5 needs bands of Sentinel-1 and of Sentinel-2"):
        check_modality_dropout(0.5, ("VV", "VH"))

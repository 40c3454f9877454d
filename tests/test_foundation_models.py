"""Each foundation model against its package: the same values in, the same features out. Skipped where it is missing."""

import math
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seg.foundation.build
from seg.config.sections import ModelConfig
from seg.engine.encoder import freeze_encoder
from seg.foundation.backbone import positions
from seg.foundation.build import build_backbone
from seg.foundation.catalogue import FOUNDATIONS, find_foundation
from seg.foundation.encoder import FoundationEncoder
from seg.models.additions import is_addition, plain_state
from seg.models.card import Data
from seg.models.checkpoint import make_card
from seg.models.segmenter import build_segmenter
from seg.reben.bands import BANDS, S1_BANDS, S2_BANDS, of_sensor

SMALL: dict[str, dict[str, Any]] = {
    "fm-dofa-small": {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 128},
    "fm-croma-base": {"encoder_dim": 64, "encoder_depth": 4},
    "fm-copernicus-base": {"embed_dim": 64, "num_heads": 4, "depth": 4},
    "fm-satlas-swinv2-tiny": {},
    "fm-panopticon-base": {"depth": 4},
    "fm-prithvi2-tiny": {"depth": 4},
    "fm-terramind1-tiny": {},
    "fm-olmoearth1.2-nano": {},
    "fm-clay1.5-large": {"dim": 64, "heads": 4, "depth": 4},
}
"""A model of each family, smaller where its class allows it."""
EDGE = 128
ANY_SIZE = {"fm-dofa-small": True, "fm-terramind1-tiny": True, "fm-clay1.5-large": True, "fm-prithvi2-tiny": False}
"""Whether the ONNX file takes images of any size, or patches alone."""
PARAMETERS = {
    "fm-dofa-base": 111.3,  # million; DOFA's own count of its ViT-B
    "fm-prithvi2-300": 304,
    "fm-prithvi2-600": 631,
    "fm-satlas-swinv2-base": 87,  # Swin v2 B without its classifier
    "fm-terramind1-base": 87,
    "fm-clay1.5-large": 311,
}
"""What is published, in millions."""

pytestmark = pytest.mark.filterwarnings("ignore")


def needs_package(name: str) -> None:
    package = find_foundation(name).family.package
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'seg[geofm]'")


def stored(bands: tuple[str, ...], edge: int = EDGE) -> dict[str, Tensor]:
    """DN and dB of two images, some of them far from the mean."""
    generator = torch.Generator().manual_seed(3)
    noise = {name: torch.randn(2, 1, edge, edge, generator=generator) for name in S1_BANDS + S2_BANDS}
    return {name: BANDS[name].mean + 1.5 * BANDS[name].std * noise[name] for name in bands}


def encoder_of(name: str, bands: tuple[str, ...]) -> FoundationEncoder:
    torch.manual_seed(0)
    encoder = FoundationEncoder(build_backbone(name, bands, **SMALL[name]), bands).eval()
    # Some position embeddings and tokens are 0 until weights are loaded, which would hide a mistake.
    for key, parameter in encoder.backbone.named_parameters():
        if key.endswith(("pos_embed", "_token", "cls_token")):
            nn.init.normal_(parameter, std=0.1)
    return encoder


def features(encoder: FoundationEncoder, values: dict[str, Tensor], bands: tuple[str, ...]) -> list[Tensor]:
    """What seg makes of stored values: normalised by reBEN's statistics, as data sets hand them out."""
    normalised = [(values[name] - BANDS[name].mean) / BANDS[name].std for name in bands]
    with torch.no_grad():
        maps: list[Tensor] = encoder.backbone(encoder.values(torch.cat(normalised, 1)), bands)
    return maps


def in_order(values: dict[str, Tensor], names: tuple[str, ...]) -> Tensor:
    return torch.cat([values[name] for name in names], 1)


def standardised(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: (value - BANDS[name].mean) / BANDS[name].std for name, value in values.items()}


def by_dofa(encoder: FoundationEncoder, values: dict[str, Tensor]) -> Tensor:
    waves = {"VV": 5.405, "VH": 5.405, "B02": 0.49, "B08": 0.842}
    pooled: Tensor = encoder.backbone.net(in_order(standardised(values), tuple(waves)), list(waves.values()))
    return pooled


def by_croma(encoder: FoundationEncoder, values: dict[str, Tensor]) -> Tensor:
    from torchgeo.models import CROMA

    kinds = [kind for kind, name in (("sar", "VV"), ("optical", "B02")) if name in values]
    package = CROMA(modalities=kinds, encoder_dim=64, encoder_depth=4, image_size=EDGE)
    package.load_state_dict(encoder.backbone.net.state_dict(), strict=False)
    between = {}
    for name, value in values.items():
        # As CROMA's own README normalises a data set, here with the statistics of reBEN.
        low, high = (BANDS[name].mean + sign * 2 * BANDS[name].std for sign in (-1, 1))
        between[name] = ((value - low) / (high - low)).clip(0, 1)
    given = {
        f"x_{kind}": in_order(between, bands)
        for kind, bands in (("sar", S1_BANDS), ("optical", S2_BANDS))
        if kind in kinds
    }
    out = package.eval()(**given)
    tokens: Tensor = out["joint_encodings" if len(kinds) == 2 else f"{kinds[0]}_encodings"]
    return tokens


def by_copernicus(encoder: FoundationEncoder, values: dict[str, Tensor]) -> Tensor:
    from torchgeo.models import CopernicusFM

    package = CopernicusFM(**SMALL["fm-copernicus-base"])
    package.load_state_dict(encoder.backbone.net.state_dict(), strict=False)
    package.fc_norm = nn.Identity()
    known = {
        "VV": (-12.548, 5.257, 5e7, 1e9),
        "B02": (1117.2, 736.0, 490, 65),
        "B12": (1118.2, 736.7, 2190, 180),
    }
    pixels = torch.cat([(values[name] - mean) / std for name, (mean, std, *_) in known.items()], 1)
    unknown = math.nan
    about = torch.tensor([[unknown, unknown, unknown, 0.16**2]] * 2)
    pooled: Tensor = package.eval()(
        pixels, about, [row[2] for row in known.values()], [row[3] for row in known.values()], kernel_size=16
    )
    return pooled


def by_satlas(encoder: FoundationEncoder, values: dict[str, Tensor]) -> Tensor:
    from torchgeo.models.swin import Swin_V2_T_Weights

    weights = Swin_V2_T_Weights.SENTINEL2_SI_MS_SATLAS
    names = weights.meta["bands"]
    # As the files hold them: colours as 8 bits, of which a true-colour image spreads 3,558 digital numbers.
    pixels = torch.cat([values[n] * 255 / 3558 if n in ("B04", "B03", "B02") else values[n] for n in names], 1)
    prepared = weights.transforms(torch.cat([pixels, pixels], -1).repeat(1, 1, 2, 1))
    # torchgeo crops to 256 pixels, which is all of the repeated image; what Satlas bounds it leaves to the user.
    pixels = prepared[..., :EDGE, :EDGE].clip(0, 1)
    net = encoder.backbone
    maps: Tensor = net.norm(net.features(pixels)).movedim(-1, 1)
    return maps


def by_panopticon(encoder: FoundationEncoder, values: dict[str, Tensor]) -> Tensor:
    from torchgeo.models import panopticon_vitb14

    edge = 126
    package = panopticon_vitb14(img_size=edge).model
    package.blocks = package.blocks[:4]
    state = encoder.backbone.net.state_dict()
    state["pos_embed"] = positions(state["pos_embed"], edge // 14, edge // 14)
    package.load_state_dict(state)
    names = {"VV": -1.0, "VH": -2.0, "B04": 665.0}
    pixels = in_order(standardised(values), tuple(names))
    tokens: Tensor = package.eval().forward_features(
        {"imgs": pixels, "chn_ids": torch.tensor([list(names.values())] * 2)}
    )
    return tokens[:, 1:]


def by_prithvi(encoder: FoundationEncoder, values: dict[str, Tensor]) -> Tensor:
    means, stds = [1087.0, 1342, 1433, 2734, 1958, 1363], [2248.0, 2179, 2178, 1850, 1242, 1049]
    names = ("B02", "B03", "B04", "B8A", "B11", "B12")
    pixels = torch.cat([(values[n] - m) / s for n, m, s in zip(names, means, stds, strict=True)], 1)
    # Tokens come in a random order, of which the package says how to undo it.
    tokens, _, order = encoder.backbone.net(pixels, mask_ratio=0.0)
    restored: Tensor = tokens[:, 1:].gather(1, order[..., None].expand(-1, -1, tokens.shape[-1]))
    return restored


def by_terramind(encoder: FoundationEncoder, values: dict[str, Tensor]) -> Tensor:
    from terratorch.models.backbones.terramind.model import terramind_register as register

    given = {}
    for kind, key, names in (("S2L2A", "sen2l2a", S2_BANDS), ("S1GRD", "sen1grd", S1_BANDS)):
        if names[0] in values:
            mean, std = (torch.tensor(table[f"untok_{key}@224"]).view(1, -1, 1, 1) for table in statistics(register))
            given[kind] = (in_order(values, names) - mean) / std
    tokens: Tensor = encoder.backbone.net(given)[-1]
    return tokens


def statistics(register: Any) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    return register.v1_pretraining_mean, register.v1_pretraining_std


def by_olmoearth(encoder: FoundationEncoder, values: dict[str, Tensor]) -> Tensor:
    import numpy as np
    from olmoearth_pretrain_minimal import NormalizerV1_2
    from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.utils.constants import Modality
    from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.utils.datatypes import MaskedOlmoEarthSample

    given = {}
    for modality in (Modality.SENTINEL2_L2A, Modality.SENTINEL1):
        names = tuple(name.upper() for name in modality.band_order)
        if names[0] in values:
            stored_BHWTC = in_order(values, names).permute(0, 2, 3, 1)[:, :, :, None].numpy()
            ready = NormalizerV1_2().normalize(modality, stored_BHWTC.astype(np.float64))
            given[modality.name] = torch.from_numpy(ready).float()
            given[f"{modality.name}_mask"] = torch.zeros(*ready.shape[:-1], 1)
    sample = MaskedOlmoEarthSample(timestamps=torch.tensor([[[15, 5, 2017]]] * 2), **given)
    tokens = encoder.backbone.net(sample, patch_size=8)["tokens_and_masks"]
    parts = [getattr(tokens, name).mean((3, 4)) for name in given if not name.endswith("_mask")]
    mean: Tensor = torch.stack(parts).mean(0).flatten(1, 2)
    return mean


def by_clay(encoder: FoundationEncoder, values: dict[str, Tensor]) -> Tensor:
    # Loading the module changes how exactly torch multiplies, for whoever comes later.
    precision, switch = torch.get_float32_matmul_precision(), "TORCH_CUDNN_V8_API_DISABLED"
    before = os.environ.get(switch)
    from terratorch.models.backbones.clay_v15.model import Encoder

    torch.set_float32_matmul_precision(precision)
    if before is None:
        os.environ.pop(switch, None)
    sizes = {"dim": 64, "heads": 4, "depth": 4, "dim_head": 64, "mlp_ratio": 4}
    package = Encoder(mask_ratio=0.0, patch_size=8, shuffle=False, **sizes).eval()
    package.load_state_dict(encoder.backbone.state_dict())
    known = {
        "VV": (-12.113, 8.314, 3.5),
        "VH": (-18.673, 8.017, 4.0),
        "B8A": (2785.0, 1648.0, 0.865),
        "B02": (1105.0, 1809.0, 0.493),
    }
    passes = []
    for names in ([name for name in values if name in S1_BANDS], [name for name in values if name in S2_BANDS]):
        if names:
            tokens, *_ = package(
                {
                    "pixels": torch.cat([(values[n] - known[n][0]) / known[n][1] for n in names], 1),
                    "waves": torch.tensor([known[n][2] for n in names]),
                    "time": torch.zeros(2, 4),
                    "latlon": torch.zeros(2, 4),
                    "gsd": torch.tensor(10.0),
                }
            )
            passes.append(tokens[:, 1:])
    mean: Tensor = torch.stack(passes).mean(0)
    return mean


CASES = [
    ("fm-dofa-small", ("VV", "B02", "VH", "B08"), by_dofa, EDGE),
    ("fm-croma-base", ("B12", *S2_BANDS[:-1], "VH", "VV"), by_croma, EDGE),
    ("fm-croma-base", S2_BANDS, by_croma, EDGE),
    ("fm-croma-base", S1_BANDS[::-1], by_croma, EDGE),
    ("fm-copernicus-base", ("B12", "VV", "B02"), by_copernicus, EDGE),
    ("fm-satlas-swinv2-tiny", ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12"), by_satlas, EDGE),
    ("fm-panopticon-base", ("B04", "VH", "VV"), by_panopticon, 126),
    ("fm-prithvi2-tiny", ("B12", "B11", "B8A", "B04", "B03", "B02"), by_prithvi, EDGE),
    ("fm-terramind1-tiny", ("VH", "VV", *S2_BANDS[::-1]), by_terramind, EDGE),
    ("fm-terramind1-tiny", S2_BANDS, by_terramind, EDGE),
    ("fm-olmoearth1.2-nano", ("VH", *S2_BANDS, "VV"), by_olmoearth, EDGE),
    ("fm-olmoearth1.2-nano", S1_BANDS, by_olmoearth, EDGE),
    ("fm-clay1.5-large", ("VH", "B8A", "VV", "B02"), by_clay, EDGE),
    ("fm-clay1.5-large", ("B02", "B8A"), by_clay, EDGE),
]


@pytest.mark.parametrize(("name", "bands", "package", "edge"), CASES, ids=lambda one: getattr(one, "__name__", None))
def test_features_are_those_of_the_package(name: str, bands: tuple[str, ...], package: Any, edge: int) -> None:
    needs_package(name)
    values = stored(bands, edge)
    encoder = encoder_of(name, bands)
    maps = features(encoder, values, bands)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = package(encoder, values)
    found = maps[-1]
    if expected.ndim == 3:
        found = found.flatten(2).transpose(1, 2)
    elif expected.ndim == 2:
        found = found.mean((2, 3))
    assert len(maps) == 4
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_an_encoder_learns_at_patch_size_and_takes_any_window(name: str) -> None:
    needs_package(name)
    bands = find_foundation(name).family.bands
    encoder = encoder_of(name, bands).train()
    levels = encoder(torch.randn(2, len(bands), 128, 128))
    shapes = [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4)]
    assert [tuple(level.shape[1:]) for level in levels[1:]] == shapes
    sum(level.mean() for level in levels).backward()
    # Every weight of the model is one that features need.
    assert not [key for key, one in encoder.named_parameters() if one.requires_grad and one.grad is None]
    learned = [one for key, one in encoder.backbone.named_parameters() if one.requires_grad and one.ndim > 1]
    assert sum(bool(one.grad.any()) for one in learned) > 0.9 * len(learned)
    with torch.no_grad():
        assert [level.shape[-2:] for level in encoder.eval()(torch.randn(1, len(bands), 64, 160))][-1] == (2, 5)
    other = encoder_of(name, bands)
    other.load_state_dict(encoder.state_dict())
    copied = dict(other.backbone.named_parameters())
    assert all(torch.equal(one, copied[key]) for key, one in encoder.backbone.named_parameters())


@pytest.mark.parametrize("name", [name for name in SMALL if "VV" in FOUNDATIONS[name].family.bands])
def test_a_sensor_that_is_missing_is_as_if_it_had_never_been_there(name: str) -> None:
    needs_package(name)
    bands = find_foundation(name).family.bands
    encoder = encoder_of(name, bands)
    pixels = torch.randn(3, len(bands), 128, 128, generator=torch.Generator().manual_seed(4))
    names = of_sensor(bands, "s2")
    optical = [bands.index(band) for band in names]
    with torch.no_grad():
        alone = encoder.backbone(encoder._fitting(encoder.values(pixels))[:, optical], names)
        together = encoder._of_present(
            encoder._fitting(encoder.values(pixels)), torch.tensor([[True, True], [False, True], [True, False]])
        )
    for one, both in zip(alone, together, strict=True):
        torch.testing.assert_close(both[1], one[1], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(both[0], one[0], atol=1e-3)
        assert both[2].isfinite().all()


def test_published_names_fit() -> None:
    """Names as they stand in published files, which cannot be fetched here."""
    needs_package("fm-prithvi2-tiny")
    backbone = build_backbone("fm-prithvi2-tiny", find_foundation("fm-prithvi2-tiny").family.bands)
    file = {f"encoder.{name}": value for name, value in backbone.net.state_dict().items()}
    file |= {"encoder.temporal_embed_enc.scale": torch.ones(1), "decoder.mask_token": torch.ones(1)}
    taken = backbone.published(file)
    assert set(dict(backbone.named_parameters())) <= set(taken) <= set(backbone.state_dict())


COUNTED = [name for name in FOUNDATIONS if not name.endswith(("-large", "-600")) or name.startswith("fm-clay")]


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_are_as_many_as_are_said(name: str) -> None:
    needs_package(name)
    from seg.models.cost import _NumbersOnTheCpu

    model = find_foundation(name)
    with torch.device("meta"), _NumbersOnTheCpu():
        backbone: Any = build_backbone(name, model.family.bands)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == model.parameters
    assert backbone.patch == model.patch
    if name in PARAMETERS:
        assert model.parameters / 1e6 == pytest.approx(PARAMETERS[name], rel=0.01)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are built with the small models."""
    monkeypatch.setattr(
        seg.foundation.build, "build_backbone", lambda name, bands: build_backbone(name, bands, **SMALL[name])
    )


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", SMALL)
def test_low_rank_additions_learn_and_are_added_up(name: str) -> None:
    needs_package(name)
    pytest.importorskip("peft", reason="peft is not installed, so no additions were made")
    from seg.engine.lora import add_low_rank

    bands = find_foundation(name).family.bands
    torch.manual_seed(0)
    model = build_segmenter(ModelConfig(arch="linknet", encoder=name, scene_head="derived"), bands)
    images = torch.randn(2, len(bands), 120, 120)
    before = model.eval()(images)[0]
    added = add_low_rank(model, 2)
    assert added.kind == "linear layers"
    assert added.layers >= 16
    torch.testing.assert_close(model.eval()(images)[0], before)
    freeze_encoder(model.train(), True)
    pixel, scene = model(images)
    (pixel.square().mean() + scene.square().mean()).backward()
    learning = {key: one for key, one in model.named_parameters() if one.requires_grad}
    assert not [key for key, one in learning.items() if one.grad is None]
    assert all(is_addition(key) for key in learning if ".backbone." in key)
    # Only what is told of places and times, which nobody knows here, may have no effect.
    reached = [key for key, one in learning.items() if ".lora_B." in key and one.grad.any()]
    assert len(reached) >= added.layers - 2
    with torch.no_grad():
        for key, one in learning.items():
            if is_addition(key):
                one.add_(0.05 * torch.randn_like(one))
    plain = build_segmenter(model.config, bands)
    plain.load_state_dict(plain_state(model))
    torch.testing.assert_close(plain.eval()(images)[0], model.eval()(images)[0], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(plain(images)[0], before, atol=1e-2)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("name", "any_size"), ANY_SIZE.items())
def test_a_file_of_onnx_gives_what_torch_gives(name: str, any_size: bool, tmp_path: Path) -> None:
    needs_package(name)
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed, so no file was written")
    from seg.models.onnx import TOLERANCE, write_onnx

    bands = find_foundation(name).family.bands
    torch.manual_seed(0)
    model = build_segmenter(ModelConfig(arch="linknet", encoder=name, scene_head="derived"), bands).eval()
    data = Data(fingerprint="f", synthetic=True, train_patches=1)
    card = make_card(model, [(BANDS[band].mean, BANDS[band].std) for band in bands], "bilinear", data)
    written = write_onnx(tmp_path / "model.onnx", model, card)
    assert written.any_size == any_size
    assert written.difference <= TOLERANCE

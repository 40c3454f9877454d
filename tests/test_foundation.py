"""Foundation models as encoders, by a small model of the same form: it needs no package."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from predicted import Made
from quick import quick_run
from safetensors.torch import save_file
from torch import Tensor, nn

import seg.foundation.build
import seg.foundation.catalogue
from seg.catalogue.hub import _announce
from seg.config.sections import ModelConfig
from seg.errors import CheckpointError, ModelError
from seg.foundation.bands import Scale, check_bands, standardised_as_published, within_deviations
from seg.foundation.catalogue import FOUNDATIONS, check_inputs, find_foundation, why_not
from seg.foundation.encoder import FoundationEncoder
from seg.models.architectures import ARCHITECTURES, check_encoder, encoder_names
from seg.models.checkpoint import load_checkpoint
from seg.models.cost import measure
from seg.models.segmenter import Segmenter, build_segmenter
from seg.models.start import start_segmenter
from seg.models.weights_catalogue import check_weights
from seg.pipeline.card import _foundation
from seg.pipeline.models import list_models
from seg.reben.bands import BANDS, MODALITIES, S2_BANDS

NAME = "fm-dofa-small"
SOME = ("VV", "B02", "VH", "B8A")


class Small(nn.Module):
    """Adds up what a convolution for each band makes of it, with a block for each depth."""

    patch, output_stride, widths = 12, 12, (8, 8, 8, 8)

    def __init__(self, bands: tuple[str, ...]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embed = nn.ModuleDict({name: nn.Conv2d(1, 8, 12, 12, bias=False) for name in sorted(bands)})
        self.blocks = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(4))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        self.scales = {name: Scale(100.0, 10.0, -1.0, 500.0) for name in bands}
        self.seen: list[tuple[str, ...]] = []

    def forward(self, pixels_BCHW: Tensor, bands: tuple[str, ...]) -> list[Tensor]:
        self.seen.append(bands)
        level = sum(self.embed[name](pixels_BCHW[:, [number]]) for number, name in enumerate(bands))
        maps = []
        for block in self.blocks:
            level = block(level).tanh()
            maps.append(level)
        return maps

    def published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value for name, value in tensors.items() if name in self.state_dict()}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small model in the place of all others."""
    monkeypatch.setattr(seg.foundation.build, "build_backbone", lambda _name, bands: Small(tuple(bands)))
    monkeypatch.setattr(seg.foundation.catalogue, "find_spec", lambda _name: object())


def network(bands: tuple[str, ...] = SOME, arch: str = "fpn", **settings: str) -> Segmenter:
    torch.manual_seed(0)
    return build_segmenter(ModelConfig(arch=arch, encoder=NAME, **settings), bands).eval()


def images(bands: tuple[str, ...] = SOME, size: int = 120, count: int = 2) -> Tensor:
    return torch.randn(count, len(bands), size, size, generator=torch.Generator().manual_seed(2))


def test_bands_are_brought_back_to_their_units_and_from_there_to_the_models() -> None:
    encoder = FoundationEncoder(Small(SOME), SOME)
    stored_BCHW = torch.stack([torch.full((8, 8), value) for value in (-12.0, 1500.0, -70.0, 9000.0)])[None]
    mean, std = ([getattr(BANDS[name], what) for name in SOME] for what in ("mean", "std"))
    normalised_BCHW = (stored_BCHW - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)
    values = encoder.values(normalised_BCHW)[0, :, 0, 0].tolist()
    # (value - 100) / 10, not below -1 nor above 500
    assert values == pytest.approx([-1.0, 140.0, -1.0, 500.0], rel=1e-6)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_decoder_learns_and_takes_windows_of_any_size(arch: str) -> None:
    model = network(arch=arch).train()
    logits_BKHW, scene_BK = model(images(size=40))
    assert logits_BKHW.shape == (2, 19, 40, 40)
    (logits_BKHW.mean() + scene_BK.mean()).backward()
    # Training on several processes insists on a gradient for everything, and the model has to learn from it.
    encoder = model.network.encoder
    assert not [name for name, parameter in encoder.named_parameters() if parameter.grad is None]
    assert all(parameter.grad.any() for parameter in encoder.backbone.blocks[-1].parameters())
    with torch.no_grad():
        assert model.eval()(images(size=130, count=1)[..., :70])[0].shape[-2:] == (130, 70)


def test_bands_in_another_order_give_the_same_maps() -> None:
    model, other = network(), network(order := ("B8A", "VH", "VV", "B02"))
    places = [SOME.index(name) for name in order]
    state = model.state_dict()
    stem = "network.encoder.pyramid.stem.0.0.weight"
    state[stem] = state[stem][:, places]
    for name in ("mean_C", "std_C"):
        state[f"network.encoder.{name}"] = state[f"network.encoder.{name}"][places]
    other.load_state_dict(state)
    with torch.no_grad():
        expected, found = model(images())[0], other(images()[:, places])[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_missing_sensor_is_not_shown_to_the_model() -> None:
    model = network()
    present_BS = torch.tensor([[True, True], [False, True], [True, False]])
    pictures = images(count=3)
    backbone = model.network.encoder.backbone
    backbone.seen.clear()
    with torch.no_grad():
        together = model(pictures, present_BS)[0]
        assert {frozenset(bands) for bands in backbone.seen} == {
            frozenset(SOME),
            frozenset({"B02", "B8A"}),
            frozenset({"VV", "VH"}),
        }
        # Whatever the bands of a missing sensor hold is not looked at, and the others are treated as alone.
        pictures[1, [0, 2]] = 50.0
        pictures[2, [1, 3]] = -50.0
        torch.testing.assert_close(model(pictures, present_BS)[0], together)
        torch.testing.assert_close(model(pictures[:1])[0], together[:1], rtol=1e-4, atol=1e-5)
        encoder = model.network.encoder
        levels = encoder(nn.functional.pad(pictures, (4, 4, 4, 4)), present_BS)
        assert not levels[0][1, [0, 2]].any()


def test_training_without_a_sensor_gives_every_parameter_a_gradient() -> None:
    model = network().train()
    model(images(), torch.tensor([[False, True], [False, True]]))[0].mean().backward()
    assert not [name for name, parameter in model.network.encoder.named_parameters() if parameter.grad is None]


def test_what_a_network_says_does_not_depend_on_the_window() -> None:
    """Nothing of the pyramid looks at the whole image; the small model looks at cells of 12 pixels alone."""
    encoder = FoundationEncoder(Small(SOME), SOME).eval()
    picture = images(size=192, count=1)
    with torch.no_grad():
        whole, part = encoder(picture)[1], encoder(picture[..., :96, :96])[1]
    torch.testing.assert_close(part[..., :40, :40], whole[..., :40, :40], rtol=1e-4, atol=1e-5)


def test_two_encoders_see_a_sensor_each() -> None:
    model = network(fusion="dual")
    assert model.network.encoder.encoders["s1"].bands == ("VV", "VH")
    assert model(images())[0].shape == (2, 19, 120, 120)


def test_frozen_the_model_alone_stays_as_it_is(made: Made, tmp_path: Path) -> None:
    run = quick_run(
        tmp_path / "run",
        made.store.folder,
        model__encoder=NAME,
        model__encoder_mode="frozen",
        data__bands="s1s2",
        train__batch_size=4,
    )
    model, card = load_checkpoint(run / "checkpoints" / "best")
    assert card.encoder == NAME
    fresh = Small(MODALITIES["s1s2"]).state_dict()
    (copied := tmp_path / "copied").mkdir()
    document = json.loads((run / "checkpoints" / "best" / "card.json").read_text())
    document["mean"][0] += 1
    (copied / "card.json").write_text(json.dumps(document))
    (copied / "model.safetensors").symlink_to((run / "checkpoints" / "best" / "model.safetensors").resolve())
    with pytest.raises(CheckpointError, match=r"trained with other statistics than its card\.json states"):
        load_checkpoint(copied)
    encoder = model.network.encoder
    assert all(torch.equal(value, fresh[name]) for name, value in encoder.backbone.state_dict().items())
    names = [name for name, parameter in encoder.pyramid.named_parameters() if parameter.ndim > 1]
    torch.manual_seed(0)
    start, _ = start_segmenter(card.network(), card.bands)
    before = start.network.encoder.pyramid.state_dict()
    assert any(not torch.equal(encoder.pyramid.state_dict()[name], before[name]) for name in names)
    # What a run has learned is where another one begins, stem and all.
    again, loaded = start_segmenter(card.network().model_copy(update={"weights": str(run)}), card.bands)
    assert torch.equal(again.network.encoder.state_dict()["pyramid.stem.0.0.weight"], encoder.pyramid.stem[0][0].weight)
    assert loaded[0].decoder
    assert not loaded[0].left_out
    less = tuple(name for name in card.bands if name != "B01")
    fewer, loaded = start_segmenter(card.network().model_copy(update={"weights": str(run)}), less)
    assert loaded[0].bands.dropped == ("B01",)
    assert fewer.network.encoder.mean_C.tolist() == pytest.approx([BANDS[name].mean for name in less])


def test_weights_of_a_file_are_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    tensors = {name: torch.full_like(value, 0.25) for name, value in Small(SOME).state_dict().items()}
    save_file({**tensors, "mask_token": torch.zeros(3)}, tmp_path / "whole.safetensors")
    config = ModelConfig(encoder=NAME, weights=str(tmp_path / "whole.safetensors"))
    model, (loaded,) = start_segmenter(config, SOME)
    assert all((parameter == 0.25).all() for parameter in model.network.encoder.backbone.parameters())
    assert (loaded.tensors, loaded.left_out) == (len(tensors), ("mask_token",))
    torch.save({"model": tensors}, tmp_path / "whole.pth")
    # Some scripts put the tensors beside what else they keep.
    torch.save({**tensors, "epoch": 3, "optimiser": {"lr": 0.1}}, tmp_path / "beside.pth")
    for file in ("whole.pth", "beside.pth"):
        start_segmenter(config.model_copy(update={"weights": str(tmp_path / file)}), SOME)
    # CROMA's file has a state dict for each part.
    torch.save({"embed": {name: tensors[f"embed.{name}.weight"] for name in SOME}}, tmp_path / "parts.pth")
    del tensors["blocks.0.bias"]
    save_file(tensors, tmp_path / "part.safetensors")
    for file in ("part.safetensors", "parts.pth"):
        with pytest.raises(ModelError, match=r"it lacks 'embed|it lacks 'blocks\.0\.bias' and 0 more"):
            start_segmenter(config.model_copy(update={"weights": str(tmp_path / file)}), SOME)
    tensors["blocks.0.bias"] = torch.zeros(9)
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"has shape \(9,\) instead of \(8,\)"):
        start_segmenter(config.model_copy(update={"weights": str(tmp_path / "other.safetensors")}), SOME)
    cut = (tmp_path / "whole.safetensors").read_bytes()[:-7]
    (tmp_path / "cut.safetensors").write_bytes(cut)
    with pytest.raises(CheckpointError, match=r"cut\.safetensors is damaged"):
        start_segmenter(config.model_copy(update={"weights": str(tmp_path / "cut.safetensors")}), SOME)


def test_published_weights_are_checked_by_their_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "abc" / "file.pth"
    path.parent.mkdir()
    torch.save(Small(SOME).state_dict(), path)
    monkeypatch.setattr("seg.models.foundation_weights.fetch", lambda *_: path)
    config = ModelConfig(encoder="fm-dofa-base", weights="published")
    with pytest.raises(CheckpointError, match="is not the file that its authors have published"):
        start_segmenter(config, SOME)
    # Nobody says the hash of this one.
    _, (loaded,) = start_segmenter(config.model_copy(update={"encoder": "fm-panopticon-base"}), SOME)
    assert loaded.revision == "abc"


def test_without_a_network_published_weights_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: object, **_options: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", offline)
    said: list[str] = []
    _announce(SimpleNamespace(size=443_000_000, etag="a0275954"), "f.pth", "a/b", said.append)
    assert said == ["Fetching f.pth of a/b from the Hugging Face hub: 443 MB, hash a0275954."]
    with pytest.raises(
        CheckpointError, match=r"CROMA_base-0238d814.pt of torchgeo/croma .* cannot be fetched"
    ) as caught:
        start_segmenter(ModelConfig(encoder="fm-croma-base", weights="published"), MODALITIES["s1s2"])
    assert "--weights /path/CROMA_base-0238d814.pt" in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "encoder", "reason"),
    [
        ("imagenet", NAME, "are weights of other encoders"),
        ("reben", NAME, "are weights of other encoders"),
        ("ssl4eo:moco", NAME, "are weights of other encoders"),
        ("published", NAME, "nobody publishes weights"),
        ("published", "resnet18", "are weights of foundation models"),
    ],
)
def test_weights_of_other_kinds_are_refused(weights: str, encoder: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        check_weights(weights, encoder, SOME)
    with pytest.raises(ModelError, match=reason):
        start_segmenter(ModelConfig(encoder=encoder, weights=weights), SOME)


def test_bands_that_have_no_place_are_named() -> None:
    prithvi = "B02,B03,B04,B8A,B11,B12"
    with pytest.raises(ModelError, match=f"has no place for VV, B01; .*use --bands {prithvi}$"):
        check_inputs("fm-prithvi2-tiny", ("VV", "B01", "B02"))
    with pytest.raises(ModelError, match=f"cannot do without B12; use --bands {prithvi}$"):
        check_inputs("fm-prithvi2-tiny", prithvi.split(",")[:-1])
    check_inputs("fm-prithvi2-tiny", prithvi.split(",")[::-1])
    # One sensor is enough, but all of it.
    check_inputs("fm-croma-base", ("VH", "VV"))
    check_inputs("fm-terramind1-tiny", S2_BANDS)
    with pytest.raises(ModelError, match="cannot do without VH"):
        check_inputs("fm-croma-base", ("VV", *S2_BANDS))
    check_bands("x", ("B02", "B03"), False, ("B03",))
    with pytest.raises(ModelError, match="has no place for VV"):
        build_segmenter(ModelConfig(encoder="fm-satlas-swinv2-tiny"), ("VV",))


def test_scales_from_statistics() -> None:
    assert standardised_as_published(("VV",)) == {"VV": Scale(-12.6439, 5.1335)}
    (one,) = within_deviations({"x": Scale(10.0, 2.0)}, bounded=True).values()
    assert (one.shift, one.scale, one.low, one.high) == (6.0, 8.0, 0.0, 1.0)


def test_an_encoder_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="there is no encoder 'fm-dofa-tiny'; did you mean fm-dofa-") as caught:
        check_encoder("fm-dofa-tiny")
    assert "seg models --encoder 'fm-*' lists them" in str(caught.value)
    listing = list_models(encoder="fm-*")
    assert [one.encoder for one in listing.foundations] == list(FOUNDATIONS)
    assert not listing.foundations[0].reason
    monkeypatch.setattr(seg.foundation.catalogue, "find_spec", lambda _name: None)
    assert "torchgeo" in list_models(encoder="fm-d*").foundations[0].reason
    assert why_not(find_foundation(NAME)).startswith("torchgeo is not installed: pip install 'seg[geofm]'")
    with pytest.raises(
        ModelError, match=r"cannot be built here: torchgeo is not installed: pip install 'seg\[geofm\]'"
    ):
        check_encoder(NAME)


def test_foundation_models_are_among_the_encoders() -> None:
    assert set(FOUNDATIONS) <= set(encoder_names())
    for model in FOUNDATIONS.values():
        assert model.parameters > 5e5
        assert model.multiply_adds > 1e8
        assert model.family.licence
        # Clay has a page and no paper.
        assert "arXiv:" in model.family.citation or "https://huggingface.co/" in model.family.citation


def test_dinov3_for_satellite_images_is_an_encoder_of_timm() -> None:
    """The one that the page of foundation models names; its tag says which weights ``imagenet`` stands for."""
    check_encoder("tu-vit_large_patch16_dinov3.sat493m")


def test_the_page_of_a_model_names_licence_and_paper() -> None:
    (text,) = _foundation("fm-dofa-base").values()
    assert text.startswith("its published weights: CC-BY-4.0; cite Xiong et al. 2024")
    assert not _foundation("resnet18")


def test_cost_is_measured_without_values() -> None:
    cost = measure(ModelConfig(arch="fpn", encoder=NAME), SOME)
    model = network()
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())

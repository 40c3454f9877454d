"""Weights to start from: every published layout as a small file, read by the code that reads the real ones."""

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import huggingface_hub
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from seg.catalogue.hub import fetch
from seg.config.load import load_config
from seg.config.sections import ModelConfig
from seg.errors import CheckpointError, ModelError, WrongUseError
from seg.models import weights_catalogue
from seg.models.card import Data
from seg.models.checkpoint import make_card, save_checkpoint
from seg.models.segmenter import Segmenter, build_segmenter
from seg.models.start import Loaded, start_segmenter
from seg.models.stems import BandFit, find_stems, fit_stem
from seg.models.weights_catalogue import L1C_BANDS, HubFile, published_file
from seg.models.weights_names import whole_path
from seg.reben.bands import BANDS, MODALITIES, S1_BANDS, S2_BANDS
from seg.reben.classes import CLASS_NAMES

S1S2 = MODALITIES["s1s2"]
V2_ORDER = ("VV", "VH", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
V1_ORDER = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B11", "B12", "B8A", "VH", "VV")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub: Path, repository: str, file: str, revision: str = "main") -> Path:
    """Where the hub's cache keeps a file; its folder is made."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    commit = COMMIT if revision == "main" else revision
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
    return folder / "snapshots" / commit / file


def plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}


def timm_network(name: str, channels: int, classes: int = 19, seed: int = 3) -> nn.Module:
    """A network that is no longer as it was built: batch statistics included."""
    torch.manual_seed(seed)
    network = timm.create_model(name, in_chans=channels, num_classes=classes).eval()
    for key, tensor in network.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        if key.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    return network


class PublishedModel(nn.Module):
    """The nesting of the reBEN training scripts: a Lightning module, a ConfigILM model, timm's network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.vision_encoder = network


def write_reben(folder: Path, network: nn.Module, page: str = "# resnet50-all-v0.2.0") -> None:
    """As the hub has it, with the page of the model."""
    save_file(plain(PublishedModel(network).state_dict()), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"lr": 0.001}))
    (folder / "README.md").write_text(page)


def start(bands: tuple[str, ...] = S1S2, **model: object) -> tuple[Segmenter, tuple[Loaded, ...], list[str]]:
    torch.manual_seed(0)
    said: list[str] = []
    started, loaded = start_segmenter(
        ModelConfig(**{"arch": "linknet", "encoder": "tu-test_resnet", **model}), bands, said.append
    )
    return started, loaded, said


def refused(kind: type[ValueError] = ModelError, bands: tuple[str, ...] = S1S2, **model: object) -> str:
    with pytest.raises(kind) as caught:
        start(bands, **model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def by_name(images: Tensor, have: tuple[str, ...], want: tuple[str, ...]) -> Tensor:
    return images[:, [have.index(name) for name in want]]


def photo(bands: int, size: int = 128, batch: int = 2) -> Tensor:
    return torch.randn(batch, bands, size, size, generator=torch.Generator().manual_seed(7))


# -------------------------------------------------------------------------------------------------------------- stems


@settings(deadline=None, max_examples=60)
@given(known=st.permutations(L1C_BANDS), count=st.integers(1, 13), wanted=st.permutations(S1S2), number=st.data())
def test_the_output_of_a_fitted_stem_keeps_its_deviation(known, count, wanted, number):
    known, wanted = known[:count], wanted[: number.draw(st.integers(1, 14))]
    weight = torch.randn(8, len(known), 5, 5, generator=torch.Generator().manual_seed(count))
    fitted = fit_stem(weight, known, wanted)
    before = functional.conv2d(photo(len(known), 64), weight).std((0, 2, 3))
    after = functional.conv2d(photo(len(wanted), 64), fitted).std((0, 2, 3))
    torch.testing.assert_close(after, before, rtol=0.06, atol=0)
    # And exactly so for independent bands of unit variance.
    torch.testing.assert_close(fitted.square().sum((1, 2, 3)), weight.square().sum((1, 2, 3)), rtol=1e-5, atol=0)
    shared = [name for name in wanted if name in known]
    for one, other in pairwise(shared):
        # Within a filter the bands keep their proportions.
        a, b = (
            fitted[:, wanted.index(name)] * weight[:, known.index(other_name)]
            for name, other_name in ((one, other), (other, one))
        )
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_missing_band_starts_from_the_mean_and_a_shared_one_keeps_its_weights():
    weight = torch.randn(4, 3, 3, 3)
    fitted = fit_stem(weight, ("B04", "B03", "B02"), ("VV", "B02", "B03", "B04"))
    scale = (weight.square().sum((1, 2, 3)) / torch.cat([weight, weight.mean(1, keepdim=True)], 1).square()
             .sum((1, 2, 3))).sqrt()[:, None, None]  # fmt: skip
    torch.testing.assert_close(fitted[:, 0], weight.mean(1) * scale)
    torch.testing.assert_close(fitted[:, 1], weight[:, 2] * scale)
    torch.testing.assert_close(fitted[:, 3], weight[:, 0] * scale)
    assert (scale < 1).all()


@given(st.permutations(V2_ORDER))
def test_permuted_bands_keep_their_weights_bit_for_bit(wanted):
    weight = torch.randn(4, 12, 3, 3)
    fitted = fit_stem(weight, V2_ORDER, wanted)
    assert all(torch.equal(fitted[:, i], weight[:, V2_ORDER.index(name)]) for i, name in enumerate(wanted))


def test_a_filter_that_only_sees_bands_that_are_gone_stays_finite():
    weight = torch.zeros(2, 2, 3, 3)
    weight[0, 0] = 1
    fitted = fit_stem(weight, ("VV", "VH"), ("VH",))
    assert torch.equal(fitted, torch.zeros(2, 1, 3, 3))


@pytest.mark.parametrize(
    ("arch", "encoder"),
    [
        ("unet", "resnet18"),
        ("unet", "efficientnet-b0"),
        ("segformer", "mit_b0"),
        ("unet", "mobileone_s0"),
        ("unet", "vgg11"),
        ("unet", "tu-test_efficientnet"),
        ("fpn", "tu-test_convnext"),
        ("fpn", "tu-test_maxvit"),
        ("fpn", "tu-test_nfnet"),
        ("dpt", "tu-test_vit"),
        ("deeplabv3plus", "tu-test_resnet"),
    ],
)
def test_every_family_starts_from_weights_for_other_bands(arch: str, encoder: str, tmp_path: Path):
    """A file of the encoder for 13 bands, in the names of its own library, into the encoder for bands of both."""
    bands = ("VV", "B04", "B02", "B8A")
    torch.manual_seed(1)
    model = build_segmenter(ModelConfig(arch=arch, encoder=encoder), L1C_BANDS[:10] + L1C_BANDS[11:])
    source = plain(model.network.encoder.state_dict())
    save_file(source, tmp_path / "encoder.safetensors")
    started, (loaded,), said = start(
        bands, arch=arch, encoder=encoder, weights=str(tmp_path / "encoder.safetensors"), weights_bands=S2_BANDS
    )
    stems = find_stems(started.network.encoder, 4, started.patch_edge)
    target = started.network.encoder.state_dict()
    assert stems
    assert loaded.tensors == len(target) == len(source)
    for name, tensor in target.items():
        expected = fit_stem(source[name], S2_BANDS, bands) if name in stems else source[name]
        assert torch.equal(tensor, expected), name
    assert loaded.bands == BandFit(("B04", "B02", "B8A"), ("VV",), tuple(b for b in S2_BANDS if b not in bands))
    assert "from the mean: VV" in said[0]
    assert started.training


def test_finding_the_stems_changes_nothing():
    model = build_segmenter(ModelConfig(arch="linknet", encoder="tu-test_resnet"), ("VV", "VH", "B02"))
    before = plain(model.state_dict())
    model.network.encoder.model.bn1.eval()
    state = torch.get_rng_state()
    assert find_stems(model.network.encoder, 3, 64) == ["model.conv1.0.weight"]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.network.encoder.model.bn1.training
    assert model.network.encoder.training


# -------------------------------------------------------------------------------------------------------------- reBEN


def encoder_like(network: nn.Module, model: Segmenter, order: tuple[str, ...], bands: tuple[str, ...]) -> None:
    """The encoder gives the features that the published network gives for the same bands."""
    images = photo(len(bands))
    model.eval()
    with torch.no_grad():
        features = model.network.encoder(images)[-1]
        expected = network.forward_features(by_name(images, bands, order))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("sensors", "order"), [("all", V2_ORDER), ("s2", V2_ORDER[2:]), ("s1", V2_ORDER[:2])])
def test_reben_by_its_id(hub: Path, sensors: str, order: tuple[str, ...]):
    """Bands in another order than published; the hub's id follows from encoder and bands."""
    network = timm_network("test_resnet", len(order))
    file = cached(hub, f"BIFOLD-BigEarthNetv2-0/test_resnet-{sensors}-v0.2.0", "model.safetensors")
    write_reben(file.parent, network)
    bands = tuple(reversed(order))
    for weights in ("reben", f"reben:test_resnet-{sensors}-v0.2.0",
                    f"reben:BIFOLD-BigEarthNetv2-0/test_resnet-{sensors}-v0.2.0"):  # fmt: skip
        model, (loaded,), said = start(bands, weights=weights)
        encoder_like(network, model, order, bands)
        assert (loaded.revision, loaded.encoder, loaded.scene_head) == (COMMIT, None, False)
        assert loaded.bands == BandFit(bands, (), ())
        assert set(loaded.left_out) == {"fc.weight", "fc.bias"}
        assert f"test_resnet-{sensors}-v0.2.0 (revision {COMMIT})" in said[0]
        assert said[0].endswith("left out: fc.bias, fc.weight.")


@pytest.mark.parametrize("as_folder", [True, False])
def test_reben_from_a_file_with_the_scene_classifier(tmp_path: Path, as_folder: bool):
    """The whole published network: with all its bands, the learned scene head says what it said, class by class."""
    network = timm_network("test_resnet", 12)
    write_reben(tmp_path, network)
    place = tmp_path if as_folder else tmp_path / "model.safetensors"
    bands = V1_ORDER
    model, (loaded,), said = start(bands, weights=f"reben:{place}", scene_head="learned")
    model.eval()
    images = photo(12)
    with torch.no_grad():
        _, scene = model(images)
        published = network(by_name(images, bands, V2_ORDER))
    alphabetical = sorted(CLASS_NAMES)
    assert alphabetical != list(CLASS_NAMES)
    torch.testing.assert_close(scene, published[:, [alphabetical.index(name) for name in CLASS_NAMES]],
                               rtol=1e-4, atol=1e-4)  # fmt: skip
    assert loaded.scene_head
    assert loaded.left_out == ()
    assert "with the scene head" in said[0]
    assert str(tmp_path) not in json.dumps(loaded.record())


def test_the_older_reben_models_have_another_band_order(hub: Path, tmp_path: Path):
    network = timm_network("test_resnet", 12)
    file = cached(hub, "BIFOLD-BigEarthNetv2-0/test_resnet-all-v0.1.1", "model.safetensors")
    write_reben(file.parent, network)
    model, _, _ = start(V2_ORDER, weights="reben:test_resnet-all-v0.1.1")
    encoder_like(network, model, V1_ORDER, V2_ORDER)


def test_bands_that_contradict_what_is_published_are_refused(hub: Path, tmp_path: Path):
    file = cached(hub, "BIFOLD-BigEarthNetv2-0/test_resnet-all-v0.2.0", "model.safetensors")
    write_reben(file.parent, timm_network("test_resnet", 12))
    sentence = refused(weights="reben:test_resnet-all-v0.2.0", weights_bands=V1_ORDER)
    assert f"but also {','.join(V2_ORDER)} (reBEN v0.2 by the id BIFOLD-BigEarthNetv2-0/test_resnet-all" in sentence
    save_file(plain(timm_network("test_resnet", 3, 1000).state_dict()),
              cached(hub, "timm/test_resnet.r160_in1k", "model.safetensors"))  # fmt: skip
    assert "but also B04,B03,B02 (as imagenet has them)" in refused(
        weights="imagenet", weights_bands=("B02", "B03", "B04")
    )
    write_run(tmp_path / "run", built(("B02", "B03", "B04")))
    sentence = refused(weights=str(tmp_path / "run"), weights_bands=("B04", "B03", "B02"))
    assert "was trained with B02,B03,B04, as its card.json says, not with model.weights_bands=B04,B03,B02" in sentence
    start(weights=str(tmp_path / "run"), weights_bands=("B02", "B03", "B04"))


def test_the_order_of_somebody_elses_copy_may_be_set(hub: Path):
    network = timm_network("test_resnet", 12)
    write_reben(cached(hub, "me/test_resnet-all-v0.2.0", "model.safetensors").parent, network)
    for told, order in ((None, V2_ORDER), (V1_ORDER, V1_ORDER)):
        model, _, _ = start(V2_ORDER, weights="reben:me/test_resnet-all-v0.2.0", weights_bands=told)
        encoder_like(network, model, order, V2_ORDER)


@pytest.mark.parametrize(
    ("encoder", "why"), [("test_convnext", "a norm follows the mean"), ("test_efficientnet", "wider features")]
)
def test_a_classifier_of_other_features_is_left_out(tmp_path: Path, encoder: str, why: str):
    write_reben(tmp_path, timm_network(encoder, 10))
    model, (loaded,), _ = start(
        V2_ORDER[2:], arch="fpn", encoder=f"tu-{encoder}", weights=f"reben:{tmp_path}", scene_head="learned"
    )
    plain_model, _, _ = start(V2_ORDER[2:], arch="fpn", encoder=f"tu-{encoder}", scene_head="learned")
    assert not loaded.scene_head, why
    assert {"classifier.weight", "head.fc.weight"} & set(loaded.left_out)
    for one, other in zip(model.scene_head.parameters(), plain_model.scene_head.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_classifier_behind_an_activation_without_weights_is_left_out(tmp_path: Path):
    """smp's DenseNet hands on features before the ReLU whose mean timm's classifier sees; the shapes are equal."""
    network = timm.create_model("densenet121", in_chans=2, num_classes=19)
    write_reben(tmp_path, network)
    _, (loaded,), _ = start(
        S1_BANDS, arch="fpn", encoder="densenet121", weights=f"reben:{tmp_path}", scene_head="learned"
    )
    assert set(loaded.left_out) == {"classifier.weight", "classifier.bias"}
    assert not loaded.scene_head


def test_each_encoder_of_two_takes_the_model_of_its_sensor(hub: Path):
    networks = {"s1": timm_network("test_resnet", 2, seed=1), "s2": timm_network("test_resnet", 10, seed=2)}
    for sensor, network in networks.items():
        file = cached(hub, f"BIFOLD-BigEarthNetv2-0/test_resnet-{sensor}-v0.2.0", "model.safetensors")
        write_reben(file.parent, network)
    model, loaded, said = start(weights="reben", fusion="dual", scene_head="learned")
    assert [one.encoder for one in loaded] == ["s1", "s2"]
    assert not any(one.scene_head for one in loaded)
    assert "of the s1 encoder" in said[0]
    assert loaded[1].bands.estimated == ("B01", "B09")
    for sensor, network in networks.items():
        target = model.network.encoder.encoders[sensor].state_dict()
        deep = {f"model.{name}": value for name, value in network.state_dict().items() if name.startswith("layer")}
        assert deep
        assert all(torch.equal(target[name], value) for name, value in deep.items())


def test_one_file_for_two_encoders_goes_to_both_by_band(tmp_path: Path):
    network = timm_network("test_resnet", 12)
    write_reben(tmp_path, network)
    model, loaded, _ = start(V2_ORDER, weights=f"reben:{tmp_path}", fusion="dual")
    assert [one.bands.kept for one in loaded] == [V2_ORDER[:2], V2_ORDER[2:]]
    for sensor in ("s1", "s2"):
        assert torch.equal(model.network.encoder.encoders[sensor].model.layer1[0].conv1.weight,
                           network.layer1[0].conv1.weight)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- SSL4EO


def test_ssl4eo_as_torchgeo_publishes_it(hub: Path):
    """A state dict of timm's ResNet-18 for the 13 bands of L1C, pickled by torch; the band of cirrus has no place."""
    published = WEIGHTS18 = published_file("ssl4eo", "resnet18", S2_BANDS)
    assert isinstance(published, HubFile)
    network = timm_network("resnet18", 13, classes=0)
    torch.save(network.state_dict(), cached(hub, WEIGHTS18.repository, WEIGHTS18.file, WEIGHTS18.revision))
    model, (loaded,), said = start(S2_BANDS, arch="fpn", encoder="resnet18", weights="ssl4eo")
    target = model.network.encoder.state_dict()
    stem = fit_stem(network.state_dict()["conv1.weight"], L1C_BANDS, S2_BANDS)
    assert torch.equal(target["conv1.weight"], stem)
    assert all(torch.equal(target[name], value) for name, value in network.state_dict().items() if name[0] != "c")
    assert loaded.bands == BandFit(S2_BANDS, (), ("B10",))
    assert loaded.revision == WEIGHTS18.revision
    assert "not used: B10" in said[0]


@pytest.mark.parametrize("wrap", [lambda tensors: tensors, lambda tensors: {"state_dict": tensors, "epoch": 99}])
def test_a_vision_transformer_of_ssl4eo_on_another_grid(tmp_path: Path, wrap):
    """Published for another image size: position embeddings are resampled, the class token's is kept."""
    torch.manual_seed(4)
    network = timm.create_model("test_vit", in_chans=13, num_classes=0, img_size=224)
    torch.save(wrap(network.state_dict()), tmp_path / "vit.pth")
    model, (loaded,), _ = start(S2_BANDS, arch="dpt", encoder="tu-test_vit", weights=f"ssl4eo:{tmp_path / 'vit.pth'}")
    target = model.network.encoder.state_dict()
    wanted = timm.create_model("test_vit").pos_embed.shape
    assert network.pos_embed.shape != wanted
    assert target["model.pos_embed"].shape == wanted
    assert torch.equal(target["model.pos_embed"][:, 0], network.pos_embed[:, 0])
    grid = network.pos_embed[:, 1:].unflatten(1, (14, 14)).movedim(-1, 1)
    side = round((wanted[1] - 1) ** 0.5)
    expected = functional.interpolate(grid, (side, side), mode="bicubic", antialias=True).flatten(2).movedim(1, 2)
    torch.testing.assert_close(target["model.pos_embed"][:, 1:], expected)
    assert loaded.tensors == len(target)


def test_ssl4eo_for_each_sensor(hub: Path, monkeypatch: pytest.MonkeyPatch):
    files = {
        "s2": {
            "moco": HubFile("a/two", COMMIT, "s2.pth", L1C_BANDS),
            "dino": HubFile("a/d", COMMIT, "d.pth", L1C_BANDS),
        },
        "s1": {"moco": HubFile("a/one", COMMIT, "s1.pth", S1_BANDS)},
    }
    monkeypatch.setitem(weights_catalogue.SSL4EO_FILES, "test_resnet", files)
    networks = {}
    for sensor, channels, file in (("s1", 2, files["s1"]["moco"]), ("s2", 13, files["s2"]["moco"])):
        networks[sensor] = timm_network("test_resnet", channels, classes=0, seed=channels)
        torch.save(networks[sensor].state_dict(), cached(hub, file.repository, file.file, COMMIT))
    model, loaded, _ = start(weights="ssl4eo", fusion="dual")
    assert [one.source for one in loaded] == ["s1.pth of a/one", "s2.pth of a/two"]
    for sensor, network in networks.items():
        assert torch.equal(model.network.encoder.encoders[sensor].model.layer1[0].conv1.weight,
                           network.layer1[0].conv1.weight)  # fmt: skip
    _, (one,), _ = start(S1_BANDS, weights="ssl4eo")
    assert one.source == "s1.pth of a/one"
    assert "d.pth of a/d" in refused(CheckpointError, weights="ssl4eo:dino")
    assert "no ssl4eo weights by 'mae' for s2" in refused(weights="ssl4eo:mae")


@pytest.mark.parametrize(
    ("encoder", "bands", "words"),
    [
        ("resnet34", S2_BANDS, "no ssl4eo weights for encoder 'resnet34'; it does for resnet18, resnet50"),
        ("resnet18", S1_BANDS, "no ssl4eo weights for Sentinel-1 and encoder 'resnet18'; use --encoder resnet50"),
    ],
)
def test_what_torchgeo_does_not_publish(encoder: str, bands: tuple[str, ...], words: str):
    assert words in refused(bands=bands, arch="fpn", encoder=encoder, weights="ssl4eo")


def test_the_catalogue_names_each_file_once_with_its_bands():
    files = [file for sensors in weights_catalogue.SSL4EO_FILES.values() for s, by in sensors.items()
             for file in by.values() if (file.bands == S1_BANDS) == (s == "s1")]  # fmt: skip
    assert len({(f.repository, f.revision, f.file) for f in files}) == len(files) == 12
    assert all(len(f.revision) == 40 and f.file.endswith(".pth") for f in files)
    assert all(len(f.bands) == (2 if f.bands == S1_BANDS else 13) for f in files)
    assert L1C_BANDS.index("B10") == 10
    assert [name for name in L1C_BANDS if name != "B10"] == list(S2_BANDS)


# ----------------------------------------------------------------------------------------------------------- ImageNet


def test_imagenet_of_smp_goes_to_the_bands_by_name(hub: Path):
    settings_of = smp.encoders.encoders["resnet18"]["pretrained_settings"]["imagenet"]
    torch.manual_seed(5)
    published = smp.encoders.get_encoder("resnet18", weights=None).state_dict()
    file = cached(hub, settings_of["repo_id"], "model.safetensors", settings_of["revision"])
    save_file(plain(published), file)
    (file.parent / "config.json").write_text("{}")
    model, (loaded,), said = start(arch="unet", encoder="resnet18", weights="imagenet")
    encoder = model.network.encoder.state_dict()
    stem = fit_stem(published["conv1.weight"], ("B04", "B03", "B02"), S1S2)
    assert torch.equal(encoder.pop("conv1.weight"), stem)
    assert all(torch.equal(value, published[name]) for name, value in encoder.items())
    assert loaded.revision == settings_of["revision"]
    assert loaded.bands.kept == ("B02", "B03", "B04")
    assert "smp-hub/resnet18.imagenet" in said[0]
    # Red, green and blue in their order are left alone.
    rgb, _, _ = start(MODALITIES["rgb"], arch="unet", encoder="resnet18", weights="imagenet")
    assert torch.equal(rgb.network.encoder.conv1.weight, published["conv1.weight"])


@pytest.mark.parametrize(("arch", "encoder"), [("fpn", "test_resnet"), ("dpt", "test_vit")])
@pytest.mark.parametrize("fusion", ["stack", "dual"])
def test_imagenet_of_timm_goes_to_the_bands_by_name(hub: Path, arch: str, encoder: str, fusion: str):
    network = timm_network(encoder, 3, classes=1000)
    repository = timm.get_pretrained_cfg(encoder).hf_hub_id
    save_file(plain(network.state_dict()), cached(hub, repository, "model.safetensors"))
    model, loaded, _ = start(arch=arch, encoder=f"tu-{encoder}", weights="imagenet", fusion=fusion)
    deep = [name for name in network.state_dict() if "blocks.1" in name or "layer3" in name or "stages.2" in name]
    encoders = [model.network.encoder] if fusion == "stack" else model.network.encoder.encoders.values()
    for one in encoders:
        target = {name.replace(".", "_"): value for name, value in one.state_dict().items()}
        weights = [name for name in deep if name.endswith("weight")]
        assert weights
        for name in weights:
            assert torch.equal(target["model_" + name.replace(".", "_")], network.state_dict()[name])
    assert [one.bands.kept for one in loaded] == ([("B02", "B03", "B04")] if fusion == "stack" else [
        (), ("B02", "B03", "B04")])  # fmt: skip


# --------------------------------------------------------------------------------------------------- files and runs


def write_run(run: Path, model: Segmenter) -> None:
    card = make_card(
        model,
        [(BANDS[name].mean, BANDS[name].std) for name in model.bands],
        "bilinear",
        Data(fingerprint="f", synthetic=False, train_patches=1),
    )
    save_checkpoint(run / "checkpoints" / "best", model, card)
    (run / "config.yaml").write_text("")


def built(bands: tuple[str, ...] = S1S2, seed: int = 8, **model: object) -> Segmenter:
    torch.manual_seed(seed)
    return build_segmenter(ModelConfig(**{"arch": "linknet", "encoder": "tu-test_resnet", **model}), bands)


@pytest.mark.parametrize("place", ["run", "run/checkpoints/best"])
@pytest.mark.parametrize("scene_head", ["masked", "derived", "learned"])
def test_an_earlier_run_gives_all_that_fits(tmp_path: Path, place: str, scene_head: str):
    earlier = built(scene_head=scene_head)
    write_run(tmp_path / "run", earlier)
    model, (loaded,), said = start(weights=str(tmp_path / place), scene_head=scene_head)
    assert all(torch.equal(value, earlier.state_dict()[name]) for name, value in model.state_dict().items())
    assert loaded.scene_head
    assert loaded.left_out == ()
    assert "Weights from run run" in said[0]
    assert f"with {loaded.decoder} tensors beyond the encoder" in said[0]


def test_an_earlier_run_of_another_kind_gives_its_encoder(tmp_path: Path):
    earlier = built(("B02", "B03", "B04"), arch="fpn", scene_head="learned")
    write_run(tmp_path / "run", earlier)
    model, (loaded,), _ = start(("B04", "B02", "VV"), weights=str(tmp_path / "run"), scene_head="derived")
    assert torch.equal(model.network.encoder.model.layer3[0].conv1.weight,
                       earlier.network.encoder.model.layer3[0].conv1.weight)  # fmt: skip
    assert (loaded.decoder, loaded.scene_head) == (0, False)
    assert loaded.bands == BandFit(("B04", "B02"), ("VV",), ("B03",))
    assert any(name.startswith("network.decoder.") for name in loaded.left_out)
    assert "scene_head.classifier.weight" in loaded.left_out


@pytest.mark.parametrize(("before", "after"), [("stack", "dual"), ("dual", "stack"), ("dual", "dual")])
def test_runs_of_either_fusion(tmp_path: Path, before: str, after: str):
    earlier = built(fusion=before)
    write_run(tmp_path / "run", earlier)
    model, loaded, _ = start(weights=str(tmp_path / "run"), fusion=after)
    source = earlier.network.encoder.encoders["s2"] if before == "dual" else earlier.network.encoder
    target = model.network.encoder.encoders["s2"] if after == "dual" else model.network.encoder
    assert torch.equal(target.model.layer1[0].conv1.weight, source.model.layer1[0].conv1.weight)
    if before == after:
        assert all(torch.equal(value, earlier.state_dict()[name]) for name, value in model.state_dict().items())
        assert all(one.left_out == () for one in loaded)
    decoders = [dict(network.network.decoder.named_parameters()) for network in (model, earlier)]
    assert all(torch.equal(value, decoders[1][name]) for name, value in decoders[0].items())


def test_the_classes_of_an_earlier_run_are_taken_by_name(tmp_path: Path):
    earlier = built(scene_head="learned")
    write_run(tmp_path / "run", earlier)
    folder = tmp_path / "run" / "checkpoints" / "best"
    card = json.loads((folder / "card.json").read_text())
    card["classes"] = sorted(CLASS_NAMES)
    (folder / "card.json").write_text(json.dumps(card))
    model, _, _ = start(weights=str(tmp_path / "run"), scene_head="learned")
    rows = [sorted(CLASS_NAMES).index(name) for name in CLASS_NAMES]
    assert torch.equal(model.scene_head.classifier.weight, earlier.scene_head.classifier.weight[rows])
    assert torch.equal(model.network.segmentation_head[0].bias, earlier.network.segmentation_head[0].bias[rows])


def test_a_file_whose_bands_are_unknown_needs_their_names(tmp_path: Path):
    network = timm_network("test_resnet", 4)
    save_file(plain(network.state_dict()), tmp_path / "four.safetensors")
    file = str(tmp_path / "four.safetensors")
    sentence = refused(weights=file)
    assert "four.safetensors takes 4 bands" in sentence
    assert "model.weights_bands" in sentence
    order = ("B08", "B02", "B03", "B04")
    model, _, _ = start(tuple(reversed(order)), weights=file, weights_bands=order)
    encoder_like(network, model, order, tuple(reversed(order)))
    assert "takes 4 bands, not the 3 of B02, B03, B04" in refused(weights=file, weights_bands=("B02", "B03", "B04"))


# ------------------------------------------------------------------------------------------------------- what is wrong


def test_weights_for_another_encoder_are_refused(tmp_path: Path):
    save_file(plain(timm_network("test_resnet", 12).state_dict()), tmp_path / "model.safetensors")
    file = str(tmp_path / "model.safetensors")
    assert "is for another encoder than 'resnet18': it lacks" in refused(arch="fpn", encoder="resnet18", weights=file)
    assert "holds nothing that fits encoder 'tu-test_vit'" in refused(arch="dpt", encoder="tu-test_vit", weights=file)


def test_weights_of_the_wrong_shape_are_refused(tmp_path: Path):
    tensors = plain(timm_network("test_resnet", 12).state_dict())
    name = "layer1.0.conv1.weight"
    tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, tmp_path / "model.safetensors")
    sentence = refused(weights=str(tmp_path))
    assert f"'model.{name}' has shape" in sentence
    assert "another encoder" in sentence


def test_nothing_that_fits_is_refused(tmp_path: Path):
    save_file({"something.else": torch.zeros(3)}, tmp_path / "model.safetensors")
    assert "nothing that fits encoder 'tu-test_resnet'" in refused(weights=str(tmp_path))
    save_file({}, tmp_path / "model.safetensors")
    assert "nothing that fits" in refused(weights=str(tmp_path))


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("owned"),)


@pytest.mark.parametrize(
    "content",
    [{"conv1.weight": torch.zeros(1), "more": Evil()}, Evil(), [1, 2], {}, {"a": 1}],
    ids=["code beside a tensor", "code", "a list", "nothing", "no tensor"],
)
def test_a_pth_file_that_is_more_than_tensors_is_not_loaded(tmp_path: Path, content, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "x.pth")
    sentence = refused(CheckpointError, weights=str(tmp_path / "x.pth"))
    assert "x.pth" in sentence
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"half a file")
    assert "damaged" in refused(ValueError, weights=str(tmp_path / name))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("imagenett", "there are no weights 'imagenett'; give imagenet, reben, ssl4eo, none"),
        ("reben:/nowhere/model.safetensors", "there are no weights '/nowhere/model.safetensors'"),
        ("./nowhere.pth", "there are no weights './nowhere.pth'"),
    ],
)
def test_weights_that_are_not_there(weights: str, words: str):
    assert words in refused(weights=weights)


def test_a_folder_without_weights(tmp_path: Path):
    assert "holds neither a model.safetensors nor the checkpoints of a run" in refused(weights=str(tmp_path))
    (tmp_path / "checkpoints" / "best").mkdir(parents=True)
    (tmp_path / "checkpoints" / "best" / "card.json").write_text("{")
    assert "damaged" in refused(CheckpointError, weights=str(tmp_path))


@pytest.mark.parametrize("value", ["", "imagenet:resnet18"])
def test_a_setting_that_names_nothing(value: str):
    with pytest.raises(WrongUseError, match="names no weights"):
        load_config(None, [], model__weights=value)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path):
    tensors = plain(
        build_segmenter(ModelConfig(encoder="tu-test_resnet"), MODALITIES["rgb"]).network.encoder.state_dict()
    )
    name = next(key for key, value in tensors.items() if key.endswith("weight") and value.ndim == 1)
    tensors[name][0] = float("nan")
    save_file(tensors, tmp_path / "m.safetensors")
    sentence = refused(bands=MODALITIES["rgb"], encoder="tu-test_resnet", weights=str(tmp_path / "m.safetensors"))
    assert f"holds values that are not finite in '{name}'" in sentence


@pytest.mark.parametrize("encoder", ["resnext101_32x4d", "tu-halonet_h1"])
def test_encoders_without_pretrained_weights_are_not_silently_random(encoder: str):
    words = f"encoder '{encoder}' has no pretrained weights; use --weights none"
    assert words in refused(bands=("B02",), arch="unet", encoder=encoder, weights="imagenet")


# ---------------------------------------------------------------------------------------------------------- no network


@pytest.fixture(params=["offline", "unreachable", "refused"])
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Three kinds of no network; how often it was asked."""
    asked: list[str] = []
    if request.param != "offline":
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        error = {"unreachable": OSError("no route"), "refused": RuntimeError("an HTTP library's own")}[request.param]

        def ask(url: str, **_settings: object) -> None:
            asked.append(url)
            raise error

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)
    yield asked
    assert len(asked) == (request.param != "offline")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"weights": "reben"}, [
            "model.safetensors of BIFOLD-BigEarthNetv2-0/test_resnet-all-v0.2.0 (revision main)",
            "pass it with --weights reben:/path/model.safetensors"]),
        ({"weights": "ssl4eo", "encoder": "resnet18", "arch": "fpn"}, [
            "resnet18_sentinel2_all_moco-59bfdff9.pth of torchgeo/resnet18_sentinel2_all_moco",
            "pass it with --weights ssl4eo:/path/resnet18_sentinel2_all_moco-59bfdff9.pth"]),
        ({"weights": "imagenet", "encoder": "resnet18", "arch": "fpn"}, [
            "model.safetensors of smp-hub/resnet18.imagenet", "--weights none"]),
        ({"weights": "imagenet"}, ["model.safetensors of timm/test_resnet.r160_in1k", "--weights none"]),
    ],
)  # fmt: skip
def test_without_a_network_one_sentence_names_the_file_and_how_to_pass_it(
    no_network: list[str], model: dict[str, str], words: list[str], capfd: pytest.CaptureFixture[str]
):
    sentence = refused(CheckpointError, **model)
    assert all(word in sentence for word in words), sentence
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_is_not_called_a_missing_network(hub: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda _url, **_settings: None)
    here = huggingface_hub.hf_hub_download

    def download(*names: str, local_files_only: bool = False, **settings: object) -> str:
        if local_files_only:
            return here(*names, local_files_only=True, **settings)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(hub))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(OSError, match="No space left on device"):
        fetch("a/b", "model.safetensors", "main", "and pass it")


def test_what_the_hub_does_not_have_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    def ask(url: str, **_settings: object) -> None:
        error = huggingface_hub.errors.RepositoryNotFoundError.__new__(huggingface_hub.errors.RepositoryNotFoundError)
        raise error

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)
    assert "there is no model.safetensors in a/b (revision c)" in refused(CheckpointError, weights="reben:a/b@c")


@pytest.mark.parametrize(("version", "order"), [("v0.2.0", V2_ORDER), ("v0.1.1", V1_ORDER)])
def test_the_file_that_the_sentence_names_is_taken_as_the_sentence_says(tmp_path: Path, version: str, order):
    """On the disk nothing tells the version any more, so the sentence names the bands."""
    network = timm_network("test_resnet", 12)
    save_file(plain(PublishedModel(network).state_dict()), tmp_path / "model.safetensors")
    sentence = refused(CheckpointError, weights=f"reben:test_resnet-all-{version}")
    typed = sentence.partition(" --weights reben:/path/model.safetensors ")[2]
    setting, _, bands = typed.removeprefix("--set ").partition("=")
    assert setting == "model.weights_bands"
    config = load_config(
        None, [f"model.weights_bands={bands}"], model__weights=f"reben:{tmp_path / 'model.safetensors'}"
    )
    model, _, _ = start(V2_ORDER, weights=config.model.weights, weights_bands=config.model.weights_bands)
    encoder_like(network, model, order, V2_ORDER)


# ------------------------------------------------------------------------------------------------------------- the rest


def test_the_random_numbers_after_starting_do_not_depend_on_the_weights(hub: Path):
    save_file(plain(timm_network("test_resnet", 3, 1000).state_dict()),
              cached(hub, "timm/test_resnet.r160_in1k", "model.safetensors"))  # fmt: skip
    start()
    without = torch.rand(3)
    start(weights="imagenet")
    assert torch.equal(torch.rand(3), without)


def test_whole_paths_are_told_from_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.safetensors").touch()
    for name in ("imagenet", "reben", "ssl4eo:dino", "reben:resnet50-all-v0.2.0", "nowhere.pth"):
        assert whole_path(name) == name
    assert whole_path("model.safetensors") == str(tmp_path / "model.safetensors")
    assert whole_path("reben:model.safetensors") == f"reben:{tmp_path / 'model.safetensors'}"


def test_a_line_for_the_user_stays_a_line():
    loaded = Loaded(None, "x", None, 3, BandFit((), ("VV",), ()), False, 0, tuple(f"t{i}" for i in range(99)))
    assert len(loaded.sentence()) < 200
    assert "bands by name: none; from the mean: VV" in loaded.sentence()
    assert json.loads(json.dumps(loaded.record()))["bands"] == {"kept": [], "estimated": ["VV"], "dropped": []}
    assert "bands by name" not in replace(loaded, bands=BandFit(("VV",), (), ())).sentence()

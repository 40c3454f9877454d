"""Low-rank additions to an encoder: what learns, what is saved, and what a run goes on with."""

import copy
import inspect
import json
from pathlib import Path

import pytest
import torch
from commands import run_seg
from entries import small_store
from quick import quick_run
from safetensors.torch import load_file
from torch import nn

from seg.config.sections import ModelConfig
from seg.engine.encoder import freeze_encoder
from seg.errors import ModelError
from seg.models.additions import apart_state, plain_state, put_apart
from seg.models.checkpoint import load_checkpoint
from seg.models.segmenter import build_segmenter
from seg.own.code import code_of, settled, trust
from seg.pipeline.train import train
from seg.runs.plan import plan

BANDS = ("B02", "B03", "B04")


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("seg.runs.plan.not_installed", lambda *_: "peft")
    code, text = run_seg("train", "--set", "model.encoder_mode=lora", "--out", tmp_path / "run")
    assert (code, "needs peft; install it with: pip install 'seg[lora]'" in text) == (2, True), text


class Addition(nn.Module):
    """A linear layer as peft wraps it, by the definition alone."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base_layer = layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(layer.in_features, rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(rank, layer.out_features, bias=False)})

    def get_delta_weight(self, name: str) -> torch.Tensor:
        return 2 * self.lora_B[name].weight @ self.lora_A[name].weight

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.base_layer(values) + 2 * self.lora_B["default"](self.lora_A["default"](values))


def test_additions_are_added_up_and_taken_apart_again() -> None:
    plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Sequential(nn.Linear(6, 3)))
    added = copy.deepcopy(plain)
    added[0], added[2][0] = Addition(added[0], 2), Addition(added[2][0], 1)
    whole = {name: value.clone() for name, value in added.state_dict().items()}
    state, apart = plain_state(added), apart_state(added)
    assert state.keys() == plain.state_dict().keys()
    plain.load_state_dict(state)
    values = torch.randn(5, 4)
    torch.testing.assert_close(plain(values), added(values))
    again = put_apart(state, apart)
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    assert (plain_state(plain).keys(), apart_state(plain)) == (plain.state_dict().keys(), {})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("lora")).folder


@pytest.mark.parametrize(
    ("encoder", "kind", "layers"),
    [
        ("tu-test_vit", "linear layers", nn.Linear),
        ("mit_b0", "linear layers", nn.Linear),
        ("resnet18", "convolutions", nn.Conv2d),
    ],
)
def test_what_learns_is_the_additions(encoder: str, kind: str, layers: type[nn.Module]) -> None:
    pytest.importorskip("peft", reason="peft is not installed, so no additions were made")
    from seg.engine.lora import add_low_rank

    arch = "dpt" if encoder == "tu-test_vit" else "segformer"
    model = build_segmenter(ModelConfig(arch=arch, encoder=encoder, scene_head="derived"), BANDS)
    images = torch.randn(2, 3, 120, 120)
    before = model.eval()(images)[0]
    names = {name for name, _ in model.named_parameters()}
    shapes = {name: module for name, module in model.network.encoder.named_modules() if type(module) is layers}
    added = add_low_rank(model, 3)
    torch.testing.assert_close(model.eval()(images)[0], before)
    assert added.kind == kind
    assert 0 < added.layers <= len(shapes)
    freeze_encoder(model.train(), True)
    new = {name: value for name, value in model.named_parameters() if ".lora_" in name}
    assert added.parameters == sum(value.numel() for value in new.values()) > 0
    pixel, scene = model(images)
    (pixel.square().mean() + scene.square().mean()).backward()
    for name, value in model.named_parameters():
        inside = name.startswith("network.encoder.")
        assert value.requires_grad == (not inside or name in new), name
        # B begins as 0, so that A learns from the second step on, but both are reached.
        assert (value.grad is not None) == value.requires_grad, name
    assert {name.replace(".base_layer", "") for name in dict(model.named_parameters()) if name not in new} == names
    with torch.no_grad():
        for value in new.values():
            value.add_(0.05 * torch.randn_like(value))
    other = build_segmenter(model.config, BANDS)
    other.load_state_dict(plain_state(model))
    torch.testing.assert_close(other.eval()(images)[0], model.eval()(images)[0], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(other(images)[0], before)


class Shares(nn.Module):
    """A network whose linear layers are used as its kind says."""

    kind = "apart"

    def __init__(self, bands: tuple[str, ...], classes: int) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.first, self.encoder.second = nn.Linear(len(bands), 8), nn.Linear(8, 8)
        self.encoder.third = self.encoder.second if self.kind == "two names" else nn.Linear(8, 8)
        self.encoder.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) if self.kind == "layer" else None
        self.head = nn.Linear(8, classes)
        self.mix = nn.Linear(8, 8)
        if self.kind == "tied":
            self.encoder.third.weight = self.encoder.second.weight
        if self.kind == "decoder":
            self.mix.weight = self.encoder.third.weight

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = images.movedim(1, -1)
        values = self.encoder.first(values)
        second = self.encoder.third if self.kind == "other name" else self.encoder.second
        values = values + second(values).tanh()
        if self.kind == "past the call":
            values = values + nn.functional.linear(values, self.encoder.second.weight)
        values = values + self.encoder.third(values).tanh()
        if self.kind == "layer":
            few = values[:, ::8, ::8].flatten(1, 2)
            values = values + self.encoder.layer(few).mean(1)[:, None, None]
        return self.head(self.mix(values)).movedim(-1, 1)


def added_to(tmp_path: Path, network: str) -> nn.Module:
    from seg.engine.lora import add_low_rank

    (tmp_path / "net.py").write_text(network)
    config = settled(ModelConfig(arch=f"{tmp_path / 'net.py'}:Net", scene_head="derived"))
    trust(code_of(config))
    model = build_segmenter(config, BANDS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        add_low_rank(model, 3)
    finally:
        assert all(torch.equal(value, before[name]) for name, value in plain_state(model).items())
    return model


def shares(kind: str) -> str:
    source = inspect.getsource(Shares).replace('kind = "apart"', f'kind = "{kind}"').replace("Shares", "Net")
    return f"import torch\nfrom torch import nn\n\n{source}"


@pytest.mark.parametrize("kind", ["two names", "tied", "decoder", "past the call"])
def test_weights_that_are_used_in_several_places_get_no_additions(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("peft", reason="peft is not installed, so no additions were made")
    with pytest.raises(ModelError, match="uses the same weights in several places"):
        added_to(tmp_path, shares(kind))


PADDED = """
from torch import nn
class Net(nn.Module):
    def __init__(self, bands, classes):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(len(bands), 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        )
        self.head = nn.Conv2d(8, classes, 1)
    def forward(self, images):
        return self.head(self.encoder(images))
"""


@pytest.mark.parametrize("network", [shares("apart"), shares("layer"), PADDED], ids=["apart", "layer", "padded"])
def test_a_network_with_additions_is_in_evaluation_what_is_saved_of_it(tmp_path: Path, network: str) -> None:
    pytest.importorskip("peft", reason="peft is not installed, so no additions were made")
    model = added_to(tmp_path, network)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if ".lora_" in name:
                value.add_(0.2 * torch.randn_like(value))
    other = build_segmenter(model.config, BANDS).eval()
    images = torch.randn(2, 3, 120, 120)
    with torch.no_grad():
        before = other(images)[0]
        other.load_state_dict(plain_state(model))
        torch.testing.assert_close(model.eval()(images)[0], other(images)[0], rtol=1e-3, atol=1e-4)
        assert not torch.allclose(other(images)[0], before, atol=1e-3)


def saved(run: Path, place: str) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / place / "model.safetensors")


def test_a_run_saves_plain_weights_and_goes_on_as_if_it_had_not_stopped(store: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed, so no run was trained with additions")
    settings = {"model__encoder_mode": "lora", "model__lora_rank": 2, "train__encoder_lr_scale": 2.0, "train__ema": 0.5}
    settings |= {
        "model__arch": "segformer",
        "model__encoder": "mit_b0",
        "train__precision": "float32",
        "train__schedule": "constant",
    }
    whole = quick_run(tmp_path / "whole", store, **settings, train__epochs=2)
    parts = quick_run(tmp_path / "parts", store, **settings)
    record = json.loads((parts / "run.json").read_text())
    first = load_file(parts / "checkpoints" / "last" / "model.safetensors")
    plain = build_segmenter(
        ModelConfig(arch="segformer", encoder="mit_b0"), load_checkpoint(parts / "checkpoints" / "best")[1].bands
    )
    assert first.keys() == plain.state_dict().keys()
    assert record["parameters"] == sum(value.numel() for value in plain.parameters())
    assert record["cost"]["parameters_trained"] == record["parameters_trained"] < record["parameters"] / 2
    train(plan(None, (), parts, True, ["train.epochs"], train__epochs=2))
    for place in ("last", "best"):
        one, other = saved(whole, place), saved(parts, place)
        assert all(torch.equal(one[name], other[name]) for name in one), place
    moved = {name for name, value in saved(whole, "last").items() if not torch.equal(value, first[name])}
    inside = {name for name in moved if name.startswith("network.encoder.")}
    # What moved in the encoder is weights of layers: neither biases nor normalisation.
    assert inside
    assert all(name.endswith(".weight") and first[name].ndim == 2 for name in inside)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_encoder_keeps_nothing_that_gradients_need(frozen: bool) -> None:
    model = build_segmenter(ModelConfig(arch="linknet", encoder="tu-test_resnet", scene_head="derived"), BANDS)
    freeze_encoder(model, frozen)
    kept: list[int] = []
    inside = False

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if inside:
            kept.append(tensor.numel())
        return tensor

    def enter(*_: object) -> None:
        nonlocal inside
        inside = True

    def leave(*_: object) -> None:
        nonlocal inside
        inside = False

    model.network.encoder.register_forward_pre_hook(enter)
    model.network.encoder.register_forward_hook(leave)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.randn(2, 3, 64, 64))[0].mean().backward()
    assert bool(kept) is not frozen

"""Learning rate, optimiser, encoder rates, freezing, drops, and the guard's keeping of what a step changes."""

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seg.config.load import load_config
from seg.config.sections import ModelConfig
from seg.config.training import TrainConfig
from seg.engine.encoder import bare, freeze_encoder, rate_scales
from seg.engine.guard import Guard, NotFiniteError, norm_of_gradients
from seg.engine.optimiser import make_optimiser, set_learning_rate
from seg.engine.schedule import SCHEDULES, learning_rate, reductions
from seg.engine.state import Progress
from seg.errors import ModelError, WrongUseError
from seg.models.segmenter import build_segmenter

SCORES = st.lists(st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.3, 0.4])), max_size=30)
BANDS = ("B03", "B04")
RESNET = ModelConfig(arch="linknet", encoder="tu-test_resnet")


# --- schedules -------------------------------------------------------------------------------------------------------


def rates(total, config, scores=()):
    return [learning_rate(step, total, config, scores) for step in range(total)]


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_every_schedule_rises_over_the_warm_up_to_the_peak(schedule):
    config = TrainConfig(lr=0.1, warmup=0.25, schedule=schedule)
    found = rates(40, config)
    assert found[:10] == pytest.approx([0.1 * (step + 1) / 10 for step in range(10)])
    assert found[10] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(found[10:]))
    assert all(0 < rate <= 0.1 + 1e-12 for rate in found)


def test_the_configuration_knows_every_schedule():
    assert set(get_args(TrainConfig.model_fields["schedule"].annotation)) == set(SCHEDULES)


@settings(max_examples=50)
@given(st.integers(1, 500), st.floats(0, 1))
def test_learning_rate_rises_then_falls(total, warmup):
    found = rates(total, TrainConfig(lr=0.1, warmup=warmup))
    peak = round(warmup * total)
    assert all(0 < rate <= 0.1 + 1e-9 for rate in found)
    assert all(a < b for a, b in pairwise(found[:peak]))
    assert all(a >= b for a, b in pairwise(found[peak:]))
    assert max(found) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        ("cosine", lambda optimiser: torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 30)),
        ("poly", lambda optimiser: torch.optim.lr_scheduler.PolynomialLR(optimiser, 30, 0.9)),
        ("constant", lambda optimiser: torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)),
    ],
)
def test_schedules_against_torch(schedule, make):
    config = TrainConfig(lr=0.1, warmup=0.0, schedule=schedule)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    reference = make(optimiser)
    for step in range(30):
        assert learning_rate(step, 30, config) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        reference.step()


@given(SCORES, st.integers(1, 5))
def test_plateau_against_torch(scores, epochs):
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, "max", factor=0.5, patience=epochs - 1, threshold=0, threshold_mode="abs", eps=0
    )
    config = TrainConfig(lr=1.0, warmup=0.0, schedule="plateau", plateau_epochs=epochs, patience=0)
    for done in range(len(scores)):
        reference.step(math.nan if scores[done] is None else scores[done])
        found = learning_rate(5, 100, config, scores[: done + 1])
        assert found == pytest.approx(optimiser.param_groups[0]["lr"])


@pytest.mark.parametrize(("warmup", "cooldown"), [(0.0, 0.3), (0.1, 0.5), (0.05, 1.0)])
def test_trapezoid_against_torch(warmup, cooldown):
    config = TrainConfig(lr=0.1, warmup=warmup, schedule="trapezoid", cooldown=cooldown)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    rising = round(200 * warmup)
    falling = round((200 - rising) * cooldown)
    flat, down = (
        torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0),
        torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1e-12, falling),
    )
    reference = torch.optim.lr_scheduler.SequentialLR(optimiser, [flat, down], [200 - falling])
    for step in range(200):
        expected = 0.1 * (step + 1) / rising if step < rising else optimiser.param_groups[0]["lr"]
        assert learning_rate(step, 200, config) == pytest.approx(expected)
        optimiser.step()
        reference.step()


def test_plateau_by_hand():
    assert reductions([], 2) == 0
    assert reductions([0.5, 0.5, 0.5], 2) == 1
    assert reductions([0.5, 0.5, 0.6, 0.6], 2) == 0
    assert reductions([None, None, None, None], 2) == 2
    assert reductions([0.5, 0.4, 0.4, 0.4, 0.4], 2) == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.lr=2"], "lr=2 makes no sense with adamw"),
        (["train.lr=11", "train.optimiser=sgd"], "lr=11 makes no sense with sgd"),
        (["train.lr=0"], "greater than 0"),
        (["train.nesterov=true", "train.momentum=0", "train.optimiser=sgd"], "nesterov=true needs a momentum"),
        (["train.freeze_epochs=31"], "freeze_epochs=31 is more than the 30 epochs"),
        (["train.schedule=plateau", "train.patience=2"], "would never lower the rate"),
        (["train.schedule=step"], "'cosine', 'poly', 'trapezoid', 'plateau' or 'constant'"),
        (["train.cooldown=0.2"], "cooldown=0.2 has an effect only with schedule=trapezoid"),
        (["train.schedule=trapezoid", "train.cooldown=0"], "greater than 0"),
        (["train.window=121"], "less than or equal to 120"),
        (["train.optimiser=adam"], "'adamw' or 'sgd'"),
        (["train.plateau_factor=1"], "less than 1"),
        (["train.layer_decay=1.5"], "less than or equal to 1"),
        (["train.encoder_lr_scale=0"], "greater than 0"),
        (["train.ema=1"], "less than 1"),
        (["train.poly_power=0"], "greater than 0"),
        (["data.rare_share=0"], "greater than 0"),
        (["model.drop_path=1"], "less than 1"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(overrides, message):
    with pytest.raises(WrongUseError, match=message) as caught:
        load_config(None, overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.lr=2", "train.optimiser=sgd"],
        ["train.schedule=plateau", "train.patience=0", "train.plateau_epochs=9"],
        ["train.freeze_epochs=30"],
        ["train.momentum=0", "train.optimiser=sgd"],
    ],
)
def test_what_makes_sense_is_not_refused(overrides):
    load_config(None, overrides)


# --- groups of parameters --------------------------------------------------------------------------------------------


def test_norms_and_biases_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    decayed, free = make_optimiser(model, TrainConfig(weight_decay=0.5)).param_groups
    assert [p.shape for p in decayed["params"]] == [model[0].weight.shape]
    assert (decayed["weight_decay"], free["weight_decay"], len(free["params"])) == (0.5, 0.0, 3)


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    names = ("tu-test_resnet", "tu-test_efficientnet", "tu-test_convnext", "resnet18", "mit_b0")
    return {
        name: build_segmenter(ModelConfig(arch="segformer" if name == "mit_b0" else "unet", encoder=name), BANDS)
        for name in names
    }


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_every_parameter_is_in_one_group(networks, optimiser):
    for model in networks.values():
        config = TrainConfig(optimiser=optimiser, layer_decay=0.8, encoder_lr_scale=0.5)
        groups = make_optimiser(model, config).param_groups
        listed = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(listed) == sorted(map(id, model.parameters()))
        assert groups[0]["lr_scale"] == 1
        encoder = {id(parameter) for parameter in model.network.encoder.parameters()}
        for group in groups:
            assert len({id(parameter) in encoder for parameter in group["params"]}) == 1


def test_rates_of_the_encoder(networks):
    model = networks["resnet18"]
    optimiser = make_optimiser(model, TrainConfig(encoder_lr_scale=0.1))
    set_learning_rate(optimiser, 0.5)
    found = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert found[id(parameter)] == pytest.approx(0.05 if name.startswith("network.encoder") else 0.5)


def test_layers_of_a_resnet_by_hand(networks):
    scales = rate_scales(networks["resnet18"], TrainConfig(layer_decay=0.5, encoder_lr_scale=2.0))
    assert scales["network.encoder.layer4.1.conv2.weight"] == 2 * 0.5
    assert scales["network.encoder.layer4.0.bn1.bias"] == 2 * 0.5**2
    assert scales["network.encoder.layer1.0.conv1.weight"] == 2 * 0.5**8
    assert scales["network.encoder.conv1.weight"] == scales["network.encoder.bn1.weight"] == 2 * 0.5**9
    assert scales["network.segmentation_head.0.weight"] == 1


def test_layers_go_by_the_forward_pass_not_by_name(networks):
    """In mit_b0 all patch embeddings are made before all blocks, but each is used between them."""
    scales = rate_scales(networks["mit_b0"], TrainConfig(layer_decay=0.5))
    path = ("patch_embed1.proj", "block1.0.mlp.fc1", "block1.1.mlp.fc1", "patch_embed2.proj", "block2.0.mlp.fc1")
    path += ("patch_embed3.proj", "block3.1.mlp.fc1", "patch_embed4.proj", "block4.1.mlp.fc2")
    found = [scales[f"network.encoder.{name}.weight"] for name in path]
    assert found == sorted(found)
    assert len(set(found)) == len(path)
    assert found[-1] == scales["network.encoder.norm4.weight"] == 0.5


@pytest.mark.parametrize("name", ["tu-test_resnet", "tu-test_efficientnet", "tu-test_convnext", "resnet18", "mit_b0"])
def test_layer_decay_of_any_encoder(networks, name):
    model = networks[name]
    before = {key: module.training for key, module in model.named_modules()}
    state = torch.get_rng_state()
    scales = rate_scales(model, TrainConfig(layer_decay=0.5))
    assert {key: module.training for key, module in model.named_modules()} == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_pre_hooks for module in model.modules())
    encoder = {key: scale for key, scale in scales.items() if key.startswith("network.encoder.")}
    depths = {round(-math.log2(scale)) for scale in encoder.values()}
    assert depths == set(range(1, max(depths) + 1))
    assert max(depths) >= 3
    assert all(scale == 1 for key, scale in scales.items() if key not in encoder)
    assert set(rate_scales(model, TrainConfig()).values()) == {1.0}


def test_fused_where_it_can_be(networks):
    assert make_optimiser(networks["resnet18"], TrainConfig()).param_groups[0]["fused"]
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    assert not make_optimiser(model, TrainConfig()).param_groups[0]["fused"]


def test_fused_adamw_against_the_plain_one():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    config = TrainConfig(lr=0.01, weight_decay=0.1)
    one = make_optimiser(ours, config)
    other = torch.optim.AdamW(
        [{"params": [theirs.weight]}, {"params": [theirs.bias], "weight_decay": 0.0}], lr=0.01, weight_decay=0.1
    )
    for step in range(5):
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        for model, optimiser in ((ours, one), (theirs, other)):
            optimiser.zero_grad()
            model(inputs).square().sum().backward()
            optimiser.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_sgd_has_its_momentum():
    model = nn.Linear(2, 2)
    group = make_optimiser(model, TrainConfig(optimiser="sgd", lr=0.5, momentum=0.8, nesterov=True)).param_groups[0]
    assert (group["momentum"], group["nesterov"], group["lr"]) == (0.8, True, 0.5)


# --- freezing and drops ----------------------------------------------------------------------------------------------


class Wrapped(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module


def test_freezing_and_thawing():
    model = build_segmenter(RESNET, BANDS).train()
    for wrapped in (model, Wrapped(model), Wrapped(Wrapped(model))):
        assert bare(wrapped) is model
        freeze_encoder(wrapped, True)
        assert not any(parameter.requires_grad for parameter in model.network.encoder.parameters())
        assert not any(module.training for module in model.network.encoder.modules())
        assert all(parameter.requires_grad for parameter in model.network.decoder.parameters())
        assert model.network.decoder.training
        freeze_encoder(wrapped, False)
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert all(module.training for module in model.modules())


def drop_rates(model, kind):
    attribute = "drop_prob" if kind == "DropPath" else "p"
    return [getattr(m, attribute) for m in model.network.encoder.modules() if type(m).__name__ == kind]


@pytest.mark.parametrize(
    ("arch", "encoder"), [("unet", "tu-test_convnext"), ("unet", "tu-test_resnet"), ("segformer", "mit_b0")]
)
def test_drop_path_rises_with_depth(arch, encoder):
    model = build_segmenter(ModelConfig(arch=arch, encoder=encoder, drop_path=0.4), BANDS)
    found = [float(rate) for rate in drop_rates(model, "DropPath")]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(0.4)
    assert model.training
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # timm's residual branches begin with the weight 0, and what is dropped would not be missed.
            nn.init.ones_(module.weight)
    images = torch.randn(4, len(BANDS), 120, 120)
    torch.manual_seed(0)
    one = model(images)[0]
    torch.manual_seed(1)
    assert not torch.equal(one, model(images)[0])


def test_published_drops_stay_unless_they_are_set():
    plain = build_segmenter(ModelConfig(arch="segformer", encoder="mit_b0"), BANDS)
    assert max(drop_rates(plain, "DropPath")) == pytest.approx(0.1)
    without = build_segmenter(ModelConfig(arch="segformer", encoder="mit_b0", drop_path=0), BANDS)
    assert set(drop_rates(without, "DropPath")) <= {0}
    assert not drop_rates(build_segmenter(RESNET, BANDS), "DropPath")


@pytest.mark.parametrize(("arch", "encoder"), [("dpt", "tu-test_vit"), ("segformer", "mit_b0")])
def test_dropout_of_the_encoder(arch, encoder):
    model = build_segmenter(ModelConfig(arch=arch, encoder=encoder, encoder_dropout=0.3), BANDS)
    assert 0.3 in drop_rates(model, "Dropout")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "resnet18", "drop_path": 0.1}, "'resnet18' has no drop path.*model.drop_path"),
        ({"encoder": "tu-vgg11", "drop_path": 0.1}, "'tu-vgg11' has no drop path"),
        ({"encoder": "resnet18", "encoder_dropout": 0.1}, "'resnet18' has no dropout.*model.encoder_dropout"),
        ({"encoder": "tu-test_resnet", "encoder_dropout": 0.1}, "'tu-test_resnet' has no dropout"),
        # It has some, and none of its blocks a way around them.
        ({"encoder": "tu-test_efficientnet", "drop_path": 0.1}, "'tu-test_efficientnet' has no drop path"),
    ],
)
def test_an_encoder_without_drops_says_so(settings, message):
    with pytest.raises(ModelError, match=message) as caught:
        build_segmenter(ModelConfig(arch="unet", **settings), BANDS)
    assert "\n" not in str(caught.value)


def test_rates_of_zero_fit_every_encoder():
    build_segmenter(ModelConfig(arch="unet", encoder="resnet18", drop_path=0, encoder_dropout=0), BANDS)
    build_segmenter(ModelConfig(arch="unet", encoder="tu-test_resnet", drop_path=0, encoder_dropout=0), BANDS)


# --- the guard -------------------------------------------------------------------------------------------------------


def guarded(optimiser="adamw", deferred=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    config = TrainConfig(optimiser=optimiser, lr=0.01)
    made = make_optimiser(model, config)
    guard = Guard(model, made)
    # What CUDA does, whose fused kernels leave out such a step; those of the CPU do too.
    guard._deferred = deferred
    return model, made, guard


def snapshot(model, optimiser):
    state = {f"model.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    for i, parameter in enumerate(model.parameters()):
        for name, value in optimiser.state[parameter].items():
            state[f"{i}.{name}"] = value.clone()
    return state | {"random": torch.get_rng_state()}


def step(model, optimiser, guard, number, bad=False):
    guard.settle()
    guard.begin(Progress(step=number), torch.tensor([float(number), 0, 0]))
    loss = model(torch.randn(5, 3)).square().mean() * (math.nan if bad else 1)
    optimiser.zero_grad()
    guard.watch(loss, torch.tensor([number])).backward()
    guard.note(norm_of_gradients(model.parameters(), 1.0))
    optimiser.step()


@pytest.mark.parametrize(("optimiser", "deferred"), [("adamw", False), ("adamw", True), ("sgd", False)])
@pytest.mark.parametrize("good", [0, 1, 3])
def test_a_bad_step_changes_nothing(optimiser, deferred, good):
    model, made, guard = guarded(optimiser, deferred)
    for number in range(good):
        step(model, made, guard, number)
    before = snapshot(model, made)

    def fail():
        step(model, made, guard, good, bad=True)
        guard.settle()

    with pytest.raises(NotFiniteError) as caught:
        fail()
    after = snapshot(model, made)
    # A first step may leave moments of 0 behind, with which the next one begins as if there were none.
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all((after[name] == 0).all() for name in after.keys() - before.keys())
    assert (caught.value.progress.step, caught.value.rows_B.tolist()) == (good, [good])
    assert caught.value.progress.loss_sums == [float(good), 0, 0]


@pytest.mark.parametrize("deferred", [False, True])
def test_good_steps_are_as_without_a_guard(deferred):
    model, made, guard = guarded(deferred=deferred)
    other, plain, _ = guarded()
    for number in range(3):
        torch.manual_seed(number)
        step(model, made, guard, number)
        assert guard.settle()
        assert not guard.settle()
        torch.manual_seed(number)
        plain.zero_grad()
        other(torch.randn(5, 3)).square().mean().backward()
        nn.utils.clip_grad_norm_(other.parameters(), 1.0)
        plain.step()
    one, two = snapshot(model, made), snapshot(other, plain)
    assert all(torch.equal(one[name], two[name]) for name in two)


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize(("spoiled", "suspects"), [("loss", [11, 21]), ("gradient", [10, 20, 11, 21, 12, 22])])
def test_a_step_of_several_batches_is_undone_as_a_whole(deferred, spoiled, suspects):
    model, made, guard = guarded(deferred=deferred)
    step(model, made, guard, 0)
    before = snapshot(model, made)

    def fail():
        guard.settle()
        made.zero_grad()
        guard.begin(Progress(step=1, batch=1), torch.zeros(3))
        for part in range(3):
            output = model(torch.randn(5, 3))
            loss = output.square().mean()
            if part == 1:
                # The slope of a square root at 0 has no bound, its value is fine.
                loss = loss * math.inf if spoiled == "loss" else loss + (output * 0).square().sqrt().sum()
            guard.watch(loss, torch.tensor([10 + part, 20 + part])).backward()
            assert not guard.settle()
        guard.note(norm_of_gradients(model.parameters(), 1.0))
        made.step()
        guard.settle()

    with pytest.raises(NotFiniteError) as caught:
        fail()
    assert caught.value.rows_B.tolist() == suspects
    assert caught.value.at_fault == (spoiled == "loss")
    assert (caught.value.progress.step, caught.value.progress.batch) == (1, 1)
    after = snapshot(model, made)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_norm_of_gradients():
    model = nn.Linear(3, 2)
    model(torch.randn(4, 3)).square().sum().mul(100).backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    grads = [p.grad.clone() for p in model.parameters()]
    assert norm_of_gradients(model.parameters(), 0).item() == pytest.approx(expected.item(), rel=1e-5)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))
    assert norm_of_gradients(model.parameters(), 0.5).item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item() == pytest.approx(0.5, rel=1e-4)
    assert norm_of_gradients(nn.Linear(1, 1).parameters(), 0).item() == 0

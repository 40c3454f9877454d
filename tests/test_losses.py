"""Losses against brute force and other implementations; their sums; weights by frequency."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segmentation_models_pytorch.losses import LovaszLoss
from segmentation_models_pytorch.losses._functional import focal_loss_with_logits, softmax_focal_loss_with_logits
from torch.nn import functional

from seg.config.load import dump_config, load_config
from seg.config.loss import LossConfig
from seg.config.terms import read_terms
from seg.data.frequency import ClassFrequencies
from seg.engine.losses.balance import class_weights, positive_weights
from seg.engine.losses.joint import JointLoss, check_losses
from seg.engine.losses.pixel import PIXEL_LOSSES, cross_entropy, dice, focal, jaccard, lovasz, tversky
from seg.engine.losses.scene import SCENE_LOSSES, asymmetric, bce
from seg.engine.losses.scene import focal as scene_focal
from seg.errors import WrongUseError
from seg.reben.classes import CLASS_NAMES

K = 19
PIXEL = list(PIXEL_LOSSES)
WEIGHTED = ["cross_entropy", "focal"]


def pixels(seed=0, batch=2, size=12, classes=range(K), ignored=0.3):
    """Logits and targets of some of the classes, with unlabelled pixels."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, K, size, size, generator=generator)
    target = torch.tensor(list(classes))[torch.randint(0, len(classes), (batch, size, size), generator=generator)]
    target[torch.rand(target.shape, generator=generator) < ignored] = 255
    return logits, target


def labelled(logits, target):
    """Logits (N, K) and targets (N,) of the labelled pixels, as float64 arrays."""
    keep = target != 255
    return logits.movedim(1, -1)[keep].double(), target[keep]


# --- every pixel loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PIXEL)
def test_unlabelled_pixels_take_no_part(name):
    logits, target = pixels()
    target[:, :5] = 255
    logits.requires_grad_()
    loss = PIXEL_LOSSES[name](logits, target)
    loss.backward()
    assert loss.item() > 0
    ignored = (target == 255)[:, None].expand_as(logits)
    assert (logits.grad[ignored] == 0).all()
    assert (logits.grad[~ignored] != 0).any()
    changed = logits.detach().clone()
    changed[ignored] += 100 * torch.randn(int(ignored.sum()))
    assert PIXEL_LOSSES[name](changed, target).item() == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in PIXEL] + [(name, {"class_weights_K": torch.rand(K)}) for name in WEIGHTED],
)
def test_a_batch_without_labels_has_loss_zero(name, options):
    logits = torch.randn(2, K, 8, 8, requires_grad=True)
    loss = PIXEL_LOSSES[name](logits, torch.full((2, 8, 8), 255), **options)
    loss.backward()
    assert loss.shape == ()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", PIXEL)
def test_a_right_mask_costs_less_than_a_wrong_one(name):
    target = torch.randint(0, K, (2, 8, 8))
    right = 20 * functional.one_hot(target, K).movedim(-1, 1).float()
    assert PIXEL_LOSSES[name](right, target) < 0.01 < PIXEL_LOSSES[name](right.roll(1, 1), target)


@pytest.mark.parametrize("name", PIXEL)
@pytest.mark.parametrize("scale", [1.0, 200.0, 1e4])
@pytest.mark.parametrize("classes", [range(K), [3], [0, 18]])
def test_values_and_gradients_are_finite(name, scale, classes):
    logits, target = pixels(1, classes=classes)
    logits = (scale * logits).requires_grad_()
    loss = PIXEL_LOSSES[name](logits, target)
    loss.backward()
    assert math.isfinite(loss.item())
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", PIXEL)
def test_gradients_against_differences(name):
    logits, target = pixels(2, batch=1, size=3)
    assert torch.autograd.gradcheck(
        lambda x: PIXEL_LOSSES[name](x, target), logits.double().requires_grad_(), atol=1e-4
    )


@pytest.mark.parametrize("name", PIXEL)
def test_one_labelled_pixel(name):
    logits = torch.randn(1, K, 4, 4, requires_grad=True)
    target = torch.full((1, 4, 4), 255)
    target[0, 2, 1] = 7
    loss = PIXEL_LOSSES[name](logits, target)
    loss.backward()
    assert loss.item() > 0
    assert logits.grad.isfinite().all()


# --- each against a reference ----------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), smoothing=st.floats(0, 0.5), weighted=st.booleans())
def test_cross_entropy_against_brute_force(seed, smoothing, weighted):
    logits, target = pixels(seed, size=5)
    weights = torch.rand(K, generator=torch.Generator().manual_seed(seed)) if weighted else torch.ones(K)
    flat, classes = labelled(logits, target)
    losses, total = [], 0.0
    for row, true in zip(flat, classes.tolist(), strict=True):
        nll = -torch.log(row.exp() / row.exp().sum())
        one = (1 - smoothing) * weights[true] * nll[true] + smoothing / K * (weights * nll).sum()
        losses.append(one.item())
        total += weights[true].item()
    found = cross_entropy(logits, target, label_smoothing=smoothing, class_weights_K=weights if weighted else None)
    assert found.item() == pytest.approx(sum(losses) / total, rel=1e-4)
    expected = functional.cross_entropy(logits, target, weights, ignore_index=255, label_smoothing=smoothing)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_only_classes_of_weight_zero_are_labelled():
    logits, target = pixels(classes=[4])
    logits.requires_grad_()
    weights = torch.ones(K)
    weights[4] = 0
    for options in ({}, {"label_smoothing": 0.1}):
        loss = cross_entropy(logits, target, class_weights_K=weights, **options)
        assert loss.item() == 0
    loss = focal(logits, target, class_weights_K=weights)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), gamma=st.floats(0, 5))
def test_focal_against_smp_s_function(seed, gamma):
    logits, target = pixels(seed, size=5)
    flat, classes = labelled(logits, target)
    expected = softmax_focal_loss_with_logits(flat, classes, gamma=gamma)
    assert focal(logits, target, focal_gamma=gamma).item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-6)


def test_focal_with_class_weights():
    logits, target = pixels()
    weights = torch.rand(K)
    flat, classes = labelled(logits, target)
    p = flat.softmax(1)[torch.arange(len(flat)), classes]
    expected = (weights[classes] * -((1 - p) ** 2) * p.log()).sum() / weights[classes].sum()
    assert focal(logits, target, class_weights_K=weights).item() == pytest.approx(expected.item(), rel=1e-4)


def test_focal_without_focus_is_cross_entropy():
    logits, target = pixels()
    assert focal(logits, target, focal_gamma=0).item() == pytest.approx(cross_entropy(logits, target).item())


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0])
def test_a_weak_focus_has_a_slope_where_all_is_right(gamma):
    target = torch.randint(0, K, (1, 4, 4))
    logits = (500 * functional.one_hot(target, K).movedim(-1, 1).float()).requires_grad_()
    focal(logits, target, focal_gamma=gamma).backward()
    assert logits.grad.isfinite().all()
    scene = torch.tensor([[300.0, -300.0]], requires_grad=True)
    for loss in (
        scene_focal(scene, torch.tensor([[1.0, 0.0]]), focal_gamma=gamma),
        asymmetric(scene, torch.tensor([[1.0, 0.0]]), asymmetric_positive=gamma, asymmetric_negative=gamma),
    ):
        loss.backward()
        assert scene.grad.isfinite().all()


def overlaps(logits, target):
    """Soft true positives, false positives and false negatives of each class, by loops."""
    flat, classes = labelled(logits, target)
    p = flat.softmax(1)
    counts = np.zeros((3, K))
    for row, true in zip(p.tolist(), classes.tolist(), strict=True):
        for k in range(K):
            counts[:, k] += (row[k], 0, 1 - row[k]) if k == true else (0, row[k], 0)
    return counts, np.isin(np.arange(K), classes.numpy())


@pytest.mark.parametrize("classes", [range(K), [2, 5], [7]])
def test_region_losses_against_brute_force(classes):
    logits, target = pixels(3, size=6, classes=classes)
    (tp, fp, fn), present = overlaps(logits, target)
    for loss, weights in ((dice, (0.5, 0.5)), (jaccard, (1, 1)), (tversky, (0.3, 0.7))):
        score = tp / (tp + weights[0] * fp + weights[1] * fn)
        expected = np.where(present, 1 - score, 0).mean()
        assert loss(logits, target).item() == pytest.approx(expected, rel=1e-4), loss
    assert tversky(logits, target, tversky_beta=0.5).item() == pytest.approx(dice(logits, target).item())


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 99), ignored=st.sampled_from([0.0, 0.3, 0.95]), classes=st.sets(st.integers(0, 18), min_size=1)
)
def test_lovasz_against_smp(seed, ignored, classes):
    logits, target = pixels(seed, size=6, classes=sorted(classes), ignored=ignored)
    if (target == 255).all():
        return
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found, expected = lovasz(one, target), LovaszLoss("multiclass", ignore_index=255)(other, target)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
    found.backward()
    expected.backward()
    torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-3)


def test_lovasz_of_hard_masks_is_the_jaccard_index():
    """For decided masks the extension is the set function itself: 1 - IoU, a mean over the classes present."""
    _, target = pixels(5, size=10, classes=[0, 1, 2])
    predicted, _ = pixels(6, size=10)
    predicted = predicted[:, :4].argmax(1)
    logits = 1000 * functional.one_hot(predicted, K).movedim(-1, 1).float()
    keep = target != 255
    expected = []
    for k in (0, 1, 2):
        truth, claim = (target == k)[keep], (predicted == k)[keep]
        expected.append(1 - (truth & claim).sum().item() / (truth | claim).sum().item())
    assert lovasz(logits, target).item() == pytest.approx(np.mean(expected), rel=1e-5)


# --- scene losses ----------------------------------------------------------------------------------------------------


def scenes(seed=0, batch=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, K, generator=generator) * 2, (torch.rand(batch, K, generator=generator) < 0.2).float()


@pytest.mark.parametrize("name", list(SCENE_LOSSES))
def test_right_labels_cost_less_than_wrong_ones(name):
    _, labels = scenes()
    right = 20 * (2 * labels - 1)
    assert SCENE_LOSSES[name](right, labels) < 0.01 < SCENE_LOSSES[name](-right, labels)


@pytest.mark.parametrize("name", list(SCENE_LOSSES))
@pytest.mark.parametrize("labels", [0.0, 1.0])
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_scene_losses_are_finite(name, labels, scale):
    logits = (scale * scenes()[0]).requires_grad_()
    loss = SCENE_LOSSES[name](logits, torch.full((6, K), labels))
    loss.backward()
    assert math.isfinite(loss.item())
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", list(SCENE_LOSSES))
def test_scene_gradients_against_differences(name):
    logits, labels = scenes(1, 2)
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: SCENE_LOSSES[name](x, labels.double()), logits, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), gamma=st.floats(0, 4), weighted=st.booleans())
def test_scene_focal_against_smp_s_function(seed, gamma, weighted):
    logits, labels = scenes(seed)
    weights = 10 * torch.rand(K)
    elements = focal_loss_with_logits(logits, labels, gamma=gamma, alpha=None, reduction="none")
    expected = (elements * torch.where(labels == 1, weights, 1.0)).mean() if weighted else elements.mean()
    found = scene_focal(logits, labels, focal_gamma=gamma, positive_weights_K=weights if weighted else None)
    assert found.item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    positive=st.floats(0, 4),
    negative=st.floats(0, 6),
    margin=st.sampled_from([0.0, 0.05, 0.2]),
)
def test_asymmetric_against_brute_force(seed, positive, negative, margin):
    logits, labels = scenes(seed)
    losses = []
    for x, y in zip(logits.double().flatten().tolist(), labels.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-x))
        q = max(p - margin, 0)
        losses.append(-((1 - p) ** positive) * math.log(p) if y else -(q**negative) * math.log(1 - q))
    found = asymmetric(
        logits, labels, asymmetric_positive=positive, asymmetric_negative=negative, asymmetric_margin=margin
    )
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-3, abs=1e-6)


def test_asymmetric_without_asymmetry_is_bce():
    logits, labels = scenes()
    found = asymmetric(logits, labels, asymmetric_positive=0, asymmetric_negative=0, asymmetric_margin=0)
    assert found.item() == pytest.approx(bce(logits, labels).item(), rel=1e-6)


# --- weights by frequency --------------------------------------------------------------------------------------------


COUNTS = st.lists(st.integers(0, 10**10), min_size=K, max_size=K).map(lambda counts: np.array(counts, np.int64))


@given(COUNTS, st.sampled_from(["none", "inverse", "effective"]), st.floats(0, 0.999999))
def test_class_weights_are_finite_and_absent_classes_weigh_nothing(counts, balance, beta):
    weights = class_weights(counts, balance, beta)
    assert np.isfinite(weights).all()
    assert ((weights > 0) == (counts > 0)).all()
    if (counts > 0).any():
        assert weights[counts > 0].mean() == pytest.approx(1)
    more = np.argsort(counts[counts > 0])
    assert (np.diff(weights[counts > 0][more]) <= 1e-9 * weights.max()).all()


def test_inverse_class_weights():
    counts = np.array([100, 200, 400, 0] + [100] * 15)
    weights = class_weights(counts, "inverse", 0.5)
    assert weights[0] / weights[1] == pytest.approx(2)
    assert weights[1] / weights[2] == pytest.approx(2)
    assert weights[3] == 0


def test_effective_number_is_the_sum_of_a_geometric_series():
    """Cui et al., proposition 1: 1 + beta + ... + beta^(n - 1), here of whole patches."""
    beta, patches = 0.9, np.array([1, 2, 5, 30, *[3] * 15])
    series = np.array([sum(beta**i for i in range(n)) for n in patches])
    weights = class_weights(patches * 14400, "effective", beta)
    np.testing.assert_allclose(weights / weights[0], series[0] / series)
    np.testing.assert_allclose(
        class_weights(patches * 14400, "effective", 1 - 1e-12),
        class_weights(patches * 14400, "inverse", 0),
        rtol=1e-4,
    )
    np.testing.assert_allclose(class_weights(patches * 14400, "effective", 0.0), 1)


@given(
    st.lists(st.integers(0, 500), min_size=K, max_size=K),
    st.sampled_from(["inverse", "effective"]),
    st.floats(0, 0.999),
)
def test_positive_weights_are_finite_and_above_zero(positives, balance, beta):
    weights = positive_weights(np.array(positives), 500, balance, beta)
    assert np.isfinite(weights).all()
    assert (weights > 0).all()


def test_positive_weights_balance_positives_and_negatives():
    positives = np.array([0, 1, 50, 99, 100] + [10] * 14)
    weights = positive_weights(positives, 100, "inverse", 0.5)
    assert weights[:5].tolist() == pytest.approx([1, 99, 1, 1 / 99, 1 / 100])


# --- sums and configuration ------------------------------------------------------------------------------------------


def batch():
    logits, target = pixels()
    scene, labels = scenes(batch=2)
    return logits, scene, target, labels


def test_joint_loss_adds_up():
    logits, scene, target, labels = batch()
    config = LossConfig(scene_weight=0.3, pixel_weight=0.7)
    total, pixel, scenic = JointLoss(config)(logits, scene, target, labels)
    assert total.item() == pytest.approx(0.7 * pixel.item() + 0.3 * scenic.item())
    assert scenic.item() == pytest.approx(functional.binary_cross_entropy_with_logits(scene, labels).item())
    total, pixel, scenic = JointLoss(LossConfig())(logits, None, target, labels)
    assert (total.item(), scenic.item()) == (pixel.item(), 0)


@pytest.mark.parametrize("name", PIXEL)
def test_every_pixel_loss_by_name_and_in_a_sum(name):
    logits, scene, target, labels = batch()
    alone = JointLoss(LossConfig(pixel=name))(logits, scene, target, labels)[1]
    assert alone.item() == pytest.approx(PIXEL_LOSSES[name](logits, target).item())
    summed = JointLoss(LossConfig(pixel=f"0.25*{name}+2*{'dice' if name != 'dice' else 'lovasz'}"))
    other = dice if name != "dice" else lovasz
    expected = 0.25 * alone + 2 * other(logits, target)
    assert summed(logits, scene, target, labels)[1].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", list(SCENE_LOSSES))
def test_every_scene_loss_by_name(name):
    logits, scene, target, labels = batch()
    found = JointLoss(LossConfig(scene={name: 0.5}))(logits, scene, target, labels)[2]
    assert found.item() == pytest.approx(0.5 * SCENE_LOSSES[name](scene, labels).item())


def test_settings_reach_the_losses():
    logits, scene, target, labels = batch()
    config = LossConfig(
        pixel="cross_entropy+focal+tversky",
        scene="focal+asymmetric",
        label_smoothing=0.2,
        focal_gamma=1.0,
        tversky_beta=0.9,
        asymmetric_positive=1.0,
        asymmetric_negative=3.0,
        asymmetric_margin=0.1,
        class_weights="inverse",
        positive_weights="inverse",
    )
    found = ClassFrequencies(100, np.arange(1, 20), 1000 * np.arange(1, 20))
    joint = JointLoss(config, found)
    _, pixel, scenic = joint(logits, scene, target, labels)
    weights = torch.from_numpy(class_weights(found.pixels_K, "inverse", 0)).float()
    expected = (
        cross_entropy(logits, target, label_smoothing=0.2, class_weights_K=weights)
        + focal(logits, target, focal_gamma=1.0, class_weights_K=weights)
        + tversky(logits, target, tversky_beta=0.9)
    )
    assert pixel.item() == pytest.approx(expected.item(), rel=1e-5)
    positive = torch.from_numpy(positive_weights(found.positives_K, 100, "inverse", 0)).float()
    expected = scene_focal(scene, labels, focal_gamma=1.0, positive_weights_K=positive) + asymmetric(
        scene, labels, asymmetric_positive=1.0, asymmetric_negative=3.0, asymmetric_margin=0.1
    )
    assert scenic.item() == pytest.approx(expected.item(), rel=1e-5)
    record = joint.record()
    assert list(record["class_weights"]) == list(CLASS_NAMES)
    assert record["positive_weights"][CLASS_NAMES[0]] == pytest.approx(99)
    assert JointLoss(LossConfig()).record() == {}


def test_unknown_losses_are_named():
    with pytest.raises(WrongUseError, match="'cross_entrophy' is no pixel loss; did you mean cross_entropy"):
        check_losses(LossConfig(pixel="dice+cross_entrophy"))
    with pytest.raises(WrongUseError, match="'mse' is no scene loss"):
        JointLoss(LossConfig(scene="mse"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pixel": "dice", "label_smoothing": 0.1}, "loss.label_smoothing has no effect.*loss.pixel to cross_entropy"),
        ({"pixel": "dice+lovasz", "class_weights": "inverse"}, "loss.class_weights.*cross_entropy or focal"),
        ({"scene": "asymmetric", "positive_weights": "inverse"}, "loss.positive_weights.*loss.scene to bce or focal"),
        ({"focal_gamma": 3.0}, "loss.focal_gamma has no effect"),
        ({"asymmetric_margin": 0.0}, "loss.asymmetric_margin.*asymmetric"),
    ],
)
def test_settings_without_effect_are_refused(settings, message):
    with pytest.raises(WrongUseError, match=message):
        check_losses(LossConfig(**settings))


@pytest.mark.parametrize(
    ("written", "terms"),
    [
        ("dice", {"dice": 1.0}),
        ("cross_entropy+0.5*dice", {"cross_entropy": 1.0, "dice": 0.5}),
        ("2 * dice + lovasz", {"dice": 2.0, "lovasz": 1.0}),
        ("1e-1*dice+1e+1*focal", {"dice": 0.1, "focal": 10.0}),
        ("{cross_entropy: 1.0, dice: 0.5}", {"cross_entropy": 1.0, "dice": 0.5}),
        ("{dice: 2}", {"dice": 2.0}),
    ],
)
def test_sums_round_trip_through_yaml(written, terms, tmp_path):
    config = load_config(None, [f"loss.pixel={written}"])
    assert config.loss.pixel == terms
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config))
    assert load_config(file) == config


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.floats(1e-6, 1e6), min_size=1, max_size=4))
def test_a_written_sum_reads_back(terms):
    assert read_terms("+".join(f"{weight!r}*{name}" for name, weight in terms.items())) == terms


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("dice+dice", "'dice' occurs twice"),
        ("dice+", "is no sum of losses"),
        ("0.5*", "is no sum of losses"),
        ("dice*0.5", "is no sum of losses"),
        ("x*dice", "'dice' has the weight x"),
        ("0*dice", "weights are numbers above 0"),
        ("-1*dice", "weights are numbers above 0"),
        ("{dice: .inf}", "weights are numbers above 0"),
        ("{dice: yes}", "weights are numbers above 0"),
        ("{}", "the sum is empty"),
        ("[dice]", "names nothing"),
        ("3", "names nothing"),
        ("", "names nothing"),
    ],
)
def test_sums_that_are_none(written, message):
    with pytest.raises(WrongUseError, match=f"loss.pixel: .*{message}") as caught:
        load_config(None, [f"loss.pixel={written}"])
    assert "\n" not in str(caught.value)

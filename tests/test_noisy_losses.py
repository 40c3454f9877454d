"""Losses for wrong and shifted maps, against the formulas of their papers written out pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn import functional

from seg.config.loss import LossConfig
from seg.engine.losses.border import classes_nearby, is_near_border
from seg.engine.losses.joint import JointLoss, check_losses
from seg.engine.losses.pixel import (
    PIXEL_LOSSES,
    border_cross_entropy,
    cross_entropy,
    generalised_cross_entropy,
    relaxed_cross_entropy,
    symmetric_cross_entropy,
)
from seg.errors import WrongUseError
from seg.metrics.boundary import PIXEL_METRES, near_boundary

K = 19
NEW = ["symmetric_cross_entropy", "generalised_cross_entropy", "border_cross_entropy", "relaxed_cross_entropy"]


def patchy(seed, size=9, classes=4, ignored=0.2, dtype=torch.float64):
    """Logits, and maps of squares of 3 x 3 pixels with unlabelled pixels."""
    random = np.random.default_rng(seed)
    maps = np.kron(random.integers(0, classes, (2, size // 3, size // 3)), np.ones((3, 3), np.int64))
    maps[random.random(maps.shape) < ignored] = 255
    return torch.from_numpy(2 * random.standard_normal((2, K, size, size))).to(dtype), torch.from_numpy(maps)


def pixels_of(logits, target):
    """Probabilities by class, class and place of each labelled pixel."""
    p = logits.double().exp() / logits.double().exp().sum(1, keepdim=True)
    for b, y, x in torch.nonzero(target != 255).tolist():
        yield p[b, :, y, x], int(target[b, y, x]), (b, y, x)


def labels_within(target, place, metres):
    """Classes of the labelled pixels within a distance, by looking at all of them."""
    b, y, x = place
    return {
        int(target[b, i, j])
        for i in range(target.shape[1])
        for j in range(target.shape[2])
        if target[b, i, j] != 255 and 10 * math.hypot(i - y, j - x) <= metres
    }


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), alpha=st.floats(0, 6), beta=st.floats(0, 2))
def test_symmetric_cross_entropy_with_a_reverse_one_written_out(seed, alpha, beta):
    """Equations 4 to 6: -sum q log p and -sum p log q over all classes, with log 0 = -4."""
    logits, target = patchy(seed)
    found = []
    for p, true, _ in pixels_of(logits, target):
        forward = -math.log(p[true])
        log_q = [0.0 if k == true else -4.0 for k in range(K)]
        found.append(alpha * forward - beta * sum(float(p[k]) * log_q[k] for k in range(K)))
    loss = symmetric_cross_entropy(logits, target, symmetric_alpha=alpha, symmetric_beta=beta)
    assert loss.item() == pytest.approx(np.mean(found), rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), q=st.floats(0.05, 1))
def test_generalised_cross_entropy_written_out(seed, q):
    logits, target = patchy(seed)
    expected = np.mean([(1 - float(p[true]) ** q) / q for p, true, _ in pixels_of(logits, target)])
    assert generalised_cross_entropy(logits, target, generalised_q=q).item() == pytest.approx(expected, rel=1e-9)


def test_the_ends_of_generalised_cross_entropy():
    """Its limits in the paper: cross-entropy for q towards 0, and half the L1 distance to the label at 1."""
    logits, target = patchy(1)
    near_zero = generalised_cross_entropy(logits, target, generalised_q=1e-7)
    assert near_zero.item() == pytest.approx(cross_entropy(logits, target).item(), rel=1e-5)
    keep = target != 255
    p = logits.softmax(1).movedim(1, -1)[keep]
    distance = (p - functional.one_hot(target[keep], K)).abs().sum(1).mean()
    one = generalised_cross_entropy(logits, target, generalised_q=1.0)
    assert one.item() == pytest.approx(distance.item() / 2, rel=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), metres=st.floats(10, 45), weight=st.integers(0, 100).map(lambda percent: percent / 100))
def test_border_losses_pixel_by_pixel(seed, metres, weight):
    logits, target = patchy(seed)
    losses, weights, relaxed = [], [], []
    for p, true, place in pixels_of(logits, target):
        near = labels_within(target, place, metres)
        weights.append(weight if near - {true} else 1.0)
        losses.append(-math.log(p[true]))
        relaxed.append(-math.log(sum(float(p[k]) for k in near)))
    expected = np.dot(losses, weights) / sum(weights) if sum(weights) else 0.0
    found = border_cross_entropy(logits, target, border_metres=metres, border_weight=weight)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    found = relaxed_cross_entropy(logits, target, border_metres=metres)
    assert found.item() == pytest.approx(np.mean(relaxed), rel=1e-9)


def blobs(seed, size=60):
    """A map of ten random blobs, with unlabelled ones."""
    fields = np.random.default_rng(seed).standard_normal((10, size, size))
    found = ndimage.gaussian_filter(fields, (0, 4, 4)).argmax(0)
    return np.where(found == 9, 255, found).astype(np.uint8)


@pytest.mark.parametrize("metres", [10.0, 14.2, 20.0, 30.0, 50.0, 99.0])
def test_what_is_near_by_distance_transforms(metres):
    """And the border is that of the boundary scores."""
    maps = np.stack([blobs(seed) for seed in range(2)])
    near = is_near_border(torch.from_numpy(maps).long(), metres).numpy()
    classes = classes_nearby(torch.from_numpy(maps).long(), K, metres).numpy()
    for map_HW, near_HW, classes_KHW in zip(maps, near, classes, strict=True):
        assert np.array_equal(near_HW, near_boundary(map_HW, map_HW != 255, metres))
        for k in range(K):
            away = ndimage.distance_transform_edt(map_HW != k) if (map_HW == k).any() else np.full(map_HW.shape, 1e9)
            assert np.array_equal(classes_KHW[k], (PIXEL_METRES * away <= metres) | (map_HW == 255))


def test_far_from_borders_both_are_cross_entropy():
    logits, _ = patchy(2)
    target = torch.full((2, 9, 9), 3)
    target[0, 4, 4] = 255
    for loss in (border_cross_entropy, relaxed_cross_entropy):
        assert loss(logits, target).item() == pytest.approx(cross_entropy(logits, target).item(), rel=1e-9)
    assert border_cross_entropy(*patchy(2), border_weight=1.0).item() == pytest.approx(
        cross_entropy(*patchy(2)).item(), rel=1e-9
    )


def test_a_border_drawn_two_pixels_off_costs_nothing_when_it_is_relaxed():
    drawn = torch.zeros(1, 12, 12, dtype=torch.long)
    drawn[:, :, 6:] = 5
    truth = drawn.roll(2, 2)
    truth[:, :, :2] = 0
    logits = 30 * functional.one_hot(truth, K).movedim(-1, 1).float()
    assert relaxed_cross_entropy(logits, drawn, border_metres=20.0) < 1e-4
    assert relaxed_cross_entropy(logits, drawn, border_metres=10.0) > 1
    assert cross_entropy(logits, drawn) > 1


def test_with_weight_zero_and_borders_everywhere_there_is_nothing_to_learn():
    logits, _ = patchy(3, dtype=torch.float32)
    logits.requires_grad_()
    target = (torch.arange(9)[:, None] + torch.arange(9)).remainder(2).expand(2, 9, 9)
    loss = border_cross_entropy(logits, target, border_weight=0.0)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def gradients(name, p, target):
    """Derivatives by the logits (B, K, H, W) of a mean loss, from the papers' formulas by the probabilities."""
    keep = target != 255
    one = functional.one_hot(target.where(keep, 0), K).movedim(-1, 1).double()
    true = (p * one).sum(1, keepdim=True)
    nll = p - one  # of cross-entropy by the logits
    count = keep.sum()
    if name == "symmetric_cross_entropy":
        # 4 (1 - p): its slope by the logit j is -4 p (1[j is true] - p_j).
        each = 0.1 * nll + 4 * true * nll
    elif name == "generalised_cross_entropy":
        each = true**0.7 * nll  # equation 7
    elif name == "border_cross_entropy":
        near = torch.stack([torch.from_numpy(near_boundary(t.byte().numpy(), k.numpy(), 20.0)) for t, k in
                            zip(target, keep, strict=True)])  # fmt: skip
        weights = torch.where(near, 0.25, 1.0)
        each, count = weights[:, None] * nll, (weights * keep).sum()
    else:
        nearby = torch.zeros_like(p)
        for b, y, x in torch.nonzero(keep).tolist():
            for k in labels_within(target, (b, y, x), 20.0):
                nearby[b, k, y, x] = 1
        # The classes nearby share what is asked for by their probabilities.
        each = p - nearby * p / (nearby * p).sum(1, keepdim=True).clamp(min=1e-300)
    return each * keep[:, None] / count


@pytest.mark.parametrize("name", NEW)
def test_gradients_are_those_of_the_formulas(name):
    logits, target = patchy(4)
    logits.requires_grad_()
    PIXEL_LOSSES[name](logits, target).backward()
    expected = gradients(name, logits.detach().softmax(1), target)
    torch.testing.assert_close(logits.grad, expected, rtol=1e-9, atol=1e-12)
    small = logits.detach()[:1, :, :4, :4].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: PIXEL_LOSSES[name](x, target[:1, :4, :4]), small)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_digits_and_gradients_of_the_precisions_that_training_has(name, dtype):
    """`JointLoss` computes in float32 whatever the network gives; right and hopeless pixels have finite slopes."""
    logits, target = patchy(5, dtype=dtype)
    logits[0] *= 200
    logits.requires_grad_()
    loss = JointLoss(LossConfig(pixel=name))(logits, None, target, torch.zeros(2, K))[1]
    loss.backward()
    assert loss.dtype == torch.float32
    assert logits.grad.isfinite().all()
    assert (logits.grad[(target == 255)[:, None].expand_as(logits)] == 0).all()
    expected = PIXEL_LOSSES[name](logits.detach().double(), target)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["symmetric_cross_entropy", "generalised_cross_entropy"])
def test_a_pixel_with_a_wrong_class_pulls_less_than_by_cross_entropy(name):
    """One pixel in ten has another class than all that look like it, and all have the same logits."""
    target = torch.zeros(1, 1, 10, dtype=torch.long)
    target[..., 9] = 1
    shares = {}
    for loss in ("cross_entropy", name):
        logits = torch.zeros(1, K, 1, 1, requires_grad=True)
        optimiser = torch.optim.Adam([logits], 0.1)
        for _ in range(400):
            optimiser.zero_grad()
            PIXEL_LOSSES[loss](logits.expand(1, K, 1, 10), target).backward()
            optimiser.step()
        shares[loss] = logits.detach().softmax(1).flatten()[1].item()
    assert shares["cross_entropy"] == pytest.approx(0.1, abs=1e-3)
    assert shares[name] < 0.03


def test_settings_reach_their_losses_and_no_others():
    logits, target = patchy(6)
    for name, setting, value in (
        ("symmetric_cross_entropy", "symmetric_beta", 0.5),
        ("generalised_cross_entropy", "generalised_q", 0.3),
        ("border_cross_entropy", "border_weight", 0.0),
        ("relaxed_cross_entropy", "border_metres", 10.0),
    ):
        loss = JointLoss(LossConfig(pixel=name, **{setting: value}))(logits, None, target, None)[1]
        assert loss.item() == pytest.approx(PIXEL_LOSSES[name](logits.float(), target, **{setting: value}).item())
        with pytest.raises(WrongUseError, match=rf"loss\.{setting} has no effect .* set loss\.pixel to .*{name}"):
            check_losses(LossConfig(**{setting: value}))

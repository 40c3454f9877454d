"""CutMix and copy-paste: which pixels come from where, scene labels of what is left, and what a resumed run mixes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.config.load import load_config
from seg.config.training import TrainConfig
from seg.data.dataset import Batch
from seg.engine.mixing import draw, implied_labels, mixed
from seg.errors import WrongUseError
from seg.reben.reference_map import implied_bits

K = 19


def batch_of(seed, patches=4, size=120, unlabelled=0.1):
    random = np.random.default_rng(seed)
    maps = np.kron(random.integers(0, K, (patches, size // 20, size // 20)), np.ones((20, 20))).astype(np.uint8)
    maps[random.random(maps.shape) < unlabelled] = 255
    # The patch that a pixel comes from can be read from its value.
    images = np.arange(patches)[:, None, None, None] + np.zeros((patches, 3, size, size))
    labels = random.integers(0, 2, (patches, K))
    rows = torch.from_numpy(random.choice(1000, patches, replace=False))
    return Batch(torch.from_numpy(images).float(), torch.from_numpy(maps), torch.from_numpy(labels).float(), rows)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999), cutmix=st.floats(0, 1), epoch=st.integers(0, 5), alpha=st.sampled_from([0.2, 1.0, 8.0])
)
def test_pixel_by_pixel(seed, cutmix, epoch, alpha):
    config = TrainConfig(cutmix=cutmix, copy_paste=(1 - cutmix) / 2, seed=seed, cutmix_alpha=alpha if cutmix else 1.0)
    batch = batch_of(seed)
    found = mixed(batch, config, epoch)
    assert torch.equal(found.rows_B, batch.rows_B)
    for i, row in enumerate(batch.rows_B.tolist()):
        (top, bottom, left, right), classes = draw(config, epoch, row)
        other = (i + 1) % len(batch)
        maps = batch.masks_BHW.numpy()
        expected, source = maps[i].copy(), np.full((120, 120), i)
        box = np.s_[top:bottom, left:right]
        expected[box], source[box] = maps[other][box], other
        for k in np.flatnonzero(classes):
            taken = maps[other] == k
            expected[taken], source[taken] = k, other
        assert np.array_equal(found.masks_BHW[i].numpy(), expected)
        assert (found.images_BCHW[i].numpy() == source).all()
        labels = [float(implied_bits(expected) >> k & 1) for k in range(K)]
        given_labels = batch.labels_BK[i].tolist()
        assert found.labels_BK[i].tolist() == (labels if (source == other).any() else given_labels)


def test_a_patch_is_mixed_in_one_way_at_most_and_as_often_as_asked():
    config = TrainConfig(cutmix=0.3, copy_paste=0.5)
    draws = [draw(config, 0, row) for row in range(4000)]
    boxes = np.array([box.any() for box, _ in draws])
    classes = np.array([taken for _, taken in draws])
    assert not (boxes & classes.any(1)).any()
    assert boxes.mean() == pytest.approx(0.3, abs=0.025)
    pasted = classes.any(1)
    assert pasted.mean() == pytest.approx(0.5, abs=0.025)
    np.testing.assert_allclose(classes[pasted].mean(0), 0.5, atol=0.05)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_rectangles_are_those_of_the_paper(alpha):
    """Against the authors' function `rand_bbox`, with numbers of the same distributions: the area within the patch."""
    config = TrainConfig(cutmix=1.0, cutmix_alpha=alpha)
    boxes = np.array([draw(config, 1, row)[0] for row in range(6000)])
    assert (boxes >= 0).all()
    assert (boxes <= 120).all()
    ours = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2]) / 120**2
    random = np.random.default_rng(0)
    theirs = []
    for _ in range(6000):
        cut = int(120 * np.sqrt(1 - random.beta(alpha, alpha)))
        (y, x) = random.integers(0, 120, 2)
        ends = np.clip([y - cut // 2, y + cut // 2, x - cut // 2, x + cut // 2], 0, 120)
        theirs.append((ends[1] - ends[0]) * (ends[3] - ends[2]) / 120**2)
    quantiles = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(np.quantile(ours, quantiles), np.quantile(theirs, quantiles), atol=0.035)


def test_the_draw_belongs_to_seed_epoch_and_patch():
    def boxes(**how):
        config = TrainConfig(cutmix=1.0, **how)
        return lambda epoch: [tuple(draw(config, epoch, row)[0]) for row in range(50)]

    assert boxes()(0) == boxes()(0)
    assert boxes()(0) != boxes()(1)
    assert boxes(seed=1)(0) != boxes()(0)


def test_without_mixing_the_batch_is_the_same_object():
    batch = batch_of(0)
    assert mixed(batch, TrainConfig(), 0) is batch


def test_official_labels_stay_where_nothing_is_pasted():
    """A neighbour without a labelled pixel has nothing to paste."""
    batch = batch_of(3)
    batch.masks_BHW[1:] = 255
    found = mixed(batch, TrainConfig(copy_paste=1.0), 0)
    assert torch.equal(found.labels_BK[:3], batch.labels_BK[:3])
    assert torch.equal(found.masks_BHW[:3], batch.masks_BHW[:3])


def test_labels_of_maps():
    maps = batch_of(9).masks_BHW
    bits = [implied_bits(map_HW.numpy()) for map_HW in maps]
    assert implied_labels(maps).tolist() == [[bool(one >> k & 1) for k in range(K)] for one in bits]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"train__cutmix": 0.7, "train__copy_paste": 0.5}, "are more than 1 together"),
        ({"train__cutmix_alpha": 2}, "cutmix_alpha=2.0 has an effect only with a cutmix above 0"),
        ({"train__cutmix": 0.5, "train__batch_size": 1}, "batch_size=1 has one"),
        ({"train__copy_paste": 0.5, "loss__pixel_weight": 0}, r"train\.copy_paste=0.5 has an effect only with loss"),
        ({"train__cutmix": 0.5, "loss__pixel_weight": 0}, r"train\.cutmix=0.5 has an effect only with loss"),
    ],
)
def test_refused_where_it_makes_no_sense(chosen, message):
    with pytest.raises(WrongUseError, match=message):
        load_config(None, (), **chosen)

"""Label-only elastic deformation: how far and how smoothly maps are pulled, and that nothing else is touched."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.config.load import load_config
from seg.config.sections import DataConfig
from seg.data.dataset import PatchDataset
from seg.data.elastic import displacements, pulled
from seg.data.feed import on_device
from seg.data.loader import make_loader
from seg.data.on_device import preparation
from seg.data.order import BatchKey, BatchOrder
from seg.data.symmetry import Symmetries, moved
from seg.errors import WrongUseError
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.bands import MODALITIES
from seg.store.open import open_store


@pytest.mark.parametrize("sigma", [3.0, 20.0, 40.0])
def test_displacements_are_white_noise_under_a_gaussian(sigma):
    """Variance 1 at every pixel, and the correlation of the convolution of two Gaussians."""
    draws = np.stack([displacements(sigma, (7, number)) for number in range(400)])
    assert draws.shape == (400, 2, 120, 120)
    assert np.abs(draws.mean(0)).max() < 0.25
    np.testing.assert_allclose(draws.var(0)[:, ::17, ::17], 1, atol=0.3)
    assert draws.var(0).mean() == pytest.approx(1, abs=0.06)
    for apart in (1, round(sigma), 2 * round(sigma)):
        for axis in (2, 3):
            first, second = (np.take(draws, range(*ends), axis) for ends in ((0, 120 - apart), (apart, 120)))
            assert (first * second).mean() == pytest.approx(np.exp(-(apart**2) / (4 * sigma**2)), abs=0.07)
    assert abs((draws[:, 0] * draws[:, 1]).mean()) < 0.06


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), metres=st.floats(0, 80), scale=st.floats(30, 600))
def test_every_pixel_gets_the_class_of_the_nearest_one_it_is_pulled_to(seed, metres, scale):
    mask = np.random.default_rng(seed).integers(0, 19, (120, 120)).astype(np.uint8)
    before = mask.copy()
    found = pulled(mask, metres, scale, (seed, 3))
    y, x = displacements(scale / 10, (seed, 3)) * metres / 10
    for i in range(0, 120, 7):
        for j in range(0, 120, 7):
            row, column = round(i + y[i, j]), round(j + x[i, j])
            inside = 0 <= row < 120 and 0 <= column < 120
            assert found[i, j] == (mask[row, column] if inside else 255)
    assert np.array_equal(mask, before)
    assert np.array_equal(found, pulled(mask, metres, scale, (seed, 3)))
    assert np.array_equal(pulled(mask, 0.0, scale, (seed,)), mask)


# --- out of a store --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(real, tmp_path_factory):
    out = tmp_path_factory.mktemp("elastic") / "full"
    build_store(published_sources(real / "reben-full-4"), out)
    return open_store(out)


def batch_of(store, seed=5, raw=False, **how):
    data = DataConfig(bands=MODALITIES["s2"], **how)
    dataset = PatchDataset(store, np.arange(4), data, augment_seed=seed, raw=raw)
    return dataset, BatchKey(2, (0, 1, 2, 3))


def test_maps_are_pulled_and_images_and_labels_stay(store):
    (plain, key), (elastic, _) = batch_of(store, augment=()), batch_of(store, augment=(), label_elastic=40)
    one, other = plain[key], elastic[key]
    assert torch.equal(one.images_BCHW, other.images_BCHW)
    assert torch.equal(one.labels_BK, other.labels_BK)
    assert not torch.equal(one.masks_BHW, other.masks_BHW)
    for i in range(4):
        expected = pulled(one.masks_BHW[i].numpy(), 40, 200, (5, *key.seed(i)))
        assert np.array_equal(other.masks_BHW[i].numpy(), expected)


def test_maps_are_pulled_before_they_are_turned(store):
    (plain, key), (elastic, _) = batch_of(store, augment=()), batch_of(store, label_elastic=40)
    turned = Symmetries(elastic._data.augment)
    for i, (flat, found) in enumerate(zip(plain[key].masks_BHW, elastic[key].masks_BHW, strict=True)):
        seed = (5, *key.seed(i))
        expected = moved(pulled(flat.numpy(), 40, 200, seed), turned.draw(seed))
        assert np.array_equal(found.numpy(), expected)


def test_a_device_gets_the_same_maps(store):
    found = []
    for raw in (False, True):
        dataset, _ = batch_of(store, raw=raw, label_elastic=30, label_elastic_scale=100)
        loader = make_loader(dataset, BatchOrder(4, 4, shuffle_seed=1), 0)
        cpu = torch.device("cpu")
        found.append([batch.masks_BHW.clone() for batch in on_device(loader, cpu, preparation(dataset, cpu))])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_every_epoch_has_another_one_and_validation_none(store):
    elastic, key = batch_of(store, label_elastic=40, augment=())
    again = elastic[BatchKey(3, key.positions)]
    assert not torch.equal(elastic[key].masks_BHW, again.masks_BHW)
    assert torch.equal(elastic[key].masks_BHW, elastic[key].masks_BHW)
    unseeded, _ = batch_of(store, seed=None, label_elastic=40)
    plain, _ = batch_of(store, seed=None)
    assert torch.equal(unseeded[key].masks_BHW, plain[key].masks_BHW)


def test_refused_where_it_has_no_effect():
    for settings_, message in (
        ({"data__label_elastic_scale": 100}, "label_elastic_scale=100.0 has an effect only with a label_elastic"),
        (
            {"data__label_elastic": 20, "loss__pixel_weight": 0},
            r"data\.label_elastic=20.0 has an effect only with loss\.pixel_weight above 0",
        ),
    ):
        with pytest.raises(WrongUseError, match=message):
            load_config(None, (), **settings_)

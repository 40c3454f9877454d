"""Radiometric jitter: stored values that are changed in their units, what depends on what, and how much varies."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.config.training import TrainConfig
from seg.data.dataset import Batch
from seg.data.transforms import Normaliser
from seg.engine.radiometry import check_jitter, draw, jittered
from seg.errors import WrongUseError
from seg.reben.bands import BANDS

USED = ("VH", "B02", "B11", "VV", "B08")
TEN_METRES = ("VH", "B02", "VV", "B08")


def stored(seed, bands):
    """Values as reBEN stores them: digital numbers, and dB."""
    random = np.random.default_rng(seed)
    return {
        name: random.uniform(-30, 5, (120, 120)).astype(np.float32)
        if BANDS[name].sensor == "s1"
        else random.integers(0, 9000, (120, 120)).astype(np.uint16)
        for name in bands
    }


def normalised(patches, bands):
    images = np.empty((len(patches), len(bands), 120, 120), np.float32)
    for tensors, image in zip(patches, images, strict=True):
        Normaliser(bands, "bilinear")(tensors, image)
    return torch.from_numpy(images)


def batch_of(images, rows):
    masks, labels = torch.zeros(len(images), 120, 120, dtype=torch.uint8), torch.zeros(len(images), 19)
    return Batch(images, masks, labels, torch.tensor(rows))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), reflectance=st.floats(0, 0.5), backscatter=st.floats(0, 4), epoch=st.integers(0, 5))
def test_it_is_what_normalising_changed_values_gives(seed, reflectance, backscatter, epoch):
    config = TrainConfig(seed=seed, reflectance_jitter=reflectance, backscatter_jitter=backscatter)
    patches, rows = [stored(seed + i, TEN_METRES) for i in range(2)], [3, 40]
    found = jittered(batch_of(normalised(patches, TEN_METRES), rows), config, epoch, TEN_METRES)
    for tensors, row in zip(patches, rows, strict=True):
        for name, change in zip(TEN_METRES, draw(config, epoch, row, TEN_METRES), strict=True):
            # In double precision, so that digital numbers are not rounded.
            value = tensors[name].astype(np.float64)
            tensors[name] = value + change if name in ("VV", "VH") else value * np.exp(change)
    expected = normalised(patches, TEN_METRES)
    torch.testing.assert_close(found.images_BCHW, expected, rtol=1e-4, atol=1e-4)
    assert found.rows_B.tolist() == rows


def test_what_reflects_nothing_stays_black():
    config = TrainConfig(reflectance_jitter=0.5)
    nothing = {name: np.zeros((BANDS[name].size,) * 2, np.uint16) for name in ("B02", "B11")}
    images = normalised([nothing], ("B02", "B11"))
    found = jittered(batch_of(images, [7]), config, 0, ("B02", "B11")).images_BCHW
    torch.testing.assert_close(found, images, rtol=0, atol=1e-6)


def test_each_sensor_varies_by_as_much_as_was_asked():
    config = TrainConfig(reflectance_jitter=0.2, backscatter_jitter=1.5)
    drawn = np.array([draw(config, 1, row, USED) for row in range(6000)])
    whole = np.sqrt(1 + 0.5**2)
    np.testing.assert_allclose(drawn.std(0), np.array([1.5, 0.2, 0.2, 1.5, 0.2]) * whole, rtol=0.05)
    np.testing.assert_allclose(drawn.mean(0) / drawn.std(0), 0, atol=0.05)
    # What bands of a sensor have in common: 1 of 1 + 1/4 of the variance. Sensors have nothing in common.
    expected = np.array([[0.8 if BANDS[a].sensor == BANDS[b].sensor else 0.0 for b in USED] for a in USED])
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(np.corrcoef(drawn.T), expected, atol=0.05)


def test_the_draw_belongs_to_seed_epoch_and_patch_and_to_nothing_else():
    config = TrainConfig(reflectance_jitter=0.2)
    again = draw(config.model_copy(update={"batch_size": 7, "lr": 1e-4}), 2, 9, USED)
    np.testing.assert_array_equal(draw(config, 2, 9, USED), again)
    others = (
        draw(config, 3, 9, USED),
        draw(config, 2, 8, USED),
        draw(config.model_copy(update={"seed": 1}), 2, 9, USED),
    )
    for other in others:
        assert (other[1] != again[1]).all()
    assert (again[[0, 3]] == 0).all(), "Sentinel-1 was to stay"


def test_without_jitter_the_batch_is_left_alone():
    batch = batch_of(torch.randn(2, 5, 120, 120), [1, 2])
    assert jittered(batch, TrainConfig(), 0, USED) is batch
    found = jittered(batch, TrainConfig(backscatter_jitter=1.0), 0, USED)
    assert torch.equal(found.images_BCHW[:, [1, 2, 4]], batch.images_BCHW[:, [1, 2, 4]])
    assert found == replace(batch, images_BCHW=found.images_BCHW)


def test_a_sensor_that_is_not_there_cannot_vary():
    check_jitter(TrainConfig(reflectance_jitter=0.1, backscatter_jitter=1), USED)
    check_jitter(TrainConfig(reflectance_jitter=0.1), ("B02",))
    with pytest.raises(WrongUseError, match=r"train\.backscatter_jitter=1 needs bands of Sentinel-1"):
        check_jitter(TrainConfig(backscatter_jitter=1), ("B02",))
    with pytest.raises(WrongUseError, match=r"train\.reflectance_jitter=0\.1 needs bands of Sentinel-2"):
        check_jitter(TrainConfig(reflectance_jitter=0.1), ("VV",))

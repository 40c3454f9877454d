"""Windows of training patches: where they lie, what of image, context, map and labels they show, and who takes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from entries import small_store
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import quick_run

from seg.config.sections import ModelConfig
from seg.config.training import TrainConfig
from seg.data.dataset import Batch
from seg.engine.mixing import mixed
from seg.engine.windows import check_window, draw, windowed
from seg.errors import WrongUseError
from seg.models.segmenter import Segmenter, build_segmenter
from seg.reben.classes import NUM_CLASSES as K

BANDS = ("B02", "B03", "B04")


def batch_of(seed, patches=3, context=0):
    """Patches whose pixels say where they lie: row, column and patch, in what is seen of it."""
    random = np.random.default_rng(seed)
    edge = 120 + 2 * context
    rows, columns = np.mgrid[-context : 120 + context, -context : 120 + context]
    images = np.stack([np.stack([rows, columns, np.full((edge, edge), i)]) for i in range(patches)])
    maps = random.integers(0, K, (patches, 6, 6)).repeat(20, 1).repeat(20, 2).astype(np.uint8)
    maps[random.random(maps.shape) < 0.2] = 255
    labels = random.integers(0, 2, (patches, K))
    ids = torch.from_numpy(random.choice(1000, patches, replace=False))
    return Batch(torch.from_numpy(images).float(), torch.from_numpy(maps), torch.from_numpy(labels).float(), ids)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), window=st.integers(1, 119), context=st.integers(0, 40), epoch=st.integers(0, 5))
def test_pixel_by_pixel(seed, window, context, epoch):
    batch, config = batch_of(seed, context=context), TrainConfig(window=window, seed=seed)
    found = windowed(batch, config, epoch)
    assert torch.equal(found.rows_B, batch.rows_B)
    for i, row in enumerate(batch.rows_B.tolist()):
        top, left = draw(config, epoch, row, 120)
        rows, columns = np.arange(top, top + window), np.arange(left, left + window)
        around = np.arange(-context, window + context)
        assert (found.images_BCHW[i, 0].numpy() == (top + around)[:, None]).all()
        assert (found.images_BCHW[i, 1].numpy() == left + around).all()
        assert (found.images_BCHW[i, 2] == i).all()
        assert found.images_BCHW[i, 0].shape == (len(around), len(around))
        expected = batch.masks_BHW[i].numpy()[np.ix_(rows, columns)]
        np.testing.assert_array_equal(found.masks_BHW[i].numpy(), expected)
        assert found.labels_BK[i].tolist() == [float((expected == k).any()) for k in range(K)]
    assert found.labels_BK.dtype == torch.float32


@pytest.mark.parametrize("window", [0, 120])
def test_whole_patches_are_the_same_object(window):
    batch = batch_of(0, context=3)
    assert windowed(batch, TrainConfig(window=window), 0) is batch


def test_every_place_is_as_likely_and_none_lies_outside():
    config = TrainConfig(window=116)
    places = np.array([draw(config, 2, row, 120) for row in range(5000)])
    counts = np.zeros((5, 5), int)
    np.add.at(counts, tuple(places.T), 1)
    # 25 places of 200 each; the chi-squared statistic has 24 degrees of freedom and stays below 52 but once in 1,000.
    assert ((counts - 200) ** 2 / 200).sum() < 52


def test_the_place_belongs_to_seed_epoch_and_patch():
    def places(epoch, **how):
        return [draw(TrainConfig(window=30, **how), epoch, row, 120) for row in range(40)]

    assert places(0) == places(0)
    assert places(0) != places(1)
    assert places(0) != places(0, seed=1)
    assert len(set(places(0))) > 30


def test_windows_are_mixed_within_themselves():
    """Rectangles of CutMix have the proportions of what training sees, and land in it."""
    config = TrainConfig(window=40, cutmix=1.0)
    cut = windowed(batch_of(5, patches=8, context=7), config, 0)
    found = mixed(cut, config, 0)
    pasted = found.images_BCHW[:, 2] != cut.images_BCHW[:, 2]
    assert found.images_BCHW.shape == (8, 3, 54, 54)
    assert pasted.any(2).any(1).float().mean() > 0.5
    # What lies around stays.
    pasted[:, 7:-7, 7:-7] = False
    assert not pasted.any()
    for i in range(8):
        core = found.images_BCHW[i, 2, 7:-7, 7:-7]
        other = (core != cut.images_BCHW[i, 2, 0, 0]).numpy()
        expected = np.where(other, cut.masks_BHW[(i + 1) % 8].numpy(), cut.masks_BHW[i].numpy())
        np.testing.assert_array_equal(found.masks_BHW[i].numpy(), expected)


@pytest.mark.parametrize(("arch", "context"), [("linknet", 0), ("unet", 8), ("deeplabv3plus", 0)])
def test_a_network_trains_on_the_least_window_that_is_taken(arch, context):
    model = build_segmenter(ModelConfig(arch=arch, encoder="tu-test_resnet"), BANDS, context)
    least = model.sizes.least - 2 * context
    check_window(least, model.sizes)
    batch = windowed(batch_of(1, context=context), TrainConfig(window=least), 0)
    logits, scenes = model.train()(batch.images_BCHW)
    assert logits.shape == (3, K, least, least)
    assert scenes.shape == (3, K)
    with pytest.raises(WrongUseError, match=rf"window={least - 1} is less than .* give {least} or more"):
        check_window(least - 1, model.sizes)
    check_window(0, model.sizes)


def test_a_network_of_one_size_takes_no_windows():
    model = build_segmenter(ModelConfig(arch="fpn", encoder="tu-test_maxvit"), BANDS)
    with pytest.raises(WrongUseError, match="window=64 saves nothing"):
        check_window(64, model.sizes)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_store(tmp_path_factory.mktemp("windows")).folder


@pytest.mark.parametrize("preprocess", ["host", "device"])
def test_training_sees_windows_and_validation_whole_patches(store, tmp_path, monkeypatch, preprocess):
    seen, forward = [], Segmenter.forward

    def watched(self, images_BCHW, *rest):
        seen.append((self.training, tuple(images_BCHW.shape[1:])))
        return forward(self, images_BCHW, *rest)

    monkeypatch.setattr(Segmenter, "forward", watched)
    settings = {"data__bands": "B02,B05", "data__context": 8, "data__preprocess": preprocess, "train__window": 40}
    quick_run(tmp_path / "run", store, **settings)
    assert {shape for training, shape in seen if training} == {(2, 56, 56)}
    assert {shape for training, shape in seen if not training} >= {(2, 136, 136)}
    assert (2, 56, 56) not in {shape for training, shape in seen if not training}


def test_a_window_that_is_too_small_is_refused_before_training(store, tmp_path):
    with pytest.raises(
        WrongUseError, match=r"window=16 is less than linknet tu-test_resnet takes; give 32 or more, or --set"
    ):
        quick_run(tmp_path / "run", store, train__window=16)

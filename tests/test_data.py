"""From a store to batches: normalisation, resampling, augmentation, order."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from seg.config.sections import DataConfig
from seg.data.dataset import PatchDataset
from seg.data.loader import make_loader
from seg.data.order import BatchKey, BatchOrder
from seg.data.symmetry import SYMMETRIES, moved
from seg.data.transforms import Augmenter, Normaliser
from seg.errors import DamagedError, StoreError, WrongUseError
from seg.reben.bands import BANDS
from seg.reben.classes import CLASS_NAMES, CLASS_OF_CODE
from seg.store.open import open_store
from seg.store.patches import PatchWriter

TEN = ("VV", "VH", "B02", "B03", "B04", "B08")


def random_patch(seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 12_000, (band.size, band.size)).astype(np.uint16)
        if band.sensor == "s2"
        else rng.normal(-15, 6, (120, 120)).astype(np.float32)
        for name, band in BANDS.items()
    }


@pytest.mark.parametrize("resampling", ["bilinear", "nearest"])
def test_normalisation_and_resampling_against_torch(resampling):
    patch = random_patch()
    out = np.empty((len(BANDS), 120, 120), np.float32)
    Normaliser(tuple(BANDS), resampling)(patch, out)
    mode = {"mode": "bilinear", "align_corners": False} if resampling == "bilinear" else {"mode": "nearest-exact"}
    for channel, (name, band) in zip(out, BANDS.items(), strict=True):
        raw = torch.from_numpy(patch[name].astype(np.float64))[None, None]
        expected = (functional.interpolate(raw, (120, 120), **mode)[0, 0].numpy() - band.mean) / band.std
        np.testing.assert_allclose(channel, expected, atol=2e-5)


def test_bands_of_different_pixel_size_stay_registered():
    """A plane in map coordinates, sampled at the pixel centres of every grid, is the same plane on the 10 m grid."""
    patch = {}
    for name in ("B02", "B05", "B01"):
        size = BANDS[name].size
        centres = (np.arange(size) + 0.5) * BANDS[name].pixel_size
        patch[name] = (2000 + centres[:, None] + 2 * centres[None]).astype(np.uint16)
    out = np.empty((3, 120, 120), np.float32)
    Normaliser(("B02", "B05", "B01"), "bilinear")(patch, out)
    planes = [channel * BANDS[name].std + BANDS[name].mean for channel, name in zip(out, patch, strict=True)]
    inner = np.s_[6:-6, 6:-6]
    np.testing.assert_allclose(planes[1][inner], planes[0][inner], atol=0.51)
    np.testing.assert_allclose(planes[2][inner], planes[0][inner], atol=0.51)


def test_bands_go_by_name_whatever_their_stored_order():
    patch = random_patch()
    shuffled = dict(sorted(patch.items(), reverse=True))
    a, b = (np.empty((3, 120, 120), np.float32) for _ in range(2))
    Normaliser(("B8A", "VH", "B01"), "bilinear")(patch, a)
    Normaliser(("B8A", "VH", "B01"), "bilinear")(shuffled, b)
    assert (a == b).all()


@pytest.mark.parametrize("shape", [(59, 60), (1, 60), (60,), (), (120, 120)])
def test_a_band_of_another_shape_is_not_stretched(shape):
    patch = random_patch() | {"B05": np.ones(shape, np.uint16)}
    with pytest.raises(DamagedError, match=r"band B05 has shape \(.*\) instead of \(60, 60\)"):
        Normaliser(("B02", "B05"), "bilinear")(patch, np.empty((2, 120, 120), np.float32))


# --- augmentation ----------------------------------------------------------------------------------------------------


def augmented(transforms, seed=0, channels=5):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 19, (120, 120)).astype(np.uint8)
    image = rng.normal(size=(channels, 120, 120)).astype(np.float32)
    image[0] = mask
    Augmenter(transforms, channels)(image, mask, (seed,))
    return image, mask


def test_augmentation_depends_on_its_seed_alone():
    rotate = ({"Affine": {"rotate": [-45, 45], "p": 1.0}}, {"GaussNoise": {"p": 1.0}})
    augmenter = Augmenter(rotate, 2)
    results = []
    for seed in (1, 2, 1):
        image, mask = np.ones((2, 120, 120), np.float32), np.zeros((120, 120), np.uint8)
        image[0, :60] = 5
        augmenter(image, mask, (seed, 7))
        results.append((image, mask))
    assert (results[0][0] == results[2][0]).all()
    assert not (results[0][0] == results[1][0]).all()


def test_what_comes_from_outside_is_unlabelled():
    _, mask = augmented(({"Affine": {"rotate": [30, 30], "p": 1.0}},))
    assert mask[0, 0] == mask[-1, -1] == 255
    assert set(np.unique(mask)) <= {*range(19), 255}


@pytest.mark.parametrize("name", ["GaussNoise", "RandomBrightnessContrast", "GaussianBlur", "RandomGamma"])
def test_transforms_of_values_do_not_clip_normalised_bands(name):
    image, mask = augmented(({name: {"p": 1.0}},))
    assert np.isfinite(image).all()
    # Clipped to 0..1, no value would be negative and none of the 19 indices in the first band above 1.
    assert (image[1:] < 0).mean() > 0.2
    assert (image[0] > 1).mean() > 0.2
    assert (mask == np.random.default_rng(0).integers(0, 19, (120, 120))).all()


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"HorizontalFlop": {}}, "no albumentations transform; did you mean HorizontalFlip"),
        ({"GaussNoise": {"q": 1}}, "refuses the parameters"),
        ({"Affine": {"scale": "big"}}, "refuses the parameters"),
        ({"ToGray": {}}, "does not work on patches of 5 bands"),
        ({"RandomCrop": {"height": 64, "width": 64}}, "changes the size"),
        (
            {"OneOf": {"transforms": [{"HorizontalFlip": {}}]}},
            "no albumentations transform; list transforms one",
        ),
        ({"RandomOrder": {"transforms": []}}, "no albumentations transform"),
        ({"DualTransform": {}}, "no albumentations transform"),
        ({"RandomFog": {}}, "does not work on patches of 5 bands"),
        ({"Normalize": {}}, "would change the values of training patches and of no others"),
        ({"ToFloat": {"max_value": 10_000}}, "would change the values"),
        ({"FromFloat": {}}, "would change the values"),
        ({"Rotate": {"mask_interpolation": 1}}, "mean of class numbers with mask_interpolation=1"),
        ({"Affine": {"rotate": [30, 30], "fill_mask": 25}}, "writes the class number 25"),
    ],
)
def test_augmentations_that_cannot_be_used(transform, message):
    with pytest.raises(WrongUseError, match=message) as caught:
        Augmenter((transform,), 5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["OneOf", "Compose", "RandomOrder", "BasicTransform", "Normalize"])
def test_what_is_no_transform_is_told_before_albumentations_is_loaded(name):
    check = f"from seg.data.transforms import check_augmentation\ncheck_augmentation(({{{name!r}: {{}}}},))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert "WrongUseError" in done.stderr, done.stderr


# --- order -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 5))
def test_every_sample_comes_once_an_epoch(samples, batch_size, epoch):
    order = BatchOrder(samples, batch_size, shuffle_seed=1)
    order.epoch = epoch
    keys = list(order)
    positions = [p for key in keys for p in key.positions]
    assert sorted(positions) == list(range(samples))
    assert len(keys) == len(order)
    assert {key.epoch for key in keys} == {epoch}


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 10))
def test_an_epoch_continues_where_it_stopped(samples, batch_size, start):
    order = BatchOrder(samples, batch_size, shuffle_seed=1, drop_last=True)
    whole = [key.positions for key in order]
    order.start = start
    assert [key.positions for key in order] == whole[start:]
    assert all(len(positions) == min(batch_size, samples) for positions in whole)


def test_epochs_differ_and_repeat():
    order = BatchOrder(100, 10, shuffle_seed=3)
    first = list(order)
    order.epoch = 1
    second = list(order)
    assert [k.positions for k in first] != [k.positions for k in second]
    order.epoch = 0
    assert list(order) == first
    assert [p for key in BatchOrder(25, 10) for p in key.positions] == list(range(25))


# --- batches from real patches ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(ten_metres):
    return open_store(ten_metres)


def test_batches_hold_what_the_files_hold(store):
    rows = np.array([3, 77, 12])
    dataset = PatchDataset(store, rows, DataConfig(bands=TEN))
    batch = dataset[BatchKey(0, (2, 0))]
    assert batch.images_BCHW.shape == (2, 6, 120, 120)
    assert batch.rows_B.tolist() == [12, 3]
    assert dataset.patch_ids(batch.rows_B.numpy()) == [store.index.patch_id(12), store.index.patch_id(3)]
    for image, mask, labels, row in zip(batch.images_BCHW, batch.masks_BHW, batch.labels_BK, (12, 3), strict=True):
        s2 = store.patches.tensors(store.index.patch_id(row))
        s1 = store.patches.tensors(store.index.s1_name(row))
        for channel, name in zip(image.numpy(), TEN, strict=True):
            raw = (s1 | s2)[name].astype(np.float64)
            np.testing.assert_allclose(channel, (raw - BANDS[name].mean) / BANDS[name].std, atol=2e-5)
        codes = store.patches.reference_map(store.index.patch_id(row))
        assert (mask.numpy() == np.vectorize(CLASS_OF_CODE.get)(codes)).all()
        named = store.index.take(np.array([row])).to_table()["labels"][0].as_py()
        assert [CLASS_NAMES[i] for i in np.flatnonzero(labels)] == sorted(named, key=CLASS_NAMES.index)


def test_without_maps_everything_is_unlabelled(store):
    batch = PatchDataset(store, np.arange(2), DataConfig(bands=TEN), with_maps=False)[BatchKey(0, (0, 1))]
    assert (batch.masks_BHW == 255).all()


def test_loader_processes_give_the_same_batches(store):
    dataset = PatchDataset(store, np.arange(20), DataConfig(bands="s1"), augment_seed=5)
    batches = []
    for workers in (0, 2):
        order = BatchOrder(20, 8, shuffle_seed=5)
        order.epoch = 3
        batches.append(list(make_loader(dataset, order, workers)))
    assert len(batches[0]) == 3
    for a, b in zip(*batches, strict=True):
        assert torch.equal(a.images_BCHW, b.images_BCHW)
        assert torch.equal(a.masks_BHW, b.masks_BHW)
        assert torch.equal(a.rows_B, b.rows_B)


def test_patches_of_a_store_are_moved_with_their_maps(store):
    plain, augmented = (PatchDataset(store, np.arange(8), DataConfig(bands=TEN), seed) for seed in (None, 5))
    for epoch in range(2):
        key = BatchKey(positions=tuple(range(8)), epoch=epoch)
        before, after = plain[key], augmented[key]
        for i in range(8):
            fits = [
                number
                for number in range(SYMMETRIES)
                if (moved(before.masks_BHW[i].numpy(), number) == after.masks_BHW[i].numpy()).all()
                and all(
                    (moved(was.numpy(), number) == now.numpy()).all()
                    for was, now in zip(before.images_BCHW[i], after.images_BCHW[i], strict=True)
                )
            ]
            assert fits


def test_augmentation_changes_with_the_epoch(store):
    dataset = PatchDataset(store, np.arange(8), DataConfig(bands="s1"), augment_seed=5)
    first, again, other = (dataset[BatchKey(epoch, tuple(range(8)))] for epoch in (0, 0, 1))
    assert torch.equal(first.images_BCHW, again.images_BCHW)
    assert not torch.equal(first.images_BCHW, other.images_BCHW)


def test_a_damaged_patch_is_an_error_and_never_replaced(store, tmp_path):
    patch, s1 = store.index.patch_id(0), store.index.s1_name(0)
    with PatchWriter(tmp_path) as writer:
        writer.put(patch, {"B02": np.zeros((120, 120), np.uint16), "B03": np.zeros((60, 60), np.uint16)})
        writer.put(s1, b"broken")
    from seg.store.patches import PatchReader

    damaged = type(store)(store.folder, PatchReader(tmp_path), store.index, store.info)
    with pytest.raises(StoreError, match=f"{patch} has no band B04"):
        PatchDataset(damaged, np.arange(1), DataConfig(bands="B02,B04"), with_maps=False)[BatchKey(0, (0,))]
    with pytest.raises(StoreError, match=f"{patch} cannot be read"):
        PatchDataset(damaged, np.arange(1), DataConfig(bands="B03"), with_maps=False)[BatchKey(0, (0,))]
    with pytest.raises(ValueError, match=r"has only 6 bytes"):
        PatchDataset(damaged, np.arange(1), DataConfig(bands="VV"), with_maps=False)[BatchKey(0, (0,))]

"""Network inputs made on the device: the values, the masks and the random decisions of the CPU path."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.config.sections import DIHEDRAL, DataConfig
from seg.data.dataset import Batch, PatchDataset
from seg.data.feed import on_device
from seg.data.loader import make_loader
from seg.data.on_device import DevicePreparation, preparation
from seg.data.order import BatchKey, BatchOrder
from seg.data.raw import RawBatch, RawForm, band_groups
from seg.data.symmetry import Symmetries, moved
from seg.data.transforms import Normaliser
from seg.errors import StoreError, WrongUseError
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.bands import BANDS, MODALITIES, PATCH_SIZE
from seg.store.open import open_store

CPU = torch.device("cpu")
D4 = ({"D4": {"p": 0.7}},)
AUGMENTATIONS = {"dihedral": DIHEDRAL, "d4": D4, "none": (), "flip": ({"HorizontalFlip": {"p": 0.3}},)}


def stored(bands, random):
    """Stored arrays with all that uint16 can hold, and more than that of dB."""
    return {
        name: random.integers(0, 65536, (BANDS[name].size,) * 2).astype(np.uint16)
        if BANDS[name].dtype == "uint16"
        else random.uniform(-80, 40, (BANDS[name].size,) * 2).astype(np.float32)
        for name in bands
    }


def raw_batch(patches, bands, symmetries, masks):
    form = RawForm(bands)
    arrays = [np.empty((len(patches), *shape), dtype) for shape, dtype in form.items]
    for i, tensors in enumerate(patches):
        form.write(tensors, arrays, i)
    arrays[-2][:], arrays[-1][:] = symmetries, masks
    *groups, symmetries_B, masks_BHW = map(torch.from_numpy, arrays)
    rows = torch.arange(len(patches))
    return RawBatch(tuple(groups), symmetries_B, masks_BHW, torch.zeros(len(patches), 19), rows)


@settings(max_examples=15, deadline=None)
@given(
    bands=st.lists(st.sampled_from(list(BANDS)), min_size=1, max_size=6, unique=True),
    resampling=st.sampled_from(["bilinear", "nearest"]),
    augmentation=st.sampled_from(list(AUGMENTATIONS)),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_values_of_the_cpu_path(bands, resampling, augmentation, seed):
    random = np.random.default_rng(seed)
    patches = [stored(bands, random) for _ in range(4)]
    masks = random.integers(0, 20, (4, PATCH_SIZE, PATCH_SIZE)).astype(np.uint8)
    masks[masks == 19] = 255
    symmetries = Symmetries(AUGMENTATIONS[augmentation])
    normalise = Normaliser(bands, resampling)
    drawn = [symmetries.draw((seed, 3, position)) for position in range(4)]
    images = np.empty((4, len(bands), PATCH_SIZE, PATCH_SIZE), np.float32)
    for i, tensors in enumerate(patches):
        normalise(tensors, images[i], drawn[i])
    expected_masks = np.stack([moved(mask_HW, number) for mask_HW, number in zip(masks, drawn, strict=True)])
    raw = raw_batch(patches, bands, drawn, masks)
    batch = DevicePreparation(bands, resampling, CPU)(raw)
    assert (batch.masks_BHW.numpy() == expected_masks).all()
    assert batch.images_BCHW.dtype == torch.float32
    # Interpolation weights are rounded in float32, and so to 1e-7 of 20 pixels: that of values which jump by all that
    # uint16 can hold from pixel to pixel.
    np.testing.assert_allclose(batch.images_BCHW.numpy(), images, rtol=1e-5, atol=4e-6 * np.abs(images).max())


# --- out of a store --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(real, tmp_path_factory):
    out = tmp_path_factory.mktemp("device") / "full"
    build_store(published_sources(real / "reben-full-4"), out)
    return open_store(out)


def datasets(store, **settings):
    data = DataConfig(bands=MODALITIES["s2"], **settings)
    return [PatchDataset(store, np.arange(4), data, augment_seed=5, raw=raw) for raw in (False, True)]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_a_store_are_the_same(store, workers):
    host, device = datasets(store)
    assert preparation(host, CPU) is None
    for epoch in range(2):
        expected, made = [], []
        for dataset, batches in ((host, expected), (device, made)):
            order = BatchOrder(4, 3, shuffle_seed=1)
            order.epoch = epoch
            loader = make_loader(dataset, order, workers)
            for batch in on_device(loader, CPU, preparation(dataset, CPU)):
                batches.append(Batch(*(tensor.clone() for tensor in batch.tensors)))
        for ours, theirs in zip(made, expected, strict=True):
            assert (ours.masks_BHW == theirs.masks_BHW).all()
            assert (ours.labels_BK == theirs.labels_BK).all()
            assert (ours.rows_B == theirs.rows_B).all()
            torch.testing.assert_close(ours.images_BCHW, theirs.images_BCHW, rtol=1e-5, atol=1e-5)


def test_raw_batches_take_less_than_half(store):
    host, device = (dataset[BatchKey(0, (0, 1))] for dataset in datasets(store))
    sizes = [sum(tensor.nbytes for tensor in batch.tensors) for batch in (host, device)]
    assert sizes[1] < 0.25 * sizes[0]
    assert [group.size for group in band_groups(MODALITIES["s2"])] == [20, 120, 60]


def test_some_samples_stay_raw_without_augmentation(store):
    _, device = datasets(store)
    taken = device.take(np.array([2, 0]))
    batch = taken[BatchKey(0, (0, 1))]
    assert isinstance(batch, RawBatch)
    assert batch.symmetries_B.tolist() == [0, 0]
    assert batch.rows_B.tolist() == [2, 0]


def test_other_augmentation_is_refused(store):
    with pytest.raises(WrongUseError, match=r"only flips, .*data\.preprocess=host"):
        datasets(store, augment=({"Affine": {"rotate": [-20, 20]}},))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("B05"), "has no band B05"),
        (lambda tensors: tensors.update(B05=tensors["B05"][:59]), r"band B05 has shape \(59, 60\)"),
        (lambda tensors: tensors.update(B05=tensors["B05"].astype(np.float32)), "cannot be read"),
    ],
)
def test_a_patch_that_is_not_as_it_should_be(store, monkeypatch, change, message):
    _, device = datasets(store)
    read = type(store.patches).tensors

    def changed(self, key, place=None):
        tensors = dict(read(self, key, place))
        change(tensors)
        return tensors

    monkeypatch.setattr(type(store.patches), "tensors", changed)
    with pytest.raises(StoreError, match=message):
        device[BatchKey(0, (0,))]

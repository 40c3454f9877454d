"""Pixels around a patch: from its neighbours in the same product, or mirrored, on their way into a batch."""

from dataclasses import replace

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.config.load import load_config
from seg.config.sections import DataConfig
from seg.config.training import TrainConfig
from seg.data.context import margin, with_context
from seg.data.dataset import PatchDataset
from seg.data.loader import make_loader
from seg.data.on_device import preparation
from seg.data.order import BatchKey, BatchOrder
from seg.data.symmetry import moved
from seg.engine.mixing import mixed
from seg.errors import StoreError, WrongUseError
from seg.prepare.build import build_store
from seg.prepare.published_tree import write_metadata, write_patch
from seg.prepare.sources import published_sources
from seg.reben.bands import BANDS
from seg.reben.classes import CLASS_NAMES
from seg.reben.patch import PatchId
from seg.store.index import OFFICIAL_COLUMNS
from seg.store.open import open_store
from seg.store.patches import PatchReader
from seg.store.surroundings import MIDDLE, NOBODY, surroundings

CPU = torch.device("cpu")
FIRST, SECOND = (f"S2A_MSIL2A_201706{day}T101031_N9999_R022_T33UUP" for day in (13, 23))
SCENES = ("S1B_IW_GRDH_1SDV_20170612T165809", "S1A_IW_GRDH_1SDV_20170613T165043")
ROWS, COLUMNS, LEFT, TOP = 4, 5, 26, 57
MISSING = (2, 3)
"""A place of the first product without a patch, by row and column."""
USED = ("VV", "B02", "B05", "B01", "B8A")
"""Of both sensors and all three pixel sizes, not in the order of the bands."""


def land(seed):
    """Bands of a whole piece of land, each at its own pixel size."""
    random = np.random.default_rng(seed)
    return {
        name: random.integers(0, 12_000, (ROWS * band.size, COLUMNS * band.size)).astype(np.uint16)
        if band.sensor == "s2"
        else random.normal(-15, 6, (ROWS * band.size, COLUMNS * band.size)).astype(np.float32)
        for name, band in BANDS.items()
    }


LAND = {FIRST: land(1), SECOND: land(2)}


def cut(product, row, column):
    return {
        name: array[row * size : (row + 1) * size, column * size : (column + 1) * size]
        for name, array in LAND[product].items()
        if (size := BANDS[name].size)
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two products over the same land, one with a gap; the last columns have Sentinel-1 of another scene."""
    root = tmp_path_factory.mktemp("context")
    rows = []
    for product in (FIRST, SECOND):
        for row, column in np.ndindex(ROWS, COLUMNS):
            if product == FIRST and (row, column) == MISSING:
                continue
            patch = PatchId.parse(f"{product}_{LEFT + column:02d}_{TOP + row:02d}")
            s1_name = f"{SCENES[column >= 3]}_33UUP_{LEFT + column}_{TOP + row}"
            if product == SECOND:
                s1_name = s1_name.replace("201706", "201707")
            codes = np.full((120, 120), 211 if (row + column) % 2 else 312, np.uint16)
            write_patch(root / "tree", patch, s1_name, cut(product, row, column), codes)
            split = ("train", "train", "validation", "test")[row]
            labels = [CLASS_NAMES[2 if (row + column) % 2 else 9]]
            values = (str(patch), labels, split, "Austria", s1_name, "x", False, False)
            rows.append(dict(zip(OFFICIAL_COLUMNS, values, strict=True)))
    write_metadata(root / "tree", pa.Table.from_pylist(rows), {})
    build_store(published_sources(root / "tree"), root / "store", workers=1)
    return open_store(root / "store")


def row_of(store, product, row, column):
    return store.index.patch_ids.to_pylist().index(f"{product}_{LEFT + column:02d}_{TOP + row:02d}")


def whole(name, array, resampling="bilinear"):
    """A piece of land as the network sees it: normalised, and brought to 10 m as a whole."""
    values = array.astype(np.float64) / BANDS[name].std - BANDS[name].mean / BANDS[name].std
    factor = BANDS[name].pixel_size // 10
    size = (values.shape[1] * factor, values.shape[0] * factor)
    how = {"bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}[resampling]
    return cv2.resize(values, size, interpolation=how)


@pytest.mark.parametrize("resampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("context", [1, 31, 32, 60, 119, 120])
def test_the_picture_of_a_patch_is_a_crop_of_the_land_as_a_whole(store, context, resampling):
    """With all neighbours of both sensors, and far enough from where the land ends."""
    data = DataConfig(bands=USED, context=context, resampling=resampling)
    product, row, column = SECOND, 1, 1
    dataset = PatchDataset(store, np.array([row_of(store, product, row, column)]), data)
    (image_CHW,) = dataset[BatchKey(0, (0,))].images_BCHW.numpy()
    size = 120 + 2 * context
    assert image_CHW.shape == (len(USED), size, size)
    for channel_HW, name in zip(image_CHW, USED, strict=True):
        around = slice(row * 120 - context, row * 120 + 120 + context)
        # Of a whole ring of neighbours, the land ends where they do.
        edge = BANDS[name].size
        land_HW = whole(name, LAND[product][name][: 3 * edge, : 3 * edge], resampling)
        np.testing.assert_allclose(channel_HW, land_HW[around, around], atol=2e-5)


def test_without_a_context_batches_are_what_they_were(store):
    rows = np.arange(len(store.index))
    plain = PatchDataset(store, rows, DataConfig(bands=USED), augment_seed=3)
    assert plain.surroundings is None
    assert plain.items[0][0] == (len(USED), 120, 120)
    key = BatchKey(0, (3, 1))
    batch = plain[key]
    for image_CHW, position in zip(batch.images_BCHW.numpy(), key.positions, strict=True):
        expected = np.empty_like(image_CHW)
        tensors = store.arrays(position)
        symmetry = plain._symmetries.draw((3, 0, position))
        for channel_HW, name in zip(expected, USED, strict=True):
            small = moved(tensors[name], symmetry) * np.float32(1 / BANDS[name].std)
            small += np.float32(-BANDS[name].mean / BANDS[name].std)
            channel_HW[:] = cv2.resize(small.astype(np.float32), (120, 120), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(image_CHW, expected)


def test_the_core_of_10_m_bands_is_that_without_a_context(store):
    rows = np.arange(len(store.index))
    plain, seen = (PatchDataset(store, rows, DataConfig(bands="VV,B02,B08", context=m)) for m in (0, 40))
    key = BatchKey(0, tuple(rows.tolist()))
    np.testing.assert_array_equal(seen[key].images_BCHW[..., 40:-40, 40:-40], plain[key].images_BCHW)
    np.testing.assert_array_equal(seen[key].masks_BHW, plain[key].masks_BHW)
    np.testing.assert_array_equal(seen[key].labels_BK, plain[key].labels_BK)


# --- which neighbours ---------------------------------------------------------------------------------------------


def by_hand(store, position, sensor, same_split):
    """Neighbours of a patch from what names say, one by one."""
    index = store.index
    own = PatchId.parse(index.patch_id(position))
    found = {}
    for other in range(len(index)):
        patch = PatchId.parse(index.patch_id(other))
        place = (patch.row - own.row, patch.column - own.column)
        near = patch.product == own.product and max(map(abs, place)) <= 1
        scenes = [index.s1_name(row).rsplit("_", 3)[0] for row in (position, other)]
        near = near and (sensor == "s2" or scenes[0] == scenes[1])
        if near and (not same_split or index.splits[other] == index.splits[position]):
            found[place] = other
    return [found.get((down, right), NOBODY) for down in (-1, 0, 1) for right in (-1, 0, 1)]


@pytest.mark.parametrize("same_split", [False, True])
def test_neighbours_are_those_of_the_same_product_and_scene(store, same_split):
    rows = np.arange(len(store.index))[::-1].copy()
    around = surroundings(store.index, rows, same_split)
    for position, s2_P, s1_P in zip(rows, around.s2_NP, around.s1_NP, strict=True):
        assert s2_P.tolist() == by_hand(store, position, "s2", same_split)
        assert s1_P.tolist() == by_hand(store, position, "s1", same_split)
        assert s2_P[MIDDLE] == s1_P[MIDDLE] == position
    splits = store.index.splits
    crossing = [
        bool(set(splits[s2_P[s2_P >= 0]]) - {splits[row]}) for row, s2_P in zip(rows, around.s2_NP, strict=True)
    ]
    assert same_split or ((around.s2_NP != NOBODY) & around.foreign_NP).any(1).tolist() == crossing
    assert not same_split or not any(crossing)


def test_neighbours_without_a_sensor_are_none(store):
    index = replace(store.index, has_s1=np.arange(len(store.index)) % 2 == 0)
    around = surroundings(index, np.arange(len(index)))
    seen = around.s1_NP[around.s1_NP != NOBODY]
    assert (seen % 2 == 0).all()
    assert (around.s2_NP == surroundings(store.index, np.arange(len(index))).s2_NP).all()


def test_columns_and_rows_of_a_tile_do_not_run_on_into_each_other(store):
    """The last patch of a row of a tile, and the first of the next one, are 109 km apart."""
    ids = [f"{FIRST}_{column:02d}_{row:02d}" for column, row in ((90, 10), (0, 11), (90, 90), (0, 0), (0, 10))]
    index = replace(store.index.take(np.arange(5)), patch_ids=pa.array(ids))
    around = surroundings(index, np.arange(5)).s2_NP
    assert [np.flatnonzero(row_P != NOBODY).tolist() for row_P in around] == [[4], [1, 4], [4], [4], [4, 7]]


# --- what stands for a neighbour that is not there ----------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(there=st.sets(st.integers(0, 8)), context=st.integers(1, 120), name=st.sampled_from(["B02", "B05", "B01", "VH"]))
def test_what_is_missing_is_mirrored(there, context, name):
    random, size = np.random.default_rng(5), BANDS[name].size
    nine = [{name: random.normal(size=(size, size))} if place in there | {4} else None for place in range(9)]
    found_HW = with_context(nine, (name,), context)[name]
    edge = margin(size, context)
    # Pixel by pixel, by the rule in words.
    for y, x in random.integers(0, size + 2 * edge, (40, 2)):
        row, column = (int(v) // size for v in (y - edge + size, x - edge + size))
        inside = [int(v) % size for v in (y - edge + size, x - edge + size)]
        seen = nine[3 * row + column]
        if seen is None:
            candidates = {(1, column): (True, False), (row, 1): (False, True), (1, 1): (True, True)}
            (a, b), (up_down, left_right) = next(
                (place, flips) for place, flips in candidates.items() if nine[3 * place[0] + place[1]] is not None
            )
            seen = nine[3 * a + b]
            # Only an axis along which it lies apart is mirrored.
            inside[0] = size - 1 - inside[0] if up_down and row != 1 else inside[0]
            inside[1] = size - 1 - inside[1] if left_right and column != 1 else inside[1]
        assert found_HW[y, x] == seen[name][tuple(inside)]


@given(context=st.integers(1, 120), name=st.sampled_from(["B02", "B05", "B01", "VV"]))
@settings(max_examples=20, deadline=None)
def test_a_patch_alone_is_reflected_at_its_edges(context, name):
    patch_HW = np.random.default_rng(0).normal(size=(BANDS[name].size,) * 2)
    alone = [None] * 4 + [{name: patch_HW}] + [None] * 4
    expected = np.pad(patch_HW, margin(BANDS[name].size, context), mode="symmetric")
    np.testing.assert_array_equal(with_context(alone, (name,), context)[name], expected)


def test_a_gap_between_patches_is_mirrored_in_batches_too(store):
    data = DataConfig(bands="B02", context=50)
    dataset = PatchDataset(store, np.array([row_of(store, FIRST, 2, 2)]), data)
    image_HW = dataset[BatchKey(0, (0,))].images_BCHW[0, 0].numpy()
    row, column = MISSING
    nine = [
        None if (row + down, column - 1 + right) == MISSING else cut(FIRST, row + down, column - 1 + right)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    expected = whole("B02", with_context(nine, ("B02",), 50)["B02"])
    np.testing.assert_allclose(image_HW, expected, atol=2e-5)
    np.testing.assert_array_equal(image_HW[50:170, 170:], image_HW[50:170, 120:170][:, ::-1])


def test_other_products_and_splits_are_never_seen(store):
    """Values that belong to them stand out: their land is replaced, and no pixel of the batch changes."""
    data = DataConfig(bands="VV,B02", context=120, context_split="same")
    rows = np.flatnonzero(store.index.splits == 0)
    rows = np.array([row for row in rows if store.index.patch_id(row).startswith(FIRST)])
    dataset = PatchDataset(store, rows, data)
    read = []
    tensors = PatchReader.tensors

    class Listening(PatchReader):
        def tensors(self, key, place=None):
            read.append(key)
            return tensors(self, key, place)

    dataset._reader = Listening(store.patches.folder)
    dataset[BatchKey(0, tuple(range(len(rows))))]
    ids = set(store.index.patch_ids.take(pa.array(rows)).to_pylist())
    names = set(store.index.s1_names.take(pa.array(rows)).to_pylist())
    assert {key.removesuffix("_reference_map") for key in read} == ids | names


# --- augmentation, devices, loaders -------------------------------------------------------------------------------


def test_symmetries_act_on_the_whole_picture(store):
    rows, m = np.arange(len(store.index)), 32
    data = DataConfig(bands=USED, context=m, augment=({"D4": {"p": 1.0}},))
    key = BatchKey(2, tuple(rows[:8].tolist()))
    plain, dataset = PatchDataset(store, rows, data), PatchDataset(store, rows, data, augment_seed=7)
    still, turned = plain[key], dataset[key]
    numbers = [dataset._symmetries.draw((7, *key.seed(i))) for i in range(8)]
    assert len(set(numbers)) > 2
    for i, number in enumerate(numbers):
        for channel in range(len(USED)):
            expected = moved(still.images_BCHW[i, channel].numpy(), number)
            np.testing.assert_allclose(turned.images_BCHW[i, channel], expected, atol=2e-5)
        np.testing.assert_array_equal(turned.masks_BHW[i], moved(still.masks_BHW[i].numpy(), number))


@pytest.mark.parametrize("resampling", ["bilinear", "nearest"])
def test_inputs_made_on_the_device_are_the_same(store, resampling):
    rows = np.arange(len(store.index))
    data = DataConfig(bands=USED, context=37, resampling=resampling)
    host, device = (PatchDataset(store, rows, data, augment_seed=7, raw=raw) for raw in (False, True))
    key = BatchKey(1, (4, 0, 17, 9))
    ours, theirs = preparation(device, CPU)(device[key]), host[key]
    assert ours.images_BCHW.shape == (4, len(USED), 194, 194)
    # Interpolation weights are rounded in float32, and values jump by 12,000 from pixel to pixel.
    torch.testing.assert_close(ours.images_BCHW, theirs.images_BCHW, rtol=1e-5, atol=1e-4)
    assert (ours.masks_BHW == theirs.masks_BHW).all()


def test_other_augmentation_moves_in_what_lies_around_without_labels(store):
    m = 60
    shift = {"Affine": {"translate_px": {"x": 30, "y": 0}, "rotate": 0, "shear": 0, "p": 1.0, "interpolation": 0}}
    data = DataConfig(bands="B02", context=m, augment=(shift,))
    rows = np.arange(6)
    key = BatchKey(0, (0, 5))
    plain, moved_in = (PatchDataset(store, rows, data, seed)[key] for seed in (None, 1))
    np.testing.assert_allclose(moved_in.images_BCHW[..., 30:], plain.images_BCHW[..., :-30], atol=1e-5)
    assert (moved_in.masks_BHW[:, :, :30] == 255).all()
    assert (moved_in.masks_BHW[:, :, 30:] == plain.masks_BHW[:, :, :-30]).all()


def test_augmentation_to_another_size_is_refused(store):
    data = DataConfig(bands="B02", context=32, augment=({"Resize": {"height": 120, "width": 120}},))
    with pytest.raises(WrongUseError, match="patches must stay 184 x 184"):
        PatchDataset(store, np.arange(3), data, augment_seed=0)


def test_loader_processes_give_the_same_batches(store):
    rows = np.arange(len(store.index))
    data = DataConfig(bands=USED, context=24)
    batches = [
        [batch.images_BCHW.clone() for batch in make_loader(PatchDataset(store, rows, data), BatchOrder(30, 8, 1), n)]
        for n in (0, 2)
    ]
    assert all(torch.equal(one, two) for one, two in zip(*batches, strict=True))


# --- reading ahead ------------------------------------------------------------------------------------------------


def test_the_disk_is_asked_for_every_neighbour_once(store, monkeypatch):
    rows = np.flatnonzero(store.index.splits == 0)
    for context, extra in ((0, 0), (30, 1)):
        dataset = PatchDataset(store, rows, DataConfig(bands="VV,B02", context=context))
        asked = []
        monkeypatch.setattr(PatchReader, "read_ahead", lambda _, stretches, asked=asked: asked.append(stretches))
        positions = tuple(range(5))
        dataset[BatchKey(0, positions, ahead=positions)]
        (stretches,) = asked
        around = surroundings(store.index, rows[:5])
        s2, s1 = ({row for row in table.ravel().tolist() if row != NOBODY} for table in (around.s2_NP, around.s1_NP))
        own = set(rows[:5].tolist())
        wanted = (s2, s1, own) if extra else (own, own, own)
        begins = store.offsets.begins_RK
        expected = {int(begins[row, kind]) for kind, of_kind in enumerate(wanted) for row in of_kind}
        assert [begin for begin, _ in stretches] == sorted(expected)
        assert len(stretches) == sum(map(len, wanted))
        monkeypatch.undo()


def test_of_samples_with_neighbours_fewer_are_asked_for_at_a_time(store):
    rows = np.arange(len(store.index))
    for context in (0, 8):
        dataset = PatchDataset(store, rows, DataConfig(bands="B02", context=context))
        order = BatchOrder(4000, 16, 1)
        make_loader(dataset, order, 0)
        mean = np.mean([np.count_nonzero(np.array(by_hand(store, row, "s2", False)) >= 0) for row in rows])
        assert order.values == pytest.approx(mean if context else 1)
        first = next(iter(order))
        assert len(first.ahead) == 16 + int(512 / order.values) // 16 * 16


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"data__context": 121}, "data.context"),
        ({"data__context": -1}, "data.context"),
        ({"data__context_split": "same"}, "context_split=same has an effect only with a context"),
    ],
)
def test_settings_without_sense_are_refused(words, sentence):
    with pytest.raises(WrongUseError, match=sentence):
        load_config(**words)


def test_a_damaged_neighbour_is_named(store):
    data = DataConfig(bands="B02", context=8)
    dataset = PatchDataset(store, np.array([row_of(store, SECOND, 1, 1)]), data)
    tensors = PatchReader.tensors

    class Damaged(PatchReader):
        def tensors(self, key, place=None):
            given = tensors(self, key, place)
            return given | {"B02": given["B02"][:60]} if key.endswith("_26_57") else given

    dataset._reader = Damaged(store.patches.folder)
    with pytest.raises(StoreError, match=r"_26_57 cannot be read: band B02 has shape"):
        dataset[BatchKey(0, (0,))]


def test_mixed_patches_keep_what_lies_around_them(store):
    rows, m = np.arange(12), 20
    batch = PatchDataset(store, rows, DataConfig(bands="B02,B05", context=m))[BatchKey(0, tuple(rows.tolist()))]
    config = TrainConfig(cutmix=0.5, copy_paste=0.5)
    mixture = mixed(batch, config, 1)
    core = batch.images_BCHW[..., m:-m, m:-m].clone()
    expected = mixed(replace(batch, images_BCHW=core), config, 1)
    assert torch.equal(mixture.images_BCHW[..., m:-m, m:-m], expected.images_BCHW)
    assert torch.equal(mixture.masks_BHW, expected.masks_BHW)
    assert (expected.images_BCHW != core).any()
    around = torch.ones(160, 160, dtype=torch.bool)
    around[m:-m, m:-m] = False
    assert torch.equal(mixture.images_BCHW[..., around], batch.images_BCHW[..., around])

"""Orders, slots and loaders: every sample once, and no batch overwritten while somebody holds it."""

import gc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.config.sections import DataConfig
from seg.data.dataset import PatchDataset
from seg.data.loader import make_loader
from seg.data.order import BatchOrder, block_order
from seg.data.slots import Slots
from seg.errors import StoreError
from seg.prepare.build import build_store
from seg.prepare.sources import Sources
from seg.store.open import open_store

BANDS = "VV,VH,B02,B03,B04,B08"
SHUFFLES = st.sampled_from(["shuffle", "blocks"])


@pytest.fixture(scope="module")
def store(real, tmp_path_factory):
    out = tmp_path_factory.mktemp("stores") / "ten"
    tree = real / "reben-10m-80"
    parts = {"s2": tree / "BigEarthNet-S2", "s1": tree / "BigEarthNet-S1", "maps": tree / "Reference_Maps"}
    build_store(Sources(**parts, metadata=(tree / "metadata.parquet",)), out)
    return open_store(out)


# --- orders -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(1, 40), st.integers(1, 20), st.integers(0, 9))
def test_block_order_holds_every_sample_once(samples, block, window, seed):
    order = block_order(samples, np.random.default_rng(seed), block, window)
    assert sorted(order.tolist()) == list(range(samples))


def test_block_order_reads_whole_blocks_and_mixes_many():
    order = block_order(10_000, np.random.default_rng(0), block=10, window=20)
    windows = order.reshape(-1, 200)
    for window in windows:
        blocks, counts = np.unique(window // 10, return_counts=True)
        assert len(blocks) == 20
        assert (counts == 10).all()
    assert np.abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.1
    # Blocks come from everywhere, not from one neighbourhood.
    assert all(np.ptp(window) > 5_000 for window in windows)


@given(
    samples=st.integers(1, 300),
    batch_size=st.integers(1, 40),
    ranks=st.integers(1, 3),
    shuffle=SHUFFLES,
    seed=st.one_of(st.none(), st.integers(0, 5)),
    epoch=st.integers(0, 3),
)
def test_every_sample_once_over_all_ranks(samples, batch_size, ranks, shuffle, seed, epoch):
    seen = []
    for rank in range(ranks):
        order = BatchOrder(samples, batch_size, seed, shuffle=shuffle, rank=rank, ranks=ranks)
        order.epoch = epoch
        batches = [key.positions for key in order]
        assert len(batches) == len(order)
        assert all(0 < len(batch) <= batch_size for batch in batches)
        seen += [position for batch in batches for position in batch]
    assert sorted(seen) == list(range(samples))


@given(samples=st.integers(1, 300), batch_size=st.integers(1, 20), ranks=st.integers(1, 3), shuffle=SHUFFLES)
def test_training_ranks_have_equally_many_batches_and_nothing_in_common(samples, batch_size, ranks, shuffle):
    if samples < ranks:
        return
    orders = [BatchOrder(samples, batch_size, 1, True, shuffle, rank, ranks) for rank in range(ranks)]
    batches = [[key.positions for key in order] for order in orders]
    seen = [position for rank in batches for batch in rank for position in batch]
    assert len(seen) == len(set(seen))
    if samples >= batch_size * ranks:
        assert len({len(rank) for rank in batches}) == 1
        assert all(len(batch) == batch_size for rank in batches for batch in rank)


@given(start=st.integers(0, 12), shuffle=SHUFFLES)
def test_a_resumed_order_goes_on_where_it_stopped(start, shuffle):
    order = BatchOrder(100, 8, 3, shuffle=shuffle)
    whole = [key.positions for key in order]
    order.start = start
    assert [key.positions for key in order] == whole[start:]


@given(
    samples=st.integers(1, 5000),
    batch_size=st.integers(1, 200),
    shuffle=SHUFFLES,
    start=st.integers(0, 9),
    rank=st.integers(0, 2),
)
@settings(max_examples=50, deadline=None)
def test_the_disk_is_asked_for_each_sample_once_and_in_time(samples, batch_size, shuffle, start, rank):
    """Also after a resume: what comes first is asked for at once, and never more than a bounded amount is under way."""
    order = BatchOrder(samples, batch_size, 1, shuffle=shuffle, rank=rank, ranks=3)
    order.start = start
    keys = list(order)
    bound = (2 * 1024 if shuffle == "blocks" else max(512, batch_size)) + batch_size
    read, known, asked = set(), set(), []
    for key in keys:
        assert not read & set(key.ahead)
        asked += key.ahead
        known |= set(key.ahead)
        assert set(key.positions) <= known, "before it is read"
        read |= set(key.positions)
        assert len(asked) - len(read) <= bound
    assert len(asked) == len(set(asked))
    # In blocks, a resume asks for the whole window that it is in.
    assert known >= read
    assert shuffle == "blocks" or known == read


# --- slots --------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["read", "drop", "view", "break"]), st.integers(0, 9)), max_size=60))
def test_a_batch_is_never_overwritten_while_it_is_held(steps):  # noqa: C901
    slots = Slots(3, 4, [((2, 3), np.float32), ((3,), np.uint8)])
    held = []

    def read(value, samples):
        slot = slots.lend()
        assert (slot is None) == (len(held) == 3)
        if slot is not None:
            for array in slots.arrays(slot, samples):
                array[...] = value
            held.append((value, slots.hand_out(slot, samples)))

    def view(which):
        """A view of one of the tensors holds the slot as well as they do."""
        value, tensors = held[which]
        held[which] = (value, [tensors[which % len(tensors)][:, :1]])

    def untouched():
        return all((tensor == value).all() for value, tensors in held for tensor in tensors)

    for value, (step, which) in enumerate(steps):
        if step == "read":
            read(value % 200, which % 4 + 1)
        elif step == "break":
            slots.lend()
            slots.take_back()
        elif held and step == "drop":
            held.pop(which % len(held))
        elif held:
            view(which % len(held))
        assert untouched()
    held.clear()
    assert [slots.lend() for _ in range(4)].count(None) == 1


def test_arrays_of_a_slot_do_not_overlap():
    slots = Slots(2, 5, [((7,), np.float32), ((3, 3), np.uint8)])
    for slot in range(2):
        for number, array in enumerate(slots.arrays(slot, 5)):
            array[...] = 10 * slot + number
    for slot in range(2):
        for number, array in enumerate(slots.arrays(slot, 5)):
            assert (array == 10 * slot + number).all()


# --- loaders ------------------------------------------------------------------------------------------------------


def batches_of(store, workers, epochs=1, keep=True, batch_size=8, **options):
    data = DataConfig(bands=BANDS, **options)
    order = BatchOrder(len(store.index), batch_size, 5, shuffle=data.order)
    loader = make_loader(PatchDataset(store, np.arange(len(store.index)), data, augment_seed=2), order, workers)
    found = []
    for epoch in range(epochs):
        order.epoch = epoch
        for batch in loader:
            parts = (batch.images_BCHW, batch.masks_BHW, batch.labels_BK, batch.rows_B)
            found.append(parts if keep else tuple(part.clone() for part in parts))
    return found


@pytest.mark.parametrize("order", ["shuffle", "blocks"])
@pytest.mark.parametrize("keep", [True, False])
def test_loader_processes_give_the_same_batches(store, order, keep):
    """Also to a consumer that keeps every batch of two epochs, and for an incomplete last one."""
    here = batches_of(store, 0, 2, keep=False, batch_size=12, order=order)
    for workers in (0, 1, 2):
        there = batches_of(store, workers, 2, keep, batch_size=12, order=order)
        assert len(there) == len(here) == 14
        for one, other in zip(here, there, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_batch_needs_no_more_memory_than_there_are_patches(store):
    order = BatchOrder(len(store.index), 1_000_000, 5)
    (batch,) = make_loader(PatchDataset(store, np.arange(len(store.index)), DataConfig(bands=BANDS)), order, 0)
    assert sorted(batch.rows_B.tolist()) == list(range(80))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loop_that_is_left_early(store, workers):
    data = DataConfig(bands=BANDS)
    order = BatchOrder(len(store.index), 4, 5)
    loader = make_loader(PatchDataset(store, np.arange(len(store.index)), data), order, workers)
    for _ in range(6):
        for number, batch in enumerate(loader):
            kept = batch.images_BCHW
            if number == 3:
                break
    before = kept.clone()
    rows = [row for batch in loader for row in batch.rows_B.tolist()]
    assert sorted(rows) == list(range(80))
    assert torch.equal(before, kept)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_handed_over_in_the_same_memory(store, workers):
    """No new memory and no copy for a consumer that lets go of its batches."""
    data = DataConfig(bands=BANDS)
    order = BatchOrder(len(store.index), 4)
    loader = make_loader(PatchDataset(store, np.arange(len(store.index)), data), order, workers)
    places = set()
    for batch in loader:
        places.add(batch.images_BCHW.data_ptr())
        del batch
    assert len(places) <= 2 * workers + 3 < len(loader)


def test_an_error_in_a_loader_process_arrives_and_the_loader_goes_on(store):
    dataset = PatchDataset(store, np.arange(80), DataConfig(bands=BANDS))
    order = BatchOrder(80, 8)
    loader = make_loader(dataset, order, 1)
    assert sum(len(batch) for batch in loader) == 80
    order.batch_size = 9
    with pytest.raises((AssertionError, StoreError)):
        list(loader)
    order.batch_size = 8
    order.start = 0
    assert sum(len(batch) for batch in loader) == 80


def anonymous_memory():
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous"))


@pytest.mark.skipif(not torch.os.path.exists("/proc/self/smaps_rollup"), reason="memory is read from /proc")
def test_reading_does_not_grow(store):
    """What a loader process does over an epoch, in this process."""
    data = DataConfig(bands=BANDS)
    order = BatchOrder(80, 8, 1)
    dataset = PatchDataset(store, np.arange(80), data)
    loader = make_loader(dataset, order, 0)

    def epochs(count):
        for epoch in range(count):
            order.epoch = epoch
            for batch in loader:
                assert len(batch) == 8
        gc.collect()
        return anonymous_memory()

    before = epochs(4)
    assert epochs(16) - before < 2_000

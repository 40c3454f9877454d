"""Our reader in other people's loops: samples, batches and a Lightning module, against what training reads."""

import copy
import multiprocessing
import os
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

import seg
from seg.config.load import load_config
from seg.data.dataset import PatchDataset
from seg.data.order import BatchKey, BatchOrder
from seg.errors import DamagedError, EmptySelectionError, StoreError, WorkerError, WrongUseError
from seg.store.open import open_store
from seg.store.selection import select

TEN = "VV,VH,B02,B03,B04,B08"


@pytest.fixture(scope="module")
def folder(ten_metres):
    return str(ten_metres)


@pytest.fixture(scope="module")
def expected(folder):
    """The train split as seg's own data set reads it."""
    store = open_store(Path(folder))
    config = load_config(data__bands=TEN).data
    patches = PatchDataset(store, select(store.index, config, "train"), config)
    return patches, patches[BatchKey(0, tuple(range(len(patches))))]


def test_samples_are_those_that_training_sees(folder, expected):
    patches, batch = expected
    data = seg.dataset(folder, bands=TEN)
    assert len(data) == len(patches)
    for number in (0, len(data) - 1, -1):
        sample = data[number]
        assert torch.equal(sample["image"], batch.images_BCHW[number])
        assert torch.equal(sample["mask"], batch.masks_BHW[number].long())
        assert torch.equal(sample["label"], batch.labels_BK[number])
        assert sample["patch_id"] == patches.patch_ids(patches.rows)[number]
    assert sample["image"].dtype == sample["label"].dtype == torch.float32
    assert sample["image"].shape == (6, 120, 120)
    with pytest.raises(IndexError):
        data[len(data)]


def test_torch_s_own_loader_reads_them(folder, expected):
    _, batch = expected
    batches = list(DataLoader(seg.dataset(folder, bands=TEN), batch_size=16, num_workers=2))
    assert torch.equal(torch.cat([b["image"] for b in batches]), batch.images_BCHW)
    assert torch.equal(torch.cat([b["mask"] for b in batches]), batch.masks_BHW.long())
    assert [name for b in batches for name in b["patch_id"]] == expected[0].patch_ids(expected[0].rows)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_deals_out_every_patch_once_in_a_new_order_each_epoch(folder, expected, workers):
    patches, _ = expected
    made = [seg.loader(folder, bands=TEN, batch_size=7, workers=workers, rank=rank, ranks=2) for rank in (0, 1)]
    epochs = [[name for part in made for batch in part for name in batch["patch_id"]] for _ in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == sorted(patches.patch_ids(patches.rows))
    assert epochs[0] != epochs[1]
    again = seg.loader(folder, bands=TEN, batch_size=7, workers=workers, ranks=2)
    first = [name for batch in again for name in batch["patch_id"]]
    assert first == epochs[0][: len(first)]
    assert len(again) == len(list(again))


def test_without_a_seed_it_keeps_the_order_of_the_store_and_does_not_augment(folder, expected):
    _, batch = expected
    loader = seg.loader(folder, bands=TEN, batch_size=10, workers=0, seed=None)
    for _ in range(2):
        assert torch.equal(torch.cat([b["image"].clone() for b in loader]), batch.images_BCHW)


def test_augmentation_moves_image_and_mask_alike_and_anew(folder, expected):
    _, batch = expected
    plain = {name: (image, mask) for name, image, mask in _named(expected[0], batch)}
    moved = 0
    for loader in (
        seg.loader(folder, bands=TEN, batch_size=16, workers=0),
        DataLoader(seg.dataset(folder, bands=TEN, augment=True), batch_size=16),
    ):
        for part in loader:
            for image, mask, name in zip(part["image"], part["mask"], part["patch_id"], strict=True):
                assert any(
                    torch.equal(image, _turned(plain[name][0], how)) and torch.equal(mask, _turned(plain[name][1], how))
                    for how in range(8)
                )
                moved += not torch.equal(image, plain[name][0])
    assert moved > len(plain)
    data = seg.dataset(folder, bands=TEN, augment=True)
    assert len({data[0]["image"].numpy().tobytes() for _ in range(30)}) > 1


def _named(patches, batch):
    return zip(patches.patch_ids(patches.rows), batch.images_BCHW, batch.masks_BHW.long(), strict=True)


def _turned(values, how):
    values = values.transpose(-1, -2) if how & 4 else values
    return values.flip([axis for axis, bit in ((-2, 2), (-1, 1)) if how & bit])


def test_an_open_store_bands_as_a_list_and_settings_are_taken(folder):
    store = open_store(Path(folder))
    data = seg.dataset(store, bands=["B04", "B03", "B02"], split=None, flagged=True, resampling="nearest")
    assert len(data) == len(store.index)
    red = store.arrays(0)["B04"].astype(np.float32)
    image = data[0]["image"][0].numpy()
    assert np.corrcoef(red.ravel(), image.ravel())[0, 1] > 0.99999


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"bands": "s2"}, StoreError, "B01"),
        ({"bands": "s3"}, ValueError, "s3"),
        ({"split": "tests"}, StoreError, "train, validation, test"),
        ({"countries": ["Atlantis"]}, EmptySelectionError, "Atlantis"),
        ({"contries": ["Finland"]}, ValueError, "countries"),
        ({"batch_size": 0}, StoreError, "at least one"),
        ({"rank": 2, "ranks": 2}, StoreError, "count from 0"),
        ({"batch_size": 2.5}, WrongUseError, "batch_size=2.5"),
        ({"batch_size": "8"}, WrongUseError, "batch_size='8'"),
        ({"workers": None}, WrongUseError, "workers=None"),
        ({"seed": -1}, WrongUseError, "seed=-1"),
        ({"ranks": "2"}, WrongUseError, "ranks='2'"),
        ({"num_workers": 2}, WrongUseError, "did you mean workers"),
        ({"shuffle": False}, WrongUseError, "did you mean seed.*seed=None keeps"),
        ({"transform": abs}, WrongUseError, "did you mean augment"),
        ({"root": "x"}, WrongUseError, "did you mean store"),
        ({"seasons": "x"}, WrongUseError, "it takes store, bands"),
        ({"bands": {"B02", "B03"}}, WrongUseError, "which band it is"),
        ({"bands": None}, WrongUseError, "bands=None"),
        ({"bands": 2}, WrongUseError, "bands=2"),
        ({"bands": ["s1", "B02"]}, WrongUseError, "name those of it: VV,VH"),
        ({"augment": "yes"}, WrongUseError, "neither True nor False"),
        ({"augment": abs}, WrongUseError, "your own loop"),
    ],
)
def test_what_is_wrong_is_one_sentence(folder, changes, error, text):
    with pytest.raises(error, match=text) as caught:
        seg.loader(folder, **{"bands": TEN, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["workers", "num_workers", "shuffle", "order", "sampling", "preprocess"])
def test_samples_take_nothing_that_is_for_a_loader(folder, name):
    with pytest.raises(WrongUseError, match="torch's DataLoader"):
        seg.dataset(folder, bands=TEN, **{name: 1})


@pytest.mark.parametrize("number", [slice(0, 3), [0, 1], 1.5, "a", None])
def test_a_sample_has_a_whole_number(folder, number):
    with pytest.raises(TypeError, match="whole number"):
        seg.dataset(folder, bands=TEN)[number]


@pytest.mark.parametrize("augment", [True, [{"HorizontalFlip": {"p": 0.5}}, {"Affine": {"rotate": [-20, 20]}}]])
def test_numbers_from_the_end_and_beyond_it_are_the_same_in_a_subset(folder, augment):
    data = seg.dataset(folder, bands=TEN, augment=augment)
    (batch,) = DataLoader(Subset(data, [-1, -len(data)]), batch_size=2)
    assert batch["patch_id"] == [data[len(data) - 1]["patch_id"], data[0]["patch_id"]]
    for beyond in (len(data), -len(data) - 1):
        with pytest.raises(IndexError, match=f"no number {beyond}"):
            next(iter(DataLoader(Subset(data, [beyond]))))


def test_threads_read_what_one_reads(made):
    """Bands of 20 m and 60 m go through memory of their own before they are brought to 10 m."""
    data = seg.dataset(made.store, bands="s2", split=None)
    expected = [data[number]["image"] for number in range(len(data))]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda number: data[number % len(data)]["image"], range(3 * len(data))))
    finally:
        sys.setswitchinterval(before)
    assert all(torch.equal(image, expected[number % len(data)]) for number, image in enumerate(found))


def test_own_transforms_are_those_that_are_applied(folder, expected):
    _, batch = expected
    flip = [{"HorizontalFlip": {"p": 1}}]
    data = seg.dataset(folder, bands=TEN, augment=flip)
    assert torch.equal(data[0]["image"], batch.images_BCHW[0].flip(2))
    read = {
        name: image.clone()
        for part in seg.loader(folder, bands=TEN, augment=flip, workers=0)
        for name, image in zip(part["patch_id"], part["image"], strict=True)
    }
    assert torch.equal(read[data[0]["patch_id"]], batch.images_BCHW[0].flip(2))


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("seed", [0, None])
def test_without_an_incomplete_last_batch_all_are_whole_and_ranks_have_as_many(folder, seed, ranks):
    loaders = [
        seg.loader(folder, bands=TEN, batch_size=5, workers=0, seed=seed, drop_last=True, rank=rank, ranks=ranks)
        for rank in range(ranks)
    ]
    batches = [[batch["patch_id"] for batch in loader] for loader in loaders]
    names = [name for own in batches for batch in own for name in batch]
    patches = len(seg.dataset(folder, bands=TEN))
    assert {len(batch) for own in batches for batch in own} == {5}
    assert [len(own) for own in batches] == [len(loader) for loader in loaders] == ranks * [patches // (5 * ranks)]
    assert len(names) == len(set(names))


def test_rare_patches_come_more_often_where_that_is_wanted(folder):
    loader = seg.loader(folder, bands=TEN, workers=0, sampling="rare", rare_share=0.5)
    plain = PatchDataset(
        open_store(Path(folder)),
        select(open_store(Path(folder)).index, load_config().data, "train"),
        load_config(data__bands=TEN, data__sampling="rare", data__rare_share=0.5).data,
    )
    order = BatchOrder(len(plain), 32, 0)
    order.factors = plain.factors()
    wanted = [plain.patch_ids(plain.rows[list(key.positions)]) for key in order]
    assert [batch["patch_id"] for batch in loader] == wanted
    assert len({name for part in wanted for name in part}) < len(plain)


def test_values_may_travel_as_stored(folder):
    read = {how: list(seg.loader(folder, bands=TEN, workers=0, preprocess=how)) for how in ("host", "device")}
    for host, device in zip(*read.values(), strict=True):
        assert host["patch_id"] == device["patch_id"]
        assert torch.equal(host["mask"], device["mask"])
        assert torch.allclose(host["image"], device["image"], atol=1e-5)


def test_two_iterations_of_a_loader_are_two_epochs_or_refused(folder):
    first, second = (snapshot(part) for part in two_epochs(folder))
    loader = seg.loader(folder, bands=TEN, batch_size=4, workers=0)
    together = [(snapshot([one])[0], snapshot([other])[0]) for one, other in zip(loader, loader, strict=True)]
    assert [name for name, _ in (one for one, _ in together)] == [name for name, _ in first]
    assert all(torch.equal(one[1], other[1]) for (one, _), other in zip(together, first, strict=True))
    assert all(torch.equal(one[1], other[1]) for (_, one), other in zip(together, second, strict=True))
    several = seg.loader(folder, bands=TEN, batch_size=4, workers=2)
    with pytest.raises(WrongUseError, match="make a loader for each"):
        list(zip(several, several, strict=True))
    assert next(iter(several))["patch_id"]  # what was given up is no harm


def two_epochs(folder):
    loader = seg.loader(folder, bands=TEN, batch_size=4, workers=0)
    return list(loader), list(loader)


def snapshot(batches):
    return [(batch["patch_id"], batch["image"].clone()) for batch in batches]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_copies_read_the_same(folder, copied):
    loader = seg.loader(folder, bands=TEN, batch_size=4, workers=0)
    next(iter(loader))
    same = copied(loader)
    assert same.epoch == 1
    for one, other in zip(snapshot(loader), snapshot(same), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])
    data = seg.dataset(folder, bands=TEN)
    assert torch.equal(copied(data)[3]["image"], data[3]["image"])
    pytest.importorskip("lightning.pytorch")
    module = copied(seg.datamodule(folder, bands=TEN, batch_size=4, workers=0))
    assert (
        snapshot(module.train_dataloader())[0][0]
        == snapshot(seg.loader(folder, bands=TEN, batch_size=4, workers=0))[0][0]
    )


@pytest.mark.parametrize("bands", ["s1", TEN])
def test_who_goes_to_another_folder_still_reads(folder, tmp_path, monkeypatch, bands):
    copied = shutil.copytree(folder, tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    data, loader, store = (
        seg.dataset("store", bands=bands),
        seg.loader("store", bands=bands, workers=2),
        seg.open_store("store"),
    )
    monkeypatch.chdir("/")
    names = [data[number]["patch_id"] for number in range(len(data))]
    assert sorted(name for batch in loader for name in batch["patch_id"]) == sorted(names)
    assert len(seg.dataset(store, bands=bands)) == len(names)
    assert copied


def test_of_a_damaged_patch_other_processes_say_no_more_than_this_one(folder, tmp_path):
    store = Path(shutil.copytree(folder, tmp_path / "store"))
    opened = open_store(store)
    rows = seg.dataset(folder, bands="s1")._patches.rows
    with (store / "data.mdb").open("r+b") as file:
        for begin in opened.offsets.begins_RK[rows, 1].tolist():
            file.seek(begin + 2)
            file.write(b"\xff" * 6)
    for workers in (0, 2):
        with pytest.raises(DamagedError, match="no safetensors data") as caught:
            list(seg.loader(store, bands="s1", workers=workers, batch_size=4))
        assert len(str(caught.value)) < 200
        assert "Traceback" not in str(caught.value)


def test_a_process_that_is_killed_is_told_and_the_next_epoch_has_new_ones(folder):
    loader = seg.loader(folder, bands=TEN, batch_size=1, workers=2)
    batches = iter(loader)
    next(batches)
    for process in multiprocessing.active_children():
        os.kill(process.pid, 9)
    with pytest.raises(WorkerError, match="memory"):
        list(batches)
    assert sum(len(batch["patch_id"]) for batch in loader) == len(seg.dataset(folder, bands=TEN))


def test_memory_for_batches_is_no_more_than_the_patches_take(folder):
    (batch,) = seg.loader(folder, bands=TEN, batch_size=10**9, workers=0)
    assert len(batch["patch_id"]) == len(seg.dataset(folder, bands=TEN))


def test_a_data_module_says_at_once_what_is_wrong(folder):
    pytest.importorskip("lightning.pytorch")
    for changes, text in (
        ({"bands": "s3"}, "s3"), ({"bands": "s2"}, "does not hold"), ({"batch_size": 0}, "at least one"),
        ({"split": "train"}, "split"), ({"num_workers": 2}, "workers"), ({"augment": 3}, "neither"),
    ):  # fmt: skip
        with pytest.raises(seg.SegError, match=text):
            seg.datamodule(folder, **{"bands": TEN, **changes})


def test_a_plain_loop_learns(folder):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(6, 19, 3, padding=1)
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    loader = seg.loader(folder, bands=TEN, batch_size=16, workers=0)
    losses = []
    for _ in range(3):
        for batch in loader:
            loss = torch.nn.functional.cross_entropy(network(batch["image"]), batch["mask"], ignore_index=255)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.9 * losses[0]


def test_a_lightning_trainer_takes_the_data_module(folder, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    seen = {"train": [], "validation": []}

    class Task(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = torch.nn.Conv2d(6, 19, 1)

        def training_step(self, batch, _):
            seen["train"] += batch["patch_id"]
            return torch.nn.functional.cross_entropy(self.network(batch["image"]), batch["mask"], ignore_index=255)

        def validation_step(self, batch, _):
            seen["validation"] += batch["patch_id"]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    module = seg.datamodule(folder, bands=TEN, batch_size=8, workers=0)
    trainer.fit(Task(), datamodule=module)
    train, validation = (seg.dataset(folder, bands=TEN, split=split) for split in ("train", "validation"))
    assert len(seen["train"]) == 2 * (len(train) // 8 * 8)
    assert len(set(seen["train"][: len(train) // 8 * 8])) == len(train) // 8 * 8
    assert sorted(seen["validation"]) == sorted(2 * [validation[i]["patch_id"] for i in range(len(validation))])


def test_without_lightning_it_says_what_to_install(folder, monkeypatch):
    for name in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(StoreError, match="pip install lightning"):
        seg.datamodule(folder)

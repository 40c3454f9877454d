"""Our reader in other people's loops: samples, batches and a Lightning module, against what training reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import seg
from seg.config.load import load_config
from seg.data.dataset import PatchDataset
from seg.data.order import BatchKey
from seg.errors import EmptySelectionError, StoreError
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
    ],
)
def test_what_is_wrong_is_one_sentence(folder, changes, error, text):
    with pytest.raises(error, match=text) as caught:
        seg.loader(folder, **{"bands": TEN, **changes})
    assert "\n" not in str(caught.value)


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

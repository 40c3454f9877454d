"""Checkpoints: bit-identical weights, one-sentence errors, and no moment without a complete checkpoint."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import nn

from seg.config.sections import ModelConfig
from seg.config.version import VERSION
from seg.errors import CheckpointError
from seg.models import checkpoint
from seg.models.card import FORMAT, Data, ModelCard, Training
from seg.models.checkpoint import (
    CARD_FILE,
    WEIGHTS_FILE,
    load_checkpoint,
    load_weights,
    make_card,
    read_checkpoint,
    save_checkpoint,
)
from seg.models.segmenter import Segmenter, build_segmenter, count_parameters
from seg.reben.bands import BANDS, MODALITIES
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.store import atomic
from seg.store.atomic import recover_folder

NAMES = MODALITIES["s1s2"]
THRESHOLDS = tuple((i + 1) / 20 for i in range(NUM_CLASSES))


def small(scene_head: str = "derived", arch: str = "linknet", encoder: str = "tu-test_efficientnet") -> Segmenter:
    """A network of 0.1 million parameters, no two of them alike, batch statistics included."""
    torch.manual_seed(0)
    model = build_segmenter(ModelConfig(arch=arch, encoder=encoder, scene_head=scene_head), NAMES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        model(torch.randn(2, len(NAMES), 32, 32))
    return model


def card_of(model: Segmenter, epoch: int = 0, **changes: Any) -> ModelCard:
    card = make_card(
        model,
        [(BANDS[name].mean, BANDS[name].std) for name in model.bands],
        "bilinear",
        Data(fingerprint="f00d", synthetic=True, train_patches=60),
        Training(epoch=epoch, step=10 * epoch, monitor="miou", score=0.25),
        THRESHOLDS,
    )
    return card.model_copy(update=changes)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return small()


@pytest.fixture
def saved(model: Segmenter, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "best", model, card_of(model))
    return tmp_path / "best"


def edit(folder: Path, **changes: Any) -> None:
    document = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    (folder / CARD_FILE).write_text(json.dumps(document | changes), encoding="utf-8")


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("scene_head", ["masked", "derived", "learned", "none"])
def test_weights_come_back_bit_for_bit(tmp_path: Path, scene_head: str):
    model = small(scene_head).to(memory_format=torch.channels_last)
    assert any(not tensor.is_contiguous() for tensor in model.state_dict().values())
    card = card_of(model)
    save_checkpoint(tmp_path / "a" / "b", model, card)
    loaded, loaded_card = load_checkpoint(tmp_path / "a" / "b")
    assert loaded_card == card
    assert not loaded.training
    assert loaded.config == model.config
    assert loaded.bands == NAMES
    wanted, found = model.state_dict(), loaded.state_dict()
    assert list(wanted) == list(found)
    for name, tensor in wanted.items():
        assert tensor.dtype == found[name].dtype
        assert torch.equal(tensor, found[name]), name
    images = torch.randn(1, len(NAMES), 120, 120)
    with torch.no_grad():
        for one, other in zip(model.eval()(images), loaded.to(memory_format=torch.channels_last)(images), strict=True):
            assert one is other is None or torch.equal(one, other)


def test_the_card_describes_the_network_in_plain_json(model: Segmenter, saved: Path):
    document = json.loads((saved / CARD_FILE).read_text(encoding="utf-8"))
    assert document["format"] == 3
    assert document["seg_version"] == VERSION
    assert (document["arch"], document["encoder"], document["scene_head"]) == (
        "linknet",
        "tu-test_efficientnet",
        "derived",
    )
    assert document["bands"] == list(NAMES)
    assert dict(zip(document["bands"], document["mean"], strict=True))["VV"] == -12.6439
    assert dict(zip(document["bands"], document["std"], strict=True))["B12"] == 813.5276
    assert document["classes"] == list(CLASS_NAMES)
    assert document["parameters"] == count_parameters(model)
    assert document["data"] == {"fingerprint": "f00d", "synthetic": True, "train_patches": 60}
    assert document["training"] == {"epoch": 0, "step": 0, "monitor": "miou", "score": 0.25}
    assert tuple(document["thresholds"]) == THRESHOLDS
    assert sorted(path.name for path in saved.parent.iterdir()) == ["best"]
    assert sorted(path.name for path in saved.iterdir()) == [CARD_FILE, WEIGHTS_FILE]


def test_an_undefined_score_is_stored_as_none(model: Segmenter, tmp_path: Path):
    undefined = Training(epoch=1, step=2, monitor="miou", score=float("nan"))
    assert undefined.score is None
    save_checkpoint(tmp_path / "best", model, card_of(model, training=undefined, thresholds=None))
    card, _ = read_checkpoint(tmp_path / "best")
    assert card.training == undefined
    assert card.thresholds is None


def test_a_card_that_could_not_be_read_is_not_written(model: Segmenter, saved: Path):
    before = (saved / CARD_FILE).read_bytes()
    with pytest.raises(ValidationError):
        save_checkpoint(saved, model, card_of(model, thresholds=(0.5,)))
    assert (saved / CARD_FILE).read_bytes() == before


def test_tied_weights_come_back(model: Segmenter, tmp_path: Path):
    def tied() -> nn.Sequential:
        one, two = nn.Linear(4, 4), nn.Linear(4, 4)
        two.weight = one.weight
        return nn.Sequential(one, two)

    original, other = tied(), tied()
    save_checkpoint(tmp_path / "tied", original, card_of(model))
    load_weights(other, tmp_path / "tied")
    assert torch.equal(original[1].weight, other[0].weight)
    assert torch.equal(original[0].bias, other[0].bias)
    assert other[0].weight is other[1].weight


def test_loading_downloads_nothing(model: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = ModelConfig(arch="pspnet", encoder="resnet18", weights=None)
    started = build_segmenter(config, NAMES)
    started.config = config.model_copy(update={"weights": "imagenet"})
    save_checkpoint(tmp_path / "best", started, card_of(started))

    def unreachable(*_args: Any, **_settings: Any) -> str:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(smp.encoders, "hf_hub_download", unreachable)
    loaded, _ = load_checkpoint(tmp_path / "best")
    assert all(torch.equal(a, b) for a, b in zip(started.parameters(), loaded.parameters(), strict=True))


def test_load_weights_keeps_the_mode_and_gives_the_card(saved: Path, model: Segmenter):
    other = build_segmenter(model.config, NAMES)
    card = load_weights(other, saved)
    assert card == card_of(model)
    assert other.training
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


# ------------------------------------------------------------------------------------------------------ class order


@pytest.mark.parametrize(
    ("scene_head", "arch", "encoder"),
    [
        ("derived", "linknet", "tu-test_efficientnet"),
        ("learned", "linknet", "tu-test_efficientnet"),
        ("none", "linknet", "tu-test_efficientnet"),
        ("derived", "dpt", "tu-test_vit"),
    ],
)
def test_classes_in_another_order_are_mapped_by_name(tmp_path: Path, scene_head: str, arch: str, encoder: str):
    model = small(scene_head, arch, encoder).eval()
    folder = tmp_path / "best"
    save_checkpoint(folder, model, card_of(model))
    alphabetical = sorted(range(NUM_CLASSES), key=lambda i: CLASS_NAMES[i])
    prefix = "network.segmentation_head." + ("head.4." if arch == "dpt" else "0.")
    heads = [f"{prefix}weight", f"{prefix}bias"] + [n for n in model.state_dict() if n.startswith("scene_head.")]
    tensors = load_file(folder / WEIGHTS_FILE)
    save_file({n: t[alphabetical] if n in heads else t for n, t in tensors.items()}, folder / WEIGHTS_FILE)
    edit(
        folder,
        classes=[CLASS_NAMES[i] for i in alphabetical],
        thresholds=[THRESHOLDS[i] for i in alphabetical],
    )
    assert json.loads((folder / CARD_FILE).read_text())["classes"] == sorted(CLASS_NAMES)
    loaded, card = load_checkpoint(folder)
    assert card.classes == CLASS_NAMES
    assert card.thresholds == THRESHOLDS
    images = torch.randn(1, len(NAMES), 32, 32)
    with torch.no_grad():
        for one, other in zip(model(images), loaded(images), strict=True):
            assert one is other is None or torch.equal(one, other)
    with pytest.raises(CheckpointError, match="in another order; load it with load_checkpoint"):
        load_weights(model, folder)


# ------------------------------------------------------------------------------------------------------------- errors


def test_what_is_no_checkpoint_is_one_sentence(tmp_path: Path):
    assert "no checkpoint: it has no card.json" in refused(tmp_path / "missing")
    assert "no checkpoint: it has no card.json" in refused(tmp_path)
    (tmp_path / "file").write_text("x")
    assert "no checkpoint" in refused(tmp_path / "file")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"arch": "unet"}', '{"format": "1"}'])
def test_a_damaged_card_is_one_sentence(saved: Path, text: str):
    (saved / CARD_FILE).write_text(text)
    assert str(saved / CARD_FILE) in refused(saved)


def test_a_card_in_another_encoding_is_one_sentence(saved: Path):
    (saved / CARD_FILE).write_bytes(b"\xff\xfe{")
    assert "damaged" in refused(saved)


def test_a_card_of_a_newer_format_is_refused_whatever_else_it_holds(saved: Path):
    edit(saved, format=FORMAT + 1, seg_version="9.9.9", something="new")
    sentence = refused(saved)
    assert f"format {FORMAT + 1}" in sentence
    assert f"up to {FORMAT}" in sentence
    assert "install seg 9.9.9 or newer" in sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bands": [*NAMES[:-1], "B13"]}, "'B13' is neither a band"),
        ({"bands": [*NAMES[:-1], "VV"]}, "band VV is named twice"),
        ({"mean": [0.0]}, "14 bands have 1 means and 14 deviations"),
        ({"std": [0.0] * 14}, "std.0"),
        ({"classes": [*CLASS_NAMES[:-1], "Sea"]}, "'Sea' is not one of the 19"),
        ({"classes": [*CLASS_NAMES[:-1], CLASS_NAMES[0]]}, "not the 19 of reBEN, each once"),
        ({"classes": list(CLASS_NAMES[:-1])}, "not the 19 of reBEN, each once"),
        ({"thresholds": [0.5]}, "19 classes have 1 thresholds"),
        ({"thresholds": [2.0] * NUM_CLASSES}, "thresholds.0"),
        ({"temperature": 0.0}, "temperature"),
        ({"scene_head": "attention"}, "scene_head"),
        ({"dropout": 1.0}, "dropout"),
        ({"format": 0}, "format"),
        ({"colour": "red"}, "colour"),
        ({"arch": "unett"}, "no architecture 'unett'"),
        ({"encoder": "resnet81"}, "no encoder 'resnet81'"),
    ],
)
def test_a_card_that_cannot_be_used_is_one_sentence(saved: Path, changes: dict[str, Any], words: str):
    edit(saved, **changes)
    sentence = refused(saved)
    assert words in sentence
    assert str(saved) in sentence


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.999999])
def test_truncated_weights_are_one_sentence(saved: Path, share: float):
    weights = (saved / WEIGHTS_FILE).read_bytes()
    (saved / WEIGHTS_FILE).write_bytes(weights[: int(share * len(weights))])
    assert "damaged" in refused(saved)


def test_damaged_or_missing_weights_are_one_sentence(saved: Path):
    weights = bytearray((saved / WEIGHTS_FILE).read_bytes())
    weights[20] ^= 0xFF
    (saved / WEIGHTS_FILE).write_bytes(weights)
    assert "damaged" in refused(saved)
    (saved / WEIGHTS_FILE).unlink()
    assert "no model.safetensors" in refused(saved)


def test_weights_that_do_not_fit_the_card_are_one_sentence(saved: Path):
    edit(saved, encoder="tu-test_resnet")
    assert "does not fit its card" in refused(saved)
    edit(saved, encoder="tu-test_efficientnet", scene_head="learned")
    assert "it lacks 'scene_head.classifier.weight'" in refused(saved)
    edit(saved, scene_head="none")
    assert "has no place in the network and 1 more" in refused(saved)
    edit(saved, scene_head="derived", bands=list(NAMES[:3]), mean=[0.0] * 3, std=[1.0] * 3)
    assert "14, 3, 3), but the network's is" in refused(saved)


# ------------------------------------------------------------------------------------------------- atomic replacement


class Toy(nn.Module):
    """One value, which every save of these tests sets to the epoch on its card."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.full((1000,), float(value)))


def state_file(epoch: int) -> Callable[[Path], None]:
    return lambda into: (into / "state.txt").write_text(str(epoch)) and None


def epoch_of(folder: Path) -> int:
    """The epoch of a checkpoint, which card and weights have to agree on."""
    toy = Toy(-1)
    card = load_weights(toy, folder)
    assert card.training is not None
    assert (toy.value == card.training.epoch).all()
    return card.training.epoch


@pytest.fixture(scope="module")
def save(model: Segmenter) -> Callable[[Path, int], None]:
    cards = [card_of(model, epoch) for epoch in range(4)]
    return lambda folder, epoch: save_checkpoint(folder, Toy(epoch), cards[epoch], state_file(epoch))


class Crash(BaseException):
    """The process is gone."""


class Machine:
    """Dies at the n-th change to the disk, and does nothing from then on."""

    def __init__(self, lives: int) -> None:
        self.lives = lives

    def mortal(self, work: Callable[..., Any], *before: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **settings: Any) -> Any:
            self.lives -= 1
            if self.lives == 0:
                for half in before:
                    half(*args)
            if self.lives <= 0:
                raise Crash
            return work(*args, **settings)

        return run


def crash_during(save: Callable[[], None], lives: int) -> bool:
    """Run a save on a machine with so many lives; whether it died."""
    machine = Machine(lives)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("mkdir", "rename", "fsync", "unlink", "rmdir"):
            patch.setattr(os, name, machine.mortal(getattr(os, name)))
        half_written = machine.mortal(save_file, lambda _tensors, path: path.write_bytes(b"half"))
        patch.setattr(checkpoint, "save_file", half_written)
        try:
            save()
        except Crash:
            return True
    return False


def test_a_crash_at_any_moment_leaves_one_whole_checkpoint(tmp_path: Path, save: Callable[[Path, int], None]):
    epochs = []
    for lives in range(1, 100):
        folder = tmp_path / str(lives) / "last"
        save(folder, 1)
        if not crash_during(lambda folder=folder: save(folder, 2), lives):
            break
        epochs.append(epoch_of(folder))
        # A second crash on top of the first, then a save that goes through and tidies up.
        crash_during(lambda folder=folder: save(folder, 2), max(1, lives // 2))
        assert epoch_of(folder) in (1, 2)
        save(folder, 3)
        assert epoch_of(folder) == 3
        assert [path.name for path in folder.parent.iterdir()] == ["last"]
    assert epochs == sorted(epochs)
    assert epochs.count(1) > 5
    assert epochs.count(2) > 2
    assert epoch_of(folder) == 2


def test_a_crash_in_the_first_save_leaves_nothing_that_looks_finished(
    tmp_path: Path, save: Callable[[Path, int], None]
):
    for lives in range(1, 100):
        folder = tmp_path / str(lives) / "last"
        if not crash_during(lambda folder=folder: save(folder, 2), lives):
            break
        if folder.exists():
            assert epoch_of(folder) == 2
        else:
            assert "no checkpoint" in refused(folder)
    assert lives > 5


def test_recovery_puts_all_files_back_in_place(tmp_path: Path, save: Callable[[Path, int], None]):
    folder = tmp_path / "last"
    save(folder, 1)
    os.rename(folder, tmp_path / ".last.old")
    assert epoch_of(folder) == 1
    assert not folder.exists()
    recover_folder(folder)
    assert (folder / "state.txt").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    recover_folder(folder)
    assert epoch_of(folder) == 1


def test_a_full_disk_leaves_the_earlier_checkpoint_and_no_litter(
    tmp_path: Path, save: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "last"
    save(folder, 1)

    def full(_tensors: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot be written .*No space left on device"):
        save(folder, 2)
    assert epoch_of(folder) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_files_that_cannot_be_removed_do_not_stop_the_next_save(
    tmp_path: Path, save: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "last"
    save(folder, 1)
    shutil.copytree(folder, tmp_path / ".last.old")  # as after a crash before the last step of a save
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_args, **_settings: None)
        save(folder, 2)
        save(folder, 3)
    assert epoch_of(folder) == 3
    save(folder, 1)
    assert epoch_of(folder) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_reader_whose_files_vanish_reads_again(
    tmp_path: Path, save: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "best"
    save(folder, 1)
    read = checkpoint.load_file
    pending = [2]

    def vanished(path: Path) -> Any:
        if pending:
            save(folder, pending.pop())
            raise FileNotFoundError(path)
        return read(path)

    monkeypatch.setattr(checkpoint, "load_file", vanished)
    assert epoch_of(folder) == 2


@pytest.mark.parametrize("moment", ["read_card", "_read_tensors"])
def test_a_reader_never_mixes_two_saves(
    tmp_path: Path, save: Callable[[Path, int], None], monkeypatch: pytest.MonkeyPatch, moment: str
):
    folder = tmp_path / "best"
    save(folder, 1)
    read = getattr(checkpoint, moment)
    pending = [2, 3]

    def interrupted(place: Path) -> Any:
        if pending:
            save(folder, pending.pop(0))
        return read(place)

    monkeypatch.setattr(checkpoint, moment, interrupted)
    assert epoch_of(folder) == 3


def test_a_folder_that_is_replaced_all_the_time_ends_in_an_error(tmp_path: Path, save: Callable[[Path, int], None]):
    folder = tmp_path / "best"
    save(folder, 1)
    with pytest.raises(OSError, match="replaced faster than it can be read"):
        atomic.read_folder(folder, lambda _place: save(folder, 2))


def test_a_folder_of_other_files_is_not_replaced(model: Segmenter, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(CheckpointError, match="holds files but no checkpoint; choose another folder"):
        save_checkpoint(tmp_path, model, card_of(model))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path, save: Callable[[Path, int], None]):
    (tmp_path / "big-disk").mkdir()
    (tmp_path / "best").symlink_to(tmp_path / "big-disk")
    save(tmp_path / "best", 1)
    save(tmp_path / "best", 2)
    assert (tmp_path / "best").is_symlink()
    assert epoch_of(tmp_path / "best") == epoch_of(tmp_path / "big-disk") == 2

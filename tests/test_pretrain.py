"""Pretraining on masked images: what is hidden, what is learned, what is left, and who begins with it."""

import json
import shlex
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from entries import small_store
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import TINY, quick_run
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from seg.cli.main import main
from seg.config.sections import ModelConfig
from seg.errors import DamagedError, ForeignFileError, SegError, WrongUseError
from seg.models.segmenter import build_segmenter
from seg.models.start import start_segmenter
from seg.pipeline.pretrain import pretrain
from seg.pretraining import fit
from seg.pretraining.encoder_file import RECORD_FILE, STATE_FILE
from seg.pretraining.masked_images import hidden_cells, masked_error, restoring
from seg.runs.folder import read_run

BANDS = ("VV", "B02", "B03")
SMALL = TINY | {
    "train__epochs": 2, "train__batch_size": 4, "train__window": 32, "data__bands": BANDS, "data__workers": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("pretraining"), 12).folder


@pytest.fixture(scope="module")
def made(store, tmp_path_factory):
    """A finished pretraining."""
    return pretrain(store, tmp_path_factory.mktemp("made") / "encoder", **SMALL).folder


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True),
    edge=st.integers(8, 70),
    share=st.floats(0.01, 0.99),
    cell=st.integers(1, 8),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 9),
)
def test_whole_cells_are_hidden_as_many_in_each_image(rows, edge, share, cell, seed, epoch):
    found = hidden_cells(rows, edge, share, cell, seed, epoch)
    assert found.shape == (len(rows), 1, edge, edge)
    assert found.dtype == torch.bool
    side = -(-edge // cell)
    for row, image in zip(rows, found[:, 0].numpy(), strict=True):
        grid = image[::cell, ::cell]
        assert grid.sum() == max(1, round(share * side**2))
        np.testing.assert_array_equal(image, np.kron(grid, np.ones((cell, cell), bool))[:edge, :edge])
        # It depends on nothing else that is in the batch.
        np.testing.assert_array_equal(image, hidden_cells([row], edge, share, cell, seed, epoch)[0, 0].numpy())


def test_other_cells_in_every_epoch_and_in_every_patch():
    one, *others = (hidden_cells(*args) for args in (([5], 64, 0.5, 8, 0, 0), ([5], 64, 0.5, 8, 0, 1),
                                                     ([6], 64, 0.5, 8, 0, 0), ([5], 64, 0.5, 8, 1, 0)))  # fmt: skip
    assert all((one != other).any() for other in others)


def test_the_error_is_that_of_hidden_pixels_alone():
    random = np.random.default_rng(0)
    images, restored = random.normal(size=(2, 3, 4, 8, 8)).astype(np.float32)
    hidden = random.random((3, 1, 8, 8)) < 0.4
    expected = np.mean([(restored[b, c, i, j] - images[b, c, i, j]) ** 2 for b, c, i, j in np.ndindex(3, 4, 8, 8)
                        if hidden[b, 0, i, j]])  # fmt: skip
    found = masked_error(*map(torch.from_numpy, (restored, images, hidden)))
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("arch", ["unet", "deeplabv3plus", "segformer", "upernet", "pan", "manet"])
def test_bands_come_out_of_every_architecture(arch):
    whole = build_segmenter(ModelConfig(arch=arch, encoder="resnet18"), BANDS)
    network = restoring(whole).eval()
    images = torch.rand(2, 3, 64, 64)
    restored, scene = network(images)
    assert restored.shape == images.shape
    assert scene is None
    logits, _ = whole.eval()(images)
    assert logits.shape == (2, 19, 64, 64)


def test_it_learns_and_leaves_an_encoder_that_says_what_it_is(made, store):
    record = json.loads((made / RECORD_FILE).read_text())
    assert record["errors"][1] < record["errors"][0]
    assert record["images"] == "train"
    assert record["synthetic"] is True
    assert not (made / STATE_FILE).exists()
    with safe_open(made / "model.safetensors", "np") as file:
        about = file.metadata()
        assert len(file.keys()) == record["tensors"]
    assert about["bands"] == "VV,B02,B03"
    assert "without labels on SYNTHETIC images" in about["seg_pretraining"]


def test_a_training_begins_with_it(made, store, tmp_path):
    config = ModelConfig(arch="unet", encoder="tu-test_resnet", weights=str(made))
    model, (loaded,) = start_segmenter(config, BANDS)
    state = model.encoder.state_dict()
    for name, value in load_file(made / "model.safetensors").items():
        assert torch.equal(state[name], value), name
    assert loaded.left_out == ()
    assert loaded.decoder == 0
    assert not loaded.scene_head
    # Of other bands, the first layer takes those of the same names.
    _, (other,) = start_segmenter(config, ("B03", "B08"))
    assert other.bands.kept == ("B03",)
    run = quick_run(tmp_path / "run", store, model__weights=str(made), data__bands=BANDS)
    (weights,) = read_run(run).record["weights"]
    assert "pretrained without labels on SYNTHETIC images of 6 patches of the train split" in weights["source"]


def test_neither_maps_nor_labels_are_looked_at(made, store, tmp_path, monkeypatch):
    read = []
    original = fit.Pretraining.__post_init__

    def noted(self):
        read.append(self.images.with_maps)
        original(self)

    monkeypatch.setattr(fit.Pretraining, "__post_init__", noted)
    again = pretrain(store, tmp_path / "again", **SMALL)
    assert read == [False]
    # The same seed gives the same bits.
    one, other = (load_file(folder / "model.safetensors") for folder in (made, again.folder))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_images_of_all_splits(store, tmp_path):
    whole = pretrain(store, tmp_path / "all", images="all", **SMALL | {"train__epochs": 1})
    assert whole.patches == 12
    assert "12 patches of all splits" in json.loads((whole.folder / RECORD_FILE).read_text())["source_of_images"]


@pytest.mark.parametrize(("optimiser", "channels_last"), [("adamw", False), ("adamw", True), ("sgd", True)])
def test_broken_off_it_goes_on_bit_for_bit(store, tmp_path, optimiser, channels_last):
    options = SMALL | {
        "train__epochs": 3, "train__optimiser": optimiser, "train__lr": 1e-3, "train__channels_last": channels_last,
    }  # fmt: skip
    whole = pretrain(store, tmp_path / "whole", **options)

    def broken(message):
        if message.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(store, tmp_path / "parts", notify=broken, **options)
    assert (tmp_path / "parts" / STATE_FILE).is_file()
    said = []
    parts = pretrain(store, tmp_path / "parts", notify=said.append, **options)
    assert "It goes on after epoch 2." in said
    assert parts.errors == whole.errors
    one, other = (load_file(folder / "model.safetensors") for folder in (whole.folder, parts.folder))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not (parts.folder / STATE_FILE).exists()


def test_what_is_finished_stays_and_another_one_is_refused(made, store):
    before = (made / "model.safetensors").read_bytes()
    said = []
    pretrain(store, made, notify=said.append, **SMALL)
    assert said == [f"The pretraining in {made} is finished, so nothing is left to do."]
    with pytest.raises(WrongUseError, match=r"holds another pretraining \(hidden is 0.6 there and 0.5 here\)"):
        pretrain(store, made, hidden=0.5, **SMALL)
    with pytest.raises(WrongUseError, match=r"train.lr is 0.001 there and 0.002 here"):
        pretrain(store, made, overrides=["train.lr=2e-3"], **SMALL)
    assert (made / "model.safetensors").read_bytes() == before


def test_foreign_and_damaged_files(store, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "model.safetensors").write_bytes(b"somebody's")
    with pytest.raises(ForeignFileError, match=r"model\.safetensors, which seg did not write"):
        pretrain(store, tmp_path / "a", **SMALL)

    def broken(message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(store, tmp_path / "b", notify=broken, **SMALL)
    state = tmp_path / "b" / STATE_FILE
    with safe_open(state, "np") as file:
        about = file.metadata()
    whole = load_file(state)
    save_file({name: value for name, value in whole.items() if not name.endswith("conv1.weight")}, state, about)
    with pytest.raises(ForeignFileError, match=r"state\.safetensors, which .* somebody has changed since"):
        pretrain(store, tmp_path / "b", **SMALL)
    # The same where nobody has changed it, but a disk or a package.
    monkeypatch.setattr("seg.pipeline.pretrain.claimed_folder", lambda *_: nullcontext())
    with pytest.raises(DamagedError, match="another network than this seg builds"):
        pretrain(store, tmp_path / "b", **SMALL)
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(DamagedError, match=r"state\.safetensors is damaged"):
        pretrain(store, tmp_path / "b", **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0.0}, "--hidden 0 is no share of an image"),
        ({"hidden": float("nan")}, "--hidden nan is no share of an image"),
        ({"cell": 0}, "--cell 0 is no edge of squares within 32 pixels; give 1 to 16"),
        ({"cell": 17}, "--cell 17 is no edge"),
        ({"model__arch": "net.py:Net"}, "net.py"),
        ({"model__encoder": "fm-dofa-small"}, "fm-dofa-small was pretrained by those who made it"),
        ({"model__fusion": "dual"}, "pretrain one for each sensor"),
        ({"train__schedule": "plateau"}, "there is none; choose cosine"),
        ({"overrides": ["loss.pixel=focal"]}, "seg pretrain does not look at loss.pixel; leave it out"),
        ({"overrides": ["train.monitor=oa"]}, "seg pretrain does not look at train.monitor; leave it out"),
        ({"train__backscatter_jitter": 1.0, "data__bands": "rgb"}, "train.backscatter_jitter=1 needs bands"),
    ],
)
def test_what_cannot_be_pretrained_is_one_sentence(store, tmp_path, options, message):
    with pytest.raises(SegError, match=message) as raised:
        pretrain(store, tmp_path / "out", **SMALL | options)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_settings_of_a_file_that_have_no_effect_are_named(store, tmp_path):
    (tmp_path / "a.yaml").write_text("train: {keep: last, patience: 0, epochs: 1}\nloss: {label_smoothing: 0.1}\n")
    said = []
    options = {key: value for key, value in SMALL.items() if key != "train__epochs"}
    pretrain(store, tmp_path / "out", config=tmp_path / "a.yaml", notify=said.append, **options)
    assert said[0] == "Pretraining does not look at loss.label_smoothing, train.keep, train.patience."


def test_whoever_stops_it_is_told_that_it_goes_on(store, tmp_path, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("seg.pipeline.pretrain.pretrain", stopped)
    monkeypatch.setattr("sys.argv", ["seg", "pretrain", str(store), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "The same command goes on after the last epoch" in capsys.readouterr().err


def test_the_command_says_what_comes_next_and_that_is_typed(store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = f"pretrain {store} --out 'an encoder' --arch linknet --encoder tu-test_resnet --bands B02,B03 --epochs 1"
    monkeypatch.setattr("sys.argv", ["seg", *shlex.split(words), "--batch-size", "4", "--set", "train.window=32"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    printed = capsys.readouterr().out
    assert "Encoder pretrained on 6 images" in printed.replace("\n", " ")
    following = printed.replace("\n", " ").partition("Next: ")[2].partition(", with")[0]
    assert shlex.split(following) == ["seg", "train", "--weights", "an encoder"]
    more = ["--data", str(store), "--arch", "linknet", "--encoder", "tu-test_resnet", "--bands", "B02,B03"]
    monkeypatch.setattr("sys.argv", [*shlex.split(following), *more, "--epochs", "1", "--out", "run"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)

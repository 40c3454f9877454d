"""Runs that are killed at any step and resumed are those that were never killed; what differs is refused by name."""

import csv
import errno
import json
import random
import shutil
import signal
from pathlib import Path

import forks
import pytest
import torch
from safetensors.torch import load_file

from seg.config.identity import ALLOWABLE
from seg.engine import state
from seg.engine.state import Progress, check_identity
from seg.engine.train import Run
from seg.errors import RunError, WorkerError
from seg.pipeline.train import train
from seg.runs.plan import plan
from seg.runs.preparation import joined_by, prepare

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = {
    "model__arch": "linknet",
    "model__encoder": "tu-test_resnet",
    "model__scene_head": "learned",  # drops out, so the random state matters
    "data__bands": "VV,B04,B08",
    "data__countries": ("Finland", "Austria", "Portugal"),
    "train__epochs": 2,
    "train__batch_size": 2,
    "train__accumulate": 2,
    "train__device": "cpu",
    "train__precision": "float32",
    "train__save_every_steps": 2,
    # All that has a state of its own, or that depends on the epoch.
    "train__ema": 0.9,
    "train__freeze_epochs": 1,
    "train__modality_dropout": 0.5,
    "train__reflectance_jitter": 0.1,
    "train__backscatter_jitter": 1.0,
    "train__cutmix": 0.3,
    "train__copy_paste": 0.3,
    "train__window": 40,
    "data__label_elastic": 20,
    "data__sampling": "rare",
    "data__rare_share": 0.5,
}


@pytest.fixture(scope="module")
def settings(ten_metres):
    return {**SETTINGS, "data__store": str(ten_metres)}


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    """A run that was never killed, and its batches."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(plan(out=folder, **settings))
    return folder, 2 * batches_of(folder)


def batches_of(folder):
    patches = json.loads((folder / "run.json").read_text())["data"]["patches"]["train"]
    return patches // 2


def log_of(folder):
    with (folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("patches_per_second", "seconds")} for row in rows]


def same_tensors(a, b):
    first, second = load_file(a), load_file(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def kill_at(folder, batch, settings):
    said = folder.with_suffix(".txt")
    assert forks.alone(said, forks.train_and_die, folder, batch, settings) == -signal.SIGKILL, said.read_text()


@pytest.mark.parametrize(("seed", "workers"), [(0, 0), (1, 2), (2, 0)])
def test_killed_anywhere_and_resumed_bit_for_bit(settings, whole, tmp_path, seed, workers):
    folder, (expected, batches) = tmp_path / "run", whole
    # In each third of the run, after the state was saved for the first time.
    batch = random.Random(seed).randint(max(6, seed * batches // 3 + 1), (seed + 1) * batches // 3)
    kill_at(folder, batch, settings)
    resumed = plan(out=folder, resume=True, data__workers=workers)
    train(resumed)
    for checkpoint in ("best", "last"):
        for file in (folder / "checkpoints" / checkpoint).glob("*.safetensors"):
            assert same_tensors(file, expected / "checkpoints" / checkpoint / file.name), (checkpoint, file.name)
    assert log_of(folder) == log_of(expected)
    done, ours = (json.loads((run / "run.json").read_text())["training"] for run in (expected, folder))
    assert ours == done
    card, ours = ((run / "checkpoints" / "best" / "card.json").read_text() for run in (expected, folder))
    assert ours == card


def test_killed_between_state_and_log(settings, whole, tmp_path, monkeypatch):
    """The epoch is done as far as the state knows, but the log has no row of it yet."""
    job = plan(out=tmp_path / "run", **settings)

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("seg.report.log.EpochLog.add", die)
        with pytest.raises(Killed):
            train(job)
    assert not (job.folder / "log.csv").is_file()
    train(plan(out=job.folder, resume=True))
    assert log_of(job.folder) == log_of(whole[0])


def test_accumulated_batches_make_one_step(whole):
    record = json.loads((whole[0] / "run.json").read_text())
    batches = batches_of(whole[0])
    assert record["batch"]["effective_batch"] == 4
    assert record["batch"]["lr"] == 0.001
    assert record["batch"]["steps_per_epoch"] == -(-batches // 2)
    assert record["training"]["steps"] == 2 * -(-batches // 2)


@pytest.mark.parametrize("fails", ["save_file", "fsync"])
def test_the_last_good_state_survives_a_full_disk(settings, whole, tmp_path, monkeypatch, fails):
    folder, real_save = tmp_path / "run", state.save_file
    saved = []

    def save(tensors, path):
        saved.append(path)
        if fails == "save_file" and len(saved) > 2:
            path.write_bytes(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device")
        real_save(tensors, path)

    def fsync(descriptor):
        if len(saved) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(state, "save_file", save)
        patched.setattr("os.fsync", fsync)
        with pytest.raises(ValueError, match=r"cannot be written .*No space left.*free space"):
            train(plan(out=folder, **settings))
    progress = json.loads((folder / "checkpoints" / "last" / "state.json").read_text())["progress"]
    assert progress["step"] == 4
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["last"]
    train(plan(out=folder, resume=True))
    assert same_tensors(
        folder / "checkpoints" / "last" / "model.safetensors", whole[0] / "checkpoints" / "last" / "model.safetensors"
    )
    assert log_of(folder) == log_of(whole[0])


def test_moments_are_kept_by_the_names_of_their_parameters(whole):
    last = whole[0] / "checkpoints" / "last"
    weights = load_file(last / "model.safetensors")
    saved = load_file(last / state.TENSORS_FILE)
    moments = {name: value for name, value in saved.items() if name.endswith(".exp_avg")}
    assert moments
    for name, value in moments.items():
        assert weights[name.removeprefix("optimiser.").removesuffix(".exp_avg")].shape == value.shape


def test_a_finished_run_is_left_as_it_is(whole):
    before = {path: path.read_bytes() for path in whole[0].rglob("*") if path.is_file()}
    said: list[str] = []
    result = train(plan(out=whole[0], resume=True), notify=said.append)
    assert any("is finished" in each for each in said)
    assert {path: path.read_bytes() for path in whole[0].rglob("*") if path.is_file()} == before
    assert result.epochs == 2
    assert result.folder == whole[0]


def test_no_pickle_in_a_checkpoint(whole):
    files = [path for path in (whole[0] / "checkpoints").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    for path in files:
        if path.suffix == ".json":
            json.loads(path.read_text())
        else:
            load_file(path)


# --- another run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.lr=0.5"], r"the run has train\.lr=0\.001 and not 0\.5; leave the setting out"),
        (["model.encoder=resnet18"], r"the run has model\.encoder=tu-test_resnet and not resnet18; leave"),
        (["train.epochs=5"], r"the run has train\.epochs=2 and not 5; leave .* or add --allow train\.epochs"),
        (["data.augment=[]"], r"the run has data\.augment=\[\{.*HorizontalFlip.*and not \[\]"),
    ],
)
def test_a_changed_setting_is_named(whole, overrides, message):
    before = {path: path.read_bytes() for path in whole[0].rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=message):
        train(plan(None, overrides, whole[0], resume=True))
    assert {path: path.read_bytes() for path in whole[0].rglob("*") if path.is_file()} == before


def test_other_data_are_named(whole, ten_metres, tmp_path):
    shutil.copytree(ten_metres, tmp_path / "store")
    info = tmp_path / "store" / "store.json"
    document = json.loads(info.read_text())
    mine = document["fingerprint"]
    info.write_text(json.dumps({**document, "fingerprint": "0123456789abcdef"}))
    with pytest.raises(RunError, match=f"trained on the data {mine} and these are 0123456789abcdef"):
        train(plan(out=whole[0], resume=True, data__store=tmp_path / "store"))


def test_what_is_harmless_may_change_if_allowed(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    job = plan(None, ["train.epochs=3", "train.patience=1", "train.save_every_steps=0"], folder, True, ["train.epochs"])
    with pytest.raises(RunError, match=r"train\.patience=5 and not 1; .*--allow train\.patience"):
        train(job)
    job = plan(None, ["train.epochs=3", "train.patience=9"], folder, True, ["train.epochs", "train.patience"])
    assert train(job).epochs == 3
    assert len(log_of(folder)) == 3


def test_what_can_be_allowed():
    run = {"train.lr": 0.1, "train.epochs": 5, "data": "a", "processes": 2}
    check_identity(run, dict(reversed(run.items())), (), Progress())
    with pytest.raises(RunError, match=r"'train\.lr' cannot be allowed to change; what can is train\.epochs,"):
        check_identity(run, {**run, "train.lr": 1.0}, ["train.lr"], Progress())
    with pytest.raises(RunError, match=r"has done 3 epochs already; train\.epochs must be more"):
        check_identity(run, {**run, "train.epochs": 3}, ["train.epochs"], Progress(epoch=3))
    with pytest.raises(RunError, match="has 2 processes and 3 were started; start 2"):
        check_identity(run, {**run, "processes": 3}, ALLOWABLE, Progress())
    # A setting that there was not yet when the run began had its default.
    check_identity(run, {**run, "loss.pixel": "cross_entropy", "data.fraction": 1.0}, (), Progress())
    with pytest.raises(RunError, match=r"has loss\.pixel=cross_entropy and not dice"):
        check_identity(run, {**run, "loss.pixel": "dice"}, (), Progress())
    with pytest.raises(RunError, match=r"has data\.fraction=1\.0 and not 0\.1"):
        check_identity(run, {**run, "data.fraction": 0.1}, (), Progress())


# --- rehearsal -----------------------------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing(settings, tmp_path, monkeypatch):
    from seg.runs.dry_run import dry_run

    monkeypatch.chdir(tmp_path)
    result = dry_run(plan(**settings))
    assert list(tmp_path.iterdir()) == []
    need, batch = result.rehearsal, result.record["batch"]
    assert batch["effective_batch"] == 4
    assert need.epochs == 2
    assert need.steps == batch["steps_per_epoch"]
    assert need.step_seconds * need.steps < need.epoch_seconds
    assert need.run_seconds == pytest.approx(2 * need.epoch_seconds)
    assert need.memory_bytes > 1e8
    assert need.memory_total is None


def test_out_of_memory_names_the_setting(settings, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")

    job = plan(out=tmp_path / "run", **settings)

    def prepared(self):
        original(self)
        self.loss = full

    original = Run.__post_init__
    monkeypatch.setattr(Run, "__post_init__", prepared)
    with pytest.raises(ValueError, match=r"^out of memory; halve train\.batch_size and double train\.accumulate"):
        train(job)


def test_a_run_killed_before_its_first_saving_starts_over(settings, whole, tmp_path):
    folder, (expected, _) = tmp_path / "run", whole
    kill_at(folder, 2, {**settings, "train__save_every_steps": 0})
    assert not (folder / "checkpoints" / "last").exists()
    said = []
    job = plan(out=folder, resume=True, train__save_every_steps=settings.get("train__save_every_steps"))
    train(job, notify=said.append)
    assert any("had saved nothing yet, so it starts from the beginning" in sentence for sentence in said)
    assert same_tensors(folder / "checkpoints/last/model.safetensors", expected / "checkpoints/last/model.safetensors")
    assert log_of(folder) == log_of(expected)


def test_all_that_changed_is_named(settings, whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    with pytest.raises(RunError, match=r"train\.lr=") as caught:
        train(plan(out=folder, resume=True, train__lr=0.5, train__weight_decay=0.5))
    assert any("It also has train.weight_decay=" in note for note in caught.value.__notes__)


def test_a_step_never_averages_more_patches_than_there_are(settings):
    """What the record says of a batch that is larger than the train split."""
    planned = plan(out=Path("unused"), **{**settings, "train__batch_size": 1000, "train__accumulate": 1})
    with joined_by(planned.config) as (ranks, compute):
        prepared = prepare(planned.config, planned.folder, ranks=ranks, compute=compute)
    record = prepared.record()
    assert record["batch"]["effective_batch"] == record["data"]["patches"]["train"] < 1000
    assert record["batch"]["steps_per_epoch"] == 1


def test_statistics_over_processes_need_cuda_even_alone(settings, tmp_path):
    with pytest.raises(WorkerError, match="works on CUDA only"):
        train(plan(out=tmp_path / "run", **settings, train__sync_batchnorm=True))

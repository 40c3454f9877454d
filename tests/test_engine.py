"""Losses, learning rate, training, resuming, evaluation."""

import json
import os
import signal
import threading

import numpy as np
import pytest
import torch

from seg.config.loss import LossConfig
from seg.config.sections import DataConfig, ModelConfig
from seg.config.training import TrainConfig
from seg.data.dataset import PatchDataset
from seg.data.devices import find_device
from seg.data.loader import make_loader
from seg.engine.device import Compute, choose_compute
from seg.engine.evaluate import Pass, evaluate, predict
from seg.engine.losses.joint import JointLoss
from seg.engine.mixing import mixed
from seg.engine.train import Epoch, Interrupted, Run, Step, fit, seed_everything, train_step, training_batches
from seg.errors import RunError, TrainingError, WrongUseError
from seg.metrics.evidence import Origin, total_counts
from seg.metrics.pixel import confusion_counts
from seg.models.card import Data
from seg.models.checkpoint import load_checkpoint, make_card
from seg.models.segmenter import build_segmenter
from seg.reben.bands import BANDS
from seg.store.open import open_store

CPU = Compute(torch.device("cpu"), torch.float32, channels_last=False)


# --- device ------------------------------------------------------------------------------------------------------


def test_device_and_formats():
    compute = choose_compute(TrainConfig(device="cpu", precision="float32"))
    assert (compute.device.type, compute.dtype, compute.channels_last) == ("cpu", torch.float32, False)
    compute = choose_compute(TrainConfig(device="cpu", precision="bfloat16"))
    assert (compute.dtype, compute.channels_last) == (torch.bfloat16, True)
    assert not choose_compute(TrainConfig(device="cpu", precision="bfloat16", channels_last=False)).channels_last
    assert choose_compute(TrainConfig(device="cpu"), gpu=3).device.type == "cpu"
    assert [choose_compute(TrainConfig(device="cpu", compile=c)).compile for c in ("auto", True, False)] == [
        False,
        True,
        False,
    ]
    with pytest.raises(WrongUseError, match="cuda:1 is a single GPU for several processes; use --device cuda"):
        choose_compute(TrainConfig(device="cuda:1"), gpu=0)
    with pytest.raises(WrongUseError, match="'gpu' is no device"):
        find_device("gpu")
    with pytest.raises(WrongUseError, match="cuda:99 is not there"):
        choose_compute(TrainConfig(device="cuda:99"))


# --- training on real patches ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(ten_metres):
    return open_store(ten_metres)


BANDS_USED = ("VV", "B04", "B08")
SMALL = ModelConfig(arch="linknet", encoder="tu-test_resnet")


def make_run(store, folder, patches=8, scene_head="derived", workers=0, data=None, fusion="stack", **settings):
    frozen_encoder = settings.pop("frozen_encoder", False)
    config = TrainConfig(**{"epochs": 2, "batch_size": 3, "patience": 0, "precision": "float32", **settings})
    seed_everything(config.seed, CPU.device)
    model = build_segmenter(SMALL.model_copy(update={"scene_head": scene_head, "fusion": fusion}), BANDS_USED)
    data = DataConfig(bands=BANDS_USED, **(data or {}))
    card = make_card(
        model,
        [(BANDS[b].mean, BANDS[b].std) for b in BANDS_USED],
        "bilinear",
        Data(fingerprint="f", synthetic=False, train_patches=patches),
    )
    return Run(
        model=model,
        loss=JointLoss(LossConfig()),
        train=PatchDataset(store, np.arange(patches), data, augment_seed=config.seed),
        validation=PatchDataset(store, np.arange(40, 44), data),
        origin=Origin("validation", "f", False),
        config=config,
        compute=CPU,
        workers=workers,
        card=card,
        frozen_encoder=frozen_encoder,
        folder=folder,
        identity={"train.lr": 0.001, "data": "f"},
    )


def epochs_of(events):
    return [event for event in events if isinstance(event, Epoch)]


def weights(run):
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def same_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def uninterrupted(store, tmp_path_factory):
    """Epochs and final weights of a run of three epochs."""
    run = make_run(store, tmp_path_factory.mktemp("whole"), epochs=3)
    return epochs_of(fit(run)), weights(run), run.folder


def test_training_learns(store, tmp_path):
    run = make_run(store, tmp_path, patches=4, epochs=12, batch_size=4, lr=3e-3)
    epochs = epochs_of(fit(run))
    assert epochs[-1].losses["loss"] < 0.75 * epochs[0].losses["loss"]
    for epoch in epochs:
        scene = LossConfig().scene_weight * epoch.losses["scene_loss"]
        assert epoch.losses["loss"] == pytest.approx(epoch.losses["pixel_loss"] + scene, rel=1e-5)


def test_the_same_seed_gives_the_same_run(store, tmp_path, uninterrupted):
    run = make_run(store, tmp_path, epochs=3)
    epochs = epochs_of(fit(run))
    assert same_weights(weights(run), uninterrupted[1])
    assert [e.losses for e in epochs] == [e.losses for e in uninterrupted[0]]
    assert [e.scores for e in epochs] == [e.scores for e in uninterrupted[0]]
    other = make_run(store, tmp_path / "other", epochs=3, seed=1)
    assert not same_weights(weights(other), uninterrupted[1])


@pytest.mark.parametrize(("stop_after", "workers"), [(1, 0), (2, 0), (3, 2)])
def test_a_stopped_run_continues_bit_for_bit(store, tmp_path, uninterrupted, stop_after, workers, monkeypatch):
    """Stopped in the first epoch, at its end (2 steps) and in the second; the rest with other loader processes."""
    monkeypatch.setattr("seg.engine.train._REPORT_EVERY", 1)
    run = make_run(store, tmp_path, epochs=3)
    seen = []

    def train():
        for event in fit(run):
            seen.append(event)
            if run.progress.step == stop_after and isinstance(event, Step):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train()
    assert run.progress.step >= stop_after
    torch.rand(7)  # whatever happens in between must not matter
    resumed = make_run(store, tmp_path, epochs=3, workers=workers)
    epochs = epochs_of(seen) + epochs_of(fit(resumed, resume=True))
    assert same_weights(weights(resumed), uninterrupted[1])
    assert [e.losses for e in epochs] == [e.losses for e in uninterrupted[0]]
    assert [e.scores for e in epochs] == [e.scores for e in uninterrupted[0]]
    best, _ = load_checkpoint(tmp_path / "best")
    expected, _ = load_checkpoint(uninterrupted[2] / "best")
    assert same_weights(best.state_dict(), expected.state_dict())


@pytest.mark.parametrize("fusion", ["stack", "dual"])
def test_a_stopped_run_loses_the_same_sensors_again(store, tmp_path, fusion, monkeypatch):
    monkeypatch.setattr("seg.engine.train._REPORT_EVERY", 1)
    how = {"fusion": fusion, "modality_dropout": 0.6, "patches": 9}
    whole = make_run(store, tmp_path / "whole", **how)
    epochs = epochs_of(fit(whole))
    run = make_run(store, tmp_path / "stopped", **how)

    def train():
        for event in fit(run):
            if run.progress.step == 4 and isinstance(event, Step):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="in epoch 2 after step 5"):
        train()
    resumed = make_run(store, tmp_path / "stopped", workers=1, **how)
    again = epochs_of(fit(resumed, resume=True))
    assert same_weights(weights(resumed), weights(whole))
    assert again[-1].losses == epochs[-1].losses
    seeing = make_run(store, tmp_path / "seeing", fusion=fusion)
    list(fit(seeing))
    assert not same_weights(weights(seeing), weights(whole))


def test_training_sees_mixed_patches(store, tmp_path):
    """Network and loss get what `mixed` makes of the batch; another epoch has another mixture."""
    run = make_run(store, tmp_path, patches=6, batch_size=6, cutmix=0.5, copy_paste=0.5)
    batch = next(training_batches(run, make_loader(run.train, run.order, 0)))
    seen, loss = [], run.loss

    def watched(pixel_logits, scene_logits, target, labels):
        seen.extend((target, labels))
        return loss(pixel_logits, scene_logits, target, labels)

    run.loss = watched
    run.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    run.begin_step(torch.zeros(3, dtype=torch.float64))
    train_step(run, batch)
    expected = mixed(batch, run.config, 0)
    for one, other in zip(seen, (expected.images_BCHW, expected.masks_BHW.long(), expected.labels_BK), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(expected.images_BCHW, batch.images_BCHW)
    assert not torch.equal(expected.images_BCHW, mixed(batch, run.config, 1).images_BCHW)


def test_signals_keep_their_handlers_afterwards(store, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    list(fit(make_run(store, tmp_path, patches=2, epochs=1)))
    assert signal.getsignal(signal.SIGINT) is before


def test_training_works_outside_of_the_main_thread(store, tmp_path):
    done = []
    thread = threading.Thread(target=lambda: done.extend(fit(make_run(store, tmp_path, patches=2, epochs=1))))
    thread.start()
    thread.join()
    assert len(epochs_of(done)) == 1


def test_a_finished_run_has_nothing_left_to_do(store, uninterrupted):
    run = make_run(store, uninterrupted[2], epochs=3)
    assert list(fit(run, resume=True)) == []
    assert run.progress.epoch == 3


def test_resuming_something_else_is_refused(store, tmp_path, uninterrupted):
    run = make_run(store, uninterrupted[2], epochs=3)
    run.identity = {"train.lr": 0.5, "data": "f"}
    with pytest.raises(RunError, match=r"the run has train\.lr=0\.001 and not 0\.5"):
        list(fit(run, resume=True))
    with pytest.raises(RunError, match="no state to resume"):
        list(fit(make_run(store, tmp_path), resume=True))


@pytest.mark.parametrize("damage", ["json", "tensors", "weights"])
def test_a_damaged_state_is_one_sentence(store, tmp_path, damage):
    list(fit(make_run(store, tmp_path, patches=2, epochs=1)))
    file = (
        tmp_path
        / "last"
        / {"json": "state.json", "tensors": "state.safetensors", "weights": "model.safetensors"}[damage]
    )
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match="damaged") as caught:
        list(fit(make_run(store, tmp_path, patches=2, epochs=1), resume=True))
    assert "\n" not in str(caught.value)


def test_early_stop_and_best(store, tmp_path, monkeypatch):
    scores = iter([0.2, 0.5, 0.5, float("nan"), 0.4, 0.9])
    monkeypatch.setattr("seg.engine.train.headline", lambda _: {"miou": next(scores)})
    epochs = epochs_of(fit(make_run(store, tmp_path, patches=2, epochs=9, patience=3)))
    assert [e.best for e in epochs] == [True, True, False, False, False]
    _, card = load_checkpoint(tmp_path / "best")
    assert (card.training.epoch, card.training.score, card.training.monitor) == (1, 0.5, "miou")
    assert json.loads((tmp_path / "last" / "state.json").read_text())["progress"]["best_score"] == 0.5


def test_the_last_epoch_is_kept_if_asked_for_whatever_it_scored(store, tmp_path, monkeypatch):
    scores = iter([0.2, 0.5, 0.5, float("nan"), 0.4])
    monkeypatch.setattr("seg.engine.train.headline", lambda _: {"miou": next(scores)})
    run = make_run(store, tmp_path, patches=2, epochs=9, patience=3, keep="last")
    epochs = epochs_of(fit(run))
    assert [e.best for e in epochs] == [True] * 5, "stops by the best score all the same"
    best, card = load_checkpoint(tmp_path / "best")
    assert (card.training.epoch, card.training.score) == (4, 0.4)
    assert same_weights(best.state_dict(), weights(run))
    assert (run.progress.best_epoch, run.progress.best_score) == (4, 0.4)


def test_an_undefined_score_still_leaves_weights(store, tmp_path, monkeypatch):
    scores = iter([float("nan"), 0.1])
    monkeypatch.setattr("seg.engine.train.headline", lambda _: {"miou": next(scores)})
    epochs = epochs_of(fit(make_run(store, tmp_path, patches=2, epochs=2)))
    assert [e.best for e in epochs] == [True, True]


def test_a_compiled_network_trains_as_the_plain_one(store, tmp_path, uninterrupted):
    """Without a code generator, so that a compiler is not needed: what is traced is the network."""
    torch._dynamo.reset()
    run = make_run(store, tmp_path, epochs=3)
    traced = []

    def backend(graph, _):
        traced.append(graph)
        return graph.forward

    run.network = torch.compile(run.model, backend=backend, fullgraph=True)
    epochs = epochs_of(fit(run))
    assert traced
    assert same_weights(weights(run), uninterrupted[1])
    assert [e.scores for e in epochs] == [e.scores for e in uninterrupted[0]]


def test_max_steps_ends_the_run(store, tmp_path):
    run = make_run(store, tmp_path, epochs=50, max_steps=3)
    epochs = epochs_of(fit(run))
    assert (run.progress.step, len(epochs), run.total_steps) == (3, 2, 3)


OPTIONS = [
    {"ema": 0.9, "optimiser": "sgd", "lr": 0.05, "nesterov": True, "schedule": "plateau", "plateau_epochs": 1},
    {"ema": 0.99, "layer_decay": 0.7, "encoder_lr_scale": 0.5, "schedule": "poly", "clip_norm": 0},
    {"freeze_epochs": 1, "schedule": "constant", "data": {"sampling": "rare", "rare_share": 1.0, "order": "blocks"}},
    {"freeze_epochs": 2, "optimiser": "sgd", "lr": 0.01, "data": {"sampling": "rare", "rare_share": 0.9}},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_stopped_run_with_options_continues_bit_for_bit(store, tmp_path, options, monkeypatch):
    """Stopped in the middle of the first, the second and the third epoch."""
    monkeypatch.setattr("seg.engine.train._REPORT_EVERY", 1)
    # Scores that fall: the best epoch is the first, and a plateau begins at once.
    monkeypatch.setattr("seg.engine.train.headline", lambda _: {"miou": 0.5 - 0.1 * current.progress.epoch})
    current = whole = make_run(store, tmp_path / "whole", patches=6, epochs=3, **options)
    expected = epochs_of(fit(whole))
    seen = []
    for stop_after in (1, 3, 5, None):
        current = make_run(store, tmp_path / "parts", patches=6, epochs=3, **options)

        def train(run, stop):
            for event in fit(run, resume=stop != 1):
                seen.append(event)
                if run.progress.step == stop and isinstance(event, Step):
                    os.kill(os.getpid(), signal.SIGINT)

        if stop_after is None:
            train(current, None)
        else:
            with pytest.raises(Interrupted):
                train(current, stop_after)
        torch.rand(5)
    epochs = epochs_of(seen)
    assert [(e.losses, e.lr) for e in epochs] == [(e.losses, e.lr) for e in expected]
    for network in ("model", "scored"):
        one, other = getattr(current, network).state_dict(), getattr(whole, network).state_dict()
        assert all(torch.equal(one[name], other[name]) for name in other), network
    for name in ("best", "last"):
        one, other = (load_checkpoint(tmp_path / run / name)[0].state_dict() for run in ("parts", "whole"))
        assert all(torch.equal(one[key], other[key]) for key in other), name


def test_the_average_is_what_is_scored_and_saved(store, tmp_path, monkeypatch):
    scored = []
    real = evaluate

    def spy(model, *args, **kwargs):
        scored.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return real(model, *args, **kwargs)

    monkeypatch.setattr("seg.engine.train.evaluate", spy)
    run = make_run(store, tmp_path, patches=6, epochs=1, ema=0.999)
    weights_seen = [weights(run)]
    step = run.optimiser.step

    def spy_step(*args):
        step(*args)
        weights_seen.append(weights(run))

    monkeypatch.setattr(run.optimiser, "step", spy_step)
    list(fit(run))
    # timm's warm-up: the first step is taken as it is, the second with the decay 1 - 2^(-2/3).
    share = 2 ** (-2 / 3)
    for name, average in scored[0].items():
        if average.is_floating_point():
            expected = weights_seen[1][name] + share * (weights_seen[2][name] - weights_seen[1][name])
            torch.testing.assert_close(average, expected, rtol=1e-5, atol=1e-6)
    best, _ = load_checkpoint(tmp_path / "best")
    assert same_weights(best.state_dict(), scored[0])
    last, _ = load_checkpoint(tmp_path / "last")
    assert same_weights(last.state_dict(), weights(run))
    assert not same_weights(best.state_dict(), last.state_dict())


def test_a_state_without_the_average_that_is_asked_for(store, tmp_path):
    list(fit(make_run(store, tmp_path, patches=2, epochs=1)))
    with pytest.raises(RunError, match="damaged"):
        list(fit(make_run(store, tmp_path, patches=2, epochs=1, ema=0.9), resume=True))


def test_a_frozen_encoder_stays_to_the_last_bit(store, tmp_path):
    run = make_run(store, tmp_path, patches=6, epochs=2, freeze_epochs=1)
    before = weights(run)
    for event in fit(run):
        if isinstance(event, Epoch):
            after = weights(run)
            moved = {name for name in before if not torch.equal(before[name], after[name])}
            encoder = {name for name in before if name.startswith("network.encoder.")}
            assert moved & encoder == (set() if event.epoch == 0 else moved & encoder)
            assert bool(moved & encoder) == (event.epoch == 1)
            assert moved - encoder
    assert any("running_mean" in name for name in moved & encoder)


@pytest.mark.parametrize("fusion", ["stack", "dual"])
def test_an_encoder_that_never_learns_takes_nothing(store, tmp_path, fusion):
    run = make_run(store, tmp_path, patches=6, epochs=2, fusion=fusion, frozen_encoder=True)
    roots = ["network.encoder."] if fusion == "stack" else [f"network.encoder.encoders.{one}." for one in ("s1", "s2")]
    before = weights(run)
    frozen = {name for name in before if name.startswith(tuple(roots))}
    list(fit(run))
    after = weights(run)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert frozen
    assert not moved & frozen
    assert moved
    # Neither gradients nor moments are kept, and nothing that gradients of the encoder would be computed from.
    named = dict(run.model.named_parameters())
    assert all(named[name].grad is None and named[name] not in run.optimiser.state for name in frozen & named.keys())
    assert run.parameters_trained == sum(p.numel() for name, p in named.items() if name not in frozen)
    features = []
    encoder = run.model.get_submodule(roots[0].removesuffix("."))
    handle = encoder.register_forward_hook(lambda _module, _inputs, output: features.extend(output))
    run.model.train()
    run.begin_epoch()
    run.model(torch.randn(2, len(BANDS_USED), 120, 120))
    handle.remove()
    assert features
    assert not any(feature.requires_grad for feature in features)


def test_plateau_lowers_the_rate_of_the_run(store, tmp_path, monkeypatch):
    scores = iter([0.5, 0.4, 0.4, 0.6, 0.6])
    monkeypatch.setattr("seg.engine.train.headline", lambda _: {"miou": next(scores)})
    options = {"schedule": "plateau", "plateau_epochs": 2, "plateau_factor": 0.1, "warmup": 0.0, "lr": 0.01}
    epochs = epochs_of(fit(make_run(store, tmp_path, patches=2, epochs=5, **options)))
    assert [epoch.lr for epoch in epochs] == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.001])


class Spoil:
    """A loss that is not finite at some call, or whose gradient is not."""

    def __init__(self, at, what):
        self.loss, self.calls, self.at, self.what = JointLoss(LossConfig()), 0, at, what

    def __call__(self, pixel_logits, *others):
        self.calls += 1
        if self.calls == self.at and self.what == "gradient":
            # The slope of a square root at 0 has no bound, its value is fine.
            total, pixel, scene = self.loss(pixel_logits, *others)
            return total + (pixel_logits * 0).square().sqrt().sum(), pixel, scene
        parts = self.loss(pixel_logits, *others)
        return tuple(part * float(self.what) for part in parts) if self.calls == self.at else parts


@pytest.mark.parametrize(
    ("what", "options"),
    [("nan", {}), ("inf", {"optimiser": "sgd", "lr": 0.01}), ("gradient", {"clip_norm": 0, "ema": 0.9})],
    ids=str,
)
def test_a_step_that_is_not_finite_leaves_the_run_as_it_was(store, tmp_path, what, options, monkeypatch):
    """Fails in the second epoch; the resumed run, where all is well, ends as one that never failed."""
    monkeypatch.setattr("seg.engine.train._REPORT_EVERY", 1)
    whole = make_run(store, tmp_path / "whole", patches=6, epochs=2, scene_head="learned", **options)
    expected = epochs_of(fit(whole))
    run = make_run(store, tmp_path / "run", patches=6, epochs=2, scene_head="learned", **options)
    run.loss = Spoil(4, what)
    run.order.epoch = 1
    keys = list(run.order)
    run.order.epoch = 0
    with pytest.raises(TrainingError, match="no longer finite at step 4, in epoch 2") as caught:
        list(fit(run))
    assert "\n" not in str(caught.value)
    assert "--resume" in str(caught.value)
    ids = run.train.patch_ids(run.train.rows[list(keys[1].positions)])
    assert all(patch_id in str(caught.value) for patch_id in ids)
    assert json.loads((tmp_path / "run" / "not_finite.json").read_text())["patch_ids"] == ids
    assert (run.progress.step, run.progress.epoch, run.progress.batch) == (3, 1, 1)
    resumed = make_run(store, tmp_path / "run", patches=6, epochs=2, scene_head="learned", **options)
    assert [e.losses for e in epochs_of(fit(resumed, resume=True))] == [expected[1].losses]
    assert same_weights(weights(resumed), weights(whole))
    assert same_weights(resumed.scored.state_dict(), whole.scored.state_dict())


def test_a_first_step_that_is_not_finite_can_be_resumed(store, tmp_path):
    run = make_run(store, tmp_path, patches=3, epochs=1)
    before = weights(run)
    run.loss = Spoil(1, "nan")
    with pytest.raises(TrainingError, match="no longer finite at step 1, in epoch 1"):
        list(fit(run))
    assert same_weights(weights(run), before)
    assert len(epochs_of(fit(make_run(store, tmp_path, patches=3, epochs=1), resume=True))) == 1


def test_scene_scores_need_a_scene_head(store, tmp_path):
    run = make_run(store, tmp_path, scene_head="none", monitor="ap_macro")
    with pytest.raises(TrainingError, match="needs a scene head"):
        list(fit(run))


@pytest.mark.parametrize("head", ["learned", "none"])
def test_every_scene_head_trains(store, tmp_path, head):
    epochs = epochs_of(fit(make_run(store, tmp_path, patches=3, epochs=1, scene_head=head)))
    assert ("ap_macro" in epochs[0].scores) == (head == "learned")


# --- evaluation ------------------------------------------------------------------------------------------------------


def test_evidence_does_not_depend_on_batches_or_processes(store):
    torch.manual_seed(0)
    model = build_segmenter(SMALL, BANDS_USED)
    dataset = PatchDataset(store, np.arange(7), DataConfig(bands=BANDS_USED))
    origin = Origin("test", "f", False)
    one = evaluate(model, dataset, origin, Pass(CPU, 1))
    all_at_once = evaluate(model, dataset, origin, Pass(CPU, 7, workers=2))
    assert one.patch_ids.to_pylist() == sorted(dataset.patch_ids(np.arange(7)))
    assert (total_counts(one) == total_counts(all_at_once)).all()
    np.testing.assert_allclose(one.probabilities, all_at_once.probabilities, atol=1e-5)
    assert (one.labels == all_at_once.labels).all()


def test_evidence_is_what_the_network_says(store):
    torch.manual_seed(0)
    model = build_segmenter(SMALL, BANDS_USED)
    dataset = PatchDataset(store, np.arange(5), DataConfig(bands=BANDS_USED))
    evidence = evaluate(model, dataset, Origin("test", "f", False), Pass(CPU, 2))
    counts = np.zeros((19, 19), np.int64)
    for prediction in predict(model, dataset, Pass(CPU, 5)):
        predicted = prediction.pixel_logits_BKHW.argmax(1)
        counts += confusion_counts(prediction.batch.masks_BHW, predicted).sum(0).numpy()
    assert (total_counts(evidence) == counts).all()
    assert counts.sum() == sum((m != 255).sum() for m in prediction.batch.masks_BHW).item()
    assert model.training

"""Losses, learning rate, training, resuming, evaluation."""

import json
import os
import signal
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from seg.config.sections import DataConfig, LossConfig, ModelConfig, TrainConfig
from seg.data.dataset import PatchDataset
from seg.engine.device import Compute, DeviceError, choose_compute
from seg.engine.evaluate import Pass, evaluate, predict
from seg.engine.losses import PIXEL_LOSSES, JointLoss, UnknownLossError, cross_entropy
from seg.engine.optimiser import learning_rate, make_optimiser
from seg.engine.state import ResumeError
from seg.engine.train import Epoch, Interrupted, Run, Step, TrainingError, fit, seed_everything
from seg.metrics.evidence import Origin, total_counts
from seg.metrics.pixel import confusion_counts
from seg.models.checkpoint import Data, load_checkpoint, make_card
from seg.models.segmenter import build_segmenter
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.bands import BANDS
from seg.store.open import open_store

CPU = Compute(torch.device("cpu"), torch.float32, channels_last=False)


# --- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(PIXEL_LOSSES))
def test_unlabelled_pixels_take_no_part(name):
    torch.manual_seed(0)
    logits = torch.randn(2, 19, 12, 12, requires_grad=True)
    target = torch.randint(0, 19, (2, 12, 12))
    target[:, :5] = 255
    loss = PIXEL_LOSSES[name](logits, target)
    loss.backward()
    assert loss.item() > 0
    assert (logits.grad[:, :, :5] == 0).all()
    assert (logits.grad[:, :, 5:] != 0).any()
    changed = logits.detach().clone()
    changed[:, :, :5] += 100 * torch.randn(2, 19, 5, 12)
    assert PIXEL_LOSSES[name](changed, target).item() == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("name", list(PIXEL_LOSSES))
def test_a_batch_without_labels_has_loss_zero(name):
    logits = torch.randn(2, 19, 8, 8, requires_grad=True)
    loss = PIXEL_LOSSES[name](logits, torch.full((2, 8, 8), 255))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", list(PIXEL_LOSSES))
def test_a_right_mask_costs_less_than_a_wrong_one(name):
    target = torch.randint(0, 19, (2, 8, 8))
    right = 20 * functional.one_hot(target, 19).movedim(-1, 1).float()
    assert PIXEL_LOSSES[name](right, target) < 0.01 < PIXEL_LOSSES[name](right.roll(1, 1), target)


def test_cross_entropy_is_torch_s_mean_over_labelled_pixels():
    logits, target = torch.randn(3, 19, 6, 6), torch.randint(0, 19, (3, 6, 6))
    target[0] = 255
    expected = functional.cross_entropy(logits, target, ignore_index=255)
    assert cross_entropy(logits, target).item() == pytest.approx(expected.item(), rel=1e-5)


def test_joint_loss_adds_up():
    logits, scene = torch.randn(2, 19, 8, 8), torch.randn(2, 19)
    target, labels = torch.randint(0, 19, (2, 8, 8)), torch.randint(0, 2, (2, 19)).float()
    total, pixel, scenic = JointLoss(LossConfig(scene_weight=0.3))(logits, scene, target, labels)
    assert total.item() == pytest.approx(pixel.item() + 0.3 * scenic.item())
    assert scenic.item() == pytest.approx(functional.binary_cross_entropy_with_logits(scene, labels).item())
    total, pixel, scenic = JointLoss(LossConfig())(logits, None, target, labels)
    assert (total.item(), scenic.item()) == (pixel.item(), 0)


def test_unknown_losses_are_named():
    with pytest.raises(UnknownLossError, match="'cross_entrophy' is no pixel loss; did you mean cross_entropy"):
        JointLoss(LossConfig(pixel="cross_entrophy"))
    with pytest.raises(UnknownLossError, match="'mse' is no scene loss"):
        JointLoss(LossConfig(scene="mse"))


# --- optimiser and device --------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.integers(1, 500), st.floats(0, 1))
def test_learning_rate_rises_then_falls(total, warmup):
    config = TrainConfig(lr=0.1, warmup=warmup)
    rates = [learning_rate(step, total, config) for step in range(total)]
    peak = round(warmup * total)
    assert all(0 < rate <= 0.1 + 1e-9 for rate in rates)
    assert all(a < b for a, b in pairwise(rates[:peak]))
    assert all(a >= b for a, b in pairwise(rates[peak:]))
    assert max(rates) == pytest.approx(0.1)


def test_cosine_against_torch():
    config = TrainConfig(lr=0.1, warmup=0.0)
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 30)
    for step in range(30):
        assert learning_rate(step, 30, config) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()


def test_norms_and_biases_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    decayed, free = make_optimiser(model, TrainConfig(weight_decay=0.5)).param_groups
    assert [p.shape for p in decayed["params"]] == [model[0].weight.shape]
    assert (decayed["weight_decay"], free["weight_decay"], len(free["params"])) == (0.5, 0.0, 3)


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
    with pytest.raises(DeviceError, match="cuda:1 is a single GPU for several processes; use --device cuda"):
        choose_compute(TrainConfig(device="cuda:1"), gpu=0)
    with pytest.raises(DeviceError, match="'gpu' is no device"):
        choose_compute(TrainConfig(device="gpu"))
    with pytest.raises(DeviceError, match="cuda:99 is not there"):
        choose_compute(TrainConfig(device="cuda:99"))


# --- training on real patches ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(real, tmp_path_factory):
    out = tmp_path_factory.mktemp("engine") / "store"
    build_store(published_sources(real / "reben-10m-80"), out, resplit="tile")
    return open_store(out)


BANDS_USED = ("VV", "B04", "B08")
SMALL = ModelConfig(arch="linknet", encoder="tu-test_resnet")


def make_run(store, folder, patches=8, scene_head="derived", workers=0, **settings):
    config = TrainConfig(**{"epochs": 2, "batch_size": 3, "patience": 0, "precision": "float32", **settings})
    seed_everything(config.seed, CPU.device)
    model = build_segmenter(SMALL.model_copy(update={"scene_head": scene_head}), BANDS_USED)
    data = DataConfig(bands=BANDS_USED)
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
        assert epoch.losses["loss"] == pytest.approx(epoch.losses["pixel_loss"] + epoch.losses["scene_loss"], rel=1e-5)


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
    with pytest.raises(ResumeError, match=r"the run has train\.lr=0\.001 and not 0\.5"):
        list(fit(run, resume=True))
    with pytest.raises(ResumeError, match="no state to resume"):
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


def test_a_loss_that_is_not_finite_stops_the_run(store, tmp_path):
    run = make_run(store, tmp_path)
    run.loss = lambda *_: (torch.tensor(float("nan"), requires_grad=True),) * 3
    with pytest.raises(TrainingError, match=r"no longer finite at step 2; lower the learning rate"):
        list(fit(run))


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

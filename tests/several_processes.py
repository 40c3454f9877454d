"""What test_distributed.py runs in each of several processes."""

import hashlib
import json
import os
import signal
import warnings
from copy import deepcopy

import numpy as np
import torch

from seg.config.loss import LossConfig
from seg.config.sections import DataConfig, ModelConfig
from seg.config.training import TrainConfig
from seg.data.dataset import PatchDataset
from seg.engine.device import Compute
from seg.engine.distributed import check_shares, joined, started_ranks
from seg.engine.evaluate import Pass, evaluate
from seg.engine.losses.joint import JointLoss
from seg.engine.stopping import Interrupted
from seg.engine.train import Epoch, Run, fit, seed_everything, train_step, training_batches
from seg.errors import TrainingError, WorkerError
from seg.metrics.collection import metric_collection
from seg.metrics.evidence import Origin
from seg.metrics.evidence_file import pack_evidence
from seg.models.card import Data
from seg.models.checkpoint import make_card
from seg.models.segmenter import build_segmenter
from seg.reben.bands import BANDS
from seg.store.open import open_store

CPU = Compute(torch.device("cpu"), torch.float32, channels_last=False)
USED = ("VV", "B04", "B08")
TRAINED = 18
SCORED = 7

ALL = {"fusion": "dual", "ema": 0.9, "freeze_epochs": 1, "modality_dropout": 0.5, "batch_size": 1, "accumulate": 2}
"""Settings of training on which several processes must agree."""


def make_run(store, folder, ranks, fusion="stack", **settings):
    config = TrainConfig(**{"epochs": 2, "batch_size": 2, "patience": 0, "precision": "float32", **settings})
    seed_everything(config.seed, CPU.device)
    network = ModelConfig(arch="linknet", encoder="tu-test_resnet", scene_head="learned", fusion=fusion)
    model = build_segmenter(network, USED)
    torch.manual_seed(ranks.rank)
    data = DataConfig(bands=USED, sampling="rare", rare_share=0.5)
    statistics = [(BANDS[band].mean, BANDS[band].std) for band in USED]
    return Run(
        model=model,
        loss=JointLoss(LossConfig()),
        train=PatchDataset(store, np.arange(TRAINED), data, augment_seed=config.seed),
        validation=PatchDataset(store, np.arange(40, 40 + SCORED), data),
        origin=Origin("validation", "f", False),
        config=config,
        compute=CPU,
        workers=0,
        card=make_card(model, statistics, "bilinear", Data(fingerprint="f", synthetic=False, train_patches=TRAINED)),
        folder=folder,
        identity={"processes": ranks.count},
        ranks=ranks,
    )


def score(store, ranks, batch_size):
    """Evidence of an untrained network, details included, as bytes."""
    torch.manual_seed(0)
    model = build_segmenter(ModelConfig(arch="linknet", encoder="tu-test_resnet"), USED)
    dataset = PatchDataset(store, np.arange(40, 40 + SCORED), DataConfig(bands=USED))
    origin = Origin("validation", "f", False, temperature=1.5)
    return pack_evidence(evaluate(model, dataset, origin, Pass(CPU, batch_size, ranks=ranks), detailed=True))


def digest(run):
    """Changes with every bit of the weights and of their average."""
    hashed = hashlib.blake2b(digest_size=16)
    for network in (run.model, run.scored):
        for tensor in network.state_dict().values():
            hashed.update(tensor.numpy().tobytes())
    return hashed.hexdigest()


def same_everywhere(ranks, values):
    return len(set(ranks.gather(json.dumps(values).encode()))) == 1


def averaged_gradients(store, folder, ranks):
    """The largest difference between the gradients of two batches and those that plain arithmetic gives."""
    run = make_run(store, folder, ranks, accumulate=2, clip_norm=0)
    plain, network = deepcopy(run.model), run.network
    # Without dropout, and with the gradients kept.
    run.optimiser.step = lambda: None
    run.optimiser.zero_grad = lambda set_to_none: None
    run.model.train()
    plain.train()
    for module in (*run.model.modules(), *plain.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert network is not run.model or ranks.count == 1
    batches = training_batches(run, _loader(run))
    for _ in range(2):
        batch = next(batches)
        pixel, scene = plain(batch.images_BCHW)
        loss, _, _ = run.loss(pixel, scene, batch.masks_BHW.long(), batch.labels_BK)
        (loss / 2).backward()
        train_step(run, batch)
        run.progress.batch += 1
    worst = 0.0
    for mine, reduced in zip(plain.parameters(), run.model.parameters(), strict=True):
        parts = [np.frombuffer(part, np.float32) for part in ranks.gather(mine.grad.numpy().tobytes())]
        worst = max(worst, float(np.abs(np.mean(parts, 0) - reduced.grad.numpy().ravel()).max()))
    return worst


def _loader(run):
    from seg.data.loader import make_loader

    return make_loader(run.train, run.order, 0)


def interrupted(store, folder, ranks):
    """Train, be stopped in the first epoch by a signal to the last process alone, and resume."""
    run = make_run(store, folder, ranks, **ALL)
    stopped = None
    original = run.loss

    def loss(*arguments):
        if ranks.rank == ranks.count - 1 and run.progress.batch == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    run.loss = loss
    try:
        list(fit(run))
    except Interrupted as reason:
        stopped = str(reason)
    resumed = make_run(store, folder, ranks, **ALL)
    epochs = [event for event in fit(resumed, resume=True) if isinstance(event, Epoch)]
    return stopped, digest(resumed), epochs[-1].losses


def spoiled(store, folder, ranks):
    """Train with a loss that is not finite in one batch of the last process, in the first epoch, and resume."""
    run = make_run(store, folder, ranks, **ALL)
    original, spoiled_ids = run.loss, []

    def loss(logits, *others):
        total, pixel, scene = original(logits, *others)
        if ranks.rank == ranks.count - 1 and run.progress.batch == 2:
            return total * float("inf"), pixel, scene
        return total, pixel, scene

    watch = run.guard.watch

    def spy(total, rows_B):
        if run.progress.batch == 2:
            spoiled_ids.extend(run.train.patch_ids(rows_B.numpy()))
        return watch(total, rows_B)

    run.loss, run.guard.watch = loss, spy
    try:
        list(fit(run))
        said = ""
    except TrainingError as error:
        said = str(error)
    ids = json.loads(ranks.gather(json.dumps(spoiled_ids).encode())[-1])
    ranks.wait()
    listed = json.loads((folder / "not_finite.json").read_text())
    resumed = make_run(store, folder, ranks, **ALL)
    list(fit(resumed, resume=True))
    agreed = same_everywhere(ranks, [said, run.progress.step])
    return {"said": said, "ids": ids, "listed": listed, "agreed": agreed, "resumed": digest(resumed)}


def main(store_folder, out):
    torch.set_num_threads(1)
    store = open_store(store_folder)
    with joined(started_ranks(), CPU.device) as ranks:
        packed = score(store, ranks, 2)
        document = {"count": ranks.count, "gradients": averaged_gradients(store, out / "gradients", ranks)}
        run = make_run(store, out / "whole", ranks, **ALL)
        events = [event for event in fit(run) if isinstance(event, Epoch)]
        document["whole"] = digest(run)
        document["losses"] = events[-1].losses
        document["agreed"] = same_everywhere(ranks, [digest(run), events[-1].losses, events[-1].scores])
        document["stopped"], document["resumed"], document["resumed_losses"] = interrupted(store, out / "cut", ranks)
        document["spoiled"] = spoiled(store, out / "spoiled", ranks)
        document["patches"] = sorted(part.decode() for part in ranks.gather(str(len(run.order)).encode()))
        document["sizes"] = [len(part) for part in ranks.gather(b"x" * ranks.rank)]
        document["total"] = ranks.total([ranks.rank + 0.5])
        try:
            check_shares(5, 3, ranks, "train", "")
            document["refused"] = ""
        except WorkerError as error:
            document["refused"] = str(error)
        if ranks.first:
            (out / "evidence.parquet").write_bytes(packed)
            (out / "document.json").write_text(json.dumps(document))


def collect(folder):
    """The scores of collections that several processes feed with what test_distributed.py has laid out for each."""
    shares = torch.load(folder / "shares.pt", weights_only=True)
    found = {}
    with joined(started_ranks(), CPU.device) as ranks, warnings.catch_warnings():
        # A process without a patch is told that it has seen none.
        warnings.simplefilter("ignore", UserWarning)
        for kind, batches in shares.items():
            named, bare = metric_collection(), metric_collection()
            for batch in batches[ranks.rank]:
                named.update(**batch)
                bare.update(**{key: part for key, part in batch.items() if key != "patch_id"})
            for ending, scores in (("", named), (" without names", bare)):
                found[kind + ending] = {name: value.item() for name, value in scores.compute().items()}
        (folder / f"{ranks.rank}.json").write_text(json.dumps(found))


def only_score(store_folder, out):
    """The evidence alone."""
    with joined(started_ranks(), CPU.device) as ranks:
        packed = score(open_store(store_folder), ranks, 2)
    if ranks.first:
        (out / "evidence.parquet").write_bytes(packed)

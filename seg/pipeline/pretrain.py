"""Pretrain an encoder on the images of a store, without a label: from a configuration to a file of weights."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seg.config.identity import settings_of_run
from seg.config.installed import require_device
from seg.config.load import load_config
from seg.config.paths import AnyPath, path_or_none
from seg.config.sections import Config
from seg.config.track import Notify, Track, ignore, silent
from seg.config.wording import counted
from seg.data.transforms import check_augmentation
from seg.engine.radiometry import check_jitter
from seg.errors import EmptySelectionError, WrongUseError
from seg.foundation.catalogue import is_foundation
from seg.models.architectures import check_encoder, find_architecture
from seg.models.weights_catalogue import check_weights
from seg.models.weights_file import WEIGHTS_FILE
from seg.pretraining.encoder_file import FILES, RECORD_FILE, STATE_FILE, look
from seg.reben.patch import SPLITS
from seg.report.record import run_record, write_json
from seg.runs.data import open_named_store, split_rows
from seg.runs.plan import with_whole_model
from seg.store.atomic import remove_file
from seg.store.index import Rows
from seg.store.open import INFO_FILE, Store
from seg.store.targets import claimed_folder, require_own_folder, require_writable

if TYPE_CHECKING:
    from seg.pretraining.fit import Pretraining

Images = Literal["train", "all"]

_LOOKED_AT = {
    "data": "bands resampling drop_incomplete flagged countries except_countries months classes augment order",
    "model": "arch encoder weights weights_bands drop_path encoder_dropout",
    "train": "epochs batch_size optimiser lr momentum nesterov weight_decay encoder_lr_scale layer_decay schedule "
    "warmup poly_power cooldown clip_norm seed precision window reflectance_jitter backscatter_jitter",
}
"""Settings that change what comes out."""
_MACHINE = {"data.workers", "data.preprocess", "train.device", "train.channels_last"}
"""Those that change how fast."""


@dataclass(frozen=True)
class Pretrained:
    """A finished pretraining.

    Attributes:
        folder: What ``seg train --weights`` takes.
        patches: Whose images it has seen.
        errors: Of each epoch, see `seg.pretraining.masked_images.masked_error`.
    """

    folder: Path
    patches: int
    errors: tuple[float, ...]


def pretrain(
    store: AnyPath,
    out: AnyPath,
    *,
    images: Images = "train",
    hidden: float = 0.6,
    cell: int = 8,
    config: AnyPath | None = None,
    overrides: Sequence[str] = (),
    track: Track = silent,
    notify: Notify = ignore,
    **settings: Any,
) -> Pretrained:
    """Let an encoder learn to restore hidden parts of images; no label or map is looked at.

    What was broken off goes on when the same is asked for again, from the last epoch that was done.

    Args:
        store: The store.
        out: Folder for the encoder, ``model.safetensors``, and what is known of it, ``pretraining.json``.
        images: Of the ``train`` split, or of ``all``: those of test patches then are seen before they are scored, which
            has to be said of what is trained with it.
        hidden: Share of each image that is hidden, 0 to 1 without both.
        cell: It is hidden in squares with this edge, pixels of 10 m.
        config: YAML configuration.
        overrides: ``section.key=value``, of what is looked at: patches, bands, encoder, batches, rates, jitter.
        track: Progress over epochs.
        notify: Is told of each epoch, and what the user must not miss.
        settings: ``section__key=value``; None stands for "not given".

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with settings, data or folder.
    """
    store, out = Path(store), Path(out)
    settled = _settled(path_or_none(config), overrides, settings, notify)
    _check(settled, hidden, cell)
    opened = open_named_store(store, settled.data.metadata, of_environment=False)
    rows = _rows(opened, settled, images)
    require_own_folder(out, "encoder", "run.json", INFO_FILE)
    require_writable(out)
    identity = _identity(settled) | {
        "images": images, "hidden": hidden, "cell": cell, "data": opened.info.fingerprint,
    }  # fmt: skip
    with claimed_folder(out, FILES):
        found = look(out, identity)
        if found.finished is not None:
            notify(f"The pretraining in {out} is finished, so nothing is left to do.")
            return Pretrained(out, found.finished["patches"], tuple(found.finished["errors"]))
        whole = _prepared(settled, opened, rows, (hidden, cell), identity, notify)
        if found.begun:
            whole.load(out / STATE_FILE)
            notify(f"It goes on after epoch {whole.epoch}.")
        _follow(whole, out, track, notify)
        _conclude(whole, out, opened, len(rows), images)
    return Pretrained(out, len(rows), tuple(whole.errors))


def _settled(path: Path | None, overrides: Iterable[str], settings: dict[str, Any], notify: Notify) -> Config:
    """The configuration; refuses what was asked for without effect, and tells what a file says so."""
    overrides = list(overrides)
    config = with_whole_model(
        load_config(path, overrides, model__scene_head="none", loss__scene_weight=1.0, **settings)
    )
    now, default = settings_of_run(config), settings_of_run(Config())
    known = {f"{section}.{name}" for section, names in _LOOKED_AT.items() for name in names.split()} | _MACHINE
    for text in overrides:
        name = text.partition("=")[0].strip()
        if name not in known:
            raise WrongUseError(f"seg pretrain does not look at {name}; leave it out")
    own = {"model.scene_head", "loss.scene_weight"}
    idle = [name for name in now if name not in known | own and now[name] != default.get(name)]
    if idle:
        notify(f"Pretraining does not look at {', '.join(idle)}.")
    return config


def _check(config: Config, hidden: float, cell: int) -> None:
    """Refuse what cannot be pretrained, before torch is loaded."""
    model, train = config.model, config.train
    if not 0 < hidden < 1:
        raise WrongUseError(f"--hidden {hidden:g} is no share of an image; give one between 0 and 1, such as 0.6")
    edge = train.window or 120
    if not 1 <= cell <= edge // 2:
        raise WrongUseError(f"--cell {cell} is no edge of squares within {edge} pixels; give 1 to {edge // 2}")
    if find_architecture(model.arch).own:
        raise WrongUseError(
            "a network of one's own has no encoder that seg knows apart; name --arch and --encoder instead"
        )
    if is_foundation(model.encoder):
        raise WrongUseError(
            f"{model.encoder} was pretrained by those who made it; train with --weights published, or name another "
            "encoder"
        )
    check_encoder(model.encoder)
    if model.fusion == "dual":
        raise WrongUseError(
            "two encoders are not pretrained at once; pretrain one for each sensor, --modality s1 and s2"
        )
    if train.schedule == "plateau":
        raise WrongUseError("train.schedule=plateau follows a validation score, and there is none; choose cosine")
    check_jitter(train, config.data.bands)
    check_augmentation(config.data.augment)
    require_device(train.device)
    if model.weights:
        check_weights(model.weights, model.encoder, config.data.bands)


def _rows(store: Store, config: Config, images: Images) -> Rows:
    """The patches whose images are seen."""
    import numpy as np

    if images == "train":
        return split_rows(store, config.data, "train", need_map=False)
    found = []
    for split in SPLITS:
        try:
            found.append(split_rows(store, config.data, split, need_map=False))
        except EmptySelectionError:
            continue
    if not found:
        split_rows(store, config.data, "train", need_map=False)  # says what is wrong
    return np.concatenate(found)


def _identity(config: Config) -> dict[str, Any]:
    now = settings_of_run(config)
    names = [f"{section}.{name}" for section, names in _LOOKED_AT.items() for name in names.split()]
    return {name: now[name] for name in names}


def _prepared(
    config: Config, store: Store, rows: Rows, hiding: tuple[float, int], identity: dict[str, Any], notify: Notify
) -> "Pretraining":
    """Network, images and device."""
    from seg.data.dataset import PatchDataset
    from seg.engine.device import choose_compute
    from seg.engine.train import seed_everything
    from seg.engine.windows import check_window
    from seg.models.start import start_segmenter
    from seg.pretraining.fit import Hiding, Pretraining
    from seg.pretraining.masked_images import restoring
    from seg.runs.preparation import loader_workers, prepared_on_device

    compute = choose_compute(config.train)
    seed_everything(config.train.seed, compute.device)
    network, _ = start_segmenter(config.model, config.data.bands, notify)
    check_window(config.train.window, network.sizes)
    raw = prepared_on_device(config.data, compute, augmented=True)
    patches = PatchDataset(store, rows, config.data, config.train.seed, with_maps=False, raw=raw)
    workers = loader_workers(config.data.workers, compute)
    return Pretraining(restoring(network), patches, Hiding(*hiding), config.train, compute, workers, identity)


def _follow(whole: "Pretraining", out: Path, track: Track, notify: Notify) -> None:
    epochs = whole.config.epochs
    for done in track(whole.run(), "epochs", epochs - whole.epoch):
        whole.save(out / STATE_FILE)
        notify(f"epoch {done.number}/{epochs}  error {done.error:.3f}  {done.patches_per_second:.0f} patches/s")


def _conclude(whole: "Pretraining", out: Path, store: Store, patches: int, images: Images) -> None:
    """Write the encoder and what is known of it; what it went on from goes."""
    kind = "SYNTHETIC images" if store.info.synthetic else "images"
    of = "the train split" if images == "train" else "all splits"
    source = (
        f"an encoder pretrained without labels on {kind} of {counted(patches, 'patch', 'patches')} of {of} "
        f"of {store.info.fingerprint}"
    )
    config, model = whole.config, whole.network.config
    metadata = {"bands": ",".join(whole.network.bands), "encoder": model.encoder, "seg_pretraining": source}
    tensors = whole.write_encoder(out / WEIGHTS_FILE, metadata)
    record = run_record(
        synthetic=store.info.synthetic,
        encoder=model.encoder,
        arch=model.arch,
        bands=list(whole.network.bands),
        images=images,
        patches=patches,
        source_of_images=source,
        epochs=config.epochs,
        steps=config.epochs * len(whole.order),
        tensors=tensors,
        errors=whole.errors,
        identity=json.loads(json.dumps(dict(whole.identity))),
    )
    write_json(out / RECORD_FILE, record)
    remove_file(out / STATE_FILE)

"""What a training run is to be: settings and folder, settled before torch is loaded, so that mistakes show at once."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg.config.installed import not_installed, require_device
from seg.config.load import load_config
from seg.config.paths import AnyPath, path_or_none
from seg.config.sections import Config, ModelConfig
from seg.data.symmetry import moves_pixels_only
from seg.data.transforms import check_augmentation
from seg.engine.losses.joint import check_losses
from seg.engine.modality_dropout import check_modality_dropout
from seg.engine.radiometry import check_jitter
from seg.errors import RunError, WrongUseError
from seg.foundation.catalogue import check_inputs
from seg.models.architectures import check_encoder, check_fusion, find_architecture
from seg.models.weights_catalogue import check_weights
from seg.models.weights_names import whole_path
from seg.own.code import check_own, code_of, is_in_file, require_name, settled, trust
from seg.reben.bands import SENSORS, of_sensor, selection_name
from seg.report.trackers import check_trackers
from seg.runs.data import check_splits, store_of_environment
from seg.runs.folder import CONFIG_FILE
from seg.store.targets import LOCK_FILE, made, require_free, require_writable


@dataclass(frozen=True)
class TrainPlan:
    """A training run that is about to begin or to continue.

    Attributes:
        config: The settings.
        folder: The run folder.
        resume: Whether it continues.
        allow: Settings that may be others than they were when it began.
        unnamed: Whether nobody has named the folder, so that another one does as well.
    """

    config: Config
    folder: Path
    resume: bool
    allow: tuple[str, ...] = ()
    unnamed: bool = False


def plan(
    path: AnyPath | None = None,
    overrides: Iterable[str] = (),
    out: AnyPath | None = None,
    resume: bool = False,
    allow: Iterable[str] = (),
    **settings: Any,
) -> TrainPlan:
    """Settle configuration and run folder.

    A new run takes a folder that is not there yet; without `out` it is named after architecture and bands. A resumed
    run takes the settings of its ``config.yaml``.

    Args:
        path: YAML configuration.
        overrides: ``section.key=value``.
        out: The run folder.
        resume: Continue the run in that folder.
        allow: Settings that a resumed run may change, see `seg.config.identity.ALLOWABLE`.
        settings: ``section__key=value``; None stands for "not given". A network that ``model__arch`` names as
            ``FILE.py:NAME`` may be run on this machine from then on.

    Raises:
        RunError: If a new run's folder is taken, or there is no run to resume.
        BusyError: If another process is training there.
        WrongUseError: If the configuration is wrong.
    """
    path, out = path_or_none(path), path_or_none(out)
    if is_in_file(arch := settings.get("model__arch") or ""):
        code = code_of(ModelConfig(arch=arch))
        trust(code)
        settings["model__arch"] = code.named
    config = with_whole_model(load_config(path, overrides, **settings))
    folder = out or _default_folder(config, resume)
    saved = folder / CONFIG_FILE
    if resume:
        if not saved.is_file():
            raise RunError(f"there is no run to resume in {folder}; name its folder with --out", wrong_use=True)
        config = with_whole_model(load_config(path or saved, overrides, **settings))
    else:
        if (folder / LOCK_FILE).exists():
            require_free(folder)
        require_new(folder)
    return TrainPlan(config, folder, resume, tuple(allow), unnamed=out is None and not resume)


def check_plan(task: TrainPlan) -> None:
    """Look at all that a training run needs, as far as it shows without torch: names, weights, folder and patches.

    Raises:
        SegError: One of its kinds, for anything wrong with settings or data.
        OSError: If the run folder cannot be made.
    """
    model, data, train = task.config.model, task.config.data, task.config.train
    if own := find_architecture(model.arch).own:
        check_own(model)
        # A run that goes on has kept its code.
        if is_in_file(model.arch) and not task.resume:
            require_name(code_of(model))
    else:
        check_encoder(model.encoder)
    check_fusion(model.fusion, data.bands)
    check_inputs(model.encoder, data.bands)
    if model.encoder_mode == "lora" and not_installed("peft"):
        raise WrongUseError("model.encoder_mode=lora needs peft; install it with: pip install 'seg[lora]'")
    check_losses(task.config.loss)
    check_modality_dropout(train.modality_dropout, data.bands)
    check_jitter(train, data.bands)
    check_augmentation(data.augment)
    _check_features(task.config)
    check_trackers(train.loggers)
    require_device(train.device)
    if model.weights and not task.resume and not own:
        sensors = [of_sensor(data.bands, sensor) for sensor in SENSORS] if model.fusion == "dual" else [data.bands]
        for bands in sensors:
            check_weights(model.weights, model.encoder, bands)
    require_writable(task.folder)
    check_splits(data, ("train", "validation"))


def _check_features(config: Config) -> None:
    """Refuse to keep features of pictures of which none ever comes again."""
    data, train = config.data, config.train
    if not train.cache_features:
        return
    for what, comes_again, cure in (
        ("data.augment", moves_pixels_only(data.augment), "--set data.augment=[]"),
        ("train.window", not train.window, "--set train.window=0"),
        ("train.cutmix", not train.cutmix, "--set train.cutmix=0"),
        ("train.copy_paste", not train.copy_paste, "--set train.copy_paste=0"),
        ("train.reflectance_jitter", not train.reflectance_jitter, "--set train.reflectance_jitter=0"),
        ("train.backscatter_jitter", not train.backscatter_jitter, "--set train.backscatter_jitter=0"),
    ):
        if not comes_again:
            raise WrongUseError(
                f"train.cache_features keeps features for pictures that come again, and with {what} as it is none "
                f"does; use {cure}, or leave train.cache_features out"
            )


@contextmanager
def made_folder(task: TrainPlan) -> Iterator[Path]:
    """The folder of a run; one that nobody has named is made at once, so that of two runs each has its own.

    It is removed again if nothing comes into it.
    """
    folder = task.folder
    if not task.unnamed:
        yield folder
        return
    with made(folder.parent):
        while True:
            try:
                folder.mkdir()
                break
            except FileExistsError:
                folder = _default_folder(task.config, resume=False)
        try:
            yield folder
        finally:
            with suppress(OSError):
                folder.rmdir()


def require_new(folder: Path) -> None:
    """Refuse a folder that holds anything for a new run.

    Raises:
        RunError: With what can be done instead.
    """
    if folder.exists() and (not folder.is_dir() or any(path.name != LOCK_FILE for path in folder.iterdir())):
        resumed = "continue it with --resume or " if (folder / CONFIG_FILE).is_file() else ""
        raise RunError(f"{folder} is there already; {resumed}choose another folder with --out", wrong_use=True)


def with_whole_model(config: Config) -> Config:
    """The configuration with whole paths of weights and of code, so that a resume finds the same from any folder.

    Raises:
        ModelError: If there is no file that a network of one's own is named by.
    """
    model = settled(config.model)
    weights = model.weights and whole_path(model.weights)
    return config.model_copy(update={"model": model.model_copy(update={"weights": weights})})


def with_whole_paths(config: Config) -> Config:
    """The configuration with whole paths, so that it loads from any folder. The demo store stays unnamed."""
    named = config.data.store or store_of_environment()
    paths = {"store": named, "metadata": config.data.metadata}
    resolved = {key: Path(path).resolve() for key, path in paths.items() if path}
    config = with_whole_model(config)
    return config.model_copy(update={"data": config.data.model_copy(update=resolved)})


def _default_folder(config: Config, resume: bool) -> Path:
    """``runs/<arch>-<bands>``, with a number if that is taken; for a resume the last one that is."""
    arch = config.model.arch.replace(".py:", "-")
    base = Path("runs") / f"{arch}-{selection_name(config.data.bands).replace(',', '-')}"
    number, folder = 1, base
    while (following := base.with_name(f"{base.name}-{number + 1}") if folder.exists() else folder).exists():
        number, folder = number + 1, following
    return folder if resume else following

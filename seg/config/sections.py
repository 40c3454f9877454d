"""The configuration: frozen sections, each handed to the part of the house that it belongs to."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from seg.reben.bands import MODALITIES, band_names, selection_name
from seg.reben.classes import class_index
from seg.reben.patch import Split


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def _bands(value: Any) -> tuple[str, ...]:
    return band_names(value if isinstance(value, str) else ",".join(map(str, value)))


def _classes(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    for name in names:
        class_index(name)
    return names


Bands = Annotated[tuple[str, ...], BeforeValidator(_bands), PlainSerializer(selection_name)]
ClassNames = Annotated[tuple[str, ...], BeforeValidator(_classes)]

Augmentation = dict[str, dict[str, Any]]
"""One albumentations transform: its name and its parameters, ``{HorizontalFlip: {p: 0.5}}``."""

DIHEDRAL: tuple[Augmentation, ...] = (
    {"HorizontalFlip": {"p": 0.5}},
    {"VerticalFlip": {"p": 0.5}},
    {"Transpose": {"p": 0.5}},
    {"RandomRotate90": {"p": 1.0}},
)


class DataConfig(Section):
    """Which patches, and how they become a batch.

    Attributes:
        store: Folder written by ``seg data build``, or a bare rico-hdl LMDB. None: ``SEG_DATA``, else the demo store.
        metadata: Parquet with the labels; needed for a bare LMDB only.
        bands: A modality or a list of bands, in the order in which the network sees them.
        resampling: How 20 m and 60 m bands are brought onto the 10 m grid.
        drop_incomplete: Leave out patches that lack a sensor instead of refusing the modality.
        flagged: Use patches with seasonal snow, cloud or cloud shadow too.
        countries, months, classes: Use only patches from these; empty means all. A patch qualifies by any of the
            named classes.
        augment: albumentations transforms for training, applied to image and reference map alike.
        order: How training shuffles: ``shuffle`` draws from everywhere; ``blocks`` reads neighbouring patches together
            and mixes those of many places, for a store that does not fit into memory on a disk that seeks slowly.
        workers: Loader processes. None: chosen by the machine.
        preprocess: Where stored values become network inputs: ``host``; ``device``, to which raw values travel, and
            which takes no augmentation but flips, transposition and quarter turns; ``auto``: on a GPU where that holds.
    """

    store: Path | None = None
    metadata: Path | None = None
    bands: Bands = MODALITIES["s2"]
    resampling: Literal["bilinear", "nearest"] = "bilinear"
    drop_incomplete: bool = False
    flagged: bool = False
    countries: tuple[str, ...] = ()
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = ()
    classes: ClassNames = ()
    augment: tuple[Augmentation, ...] = DIHEDRAL
    order: Literal["shuffle", "blocks"] = "shuffle"
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    preprocess: Literal["auto", "host", "device"] = "auto"


Weights = Annotated[Literal["imagenet"] | None, BeforeValidator(lambda value: None if value == "none" else value)]


class ModelConfig(Section):
    """The network.

    Attributes:
        arch: An architecture of segmentation-models-pytorch (unet, deeplabv3plus, ...).
        encoder: An smp encoder, or a timm one as ``tu-<name>``.
        weights: ``imagenet`` starts the encoder from its published weights, ``none`` from random ones.
        scene_head: ``derived`` pools the pixel logits, ``learned`` pools encoder features, ``none`` has no scene score.
        dropout: Share of features dropped before the classifier of the learned scene head.
    """

    arch: str = "unet"
    encoder: str = "resnet18"
    weights: Weights = None
    scene_head: Literal["derived", "learned", "none"] = "derived"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.15


class LossConfig(Section):
    """The loss: ``pixel + scene_weight * scene``.

    Attributes:
        pixel: Pixel loss by name; unlabelled pixels take no part in any of them.
        scene: Scene loss by name.
        scene_weight: Weight of the scene loss; 0 trains the pixel part alone.
    """

    pixel: str = "cross_entropy"
    scene: str = "bce"
    scene_weight: Annotated[float, Field(ge=0)] = 1.0


Monitor = Literal["miou", "mf1", "macc", "oa", "fwiou", "ap_macro", "ap_micro", "f1_macro", "f1_micro", "f1_samples"]
"""Validation scores that training can follow; those of the scene head are taken at threshold 0.5."""


class TrainConfig(Section):
    """The training run.

    Attributes:
        epochs: Passes over the train split, at most.
        batch_size: Patches per step.
        lr: Peak learning rate.
        weight_decay: AdamW weight decay; not applied to biases and normalisation.
        warmup: Share of all steps over which the learning rate rises from 0; it falls to 0 along a cosine after.
        clip_norm: Largest gradient norm; 0 does not clip.
        monitor: Validation score that decides which epoch is best and when to stop (`Monitor`).
        patience: Epochs without a better score before stopping; 0 never stops early.
        seed: Seed of everything random.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``auto`` takes bfloat16 where the device computes in it, else float32.
        channels_last: Memory format of images and weights; None: where the device gains from it.
        max_steps: End the run after so many steps; 0 has no such end.
        accumulate: Batches whose gradients are averaged for one step. The effective batch is ``batch_size`` times this
            times the number of processes.
        compile: Whether ``torch.compile`` translates the network; ``auto``: on CUDA where it can.
        sync_batchnorm: Take batch statistics over all processes instead of each its own; on CUDA only.
        save_every: Seconds between savings of the state within an epoch; 0: not by time.
        save_every_steps: Steps between savings of the state within an epoch; 0: not by steps.
    """

    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=1)] = 32
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.05
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    monitor: Monitor = "miou"
    patience: Annotated[int, Field(ge=0)] = 5
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: bool | None = None
    max_steps: Annotated[int, Field(ge=0)] = 0
    accumulate: Annotated[int, Field(ge=1)] = 1
    compile: bool | Literal["auto"] = "auto"
    sync_batchnorm: bool = False
    save_every: Annotated[float, Field(ge=0)] = 600.0
    save_every_steps: Annotated[int, Field(ge=0)] = 0


class EvalConfig(Section):
    """The evaluation.

    Attributes:
        split: The split that is scored.
        batch_size: Patches per step. It has no influence on the scores.
    """

    split: Split = "test"
    batch_size: Annotated[int, Field(ge=1)] = 64


class Config(Section):
    """The whole configuration of a run, as written to ``config.yaml``."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

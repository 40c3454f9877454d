"""The configuration: frozen sections, each handed to the part of the house that it belongs to."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from seg.config.loss import LossConfig
from seg.config.section import Section, refuse_idle
from seg.config.terms import (
    NO_ENCODER,
    Bands,
    ClassNames,
    Count,
    Names,
    NetworkName,
    ShortName,
    Weights,
    WeightsBands,
    network_name,
)
from seg.config.training import TrainConfig
from seg.reben.bands import MODALITIES, PATCH_SIZE
from seg.reben.patch import Split

Fusion = Literal["stack", "dual"]
ContextSplit = Literal["any", "same"]


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
        context: Pixels of 10 m around a patch that the network sees of its neighbours in the same product. They give
            pixels and no labels; where there is none, the patch is reflected. Losses and scores are those of the patch.
        context_split: Which neighbours: of ``any`` split, or of the ``same`` one as the patch.
        drop_incomplete: Leave out patches that lack a sensor instead of refusing the modality.
        flagged: Use patches with seasonal snow, cloud or cloud shadow too.
        countries: Train and validate on patches from these only; empty means all. ``eval.countries`` is what is scored.
        except_countries: Train and validate on patches from all but these.
        months: Use only patches from these; empty means all.
        classes: Use only patches that have any of these; empty means all.
        fraction: Train on this share of the train split: neighbouring patches of few tiles that have every class, the
            same for every network. A smaller share lies within a larger one, see `seg.store.budget`.
        fraction_seed: Which of the possible parts ``fraction`` takes.
        augment: albumentations transforms for training, applied to image and reference map alike.
        label_elastic: How far training pulls reference maps about, the images staying: the standard deviation of the
            displacement along each axis, in metres, drawn anew each time. 0 leaves them.
        label_elastic_scale: Standard deviation of the Gaussian that smooths these displacements, in metres.
        order: How training shuffles: ``shuffle`` draws from everywhere; ``blocks`` reads neighbouring patches together
            and mixes those of many places, for a store that does not fit into memory on a disk that seeks slowly.
        sampling: ``uniform`` trains on every patch once an epoch; ``rare`` repeats patches with rare labels and leaves
            out others for it, so that an epoch stays as long.
        rare_share: With ``rare``, the share of patches below which a class is rare.
        workers: Loader processes. None: chosen by the machine.
        preprocess: Where stored values become network inputs: ``host``; ``device``, to which raw values travel, and
            which takes no augmentation but flips, transposition and quarter turns; ``auto``: on a GPU where that holds.
    """

    store: Path | None = None
    metadata: Path | None = None
    bands: Bands = MODALITIES["s2"]
    resampling: Literal["bilinear", "nearest"] = "bilinear"
    context: Annotated[int, Field(ge=0, le=PATCH_SIZE)] = 0
    context_split: ContextSplit = "any"
    drop_incomplete: bool = False
    flagged: bool = False
    countries: Names = ()
    except_countries: Names = ()
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = ()
    classes: ClassNames = ()
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    fraction_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    augment: tuple[Augmentation, ...] = DIHEDRAL
    label_elastic: Annotated[float, Field(ge=0, le=300)] = 0.0
    label_elastic_scale: Annotated[float, Field(ge=30, le=1200)] = 200.0
    order: Literal["shuffle", "blocks"] = "shuffle"
    sampling: Literal["uniform", "rare"] = "uniform"
    rare_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    preprocess: Literal["auto", "host", "device"] = "auto"

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse_idle(self, ("rare_share",), self.sampling == "rare", "with sampling=rare")
        refuse_idle(self, ("fraction_seed",), self.fraction < 1, "with a fraction below 1")
        refuse_idle(self, ("label_elastic_scale",), self.label_elastic > 0, "with a label_elastic above 0")
        refuse_idle(self, ("context_split",), self.context > 0, "with a context")
        both = {name.casefold() for name in self.countries} & {name.casefold() for name in self.except_countries}
        if both:
            raise ValueError(f"countries and except_countries both name {min(both)}; leave it out of one of them")
        return self


class ModelConfig(Section):
    """The network.

    Attributes:
        arch: An architecture of segmentation-models-pytorch (unet, deeplabv3plus, ...), one that a package registers,
            or ``FILE.py:NAME`` for a network of one's own; without the folder once the next two settings say it.
        code: SHA-256 of that file, in hexadecimal digits. None: it is found out.
        code_folder: Where that file lies. A run that has begun has a copy of it.
        encoder: An smp encoder, a timm one as ``tu-<name>``, or a foundation model as ``fm-<name>``; ``none`` for a
            network of one's own.
        weights: What the network starts from: ``none`` (random), ``imagenet``, ``published`` (a foundation model's
            own), ``reben[:<hub id or file>]``, ``ssl4eo[:<method or file>]``, a file with the tensors of an encoder, or
            the folder of an earlier run.
        weights_bands: Input bands of a weights file in order, where nothing in it or beside it says them.
        fusion: ``stack`` feeds all bands to one encoder; ``dual`` has one for Sentinel-1 and one for Sentinel-2, whose
            features are merged level by level.
        scene_head: ``masked`` judges each class by the features of where the mask sees it and by how much there is,
            ``derived`` pools the pixel logits alone, ``learned`` pools encoder features, ``none`` has no scene score.
        dropout: Share of features dropped before the classifier of the masked or learned scene head.
        drop_path: Share of residual branches that the encoder skips in training, at its deepest block. None: as the
            encoder is published.
        encoder_dropout: Share of features that the encoder drops within its blocks. None: as the encoder is published.
        encoder_mode: ``frozen`` keeps the encoder as it started, its batch statistics included, and trains the rest:
            neither gradients nor what they are computed from are kept for it. ``lora`` keeps it too, and trains
            low-rank additions to its layers, which saved weights contain. ``train`` trains all of the network.
        lora_rank: Rank of these additions.
    """

    arch: NetworkName = "unet"
    code: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    code_folder: Path | None = None
    encoder: ShortName = "resnet18"
    weights: Weights = None
    weights_bands: WeightsBands | None = None
    fusion: Fusion = "stack"
    scene_head: Literal["masked", "derived", "learned", "none"] = "masked"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.15
    drop_path: Annotated[float, Field(ge=0, lt=1)] | None = None
    encoder_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    encoder_mode: Literal["train", "frozen", "lora"] = "train"
    lora_rank: Annotated[int, Field(ge=1, le=256)] = 8

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse_idle(self, ("weights_bands",), self.weights is not None, "with weights")
        refuse_idle(self, ("drop_path", "encoder_dropout"), self.encoder_mode == "train", "with encoder_mode=train")
        refuse_idle(self, ("lora_rank",), self.encoder_mode == "lora", "with encoder_mode=lora")
        return self

    @property
    def own(self) -> bool:
        """Whether all of the network is somebody's own: it has no encoder that seg has chosen."""
        return self.encoder == NO_ENCODER

    @property
    def named(self) -> str:
        """What the network is called in tables."""
        return network_name(self.arch, self.encoder)


class EvalConfig(Section):
    """The evaluation.

    Attributes:
        split: The split that is scored.
        countries: Score patches from these only; empty means all. The evaluation has a name of its own then.
        batch_size: Patches per step. It has no influence on the scores.
    """

    split: Split = "test"
    countries: Names = ()
    batch_size: Count = 64


SCENE_WEIGHT_OF_0_2 = 1.0
"""The default of version 0.2, which stands in the configurations of its runs without a scene head too."""


class Config(Section):
    """The whole configuration of a run, as written to ``config.yaml``."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        scene, headed = ("scene", "positive_weights"), self.model.scene_head != "none"
        refuse_idle(self.loss, scene, headed, "with a scene head", "loss.")
        weighs = headed or self.loss.scene_weight == SCENE_WEIGHT_OF_0_2
        refuse_idle(self.loss, ("scene_weight",), weighs, "with a scene head", "loss.")
        mode = self.model.encoder_mode
        refuse_idle(self.train, ("freeze_epochs",), mode == "train", "with model.encoder_mode=train", "train.")
        refuse_idle(self.train, ("cache_features",), mode == "frozen", "with model.encoder_mode=frozen", "train.")
        rates = ("encoder_lr_scale", "layer_decay")
        refuse_idle(self.train, rates, mode != "frozen", "with model.encoder_mode=train or lora", "train.")
        learns = self.loss.pixel_weight > 0
        refuse_idle(self.train, ("cutmix", "copy_paste"), learns, "with loss.pixel_weight above 0", "train.")
        refuse_idle(self.data, ("label_elastic",), learns, "with loss.pixel_weight above 0", "data.")
        if not self.loss.pixel_weight and (not self.loss.scene_weight or self.model.scene_head == "none"):
            raise ValueError("loss.pixel_weight=0 leaves nothing to train on; give the scene head a loss with a weight")
        if self.model.scene_head == "none" and self.train.monitor.startswith(("ap_", "f1_")):
            raise ValueError(
                f"train.monitor={self.train.monitor} is a score of the scene head, and model.scene_head=none has none; "
                "follow miou"
            )
        return self

    @property
    def scored_data(self) -> DataConfig:
        """The data as an evaluation sees them: from the countries of ``eval``, and whatever the model learned from."""
        other = {"countries": self.eval.countries, "except_countries": (), "fraction": 1.0, "fraction_seed": 0}
        return self.data.model_copy(update=other)

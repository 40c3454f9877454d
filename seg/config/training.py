"""The section of the training run."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from seg.config.section import Section, refuse_idle
from seg.config.terms import Count, Loggers, device_name
from seg.reben.bands import PATCH_SIZE

Monitor = Literal["miou", "mf1", "macc", "oa", "fwiou", "ap_macro", "ap_micro", "f1_macro", "f1_micro", "f1_samples"]
"""Validation scores that training can follow; those of the scene head are taken at threshold 0.5."""


MOST_LR = {"adamw": 1.0, "sgd": 10.0}
"""Learning rates above which one step changes every weight by more than weights are large."""


class TrainConfig(Section):
    """The training run.

    Attributes:
        epochs: Passes over the train split, at most.
        batch_size: Patches per step.
        optimiser: ``adamw`` or ``sgd``.
        lr: Peak learning rate.
        momentum, nesterov: Of SGD.
        weight_decay: Weight decay; not applied to biases and normalisation.
        encoder_lr_scale: Learning rate of the encoder, as a multiple of that of everything else.
        layer_decay: From each layer of the encoder to the one before it, the learning rate falls to this share.
        freeze_epochs: Epochs at the beginning in which the encoder stays as it is, its batch statistics included.
        schedule: How the learning rate goes on after the warm-up: ``cosine`` and ``poly`` fall to 0, ``trapezoid``
            stays and then falls to 0, ``plateau`` falls when the monitored score no longer gets better, ``constant``
            stays.
        warmup: Share of all steps over which the learning rate rises from 0.
        poly_power: Exponent of ``poly``.
        cooldown: Share of the steps after the warm-up over which ``trapezoid`` falls.
        plateau_factor, plateau_epochs: By what ``plateau`` multiplies the rate, after how many epochs without gain.
        clip_norm: Largest gradient norm; 0 does not clip.
        ema: Decay per step of the moving average of the weights, which is then what is evaluated and saved as best; 0
            takes no average.
        monitor: Validation score that decides which epoch is best and when to stop (`Monitor`).
        keep: Whose weights the run gets: the ``best`` epoch's, or the ``last`` one's, safer with few patches and `ema`.
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
        save_every, save_every_steps: Seconds and steps between savings of the state within an epoch; 0: not by them.
        cache_features: Gigabytes on disk for what a frozen encoder makes of each picture once; 0: every time.
        window: Edge of the square that training sees of each patch, pixels of 10 m, at a random place each time; its
            scene labels are those that its map implies. Validation sees whole patches, and so does training with 0.
        modality_dropout: Probability that a training patch loses one of its two sensors, never both.
        reflectance_jitter: By how much Sentinel-2 varies from training patch to training patch: 0.1 is some 10 %.
        backscatter_jitter: By how many dB Sentinel-1 does.
        cutmix: Probability that a training patch gets a rectangle of the next one of its batch, image and map alike;
            its scene labels are then those that the mixed map implies.
        cutmix_alpha: The rectangle's share of the area is drawn from a beta distribution with this twice.
        copy_paste: Probability that it gets some of the classes of the next one instead, each with probability 1/2.
        loggers: ``wandb`` and ``mlflow`` are told of every epoch too; ``log.csv`` and TensorBoard always are.
    """

    epochs: Count = 30
    batch_size: Count = 32
    optimiser: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    encoder_lr_scale: Annotated[float, Field(gt=0, le=10)] = 1.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    freeze_epochs: Annotated[int, Field(ge=0)] = 0
    schedule: Literal["cosine", "poly", "trapezoid", "plateau", "constant"] = "cosine"
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.05
    poly_power: Annotated[float, Field(gt=0, le=10)] = 0.9
    cooldown: Annotated[float, Field(gt=0, le=1)] = 0.3
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    plateau_epochs: Annotated[int, Field(ge=1)] = 2
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    monitor: Monitor = "miou"
    keep: Literal["best", "last"] = "best"
    patience: Annotated[int, Field(ge=0)] = 5
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    device: Annotated[str, BeforeValidator(device_name)] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: bool | None = None
    max_steps: Annotated[int, Field(ge=0, le=10**12)] = 0
    accumulate: Count = 1
    compile: bool | Literal["auto"] = "auto"
    sync_batchnorm: bool = False
    save_every: Annotated[float, Field(ge=0)] = 600.0
    save_every_steps: Annotated[int, Field(ge=0)] = 0
    cache_features: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    window: Annotated[int, Field(ge=0, le=PATCH_SIZE)] = 0
    modality_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    reflectance_jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    backscatter_jitter: Annotated[float, Field(ge=0, le=10)] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=1)] = 0.0
    cutmix_alpha: Annotated[float, Field(gt=0, le=100)] = 1.0
    copy_paste: Annotated[float, Field(ge=0, le=1)] = 0.0
    loggers: Loggers = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse_idle(self, ("momentum", "nesterov"), self.optimiser == "sgd", "with optimiser=sgd")
        refuse_idle(self, ("poly_power",), self.schedule == "poly", "with schedule=poly")
        refuse_idle(self, ("cooldown",), self.schedule == "trapezoid", "with schedule=trapezoid")
        refuse_idle(self, ("plateau_factor", "plateau_epochs"), self.schedule == "plateau", "with schedule=plateau")
        most = MOST_LR[self.optimiser]
        if self.lr > most:
            raise ValueError(
                f"lr={self.lr:g} makes no sense with {self.optimiser}, whose rates end at {most:g}; "
                "1e-3 suits adamw, 1e-2 sgd"
            )
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=true needs a momentum; set train.momentum=0.9")
        refuse_idle(self, ("cutmix_alpha",), self.cutmix > 0, "with a cutmix above 0")
        if self.cutmix + self.copy_paste > 1:
            raise ValueError(
                f"cutmix={self.cutmix:g} and copy_paste={self.copy_paste:g} are more than 1 together, and a patch is "
                "mixed in one way at most; lower one of them"
            )
        if (self.cutmix or self.copy_paste) and self.batch_size < 2:
            raise ValueError("cutmix and copy_paste mix patches of a batch, and batch_size=1 has one; raise batch_size")
        if self.freeze_epochs > self.epochs:
            raise ValueError(
                f"freeze_epochs={self.freeze_epochs} is more than the {self.epochs} epochs of the run; lower it"
            )
        if self.schedule == "plateau" and 0 < self.patience <= self.plateau_epochs:
            raise ValueError(
                f"schedule=plateau would never lower the rate: the run stops after {self.patience} epochs without "
                f"a better score, and the rate falls after {self.plateau_epochs}; raise train.patience"
            )
        return self

"""Architectures and encoders by name, and what has to be known about them that they do not say themselves."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

import segmentation_models_pytorch as smp
import timm

from seg.errors import ModelError


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture of segmentation-models-pytorch (smp).

    Attributes:
        encoder: A small encoder that fits.
        takes: Which encoders fit, as the end of a sentence.
        multiple: Pixels by which the input's edges must be divisible on top of the encoder's own stride.
        cells: Least cells along an edge of the deepest features.
    """

    encoder: str = "resnet18"
    takes: str = (
        "encoders with a feature pyramid, such as resnet18, efficientnet-b0, mit_b0 or tu-swin_tiny_patch4_window7_224"
    )
    multiple: int = 1
    cells: int = 1


_CONVOLUTIONAL = "convolutional encoders with a feature pyramid, such as resnet18, efficientnet-b0 or tu-convnext_tiny"
_DILATED = "encoders whose last stages can be dilated, such as resnet18, efficientnet-b0 or tu-convnext_tiny"
_PLAIN = "timm's vision transformers with patches of 8, 16 or 32 pixels, such as tu-vit_tiny_patch16_224"

_KNOWN = {
    "deeplabv3": Architecture(takes=_DILATED),
    "deeplabv3plus": Architecture(takes=_DILATED),
    # The decoder's coarsest level has 1/32 of the input's resolution, whatever the patch size of the encoder.
    "dpt": Architecture(encoder="tu-vit_tiny_patch16_224", takes=_PLAIN, multiple=32),
    "linknet": Architecture(takes=_CONVOLUTIONAL),
    # The feature pyramid attention halves the deepest features three times.
    "pan": Architecture(takes=_DILATED, cells=8),
    "segformer": Architecture(encoder="mit_b0"),
    "unetplusplus": Architecture(takes=_CONVOLUTIONAL),
}

ARCHITECTURES: dict[str, Architecture] = {
    name: _KNOWN.get(name, Architecture()) for name in smp.MODEL_ARCHITECTURES_MAPPING
}
"""Every architecture of the installed smp, by smp's lower-case name."""


def encoder_names() -> tuple[str, ...]:
    """Every encoder by name: smp's own, then timm's as ``tu-<name>``. Not each fits each architecture."""
    return (*smp.encoders.get_encoder_names(), *(f"tu-{name}" for name in timm.list_models()))


def find_architecture(name: str) -> Architecture:
    """An architecture by name.

    Raises:
        ModelError: If smp has no such architecture.
    """
    if name not in ARCHITECTURES:
        raise ModelError(
            f"there is no architecture '{name}'; {_suggest(name, ARCHITECTURES)}there are {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]


def check_encoder(name: str) -> None:
    """Check that an encoder exists.

    Args:
        name: smp's name, or timm's as ``tu-<name>`` or ``tu-<name>.<tag of the pretrained weights>``.

    Raises:
        ModelError: If neither smp nor timm has it.
    """
    if name in smp.encoders.get_encoder_names():
        return
    bare, _, tag = name.removeprefix("tu-").partition(".")
    if not name.startswith("tu-") or not timm.is_model(bare):
        suggestion = _suggest(name.partition(".")[0], encoder_names())
        raise ModelError(
            f"there is no encoder '{name}'; {suggestion}smp's encoders go by name (resnet50), timm's as tu-<name>"
        )
    tagged = timm.list_models(f"{bare}.*", pretrained=True)
    if tag and f"{bare}.{tag}" not in tagged:
        known = ", ".join(f"tu-{one}" for one in tagged) or "none, so leave the tag out"
        raise ModelError(f"timm has no weights '{tag}' for encoder 'tu-{bare}'; it has: {known}")


def pretrained_file(encoder: str) -> str | None:
    """Where the encoder's pretrained weights come from, in words; None if there are none.

    Args:
        encoder: A name that `check_encoder` accepts.
    """
    if encoder.startswith("tu-"):
        source = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        if source is None or not source.has_weights:
            return None
        if source.hf_hub_id:
            return f"{source.hf_hub_filename or 'model.safetensors'} of {source.hf_hub_id} on the Hugging Face hub"
        return str(source.url or source.file)
    settings = smp.encoders.encoders[encoder]["pretrained_settings"].get("imagenet")
    if settings is None:
        return None
    revision = settings["revision"]
    return f"config.json and model.safetensors of {settings['repo_id']} (revision {revision}) on the Hugging Face hub"


def pretrained_hub_file(encoder: str) -> tuple[str, str, str] | None:
    """Repository, file and revision on the Hugging Face hub of the encoder's pretrained weights; None: not there.

    Args:
        encoder: A name that `check_encoder` accepts.
    """
    if encoder.startswith("tu-"):
        source = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        if source is None or not source.hf_hub_id:
            return None
        repository, _, revision = source.hf_hub_id.partition("@")
        return repository, source.hf_hub_filename or "model.safetensors", revision or "main"
    settings = smp.encoders.encoders[encoder]["pretrained_settings"].get("imagenet")
    return None if settings is None else (settings["repo_id"], "model.safetensors", settings["revision"])


def _suggest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.lower(), known, n=3)
    return f"did you mean {' or '.join(near)}? " if near else ""

"""Architectures and encoders by name, and what has to be known about them that they do not say themselves.

Names come from the sources of smp and timm until those are loaded, which takes seconds: a wrong one is refused before.
"""

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from seg.config.installed import is_loaded, names_in_source
from seg.config.sections import Fusion
from seg.config.terms import NO_ENCODER
from seg.config.wording import clipped
from seg.errors import ModelError
from seg.foundation.catalogue import FOUNDATIONS, check_foundation, is_foundation
from seg.own.code import ARCHITECTURE_GROUP, ENCODER_GROUP, is_in_file, registered
from seg.reben.bands import SENSORS, of_sensor

_SMP, _TIMM = "segmentation_models_pytorch", "timm"


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture of segmentation-models-pytorch (smp).

    Attributes:
        encoder: A small encoder that fits.
        takes: Which encoders fit, as the end of a sentence.
        multiple: Pixels by which the input's edges must be divisible on top of the encoder's own stride.
        cells: Least cells along an edge of the deepest features.
        own: Whether it is a network of somebody's own, in which seg chooses no encoder.
    """

    encoder: str = "resnet18"
    takes: str = (
        "encoders with a feature pyramid, such as resnet18, efficientnet-b0, mit_b0 or tu-swin_tiny_patch4_window7_224"
    )
    multiple: int = 1
    cells: int = 1
    own: bool = False


_CONVOLUTIONAL = "convolutional encoders with a feature pyramid, such as resnet18, efficientnet-b0 or tu-convnext_tiny"
_DILATED = "encoders whose last stages can be dilated, such as resnet18, efficientnet-b0 or tu-convnext_tiny"
_PLAIN = (
    "foundation models, and timm's vision transformers with patches of 8, 16 or 32 pixels, such as "
    "tu-vit_tiny_patch16_224"
)

_ANY_NAME = r"""(?:^def |['"])([\w.]+)(?:\(|['"])"""
"""Functions and short texts: models, earlier names of models, and names of weights are among them."""

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


SHORT_LIST = (
    "resnet18",
    "resnet50",
    "resnet101",
    "efficientnet-b0",
    "mobilenet_v2",
    "mit_b2",
    "tu-convnext_tiny",
    "tu-swin_tiny_patch4_window7_224",
)
"""Encoders of each kind that are worth a look before the other thousand."""


def _architectures() -> Collection[str]:
    """The lower-case names of what stands in smp's list of classes."""
    if not is_loaded(_SMP) and (names := names_in_source(_SMP, "__init__.py", r"^    ([A-Z]\w*),$")):
        return [name.lower() for name in names]
    import segmentation_models_pytorch as smp

    return list(smp.MODEL_ARCHITECTURES_MAPPING)


_OWN = Architecture(encoder=NO_ENCODER, takes="no encoder: its own code builds all of it", own=True)

ARCHITECTURES: dict[str, Architecture] = dict.fromkeys(registered(ARCHITECTURE_GROUP), _OWN) | {
    name: _KNOWN.get(name, Architecture()) for name in _architectures()
}
"""Every architecture of the installed smp, by smp's lower-case name, and what other packages register."""


def encoder_names() -> tuple[str, ...]:
    """Every encoder by name: smp's own, timm's as ``tu-<name>``, foundation models. Not each fits each architecture."""
    return (*_smp_encoders(), *(f"tu-{name}" for name in _timm_models()), *FOUNDATIONS)


def _smp_encoders() -> Sequence[str]:
    return tuple(dict.fromkeys((*_encoders_of_smp(), *registered(ENCODER_GROUP))))


def load_encoder(name: str) -> None:
    """Put an encoder that a package registers among those of smp, if the name is one of these."""
    import segmentation_models_pytorch as smp

    if name in registered(ENCODER_GROUP) and name not in smp.encoders.encoders:
        smp.encoders.encoders[name] = registered(ENCODER_GROUP)[name].load()


def _encoders_of_smp() -> Sequence[str]:
    if not is_loaded(_SMP) and (names := names_in_source(_SMP, "encoders/*.py", r'^    "([\w.-]+)": \{$')):
        return names
    import segmentation_models_pytorch as smp

    names = smp.encoders.get_encoder_names()
    return list(names)


def _timm_models() -> Sequence[str]:
    if not is_loaded(_TIMM) and (names := names_in_source(_TIMM, "models/*.py", r"^@register_model\s+def (\w+)\(")):
        return sorted(names)
    import timm

    return list(timm.list_models())


def _is_timm_model(name: str) -> bool:
    """Whether timm has a model; without asking timm, also some names that it has for something else."""
    if not is_loaded(_TIMM) and (names := names_in_source(_TIMM, "models/*.py", _ANY_NAME)):
        return name in names
    import timm

    return bool(timm.is_model(name))


def _timm_weights(name: str) -> list[str]:
    """Names of the published weights of a model, ``<model>.<tag>``."""
    if not is_loaded(_TIMM) and (names := names_in_source(_TIMM, "models/*.py", _ANY_NAME)):
        return sorted(one for one in names if one.startswith(f"{name}."))
    import timm

    return list(timm.list_models(f"{name}.*", pretrained=True))


def find_architecture(name: str) -> Architecture:
    """An architecture by name.

    Raises:
        ModelError: If neither smp nor another package has such an architecture.
    """
    if is_in_file(name):
        return _OWN
    if name not in ARCHITECTURES:
        if name.endswith(".py"):
            raise ModelError(
                f"{clipped(name)} is a file, and which network of it is not said; name the class or function that "
                f"builds it: --model {shlex.quote(clipped(name))}:NAME"
            )
        suggestion = _suggest(name, ARCHITECTURES)
        raise ModelError(
            f"there is no architecture '{clipped(name)}'; {suggestion}there are {', '.join(ARCHITECTURES)}; one of "
            "your own is FILE.py:NAME, and others come with the package that registers them"
        )
    return ARCHITECTURES[name]


def check_encoder(name: str) -> None:
    """Check that an encoder exists.

    Args:
        name: smp's name, or timm's as ``tu-<name>`` or ``tu-<name>.<tag of the pretrained weights>``.

    Raises:
        ModelError: If neither smp nor timm has it, or it is a foundation model that is not known or not installed.
    """
    if is_foundation(name):
        check_foundation(name)
        return
    if name in _smp_encoders():
        return
    bare, _, tag = name.removeprefix("tu-").partition(".")
    if not name.startswith("tu-") or not _is_timm_model(bare):
        suggestion = _suggest(name.partition(".")[0], encoder_names())
        raise ModelError(
            f"there is no encoder '{name}'; {suggestion}smp's encoders go by name (resnet50), timm's as tu-<name>"
        )
    if tag and f"{bare}.{tag}" not in (tagged := _timm_weights(bare)):
        known = ", ".join(f"tu-{one}" for one in tagged) or "none, so leave the tag out"
        raise ModelError(f"timm has no weights '{tag}' for encoder 'tu-{bare}'; it has: {known}")


def check_fusion(fusion: Fusion, bands: Sequence[str]) -> None:
    """Check that there are two sensors to fuse.

    Raises:
        ModelError: If there is an encoder per sensor, but bands of one only.
    """
    if fusion == "dual" and not all(of_sensor(bands, sensor) for sensor in SENSORS):
        raise ModelError(
            f"fusion 'dual' needs bands of Sentinel-1 and of Sentinel-2, but there are {', '.join(bands)}; use "
            "--modality s1s2, or fusion 'stack'"
        )


def pretrained_file(encoder: str) -> str | None:
    """Where the encoder's pretrained weights come from, in words; None if there are none.

    Args:
        encoder: A name that `check_encoder` accepts.
    """
    import segmentation_models_pytorch as smp
    import timm

    if encoder.startswith("tu-"):
        source = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        if source is None or not source.has_weights:
            return None
        if source.hf_hub_id:
            return f"{source.hf_hub_filename or 'model.safetensors'} of {source.hf_hub_id} on the Hugging Face hub"
        return str(source.url or source.file)
    load_encoder(encoder)
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
    import segmentation_models_pytorch as smp
    import timm

    if encoder.startswith("tu-"):
        source = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
        if source is None or not source.hf_hub_id:
            return None
        repository, _, revision = source.hf_hub_id.partition("@")
        return repository, source.hf_hub_filename or "model.safetensors", revision or "main"
    load_encoder(encoder)
    settings = smp.encoders.encoders[encoder]["pretrained_settings"].get("imagenet")
    return None if settings is None else (settings["repo_id"], "model.safetensors", settings["revision"])


def _suggest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.lower(), known, n=3)
    return f"did you mean {' or '.join(near)}? " if near else ""

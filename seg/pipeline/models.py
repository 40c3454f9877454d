"""What can be trained: architectures, the encoders that fit them, and what each network costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from seg.config.sections import Fusion, ModelConfig
from seg.config.track import Track, silent
from seg.errors import ModelError
from seg.foundation.catalogue import FOUNDATIONS, Foundation, is_foundation, why_not
from seg.models.architectures import (
    ARCHITECTURES,
    SHORT_LIST,
    check_encoder,
    check_fusion,
    encoder_names,
    find_architecture,
)
from seg.own.code import code_of, is_in_file, require_name, trust
from seg.reben.bands import band_names

if TYPE_CHECKING:
    from seg.models.cost import Cost

Pair = tuple[str, str]
"""An architecture and an encoder."""


@dataclass(frozen=True)
class Network:
    """A network that can be trained.

    Attributes:
        arch, encoder: What ``seg train`` takes.
        default: Whether the encoder is the one that stands for the architecture.
        cost: What it costs.
    """

    arch: str
    encoder: str
    default: bool
    cost: "Cost"


@dataclass(frozen=True)
class Known:
    """A foundation model that seg knows, whether or not it can be built here.

    Attributes:
        encoder: What ``seg train --encoder`` takes.
        parameters: Learned values of the model, without decoder, pyramid and stem.
        multiply_adds: For a patch of 120 x 120 pixels of all its bands, with margins.
        bands: Bands that it takes.
        whole: Whether it needs all bands of a sensor of which it sees any.
        expects: What bands are brought to before it sees them.
        weights: Where ``--weights published`` is fetched from; None if nobody publishes any.
        licence: Of these weights.
        package: Where the model comes from.
        reason: Why it cannot be built here, and the cure; empty if it can.
    """

    encoder: str
    parameters: int
    multiply_adds: int
    bands: tuple[str, ...]
    whole: bool
    expects: str
    weights: str | None
    licence: str
    package: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """Networks for a band set.

    Attributes:
        bands: The input channels.
        fusion: How the bands of two sensors are brought together.
        networks: Those that can be built.
        misfits: Pairs that were asked for and do not fit each other.
        takes: Which encoders fit, in words, by architecture listed.
        foundations: Foundation models, where a pattern asks for them.
    """

    bands: tuple[str, ...]
    fusion: Fusion
    networks: tuple[Network, ...]
    misfits: tuple[Pair, ...]
    takes: dict[str, str]
    foundations: tuple[Known, ...] = ()


def list_models(
    bands: str = "s2",
    arch: str | None = None,
    encoder: str | None = None,
    every: bool = False,
    fusion: Fusion = "stack",
    track: Track = silent,
) -> Listing:
    """Build networks without their weights and measure what they cost.

    With neither architecture nor encoder: every architecture with its own small encoder, and the default architecture
    with a short list of encoders. With an architecture: that one with the short list. With an encoder: it in every
    architecture. With a pattern of foundation models, such as ``fm-*``, and no architecture: what is known of them.

    Args:
        bands: A modality, or comma-separated bands.
        arch: One architecture only; ``FILE.py:NAME`` for a network of one's own, which may be run on this machine from
            then on.
        encoder: One encoder, or those that a pattern such as ``tu-convnext*`` names.
        every: Every encoder of smp and timm in place of the short list; takes minutes.
        fusion: ``dual`` for an encoder per sensor.
        track: Progress.

    Raises:
        ModelError: If architecture or encoder do not exist, if the only pair asked for does not fit, or if there is no
            second sensor to fuse.
        UnknownNameError: If a band is unknown or named twice.
    """
    names = band_names(bands)
    check_fusion(fusion, names)
    if encoder is not None and arch is None and is_foundation(encoder) and _is_pattern(encoder):
        known = tuple(_known(FOUNDATIONS[name]) for name in _matching(encoder))
        return Listing(names, fusion, (), (), {}, known)
    pairs = _pairs(arch, encoder, every)
    from seg.models.cost import measure

    networks: list[Network] = []
    misfits: list[Pair] = []
    for one_arch, one_encoder in track(pairs, "measuring networks", len(pairs)):
        try:
            cost = measure(_config(one_arch, one_encoder, fusion), names)
        except ModelError:
            if len(pairs) == 1:
                raise
            misfits.append((one_arch, one_encoder))
            continue
        default = one_encoder == find_architecture(one_arch).encoder
        networks.append(Network(one_arch, one_encoder, default, cost))
    takes = {one: find_architecture(one).takes for one in dict.fromkeys(pair[0] for pair in pairs)}
    return Listing(names, fusion, tuple(networks), tuple(misfits), takes)


def _config(arch: str, encoder: str, fusion: Fusion) -> ModelConfig:
    """The network of a pair; the masked head needs features, which a network of one's own need not give."""
    config = ModelConfig(arch=arch, encoder=encoder, fusion=fusion)
    return config.model_copy(update={"scene_head": "derived"}) if find_architecture(arch).own else config


def _pairs(arch: str | None, encoder: str | None, every: bool) -> list[Pair]:
    """What is to be measured, each pair once."""
    whole = [name for name, one in ARCHITECTURES.items() if one.own]
    if arch is not None and (only := find_architecture(arch)).own:
        if is_in_file(arch):
            code = code_of(ModelConfig(arch=arch))
            require_name(code)
            trust(code)
        return [(arch, only.encoder)]
    if encoder is not None:
        encoders = _matching(encoder)
        names = [arch] if arch else [name for name in ARCHITECTURES if name not in whole]
        return [(name, one) for name in names for one in encoders]
    encoders = encoder_names() if every else SHORT_LIST
    chosen = arch or ModelConfig().arch
    first = [(chosen, ARCHITECTURES[chosen].encoder)] if arch else [(n, a.encoder) for n, a in ARCHITECTURES.items()]
    return list(dict.fromkeys([*first, *((chosen, one) for one in encoders)]))


def _known(model: Foundation) -> Known:
    family, weights = model.family, model.weights
    return Known(
        encoder=model.name,
        parameters=model.parameters,
        multiply_adds=model.multiply_adds,
        bands=family.bands,
        whole=family.whole,
        expects=family.expects,
        weights=None if weights is None else f"{weights.file} of {weights.repository} on the Hugging Face hub",
        licence=family.licence,
        package=family.package,
        reason=why_not(model),
    )


def _is_pattern(encoder: str) -> bool:
    return bool(set(encoder) & set("*?["))


def _matching(encoder: str) -> Sequence[str]:
    if not _is_pattern(encoder):
        check_encoder(encoder)
        return [encoder]
    found = [name for name in encoder_names() if fnmatchcase(name, encoder)]
    if not found:
        raise ModelError(f"no encoder is called '{encoder}'; 'seg models --all' lists those that fit an architecture")
    return found

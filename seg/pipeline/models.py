"""What can be trained: architectures, the encoders that fit them, and what each network costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from seg.config.sections import Fusion, ModelConfig
from seg.config.track import Track, silent
from seg.errors import ModelError
from seg.models.architectures import (
    ARCHITECTURES,
    SHORT_LIST,
    check_encoder,
    check_fusion,
    encoder_names,
    find_architecture,
)
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
class Listing:
    """Networks for a band set.

    Attributes:
        bands: The input channels.
        fusion: How the bands of two sensors are brought together.
        networks: Those that can be built.
        misfits: Pairs that were asked for and do not fit each other.
        takes: Which encoders fit, in words, by architecture listed.
    """

    bands: tuple[str, ...]
    fusion: Fusion
    networks: tuple[Network, ...]
    misfits: tuple[Pair, ...]
    takes: dict[str, str]


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
    architecture.

    Args:
        bands: A modality, or comma-separated bands.
        arch: One architecture only.
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
    pairs = _pairs(arch, encoder, every)
    from seg.models.cost import measure

    networks: list[Network] = []
    misfits: list[Pair] = []
    for one_arch, one_encoder in track(pairs, "measuring networks", len(pairs)):
        try:
            cost = measure(ModelConfig(arch=one_arch, encoder=one_encoder, fusion=fusion), names)
        except ModelError:
            if len(pairs) == 1:
                raise
            misfits.append((one_arch, one_encoder))
            continue
        default = one_encoder == ARCHITECTURES[one_arch].encoder
        networks.append(Network(one_arch, one_encoder, default, cost))
    takes = {one: ARCHITECTURES[one].takes for one in dict.fromkeys(pair[0] for pair in pairs)}
    return Listing(names, fusion, tuple(networks), tuple(misfits), takes)


def _pairs(arch: str | None, encoder: str | None, every: bool) -> list[Pair]:
    """What is to be measured, each pair once."""
    if arch is not None:
        find_architecture(arch)
    if encoder is not None:
        encoders = _matching(encoder)
        return [(one_arch, one) for one_arch in ([arch] if arch else ARCHITECTURES) for one in encoders]
    encoders = encoder_names() if every else SHORT_LIST
    chosen = arch or ModelConfig().arch
    first = [(chosen, ARCHITECTURES[chosen].encoder)] if arch else [(n, a.encoder) for n, a in ARCHITECTURES.items()]
    return list(dict.fromkeys([*first, *((chosen, one) for one in encoders)]))


def _matching(encoder: str) -> Sequence[str]:
    if not set(encoder) & set("*?["):
        check_encoder(encoder)
        return [encoder]
    found = [name for name in encoder_names() if fnmatchcase(name, encoder)]
    if not found:
        raise ModelError(f"no encoder is called '{encoder}'; 'seg models --all' lists those that fit an architecture")
    return found

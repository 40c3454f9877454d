"""A network that starts from weights: ImageNet's, reBEN's, SSL4EO's, those of a file or of an earlier run."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from safetensors import SafetensorError
from torch import Tensor, nn

from seg.catalogue.hub import fetch, silent_hub
from seg.config.sections import ModelConfig
from seg.config.wording import clipped
from seg.errors import CheckpointError, ModelError
from seg.foundation.catalogue import PUBLISHED, is_foundation
from seg.foundation.encoder import FoundationEncoder
from seg.models.architectures import check_encoder, find_architecture, pretrained_file, pretrained_hub_file
from seg.models.checkpoint import read_checkpoint
from seg.models.foundation_weights import fit_foundation
from seg.models.fusion import DualEncoder
from seg.models.network import encoder_options, smp_model
from seg.models.published import Published, read_published
from seg.models.scene_transfer import take_scene_classifier
from seg.models.segmenter import Segmenter, build_segmenter
from seg.models.stems import BandFit
from seg.models.transfer import Fitted, fit_encoder
from seg.models.weights_bands import Evidence, Family, InputBands
from seg.models.weights_catalogue import IMAGENET_BANDS, check_weights, published_file, run_checkpoint
from seg.models.weights_names import IMAGENET
from seg.own.code import Code
from seg.reben.bands import SENSORS, of_sensor

Notify = Callable[[str], None]

_MOST_NAMED = 4
"""Tensors that are named where some were left out; of more, only their numbers are told."""
_PARTS = {
    "network.encoder.": "encoder",
    "encoder.": "encoder",
    "network.decoder.": "decoder",
    "decoder.": "decoder",
    "network.segmentation_head.": "pixel head",
    "segmentation_head.": "pixel head",
    "scene_head.": "scene head",
}
"""Parts of a network by how the names of their tensors begin."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an encoder started from.

    Attributes:
        encoder: ``s1`` or ``s2`` where there are two; None for the only one.
        source: The file, and where it is from.
        revision: Commit of the hub; None for a file.
        tensors: Number of tensors of the encoder that were taken over.
        bands: How the bands of the first layer fit.
        scene_head: Whether the scene head was taken over too.
        decoder: Number of tensors beyond encoder and scene head that were taken over.
        left_out: Names of published tensors that were not.
        inputs: The input bands of the published weights, in order, and what says so.
    """

    encoder: str | None
    source: str
    revision: str | None
    tensors: int
    bands: BandFit
    scene_head: bool = False
    decoder: int = 0
    left_out: tuple[str, ...] = ()
    inputs: InputBands | None = None

    def record(self) -> dict[str, Any]:
        """All of it, for ``run.json``."""
        return asdict(self)

    def sentence(self) -> str:
        """All of it, in a line for the user."""
        whose = f" of the {self.encoder} encoder" if self.encoder else ""
        revision = f" (revision {self.revision})" if self.revision else ""
        parts = [f"{self.tensors} tensors"]
        if self.inputs is not None:
            parts.append(f"for bands {self.inputs}")
        if self.bands.estimated or self.bands.dropped:
            parts.append(f"bands by name: {', '.join(self.bands.kept) or 'none'}")
        if self.bands.estimated:
            parts.append(f"from the mean: {', '.join(self.bands.estimated)}")
        if self.bands.dropped:
            parts.append(f"not used: {', '.join(self.bands.dropped)}")
        if self.scene_head:
            parts.append("with the scene head")
        if self.decoder:
            parts.append(f"with {self.decoder} tensors beyond the encoder")
        if self.left_out:
            parts.append(f"left out: {_summed_up(self.left_out)}")
        return f"Weights{whose} from {self.source}{revision}: {'; '.join(parts)}."


def _summed_up(names: Sequence[str]) -> str:
    """Tensors in a few words: the names of a few, of many how many there are in each part of a network."""
    if len(names) <= _MOST_NAMED:
        return ", ".join(clipped(name) for name in names)
    counts = Counter(next((part for start, part in _PARTS.items() if name.startswith(start)), "") for name in names)
    parts = [f"{counts.pop(part)} of the {part}" for part in dict.fromkeys(_PARTS.values()) if part in counts]
    rest = counts[""]
    return " and ".join([*parts, *([f"{rest} others, such as {clipped(_odd(names))}"] if rest else [])])


def _odd(names: Sequence[str]) -> str:
    return next(name for name in names if not name.startswith(tuple(_PARTS)))


def start_segmenter(
    config: ModelConfig,
    bands: Sequence[str],
    notify: Notify = lambda _: None,
    context: int = 0,
    code: Code | None = None,
) -> tuple[Segmenter, tuple[Loaded, ...]]:
    """A new network in training mode, on the CPU, that starts from ``config.weights``.

    Bands are matched by name, see `fit_stem`. With two encoders each takes the weights that suit its sensor.

    Args:
        config: Which network, and from which weights.
        bands: Names of the input channels, in order.
        notify: Is told what was loaded.
        context: Pixels of 10 m around a patch that it is to see.
        code: What builds a network of one's own, if that was read already.

    Returns:
        The network, and what each of its encoders started from; nothing for random weights.

    Raises:
        ModelError, CheckpointError: If the weights do not exist, cannot be fetched or read,
            or are for another network.
    """
    if config.weights is not None and (is_foundation(config.encoder) or config.weights == PUBLISHED):
        check_weights(config.weights, config.encoder, bands)
    elif config.weights == IMAGENET and not find_architecture(config.arch).own:
        _check_published(config.encoder)
    model = build_segmenter(config, bands, context, code)
    if config.weights is None:
        return model, ()
    if model.config.own:
        whole = _from_earlier_run(model)
        notify(whole.sentence())
        return model, (whole,)
    loaded = []
    for sensor, encoder, names in _encoders(model):
        if isinstance(encoder, FoundationEncoder):
            published, fitted = fit_foundation(encoder, config, sensor, notify)
        else:
            published = _find(model, sensor, names)
            fitted = fit_encoder(encoder, config.encoder, names, model.patch_edge, published)
        # The base class's own: what some encoders of smp do to the names of published files has been done.
        nn.Module.load_state_dict(encoder, dict(fitted.tensors), strict=False)
        loaded.append(_finish(model, sensor, published, fitted))
        notify(loaded[-1].sentence())
    return model, tuple(loaded)


def _from_earlier_run(model: Segmenter) -> Loaded:
    """Take over what has the same names and shapes from an earlier run of a network of one's own."""
    weights = model.config.weights
    assert weights is not None
    checkpoint = run_checkpoint(Path(weights))
    if checkpoint is None:
        raise ModelError(f"{weights} is no folder of a run; name one with --weights, or leave it out")
    card, tensors = read_checkpoint(checkpoint)
    if card.bands != model.bands:
        raise ModelError(
            f"{weights} was trained with {','.join(card.bands)} and not {','.join(model.bands)}; give it the same bands"
        )
    state = model.state_dict()
    fitting = {name: value for name, value in tensors.items() if name in state and state[name].shape == value.shape}
    if not any(name.startswith("network.") for name in fitting):
        raise CheckpointError(f"{weights} holds nothing that fits {model.config.arch}; name a run of the same network")
    model.load_state_dict(fitting, strict=False)
    left_out = tuple(name for name in tensors if name not in fitting)
    source = card.source(Path(weights).resolve().name)
    heads = any(name.startswith("scene_head.") for name in fitting)
    bands = BandFit.between(model.bands, model.bands)
    return Loaded(None, source, None, len(fitting), bands, scene_head=heads, left_out=left_out)


def _encoders(model: Segmenter) -> list[tuple[str | None, nn.Module, tuple[str, ...]]]:
    """Sensor, encoder and bands of each encoder."""
    encoder = model.network.encoder
    if not isinstance(encoder, DualEncoder):
        return [(None, encoder, model.bands)]
    return [(sensor, encoder.encoders[sensor], of_sensor(model.bands, sensor)) for sensor in SENSORS]


def _find(model: Segmenter, sensor: str | None, bands: tuple[str, ...]) -> Published:
    config = model.config
    assert config.weights is not None
    if config.weights == IMAGENET:
        return _imagenet(model)
    place = published_file(config.weights, config.encoder, bands)
    return read_published(place, config.weights_bands, sensor, config.weights)


def _imagenet(model: Segmenter) -> Published:
    """The encoder as smp or timm publish it, for red, green and blue."""
    config, fixed_size = model.config, model.fixed_size
    cure = "start from random weights with --weights none"
    words = _check_published(config.encoder)
    revision = None
    if (file := pretrained_hub_file(config.encoder)) is not None:
        how = f"with: hf download {file[0]} {file[1]} --revision {file[2]}; copy {HF_HUB_CACHE} here, or {cure}"
        revision = fetch(*file, how).parent.name
    options = next(options for size, options in encoder_options(config, model.context) if size == fixed_size)
    try:
        with torch.random.fork_rng(devices=[]), silent_hub():
            encoder = smp_model(config, IMAGENET_BANDS, options, IMAGENET).encoder
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"the pretrained weights of encoder '{config.encoder}' cannot be read; fetch {words} into the local cache "
            f"on a machine with a network, or {cure}"
        ) from error
    family = Family({len(IMAGENET_BANDS): IMAGENET_BANDS}, f"as {IMAGENET} has them", binding=True)
    evidence = Evidence(told=config.weights_bands, families=(family,))
    return Published(words, encoder.state_dict(), evidence, revision=revision)


def _check_published(encoder: str) -> str:
    """Where the encoder's pretrained weights come from, in words."""
    check_encoder(encoder)
    words = pretrained_file(encoder)
    if words is None:
        raise ModelError(f"encoder '{encoder}' has no pretrained weights; use --weights none or another encoder")
    return words


def _finish(model: Segmenter, sensor: str | None, published: Published, fitted: Fitted) -> Loaded:
    """Take over what lies beyond the encoder, as far as it fits, and say what was done."""
    left_out = list(fitted.unused)
    scene_head, decoder = False, 0
    if published.classifier is not None and sensor is None and take_scene_classifier(model, published, fitted):
        scene_head = True
        left_out = [key for key in left_out if key not in published.classifier]
    elif published.card is not None and sensor in (None, SENSORS[-1]):
        beyond, rejected = _of_run(model, published)
        model.load_state_dict(dict(beyond), strict=False)
        heads = [key for key in beyond if key.startswith("scene_head.")]
        scene_head, decoder = bool(heads), len(beyond) - len(heads)
        left_out += rejected
    return Loaded(
        sensor,
        published.source,
        published.revision,
        len(fitted.tensors),
        fitted.bands,
        scene_head,
        decoder,
        tuple(left_out),
        fitted.inputs,
    )


def _of_run(model: Segmenter, published: Published) -> tuple[Mapping[str, Tensor], list[str]]:
    """Decoder and heads of an earlier run: for the same architecture, what has the same names and shapes."""
    card, state = published.card, model.state_dict()
    assert card is not None
    same_head = card.scene_head == model.config.scene_head
    same_arch = card.arch == model.config.arch
    fitting = {
        key: value
        for key, value in published.network.items()
        if key in state
        and state[key].shape == value.shape
        and (same_head if key.startswith("scene_head.") else same_arch)
    }
    return fitting, [key for key in published.network if key not in fitting]

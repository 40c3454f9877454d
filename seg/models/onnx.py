"""A network written as ONNX, from values to probabilities, for images of any size: the only importer of onnx."""

import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seg.config.wording import clipped
from seg.errors import CheckpointError, WrongUseError
from seg.models.card import ModelCard
from seg.models.frame import Frame, TakenSizes
from seg.models.onnx_file import (
    INPUT,
    PIXEL_OUTPUT,
    SCENE_OUTPUT,
    SEG_KEY,
    SHARE_16,
    OnnxOptions,
    Written,
    open_session,
    quantise,
    seg_metadata,
)
from seg.models.segmenter import Segmenter
from seg.reben.bands import BANDS, PATCH_METRES, PATCH_SIZE
from seg.reben.classes import CLASSES, hexadecimal

TOLERANCE = 1e-3
"""Largest difference of a probability between ONNX Runtime and torch; float32 rounds differently in either."""
_SIZES = ((2, PATCH_SIZE, PATCH_SIZE), (1, 136, 200))
"""Images, and their height and width without a context, on which the two are compared."""
_TRACED = (2, 136, 168)
"""Images that the network is followed with: no edge like another, so that none is taken for another."""
_TILE, _OVERLAP = 512, 25
"""Edge of the tiles that other programs are advised to cut, pixels, and by how many per cent they overlap."""
_CENTIMETRES = 100


class _Whole(nn.Module):
    """The network with what stands before and behind it.

    Args:
        model: In evaluation mode.
        card: Its card.
        options: What it takes, and of which size.
        any_size: Pad images of any size; else the network pads those of the one size.
    """

    def __init__(self, model: Segmenter, card: ModelCard, options: OnnxOptions, any_size: bool) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.model = model
        self.temperature = card.calibration
        self.any_size = any_size
        self.scene = card.scene_head != "none" and options.tile is None
        scale = {"stored": 1.0, "share16": 1 / SHARE_16, "normalised": None}[options.values]
        self.normalises = scale is not None
        self.register_buffer("mean", torch.tensor(card.mean).view(1, -1, 1, 1) * (scale or 1))
        self.register_buffer("std", torch.tensor(card.std).view(1, -1, 1, 1) * (scale or 1))

    def forward(self, values_BCHW: Tensor) -> tuple[Tensor, ...]:
        images_BCHW = (values_BCHW - self.mean) / self.std if self.normalises else values_BCHW
        # With a context, its pixels too: whoever cuts tiles wants as many as there are in a tile.
        pixel_logits, scene_logits = self._padded(images_BCHW) if self.any_size else self.model.whole(images_BCHW)
        pixel = (pixel_logits / self.temperature).softmax(1)
        return (pixel,) if scene_logits is None or not self.scene else (pixel, scene_logits.sigmoid())

    def _padded(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `Segmenter.whole`, with sizes that are known when the graph is run alone, and not by its writer."""
        model, takes = self.model, self.model.sizes
        height, width = images_BCHW.shape[-2:]
        frame = Frame(height, width, _full(height, takes), _full(width, takes))
        model.tell_pools(frame)
        rows = _reflected(height, frame.top, frame.full_height)
        columns = _reflected(width, frame.left, frame.full_width)
        full_BCHW = images_BCHW.index_select(2, rows).index_select(3, columns)
        logits_BKHW, features_BCHW = model.run(full_BCHW, None)
        # Cropped by indices, so that the result is known to have the size of the image.
        logits_BKHW = logits_BKHW.index_select(2, torch.arange(height) + frame.top)
        logits_BKHW = logits_BKHW.index_select(3, torch.arange(width) + frame.left)
        if model.scene_head is None or not self.scene:
            return logits_BKHW, None
        if not (context := model.context):
            return logits_BKHW, model.scene_head(logits_BKHW, features_BCHW, frame)
        core_BKHW = logits_BKHW.index_select(2, torch.arange(height - 2 * context) + context)
        core_BKHW = core_BKHW.index_select(3, torch.arange(width - 2 * context) + context)
        return logits_BKHW, model.scene_head(core_BKHW, features_BCHW, frame.within(context))


def _full(edge: Any, takes: TakenSizes) -> Any:
    return torch.sym_max((edge + takes.multiple - 1) // takes.multiple * takes.multiple, takes.least)


def _reflected(length: Any, before: Any, full: Any) -> Tensor:
    """As of `Frame.sources`; the period is a tensor, because ONNX has no remainder by a size."""
    period = torch.full((1,), 2 * (length - 1)).clamp_min(1)
    position = torch.remainder(torch.arange(full) - before, period)
    return torch.minimum(position, period - position)


def write_onnx(
    path: Path,
    model: Segmenter,
    card: ModelCard,
    options: OnnxOptions | None = None,
    weights: str = "",
    patches_NCHW: npt.NDArray[np.float32] | None = None,
) -> Written:
    """Write a network as ONNX and compare it with torch.

    The input ``bands`` is float32 (batch, band, height, width) of any size in each: digital numbers and dB as reBEN
    stores them, in the order of the card's bands, 20 m and 60 m bands resampled to 10 m. The outputs are
    ``pixel_probabilities``, (batch, 19, height, width), calibrated by the card's temperature, and, with a scene head,
    ``scene_probabilities``, (batch, 19), in the order of the card's classes. A network that cannot be written for any
    size is written for patches of 120 x 120. With a context, images are larger by it on every side, patches too; its
    pixels have probabilities as well, which are worth less, and those of the scene leave them out.

    Args:
        path: The file.
        model: In evaluation mode, on the CPU.
        card: Its card, classes in the order of `CLASS_NAMES`.
        options: What else it takes; None: the above.
        weights: Digest of its weights, which maps name.
        patches_NCHW: Normalised patches of the validation split, on which the loss of quantised weights is measured;
            None: on random images.

    Raises:
        CheckpointError: If the network has parts that ONNX does not know, or ONNX Runtime gives other probabilities
            than torch.
        WrongUseError: If it does not take such tiles, or such values make no sense for its bands.
    """
    options = options or OnnxOptions()
    _check_options(model, card, options)
    edge = options.tile or model.picture_edge
    attempts = [False] if options.tile or model.fixed_size else [True, False]
    for any_size in attempts:
        whole = _Whole(model, card, options, any_size).eval()
        sizes = tuple(_seen(one, model) for one in _SIZES) if any_size else ((2, edge, edge), (1, edge, edge))
        try:
            _export(path, whole, card, sizes)
            difference = _difference(path, whole, card, sizes)
            # Not below also refuses NaN.
            if not difference <= TOLERANCE:
                raise CheckpointError(
                    f"ONNX Runtime gives probabilities that differ by {difference:.2g} from those of torch; "
                    "leave out --onnx"
                )
        except CheckpointError:
            if any_size:
                continue
            raise
        break
    written = Written(difference, whole.any_size, edge)
    if options.quantise:
        written = _quantised(path, whole, card, written, patches_NCHW)
    _add_metadata(path, _metadata(whole, card, options, weights))
    return written


def _seen(size: tuple[int, int, int], model: Segmenter) -> tuple[int, int, int]:
    """Images with a context, rounded up so that edges which are no multiples of the stride stay none."""
    count, height, width = size
    more = -(-2 * model.context // model.multiple) * model.multiple
    return count, height + more, width + more


def _check_options(model: Segmenter, card: ModelCard, options: OnnxOptions) -> None:
    tile = options.tile
    if tile is not None and (tile % model.multiple or model.frame(tile, tile).is_padded):
        least = model.frame(1, 1).full_height
        takes = f"of {least} pixels only" if model.fixed_size else f"that are multiples of {model.multiple}"
        raise WrongUseError(f"{card.named} takes tiles {takes}, not {tile}")
    if tile is not None and tile <= 2 * model.context:
        raise WrongUseError(
            f"the network looks at {model.context} pixels around what it maps, so that nothing is left of tiles of "
            f"{tile}; use --onnx-tile {-(-model.picture_edge // model.multiple) * model.multiple} or more"
        )
    decibels = [name for name in card.bands if BANDS[name].sensor == "s1"]
    if options.values == "share16" and decibels:
        raise WrongUseError(
            f"{', '.join(decibels)} are in dB, which no numbers of 16 bits are; use --onnx-values stored"
        )


def _export(path: Path, whole: _Whole, card: ModelCard, sizes: tuple[tuple[int, int, int], ...]) -> None:
    names = [PIXEL_OUTPUT] + ([SCENE_OUTPUT] if whole.scene else [])
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if whole.any_size:
        axes |= {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    with _quiet():
        try:
            program = torch.onnx.export(
                whole,
                (_random_images(card, *(_seen(_TRACED, whole.model) if whole.any_size else sizes[0]), whole),),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=names,
                dynamic_shapes=(axes,),
            )
        # The exporter runs the whole network through torch's compiler; what that raises has no common ancestor.
        except Exception as error:
            raise CheckpointError(
                f"{card.named} cannot be written as ONNX by this version of torch "
                f"({type(error).__name__}); leave out --onnx"
            ) from error
    assert program is not None, "the exporter gives a program"
    program.save(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter tells of its own steps is of no use to who asked for a file."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _difference(path: Path, whole: _Whole, card: ModelCard, sizes: tuple[tuple[int, int, int], ...]) -> float:
    """The largest difference of a probability between ONNX Runtime and the `Segmenter` itself.

    Raises:
        CheckpointError: If ONNX Runtime does not take one of the images.
    """
    try:
        session = open_session(path, "cpu")
    except CheckpointError as error:
        reason = clipped(str(error.__context__).partition("\n")[0].rpartition(" : ")[2])
        raise CheckpointError(f"ONNX Runtime does not run {card.named} ({reason}); leave out --onnx") from error
    reference = _Whole(whole.model, card, OnnxOptions("normalised"), any_size=False).eval()
    worst = 0.0
    for size in sizes:
        images_BCHW = _random_images(card, *size, reference)
        values_BCHW = images_BCHW * whole.std + whole.mean if whole.normalises else images_BCHW
        try:
            found = session.run(None, {INPUT: values_BCHW.numpy()})
        # What it raises of a file that it has opened has no common ancestor.
        except Exception as error:
            raise CheckpointError(
                f"ONNX Runtime does not run {card.named} on images of {' x '.join(map(str, size[1:]))} as this version "
                "of torch has written it; leave out --onnx"
            ) from error
        with torch.inference_mode():
            expected = reference(images_BCHW)
        differences = [float(np.abs(a - b.numpy()).max()) for a, b in zip(found, expected, strict=False)]
        worst = max([worst, *differences], key=lambda value: math.inf if math.isnan(value) else value)
    return worst


def _quantised(
    path: Path, whole: _Whole, card: ModelCard, written: Written, patches_NCHW: npt.NDArray[np.float32] | None
) -> Written:
    """Quantise the weights of a file, and measure what that changes."""
    plain = path.with_name(f"plain-{path.name}")
    path.rename(plain)
    quantise(plain, path)
    edge = written.edge
    if patches_NCHW is None or not len(patches_NCHW):
        values_NCHW, measured_on = _random_images(card, 4, edge, edge, whole), "random images"
    else:
        patches = torch.from_numpy(patches_NCHW)
        if not written.any_size:
            # Tiles are larger or smaller than patches, which are then seen in their surroundings or in part.
            patches = Frame(PATCH_SIZE, PATCH_SIZE, max(edge, PATCH_SIZE), max(edge, PATCH_SIZE)).pad(patches)
            patches = patches[:, :, :edge, :edge]
        values_NCHW = patches * whole.std + whole.mean if whole.normalises else patches
        measured_on = f"{len(patches)} patches of the validation split"
    before, after = (
        np.concatenate([session.run([PIXEL_OUTPUT], {INPUT: one[None]})[0] for one in values_NCHW.numpy()])
        for session in (open_session(file, "cpu") for file in (plain, path))
    )
    plain.unlink()
    changed = float((before.argmax(1) != after.argmax(1)).mean())
    return replace(written, changed=changed, shift=float(np.abs(before - after).mean()), measured_on=measured_on)


def _add_metadata(path: Path, metadata: dict[str, str]) -> None:
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


def _metadata(whole: _Whole, card: ModelCard, options: OnnxOptions, weights: str) -> dict[str, str]:
    """What seg reads under `SEG_KEY`, and what Deepness of QGIS and GeoDeep read, all of it as JSON.

    Deepness divides values by 255 before it standardises them, so its statistics are that much smaller.
    """
    model, takes = whole.model, whole.model.sizes
    edge = options.tile or model.picture_edge
    if not whole.any_size:
        takes = TakenSizes(model.config, math.gcd(edge, model.multiple), edge, edge, False, model.context)
    tile = max(edge, _TILE) if whole.any_size else edge
    mean, std = ([0.0] * len(card.bands), [1.0] * len(card.bands))
    if options.values == "normalised":
        mean, std = list(card.mean), list(card.std)
    elif options.values == "share16":
        std = [float(SHARE_16)] * len(card.bands)
    document = {
        SEG_KEY: seg_metadata(card, weights, takes, options, whole.scene),
        "model_type": "Segmentor",
        "class_names": {str(one.index): one.name for one in CLASSES},
        "class_colors": {str(one.index): hexadecimal(one.color) for one in CLASSES},
        "bands": list(card.bands),
        "resolution": PATCH_METRES // PATCH_SIZE * _CENTIMETRES,
        "tile_size": tile,
        "tiles_size": tile,
        "tiles_overlap": max(_OVERLAP, math.ceil(200 * model.context / tile)),
        # The most probable class is taken, however improbable it is, and no object is too small.
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
        "standardization_mean": [value / 255 for value in mean],
        "standardization_std": [value / 255 for value in std],
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in document.items()}


def _random_images(card: ModelCard, count: int, height: int, width: int, whole: _Whole) -> Tensor:
    """Images of the bands' own distribution, as the network takes them."""
    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.randn(count, len(card.bands), height, width, generator=generator)
    return images_BCHW * whole.std + whole.mean if whole.normalises else images_BCHW

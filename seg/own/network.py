"""Networks of one's own: any module that gives logits, built by its own code, and which sizes it takes, tried out."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from seg.config.sections import ModelConfig
from seg.config.wording import SENTENCE, clipped
from seg.errors import OWN_CODE, ModelError
from seg.own.code import (
    ARCHITECTURE_GROUP,
    Code,
    code_of,
    compiled,
    is_in_file,
    no_such_name,
    registered,
    require_trusted,
)
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import NUM_CLASSES

_MULTIPLES = (32, 64)
"""Pixels by which networks divide edges: most of them, and almost all."""
_EDGES = (120, 128, 144, 160, 192, 224, 240, 256, 288, 320, 384, 448, 512)
"""Edges, pixels, of images of which a network may take one size alone."""
_GRID = 8
"""Pixels by which windows of one size are shifted at least."""
FeaturesAt = Callable[[int, int], Tensor | None]
"""From height and width of an image, pixels, to the features that the network gives of it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes that a network takes, and what it gives to a scene head.

    Attributes:
        multiple: Pixels by which the edges of padded images are divisible.
        least: Least edge of a padded image, pixels.
        fixed_size: Edge of the only padded image that it takes, pixels; None if it takes any.
        channels: Channels of its deepest features; None if it gives none.
    """

    multiple: int
    least: int
    fixed_size: int | None
    channels: int | None


class _OutputError(ModelError):
    """What a network gives is not what it has to give."""


def own_network(
    config: ModelConfig, bands: tuple[str, ...], context: int, code: Code | None = None
) -> tuple[nn.Module, Layout, Code | None]:
    """Build a network of somebody's own and find out what it takes.

    What its own code raises is passed on as it is, so that whoever wrote it sees where.

    Args:
        config: Which, as `seg.own.code.settled` leaves it.
        bands: Names of the input channels, in order.
        context: Pixels around a patch that it is to see.
        code: Its code, if that was read already.

    Returns:
        The network, in training mode; its layout; its code, None if an installed package has registered it.

    Raises:
        ModelError: If nothing in the code has the name, it builds something else, or that gives something else.
        CheckpointError: If nobody has named the code on this machine.
    """
    if is_in_file(config.arch):
        code = code or code_of(config)
        build, where = _found(code), str(code.path)
    else:
        build, where = registered(ARCHITECTURE_GROUP)[config.arch].load(), config.arch
    if isinstance(build, nn.Module):
        name = code.name if code else config.arch
        raise ModelError(f"'{name}' of {where} is a network already; name the class or function that builds it")
    try:
        inspect.signature(build).bind(bands=bands, classes=NUM_CLASSES)
    except (TypeError, ValueError):
        name = code.name if code else config.arch
        raise ModelError(
            f"'{name}' of {where} cannot be called with bands and classes; write it as {name}(bands, classes), with "
            "the names of the bands and the number of classes"
        ) from None
    network = called(build, bands=bands, classes=NUM_CLASSES)
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{config.arch} gives {type(network).__name__}, and has to give a network; return a torch.nn.Module"
        )
    if not hasattr(network, "_modules"):
        raise ModelError(f"{config.arch} does not call super().__init__() before anything else; mend it")
    if odd := [name for name, value in network.state_dict().items() if not isinstance(value, Tensor)]:
        raise ModelError(
            f"{config.arch} keeps '{odd[0]}' in its state, which is no tensor, and weights are saved as tensors alone; "
            "keep it as a buffer, or let the code make it anew"
        )
    layout = _layout(network, config.arch, len(bands), PATCH_SIZE + 2 * context)
    _check_several(network, config.arch, len(bands), layout.least)
    try:
        network.load_state_dict(network.state_dict())
    except RuntimeError as error:
        reason = clipped(" ".join(str(error).split()), SENTENCE)
        raise ModelError(f"{config.arch} does not take back what its state_dict() gives: {reason}; mend it") from error
    if layout.channels is None and config.scene_head not in ("derived", "none"):
        raise ModelError(
            f"scene head '{config.scene_head}' looks at features, and {config.arch} gives logits alone; return "
            "(logits, features), or use --scene-head derived"
        )
    network.train()
    return network, layout, code


def called(code: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """Call what is somebody's own, the network or what builds it: by this, errors in it are known as theirs.

    Raises:
        ModelError: For what would be taken for a failure of seg's, or for the end of its work.
    """
    try:
        return code(*inputs, **named)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"the code of the network fails with {type(error).__name__}: {clipped(reason, SENTENCE)}; mend it "
            "there, --debug shows where"
        ) from error
    except SystemExit as error:
        raise ModelError("the code of the network ends the program, by sys.exit or the like; take that out") from error


def outputs_of(result: Any, arch: str) -> tuple[Tensor, Tensor | None]:
    """Logits and deepest features in what a network has given.

    Args:
        result: The logits, a pair of logits and features, or a dictionary with ``logits`` (or ``out``) and, if there
            are any, ``features``; features are a tensor or several, the deepest last.
        arch: Its name, for errors.

    Raises:
        ModelError: If it is anything else.
    """
    features: Any = None
    if isinstance(result, dict):
        logits, features = result.get("logits", result.get("out")), result.get("features")
    elif isinstance(result, list | tuple) and len(result) == 2:
        logits, features = result
    else:
        logits = result
    if isinstance(features, list | tuple) and features:
        features = features[-1]
    if not isinstance(logits, Tensor):
        what = f"a dictionary with {', '.join(map(str, result))}" if isinstance(result, dict) else type(result).__name__
        raise _OutputError(
            f"{arch} gives {what}; return logits (batch, {NUM_CLASSES}, height, width), a pair (logits, features), or "
            "a dictionary with both"
        )
    if not logits.is_floating_point():
        raise _OutputError(
            f"{arch} gives logits of the type {str(logits.dtype).removeprefix('torch.')}; return floating-point "
            "numbers, before any argmax"
        )
    if not (features is None or (isinstance(features, Tensor) and features.ndim == 4)):
        shape = f"of shape {tuple(features.shape)}" if isinstance(features, Tensor) else type(features).__name__
        raise _OutputError(f"{arch} gives features {shape}; return a tensor (batch, channels, height, width)")
    return logits, features


def _found(code: Code) -> Callable[..., Any]:
    """What is called of a file, which is run if it has not been yet."""
    require_trusted(code)
    module = sys.modules.get(f"{OWN_CODE}{code.sha256}") or _run(code)
    found: Callable[..., Any] | None = getattr(module, code.name, None)
    if not callable(found):
        known = [
            name
            for name, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == module.__name__
        ]
        raise no_such_name(code, known)
    return found


def _run(code: Code) -> ModuleType:
    """Run a file as a module of its own; what was hashed is what is run."""
    module = ModuleType(f"{OWN_CODE}{code.sha256}")
    module.__file__ = str(code.path)
    sys.modules[module.__name__] = module
    try:
        called(exec, compiled(code), vars(module))
    except BaseException as error:
        del sys.modules[module.__name__]
        if isinstance(error, ModuleNotFoundError) and error.name:
            cure = (
                "put what it needs into the one file, since a checkpoint takes no other along"
                if (code.path.parent / f"{error.name.partition('.')[0]}.py").is_file()
                else "install it"
            )
            raise ModelError(f"{code.path} imports '{error.name}', which is not installed; {cure}") from error
        raise
    return module


def _layout(network: nn.Module, arch: str, bands: int, edge: int) -> Layout:
    """Which sizes a network takes, found out on blank images, and what it gives.

    Many networks also take sizes that no stride of theirs divides, and then give maps that are shifted by some pixels.
    So the multiple is what its attribute ``multiple`` says, else the spacing of the features that it gives, else that
    of most networks.

    Args:
        network: The network; is left in evaluation mode.
        arch: Its name, for errors.
        bands: Number of its bands.
        edge: Edge of a patch with its context, pixels.
    """
    network.eval()
    features_at = partial(_features_at, network, arch, bands)
    stated = getattr(network, "multiple", None)
    if isinstance(stated, int) and not isinstance(stated, bool) and stated > 0:
        return _of_multiple(stated, edge, features_at)
    first = _up(edge, _MULTIPLES[-1])
    try:
        features = features_at(first, first)
    # Code of somebody's own may raise anything at a size that it does not take; if it takes none, that is passed on.
    except Exception as error:
        return _of_one_size(edge, features_at, error)
    spacing = first // max(features.shape[-1], 1) if features is not None else 0
    spacings = [spacing] if 0 < spacing <= _MULTIPLES[-1] else []
    failure: Exception | None = None
    for multiple in (*spacings, *_MULTIPLES):
        try:
            return _of_multiple(multiple, edge, features_at)
        except Exception as error:
            failure = failure or error
    assert failure is not None, "there are multiples"
    return _of_one_size(edge, features_at, failure)


def _features_at(network: nn.Module, arch: str, bands: int, height: int, width: int) -> Tensor | None:
    """Features of a blank image, if it gives any; refuses logits of another shape."""
    with torch.no_grad():
        logits, features = outputs_of(called(network, torch.zeros(1, bands, height, width)), arch)
    if logits.shape != (1, NUM_CLASSES, height, width):
        raise _OutputError(
            f"{arch} gives logits of shape {tuple(logits.shape)} for an image of {height} x {width} pixels; return "
            f"(batch, {NUM_CLASSES}, height, width), resized to the image where need be"
        )
    return features


def _check_several(network: nn.Module, arch: str, bands: int, edge: int) -> None:
    """Refuse a network that gives one answer for several images, none that is a number, or none that it learns from."""
    with torch.enable_grad():
        logits, features = outputs_of(called(network, torch.zeros(2, bands, edge, edge)), arch)
    for what, given in (("logits", logits), ("features", features)):
        if given is not None and len(given) != 2:
            raise _OutputError(f"{arch} gives {what} for {len(given)} of 2 images; return them for each image")
    if logits.device.type != "cpu":
        raise _OutputError(f"{arch} gives logits on {logits.device} for images on cpu; leave them where the images are")
    if logits.isnan().any():
        raise _OutputError(f"{arch} gives logits that are no numbers (NaN) for an image of zeros; mend its code")
    learned = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    if learned and not (logits.requires_grad or torch.is_inference_mode_enabled()):
        raise _OutputError(
            f"{arch} has parameters to be learned, such as '{learned[0]}', and its logits have no gradient; take out "
            "torch.no_grad() and detach(), or call requires_grad_(False) if it is not to learn"
        )


def _of_multiple(multiple: int, edge: int, features_at: FeaturesAt) -> Layout:
    least = _up(edge, multiple)
    more = least + multiple
    # Of two multiples in a row no larger power of two divides both.
    features = [features_at(*size) for size in ((least, least), (least, more), (more, least))]
    return Layout(multiple, least, None, _channels(features[0]))


def _of_one_size(edge: int, features_at: FeaturesAt, first: Exception) -> Layout:
    """The layout of a network that takes images of one size; if it takes none, what went wrong first is raised."""
    for size in (size for size in _EDGES if size >= edge):
        try:
            return Layout(_GRID, size, size, _channels(features_at(size, size)))
        except Exception as error:
            # A wrong shape says more than a size that is not taken.
            if isinstance(error, _OutputError) and not isinstance(first, _OutputError):
                first = error
    raise first


def _up(edge: int, multiple: int) -> int:
    return -(-edge // multiple) * multiple


def _channels(features: Tensor | None) -> int | None:
    return None if features is None else features.shape[1]

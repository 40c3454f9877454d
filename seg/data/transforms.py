"""Stored values to network inputs: normalisation, resampling to 10 m, augmentation."""

import inspect
import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from seg.config.installed import is_loaded, names_in_source
from seg.config.sections import Augmentation
from seg.data.context import margin, picture_size, require_shape
from seg.data.symmetry import moved
from seg.errors import WrongUseError
from seg.reben.bands import BANDS, PATCH_SIZE
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.store.tensors import Array

Resampling = Literal["bilinear", "nearest"]

# OpenCV aligns pixel edges, not pixel centres of the corners: output pixel i lies at (i + 0.5) / factor - 0.5 of the
# input, so bands of different pixel size stay registered to each other, with the edge value beyond the outer centres.
INTERPOLATION = {"bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}
"""OpenCV's name of each way of resampling."""
_NO_TRANSFORMS = frozenset({"BasicTransform", "DualTransform", "ImageOnlyTransform", "BaseCompose"})
"""Classes of albumentations that transforms are made from."""
_RESCALING = frozenset({"Normalize", "ToFloat", "FromFloat"})
"""What brings the values of every image to others: patches that are scored do not go through it."""
_NEAREST = (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT)


class Normaliser:
    """Brings stored bands onto the 10 m grid and to zero mean and unit standard deviation.

    The statistics are the published ones of the train split, taken by band name.

    Args:
        bands: Bands in the order of the output channels.
        resampling: How 20 m and 60 m bands are brought to 10 m.
        context: Pixels of 10 m around a patch, which come along, see `seg.data.context`.
    """

    def __init__(self, bands: Sequence[str], resampling: Resampling, context: int = 0) -> None:
        self.bands = tuple(bands)
        self._context = context
        self._interpolation = INTERPOLATION[resampling]
        self._plan = [
            (
                name,
                np.float32(1 / BANDS[name].std),
                np.float32(-BANDS[name].mean / BANDS[name].std),
                None if BANDS[name].size == PATCH_SIZE else self._edge(BANDS[name].size),
            )
            for name in bands
        ]

    def _edge(self, size: int) -> int:
        return size + 2 * margin(size, self._context)

    def __call__(self, tensors: Mapping[str, Array], out_CHW: npt.NDArray[np.float32], symmetry: int = 0) -> None:
        """Fill the channels of one image.

        Args:
            tensors: Stored arrays by band name, (row, column), at native resolution, with the margins of the context.
            out_CHW: Where to write, float32, (bands, 120, 120), or larger by the context on every side.
            symmetry: How the image is flipped or turned; see `seg.data.symmetry`.

        Raises:
            KeyError: If a band is missing.
            DamagedError: If a band has another shape than reBEN's.
        """
        for channel_HW, (name, scale, offset, edge) in zip(out_CHW, self._plan, strict=True):
            # New memory each time: several threads may read at once.
            target = channel_HW if edge is None else np.empty((edge, edge), np.float32)
            require_shape(name, tensors[name], target.shape)
            # Moved as stored, where a pixel has the fewest bytes.
            np.multiply(moved(tensors[name], symmetry), scale, out=target)
            target += offset
            if edge is not None:
                # Resampling after normalisation: both are linear, and this way the float copy is the small one.
                self._resample(target, BANDS[name].size, channel_HW)

    def _resample(self, coarse_hw: npt.NDArray[np.float32], size: int, channel_HW: npt.NDArray[np.float32]) -> None:
        edge = coarse_hw.shape[0] * (PATCH_SIZE // size)
        beyond = (edge - picture_size(self._context)) // 2
        if not beyond:
            cv2.resize(coarse_hw, (edge, edge), dst=channel_HW, interpolation=self._interpolation)
            return
        fine_HW = cv2.resize(coarse_hw, (edge, edge), interpolation=self._interpolation)
        channel_HW[:] = fine_HW[beyond:-beyond, beyond:-beyond]


class Augmenter:
    """Applies albumentations transforms to an image and its class map alike; those of `seg.data.symmetry` need it not.

    Geometric transforms see the normalised bands as they are; what they move in from outside the patch is unlabelled.
    Transforms of the values alone expect images between 0 and 1 and clip to that, so they see every band stretched to
    its own range within the patch, which is undone afterwards.

    What lies around a patch has no labels, so that what is moved in from there is unlabelled too.

    Args:
        transforms: Name and parameters of each transform, in order.
        channels: Number of bands; each transform is tried on an image of so many.
        context: Pixels around a patch, which the image has and the mask has not.

    Raises:
        WrongUseError: If a transform is unknown, refuses its parameters or the number of bands, or changes the size
            of the patch.
    """

    def __init__(self, transforms: Sequence[Augmentation], channels: int, context: int = 0) -> None:
        self._context = context
        self._steps = [_build(name, parameters or {}) for entry in transforms for name, parameters in entry.items()]
        for step in self._steps:
            _try(step, channels, picture_size(context))

    def __call__(self, image_CHW: npt.NDArray[np.float32], mask_HW: npt.NDArray[np.uint8], seed: Sequence[int]) -> None:
        """Augment in place.

        Args:
            image_CHW: Normalised bands, float32.
            mask_HW: Class indices, uint8.
            seed: What the random choices depend on, and nothing else.
        """
        if not self._steps:
            return
        image_HWC = np.ascontiguousarray(image_CHW.transpose(1, 2, 0))
        mask = np.pad(mask_HW, self._context, constant_values=IGNORE_INDEX) if self._context else mask_HW
        for step, step_seed in zip(
            self._steps, np.random.SeedSequence(seed).generate_state(len(self._steps)), strict=True
        ):
            step.set_random_seed(int(step_seed))
            image_HWC, mask = _apply(step, image_HWC, mask)
        image_CHW[:] = image_HWC.transpose(2, 0, 1)
        core = slice(self._context, self._context + PATCH_SIZE)
        mask_HW[:] = mask[core, core]


def _albumentations() -> Any:
    # It asks a web host for its newest version when it is imported, unless told not to.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations


def check_augmentation(transforms: Sequence[Augmentation]) -> None:
    """Check that transforms exist; albumentations is not loaded for that.

    Raises:
        WrongUseError: If one does not.
    """
    for name in (name for entry in transforms for name in entry):
        known = _transform_names()
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "list transforms one by one, each with its own p"
            raise WrongUseError(f"'{name}' is no albumentations transform; {hint}")
        if name in _RESCALING:
            raise WrongUseError(
                f"{name} would change the values of training patches and of no others; leave it out of data.augment, "
                "bands are normalised already"
            )


def _transform_names() -> Collection[str]:
    """Transforms of albumentations; as long as it is not loaded, the names of all its classes."""
    # Compositions, such as OneOf, take transforms and are none.
    transform = r"^class (\w+)\((?!\w*Compose\b|SomeOf\b)"
    if not is_loaded("albumentations") and (names := names_in_source("albumentations", "**/*.py", transform)):
        return set(names) - _NO_TRANSFORMS
    albumentations = _albumentations()
    base = albumentations.BasicTransform
    found = {key for key, value in vars(albumentations).items() if inspect.isclass(value) and issubclass(value, base)}
    return found - _NO_TRANSFORMS


def _build(name: str, parameters: Mapping[str, Any]) -> Any:
    check_augmentation(({name: {}},))
    kind = getattr(_albumentations(), name)
    accepted = inspect.signature(kind.__init__).parameters
    # Left alone, what is moved in from outside would be class 0, Urban fabric.
    fills = "fill_mask" in accepted and accepted["fill_mask"].default is not None
    defaults = {"fill_mask": IGNORE_INDEX} if fills else {}
    if parameters.get("mask_interpolation", cv2.INTER_NEAREST) not in _NEAREST:
        raise WrongUseError(
            f"{name} would take the mean of class numbers with mask_interpolation={parameters['mask_interpolation']}; "
            "leave it out"
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Argument", category=UserWarning)
            return kind(**{**defaults, **parameters})
    except (ValueError, TypeError, UserWarning) as error:
        reason = " ".join(str(error).split())
        raise WrongUseError(f"albumentations refuses the parameters {dict(parameters)} of {name}: {reason}") from None


def _try(step: Any, channels: int, edge: int) -> None:
    name = type(step).__name__
    image = np.linspace(-3, 3, edge * edge * channels, dtype=np.float32).reshape(edge, edge, channels)
    mask = np.zeros((edge, edge), np.uint8)
    mask[: edge // 2] = NUM_CLASSES - 1
    probability, step.p = step.p, 1.0
    step.set_random_seed(0)
    try:
        result, result_mask = _apply(step, image, mask)
    except (TypeError, ValueError, IndexError, KeyError, cv2.error) as error:
        reason = " ".join(str(error).split())
        raise WrongUseError(f"{name} does not work on patches of {channels} bands: {reason}") from None
    finally:
        step.p = probability
    if result.shape != image.shape or result_mask.shape != mask.shape or result.dtype != np.float32:
        raise WrongUseError(f"{name} changes the size or type of a patch; patches must stay {edge} x {edge}")
    if wrong := sorted(set(np.unique(result_mask).tolist()) - {*range(NUM_CLASSES), IGNORE_INDEX}):
        raise WrongUseError(
            f"{name} writes the class number {wrong[0]} into reference maps; classes are 0 to {NUM_CLASSES - 1}, and "
            f"{IGNORE_INDEX} is unlabelled"
        )


def _apply(
    step: Any, image_HWC: npt.NDArray[np.float32], mask_HW: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    if not isinstance(step, _albumentations().ImageOnlyTransform):
        result = step(image=image_HWC, mask=mask_HW)
        return result["image"], result["mask"]
    low = image_HWC.min(axis=(0, 1))
    span = image_HWC.max(axis=(0, 1)) - low
    span[span == 0] = 1
    result = step(image=(image_HWC - low) / span, mask=mask_HW)
    return result["image"] * span + low, result["mask"]

"""The loss of mask and multi-label together, from its configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

from seg.config.loss import LossConfig
from seg.data.frequency import ClassFrequencies
from seg.engine.losses.balance import class_weights, positive_weights
from seg.engine.losses.pixel import PIXEL_LOSSES
from seg.engine.losses.scene import SCENE_LOSSES
from seg.errors import WrongUseError
from seg.reben.classes import CLASS_NAMES

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SETTING_OF = {"class_weights_K": "class_weights", "positive_weights_K": "positive_weights"}
"""Settings that reach a loss as an array, by the name of its argument; all others reach it as they are."""

Losses = Mapping[str, Callable[..., "Tensor"]]


def check_losses(config: LossConfig) -> None:
    """Check that the losses exist and that every setting that was changed belongs to one of them.

    Raises:
        WrongUseError: If a loss is not known.
        WrongUseError: If a setting has no effect.
    """
    used = {name for losses in _chosen(config) for loss, _ in losses for name in _settings(loss)}
    for kind in (PIXEL_LOSSES, SCENE_LOSSES):
        for name in dict.fromkeys(name for loss in kind.values() for name in _settings(loss)):
            if name not in used and getattr(config, name) != LossConfig.model_fields[name].default:
                owners = [key for key, loss in kind.items() if name in _settings(loss)]
                section = "pixel" if kind is PIXEL_LOSSES else "scene"
                raise WrongUseError(
                    f"loss.{name} has no effect on the losses chosen; leave it out or set loss.{section} to "
                    f"{' or '.join(owners)}"
                )


class JointLoss:
    """The loss of mask and multi-label together: ``pixel_weight * pixel + scene_weight * scene``.

    Args:
        config: Losses and weights.
        frequencies: How often each class occurs in the train split; needed where the configuration asks for weights by
            frequency.

    Attributes:
        class_weights_K, positive_weights_K: Weights by frequency, float32; None: all alike.

    Raises:
        WrongUseError: As `check_losses`.
    """

    def __init__(self, config: LossConfig, frequencies: ClassFrequencies | None = None) -> None:
        check_losses(config)
        self.class_weights_K: Tensor | None = None
        self.positive_weights_K: Tensor | None = None
        beta = config.effective_beta
        if config.class_weights != "none":
            assert frequencies is not None, "nothing was counted"
            assert frequencies.pixels_K is not None, "pixels were not counted"
            self.class_weights_K = _float32(class_weights(frequencies.pixels_K, config.class_weights, beta))
        if config.positive_weights != "none":
            assert frequencies is not None, "nothing was counted"
            weights_K = positive_weights(frequencies.positives_K, frequencies.patches, config.positive_weights, beta)
            self.positive_weights_K = _float32(weights_K)
        self._config = config
        self._bind()

    def __call__(
        self, pixel_logits_BKHW: Tensor, scene_logits_BK: Tensor | None, target_BHW: Tensor, labels_BK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Total, pixel and scene loss; the scene loss is 0 for a network without a scene head.

        Args:
            pixel_logits_BKHW: Any float dtype; computed in float32.
            scene_logits_BK: None without a scene head.
            target_BHW: Class indices, int64, 255 where unlabelled.
            labels_BK: 0 or 1, float32.
        """
        self._follow(pixel_logits_BKHW.device)
        pixel = _sum(self._pixel, pixel_logits_BKHW.float(), target_BHW)
        if scene_logits_BK is None:
            scene = pixel.new_zeros(())
        else:
            scene = _sum(self._scene, scene_logits_BK.float(), labels_BK)
        return self._config.pixel_weight * pixel + self._config.scene_weight * scene, pixel, scene

    def record(self) -> dict[str, Any]:
        """The weights by frequency, by class, for the run record."""
        weights = {"class_weights": self.class_weights_K, "positive_weights": self.positive_weights_K}
        return {
            name: dict(zip(CLASS_NAMES, weights_K.tolist(), strict=True))
            for name, weights_K in weights.items()
            if weights_K is not None
        }

    def _bind(self) -> None:
        options = self._config.model_dump() | {
            "class_weights_K": self.class_weights_K,
            "positive_weights_K": self.positive_weights_K,
        }
        self._pixel, self._scene = (
            [(partial(loss, **{name: options[name] for name in _keywords(loss)}), weight) for loss, weight in losses]
            for losses in _chosen(self._config)
        )

    def _follow(self, device: torch.device) -> None:
        """Move the weights to the device once, so that no step waits for it."""
        held = [weights for weights in (self.class_weights_K, self.positive_weights_K) if weights is not None]
        if held and held[0].device != device:
            self.class_weights_K = None if self.class_weights_K is None else self.class_weights_K.to(device)
            self.positive_weights_K = None if self.positive_weights_K is None else self.positive_weights_K.to(device)
            self._bind()


def _float32(weights_K: Any) -> Tensor:
    import torch

    return torch.from_numpy(weights_K).float()


def _sum(terms: Sequence[tuple[Callable[..., Tensor], float]], logits: Tensor, target: Tensor) -> Tensor:
    import torch

    losses = [weight * loss(logits, target) for loss, weight in terms]
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0]


def _chosen(config: LossConfig) -> tuple[list[tuple[Callable[..., Tensor], float]], ...]:
    return tuple(
        [(_named(name, losses, kind), weight) for name, weight in terms.items()]
        for terms, losses, kind in ((config.pixel, PIXEL_LOSSES, "pixel"), (config.scene, SCENE_LOSSES, "scene"))
    )


def _keywords(loss: Callable[..., Tensor]) -> list[str]:
    kinds = inspect.signature(loss).parameters.values()
    return [parameter.name for parameter in kinds if parameter.kind is parameter.KEYWORD_ONLY]


def _settings(loss: Callable[..., Tensor]) -> list[str]:
    return [_SETTING_OF.get(name, name) for name in _keywords(loss)]


def _named(name: str, losses: Losses, kind: str) -> Callable[..., Tensor]:
    if name not in losses:
        near = get_close_matches(name, losses, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise WrongUseError(f"'{name}' is no {kind} loss{hint} (there are {', '.join(losses)})")
    return losses[name]

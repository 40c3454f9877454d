"""Drop path and dropout within the encoder, where it has them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from timm.layers.drop import DropPath
from torch import nn

from seg.config.sections import ModelConfig
from seg.errors import ModelError


def drop_options(config: ModelConfig, accepted: Mapping[str, Any]) -> dict[str, float]:
    """What timm is to be told when it builds an encoder.

    Args:
        config: The network.
        accepted: Arguments that the encoder takes, by name.

    Raises:
        ModelError: If the encoder has no such thing.
    """
    options = {}
    if config.drop_path is not None and _has("drop_path_rate", accepted, config.drop_path, config, "drop path"):
        options["drop_path_rate"] = config.drop_path
    if config.encoder_dropout is not None:
        name = next((name for name in ("proj_drop_rate", "drop_rate") if name in accepted), "drop_rate")
        if _has(name, accepted, config.encoder_dropout, config, "dropout"):
            options[name] = config.encoder_dropout
    return options


def set_drops(encoder: nn.Module, config: ModelConfig, run: Callable[[], object]) -> None:
    """Set the rates of an encoder that smp has built, and check that every encoder has what is asked for.

    Args:
        encoder: The encoder; changed.
        config: The network.
        run: Shows the network an image, where that is needed: not all that an encoder has is on its way through it.

    Raises:
        ModelError: If the encoder has no such thing.
    """
    paths = [module for module in encoder.modules() if isinstance(module, DropPath)]
    dropouts = [module for module in encoder.modules() if isinstance(module, nn.Dropout)]
    if not config.encoder.startswith("tu-"):
        if config.drop_path is not None:
            # As everywhere, the rate rises linearly with depth (Huang et al. 2016).
            for number, path in enumerate(paths, 1):
                path.drop_prob = config.drop_path * number / len(paths)
        if config.encoder_dropout is not None:
            for dropout in dropouts:
                dropout.p = config.encoder_dropout
    if config.drop_path and not _any_is_run([path for path in paths if path.drop_prob], run):
        raise _without(config, "drop path")
    if config.encoder_dropout and not _any_is_run([dropout for dropout in dropouts if dropout.p], run):
        raise _without(config, "dropout")


def _any_is_run(modules: Sequence[nn.Module], run: Callable[[], object]) -> bool:
    """Whether an image goes through any of them."""
    seen: list[nn.Module] = []
    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(module.register_forward_hook(lambda one, *_: seen.append(one)))
        run()
    return bool(seen)


def _has(name: str, accepted: Mapping[str, Any], rate: float, config: ModelConfig, what: str) -> bool:
    if name not in accepted and rate:
        raise _without(config, what)
    return name in accepted


def _without(config: ModelConfig, what: str) -> ModelError:
    setting = "model.drop_path" if what == "drop path" else "model.encoder_dropout"
    cure = "tu-convnext_tiny" if what == "drop path" else "tu-swin_tiny_patch4_window7_224"
    return ModelError(
        f"encoder '{config.encoder}' has no {what} that can be set; leave out {setting}, or take one such as {cure}"
    )

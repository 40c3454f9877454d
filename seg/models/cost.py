"""What a network costs: its parameters and its multiply-adds for one patch, most often without its weights."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from seg.config.sections import ModelConfig
from seg.errors import ModelError
from seg.models.architectures import check_encoder, find_architecture
from seg.models.segmenter import Segmenter, build_segmenter, count_parameters


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: Learned values of the whole network.
        encoder_parameters: Those of its encoder; 0 if a network of one's own calls nothing so.
        multiply_adds: Multiplications with an addition in convolutions, matrix products and attention, for one patch of
            120 x 120 pixels with its margins; other operations do not count.
    """

    parameters: int
    encoder_parameters: int
    multiply_adds: int


class _NumbersOnTheCpu(TorchFunctionMode):
    """Networks read their drop rates out of a `torch.linspace`, which is no use without values."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function, on the CPU if it is `torch.linspace`."""
        given = dict(kwargs or {})
        if func is torch.linspace:
            given["device"] = "cpu"
        return func(*args, **given)


def measure(config: ModelConfig, bands: Sequence[str], context: int = 0) -> Cost:
    """The cost of a network, from shapes alone where it can be built without values, else from a real one.

    Args:
        config: Which network.
        bands: Names of the input channels, in order.
        context: Pixels around a patch that it sees.

    Raises:
        ModelError: If architecture or encoder do not exist or do not fit each other.
        UnknownNameError: If a band is unknown or named twice.
    """
    if find_architecture(config.arch).own:
        # Its own code may need values anywhere.
        return cost_of(build_segmenter(config, bands, context))
    check_encoder(config.encoder)
    try:
        with torch.device("meta"), _NumbersOnTheCpu():
            # smp makes some first convolutions on the CPU, whatever the device.
            return cost_of(build_segmenter(config, bands, context).to("meta"))
    except (ModelError, RuntimeError) as error:
        if not _lacks_values(error):
            raise
    return cost_of(build_segmenter(config, bands, context))


def cost_of(model: Segmenter) -> Cost:
    """The cost of a network that is there; its mode and its weights stay as they are."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    # The counter stumbles over parameters that a model hands on from module to module.
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, len(model.bands), model.picture_edge, model.picture_edge, device=device))
    for parameter in learned:
        parameter.requires_grad_()
    model.train(training)
    # The counter takes a multiplication and its addition for two operations.
    return Cost(
        parameters=count_parameters(model),
        encoder_parameters=0 if model.encoder is None else count_parameters(model.encoder),
        multiply_adds=counter.get_total_flops() // 2,
    )


def _lacks_values(error: BaseException | None) -> bool:
    """Whether a network failed because tensors on the meta device have no values, so that a real one may do."""
    while error is not None:
        if "meta" in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False

"""What only the values of a scene show: that there are any."""

from collections.abc import Mapping, Sequence

from seg.errors import SceneError
from seg.scenes.header import shown
from seg.scenes.layer import Layer
from seg.scenes.sample import Sample


def require_data(layers: Sequence[Layer], samples: Mapping[str, Sample]) -> None:
    """Make sure that some pixel of every band has data.

    Args:
        layers: The bands of a scene.
        samples: What they hold.

    Raises:
        SceneError: If a band has none.
    """
    empty = [layer for layer in layers if not samples[layer.band].valid]
    if not empty:
        return
    path = shown(empty[0].header.path)
    if len(empty) == len(layers):
        raise SceneError(f"{path} holds no data: every pixel is nodata; give another scene")
    names = ", ".join(layer.band for layer in empty)
    raise SceneError(
        f"{path} holds no data in {names}: every pixel is nodata, NaN or masked; give a scene that has data in all of "
        f"{', '.join(layer.band for layer in layers)}"
    )

"""Windows through a network: class probabilities, plain or as the mean over the symmetries of the square."""

from dataclasses import dataclass

from seg.config.track import Track, silent
from seg.data.symmetry import SYMMETRIES
from seg.inference.arithmetic import Network, Values


@dataclass(frozen=True)
class ScenePass:
    """How a network goes over a scene.

    Attributes:
        batch_size: Windows at a time, all of one row of windows; or cells.
        tta: Mean over the 8 symmetries of the square.
        probabilities, certainty, surprisals: Whether these are wanted, see `seg.inference.tiled.Piece`.
        track: Progress over windows, or rows of cells.
    """

    batch_size: int
    tta: bool = False
    probabilities: bool = False
    certainty: bool = False
    surprisals: bool = False
    track: Track = silent


_WHOLE = (slice(None), slice(None))


def window_probabilities(
    network: Network, images_BCHW: Values, tta: bool, used: tuple[slice, slice] = _WHOLE
) -> Values:
    """Class probabilities of windows; with test-time augmentation the mean over 8 symmetries.

    Args:
        network: The network.
        images_BCHW: Normalised bands, in the formats of the network.
        tta: Whether to augment.
        used: Rows and columns that are needed.

    Returns:
        float32 (B, K, rows, columns), good until the network is called again.
    """
    if not tta:
        return network.shares(images_BCHW, used)
    arithmetic = network.arithmetic
    total_BKHW: Values = None
    for number in range(SYMMETRIES):
        shares_BKHW = network.shares(arithmetic.moved(images_BCHW, number), _WHOLE)
        back_BKHW = arithmetic.moved_back(shares_BKHW, number)[:, :, used[0], used[1]]
        if total_BKHW is None:
            total_BKHW = arithmetic.copy(back_BKHW)
        else:
            total_BKHW += back_BKHW
    total_BKHW /= SYMMETRIES
    return total_BKHW

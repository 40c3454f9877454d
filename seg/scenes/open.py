"""Opening a scene of whatever form."""

from collections.abc import Sequence
from pathlib import Path

from seg.scenes.reader import Scene


def open_scene(
    path: Path,
    *,
    bands: Sequence[str] | None = None,
    s1: Path | Sequence[Path] | None = None,
    needed: Sequence[str],
) -> Scene:
    """Open a Sentinel-2 L2A SAFE folder or zip, a multi-band GeoTIFF, a folder of single-band files, or Sentinel-1 alone.

    Args:
        path: The scene.
        bands: Names of the bands of a multi-band GeoTIFF in their order; ``-`` for one that is not used. None: its
            band descriptions name them.
        s1: Sentinel-1 raster(s) in dB on their own grid, which are warped onto the scene's.
        needed: The bands that the model sees.

    Raises:
        SceneError: If the scene cannot be used, in one sentence with the cure.
    """
    raise NotImplementedError

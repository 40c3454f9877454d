"""Making a synthetic reBEN, or a synthetic Sentinel scene."""

from pathlib import Path

from seg.config.paths import AnyPath
from seg.config.track import Track, silent
from seg.synthetic import scene, tree


def synthesise(
    out: AnyPath, patches: int, seed: int = 0, track: Track = silent, workers: int | None = None
) -> tree.SynthesisReport:
    """Write a synthetic reBEN in the published tree; see `seg.synthetic.tree`."""
    return tree.synthesise(Path(out), patches, seed, track, workers)


def synthesise_scene(out: AnyPath, size: int, seed: int = 0, track: Track = silent) -> scene.SyntheticScene:
    """Write a synthetic Sentinel scene; see `seg.synthetic.scene`."""
    return scene.synthesise_scene(Path(out), size, seed, track=track)

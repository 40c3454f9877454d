"""Making a synthetic reBEN."""

from pathlib import Path

from seg.config.paths import AnyPath
from seg.config.track import Track, silent
from seg.synthetic import tree


def synthesise(
    out: AnyPath, patches: int, seed: int = 0, track: Track = silent, workers: int | None = None
) -> tree.SynthesisReport:
    """Write a synthetic reBEN in the published tree; see `seg.synthetic.tree`."""
    return tree.synthesise(Path(out), patches, seed, track, workers)

"""A stratified random sample of a map, to be labelled by hand."""

from dataclasses import dataclass
from pathlib import Path

from seg.areas.class_map import open_class_map, strata_of
from seg.areas.design import draw
from seg.areas.sample_file import write_sample
from seg.config.paths import AnyPath
from seg.errors import WrongUseError
from seg.maps.targets import require_inputs
from seg.store.targets import claimed_files

SUFFIX = ".gpkg"


@dataclass(frozen=True)
class Drawn:
    """Outcome of `draw_sample`.

    Attributes:
        path: The GeoPackage.
        points: That were drawn.
        classes: That they are mapped as.
    """

    path: Path
    points: int
    classes: int


def draw_sample(class_map: AnyPath, out: AnyPath, *, per_class: int = 50, seed: int = 0) -> Drawn:
    """Draw pixels of each class of a map at random and write them as points with an empty column ``reference``.

    Args:
        class_map: Class map of `predict`, or a mosaic of `export`.
        out: The GeoPackage, ``<name>.gpkg``.
        per_class: Pixels of each class; all of them where the map has fewer.
        seed: The same seed draws the same pixels.

    Raises:
        MapError: If there is no such map.
        SegError: One of its kinds, if `out` cannot be written or somebody has labelled it.
        OSError: If a file cannot be read or written.
    """
    path, out = Path(class_map), Path(out)
    if out.suffix.lower() != SUFFIX:
        raise WrongUseError(f"{out} is no GeoPackage; name one, such as {out.with_suffix(SUFFIX).name}")
    if per_class < 2:
        raise WrongUseError("one point of a class says nothing of how points vary; draw 2 or more, --per-class 50")
    of = open_class_map(path)
    require_inputs([out], [path])
    with claimed_files([out]):
        strata = strata_of(of)
        sample = draw(of, strata, per_class, seed)
        write_sample(out, of, strata, sample, seed)
    return Drawn(out, len(sample), int((strata.pixels_K > 0).sum()))

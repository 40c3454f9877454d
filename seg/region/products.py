"""What a reBEN of one's own is made from: products, Sentinel-1 and land cover, looked at and put together per tile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from seg.errors import SceneError, WrongUseError
from seg.reben.bands import S2_BANDS
from seg.reben.patch import PatchId
from seg.region.clc import open_clc, require_cover
from seg.region.countries import open_countries
from seg.region.cutting import CutTask
from seg.region.numbering import Numbering
from seg.scenes.cells import cells_of
from seg.scenes.classification import find_classification
from seg.scenes.listing import files_below
from seg.scenes.names import product_in, s1_scene_in
from seg.scenes.open import open_scene, open_sentinel1
from seg.scenes.reader import Scene

_EXAMPLE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"


_CYCLE = 12
"""Days after which a Sentinel-1 satellite sees a place again from the same orbit."""


@dataclass(frozen=True)
class Request:
    """What a set is to be made from.

    Attributes:
        s2: Sentinel-2 L2A products: SAFE folders or zips, stacks, or folders of bands.
        clc: Land cover of CORINE, polygons or raster.
        s1: Sentinel-1 rasters in dB, whose names begin with that of their scene.
        column, layer: Where a vector file has its codes; None: ``Code_18`` in the only layer that has it.
        bands: Names of the bands of a stack in their order; None: its band descriptions name them.
        product: Name of the only product, where files do not tell.
        countries: Polygons of countries.
        country_column: Where they have their names.
        require_s1: Leave out patches without Sentinel-1.
        numbering: Which of CORINE's numbers the land cover has; None: what it says itself.
        offset: What is to be taken off the DN of files that do not say it themselves, 0 or 1000; None: nothing, and a
            scene that looks as if it had to be is refused.
    """

    s2: tuple[Path, ...]
    clc: Path
    s1: tuple[Path, ...] = ()
    column: str | None = None
    layer: str | None = None
    bands: tuple[str, ...] | None = None
    product: str | None = None
    countries: Path | None = None
    country_column: str | None = None
    require_s1: bool = False
    numbering: Numbering | None = None
    offset: int | None = None


def check_make(request: Request) -> None:
    """Make sure that a request makes sense, as far as that shows before anything is read.

    Raises:
        WrongUseError: If it does not.
    """
    if not request.s2:
        raise WrongUseError("name at least one Sentinel-2 product with --s2")
    if request.product is not None and len(request.s2) > 1:
        raise WrongUseError(
            "--product is for a single --s2; of several, give files or folders the names of their products"
        )
    if request.product is not None and product_in(request.product) is None:
        raise WrongUseError(f"'{request.product}' is no name of a Sentinel-2 L2A product such as {_EXAMPLE}")
    if request.require_s1 and not request.s1:
        raise WrongUseError("--require-s1 leaves every patch out where no --s1 is given")
    if request.country_column is not None and request.countries is None:
        raise WrongUseError("--country-column is a column of --countries; name that file too")
    for path in {path for path in request.s2 if request.s2.count(path) > 1}:
        raise WrongUseError(f"{path} is given twice with --s2; name every product once")


def tasks_of(request: Request) -> list[CutTask]:
    """What is to be cut out of each product, by product name.

    Raises:
        WrongUseError: If a product has no name, two are of one tile and date, or a Sentinel-1 raster is of no use.
        SceneError, LandCoverError: If a file cannot be used, or lies elsewhere than the products.
    """
    clc = open_clc(request.clc, request.column, request.layer, request.numbering)
    if clc.polygons is None and (request.column or request.layer):
        raise WrongUseError(f"{clc.path} is a raster; --column and --layer are for vector files")
    countries = open_countries(request.countries, request.country_column) if request.countries else None
    rasters = _by_scene(request.s1)
    scenes, paths = _scenes(request)
    jobs = []
    for product, scene in sorted(scenes.items()):
        tile = _named(product).tile
        require_cover(clc, cells_of(scene, tile).grid, tile)
        s1 = _paired(rasters, scene, _named(product).acquired)
        classification = find_classification(paths[product], scene.grid)
        jobs.append(CutTask(product, scene, s1, clc, countries, request.require_s1, classification))
    if idle := rasters.keys() - {name for job in jobs for name in job.s1}:
        names = " and ".join(map(str, rasters[min(idle)]))
        raise SceneError(f"{names} overlaps none of the products; give Sentinel-1 of the same place")
    return jobs


def remarks_on(jobs: Sequence[CutTask]) -> tuple[str, ...]:
    """What the user must not miss about the products, a sentence each."""
    clc = jobs[0].clc
    said = [] if clc.polygons else [f"The values of {clc.path.name} are {clc.decision}."]
    said += [remark for job in jobs for scene in (job.scene, *job.s1.values()) for remark in scene.remarks]
    for job in jobs:
        for name in job.s1:
            days = _days_apart(name, _named(job.product).acquired)
            if days > _CYCLE:
                said.append(f"{name} was taken {days:.0f} days from {job.product}, whose patches it is paired with.")
    return tuple(dict.fromkeys(said))


def plan_of(jobs: Sequence[CutTask], store: bool) -> dict[str, Any]:
    """What decides on the content of a set, of plain JSON types: an unfinished one goes on only if it is the same."""
    first = jobs[0]
    return {
        "tree or store": "store" if store else "tree",
        "s2": {job.product: job.scene.identity for job in jobs},
        "s1": {job.product: {name: scene.identity for name, scene in job.s1.items()} for job in jobs},
        "clc": first.clc.identity,
        "countries": first.countries.identity if first.countries else None,
        "require_s1": first.require_s1,
    }


def _scenes(request: Request) -> tuple[dict[str, Scene], dict[str, Path]]:
    """The products by name, and where they are."""
    scenes: dict[str, Scene] = {}
    paths: dict[str, Path] = {}
    taken: dict[tuple[str, str], Path] = {}
    for path in request.s2:
        scene = open_scene(path, bands=request.bands, needed=S2_BANDS, offset=request.offset)
        product = product_in(request.product or "") or scene.product
        if product is None:
            raise WrongUseError(
                f"nothing in {path} names its Sentinel-2 product, which tells tile and time; give it with --product, "
                f"such as {_EXAMPLE}"
            )
        patch = _named(product)
        day = f"{patch.acquired:%Y-%m-%d}"
        if (earlier := taken.setdefault((patch.tile, day), path)) != path:
            raise WrongUseError(f"{earlier} and {path} are both of the tile {patch.tile} on {day}; give one of them")
        scenes[product], paths[product] = scene, path
    return scenes, paths


def _by_scene(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Sentinel-1 rasters by the scene that they name: one with both polarisations, or one for each."""
    rasters: dict[str, list[Path]] = {}
    for path in paths:
        inside = files_below(path, 1) if path.is_dir() else []
        name = s1_scene_in(path.name, *inside)
        if name is None:
            raise WrongUseError(
                f"{path} does not name its Sentinel-1 scene; begin its name with that of the product, such as "
                "S1B_IW_GRDH_1SDV_20170612T165809"
            )
        rasters.setdefault(name, []).append(path)
    return rasters


def _paired(rasters: Mapping[str, Sequence[Path]], scene: Scene, acquired: datetime) -> dict[str, Scene]:
    """Sentinel-1 scenes that overlap a product, the nearest in time first."""

    def apart(name: str) -> tuple[float, str]:
        return _days_apart(name, acquired), name

    opened = {name: open_sentinel1(rasters[name], scene.grid) for name in sorted(rasters, key=apart)}
    return {name: found for name, found in opened.items() if found is not None}


def _days_apart(s1_name: str, acquired: datetime) -> float:
    return abs(datetime.strptime(s1_name[-15:], "%Y%m%dT%H%M%S") - acquired) / timedelta(days=1)


def _named(product: str) -> PatchId:
    return PatchId.parse(f"{product}_00_00")

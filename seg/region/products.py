"""What a reBEN of one's own is made from: products, Sentinel-1 and land cover, looked at and put together per tile."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from seg.catalogue.address import Place
from seg.catalogue.item import Source
from seg.errors import SceneError, WrongUseError
from seg.rasters.listing import files_below
from seg.reben.bands import S2_BANDS
from seg.reben.names import product_in, s1_scene_in
from seg.reben.patch import PatchId
from seg.region.clc import open_clc, require_cover
from seg.region.countries import open_countries
from seg.region.cutting import CutTask
from seg.region.request import EXAMPLE, Request
from seg.scenes.cells import cells_of
from seg.scenes.classification import find_classification
from seg.scenes.open import open_scene, open_sentinel1
from seg.scenes.reader import Scene

_CYCLE = 12
"""Days after which a Sentinel-1 satellite sees a place again from the same orbit."""


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
    tasks = []
    for product, scene in sorted(scenes.items()):
        tile = _named(product).tile
        require_cover(clc, cells_of(scene, tile).grid, tile)
        s1 = _paired(rasters, scene, _named(product).acquired)
        classification = find_classification(paths[product], scene.grid)
        tasks.append(CutTask(product, scene, s1, clc, countries, request.require_s1, classification))
    if idle := rasters.keys() - {name for task in tasks for name in task.s1}:
        names = " and ".join(map(str, rasters[min(idle)]))
        raise SceneError(f"{names} overlaps none of the products; give Sentinel-1 of the same place")
    return tasks


def remarks_on(tasks: Sequence[CutTask]) -> tuple[str, ...]:
    """What the user must not miss about the products, a sentence each."""
    clc = tasks[0].clc
    said = [] if clc.polygons else [f"The values of {clc.path.name} are {clc.decision}."]
    said += [remark for task in tasks for scene in (task.scene, *task.s1.values()) for remark in scene.remarks]
    for task in tasks:
        for name in task.s1:
            days = _days_apart(name, _named(task.product).acquired)
            if days > _CYCLE:
                said.append(f"{name} was taken {days:.0f} days from {task.product}, whose patches it is paired with.")
    return tuple(dict.fromkeys(said))


def plan_of(tasks: Sequence[CutTask], store: bool) -> dict[str, Any]:
    """What decides on the content of a set, of plain JSON types: an unfinished one goes on only if it is the same."""
    first = tasks[0]
    return {
        "tree or store": "store" if store else "tree",
        "s2": {task.product: task.scene.identity for task in tasks},
        "s1": {task.product: {name: scene.identity for name, scene in task.s1.items()} for task in tasks},
        "clc": first.clc.identity,
        "countries": first.countries.identity if first.countries else None,
        "require_s1": first.require_s1,
    }


def _scenes(request: Request) -> tuple[dict[str, Scene], dict[str, Source]]:
    """The products by name, and where they are."""
    scenes: dict[str, Scene] = {}
    paths: dict[str, Source] = {}
    taken: dict[tuple[str, str], Source] = {}
    for path in request.s2:
        scene = open_scene(
            path, bands=request.bands, needed=S2_BANDS, offset=request.offset, cloud_mask=request.cloud_mask
        )
        product = product_in(request.product or "") or scene.product
        if product is None:
            raise WrongUseError(
                f"nothing in {path} names its Sentinel-2 product, which tells tile and time; give it with --product, "
                f"such as {EXAMPLE}"
            )
        patch = _named(product)
        day = f"{patch.acquired:%Y-%m-%d}"
        if (earlier := taken.setdefault((patch.tile, day), path)) != path:
            raise WrongUseError(f"{earlier} and {path} are both of the tile {patch.tile} on {day}; give one of them")
        scenes[product], paths[product] = scene, path
    return scenes, paths


def _by_scene(paths: Sequence[Place]) -> dict[str, list[Place]]:
    """Sentinel-1 rasters by the scene that they name: one with both polarisations, or one for each."""
    rasters: dict[str, list[Place]] = {}
    for path in paths:
        inside = files_below(path, 1) if isinstance(path, Path) and path.is_dir() else []
        name = s1_scene_in(path.name, *inside)
        if name is None:
            raise WrongUseError(
                f"{path} does not name its Sentinel-1 scene; begin its name with that of the product, such as "
                "S1B_IW_GRDH_1SDV_20170612T165809"
            )
        rasters.setdefault(name, []).append(path)
    return rasters


def _paired(rasters: Mapping[str, Sequence[Place]], scene: Scene, acquired: datetime) -> dict[str, Scene]:
    """Sentinel-1 scenes that overlap a product, the nearest in time first."""

    def apart(name: str) -> tuple[float, str]:
        return _days_apart(name, acquired), name

    opened = {name: open_sentinel1(rasters[name], scene.grid) for name in sorted(rasters, key=apart)}
    return {name: found for name, found in opened.items() if found is not None}


def _days_apart(s1_name: str, acquired: datetime) -> float:
    return abs(datetime.strptime(s1_name[-15:], "%Y%m%dT%H%M%S") - acquired) / timedelta(days=1)


def _named(product: str) -> PatchId:
    return PatchId.parse(f"{product}_00_00")

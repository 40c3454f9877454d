"""What is made of the strips of a scene: the files of a map."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg.areas.class_map import open_class_map
from seg.areas.table import area_table, run_assessment, write_areas, write_table
from seg.areas.zones import areas_by_zone
from seg.config.synthetic import Synthetic
from seg.config.track import Notify
from seg.config.version import VERSION
from seg.errors import MapError, WrongUseError
from seg.maps.cells import write_cells
from seg.maps.cog import Kind, read_overview, write_cog
from seg.maps.geotiff import write_category_names
from seg.maps.land_cover import write_land_cover
from seg.maps.map_files import POLYGONS, MapOptions, write_styles
from seg.maps.part import ScenePart
from seg.maps.parts import (
    BAND_NAMES,
    GENERALISED,
    LAYERS,
    OUTLINED,
    SURPRISALS,
    Unfinished,
    unfinished_folder,
    window_grid,
)
from seg.maps.together import describe_map, run_tags
from seg.metrics.ratio import Floats
from seg.metrics.sparse import Counts
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.reben.patch import GeoRef
from seg.scenes.left_out import LeftOut
from seg.scenes.reader import Scene
from seg.store.atomic import remove_file
from seg.store.sidecar import SIDECAR
from seg.web.folder import page_folder, remove_page

if TYPE_CHECKING:
    from seg.inference.windows import Tiling
    from seg.runs.mapper import Mapper

_STRIDE = 64
"""Pixels; no network has a larger one."""


@dataclass(frozen=True)
class Sizes:
    """Sizes that were asked for; None is chosen.

    Attributes:
        window, overlap: Of the windows, pixels; see `seg.inference.windows.lay_windows`.
        batch: Windows at a time.

    Raises:
        WrongUseError: If windows overlap by more than half, whatever the network is.
    """

    window: int | None = None
    overlap: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        # Both are rounded up to the stride of the network.
        if self.window and self.overlap and 2 * self.overlap > -(-self.window // _STRIDE) * _STRIDE:
            fits = self.window // 2 - _STRIDE
            cure = f"use --overlap up to {fits}" if fits > 0 else "leave out --overlap"
            raise WrongUseError(f"windows of {self.window} pixels cannot overlap by {self.overlap}; {cure}")


@dataclass(frozen=True)
class ScenePlan:
    """A map to be made.

    Attributes:
        mapper: The network.
        scene, part, tiling: What it sees, and how.
        path: The class map.
        options: What belongs to it.
        batch_size: Windows at a time.
        cell_rows: Rows of cells that get multi-labels.
    """

    mapper: Mapper
    scene: Scene
    part: ScenePart
    tiling: Tiling
    path: Path
    options: MapOptions
    batch_size: int
    cell_rows: tuple[int, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Rasters of the map, the class map last: once it is there, everything is."""
        asked = {"confidence": self.options.confidence, "probabilities": self.options.probabilities, "classes": True}
        return tuple(layer for layer, wanted in asked.items() if wanted)

    @property
    def unfinished(self) -> Unfinished:
        """Its strips."""
        layers = self.layers if not self.with_confidence or self.options.confidence else ("confidence", *self.layers)
        return Unfinished(
            unfinished_folder(self.path), (SURPRISALS, *layers) if self.units else layers, self.scene.grid
        )

    @property
    def with_confidence(self) -> bool:
        """Whether confidences are predicted, be it for the polygons alone."""
        return self.options.confidence or self.options.polygons is not None

    @property
    def units(self) -> dict[str, float]:
        """Strips of classes that are brought to a minimum mapping unit, and the unit of each, hectares."""
        mmu, polygons = self.options.mmu, self.options.polygons
        units = {GENERALISED: mmu} if mmu else {}
        return units | ({OUTLINED: larger} if polygons and (larger := polygons.unit(mmu)) else {})

    @property
    def classes(self) -> str:
        """The strips that the class map is made of."""
        return GENERALISED if self.options.mmu else "classes"

    @property
    def outlined(self) -> str:
        """The strips that the polygons are made of."""
        return OUTLINED if OUTLINED in self.units else self.classes

    @property
    def grid(self) -> GeoRef:
        """Grid of the map."""
        return window_grid(self.scene.grid, self.part.inner)

    @property
    def synthetic(self) -> Synthetic:
        """Which of the scene and what the model has learned from is synthetic."""
        return Synthetic.of(data=self.scene.synthetic, model=self.mapper.card.data.synthetic)

    def beside(self, ending: str) -> Path:
        """A file that belongs to the map."""
        return self.path.with_name(self.path.stem + ending)


def map_identity(plan: ScenePlan) -> dict[str, Any]:
    """Everything that the strips of a map depend on."""
    tiling, options, inner = plan.tiling, plan.options, plan.part.inner
    geometry = options.geometry and hashlib.sha256(options.geometry.read_bytes()).hexdigest()
    return {
        "seg": VERSION,
        "weights": plan.mapper.chosen.identity,
        "scene": plan.scene.identity,
        "layers": list(plan.unfinished.layers),
        "part": [inner.left, inner.top, inner.width, inner.height],
        "geometry": geometry,
        "windows": [tiling.rows.window, tiling.columns.window, tiling.rows.ramp, tiling.columns.ramp],
        "starts": [list(tiling.rows.starts), list(tiling.columns.starts)],
        "tta": options.tta,
        "batch_size": plan.batch_size,
        "compute": list(plan.mapper.compute),
    }


def require_space(plan: ScenePlan) -> None:
    """Refuse a map that the disk has certainly no room for.

    Raises:
        MapError: Naming what it takes.
    """
    bands = sum(LAYERS[layer] for layer in plan.unfinished.layers if layer in LAYERS)
    if plan.units:
        # Surprisals, other class maps, and eight half bytes for the number of each object.
        bands += len(CLASS_NAMES) + len(plan.units) + 8
    # Strips and map; noisy maps are packed to about half their size, smooth ones to a tenth.
    needed = plan.part.inner.width * plan.part.inner.height * bands / 2
    free = shutil.disk_usage(plan.path.parent).free
    if free < needed:
        raise MapError(
            f"the map takes about {needed / 1e6:,.0f} MB while it is made, and {plan.path.parent} has "
            f"{free / 1e6:,.0f} MB free; free some space or name another --out"
        )


def finish_map(plan: ScenePlan, counts: Counts, hectares_K: Floats, notify: Notify) -> tuple[Path, ...]:
    """Put the strips together and write what else belongs to the map.

    Args:
        plan: The map, all of whose strips are there.
        counts: Pixels of each value.
        hectares_K: Area of each class on the ground.
        notify: Is told what the user must not miss.

    Returns:
        The files, the class map first.

    Raises:
        MapError: If nothing was mapped.
        OSError: If a file cannot be written.
    """
    options, unfinished = plan.options, plan.unfinished
    _remove_earlier(plan, notify)
    left_out = unfinished.left_out()
    if not counts[:NUM_CLASSES].sum():
        unfinished.remove()
        raise MapError(
            f"{plan.scene.name} has no data where the map was to be ({left_out.shares()}); name another "
            "part of the scene, or make sure that its bands have data in the same places"
        )
    for remark in plan.scene.remarks_on(left_out):
        notify(remark)
    tags, files = map_tags(plan, left_out), []
    if options.labels:
        files.append(plan.beside(options.labels_ending))
        rows = [unfinished.read_cells(row) for row in plan.cell_rows]
        if not sum(len(row.columns_N) for row in rows):
            notify(f"No whole cell of 1.2 km lies in what is mapped, so {files[-1].name} is empty.")
        write_cells(files[-1], plan.scene, rows, plan.mapper.card.thresholds, tags)
    evidence = run_assessment(options.run, notify) if options.areas or options.zones else None
    # What areas are adjusted by was learned of the model, not of this scene.
    synthetic = plan.synthetic | Synthetic.of(model=evidence is not None and bool(evidence.origin.simulated))
    if options.areas:
        files += write_areas(plan.path.with_suffix(""), area_table(hectares_K, evidence, plan.scene.name, synthetic))
    if options.polygons:
        files.append(plan.beside(POLYGONS))
        classes, confidence = (
            [unfinished.part(layer, number) for number in plan.tiling.strips] for layer in (plan.outlined, "confidence")
        )
        looks = options.polygons.tags(options.mmu)
        write_land_cover(files[-1], classes, confidence, options.polygons.simplify, plan.scene.name, tags | looks)
    for layer in plan.layers:
        files.append(plan.path if layer == "classes" else plan.beside(f"_{layer}.tif"))
        parts = [
            unfinished.part(plan.classes if layer == "classes" else layer, number) for number in plan.tiling.strips
        ]
        kind: Kind = "classes" if layer == "classes" else "continuous"
        write_cog(files[-1], parts, kind=kind, tags=tags, descriptions=BAND_NAMES[layer])
    files.append(write_category_names(plan.path))
    files += write_styles(plan.path.with_suffix(""), options)
    if options.zones:
        table = areas_by_zone(open_class_map(plan.path), options.zones, evidence, synthetic, notify)
        files += write_table(plan.beside("_zones"), table)
    files += _views(plan, tags, notify)
    if options.stac is not None:
        files += describe_map(plan.path, files, plan.mapper.chosen, options)
    unfinished.remove()
    return (plan.path, *(path for path in files if path != plan.path))


def _views(plan: ScenePlan, tags: Mapping[str, str], notify: Notify) -> list[Path]:
    """Write what a map is looked at by, without a GIS: a picture and a page, as far as they are asked for."""
    files = []
    if plan.options.quicklook:
        files.append(plan.beside(".png"))
        from seg.figures.land_cover import LARGEST, land_cover_figure
        from seg.figures.style import write_png

        classes_HW, pixel_size = read_overview(plan.path, LARGEST)
        title = f"{plan.scene.name} · {tags['MODEL']}"
        write_png(
            files[-1], land_cover_figure(classes_HW, title=title, synthetic=plan.synthetic, pixel_size=pixel_size)
        )
    if plan.options.web:
        from seg.maps.pages import write_map_page

        files.append(write_map_page(plan, tags, notify))
    return files


def _remove_earlier(plan: ScenePlan, notify: Notify) -> None:
    """What an earlier map of that name had beside it does not belong to this one.

    The class map goes first and comes last: while it is there, everything beside it is of the same run.
    """
    for path in (
        plan.path,
        plan.path.with_name(f"{plan.path.name}{SIDECAR}"),
        plan.beside(".qml"),
        plan.beside(".sld"),
    ):
        remove_file(path)
    written = plan.options.written(plan.path)
    earlier = [ending for ending in written if plan.beside(ending).exists()]
    for ending in earlier:
        remove_file(plan.beside(ending))
    # A style is no loss of its own.
    gone = [plan.beside(ending) for ending in earlier if not (written[ending] or ending.endswith((".qml", ".sld")))]
    page = page_folder(plan.path)
    if remove_page(page) and not plan.options.web:
        gone.append(page)
    if lost := [path.name for path in gone]:
        notify(f"Removed {', '.join(lost)}, which belonged to the earlier {plan.path.name}.")


def map_tags(plan: ScenePlan, left_out: LeftOut) -> dict[str, str]:
    """Metadata of a map of which this was counted while its strips were read."""
    tiling, scene = plan.tiling, plan.scene
    remarks = (*scene.remarks, *scene.remarks_on(left_out))
    warned = {"WARNINGS": " ".join(remarks)} if remarks else {}
    seen = {"SCENE": scene.name, "WINDOW": f"{tiling.columns.window}x{tiling.rows.window}"}
    return (
        run_tags(plan.mapper.chosen, plan.options, scene.synthetic)
        | seen
        | dict(scene.origin)
        | dict(scene.decisions)
        | warned
    )

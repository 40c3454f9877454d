"""Maps of whole scenes: a run over Sentinel products, stacks or folders of bands."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seg.areas.class_map import ClassMap
from seg.areas.zones import check_zones, open_zones, read_zones
from seg.catalogue.address import Place, absolute, places_of
from seg.catalogue.item import Source, sources_of
from seg.catalogue.search import Search, find_scenes
from seg.config.paths import AnyPath, AnyPaths, path_or_none
from seg.config.scope import check_unit
from seg.config.track import Notify, Track, ignore, silent
from seg.errors import BandMissingError, SceneError, WrongUseError
from seg.maps.elsewhere import MapPiece, have_mapped
from seg.maps.map_files import MapOptions, claimed_maps
from seg.maps.part import Box, ScenePart, choose_part
from seg.maps.parts import window_grid
from seg.maps.scene_map import Sizes
from seg.maps.targets import map_targets, require_inputs, require_linkable
from seg.models.card import ModelCard
from seg.prepare.executors import LOCAL
from seg.reben.bands import S1_BANDS
from seg.region.polygons import PolygonFile
from seg.runs.use import ChosenWeights, choose_onnx, choose_weights, is_onnx
from seg.scenes.open import open_scene
from seg.scenes.reader import Scene
from seg.stac.items import MODEL, model_of_map, require_pystac
from seg.vectors.footprints import VectorFormat
from seg.vectors.polygons import PolygonOptions

if TYPE_CHECKING:
    from seg.maps.mapping import SceneMap


def predict(
    run: AnyPath,
    scenes: AnyPaths,
    out: AnyPath,
    *,
    bands: Sequence[str] | None = None,
    s1: AnyPaths = (),
    offset: int | None = None,
    box: Box | None = None,
    geometry: AnyPath | None = None,
    probabilities: bool = False,
    confidence: bool = False,
    labels: bool = False,
    areas: bool = False,
    zones: AnyPath | None = None,
    zone_column: str | None = None,
    quicklook: bool = False,
    tta: bool = False,
    mmu: float = 0.0,
    cloud_mask: bool = False,
    stac: bool = False,
    search: Search | None = None,
    polygons: PolygonOptions | None = None,
    vector_format: VectorFormat = "parquet",
    web: bool = False,
    window: int | None = None,
    overlap: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    executor: Executor | str = LOCAL,
    slurm: Sequence[str] = (),
    track: Track = silent,
    notify: Notify = ignore,
) -> "tuple[SceneMap, ...]":
    """Map scenes with a run. What is broken off is taken up again by the same call.

    Args:
        run: Run folder of `train`, or an ONNX file of `seg.pipeline.card`, for which torch is not needed.
        scenes: Sentinel-2 L2A products, stacks, folders of single-band files or STAC of such, by paths or URLs.
        out: The map, ``<name>.tif``; for several scenes a folder, in which each map has the name of its scene.
        bands, s1, offset: Names of the bands of a stack, Sentinel-1 in dB, and the offset of DN; see `open_scene`.
        box, geometry: The part of the scene to map; a vector file, outside of whose polygons there is no data.
        probabilities, confidence, quicklook, labels: Also write ``<stem>_probabilities.tif``, a band per class,
            ``<stem>_confidence.tif``, also entropy, ``<stem>.png``, ``<stem>_labels.parquet``, of 1.2 km cells.
        areas, zones, zone_column: Also write ``<stem>_areas.csv``, ``<stem>_zones.csv``, as of `seg.pipeline.areas`.
        tta, mmu: Mean over the 8 symmetries of the square; hectares of the class map's minimum mapping unit, 0: none.
        cloud_mask, stac: Leave clouds and their shadows, by the scene's own classification, without data; also write
            ``<stem>.json``, ``<stem>_model.json``: STAC items; of several maps also ``collection.json``.
        search: Map the least cloudy that a STAC API has of the box, not `scenes`; for a map the one that covers it.
        polygons, vector_format: Also write ``<stem>_polygons.gpkg`` (`seg.maps.land_cover`); labels as ``gpkg``.
        web: Also write confidence, and ``<stem>_web/index.html``, which shows the map in a browser (`seg.web.page`).
        window, overlap, batch_size: Of windows, pixels, see `seg.inference.windows.lay_windows`; how many at a time.
        device, executor, slurm: Where instead of the run's; who makes the maps, see `seg.prepare.executors.opened`.
        track, notify: Are told of progress, and what the user must not miss.

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with the run or a scene.
        OSError: If a file cannot be read or written.
    """
    _check(mmu, Path(out) if stac else None, zones, zone_column)
    folder = search is not None and Path(out).suffix.lower() not in (".tif", ".tiff")
    sources = sources_of(scenes) if search is None else _searched(search, box, scenes, not folder, notify)
    made = _made_of(Path(run), sources, places_of(s1), Path(out), (geometry, zones), executor == LOCAL, folder)
    with claimed_maps(made.paths, made.out):
        chosen, sizes = _chosen(made.run, device, labels, executor, notify), Sizes(window, overlap, batch_size)
        options = MapOptions(
            run=made.run, geometry=made.geometry, tta=tta, mmu=mmu, stac=made.model if stac else None,
            probabilities=probabilities, confidence=confidence or web, labels=labels, areas=areas, quicklook=quicklook,
            polygons=polygons, vector_format=vector_format, web=web, zones=_zones(made, zone_column),
        )  # fmt: skip
        opened = _opened(made.sources, Opening(bands, made.s1, offset, cloud_mask), chosen.card, notify)
        maps = _laid_out(opened, made, box, options.zones)
        if executor == LOCAL:
            return _map_here(chosen, maps, options, sizes, track, notify)
    return have_mapped([MapPiece(chosen, *one, options, sizes) for one in maps], executor, slurm, track, notify)


def _check(mmu: float, linked: Path | None, zones: AnyPath | None, zone_column: str | None) -> None:
    """What needs neither run nor scene; `linked` is the map, or the folder of maps, that STAC items link to."""
    check_unit(mmu)
    check_zones(zones, zone_column)
    if linked:
        require_linkable(linked)
        require_pystac()


def _laid_out(
    scenes: Sequence[Scene], made: "MadeOf", box: Box | None, zones: PolygonFile | None
) -> list[tuple[Scene, ScenePart, Path]]:
    """Each scene with the part of it to map, and its class map; refuses zones that cannot be used with one of them."""
    parts = [choose_part(one, box, made.geometry) for one in scenes]
    maps = list(zip(scenes, parts, made.paths, strict=True))
    for scene, part, path in maps if zones else ():
        assert zones is not None, "maps without zones are left out"
        read_zones(zones, ClassMap(path, window_grid(scene.grid, part.inner), {}))
    return maps


def _zones(made: "MadeOf", column: str | None) -> PolygonFile | None:
    return None if made.zones is None else open_zones(made.zones, column)


def _map_here(
    chosen: ChosenWeights,
    maps: Sequence[tuple[Scene, ScenePart, Path]],
    options: MapOptions,
    sizes: Sizes,
    track: Track,
    notify: Notify,
) -> "tuple[SceneMap, ...]":
    # What is wrong with the request itself has been said before torch is loaded, which takes seconds, if it is.
    from seg.maps.mapping import map_scenes

    return map_scenes(chosen, maps, options, sizes, track, notify)


@dataclass(frozen=True)
class MadeOf:
    """Maps, and what they are made of."""

    paths: list[Path]
    out: Path
    run: Path
    sources: list[Source]
    s1: tuple[Place, ...]
    geometry: Path | None
    zones: Path | None

    @property
    def model(self) -> Path:
        """Where the STAC item of their model is to be."""
        return model_of_map(self.out) if self.paths == [self.out] else self.out / MODEL


def _made_of(
    run: Path,
    sources: list[Source],
    s1: list[Place],
    out: Path,
    files: tuple[AnyPath | None, AnyPath | None],
    local: bool,
    folder: bool,
) -> MadeOf:
    """Where the maps come, if nothing is against it; what others than this process read, by whole paths."""
    geometry, zones = map(path_or_none, files)
    if not local:
        run, out = run.absolute(), out.absolute()
        geometry, zones = geometry and geometry.absolute(), zones and zones.absolute()
        sources, s1 = absolute(sources), absolute(s1)
    paths = map_targets(sources, out, alone=bool(s1), folder=folder)
    require_inputs(paths, [*sources, *s1, *(file for file in (geometry, zones) if file)])
    return MadeOf(paths, out, run, sources, tuple(s1), geometry, zones)


def _searched(search: Search, box: Box | None, scenes: AnyPaths, alone: bool, notify: Notify) -> list[Source]:
    """What a search finds; tells what it is."""
    if sources_of(scenes):
        raise WrongUseError("scenes are named or searched for; leave out SCENES or --stac-api")
    if box is None:
        raise WrongUseError("a search needs a place; give it with --bbox west,south,east,north")
    found = find_scenes(search, box, alone=alone)
    notify(found.remark)
    return list(found.items)


def _chosen(run: Path, device: str | None, labels: bool, executor: Executor | str, notify: Notify) -> ChosenWeights:
    """The model; refuses labels of such as give none."""
    if is_onnx(run):
        chosen = choose_onnx(run, device)
    else:
        chosen = choose_weights(run, executor == LOCAL, notify, train__device=device)
    gives = chosen.onnx.scene if chosen.onnx else chosen.card.scene_head != "none"
    if labels and not gives:
        raise WrongUseError(f"{run} has no scene head; leave out --labels")
    return chosen


@dataclass(frozen=True)
class Opening:
    """How scenes are opened; see `seg.scenes.open.open_scene`."""

    bands: Sequence[str] | None
    s1: tuple[Place, ...]
    offset: int | None
    cloud_mask: bool


def _opened(sources: Sequence[Source], how: Opening, card: ModelCard, notify: Notify) -> list[Scene]:
    """All scenes, looked at before anything is predicted; tells what is remarkable about them, each once."""
    expected = dict(zip(card.bands, zip(card.mean, card.std, strict=True), strict=True))
    try:
        scenes = [
            open_scene(
                source,
                bands=how.bands,
                s1=how.s1 or None,
                needed=card.bands,
                offset=how.offset,
                expected=expected,
                cloud_mask=how.cloud_mask,
            )
            for source in sources
        ]
    except BandMissingError as error:
        if error.band in S1_BANDS and not how.s1:
            told = str(error).partition("; ")[0]
            raise SceneError(f"{told}; name a Sentinel-1 raster in dB with --s1, or take a model without it") from None
        raise SceneError(f"{error}, or take a model without that band") from None
    days = sorted({scene.origin["ACQUIRED"][:10] for scene in scenes if "ACQUIRED" in scene.origin})
    mixed = [f"The scenes are of {len(days)} days ({days[0]} to {days[-1]}), which their maps say."] if days[1:] else []
    for remark in dict.fromkeys([*(remark for scene in scenes for remark in scene.remarks), *mixed]):
        notify(remark)
    return scenes

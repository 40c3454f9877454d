"""Maps of whole scenes: a run over Sentinel products, stacks or folders of bands."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from seg.catalogue.address import Place, places_of
from seg.catalogue.item import Source, sources_of
from seg.catalogue.search import Search, find_scenes
from seg.config.paths import AnyPath, AnyPaths, path_or_none
from seg.config.scope import check_unit
from seg.config.track import Notify, Track, ignore, silent
from seg.errors import BandMissingError, SceneError, WrongUseError
from seg.maps.elsewhere import MapPiece, have_mapped
from seg.maps.part import Box, choose_part
from seg.maps.scene_map import MapOptions, Sizes, claimed_maps
from seg.maps.stac import MODEL, model_of_map, require_pystac
from seg.maps.targets import map_targets, require_inputs
from seg.models.card import ModelCard
from seg.prepare.executors import LOCAL
from seg.runs.use import ChosenWeights, choose_weights
from seg.scenes.open import open_scene
from seg.scenes.reader import Scene

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
    quicklook: bool = False,
    tta: bool = False,
    mmu: float = 0.0,
    cloud_mask: bool = False,
    stac: bool = False,
    search: Search | None = None,
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

    Under ``torchrun`` the processes share the rows of windows of each scene; the first one puts the map together.

    Args:
        run: Run folder of `train`.
        scenes: Sentinel-2 L2A products (SAFE folder or zip), stacks of bands, or folders of single-band files, here or
            by their URLs; or STAC items and collections of such.
        out: The map, ``<name>.tif``; for several scenes a folder, in which each map has the name of its scene.
        bands: Names of the bands of a stack; None: its band descriptions name them.
        s1: Sentinel-1 rasters in dB that belong to the scene, for models that see Sentinel-1.
        offset, box: That of DN in files that do not say it, as for `open_scene`; the part of the scene to map.
        geometry: Vector file; pixels outside of its polygons become nodata.
        probabilities: Also write ``<stem>_probabilities.tif``, a band per class.
        confidence: Also write ``<stem>_confidence.tif``: confidence and entropy.
        labels: Also write ``<stem>_labels.parquet``: multi-labels of 1.2 km cells.
        areas: Also write ``<stem>_areas.csv`` and ``.md``: areas of the classes, adjusted for confusion if the run was
            scored on the test split.
        quicklook: Also write ``<stem>.png``.
        tta: Mean of the probabilities over the 8 symmetries of the square.
        mmu: Hectares of the minimum mapping unit that the class map alone is brought to; CORINE's is 25; 0: none.
        cloud_mask: Leave clouds and their shadows, by the scene's own classification, without data.
        stac: Also write ``<stem>.json`` and ``<stem>_model.json``: STAC items of the map and of its model; of several
            maps, an item each, ``model.json`` and ``collection.json``.
        search: Map what a STAC API has of the box instead of `scenes`: those with the fewest clouds that cover it, or
            if `out` is a map, the one that covers it alone.
        window, overlap: Of the windows, pixels; see `seg.inference.windows.lay_windows`.
        batch_size, device: Windows at a time; instead of the run's setting.
        executor, slurm: Who makes the maps, each of them one, see `seg.prepare.executors.opened`.
        track, notify: Are told of progress, and what the user must not miss.

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with the run or a scene.
        OSError: If a file cannot be read or written.
    """
    run, out, geometry = Path(run), Path(out), path_or_none(geometry)
    check_unit(mmu)
    if stac:
        require_pystac()
    folder = search is not None and out.suffix.lower() not in (".tif", ".tiff")
    sources = sources_of(scenes) if search is None else _searched(search, box, scenes, not folder, notify)
    rasters = places_of(s1)
    if executor != LOCAL:  # They may be read from another folder.
        run, out, geometry = run.absolute(), out.absolute(), geometry and geometry.absolute()
        sources = [one.absolute() if isinstance(one, Path) else one for one in sources]
        rasters = [one.absolute() if isinstance(one, Path) else one for one in rasters]
    paths = map_targets(sources, out, alone=bool(rasters), folder=folder)
    require_inputs(paths, [*sources, *rasters, *([geometry] if geometry else [])])
    with claimed_maps(paths, out):
        chosen, sizes = _chosen(run, device, labels, executor), Sizes(window, overlap, batch_size)
        options = MapOptions(run, probabilities, confidence, labels, areas, quicklook, tta, geometry, mmu)
        if stac:
            options = replace(options, stac=model_of_map(out) if paths == [out] else out / MODEL)
        # Everything is looked at before anything is predicted.
        opening = Opening(bands, tuple(rasters), offset, cloud_mask)
        opened = _opened(sources, opening, chosen.card, notify)
        parts = [(scene, choose_part(scene, box, geometry), path) for scene, path in zip(opened, paths, strict=True)]
        if executor == LOCAL:
            # What is wrong with the request itself has been said before torch is loaded, which takes seconds.
            from seg.maps.mapping import map_scenes

            return map_scenes(chosen, parts, options, sizes, track, notify)
    return have_mapped([MapPiece(chosen, *one, options, sizes) for one in parts], executor, slurm, track, notify)


def _searched(search: Search, box: Box | None, scenes: AnyPaths, alone: bool, notify: Notify) -> list[Source]:
    """What a search finds; tells what it is."""
    if sources_of(scenes):
        raise WrongUseError("scenes are named or searched for; leave out SCENES or --stac-api")
    if box is None:
        raise WrongUseError("a search needs a place; give it with --bbox west,south,east,north")
    found = find_scenes(search, box, alone=alone)
    notify(found.remark)
    return list(found.items)


def _chosen(run: Path, device: str | None, labels: bool, executor: Executor | str) -> ChosenWeights:
    """The weights; refuses labels of such as have none."""
    chosen = choose_weights(run, executor == LOCAL, train__device=device)
    if labels and chosen.card.scene_head == "none":
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
    """The scenes, looked at; tells what is remarkable about them, each once."""
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
        raise SceneError(f"{error}, or take a model without that band") from None
    for remark in dict.fromkeys(remark for scene in scenes for remark in scene.remarks):
        notify(remark)
    return scenes

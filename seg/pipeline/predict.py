"""Maps of whole scenes: a run over Sentinel products, stacks or folders of bands."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from seg.config.paths import AnyPath, AnyPaths, path_list, path_or_none
from seg.config.track import Notify, Track, ignore, silent
from seg.engine.distributed import Ranks, joined
from seg.errors import BandMissingError, SceneError, WrongUseError
from seg.inference.cells import cell_rows, predict_cells
from seg.inference.strips import View
from seg.inference.tiled import Piece, predict_strips
from seg.inference.window_pass import ScenePass
from seg.inference.windows import lay_windows
from seg.maps.part import Box, ScenePart, choose_part
from seg.maps.parts import begin_map, require_strips, unfinished_folder
from seg.maps.qgis import style
from seg.maps.scene_map import MapOptions, ScenePlan, finish_map, map_files, map_identity, require_space, run_tags
from seg.maps.targets import map_targets, require_apart
from seg.maps.vrt import write_vrt
from seg.metrics.ratio import Floats
from seg.models.checkpoint import ModelCard
from seg.models.folding import fold_batch_norm
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.runs.session import Weights, open_weights
from seg.scenes.open import open_scene
from seg.scenes.reader import Scene
from seg.store.targets import Known, claimed_files, claimed_folder

T = TypeVar("T")

VRT = "map.vrt"
_PENDING = 2
"""Strips that may wait for the disk."""


@dataclass(frozen=True)
class SceneMap:
    """A finished map.

    Attributes:
        path: The class map.
        files: All files of the map.
        height, width: Pixels.
        windows: Windows of the plan.
        predicted: Those that were not there yet.
        window: Height and width of each, pixels.
        seconds: Time that it took to predict them, cells included.
        nodata: Share of the pixels without data or outside of what was to be mapped.
        hectares_K: Area of each class on the ground, float64.
    """

    path: Path
    files: tuple[Path, ...]
    height: int
    width: int
    windows: int
    predicted: int
    window: tuple[int, int]
    seconds: float
    nodata: float
    hectares_K: Floats

    @property
    def summary(self) -> str:
        """What was done, in a line or two."""
        speed = f", {self.predicted / self.seconds:.1f} windows/s" if self.predicted and self.seconds > 1 else ""
        windows = f"{self.windows} window" + ("s" if self.windows > 1 else "")
        largest = sorted(zip(self.hectares_K, CLASS_NAMES, strict=True), reverse=True)[:3]
        total = self.hectares_K.sum()
        shares = ", ".join(f"{name} {100 * area / total:.1f} %" for area, name in largest if area)
        return (
            f"{self.width} x {self.height} pixels in {windows}, {self.seconds:.0f} s{speed}; "
            f"{100 * self.nodata:.1f} % without data. {shares}."
        )


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
    window: int | None = None,
    overlap: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    track: Track = silent,
    notify: Notify = ignore,
) -> tuple[SceneMap, ...]:
    """Map scenes with a run. What is broken off is taken up again by the same call.

    Under ``torchrun`` the processes share the rows of windows of each scene; the first one puts the map together.

    Args:
        run: Run folder of `train`.
        scenes: Sentinel-2 L2A products (SAFE folder or zip), stacks of bands, or folders of single-band files.
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
        window, overlap: Of the windows, pixels; see `seg.inference.windows.lay_windows`.
        batch_size: Windows at a time.
        device: Instead of the run's setting.
        track, notify: Are told of progress, and what the user must not miss.

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with the run or a scene.
        OSError: If a file cannot be read or written.
    """
    run, scenes, out, s1, geometry = Path(run), path_list(scenes), Path(out), path_list(s1), path_or_none(geometry)
    paths = map_targets(scenes, out)
    require_apart(paths, [*scenes, *s1, *([geometry] if geometry else [])])
    if s1 and len(scenes) > 1:
        raise WrongUseError("a Sentinel-1 raster belongs to one scene; predict the scenes one by one")
    with _claimed(paths, out):
        weights = _weights_for_maps(run, device)
        if labels and weights.card.scene_head == "none":
            raise WrongUseError(f"{run} has no scene head; leave out --labels")
        options = MapOptions(run, probabilities, confidence, labels, areas, quicklook, tta, geometry)
        # Everything is looked at before anything is predicted.
        opened = [_opened(path, bands, s1, offset, weights.card) for path in scenes]
        for remark in dict.fromkeys(remark for scene in opened for remark in scene.remarks):
            notify(remark)
        jobs = [
            _job(weights, scene, choose_part(scene, box, geometry), path, options, (window, overlap, batch_size))
            for scene, path in zip(opened, paths, strict=True)
        ]
        with joined(weights.ranks, weights.compute.device) as ranks:
            joined_weights = replace(weights, ranks=ranks)
            maps = tuple(_map_scene(replace(job, weights=joined_weights), track, notify) for job in jobs)
            if len(maps) > 1 and ranks.first:
                write_vrt(out / VRT, [one.path for one in maps], tags=run_tags(jobs[0]))
        return maps


@contextmanager
def _claimed(paths: Sequence[Path], out: Path) -> Iterator[None]:
    """Claim everything that maps consist of, before anything is loaded."""
    for path in paths:
        require_strips(unfinished_folder(path))
    files = [file for path in paths for file in map_files(path)]
    known = Known(contents={file.name: style() for file in files if file.suffix == ".qml"})
    if paths == [out]:
        with claimed_files(files, known):
            yield
        return
    names = [file.name for file in files] + [VRT, *(f"{Path(VRT).stem}_warped/{path.stem}.vrt" for path in paths)]
    with claimed_folder(out, names, known):
        yield


def _weights_for_maps(run: Path, device: str | None) -> Weights:
    """The weights of a run, as fast as they get."""
    weights = open_weights(run, train__device=device)
    if weights.compute.dtype != torch.float32:
        # No less exact. In float32 maps stay those of `seg export` to the last bit.
        fold_batch_norm(weights.model, weights.compute.dtype)
    return weights


def _opened(path: Path, bands: Sequence[str] | None, s1: Sequence[Path], offset: int | None, card: ModelCard) -> Scene:
    statistics = dict(zip(card.bands, zip(card.mean, card.std, strict=True), strict=True))
    try:
        return open_scene(path, bands=bands, s1=list(s1) or None, needed=card.bands, offset=offset, expected=statistics)
    except BandMissingError as error:
        raise SceneError(f"{error}, or take a model without that band") from None


def _job(
    weights: Weights,
    scene: Scene,
    part: ScenePart,
    path: Path,
    options: MapOptions,
    sizes: tuple[int | None, int | None, int | None],
) -> ScenePlan:
    """A map as asked for; window, overlap and batch size are chosen where they are None."""
    window, overlap, batch_size = sizes
    tiling = lay_windows(weights.model, (scene.grid.height, scene.grid.width), part.inner, window, overlap)
    if batch_size is None:
        batch_size = batch_of_windows(weights, tiling.rows.window, tiling.columns.window)
    rows = tuple(cell_rows(scene, part.inner)) if options.labels else ()
    return ScenePlan(weights, scene, part, tiling, path, options, batch_size, rows)


def batch_of_windows(weights: Weights, height: int, width: int) -> int:
    """Windows at a time: as many pixels as a batch of the evaluation has. On a CPU a window at a time is as fast."""
    pixels = weights.config.eval.batch_size * PATCH_SIZE**2
    return 1 if weights.compute.device.type == "cpu" else max(1, round(pixels / (height * width)))


def _map_scene(job: ScenePlan, track: Track, notify: Notify) -> SceneMap:
    """Predict what is not there yet, and put the map together."""
    ranks, unfinished = job.weights.ranks, job.unfinished
    if ranks.first:
        require_space(job)
        begin_map(unfinished.folder, map_identity(job), notify)
    ranks.wait()
    lacking = unfinished.lacking(job.tiling.strips)
    lacking_rows = [row for row in job.cell_rows if not unfinished.cells(row).is_file()]
    # Nobody writes before everybody has looked.
    ranks.wait()
    began = time.perf_counter()
    _predict_lacking(job, _share(lacking, ranks), _share(lacking_rows, ranks), track)
    seconds = time.perf_counter() - began
    ranks.wait()
    areas = [values.tolist() for values in unfinished.areas(job.tiling.strips)] if ranks.first else None
    counts, hectares = map(np.array, ranks.from_first(areas))
    files = finish_map(job, counts, hectares[:NUM_CLASSES], notify) if ranks.first else ()
    ranks.wait()
    return SceneMap(
        job.path,
        files,
        job.part.inner.height,
        job.part.inner.width,
        job.tiling.windows,
        len(lacking) * len(job.tiling.columns.starts),
        (job.tiling.rows.window, job.tiling.columns.window),
        seconds,
        float(1 - counts[:NUM_CLASSES].sum() / counts.sum()),
        hectares[:NUM_CLASSES],
    )


def _predict_lacking(job: ScenePlan, strips: Sequence[int], rows: Sequence[int], track: Track) -> None:
    weights, scene, options = job.weights, job.scene, job.options
    view = View(scene, weights.card.bands, weights.card.resampling, job.part.inside)
    if strips:
        how = ScenePass(
            weights.compute,
            job.batch_size,
            job.temperature,
            options.tta,
            options.probabilities,
            options.confidence,
            track,
        )
        pieces = predict_strips(weights.model, view, job.tiling, strips, how)

        def write(piece: Piece) -> None:
            job.unfinished.write_left_out(strips[0], scene.left_out)
            job.unfinished.write(piece)

        _write_behind(pieces, write)
    if rows:
        how = ScenePass(weights.compute, weights.config.eval.batch_size, track=track)
        cells = predict_cells(weights.model, view, job.part.inner, rows, how)
        _write_behind(cells, job.unfinished.write_cells)


def _write_behind(items: Iterable[T], write: Callable[[T], None]) -> None:
    """Write items in a thread of its own while the next ones are made; only a few of them wait at any time."""
    with ThreadPoolExecutor(1, "writer") as pool:
        pending: deque[Future[None]] = deque()
        for item in items:
            pending.append(pool.submit(write, item))
            while len(pending) > _PENDING:
                pending.popleft().result()
        for future in pending:
            future.result()


def _share(numbers: Sequence[int], ranks: Ranks) -> Sequence[int]:
    """What a process does of some rows: neighbours, because each needs the row above it."""
    begin, end = (len(numbers) * rank // ranks.count for rank in (ranks.rank, ranks.rank + 1))
    return numbers[begin:end]

"""The work of mapping scenes that are open: a network over each of them, strip by strip, and the files of its map."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from seg.config.track import Notify, Track
from seg.inference.cells import cell_rows, predict_cells
from seg.inference.strips import View
from seg.inference.tiled import Piece, predict_strips
from seg.inference.window_pass import ScenePass
from seg.inference.windows import lay_windows
from seg.maps.generalise import generalise_strips
from seg.maps.map_files import MapOptions
from seg.maps.part import ScenePart
from seg.maps.parts import Unfinished, begin_map
from seg.maps.scene_map import ScenePlan, Sizes, finish_map, map_identity, require_space
from seg.maps.together import join_maps, run_tags
from seg.metrics.ratio import Floats
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import CLASS_NAMES, NUM_CLASSES
from seg.runs.mapper import Mapper, Processes, open_mapper
from seg.runs.use import ChosenWeights
from seg.scenes.reader import Scene

T = TypeVar("T")

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


def map_scenes(
    chosen: ChosenWeights,
    scenes: Sequence[tuple[Scene, ScenePart, Path]],
    options: MapOptions,
    sizes: Sizes,
    track: Track,
    notify: Notify,
    *,
    together: bool = True,
) -> tuple[SceneMap, ...]:
    """Map scenes; under ``torchrun`` the processes share the rows of windows of each.

    Args:
        chosen: The weights.
        scenes: Each with the part of it to map, and its class map; several lie in one folder and get a virtual raster.
        options: What belongs to each map.
        sizes: Of windows and batches.
        track, notify: Are told of progress, and what the user must not miss.
        together: Whether these are all maps of their folder, which then get what spans them.

    Raises:
        SegError: One of its kinds, for anything wrong with the weights or a scene.
        OSError: If a file cannot be read or written.
    """
    mapper = open_mapper(chosen)
    plans = [plan_map(mapper, scene, part, path, options, sizes) for scene, part, path in scenes]
    with mapper.joined() as ranks:
        joined = replace(mapper, ranks=ranks)
        maps = tuple(map_scene(replace(plan, mapper=joined), track, notify, notify) for plan in plans)
        if together and ranks.first:
            tags = run_tags(chosen, options, any(scene.synthetic for scene, *_ in scenes))
            join_maps([one.path for one in maps], chosen, options, tags)
    return maps


def plan_map(
    mapper: Mapper,
    scene: Scene,
    part: ScenePart,
    path: Path,
    options: MapOptions,
    sizes: Sizes,
) -> ScenePlan:
    """A map as asked for; window, overlap and batch size are chosen where they are None.

    Raises:
        WrongUseError: If the network does not take such windows.
    """
    tiling = lay_windows(mapper.takes, (scene.grid.height, scene.grid.width), part.inner, sizes.window, sizes.overlap)
    batch_size = sizes.batch
    if batch_size is None:
        usual = mapper.chosen.config.eval.batch_size
        batch_size = batch_of_windows(usual, mapper.on_gpu, tiling.rows.window, tiling.columns.window)
    rows = tuple(cell_rows(scene, part.inner)) if options.labels else ()
    return ScenePlan(mapper, scene, part, tiling, path, options, batch_size, rows)


def batch_of_windows(usual: int, on_gpu: bool, height: int, width: int) -> int:
    """Windows at a time: as many pixels as a batch of the evaluation has. On a CPU a window at a time is as fast."""
    return max(1, round(usual * PATCH_SIZE**2 / (height * width))) if on_gpu else 1


def map_scene(plan: ScenePlan, track: Track, notify: Notify, begun: Notify) -> SceneMap:
    """Predict what is not there yet, and put the map together.

    Args:
        plan: The map.
        track, notify: Are told of progress, and what the user must not miss.
        begun: Is told what became of strips that are there.

    Raises:
        SegError, OSError: As `map_scenes`.
    """
    ranks, unfinished = plan.mapper.ranks, plan.unfinished
    if ranks.first:
        require_space(plan)
        begin_map(unfinished.folder, map_identity(plan), begun)
    ranks.wait()
    lacking = unfinished.lacking(plan.tiling.strips)
    lacking_rows = unfinished.lacking_cells(plan.cell_rows)
    # Nobody writes before everybody has looked.
    ranks.wait()
    began = time.perf_counter()
    predict_lacking(plan, unfinished, _share(lacking, ranks), _share(lacking_rows, ranks), track)
    seconds = time.perf_counter() - began
    ranks.wait()
    areas = None
    if ranks.first:
        for layer, unit in plan.units.items():
            generalise_strips(unfinished, plan.tiling.strips, unit, layer, track)
        areas = [values.tolist() for values in unfinished.areas(plan.tiling.strips, plan.classes)]
    counts, hectares = map(np.array, ranks.from_first(areas))
    files = finish_map(plan, counts, hectares[:NUM_CLASSES], notify) if ranks.first else ()
    ranks.wait()
    return SceneMap(
        plan.path,
        files,
        plan.part.inner.height,
        plan.part.inner.width,
        plan.tiling.windows,
        len(lacking) * len(plan.tiling.columns.starts),
        (plan.tiling.rows.window, plan.tiling.columns.window),
        seconds,
        float(1 - counts[:NUM_CLASSES].sum() / counts.sum()),
        hectares[:NUM_CLASSES],
    )


def predict_lacking(
    plan: ScenePlan, unfinished: Unfinished, strips: Sequence[int], rows: Sequence[int], track: Track
) -> None:
    """Predict strips and rows of cells of a map, and keep them.

    Args:
        plan: The map.
        unfinished: What keeps them.
        strips, rows: Their numbers, ascending.
        track: Progress.

    Raises:
        SceneError: If a file of the scene is damaged.
        OutOfMemoryError: Naming the options to lower.
        OSError: If the disk does not take them.
    """
    mapper, scene, options = plan.mapper, plan.scene, plan.options
    view = View(scene, mapper.card.bands, mapper.card.resampling, plan.part.inside)
    if strips:
        how = ScenePass(
            plan.batch_size,
            options.tta,
            options.probabilities,
            plan.with_confidence,
            bool(plan.units),
            track,
        )

        def write(piece: Piece) -> None:
            unfinished.write_left_out(strips[0], scene.left_out)
            unfinished.write(piece)

        # Closed here whatever happens: left to the garbage collector, it would wait for a reader that has ended.
        with closing(predict_strips(mapper.network, view, plan.tiling, strips, how)) as pieces:
            _write_behind(pieces, write)
    if rows:
        how = ScenePass(mapper.chosen.config.eval.batch_size, track=track)
        with closing(predict_cells(mapper.network, view, plan.part.inner, rows, how)) as cells:
            _write_behind(cells, unfinished.write_cells)


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


def _share(numbers: Sequence[int], ranks: Processes) -> Sequence[int]:
    """What a process does of some rows: neighbours, because each needs the row above it."""
    begin, end = (len(numbers) * rank // ranks.count for rank in (ranks.rank, ranks.rank + 1))
    return numbers[begin:end]

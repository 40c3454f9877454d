"""Multi-labels of a scene: the network on each 1.2 km cell by itself, as on a patch of reBEN."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seg.engine.device import named_when_full
from seg.inference.strips import Strip, StripPreparation, StripReader, View
from seg.inference.window_pass import ScenePass
from seg.inference.windows import Axis, Tiling
from seg.models.padding import Frame
from seg.models.segmenter import Segmenter
from seg.rasters.grid import Window
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import NUM_CLASSES
from seg.scenes.cells import cell_grid
from seg.scenes.reader import Scene


@dataclass(frozen=True, eq=False)
class CellRow:
    """A row of the cells of `seg.scenes.cells.cell_grid`.

    Attributes:
        row: Number of the row, from the top.
        columns_N: Number of each cell's column, int64.
        data_N: Share of each cell that has data and is to be mapped, float32, above 0.
        probabilities_NK: Scene probabilities, float32.
    """

    row: int
    columns_N: npt.NDArray[np.int64]
    data_N: npt.NDArray[np.float32]
    probabilities_NK: npt.NDArray[np.float32]


def cell_rows(scene: Scene, inner: Window) -> list[int]:
    """Rows of whole cells that touch what is mapped."""
    grid = cell_grid(scene)
    return _touched(grid.top, grid.rows, inner.top, inner.height)


def _touched(first: int, count: int, begin: int, length: int) -> list[int]:
    """Those of some cells in a row, the first of which begins at a pixel, that touch a stretch of pixels."""
    end = -(-(begin + length - first) // PATCH_SIZE)
    return list(range(max((begin - first) // PATCH_SIZE, 0), min(end, count)))


def predict_cells(
    model: Segmenter,
    view: View,
    inner: Window,
    rows: Sequence[int],
    how: ScenePass,
) -> Generator[CellRow]:
    """Predict the cells that lie wholly in the scene and in which anything is to be mapped.

    Args:
        model: With a scene head, in evaluation mode, on its device. With a context it sees what lies around each cell,
            reflected where the scene ends.
        view: The scene.
        inner: The part of the scene that is mapped.
        rows: Some of `cell_rows`.
        how: Device, formats, cells at a time and progress.

    Raises:
        SceneError: If a file is damaged.
        OutOfMemoryError: Naming the option to lower.
    """
    if model.context:
        yield from _predict_pictures(model, view, inner, rows, how)
        return
    cell = Window(0, 0, PATCH_SIZE, PATCH_SIZE)
    axis = Axis(PATCH_SIZE, PATCH_SIZE, (0,), 0)
    tiling = Tiling(cell, cell, Frame(PATCH_SIZE, PATCH_SIZE, PATCH_SIZE, PATCH_SIZE), axis, axis)
    scene, bands, factors = view.scene, view.bands, view.factors
    prepare = StripPreparation(view, tiling, how.compute.device)
    grid = cell_grid(scene)
    columns = _touched(grid.left, grid.columns, inner.left, inner.width)
    if not columns:
        return
    with scene.open() as reader:
        for row in how.track(rows, "rows of cells predicted", len(rows)):
            left, top = grid.left + columns[0] * PATCH_SIZE, grid.top + row * PATCH_SIZE
            place = Window(left, top, len(columns) * PATCH_SIZE, PATCH_SIZE)
            values = reader.read(place, bands)
            valid_HW = reader.valid(place)
            wanted_HW = _within(view.wanted(place, valid_HW), place, inner)
            cells = [
                Strip(
                    0,
                    cell,
                    {
                        name: values[name][:, _columns(number, factor)]
                        for name, factor in zip(bands, factors, strict=True)
                    },
                    valid_HW[:, _columns(number)],
                    wanted_HW[:, _columns(number)],
                )
                for number in range(len(columns))
                if wanted_HW[:, _columns(number)].any()
            ]
            columns_N = [column for n, column in enumerate(columns) if wanted_HW[:, _columns(n)].any()]
            yield CellRow(
                row,
                np.array(columns_N, np.int64),
                np.array([(each.valid_HW & each.wanted_HW).mean() for each in cells], np.float32),
                _probabilities(model, _prepared(cells, prepare, how), how),
            )


def _predict_pictures(
    model: Segmenter, view: View, inner: Window, rows: Sequence[int], how: ScenePass
) -> Generator[CellRow]:
    """The same by a network with a context: cells with what lies around them are cut out of rows of pictures."""
    grid, whole = cell_grid(view.scene), view.scene.grid
    columns = _touched(grid.left, grid.columns, inner.left, inner.width)
    if not columns:
        return
    context, size = model.context, PATCH_SIZE + 2 * model.context
    # Beside the cells as much as they look at, and as bands of any pixel size begin at.
    beside = PATCH_SIZE
    left = max(grid.left + columns[0] * PATCH_SIZE - beside, 0)
    right = min(grid.left + (columns[-1] + 1) * PATCH_SIZE + beside, whole.width)
    area = Window(left, 0, right - left, whole.height)
    frame = Frame(area.height, area.width, area.height + 2 * context, area.width + 2 * context)
    starts = tuple(grid.top + row * PATCH_SIZE for row in rows)
    tiling = Tiling(area, inner, frame, Axis(frame.full_height, size, starts, 0), Axis(frame.full_width, size, (0,), 0))
    prepare = StripPreparation(view, tiling, how.compute.device)
    images_CHW = torch.empty(prepare.shape, device=how.compute.device)
    with view.scene.open() as reader:
        strips = StripReader(view, reader, tiling)
        for number, row in enumerate(how.track(rows, "rows of cells predicted", len(rows))):
            strip = strips.read(number)
            prepare(strip, images_CHW)
            top = grid.top + row * PATCH_SIZE
            wanted_HW = _within(strip.wanted_HW, strip.place, inner)[top - strip.place.top :][:PATCH_SIZE]
            places = [grid.left + column * PATCH_SIZE for column in columns]
            shares_N = [wanted_HW[:, begin - strip.place.left :][:, :PATCH_SIZE].mean() for begin in places]
            seen = [begin - left for begin, share in zip(places, shares_N, strict=True) if share]
            yield CellRow(
                row,
                np.array([column for column, share in zip(columns, shares_N, strict=True) if share], np.int64),
                np.array([share for share in shares_N if share], np.float32),
                _probabilities(model, [images_CHW[:, :, begin : begin + size] for begin in seen], how),
            )


def _probabilities(model: nn.Module, pictures: Sequence[Tensor], how: ScenePass) -> npt.NDArray[np.float32]:
    """Scene probabilities of pictures (C, H, W) of cells, float32 (N, K)."""
    parts, compute, batch_size = [], how.compute, how.batch_size
    for begin in range(0, len(pictures), batch_size):
        with named_when_full("lower --batch-size"), torch.inference_mode(), compute.autocast():
            images = torch.stack(list(pictures[begin : begin + batch_size]))
            _, scene_logits = model(images.contiguous(memory_format=compute.memory_format))
            parts.append(scene_logits.float().sigmoid().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, NUM_CLASSES), np.float32)


def _columns(number: int, factor: int = 1) -> slice:
    size = PATCH_SIZE // factor
    return slice(number * size, (number + 1) * size)


def _within(wanted_HW: npt.NDArray[np.bool_], place: Window, inner: Window) -> npt.NDArray[np.bool_]:
    rows = np.arange(place.top, place.top + place.height)
    columns = np.arange(place.left, place.left + place.width)
    in_rows = (rows >= inner.top) & (rows < inner.top + inner.height)
    in_columns = (columns >= inner.left) & (columns < inner.left + inner.width)
    return wanted_HW & in_rows[:, None] & in_columns


def _prepared(cells: Sequence[Strip], prepare: StripPreparation, how: ScenePass) -> list[Tensor]:
    images = torch.empty((len(cells), *prepare.shape), device=how.compute.device)
    with named_when_full("lower --batch-size"):
        for each, images_CHW in zip(cells, images, strict=True):
            prepare(each, images_CHW)
    return list(images)

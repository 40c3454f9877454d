"""Multi-labels of a scene: the network on each 1.2 km cell by itself, as on a patch of reBEN."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from seg.inference.arithmetic import Network, Values
from seg.inference.strips import Strip, StripPreparation, StripReader, View
from seg.inference.window_pass import ScenePass
from seg.inference.windows import Axis, Tiling
from seg.models.frame import Frame
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import NUM_CLASSES
from seg.scenes.cells import cell_grid
from seg.scenes.grid import Window
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
    network: Network,
    view: View,
    inner: Window,
    rows: Sequence[int],
    how: ScenePass,
) -> Generator[CellRow]:
    """Predict the cells that lie wholly in the scene and in which anything is to be mapped.

    Args:
        network: A network with a scene head. With a context it sees what lies around each cell, reflected where the
            scene ends.
        view: The scene.
        inner: The part of the scene that is mapped.
        rows: Some of `cell_rows`.
        how: Cells at a time and progress.

    Raises:
        SceneError: If a file is damaged.
        OutOfMemoryError: Naming the option to lower.
    """
    if network.context:
        yield from _predict_pictures(network, view, inner, rows, how)
        return
    cell = Window(0, 0, PATCH_SIZE, PATCH_SIZE)
    axis = Axis(PATCH_SIZE, PATCH_SIZE, (0,), 0)
    tiling = Tiling(cell, cell, Frame(PATCH_SIZE, PATCH_SIZE, PATCH_SIZE, PATCH_SIZE), axis, axis)
    scene, bands, factors = view.scene, view.bands, view.factors
    prepare = StripPreparation(view, tiling, network.arithmetic)
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
                _probabilities(network, prepare.shape, [partial(prepare, each) for each in cells], how.batch_size),
            )


def _predict_pictures(
    network: Network, view: View, inner: Window, rows: Sequence[int], how: ScenePass
) -> Generator[CellRow]:
    """The same by a network with a context: cells with what lies around them are cut out of rows of pictures."""
    grid, whole = cell_grid(view.scene), view.scene.grid
    columns = _touched(grid.left, grid.columns, inner.left, inner.width)
    if not columns:
        return
    arithmetic, context = network.arithmetic, network.context
    size = PATCH_SIZE + 2 * context
    # Beside the cells as much as they look at, and as bands of any pixel size begin at.
    beside = PATCH_SIZE
    left = max(grid.left + columns[0] * PATCH_SIZE - beside, 0)
    right = min(grid.left + (columns[-1] + 1) * PATCH_SIZE + beside, whole.width)
    area = Window(left, 0, right - left, whole.height)
    frame = Frame(area.height, area.width, area.height + 2 * context, area.width + 2 * context)
    starts = tuple(grid.top + row * PATCH_SIZE for row in rows)
    tiling = Tiling(area, inner, frame, Axis(frame.full_height, size, starts, 0), Axis(frame.full_width, size, (0,), 0))
    prepare = StripPreparation(view, tiling, arithmetic)
    images_CHW = arithmetic.empty(prepare.shape)
    with view.scene.open() as reader:
        strips = StripReader(view, reader, tiling)
        for number, row in enumerate(how.track(rows, "rows of cells predicted", len(rows))):
            strip = strips.read(number)
            with arithmetic.guarded("lower --batch-size"):
                prepare(strip, images_CHW)
            top = grid.top + row * PATCH_SIZE
            wanted_HW = _within(strip.wanted_HW, strip.place, inner)[top - strip.place.top :][:PATCH_SIZE]
            places = [grid.left + column * PATCH_SIZE for column in columns]
            shares_N = [wanted_HW[:, begin - strip.place.left :][:, :PATCH_SIZE].mean() for begin in places]
            seen = [begin - left for begin, share in zip(places, shares_N, strict=True) if share]
            pictures = [partial(_copy, images_CHW[:, :, begin : begin + size]) for begin in seen]
            yield CellRow(
                row,
                np.array([column for column, share in zip(columns, shares_N, strict=True) if share], np.int64),
                np.array([share for share in shares_N if share], np.float32),
                _probabilities(network, (len(images_CHW), size, size), pictures, how.batch_size),
            )


def _copy(picture_CHW: Values, target_CHW: Values) -> None:
    target_CHW[...] = picture_CHW


def _probabilities(
    network: Network, shape: tuple[int, int, int], writers: Sequence[Callable[[Values], object]], batch_size: int
) -> npt.NDArray[np.float32]:
    """Scene probabilities of pictures, float32 (N, K); each writer puts one, normalised (C, H, W), where it is told."""
    parts, arithmetic = [], network.arithmetic
    for begin in range(0, len(writers), batch_size):
        with arithmetic.guarded("lower --batch-size"):
            batch = writers[begin : begin + batch_size]
            images_BCHW = arithmetic.empty((len(batch), *shape))
            for write, images_CHW in zip(batch, images_BCHW, strict=True):
                write(images_CHW)
            parts.append(network.scene_shares(images_BCHW))
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

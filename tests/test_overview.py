"""The picture of an export: patches that lie together as a mosaic, others one by one; and what is not there."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from seg.figures.maps import map_figure
from seg.figures.patches import MOST
from seg.figures.style import MAX_PNG_BYTES, PALETTE, UNLABELLED, png_bytes
from seg.maps.overview import overview_figure
from seg.reben.classes import CLASSES, IGNORE_INDEX
from seg.reben.patch import PatchId

PATCH = PatchId.parse("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57")


def drawn(cells: list[tuple[int, int]], looks: bool = True, unlabelled: bool = False) -> Figure:
    """Patches whose reference is the class of their position, and whose prediction is right in the lower half."""
    ids = [replace(PATCH, column=column, row=row) for column, row in cells]
    reference = {patch: np.full((120, 120), n % 19, np.uint8) for n, patch in enumerate(ids)}
    predicted = {patch: map_HW.copy() for patch, map_HW in reference.items()}
    for map_HW in predicted.values():
        map_HW[:60] = (map_HW[:60] + 1) % 19
    if unlabelled:
        reference[ids[0]][:10] = IGNORE_INDEX
    seen = {patch: np.full((120, 120, 3), 80, np.uint8) for patch in ids} if looks else {}
    return overview_figure(reference, predicted, seen, title="a title", synthetic=False)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def images(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes]


SCATTERED = [(n * 9, n * 17 % 91) for n in range(10)]
STRIP = [(3, row) for row in range(60)]
TOGETHER = [(3, 4), (3, 5), (4, 4), (5, 5)]


@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("cells", [SCATTERED, STRIP, [(0, 0), (90, 90)]])
def test_patches_far_apart_are_shown_one_by_one(cells, looks):
    figure = drawn(cells, looks)
    shown, rows = min(len(cells), MOST), 3 + looks
    assert [image.shape[:2] for image in images(figure)] == [(120, 120)] * shown * rows
    written = texts(figure)
    assert written.count("50.0 %") == shown
    names = [f"{column:02d}_{row:02d}" for column, row in sorted(cells)]
    assert {names[0], names[-1]} <= set(written)
    assert len(set(names) & set(written)) == shown
    assert (f"a title · {shown} of {len(cells)} patches" if len(cells) > shown else "a title") in written
    # The reference of the first patch, in its colour.
    reference = images(figure)[looks]
    first = cells.index(min(cells)) % 19
    assert (reference == PALETTE[first]).all()


@pytest.mark.parametrize(
    "cells", [SCATTERED, SCATTERED[:1], SCATTERED[:2], STRIP, TOGETHER, [(c, r) for c in range(20) for r in range(20)]]
)
def test_the_picture_has_a_bounded_size_and_nothing_is_clipped(cells):
    figure = drawn(cells, unlabelled=True)
    figure.canvas.draw()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height
    data = png_bytes(figure)
    assert len(data) < MAX_PNG_BYTES
    with Image.open(BytesIO(data)) as image:
        assert max(image.size) <= 1600
        assert 0.25 < image.height / image.width < 1.2
    legends = [legend.get_window_extent() for legend in figure.legends]
    for n, legend in enumerate(legends):
        assert not any(legend.overlaps(axes.get_window_extent()) for axes in figure.axes)
        assert not any(legend.overlaps(other) for other in legends[:n])


def test_patches_that_lie_together_are_a_mosaic():
    figure = drawn(TOGETHER)
    assert [image.shape[:2] for image in images(figure)] == [(240, 360)] * 4
    assert "Agreement 50.0 %" in texts(figure)


@pytest.mark.parametrize("unlabelled", [True, False])
@pytest.mark.parametrize("cells", [TOGETHER, SCATTERED])
def test_where_no_patch_is_is_no_class(cells, unlabelled):
    figure = drawn(cells, unlabelled=unlabelled)
    named = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert named.count("Unlabelled") == 2 * unlabelled
    assert set(named) - {c.short for c in CLASSES} == {"Right", "Wrong", *(["Unlabelled"] if unlabelled else [])}


def test_holes_of_a_mosaic_are_hatched_and_unlabelled_pixels_are_grey():
    figure = drawn(TOGETHER, unlabelled=True)
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())[..., :3]

    def seen(panel: int, column: slice, row: slice) -> set[tuple[int, ...]]:
        """Colours of a part of a panel, pixels of the mosaic."""
        transform = figure.axes[panel].transData.transform
        (left, bottom), (right, top) = transform((column.start, row.stop)), transform((column.stop, row.start))
        height = image.shape[0]
        part = image[round(height - top) + 2 : round(height - bottom) - 2, round(left) + 2 : round(right) - 2]
        return {tuple(map(int, color)) for color in part.reshape(-1, 3)}

    for panel in range(4):
        assert figure.axes[panel].patch.get_hatch()
        hole = seen(panel, slice(240, 360), slice(0, 120))
        assert (255, 255, 255) in hole
        assert UNLABELLED not in hole
        assert min(map(min, hole)) > 190  # the hatching is faint
        assert len(hole) > 2
    assert UNLABELLED in seen(1, slice(0, 120), slice(0, 10))


def test_a_map_without_holes_is_drawn_as_before():
    reference_HW = np.arange(120, dtype=np.uint8).repeat(120).reshape(120, 120) % 19
    whole = np.ones((120, 120), bool)
    one, other = (
        map_figure(reference_HW, reference_HW, covered_HW=c, title="t", synthetic=False) for c in (None, whole)
    )
    assert png_bytes(one) == png_bytes(other)


def test_patches_of_several_products_are_refused():
    other = PatchId.parse("S2B_MSIL2A_20180204T093219_N9999_R136_T35VPK_00_90")
    maps = {PATCH: np.zeros((120, 120), np.uint8), other: np.zeros((120, 120), np.uint8)}
    with pytest.raises(ValueError, match="group the patches by product"):
        overview_figure(maps, maps, {}, title="t", synthetic=False)

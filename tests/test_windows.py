"""Windows cover a scene, stand where the network's grid is, and their weights add up to 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg.config.sections import ModelConfig
from seg.errors import WrongUseError
from seg.inference.windows import lay_axis, lay_windows
from seg.models.segmenter import build_segmenter
from seg.scenes.grid import Window


@st.composite
def axes(draw):
    multiple = draw(st.sampled_from([1, 2, 14, 32]))
    window = multiple * draw(st.integers(1, 20))
    overlap = multiple * draw(st.integers(0, window // multiple // 2))
    return lay_axis(multiple * draw(st.integers(1, 200)), window, overlap, multiple), overlap, multiple


@given(axes())
def test_weights_add_up_to_one_and_only_two_windows_count_anywhere(drawn):
    axis, _, _ = drawn
    total, counted = np.zeros(axis.length), np.zeros(axis.length, int)
    for number in range(len(axis.starts)):
        begin, end = axis.begin(number), axis.end(number)
        assert axis.starts[number] <= begin < end <= axis.starts[number] + axis.window
        weights = axis.weights(number)
        assert weights.dtype == np.float32
        assert weights.min() >= 0
        total[begin:end] += weights
        counted[begin:end] += weights > 0
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert counted.max() <= 2


@given(axes())
def test_windows_stand_on_the_grid_and_share_what_was_asked_for(drawn):
    axis, overlap, multiple = drawn
    assert axis.starts[0] == 0
    assert axis.starts[-1] + axis.window == axis.length
    assert all(start % multiple == 0 for start in axis.starts)
    shared = [a + axis.window - b for a, b in zip(axis.starts, axis.starts[1:], strict=False)]
    assert all(pixels >= overlap for pixels in shared)
    # As few as possible: one fewer would share less.
    fewer = len(axis.starts) - 2
    assert fewer < 0 or axis.window + fewer * (axis.window - overlap) < axis.length


@given(axes())
def test_what_a_window_says_of_its_edges_is_not_used(drawn):
    axis, overlap, _ = drawn
    for number in range(1, len(axis.starts)):
        assert axis.begin(number) - axis.starts[number] >= overlap // 4
        assert axis.starts[number - 1] + axis.window - axis.end(number - 1) >= overlap // 4


def test_weight_rises_as_a_raised_cosine():
    axis = lay_axis(16, 10, 4, 2)
    assert (axis.starts, axis.ramp, axis.begin(1), axis.end(0)) == ((0, 6), 2, 7, 9)
    np.testing.assert_allclose(axis.weights(1)[:2], [0.5 - 0.5 * np.cos(np.pi * share) for share in (0.25, 0.75)])


@pytest.fixture(scope="module")
def model():
    return build_segmenter(ModelConfig(arch="unet", encoder="tu-test_efficientnet"), ("B02", "B03"))


@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    shares=st.tuples(*[st.floats(0, 1)] * 4),
    edge=st.integers(3, 30),
)
def test_strips_map_every_row_once(model, height, width, shares, edge):
    left, top = int(shares[0] * (width - 1)), int(shares[1] * (height - 1))
    inner = Window(left, top, 1 + int(shares[2] * (width - left - 1)), 1 + int(shares[3] * (height - top - 1)))
    tiling = lay_windows(model.sizes, (height, width), inner, edge * 32)
    strips = [tiling.strip(number) for number in tiling.strips]
    rows = [row for strip in strips for row in range(strip.top, strip.top + strip.height)]
    assert rows == list(range(inner.top, inner.top + inner.height))
    assert {(strip.left, strip.width) for strip in strips} == {(inner.left, inner.width)}
    area = tiling.area
    assert area.left <= inner.left
    assert area.top <= inner.top
    assert area.left + area.width <= width
    assert area.top + area.height <= height
    # A part is seen on the grid on which the whole scene is, unless it is padded to the least that the network takes.
    whole, part, least = model.frame(height, width), model.frame(area.height, area.width), model.frame(1, 1).full_height
    if area.height + whole.full_height - height >= least:
        assert (area.top - part.top + whole.top) % model.multiple == 0
    if area.width + whole.full_width - width >= least:
        assert (area.left - part.left + whole.left) % model.multiple == 0


def test_a_scene_that_fits_into_a_window_is_shown_as_it_is(model):
    tiling = lay_windows(model.sizes, (120, 130), Window(0, 0, 130, 120), 160)
    assert (tiling.windows, tiling.frame.is_padded) == (1, False)
    assert (tiling.rows.length, tiling.columns.length) == (120, 130)
    assert lay_windows(model.sizes, (120, 161), Window(0, 0, 161, 120), 160).windows == 2


def test_windows_that_the_network_does_not_take_are_refused(model):
    whole = Window(0, 0, 600, 600)
    with pytest.raises(
        WrongUseError, match=r"windows of 128 pixels cannot overlap by 90; .* of 32: use --overlap up to 64"
    ):
        lay_windows(model.sizes, (600, 600), whole, 128, 90)
    pan = build_segmenter(ModelConfig(arch="pan", encoder="tu-test_resnet"), ("B02",))
    with pytest.raises(WrongUseError, match=r"pan .* takes windows of at least \d+ pixels, not 16"):
        lay_windows(pan.sizes, (600, 600), whole, 8, 0)

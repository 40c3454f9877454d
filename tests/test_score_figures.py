"""Charts of scores: that they show the numbers, that nothing overlaps, and that they fit into an HTML page."""

import math
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
import rasterio.warp
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import made_up_evidence
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from sklearn.metrics import average_precision_score, precision_recall_curve

from seg.figures.curves import MAX_POINTS, Curve, curve_chart, drawn_curve, reliability_chart, thin
from seg.figures.dots import Dot, DotRow, dot_chart
from seg.figures.places import places_chart
from seg.figures.svg import BLUE, ORANGE, PAGE_COLORS, chart, inline_svg
from seg.metrics.scene import average_precision, precision_recall
from seg.reben.classes import CLASSES
from seg.reben.patch import PatchId
from seg.report.places import patch_centres


def texts(figure: Figure) -> list[Text]:
    """The text that is drawn; ticks beyond the limits of their axis are not, and nothing of an axis that is off."""
    left_out = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not axes.axison or not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    left_out |= {tick.label1, tick.label2}
    found = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    return [text for text in found if text not in left_out]


def require_readable(figure: Figure) -> None:
    """All text lies within the figure, and no text lies over another."""
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    for i, (name, box) in enumerate(boxes):
        assert box.x0 >= -1, f"{name} is cut off"
        assert box.y0 >= -1, f"{name} is cut off"
        assert box.x1 <= width + 1, f"{name} is cut off"
        assert box.y1 <= height + 1, f"{name} is cut off"
        for other, second in boxes[:i]:
            inside = min(box.x1, second.x1) - max(box.x0, second.x0), min(box.y1, second.y1) - max(box.y0, second.y0)
            assert min(inside) <= 1.5, f"{name} lies over {other}"


def some_charts() -> dict[str, Figure]:
    random = np.random.default_rng(0)
    rows = [DotRow(c.short, (Dot(c.index / 18, 0.1, 0.9),), color=c.color) for c in CLASSES]
    two = [DotRow(name, (Dot(0.4), Dot(0.7)), "119,825 patches, 19 classes") for name in ("Austria", "Luxembourg")]
    recall, precision = np.linspace(0, 1, 500), np.linspace(1, 0.2, 500)
    curve = drawn_curve(recall, precision)
    bins = random.integers(0, 1000, 15)
    middle = (np.arange(15) + 0.5) / 15
    place = random.uniform(-9, 30, 500), random.uniform(37, 67, 500)
    labels = {"across": "Confidence of the predicted class", "up": "Share that is right", "what": "decisions"}
    return {
        "classes": dot_chart(rows, ["IoU"], "IoU, %"),
        "countries": dot_chart(two, ["F1 at 0.5", "at fitted thresholds"], "Score, %"),
        "curve": curve_chart(curve, 0.3, [(0.5, 0.6, True), (0.7, 0.5, False)], curve),
        "reliability": reliability_chart(bins, middle, middle**2, **labels),
        "places": places_chart(*place, random.random(500), {"Austria": (14, 47.0), "Finland": (25, 61.0)}),
    }


@pytest.mark.parametrize("name", some_charts())
def test_charts_are_readable(name):
    require_readable(some_charts()[name])


@pytest.mark.parametrize("name", some_charts())
def test_svg_fits_into_a_page(name):
    text, again = (inline_svg(some_charts()[name], name, "A <title>", "What & why") for _ in range(2))
    assert text == again
    root = ET.fromstring(text)
    assert root.tag == "svg"
    assert root.attrib["role"] == "img"
    assert "width" not in root.attrib
    assert [(child.tag, child.text) for child in list(root)[:2]] == [("title", "A <title>"), ("desc", "What & why")]
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(set(ids)) == len(ids)
    assert all(each.startswith(f"{name}-") for each in ids)
    assert set(root.attrib["aria-labelledby"].split()) <= set(ids)
    referenced = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', text)
    assert referenced
    assert {one or other for one, other in referenced} <= set(ids)
    assert "<style" not in text
    assert "<metadata" not in text
    assert "xmlns" not in text
    assert "http" not in text
    assert "font-family" not in text
    assert "DejaVu" not in text
    assert not set(PAGE_COLORS) & set(re.findall(r"#[0-9a-f]{6}", text))
    assert "var(--ink)" in text
    assert not re.search(r"\d\.\d{3,}", re.sub(r"data:[^\"]*|viewBox=\"[^\"]*\"|style=\"[^\"]*\"", "", text))


def test_fonts_of_older_matplotlib_are_left_to_the_page():
    from seg.figures.svg import _page_style

    older = "font: 700 9.5px 'DejaVu Sans', sans-serif; text-anchor: middle; fill: #222222"
    assert _page_style(older) == "font-size: 9.5px; font-weight: 700; text-anchor: middle; fill: var(--ink)"
    assert _page_style("font: 9px 'DejaVu Sans'").startswith("font-size: 9px")
    newer = "font-size: 10px; font-family: 'DejaVu Sans', 'Arial'; text-anchor: end"
    assert _page_style(newer) == "font-size: 10px; text-anchor: end"


def test_text_of_others_stays_text():
    row = DotRow("$x_1$ <b>&", (Dot(0.5),), "</svg><script>")
    root = ET.fromstring(inline_svg(dot_chart([row], ["IoU"], "x"), "a", "t", "d"))
    drawn = ["".join(element.itertext()) for element in root.iter("text")]
    assert "$x_1$ <b>&" in drawn
    assert "</svg><script>" in drawn
    assert not list(root.iter("script"))


def test_nothing_global_changes():
    before = dict(matplotlib.rcParams)
    for name, figure in some_charts().items():
        inline_svg(figure, name, "t", "d")
    assert dict(matplotlib.rcParams) == before
    modules = "seg.figures.curves, seg.figures.dots, seg.figures.places, seg.figures.pictures"
    check = f"import sys, {modules}; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


@settings(deadline=None, max_examples=200)
@given(
    scores=st.lists(st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=40),
    data=st.data(),
)
def test_curve_is_that_of_scikit_learn(scores, data):
    positive = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)).filter(any))
    scores_N, positive_N = np.array(scores, np.float32), np.array(positive)
    precision, recall = precision_recall(scores_N, positive_N)
    expected_precision, expected_recall, _ = precision_recall_curve(positive_N, scores_N, drop_intermediate=False)
    # scikit-learn begins at the lowest score and ends with a point of its own at recall 0.
    np.testing.assert_allclose(precision, expected_precision[:-1][::-1], rtol=1e-12)
    np.testing.assert_allclose(recall, expected_recall[:-1][::-1], rtol=1e-12)
    area = float((np.diff(recall, prepend=0) * precision).sum())
    assert area == pytest.approx(average_precision_score(positive_N, scores_N), abs=1e-12)
    assert area == pytest.approx(average_precision(scores_N, positive_N), abs=1e-12)


def test_drawn_points_are_points_of_the_curve():
    evidence = made_up_evidence(2000, 6)
    precision, recall = precision_recall(evidence.probabilities[:, 4], evidence.labels[:, 4])
    expected = set(zip(recall.tolist(), precision.tolist(), strict=True))
    figure = curve_chart(drawn_curve(recall, precision), 0.1, [(0.25, 0.5, True)])
    line = figure.axes[0].get_lines()[1]
    points = list(zip(*(values.tolist() for values in line.get_data()), strict=True))
    assert points[0] == (0, precision[0])
    assert set(points[1:]) <= expected
    assert 50 < len(points) <= MAX_POINTS + 1
    assert figure.axes[0].get_lines()[0].get_ydata()[0] == 0.1
    assert figure.axes[0].get_lines()[2].get_xydata().tolist() == [[0.25, 0.5]]
    # The area below hardly changes: nothing that can be seen was lost.
    x, y = np.array(points).T
    drawn = float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())
    assert drawn == pytest.approx(average_precision(evidence.probabilities[:, 4], evidence.labels[:, 4]), abs=0.01)


def test_a_short_curve_is_drawn_as_steps():
    recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])
    curve = drawn_curve(recall, precision)
    assert curve.stepped
    line = curve_chart(curve, 0.4, []).axes[0].get_lines()[1]
    assert line.get_drawstyle() == "steps-pre"
    assert line.get_xydata().tolist() == [[0, 1], [0.5, 1], [0.5, 0.5], [1, 2 / 3]]
    assert not drawn_curve(np.linspace(0, 1, 300), np.ones(300)).stepped


@settings(deadline=None, max_examples=100)
@given(number=st.integers(1, 5000), seed=st.integers(0, 100), steps=st.integers(1, 400))
def test_thinning_keeps_the_ends_and_the_extremes(number, seed, steps):
    random = np.random.default_rng(seed)
    x = np.sort(np.round(random.random(number) * steps) / steps)
    y = random.random(number)
    thin_x, thin_y = thin(x, y)
    assert len(thin_x) == len(thin_y) <= max(MAX_POINTS, 1)
    assert (np.diff(thin_x) >= 0).all()
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (x[0], y[0], x[-1], y[-1])
    if number <= MAX_POINTS:
        np.testing.assert_array_equal(thin_y, y)
    for column in range(50):
        inside = (np.minimum((x * 50).astype(int), 49)) == column
        kept = (np.minimum((thin_x * 50).astype(int), 49)) == column
        if inside.any():
            assert thin_y[kept].min() == y[inside].min()
            assert thin_y[kept].max() == y[inside].max()


def intervals(axes: Axes) -> list[tuple[float, float, float]]:
    """Low end, high end and height of every interval; their lines are broken between them."""
    lines = [line.get_xydata() for line in axes.get_lines() if line.get_label() == "interval"]
    points = np.concatenate([np.empty((0, 2)), *lines]).reshape(-1, 3, 2)
    assert np.isnan(points[:, 2]).all()
    assert not np.isnan(points[:, :2]).any()
    assert (points[:, 0, 1] == points[:, 1, 1]).all()
    return [(float(low), float(high), float(y)) for (low, y), (high, _), _ in points]


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
@pytest.mark.parametrize("width", [0.0, 0.001, 0.01, 0.1])
def test_an_interval_is_seen_beside_its_dot_however_narrow(names, width):
    """Held against the same chart without intervals: the pixels that they add, in the colour of their dot."""

    def drawn(half: float) -> np.ndarray:
        dot = Dot(0.5, 0.5 - half, 0.5 + half)
        figure = dot_chart([DotRow("row", (dot,) * len(names))], names, "x")
        figure.set(facecolor="white", dpi=144)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)

    with_interval = drawn(width / 2)
    added = np.abs(with_interval - drawn(math.nan)).sum(axis=-1) > 60
    for color in (BLUE, ORANGE)[: len(names)]:
        ink = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        alike = added & (np.abs(with_interval - ink).sum(axis=-1) < 90)
        # At two pixels a point: at least a point and a half of a cap above the dot, and as much below.
        assert np.count_nonzero(alike.any(axis=1)) >= 6


def test_dots_stand_at_their_scores():
    rows = [
        DotRow("one", (Dot(0.25, 0.2, 0.35), Dot(0.75))),
        DotRow("two", (Dot(math.nan), Dot(0.5))),
        DotRow("none", (Dot(math.nan), Dot(math.nan))),
    ]
    axes = dot_chart(rows, ["a", "b"], "x").axes[0]
    dots = {
        (line.get_marker(), *map(float, point))
        for line in axes.get_lines()
        if line.get_marker() in ("o", "D")
        for point in line.get_xydata()
    }
    assert {(marker, x, round(y)) for marker, x, y in dots} == {("o", 25, 0), ("D", 75, 0), ("D", 50, 1)}
    assert intervals(axes) == [(20, 35, next(y for marker, x, y in dots if x == 25))]
    drawn = [text.get_text() for text in axes.texts]
    assert drawn.count("– undefined") == 1
    assert axes.get_xlim() == (0, 100)


def test_reliability_shows_what_occurs():
    count = np.array([0, 10, 30])
    figure = reliability_chart(
        count, np.array([math.nan, 0.5, 0.9]), np.array([math.nan, 0.4, 1.0]), across="x", up="y", what="pixels"
    )
    upper, lower = figure.axes
    assert upper.get_lines()[1].get_xydata().tolist() == [[0.5, 0.4], [0.9, 1.0]]
    (gaps,) = upper.collections
    assert [segment.tolist() for segment in gaps.get_segments()] == [[[0.5, 0.5], [0.5, 0.4]], [[0.9, 0.9], [0.9, 1.0]]]
    assert [bar.get_height() for bar in lower.patches] == [0, 25, 75]
    nothing = reliability_chart(np.zeros(15, int), *np.full((2, 15), np.nan), across="x", up="y", what="pixels")
    require_readable(nothing)


IDS = [
    "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57",
    "S2B_MSIL2A_20180204T093219_N9999_R136_T35VPK_00_90",
    "S2A_MSIL2A_20171208T111441_N9999_R037_T29SNC_90_00",
    "S2A_MSIL2A_20171208T111441_N9999_R037_T19HCC_05_10",
    "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_27_57",
]


def test_centres_of_patches():
    longitude, latitude = patch_centres(pa.array(IDS))
    for n, name in enumerate(IDS):
        georef = PatchId.parse(name).georef
        west, south, east, north = georef.bounds
        (x,), (y,) = rasterio.warp.transform(georef.epsg, 4326, [(west + east) / 2], [(south + north) / 2])
        assert longitude[n] == pytest.approx(x, abs=1e-9)
        assert latitude[n] == pytest.approx(y, abs=1e-9)
    assert 10 < longitude[0] < 16
    assert latitude[3] < 0
    assert longitude[4] - longitude[0] == pytest.approx(
        1200 / (111_320 * math.cos(math.radians(latitude[0]))), rel=0.02
    )


def test_ids_without_a_place():
    names = ["patch_01", "", "S2A_MSIL2A_20170613T101031_N9999_R022_T32USP_00_00", IDS[0]]
    longitude, latitude = patch_centres(pa.array(names))
    assert np.isnan(longitude).tolist() == np.isnan(latitude).tolist() == [True, True, True, False]
    assert patch_centres(pa.array([], pa.string()))[0].shape == (0,)


def image_of(figure: Figure) -> np.ndarray:
    (image,) = figure.axes[0].get_images()
    return np.asarray(image.get_array())


@pytest.mark.parametrize("number", [1, 2, 119_825])
def test_any_number_of_patches_fits_on_the_map(number):
    random = np.random.default_rng(0)
    place = random.uniform(-9, 30, number), random.uniform(37, 67, number)
    figure = places_chart(*place, random.random(number), {"Somewhere": (place[0][0], place[1][0])})
    assert max(image_of(figure).shape[:2]) < 260
    text = inline_svg(figure, "map", "t", "d")
    assert len(text) < 400_000
    assert text.count("<image") == 1
    assert 'href="data:image/png;base64,' in text
    require_readable(figure)


def test_patches_have_their_colour_and_their_place():
    viridis = matplotlib.colormaps["viridis"]
    figure = places_chart(np.array([10.0, 20, 10]), np.array([50.0, 60, 50]), np.array([0.0, 1.0, 0.5]), {})
    image = image_of(figure)
    west, east, south, north = figure.axes[0].get_images()[0].get_extent()

    def at(longitude: float, latitude: float) -> list[int]:
        column = int((longitude - west) / (east - west) * image.shape[1])
        row = int((north - latitude) / (north - south) * image.shape[0])
        return image[row, column].tolist()

    assert at(10, 50) == [round(255 * v) for v in viridis(0.25)]  # the mean of two patches
    assert at(20, 60) == [round(255 * v) for v in viridis(1.0)]
    assert np.count_nonzero(image[..., 3]) == 2
    bars = figure.axes[1].patches[:20]
    assert [round(bar.get_height(), 6) for bar in bars if bar.get_height()] == [33.333333] * 3


def test_names_on_the_map_keep_apart():
    names = {f"Country {i}": (10 + i / 100, 50.0) for i in range(12)}
    figure = places_chart(np.array([0.0, 20]), np.array([45.0, 55]), np.array([0.2, 0.8]), names)
    require_readable(figure)
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written[0] == "Country 0"
    assert 1 < len(written) < 12


def test_a_curve_keeps_what_it_is_given():
    curve = Curve(np.array([1.0]), np.array([0.5]), stepped=True)
    line = curve_chart(replace(curve, stepped=False), 0.5, []).axes[0].get_lines()[1]
    assert line.get_xydata().tolist() == [[0, 0.5], [1, 0.5]]


def test_a_figure_has_the_size_that_was_asked_for():
    assert inline_svg(chart(100, 50), "a", "t", "d").startswith('<svg viewBox="0 0 100 50"')

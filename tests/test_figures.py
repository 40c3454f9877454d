"""Figures: what is drawn, that nothing is clipped, and the size of the files."""

import math
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from seg.figures.maps import map_figure
from seg.figures.pictures import LIMITS, backscatter, true_colour
from seg.figures.style import MAX_PNG_BYTES, png_bytes, write_png
from seg.figures.training import training_figure
from seg.reben.classes import CLASSES, IGNORE_INDEX
from seg.reben.reference_map import class_indices

REAL = Path(__file__).resolve().parents[2] / "shared" / "real" / "reben-10m-80"
TITLE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
UNLABELLED, WRONG, RIGHT = (150, 150, 150), (178, 24, 43), (214, 234, 223)


def stripes(height: int = 120, width: int = 120, values: tuple[int, ...] = (*range(19), IGNORE_INDEX)) -> np.ndarray:
    """Horizontal stripes of the values."""
    return np.repeat(np.resize(np.repeat(np.array(values, np.uint8), 6), height)[:, None], width, axis=1)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def rendered(figure: Figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def panel_pixels(figure: Figure, index: int, height: int, width: int) -> np.ndarray:
    """The rendered colour at the centre of every pixel of a map of that size."""
    image, axes = rendered(figure), figure.axes[index]
    rows, columns = np.mgrid[:height, :width] + 0.5
    x, y = axes.transData.transform(np.stack([columns.ravel(), rows.ravel()], axis=1)).T
    return image[(image.shape[0] - y).astype(int), x.astype(int)].reshape(height, width, 3)


def require_nothing_clipped(figure: Figure) -> None:
    figure.canvas.draw()
    drawn = figure.get_tightbbox()  # inches
    width, height = figure.get_size_inches()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width
    assert drawn.y1 <= height
    boxes = [legend.get_window_extent() for legend in figure.legends]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_maps_are_drawn_in_the_official_colours():
    reference_HW = stripes()
    predicted_HW = np.roll(reference_HW, 2, axis=0)
    rgb_HW3 = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    figure = map_figure(reference_HW, predicted_HW, rgb_HW3, title=TITLE, synthetic=False)
    color = {c.index: c.color for c in CLASSES} | {IGNORE_INDEX: UNLABELLED}
    for index, classes_HW in ((1, reference_HW), (2, predicted_HW)):
        expected = np.array([[color[int(v)] for v in row] for row in classes_HW])
        # The frame covers half of the outermost pixels.
        np.testing.assert_array_equal(panel_pixels(figure, index, 120, 120)[1:-1, 1:-1], expected[1:-1, 1:-1])
    upper = slice(1, 100)  # below is the scale bar
    np.testing.assert_array_equal(panel_pixels(figure, 0, 120, 120)[upper, 1:-1], rgb_HW3[upper, 1:-1])


def test_agreement_is_right_wrong_or_unlabelled():
    reference_HW = stripes(values=(0, 3, 8, IGNORE_INDEX))
    predicted_HW = np.rot90(reference_HW).copy()
    figure = map_figure(reference_HW, predicted_HW, title=TITLE, synthetic=False)
    expected = np.empty((120, 120, 3), int)
    right = compared = 0
    for row in range(120):
        for column in range(120):
            r, p = reference_HW[row, column], predicted_HW[row, column]
            if r == 255 or p == 255:
                expected[row, column] = UNLABELLED
                continue
            compared += 1
            right += r == p
            expected[row, column] = RIGHT if r == p else WRONG
    np.testing.assert_array_equal(panel_pixels(figure, 2, 120, 120)[1:-1, 1:-1], expected[1:-1, 1:-1])
    assert f"Agreement {100 * right / compared:.1f} %" in texts(figure)


def test_agreement_of_nothing_has_no_share():
    nothing_HW = np.full((120, 120), IGNORE_INDEX, np.uint8)
    figure = map_figure(nothing_HW, stripes(), title=TITLE, synthetic=False)
    assert "Agreement" in texts(figure)


def test_legend_names_the_classes_of_either_map_and_no_other():
    figure = map_figure(
        stripes(values=(0, 18)),
        stripes(values=(0, 14, 7)),
        np.zeros((120, 120, 3), np.uint8),
        title=TITLE,
        synthetic=False,
    )
    drawn = set(texts(figure))
    assert {c.short for c in CLASSES if c.short in drawn} == {CLASSES[i].short for i in (0, 7, 14, 18)}
    assert {"Right", "Wrong"} <= drawn
    assert "Unlabelled" not in drawn
    patches = {patch.get_label(): patch for legend in figure.legends for patch in legend.get_patches()}
    for index in (0, 7, 14, 18):
        face = np.array(patches[CLASSES[index].short].get_facecolor()[:3]) * 255
        assert tuple(np.rint(face)) == CLASSES[index].color
        # Sea and beach are nearly white: without an outline their legend would not be seen.
        assert patches[CLASSES[index].short].get_linewidth() > 0
        assert max(patches[CLASSES[index].short].get_edgecolor()[:3]) < 0.5
    assert texts(map_figure(stripes(), stripes(), title=TITLE, synthetic=False)).count("Unlabelled") == 2


def test_synthetic_data_say_so():
    maps = (stripes(), stripes())
    rows = [{"epoch": 1, "loss": 1.0}]
    for figure in (map_figure(*maps, title=TITLE, synthetic=True), training_figure(rows, title=TITLE, synthetic=True)):
        assert f"SYNTHETIC – {TITLE}" in texts(figure)
    for figure in (
        map_figure(*maps, title=TITLE, synthetic=False),
        training_figure(rows, title=TITLE, synthetic=False),
    ):
        assert TITLE in texts(figure)
        assert not any("SYNTHETIC" in text for text in texts(figure))


@pytest.mark.parametrize(
    ("width", "pixel_size", "label", "metres"),
    [(120, 10, "500 m", 500), (600, 10, "2 km", 2000), (240, 10, "1 km", 1000), (120, 2.5, "100 m", 100)],
)
def test_scale_bar_is_as_long_as_it_says(width, pixel_size, label, metres):
    maps = stripes(width, width)
    figure = map_figure(maps, maps, title=TITLE, synthetic=False, pixel_size=pixel_size)
    assert label in texts(figure)
    bars = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert [bar.get_width() * pixel_size for bar in bars] == [metres]
    assert all(not axes.patches for axes in figure.axes[1:])


@pytest.mark.parametrize("shape", [(120, 120), (1200, 360), (240, 1200), (7, 5), (40, 2000)])
@pytest.mark.parametrize("with_image", [True, False])
def test_nothing_is_clipped(shape, with_image):
    classes_HW = np.resize(stripes(), shape).astype(np.uint8)
    classes_HW.flat[:20] = (*range(19), IGNORE_INDEX)
    rgb_HW3 = np.zeros((*shape, 3), np.uint8) if with_image else None
    for title in (
        "A",
        TITLE,
        f"{TITLE}, predicted by deeplabv3plus with tu-convnextv2_base on s1s2, seed 20170613 of 5",
    ):
        require_nothing_clipped(map_figure(classes_HW, classes_HW, rgb_HW3, title=title, synthetic=True))


@pytest.mark.parametrize(
    ("reference", "predicted", "rgb"), [((120, 120), (60, 60), None), ((120, 120), (120, 120), (60, 60, 3))]
)
def test_arrays_of_several_sizes_are_refused(reference, predicted, rgb):
    image = None if rgb is None else np.zeros(rgb, np.uint8)
    with pytest.raises(ValueError, match="same height and width"):
        map_figure(np.zeros(reference, np.uint8), np.zeros(predicted, np.uint8), image, title=TITLE, synthetic=False)


@pytest.mark.parametrize("edge", [120, 2900])
def test_noise_stays_below_the_limit_of_the_file_size(tmp_path, edge):
    rng = np.random.default_rng(0)
    reference_HW, predicted_HW = rng.integers(0, 19, (2, edge, edge), dtype=np.uint8)
    rgb_HW3 = rng.integers(0, 256, (edge, edge, 3), dtype=np.uint8)
    write_png(tmp_path / "f.png", map_figure(reference_HW, predicted_HW, rgb_HW3, title=TITLE, synthetic=True))
    assert (tmp_path / "f.png").stat().st_size < MAX_PNG_BYTES
    with Image.open(tmp_path / "f.png") as image:
        image.load()
        assert image.format == "PNG"
        assert image.width > 700
    assert [path.name for path in tmp_path.iterdir()] == ["f.png"]


def test_the_same_figure_gives_the_same_bytes():
    first, second = (png_bytes(map_figure(stripes(), stripes(), title=TITLE, synthetic=False)) for _ in range(2))
    assert first == second
    with Image.open(BytesIO(first)) as image:
        assert "Software" not in image.info


def test_nothing_global_changes():
    before = dict(matplotlib.rcParams)
    png_bytes(map_figure(stripes(), stripes(), title=TITLE, synthetic=False))
    assert dict(matplotlib.rcParams) == before
    check = "import sys, seg.figures.maps, seg.figures.training; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


@settings(deadline=None, max_examples=30)
@given(dn=arrays(np.uint16, (3, 4, 5), elements=st.integers(0, 12_400)))
def test_the_stretch_of_true_colour_is_fixed(dn):
    image = true_colour(dict(zip(LIMITS, dn, strict=True)))
    assert image.shape == (4, 5, 3)
    assert image.dtype == np.uint8
    for band, row, column in np.ndindex(3, 4, 5):
        share = min(1.0, int(dn[band, row, column]) / (2050, 1800, 1600)[band])
        assert abs(image[row, column, band] - 255 * share ** (1 / 1.8)) <= 0.501
    # A part is drawn as within the whole, so neighbouring patches match.
    np.testing.assert_array_equal(true_colour(dict(zip(LIMITS, dn[:, :2, :3], strict=True))), image[:2, :3])


def test_bands_that_are_not_there_make_no_image():
    assert true_colour({"B04": np.ones((2, 2)), "B03": np.ones((2, 2))}) is None
    assert backscatter({"VH": np.ones((2, 2))}) is None
    grey = backscatter({"VV": np.array([[-40.0, -25, -12.5], [-0.1, 0, 9]], np.float32)})
    assert grey.tolist() == [[0, 0, 128], [254, 255, 255]]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real samples are not on this machine")
def test_figure_of_a_real_patch():
    source = min((REAL / "BigEarthNet-S2").glob("*/*"))
    bands = {}
    for name in ("B02", "B03", "B04"):
        with rasterio.open(source / f"{source.name}_{name}.tif") as dataset:
            bands[name] = dataset.read(1)
    (map_path,) = (REAL / "Reference_Maps").glob(f"*/{source.name}/*.tif")
    with rasterio.open(map_path) as dataset:
        reference_HW = class_indices(dataset.read(1), source.name)
    rgb_HW3 = true_colour(bands)
    assert 20 < rgb_HW3.mean() < 235
    figure = map_figure(reference_HW, reference_HW, rgb_HW3, title=source.name, synthetic=False)
    require_nothing_clipped(figure)
    assert "Agreement 100.0 %" in texts(figure)
    assert len(png_bytes(figure)) < MAX_PNG_BYTES


LOG = [
    {"epoch": "1", "lr": "0.001", "loss": "2.5", "pixel_loss": "2.0", "miou": "0.10", "ap_macro": "", "seconds": "9"},
    {
        "epoch": "2",
        "lr": "0.0005",
        "loss": "1.5",
        "pixel_loss": "1.25",
        "miou": "0.40",
        "ap_macro": "nan",
        "seconds": "8",
    },
    {"epoch": "3", "lr": "0", "loss": "1.0", "pixel_loss": "0.75", "miou": "0.30", "ap_macro": "0.5", "seconds": "8"},
]


def curves(figure: Figure, axes: int) -> dict[str, tuple[list[float], list[float]]]:
    lines = figure.axes[axes].get_lines()
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in lines
        if not line.get_label().startswith("_")
    }


def test_training_curves_hold_the_log():
    figure = training_figure(LOG, title="run", synthetic=False)
    epochs = [1.0, 2.0, 3.0]
    assert curves(figure, 0) == {"loss": (epochs, [2.5, 1.5, 1.0]), "pixel loss": (epochs, [2.0, 1.25, 0.75])}
    scores = curves(figure, 1)
    assert list(scores) == ["mIoU, best 0.400 (epoch 2)", "AP macro, best 0.500 (epoch 3)"]
    assert scores["mIoU, best 0.400 (epoch 2)"] == (epochs, [0.1, 0.4, 0.3])
    np.testing.assert_array_equal(scores["AP macro, best 0.500 (epoch 3)"][1], [math.nan, math.nan, 0.5])
    legends = [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]
    assert legends == [*curves(figure, 0), *scores]


@pytest.mark.parametrize(
    "rows",
    [
        LOG,
        LOG[:1],
        [{"epoch": 1, "loss": math.nan, "val_miou": None}],
        [{"epoch": 1}],
        [
            {"epoch": e, "train_loss": 1e4 / e, "val_loss": 12.0}
            | {f"val_{s}": 0.5 for s in ("miou", "mf1", "oa", "ap_macro", "ap_micro", "f1_macro", "f1_micro")}
            for e in range(101, 400)
        ],
    ],
)
def test_training_figure_is_a_small_png_without_clipped_text(rows):
    figure = training_figure(rows, title=f"unet-{TITLE}-seed0", synthetic=True)
    require_nothing_clipped(figure)
    assert len(png_bytes(figure)) < MAX_PNG_BYTES


def test_training_figure_of_an_empty_log():
    with pytest.raises(ValueError, match="no epoch yet"):
        training_figure([], title="run", synthetic=False)

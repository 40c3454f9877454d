"""A scene in windows against the scene as a whole, against the patches of the data set, and against brute force."""

import threading

import cv2
import numpy as np
import pytest
import torch
from scene_in_memory import scene_in_memory
from torch import nn

from seg.config.sections import ModelConfig
from seg.data.symmetry import SYMMETRIES, symmetric_pixels
from seg.data.transforms import Normaliser
from seg.engine.device import Compute
from seg.errors import OutOfMemoryError
from seg.inference import tiled
from seg.inference.cells import cell_rows, predict_cells
from seg.inference.strips import StripPreparation, StripReader, View
from seg.inference.tiled import predict_strips
from seg.inference.torch_network import TorchArithmetic, TorchNetwork
from seg.inference.window_pass import ScenePass, window_probabilities
from seg.inference.windows import lay_windows
from seg.models.frame import Frame, TakenSizes
from seg.models.segmenter import build_segmenter
from seg.reben.bands import BANDS
from seg.reben.classes import NUM_CLASSES
from seg.scenes.grid import Window

CPU = Compute(torch.device("cpu"), torch.float32, channels_last=False)
USED = ("VV", "B04", "B05", "B09")


class NearSighted(nn.Module):
    """A network that looks 2 pixels far, with the paddings of a `Segmenter` of stride 8."""

    def __init__(self, channels: int, context: int = 0) -> None:
        super().__init__()
        self.context = context
        torch.manual_seed(3)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, NUM_CLASSES, 3, padding=1)
        )
        for layer in (self.layers[0], self.layers[2]):
            nn.init.normal_(layer.weight, std=0.7)
        self.sizes = TakenSizes(ModelConfig(arch="unet", encoder="none"), 8, 8, context=context)
        self.shapes: list[tuple[int, ...]] = []

    def frame(self, height: int, width: int, margin: int = 0) -> Frame:
        return self.sizes.frame(height, width, margin)

    def pixel_logits(self, images_BCHW):
        self.shapes.append(tuple(images_BCHW.shape))
        frame = self.frame(*images_BCHW.shape[-2:])
        return frame.crop(self.layers(frame.pad(images_BCHW)))

    def forward(self, images_BCHW):
        return self.pixel_logits(images_BCHW), None


def preparation(view, tiling):
    return StripPreparation(view, tiling, TorchArithmetic(CPU))


def prepared(prepare, strip):
    """Inputs of the network, and what is to be mapped."""
    images = torch.full(prepare.shape, torch.nan)
    return images, prepare(strip, images)


def assembled(model, scene, window, overlap=None, *, inner=None, strips=None, inside=None, **how):
    """Classes, probabilities and certainty of a scene, put together."""
    bands = tuple(how.pop("bands", USED))
    grid = scene.grid
    inner = inner or Window(0, 0, grid.width, grid.height)
    tiling = lay_windows(model.sizes, (grid.height, grid.width), inner, window, overlap)
    view = View(scene, bands, "bilinear", inside)
    network = TorchNetwork(model, CPU, how.pop("temperature", 1.0))
    settings = {"batch_size": 2, "probabilities": True, "certainty": True} | how
    pieces = list(predict_strips(network, view, tiling, strips or tiling.strips, ScenePass(**settings)))
    classes = np.concatenate([piece.classes_HW for piece in pieces])
    shares = np.concatenate([piece.probabilities_KHW for piece in pieces], 1)
    return classes, shares, np.concatenate([piece.certainty_2HW for piece in pieces], 1)


@pytest.mark.parametrize("size", [(96, 160), (101, 75), (203, 64), (40, 300)])
@pytest.mark.parametrize("holes", [False, True])
@torch.inference_mode()
def test_windows_give_the_map_of_the_whole_scene(size, holes):
    """For a network that sees no farther than the margins: at the borders and at any size too."""
    scene, model = scene_in_memory(*size, USED, holes=holes), NearSighted(len(USED))
    whole, shares, certainty = assembled(model, scene, 1024)
    assert len(model.shapes) == 1
    classes, shares_too, certainty_too = assembled(model, scene, 48, 16)
    assert sum(shape[0] for shape in model.shapes) > 5
    # Where weights meet, sums are rounded, and two classes may be as good as equal.
    assert (classes != whole).mean() < 1e-3
    assert np.abs(shares.astype(int) - shares_too).max() <= 1
    assert np.abs(certainty.astype(int) - certainty_too).max() <= 1
    np.testing.assert_array_equal(classes == 255, ~scene.data)
    chosen = np.take_along_axis(shares_too, np.minimum(classes, NUM_CLASSES - 1)[None], 0)[0]
    np.testing.assert_array_equal(chosen[scene.data], shares_too.max(0)[scene.data])
    assert (shares_too[:, ~scene.data] == 255).all()
    assert (certainty_too[:, ~scene.data] == 255).all()


def test_networks_of_the_house_are_as_good_as_whole_away_from_the_edges_of_windows():
    torch.manual_seed(0)
    model = build_segmenter(ModelConfig(arch="unet", encoder="tu-test_efficientnet"), USED).eval()
    scene = scene_in_memory(320, 384, USED)
    whole, shares, _ = assembled(model, scene, 1024)
    assert len(np.unique(whole)) > 2
    _, shares_too, _ = assembled(model, scene, 192, 96)
    assert np.abs(shares.astype(int) - shares_too).mean() < 2


@torch.inference_mode()
def test_inputs_are_those_of_the_data_set_for_the_whole_scene():
    """Each band of a strip is what OpenCV makes of the whole band, and of the reflected surroundings outside."""
    height, width = 173, 211
    scene, model = scene_in_memory(height, width, USED), NearSighted(len(USED))
    tiling = lay_windows(model.sizes, (height, width), Window(0, 0, width, height), 48, 16)
    view = View(scene, USED, "bilinear")
    expected = []
    for name in USED:
        band, values = BANDS[name], scene.arrays[name]
        normalised = values * np.float32(1 / band.std) + np.float32(-band.mean / band.std)
        factor = scene.factors[name]
        size = (normalised.shape[1] * factor, normalised.shape[0] * factor)
        expected.append(cv2.resize(normalised, size, interpolation=cv2.INTER_LINEAR)[:height, :width])
    padded = model.frame(height, width).pad(torch.from_numpy(np.stack(expected))[None])[0].numpy()
    prepare = preparation(view, tiling)
    with scene.open() as reader:
        strips = StripReader(view, reader, tiling)
        for number, start in enumerate(tiling.rows.starts):
            images, wanted = prepared(prepare, strips.read(number))
            np.testing.assert_allclose(images.numpy(), padded[:, start : start + tiling.rows.window], atol=2e-5)
            assert wanted.all()
    read = sum(window.height for window in scene.reads)
    assert read <= height + 6


def test_a_patch_has_the_inputs_of_the_data_set():
    bands = tuple(BANDS)
    scene = scene_in_memory(120, 120, bands)
    expected = np.empty((len(bands), 120, 120), np.float32)
    Normaliser(bands, "bilinear")(scene.arrays, expected)
    model = NearSighted(len(bands))
    tiling = lay_windows(model.sizes, (120, 120), Window(0, 0, 120, 120))
    view = View(scene, bands, "bilinear")
    with scene.open() as reader:
        images, _ = prepared(
            StripPreparation(view, tiling, TorchArithmetic(CPU)), StripReader(view, reader, tiling).read(0)
        )
    np.testing.assert_allclose(images.numpy(), expected, atol=2e-5)


@torch.inference_mode()
def test_pixels_without_data_are_the_mean_and_a_value_of_zero_among_data_stays():
    scene = scene_in_memory(96, 96, ("B04", "B05"))
    scene.data[:12, :12] = False
    scene.arrays["B04"][:12, :12] = 0
    scene.arrays["B05"][:6, :6] = 0
    scene.arrays["B04"][50, 50] = 0
    model = NearSighted(2)
    tiling = lay_windows(model.sizes, (96, 96), Window(0, 0, 96, 96), 128)
    view = View(scene, ("B04", "B05"), "bilinear")
    with scene.open() as reader:
        images, wanted = prepared(
            StripPreparation(view, tiling, TorchArithmetic(CPU)), StripReader(view, reader, tiling).read(0)
        )
    assert (images[:, :12, :12] == 0).all()
    assert images[0, 50, 50] == pytest.approx(-BANDS["B04"].mean / BANDS["B04"].std, rel=1e-5)
    # What lies beside a hole is drawn towards the mean, not towards the value of no light at all.
    beside = scene.arrays["B05"][6, :6].astype(float)
    exact = (0.75 * beside[1:5] - 0.75 * BANDS["B05"].mean) / BANDS["B05"].std
    np.testing.assert_allclose(images[1, 12, 2:10].reshape(-1, 2).mean(1), exact, atol=0.35)
    np.testing.assert_array_equal(wanted.numpy(), scene.data)


def test_windows_without_data_skip_the_network():
    scene, model = scene_in_memory(200, 200, USED), NearSighted(len(USED))
    scene.data[:, :] = False
    scene.data[150, 150] = True
    classes, _, _ = assembled(model, scene, 48, 16)
    assert (classes != 255).sum() == 1
    assert sum(shape[0] for shape in model.shapes) <= 4
    scene.data[150, 150] = False
    model.shapes.clear()
    assert (assembled(model, scene, 48, 16)[0] == 255).all()
    assert not model.shapes


def test_a_part_is_what_the_whole_map_shows_there():
    """A near-sighted network needs no more than the surroundings that are read."""
    scene, model = scene_in_memory(203, 218, USED, holes=True), NearSighted(len(USED))
    whole, shares, _ = assembled(model, scene, 48, 16)
    inner = Window(61, 77, 90, 101)
    part, shares_of_part, _ = assembled(model, scene, 48, 16, inner=inner)
    place = np.s_[77 : 77 + 101, 61 : 61 + 90]
    assert (part != whole[place]).mean() < 1e-3
    assert np.abs(shares_of_part.astype(int) - shares[:, *place]).max() <= 1
    only = np.zeros_like(scene.data)
    only[90:120, 70:99] = True

    def inside(window):
        return only[window.top : window.top + window.height, window.left : window.left + window.width]

    masked, _, _ = assembled(model, scene, 48, 16, inner=inner, inside=inside)
    kept = (only & scene.data)[place]
    np.testing.assert_array_equal(masked[kept], part[kept])
    assert (masked[~kept] == 255).all()


def test_a_strip_is_the_same_whichever_others_are_predicted():
    scene, model = scene_in_memory(230, 150, USED, holes=True), NearSighted(len(USED))
    tiling = lay_windows(model.sizes, (230, 150), Window(0, 0, 150, 230), 48, 16)
    view = View(scene, USED, "bilinear")
    how, network = ScenePass(2, probabilities=True), TorchNetwork(model, CPU)
    every = {piece.number: piece for piece in predict_strips(network, view, tiling, tiling.strips, how)}
    assert len(every) > 5
    for some in ([0], [3], [len(every) - 1], [1, 2, 5]):
        for piece in predict_strips(network, view, tiling, some, how):
            np.testing.assert_array_equal(piece.classes_HW, every[piece.number].classes_HW)
            np.testing.assert_array_equal(piece.probabilities_KHW, every[piece.number].probabilities_KHW)


@torch.inference_mode()
def test_augmentation_is_the_mean_over_the_symmetries_of_the_square():
    model = NearSighted(2)
    images = torch.randn(3, 2, 16, 16)
    ours = window_probabilities(TorchNetwork(model, CPU, 1.3), images, tta=True).numpy()
    sources = symmetric_pixels(16)
    total = np.zeros((3, NUM_CLASSES, 256))
    for number in range(SYMMETRIES):
        moved = images.flatten(2)[:, :, sources[number]].reshape(images.shape)
        shares = (model(moved)[0] / 1.3).softmax(1).flatten(2).numpy()
        back = np.empty_like(shares)
        back[:, :, sources[number]] = shares
        total += back
    np.testing.assert_allclose(ours, (total / SYMMETRIES).reshape(ours.shape), atol=1e-6)
    # A scene that is no square is augmented too.
    scene = scene_in_memory(40, 64, ("B02", "B03"))
    assert assembled(NearSighted(2), scene, 128, tta=True, bands=("B02", "B03"))[0].shape == (40, 64)


@torch.inference_mode()
def test_certainty_is_largest_probability_and_entropy():
    scene, model = scene_in_memory(48, 56, USED), NearSighted(len(USED))
    _, _, certainty = assembled(model, scene, 64, temperature=2.0)
    tiling = lay_windows(model.sizes, (48, 56), Window(0, 0, 56, 48), 64)
    view = View(scene, USED, "bilinear")
    with scene.open() as reader:
        images, _ = prepared(
            StripPreparation(view, tiling, TorchArithmetic(CPU)), StripReader(view, reader, tiling).read(0)
        )
    shares = (model(images[None])[0][0] / 2).softmax(0).double().numpy()
    np.testing.assert_allclose(certainty[0], shares.max(0) * 250, atol=0.51)
    entropy = -(shares * np.log(shares)).sum(0) / np.log(NUM_CLASSES)
    np.testing.assert_allclose(certainty[1], entropy * 250, atol=0.51)


def test_few_strips_are_held_at_any_time(monkeypatch):
    """However high the scene is: the one in use, the one that is read, and the one before it."""
    alive, most, lock = [0], [0], threading.Lock()

    class Counted(tiled.Strip):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            with lock:
                alive[0] += 1
                most[0] = max(most[0], alive[0])

        def __del__(self):
            with lock:
                alive[0] -= 1

    monkeypatch.setattr("seg.inference.strips.Strip", Counted)
    model = NearSighted(1)
    for height in (400, 1200):
        scene = scene_in_memory(height, 64, ("B02",))
        assembled(model, scene, 32, 16, bands=("B02",))
    assert most[0] <= 4
    assert alive[0] == 0


def test_memory_that_runs_out_names_the_options():
    class Greedy(NearSighted):
        def pixel_logits(self, images_BCHW):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemoryError, match="lower --batch-size or --window"):
        assembled(Greedy(1), scene_in_memory(64, 64, ("B02",)), 32, bands=("B02",))


def test_errors_of_reading_reach_the_caller():
    scene = scene_in_memory(200, 64, ("B02",))
    scene.arrays = {"B02": None}
    with pytest.raises(TypeError):
        assembled(NearSighted(1), scene, 32, bands=("B02",))


def test_cells_are_what_the_network_says_of_patches():
    bands = ("VV", "B04", "B05", "B09")
    torch.manual_seed(1)
    model = build_segmenter(ModelConfig(arch="linknet", encoder="tu-test_resnet", scene_head="learned"), bands).eval()
    scene = scene_in_memory(12 * 25, 12 * 31, bands)
    scene.data[120:240, 120:240] = False
    inner = Window(100, 30, 200, 190)
    rows = cell_rows(scene, inner)
    assert rows == [0, 1]
    cells = list(predict_cells(TorchNetwork(model, CPU), View(scene, bands, "bilinear"), inner, rows, ScenePass(2)))
    assert [cell.columns_N.tolist() for cell in cells] == [[0, 1, 2], [0, 2]]
    normalise = Normaliser(bands, "bilinear")
    for cell in cells:
        for column, data, found in zip(cell.columns_N, cell.data_N, cell.probabilities_NK, strict=True):
            tensors = {}
            for name in bands:
                factor = scene.factors[name]
                size = 120 // factor
                top, left = cell.row * size, column * size
                tensors[name] = scene.arrays[name][top : top + size, left : left + size]
            image = np.empty((1, len(bands), 120, 120), np.float32)
            normalise(tensors, image[0])
            with torch.inference_mode():
                expected = model(torch.from_numpy(image))[1].sigmoid()[0]
            np.testing.assert_allclose(found, expected, atol=1e-5)
            height = min(cell.row * 120 + 120, 30 + 190) - max(cell.row * 120, 30)
            width = min(column * 120 + 120, 100 + 200) - max(column * 120, 100)
            assert data == pytest.approx(height * width / 120**2)

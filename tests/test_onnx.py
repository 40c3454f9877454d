"""Networks as ONNX: files against torch at any size, metadata as other programs read them, and maps without torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import rasterio
import torch
from commands import printed, run_seg, type_in
from onnx import TensorProto, helper, load, save
from scene_in_memory import scene_in_memory
from scipy.special import entr

from seg.config.sections import ModelConfig
from seg.engine.device import Compute
from seg.errors import CheckpointError, OutOfMemoryError, WrongUseError
from seg.inference.cells import predict_cells
from seg.inference.onnx_network import NumpyArithmetic, OnnxNetwork
from seg.inference.strips import View
from seg.inference.tiled import predict_strips
from seg.inference.torch_network import TorchArithmetic, TorchNetwork
from seg.inference.window_pass import ScenePass
from seg.inference.windows import lay_windows
from seg.models.card import Data
from seg.models.checkpoint import make_card, save_checkpoint
from seg.models.onnx import write_onnx
from seg.models.onnx_file import OnnxOptions, open_session, providers, quantise, read_onnx
from seg.models.segmenter import build_segmenter
from seg.pipeline.predict import predict
from seg.reben.bands import BANDS
from seg.reben.classes import CLASS_NAMES, CLASSES
from seg.runs.use import choose_onnx
from seg.scenes.grid import Window
from seg.synthetic.scene import synthesise_scene

USED = ("B02", "B03", "B05", "B09")
RGB = ("B04", "B03", "B02")
TEMPERATURE = 1.5
CPU = Compute(torch.device("cpu"), torch.float32, channels_last=False)
SMALL = {"window": 160, "overlap": 64}


def made(bands, head, context=0):
    """A network whose classes vary, and its card."""
    torch.manual_seed(2)
    config = ModelConfig(arch="linknet", encoder="tu-test_resnet", scene_head=head)
    model = build_segmenter(config, bands, context).eval()
    for module in model.network.segmentation_head.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.weight, std=3)
    statistics = [(BANDS[name].mean, BANDS[name].std) for name in bands]
    card = make_card(model, statistics, "bilinear", Data(fingerprint="ab" * 16, synthetic=True, train_patches=1))
    return model, card.model_copy(update={"temperature": TEMPERATURE, "thresholds": (0.5,) * 19})


def made_as_advised(folder, run):
    """Type what is advised about a file that is not there."""
    (folder / "scene.tif").write_text("a scene")
    code, said = run_seg("predict", folder / "none.onnx", folder / "scene.tif", "--out", folder / "map.tif")
    assert (code, "there is no file" in said) == (2, True)
    type_in(printed(said), folder, {"RUN": str(run), "FOLDER": "card"})
    return folder / "card"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A model folder with an ONNX file beside the weights, that file, and the network."""
    folder = tmp_path_factory.mktemp("onnx")
    model, card = made(USED, "masked")
    save_checkpoint(folder / "run" / "checkpoints" / "best", model, card)
    for name in ("config.yaml", "run.json"):
        (folder / "run" / name).write_text("{}")
    out = made_as_advised(folder, folder / "run")
    page = (out / "README.md").read_text()
    assert "It takes stored values (digital numbers, dB) at 10 m, images of any height and width" in page
    return out, out / "model.onnx", model


@pytest.fixture(scope="module")
def tile(tmp_path_factory):
    """A file for programs that cut tiles, its weights rounded, and its network."""
    path = tmp_path_factory.mktemp("tile") / "model.onnx"
    model, card = made(RGB, "none")
    return path, model, write_onnx(path, model, card, OnnxOptions("share16", 128, quantise=True))


@pytest.mark.parametrize("size", [(1, 120, 120), (3, 33, 97), (1, 1, 70), (2, 160, 224), (1, 257, 31)])
def test_any_size_gives_what_torch_gives(whole, size):
    _, path, model = whole
    count, height, width = size
    normalised = torch.randn(count, len(USED), height, width, generator=torch.Generator().manual_seed(height))
    mean, std = (np.array([getattr(BANDS[name], what) for name in USED])[:, None, None] for what in ("mean", "std"))
    stored = (normalised.numpy() * std + mean).astype(np.float32)
    pixel, scene = onnxruntime.InferenceSession(path).run(None, {"bands": stored})
    with torch.inference_mode():
        pixel_logits, scene_logits = model(normalised)
    np.testing.assert_allclose(pixel, (pixel_logits / TEMPERATURE).softmax(1), atol=1e-4)
    np.testing.assert_allclose(scene, scene_logits.sigmoid(), atol=1e-4)


def test_other_programs_read_what_they_need(whole, tile):
    """The keys of Deepness (QGIS) and GeoDeep, each of them JSON; Deepness standardises values divided by 255."""
    for path, edge, scale in ((whole[1], 512, 1), (tile[0], 128, 65_535)):
        session = onnxruntime.InferenceSession(path)
        meta = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
        assert meta["model_type"] == "Segmentor"
        assert [meta["class_names"][str(number)] for number in range(19)] == list(CLASS_NAMES)
        red, green, blue = (int(meta["class_colors"]["3"][at : at + 2], 16) for at in (1, 3, 5))
        assert (red, green, blue) == CLASSES[3].color
        assert (meta["resolution"], meta["tile_size"], meta["tiles_size"]) == (1000, edge, edge)
        assert (meta["seg_thresh"], meta["seg_small_segment"]) == (0, 0)
        assert 0 < meta["tiles_overlap"] < 100
        values = np.array([3.0, 500.0, 9000.0])
        for mean, std in zip(meta["standardization_mean"], meta["standardization_std"], strict=True):
            np.testing.assert_allclose((values / 255 - mean) / std, values / scale)
    shapes = [one.shape for one in (*session.get_inputs(), *session.get_outputs())]
    assert [shape[1:] for shape in shapes] == [[3, 128, 128], [19, 128, 128]]


def test_rounded_weights_lose_what_was_measured(tile, whole, tmp_path):
    path, model, written = tile
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(5))
    mean, std = (np.array([getattr(BANDS[name], what) for name in RGB])[:, None, None] for what in ("mean", "std"))
    shares = ((image.numpy() * std + mean) / 65_535).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(path).run(None, {"bands": shares})
    with torch.inference_mode():
        expected = (model(image)[0] / TEMPERATURE).softmax(1).numpy()
    changed = (found.argmax(1) != expected.argmax(1)).mean()
    assert written.difference < 1e-4
    assert 0 < written.changed < 0.5
    assert changed == pytest.approx(written.changed, rel=0.5)
    assert f"{100 * written.changed:.2g} % of the pixels" in written.summary
    assert read_onnx(path).quantised
    quantise(whole[1], tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").stat().st_size < 0.5 * whole[1].stat().st_size


@pytest.mark.parametrize("how", [{}, {"tta": True}])
def test_maps_of_a_scene_are_those_of_torch(whole, how):
    _, path, model = whole
    scene = scene_in_memory(203, 178, USED, holes=True)
    view, inner = View(scene, USED, "bilinear"), Window(9, 12, 160, 180)
    networks = TorchNetwork(model, CPU, TEMPERATURE), OnnxNetwork(read_onnx(path), "cpu")
    takes = read_onnx(path).takes
    assert takes == model.sizes
    tiling = lay_windows(takes, (203, 178), inner, 96, 32)
    settings = ScenePass(2, probabilities=True, certainty=True, surprisals=True, **how)
    pairs = zip(*(predict_strips(one, view, tiling, tiling.strips, settings) for one in networks), strict=True)
    different = total = 0
    for expected, found in pairs:
        assert found.place == expected.place
        different += (found.classes_HW != expected.classes_HW).sum()
        total += found.classes_HW.size
        for name in ("probabilities_KHW", "certainty_2HW", "surprisals_KHW"):
            assert np.abs(getattr(found, name).astype(int) - getattr(expected, name)).max() <= 1, name
        np.testing.assert_array_equal(found.classes_HW == 255, expected.classes_HW == 255)
    assert different <= 1e-3 * total
    ours, theirs = (list(predict_cells(one, view, inner, [0], ScenePass(2))) for one in networks)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.probabilities_NK, other.probabilities_NK, atol=1e-4)
        np.testing.assert_array_equal(one.data_N, other.data_N)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A file of a network that looks at 20 pixels around what it maps, and the network."""
    path = tmp_path_factory.mktemp("seeing") / "model.onnx"
    model, card = made(USED, "masked", 20)
    written = write_onnx(path, model, card, OnnxOptions("normalised"))
    assert written.any_size
    assert (read_onnx(path).takes, read_onnx(path).card.context) == (model.sizes, 20)
    return path, model


@pytest.mark.parametrize("size", [(1, 160, 160), (2, 41, 97), (1, 257, 60)])
def test_any_size_with_a_context_gives_what_torch_gives(seeing, size):
    path, model = seeing
    count, height, width = size
    images = torch.randn(count, len(USED), height, width, generator=torch.Generator().manual_seed(height))
    pixel, scene = onnxruntime.InferenceSession(path).run(None, {"bands": images.numpy()})
    with torch.inference_mode():
        every, (core, scene_logits) = model.pixel_logits(images), model(images)
    np.testing.assert_allclose(pixel, (every / TEMPERATURE).softmax(1), atol=1e-4)
    np.testing.assert_allclose(pixel[..., 20:-20, 20:-20], (core / TEMPERATURE).softmax(1), atol=1e-4)
    np.testing.assert_allclose(scene, scene_logits.sigmoid(), atol=1e-4)


@pytest.mark.parametrize("window", [None, 128])
def test_maps_with_a_context_are_those_of_torch(seeing, window):
    path, model = seeing
    scene = scene_in_memory(203, 278, USED, holes=True)
    view, inner = View(scene, USED, "bilinear"), Window(9, 12, 260, 180)
    networks = TorchNetwork(model, CPU, TEMPERATURE), OnnxNetwork(read_onnx(path), "cpu")
    tiling = lay_windows(read_onnx(path).takes, (203, 278), inner, window)
    assert (tiling.windows == 1) == (window is None)
    expected, found = (
        np.concatenate([one.classes_HW for one in predict_strips(each, view, tiling, tiling.strips, ScenePass(2))])
        for each in networks
    )
    assert found.shape == (180, 260)
    assert (found != expected).mean() <= 1e-3
    ours, theirs = (list(predict_cells(one, view, inner, [0], ScenePass(2))) for one in networks)
    assert len(ours[0].columns_N) == 2
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.probabilities_NK, other.probabilities_NK, atol=1e-4)
        np.testing.assert_array_equal(one.data_N, other.data_N)


def test_tiles_of_one_size_have_a_context_too(tmp_path):
    model, card = made(RGB, "none", 20)
    with pytest.raises(WrongUseError, match="nothing is left of tiles of 32; use --onnx-tile 160 or more"):
        write_onnx(tmp_path / "m.onnx", model, card, OnnxOptions(tile=32))
    write_onnx(tmp_path / "m.onnx", model, card, OnnxOptions(tile=160))
    chosen = read_onnx(tmp_path / "m.onnx")
    assert (chosen.takes.fixed_size, chosen.takes.pads, chosen.takes.context) == (160, False, 20)
    for height, width in ((100, 110), (190, 270)):
        scene, inner = scene_in_memory(height, width, RGB), Window(0, 0, width, height)
        tiling = lay_windows(chosen.takes, (height, width), inner)
        view = View(scene, RGB, "bilinear")
        networks = TorchNetwork(model, CPU, TEMPERATURE), OnnxNetwork(chosen, "cpu")
        expected, found = (
            np.concatenate([one.classes_HW for one in predict_strips(each, view, tiling, tiling.strips, ScenePass(2))])
            for each in networks
        )
        assert found.shape == (height, width)
        assert (found != expected).mean() <= 1e-3


def test_tiles_of_one_size_map_a_scene_too(tile):
    """Also one that is smaller than a tile, whose surroundings are then reflected before the network."""
    path, model, _ = tile
    chosen = read_onnx(path)
    assert (chosen.takes.fixed_size, chosen.takes.pads, chosen.scene) == (128, False, False)
    network = OnnxNetwork(chosen, "cpu")
    for height, width in ((100, 110), (150, 170)):
        scene, inner = scene_in_memory(height, width, RGB), Window(0, 0, width, height)
        tiling = lay_windows(chosen.takes, (height, width), inner)
        view = View(scene, RGB, "bilinear")
        found = list(predict_strips(network, view, tiling, tiling.strips, ScenePass(1)))
        plain = TorchNetwork(model, CPU, TEMPERATURE)
        expected = list(predict_strips(plain, view, tiling, tiling.strips, ScenePass(1)))
        classes, wanted = (np.concatenate([piece.classes_HW for piece in one]) for one in (found, expected))
        assert classes.shape == (height, width)
        assert (classes != wanted).mean() < 0.3  # what rounded weights change


def test_arithmetic_of_numpy_is_that_of_torch():
    ours, theirs = NumpyArithmetic(), TorchArithmetic(CPU)
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(19) / 3, (31, 44)).transpose(2, 0, 1).astype(np.float32)
    shares[3, 4, 5], shares[:, 0, 0] = 0, np.eye(19)[2]
    flags = random.random((31, 44)) < 0.1
    for name in ("entropy", "surprisals"):
        found, expected = getattr(ours, name)(shares), theirs.host(getattr(theirs, name)(theirs.of(shares)))
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(ours.entropy(shares), entr(shares.astype(float)).sum(0) / np.log(19), atol=1e-6)
    np.testing.assert_array_equal(ours.levels(shares[0], flags), theirs.levels(theirs.of(shares[0]), theirs.of(flags)))
    for one, other in zip(ours.highest(shares), theirs.highest(theirs.of(shares)), strict=True):
        np.testing.assert_array_equal(one, theirs.host(other))
    for factor in (2, 6):
        found = ours.any_of(flags, factor)
        np.testing.assert_array_equal(found, theirs.host(theirs.any_of(theirs.of(flags), factor)))
        coarse = random.random((7, 9)).astype(np.float32)
        np.testing.assert_array_equal(
            ours.resampled(coarse, factor, "bilinear"),
            theirs.host(theirs.resampled(theirs.of(coarse), factor, "bilinear")),
        )
    images = random.random((1, 2, 6, 9)).astype(np.float32)
    for number in range(8):
        moved = ours.moved(images, number)
        np.testing.assert_array_equal(moved, theirs.host(theirs.moved(theirs.of(images), number)))
        np.testing.assert_array_equal(ours.moved_back(moved, number), images)


def test_memory_that_runs_out_names_the_options():
    for error in (MemoryError(), RuntimeError("Failed to allocate memory for requested buffer of size 9")):
        with (
            pytest.raises(OutOfMemoryError, match="out of memory; lower --window"),
            NumpyArithmetic().guarded("lower --window"),
        ):
            raise error
    with pytest.raises(KeyError), NumpyArithmetic().guarded("lower --window"):
        raise KeyError("x")


HIDDEN = """
import sys
for name in ("torch", "torchvision", "timm", "segmentation_models_pytorch", "torchmetrics", "onnx", "onnxscript"):
    sys.modules[name] = None
from seg.cli.main import main
main()
"""


def test_a_map_is_made_without_torch_and_is_the_same(whole, tmp_path):
    """By the command, in a process in which torch cannot be imported; tags, labels and all."""
    folder, path, _ = whole
    scene = synthesise_scene(tmp_path / "scene", 240, seed=1)
    extras = {"confidence": True, "labels": True, "areas": True, "quicklook": True}
    (one,) = predict(folder, [scene.stack], tmp_path / "torch" / "map.tif", **SMALL, **extras)
    options = ["--confidence", "--labels", "--areas", "--quicklook", "--window", "160", "--overlap", "64"]
    command = [sys.executable, "-c", HIDDEN, "predict", str(path), str(scene.stack), "--out", "onnx/map.tif", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in one.files) == sorted(
        file.name for file in (tmp_path / "onnx").iterdir() if not file.name.startswith(".")
    )
    with rasterio.open(one.path) as mine, rasterio.open(tmp_path / "onnx" / "map.tif") as other:
        assert mine.tags() == other.tags()
        assert mine.tags()["TEMPERATURE"] == "1.5"
        expected, found = mine.read(1), other.read(1)
    assert len(np.unique(expected)) > 3
    assert (expected != found).mean() <= 1e-3


def foreign(path: Path, **metadata: str) -> Path:
    """An ONNX file that gives what it is given."""
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, ["batch", 3, 64, 64])
    node = helper.make_node("Identity", ["bands"], ["pixel_probabilities"])
    values = helper.make_value_info("bands", kind), helper.make_value_info("pixel_probabilities", kind)
    graph = helper.make_graph([node], "same", [values[0]], [values[1]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    save(model, path)
    return path


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """The metadata of a network of three bands without a scene head, as text."""
    path = tmp_path_factory.mktemp("said") / "m.onnx"
    write_onnx(path, *made(RGB, "none"), OnnxOptions())
    return load(path).metadata_props[0].value


@pytest.mark.parametrize(
    "change",
    [
        {"values": "share32"},
        {"values": 3},
        {"weights": None},
        {"takes": {"multiple": 0}},
        {"takes": {"multiple": "32"}},
        {"takes": {"least": 1.5}},
        {"takes": {"context": None}},
        {"takes": {"context": -3}},
        {"takes": {"fixed": [7, 7]}},
        {"takes": {"fixed": 0}},
    ],
)
def test_metadata_of_another_version_are_not_guessed_at(said, tmp_path, change):
    known = json.loads(said)
    takes = known["takes"] | change.get("takes", {})
    foreign(tmp_path / "odd.onnx", seg=json.dumps(known | change | {"takes": takes}))
    with pytest.raises(CheckpointError, match=r"metadata that this seg cannot read .*; make one with: seg card"):
        read_onnx(tmp_path / "odd.onnx")


def test_metadata_of_another_network_are_told_before_it_runs(said, tmp_path):
    for scene, bands in ((False, len(USED)), (True, len(RGB))):
        odd = json.loads(said) | {"scene": scene}
        if bands == len(USED):
            odd["card"] = made(USED, "none")[1].model_dump(mode="json")
        chosen = read_onnx(foreign(tmp_path / "odd.onnx", seg=json.dumps(odd)))
        with pytest.raises(CheckpointError, match=rf"of another network: it should take bands of {bands} bands and"):
            OnnxNetwork(chosen, "cpu")


def test_files_that_cannot_be_used_are_refused_in_a_sentence(whole, tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r"was not made by seg: its metadata do not say which bands, units"):
        read_onnx(foreign(tmp_path / "theirs.onnx"))
    with pytest.raises(CheckpointError, match=r"metadata that this seg cannot read .*; make one with: seg card"):
        read_onnx(foreign(tmp_path / "odd.onnx", seg="{}"))
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"broken.onnx cannot be read as ONNX \(.+\); copy it again, or make one"):
        read_onnx(tmp_path / "broken.onnx")
    with pytest.raises(WrongUseError, match="there is no file"):
        choose_onnx(tmp_path / "none.onnx", None)
    with pytest.raises(WrongUseError, match="ONNX Runtime does not compute on mps; use --device cpu"):
        providers("mps")
    with pytest.raises(WrongUseError, match="this onnxruntime computes on the CPU alone; use --device cpu"):
        open_session(whole[1], "cuda")
    changed = json.loads(onnxruntime.InferenceSession(whole[1]).get_modelmeta().custom_metadata_map["seg"])
    changed["card"]["mean"][0] = 0
    with pytest.raises(WrongUseError, match="other band statistics"):
        choose_onnx(foreign(tmp_path / "other.onnx", seg=json.dumps(changed)), "cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    scene = synthesise_scene(tmp_path / "scene", 120, seed=1)
    with pytest.raises(WrongUseError, match="by one process; start it without torchrun"):
        predict(whole[1], [scene.stack], tmp_path / "map.tif")


def test_labels_need_a_file_that_gives_them(tile, tmp_path):
    (tmp_path / "scene.tif").write_text("a scene")
    with pytest.raises(WrongUseError, match="has no scene head; leave out --labels"):
        predict(tile[0], [tmp_path / "scene.tif"], tmp_path / "map.tif", labels=True)


def test_what_makes_no_sense_is_refused_before_anything_is_written(tmp_path):
    model, card = made(("VV", "B02"), "none")
    with pytest.raises(WrongUseError, match="takes tiles that are multiples of 32, not 100"):
        write_onnx(tmp_path / "m.onnx", model, card, OnnxOptions(tile=100))
    with pytest.raises(WrongUseError, match="VV are in dB, which no numbers of 16 bits are; use --onnx-values stored"):
        write_onnx(tmp_path / "m.onnx", model, card, OnnxOptions("share16"))
    assert not list(tmp_path.iterdir())


def test_geodeep_takes_the_tiles(tile, tmp_path):
    """The package itself, where it is installed: three bands of 16 bits."""
    geodeep = pytest.importorskip("geodeep")
    scene = synthesise_scene(tmp_path / "scene", 240, seed=1, swath_edge=False)
    with rasterio.open(scene.stack) as stack:
        numbers = [stack.descriptions.index(name) + 1 for name in RGB]
        profile = stack.profile | {"count": 3, "photometric": "RGB"}
        with rasterio.open(tmp_path / "rgb.tif", "w", **profile) as target:
            target.write(stack.read(numbers))
    mask = geodeep.segment(str(tmp_path / "rgb.tif"), str(tile[0]), output_type="raw")
    assert mask.shape == (240, 240)
    assert set(np.unique(mask)) <= set(range(19))

"""Networks that look at what lies around a patch: their logits, their windows over scenes, their cards and runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st
from quick import quick_run
from scene_in_memory import scene_in_memory
from test_context import COLUMNS, FIRST, LEFT, ROWS, SECOND, TOP, cut, row_of, store
from test_tiled import CPU, USED, NearSighted, assembled
from torch import nn

import seg
from seg.benchmark.records import check_answers, facts_of
from seg.config.identity import settings_of_run
from seg.config.load import load_config
from seg.config.sections import DataConfig, ModelConfig
from seg.data.dataset import PatchDataset
from seg.data.order import BatchKey
from seg.errors import CheckpointError, ModelError, SubmissionError, WrongUseError
from seg.inference.cells import cell_rows, predict_cells
from seg.inference.strips import View
from seg.inference.torch_network import TorchNetwork
from seg.inference.window_pass import ScenePass
from seg.inference.windows import lay_windows
from seg.metrics.evidence_file import load_origin
from seg.models.card import FORMAT_CONTEXT, FORMAT_PLAIN, Data, read_card
from seg.models.checkpoint import load_checkpoint, make_card, save_checkpoint
from seg.models.frame import Frame, TakenSizes
from seg.models.network import encoder_options
from seg.models.scene import log_mean_exp
from seg.models.segmenter import build_segmenter
from seg.pipeline.export import export
from seg.reben.bands import BANDS
from seg.scenes.grid import Window
from seg.store.surroundings import NOBODY

__all__ = ["store"]
SMALL = ModelConfig(arch="linknet", encoder="tu-test_resnet")
NAMES = ("VV", "B02", "B05")
IMAGES = torch.randn(2, len(NAMES), 120 + 2 * 24, 120 + 2 * 24, generator=torch.Generator().manual_seed(0))


def network(context, scene_head="derived", **settings):
    torch.manual_seed(0)
    return build_segmenter(SMALL.model_copy(update={"scene_head": scene_head, **settings}), NAMES, context).eval()


# --- logits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene_head", ["masked", "derived", "learned", "none"])
@torch.inference_mode()
def test_logits_are_those_of_the_core(scene_head):
    plain, seeing = network(0, scene_head), network(24, scene_head)
    seeing.load_state_dict(plain.state_dict())
    whole = plain(IMAGES)[0]
    logits, scene = seeing(IMAGES)
    assert logits.shape == (2, 19, 120, 120)
    torch.testing.assert_close(logits, whole[..., 24:-24, 24:-24], rtol=0, atol=0)
    torch.testing.assert_close(seeing.pixel_logits(IMAGES), whole, rtol=0, atol=0)
    if scene_head == "derived":
        head = seeing.scene_head
        expected = log_mean_exp(whole[..., 24:-24, 24:-24], head.sharpness) + head.bias
        torch.testing.assert_close(scene, expected)
    elif scene_head == "masked":
        # The same head over the image whose core is known to be all of it.
        features = seeing.network.encoder(seeing.frame(168, 168).pad(IMAGES))[-1]
        expected = seeing.scene_head(whole[..., 24:-24, 24:-24], features, Frame(120, 120, 192, 192))
        torch.testing.assert_close(scene, expected)
    elif scene_head == "learned":
        features = seeing.network.encoder(seeing.frame(168, 168).pad(IMAGES))[-1]
        # 192 pixels in cells of 32, of which the core is pixels 36 to 156.
        share = torch.tensor([0, 28 / 32, 1, 1, 28 / 32, 0])
        weights = torch.outer(share, share)
        pooled = (features * weights).sum((2, 3)) / weights.sum()
        torch.testing.assert_close(scene, seeing.scene_head.classifier(pooled), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_without_a_context_nothing_has_changed():
    """The same weights by the same seed, the same frame, the same logits as of the smp model on the padded image."""
    plain = network(0)
    images = IMAGES[..., :120, :120]
    frame = Frame.around(120, 120, 32, 32)
    assert plain.frame(120, 120) == frame
    expected = frame.crop(
        plain.network.segmentation_head(plain.network.decoder(plain.network.encoder(frame.pad(images))))
    )
    assert torch.equal(plain(images)[0], expected)
    assert plain.patch_edge == 128
    other = network(24)
    assert other.patch_edge == 192
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), other.parameters(), strict=True))


@torch.inference_mode()
def test_neighbours_of_zeros_are_none_to_a_convolution():
    """It pads with zeros itself, so zeros around a patch change nothing; anything else does."""
    logits = []
    convolution = nn.Conv2d(len(NAMES), 19, 3, padding=1)
    for context in (0, 24):
        model = network(context, "none")
        model._layout = replace(model._layout, multiple=1, least=1)
        model.run = lambda images, _: (convolution(images), images)
        images = IMAGES[..., 24:-24, 24:-24]
        logits.append(model(nn.functional.pad(images, (context,) * 4))[0])
    torch.testing.assert_close(*logits)
    assert (model(IMAGES)[0] != logits[0]).any(1)[..., 0].all()


@pytest.mark.parametrize("size", [(48, 168), (168, 40)])
def test_images_without_a_core_are_refused(size):
    with pytest.raises(ModelError, match="looks at 24 pixels around what it maps"):
        network(24)(torch.zeros(1, len(NAMES), *size))


@pytest.mark.parametrize("fusion", ["stack", "dual"])
def test_both_kinds_of_encoders_learn(fusion):
    model = network(24, fusion=fusion).train()
    pixel, scene = model(IMAGES)
    (pixel.mean() + scene.mean()).backward()
    assert all(parameter.grad is not None for parameter in model.network.segmentation_head.parameters())


# --- what neighbours are good for ---------------------------------------------------------------------------------


def test_shuffled_neighbours_take_the_gain_away(store):
    """What is to be said of a patch's first column stands in its left neighbour; the network looks a pixel that way."""
    rows = np.array([row_of(store, SECOND, row, column) for row in range(ROWS) for column in range(1, COLUMNS)])
    truth = []
    for row in range(ROWS):
        truth += [cut(SECOND, row, column - 1)["B02"][:, -1] > 6000 for column in range(1, COLUMNS)]

    def right(dataset):
        images = dataset[BatchKey(0, tuple(range(len(rows))))].images_BCHW[:, 0]
        shifted = torch.zeros(1, 1, 1, 3)
        shifted[..., 0] = 1
        logits = nn.functional.conv2d(images[:, None], shifted, padding=(0, 1))[:, 0]
        core = slice(dataset.context, dataset.context + 120)
        threshold = (6000 - BANDS["B02"].mean) / BANDS["B02"].std
        return float(((logits[:, core, dataset.context].numpy() > threshold) == np.array(truth)).mean())

    seeing = PatchDataset(store, rows, DataConfig(bands="B02", context=16))
    assert right(seeing) == 1.0
    around = seeing.surroundings.s2_NP
    shuffled = around[np.random.default_rng(0).permutation(len(rows))]
    around[:] = np.where(np.arange(9) == 4, around, shuffled)
    assert 0.4 < right(seeing) < 0.6
    around[:] = np.where(np.arange(9) == 4, around, NOBODY)
    assert 0.4 < right(seeing) < 0.6
    assert 0.4 < right(PatchDataset(store, rows, DataConfig(bands="B02"))) < 0.6


# --- windows over scenes ------------------------------------------------------------------------------------------


@given(
    context=st.integers(1, 120),
    size=st.tuples(st.integers(1, 2500), st.integers(1, 2500)),
    edge=st.sampled_from([None, 16, 20, 24]),
)
def test_no_window_says_anything_of_what_it_sees_too_little_around(context, size, edge):
    model = NearSighted(1, context)
    inner = Window(0, 0, size[1], size[0])
    tiling = lay_windows(model.sizes, size, inner, edge and edge * 32)
    for axis, frame_from, length in (
        (tiling.rows, tiling.frame.top, size[0]),
        (tiling.columns, tiling.frame.left, size[1]),
    ):
        covered = np.zeros(axis.length)
        for number, start in enumerate(axis.starts):
            begin, end = axis.begin(number), axis.end(number)
            covered[begin:end] += axis.weights(number)
            first, last = max(begin, frame_from), min(end, frame_from + length)
            if first < last:
                assert first - start >= context
                assert start + axis.window - last >= context
        np.testing.assert_allclose(covered, 1, atol=1e-6)


def test_windows_without_room_for_the_context_are_refused():
    model, whole = NearSighted(1, 120), Window(0, 0, 2000, 2000)
    with pytest.raises(WrongUseError, match="windows of 256 pixels are too small; use --window 480 or more"):
        lay_windows(model.sizes, (2000, 2000), whole, 256)
    with pytest.raises(WrongUseError, match="have to overlap by more than 64; use --overlap 240 or more"):
        lay_windows(model.sizes, (2000, 2000), whole, 512, 64)
    assert lay_windows(model.sizes, (2000, 2000), whole, 480, 240).windows > 1
    assert lay_windows(model.sizes, (2000, 2000), whole, 512, 240).windows > 1


@pytest.mark.parametrize("size", [(301, 275), (96, 400)])
def test_maps_of_windows_are_that_of_the_scene_as_a_whole(size):
    scene, model = scene_in_memory(*size, USED), NearSighted(len(USED), 20)
    whole, shares, _ = assembled(model, scene, 1024)
    assert len(model.shapes) == 1
    classes, shares_too, _ = assembled(model, scene, 120)
    assert sum(shape[0] for shape in model.shapes) > 6
    assert (classes != whole).mean() < 1e-3
    assert np.abs(shares.astype(int) - shares_too).max() <= 1
    # It looks no farther than 2 pixels, so that only where the scene ends more is reflected than without a context.
    plain, _, _ = assembled(NearSighted(len(USED)), scene, 1024)
    assert (plain[2:-2, 2:-2] == whole[2:-2, 2:-2]).all()


def test_cells_see_what_lies_around_them():
    bands, context = ("VV", "B04", "B05", "B09"), 50
    torch.manual_seed(1)
    config = ModelConfig(arch="linknet", encoder="tu-test_resnet", scene_head="learned")
    model = build_segmenter(config, bands, context).eval()
    scene = scene_in_memory(12 * 25, 12 * 41, bands)
    inner = Window(100, 30, 300, 190)
    cells = list(
        predict_cells(
            TorchNetwork(model, CPU), View(scene, bands, "bilinear"), inner, cell_rows(scene, inner), ScenePass(2)
        )
    )
    assert [cell.columns_N.tolist() for cell in cells] == [[0, 1, 2, 3], [0, 1, 2, 3]]
    seen = []
    for name in bands:
        values = torch.from_numpy(scene.arrays[name].astype(np.float32))[None, None]
        values = (values - BANDS[name].mean) / BANDS[name].std
        size = [edge * scene.factors[name] for edge in values.shape[-2:]]
        seen.append(nn.functional.interpolate(values, size, mode="bilinear", align_corners=False)[..., :300, :492])
    image = nn.functional.pad(torch.cat(seen, 1), (context,) * 4, mode="reflect")
    for cell in cells:
        for column, data, found in zip(cell.columns_N, cell.data_N, cell.probabilities_NK, strict=True):
            top, left = 120 * cell.row, 120 * int(column)
            with torch.inference_mode():
                picture = image[..., top : top + 220, left : left + 220]
                expected = model(picture)[1].sigmoid()[0]
            np.testing.assert_allclose(found, expected, atol=1e-4)
            height = min(top + 120, 220) - max(top, 30)
            width = min(left + 120, 400) - max(left, 100)
            assert data == pytest.approx(height * width / 120**2)


# --- cards --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [0, 24])
def test_a_card_keeps_the_context(tmp_path, context):
    model = network(context)
    statistics = [(BANDS[name].mean, BANDS[name].std) for name in NAMES]
    card = make_card(model, statistics, "bilinear", Data(fingerprint="f", synthetic=True, train_patches=1))
    save_checkpoint(tmp_path / "c", model, card)
    written = json.loads((tmp_path / "c" / "card.json").read_text())
    # Without a context, an earlier seg reads it too.
    assert written["format"] == (FORMAT_CONTEXT if context else FORMAT_PLAIN)
    assert written.get("context") == (context or None)
    loaded, known = load_checkpoint(tmp_path / "c")
    assert loaded.context == known.context == context
    with torch.inference_mode():
        assert torch.equal(loaded(IMAGES)[0], model(IMAGES)[0])


def test_a_card_with_a_context_that_makes_no_sense_is_refused(tmp_path):
    test_a_card_keeps_the_context(tmp_path, 24)
    path = tmp_path / "c" / "card.json"
    path.write_text(path.read_text().replace('"context": 24', '"context": 240'))
    with pytest.raises(CheckpointError, match="context"):
        read_card(tmp_path / "c")


# --- runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    out, bands = tmp_path_factory.mktemp("runs") / "seeing", ",".join(NAMES)
    # In bfloat16 a patch alone and in a batch are rounded differently.
    settings = {"data__bands": bands, "data__context": 24, "train__batch_size": 8, "train__precision": "float32"}
    return quick_run(out, store.folder, **settings)


@pytest.mark.usefixtures("no_page")
def test_records_and_tables_say_what_was_seen(run, store):
    record = json.loads((run / "run.json").read_text())
    seen = record["data"]["context"]
    rows = np.flatnonzero(store.index.splits == 0)
    assert {key: seen[key] for key in ("pixels", "split", "labels")} == {"pixels": 24, "split": "any", "labels": False}
    assert seen["patches"] == len(rows)
    # Those of the second row and column: in the next one, Sentinel-1 is of another scene.
    assert seen["with_all_neighbours"] == 2
    # The second row of the train split has that of the validation split below it.
    assert seen["with_neighbours_of_other_splits"] == 2 * COLUMNS
    result = seg.evaluate(run)
    assert load_origin(result.folder / "evidence").context == 24
    assert "24 pixels around each patch of any split" in result.tables[0].title
    assert json.loads((result.folder / "eval.json").read_text())["data"]["context"]["pixels"] == 24
    assert json.loads((result.folder / "scores.json").read_text())["context"] == 24
    assert "data.context" in settings_of_run(load_config(run / "config.yaml"))


def test_maps_are_those_of_patches_with_their_neighbours(run, store, tmp_path):
    export(run, tmp_path / "maps", split="test")
    model = seg.load_model(run)
    for product, row, column in ((FIRST, 3, 1), (SECOND, 3, 4)):
        around = {}
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                place = (row + down, column + right)
                known = 0 <= place[0] < ROWS and 0 <= place[1] < COLUMNS and (down or right)
                # Sentinel-1 of another scene is another day; this API leaves that to the caller.
                if known and (place[1] >= 3) == (column >= 3) and (product, *place) != (FIRST, 2, 3):
                    around[down, right] = cut(product, *place)
        bands = cut(product, row, column)
        found = model.predict({name: bands[name] for name in NAMES}, around)
        assert found.classes_HW.shape == (120, 120)
        name = f"{product}_{LEFT + column:02d}_{TOP + row:02d}"
        (path,) = (tmp_path / "maps").rglob(f"{name}*.tif")
        with rasterio.open(path) as source:
            assert (source.read(1) == found.classes_HW).mean() > 0.999
    alone = model.predict({name: bands[name] for name in NAMES})
    assert (alone.classes_HW != found.classes_HW).any()


def test_neighbours_are_checked(run):
    model = seg.load_model(run)
    bands = {name: cut(FIRST, 1, 1)[name] for name in NAMES}
    with pytest.raises(CheckpointError, match="B05 is missing"):
        model.predict(bands, {(0, 1): {"VV": bands["VV"], "B02": bands["B02"]}})
    with pytest.raises(WrongUseError, match=r"\(2, 0\) is no neighbour"):
        model.predict(bands, {(2, 0): bands})


def test_batches_for_other_loops_have_the_context(store):
    loaded = next(iter(seg.loader(store, bands="B02", split="train", batch_size=3, workers=0, context=10)))
    assert loaded["image"].shape == (3, 1, 140, 140)
    assert loaded["mask"].shape == (3, 120, 120)
    assert seg.dataset(store, bands="B02", context=10)[0]["image"].shape == (1, 140, 140)


# --- entries ------------------------------------------------------------------------------------------------------


def test_an_entry_with_a_context_is_of_any_inputs_and_says_so():
    from entries import ANSWERS

    from seg.benchmark.form import Answers

    settings = {"model.arch": "unet", "data.context": "32", "data.fraction": "1.0", "model.encoder_mode": "train"}
    facts = [
        facts_of({"seed": seed, "settings": settings, "record": {"data": {"bands": ["B02"]}}}) for seed in range(3)
    ]
    assert {one.context for one in facts} == {32}
    told = {**ANSWERS, "inputs": "any", "other_data": "32 pixels of the neighbours of each patch, of any split"}
    check_answers(Answers(**told), facts, "f")
    with pytest.raises(SubmissionError, match=r"inputs: s2.* contradicts the record, which says B02 and 32 pixels"):
        check_answers(Answers(**told | {"inputs": "s2"}), facts, "f")
    with pytest.raises(SubmissionError, match=r"other_data: none.* contradicts the record, which says 32 pixels"):
        check_answers(Answers(**told | {"other_data": "none"}), facts, "f")


@pytest.mark.parametrize("context", [24, 65, 120])
def test_encoders_of_one_size_have_room_for_the_context(context):
    """Windows are as large as a patch with its context, and share at least the context on either side."""
    config = ModelConfig(arch="fpn", encoder="tu-maxvit_tiny_tf_224")
    ((edge, _),) = [one for one in encoder_options(config, context) if one[0]]
    assert edge >= 120 + 2 * context
    takes = TakenSizes(config, 32, edge, edge, context=context)
    tiling = lay_windows(takes, (900, 700), Window(0, 0, 700, 900))
    for axis in (tiling.rows, tiling.columns):
        assert axis.window == edge
        assert len(axis.starts) > 2
        for n in range(1, len(axis.starts)):
            assert axis.begin(n) - axis.starts[n] >= context
            assert axis.starts[n - 1] + edge - axis.end(n - 1) >= context

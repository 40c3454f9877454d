"""``seg card``: a model folder that others load, read and run with ONNX, on a run of real patches."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import rasterio
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import seg
from seg.cli.main import app
from seg.config import installed
from seg.config.sections import ModelConfig
from seg.errors import CheckpointError, RunError, WrongUseError
from seg.metrics.evidence_file import load_evidence
from seg.models import onnx as onnx_module
from seg.models.card import Data
from seg.models.checkpoint import make_card, save_checkpoint
from seg.models.segmenter import build_segmenter
from seg.pipeline.card import write_card
from seg.pipeline.train import train
from seg.reben.bands import BANDS
from seg.reben.classes import CLASS_NAMES
from seg.reben.reference_map import class_indices
from seg.report.licences import check_licence
from seg.runs import validation
from seg.runs.plan import plan
from seg.runs.validation import validation_patches
from seg.store import written
from seg.store.open import open_store

SIX = ("VV", "VH", "B02", "B03", "B04", "B08")


@pytest.fixture(scope="module")
def run(real_run: Path) -> Path:
    return real_run


@pytest.fixture(scope="module")
def card(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cards") / "small-card"
    write_card(run, out, name="small", onnx=True)
    return out


def front_matter(page: str) -> dict:
    return yaml.safe_load(re.match(r"---\n(.*?)---\n", page, re.S)[1])


def test_the_folder_holds_what_a_reader_needs(run: Path, card: Path):
    assert sorted(path.name for path in card.iterdir()) == [
        written.FILE_NAME, "README.md", "card.json", "config.json", "model.onnx", "model.safetensors"]  # fmt: skip
    for name in ("card.json", "model.safetensors"):
        assert (card / name).read_bytes() == (run / "checkpoints" / "best" / name).read_bytes()
    config = json.loads((card / "config.json").read_text())
    assert [config["id2label"][str(k)] for k in range(19)] == list(CLASS_NAMES)
    assert config["bands"] == list(SIX)
    assert config["image_mean"] == [BANDS[name].mean for name in SIX]


def test_the_page_has_the_scores_of_the_evaluation(run: Path, card: Path):
    page = (card / "README.md").read_text()
    scores = json.loads((run / "eval" / "test" / "scores.json").read_text())
    matter = front_matter(page)
    assert (matter["license"], matter["library_name"]) == ("mit", "seg")
    result = matter["model-index"][0]["results"][0]
    assert result["dataset"] == {"type": "other", "name": "own patches", "split": "test"}
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["mean_iou"] == pytest.approx(scores["pixel"]["miou"], abs=1e-6)
    assert values["accuracy"] == pytest.approx(scores["pixel"]["oa"], abs=1e-6)
    assert values["average_precision"] == pytest.approx(scores["scene"]["ap_macro"], abs=1e-6)
    tables = (run / "eval" / "test" / "tables.md").read_text()
    first = re.search(r"### Pixel scores,.*?\n\n(\|.*?\n)\n", tables, re.S)
    assert first[1] in page
    assert "SYNTHETIC" not in page
    assert "@inproceedings{clasen2025reben" in page
    assert "{{" not in page.replace("{{reBEN}", "")
    assert "scene head" in page


def test_a_loaded_model_predicts_what_the_evaluation_did(run: Path, card: Path, real: Path, ten_metres: Path):
    """On GeoTIFFs as published, against evidence that went through the store."""
    model = seg.load_model(card)
    evidence = load_evidence(run / "eval" / "test" / "evidence")
    store = open_store(ten_metres)
    tree = real / "reben-10m-80"
    for n, name in list(enumerate(evidence.patch_ids.to_pylist()))[:5]:
        s1 = store.index.s1_name(store.index.patch_ids.to_pylist().index(name))
        paths = {band: tree / "BigEarthNet-S2" / name[:44] / name / f"{name}_{band}.tif" for band in SIX[2:]}
        paths |= {band: tree / "BigEarthNet-S1" / s1.rsplit("_", 3)[0] / s1 / f"{s1}_{band}.tif" for band in SIX[:2]}
        bands = {}
        for band, path in paths.items():
            with rasterio.open(path) as dataset:
                bands[band] = dataset.read(1)
        found = model.predict(bands)
        assert found.scene_K == pytest.approx(evidence.probabilities[n], abs=1e-5)
        decided = evidence.probabilities[n].astype(float) > np.array(model.card.thresholds)
        assert found.labels == tuple(np.array(CLASS_NAMES)[decided])
        predicted = evidence.confusion.dense()[n].reshape(19, 19)
        with rasterio.open(tree / "Reference_Maps" / name[:44] / name / f"{name}_reference_map.tif") as dataset:
            truth = class_indices(dataset.read(1), name)
        counts = np.zeros((19, 19), int)
        np.add.at(counts, (truth[truth != 255], found.classes_HW[truth != 255]), 1)
        assert np.abs(counts - predicted).sum() <= 4  # ties that another batch size rounds the other way
        assert found.probabilities_KHW.sum(0) == pytest.approx(1, abs=1e-5)


def test_onnx_gives_the_probabilities_of_the_loaded_model(card: Path):
    """From the file alone, fed with stored values."""
    import onnxruntime

    model = seg.load_model(card)
    random = np.random.default_rng(3)
    bands = {name: random.normal(BANDS[name].mean, BANDS[name].std, (120, 120)).astype(np.float32) for name in SIX}
    session = onnxruntime.InferenceSession(card / "model.onnx")
    values = np.stack([bands[name] for name in SIX])[None]
    pixel, scene = session.run(["pixel_probabilities", "scene_probabilities"], {"bands": np.repeat(values, 5, 0)})
    expected = model.predict(bands)
    assert pixel.shape == (5, 19, 120, 120)
    assert pixel[4] == pytest.approx(expected.probabilities_KHW, abs=1e-4)
    assert scene[4] == pytest.approx(expected.scene_K, abs=1e-4)


def test_an_onnx_file_that_gives_something_else_is_refused(
    run: Path, card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written_before = SimpleNamespace(save=lambda path: shutil.copy(card / "model.onnx", path))
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: written_before)
    monkeypatch.setattr(onnx_module, "TOLERANCE", -1.0)
    with pytest.raises(CheckpointError, match="probabilities that differ by"):
        write_card(run, tmp_path / "card", onnx=True)
    assert list(tmp_path.iterdir()) == []


def test_rounded_weights_are_measured_on_patches_of_the_validation_split(run: Path, monkeypatch: pytest.MonkeyPatch):
    """The images that training scores, as the data set gives them."""
    found = validation_patches(run)
    store = yaml.safe_load((run / "config.yaml").read_text())["data"]["store"]
    expected = seg.dataset(store, split="validation", bands=",".join(SIX))
    assert 0 < len(found) <= 32
    assert len(found) == min(len(expected), 32)
    assert any(np.array_equal(found[0], expected[n]["image"].numpy()) for n in range(len(expected)))
    monkeypatch.setattr(validation, "plan_use", _refusing)
    assert validation_patches(run) is None


def _refusing(*_, **__):
    raise RunError("no such data")


def test_without_its_packages_onnx_says_what_to_install(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installed, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(
        CheckpointError, match=re.escape("ONNX needs onnxruntime; install them with: pip install 'seg[onnx]'")
    ):
        write_card(run, tmp_path / "card", onnx=True)


def test_a_run_that_was_not_scored_has_a_page_without_scores(run: Path, tmp_path: Path):
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "eval")
    said: list[str] = []
    done = write_card(copy, tmp_path / "card", notify=said.append)
    assert not done.scored
    assert "seg eval" in said[0]
    page = (tmp_path / "card" / "README.md").read_text()
    assert "has not been scored yet" in page
    assert "model-index" not in front_matter(page)


def test_synthetic_models_say_so(run: Path, tmp_path: Path):
    copy = shutil.copytree(run, tmp_path / "copy")
    path = copy / "checkpoints" / "best" / "card.json"
    document = json.loads(path.read_text())
    document["data"]["synthetic"] = True
    path.write_text(json.dumps(document))
    write_card(copy, tmp_path / "card")
    page = (tmp_path / "card" / "README.md").read_text()
    assert "**SYNTHETIC.** This model was trained on simulated data" in page
    assert "synthetic-data" in front_matter(page)["tags"]
    assert front_matter(page)["model-index"][0]["results"][0]["dataset"]["type"] == "other"


def test_a_model_folder_is_replaced_and_nothing_else(run: Path, card: Path, tmp_path: Path):
    out = shutil.copytree(card, tmp_path / "card")
    heard: list[str] = []
    write_card(run, out, notify=heard.append)
    assert not (out / "model.onnx").exists()
    assert any("--onnx writes it anew" in sentence for sentence in heard)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(WrongUseError, match="holds something else than a model folder"):
        write_card(run, tmp_path / "mine")


def test_training_starts_from_a_model_folder(ten_metres: Path, card: Path, tmp_path: Path):
    job = plan(
        out=tmp_path / "next",
        model__arch="linknet",
        model__encoder="tu-test_resnet",
        model__weights=str(card),
        data__bands=",".join(SIX),
        data__store=ten_metres,
        train__epochs=1,
        train__lr=1e-9,
        train__device="cpu",
    )
    train(job)
    before, after = load_file(card / "model.safetensors"), load_file(job.folder / "checkpoints/last/model.safetensors")
    name = "network.segmentation_head.0.weight"
    torch.testing.assert_close(before[name], after[name], atol=1e-6, rtol=1e-4)


def test_models_of_the_hub_come_from_its_cache(card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(CheckpointError, match=re.escape("card.json of someone/small (revision main)")):
        seg.load_model("someone/small")
    snapshot = tmp_path / "hub" / "models--someone--small" / "snapshots" / ("0" * 40)
    shutil.copytree(card, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    assert seg.load_model("someone/small").card.bands == SIX


@pytest.mark.parametrize("source", ["run", "best"])
def test_runs_and_checkpoints_are_loaded_too(run: Path, source: str):
    folder = run if source == "run" else run / "checkpoints" / "best"
    assert seg.load_model(folder).card.bands == SIX


def test_what_is_no_model_is_refused_in_a_sentence(card: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match="there is no folder nothing"):
        seg.load_model("nothing")
    with pytest.raises(RunError, match="is no run folder"):
        seg.load_model(tmp_path)
    model = seg.load_model(card)
    with pytest.raises(CheckpointError, match="B08 is missing"):
        model.predict({name: np.zeros((120, 120)) for name in SIX[:-1]})
    # One row would fit, repeated.
    for shape in ((100, 120), (1, 120), (120,)):
        with pytest.raises(CheckpointError, match=rf"VV has another shape than reBEN's: \({shape[0]},.* instead of"):
            model.predict({name: np.zeros(shape) for name in SIX})


def test_models_without_a_scene_head_have_no_labels(tmp_path: Path):
    model = build_segmenter(ModelConfig(arch="linknet", encoder="tu-test_resnet", scene_head="none"), ("B02",))
    data = Data(fingerprint="", synthetic=True, train_patches=0)
    save_checkpoint(tmp_path / "m", model, make_card(model, [(BANDS["B02"].mean, BANDS["B02"].std)], "bilinear", data))
    found = seg.load_model(tmp_path / "m").predict({"B02": np.full((120, 120), 400, np.uint16)})
    assert found.scene_K is None
    assert found.labels == ()


def test_the_command_line(run: Path, tmp_path: Path):
    done = CliRunner().invoke(app, ["card", str(run), "--out", str(tmp_path / "card"), "--licence", "cc-by-4.0"])
    assert done.exit_code == 0
    assert "seg.load_model" in done.output
    assert front_matter((tmp_path / "card" / "README.md").read_text())["license"] == "cc-by-4.0"


def test_a_model_folder_is_no_run(card: Path, tmp_path: Path):
    with pytest.raises(RunError, match="is a model folder; its scores stand on its page"):
        seg.evaluate(card)
    with pytest.raises(RunError, match="is a model folder already"):
        write_card(card, tmp_path / "again")


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("apache-2.0", []),
        (
            "house rules",
            ["The Hugging Face hub knows no licence 'house rules'; those that it knows are"],
        ),
        ("apache-2", ["The Hugging Face hub knows no licence 'apache-2'; did you mean apache-2.0?"]),
    ],
)
def test_a_licence_is_one_that_the_hub_knows_or_warned_of(licence: str, said: list[str]):
    heard: list[str] = []
    check_licence(licence, heard.append)
    assert [sentence[: len(beginning)] for sentence, beginning in zip(heard, said, strict=True)] == said


@pytest.mark.parametrize(("licence", "words"), [("MIT", "use --licence mit"), ("", "a licence is a name")])
def test_a_licence_that_is_none_is_refused(licence: str, words: str, tmp_path: Path):
    with pytest.raises(WrongUseError, match=words):
        write_card(tmp_path, tmp_path / "out", licence=licence)


def test_another_model_in_the_place_is_named_and_so_is_something_else(run: Path, card: Path, tmp_path: Path):
    heard: list[str] = []
    shutil.copytree(run, tmp_path / "other", ignore=shutil.ignore_patterns("eval"))
    weights = tmp_path / "other/checkpoints/best/model.safetensors"
    tensors = {
        name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in load_file(weights).items()
    }
    write_card(run, tmp_path / "model", notify=heard.append)
    save_file(tensors, weights)
    assert not any("another one" in sentence for sentence in heard)
    write_card(tmp_path / "other", tmp_path / "model", notify=heard.append)
    assert f"The model in {tmp_path / 'model'} is another one, and is replaced." in heard
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/plan.txt").write_text("mine")
    with pytest.raises(WrongUseError, match=r"holds something else than a model folder \(plan.txt\)"):
        write_card(run, tmp_path / "notes")


@pytest.mark.parametrize(
    ("changed", "factor", "words"),
    [
        ("s2", 1e-4, "as of reflectance from 0 to 1"),
        ("s1", 100.0, "which no backscatter in dB is"),
        ("s1", -0.01, "has no value below 0, as of power"),
    ],
)
def test_values_in_another_unit_are_refused(card: Path, changed: str, factor: float, words: str):
    model = seg.load_model(card)
    random = np.random.default_rng(0)
    bands = {
        name: random.normal(BANDS[name].mean, BANDS[name].std / 4, (BANDS[name].size,) * 2) for name in model.card.bands
    }
    model.predict(bands)
    wrong = {name: values * (factor if BANDS[name].sensor == changed else 1) for name, values in bands.items()}
    with pytest.raises(WrongUseError, match=words):
        model.predict(wrong)

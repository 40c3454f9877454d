"""From real files to scored tables and GeoTIFF maps, and what happens when something does not fit."""

import csv
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from made_up import dense_counts
from sklearn.metrics import average_precision_score, f1_score, jaccard_score

import seg
from seg.config.load import load_config
from seg.data.frequency import class_frequencies
from seg.engine.train import Epoch
from seg.errors import CheckpointError, EmptySelectionError, ModelError, RunError, StoreError, WrongUseError
from seg.metrics.evidence import total_counts
from seg.metrics.evidence_file import load_evidence
from seg.models.checkpoint import read_checkpoint
from seg.models.weights_file import weights_digest
from seg.pipeline.card import write_card
from seg.pipeline.describe import describe_store
from seg.pipeline.export import export
from seg.pipeline.report import report_run
from seg.pipeline.train import train
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.classes import CLASS_OF_CODE, CLASSES
from seg.runs.data import find_store
from seg.runs.plan import plan
from seg.store.open import open_store
from seg.store.patches import DATA_FILE
from seg.store.selection import select

BANDS = "VV,VH,B02,B03,B04,B08"
QUICK = {
    "model__arch": "linknet",
    "model__encoder": "tu-test_resnet",
    "data__bands": BANDS,
    "train__epochs": 2,
    "train__batch_size": 16,
    "train__device": "cpu",
}


@pytest.fixture(scope="module")
def stores(real, ten_metres, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    build_store(published_sources(real / "reben-full-4"), folder / "full")
    build_store(published_sources(real / "reben-10m-80"), folder / "official")
    return {"ten": ten_metres, "full": folder / "full", "official": folder / "official"}


@pytest.fixture(scope="module")
def run(stores, tmp_path_factory):
    """A run on the six real bands."""
    job = plan(out=tmp_path_factory.mktemp("runs") / "real", data__store=stores["ten"], **QUICK)
    events = []
    train(job, observe=events.append)
    assert sum(isinstance(event, Epoch) for event in events) == 2
    return job.folder


@pytest.fixture(scope="module")
def evaluated(run):
    return seg.evaluate(run)


def test_run_folder_is_as_designed(run, stores):
    assert {p.name for p in run.iterdir()} >= {"config.yaml", "run.json", "log.csv", "tensorboard", "checkpoints"}
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["best", "last"]
    assert sorted(p.name for p in (run / "checkpoints" / "best").iterdir()) == ["card.json", "model.safetensors"]
    config = load_config(run / "config.yaml")
    assert config.data.bands == tuple(BANDS.split(","))
    assert config.data.store == (stores["ten"]).resolve()
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["data"]["fingerprint"] == open_store(stores["ten"]).info.fingerprint
    assert record["training"]["epochs"] == 2
    assert record["throughput"]["patches_per_second"] > 0
    with (run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"lr", "loss", "pixel_loss", "scene_loss", "val_miou", "val_ap_macro"} <= rows[0].keys()
    card = read_checkpoint(run / "checkpoints" / "best")[0]
    assert card.bands == tuple(BANDS.split(","))
    assert len(card.thresholds) == 19


def test_every_test_patch_is_scored_once_against_the_files(evaluated, stores, real):
    evidence = load_evidence(evaluated.folder / "evidence")
    store = open_store(stores["ten"])
    expected = sorted(store.index.patch_id(i) for i in np.flatnonzero(store.index.splits == 2))
    assert evidence.patch_ids.to_pylist() == expected
    official = {r["patch_id"]: r for r in pq.read_table(real / "reben-10m-80" / "metadata.parquet").to_pylist()}
    counts = dense_counts(evidence, np.arange(len(evidence)))
    for i, patch in enumerate(expected):
        path = real / "reben-10m-80" / "Reference_Maps" / patch[:-6] / patch / f"{patch}_reference_map.tif"
        with rasterio.open(path) as source:
            truth = np.vectorize(CLASS_OF_CODE.get)(source.read(1))
        assert (counts[i].sum(1) == np.bincount(truth[truth < 19], minlength=19)).all()
        assert {CLASSES[k].name for k in np.flatnonzero(evidence.labels[i])} == set(official[patch]["labels"])


def test_scores_against_scikit_learn_on_the_exported_maps(evaluated, run, tmp_path):
    """Scores recomputed from nothing but the GeoTIFFs that were exported and the evidence's probabilities."""
    result = export(run, tmp_path, reference=True)
    truth, predicted = [], []
    for file in sorted(tmp_path.rglob("*_map.tif")):
        with rasterio.open(file) as source:
            predicted.append(source.read(1).ravel())
        with rasterio.open(str(file).replace("_map.tif", "_reference.tif")) as source:
            truth.append(source.read(1).ravel())
    assert len(truth) == result.patches == evaluated.scores.patches
    truth, predicted = np.concatenate(truth), np.concatenate(predicted)
    labelled = truth != 255
    truth, predicted = truth[labelled], predicted[labelled]
    present = np.unique(truth)
    iou = jaccard_score(truth, predicted, labels=present, average=None, zero_division=0)
    pixel = evaluated.scores.pixel
    np.testing.assert_allclose(pixel.iou[present], iou)
    assert np.isnan(np.delete(pixel.iou, present)).all()
    assert pixel.miou == pytest.approx(iou.mean())
    assert pixel.mf1 == pytest.approx(f1_score(truth, predicted, labels=present, average="macro", zero_division=0))
    assert pixel.oa == pytest.approx((truth == predicted).mean())
    assert total_counts(load_evidence(evaluated.folder / "evidence")).sum() == len(truth)

    evidence = load_evidence(evaluated.folder / "evidence")
    positive = evidence.labels.any(0)
    ap = average_precision_score(evidence.labels[:, positive], evidence.probabilities[:, positive], average=None)
    np.testing.assert_allclose(evaluated.scores.scene.ap[positive], ap)
    assert evaluated.scores.scene.ap_macro == pytest.approx(np.mean(ap))


def test_evaluation_writes_its_tables(evaluated, run):
    names = {p.name for p in evaluated.folder.iterdir()}
    assert names >= {"scores.json", "eval.json", "per_class.csv", "tables.md", "tables.tex", "tables.csv", "evidence"}
    record = json.loads((evaluated.folder / "eval.json").read_text())
    evidence = load_evidence(evaluated.folder / "evidence")
    assert record["weights"] == evidence.origin.weights == weights_digest(run / "checkpoints" / "best")
    assert record["data"]["patches"] == len(evidence)
    assert record["throughput"]["patches_per_second"] > 0
    document = json.loads((evaluated.folder / "scores.json").read_text())
    assert document["synthetic"] is False
    assert "SYNTHETIC" not in (evaluated.folder / "tables.md").read_text()


def test_evaluation_repeats_to_the_last_count(evaluated, run):
    before = load_evidence(evaluated.folder / "evidence")
    again = seg.evaluate(run, batch_size=7)
    after = load_evidence(again.folder / "evidence")
    assert before.patch_ids == after.patch_ids
    difference = np.abs(total_counts(before) - total_counts(after)).sum()
    # bfloat16 may round a tie differently for another batch shape; a lost or doubled patch would be 14,400 pixels.
    assert difference <= 200


def test_georeference_of_the_maps_is_that_of_the_source(run, real, tmp_path):
    export(run, tmp_path, split="validation", probabilities=True)
    maps = sorted(tmp_path.rglob("*_map.tif"))
    assert len(maps) == 20
    for file in maps:
        patch = file.name.removesuffix("_map.tif")
        source_path = real / "reben-10m-80" / "BigEarthNet-S2" / patch[:-6] / patch / f"{patch}_B02.tif"
        with rasterio.open(file) as made, rasterio.open(source_path) as source:
            assert made.crs == source.crs
            assert made.transform == source.transform
            assert made.bounds == source.bounds
            assert (made.count, made.dtypes, made.nodata, made.compression.value) == (1, ("uint8",), 255, "DEFLATE")
            assert made.colormap(1)[18] == (*CLASSES[18].color, 255)
            assert made.tags(1)["CLASS_0"] == "Urban fabric"
            classes = made.read(1)
        with rasterio.open(file.with_name(f"{patch}_probabilities.tif")) as shares:
            values = shares.read()
            assert shares.crs == source.crs
            assert values.shape == (19, 120, 120)
            assert values.max() <= 250
            winner = np.take_along_axis(values, classes[None].astype(int), 0)[0]
            assert (winner == values.max(0)).all()
            assert np.abs(values.sum(0, dtype=int) - 250).max() <= 10
    assert (tmp_path / "overview.png").stat().st_size < 300_000


def test_four_complete_patches(stores, tmp_path):
    """Twelve S2 bands; two patches have no S1, so a modality with S1 must be asked for without them."""
    settings = {**QUICK, "data__store": stores["full"], "data__bands": "s2"}
    with pytest.raises(EmptySelectionError, match="split validation"):
        train(plan(out=tmp_path / "a", **settings))
    with pytest.raises(StoreError, match="'s1s2' cannot be used: 1 of 2 patches have no Sentinel-1"):
        train(plan(out=tmp_path / "b", **{**settings, "data__bands": "s1s2"}))
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_resumed_run_adds_to_its_log(stores, tmp_path):
    settings = {**QUICK, "data__store": stores["ten"]}
    job = plan(out=tmp_path / "run", **settings)

    class Stop(Exception):  # noqa: N818
        pass

    def stop(event):
        if isinstance(event, Epoch):
            raise Stop

    with pytest.raises(Stop):
        train(job, observe=stop)
    record = json.loads((job.folder / "run.json").read_text())
    assert record["status"] == "failed"
    first = record["cost"]
    assert first["patches_seen"] == record["batch"]["steps_per_epoch"] * record["batch"]["effective_batch"]
    with pytest.raises(RunError, match="--resume"):
        plan(out=tmp_path / "run", **settings)
    resumed = plan(out=tmp_path / "run", resume=True)
    assert resumed.config.model.arch == "linknet"
    result = train(resumed)
    assert result.epochs == 2
    cost = json.loads((job.folder / "run.json").read_text())["cost"]
    assert cost["patches_seen"] == 2 * first["patches_seen"]
    assert cost["wall_seconds"] == cost["device_seconds"] > first["wall_seconds"] > 0
    with (job.folder / "log.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    before = {name: (job.folder / name).read_bytes() for name in ("config.yaml", "run.json", "log.csv")}
    with pytest.raises(ValueError, match=r"the run has train\.lr=0\.001 and not 0\.5"):
        train(plan(None, ["train.lr=0.5"], tmp_path / "run", resume=True))
    assert {name: (job.folder / name).read_bytes() for name in before} == before


def test_weights_by_frequency_are_stated(stores, tmp_path, monkeypatch):
    """Counts from the train split alone, kept for the next run; classes that it lacks are named and weigh nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = {**QUICK, "data__store": stores["ten"], "train__epochs": 1, "data__countries": ("Ireland", "Finland")}
    overrides = ["loss.pixel=cross_entropy+dice", "loss.class_weights=inverse", "loss.positive_weights=effective"]
    heard = []
    train(plan(None, overrides, tmp_path / "run", **settings), notify=heard.append)
    loss = json.loads((tmp_path / "run" / "run.json").read_text())["loss"]
    store = open_store(stores["ten"])
    rows = select(store.index, load_config(None, data__countries=("Ireland", "Finland")).data, "train")
    found = class_frequencies(store, rows)
    assert loss["train_patches"] == len(rows)
    assert list(loss["class_pixels"].values()) == found.pixels_K.tolist()
    assert list(loss["class_patches"].values()) == found.positives_K.tolist()
    absent = {name for name, pixels in loss["class_pixels"].items() if not pixels}
    assert absent == {name for name, weight in loss["class_weights"].items() if not weight}
    assert 0 < len(absent) < 19
    (notice,) = [message for message in heard if "Not in the train split" in message]
    assert all(name in notice for name in absent)
    assert all(weight > 0 for weight in loss["positive_weights"].values())
    assert len(list((tmp_path / "cache" / "seg" / "frequencies").iterdir())) == 1
    monkeypatch.setattr("seg.data.frequency.count_pixels", None)
    train(plan(None, overrides, tmp_path / "again", **settings))


def test_a_run_without_weights_by_frequency_counts_nothing(run):
    assert json.loads((run / "run.json").read_text())["loss"] == {}


def test_sampling_that_tells_no_patches_apart_is_told(stores, tmp_path):
    settings = {**QUICK, "data__store": stores["ten"], "train__epochs": 1, "train__max_steps": 1}
    for share, told in ((1e-9, True), (0.9, False)):
        heard = []
        overrides = ["data.sampling=rare", f"data.rare_share={share}"]
        train(plan(None, overrides, tmp_path / str(share), **settings), notify=heard.append)
        assert any("tells no patches of the train split apart" in message for message in heard) is told


def test_default_run_folders_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(plan(model__arch="unet", data__bands="s2").folder) == "runs/unet-s2"
    (tmp_path / "runs" / "unet-s2").mkdir(parents=True)
    assert str(plan(model__arch="unet", data__bands="s2").folder) == "runs/unet-s2-2"
    with pytest.raises(RunError, match="no run to resume"):
        plan(model__arch="fpn", resume=True)


def test_every_configuration_loads():
    files = sorted((seg_root() / "configs").glob("*.yaml"))
    grid = [f"{a}-{m}" for a in ("unet", "deeplabv3plus") for m in ("s1", "s2", "s1s2")]
    assert [f.stem for f in files] == sorted([*grid, "few-patches"])
    for file in files:
        config = load_config(file)
        assert file.stem == "few-patches" or file.stem.startswith(config.model.arch)


def seg_root():
    from pathlib import Path

    return Path(seg.__file__).resolve().parents[1]


# --- what does not fit -----------------------------------------------------------------------------------------------


def test_a_checkpoint_needs_its_bands(run, stores, tmp_path):

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    card = copy / "checkpoints" / "best" / "card.json"
    document = json.loads(card.read_text())
    document["bands"][0] = "B11"
    card.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"other band statistics|needs B11"):
        seg.evaluate(copy)
    document["bands"][0] = "VV"
    document["classes"][0] = "Sea"
    card.write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="'Sea' is not one of the 19"):
        seg.evaluate(copy)


def test_other_data_are_noticed(run, stores):
    heard = []
    with pytest.raises(EmptySelectionError, match="split validation"):
        seg.evaluate(run, split="validation", data=stores["official"], notify=heard.append)
    assert any("not those the run was trained on" in message for message in heard)


def test_other_data_have_an_evaluation_of_their_own(run, evaluated, stores, tmp_path):
    own, other = (evaluated.folder / "scores.json").read_bytes(), open_store(stores["official"]).info.fingerprint
    on = other[:8]
    with pytest.raises(RunError, match=rf"not scored on the test split of other data \({on}\) yet; .* --data STORE"):
        seg.compare([run], on=on)
    found = seg.evaluate(run, data=stores["official"])
    assert found.folder == run / "eval" / f"test-on-{on}"
    assert load_evidence(found.folder / "evidence").origin.fingerprint == other
    assert f"other data ({on})" in (found.folder / "tables.md").read_text(encoding="utf-8")
    # What the run scores on its own data is neither touched nor mixed up with that.
    assert (evaluated.folder / "scores.json").read_bytes() == own
    trained = read_checkpoint(run / "checkpoints" / "best")[0].data.fingerprint
    typed = {"": evaluated, trained: evaluated, trained[:6]: evaluated, on: found, other: found, on[:4]: found}
    for data, result in typed.items():
        (configuration,) = seg.compare([run], on=data).comparison.configurations
        assert configuration.scores["miou"].value == result.scores.pixel.miou
    assert report_run(run, on=trained[:6], check=True).folder == evaluated.folder
    assert report_run(run, on=other, check=True).folder == found.folder
    assert seg.compare([run], on=on).tables[0].title.endswith(f"test split of other data ({on})")
    write_card(run, tmp_path / "card")
    assert "other data" not in (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    write_card(run, tmp_path / "card", on=on)
    assert f"test split of other data ({on})" in (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "eval" / "test")
    with pytest.raises(RunError, match=f"only with --on {on}, which is other data"):
        seg.compare([tmp_path / "copy"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss__pixel": "dicee"}, "did you mean dice"),
        ({"loss__pixel": "dice", "loss__class_weights": "inverse"}, "loss.class_weights has no effect"),
        ({"model__drop_path": 0.2, "model__encoder": "resnet18"}, "no drop path"),
        ({"model__arch": "unnet"}, "unet"),
        ({"model__encoder": "resnet19"}, "resnet1"),
        ({"data__bands": "s2"}, "'s2' needs B01, B05"),
    ],
)
def test_unknown_names_leave_no_run_behind(stores, tmp_path, changes, message):
    with pytest.raises((ModelError, StoreError, WrongUseError), match=message):
        train(plan(out=tmp_path / "run", **{**QUICK, "data__store": stores["ten"], **changes}))
    assert not (tmp_path / "run").exists()


def test_an_empty_split_says_what_to_do(stores, tmp_path):
    with pytest.raises(EmptySelectionError, match="--resplit tile"):
        train(plan(out=tmp_path / "run", **{**QUICK, "data__store": stores["official"]}))


def test_a_run_without_weights(tmp_path):
    with pytest.raises(RunError, match=r"is no run folder|there is no folder"):
        seg.evaluate(tmp_path)
    (tmp_path / "config.yaml").write_text("{}")
    with pytest.raises(RunError, match="has no weights"):
        seg.evaluate(tmp_path)


def test_description_counts(stores):
    description = describe_store(stores["ten"])
    assert description.info.patches == 80
    assert sum(description.countries.values()) == 80
    assert description.tiles == 25
    assert description.bytes >= (stores["ten"] / DATA_FILE).stat().st_size
    labels = open_store(stores["ten"]).index.labels(np.arange(80)).sum(0)
    assert [sum(counts) for _, *counts in description.classes] == labels.tolist()


def test_demo_store_is_used_loudly_and_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SEG_DATA", raising=False)
    monkeypatch.setattr("seg.runs.data.DEMO_PATCHES", 24)
    heard = []
    first = find_store(load_config().data, notify=heard.append)
    assert first.info.synthetic
    assert "SYNTHETIC" in heard[0]
    assert str(first.folder) in heard[1]
    assert first.info.patches == 24
    stamp = (first.folder / DATA_FILE).stat().st_mtime_ns
    again = find_store(load_config().data, notify=heard.append)
    assert (again.folder / DATA_FILE).stat().st_mtime_ns == stamp
    assert [p.name for p in (tmp_path / "seg").iterdir()] == [first.folder.name]
    monkeypatch.setenv("SEG_DATA", str(first.folder))
    heard.clear()
    assert find_store(load_config().data, notify=heard.append).info.synthetic
    assert heard == []

"""Two sensors and published weights as typed: from training over a resume to an evaluation without a sensor."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from commands import typed
from safetensors.torch import save_file

from seg.config.scope import Scope
from seg.data.order import BatchOrder
from seg.errors import RunError, WrongUseError
from seg.metrics.evidence_file import load_evidence
from seg.models.checkpoint import read_checkpoint
from seg.pipeline.train import train
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.runs.folder import read_evidence
from seg.runs.plan import plan
from seg.runs.session import open_session
from seg.runs.use import plan_use
from seg.synthetic.tree import synthesise

Command = Callable[..., tuple[int, str, str]]
SMALL = ("--arch", "linknet", "--encoder", "tu-test_resnet", "--bands", "VV,VH,B02,B03,B04", "--batch-size", 8)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of synthetic patches, a weights file and a run of two encoders."""
    folder = tmp_path_factory.mktemp("two")
    synthesise(folder / "reben", patches=24)
    build_store(published_sources(folder / "reben"), folder / "store")
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", in_chans=12, num_classes=19)
    wrapped = {f"model.vision_encoder.{name}": value for name, value in network.state_dict().items()}
    save_file(wrapped, folder / "model.safetensors", {"version": "0.2.0"})
    return folder


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path) -> Command:
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "300")

    return partial(typed, capfd, monkeypatch)


@pytest.fixture
def trained(cli: Command, place: Path) -> Path:
    """The run, made once."""
    if not (place / "run").exists():
        two = ("--fusion", "dual", "--modality-dropout", 0.5, "--weights", "reben:model.safetensors")
        code, _, err = cli(
            "train", "--data", "store", *SMALL, *two, "--epochs", 1, "--set", "train.max_steps=1", "--out", "run"
        )
        assert code == 0, err
        said = {sensor: line for sensor in ("s1", "s2") for line in err.splitlines() if f" {sensor} encoder" in line}
        assert all("model.safetensors: 90 tensors; for bands VV,VH,B02," in line for line in said.values())
        assert "bands by name: VV, VH; not used: B02" in said["s1"]
        assert "bands by name: B02, B03, B04; not used: VV" in said["s2"]
    return place / "run"


def test_the_record_says_what_was_loaded(trained: Path):
    record = json.loads((trained / "run.json").read_text())
    one, two = record["weights"]
    assert (one["encoder"], two["encoder"]) == ("s1", "s2")
    assert one["source"] == "model.safetensors"
    assert one["bands"]["kept"] == ["VV", "VH"]
    assert set(two["left_out"]) == {"fc.weight", "fc.bias"}
    assert read_checkpoint(trained / "checkpoints" / "best")[0].fusion == "dual"


def test_an_evaluation_without_a_sensor_stands_beside_the_other(cli: Command, trained: Path):
    code, _, err = cli("eval", "run")
    assert code == 0, err
    whole = {path: path.read_bytes() for path in sorted((trained / "eval" / "test").rglob("*")) if path.is_file()}
    code, out, err = cli("eval", "run", "--drop", "s1")
    assert code == 0, err
    folder = trained / "eval" / "test-without-s1"
    assert "test split without Sentinel-1" in " ".join(out.split())
    assert str(Path("run/eval/test-without-s1")) in out
    assert {path: path.read_bytes() for path in whole} == whole
    assert "test split without Sentinel-1" in (folder / "tables.md").read_text()
    page = (folder / "report.html").read_text()
    assert "test split without Sentinel-1" in page
    scores = json.loads((folder / "scores.json").read_text())
    assert (scores["split"], scores["without"]) == ("test", "s1")
    assert json.loads((trained / "eval" / "test" / "scores.json").read_text())["without"] is None

    evidence = load_evidence(folder / "evidence")
    assert evidence.origin.without == "s1"
    assert len(evidence) == len(load_evidence(trained / "eval" / "test" / "evidence"))
    both = read_evidence(trained, Scope("test"))
    assert both.origin.without is None
    assert read_evidence(trained, Scope("test", "s1")).origin == evidence.origin
    # The numbers are those of the network that is not shown Sentinel-1.
    session = open_session(plan_use(trained, drop="s1"))
    batch = session.dataset[next(iter(BatchOrder(len(session.dataset), 4)))]
    blind = batch.images_BCHW.clone()
    blind[:, :2] = 1e3
    with torch.no_grad():
        expected = session.model(batch.images_BCHW)[1].sigmoid()
        assert torch.equal(session.model(blind)[1].sigmoid(), expected)
    torch.testing.assert_close(
        torch.tensor(evidence.probabilities[: len(expected)].tolist()), expected, rtol=0, atol=1e-3
    )
    assert (both.probabilities != evidence.probabilities).any()

    code, out, err = cli("report", "run", "--drop", "s1", "--check")
    assert code == 0, err
    assert "test-without-s1" in out


def test_an_evaluation_that_is_not_there(cli: Command, trained: Path):
    code, _, err = cli("report", "run", "--drop", "s2")
    assert code == 1
    assert "was not scored on the test split without Sentinel-2 yet; run: seg eval" in err
    assert "--split test --drop s2" in err
    with pytest.raises(RunError, match="without Sentinel-2"):
        read_evidence(trained, Scope("test", "s2"))


def test_evidence_in_the_wrong_folder_is_noticed(cli: Command, trained: Path):
    cli("eval", "run", "--drop", "s1")
    (trained / "eval" / "validation-without-s1").mkdir(exist_ok=True)
    (trained / "eval" / "validation").mkdir(exist_ok=True)
    for folder in ("validation", "validation-without-s1"):
        target = trained / "eval" / folder / "evidence"
        if not target.exists():
            target.symlink_to(trained / "eval" / "test-without-s1" / "evidence")
    with pytest.raises(RunError, match="holds evidence of the test split without Sentinel-1"):
        read_evidence(trained, Scope("validation", "s1"))
    with pytest.raises(RunError, match="holds evidence of the test split without Sentinel-1"):
        read_evidence(trained, Scope("validation"))


def test_a_resume_needs_no_weights_file_any_more(cli: Command, trained: Path, place: Path):
    weights = place / "model.safetensors"
    before = json.loads((trained / "run.json").read_text())["weights"]
    weights.rename(place / "gone.safetensors")
    try:
        code, _, err = cli("train", "--out", "run", "--resume")
        assert code == 0, err
        assert "Weights" not in err
        assert json.loads((trained / "run.json").read_text())["weights"] == before
    finally:
        (place / "gone.safetensors").rename(weights)


def test_weights_of_an_earlier_run_as_typed(cli: Command, trained: Path):
    code, _, err = cli(
        "train",
        "--data",
        "store",
        *SMALL,
        "--weights",
        "run",
        "--epochs",
        1,
        "--set",
        "train.max_steps=1",
        "--out",
        "next",
    )
    assert code == 0, err
    assert "for bands B02,B03,B04 (its card.json); bands by name: B02, B03, B04; from the mean: VV, VH" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("train", "--data", "store", "--modality", "s2", "--fusion", "dual"),
            "fusion 'dual' needs bands of Sentinel-1",
        ),
        (
            ("train", "--data", "store", "--modality", "s2", "--modality-dropout", 0.5),
            "modality_dropout=0.5 needs bands",
        ),
        (("train", "--data", "store", "--weights", "nowhere.pth"), "there are no weights 'nowhere.pth'"),
        (("train", "--data", "store", "--modality-dropout", 1.5), "less than or equal to 1"),
    ],
)
def test_mistakes_leave_nothing_behind(cli: Command, place: Path, arguments: tuple[object, ...], words: str):
    code, out, err = cli(*arguments, "--out", "never")
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
    assert len(err.strip().splitlines()) == 1
    assert not (place / "never").exists()


def test_a_run_of_one_sensor_has_nothing_to_drop(place: Path):
    job = plan(
        out=place / "one", model__arch="linknet", model__encoder="tu-test_resnet", data__bands="VV,VH",
        data__store=place / "store", train__epochs=1, train__max_steps=1,
    )  # fmt: skip
    train(job)
    with pytest.raises(WrongUseError, match="sees the bands VV, VH only; without s1 there is nothing to tell"):
        plan_use(place / "one", drop="s1")

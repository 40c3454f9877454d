"""Weights & Biases and MLflow, with small modules in their place that keep a diary."""

import csv
import json
import math
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from seg.config.load import load_config
from seg.errors import WrongUseError
from seg.pipeline.train import train
from seg.report.trackers import FILE_NAME, TRACKERS, Trackers, check_trackers
from seg.runs.plan import plan

SETTINGS = {"train": {"lr": 0.1, "loggers": ["wandb"]}, "model": {"arch": "unet"}}
OWN = ("WANDB_PROJECT", "WANDB_NAME", "WANDB_DIR", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_NAME")


class Diary:
    """Calls in their order; ``fail`` names those that raise."""

    def __init__(self):
        self.calls = []
        self.fail = set()

    def note(self, called, /, *args, **kwargs):
        self.calls.append((called, args, kwargs))
        if called in self.fail:
            raise RuntimeError(f"{called}: no\nnetwork")

    def of(self, name):
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for name in OWN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def wandb(monkeypatch):
    diary = Diary()
    module = ModuleType("wandb")

    def init(**kwargs):
        diary.note("init", **kwargs)
        return SimpleNamespace(
            id=kwargs["id"] or "w1",
            log=lambda *args, **kw: diary.note("log", *args, **kw),
            finish=lambda **kw: diary.note("finish", **kw),
        )

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return diary


@pytest.fixture
def mlflow(monkeypatch):
    diary = Diary()
    module = ModuleType("mlflow")
    for name in ("set_experiment", "log_params", "log_metrics", "set_tag", "end_run"):
        setattr(module, name, lambda *args, _name=name, **kwargs: diary.note(_name, *args, **kwargs))

    def start_run(**kwargs):
        diary.note("start_run", **kwargs)
        return SimpleNamespace(info=SimpleNamespace(run_id=kwargs["run_id"] or "m1"))

    module.start_run = start_run
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return diary


def start(folder, *names, synthetic=False, resume=False, notify=None):
    def never(message):
        raise AssertionError(message)

    return Trackers(names, folder, SETTINGS, synthetic=synthetic, resume=resume, notify=notify or never)


def test_wandb_is_told_of_every_epoch(wandb, tmp_path):
    trackers = start(tmp_path, "wandb", synthetic=True)
    trackers.add(1, {"loss": np.float32(0.5), "val_miou": math.nan})
    trackers.add(2, {"loss": 0.25, "val_miou": 0.75})
    trackers.close("finished")
    ((_, began),) = wandb.of("init")
    assert began["config"] == SETTINGS
    assert (began["project"], began["name"], began["dir"]) == ("seg", tmp_path.name, str(tmp_path))
    assert began["tags"] == ["SYNTHETIC"]
    # What is undefined is no point of a curve.
    assert wandb.of("log") == [
        (({"epoch": 1, "loss": 0.5},), {"step": 1}),
        (({"epoch": 2, "loss": 0.25, "val_miou": 0.75},), {"step": 2}),
    ]
    assert wandb.of("finish") == [((), {"exit_code": 0})]


def test_mlflow_is_told_of_every_epoch(mlflow, tmp_path):
    trackers = start(tmp_path, "mlflow", synthetic=True)
    trackers.add(1, {"loss": 0.5, "val_miou": math.inf})
    trackers.close("interrupted")
    assert [name for name, *_ in mlflow.calls] == [
        "set_experiment", "start_run", "log_params", "set_tag", "log_metrics", "end_run",
    ]  # fmt: skip
    assert mlflow.of("log_params")[0][0][0] == {
        "train.lr": 0.1,
        "train.loggers": ["wandb"],
        "model.arch": "unet",
    }
    assert mlflow.of("log_metrics") == [(({"loss": 0.5},), {"step": 1})]
    assert mlflow.of("end_run") == [((), {"status": "KILLED"})]


@pytest.mark.parametrize(("status", "code", "word"), [("interrupted", 1, "KILLED"), ("failed", 1, "FAILED")])
def test_a_run_that_did_not_finish_is_not_shown_as_finished(wandb, mlflow, tmp_path, status, code, word):
    start(tmp_path, "wandb", "mlflow").close(status)
    assert wandb.of("finish")[0][1]["exit_code"] == code
    assert mlflow.of("end_run")[0][1]["status"] == word


def test_real_data_are_not_marked_synthetic(wandb, mlflow, tmp_path):
    start(tmp_path, "wandb", "mlflow").close("finished")
    assert wandb.of("init")[0][1]["tags"] is None
    assert mlflow.of("set_tag") == []


def test_their_own_environment_decides(wandb, mlflow, tmp_path, monkeypatch):
    for name in OWN:
        monkeypatch.setenv(name, f"mine-{name}")
    start(tmp_path, "wandb", "mlflow").close("finished")
    began = wandb.of("init")[0][1]
    assert [began[key] for key in ("project", "name", "dir")] == [f"mine-{name}" for name in OWN[:3]]
    assert "mode" not in began
    assert mlflow.of("set_experiment") == []
    assert mlflow.of("start_run")[0][1]["run_name"] == "mine-MLFLOW_RUN_NAME"


def test_a_resumed_run_goes_on_where_it_was(wandb, mlflow, tmp_path):
    start(tmp_path, "wandb", "mlflow").close("interrupted")
    assert json.loads((tmp_path / FILE_NAME).read_text()) == {"wandb": "w1", "mlflow": "m1"}
    start(tmp_path, "wandb", "mlflow", resume=True).close("finished")
    assert [kwargs["id"] for _, kwargs in wandb.of("init")] == [None, "w1"]
    assert all(kwargs["resume"] == "allow" for _, kwargs in wandb.of("init"))
    assert [kwargs["run_id"] for _, kwargs in mlflow.of("start_run")] == [None, "m1"]
    # MLflow refuses parameters that change; a resumed run has its own already.
    assert len(mlflow.of("log_params")) == len(mlflow.of("set_experiment")) == 1
    (tmp_path / FILE_NAME).write_text("{ damaged")
    start(tmp_path, "wandb", resume=True).close("finished")
    assert wandb.of("init")[-1][1]["id"] is None


@pytest.mark.parametrize("call", ["init", "log", "finish"])
def test_a_tracker_that_fails_is_told_once_and_left_out(wandb, mlflow, tmp_path, call):
    wandb.fail = {call}
    heard = []
    trackers = start(tmp_path, "wandb", "mlflow", notify=heard.append)
    for epoch in (1, 2, 3):
        trackers.add(epoch, {"loss": 0.5})
    trackers.close("finished")
    assert heard == [f"wandb failed and is left out from here on ({call}: no network); log.csv and TensorBoard go on."]
    assert len(wandb.of("log")) == {"init": 0, "log": 1, "finish": 3}[call]
    assert len(mlflow.of("log_metrics")) == 3
    assert mlflow.of("end_run") == [((), {"status": "FINISHED"})]


def test_no_trackers_leave_no_file(tmp_path):
    trackers = start(tmp_path)
    trackers.add(1, {"loss": 0.5})
    trackers.close("finished")
    assert list(tmp_path.iterdir()) == []


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wandb", ("wandb",)),
        ("[wandb, mlflow]", ("wandb", "mlflow")),
        ("mlflow,wandb", ("mlflow", "wandb")),
        ("wandb, wandb", ("wandb",)),
        ("none", ()),
        ("[]", ()),
    ],
)
def test_loggers_as_typed(text, expected):
    config = load_config(None, [f"train.loggers={text}"])
    assert config.train.loggers == expected
    assert set(expected) <= set(TRACKERS)


def test_an_unknown_logger_is_refused():
    with pytest.raises(WrongUseError, match="wandb"):
        load_config(None, ["train.loggers=comet"])


@pytest.mark.parametrize("name", TRACKERS)
def test_what_is_not_installed_is_told_before_anything_starts(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(WrongUseError, match=f"pip install {name}$"):
        train(plan(None, [f"train.loggers={name}"], tmp_path / "run", data__store=tmp_path / "nowhere"))
    assert not (tmp_path / "run").exists()
    check_trackers(())


# --- a training ------------------------------------------------------------------------------------------------------


def test_a_training_tells_both_and_survives_one_that_fails(ten_metres, tmp_path, wandb, mlflow):
    mlflow.fail = {"log_metrics"}
    quick = {
        "model__arch": "linknet",
        "model__encoder": "tu-test_resnet",
        "data__bands": "rgb",
        "data__store": ten_metres,
        "train__device": "cpu",
        "train__epochs": 2,
        "train__batch_size": 8,
    }
    heard = []
    job = plan(None, ["train.loggers=wandb,mlflow"], tmp_path / "run", **quick)
    result = train(job, notify=heard.append)
    assert result.epochs == 2
    assert json.loads((job.folder / "run.json").read_text())["status"] == "finished"
    with (job.folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    logged = [args[0] for args, _ in wandb.of("log")]
    assert len(rows) == len(logged) == 2
    for row, values in zip(rows, logged, strict=True):
        finite = {name: value for name, value in row.items() if math.isfinite(float(value))}
        assert finite.keys() == values.keys()
        assert {name: f"{value:.6g}" for name, value in values.items()} == finite
    assert wandb.of("init")[0][1]["config"]["model"]["encoder"] == "tu-test_resnet"
    assert wandb.of("finish") == [((), {"exit_code": 0})]
    assert len(heard) == 1
    assert heard[0].startswith("mlflow failed")
    # Who is told does not make another run of it.
    finished = train(plan(None, ["train.loggers=none"], job.folder, resume=True))
    assert finished.epochs == 2

"""The command line: as a user types it, with its exit codes and its one-sentence errors."""

import errno
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pyarrow.parquet as pq
import pytest
from commands import run_seg, typed

from seg.cli.main import main, sentence
from seg.engine.stopping import Interrupted

HEAVY = ("torch", "albumentations", "segmentation_models_pytorch", "pyarrow", "rasterio", "numpy", "matplotlib")


@pytest.fixture
def cli(capfd, monkeypatch, tmp_path):
    """Run a command in an empty folder; exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SEG_DATA", raising=False)

    return partial(typed, capfd, monkeypatch)


def plain(text):
    return " ".join(text.split())


def test_help_imports_nothing_heavy():
    code = f"import sys, seg.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("data",),
        ("data", "synth"),
        ("data", "build"),
        ("train",),
        ("eval",),
        ("compare",),
        ("export",),
        ("models",),
        ("doctor",),
    ],
)
def test_every_command_has_help(cli, command):
    code, out, _ = cli(*command, "--help")
    assert code == 0
    assert "Usage: seg" in out


def test_version(cli):
    code, out, _ = cli("--version")
    assert (code, out.split()[0]) == (0, "seg")


@pytest.mark.parametrize(
    "arguments",
    [
        ("trian",),
        ("train", "--nonsense"),
        ("train", "--modality", "s1", "--bands", "VV"),
        ("train", "--allow", "train.epochs"),
        ("data", "synth"),
        ("data", "synth", "out", "--patches", "many"),
        ("eval", "run", "--split", "dev"),
        ("export", "run"),
        ("data", "synth", "out", "--patches", "11"),
        ("data", "synth", "out", "--patches", "999999999"),
        ("data", "check", "store", "--repair"),
    ],
)
def test_wrong_use_is_exit_code_2(cli, arguments):
    code, _, err = cli(*arguments)
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bands", "XX"), "'XX' is neither a band nor a modality"),
        (("--bands", "B02,B02"), "is named twice"),
        (("--bands", ""), "names nothing in one place"),
        (("--bands", "B02,"), "names nothing in one place"),
        (("--bands", "B02,VV"), "no source is named for VV"),
        (("--countries", ""), "names nothing in one place"),
        (("--countries", "Finland, ,Ireland"), "names nothing in one place"),
        (("--limit", "0"), "--limit"),
    ],
)
def test_options_that_no_data_could_make_right(cli, tmp_path, options, message):
    code, _, err = cli("data", "build", "--s2", "nowhere", "--metadata", "m.parquet", *options, "store")
    assert code == 2
    assert message in plain(err)
    assert list(tmp_path.iterdir()) == []


def test_a_build_without_images_is_wrong_use(cli):
    code, _, err = cli("data", "build", "--maps", "nowhere", "--metadata", "m.parquet", "store")
    assert code == 2
    assert "a store needs images" in plain(err)


def test_a_country_that_is_not_there_depends_on_the_data(cli, tmp_path, real):
    tree = real / "reben-full-4"
    build = ("data", "build", "--s2", tree / "BigEarthNet-S2", "--metadata", tree / "metadata.parquet", "store")
    code, _, err = cli(*build, "--countries", "Narnia")
    assert code == 1
    assert "there are no patches from 'Narnia'" in plain(err)
    name = pq.read_table(tree / "metadata.parquet")["country"][0].as_py()
    code, _, _ = cli(*build, "--countries", name.upper())
    assert code == 0


def test_a_band_that_is_left_out_is_said(cli, real):
    tree = real / "reben-10m-80"
    build = ("data", "build", "--s2", tree / "BigEarthNet-S2", "--metadata", tree / "metadata.parquet", "store")
    code, _, err = cli(*build, "--bands", "B02,B05")
    assert code == 1
    assert "holds no B05" in plain(err)
    code, _, err = cli(*build, "--bands", "B02,B05", "--partial")
    assert code == 0
    assert "No source holds B05: left out." in plain(err)


def test_a_bug_shows_itself_and_asks_to_be_reported(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["seg", "doctor"])
    monkeypatch.setattr("seg.cli.main.app", Mock(side_effect=ValueError("operands could not be broadcast together")))
    with pytest.raises(ValueError, match="operands") as caught:
        main()
    assert any("please report it" in note for note in caught.value.__notes__)


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["seg", "data", "info", "nowhere", "--debug"])
    with pytest.raises(ValueError, match="there is no store"):
        main()


def test_the_whole_way_as_typed(cli, tmp_path):
    """The commands of the README's real-data path, on a small synthetic tree."""
    code, out, _ = cli("data", "synth", "reben", "--patches", 36)
    assert code == 0
    build = plain(out).split("Next: seg ")[1].replace("STORE", "store").split()
    code, out, err = cli(*build)
    assert code == 0
    assert "36 patches" in out

    code, out, _ = cli("data", "info", "store")
    assert code == 0
    assert "SYNTHETIC" in out
    code, out, _ = cli("data", "info", "store", "--json")
    assert json.loads(out)["info"]["patches"] == 36

    small = ("--arch", "linknet", "--encoder", "tu-test_resnet", "--epochs", 1, "--batch-size", 8)
    code, out, err = cli("train", "--data", "store", "--modality", "s1s2", *small, "--out", "run")
    assert code == 0, err
    assert "Next: seg eval run" in out
    assert "Traceback" not in err

    code, out, _ = cli("eval", "run")
    assert code == 0
    assert all(word in out for word in ("mIoU", "AP macro", "SYNTHETIC", "Marine waters"))
    assert "SYNTHETIC" in Path("run/eval/test/tables.md").read_text()
    assert json.loads(Path("run/eval/test/scores.json").read_text())["synthetic"] is True

    code, out, err = cli("compare", "run", "--out", "compared")
    assert code == 0, err
    (row,) = json.loads(Path("compared/compare.json").read_text())["compare"]["rows"]
    assert row["configuration"] == "linknet tu-test_resnet s1s2 masked"
    assert row["miou"] == json.loads(Path("run/eval/test/scores.json").read_text())["pixel"]["miou"]
    assert min(row["parameters"], row["training_speed"], row["evaluation_speed"]) > 0

    code, out, _ = cli("export", "run", "--out", "maps", "--reference")
    assert code == 0
    maps = sorted(p.name for p in Path("maps").rglob("*_map.tif"))
    assert len(maps) == len(list(Path("maps").rglob("*_reference.tif"))) > 0
    assert Path("maps/overview.png").is_file()

    code, _, err = cli("train", "--data", "store", *small, "--out", "run")
    assert code == 2
    assert "--resume" in err
    code, out, err = cli("train", "--out", "run", "--resume")
    assert code == 0
    assert "Best miou" in out


def test_without_data_the_demo_store_is_used_loudly(cli, monkeypatch):
    monkeypatch.setattr("seg.runs.data.DEMO_PATCHES", 24)
    small = ("--encoder", "tu-test_resnet", "--epochs", 1, "--set", "train.max_steps=1")
    code, _, err = cli("train", "--arch", "unet", "--modality", "s2", *small)
    assert code == 0
    assert "using the SYNTHETIC demo store" in plain(err)
    assert Path("runs/unet-s2/checkpoints/best/model.safetensors").is_file()


@pytest.mark.parametrize(
    ("stopped", "advice"),
    [
        (Interrupted("stopped in epoch 2 after step 5"), "goes on with: seg train --out {out}/run --resume"),
        (KeyboardInterrupt(), "Remove {out}, and the same command starts anew."),
    ],
)
def test_a_demo_that_is_stopped_says_how_to_go_on(stopped, advice, tmp_path, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise stopped

    if not isinstance(stopped, Interrupted):
        stopped.add_note("What is done is kept in .store.building; the same command goes on from there.")
    monkeypatch.setattr("seg.pipeline.demo.demo", stop)
    code, said = run_seg("demo", "--out", tmp_path)
    assert (code, advice.format(out=tmp_path) in said, "kept in" in said) == (1, True, False)


def test_a_file_without_the_name_of_a_network_is_told_so(tmp_path):
    code, said = run_seg("train", "--model", "small.py", "--data", tmp_path)
    assert (code, "--model small.py:NAME" in said) == (2, True)


def test_demo(cli):
    code, out, err = cli("demo", "--out", "demo", "--patches", 100, "--epochs", 1)
    assert code == 0, err
    assert "SYNTHETIC" in err
    assert "mIoU" in out
    for place in (
        "reben/metadata.parquet",
        "store/store.json",
        "run/run.json",
        "run/eval/test/tables.md",
        "maps/overview.png",
    ):
        assert (Path("demo") / place).is_file()
    code, _, err = cli("demo", "--out", "demo")
    assert code == 2
    assert "is there already" in err


def test_the_work_of_one_process_is_refused_under_torchrun(cli, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    code, _, err = cli("demo")
    assert code == 2
    assert "'seg demo' is the work of one process; start it without torchrun" in plain(err)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, ["PASSIVE", "0", "False"]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", "None", "False"]),
        ({"GOMP_SPINCOUNT": "5"}, ["None", "5", "False"]),
    ],
)
def test_torch_threads_wait_asleep_unless_the_user_says_how(said, found):
    code = (
        "import os, sys, seg.cli.main; "
        "print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    others = {name: text for name, text in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, "-c", code], env=others | said, capture_output=True, text=True, check=True)
    assert done.stdout.split() == found


def test_a_terminal_without_some_letters_is_told_the_rest(tmp_path):
    """Neither a folder of an umlaut nor the dash of an undefined score ends a command that has done its work."""
    code = "from seg.cli.main import main; main()"
    command = [sys.executable, "-c", code, "data", "synth", "M\u00fcnchen", "--patches", "12"]
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, env=ascii_only, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "12 synthetic patches in M\\xfcnchen" in done.stdout
    assert (tmp_path / "M\u00fcnchen/metadata.parquet").is_file()


def test_a_current_folder_that_is_gone_is_named(tmp_path):
    code = "import os; os.rmdir(os.getcwd()); from seg.cli.main import main; main()"
    (tmp_path / "gone").mkdir()
    command = [sys.executable, "-c", code, "report", "../run"]
    done = subprocess.run(command, cwd=tmp_path / "gone", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "seg: the current folder has been removed; change into one that is there\n"


def test_a_file_where_a_folder_is_to_be_made_is_named():
    error = FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), "maps")
    said = "File exists (maps), where a folder is to be made; move it away or name another one"
    assert sentence(error) == said

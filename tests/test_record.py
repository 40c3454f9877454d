"""The run record and files that appear complete."""

import json
import math
import os
import platform
import socket
import subprocess
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.config.version import VERSION
from seg.report.record import hardware, run_record, source_state, versions, write_json
from seg.store.atomic import write_bytes, write_text


def git(folder: Path, *arguments: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | identity
    command = ["git", "-C", str(folder), "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository that holds a package ``seg`` and a folder of results."""
    folder = tmp_path / "checkout"
    (folder / "seg").mkdir(parents=True)
    (folder / "seg" / "code.py").write_text("a = 1\n")
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return folder


def test_clean_checkout(checkout):
    assert source_state(checkout) == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}


def test_files_beside_the_package_do_not_make_it_dirty(checkout):
    (checkout / "run.json").write_text("{}")
    assert source_state(checkout)["dirty"] is False


@pytest.mark.parametrize("change", ["changed", "new", "missing"])
def test_changes_of_the_package_make_it_dirty(checkout, change):
    if change == "missing":
        (checkout / "seg" / "code.py").unlink()
    else:
        (checkout / "seg" / ("code.py" if change == "changed" else "more.py")).write_text("a = 2\n")
    assert source_state(checkout)["dirty"] is True


def test_an_installation_inside_another_repository_has_no_commit(checkout):
    site_packages = checkout / "venv" / "site-packages"
    (site_packages / "seg").mkdir(parents=True)
    assert source_state(site_packages) is None


def test_no_repository_and_no_commit(tmp_path):
    (tmp_path / "seg").mkdir()
    assert source_state(tmp_path) is None
    git(tmp_path, "init")
    assert source_state(tmp_path) is None


def test_no_git(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert source_state(checkout) is None


def test_a_git_hook_of_another_repository_does_not_mislead(checkout, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert source_state(checkout)["commit"] == git(checkout, "rev-parse", "HEAD")


def test_versions():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["gdal"] == rasterio.__gdal_version__
    assert found["seg"] == VERSION
    for package in ("torch", "numpy", "segmentation-models-pytorch", "timm", "albumentations", "rasterio"):
        assert found[package] == version(package)
    assert list(found)[2:] == sorted(list(found)[2:])


def test_hardware(monkeypatch):
    found = hardware()
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 2**28
    assert found["cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"GPU {i}")
    assert hardware()["gpus"] == ["GPU 0", "GPU 1"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert hardware()["gpus"] == []


def test_record_has_time_and_sections_in_order():
    before = datetime.now(UTC) - timedelta(seconds=1)
    record = run_record(data={"fingerprint": "ab"}, seeds={"train": 0}, parameters=14_000_000)
    assert list(record) == ["written_utc", "versions", "source", "hardware", "data", "seeds", "parameters"]
    assert record["parameters"] == 14_000_000
    written = datetime.fromisoformat(record["written_utc"])
    assert written.utcoffset() == timedelta(0)
    assert before <= written <= datetime.now(UTC)


def test_record_tells_nothing_of_host_user_and_folders(tmp_path):
    write_json(tmp_path / "run.json", run_record(data={"store": tmp_path / "reben", "patches": 3}))
    text = (tmp_path / "run.json").read_text()
    assert json.loads(text)["data"] == {"store": "reben", "patches": 3}
    for secret in (socket.gethostname(), str(Path.home()), str(Path.cwd()), str(tmp_path)):
        assert secret not in text


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def without_nan(value):
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


@settings(max_examples=40, deadline=None)
@given(document=st.dictionaries(st.text(), JSON_LIKE, max_size=6))
def test_json_round_trip(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("json") / "document.json"
    write_json(path, document)
    read = json.loads(path.read_bytes(), parse_constant=refuse)
    assert read == without_nan(document)
    assert list(read) == list(document)


def test_json_of_what_runs_hold(tmp_path):
    document = {
        "miou": np.float32(0.5),
        "iou": np.array([0.25, np.nan, np.inf]),
        "counts": np.array([[2**62, 1]]),
        "flag": np.bool_(True),
        "bands": ("B02", "B03"),
        "countries": {"Serbia", "Austria"},
        7: date(2017, 6, 13),
        "out": Path("/somewhere/secret/run-1"),
        "name": "Österreich",
    }
    write_json(tmp_path / "d.json", document)
    text = (tmp_path / "d.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "miou": 0.5,
        "iou": [0.25, None, None],
        "counts": [[2**62, 1]],
        "flag": True,
        "bands": ["B02", "B03"],
        "countries": ["Austria", "Serbia"],
        "7": "2017-06-13",
        "out": "run-1",
        "name": "Österreich",
    }
    assert "Österreich" in text
    assert text.endswith("}\n")
    with pytest.raises(TypeError):
        write_json(tmp_path / "d.json", {"what": object()})
    assert (tmp_path / "d.json").read_text(encoding="utf-8") == text


def test_text_keeps_its_line_ends(tmp_path):
    write_text(tmp_path / "t.csv", "a\nä\r\n")
    assert (tmp_path / "t.csv").read_bytes() == "a\nä\r\n".encode()


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, error):
    path = tmp_path / "run.json"
    write_bytes(path, b"old")
    write_some = Path.write_bytes

    def fail(self, argument):
        if step == "write_bytes":
            write_some(self, argument[:1])
        raise error

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(type(error)) as caught:
        write_bytes(path, b"new")
    if isinstance(error, OSError):
        assert str(caught.value).endswith("(No space left on device); name a folder that exists and has space left")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_missing_folder(tmp_path):
    with pytest.raises(OSError, match="name a folder that exists"):
        write_text(tmp_path / "none" / "t.txt", "")

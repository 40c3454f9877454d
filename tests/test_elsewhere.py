"""Systems without what only Unix has: everything is imported there, and commands answer."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = """
import importlib, os, pkgutil, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "posix_fadvise", "preadv", "RWF_NOWAIT"):
    vars(os).pop(name, None)
"""


def run_hidden(code: str, tmp_path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN + code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_module_is_imported(tmp_path: Path) -> None:
    code = """
import seg
for module in pkgutil.walk_packages(seg.__path__, "seg."):
    if module.name != "seg.__main__":
        importlib.import_module(module.name)
print("all")
"""
    assert run_hidden(code, tmp_path) == "all\n"


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["data", "synth", "tree", "--patches", "12"]])
def test_commands_answer(arguments: list[str], tmp_path: Path) -> None:
    code = f"""
sys.argv = ["seg", *{arguments!r}]
from seg.cli.main import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    assert run_hidden(code, tmp_path)

"""Systems without what only Unix has: everything is imported there, and commands answer."""

import subprocess
import sys
from pathlib import Path

HIDDEN = """
import importlib, os, pkgutil, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "posix_fadvise", "preadv", "RWF_NOWAIT"):
    vars(os).pop(name, None)
"""


COMMANDS = [["--help"], ["train", "--help"], ["data", "synth", "tree", "--patches", "12"]]


def test_commands_answer_and_every_module_is_imported(tmp_path: Path) -> None:
    code = f"""
import seg
from seg.cli.main import main
for arguments in {COMMANDS!r}:
    sys.argv = ["seg", *arguments]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, stop.code
    print(f"answered {{arguments}}")
for module in pkgutil.walk_packages(seg.__path__, "seg."):
    if module.name != "seg.__main__":
        importlib.import_module(module.name)
print("all")
"""
    command = [sys.executable, "-c", HIDDEN + code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("all\n")
    assert all(f"answered {arguments}" in done.stdout for arguments in COMMANDS)

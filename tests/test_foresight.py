"""What is wrong with a request shows before torch is loaded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "timm", "segmentation_models_pytorch"):
            raise AssertionError(f"{name} was loaded")

sys.meta_path.insert(0, NoTorch())
from seg.cli import console
from seg.cli.main import main

said = []
for line in json.loads(sys.argv[1]):
    out = io.StringIO()
    console.err.file = console.out.file = out
    sys.argv = ["seg", *line]
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    said.append((code, out.getvalue()))
print(json.dumps(said))
"""

CASES = [
    ("train --data nowhere", 1, "there is no store nowhere"),
    ("train --device abacus", 2, "'abacus' is no device"),
    ("train --device cuda:x", 2, "'cuda:x' is no device"),
    ("train --config nowhere.yaml", 2, "there is no configuration file nowhere.yaml"),
    ("train --set lr=1", 2, "did you mean 'train.lr'?"),
    ("train --modality s3", 2, "is neither a band nor a modality"),
    ("train --resume --out nowhere", 1, "there is no run to resume"),
    ("train --out file/run", 1, "Not a directory"),
    ("train --data file", 1, "file is a file, not a store"),
    ("eval nowhere", 1, "there is no folder nowhere"),
    ("eval empty", 1, "empty is no run folder"),
    ("eval run --data nowhere", 1, "there is no store nowhere"),
    ("eval run --data empty", 1, "empty is no store"),
    ("eval run --device abacus", 2, "'abacus' is no device"),
    ("export nowhere --out maps", 1, "there is no folder nowhere"),
    ("export run --out maps --data nowhere", 1, "there is no store nowhere"),
    ("predict nowhere scene --out map.tif", 1, "there is no folder nowhere"),
    ("predict run nowhere --out map.tif", 1, "nowhere does not exist; name a file"),
    ("predict run scene --out map.png", 2, "let --out end in .tif"),
    ("predict run scene --out no/map.tif", 2, "there is no folder no"),
    ("predict run scene --out map.tif --s1 nowhere", 1, "nowhere does not exist; name a file"),
    (
        "predict run scene --out map.tif --geometry nowhere",
        1,
        "nowhere does not exist; name a file",
    ),
    ("predict run scene --out map.tif --device abacus", 2, "'abacus' is no device"),
    ("report nowhere", 1, "there is no folder nowhere"),
    ("compare nowhere", 1, "there is no folder nowhere"),
    ("card nowhere --out model", 1, "there is no folder nowhere"),
    ("models --bands XX", 1, "is neither a band nor a modality"),
    ("data info nowhere", 1, "there is no store nowhere"),
    ("data check nowhere", 1, "nowhere"),
    ("data split nowhere --report x", 1, "nowhere"),
    ("data build store --s2 nowhere --metadata m", 1, "there is no folder or archive nowhere"),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    folder = tmp_path_factory.mktemp("foresight")
    (folder / "file").write_text("x")
    for name in ("empty", "scene", "run/checkpoints/best"):
        (folder / name).mkdir(parents=True)
    (folder / "run/config.yaml").write_text("{}")
    (folder / "run/run.json").write_text("{}")
    (folder / "run/checkpoints/best/card.json").write_text(json.dumps({"bands": ["B02"]}))
    lines = json.dumps([line.split() for line, _, _ in CASES])
    environment = {"PATH": "", "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, lines], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [(code, text) for code, text in json.loads(done.stdout)]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[line for line, _, _ in CASES])
def test_a_refusal_that_needs_no_torch_comes_without_it(number: int, said: list[tuple[int, str]]) -> None:
    _, code, message = CASES[number]
    found, text = said[number]
    assert message in " ".join(text.split())
    assert found == code
    assert "Traceback" not in text

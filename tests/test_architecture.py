"""The rules of the house: layers, sole importers, and what a module may hold.

Every rule is a function from a module to its offences. Each is run over the whole package, and over a module that
breaks it, so that a rule which can no longer fail is noticed.
"""

import ast
import functools
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "seg").rglob("*.py"))

SOLE_IMPORTERS = {
    "typer": "seg/cli",
    "lmdb": "seg/store/patches.py",
    "albumentations": "seg/data/transforms.py",
    "matplotlib": "seg/figures",
    "onnx": "seg/models/onnx.py",
    "onnxruntime": "seg/models/onnx_file.py",
    "pynvml": "seg/engine/energy.py",
    "peft": "seg/engine/lora.py",
    "pystac": "seg/stac",
    "pystac_client": "seg/catalogue/search.py",
    "boto3": "seg/catalogue/web.py",
}
WITHOUT_TORCH = tuple(
    f"seg/{room}"
    for room in ("reben", "config", "catalogue", "store", "rasters", "scenes", "prepare", "region", "synthetic", "web")
)
TORCH = ("torch", "torchvision", "torchmetrics", "segmentation_models_pytorch", "timm")
TORCH_FILES = "seg/foundation/torch_file.py"
"""The one module that may call ``torch.load``, and only with ``weights_only=True``."""
PICKLES = ("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
FILES = (
    "os",
    "io",
    "pathlib",
    "shutil",
    "tempfile",
    "glob",
    "subprocess",
    "socket",
    "urllib",
    "mmap",
    "rasterio",
    "cv2",
)
CATCH_ALLS = ("utils", "util", "common", "helpers", "helper", "misc")
MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 75
MAX_PACKAGE_LINES = 4000


parsed = functools.cache(ast.parse)
"""The rules read the same modules."""


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of what a module imports, anywhere in it; ``a.b`` for ``from a import b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in ("importlib.import_module", "import_module", "__import__"):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def called(call: ast.Call) -> str:
    return ast.unparse(call.func)


def within(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def sole_importers(path: str, source: str) -> Iterator[str]:
    for name in imported(parsed(source)):
        owner = SOLE_IMPORTERS.get(name.split(".")[0])
        if owner and not within(path, owner):
            yield f"imports {name}, which belongs to {owner}"


def no_relative_imports(path: str, source: str) -> Iterator[str]:
    for name in imported(parsed(source)):
        if name.startswith("."):
            yield f"imports {name} by a relative name"


def no_pickle(path: str, source: str) -> Iterator[str]:
    tree = parsed(source)
    tensors_only = {id(node.func) for node in ast.walk(tree) if path == TORCH_FILES and loads_tensors_only(node)}
    for name in imported(tree):
        if name.split(".")[0] in PICKLES or name in ("torch.load", "torch.save"):
            yield f"imports {name}"
    for node in ast.walk(tree):
        if id(node) in tensors_only:
            continue
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save"):
            yield f"uses {ast.unparse(node)}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield "allows pickle"


def loads_tensors_only(node: ast.AST) -> bool:
    """Whether this is a call of ``torch.load`` that builds tensors and nothing else."""
    if not isinstance(node, ast.Call) or called(node) != "torch.load":
        return False
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    return given.get("weights_only") == "True" and None not in given


def no_torch_below_data(path: str, source: str) -> Iterator[str]:
    if any(within(path, place) for place in WITHOUT_TORCH):
        for name in imported(parsed(source)):
            if name.split(".")[0] in TORCH or within(name.replace(".", "/"), "safetensors/torch"):
                yield f"imports {name}"


def no_files_in_reben(path: str, source: str) -> Iterator[str]:
    if not within(path, "seg/reben"):
        return
    tree = parsed(source)
    for name in imported(tree):
        if name.split(".")[0] in FILES:
            yield f"imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node).split(".")[-1] in ("open", "fromfile", "tofile", "memmap"):
            yield f"calls {called(node)}"


def empty_package_files(path: str, source: str) -> Iterator[str]:
    if path.endswith("/__init__.py") and path != "seg/__init__.py" and source.strip():
        yield "is not empty"


def no_catch_all_names(path: str, source: str) -> Iterator[str]:
    for part in PurePosixPath(path).with_suffix("").parts:
        if part.strip("_") in CATCH_ALLS or part.endswith(("_utils", "_helpers", "_common")):
            yield f"'{part}' says nothing about what it holds"


def no_print_outside_cli(path: str, source: str) -> Iterator[str]:
    if within(path, "seg/cli"):
        return
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Call) and called(node) in ("print", "sys.stdout.write", "sys.stderr.write"):
            yield f"line {node.lineno} prints"


def short_modules(path: str, source: str) -> Iterator[str]:
    lines = len(source.splitlines())
    if lines > MAX_MODULE_LINES:
        yield f"has {lines} lines"


def short_functions(path: str, source: str) -> Iterator[str]:
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{node.name} has {lines} lines"


Rule = Callable[[str, str], Iterator[str]]
LONG_BODY = "    x = 1\n" * MAX_FUNCTION_LINES
OFFENCES: dict[Rule, list[tuple[str, str]]] = {
    sole_importers: [
        ("seg/pipeline/train.py", "import typer"),
        ("seg/store/index.py", "import lmdb"),
        ("seg/data/dataset.py", "def f():\n    from albumentations.core import composition"),
        ("seg/report/html.py", "import os, matplotlib.pyplot as plt"),
        ("seg/figures.py", "from matplotlib.figure import Figure"),
        ("seg/report/tables.py", "import importlib\nimportlib.import_module('matplotlib.pyplot')"),
        ("seg/client/x.py", "from typer import Option"),
    ],
    no_relative_imports: [("seg/data/dataset.py", "from .transforms import x"), ("seg/data/x.py", "from . import x")],
    no_pickle: [
        ("seg/engine/state.py", "import pickle"),
        ("seg/engine/state.py", "import torch\ntorch.save({}, 'x')"),
        ("seg/engine/state.py", "import torch\nread = torch.load"),
        ("seg/engine/state.py", "from torch import load"),
        ("seg/engine/state.py", "import torch\ntorch.load('x', weights_only=True)"),
        (TORCH_FILES, "import torch\ntorch.load('x')"),
        (TORCH_FILES, "import torch\ntorch.load('x', weights_only=False)"),
        (TORCH_FILES, "import torch\ntorch.load('x', weights_only=True, **more)"),
        (TORCH_FILES, "import torch\ntorch.load('x', weights_only=True)\nread = torch.load"),
        (TORCH_FILES, "import torch\ntorch.save({}, 'x')"),
        (TORCH_FILES, "import pickle"),
        ("seg/metrics/evidence.py", "import numpy as np\nnp.load('x', allow_pickle=True)"),
    ],
    no_torch_below_data: [
        ("seg/store/patches.py", "import torch"),
        ("seg/prepare/build.py", "def f():\n    from torch.utils.data import Dataset"),
        ("seg/config/sections.py", "import segmentation_models_pytorch as smp"),
        ("seg/store/tensors.py", "from safetensors.torch import load"),
    ],
    no_files_in_reben: [
        ("seg/reben/patch.py", "import os.path"),
        ("seg/reben/patch.py", "from pathlib import Path"),
        ("seg/reben/patch.py", "open('x')"),
    ],
    empty_package_files: [("seg/data/__init__.py", "from seg.data.dataset import x")],
    no_catch_all_names: [
        ("seg/data/utils.py", ""),
        ("seg/helpers/x.py", ""),
        ("seg/data/_common.py", ""),
        ("seg/data/tensor_utils.py", ""),
    ],
    no_print_outside_cli: [
        ("seg/engine/train.py", "print('x')"),
        ("seg/engine/x.py", "import sys\nsys.stdout.write('')"),
    ],
    short_modules: [("seg/data/x.py", "x = 1\n" * (MAX_MODULE_LINES + 1))],
    short_functions: [
        ("seg/data/x.py", f"def f():\n{LONG_BODY}"),
        ("seg/data/x.py", f"class A:\n  async def f():\n{LONG_BODY}"),
    ],
}
HARMLESS = [
    ("seg/__init__.py", "x = 1"),
    ("seg/data/__init__.py", "\n"),
    ("seg/cli/main.py", "import typer\nprint('x')"),
    ("seg/store/patches.py", "import lmdb\nenvironment = lmdb.open('x')"),
    ("seg/store/tensors.py", "from safetensors.numpy import load"),
    ("seg/data/transforms.py", "import albumentations as A"),
    ("seg/figures/maps.py", "from matplotlib.figure import Figure"),
    ("seg/engine/state.py", "import torch\nfrom safetensors.torch import load_file, save_file\nload_file('x')"),
    ("seg/metrics/evidence.py", "import numpy as np\nnp.load('x', allow_pickle=False)"),
    (TORCH_FILES, "import torch\ntorch.load('x', map_location='cpu', weights_only=True)"),
    ("seg/reben/patch.py", "import math\nfrom seg.reben import bands\nopening = 1\nreopen(1)"),
    ("seg/data/x.py", f"def f():\n{LONG_BODY.removesuffix('    x = 1' + chr(10))}"),
    ("seg/data/x.py", "x = 1\n" * MAX_MODULE_LINES),
    ("seg/data/utilisation.py", "torch = 1\nprinted = 2"),
]


def named(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize("rule", OFFENCES, ids=named)
def test_the_package_keeps_the_rule(rule: Rule):
    offences = [
        f"{path}: {offence}" for path in MODULES for offence in rule(path, (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize(
    ("rule", "path", "source"), [(rule, *bad) for rule, modules in OFFENCES.items() for bad in modules]
)
def test_the_rule_can_fail(rule: Rule, path: str, source: str):
    assert list(rule(path, source))


@pytest.mark.parametrize("rule", OFFENCES, ids=named)
def test_the_rule_lets_pass_what_is_allowed(rule: Rule):
    assert [(path, offence) for path, source in HARMLESS for offence in rule(path, source)] == []


def test_no_package_is_long():
    lines = Counter[str]()
    for path in MODULES:
        lines[PurePosixPath(path).parts[1]] += len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert {room: number for room, number in lines.items() if number > MAX_PACKAGE_LINES} == {}
    assert lines.total() > MAX_PACKAGE_LINES


def test_there_is_something_to_check():
    assert {"seg/reben/classes.py", "seg/maps/geotiff.py", "seg/figures/maps.py"} <= set(MODULES)


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """import-linter over the package below a folder, with the contracts of the ``pyproject.toml`` there."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    arguments = ("--config", str(root / "pyproject.toml"), "--no-cache")
    full = [sys.executable, "-c", command, *arguments]
    return subprocess.run(full, cwd=root, capture_output=True, text=True, check=False)


def test_imports_go_upwards_only():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


WRONG_WAYS = {
    "seg/reben/upward.py": "import seg.store.index",
    "seg/rasters/upwards.py": "from seg.scenes import reader",
    "seg/data/sideways.py": "def f():\n    from seg.models import checkpoint",
    "seg/inference/sideways.py": "from seg.report import tables",
    "seg/region/sideways.py": "from seg.engine import train",
    "seg/figures/upwards.py": "from seg.report import tables",
    "seg/runs/upwards.py": "from seg.maps import cog",
}


@pytest.fixture(scope="module")
def said_of_wrong_ways(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says of the package with a module for each wrong way; the graph takes it seconds."""
    folder = tmp_path_factory.mktemp("wrong")
    for name in ("pyproject.toml", *MODULES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    for module, import_line in WRONG_WAYS.items():
        (folder / module).write_text(f"{import_line}\n")
    done = lint_imports(folder)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("module", WRONG_WAYS)
def test_an_import_upwards_or_sideways_is_noticed(module: str, said_of_wrong_ways: str):
    assert module.removesuffix(".py").replace("/", ".") in said_of_wrong_ways

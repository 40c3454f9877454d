"""What is wrong with a request is said before torch is loaded, in a sentence, with the exit code of its kind.

It is 2 where the request is at fault: it names what is not there or is something else, or options do not go together;
1 where what it names is damaged, or lacks what it should have.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import seg
from seg.config.scope import DATA_NAME
from seg.errors import BusyError, WrongUseError
from seg.models.card import Data, ModelCard
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.bands import BANDS, MODALITIES
from seg.reben.patch import SPLITS, PatchId
from seg.runs.plan import made_folder, plan
from seg.store.locks import locked
from seg.store.open import open_store
from seg.store.targets import claimed_files
from seg.synthetic.tree import synthesise

BLOCKED = """
import io, json, sys
from pathlib import Path
from contextlib import redirect_stderr, redirect_stdout

HEAVY = {"torch", "timm", "segmentation_models_pytorch", "albumentations"}
from seg.cli import console
from seg.cli.main import main

def there():
    return sorted(str(path) for path in Path().rglob("*"))

said, before = [], there()
for line in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    console.err.file, console.out.file = err, out
    sys.argv = ["seg", *line]
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
    if loaded := HEAVY & sys.modules.keys():
        # What comes after it has them too, but is not to blame.
        code, HEAVY = f"{sorted(loaded)} loaded", HEAVY - loaded
    said.append((code, err.getvalue(), out.getvalue() + "".join(set(there()) - set(before))))
print(json.dumps(said))
"""

HOLDER = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""

CASES = [
    ("train --data nowhere", 2, "there is no store nowhere"),
    ("train --data file", 2, "file is a file, not a store"),
    ("train --data empty", 2, "empty is no store"),
    ("train --data s --arch unett", 2, "there is no architecture 'unett'; did you mean unet"),
    ("train --data s --encoder resnet81", 2, "there is no encoder 'resnet81'; did you mean resnet18"),
    ("train --data s --encoder tu-resnet81", 2, "there is no encoder 'tu-resnet81'; did you mean tu-resnet18"),
    ("train --data s --encoder tu-resnet18.nothing", 2, "timm has no weights 'nothing' for encoder 'tu-resnet18'"),
    (
        "train --data s --model nowhere.py:Net",
        2,
        "nowhere.py cannot be read (No such file or directory); name a network",
    ),
    ("train --data s --model net.py:Net", 2, "net.py has no 'Net' that can be called; it has nothing"),
    ("train --data s --model own.py:Nett", 2, "own.py has no 'Nett' that can be called; it has Net, Other"),
    (
        "train --data s --model broken.py:Net --dry-run",
        2,
        "broken.py is no Python: '(' was never closed (line 1); mend",
    ),
    ("models --model own.py:Nett", 2, "own.py has no 'Nett' that can be called; it has Net, Other"),
    ("train --data s --model file", 2, "there is no architecture 'file'"),
    ("train --data s --model net.py:Net --fusion dual", 2, "net.py:Net is a network of one's own, which model.fusion"),
    ("train --data s --model net.py:Net --weights imagenet", 2, "--weights imagenet is no folder of a run"),
    ("train --data s --model net.py:Net --encoder resnet18", 2, "give either --model or --arch and --encoder"),
    ("models --model net.py:Net --all", 2, "give either --model or --arch, --encoder and --all"),
    ("train --data s --fusion dual", 2, "fusion 'dual' needs bands of Sentinel-1 and of Sentinel-2"),
    ("train --data s --modality-dropout 0.5", 2, "train.modality_dropout=0.5 needs bands of Sentinel-1"),
    (
        "train --data s --modality s2 --set train.backscatter_jitter=1",
        2,
        "backscatter_jitter=1 needs bands of Sentinel-1",
    ),
    ("train --data s --scene-head best", 2, "'best' is not one of 'masked', 'derived', 'learned', 'none'"),
    ("train --data s --set loss.pixel=dicee", 2, "'dicee' is no pixel loss; did you mean dice?"),
    ("train --data s --set loss.scene=bce+nothing", 2, "'nothing' is no scene loss"),
    ("train --data s --set loss.focal_gamma=1", 2, "loss.focal_gamma has no effect on the losses chosen"),
    ("train --data s --set loss.border_metres=50", 2, "loss.border_metres has no effect on the losses chosen"),
    ("train --data s --set train.cutmix=0.8 --set train.copy_paste=0.5", 2, "are more than 1 together"),
    ("train --data s --set train.cutmix=0.5 --batch-size 1", 2, "batch_size=1 has one"),
    ("train --data s --set train.copy_paste=0.5 --set loss.pixel_weight=0", 2, "only with loss.pixel_weight above 0"),
    ("train --data s --set data.label_elastic=9 --set loss.pixel_weight=0", 2, "only with loss.pixel_weight above 0"),
    ("train --data s --set data.label_elastic_scale=99", 2, "has an effect only with a label_elastic above 0"),
    ("train --data s --set train.optimiser=adam", 2, "should be 'adamw' or 'sgd'"),
    ("train --data s --set train.schedule=linear", 2, "should be 'cosine', 'poly', 'trapezoid', 'plateau' or"),
    ("train --data s --set train.cooldown=0.2", 2, "has an effect only with schedule=trapezoid"),
    ("train --data s --set train.monitor=iou", 2, "should be 'miou', 'mf1'"),
    ('train --data s --set data.augment=[{"HorizontalFlop":{}}]', 2, "transform; did you mean HorizontalFlip?"),
    ("train --data s --weights nothing", 2, "there are no weights 'nothing'"),
    ("train --data s --weights no.safetensors", 2, "there are no weights 'no.safetensors'"),
    ("train --data s --weights empty", 2, "holds neither a model.safetensors nor the checkpoints of a run"),
    ("train --data s --weights half.safetensors", 1, "half.safetensors is damaged"),
    ("train --data s --weights file.pth", 1, "file.pth is damaged or holds more than tensors"),
    ("train --data s --weights damaged", 1, "card.json is damaged"),
    ("train --data s --weights ssl4eo:nothing", 2, "publishes no ssl4eo weights by 'nothing'"),
    ("train --data s --device abacus", 2, "'abacus' is no device"),
    ("train --data s --device cuda:x", 2, "'cuda:x' is no device"),
    ("train --resume --out busy", 1, "is writing busy; wait for it to end"),
    ("train --modality s2 --bands B02", 2, "give either --modality or --bands"),
    ("train --epochs x", 2, "invalid value for '--epochs': Input should be a valid integer"),
    ("train --scene-head", 2, "'--scene-head' requires an argument"),
    ("trian", 2, "no such command 'trian'; did you mean 'train', 'pretrain'?"),
    ("train --data s --out run", 2, "run is there already"),
    ("train --data s --set data.countries=Atlantis", 1, "Atlantis"),
    (
        "train --data s --set data.except_countries=Atlantis",
        1,
        "there are no patches from 'Atlantis'; countries here: ",
    ),
    ("train --data s --set data.fraction=0", 2, "data.fraction"),
    ("train --data s --set data.fraction_seed=1", 2, "has an effect only with a fraction below 1"),
    (
        "train --data s --set model.encoder_mode=frozen --set train.layer_decay=0.5",
        2,
        "only with model.encoder_mode=train",
    ),
    ("train --config nowhere.yaml", 2, "there is no configuration file nowhere.yaml"),
    ("train --config file", 2, "holds no mapping of sections"),
    ("train --set lr=1", 2, "did you mean 'train.lr'?"),
    ("train --modality s3", 2, "is neither a band nor a modality"),
    ("train --resume --out nowhere", 2, "there is no run to resume"),
    ("train --out file/run", 2, "file is a file, so nothing can be put below it"),
    ("train --nothing", 2, "no such option: --nothing; 'seg train --help' lists what there is"),
    ("eval nowhere", 2, "there is no folder nowhere"),
    ("eval file", 2, "file is a file; give the folder of a run"),
    (
        "eval empty",
        2,
        "empty is no run folder of 'seg train': it has no config.yaml; 'seg train' and 'seg demo' make one",
    ),
    ("eval demo", 2, "it has no config.yaml; did you mean demo/run?"),
    ("export demo --out maps", 2, "it has no config.yaml; did you mean demo/run?"),
    ("predict demo scene --out map.tif", 2, "it has no config.yaml; did you mean demo/run?"),
    (
        "predict models scene --out map.tif",
        2,
        "did you mean models/a or models/b or models/c or another of the 4 in it?",
    ),
    (
        "report demo",
        2,
        "form no series; did you mean demo/run? To make a series: seg sweep CONFIG.yaml --protocol budgets",
    ),
    ("report demo --check", 2, "demo holds runs, and --drop, --on, --countries, --mmu and --check are of one"),
    ("report models", 2, "it has no config.yaml; 'seg train' and 'seg demo' make one"),
    ("report empty", 2, "it has no config.yaml; 'seg train' and 'seg demo' make one"),
    ("compare demo", 2, "it has no config.yaml; did you mean demo/run?"),
    ("card demo --out model", 2, "it has no config.yaml; did you mean demo/run?"),
    ("eval run --data nowhere", 2, "there is no store nowhere"),
    ("eval run --data empty", 2, "empty is no store"),
    ("eval run --data s --device abacus", 2, "'abacus' is no device"),
    ("eval run --data s --countries Atlantis", 1, "there are no patches from 'Atlantis'"),
    ("eval run --data s --countries Austria,", 2, "names nothing in one place"),
    ("eval run --data s --drop s1", 2, "without s1 there is nothing to tell"),
    ("eval run --data s", 2, "holds report.html, which seg did not write"),
    ("eval damaged --data s", 1, "card.json is damaged"),
    ("eval cut --data s", 1, "model.safetensors is damaged"),
    ("export nowhere --out maps", 2, "there is no folder nowhere"),
    ("export run --out maps --data nowhere", 2, "there is no store nowhere"),
    ("export run --out mine --data s", 2, "mine holds overview.png, which seg did not write"),
    ("export run --out mine --data s --mosaic", 2, "mine holds overview.png, which seg did not write"),
    ("export run --out patch --data s", 2, "which seg did not write"),
    ("export run --out file --data s", 2, "file is no folder"),
    ("export run --out maps --data s --no-patches", 2, "there is nothing to write"),
    ("predict nowhere scene --out map.tif", 2, "there is no folder nowhere"),
    ("predict run nowhere --out map.tif", 2, "nowhere does not exist; name a file"),
    ("predict run scene --out map.png", 2, "let --out end in .tif"),
    ("predict run scene --out new/map.tif", 2, "scene holds no files of single bands"),
    ("predict run file --out map.tif", 1, "file cannot be read"),
    ("predict run scene --out mine/new.tif", 2, "mine holds new.png, which seg did not write"),
    ("predict run scene --out taken.tif", 2, "the current folder holds taken.tif, which seg did not write"),
    ("predict run scene --out taken.tif", 2, "changed since; move it away, or name another --out"),
    ("predict run scene scene2 --out mine", 2, "mine holds scene.tif, which seg did not write"),
    ("predict run scene --out map.tif --bbox 1,2,3", 2, "'1,2,3' is no box"),
    ("predict run scene --out map.tif --bbox 5,2,3,4", 2, "longitude first, and west before east"),
    ("predict run scene --out map.tif --zone-column NAME", 2, "give that with --zones"),
    ("predict run scene --out map.tif --zones nowhere", 2, "nowhere does not exist; name a file"),
    ("predict run --out map.tif", 2, "there is no scene to map; name one or more, or search for some with --stac-api"),
    ("predict run --out map.tif --date 2023", 2, "--date is of a search; name the STAC API too, with --stac-api"),
    ("predict run --out map.tif --stac-api https://x.eu", 2, "a search needs dates; give them with --date"),
    ("predict run --out map.tif --stac-api x.eu --date 2023", 2, "'x.eu' is no address of a STAC API"),
    ("predict run --out map.tif --stac-api https://x.eu --date May", 2, "'May' is no date"),
    ("predict run --out map.tif --stac-api https://x.eu --date 2023", 2, "a search needs a place; give it with --bbox"),
    ("predict run scene --out map.tif --stac-api https://x.eu --date 2023 --bbox 1,2,3,4", 2, "named or searched for"),
    ("sample nowhere.tif --out sample.gpkg", 2, "there is no map nowhere.tif; name a class map"),
    ("sample file --out sample.csv", 2, "sample.csv is no GeoPackage; name one, such as sample.gpkg"),
    ("sample file --out sample.gpkg", 1, "file cannot be read as a raster"),
    ("areas nowhere.tif --out areas.csv", 2, "there is no map nowhere.tif; name a class map"),
    ("areas file --out areas", 2, "areas is no CSV; name one, such as areas.csv"),
    ("areas file file --out areas.csv --zones file", 2, "leave out --zones and --run"),
    ("areas file --out areas.csv --zone-column NAME", 2, "give that with --zones"),
    ("areas", 2, "missing argument 'MAP'; 'seg areas --help'"),
    ("predict run scene --out map.tif --window 512 --overlap 300", 2, "windows of 512 pixels cannot overlap by 300"),
    ("predict run scene --out map.tif --s1 nowhere", 2, "nowhere does not exist; name a file"),
    ("predict run scene --out map.tif --geometry nowhere", 2, "nowhere does not exist; name a file"),
    ("predict run scene --out map.tif --device abacus", 2, "'abacus' is no device"),
    ("report nowhere", 2, "there is no folder nowhere"),
    ("report run", 1, "run was not scored on the test split yet"),
    ("report run --countries Austria", 1, "run: seg eval run --split test --countries Austria"),
    ("score nowhere --data s --classes reben --name a --out scored", 2, "there are no predictions nowhere"),
    ("score file --data s --classes reben --name a --out scored", 2, "file is nothing that is scored"),
    ("score empty --data s --classes reben --name a --out scored", 1, "empty holds no file that is named by a patch"),
    ("score empty --data s --name a --out scored", 2, "say what the numbers of the predictions mean"),
    ("score empty --data s --classes clcc --name a --out scored", 2, "there is no numbering 'clcc'"),
    ("score empty --data nowhere --classes clc --name a --out scored", 2, "there is no store nowhere"),
    ("score --data s --name a --out scored", 2, "there is nothing to score"),
    ("score --scene nowhere --data s --name a --out scored", 2, "there is no table nowhere"),
    ("score --scene file --data s --name a --out scored", 2, "file is no table of scene labels"),
    ("score --scene file --data s --name a --out run", 2, "run is there already"),
    ("score half.npz --data s --classes reben --name a --out scored", 1, "half.npz cannot be read"),
    ("score half.h5 --data s --classes reben --name a --out scored", 1, "half.h5 cannot be read"),
    ("compare nowhere", 2, "there is no folder nowhere"),
    ("card nowhere --out model", 2, "there is no folder nowhere"),
    ("compare run --out s", 2, "s is a run or a store; name a folder of its own"),
    ("compare run --out run", 2, "run is a run or a store; name a folder of its own"),
    ("data split s --rule tile --report s", 2, "s is a run or a store; name a folder of its own"),
    (
        "sweep empty.yaml --out runs --executor dask",
        2,
        "'dask' is no executor; take local, dask:ADDRESS, slurm",
    ),
    ("sweep empty.yaml --out runs --slurm a=b", 2, "--slurm is for --executor slurm"),
    ("card run --out mine", 2, "mine holds something else"),
    ("card damaged --out model", 1, "card.json is damaged"),
    ("submit nowhere --out entry", 2, "there is no folder nowhere"),
    ("submit run --out entry", 1, "run was not scored on the test split yet"),
    ("submit run --out entry --answers nowhere", 2, "there is no file nowhere"),
    ("verify nowhere", 2, "nowhere does not exist"),
    ("verify file", 2, "file is neither a folder nor a zip"),
    ("verify empty", 1, "there is no submission.json in it"),
    ("verify empty --data nowhere", 2, "there is no store nowhere"),
    ("leaderboard nowhere --out site", 2, "nowhere has no folder submissions"),
    ("leaderboard mine --out site --track s9", 2, "there is no track 's9'"),
    ("leaderboard empty", 2, "nothing is asked for; give --out"),
    ("leaderboard file --init", 2, "file is no folder"),
    ("models --bands XX", 2, "is neither a band nor a modality"),
    ("models --arch unett", 2, "there is no architecture 'unett'"),
    ("models --encoder resnet81", 2, "there is no encoder 'resnet81'"),
    ("models --encoder tu-nothing*", 2, "no encoder is called 'tu-nothing*'"),
    ("models --encoder fm-nothing", 2, "there is no encoder 'fm-nothing'"),
    ("models --encoder fm-nothing*", 2, "no encoder is called 'fm-nothing*'"),
    ("models --fusion dual --modality s2", 2, "fusion 'dual' needs bands"),
    ("data info nowhere", 2, "there is no store nowhere"),
    ("data check nowhere", 2, "there is no store nowhere"),
    ("data split nowhere --report x", 2, "there is no metadata file nowhere"),
    ("data build store --s2 nowhere --metadata m", 2, "there is no folder or archive nowhere"),
    ("data make out --s2 scene --clc nowhere", 2, "nowhere does not exist"),
    ("data synth file", 2, "file exists and is not an empty folder"),
    ("data synth /proc/x", 2, "cannot be"),
    ("data fetch file", 2, "file is a file; name a folder"),
    ("data make file --s2 scene --clc file", 2, "file is there already"),
    ("compare run run", 2, "run is named twice"),
    ("doctor --nothing", 2, "no such option: --nothing; 'seg doctor --help'"),
    ("demo --out file", 2, "file is no folder"),
]
BAND = MODALITIES["rgb"]


def write_run(folder: Path) -> Path:
    """A run folder as far as it is looked at without torch."""
    checkpoint = folder / "checkpoints/best"
    checkpoint.mkdir(parents=True)
    (folder / "config.yaml").write_text("{}")
    (folder / "run.json").write_text("{}")
    card = ModelCard(
        seg_version="0",
        arch="unet",
        encoder="resnet18",
        scene_head="derived",
        dropout=0.1,
        bands=BAND,
        mean=tuple(BANDS[name].mean for name in BAND),
        std=tuple(BANDS[name].std for name in BAND),
        resampling="bilinear",
        parameters=1,
        data=Data(fingerprint="f00d", synthetic=True, train_patches=1),
    )
    (checkpoint / "card.json").write_text(card.model_dump_json())
    save_file({"a": np.zeros(3)}, checkpoint / "model.safetensors")
    return checkpoint


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str, str]]:
    folder = tmp_path_factory.mktemp("refusals")
    synthesise(folder / "tree", 12, 0)
    build_store(published_sources(folder / "tree"), folder / "s", workers=1)
    for name in ("empty", "scene", "scene2", "mine"):
        (folder / name).mkdir()
    for name in (
        "file",
        "net.py",
        "file.pth",
        "half.safetensors",
        "half.npz",
        "half.h5",
        "taken.tif",
        "mine/overview.png",
        "mine/new.png",
        "mine/scene.tif",
    ):
        (folder / name).write_text("mine")
    (folder / "own.py").write_text("def Net(bands, classes): ...\nclass Other: ...\n")
    (folder / "broken.py").write_text("def Net(bands: ...\n")
    write_run(folder / "run")
    write_run(folder / "busy")
    write_run(folder / "demo" / "run")
    for name in "abcd":
        shutil.copytree(folder / "run" / "checkpoints" / "best", folder / "models" / name)
    (folder / "empty.yaml").write_text("{}")
    (write_run(folder / "damaged") / "card.json").write_text("{")
    (write_run(folder / "cut") / "model.safetensors").write_bytes(b"half a file")
    store = open_store(folder / "s")
    patch = PatchId.parse(
        store.index.patch_ids[int(np.flatnonzero(store.index.splits == SPLITS.index("test"))[0])].as_py()
    )
    for name in (
        f"run/eval/test-on-{store.info.fingerprint[:DATA_NAME]}/report.html",
        f"patch/{patch.product}/{patch}_map.tif",
    ):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, "busy/.seg.lock"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    lines = json.dumps([line.split() for line, _, _ in CASES])
    environment = {
        "PATH": "",
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "HOME": str(tmp_path_factory.mktemp("home")),
    }
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, lines], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    holder.kill()
    holder.communicate()
    assert done.returncode == 0, done.stderr
    return [(code, err, other) for code, err, other in json.loads(done.stdout)]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[line for line, _, _ in CASES])
def test_a_refusal_that_needs_no_torch_comes_without_it(number: int, said: list[tuple[int, str, str]]) -> None:
    _, code, message = CASES[number]
    found, text, other = said[number]
    assert (found, message in " ".join(text.split())) == (code, True), text
    assert "Traceback" not in text
    lines = text.strip().splitlines()
    assert len(lines) <= 2
    assert lines[-1].startswith("seg: ")
    assert other == "", "something was made or shown besides"


def test_two_runs_that_nobody_has_named_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    first, second = plan(), plan()
    assert first.folder == second.folder
    with made_folder(first) as one, made_folder(second) as other:
        assert one != other
        (one / "config.yaml").write_text("{}")
    assert (one.is_dir(), other.exists()) == (True, False)
    with made_folder(plan(out="named")) as named:
        assert not named.exists()


def test_parents_of_a_file_are_made_and_go_again_if_nothing_has_come_of_it(tmp_path: Path):
    with claimed_files([tmp_path / "a/b/c.tif"]):
        assert (tmp_path / "a/b").is_dir()
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_written_is_no_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(WrongUseError, match="/proc cannot be written"), locked(Path("/proc/.x.lock"), Path("/proc/x")):
        pass
    with locked(tmp_path / "lock", tmp_path), pytest.raises(BusyError), locked(tmp_path / "lock", tmp_path):
        pass


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_devices_are_refused_in_a_sentence_in_python_too(device: str):
    for call in (lambda: seg.loader("nowhere", device=device), lambda: seg.load_model("nowhere", device=device)):
        with pytest.raises(WrongUseError, match=f"{device}.* (is not there|is no device)"):
            call()


def test_a_gpu_that_cannot_be_there_is_refused_without_torch(monkeypatch: pytest.MonkeyPatch):
    from seg.config import installed

    monkeypatch.setattr(installed, "_may_have_cuda", lambda: False)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(WrongUseError, match=f"device {name} is not there: this machine has 0 CUDA devices"):
            installed.require_device(name)
    for name in ("auto", "cpu", "mps"):
        installed.require_device(name)
    monkeypatch.undo()
    import torch

    if torch.cuda.is_available():
        installed.require_device("cuda")


@pytest.mark.parametrize(
    ("source", "library", "may"),
    [("cuda: Optional[str] = None", True, False), ("cuda: Optional[str] = '13.2'", True, True),
     ("cuda: Optional[str] = '13.2'", False, False), ("hip: Optional[str] = '7.0'", False, True)],
)  # fmt: skip
def test_whether_there_may_be_a_gpu(
    source: str, library: bool, may: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from types import SimpleNamespace

    from seg.config import installed

    (tmp_path / "version.py").write_text(source + "\n")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(installed, "find_spec", lambda _: spec)

    def load(_: str) -> None:
        if not library:
            raise OSError

    monkeypatch.setattr(installed.ctypes, "CDLL", load)
    installed.names_in_source.cache_clear()
    try:
        assert installed._may_have_cuda.__wrapped__() is may
    finally:
        installed.names_in_source.cache_clear()

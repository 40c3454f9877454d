"""Every command that writes: what is not seg's stays and is named, its own is replaced, two are never at one target.

The commands are those of the application: one that is new must say here what it writes, or that it writes nothing.
"""

import hashlib
import os
import runpy
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from entries import ANSWERS, three_runs
from quick import quick_evaluate, quick_run

import seg
from seg.benchmark.form import form_text
from seg.cli import main as cli
from seg.config.load import dump_config, load_config
from seg.config.sections import DataConfig
from seg.maps.geotiff import write_class_map
from seg.maps.map_files import map_files
from seg.pipeline import demo
from seg.pipeline.score import score
from seg.pipeline.submit import submit
from seg.prepare import download
from seg.prepare.build import build_store
from seg.prepare.download import RecordFile
from seg.prepare.sources import published_sources
from seg.reben.patch import GeoRef
from seg.report.compare_tables import COMPARISON_FILES
from seg.report.leakage_tables import LEAKAGE_FILES
from seg.report.results import RESULT_FILES
from seg.runs.evaluation import ALL_FILES, REPORT_FILE
from seg.runs.series_report import SERIES_FILES
from seg.store.selection import select
from seg.store.sidecar import SIDECAR
from seg.store.targets import LOCK_FILE, lock_beside
from seg.store.written import FILE_NAME
from seg.synthetic.scene import synthesise_scene
from seg.synthetic.tree import synthesise

pytestmark = pytest.mark.usefixtures("forked")
ROOT = Path(__file__).resolve().parents[1]
READERS = {"data info", "models", "doctor"}
"""Commands that write nothing but what they print."""
OF_OTHERS = {"sweep"}
"""Commands that write by way of others alone: each run is that of ``train`` and ``eval``."""


@dataclass(frozen=True)
class Desk:
    """What commands work on.

    Attributes:
        tree, store: A synthetic reBEN.
        run: A run on it, scored.
        scene: A synthetic scene.
        other: Its bands, as another scene.
        server: Address of a mirror of the record.
    """

    tree: Path
    store: Path
    run: Path
    scene: Any
    other: Path
    server: str


@dataclass(frozen=True)
class Case:
    """A command that writes.

    Attributes:
        words: The command line that writes to a target.
        names: Files that it would write, replace or remove; relative to the folder of the target.
        target: The target, relative to that folder; empty: the folder itself.
        again: What the second run says if it does not replace what is there; empty: it does.
        lock: The lock of a target.
        before: What a target needs to have before.
    """

    words: Callable[[Desk, Path], Sequence[object]]
    names: Sequence[str]
    target: str = ""
    again: str = ""
    lock: Callable[[Path], Path] = lambda target: target / LOCK_FILE
    before: Callable[[Desk, Path], None] = lambda _desk, _target: None


def _tree_options(desk: Desk) -> list[object]:
    tree = desk.tree
    return [
        *("--s2", tree / "BigEarthNet-S2", "--s1", tree / "BigEarthNet-S1", "--maps", tree / "Reference_Maps"),
        *("--metadata", tree / "metadata.parquet"),
        *("--metadata", tree / "metadata_for_patches_with_snow_cloud_or_shadow.parquet"),
    ]


def _a_run(desk: Desk, target: Path) -> None:
    """A copy of the run that is not scored, so that what is scored lies in a folder of its own."""
    (target / "checkpoints").mkdir(parents=True)
    os.symlink(desk.run / "checkpoints" / "best", target / "checkpoints" / "best")
    for name in ("config.yaml", "run.json"):
        (target / name).write_bytes((desk.run / name).read_bytes())


def _a_scored_run(desk: Desk, target: Path) -> None:
    _a_run(desk, target)
    shutil.copytree(desk.run / "eval" / "test", target / "eval" / "test")
    for name in (*RESULT_FILES, REPORT_FILE):
        (target / "eval" / "test" / name).unlink()


def _a_series(desk: Desk, target: Path) -> None:
    """Two scored runs that say to have learned from shares of the labels."""
    for name, fraction in (("tenth", 0.1), ("whole", 1.0)):
        _a_scored_run(desk, target / name)
        path = target / name / "config.yaml"
        path.write_text(dump_config(load_config(path, [f"data.fraction={fraction}"])))


def _a_map(_: Desk, target: Path) -> None:
    classes_HW = np.arange(120 * 120, dtype=np.uint8).reshape(120, 120) % 19
    write_class_map(target.parent / "map.tif", classes_HW, GeoRef(32633, 300_000, 5_400_000))


def _an_entry(desk: Desk, target: Path) -> None:
    """Three scored runs beside the target, and the answers of their form."""
    three_runs(target.parent / "runs", seg.open_store(desk.store))
    (target.parent / "answers.yaml").write_text(form_text(ANSWERS)[0])


def _entry_options(out: Path) -> list[object]:
    return [*sorted((out.parent / "runs").iterdir()), "--out", out]


def _a_leaderboard(_: Desk, target: Path) -> None:
    """One beside the target, with a submission that is none."""
    (target.parent / "board" / "submissions").mkdir(parents=True)
    (target.parent / "board" / "submissions" / "none.zip").write_bytes(b"none")


def _an_outsider(desk: Desk, target: Path) -> None:
    """Labels made elsewhere, scored and packed beside the target."""
    place, labels = target.parent, desk.store.parent / "labels.parquet"
    score(name="labels", out=place / "scored", scene=labels, data=desk.store)
    said = ANSWERS | {"name": "labels", "deterministic": True, "encoder": "none", "trials": 1, "patches_seen": 0}
    (place / "answers.yaml").write_text(form_text(said)[0])
    submit([place / "scored"], place / "entry", answers=place / "answers.yaml")


def _evaluation(target: Path) -> Path:
    folder = target / "eval" / "test"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / LOCK_FILE


IN_EVALUATION = "eval/test/{}".format
THERE = "is there already"
MAP = Path("map.tif")
CASES = {
    "demo": Case(lambda _, out: ["demo", "--out", out], ["reben", "any.txt"], again=THERE),
    "data fetch": Case(
        lambda desk, out: ["data", "fetch", out, "--mirror", desk.server, "--only", "metadata"],
        ["metadata.parquet", ".metadata.parquet.json", ".metadata.parquet.part", ".fetched.json"],
    ),
    "data synth": Case(
        lambda _, out: ["data", "synth", out, "--patches", "12"],
        ["out/any.txt", ".out.unfinished/any.txt"],
        target="out",
        again="is not an empty folder",
        lock=lock_beside,
    ),
    "data synth --scene": Case(
        lambda _, out: ["data", "synth", out, "--scene", "120"],
        ["out/any.txt", ".out.unfinished/any.txt"],
        target="out",
        again="is not an empty folder",
        lock=lock_beside,
    ),
    "data build": Case(
        lambda desk, out: ["data", "build", *_tree_options(desk), out],
        ["out/any.txt", ".out.building/data.mdb", ".out.old/any.txt"],
        target="out",
        again=THERE,
        lock=lock_beside,
    ),
    "data build --force": Case(
        lambda desk, out: ["data", "build", "--force", *_tree_options(desk), out],
        ["out/any.txt", ".out.building/data.mdb", ".out.old/any.txt"],
        target="out",
        lock=lock_beside,
    ),
    "data check": Case(
        lambda desk, out: ["data", "check", "--repair", "--s2", desk.tree / "BigEarthNet-S2", out],
        [],
        target="out",
        lock=lock_beside,
        before=lambda desk, out: build_store(published_sources(desk.tree), out) and None,
    ),
    "data make": Case(
        lambda desk, out: ["data", "make", "--s2", desk.scene.product, "--clc", desk.scene.codes, "--workers", 1, out],
        ["out/any.txt", ".out.building/any.txt"],
        target="out",
        again=THERE,
        lock=lock_beside,
    ),
    "data split": Case(
        lambda desk, out: ["data", "split", desk.store, "--rule", "random", "--out", out],
        ["out"],
        target="out",
        again=THERE,
        lock=lock_beside,
    ),
    "data split of metadata": Case(
        lambda desk, out: ["data", "split", desk.tree / "metadata.parquet", "--rule", "random", "--out", out],
        ["new.parquet"],
        target="new.parquet",
        lock=lock_beside,
    ),
    "data split --report": Case(lambda desk, out: ["data", "split", desk.store, "--report", out], LEAKAGE_FILES),
    "train": Case(
        lambda desk, out: [
            *("train", "--arch", "linknet", "--encoder", "tu-test_efficientnet", "--bands", "B02,B03,B04"),
            *("--data", desk.store, "--epochs", 1, "--batch-size", 4, "--device", "cpu", "--out", out),
        ],
        ["config.yaml", "run.json", "any.txt"],
        again="continue it with --resume",
    ),
    "pretrain": Case(
        lambda desk, out: [
            *("pretrain", desk.store, "--out", out, "--arch", "linknet", "--encoder", "tu-test_efficientnet"),
            *("--bands", "B02,B03,B04", "--epochs", 1, "--batch-size", 4, "--device", "cpu"),
        ],
        ["model.safetensors", "pretraining.json", "state.safetensors"],
    ),
    "eval": Case(
        lambda _, run: ["eval", run, "--device", "cpu"],
        [IN_EVALUATION(name) for name in ALL_FILES],
        lock=_evaluation,
        before=_a_run,
    ),
    "report": Case(
        lambda _, run: ["report", run],
        [IN_EVALUATION(name) for name in (*RESULT_FILES, REPORT_FILE)],
        lock=_evaluation,
        before=_a_scored_run,
    ),
    "report of a sweep": Case(lambda _, out: ["report", out], SERIES_FILES, before=_a_series),
    "score": Case(
        lambda desk, out: [
            *(
                "score",
                "--scene",
                desk.run.parent / "labels.parquet",
                "--data",
                desk.store,
                "--name",
                "all",
                "--out",
                out,
            ),
        ],
        ["out/any.txt", ".out.scoring/any.txt", ".out.old/any.txt"],
        target="out",
        again=THERE,
        lock=lock_beside,
    ),
    "compare": Case(lambda desk, out: ["compare", desk.run, "--out", out], COMPARISON_FILES),
    "export": Case(
        lambda desk, out: ["export", desk.run, "--out", out, "--split", "validation", "--device", "cpu"],
        ["overview.png", "footprints.parquet", "{product}/{patch}_map.tif"],
    ),
    "export --mosaic": Case(
        lambda desk, out: [
            *("export", desk.run, "--out", out, "--split", "validation", "--mosaic", "--polygons", "--device", "cpu"),
            "--web",
        ],
        [
            *("overview.png", "footprints.parquet", "footprints.gpkg", "legend.png", "map.vrt", "map.qml", "maps.html"),
            *("{product}_web/any.txt", "{product}_polygons.gpkg", "{product}_map.tif"),
            *(f"{{product}}_map{ending}" for ending in (".tif.aux.xml", ".qml", ".png", ".json")),
        ],
    ),
    "predict": Case(
        lambda desk, out: [
            "predict",
            desk.run,
            desk.scene.product,
            "--out",
            out,
            "--areas",
            "--polygons",
            "--web",
            "--device",
            "cpu",
        ],
        [
            *(path.name for path in map_files(MAP)),
            f"{MAP}{SIDECAR}",
            f"{MAP}.msk",
            f"{MAP}.ovr",
            "map_web/any.txt",
            f"{MAP}.unfinished/any.txt",
        ],
        target=str(MAP),
        lock=lock_beside,
    ),
    "predict several": Case(
        lambda desk, out: ["predict", desk.run, desk.scene.product, desk.other, "--out", out, "--device", "cpu"],
        [
            *("map.vrt", "map.sld", "map_confidence.vrt", "collection.json", "model.json", "maps.html"),
            *("{scene}.tif", "{scene}.qml", "{scene}_areas.md"),
        ],
    ),
    "sample": Case(
        lambda _, out: ["sample", out.parent / "map.tif", "--out", out, "--per-class", "2"],
        ["sample.gpkg"],
        target="sample.gpkg",
        lock=lock_beside,
        before=_a_map,
    ),
    "areas": Case(
        lambda _, out: ["areas", out.parent / "map.tif", "--out", out],
        [f"areas{what}{ending}" for what in ("", "_accuracy", "_matrix") for ending in (".csv", ".csvt", ".md")],
        target="areas.csv",
        lock=lock_beside,
        before=_a_map,
    ),
    "card": Case(
        lambda desk, out: ["card", desk.run, "--out", out],
        ["out/README.md", "out/any.txt", ".out.unfinished/any.txt", ".out.old/any.txt"],
        target="out",
        lock=lock_beside,
    ),
    "submit": Case(
        lambda _, out: ["submit", *_entry_options(out), "--answers", out.parent / "answers.yaml"],
        ["out/README.md", "out/any.txt", ".out.unfinished/any.txt", ".out.old/any.txt"],
        target="out",
        lock=lock_beside,
        before=_an_entry,
    ),
    "leaderboard": Case(
        lambda _, out: ["leaderboard", out.parent / "board", "--out", out],
        ["out/index.html", "out/leaderboard.md", "out/leaderboard.csv", "out/leaderboard.json"],
        target="out",
        before=_a_leaderboard,
    ),
    "verify": Case(
        lambda desk, out: [
            *("verify", out.parent / "entry", "--data", desk.store),
            *("--scene", f"0={desk.store.parent / 'labels.parquet'}", "--out", out),
        ],
        ["check.json"],
        target="check.json",
        lock=lock_beside,
        before=_an_outsider,
    ),
    "leaderboard --init": Case(
        lambda _, out: ["leaderboard", out, "--init"],
        ["README.md", ".github/workflows/verify.yml", "submissions/README.md", "checks/README.md"],
    ),
    "submit without answers": Case(
        lambda _, out: ["submit", *_entry_options(out)],
        ["out.answers.yaml"],
        target="out",
        lock=lambda out: lock_beside(out.with_name("out.answers.yaml")),
        before=_an_entry,
    ),
}


def commands(app: typer.Typer, before: tuple[str, ...] = ()) -> Iterator[str]:
    """The commands of an application."""
    for command in app.registered_commands:
        assert command.callback is not None
        yield " ".join([*before, command.name or command.callback.__name__])
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, (*before, str(group.name)))


def test_every_command_says_here_what_it_writes():
    cases = [*CASES, *READERS, *OF_OTHERS]
    assert [command for command in commands(cli.app) if not any(case.startswith(command) for case in cases)] == []
    assert {*READERS, *OF_OTHERS} <= set(commands(cli.app))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Iterator[Desk]:
    place = tmp_path_factory.mktemp("targets")
    tree, store, run = place / "reben", place / "store", place / "run"
    synthesise(tree, patches=24)
    build_store(published_sources(tree), store)
    settings = {"model__encoder": "tu-test_efficientnet", "train__batch_size": 4}
    quick_evaluate(quick_run(run, store, data__bands="B02,B03,B04,B05", **settings))
    scene = synthesise_scene(place / "scene", 480, seed=1)
    index = seg.open_store(store).index
    chosen = index.take(select(index, DataConfig(), "test")).to_table().select(["patch_id", "labels"])
    pq.write_table(chosen.rename_columns(["patch_id", "predicted_labels"]), place / "labels.parquet")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tree)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    other = shutil.copy(scene.stack, place / "other.tif")
    yield Desk(tree, store, run, scene, other, f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()


@pytest.fixture
def say(desk, monkeypatch, capfd) -> Callable[..., tuple[int, str]]:
    """Runs a command in this process; gives exit code and what it said."""
    name = "metadata.parquet"
    md5 = hashlib.md5((desk.tree / name).read_bytes()).hexdigest()
    monkeypatch.setattr(download, "FILES", (RecordFile(name, "metadata", md5),))
    monkeypatch.setattr(demo, "_walk", _walk)
    monkeypatch.setenv("COLUMNS", "1000")

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["seg", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, " ".join(capfd.readouterr())

    return run


def _walk(out: Path, *_: object) -> demo.DemoResult:
    """In the place of the minutes of the demo, every step of which is a case of its own."""
    (out / "reben").mkdir()
    return demo.DemoResult((), {})


def filled(name: str, desk: Desk) -> str:
    patch = next(path.parent.name for path in desk.tree.rglob("*_B02.tif") if path.parent.name in validation(desk))
    return name.format(product=patch[:-6], patch=patch, scene=desk.scene.product.stem)


def validation(desk: Desk) -> set[str]:
    index = seg.open_store(desk.store).index
    return set(index.patch_ids.take((index.splits == 1).nonzero()[0]).to_pylist())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


HOLD = """
import sys
from pathlib import Path
from seg.store.locks import locked
with locked(Path(sys.argv[1]), Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(lock: Path, target: Path) -> subprocess.Popen[str]:
    """A process that holds a lock until it is killed."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", HOLD, str(lock), str(target)]
    process = subprocess.Popen(command, text=True, env=environment, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("name", CASES)
def test_what_a_command_writes_is_claimed(name, desk, say, tmp_path):
    case = CASES[name]
    target = tmp_path / case.target
    case.before(desk, target)
    words = case.words(desk, target)
    # Files of somebody else at all names that the command would write, replace or remove; then at one of them alone.
    names = [filled(one, desk) for one in case.names]
    clean = contents(tmp_path)
    for taken in (names, names[-1:]):
        for one in taken:
            (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / one).write_bytes(f"mine: {one}".encode())
        before = contents(tmp_path)
        if taken:
            code, said = say(*words)
            assert code != 0, said
            assert any(Path(one).name in said or one.split("/")[0] in said for one in taken) or str(target) in said
            assert contents(tmp_path) == before
        for one in set(before) - set(clean):
            (tmp_path / one).unlink()
        for path in sorted((path for path in tmp_path.rglob("*") if path.is_dir()), reverse=True):
            if not any(path.iterdir()) and path != tmp_path:
                path.rmdir()
    # Another process is at it.
    holder = holding(case.lock(target), target)
    try:
        before = contents(tmp_path)
        code, said = say(*words)
        assert code == 1, said
        assert f"(process {holder.pid} on" in said
        assert "wait for it to end" in said
        assert contents(tmp_path) == before
    finally:
        holder.kill()
        holder.communicate()
    # Its lock does not outlive it; and what the command has written is its own.
    code, said = say(*words)
    assert code == 0, said
    assert not list(tmp_path.rglob(".*.lock"))
    code, said = say(*words)
    assert (code == 0) == (not case.again), said
    assert case.again in said


@pytest.mark.parametrize("name", ["predict", "export --mosaic", "compare", "card", "eval"])
def test_what_was_edited_since_is_not_replaced(name, desk, say, tmp_path):
    case = CASES[name]
    target = tmp_path / case.target
    case.before(desk, target)
    words = case.words(desk, target)
    assert say(*words)[0] == 0
    ending = {"predict": ".qml", "export --mosaic": "map.qml", "compare": ".md", "card": ".md", "eval": "tables.md"}[
        name
    ]
    edited = next(path for path in sorted(tmp_path.rglob(f"*{ending}")))
    edited.write_text(edited.read_text() + "edited")
    before = contents(tmp_path)
    code, said = say(*words)
    assert code == 2
    assert edited.name in said
    assert contents(tmp_path) == before


OUT = ["--out", "{place}"]
OUTPUTS = {
    "baseline": (OUT, "best/tables.md"),
    "bench_cli": (["--json", "{place}/x.json"], "x.json"),
    **{
        f"bench_{what}": (["--out", "{place}/x"], "x.md")
        for what in ("data", "demo", "encoders", "gpu", "make", "polygons", "predict", "report", "train")
    },
    "check_intervals": (OUT, "intervals.md"),
    "check_units": (OUT, "units.md"),
    "demo_results": (["{demo}", *OUT], "run/log.csv"),
    "leaderboard": (OUT, "index.html"),
    "make_coastline": (["any.tgz", "--out", "{place}/x.npz"], "x.npz"),
    "real_folds": (["--tree", "any", *OUT], "few_patches_folds.md"),
    "real_sample": (["--tree", "any", *OUT], "real_sample.md"),
    **{
        f"questions/{what}": (OUT, f"{what}.md")
        for what in (
            *("context", "encoders", "fusion", "label_noise", "mapping_unit"),
            *("recipes", "scene_curves", "scene_heads", "scene_labels", "speed", "split_leakage"),
        )
    },
}
"""Words of each script that writes results, and one of the files that it writes."""


def test_every_script_says_here_what_it_writes():
    beside = {"questions/asking", "questions/degrade", "check_qgis"}
    scripts = {path.relative_to(ROOT / "scripts").with_suffix("").as_posix() for path in _scripts()}
    assert scripts - beside == OUTPUTS.keys()


def _scripts() -> list[Path]:
    return [path for path in (ROOT / "scripts").rglob("*.py") if "__pycache__" not in path.parts]


def _a_demo(desk: Desk, folder: Path) -> Path:
    (folder / "maps").mkdir(parents=True)
    shutil.copytree(desk.run, folder / "run", symlinks=True)
    (folder / "maps" / "overview.png").write_bytes(b"a picture")
    return folder


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_a_script_writes_is_claimed_before_it_works(name, desk, tmp_path, monkeypatch):
    words, taken = OUTPUTS[name]
    place = tmp_path / "place"
    (place / taken).parent.mkdir(parents=True)
    (place / taken).write_text("mine")
    demo = _a_demo(desk, tmp_path / "demo")
    script = ROOT / "scripts" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(script), *(word.format(place=place, demo=demo) for word in words)])
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match=f"{script.stem}: .* holds .*{Path(taken).name}, which seg did not write"):
        runpy.run_path(str(script), run_name="__main__")
    assert contents(place) == {taken: b"mine"}


def test_the_results_of_a_demo_are_published_again_over_their_own(desk, tmp_path):
    demo, script = _a_demo(desk, tmp_path / "demo"), ROOT / "scripts" / "demo_results.py"
    command = [sys.executable, str(script), str(demo), "--out", str(tmp_path / "out")]
    for _ in range(2):
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
        # As out of a repository, which keeps no record.
        (tmp_path / "out" / FILE_NAME).unlink()
    assert (tmp_path / "out" / "overview.png").read_bytes() == b"a picture"


def test_a_checkpoint_keeps_what_somebody_has_put_into_it(desk, tmp_path):
    from seg.models.checkpoint import load_checkpoint, save_checkpoint

    model, card = load_checkpoint(desk.run / "checkpoints" / "best")
    save_checkpoint(tmp_path / "best", model, card)
    (tmp_path / "best" / "notes.txt").write_text("mine")
    (tmp_path / "best" / "more").mkdir()
    (tmp_path / "best" / "more" / "model.onnx").write_text("mine")
    save_checkpoint(tmp_path / "best", model, card)
    assert (tmp_path / "best" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "best" / "more" / "model.onnx").read_text() == "mine"
    assert FILE_NAME not in os.listdir(tmp_path / "best")

"""What messages advise to type: each command is typed by a test, and what was refused works afterwards.

The commands are read from the sources: a new one must say here which test types it.
"""

import ast
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import typer
from commands import printed, run_printed, run_seg, type_in
from entries import ANSWERS, small_store, three_runs
from quick import quick_evaluate, quick_run
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from rasterio.warp import reproject

from seg.benchmark.form import form_text
from seg.cli import main as cli
from seg.cli.main import sentence
from seg.config.load import load_config
from seg.config.wording import SENTENCE
from seg.engine.events import Step
from seg.errors import LandCoverError, SceneError
from seg.metrics.evidence_file import FILE_NAME
from seg.metrics.evidence_header import sealed
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.bands import S2_BANDS
from seg.reben.patch import GeoRef, tile_corner
from seg.region.clc import codes_on, open_clc
from seg.report.gallery import FILE_NAME as GALLERY
from seg.runs.demonstration import Outlook
from seg.scenes.grid import Window
from seg.scenes.open import open_scene
from seg.synthetic.tree import synthesise

ROOT = Path(__file__).resolve().parents[1]
COMMAND = re.compile(
    r"(?<![\w/.-])(?:rio (?:calc|edit-info|convert|stack|warp)|python -|pip install|hf download|ulimit -n|mkdir |"
    r"seg (?:data (?:build|check|fetch|make|split|synth|info)|train|eval|export|predict|report|compare|card|models|"
    r"doctor|submit|verify|leaderboard|score|sample|areas))"
)
DESCRIBED = "a folder is described, nothing is advised"
NOT_HERE = "needs a network"
PACKED = "test_cures.py::test_a_submission_is_packed_again"
TYPED = {
    "areas/sample_file.py": {"draw one with": "test_areas.py::test_what_comes_next_is_typed"},
    "cli/sample.py": {"Then: seg areas": "test_areas.py::test_what_comes_next_is_typed"},
    "benchmark/board.py": {"make one with": "test_cures.py::test_a_folder_without_submissions"},
    "benchmark/template.py": {"# Leaderboard": DESCRIBED, "name: verify": DESCRIBED, "One folder or zip": DESCRIBED},
    "scenes/folder.py": {"a store of patches": DESCRIBED},
    "benchmark/container.py": {"give what": DESCRIBED, "pack it again": PACKED},
    "benchmark/form.py": {"without --answers writes": PACKED},
    "catalogue/search.py": {"'seg[stac]'": "test_cures.py::test_packages_that_are_advised_are_known"},
    "catalogue/web.py": {"'seg[s3]'": "test_cures.py::test_packages_that_are_advised_are_known"},
    "cli/demo.py": {"Its training goes on": "test_cures.py::test_the_training_of_a_stopped_demo_goes_on"},
    "cli/doctor.py": {
        "install it again": NOT_HERE,
        ": pip install {name}": "test_cures.py::test_packages_that_are_advised_are_known",
    },
    "cli/submit.py": {"Then: seg submit": PACKED, "Verify it": PACKED},
    "cli/sweep.py": {
        "seg compare": "test_cures.py::test_the_comparison_that_a_sweep_ends_with",
        "seg report": "test_series.py::test_as_typed",
        "Entry: ": "test_recipes.py::test_one_command_trains_scores_and_packs",
    },
    "cli/pretrain.py": {"Next: seg train": "test_pretrain.py::test_the_command_says_what_comes_next_and_that_is_typed"},
    "cli/train.py": {
        "Next: seg eval": "test_cures.py::test_what_comes_next_after_a_training",
        "Continue with: seg train": "test_cures.py::test_a_stopped_training_goes_on",
    },
    "data/lightning.py": {"pip install lightning": "test_cures.py::test_packages_that_are_advised_are_known"},
    "engine/guard.py": {"'seg data check'": "test_cures.py::test_patches_are_looked_at_as_advised"},
    "foundation/catalogue.py": {
        "lists them": "test_foundation.py::test_an_encoder_that_is_not_there_is_one_sentence",
        "is not installed": "test_cures.py::test_packages_that_are_advised_are_known",
    },
    "foundation/packages.py": {"is installed but": "test_cures.py::test_packages_that_are_advised_are_known"},
    "stac/items.py": {"'seg[stac]'": "test_cures.py::test_packages_that_are_advised_are_known"},
    "maps/part.py": {"python -c": "test_packed.py::test_what_polygons_without_a_crs_are_advised_works"},
    "metrics/evidence_file.py": {
        "there is no evidence": "test_cures.py::test_evidence_that_cannot_be_read",
        "is no evidence of seg": DESCRIBED,
    },
    "metrics/evidence_header.py": {
        "run 'seg eval'": "test_cures.py::test_evidence_that_cannot_be_read",
        "score the predictions again": "test_score.py::test_a_scored_folder_that_cannot_be_read",
        "is no evidence of seg": DESCRIBED,
    },
    "inference/onnx_network.py": {"make one with": "test_onnx.py::made_as_advised"},
    "models/onnx_file.py": {
        "make one with": "test_onnx.py::made_as_advised",
        "pip install 'seg[onnx]'": "test_cures.py::test_packages_that_are_advised_are_known",
    },
    "models/published.py": {"give the folder of a run": DESCRIBED},
    "models/start.py": {"hf download": "test_cures.py::test_the_hub_takes_what_is_advised"},
    "pipeline/card.py": {
        "make them with": "test_cures.py::test_a_card_without_scores",
        "pip install 'seg[onnx]'": "test_cures.py::test_packages_that_are_advised_are_known",
    },
    "own/code.py": {"seg models --model": "test_any_network.py::test_code_that_nobody_has_named_here_is_not_run"},
    "pipeline/compare.py": {"name run folders": DESCRIBED},
    "runs/advice.py": {
        "is not installed; run": "test_cures.py::test_packages_that_are_advised_are_known",
        "ulimit -n": "test_cures.py::test_the_shell_takes_the_limit_that_is_advised",
    },
    "runs/plan.py": {"'seg[lora]'": "test_cures.py::test_packages_that_are_advised_are_known"},
    "pipeline/evaluate.py": {"is a model folder": DESCRIBED},
    "pipeline/make.py": {"seg data split": "test_make.py::test_what_is_told"},
    "pipeline/models.py": {"seg models --all": "test_cures.py::test_an_unknown_encoder"},
    "pipeline/submit.py": {"there is nothing to submit": DESCRIBED},
    "pipeline/report.py": {
        "seg report {shlex": "test_cures.py::test_results_that_were_changed",
        "has no pictures of patches": "test_cures.py::test_a_gallery_that_cannot_be_read",
    },
    "predictions/containers.py": {"'seg[score]'": "test_cures.py::test_packages_that_are_advised_are_known"},
    "prepare/executors.py": {
        "'seg[dask]'": "test_cures.py::test_packages_that_are_advised_are_known",
        "'seg[slurm]'": "test_cures.py::test_packages_that_are_advised_are_known",
    },
    "region/clc.py": {
        "rio stack": "test_numbering.py::test_the_cure_for_several_bands_works_as_typed",
    },
    "region/polygons.py": {
        "has no CRS": "test_packed.py::test_what_polygons_without_a_crs_are_advised_works",
        "that is meant": "test_areas.py::test_zones_in_several_layers_and_the_file_that_is_advised",
    },
    "report/gallery.py": {
        "cut off or damaged": "test_cures.py::test_a_gallery_that_cannot_be_read",
        "this seg reads": "test_cures.py::test_a_gallery_that_cannot_be_read",
        "there is no gallery": "test_cures.py::test_a_gallery_that_cannot_be_read",
        "is no gallery of seg": "test_cures.py::test_a_gallery_that_cannot_be_read",
    },
    "report/trackers.py": {"pip install": "test_cures.py::test_packages_that_are_advised_are_known"},
    "runs/entry.py": {
        "score it again": "test_score.py::test_a_scored_folder_that_cannot_be_read",
        "score the predictions again": "test_score.py::test_a_scored_folder_that_cannot_be_read",
    },
    "runs/folder.py": {
        "score the predictions again": "test_score.py::test_a_scored_folder_that_cannot_be_read",
        "leave out --mmu": "test_score.py::test_a_scored_folder_that_cannot_be_read",
        "run: seg eval": "test_cures.py::test_evidence_that_cannot_be_read",
        "is no run folder": DESCRIBED,
        "make one": "test_cures.py::test_what_comes_next_after_a_training",
    },
    "runs/model.py": {"give a folder": DESCRIBED},
    "scenes/findings.py": {
        "rio calc": "test_units.py::test_what_is_advised_works_when_typed",
        "type mkdir": "test_cures.py::test_bands_in_files_of_their_own_in_another_unit",
        "take them out with": "test_units.py::test_taking_out_tags_as_advised",
    },
    "rasters/header.py": {
        "rio stack": "test_cures.py::test_bands_in_a_file_of_rasters_are_stacked_as_advised",
        "rio edit-info": "test_place.py::test_a_raster_without_a_crs_gets_one",
        "rio convert": "test_numbering.py::test_the_cure_for_undeclared_nodata_works_as_typed",
        "python -m zipfile": "test_cures.py::test_a_raster_in_a_zip_is_taken_out_before_it_is_edited",
    },
    "rasters/place.py": {
        "rio warp": "test_place.py::test_what_the_refusal_of_a_grid_advises_works",
        "python -c {shlex.quote(code)} && ": "test_cures.py::test_masks_are_kept_by_the_warp_that_is_advised",
        " && python -c": "test_place.py::test_scale_and_offset_are_brought_over",
    },
    "store/selection.py": {"--resplit tile": "test_cures.py::test_a_store_without_a_split"},
    "store/open.py": {
        "{what}; make one": "test_cures.py::test_a_folder_that_is_no_store",
        "unfinished store": "test_resume_build.py::test_stopped_by_a_signal",
    },
}
"""By file and words of the message: the test that types its command, or why none does."""


def messages() -> Iterator[tuple[str, str]]:
    """Every text in the sources that holds a command, with its file; not documentation and not the help of options."""
    for path in sorted((ROOT / "seg").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        left_out: set[ast.AST] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                left_out.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                left_out.update(node.values)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("typer."):
                left_out.update(ast.walk(node))
        for node in ast.walk(tree):
            if node not in left_out and (text := text_of(node)) and COMMAND.search(text):
                yield path.relative_to(ROOT / "seg").as_posix(), text


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        parts = node.values
        return "".join(
            str(p.value) if isinstance(p, ast.Constant) else f"{{{ast.unparse(p.value)}}}"  # type: ignore[attr-defined]
            for p in parts
        )
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_every_command_in_a_message_is_typed_by_a_test():
    found = list(messages())
    assert len(found) > 40
    used = set()
    for file, text in found:
        known = [words for words in TYPED.get(file, {}) if words in text]
        assert len(known) == 1, f"{file} advises a command that no test types, or two entries fit: {text} {known}"
        used.add((file, known[0]))
    assert used == {(file, words) for file, entries in TYPED.items() for words in entries}
    for test in {test for entries in TYPED.values() for test in entries.values()} - {DESCRIBED, NOT_HERE}:
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, test


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+(?![\w-]*=)")
OF_OTHERS = {
    *("--not-masked", "--nodata", "--bidx", "--description", "--crs", "--transform", "--dtype", "--dst-crs", "--res"),
    *("--bounds", "--revision", "--shm-size", "--gpus", "--show-toplevel", "--verify", "--porcelain"),
    *("--untracked-files", "--nproc-per-node", "--name-only", "--exit-code", "--stat"),
}
"""Options of other programs."""


def test_every_option_in_a_message_is_one_of_a_command():
    known = {name for command in _commands(cli.app) for name in command} | OF_OTHERS | {"--help"}
    for path in sorted((ROOT / "seg").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = text_of(node) if node not in documented else ""
            if " " in text and "figures/svg" not in path.as_posix():
                unknown = set(OPTION.findall(text)) - known
                assert not unknown, f"{path}: {unknown} in: {text}"


def _commands(app: typer.Typer) -> Iterator[list[str]]:
    import click

    def walk(command: click.Command) -> Iterator[list[str]]:
        yield [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
        for child in getattr(command, "commands", {}).values():
            yield from walk(child)

    yield from walk(typer.main.get_command(app))


SETTING = re.compile(r"--set ([a-z]+\.[a-z_]+)=([^\s,;)'\"]+)")


def test_every_setting_in_a_message_is_one():
    for path in sorted((ROOT / "seg").rglob("*.py")):
        for key, value in SETTING.findall(path.read_text(encoding="utf-8")):
            stated = "1e-3" if "{" in value else value
            if key != "model.weights_bands":
                load_config(None, [f"{key}={stated}"])


# -------------------------------------------------------------------------------------------------- runs and stores


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cures") / "a tree"
    synthesise(folder, patches=24)
    return folder


@pytest.fixture(scope="module")
def store(tree: Path) -> Path:
    build_store(published_sources(tree), tree.parent / "a store")
    return tree.parent / "a store"


@pytest.fixture(scope="module")
def trained(store: Path) -> Path:
    """A run that is not scored, in a folder with a space in its name."""
    out = store.parent / "a run"
    settings = {"model__encoder": "tu-test_efficientnet", "train__batch_size": 4}
    return quick_run(out, store, data__bands="B02,B03,B04", **settings)


@pytest.fixture(scope="module")
def scored(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("scored") / "a run"
    shutil.copytree(trained, run)
    quick_evaluate(run)
    return run


@pytest.fixture
def run(scored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scored, tmp_path / "a run"))


def works(*words: object) -> str:
    code, said = run_seg(*words)
    assert code == 0, said
    return said


def refused(*words: object) -> str:
    code, said = run_seg(*words)
    assert code in (1, 2), said
    return said


def evidence_of(run: Path) -> Path:
    return run / "eval" / "test" / "evidence" / FILE_NAME


def with_header(change: Callable[[dict], None], seal: bool = True) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        table = pq.read_table(path)
        header = json.loads(table.schema.metadata[b"seg.evidence"])
        change(header)
        header = sealed(header) if seal else header
        pq.write_table(table.replace_schema_metadata({b"seg.evidence": json.dumps(header)}), path)

    return damage


def without_patches(path: Path) -> None:
    table = pq.read_table(path)
    header = json.loads(table.schema.metadata[b"seg.evidence"])
    header = sealed(header | {"patches": 0})
    pq.write_table(table.slice(0, 0).replace_schema_metadata({b"seg.evidence": json.dumps(header)}), path)


EVIDENCE = {
    "missing": (Path.unlink, "was not scored on the test split yet.*run: seg eval "),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:3000]), "cut off or damaged.*run 'seg eval' again"),
    "damaged": (with_header(lambda h: h.update(patches=3), seal=False), "damaged .*run 'seg eval' again"),
    "format": (with_header(lambda h: h.update(format=99)), "has format 99.*run 'seg eval' again"),
    "classes": (with_header(lambda h: h["classes"].reverse()), "other classes.*run 'seg eval' again"),
    "empty": (without_patches, "holds no patch; run: seg eval"),
}


@pytest.mark.parametrize("kind", EVIDENCE)
@pytest.mark.usefixtures("no_page")
def test_evidence_that_cannot_be_read(kind: str, run: Path, tmp_path: Path):
    damage, sentence = EVIDENCE[kind]
    damage(evidence_of(run))
    # As an earlier version left it, or as it was copied: there is no record that contradicts it.
    if kind in ("format", "classes", "empty"):
        (run / "eval" / "test" / ".seg-written.jsonl").unlink()
    said = refused("report", run)
    assert re.search(sentence, said), said
    if "move it away" in said:
        evidence_of(run).rename(tmp_path / "moved")
    words = printed(said)[0][1:] if "run: " in said else ["eval", run]
    works(*words)
    works("report", run)


GALLERIES = {
    "missing": (Path.unlink, "has no pictures of patches; 'seg eval' takes them"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:900]), "cut off or damaged.*run 'seg eval' again"),
    "none": (lambda path: path.write_bytes(b"\x02\0\0\0\0\0\0\0{}"), "is no gallery of seg.*run 'seg eval'"),
}


@pytest.mark.parametrize("kind", GALLERIES)
@pytest.mark.usefixtures("no_page")
def test_a_gallery_that_cannot_be_read(kind: str, run: Path, tmp_path: Path):
    damage, sentence = GALLERIES[kind]
    gallery = run / "eval" / "test" / GALLERY
    damage(gallery)
    said = works("report", run)
    assert re.search(sentence, said), said
    if "move it away" in said:
        gallery.rename(tmp_path / "moved")
    works("eval", run)
    assert "no pictures" not in works("report", run)


def test_results_that_were_changed(run: Path, tmp_path: Path):
    tables = run / "eval" / "test" / "tables.md"
    tables.write_text(tables.read_text().replace("2", "3"))
    said = refused("report", run, "--check")
    tables.rename(tmp_path / "changed.md")
    works(*printed(said)[0][1:])
    works("report", run, "--check")


@pytest.mark.usefixtures("no_page")
def test_a_card_without_scores(trained: Path, tmp_path: Path):
    run = Path(shutil.copytree(trained, tmp_path / "a run"))
    said = works("card", run, "--out", tmp_path / "card")
    works(*printed(said)[0][1:])
    assert "no scores" not in works("card", run, "--out", tmp_path / "card")


def test_the_comparison_that_a_sweep_ends_with(scored: Path):
    works("compare", scored, "--split", "test")


def test_what_comes_next_after_a_training(store: Path, tmp_path: Path):
    words = ["train", "--arch", "linknet", "--encoder", "tu-test_efficientnet", "--bands", "B02,B03,B04", "--epochs", 1]
    said = works(*words, "--data", store, "--batch-size", 4, "--device", "cpu", "--out", tmp_path / "my run")
    works(*printed(said)[-1][1:])
    assert (tmp_path / "my run" / "eval" / "test" / "report.html").is_file()


def test_a_stopped_training_goes_on(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    @contextlib.contextmanager
    def interrupting(*_: object) -> Iterator[Callable[[object], None]]:
        once = iter([signal.SIGINT])
        yield lambda _event: [os.kill(os.getpid(), number) for number in once]

    words = ["train", "--arch", "linknet", "--encoder", "tu-test_efficientnet", "--bands", "B02,B03,B04", "--epochs", 2]
    with monkeypatch.context() as patch:
        patch.setattr("seg.cli.train.training_progress", interrupting)
        said = refused(*words, "--data", store, "--batch-size", 4, "--device", "cpu", "--out", tmp_path / "my run")
    works(*printed(said)[0][1:])
    assert len((tmp_path / "my run" / "log.csv").read_text().splitlines()) == 3


def test_the_training_of_a_stopped_demo_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    steps = []

    def interrupt(_outlook: Outlook, event: object) -> None:
        # Once, as a second one is somebody who does not want to wait for the state to be saved.
        if isinstance(event, Step) and not steps:
            steps.append(event)
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "my demo"
    with monkeypatch.context() as patch:
        patch.setattr(Outlook, "__call__", interrupt)
        said = refused("demo", "--out", out, "--patches", 100, "--epochs", 1)
    (command,) = [words for line in said.splitlines() if "goes on with" in line for words in printed(line)]
    works(*command[1:])
    assert len((out / "run" / "log.csv").read_text().splitlines()) == 2


def test_patches_are_looked_at_as_advised(store: Path):
    assert "24 patches" in works("data", "check", store)


def test_an_unknown_encoder(monkeypatch: pytest.MonkeyPatch):
    said = refused("models", "--encoder", "nothing*")
    assert "'seg models --all'" in said
    # All of them take minutes; which ones they would be is what is advised.
    few = ("resnet18", "tu-test_resnet")
    monkeypatch.setattr("seg.pipeline.models.encoder_names", lambda: few)
    assert "tu-test_resnet" in works("models", "--all", "--arch", "unet")


def test_a_store_without_a_split(real: Path, tmp_path: Path, trained: Path):
    """The samples are all of the test split."""
    sample = real / "reben-10m-80"
    options = ["--s2", sample / "BigEarthNet-S2", "--maps", sample / "Reference_Maps"]
    options += ["--metadata", sample / "metadata.parquet", "--bands", "B02,B03,B04"]
    works("data", "build", *options, tmp_path / "store")
    said = refused("eval", trained, "--data", tmp_path / "store", "--split", "validation")
    assert "'seg data build --resplit tile'" in said
    works("data", "build", "--resplit", "tile", *options, tmp_path / "new")
    works("eval", trained, "--data", tmp_path / "new", "--split", "validation")


def test_a_folder_that_is_no_store(tree: Path, tmp_path: Path):
    for place in (tmp_path, tmp_path / "nowhere"):
        assert "make one with 'seg data build'" in refused("data", "info", place)
    said = works("data", "synth", tmp_path / "my tree", "--patches", 12)
    # What is printed after the tree was made builds a store of it.
    words = [str(tmp_path / "store") if word == "STORE" else word for word in printed(said)[0][1:]]
    works(*words)
    works("data", "info", tmp_path / "store")
    assert f"did you mean {tmp_path / 'store'}?" in refused("data", "info", tmp_path)


def test_a_scene_says_how_it_is_mapped(trained: Path, tmp_path: Path):
    said = works("data", "synth", tmp_path / "my scene", "--scene", 120)
    filled = {"RUN": str(trained), "MAP.tif": str(tmp_path / "map.tif")}
    words = [filled.get(word, word) for word in printed(said)[0][1:]]
    # The run sees no Sentinel-1.
    place = words.index("--s1")
    assert "leave out --s1" in refused(*words)
    works(*words[:place], *words[place + 2 :])


# ----------------------------------------------------------------------------------------------------- other programs


def test_packages_that_are_advised_are_known():
    """Of the extras, or of this package: nobody is sent to a package that it was not tried with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    sources = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "seg").rglob("*.py"))
    assert {"onnx", "dask", "score", "slurm"} <= set(re.findall(r"'seg\[(\w+)\]'", sources)) <= set(extras)
    from seg.runs.machine import OPTIONAL

    names = {re.split(r"[<>=\[]", text)[0] for texts in (project["dependencies"], *extras.values()) for text in texts}
    assert {"lightning", "tensorboard"} <= names
    # The trackers are told to be installed by hand, under the names that they have.
    from seg.report.trackers import TRACKERS

    assert set(OPTIONAL) - names == set(TRACKERS)


def test_the_hub_takes_what_is_advised():
    """Without a network there is nothing to fetch; the program must be there and know the options."""
    program = Path(sys.executable).with_name("hf")
    shown = subprocess.run([program, "download", "--help"], capture_output=True, text=True, check=True).stdout
    assert "--revision" in shown


def test_the_shell_takes_the_limit_that_is_advised():
    code = "ulimit -S -n 64 && ulimit -n $(( $(ulimit -H -n) < 4096 ? $(ulimit -H -n) : 4096 ))"
    subprocess.run(["bash", "-c", code], check=True)


# ------------------------------------------------------------------------------------------------------------ scenes

RGB = ("B02", "B03", "B04")
RANDOM = np.random.default_rng(0)
MERCATOR = Affine(15.5, 0, 1335833, 0, -15.5, 6446275)


def numbers() -> np.ndarray:
    """Fields with some noise, DN."""
    fields = np.kron(RANDOM.integers(150, 2500, (3, 12, 12)), np.ones((1, 20, 20)))
    return (fields + RANDOM.normal(0, 30, fields.shape)).clip(1, 9000).astype(np.uint16)


def write(path: Path, images: np.ndarray, *, names=RGB, epsg=3857, transform=MERCATOR, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=images.shape[2], height=images.shape[1], count=len(images),
        dtype=images.dtype, crs=f"EPSG:{epsg}", transform=transform, **options,
    ) as raster:  # fmt: skip
        raster.write(images)
        if names:
            raster.descriptions = names
    return path


HELD = np.full((240, 240), 255, np.uint8)
HELD[:, :80] = 0
HELD[100:120, 100:180] = 0
VRT = """<VRTDataset rasterXSize="240" rasterYSize="240"><SRS>EPSG:3857</SRS>
<GeoTransform>1335833, 15.5, 0, 6446275, 0, -15.5</GeoTransform>{}</VRTDataset>"""
VRT_BAND = """<VRTRasterBand dataType="UInt16" band="{0}"><Description>{1}</Description>
<SimpleSource><SourceFilename relativeToVRT="1">source.tif</SourceFilename><SourceBand>{0}</SourceBand></SimpleSource>
<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource><SourceFilename relativeToVRT="1">mask.tif</SourceFilename>
<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></MaskBand></VRTRasterBand>"""


def masked(folder: Path, kind: str) -> Path:
    path = folder / "a scene.tif"
    if kind == "alpha":
        images = np.concatenate([numbers(), np.where(HELD, 65535, 0).astype(np.uint16)[None]])
        write(path, images, names=(*RGB, None))
        with rasterio.open(path, "r+") as raster:
            raster.colorinterp = [ColorInterp.gray, ColorInterp.undefined, ColorInterp.undefined, ColorInterp.alpha]
        return path
    if kind == "each band":
        write(folder / "source.tif", numbers(), names=None)
        write(folder / "mask.tif", HELD[None], names=None)
        bands = "".join(VRT_BAND.format(place, name) for place, name in enumerate(RGB, 1))
        (folder / "a scene.vrt").write_text(VRT.format(bands))
        return folder / "a scene.vrt"
    nodata = {"internal, nodata": 65535}.get(kind)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind != "beside"):
        write(path, numbers(), nodata=nodata)
        with rasterio.open(path, "r+") as raster:
            raster.write_mask(HELD)
    return path


@pytest.mark.parametrize("kind", ["internal", "internal, nodata", "beside", "alpha", "each band"])
def test_masks_are_kept_by_the_warp_that_is_advised(kind: str, tmp_path: Path):
    path = masked(tmp_path, kind)
    with pytest.raises(SceneError) as error:
        open_scene(path, needed=RGB)
    words = run_printed(str(error.value), tmp_path)
    bands = (*RGB, "-") if kind == "alpha" else RGB
    scene = open_scene(tmp_path / words[3], needed=RGB, bands=bands)
    with scene.open() as reader:
        valid = reader.valid(Window(0, 0, scene.grid.width, scene.grid.height))
    expected = np.zeros(valid.shape, np.uint8)
    reproject(
        HELD, expected, src_transform=MERCATOR, src_crs="EPSG:3857", dst_transform=Affine(*scene.grid.transform),
        dst_crs=f"EPSG:{scene.grid.epsg}",
    )  # fmt: skip
    assert np.array_equal(valid, expected > 0)


UTM = {"epsg": 32633, "transform": Affine(10, 0, 300_000, 0, -10, 5_400_000)}
MASKS = ["internal", "internal, nodata", "beside", "alpha", "alpha, nodata", "each band"]


def in_another_unit(folder: Path, kind: str, images: np.ndarray, names: tuple[str, ...], held: np.ndarray) -> Path:
    """A masked stack whose values are as good where the mask is as elsewhere."""
    path, count = folder / "a scene.tif", len(names)
    nodata = -9999 if kind.endswith("nodata") else None
    images = images.astype(np.float32)
    if kind.startswith("alpha"):
        images = np.concatenate([images, held[None]]).astype(np.float32)
        return write(path, images, names=(*names, "dataMask"), nodata=nodata, **UTM)
    if kind == "each band":
        # A mask of one band alone is one that the file as a whole does not have.
        write(folder / "source.tif", images, names=None, **UTM)
        write(folder / "mask.tif", 255 * held[None].astype(np.uint8), names=None, **UTM)
        bands = "".join(VRT_BAND.format(place, name) for place, name in enumerate(names, 1))
        place = "".join(f"{number}, " for number in Affine(*UTM["transform"]).to_gdal()).rstrip(", ")
        text = VRT.format(bands).replace("UInt16", "Float32").replace("EPSG:3857", "EPSG:32633")
        text = re.sub("<GeoTransform>.*</GeoTransform>", f"<GeoTransform>{place}</GeoTransform>", text)
        text = re.sub('rasterXSize="[0-9]+" rasterYSize="[0-9]+"', 'rasterXSize="{1}" rasterYSize="{0}"', text)
        (folder / "a scene.vrt").write_text(text.format(*held.shape))
        return folder / "a scene.vrt"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=kind != "beside"):
        write(path, images, names=names, nodata=nodata, **UTM)
        with rasterio.open(path, "r+") as raster:
            raster.write_mask(held)
            assert raster.count == count
    return path


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("unit", ["reflectance", "power"])
def test_masks_are_kept_by_the_arithmetic_that_is_advised(kind: str, unit: str, tmp_path: Path):
    held = np.ones((120, 120), bool)
    held[:, :30] = held[60:70, 80:95] = False
    rng = np.random.default_rng(0)
    names = RGB if unit == "reflectance" else ("VV", "VH")
    low, high = (0.02, 0.4) if unit == "reflectance" else (0.03, 0.2)
    images = rng.uniform(low, high, (len(names), 120, 120)) / np.linspace(1, 4, len(names))[:, None, None] ** (
        unit == "power"
    )
    path = in_another_unit(tmp_path, kind, images, names, held)
    with pytest.raises(SceneError, match=r"reflectance from 0 to 1|linear power") as error:
        open_scene(path, needed=names)
    made = run_printed(str(error.value), tmp_path)[-1]
    scene = open_scene(tmp_path / made, needed=names, bands=names)
    assert scene.remarks == ()
    with scene.open() as reader:
        window = Window(0, 0, 120, 120)
        arrays, valid = reader.read(window, names), reader.valid(window)
    assert np.array_equal(valid, held)
    for name, image in zip(names, images, strict=True):
        right = 10_000 * image if unit == "reflectance" else 10 * np.log10(image)
        np.testing.assert_allclose(arrays[name][held], right[held], atol=1 if unit == "reflectance" else 1e-3)


def test_a_long_command_is_printed_whole(tmp_path: Path):
    """Whatever else is too long for a message is clipped, but half a command is of no use."""
    held = np.arange(120 * 120).reshape(120, 120) % 120 > 30
    images = np.random.default_rng(0).uniform(0.02, 0.4, (len(S2_BANDS), 120, 120))
    images[3] *= 10_000
    path = in_another_unit(tmp_path, "internal", images, S2_BANDS, held)
    with pytest.raises(SceneError, match="reflectance from 0 to 1") as error:
        open_scene(path, needed=S2_BANDS)
    assert len(str(error.value)) > SENTENCE
    assert sentence(error.value) == str(error.value)
    assert len(sentence(SceneError("mistyped " * 1000))) < len(sentence(SceneError("type rio " * 1000))) < 2100
    run_printed(sentence(error.value), tmp_path)
    assert open_scene(tmp_path / "a scene_dn.tif", needed=S2_BANDS, bands=S2_BANDS).bands == S2_BANDS


def test_masks_of_bands_in_files_of_their_own_are_kept_too(tmp_path: Path):
    held = np.arange(120 * 120).reshape(120, 120) % 120 > 30
    images = np.random.default_rng(0).uniform(0.02, 0.4, (3, 120, 120)).astype(np.float32)
    (tmp_path / "x").mkdir()
    for name, image in zip(RGB, images, strict=True):
        write(tmp_path / "x" / f"x_{name}.tif", np.stack([image, held.astype(np.float32)]), names=("", "alpha"), **UTM)
    with pytest.raises(SceneError) as error:
        open_scene(tmp_path / "x", needed=RGB)
    first = re.search(r"type (.*), likewise", str(error.value))
    assert first
    for name in RGB:
        command = first[1].replace(f"x_{RGB[0]}", f"x_{name}")
        subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    scene = open_scene(tmp_path / "x_dn", needed=RGB)
    with scene.open() as reader:
        assert np.array_equal(reader.valid(Window(0, 0, 120, 120)), held)


def test_bands_in_files_of_their_own_in_another_unit(tmp_path: Path):
    """Each is converted as the first one is, into a folder that takes the place of theirs."""
    images = numbers()
    for band, image in zip(RGB, images, strict=True):
        write(tmp_path / "my scene" / f"T33_{band}.tif", (image / 10_000).astype(np.float32)[None], names=None, **UTM)
    with pytest.raises(SceneError, match="reflectance from 0 to 1") as error:
        open_scene(tmp_path / "my scene", needed=RGB)
    commands = printed(str(error.value))
    type_in(commands, tmp_path)
    for band in RGB:
        if not list((tmp_path / "my scene_dn").glob(f"*{band}.tif")):
            type_in([[re.sub("_B[0-9]+", f"_{band}", word) for word in commands[-1]]], tmp_path)
    scene = open_scene(tmp_path / "my scene_dn", needed=RGB)
    with scene.open() as reader:
        found = reader.read(Window(0, 0, 240, 240), RGB)
    for band, image in zip(RGB, images, strict=True):
        np.testing.assert_allclose(found[band].astype(int), image.astype(int), atol=1)


# -------------------------------------------------------------------------------------------------------- land cover

TILE = "33UUP"
EPSG, X, Y = tile_corner(TILE)
GRID = GeoRef(EPSG, X, Y, 10, 240, 240)
ON_TILE = {"epsg": EPSG, "transform": Affine(*GRID.transform), "names": None}


def codes(path: Path) -> np.ndarray:
    with codes_on(open_clc(path), GRID, TILE) as land:
        return land.read(0, 240)


def land(fill: int) -> np.ndarray:
    """CORINE's codes, with a block that is not declared to be empty."""
    values = np.resize(np.array([111, 211, 311, 312, 512], np.uint16), (1, 240, 240))
    values[:, :40, :40] = fill
    return values


def zipped(path: Path) -> Path:
    archive = path.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(path, f"u2018/DATA/{path.name}")
    path.unlink()
    return archive


@pytest.mark.parametrize("in_zip", [False, True])
def test_land_cover_with_a_fill_stays_as_it_was_delivered(in_zip: bool, tmp_path: Path):
    path = write(tmp_path / "my clc.tif", land(65535), **ON_TILE)
    path = zipped(path) if in_zip else path
    before = path.read_bytes()
    with pytest.raises(LandCoverError) as error:
        open_clc(path)
    words = run_printed(str(error.value), tmp_path)
    assert words[:2] == ["rio", "convert"]
    assert np.array_equal(codes(tmp_path / words[-1]), np.where(land(0)[0] == 0, 999, land(0)[0]))
    assert path.read_bytes() == before


def test_a_raster_in_a_zip_is_taken_out_before_it_is_edited(tmp_path: Path):
    """Land cover is copied, which works out of a zip; a scene is edited, and a zip cannot be."""
    from seg.rasters.header import editing, in_zip

    archive = zipped(write(tmp_path / "my scene.tif", numbers(), **UTM))
    type_in(printed(": " + editing(f"{in_zip(archive)}u2018/DATA/my scene.tif", "--nodata 0")), tmp_path)
    with rasterio.open(tmp_path / "u2018" / "DATA" / "my scene.tif") as raster:
        assert raster.nodata == 0


@pytest.mark.parametrize("in_zip", [False, True])
def test_land_cover_without_a_crs(in_zip: bool, tmp_path: Path):
    path = tmp_path / "my clc.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=240, height=240, count=1, dtype="uint16", nodata=0,
        transform=ON_TILE["transform"],
    ) as raster:  # fmt: skip
        raster.write(land(0))
    path = zipped(path) if in_zip else path
    before = path.read_bytes()
    with pytest.raises(LandCoverError, match="has no CRS") as error:
        open_clc(path)
    words = run_printed(str(error.value), tmp_path, zz="33")
    assert np.array_equal(codes(tmp_path / words[-1])[50:], land(0)[0][50:])
    assert path.read_bytes() == before


DECIBELS = RANDOM.normal(-13, 3, (2, 240, 240)).astype(np.float32)
IMAGES = {
    "named": (lambda p: write(p / "x.tif", DECIBELS, **(ON_TILE | {"names": ("VV", "VH")})), "VH, VV, .*Sentinel-1"),
    "nameless": (lambda p: write(p / "x.tif", DECIBELS, **ON_TILE), "Sentinel-1"),
    "one band": (lambda p: write(p / "x.tif", DECIBELS[:1], **ON_TILE), "values such as -.*Sentinel-1"),
    "nodata": (lambda p: write(p / "x.tif", DECIBELS[:1], nodata=np.nan, **ON_TILE), "Sentinel-1"),
    "by its name": (
        lambda p: write(p / "S1A_IW_GRDH_1SDV_20170612T165809_VV.tif", np.zeros((1, 240, 240), np.float32), **ON_TILE),
        "an image",
    ),
    "Sentinel-2": (
        lambda p: write(p / "x.tif", numbers(), **(ON_TILE | {"names": RGB})),
        "B02, B03, B04, .*Sentinel-2",
    ),
    "reflectance": (lambda p: write(p / "x.tif", (numbers() / 1e4).astype(np.float32), **ON_TILE), "an image"),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_given_as_land_cover_is_called_one(kind: str, tmp_path: Path):
    make, words = IMAGES[kind]
    with pytest.raises(LandCoverError, match=f"{words}.*give CORINE Land Cover as --clc") as error:
        open_clc(make(tmp_path))
    assert "rio " not in str(error.value)


# ------------------------------------------------------------------------------------------------------------ entries


def test_a_submission_is_packed_again(tmp_path: Path):
    """From runs to the form, from the form to the submission, and from one that was edited to a good one."""
    runs = three_runs(tmp_path / "my runs", small_store(tmp_path))
    said = works("submit", *runs, "--out", tmp_path / "an entry")
    form = tmp_path / "an entry.answers.yaml"
    command = printed(said[said.index("Then: ") :])[0][1:]
    assert "is not answered in full" in refused(*command)
    form.write_text("- nothing")
    assert "'seg submit' without --answers writes the form" in refused(*command)
    form.unlink()
    works("submit", *runs, "--out", tmp_path / "an entry")
    form.write_text(form_text(ANSWERS)[0])
    said = works(*command)
    verify = printed(said[said.index("Verify it") :])[0][1:]
    assert "VERIFIED an entry" in works(*verify)
    page = tmp_path / "an entry" / "README.md"
    page.write_text(page.read_text().replace("mIoU", "mIoU 99"))
    assert "its hash differs; pack it again with 'seg submit'" in refused(*verify)
    # What was edited is nobody's but the editor's.
    shutil.move(tmp_path / "an entry", tmp_path / "edited")
    works(*command)
    works(*verify)


def test_a_folder_without_submissions(tmp_path: Path):
    said = refused("leaderboard", tmp_path / "a board", "--out", tmp_path / "site")
    works(*printed(said)[0][1:])
    assert "Leaderboard:" in works("leaderboard", tmp_path / "a board", "--out", tmp_path / "site")


def test_bands_in_a_file_of_rasters_are_stacked_as_advised(tmp_path: Path) -> None:
    """As of netCDF: a raster for each band, and none of all."""
    rng = np.random.default_rng(0)
    images = rng.integers(200, 3000, (3, 120, 120)).astype(np.uint16)
    source = write(tmp_path / "source.tif", images, **UTM)
    rasterio.shutil.copy(source, tmp_path / "all.nc", driver="netCDF")
    with pytest.raises(SceneError, match="holds no bands itself, only other rasters; put those of the scene") as error:
        open_scene(tmp_path / "all.nc", needed=RGB)
    run_printed(str(error.value), tmp_path)
    scene = open_scene(tmp_path / "all.tif", bands=RGB, needed=RGB)
    with scene.open() as reader:
        window = Window(0, 0, 120, 120)
        for band, image in zip(RGB, images, strict=True):
            assert np.array_equal(reader.read(window, RGB)[band], image)


def test_rasters_of_other_programs_are_read(tmp_path: Path) -> None:
    """SNAP's folder of ENVI files, and ERDAS Imagine, which calls metres meters."""
    images = np.random.default_rng(0).integers(200, 3000, (3, 120, 120)).astype(np.uint16)
    source = write(tmp_path / "source.tif", images, **UTM)
    rasterio.shutil.copy(source, tmp_path / "all.img", driver="HFA")
    folder = tmp_path / "sub.data"
    folder.mkdir()
    for name, image in zip(("B2", "B3", "B4"), images, strict=True):
        single = write(tmp_path / "single.tif", image[None], names=None, **UTM)
        rasterio.shutil.copy(single, folder / f"{name}.img", driver="ENVI")
    window = Window(0, 0, 120, 120)
    for path, bands in ((tmp_path / "all.img", RGB), (folder, None)):
        with open_scene(path, bands=bands, needed=RGB).open() as reader:
            for band, image in zip(RGB, images, strict=True):
                assert np.array_equal(reader.read(window, RGB)[band], image)
    (tmp_path / "sub.dim").write_text("<Dimap_Document/>")
    with pytest.raises(SceneError, match=r"sub\.data beside it; name that folder"):
        open_scene(tmp_path / "sub.dim", needed=RGB)
    (tmp_path / "MTD_TL.xml").write_text("<n1:Level-2A_Tile_ID/>")
    with pytest.raises(SceneError, match=r"name the folder that ends in \.SAFE"):
        open_scene(tmp_path / "MTD_TL.xml", needed=RGB)

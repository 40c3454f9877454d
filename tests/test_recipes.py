"""Recipes of reference entries: known by their hashes, trained with three seeds and packed by one command."""

import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import run_seg
from entries import evidence_on, small_store, write_run

from seg.benchmark.entering import enter
from seg.benchmark.form import Answers
from seg.benchmark.protocol import budget_of, inputs_of
from seg.benchmark.recipes import check_recipe, stated_of
from seg.config.load import load_config
from seg.errors import SubmissionError, WrongUseError
from seg.pipeline.verify import verify
from seg.runs import dry_run as dry_run_module
from seg.runs.expectation import duration
from seg.runs.sweep import configurations, sweep_runs

REFERENCE = Path(__file__).resolve().parents[1] / "configs" / "reference"
RECIPES = configurations([REFERENCE])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    return small_store(tmp_path_factory.mktemp("recipes"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A small recipe with its answers and without hashes."""
    folder = tmp_path / "recipes"
    (folder / "answers").mkdir(parents=True)
    (folder / "tiny.yaml").write_text("data:\n  bands: s2\nmodel:\n  arch: unet\n  encoder: resnet18\n")
    (folder / "answers" / "tiny.yaml").write_text((REFERENCE / "answers" / "unet-s2.yaml").read_text())
    return folder / "tiny.yaml"


def trained(runs, store) -> dict[str, BaseException]:
    """In the place of trainings: what they and their evaluations leave behind."""
    for seed, run in enumerate(runs):
        write_run(run.folder, evidence_on(store, seed), seed, data__store=store.folder)
        (run.folder / "config.yaml").write_text((run.folder / "config.yaml").read_text())
    return {}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_are_what_their_hashes_say_and_state_what_no_record_answers(path: Path):
    check_recipe(path)
    config, stated = load_config(path), stated_of(path)
    assert stated["pretraining_data"] != "none" if config.model.weights else "pretraining_data" not in stated
    # With what the records of a training answer, nothing is left.
    recorded = {
        *("protocol", "inputs", "pretraining", "labels_percent", "selection", "trials", "deterministic", "encoder"),
        *("augmentation", "test_time", "parameters", "multiply_adds", "patches_seen", "hours", "device", "energy_kwh"),
    }
    recorded |= set() if config.model.weights else {"pretraining_data"}
    assert recorded | stated.keys() == set(Answers.model_fields)
    assert inputs_of(config.data.bands) in path.stem
    assert budget_of(config.data.fraction) is not None


def test_the_hashes_are_those_of_sha256sum():
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=REFERENCE, check=True)
    listed = {line.split()[1] for line in (REFERENCE / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.relative_to(REFERENCE).as_posix() for path in REFERENCE.rglob("*.yaml")}


def test_a_recipe_that_was_changed_is_refused(recipe: Path):
    check_recipe(recipe)
    recipe.with_name("SHA256SUMS").write_text(f"{'0' * 64}  tiny.yaml\n")
    with pytest.raises(WrongUseError, match=r"tiny\.yaml is not the recipe whose hash stands in"):
        check_recipe(recipe)
    (recipe.parent / "answers" / "tiny.yaml").write_text("colour: red")
    with pytest.raises(WrongUseError, match="no line of the form of a submission: colour"):
        stated_of(recipe)
    (recipe.parent / "answers" / "tiny.yaml").unlink()
    with pytest.raises(WrongUseError, match=r"has no answers/tiny\.yaml beside it"):
        stated_of(recipe)


def test_a_folder_names_its_configurations_by_name(recipe: Path, tmp_path: Path):
    (recipe.parent / "again.yaml").write_text("train: {lr: 0.002}")
    assert configurations([recipe.parent]) == [recipe.with_name("again.yaml"), recipe]
    assert configurations([recipe]) == [recipe]
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongUseError, match="empty holds no configuration"):
        configurations([tmp_path / "empty"])
    names = [run.name for run in sweep_runs([recipe.parent], tmp_path / "out", seeds="0,1")]
    assert names == ["again-seed0", "again-seed1", "tiny-seed0", "tiny-seed1"]


def test_one_command_trains_scores_and_packs(recipe: Path, store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("seg.pipeline.sweep.sweep", lambda runs, **_: trained(runs, store))
    words = ("sweep", recipe.parent, "--protocol", "v1", "--data", store.folder, "--out", tmp_path / "out")
    code, said = run_seg(*words)
    assert code == 0, said
    assert "verify it with: seg verify" in said
    found = verify(tmp_path / "out" / "submissions" / "tiny", data=store.folder)
    assert [one.seed for one in found.outcome.seeds] == [0, 1, 2]
    assert found.answers.authors == ["The seg developers"]
    assert found.answers.track.name == "s2-scratch-100"


def test_what_it_will_cost_is_foreseen(recipe: Path, store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tried = []

    def rehearsed(task, *_):
        tried.append(task.config.train.seed)
        return SimpleNamespace(rehearsal=SimpleNamespace(run_seconds=7200, memory_bytes=3 << 30))

    monkeypatch.setattr(dry_run_module, "dry_run", rehearsed)
    words = ("sweep", recipe.parent, "--protocol", "v1", "--data", store.folder, "--out", tmp_path / "out", "--dry-run")
    code, said = run_seg(*words)
    assert code == 0, said
    assert tried == [0]
    assert f"tiny: 3 x {duration(7200)}, unless they stop early, 3.0 GiB" in said
    assert f"All trainings: {duration(3 * 7200)} on this machine" in said
    assert not (tmp_path / "out").exists()


def test_an_entry_is_scored_as_its_recipe_says(recipe: Path, store, tmp_path: Path):
    for options in (("--no-eval",), ("--split", "validation"), ("--grid", "train.lr=1e-3")):
        code, said = run_seg("sweep", recipe, "--protocol", "v1", "--out", tmp_path / "out", *options)
        assert code == 2
        assert "an entry is scored on test" in " ".join(said.split())
    runs = sweep_runs([recipe], tmp_path / "out", seeds="0,1", data=store.folder)
    trained(runs, store)
    with pytest.raises(SubmissionError, match="it has 2 seeds, and an entry has 3 or more"):
        enter([recipe], [replace(run) for run in runs], tmp_path / "out")
    assert not (tmp_path / "out" / "submissions" / "tiny").exists()

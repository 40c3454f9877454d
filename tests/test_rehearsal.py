"""A dry run is short beside the run that it predicts, however short that is."""

from pathlib import Path
from typing import Any

import pytest

import seg
from seg.config.sections import DataConfig
from seg.engine import rehearsal
from seg.engine.cost import RunCost
from seg.engine.rehearsal import Rehearsal, rehearse
from seg.runs.cost import expected_ledger, ledger
from seg.runs.data import find_store
from seg.runs.dry_run import dry_run
from seg.runs.plan import plan
from seg.runs.preparation import joined_by, prepare

SMALL: dict[str, Any] = {"model__arch": "linknet", "model__encoder": "tu-test_resnet", "data__bands": "rgb"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rehearsal")
    seg.synthesise(folder / "tree", 120)
    tree = folder / "tree"
    seg.build(
        folder / "store",
        s2=tree / "BigEarthNet-S2",
        maps=tree / "Reference_Maps",
        metadata=[tree / "metadata.parquet"],
        partial=True,
    )
    return folder / "store"


def rehearsed(store: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[Rehearsal, int, int, int, int]:
    """The rehearsal of a run, the patches that it trained on and validated, and those of the run."""
    trained: list[int] = []
    validated: list[int] = []
    step, evaluate = rehearsal.train_step, rehearsal.evaluate

    def counted_step(run: Any, batch: Any) -> Any:
        trained.append(len(batch))
        return step(run, batch)

    def counted_evaluate(model: Any, part: Any, origin: Any, how: Any) -> Any:
        validated.append(len(part))
        return evaluate(model, part, origin, how)

    monkeypatch.setattr(rehearsal, "train_step", counted_step)
    monkeypatch.setattr(rehearsal, "evaluate", counted_evaluate)
    job = plan(out=store.parent / "run", data__store=store, **SMALL, **settings)
    with joined_by(job.config) as (ranks, compute):
        run = prepare(job.config, job.folder, ranks=ranks, compute=compute).run
        need = rehearse(run)
    training = run.total_steps * rehearsal.own_patches(run)
    return need, sum(trained), sum(validated), training, need.epochs * len(run.validation)


@pytest.mark.parametrize("batch_size", [4, 64])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("limit", [{"train__epochs": 1}, {"train__max_steps": 2}])
def test_it_takes_a_twentieth_of_the_patches_at_most(
    store: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int, accumulate: int, limit: dict[str, int]
) -> None:
    need, trained, validated, training, validation = rehearsed(
        store, monkeypatch, train__batch_size=batch_size, train__accumulate=accumulate, **limit
    )
    assert 2 <= trained <= max(2, training / 20)
    assert 1 <= validated <= max(1, validation / 20)
    assert need.run_seconds > 0
    assert need.patches_seen == training
    assert need.step_seconds * need.steps < need.epoch_seconds
    assert not need.whole  # memory that is measured by a part of a batch is said to be that


def test_a_long_run_is_judged_by_a_whole_second_step(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need, trained, _, _, _ = rehearsed(store, monkeypatch, train__batch_size=8, train__epochs=40)
    assert need.whole
    assert trained == rehearsal.STEPS * 8


def test_what_is_expected_is_told_as_the_ledger_tells_it() -> None:
    record = {"hardware": {"cpu": "EPYC", "gpus": []}, "compute": {"device": "cpu"}, "batch": {"processes": 2}}
    need = Rehearsal(
        1.0, 10.0, 100.0, 10, 10, 2**30, None, 0.5, joules=30.0, energy_by="RAPL", seconds=6.0, patches_seen=80
    )
    expected = expected_ledger(need, 20.0, record)
    assert expected == ledger(RunCost(120.0, 240.0, 80, 2**30, None, 600.0, "RAPL"), record)
    on_gpu = Rehearsal(1.0, 10.0, 100.0, 10, 10, 2**30, 2**33, 0.5, patches_seen=80)
    expected = expected_ledger(on_gpu, 20.0, record)
    assert (expected["peak_device_memory_bytes"], expected["energy_joules"], expected["energy_by"]) == (
        2**30,
        None,
        None,
    )


@pytest.mark.parametrize("kept", [False, True])
def test_without_data_the_demo_store_is_used_if_it_is_there_and_otherwise_goes_again(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, folder in (("XDG_CACHE_HOME", "cache"), ("TMPDIR", "scratch")):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("SEG_DATA", raising=False)
    monkeypatch.setattr("seg.runs.data.DEMO_PATCHES", 60)
    if kept:
        find_store(DataConfig())
    there = set(tmp_path.rglob("*"))
    said: list[str] = []
    result = dry_run(plan(**SMALL, train__batch_size=4, data__metadata=Path("no matter")), notify=said.append)
    assert result.record["data"]["patches"]["train"] > 10
    assert set(tmp_path.rglob("*")) == there
    assert sum("SYNTHETIC" in one for one in said) == 1
    assert any("is kept in" in one for one in said) == kept

"""Series of runs: what a protocol plans, and the tables and curves that its runs come to."""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from commands import typed
from made_up import made_up_evidence

import seg
from seg.config.load import dump_config, load_config
from seg.errors import EmptySelectionError, RunError, WrongUseError
from seg.metrics.evidence import Evidence, take_patches
from seg.metrics.evidence_file import save_evidence
from seg.metrics.scores import headline, score_evidence
from seg.report.record import run_record, write_json
from seg.runs.expectation import duration
from seg.runs.series import BUDGETS
from seg.runs.series_report import SERIES_FILES, holds_series, report_series
from seg.runs.sweep import sweep_runs
from seg.store.open import open_store
from seg.store.selection import select


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    tree = seg.synthesise(folder / "tree", 100)
    seg.build(
        folder / "store",
        s2=folder / "tree" / "BigEarthNet-S2",
        maps=folder / "tree" / "Reference_Maps",
        metadata=[folder / "tree" / "metadata.parquet"],
        partial=True,
    )
    assert tree
    return folder / "store"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text("model: {arch: linknet}\ntrain: {batch_size: 4}\n")
    return tmp_path / "a.yaml"


# --- what is planned -------------------------------------------------------------------------------------------------


def test_budgets_are_planned_with_every_seed_and_setting(store: Path, config: Path, tmp_path: Path):
    said: list[str] = []
    runs = sweep_runs(
        config, tmp_path / "out", seeds="0,1", grid=["train.lr=1e-3,3e-4"], data=store, series="budgets",
        notify=said.append,
    )  # fmt: skip
    assert len(runs) == 2 * 2 * len(BUDGETS)
    assert {run.config.data.fraction for run in runs} == set(BUDGETS)
    assert {run.name for run in runs if run.config.train.seed == 1 and run.config.train.lr == 3e-4} == {
        f"a-lr_3e-4-fraction_{budget:g}-seed1" for budget in BUDGETS
    }
    # The command that starts seg elsewhere trains the same.
    for run in runs:
        sets = [word for flag, word in zip(run.options, run.options[1:], strict=False) if flag == "--set"]
        assert load_config(config, sets, train__seed=run.config.train.seed).data.fraction == run.config.data.fraction
    patches = len(select(open_store(store).index, runs[0].config.data, "train"))
    assert len(said) == len(set(said))
    assert any(f"({patches} patch" in one and "no patch with: " in one for one in said)
    assert any("is less than a batch of 4 (train.batch_size)" in one for one in said)


def test_budgets_may_be_of_other_places(store: Path, config: Path, tmp_path: Path):
    chosen = {"data": store, "series": "budgets"}
    runs = sweep_runs(config, tmp_path / "out", overrides=["data.fraction_seed=1"], **chosen)
    assert [(run.config.data.fraction, run.config.data.fraction_seed) for run in runs] == [(0.01, 1), (0.1, 1), (1, 0)]
    index = open_store(store).index
    others = sweep_runs(config, tmp_path / "other", **chosen)
    learned = [[set(select(index, run.config.data, "train").tolist()) for run in some] for some in (runs, others)]
    assert learned[0][:2] != learned[1][:2]
    assert learned[0][2] == learned[1][2]


def test_every_country_is_left_out_and_scored(store: Path, config: Path, tmp_path: Path):
    runs = sweep_runs(config, tmp_path / "out", data=store, series="countries")
    index = open_store(store).index
    names = index.countries.to_numpy(zero_copy_only=False)
    both = {name for name in set(names) if all((names[index.splits == split] == name).any() for split in (0, 2))}
    whole, *others = runs
    assert whole.name == "a-all_countries-seed0"
    assert (whole.config.data.except_countries, whole.config.eval.countries) == ((), ())
    assert {run.config.eval.countries for run in others} == {(name,) for name in both}
    for run in others:
        (country,) = run.config.eval.countries
        assert run.config.data.except_countries == (country,)
        assert country not in set(names[select(index, run.config.data, "train")])
        assert country not in set(names[select(index, run.config.data, "validation")])
        assert set(names[select(index, run.config.scored_data, "test")]) == {country}


def test_series_that_cannot_be(store: Path, config: Path, tmp_path: Path):
    one = sorted(set(open_store(store).index.countries.to_pylist()))[0]
    with pytest.raises(WrongUseError, match=r"the patches are from .*, so no country can be left out"):
        sweep_runs(config, tmp_path, data=store, series="countries", overrides=[f"data.countries={one}"])
    for series, setting in (("budgets", "data.fraction=0.5"), ("countries", "eval.countries=Austria")):
        sentence = f"--protocol {series} gives each run a {setting.partition('=')[0]} of its own"
        for how in ({"overrides": [setting]}, {"grid": [setting]}):
            with pytest.raises(WrongUseError, match=sentence):
                sweep_runs(config, tmp_path, data=store, series=series, **how)
    with pytest.raises(EmptySelectionError, match="no patches from 'Atlantis'"):
        sweep_runs(config, tmp_path, data=store, overrides=["eval.countries=Atlantis"])


# --- what it comes to ------------------------------------------------------------------------------------------------


def write_run(folder: Path, evidence: Evidence | None, patches: int = 100, **settings: Any) -> Path:
    """A run folder as `seg train` and `seg eval` leave it behind, without weights."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(load_config(**settings)))
    data = {"fingerprint": "made-up", "patches": {"train": patches, "validation": 9}}
    write_json(folder / "run.json", run_record(status="finished", synthetic=False, data=data))
    if evidence is not None:
        save_evidence(folder / "eval" / evidence.origin.scope.name / "evidence", evidence)
    return folder


@cache
def made(skill: float, country: str | None = None) -> Evidence:
    evidence = made_up_evidence(96, 12, seed=1, skill=skill, details=False)
    evidence = replace(evidence, origin=replace(evidence.origin, weights=""))
    if country is None:
        return evidence
    here = np.flatnonzero(evidence.countries.to_numpy(zero_copy_only=False) == country)
    part = take_patches(evidence, here)
    return replace(part, origin=replace(part.origin, countries=(country,)))


@pytest.fixture(scope="module")
def budgets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("budgets")
    for fraction, skill in ((0.01, 0.5), (0.1, 0.6), (1.0, 0.8)):
        for seed in (0, 1):
            for arch, less in (("unet", 0.0), ("fpn", 0.05)):
                name = f"{arch}-fraction_{fraction:g}-seed{seed}"
                evidence = made(skill - less + 0.01 * seed)
                settings = {"data__fraction": fraction, "train__seed": seed, "model__arch": arch}
                write_run(folder / name, evidence, int(1000 * fraction), **settings)
    write_run(folder / "unet-fraction_0.1-seed2", None, data__fraction=0.1, train__seed=2)
    return folder


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / f"{name}.csv").read_text())))


def test_the_curve_of_budgets(budgets: Path):
    result = report_series(budgets)
    assert [table.name for table in result.tables] == ["budgets"]
    rows = rows_of(budgets, "budgets")
    assert [(row["configuration"].split()[0], float(row["budget"])) for row in rows] == [
        (arch, fraction) for arch in ("fpn", "unet") for fraction in (0.01, 0.1, 1.0)
    ]
    assert [row["train_patches"] for row in rows[:3]] == ["10", "100", "1000"]
    assert {row["seeds"] for row in rows} == {"0, 1"}
    row = rows[-1]
    expected = np.mean([headline(score_evidence(made(0.8 + 0.01 * seed)))["miou"] for seed in (0, 1)])
    assert float(row["miou"]) == pytest.approx(expected)
    assert float(row["miou_low"]) < expected < float(row["miou_high"])
    assert float(row["miou_sd"]) > 0
    document = json.loads((budgets / "budgets.json").read_text())
    assert any("unet-fraction_0.1-seed2 was not scored on the test split yet" in note for note in document["notes"])
    assert (budgets / "budgets.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in budgets.iterdir() if path.is_file() and path.name[0] != "."} <= set(SERIES_FILES)
    # Again: what it has written itself is no obstacle.
    report_series(budgets)


def test_countries_that_were_left_out(tmp_path: Path):
    for seed in (0, 1):
        write_run(tmp_path / f"all-seed{seed}", made(0.8 + 0.01 * seed), train__seed=seed)
        for country in ("Finland", "Portugal"):
            settings = {"data__except_countries": (country,), "eval__countries": (country,), "train__seed": seed}
            write_run(tmp_path / f"{country}-seed{seed}", made(0.5, country), **settings)
    report_series(tmp_path)
    rows = rows_of(tmp_path, "countries")
    assert [row["country"] for row in rows] == ["Finland", "Portugal"]
    for row in rows:
        seen = np.mean([headline(score_evidence(made(0.8 + 0.01 * s, row["country"])))["miou"] for s in (0, 1)])
        left_out = headline(score_evidence(made(0.5, row["country"])))["miou"]
        assert float(row["miou_seen"]) == pytest.approx(seen)
        assert float(row["miou_left_out"]) == pytest.approx(left_out)
        assert float(row["miou_difference"]) == pytest.approx(left_out - seen)
        assert float(row["miou_difference_low"]) <= left_out - seen <= float(row["miou_difference_high"])
        assert int(row["patches"]) == len(made(0.5, row["country"]))
    assert (tmp_path / "countries.png").is_file()


def test_runs_that_form_no_series(tmp_path: Path):
    write_run(tmp_path / "runs" / "a", made(0.8))
    assert holds_series(tmp_path / "runs")
    assert not holds_series(tmp_path / "runs" / "a")
    with pytest.raises(RunError, match=r"form no series; did you mean \S+a\? To make a series: seg sweep C"):
        report_series(tmp_path / "runs")


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("COLUMNS", "200")

    return partial(typed, capfd, monkeypatch)


def test_as_typed(
    cli: Callable[..., tuple[int, str, str]],
    budgets: Path,
    store: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    code, out, err = cli("report", budgets, "--split", "test")
    assert code == 0, err
    assert "Scores by label budget, test split" in out
    code, _, err = cli("report", budgets, "--check")
    assert code == 2
    assert "--check are of one" in err
    monkeypatch.setattr("seg.runs.dry_run.dry_run", _as_long_as_its_share)
    words = ["sweep", config, "--out", tmp_path / "out", "--data", store, "--protocol", "budgets", "--dry-run"]
    words += ["--seeds", "0,1"]
    code, out, err = cli(*words)
    assert code == 0, err
    assert f"Then: seg report {tmp_path / 'out'} --split test" in out
    assert "cannot have every class" in err
    # What each share takes, the seeds together, and all of it.
    for share in ("0.01", "0.1", "1"):
        hours = duration(36000 * float(share))
        assert re.search(rf"-fraction_{re.escape(share)}: 2 x {re.escape(hours)}, unless they stop early", out)
    assert f"All trainings: {duration(2 * 36000 * 1.11)} on this machine" in out


def _as_long_as_its_share(task: Any, *_: Any) -> SimpleNamespace:
    """In the place of a rehearsal, which takes time."""
    seconds = 36000 * task.config.data.fraction
    return SimpleNamespace(rehearsal=SimpleNamespace(run_seconds=seconds, memory_bytes=None))

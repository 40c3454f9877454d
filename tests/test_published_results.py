"""Every published table is what its published evidence gives."""

from pathlib import Path

import pytest

from seg.pipeline.report import report_run

RESULTS = Path(__file__).resolve().parents[1] / "results"
RUNS = sorted(folder.parents[3] for folder in RESULTS.rglob("eval/test/evidence/patches.parquet"))


def test_there_are_published_results():
    assert RUNS


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.relative_to(RESULTS).as_posix())
def test_published_tables_follow_from_published_evidence(run):
    report_run(run, split="test", check=True)

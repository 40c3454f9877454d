"""A tiny network that has been trained for a moment: all of a run, and nothing learned."""

from pathlib import Path
from typing import Any
from unittest import mock

from seg.pipeline.evaluate import EvalResult, evaluate
from seg.pipeline.train import train
from seg.runs.plan import plan

TINY = {"model__arch": "linknet", "model__encoder": "tu-test_resnet", "train__epochs": 1, "train__device": "cpu"}


def quick_run(out: Path, store: Path, **settings: Any) -> Path:
    """Train a run.

    Args:
        out: Its folder.
        store: What it is trained on.
        settings: ``section__key=value`` beyond `TINY` or instead of it.
    """
    job = plan(out=out, data__store=store, **{**TINY, **settings})
    train(job)
    return job.folder


def quick_evaluate(run: Path) -> EvalResult:
    """Score a run; its page is empty, as its 25 charts take longer than a tiny model."""
    with mock.patch("seg.report.html.render_report", return_value=""):
        return evaluate(run)

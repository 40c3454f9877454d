"""seg: the benchmark for land-cover segmentation on reBEN (BigEarthNet v2.0).

The public names are loaded when they are first used, so that ``import seg`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seg.config.load import load_config as load_config
    from seg.data.lightning import datamodule as datamodule
    from seg.data.readers import dataset as dataset
    from seg.data.readers import loader as loader
    from seg.errors import SegError as SegError
    from seg.metrics.collection import metric_collection as metric_collection
    from seg.models.checkpoint import load_checkpoint as load_checkpoint
    from seg.pipeline.build import build as build
    from seg.pipeline.card import write_card as write_card
    from seg.pipeline.compare import compare as compare
    from seg.pipeline.demo import demo as demo
    from seg.pipeline.evaluate import evaluate as evaluate
    from seg.pipeline.export import export as export
    from seg.pipeline.leaderboard import leaderboard as leaderboard
    from seg.pipeline.predict import predict as predict
    from seg.pipeline.pretrain import pretrain as pretrain
    from seg.pipeline.report import report_run as report_run
    from seg.pipeline.score import score as score
    from seg.pipeline.submit import submit as submit
    from seg.pipeline.sweep import sweep as sweep
    from seg.pipeline.synthesise import synthesise as synthesise
    from seg.pipeline.train import train as train
    from seg.pipeline.verify import verify as verify
    from seg.runs.model import load_model as load_model
    from seg.store.open import open_store as open_store

_HOME = {
    "load_config": "seg.config.load",
    "datamodule": "seg.data.lightning",
    "dataset": "seg.data.readers",
    "loader": "seg.data.readers",
    "SegError": "seg.errors",
    "metric_collection": "seg.metrics.collection",
    "load_checkpoint": "seg.models.checkpoint",
    "write_card": "seg.pipeline.card",
    "compare": "seg.pipeline.compare",
    "build": "seg.pipeline.build",
    "synthesise": "seg.pipeline.synthesise",
    "demo": "seg.pipeline.demo",
    "evaluate": "seg.pipeline.evaluate",
    "export": "seg.pipeline.export",
    "load_model": "seg.runs.model",
    "predict": "seg.pipeline.predict",
    "pretrain": "seg.pipeline.pretrain",
    "report_run": "seg.pipeline.report",
    "score": "seg.pipeline.score",
    "submit": "seg.pipeline.submit",
    "verify": "seg.pipeline.verify",
    "leaderboard": "seg.pipeline.leaderboard",
    "sweep": "seg.pipeline.sweep",
    "train": "seg.pipeline.train",
    "open_store": "seg.store.open",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from seg.config.version import VERSION

        return VERSION
    if name not in _HOME:
        raise AttributeError(f"module 'seg' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])

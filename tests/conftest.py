"""What several test files share: the real samples and small stores made from them."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forks
import pytest

if TYPE_CHECKING:
    from predicted import Made

    from seg.pipeline.score import Scored

# Two tests run at once, and threads that wait for each other on a core that works for the other test make both three
# times slower. It holds for the processes that a test starts, too, and has to be said before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of the real reBEN samples."""
    if not REAL.is_dir():
        pytest.skip("the real reBEN samples (../shared/real) are not here")
    return REAL


@pytest.fixture(scope="session")
def ten_metres(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of the 80 real patches with bands of 10 m, split by tile; nobody may write into it."""
    from seg.prepare.build import build_store
    from seg.prepare.sources import published_sources

    out = tmp_path_factory.mktemp("ten-metres") / "store"
    build_store(published_sources(real / "reben-10m-80"), out, resplit="tile")
    return out


@pytest.fixture(scope="session")
def real_run(ten_metres: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the six real bands, trained for an epoch and scored; nobody may write into it."""
    from quick import quick_run

    from seg.pipeline.evaluate import evaluate

    settings = {"data__bands": "VV,VH,B02,B03,B04,B08", "train__batch_size": 16, "train__precision": "float32"}
    run = quick_run(tmp_path_factory.mktemp("real-run") / "small", ten_metres, **settings)
    evaluate(run)
    return run


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As in the processes that torchrun starts: the number of threads decides the order of sums."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of `seg.prepare.processes` are there at once instead of after a second."""
    monkeypatch.setattr("seg.prepare.processes.get_context", lambda _: forks.context())


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations write an empty page where nobody looks at it: its 25 charts take longer than a tiny model."""
    monkeypatch.setattr("seg.report.html.render_report", lambda *_: "")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> "Made":
    """A small store, and predictions of its test split."""
    from predicted import Made

    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture
def scored(made: "Made", tmp_path: Path) -> "Callable[..., Scored]":
    """Scores predictions on that store, each time into a folder of its own."""
    from seg.pipeline.score import score

    numbers = itertools.count()

    def run(predictions: Path | None = None, **options: Any) -> "Scored":
        given = {"name": "mine", "out": tmp_path / f"scored-{next(numbers)}", "data": made.store.folder}
        given |= {"classes": "reben"} if predictions is not None else {}
        return score(predictions, **{**given, **options})

    return run

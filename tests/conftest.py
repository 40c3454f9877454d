"""What several test files share: the real samples and small stores made from them."""

from pathlib import Path

import forks
import pytest

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"


@pytest.fixture(scope="session")
def real() -> Path:
    """Folder of the real reBEN samples."""
    if not REAL.is_dir():
        pytest.skip("the real reBEN samples (../shared/real) are not here")
    return REAL


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of `seg.prepare.processes` are there at once instead of after a second."""
    monkeypatch.setattr("seg.prepare.processes.get_context", lambda _: forks.context())


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations write an empty page where nobody looks at it: its 25 charts take longer than a tiny model."""
    monkeypatch.setattr("seg.runs.evaluation.rendered", lambda *_: "")

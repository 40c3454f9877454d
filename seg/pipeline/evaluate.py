"""Score a run: evidence, scores and tables of a split."""

from dataclasses import dataclass
from pathlib import Path

from seg.config.track import Track, silent
from seg.engine.evaluate import evaluate as gather_evidence
from seg.metrics.evidence import Origin
from seg.metrics.evidence_file import save_evidence
from seg.metrics.scores import Scores, score_evidence
from seg.pipeline.data import Notify, ignore
from seg.pipeline.run_folder import EVALUATIONS, EVIDENCE
from seg.pipeline.session import open_run
from seg.reben.patch import Split
from seg.report.formats import Table
from seg.report.tables import score_tables, write_tables


@dataclass(frozen=True)
class EvalResult:
    """Outcome of an evaluation.

    Attributes:
        folder: ``eval/<split>`` of the run.
        scores: All scores.
        tables: The same as tables.
    """

    folder: Path
    scores: Scores
    tables: tuple[Table, ...]


def evaluate(
    run: Path,
    *,
    split: Split | None = None,
    data: Path | None = None,
    metadata: Path | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    track: Track = silent,
    notify: Notify = ignore,
) -> EvalResult:
    """Evaluate the best weights of a run and write ``eval/<split>/``: evidence, scores and tables.

    Args:
        run: Run folder of `train`.
        split: The split; the configuration's ``eval.split`` (test) if None.
        data, metadata: Other data than the run's own.
        device, batch_size: Instead of the run's settings.
        track: Progress.
        notify: Is told what the user must not miss.

    Raises:
        ValueError: One of its subclasses, in one sentence, for anything wrong with the run or the data.
    """
    session = open_run(
        run,
        split=split,
        data=data,
        metadata=metadata,
        device=device,
        batch_size=batch_size,
        track=track,
        notify=notify,
    )
    info = session.store.info
    evidence = gather_evidence(
        session.model,
        session.dataset,
        Origin(session.split, info.fingerprint, info.synthetic, thresholds=session.card.thresholds),
        session.compute,
        session.config.eval.batch_size,
        session.workers,
        track,
    )
    scores = score_evidence(evidence)
    folder = run / EVALUATIONS / session.split
    save_evidence(folder / EVIDENCE, evidence)
    write_tables(folder, scores)
    return EvalResult(folder, scores, score_tables(scores))

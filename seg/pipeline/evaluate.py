"""Score a run: evidence, scores and tables of a split."""

import time
from dataclasses import dataclass
from pathlib import Path

from seg.config.track import Track, silent
from seg.engine.evaluate import evaluate as gather_evidence
from seg.metrics.evidence import Origin
from seg.metrics.evidence_file import save_evidence
from seg.metrics.scores import Scores, score_evidence
from seg.models.weights_file import weights_digest
from seg.pipeline.data import Notify, ignore
from seg.pipeline.run_folder import EVALUATION_FILE, EVALUATIONS, EVIDENCE, best_checkpoint
from seg.pipeline.session import open_run
from seg.reben.patch import Split
from seg.report.formats import Table
from seg.report.record import run_record, write_json
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
    """Evaluate the best weights of a run and write ``eval/<split>/``: evidence, scores, tables and a record.

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
    weights = weights_digest(best_checkpoint(run)) or ""
    began = time.perf_counter()
    evidence = gather_evidence(
        session.model,
        session.dataset,
        Origin(session.split, info.fingerprint, info.synthetic, weights, session.card.thresholds),
        session.compute,
        session.config.eval.batch_size,
        session.workers,
        track,
    )
    seconds = time.perf_counter() - began
    scores = score_evidence(evidence)
    folder = run / EVALUATIONS / session.split
    save_evidence(folder / EVIDENCE, evidence)
    write_tables(folder, scores)
    record = {
        "synthetic": info.synthetic,
        "data": {"fingerprint": info.fingerprint, "split": session.split, "patches": len(evidence)},
        "weights": weights,
        "compute": {"device": session.compute.device.type, "dtype": str(session.compute.dtype).removeprefix("torch.")},
        "throughput": {"patches_per_second": len(evidence) / seconds, "seconds": seconds},
    }
    write_json(folder / EVALUATION_FILE, run_record(**record))
    return EvalResult(folder, scores, score_tables(scores))

"""Score a run: evidence, scores, tables and report of a split."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg.config.paths import AnyPath, path_or_none
from seg.config.track import Notify, Track, ignore, silent
from seg.errors import RunError
from seg.metrics.assess import Assessment, assess
from seg.metrics.evidence import Evidence, Origin
from seg.metrics.evidence_file import save_evidence
from seg.metrics.scores import Scores
from seg.models.weights_file import weights_digest
from seg.reben.bands import Sensor
from seg.reben.patch import Split
from seg.report.formats import Table
from seg.report.gallery import Picture, save_gallery
from seg.report.record import run_record, write_json
from seg.report.results import summary_tables
from seg.runs.entry import read_entry
from seg.runs.evaluation import claimed_evaluation, write_all
from seg.runs.folder import EVALUATION_FILE, EVALUATIONS, EVIDENCE, best_checkpoint, is_model_folder
from seg.runs.use import plan_use

if TYPE_CHECKING:
    from seg.runs.session import Session


@dataclass(frozen=True)
class EvalResult:
    """Outcome of an evaluation.

    Attributes:
        folder: ``eval/<name of the evaluation>`` of the run.
        scores: All scores.
        assessment: The scores with their intervals, and what else the report says.
        tables: The scores as tables.
    """

    folder: Path
    scores: Scores
    assessment: Assessment
    tables: tuple[Table, ...]


def evaluate(
    run: AnyPath,
    *,
    split: Split | None = None,
    data: AnyPath | None = None,
    metadata: AnyPath | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    drop: Sensor | None = None,
    countries: Sequence[str] | None = None,
    mmu: float = 0.0,
    track: Track = silent,
    notify: Notify = ignore,
) -> EvalResult:
    """Evaluate the best weights of a run and write ``eval/<split>/``: evidence, scores, tables and a report.

    Under ``torchrun`` the processes share the patches; the first one writes, and all return the same.

    An evaluation that is broken off leaves the one before as it was, and starts over. That of other data than those the
    run was trained on goes to a folder of its own, ``eval/<split>-on-<beginning of their fingerprint>/``.

    Args:
        run: Run folder of `train`.
        split: The split; the configuration's ``eval.split`` (test) if None.
        data, metadata: Other data than the run's own.
        device, batch_size: Instead of the run's settings.
        drop: Do not show the network this sensor; goes to ``eval/<split>-without-<sensor>/``.
        countries: Only patches from these; goes to ``eval/<split>-in-<countries>/``. Empty: from all; None: from those
            of the configuration's ``eval.countries``.
        mmu: Hectares of a minimum mapping unit that the predicted map of each patch is brought to, such as 25 for
            CORINE's; goes to ``eval/<split>-mmu-<hectares>/``. 0: none. Objects at the edge of a patch stay.
        track: Progress.
        notify: Is told what the user must not miss.

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with the run or the data.
    """
    run, data, metadata = Path(run), path_or_none(data), path_or_none(metadata)
    if is_model_folder(run):
        raise RunError(
            f"{run} is a model folder; its scores stand on its page, README.md; 'seg eval' scores runs", wrong_use=True
        )
    use = plan_use(
        run,
        split=split,
        data=data,
        metadata=metadata,
        device=device,
        batch_size=batch_size,
        drop=drop,
        countries=countries,
        unit=mmu,
        track=track,
        notify=notify,
    )
    folder = run / EVALUATIONS / use.scope.name
    with claimed_evaluation(folder):
        # All that is wrong with the request itself has been said before torch is loaded, which takes seconds.
        from seg.runs.session import joined_session, open_session

        with joined_session(open_session(use)) as session:
            return _scored(session, folder, track)


def _scored(session: "Session", folder: Path, track: Track) -> EvalResult:
    """Gather the evidence and write everything; the folder is claimed."""
    from seg.engine.evaluate import evaluate as gather_evidence
    from seg.runs.pictures import draw_pictures

    began = time.perf_counter()
    evidence = gather_evidence(session.model, session.dataset, _origin(session), session.how(track), detailed=True)
    seconds = time.perf_counter() - began
    pictures: Sequence[Picture] = ()
    if session.ranks.first:
        pictures = draw_pictures(session, evidence)
        save_evidence(folder / EVIDENCE, evidence)
        save_gallery(folder, pictures)
    assessment = assess(evidence, track)
    if session.ranks.first:
        write_all(read_entry(session.run), folder, assessment, evidence, pictures)
        write_json(folder / EVALUATION_FILE, _record(session, evidence, seconds))
    session.ranks.wait()
    return EvalResult(folder, assessment.scores, assessment, summary_tables(assessment))


def _origin(session: "Session") -> Origin:
    info, card, scope = session.store.info, session.card, session.scope
    return Origin(
        scope.split,
        info.fingerprint,
        info.synthetic,
        weights_digest(best_checkpoint(session.run)) or "",
        card.thresholds,
        card.temperature,
        scope.without,
        scope.on,
        card.data.synthetic,
        countries=scope.countries,
        unit=scope.unit,
        context=session.dataset.context,
        context_split=session.config.data.context_split,
    )


def _record(session: "Session", evidence: Evidence, seconds: float) -> dict[str, Any]:
    origin, compute = evidence.origin, session.compute
    return run_record(
        synthetic=bool(origin.simulated),
        data={
            "synthetic": origin.synthetic,
            "fingerprint": origin.fingerprint,
            "split": origin.split,
            "countries": origin.countries,
            **({"mmu": origin.unit} if origin.unit else {}),
            **session.dataset.context_record(),
            "patches": len(evidence),
        },
        weights=origin.weights,
        compute={
            "processes": session.ranks.count,
            "device": compute.device.type,
            "dtype": str(compute.dtype).removeprefix("torch."),
        },
        throughput={"patches_per_second": len(evidence) / seconds, "seconds": seconds},
    )

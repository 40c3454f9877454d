"""Score predictions made elsewhere, by the definitions and with the evidence of `evaluate`."""

import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg.config.paths import AnyPath, path_or_none
from seg.config.sections import DataConfig
from seg.config.track import Notify, Track, ignore, silent
from seg.errors import WrongUseError
from seg.metrics.assess import Assessment, assess
from seg.metrics.evidence import Evidence
from seg.metrics.evidence_file import save_evidence
from seg.metrics.evidence_header import SCORED_FILE
from seg.metrics.scores import Scores
from seg.predictions.evidence import PIECES, clear, is_begun, scored_evidence
from seg.predictions.measure import ClassMap
from seg.predictions.misplaced import looked_at, misplaced
from seg.predictions.permuted import doubt, too_good
from seg.predictions.pieces import predicted_maps
from seg.predictions.request import Given, Request, check_given, requested
from seg.prepare.executors import LOCAL
from seg.reben.patch import Split
from seg.report.formats import Table
from seg.report.gallery import Picture, save_gallery
from seg.report.record import run_record, write_json
from seg.report.results import summary_tables
from seg.runs.data import find_store
from seg.runs.entry import SCORED_FORMAT, read_entry
from seg.runs.evaluation import claimed_evaluation, write_all
from seg.runs.folder import EVALUATION_FILE, EVALUATIONS, EVIDENCE
from seg.store.atomic import aside_of, put_in_place
from seg.store.besides import holds_nothing_else
from seg.store.targets import claimed_place


@dataclass(frozen=True)
class Scored:
    """Outcome of `score`.

    Attributes:
        folder: The scored folder.
        evaluation: Its ``eval/<split>``.
        scores: All scores.
        assessment: The scores with their intervals, and what else the report says.
        tables: The scores as tables.
        remarks: What makes one doubt that the predictions are what they are said to be.
    """

    folder: Path
    evaluation: Path
    scores: Scores
    assessment: Assessment
    tables: tuple[Table, ...]
    remarks: tuple[str, ...] = ()


def score(
    predictions: AnyPath | None = None,
    *,
    name: str,
    out: AnyPath,
    classes: str | None = None,
    scene: AnyPath | None = None,
    data: AnyPath | None = None,
    metadata: AnyPath | None = None,
    split: Split = "test",
    seed: int | None = None,
    partial: bool = False,
    executor: Executor | str = LOCAL,
    slurm: Sequence[str] = (),
    track: Track = silent,
    notify: Notify = ignore,
) -> Scored:
    """Score predictions made elsewhere and write a folder that is reported, compared and published like a run.

    Broken off, the same call goes on with the patches that were not scored yet; the folder appears when it is complete.

    Args:
        predictions: Class maps or probabilities of pixels, see `seg.predictions.opened.KINDS`; None: only `scene`.
        name: What they are called; predictions of one name and of several seeds are one configuration in `compare`.
        out: The scored folder, which must not be there yet.
        classes: What the numbers of the class maps mean, see `seg.predictions.numbering.Numbering`.
        scene: Table of scene labels, see `seg.predictions.scene_table.read_scene_table`.
        data, metadata: The store, as of `train`.
        split: The split that was predicted.
        seed: Of the training that they come from, if it is told.
        partial: Score what is there of the split. The result says so everywhere and stands in no ranking.
        executor, slurm: Who counts, see `seg.prepare.executors.opened`.
        track: Progress.
        notify: Is told what the user must not miss.

    Raises:
        SegError: One of its kinds, in one sentence, for anything wrong with predictions or data.
    """
    out = Path(out)
    pixels = path_or_none(predictions)
    if pixels is not None and executor != LOCAL:
        pixels = pixels.absolute()
    given = Given(name, seed, pixels, classes, path_or_none(scene), partial)
    check_given(given)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise WrongUseError(f"{out} is there already; name another --out")
    if pixels is not None and out.resolve().is_relative_to(pixels.resolve()):
        raise WrongUseError(f"{out} lies among the predictions {pixels}; name an --out beside them")
    config = DataConfig(store=path_or_none(data), metadata=path_or_none(metadata))
    folder = out.resolve().with_name(f".{out.resolve().name}.scoring")
    with claimed_place(out.resolve(), {folder: is_begun, aside_of(out): holds_nothing_else}), _working(folder):
        request = requested(given, find_store(config, track, notify), split, notify)
        began = time.perf_counter()
        evidence, digest = scored_evidence(request, folder, executor, slurm, track, notify)
        seconds = time.perf_counter() - began
        remarks = too_good(evidence)
        for given_in in (request.source, request.table):
            remarks += given_in.remarks if given_in is not None else ()
        if request.numbering is not None and (sentence := doubt(evidence, request.numbering.name)):
            remarks.insert(0, sentence)
        if request.source is not None and (sentence := misplaced(_some_maps(request))):
            remarks.insert(0, sentence)
        assessment = assess(evidence, track)
        from seg.runs.pictures import pictures_of  # draws, which loads matplotlib

        pictures = pictures_of(request.store, evidence, lambda ids: predicted_maps(request, ids))
        _write(folder, evidence, assessment, pictures, _record(request, evidence, digest, seconds, remarks))
        put_in_place(folder, out)
    evaluation = out / EVALUATIONS / evidence.origin.scope.name
    tables = summary_tables(assessment)
    return Scored(out, evaluation, assessment.scores, assessment, tables, tuple(remarks))


def _some_maps(request: Request) -> list[tuple[ClassMap, ClassMap]]:
    """Reference and predicted map of some patches, in the order of their ids."""
    ids = sorted(request.store.index.patch_ids.take(request.rows).to_pylist())
    return list(predicted_maps(request, [ids[row] for row in looked_at(len(ids))]).values())


@contextmanager
def _working(folder: Path) -> Iterator[None]:
    """The folder that becomes the scored one; stays where anything was scored and not finished."""
    folder.mkdir(exist_ok=True)
    try:
        yield
    except BaseException as error:
        if any((folder / PIECES).glob("*.json")):
            error.add_note(f"What is scored is kept in {folder}; the same command goes on from there.")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _write(
    folder: Path,
    evidence: Evidence,
    assessment: Assessment,
    pictures: Sequence[Picture],
    record: dict[str, Any],
) -> None:
    """Write all of the scored folder, and remove what was only needed on the way."""
    evaluation = folder / EVALUATIONS / evidence.origin.scope.name
    write_json(folder / SCORED_FILE, record)
    with claimed_evaluation(evaluation):
        save_evidence(evaluation / EVIDENCE, evidence)
        save_gallery(evaluation, tuple(pictures))
        write_all(read_entry(folder), evaluation, assessment, evidence, pictures)
        write_json(evaluation / EVALUATION_FILE, record)
    clear(folder)


def _record(
    request: Request, evidence: Evidence, digest: str, seconds: float, remarks: Sequence[str]
) -> dict[str, Any]:
    given, origin, source, table = request.given, evidence.origin, request.source, request.table
    return run_record(
        format=SCORED_FORMAT,
        name=given.name,
        seed=given.seed,
        partial=bool(origin.left_out),
        predictions={
            "pixels": None if source is None else source.what,
            "scene": None if table is None else table.what,
            "files": (0 if source is None else source.files) + (table is not None),
            "classes": None if request.numbering is None else request.numbering.name,
            "numbers": None if request.numbering is None else request.numbering.meanings,
            "digest": digest,
        },
        synthetic=bool(origin.simulated),
        data={
            "synthetic": origin.synthetic,
            "fingerprint": origin.fingerprint,
            "split": origin.split,
            "patches": len(evidence),
            "left_out": origin.left_out,
        },
        remarks=list(remarks),
        scoring={"seconds": seconds, "patches_per_second": len(evidence) / seconds},
    )

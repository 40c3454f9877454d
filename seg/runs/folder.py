"""What lies where in a run folder, and reading it without torch, the images or a GPU."""

import json
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seg.config.load import load_config
from seg.config.scope import Scope, data_in
from seg.config.sections import Config
from seg.errors import RunError
from seg.metrics.evidence import Evidence, Origin
from seg.metrics.evidence_file import FILE_NAME, load_evidence, load_origin
from seg.metrics.evidence_header import SCORED_FILE
from seg.models.weights_file import BEST, CARD_FILE, CHECKPOINTS, weights_digest
from seg.reben.patch import Split

CONFIG_FILE = "config.yaml"
RECORD_FILE = "run.json"
FIGURE_FILE = "training.png"
EVALUATIONS = "eval"
EVIDENCE = "evidence"
EVALUATION_FILE = "eval.json"
_NAMED = 3
"""Runs that are named where none was given."""


@dataclass(frozen=True)
class RunFiles:
    """A run, as far as its folder tells without the weights.

    Attributes:
        folder: The run folder.
        config: Its settings.
        record: What ``run.json`` says.
    """

    folder: Path
    config: Config
    record: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the data that it was trained on; empty if the record does not say."""
        return str(section(self.record, "data").get("fingerprint") or "")


def section(record: dict[str, Any], name: str) -> dict[str, Any]:
    """A section of a record; empty if there is none."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def is_scored(folder: Path) -> bool:
    """Whether a folder is one that ``seg score`` has written."""
    return (folder / SCORED_FILE).is_file()


def read_run(folder: Path) -> RunFiles:
    """Settings and record of a run.

    Raises:
        RunError: If the folder is no run or its record is damaged.
        WrongUseError: If its settings cannot be read.
    """
    if not folder.is_dir():
        raise _no_folder(folder)
    for name in (CONFIG_FILE, RECORD_FILE):
        if not (folder / name).is_file():
            raise _no_run(folder, name, lambda one: is_scored(one) or _has(one, CONFIG_FILE, RECORD_FILE))
    return RunFiles(folder, load_config(folder / CONFIG_FILE), read_record(folder / RECORD_FILE))


def read_evaluation(run: Path, scope: Scope) -> dict[str, Any]:
    """The record of an evaluation; empty if none was kept.

    Raises:
        RunError: If it is damaged.
    """
    path = run / EVALUATIONS / scope.name / EVALUATION_FILE
    return read_record(path) if path.is_file() else {}


def read_record(path: Path) -> dict[str, Any]:
    """A record as it was written.

    Raises:
        RunError: If it is damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); copy the run again") from None
    if not isinstance(record, dict):
        raise RunError(f"{path} is no record of a run; copy the run again")
    return record


def scoring_cure(run: Path, scope: Scope) -> str:
    """What to do about an evaluation that is not as it should be."""
    if is_scored(run) and scope.unit:
        return "leave out --mmu: predictions that 'seg score' has scored are taken as they are"
    if is_scored(run):
        return "score the predictions again with 'seg score'"
    return f"run: seg eval {shlex.quote(str(run))} {scope.eval_options}"


def check_evidence(run: Path, scope: Scope) -> Origin:
    """What the evidence of a run is of; it is not read for this.

    Args:
        run: The run folder.
        scope: Which of its evaluations.

    Raises:
        RunError: If there is none, or it is of another split or of other weights than the run's best.
        EvidenceError: If it is no evidence that this seg reads.
    """
    folder = run / EVALUATIONS / scope.name / EVIDENCE
    cure = scoring_cure(run, scope)
    if not (folder / FILE_NAME).is_file():
        raise RunError(f"{run} was not scored on the {scope.words} yet{_scored_elsewhere(run, scope.split)}; {cure}")
    origin = load_origin(folder)
    if origin.scope != scope:
        raise RunError(f"{folder} holds evidence of the {origin.words}; {cure}")
    weights = weights_digest(run / CHECKPOINTS / BEST)
    # A run may have been copied without its weights, and evidence does not name its weights if nobody told it.
    if weights and origin.weights and weights != origin.weights:
        raise RunError(f"{run} has other weights than those that were scored; {cure}")
    scored = read_evaluation(run, scope).get("weights")
    if scored and scored != origin.weights:
        raise RunError(f"{folder} holds evidence of other weights than {EVALUATION_FILE} beside it; {cure}")
    return origin


def other_data(run: Path, split: str) -> list[str]:
    """What names other data than those of the training that a run was scored on; the split may be ``*``."""
    return sorted({data_in(path.name) for path in (run / EVALUATIONS).glob(f"{split}-on-*")})


def _scored_elsewhere(run: Path, split: Split) -> str:
    """A word about evaluations of other data."""
    known = other_data(run, split)
    return f" (only with --on {' or '.join(known)}, which is other data)" if known else ""


def read_evidence(run: Path, scope: Scope) -> Evidence:
    """The evidence of one of the evaluations of a run.

    Raises:
        RunError, EvidenceError: As `check_evidence`, and if it is damaged.
    """
    check_evidence(run, scope)
    evidence = load_evidence(run / EVALUATIONS / scope.name / EVIDENCE)
    record = read_record(run / RECORD_FILE) if (run / RECORD_FILE).is_file() else {}
    # What synthetic data have taught says as little about reBEN as what it is measured on.
    taught, scored = evidence.origin.synthetic_model or record.get("synthetic"), evidence.origin.synthetic
    if scored is None and isinstance(taught, bool) and (not scope.on or not taught):
        # The data are those of the training, or what is synthetic can be nothing else.
        scored = True
    known = taught if isinstance(taught, bool) else evidence.origin.synthetic_model
    return replace(evidence, origin=replace(evidence.origin, synthetic=scored, synthetic_model=known))


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds weights alone, such as one that ``seg card`` has written."""
    return (folder / CARD_FILE).is_file() and not (folder / CONFIG_FILE).is_file()


def _no_folder(folder: Path) -> RunError:
    if folder.is_file():
        return RunError(f"{folder} is a file; give the folder of a run", wrong_use=True)
    return RunError(f"there is no folder {folder}; train a run there first, or give the folder of one", wrong_use=True)


def _no_run(folder: Path, lacks: str, would_do: Callable[[Path], bool]) -> RunError:
    """What is said of a folder that is no run: which of those in it are, or what makes one.

    Args:
        folder: The folder.
        lacks: The file that a run has and it has not.
        would_do: Whether a folder could have been given instead.
    """
    found = []
    for one in sorted(folder.iterdir()):
        with suppress(PermissionError):  # what may not be looked into is none
            found += [shlex.quote(str(one))] * would_do(one)
    more = f" or another of the {len(found)} in it" if len(found) > _NAMED else ""
    cure = f"did you mean {' or '.join(found[:_NAMED])}{more}?" if found else "'seg train' and 'seg demo' make one"
    return RunError(f"{folder} is no run folder of 'seg train': it has no {lacks}; {cure}", wrong_use=True)


def _has(folder: Path, *names: str) -> bool:
    return all((folder / name).is_file() for name in names)


def best_checkpoint(run: Path) -> Path:
    """Folder of the best weights of a run; a model folder is its own.

    Raises:
        RunError: If the folder is no run or has no weights yet.
    """
    if not run.is_dir():
        raise _no_folder(run)
    if is_model_folder(run):
        return run
    if is_scored(run):
        raise RunError(
            f"{run} holds predictions made elsewhere, and no weights; give the folder of a run", wrong_use=True
        )
    if not (run / CONFIG_FILE).is_file():
        raise _no_run(run, CONFIG_FILE, lambda one: is_model_folder(one) or _has(one, CONFIG_FILE))
    folder = run / CHECKPOINTS / BEST
    if not folder.is_dir():
        raise RunError(
            f"{run} has no weights: its training did not finish an epoch, or they were not copied with it "
            f"({CHECKPOINTS}/{BEST})"
        )
    return folder

"""What lies where in a run folder, and reading it without torch, the images or a GPU."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg.config.load import load_config
from seg.config.sections import Config
from seg.metrics.evidence import Evidence, Origin
from seg.metrics.evidence_file import FILE_NAME, load_evidence, load_origin
from seg.models.weights_file import BEST, weights_digest
from seg.reben.patch import Split

CONFIG_FILE = "config.yaml"
RECORD_FILE = "run.json"
FIGURE_FILE = "training.png"
CHECKPOINTS = "checkpoints"
EVALUATIONS = "eval"
EVIDENCE = "evidence"
EVALUATION_FILE = "eval.json"


class RunError(ValueError):
    """A run folder that cannot be used as asked."""


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


def read_run(folder: Path) -> RunFiles:
    """Settings and record of a run.

    Raises:
        RunError: If the folder is no run or its record is damaged.
        ConfigError: If its settings cannot be read.
    """
    for name in (CONFIG_FILE, RECORD_FILE):
        if not (folder / name).is_file():
            raise RunError(f"{folder} is no run folder of 'seg train': it has no {name}")
    return RunFiles(folder, load_config(folder / CONFIG_FILE), _read_record(folder / RECORD_FILE))


def read_evaluation(run: Path, split: Split) -> dict[str, Any]:
    """The record of an evaluation; empty if none was kept.

    Raises:
        RunError: If it is damaged.
    """
    path = run / EVALUATIONS / split / EVALUATION_FILE
    return _read_record(path) if path.is_file() else {}


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); copy the run again") from None
    if not isinstance(record, dict):
        raise RunError(f"{path} is no record of a run; copy the run again")
    return record


def check_evidence(run: Path, split: Split) -> Origin:
    """What the evidence of a run on a split is of; it is not read for this.

    Raises:
        RunError: If there is none, or it is of another split or of other weights than the run's best.
        EvidenceError: If it is no evidence that this seg reads.
    """
    folder = run / EVALUATIONS / split / EVIDENCE
    cure = f"run: seg eval {run} --split {split}"
    if not (folder / FILE_NAME).is_file():
        raise RunError(f"{run} was not scored on the {split} split yet; {cure}")
    origin = load_origin(folder)
    if origin.split != split:
        raise RunError(f"{folder} holds evidence of the {origin.split} split; {cure}")
    weights = weights_digest(run / CHECKPOINTS / BEST)
    # A run may have been copied without its weights, and evidence does not name its weights if nobody told it.
    if weights and origin.weights and weights != origin.weights:
        raise RunError(f"{run} has other weights than those that were scored; {cure}")
    return origin


def read_evidence(run: Path, split: Split) -> Evidence:
    """The evidence of a run on a split.

    Raises:
        RunError, EvidenceError: As `check_evidence`, and if it is damaged.
    """
    check_evidence(run, split)
    return load_evidence(run / EVALUATIONS / split / EVIDENCE)


def best_checkpoint(run: Path) -> Path:
    """Folder of the best weights of a run.

    Raises:
        RunError: If the folder is no run or has no weights yet.
    """
    if not (run / CONFIG_FILE).is_file():
        raise RunError(f"{run} is no run folder of 'seg train': it has no {CONFIG_FILE}")
    folder = run / CHECKPOINTS / BEST
    if not folder.is_dir():
        raise RunError(f"{run} has no weights yet; its training did not finish an epoch")
    return folder

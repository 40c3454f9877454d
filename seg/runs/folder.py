"""What lies where in a run folder, and reading it without torch, the images or a GPU."""

import json
import math
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seg.config.load import load_config
from seg.config.sections import Config
from seg.config.wording import listed
from seg.errors import EvidenceError, RunError, WrongUseError
from seg.metrics.evidence import DATA_NAME, Evidence, Origin, evaluation_name, unit_text, unit_words
from seg.metrics.evidence_file import FILE_NAME, load_evidence, load_origin
from seg.metrics.evidence_header import SCORED_FILE
from seg.models.weights_file import BEST, CARD_FILE, CHECKPOINTS, weights_digest
from seg.reben.bands import Sensor
from seg.reben.patch import Split

CONFIG_FILE = "config.yaml"
RECORD_FILE = "run.json"
FIGURE_FILE = "training.png"
EVALUATIONS = "eval"
EVIDENCE = "evidence"
EVALUATION_FILE = "eval.json"
ALL_COUNTRIES = "all"
"""What people type for an evaluation that is not restricted to countries."""


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
        raise RunError(f"there is no folder {folder}; give the folder of a run, such as runs/unet-s2", wrong_use=True)
    for name in (CONFIG_FILE, RECORD_FILE):
        if not (folder / name).is_file():
            raise RunError(f"{folder} is no run folder of 'seg train': it has no {name}", wrong_use=True)
    return RunFiles(folder, load_config(folder / CONFIG_FILE), read_record(folder / RECORD_FILE))


def read_evaluation(
    run: Path,
    split: Split,
    without: Sensor | None = None,
    on: str = "",
    countries: Sequence[str] = (),
    unit: float = 0.0,
) -> dict[str, Any]:
    """The record of an evaluation; empty if none was kept.

    Raises:
        RunError: If it is damaged.
    """
    path = run / EVALUATIONS / evaluation_name(split, without, on, countries, unit) / EVALUATION_FILE
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


def scoring_options(
    split: Split, without: Sensor | None, on: str = "", countries: Sequence[str] = (), unit: float = 0.0
) -> str:
    """Options of ``seg eval`` that make an evaluation."""
    return _options(split, without, countries, unit) + (" --data STORE" if on else "")


def report_options(
    split: Split, without: Sensor | None, on: str = "", countries: Sequence[str] = (), unit: float = 0.0
) -> str:
    """Options of ``seg report`` that name an evaluation."""
    return _options(split, without, countries, unit) + (f" --on {on}" if on else "")


def _options(split: Split, without: Sensor | None, countries: Sequence[str], unit: float) -> str:
    where = f" --countries {shlex.quote(','.join(countries))}" if countries else ""
    maps = f" --mmu {unit_text(unit)}" if unit else ""
    return f"--split {split}" + (f" --drop {without}" if without else "") + where + maps


def named_countries(text: str | None) -> tuple[str, ...] | None:
    """Countries as people type them: separated by commas; ``all``: none; None: as the run's settings say.

    Raises:
        WrongUseError: If one of them is empty.
    """
    if text is None:
        return None
    return () if text == ALL_COUNTRIES else tuple(listed(text))


def countries_of(run: Path, default: Sequence[str], named: str | None) -> tuple[str, ...]:
    """Countries that an evaluation of a run is restricted to, as its evidence spells them.

    Args:
        run: The run folder.
        default: What the run's settings say.
        named: As `named_countries`, in any case.
    """
    told = named_countries(named)
    asked = sorted(set(default if told is None else told))
    wanted = {country.casefold() for country in asked}
    for file in sorted((run / EVALUATIONS).glob(f"*/{EVIDENCE}/{FILE_NAME}")) if asked else ():
        with suppress(EvidenceError):
            found = load_origin(file.parent).countries
            if {country.casefold() for country in found} == wanted:
                return found
    return tuple(asked)


def scoring_cure(
    run: Path,
    split: Split,
    without: Sensor | None = None,
    on: str = "",
    countries: Sequence[str] = (),
    unit: float = 0.0,
) -> str:
    """What to do about an evaluation that is not as it should be."""
    if is_scored(run) and unit:
        return "leave out --mmu: predictions that 'seg score' has scored are taken as they are"
    if is_scored(run):
        return "score the predictions again with 'seg score'"
    return f"run: seg eval {shlex.quote(str(run))} {scoring_options(split, without, on, countries, unit)}"


def check_unit(unit: float) -> None:
    """Refuse a minimum mapping unit that is none.

    Raises:
        WrongUseError: If it is negative or no number.
    """
    if not 0 <= unit < math.inf:
        raise WrongUseError(f"a minimum mapping unit of {unit} ha makes no sense; name hectares, such as --mmu 25")


def check_evidence(
    run: Path,
    split: Split,
    without: Sensor | None = None,
    on: str = "",
    countries: Sequence[str] = (),
    unit: float = 0.0,
) -> Origin:
    """What the evidence of a run is of; it is not read for this.

    Args:
        run: The run folder.
        split: What it was scored on.
        without: The sensor that it was not shown.
        on: The data, where they are not those of the training; see `seg.metrics.evidence.scored_on`.
        countries: What it was restricted to, see `countries_of`.
        unit: The minimum mapping unit of the predicted maps, hectares; 0: none.

    Raises:
        RunError: If there is none, or it is of another split or of other weights than the run's best.
        WrongUseError: If the unit is none.
        EvidenceError: If it is no evidence that this seg reads.
    """
    check_unit(unit)
    folder = run / EVALUATIONS / evaluation_name(split, without, on, countries, unit) / EVIDENCE
    cure = scoring_cure(run, split, without, on, countries, unit)
    if not (folder / FILE_NAME).is_file():
        lack = f" of the data {on}" * bool(on) + f" in {', '.join(countries)}" * bool(countries)
        lack += f" without {without}" * bool(without) + unit_words(unit)
        raise RunError(f"{run} was not scored on the {split} split{lack} yet{_scored_elsewhere(run, split)}; {cure}")
    origin = load_origin(folder)
    asked = (split, without, on, tuple(countries), unit)
    if (origin.split, origin.without, origin.on, origin.countries, origin.unit) != asked:
        raise RunError(f"{folder} holds evidence of the {origin.words}; {cure}")
    weights = weights_digest(run / CHECKPOINTS / BEST)
    # A run may have been copied without its weights, and evidence does not name its weights if nobody told it.
    if weights and origin.weights and weights != origin.weights:
        raise RunError(f"{run} has other weights than those that were scored; {cure}")
    scored = read_evaluation(run, split, without, on, countries, unit).get("weights")
    if scored and scored != origin.weights:
        raise RunError(f"{folder} holds evidence of other weights than {EVALUATION_FILE} beside it; {cure}")
    return origin


def named_data(folder: Path, fingerprint: str, name: str) -> str:
    """What names the data of an evaluation, see `seg.metrics.evidence.scored_on`, from what somebody types.

    Args:
        folder: The run.
        fingerprint: Of the data of its training.
        name: A fingerprint or its beginning; empty: the data of the training.
    """
    if fingerprint.startswith(name):
        return ""
    found = [known for known in _other_data(folder, "*") if known.startswith(name[:DATA_NAME])]
    return found[0] if len(found) == 1 else name[:DATA_NAME]


def _other_data(run: Path, split: str) -> list[str]:
    """What names other data than those of the training that a run was scored on."""
    names = [path.name.partition("-on-")[2] for path in (run / EVALUATIONS).glob(f"{split}-on-*")]
    return sorted({name[:DATA_NAME] for name in names})


def _scored_elsewhere(run: Path, split: Split) -> str:
    """A word about evaluations of other data."""
    known = _other_data(run, split)
    return f" (only with --on {' or '.join(known)}, which is other data)" if known else ""


def read_evidence(
    run: Path,
    split: Split,
    without: Sensor | None = None,
    on: str = "",
    countries: Sequence[str] = (),
    unit: float = 0.0,
) -> Evidence:
    """The evidence of a run on a split; arguments as of `check_evidence`.

    Raises:
        RunError, EvidenceError: As `check_evidence`, and if it is damaged.
    """
    check_evidence(run, split, without, on, countries, unit)
    evidence = load_evidence(run / EVALUATIONS / evaluation_name(split, without, on, countries, unit) / EVIDENCE)
    record = read_record(run / RECORD_FILE) if (run / RECORD_FILE).is_file() else {}
    # What synthetic data have taught says as little about reBEN as what it is measured on.
    taught, scored = evidence.origin.synthetic_model or record.get("synthetic"), evidence.origin.synthetic
    if scored is None and isinstance(taught, bool) and (not on or not taught):
        # The data are those of the training, or what is synthetic can be nothing else.
        scored = True
    known = taught if isinstance(taught, bool) else evidence.origin.synthetic_model
    return replace(evidence, origin=replace(evidence.origin, synthetic=scored, synthetic_model=known))


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds weights alone, such as one that ``seg card`` has written."""
    return (folder / CARD_FILE).is_file() and not (folder / CONFIG_FILE).is_file()


def best_checkpoint(run: Path) -> Path:
    """Folder of the best weights of a run; a model folder is its own.

    Raises:
        RunError: If the folder is no run or has no weights yet.
    """
    if not run.is_dir():
        raise RunError(f"there is no folder {run}; give the folder of a run, such as runs/unet-s2", wrong_use=True)
    if is_model_folder(run):
        return run
    if is_scored(run):
        raise RunError(
            f"{run} holds predictions made elsewhere, and no weights; give the folder of a run", wrong_use=True
        )
    if not (run / CONFIG_FILE).is_file():
        raise RunError(f"{run} is no run folder of 'seg train': it has no {CONFIG_FILE}", wrong_use=True)
    folder = run / CHECKPOINTS / BEST
    if not folder.is_dir():
        raise RunError(
            f"{run} has no weights: its training did not finish an epoch, or they were not copied with it "
            f"({CHECKPOINTS}/{BEST})"
        )
    return folder

"""What the record of a training says of an entry: it fills in the form, and answers must not contradict it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

from seg.benchmark.form import NONE, Answers, Known
from seg.benchmark.protocol import MIN_SEEDS, PROTOCOL, budget_of, inputs_of
from seg.config.terms import NO_ENCODER
from seg.config.wording import clipped, counted
from seg.errors import SubmissionError
from seg.reben.bands import BANDS
from seg.reben.patch import PUBLISHED_PATCHES
from seg.runs.folder import section

_MOST = 1e15
"""No number of a record is larger."""
_TOLERANCE = 0.05
"""Share by which an answer that is measured may differ from its record."""

_CHANGING = (
    *("data.label_elastic", "train.modality_dropout", "train.reflectance_jitter", "train.backscatter_jitter"),
    *("train.cutmix", "train.copy_paste", "train.window"),
)
"""Settings beside the transforms that change training patches if they are not 0."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the record of one seed says; None or empty where it does not.

    Attributes:
        seed: Of the training.
        bands: What the network sees.
        weights: What it started from; empty: random weights. None: the record does not say.
        fraction: Share of the train split whose labels it was given.
        train_patches: Patches that it was trained on.
        trained_on: Fingerprint of their data.
        frozen: Whether the encoder stayed as it was.
        augmentation: Names of the transforms, and of the settings that change training patches besides.
        parameters: Learned values.
        trials: Settings that were tried, as far as the sweep knows.
        patches_seen, hours, energy_kwh: Of the training.
        device: What it was computed on.
        status: How it ended; empty: nothing was trained here.
        weights_scored: Digest of the weights that were scored.
        patches_scored: How many patches they were scored on.
        seed_trained: The seed that the training itself tells.
        settled: Whether it holds settings of a training by seg.
        context: Pixels around each patch that the network sees.
        synthetic: Whether the images that it was trained on are simulated.
    """

    seed: int | None = None
    bands: tuple[str, ...] = ()
    weights: str | None = None
    fraction: float | None = None
    train_patches: int | None = None
    trained_on: str = ""
    frozen: bool | None = None
    augmentation: str = ""
    parameters: int | None = None
    trials: int | None = None
    patches_seen: int | None = None
    hours: float | None = None
    energy_kwh: float | None = None
    device: str = ""
    status: str = ""
    weights_scored: str = ""
    patches_scored: int | None = None
    seed_trained: int | None = None
    settled: bool = False
    context: int = 0
    synthetic: bool | None = None

    @property
    def trained(self) -> bool:
        """Whether the record is that of a training by seg, by anything in it."""
        return bool(self.status or self.weights_scored or self.settled)


def _frozen(settings: Mapping[str, Any]) -> bool | None:
    """Whether the encoder stayed as it was; None: whether a network of somebody's own has one is not known."""
    frozen: bool = settings.get("model.encoder_mode", "train") == "frozen"
    return None if settings.get("model.encoder") == NO_ENCODER and not frozen else frozen


def _augmentation(settings: Mapping[str, Any]) -> str:
    """What training patches went through: the transforms, then what else changes or mixes them."""
    augment = settings.get("data.augment")
    listed = augment if isinstance(augment, list) else []
    names = [str(name) for one in listed if isinstance(one, dict) for name in one]
    return ", ".join(names + [name.partition(".")[2] for name in _CHANGING if _number(settings.get(name))])


def facts_of(record: Mapping[str, Any]) -> Facts:
    """What a record says, see `seg.benchmark.pack.seed_record`; nothing of what makes no sense."""
    run, settings = section(dict(record), "record"), _settings(section(dict(record), "settings"))
    cost, data = section(run, "cost"), section(run, "data")
    evaluation = section(dict(record), "evaluation")
    weights = run.get("weights")
    sources = [str(one.get("source")) for one in weights if isinstance(one, dict)] if isinstance(weights, list) else []
    named = settings.get("model.weights")
    known = "model.arch" in settings
    seconds, joules = _number(cost.get("device_seconds")), _number(cost.get("energy_joules"))
    # The record may be anybody's, so nothing in it is taken to be what it should be.
    hardware = section(run, "hardware")
    gpus = hardware["gpus"] if isinstance(hardware.get("gpus"), list) else []
    on_cpu = section(run, "compute").get("device") == "cpu"
    return Facts(
        seed=_whole(record.get("seed")),
        bands=_bands(data.get("bands")),
        weights=" and ".join(dict.fromkeys(sources)) or (str(named) if named else "") if known else None,
        fraction=_number(settings.get("data.fraction", 1.0)) if known else None,
        train_patches=_whole(section(data, "patches").get("train")),
        trained_on=str(data.get("fingerprint") or ""),
        frozen=_frozen(settings) if known else None,
        augmentation=_augmentation(settings),
        parameters=_whole(run.get("parameters")),
        trials=_whole(cost.get("trials")),
        patches_seen=_whole(cost.get("patches_seen")),
        hours=None if seconds is None else seconds / 3600,
        energy_kwh=None if joules is None else joules / 3.6e6,
        device=str(gpus[0] if gpus and not on_cpu else hardware.get("cpu") or "") if run.get("status") else "",
        status=str(run.get("status") or ""),
        weights_scored=str(evaluation.get("weights") or ""),
        patches_scored=_whole(section(evaluation, "data").get("patches")),
        seed_trained=_whole(section(run, "seeds").get("train")),
        settled=known,
        context=-1 if (context := _whole(settings.get("data.context", 0))) is None else context,
        synthetic=synthetic if isinstance(synthetic := data.get("synthetic"), bool) else None,
    )


def prefilled(name: str, facts: Sequence[Facts]) -> Known:
    """What the records answer of the form.

    Args:
        name: Of the entry.
        facts: Of its seeds.
    """
    first = facts[0]
    trained = bool(first.status)
    weights = first.weights
    return {
        "protocol": PROTOCOL,
        "name": name,
        "inputs": inputs_of(first.bands, first.context) if first.bands else None,
        "pretraining": None if weights is None else "pretrained" if weights else "scratch",
        "pretraining_data": NONE if weights == "" else None,
        "labels_percent": None if first.fraction is None else budget_of(first.fraction),
        "selection": "validation" if trained else None,
        "trials": max((one.trials for one in facts if one.trials), default=None),
        "deterministic": False if trained or len(facts) > 1 else None,
        "encoder": None if first.frozen is None else "frozen" if first.frozen else "trained",
        "augmentation": (first.augmentation or NONE) if trained else None,
        "test_time": NONE if trained else None,
        "parameters": first.parameters,
        "patches_seen": _mean(facts, lambda one: one.patches_seen, whole=True),
        "hours": _mean(facts, lambda one: one.hours),
        "device": first.device or None,
        "energy_kwh": _mean(facts, lambda one: one.energy_kwh),
    }


def check_answers(answers: Answers, facts: Sequence[Facts], scored_on: str) -> None:
    """Refuse answers that the records contradict, and too few seeds.

    Args:
        answers: The answers.
        facts: Of the seeds.
        scored_on: Fingerprint of the data that they were scored on.

    Raises:
        SubmissionError: Naming the answer and what the record says.
    """
    check_seeds(facts, answers.deterministic)
    for one in facts:
        _check_training(answers, one, scored_on)
        said = {
            "inputs": not one.bands or answers.inputs == inputs_of(one.bands, one.context),
            "pretraining": one.weights is None or answers.pretraining == ("pretrained" if one.weights else "scratch"),
            "labels_percent": one.fraction is None or answers.labels_percent == budget_of(one.fraction),
            "encoder": one.frozen is None or answers.encoder == ("frozen" if one.frozen else "trained"),
            "parameters": one.parameters in (None, answers.parameters),
            "trials": one.trials is None or answers.trials >= one.trials,
            "selection": not one.trained or answers.selection == "validation",
        }
        told = {
            "inputs": ", ".join(one.bands) + f" and {one.context} pixels around the patch" * bool(one.context),
            "pretraining": f"weights: {one.weights or 'random'}",
            "labels_percent": f"a fraction of {one.fraction}",
            "encoder": "frozen" if one.frozen else "trained",
            "parameters": one.parameters,
            "trials": one.trials,
            "selection": "a training, whose epoch is chosen on validation",
        }
        for name, agrees in said.items():
            if not agrees:
                raise _contradiction(name, getattr(answers, name), told[name])
    if answers.encoder != NONE and not answers.parameters:
        raise SubmissionError(
            f"the answer 'parameters: 0' contradicts 'encoder: {answers.encoder}', which has learned some; without an "
            f"encoder, answer '{NONE}'"
        )
    if answers.encoder != NONE and not answers.multiply_adds:
        raise SubmissionError(
            f"the answer 'multiply_adds: 0' contradicts 'parameters: {answers.parameters}', which an encoder multiplies"
        )
    for name in ("patches_seen", "hours", "energy_kwh"):
        recorded = _mean(facts, lambda one, name=name: getattr(one, name))  # type: ignore[misc]
        answer = getattr(answers, name)
        if recorded is not None and (answer is None or abs(answer - recorded) > _TOLERANCE * recorded):
            raise _contradiction(name, answer, f"{recorded:.4g}")


def unrecorded(facts: Sequence[Facts]) -> tuple[str, ...]:
    """Answers that the records do not hold, so that nothing contradicts them: energy is rarely measured, and left out.

    Args:
        facts: Of the seeds.
    """
    known: dict[str, Callable[[Facts], bool]] = {
        "inputs": lambda one: bool(one.bands),
        "pretraining": lambda one: one.weights is not None,
        "labels_percent": lambda one: one.fraction is not None,
        "encoder": lambda one: one.frozen is not None,
        **{name: partial(_is_known, name) for name in ("parameters", "trials", "patches_seen", "hours")},
    }
    return tuple(name for name, is_known in known.items() if not all(map(is_known, facts)))


def _is_known(name: str, one: Facts) -> bool:
    return getattr(one, name) is not None


def check_same_settings(records: Sequence[Mapping[str, Any]], seeds: Sequence[str]) -> None:
    """Refuse records of trainings that differ in more than the seed.

    Args:
        records: Of the seeds.
        seeds: What they are called.

    Raises:
        SubmissionError: Naming a setting.
    """
    first, *others = [section(dict(record), "settings") for record in records]
    for seed, other in zip(seeds[1:], others, strict=True):
        if differing := [name for name in {**first, **other} if first.get(name) != other.get(name)]:
            raise SubmissionError(
                f"the records of seeds {seeds[0]} and {seed} differ in {clipped(differing[0])}, and the seeds of an "
                "entry differ in nothing else"
            )


def check_seeds(facts: Sequence[Facts], deterministic: bool | None = None) -> None:
    """Refuse seeds that are no entry: too few of them, without numbers or twice the same.

    Args:
        facts: Of the seeds.
        deterministic: Whether the method draws no random numbers; None: nobody has said it yet, so that one that was
            trained elsewhere and scored once may be so.

    Raises:
        SubmissionError: With what is missing.
    """
    number = len(facts)
    if deterministic is None and number == 1 and not facts[0].trained:
        return
    if deterministic:
        if any(one.trained for one in facts):
            raise _contradiction("deterministic", True, "trainings, which draw random numbers")
        if number != 1:
            raise SubmissionError(f"a deterministic method is scored once, and there are {number} seeds of it")
        return
    if number < MIN_SEEDS:
        raise SubmissionError(
            f"it has {counted(number, 'seed', 'seeds')}, and an entry has {MIN_SEEDS} or more; train and score others"
        )
    seeds = [one.seed for one in facts]
    for seed in seeds:
        if seed is None:
            raise SubmissionError("a seed is not numbered; score it again with its number (--seed)")
        if seeds.count(seed) > 1:
            raise SubmissionError(f"seed {seed} is there twice, and a mean over seeds takes each of them once")


def _check_training(answers: Answers, one: Facts, scored_on: str) -> None:
    if one.status not in ("", "finished"):
        raise SubmissionError(f"the training of seed {one.seed} did not finish ({one.status}); finish it with --resume")
    if one.context and answers.other_data == NONE:
        raise _contradiction("other_data", NONE, f"{one.context} pixels around each patch, which are of other patches")
    beyond = one.train_patches is not None and one.train_patches > PUBLISHED_PATCHES["train"]
    if answers.other_data == NONE and (beyond or (one.trained_on and one.trained_on != scored_on)):
        what = f"{one.train_patches:,} training patches" if beyond else f"training on other data ({one.trained_on})"
        raise _contradiction("other_data", NONE, what)


def _contradiction(name: str, answer: Any, recorded: Any) -> SubmissionError:
    return SubmissionError(f"the answer '{name}: {answer}' contradicts the record, which says {clipped(str(recorded))}")


def _mean(facts: Sequence[Facts], get: Callable[[Facts], float | None], whole: bool = False) -> float | None:
    """The mean over seeds; None unless all of them know it."""
    values = [get(one) for one in facts]
    known = [value for value in values if value is not None]
    if len(known) != len(values):
        return None
    return round(fmean(known)) if whole else float(f"{fmean(known):.4g}")


def _settings(texts: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their full names; they are kept as text, of which JSON reads what is no word."""
    settings: dict[str, Any] = {}
    for name, text in texts.items():
        try:
            settings[name] = json.loads(text)
        except (TypeError, ValueError, RecursionError):
            settings[name] = text
    return settings


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST
    return float(value) if known else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST else None


def _bands(value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list) else []
    return tuple(names) if all(isinstance(name, str) and name in BANDS for name in names) else ()

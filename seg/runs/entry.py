"""What is reported, compared, published and submitted: a run of ``seg train``, or what ``seg score`` has scored.

Both have the same ``eval/<split>/``. Callers ask an `Entry` and need not know which of the two it is.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg.config.identity import settings_of_experiment
from seg.config.sections import DataConfig
from seg.errors import RunError
from seg.metrics.evidence_header import SCORED_FILE
from seg.reben.bands import selection_name
from seg.reben.patch import SPLITS, Split
from seg.runs.cost import cost_in_words
from seg.runs.folder import RunFiles, is_scored, read_record, read_run, section

SCORED_FORMAT = 1
"""Version of ``scored.json``."""


@dataclass(frozen=True)
class Entry:
    """A run, or predictions made elsewhere that were scored, as far as its folder tells.

    Attributes:
        folder: The folder.
        record: What ``run.json`` or ``scored.json`` says.
        name: What its configuration is called in tables.
        title: What it is called where it stands alone.
        seed: Of the training; None if nobody has told it.
        split: That it is reported on if none is named.
        countries: Those that its evaluation is restricted to if none are named.
        settings: What it has in common with the entries that repeat it with other seeds, by name.
        fingerprint: Of the data that its evaluation is of if no others are named.
        trained_on: Fingerprint of the data that the model was trained on; empty if the record does not say, None if
            it was trained elsewhere.
        facts: What a reader wants to know of it, by name.
        status: How far its training came; ``finished`` if somebody else has trained.
        partial: Whether patches of the split were left out: such an entry stands in no ranking.
    """

    folder: Path
    record: dict[str, Any]
    name: str
    title: str
    seed: int | None
    split: Split
    settings: dict[str, str]
    fingerprint: str
    trained_on: str | None
    facts: dict[str, str]
    countries: tuple[str, ...] = ()
    status: str = "finished"
    partial: bool = False

    @property
    def heading(self) -> str:
        """What heads its report: a run is known by its folder, and predictions by the name that they were given."""
        return self.title if self.trained_on is None else self.folder.resolve().name


def read_entry(folder: Path) -> Entry:
    """A run or a scored folder.

    Raises:
        RunError: If it is neither, or its record is damaged.
        WrongUseError: If the settings of a run cannot be read.
    """
    return _of_scored(folder) if is_scored(folder) else entry_of(read_run(folder))


def entry_of(run: RunFiles) -> Entry:
    """A run as an entry."""
    config, model = run.config, run.config.model
    bands = selection_name(config.data.bands)
    head = "no scene head" if model.scene_head == "none" else model.scene_head
    return Entry(
        folder=run.folder,
        record=run.record,
        name=f"{model.named} {bands} {head}" + f" context {config.data.context}" * bool(config.data.context),
        title=f"{model.named} · {bands}",
        seed=config.train.seed,
        split=config.eval.split,
        settings=_settings(run),
        fingerprint=run.fingerprint,
        trained_on=run.fingerprint,
        facts=_facts_of_run(run),
        countries=config.eval.countries,
        status=str(run.record.get("status", "no status")),
    )


def _of_scored(folder: Path) -> Entry:
    path = folder / SCORED_FILE
    record = read_record(path)
    name, seed, data, partial = (record.get(key) for key in ("name", "seed", "data", "partial"))
    if record.get("format") != SCORED_FORMAT:
        form = record.get("format")
        raise RunError(f"{path} has format {form} and this seg reads {SCORED_FORMAT}; score it again with 'seg score'")
    split, fingerprint = (data.get(key) if isinstance(data, dict) else None for key in ("split", "fingerprint"))
    seeded = seed is None or (isinstance(seed, int) and not isinstance(seed, bool))
    told = isinstance(name, str) and name and isinstance(fingerprint, str) and isinstance(partial, bool)
    if not told or not seeded or split not in SPLITS:
        raise RunError(f"{path} is damaged; score the predictions again with 'seg score'")
    return Entry(
        folder=folder,
        record=record,
        name=f"{name} (PARTIAL)" if partial else str(name),
        title=str(name),
        seed=seed,
        split=split,
        settings={"predictions": str(name), "partial": str(partial)},
        fingerprint=str(fingerprint),
        trained_on=None,
        facts=_facts_of_scored(record),
        partial=bool(partial),
    )


def _settings(run: RunFiles) -> dict[str, str]:
    """What runs have in common that repeat one experiment: every setting by its full name, and ``trained_on``."""
    settings = {
        f"{section}.{name}": _text(value)
        for section, values in settings_of_experiment(run.config).items()
        for name, value in values.items()
    }
    return settings | {"trained_on": run.fingerprint}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _facts_of_run(run: RunFiles) -> dict[str, str]:
    config, record = run.config, run.record
    speed = section(record, "throughput").get("patches_per_second")
    parameters, trained = record.get("parameters"), record.get("parameters_trained")
    some = f", {trained:,} of them trained" if isinstance(trained, int) and trained != parameters else ""
    if config.model.encoder_mode == "lora" and some:
        some = f"; {trained:,} trained, those of low-rank additions among them"
    data = config.data
    places = ", ".join(data.countries) or "all countries" * bool(data.except_countries)
    places += f" but {', '.join(data.except_countries)}" * bool(data.except_countries)
    training = section(record, "training")
    facts = {
        "Architecture": config.model.arch + (f" (code {config.model.code[:12]})" if config.model.code else ""),
        "Encoder": "" if config.model.own else f"{config.model.encoder} (weights: {_weights(run)})",
        "Started from": _weights(run) if config.model.own else "",
        "Fusion": config.model.fusion if config.model.fusion != "stack" else "",
        "Scene head": config.model.scene_head,
        "Bands": selection_name(config.data.bands),
        "Parameters": f"{parameters:,}{some}" if isinstance(parameters, int) else "",
        "Context": _context(data),
        "Label budget": f"{100 * data.fraction:g} % of the train split" if data.fraction < 1 else "",
        "Trained in": places,
        "Epochs": f"{training.get('epochs', '')}, best {training.get('best_epoch', '')}",
        "Training speed": f"{speed:.3g} patches/s" if speed else "",
        "Cost": cost_in_words(record),
        "Seed": str(config.train.seed),
        "Trained on data": run.fingerprint,
        "Trained": _when(record),
        "Versions": _versions(record, "seg", "torch", "python"),
    }
    return {name: text for name, text in facts.items() if text}


def _context(data: DataConfig) -> str:
    """What is seen around patches; nothing if nothing is."""
    whose = "any split" if data.context_split == "any" else "its own split"
    seen = f"{data.context} pixels around each patch, of its neighbours in the same product and of {whose}"
    return f"{seen}; they give pixels and no labels" if data.context else ""


def _facts_of_scored(record: dict[str, Any]) -> dict[str, str]:
    seed, given = record.get("seed"), section(record, "predictions")
    facts = {
        "Predictions": str(given.get("pixels") or ""),
        "Scene labels": str(given.get("scene") or ""),
        "Numbers mean": str(given.get("classes") or ""),
        "Digest of the predictions": str(given.get("digest") or ""),
        "Seed": "" if seed is None else str(seed),
        "Scored": _when(record),
        "Versions": _versions(record, "seg", "python"),
    }
    return {name: text for name, text in facts.items() if text}


def _when(record: dict[str, Any]) -> str:
    return str(record.get("written_utc", "")).replace("T", " ").replace("+00:00", " UTC")


def _versions(record: dict[str, Any], *names: str) -> str:
    versions = section(record, "versions")
    return ", ".join(f"{name} {versions[name]}" for name in names if versions.get(name))


def _weights(run: RunFiles) -> str:
    """What the encoder started from, without the folders of this machine."""
    loaded = run.record.get("weights")
    sources = [entry["source"] for entry in loaded if isinstance(entry, dict)] if isinstance(loaded, list) else []
    return " and ".join(dict.fromkeys(sources)) or run.config.model.weights or "random"

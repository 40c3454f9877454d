"""What a run is to be used for, settled before torch is loaded: weights, settings and patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg.config.installed import require_device
from seg.config.load import load_config
from seg.config.scope import Scope, check_unit, scored_on, unit_text
from seg.config.sections import Config, DataConfig
from seg.config.synthetic import Synthetic
from seg.config.terms import device_name
from seg.config.track import Notify, Track, ignore, silent
from seg.config.version import VERSION
from seg.errors import WrongUseError
from seg.models.card import ModelCard, check_checkpoint
from seg.models.onnx_file import ONNX_SUFFIX, OnnxModel, read_onnx
from seg.models.weights_file import WEIGHTS_FILE, file_digest, weights_digest
from seg.own.code import CODE_FILE, code_beside, running
from seg.reben.bands import BANDS, SENSORS, Sensor, of_sensor
from seg.reben.patch import Split
from seg.runs.data import find_store, split_rows
from seg.runs.folder import CONFIG_FILE, best_checkpoint, is_model_folder
from seg.store.index import Rows
from seg.store.open import Store
from seg.store.selection import known_countries


@dataclass(frozen=True)
class ChosenWeights:
    """The best weights of a run, not loaded yet.

    Attributes:
        run: The run folder, or a model folder; of an ONNX file the file.
        checkpoint: Where its weights are.
        config: Its settings, with what was asked for otherwise.
        card: What the weights are; classes in the order in which they were written.
        onnx: The ONNX file; None: a run.
    """

    run: Path
    checkpoint: Path
    config: Config
    card: ModelCard
    onnx: OnnxModel | None = None

    @property
    def digest(self) -> str:
        """Of the weights, see `seg.models.weights_file.weights_digest`; of an ONNX file those that it was made of."""
        return self.onnx.weights if self.onnx else weights_digest(self.checkpoint) or ""

    @property
    def file(self) -> Path:
        """The file that holds the weights."""
        return self.onnx.path if self.onnx else self.checkpoint / WEIGHTS_FILE

    @property
    def identity(self) -> str:
        """What tells the numbers of the network apart from any others: one digest can have several ONNX files."""
        return f"onnx {file_digest(self.onnx.path)}" if self.onnx else self.digest


@dataclass(frozen=True)
class Use:
    """A run and the patches that it is to be used on.

    Attributes:
        weights: The run.
        inputs: How the patches become inputs of the network.
        store: The data.
        rows: The patches.
        with_maps: Whether their reference maps are read.
        scope: What an evaluation of it is of; countries as the store spells them.
    """

    weights: ChosenWeights
    inputs: DataConfig
    store: Store
    rows: Rows
    with_maps: bool
    scope: Scope


def choose_weights(run: Path, here: bool = True, notify: Notify = ignore, **changes: Any) -> ChosenWeights:
    """Look at the best weights of a run.

    Args:
        run: Run folder of `train`, or a model folder of `seg.pipeline.card`, which has the default settings.
        here: Whether they are to be used on this machine, so that it needs the device.
        notify: Is told which code builds a network of one's own.
        changes: Instead of the run's own settings, as for `load_config`.

    Raises:
        RunError, CheckpointError, WrongUseError: What is wrong, in one sentence.
    """
    checkpoint = best_checkpoint(run)
    # What was asked for is no fault of the run's file.
    device_name(changes.get("train__device") or "auto")
    config = load_config(None if is_model_folder(run) else run / CONFIG_FILE, **changes)
    card = check_checkpoint(checkpoint)
    _check_statistics(card)
    if card.code:
        code = code_beside(checkpoint, card.arch, card.code)
        notify(running(checkpoint / CODE_FILE, code.sha256))
    if here:
        require_device(config.train.device)
    return ChosenWeights(run, checkpoint, config, card)


def choose_onnx(path: Path, device: str | None) -> ChosenWeights:
    """Look at an ONNX file of `seg.pipeline.card`, which has the default settings.

    Raises:
        CheckpointError, WrongUseError: What is wrong, in one sentence.
    """
    model = read_onnx(path)
    _check_statistics(model.card)
    return ChosenWeights(path, path, load_config(None, train__device=device), model.card, model)


def is_onnx(path: Path) -> bool:
    """Whether a path names an ONNX file."""
    return path.suffix.lower() == ONNX_SUFFIX


def plan_use(
    run: Path,
    *,
    split: Split | None = None,
    data: Path | None = None,
    metadata: Path | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    drop: Sensor | None = None,
    countries: Sequence[str] | None = None,
    unit: float = 0.0,
    need_maps: bool | None = True,
    track: Track = silent,
    notify: Notify = ignore,
) -> Use:
    """Settle what a run is to be used for.

    Args:
        run: Run folder of `train`.
        split, data, metadata, device, batch_size: Instead of the run's own settings.
        drop: Sensor that the network is not shown.
        countries: Only patches from these; empty: from all; None: as the run's settings say.
        unit: Hectares of the minimum mapping unit that predicted maps are brought to; 0: none.
        need_maps: Reference maps are needed; None: read where every patch has one.
        track: Progress of making the demo store.
        notify: Is told what the user must not miss.

    Raises:
        RunError, CheckpointError, StoreError, EmptySelectionError, WrongUseError: What is wrong, in one sentence.
    """
    check_unit(unit)
    weights = choose_weights(
        run,
        notify=notify,
        train__device=device,
        eval__batch_size=batch_size,
        eval__split=split,
        eval__countries=countries,
        data__metadata=metadata,
    )
    config, card = weights.config, weights.card
    if drop is not None and not all(of_sensor(card.bands, sensor) for sensor in SENSORS):
        raise WrongUseError(
            f"{run} sees the bands {', '.join(card.bands)} only; without {drop} there is nothing to tell, so leave out "
            "--drop"
        )
    # The weights know their inputs best: a config.yaml that was edited must not feed them other bands.
    known = {"bands": card.bands, "resampling": card.resampling, "context": card.context}
    inputs = config.scored_data.model_copy(update=known)
    if data is not None:
        inputs = inputs.model_copy(update={"store": data, "metadata": metadata})
    store = find_store(inputs, track, notify)
    if store.info.fingerprint != card.data.fingerprint:
        notify(f"The data ({store.info.fingerprint}) are not those the run was trained on ({card.data.fingerprint}).")
    rows = split_rows(store, inputs, config.eval.split, bool(need_maps))
    with_maps = bool(store.index.has_map[rows].all()) if need_maps is None else need_maps
    on = scored_on(store.info.fingerprint, card.data.fingerprint)
    scope = Scope(config.eval.split, drop, on, known_countries(store.index, inputs.countries), unit)
    return Use(weights, inputs, store, rows, with_maps, scope)


def model_tags(
    card: ModelCard, weights: str, *, fingerprint: str, synthetic: bool, unit: float = 0.0
) -> dict[str, str]:
    """Metadata of every file that is made with a model: versions, model and data.

    Args:
        card: The model.
        weights: Digest of its weights.
        fingerprint: Of the data that it was applied to, or else was trained on.
        synthetic: Whether the data that it was applied to are.
        unit: Hectares of the minimum mapping unit that maps were brought to; 0: none.
    """
    tags = {
        "SEG_VERSION": VERSION,
        "MODEL": card.named,
        "MODEL_WEIGHTS": weights,
        "BANDS": ",".join(card.bands),
        "DATA_FINGERPRINT": fingerprint,
        "TEMPERATURE": f"{card.calibration:g}",
    }
    if card.context:
        tags["CONTEXT_PIXELS"] = str(card.context)
    if unit:
        tags["MINIMUM_MAPPING_UNIT_HA"] = unit_text(unit)
    return tags | Synthetic.of(data=synthetic, model=card.data.synthetic).tags


def _check_statistics(card: ModelCard) -> None:
    """The weights were trained with the statistics that this version normalises with."""
    bands = [BANDS[name] for name in card.bands]
    if not np.allclose(card.mean, [b.mean for b in bands]) or not np.allclose(card.std, [b.std for b in bands]):
        raise WrongUseError(
            "the weights were trained with other band statistics than this version of seg normalises with"
        )

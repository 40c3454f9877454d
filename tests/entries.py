"""Runs on a small synthetic store, scored by what `seg eval` scores with, but without a network: entries for tests."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seg.benchmark.apart import Examiner
from seg.benchmark.verify import Verified, verify_submission
from seg.config.load import dump_config, load_config
from seg.config.track import Track, silent
from seg.metrics.boundary import boundary_counts
from seg.metrics.calibration import confidence_counts, pooled_scores
from seg.metrics.evidence import Details, Evidence, Origin, batch_evidence, merge_evidence
from seg.metrics.evidence_file import save_evidence
from seg.metrics.sparse import sparse_counts
from seg.prepare.build import build_store
from seg.prepare.sources import published_sources
from seg.reben.classes import NUM_CLASSES
from seg.reben.reference_map import class_indices
from seg.store.open import Store, open_store
from seg.synthetic.tree import synthesise

ANSWERS: dict[str, Any] = {
    "protocol": 1,
    "name": "unet resnet18 s2",
    "summary": "A U-Net.",
    "authors": ["A. Author", "B. Author"],
    "url": "https://example.org/paper",
    "licence": "cc-by-4.0",
    "inputs": "s2",
    "pretraining": "scratch",
    "labels_percent": 100,
    "pretraining_data": "none",
    "other_data": "none",
    "selection": "validation",
    "test_unseen": True,
    "trials": 2,
    "deterministic": False,
    "encoder": "trained",
    "augmentation": "flips",
    "test_time": "none",
    "parameters": 14_328_209,
    "multiply_adds": 3.5,
    "patches_seen": 5000,
    "hours": 2.0,
    "device": "Some GPU",
    "energy_kwh": None,
}
"""What goes with the records of `write_run`."""


def small_store(folder: Path, patches: int = 40) -> Store:
    """A synthetic store, of which a quarter, in two tiles, is for testing."""
    synthesise(folder / "tree", patches, 0)
    build_store(published_sources(folder / "tree"), folder / "store", workers=1)
    return open_store(folder / "store")


def evidence_on(store: Store, seed: int = 0, skill: float = 3.0, temperature: float | None = 1.5) -> Evidence:
    """What a model does on the test split that sees the reference through noise.

    Args:
        store: The store.
        seed: Of the noise.
        skill: How far logits of the right class stand out of noise of deviation 2.
        temperature: Of the calibration.
    """
    info = store.info
    origin = Origin("test", info.fingerprint, info.synthetic, f"{seed:04x}", None, temperature, synthetic_model=True)
    rows = np.flatnonzero(store.index.splits == 2)
    ids = store.index.patch_ids.take(rows).to_pylist()
    noise = np.random.default_rng(seed)
    parts = []
    countries = store.index.countries.take(rows).to_pylist()
    for patch_id, labels_K, country in zip(ids, store.index.labels(rows), countries, strict=True):
        target_HW = class_indices(store.patches.reference_map(patch_id), patch_id)
        coarse = noise.normal(0, 2, (NUM_CLASSES, 12, 12)).repeat(10, 1).repeat(10, 2)
        right = (target_HW == np.arange(NUM_CLASSES)[:, None, None]) * skill
        logits = torch.from_numpy((coarse + right + 0.01 * noise.normal(size=right.shape)).astype(np.float32))[None]
        parts.append(_evidence_of(origin, patch_id, target_HW[None], logits, labels_K[None], country, noise))
    return merge_evidence(parts)


def _evidence_of(origin, patch_id, target_BHW, logits, labels, country, noise) -> Evidence:
    predicted_BHW = logits.argmax(1).numpy().astype(np.uint8)
    labelled = target_BHW < NUM_CLASSES
    cells = target_BHW[labelled].astype(np.int64) * NUM_CLASSES + predicted_BHW[labelled]
    counts = np.bincount(cells, minlength=NUM_CLASSES**2).reshape(1, NUM_CLASSES, NUM_CLASSES)
    zones, bands = boundary_counts(target_BHW, predicted_BHW)
    bins, losses = confidence_counts(logits, torch.from_numpy(target_BHW), origin.temperature)
    pooled = pooled_scores(logits)
    details = Details(sparse_counts(zones), sparse_counts(bands), sparse_counts(bins.numpy()), losses.numpy(), pooled)
    scores = labels * 2.0 + noise.normal(-1, 1, labels.shape)
    probabilities = (1 / (1 + np.exp(-scores))).astype(np.float32)
    return batch_evidence(origin, [patch_id], counts, labels, probabilities, [country], details)


def write_run(folder: Path, evidence: Evidence, seed: int, record: dict[str, Any] | None = None, **settings) -> Path:
    """A run folder as `seg train` and `seg eval` leave it behind, without weights."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(load_config(train__seed=seed, **settings)))
    data = {"fingerprint": evidence.origin.fingerprint, "patches": {"train": 20}, "bands": ["B02", "B03", "B04"]}
    cost = {"device_seconds": 7200, "patches_seen": 5000, "trials": 2, "energy_joules": None}
    known = {"status": "finished", "synthetic": True, "data": data, "parameters": 14_328_209, "cost": cost}
    known |= {"hardware": {"cpu": "Some CPU", "gpus": ["Some GPU"]}, "compute": {"device": "cuda"}, "weights": []}
    (folder / "run.json").write_text(json.dumps(known | (record or {})))
    place = folder / "eval" / "test"
    save_evidence(place / "evidence", evidence)
    scored = {"weights": evidence.origin.weights, "data": {"patches": len(evidence)}}
    (place / "eval.json").write_text(json.dumps(scored))
    return folder


def three_runs(folder: Path, store: Store, skill: float = 3.0, **settings) -> list[Path]:
    """Runs of three seeds."""
    return [
        write_run(folder / f"seed{seed}", evidence_on(store, seed + 10 * round(100 * skill), skill), seed, **settings)
        for seed in range(3)
    ]


def with_origin(evidence: Evidence, **changes: Any) -> Evidence:
    """Evidence that says something else of itself."""
    return replace(evidence, origin=replace(evidence.origin, **changes))


def verified_here(examiner: Examiner, path: Path, track: Track = silent) -> Verified:
    """In the place of `Examiner.verify`: without another process, as starting one takes longer than what is tested."""
    return verify_submission(path, examiner._store, track)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the modules that import it; `test_apart.py` tests the other processes."""
    monkeypatch.setattr(Examiner, "verify", verified_here)

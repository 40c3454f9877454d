"""A sample leaderboard on synthetic data: the baseline grid, a random forest, a constant, and an outsider's arrays.

    python scripts/leaderboard.py                    # results/leaderboard

Everything goes the way of an entry: the networks of `scripts/baseline.py` are trained with three seeds and scored;
what scikit-learn predicts is written to arrays and scored by ``seg score``; all of it is submitted, verified and
ranked. What is finished, also by that script, is not done again. The folder has the layout of a leaderboard that
takes pull requests, with its site beside the submissions.
"""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from baseline import add_options, store_of, trained_grid
from rich.console import Console
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier

import seg
from seg.benchmark.board import BOARD_FILES, SUBMISSIONS, board_files, read_board
from seg.benchmark.checks import CHECKS
from seg.benchmark.form import Answers, form_text
from seg.config.yaml_text import parse
from seg.pipeline.verify import verify
from seg.reben.classes import CLASS_NAMES, IGNORE_INDEX, NUM_CLASSES
from seg.runs.entry import read_entry
from seg.store.atomic import write_text
from seg.store.open import open_store
from seg.store.until_exit import claim_until_exit

SEEDS = (0, 1, 2)
NETWORKS = {"unet": "U-Net", "deeplabv3plus": "DeepLabV3+"}
SENSORS = {"s1": "Sentinel-1", "s2": "Sentinel-2", "s1s2": "Sentinel-1 and Sentinel-2"}
PIXELS = 60
"""Training pixels that classifiers are given of each patch."""
STATED: dict[str, Any] = {
    "authors": ["The seg developers"],
    "url": "none",
    "licence": "mit",
    "pretraining": "scratch",
    "pretraining_data": "none",
    "labels_percent": 100,
    "other_data": "none",
    "selection": "none",
    "test_unseen": True,
    "trials": 1,
    "encoder": "none",
    "augmentation": "none",
    "test_time": "none",
    "device": "CPU",
}
"""Answers of all entries, where no record knows better."""
_console = Console()
Floats = npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--out", type=Path, default=Path("results/leaderboard"), help="Folder of the leaderboard.")
    args = parser.parse_args()
    claim_until_exit(args.out, BOARD_FILES)
    store, work = store_of(args), args.work / "leaderboard"
    work.mkdir(parents=True, exist_ok=True)
    entries = {**networks(store, args), **classifiers(store, work)}
    for name, (folders, stated) in entries.items():
        enter(folders, args.out / SUBMISSIONS / name, work / f"{name}.yaml", stated)
        compare(folders, args.out, name, store)
    board = read_board(args.out, open_store(store))
    for name, text in board_files(board).items():
        write_text(args.out / name, text)
    for entry in board.entries:
        _console.print(entry.ranks["miou"].words, entry.name)


Entry = tuple[list[Path], dict[str, Any]]
"""Scored folders of the seeds, and what is stated of them."""


def networks(store: Path, args: argparse.Namespace) -> dict[str, Entry]:
    """Networks, trained and scored."""
    study, variants = trained_grid(args, store)
    entries = {}
    for variant in variants:
        arch, bands = variant.settings["model__arch"], variant.settings["data__bands"]
        name = f"{NETWORKS[arch]}, {bands.upper()}"
        words = f"{NETWORKS[arch]} with {args.encoder}, {args.epochs} epochs, all bands of {SENSORS[bands]}."
        entries[f"{arch}-{bands}"] = (list(study.folders(variant)), {"name": name, "summary": words})
    return entries


def classifiers(store: Path, work: Path) -> dict[str, Entry]:
    """What other programs predict, as arrays that ``seg score`` reads."""
    train, test = (list(samples(store, split)) for split in ("train", "test"))
    ids = [name for name, _, _ in test]
    pixels_NC, classes_N = training_pixels(train)
    common = np.bincount(classes_N).argmax()
    constant = np.full((len(test), *test[0][2].shape), common, np.uint8)
    forests = {}
    for seed in SEEDS:
        forest = RandomForestClassifier(60, min_samples_leaf=5, random_state=seed).fit(pixels_NC, classes_N)
        forests[seed] = [shares_of(forest, image) for _, image, _ in test]
    linear = LinearDiscriminantAnalysis().fit(pixels_NC, classes_N)
    shares = [shares_of(linear, image) for _, image, _ in test]
    seen = {"inputs": "s2", "patches_seen": len(train), "hours": 0.01, "multiply_adds": 0}
    found = {
        "random-forest": [scored(store, work, "Random forest", seed, ids, forests[seed]) for seed in SEEDS],
        "linear": [scored(store, work, "Linear discriminants", None, ids, shares)],
        "constant": [scored(store, work, "One class everywhere", None, ids, masks=constant)],
    }
    nodes = sum(tree.tree_.node_count for tree in forest.estimators_)
    return {
        "random-forest": (
            found["random-forest"],
            seen | {"summary": "A forest of 60 trees on the bands of single pixels.", "parameters": nodes},
        ),
        "linear": (
            found["linear"],
            seen
            | {
                "summary": "An outsider's arrays: linear discriminants of the bands of single pixels.",
                "parameters": int(linear.coef_.size + linear.intercept_.size),
                "deterministic": True,
            },
        ),
        "constant": (
            found["constant"],
            seen
            | {
                "summary": f"{CLASS_NAMES[common]} everywhere: what nobody may be worse than.",
                "parameters": 1,
                "deterministic": True,
            },
        ),
    }


def samples(store: Path, split: str) -> Iterator[tuple[str, Floats, npt.NDArray[np.uint8]]]:
    """Id, image (C, H, W) and reference map of each patch of a split."""
    for sample in seg.dataset(store, bands="s2", split=split):
        yield sample["patch_id"], sample["image"].numpy(), sample["mask"].numpy().astype(np.uint8)


def training_pixels(train: list[tuple[str, Floats, npt.NDArray[np.uint8]]]) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Bands and class of some labelled pixels of each patch."""
    rng = np.random.default_rng(0)
    pixels, classes = [], []
    for _, image_CHW, mask_HW in train:
        labelled = np.flatnonzero(mask_HW.ravel() != IGNORE_INDEX)
        chosen = rng.choice(labelled, min(PIXELS, len(labelled)), replace=False)
        pixels.append(image_CHW.reshape(len(image_CHW), -1)[:, chosen].T)
        classes.append(mask_HW.ravel()[chosen])
    return np.concatenate(pixels), np.concatenate(classes)


def shares_of(classifier: Any, image_CHW: Floats) -> npt.NDArray[np.float16]:
    """Probabilities of each pixel, (K, H, W)."""
    known = classifier.predict_proba(image_CHW.reshape(len(image_CHW), -1).T)
    shares_PK = np.zeros((len(known), NUM_CLASSES), np.float16)
    shares_PK[:, classifier.classes_] = known
    return shares_PK.T.reshape(NUM_CLASSES, *image_CHW.shape[1:])


def scored(
    store: Path,
    work: Path,
    name: str,
    seed: int | None,
    ids: list[str],
    shares: list[npt.NDArray[np.float16]] | None = None,
    masks: npt.NDArray[np.uint8] | None = None,
) -> Path:
    """Predictions of a seed, written as an outsider would and scored; the scored folder."""
    folder = work / f"{name.lower().replace(' ', '-')}{'' if seed is None else f'-seed{seed}'}"
    if folder.is_dir():
        return folder
    arrays: dict[str, npt.NDArray[Any]] = {"ids": np.array(ids)}
    scene = None
    if shares is not None:
        arrays |= {"masks": np.stack([one.argmax(0) for one in shares]).astype(np.uint8)}
        scene = folder.with_suffix(".parquet")
        columns = np.stack([one.mean((1, 2), dtype=np.float32) for one in shares])
        pq.write_table(pa.table({"patch_id": ids} | dict(zip(CLASS_NAMES, columns.T, strict=True))), scene)
    else:
        arrays |= {"masks": masks}
    np.savez_compressed(folder.with_suffix(".npz"), **arrays)
    seg.score(folder.with_suffix(".npz"), name=name, out=folder, classes="reben", scene=scene, data=store, seed=seed)
    return folder


def enter(folders: list[Path], out: Path, form: Path, stated: dict[str, Any]) -> None:
    """Fill in what the records do not know and submit."""
    form.unlink(missing_ok=True)
    asked = out.with_name(f"{out.name}.answers.yaml")
    asked.unlink(missing_ok=True)
    known = parse(seg.submit(folders, out).form.read_text(encoding="utf-8"))
    asked.unlink()
    answers = {name: known[name] if known[name] is not None else STATED.get(name) for name in Answers.model_fields}
    write_text(form, form_text(answers | stated)[0])
    shutil.rmtree(out, ignore_errors=True)
    seg.submit(folders, out, answers=form)


def compare(folders: list[Path], out: Path, name: str, store: Path) -> None:
    """Keep what the predictions of an entry give, where they lie beside what was scored of them."""
    seeds = [str(read_entry(folder).seed or 0) for folder in folders]
    given = [
        {seed: path for seed, folder in zip(seeds, folders, strict=True) if (path := folder.with_suffix(end)).is_file()}
        for end in (".npz", ".parquet")
    ]
    if any(given):
        (out / CHECKS).mkdir(exist_ok=True)
        pixels, scene = given
        check = out / CHECKS / f"{name}.json"
        verify(out / SUBMISSIONS / name, data=store, predictions=pixels, scene=scene, classes="reben", out=check)


if __name__ == "__main__":
    main()

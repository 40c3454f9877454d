"""The baseline grid on 80 real patches, beside a random forest on single pixels and local means.

The sample has the bands VV, VH, B02, B03, B04 and B08 of 80 patches of reBEN's test split; here they are split by whole
MGRS tiles. A score on it is no reBEN benchmark result: it shows that everything runs on real images, and what a plain
method reaches there.

    python scripts/real_sample.py --tree ../shared/real/reben-10m-80 [--no-grid]

The recipe for few patches (``configs/few-patches.yaml``) is trained beside the grid; with ``--no-grid`` it is trained
alone, and the answer is called ``few_patches``.

The random forest (scikit-learn, ``pip install seg[dev]``) sees of each pixel the normalised bands and their means over
5 x 5 and 15 x 15 pixels. The multi-label comes from its probabilities: of each class the mean over the patch.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from scipy.ndimage import uniform_filter
from sklearn.ensemble import RandomForestClassifier

from seg.config.sections import DataConfig
from seg.config.yaml_text import parse
from seg.data.dataset import Batch, PatchDataset
from seg.data.order import BatchKey
from seg.metrics.evidence import Evidence, Origin, batch_evidence, merge_evidence
from seg.pipeline.sweep import sweep
from seg.prepare.build import build_store
from seg.prepare.executors import CHOICES, LOCAL
from seg.prepare.sources import published_sources
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.reben.patch import Split
from seg.report.answer import Answer, answer_files, points, write_answer
from seg.report.formats import to_rich
from seg.report.outcomes import SCORES, Outcome, difference, differences_table, outcome_of, scores_table
from seg.runs.data import split_rows
from seg.runs.study import Study, Variant
from seg.store.open import open_store
from seg.store.until_exit import claim_until_exit

BANDS = {"s1": "VV,VH", "s2": "B02,B03,B04,B08", "s1s2": "VV,VH,B02,B03,B04,B08"}
ARCHITECTURES = ("unet", "deeplabv3plus")
WINDOWS = (5, 15)
PIXELS = 40_000
"""Training pixels of the forest."""
RECIPE = Path(__file__).resolve().parents[1] / "configs" / "few-patches.yaml"
NAMES = {
    "real_sample": "The baseline grid on 80 real patches",
    "few_patches": "The recipe for few patches on 80 real ones",
}
"""Name and question of the answer, with the grid and without."""
_console = Console()

Floats = npt.NDArray[np.float32]


def options(description: str | None, *, epochs: int, work: str) -> argparse.ArgumentParser:
    """Options that all questions to the sample have, with the defaults of one."""
    parser = argparse.ArgumentParser(
        description=(description or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--tree", type=Path, required=True, help="Folder of the sample, as published.")
    parser.add_argument("--seeds", default="0,1,2", help="Seeds of the training.")
    parser.add_argument("--epochs", type=int, default=epochs, help="Epochs of each training.")
    parser.add_argument("--work", type=Path, default=Path(work), help="Folder for stores and runs.")
    parser.add_argument("--out", type=Path, default=Path("results/real-sample"), help="Folder for the results.")
    parser.add_argument("--executor", default=LOCAL, help=f"Who trains: {CHOICES}.")
    parser.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE", help="An option of sbatch.")
    return parser


def main() -> None:
    parser = options(__doc__, epochs=40, work="runs/real-sample")
    parser.add_argument("--encoder", default="resnet18", help="Encoder.")
    parser.add_argument("--no-grid", action="store_true", help="Train the recipe for few patches alone.")
    args = parser.parse_args()
    args.name = "few_patches" if args.no_grid else "real_sample"
    claim_until_exit(args.out, answer_files(args.name))
    store = args.work / "sample"
    if not store.is_dir():
        args.work.mkdir(parents=True, exist_ok=True)
        build_store(published_sources(args.tree), store, resplit="tile")
    seeds = tuple(int(seed) for seed in args.seeds.split(","))
    shared = {
        "model__encoder": args.encoder,
        "train__epochs": args.epochs,
        "train__patience": 0,
        "train__batch_size": 8,
    }
    variants = [
        Variant(f"{arch} {name}", {"model__arch": arch, "data__bands": bands}, store)
        for arch, (name, bands) in itertools.product(() if args.no_grid else ARCHITECTURES, BANDS.items())
    ]
    variants.append(Variant("few-patches s1s2", recipe(), store))
    study = Study(args.work, seeds, shared)
    failed = sweep(study.runs(variants), executor=args.executor, slurm=args.slurm, notify=_console.print)
    for error in failed.values():
        raise error
    networks = study.outcomes(variants)
    forests = [
        outcome_of(f"random forest {name}", [forest_evidence(store, bands, seed) for seed in seeds])
        for name, bands in BANDS.items()
    ]
    publish(networks, forests, store, args)


def recipe() -> dict[str, Any]:
    """The settings for few patches, ``section__key=value``."""
    tree = parse(RECIPE.read_text(encoding="utf-8"))
    return {f"{section}__{key}": value for section, settings in tree.items() for key, value in settings.items()}


def publish(networks: list[Outcome], forests: list[Outcome], store: Path, args: argparse.Namespace) -> None:
    """Table, picture and sentences."""
    info = open_store(store).info
    note = f"Patches by split: {', '.join(f'{count} {name}' for name, count in info.splits.items())}, by whole tiles."
    question = NAMES[args.name]
    table = scores_table("scores", question, [*networks, *forests], [note])
    pairs = [(one, forest) for one in networks for forest in forests if one.name.split()[-1] == forest.name.split()[-1]]
    gaps = differences_table("differences", "Against the forest with the same bands, on the same patches", pairs)
    best = max(networks, key=lambda one: one.scores["miou"].value)
    plain = max(forests, key=lambda one: one.scores["miou"].value)
    grid = "" if args.no_grid else f"{args.encoder}, {args.epochs} epochs; "
    miou, oa = (points(difference(best, plain, score)) for score in ("miou", "oa"))
    answer = Answer(
        name=args.name,
        question=question,
        setting=f"{grid}few-patches as `configs/few-patches.yaml` says; seeds {args.seeds}; all from random weights.",
        command="python scripts/real_sample.py --tree reben-10m-80" + " --no-grid" * args.no_grid,
        synthetic=info.synthetic,
        tables=[table, gaps],
        shows=f"The best network ({best.name}) and forest ({plain.name}) differ by {miou} of mIoU and by {oa} of OA.",
        does_not=(
            "It is no reBEN benchmark result: a network has forty patches to learn from, and few tiles are tested, so "
            "intervals are wide. The sample cannot tell code 231 from 999, see its README."
        ),
        rows={one.name: [one.scores.get(key) for key in ("miou", "ap_macro")] for one in (*networks, *forests)},
        scores=[SCORES[key] for key in ("miou", "ap_macro")],
    )
    settings = {"seeds": args.seeds, "epochs": args.epochs, "encoder": args.encoder, "fingerprint": info.fingerprint}
    write_answer(answer, args.out, settings)
    for each in answer.titled_tables:
        _console.print(to_rich(each))


def forest_evidence(store: Path, bands: str, seed: int, split: Split = "test") -> Evidence:
    """Evidence of a random forest on a split that it has not seen."""
    training, test = dataset(store, bands, "train"), dataset(store, bands, split)
    features, target = [], []
    for position in range(len(training)):
        batch = read(training, position)
        mask_HW = batch.masks_BHW[0].numpy()
        labelled = mask_HW != IGNORE_INDEX
        features.append(pixel_features(batch.images_BCHW[0].numpy())[labelled])
        target.append(mask_HW[labelled])
    x_NF, y_N = np.concatenate(features), np.concatenate(target)
    chosen = np.random.default_rng(seed).permutation(len(y_N))[:PIXELS]
    forest = RandomForestClassifier(n_estimators=100, min_samples_leaf=5, random_state=seed, n_jobs=-1)
    forest.fit(x_NF[chosen], y_N[chosen])
    origin = Origin(split, open_store(store).info.fingerprint, open_store(store).info.synthetic)
    return merge_evidence([_evidence_of(forest, test, position, origin) for position in range(len(test))])


def _evidence_of(forest: RandomForestClassifier, test: PatchDataset, position: int, origin: Origin) -> Evidence:
    batch = read(test, position)
    image_CHW, mask_HW = batch.images_BCHW[0].numpy(), batch.masks_BHW[0].numpy()
    known = forest.predict_proba(pixel_features(image_CHW).reshape(mask_HW.size, -1))
    shares_PK = np.zeros((len(known), NUM_CLASSES))
    shares_PK[:, forest.classes_] = known
    predicted_HW = shares_PK.argmax(1).reshape(mask_HW.shape)
    labelled = mask_HW != IGNORE_INDEX
    counts_KK = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    np.add.at(counts_KK, (mask_HW[labelled], predicted_HW[labelled]), 1)
    rows = batch.rows_B.numpy()
    labels_BK = batch.labels_BK.numpy().astype(np.bool_)
    probabilities_BK = shares_PK.mean(0)[None].astype(np.float32)
    return batch_evidence(
        origin, test.patch_ids(rows), counts_KK[None], labels_BK, probabilities_BK, test.countries(rows)
    )


def dataset(store: Path, bands: str, split: Split) -> PatchDataset:
    """The patches of a split, normalised and not augmented."""
    data = DataConfig(store=store, bands=bands, augment=())
    opened = open_store(store)
    return PatchDataset(opened, split_rows(opened, data, split), data)


def read(samples: PatchDataset, position: int) -> Batch:
    """A batch of one patch."""
    batch = samples[BatchKey(0, (position,))]
    assert isinstance(batch, Batch), "batches are raw only if that is asked for"
    return batch


def pixel_features(image_CHW: Floats) -> Floats:
    """The bands of each pixel and their means over windows: (H, W, features)."""
    means = [uniform_filter(image_CHW, (0, window, window), mode="reflect") for window in WINDOWS]
    return np.concatenate([image_CHW, *means]).transpose(1, 2, 0)


if __name__ == "__main__":
    main()

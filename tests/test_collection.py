"""The collection of torchmetrics against the scores of evidence, in plain loops and in Lightning.

That several processes count the same is tested in test_distributed.py, which has them.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import made_up_evidence

import seg
from seg.errors import EvidenceError
from seg.metrics.collection import PIXEL_SCORES, SCENE_SCORES
from seg.metrics.evidence import Evidence, Origin, batch_evidence, merge_evidence, take_patches
from seg.metrics.pixel import confusion_counts
from seg.metrics.scores import headline, score_evidence
from seg.metrics.second_opinion import second_opinion
from seg.reben.classes import NUM_CLASSES

K = NUM_CLASSES
NAMES = {*PIXEL_SCORES, *SCENE_SCORES}
Batch = dict[str, Any]


def batches_of(
    seed: int, patches: int, *, absent: Sequence[int] = (), decimals: int = 7, unlabelled: float = 0.1, size: int = 8
) -> list[Batch]:
    """Made-up batches of three patches, as a loop would have them: named, with pixel logits and probabilities."""
    random = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, K, (patches, size, size), generator=random)
    mask[torch.rand(mask.shape, generator=random) < unlabelled] = 255
    label = torch.rand((patches, K), generator=random) < 0.3
    for k in absent:
        mask[mask == k] = 255
        label[:, k] = False
    logits = torch.randn((patches, K, size, size), generator=random)
    logits += 1.5 * torch.nn.functional.one_hot(mask.clamp(max=K - 1), K).permute(0, 3, 1, 2)
    probabilities = torch.sigmoid(2 * torch.randn((patches, K), generator=random) + 2 * label - 1).round(
        decimals=decimals
    )
    ids = [f"S2A_MSIL2A_20170613T101031_N9999_R022_T33U{'UVWXYZ'[n % 6]}P_00_{n:02d}" for n in range(patches)]
    whole = {"pixels": logits, "mask": mask, "probabilities": probabilities, "label": label, "patch_id": ids}
    return [{key: part[begin : begin + 3] for key, part in whole.items()} for begin in range(0, patches, 3)]


def evidence_of(batches: Sequence[Batch]) -> Evidence:
    parts = []
    for batch in batches:
        counts = confusion_counts(batch["mask"], batch["pixels"].argmax(dim=1)).numpy()
        scene = batch["label"].numpy(), batch["probabilities"].numpy()
        parts.append(batch_evidence(Origin("test", "made-up", False), batch["patch_id"], counts, *scene))
    return merge_evidence(parts)


def unnamed(batch: Batch) -> Batch:
    return {key: part for key, part in batch.items() if key != "patch_id"}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == torch.float64
        assert value.item() == pytest.approx(expected[name], rel=0, abs=1e-9, nan_ok=True), name


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32),
    st.integers(0, 7),
    st.sets(st.integers(0, K - 1)),
    st.sampled_from([0, 1, 7]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_loop_has_the_scores_of_the_evidence(
    seed: int, patches: int, absent: set[int], decimals: int, unlabelled: float
) -> None:
    """With absent classes, ties, nothing labelled, one patch and none; with names and without."""
    batches = batches_of(seed, patches, absent=tuple(absent), decimals=decimals, unlabelled=unlabelled)
    nothing = {key: part[:0] for key, part in batches_of(0, 1)[0].items()}
    empty = merge_evidence([evidence_of([nothing]), *([evidence_of(batches)] if batches else [])])
    expected = headline(score_evidence(empty))
    assert expected.keys() == NAMES
    named, bare, counted = seg.metric_collection(), seg.metric_collection(), seg.metric_collection()
    for batch in [nothing, *batches]:
        named.update(**batch)
        bare.update(**unnamed(batch))
        rest = {key: part for key, part in unnamed(batch).items() if key not in ("pixels", "mask")}
        counted.update(counts=confusion_counts(batch["mask"], batch["pixels"].argmax(dim=1)), **rest)
    for scores in (named, bare, counted):
        assert_equal(scores.compute(), expected)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 40), st.integers(0, 1000), st.booleans(), st.sets(st.integers(0, K - 1)), st.sampled_from([0, 1, 7])
)
def test_the_second_opinion_is_that_of_the_evaluation(
    patches: int, seed: int, head: bool, absent: set[int], decimals: int
) -> None:
    evidence = made_up_evidence(patches, 4, seed, head=head, details=False)
    labels = evidence.labels.copy()
    labels[:, list(absent)] = False
    probabilities = evidence.probabilities
    if probabilities is not None:
        probabilities = probabilities.round(decimals)
    evidence = replace(evidence, labels=labels, probabilities=probabilities)
    expected = headline(score_evidence(evidence))
    found = second_opinion(evidence)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value == pytest.approx(expected[name], rel=0, abs=1e-9, nan_ok=True), name


def test_labels_that_rank_nothing_have_no_average_precision() -> None:
    evidence = made_up_evidence(30, 3, details=False)
    assert evidence.probabilities is not None
    decided = (evidence.probabilities > 0.5).astype(np.float32)
    evidence = replace(evidence, origin=replace(evidence.origin, ranked=False), probabilities=decided)
    expected = headline(score_evidence(evidence))
    found = second_opinion(evidence)
    assert {name for name in expected if math.isnan(expected[name])} == expected.keys() - found.keys()
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-9)


def test_a_named_patch_counts_once_and_one_without_a_name_as_often_as_it_comes() -> None:
    batches = batches_of(5, 9)
    expected = headline(score_evidence(evidence_of(batches)))
    named, bare, twice = seg.metric_collection(), seg.metric_collection(), seg.metric_collection()
    other = batches_of(6, 3)[0] | {"patch_id": batches[0]["patch_id"]}
    for batch in [*batches, batches[1], other]:
        named.update(**batch)
    for batch in [*batches, batches[1]]:
        bare.update(**unnamed(batch))
    assert_equal(named.compute(), expected)
    copied = batches[1] | {"patch_id": [name[:-5] + "_90_9" + name[-1] for name in batches[1]["patch_id"]]}
    assert_equal(bare.compute(), headline(score_evidence(evidence_of([*batches, copied]))))
    # Within one batch too.
    doubled = {key: torch.cat([part, part]) for key, part in unnamed(batches[0]).items()}
    twice.update(**doubled, patch_id=[*batches[0]["patch_id"]] * 2)
    assert_equal(twice.compute(), headline(score_evidence(evidence_of(batches[:1]))))


def test_what_was_not_given_is_undefined() -> None:
    batch = batches_of(1, 3)[0]
    masks, scene = seg.metric_collection(), seg.metric_collection(prefix="val_")
    masks.update(pixels=batch["pixels"], mask=batch["mask"], patch_id=batch["patch_id"])
    scene.update(probabilities=batch["probabilities"], label=batch["label"].float())
    expected = headline(score_evidence(evidence_of([batch])))
    assert_equal(masks.compute(), expected | dict.fromkeys(SCENE_SCORES, math.nan))
    wanted = {f"val_{name}": value for name, value in (expected | dict.fromkeys(PIXEL_SCORES, math.nan)).items()}
    assert_equal(scene.compute(), wanted)


def test_all_scores_share_one_set_of_counts_and_begin_anew_after_a_reset() -> None:
    first, second = batches_of(2, 6)
    scores = seg.metric_collection()
    scores.update(**first)
    scores.update(**second)
    assert list(scores.compute_groups.values()) == [[*PIXEL_SCORES, *SCENE_SCORES]]
    states = [metric.probabilities for metric in scores.values(copy_state=False)]
    assert all(part is states[0] for part in states)
    assert scores["miou"].counts.dtype == torch.int64
    scores.reset()
    # A forward gives the scores of the batch, and keeps those of all.
    assert_equal(scores(**first), headline(score_evidence(evidence_of([first]))))
    assert_equal(scores(**second), headline(score_evidence(evidence_of([second]))))
    assert_equal(scores.compute(), headline(score_evidence(evidence_of([first, second]))))


def test_counts_stay_exact_where_float32_would_not() -> None:
    counts = torch.zeros(1, K, K, dtype=torch.int64)
    counts[0, 0, 0], counts[0, 1, 0], counts[0, 1, 1] = 2**40 + 1, 1, 1
    scores = seg.metric_collection()
    for _ in range(3):
        scores.update(counts=counts)
    assert int(scores["oa"].counts[0, 0]) == 3 * (2**40 + 1)
    assert scores.compute()["macc"].item() == pytest.approx(0.75, abs=1e-12)


GOOD = batches_of(0, 3)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": None}, "both or neither"),
        ({"label": None}, "both or neither"),
        ({"counts": torch.zeros(3, K, K, dtype=torch.int64)}, "one or the other"),
        ({"pixels": None, "mask": None, "counts": torch.zeros(3, K, K)}, "int64 .*not float32"),
        ({"mask": GOOD["mask"] + 1}, "pixels hold no class index"),
        ({"pixels": GOOD["pixels"].argmax(1) - 1}, "pixels hold no class index"),
        ({"pixels": GOOD["mask"].float()}, "integer classes"),
        ({"mask": GOOD["mask"][:, :4]}, "integer classes"),
        ({"probabilities": GOOD["probabilities"] * 8 - 4}, "sigmoid"),
        ({"probabilities": GOOD["probabilities"] * torch.nan}, "between 0 and 1"),
        ({"probabilities": GOOD["probabilities"][:, :5]}, r"float32 \(3, 5\)"),
        ({"label": GOOD["label"] * 2}, "labels are 0 or 1"),
        ({"pixels": GOOD["pixels"] * torch.nan}, "hold NaN"),
        ({"pixels": GOOD["pixels"].argmax(1) > 3}, "integer classes"),
        ({"pixels": GOOD["pixels"][:, :5]}, "integer classes"),
        ({"pixels": None, "mask": None, "counts": -torch.ones(3, K, K, dtype=torch.int64)}, "some are below 0"),
        ({"patch_id": "abc"}, "a list of texts"),
        ({"patch_id": [1, 2, 3]}, "a list of texts"),
        ({"patch_id": ["a", "b"]}, "one number of patches"),
        (dict.fromkeys(GOOD), "one number of patches"),
    ],
)
def test_what_does_not_fit_is_refused(changes: Batch, message: str) -> None:
    scores = seg.metric_collection()
    with pytest.raises(EvidenceError, match=message):
        scores.update(**GOOD | changes)


def test_nothing_is_asked_where_the_reference_is_unlabelled() -> None:
    mask, predicted = GOOD["mask"].clone(), GOOD["pixels"].argmax(1)
    mask[:, :3] = 255
    first, second = seg.metric_collection(), seg.metric_collection()
    first.update(pixels=predicted, mask=mask)
    predicted[:, :3] = 255
    second.update(pixels=predicted, mask=mask)
    assert {name: value.item() for name, value in first.compute().items() if not value.isnan()} == {
        name: value.item() for name, value in second.compute().items() if not value.isnan()
    }


def test_lightning_logs_the_same_scores() -> None:
    lightning = pytest.importorskip("lightning")
    batches = batches_of(3, 9)

    class Task(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.scores = seg.metric_collection(prefix="val_")

        def validation_step(self, batch: Batch, _: int) -> None:
            self.scores.update(**batch)
            self.log_dict(self.scores, batch_size=len(batch["mask"]))

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(accelerator="cpu", enable_model_summary=False, **quiet)
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    for _ in range(2):
        (found,) = trainer.validate(Task(), loader, verbose=False)
        expected = headline(score_evidence(evidence_of(batches)))
        assert found == pytest.approx({f"val_{name}": value for name, value in expected.items()}, rel=0, abs=1e-6)


def test_evidence_of_one_class_and_of_nothing() -> None:
    evidence = made_up_evidence(12, 2, details=False)
    for part in (take_patches(evidence, np.arange(1)), take_patches(evidence, np.arange(0))):
        expected = headline(score_evidence(part))
        assert second_opinion(part) == pytest.approx(expected, rel=0, abs=1e-9, nan_ok=True)


def alike(values: npt.NDArray[np.float32]) -> Evidence:
    evidence = made_up_evidence(40, 3, details=False)
    return replace(evidence, probabilities=np.broadcast_to(values, (40, K)).astype(np.float32))


@pytest.mark.parametrize("value", [0.0, 0.5, np.nextafter(np.float32(0.5), np.float32(1)), 1.0])
def test_probabilities_that_are_all_alike(value: float) -> None:
    evidence = alike(np.full(K, value, np.float32))
    assert second_opinion(evidence) == pytest.approx(headline(score_evidence(evidence)), rel=0, abs=1e-9)

"""Joint scores against brute force and scikit-learn."""

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as sk
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_up import dense_counts, made_up_evidence

from seg.metrics.evidence import Evidence, Origin, batch_evidence, take_patches
from seg.metrics.joint import agreement, disagreements, implied_labels, joint_details, joint_scores
from seg.metrics.scene import LabelScores, label_scores
from seg.metrics.scores import score_evidence
from seg.reben.classes import IGNORE_INDEX, NUM_CLASSES
from seg.reben.reference_map import implied_bits

Areas = npt.NDArray[np.int64]
AREAS = hnp.arrays(np.int64, st.tuples(st.integers(1, 5), st.just(4)), elements=st.integers(0, 14400), fill=st.just(0))
SHARES = st.sampled_from([0.0, 0.001, 0.05, 0.07, 0.1, 0.25, 0.5, 1.0])


@given(AREAS, SHARES)
def test_implied_labels_equal_brute_force(areas: Areas, share: float) -> None:
    implied = implied_labels(areas, share)
    for patch, row in enumerate(areas.tolist()):
        for c, area in enumerate(row):
            assert implied[patch, c] == (area > 0 and area / sum(row) >= share)


def test_share_is_reached_exactly() -> None:
    # 0.07 * 100 is 7.000000000000001 in binary.
    np.testing.assert_array_equal(implied_labels(np.array([[7, 93], [6, 94]]), 0.07), [[True, True], [False, True]])


def test_one_pixel_is_enough_and_no_pixel_implies_nothing() -> None:
    np.testing.assert_array_equal(implied_labels(np.array([[1, 14399], [0, 0]])), [[True, True], [False, False]])
    with pytest.raises(AssertionError):
        implied_labels(np.array([[1]]), 1.5)


@given(hnp.arrays(np.uint8, (4, 4), elements=st.sampled_from([0, 3, 18, IGNORE_INDEX])))
def test_rule_is_that_of_the_official_labels(indices: npt.NDArray[np.uint8]) -> None:
    areas = np.bincount(indices.ravel(), minlength=256)[:NUM_CLASSES]
    bits = int((implied_labels(areas[None])[0] << np.arange(NUM_CLASSES)).sum())
    assert bits == implied_bits(indices)


def test_agreement_is_the_share_of_equal_decisions() -> None:
    first = np.array([[True, False, True], [False, False, False]])
    assert agreement(first, first) == 1
    assert agreement(first, ~first) == 0
    assert agreement(first, np.array([[True, True, True], [False, True, False]])) == pytest.approx(4 / 6)
    assert np.isnan(agreement(first[:0], first[:0]))


def test_joint_scores_hold_mask_head_and_map_against_the_truth() -> None:
    predicted = np.array([[10, 0, 5], [0, 15, 0], [1, 1, 1]])
    reference = np.array([[10, 5, 0], [0, 15, 0], [3, 0, 0]])
    labels = np.array([[True, True, False], [False, True, False], [True, False, True]])
    decided = np.array([[True, True, True], [False, True, False], [True, True, True]])
    joint = joint_scores(predicted, reference, labels, decided, ~decided)
    assert joint.mask.f1_micro == pytest.approx(2 * 4 / (6 + 5))
    assert joint.mask.f1_samples == pytest.approx((2 / 4 + 1 + 4 / 5) / 3)
    assert joint.reference.f1_micro == pytest.approx(2 * 4 / (4 + 5))
    assert joint.reference_exact == pytest.approx(2 / 3)
    assert joint.agreement == pytest.approx(8 / 9)
    assert joint.agreement_fitted == pytest.approx(1 / 9)
    assert joint.min_share == 0


def test_reference_is_scored_by_the_same_rule_as_the_mask() -> None:
    areas = np.array([[1, 99], [50, 50]])
    labels = areas > 0
    joint = joint_scores(areas, areas, labels, min_share=0.02)
    assert joint.mask.f1_micro == joint.reference.f1_micro == label_scores(areas >= 2, labels).f1_micro
    assert joint.reference_exact == 0.5
    assert joint_scores(areas, areas, labels).reference_exact == 1


def test_without_scene_head_there_is_no_agreement() -> None:
    areas = np.array([[1, 0]])
    joint = joint_scores(areas, areas, areas > 0)
    assert np.isnan([joint.agreement, joint.agreement_fitted]).all()


def areas_by_patch(evidence: Evidence) -> tuple[Areas, Areas]:
    """Predicted and reference areas, summed patch by patch."""
    counts = dense_counts(evidence, np.arange(len(evidence)))
    return counts.sum(axis=1), counts.sum(axis=2)


def same_scores(first: LabelScores, second: LabelScores) -> None:
    for field in fields(LabelScores):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


@given(st.integers(1, 30), st.integers(0, 999), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=12, deadline=None, phases=[Phase.generate])  # shrinking takes minutes and explains little
def test_details_equal_brute_force(patches: int, seed: int, head: bool, details: bool, fitted: bool) -> None:
    evidence = made_up_evidence(patches, 4, seed, head=head, details=details, skill=0.5)
    if not fitted:
        evidence = replace(evidence, origin=Origin("test", "f", False))
    # Labels that the reference map does not always imply.
    labels = evidence.labels ^ (np.random.default_rng(seed).random(evidence.labels.shape) < 0.1)
    evidence = replace(evidence, labels=labels)
    if evidence.details is not None:  # of which the two poolings would rank alike
        pooled = np.random.default_rng(seed).integers(0, 2**16, evidence.details.pooled_NPK.shape, np.uint16)
        evidence = replace(evidence, details=replace(evidence.details, pooled_NPK=pooled))
    found = joint_details(evidence)
    predicted, reference = areas_by_patch(evidence)

    rules = {"area over 0 %": 0, "area from 1 %": 0.01, "area from 5 %": 0.05, "area from 10 %": 0.1}
    assert [implied.rule for implied in found.implied] == list(rules)
    for implied, share in zip(found.implied, rules.values(), strict=True):
        total = np.maximum(predicted.sum(axis=1, keepdims=True), 1)
        same_scores(implied.labels, label_scores((predicted > 0) & (predicted / total >= share), labels))
    same_scores(found.ceiling, label_scores(reference > 0, labels))

    scores = {"area share": predicted / np.maximum(predicted.sum(axis=1, keepdims=True), 1)}
    if evidence.details is not None:
        pooled_NPK = evidence.details.pooled_NPK.astype(float)
        scores |= {"max": pooled_NPK[:, 0], "log-sum-exp": pooled_NPK[:, 1]}
    if evidence.probabilities is not None:
        scores["scene head"] = evidence.probabilities
    assert [pooled.rule for pooled in found.pooled] == list(scores)
    present = np.flatnonzero(labels.any(axis=0))
    for pooled, expected in zip(found.pooled, scores.values(), strict=True):
        ap = [sk.average_precision_score(labels[:, c], expected[:, c]) for c in present]
        np.testing.assert_allclose(pooled.ap[present], ap, rtol=1e-12)
        assert np.isnan(np.delete(pooled.ap, present)).all()
        if present.size:
            micro = sk.average_precision_score(labels.ravel(), expected.ravel())
            assert (pooled.ap_macro, pooled.ap_micro) == pytest.approx((np.mean(ap), micro), rel=1e-12)
    assert (found.disagreement is None) == (not head)


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.tuples(*(hnp.arrays(np.bool_, (n, NUM_CLASSES), elements=st.booleans()) for _ in range(3)))
    )
)
def test_disagreements_equal_brute_force(case: tuple[npt.NDArray[np.bool_], ...]) -> None:
    mask, head, labels = case
    found = disagreements(mask, head, labels, fitted=True)
    decisions = [(c, n) for c in range(NUM_CLASSES) for n in range(len(labels))]
    differing = [(c, n) for c, n in decisions if mask[n, c] != head[n, c]]
    mask_won = [(c, n) for c, n in differing if mask[n, c] == labels[n, c]]
    head_won = [(c, n) for c, n in differing if head[n, c] == labels[n, c]]
    assert len(mask_won) + len(head_won) == len(differing) == found.overall_disagreements
    for c in range(NUM_CLASSES):
        of_class, won, lost = (sum(k == c for k, _ in pairs) for pairs in (differing, mask_won, head_won))
        assert found.disagreements[c] == of_class
        assert found.agreement[c] == pytest.approx(1 - of_class / len(labels))
        expected = (won / of_class, lost / of_class) if of_class else (np.nan, np.nan)
        np.testing.assert_allclose((found.mask_right[c], found.head_right[c]), expected)
    assert found.overall_agreement == pytest.approx(agreement(mask, head))
    total = len(differing)
    expected = (len(mask_won) / total, len(head_won) / total) if total else (np.nan, np.nan)
    np.testing.assert_allclose((found.overall_mask_right, found.overall_head_right), expected)


def test_head_decides_at_fitted_thresholds_where_there_are_such() -> None:
    evidence = made_up_evidence(50, 4, 2)
    assert evidence.probabilities is not None
    mask = areas_by_patch(evidence)[0] > 0
    scores = score_evidence(evidence)
    fitted = joint_details(evidence).disagreement
    assert fitted is not None
    assert fitted.fitted
    np.testing.assert_array_equal(
        fitted.disagreements,
        (mask != (evidence.probabilities > np.array(evidence.origin.thresholds))).sum(axis=0),
    )
    assert fitted.overall_agreement == pytest.approx(scores.joint.agreement_fitted)
    unfitted = joint_details(replace(evidence, origin=Origin("test", "f", False))).disagreement
    assert unfitted is not None
    assert not unfitted.fitted
    np.testing.assert_array_equal(unfitted.disagreements, (mask != (evidence.probabilities > 0.5)).sum(axis=0))
    assert unfitted.overall_agreement == pytest.approx(scores.joint.agreement)
    assert fitted.overall_disagreements != unfitted.overall_disagreements


def test_details_agree_with_the_summary() -> None:
    evidence = made_up_evidence(70, 5, 9)
    scores, details = score_evidence(evidence), joint_details(evidence)
    assert scores.scene is not None
    same_scores(details.implied[0].labels, scores.joint.mask)
    same_scores(details.ceiling, scores.joint.reference)
    head = details.pooled[-1]
    assert (head.ap_macro, head.ap_micro) == (scores.scene.ap_macro, scores.scene.ap_micro)
    np.testing.assert_array_equal(head.ap, scores.scene.ap)


def test_a_perfect_mask_reaches_the_ceiling_and_wins_every_disagreement() -> None:
    counts = np.zeros((3, NUM_CLASSES, NUM_CLASSES), np.int64)
    for patch, classes in enumerate(([0, 1], [1], [])):
        counts[patch, classes, classes] = 100
    labels = counts.sum(axis=2) > 0
    wrong = np.where(labels, 0.1, 0.9).astype(np.float32)
    found = joint_details(batch_evidence(Origin("test", "f", False), ["a", "b", "c"], counts, labels, wrong))
    assert found.implied[0].labels.f1_macro == found.ceiling.f1_macro == 1
    assert found.pooled[0].ap_macro == 1
    assert found.disagreement is not None
    assert found.disagreement.overall_agreement == 0
    np.testing.assert_array_equal(found.disagreement.mask_right, np.ones(NUM_CLASSES))
    np.testing.assert_array_equal(found.disagreement.head_right, np.zeros(NUM_CLASSES))


def test_details_of_no_patches_are_undefined() -> None:
    found = joint_details(take_patches(made_up_evidence(5), np.array([], dtype=np.int64)))
    assert found.disagreement is not None
    assert found.disagreement.overall_disagreements == 0
    assert np.isnan(found.disagreement.agreement).all()
    overall = found.disagreement.overall_agreement, found.disagreement.overall_mask_right, found.ceiling.f1_macro
    assert np.isnan([*overall, *(p.ap_macro for p in found.pooled), *(p.ap_micro for p in found.pooled)]).all()

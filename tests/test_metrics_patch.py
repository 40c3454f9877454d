"""Scores of single patches, against loops over dense counts."""

import math
from dataclasses import replace

import numpy as np
import pytest
from made_up import dense_counts, made_up_evidence

from seg.metrics.evidence import Evidence, labelled_pixels
from seg.metrics.patch import label_differences, patch_accuracy
from seg.reben.classes import NUM_CLASSES

EVIDENCE = made_up_evidence(1200, 6)  # the 997th patch has no labelled pixel


def counts_of(evidence: Evidence) -> np.ndarray:
    return dense_counts(evidence, np.arange(len(evidence)))


def test_accuracy_is_the_share_of_right_pixels():
    counts = counts_of(EVIDENCE)
    accuracy = patch_accuracy(EVIDENCE)
    labelled = labelled_pixels(EVIDENCE)
    assert accuracy.shape == labelled.shape == (1200,)
    undefined = 0
    for n in range(1200):
        total = int(counts[n].sum())
        assert labelled[n] == total
        if total == 0:
            undefined += 1
            assert math.isnan(accuracy[n])
        else:
            assert accuracy[n] == sum(int(counts[n, k, k]) for k in range(NUM_CLASSES)) / total
    assert undefined == 1


@pytest.mark.parametrize("fitted", [True, False])
def test_differences_are_counted_class_by_class(fitted):
    evidence = EVIDENCE if fitted else replace(EVIDENCE, origin=replace(EVIDENCE.origin, thresholds=None))
    counts = counts_of(evidence)
    found = label_differences(evidence)
    assert found is not None
    for n in range(0, 1200, 7):
        expected = 0
        for k in range(NUM_CLASSES):
            threshold = evidence.origin.thresholds[k] if fitted else 0.5
            expected += bool(counts[n, :, k].sum() > 0) != bool(evidence.probabilities[n, k] > threshold)
        assert found[n] == expected
    assert len(set(found.tolist())) > 2


def test_without_a_head_nothing_differs():
    assert label_differences(made_up_evidence(5, 2, head=False)) is None

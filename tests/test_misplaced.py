"""Class maps that lie otherwise than their patches are told of, and others are not."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from seg.predictions.misplaced import looked_at, misplaced


def landscapes(patches: int = 40, seed: int = 0) -> np.ndarray:
    """Classes in pieces of land, each patch another, some pixels unlabelled."""
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.normal(size=(patches, 120, 120)), (0, 9, 9))
    classes = np.digitize(smooth, np.quantile(smooth, np.linspace(0, 1, 7)[1:-1])).astype(np.uint8)
    classes[random.random(classes.shape) < 0.02] = 255
    return classes


def noisy(truth: np.ndarray, share: float = 0.4) -> np.ndarray:
    random = np.random.default_rng(1)
    return np.where(random.random(truth.shape) < share, random.integers(0, 6, truth.shape), truth % 255).astype(
        np.uint8
    )


TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "upside down": lambda maps: maps[:, ::-1],
    "mirrored from left to right": lambda maps: maps[:, :, ::-1],
    "transposed": lambda maps: maps.transpose(0, 2, 1),
    "at the other diagonal": lambda maps: np.rot90(maps, 2, (1, 2)).transpose(0, 2, 1),
    "turned by 90": lambda maps: np.rot90(maps, -1, (1, 2)),
    "turned by 180": lambda maps: np.rot90(maps, 2, (1, 2)),
    "turned by 270": lambda maps: np.rot90(maps, 1, (1, 2)),
    "shifted by 1 pixel to the right": lambda maps: np.roll(maps, 1, 2),
    "shifted by 2 pixels up and 1 pixel to the left": lambda maps: np.roll(maps, (-2, -1), (1, 2)),
    "of the next patch": lambda maps: np.roll(maps, -1, 0),
    "of the one before": lambda maps: np.roll(maps, 1, 0),
}


@pytest.mark.parametrize("how", TURNS)
def test_what_lies_otherwise_is_told(how: str):
    truth = landscapes()
    assert how in misplaced(list(zip(truth, TURNS[how](noisy(truth)), strict=True)))


@pytest.mark.parametrize("share", [0.0, 0.4, 0.8, 1.0])
def test_what_lies_as_it_should_is_not(share: float):
    truth = landscapes()
    assert misplaced(list(zip(truth, noisy(truth, share), strict=True))) == ""


def test_what_is_better_by_chance_is_not_told():
    """Of one class for each patch, thrown, some neighbour or turn is better in a few of them."""
    truth = landscapes(25, 3)
    truth[:] = np.random.default_rng(5).integers(0, 4, len(truth))[:, None, None]
    told = 0
    for seed in range(100):
        thrown = np.random.default_rng(seed).integers(0, 4, len(truth))
        predicted = np.broadcast_to(thrown[:, None, None], truth.shape).astype(np.uint8)
        told += bool(misplaced(list(zip(truth, predicted, strict=True))))
    assert told <= 1


def test_nothing_is_said_of_few_patches_of_one_class_or_without_labels():
    truth = landscapes()
    pairs = list(zip(truth, TURNS["upside down"](noisy(truth)), strict=True))
    assert misplaced(pairs[:19]) == ""
    assert misplaced([(one, np.zeros_like(one)) for one in truth]) == ""
    assert misplaced([(np.full_like(one, 255), one) for one in truth]) == ""


@given(st.integers(0, 200_000))
def test_neighbours_all_over_are_looked_at(patches: int):
    rows = looked_at(patches)
    assert len(rows) == len(set(rows.tolist())) == min(patches, 192)
    assert (np.diff(rows) > 0).all()
    if patches:
        assert (rows[0], rows[-1]) == (0, patches - 1)

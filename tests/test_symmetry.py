"""Flips, transposition and quarter turns against albumentations and against geometry."""

import subprocess
import sys

import albumentations
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg.config.sections import DIHEDRAL
from seg.data.symmetry import SYMMETRIES, Symmetries, moved, moves_pixels_only, symmetric_pixels
from seg.data.transforms import Normaliser
from seg.errors import WrongUseError
from seg.reben.bands import BANDS

NAMES = ("HorizontalFlip", "VerticalFlip", "Transpose", "RandomRotate90", "D4", "SquareSymmetry", "NoOp")
PIXELS = np.arange(25, dtype=np.uint8).reshape(5, 5)
NUMBER_OF = {sources.astype(np.uint8).tobytes(): number for number, sources in enumerate(symmetric_pixels(5))}


def test_symmetries_are_those_of_the_square():
    tables = symmetric_pixels(5)
    assert len({table.tobytes() for table in tables}) == SYMMETRIES
    corners = [0, 4, 20, 24]
    for table in tables:
        assert sorted(table) == list(range(25))
        assert set(table[corners]) == set(corners)
        assert table[12] == 12


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.int64, np.uint32])
def test_what_is_moved_is_moved_as_the_numbers_say(dtype):
    square = PIXELS.astype(dtype)
    square.flags.writeable = False
    for number, sources in enumerate(symmetric_pixels(5)):
        assert (moved(square, number).ravel() == square.ravel()[sources]).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parameters", [{}, {"p": 1.0}, {"p": 0.3}])
def test_chances_are_those_of_albumentations(name, parameters):
    transform = getattr(albumentations, name)(**parameters)
    transform.set_random_seed(0)
    seen = np.zeros(SYMMETRIES)
    for _ in range(400):
        result = transform(image=PIXELS[..., None], mask=PIXELS)
        assert (result["image"][..., 0] == result["mask"]).all()
        seen[NUMBER_OF[np.ascontiguousarray(result["mask"]).tobytes()]] += 1
    chances = Symmetries(({name: parameters},)).chances
    assert ((chances > 0) == (seen > 0)).all()
    np.testing.assert_allclose(chances, seen / 400, atol=0.1)


@given(
    steps=st.lists(st.tuples(st.sampled_from(NAMES), st.floats(0, 1)), max_size=5),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_series_is_what_its_steps_make_of_each_other(steps, seed):
    symmetries = Symmetries(tuple({name: {"p": often}} for name, often in steps))
    expected = {0: 1.0}
    for name, often in steps:
        single = Symmetries(({name: {"p": 1.0}},)).chances
        after = {}
        for first, chance in expected.items():
            after[first] = after.get(first, 0) + chance * (1 - often)
            for second in np.flatnonzero(single):
                both = NUMBER_OF[moved(moved(PIXELS, first), int(second)).tobytes()]
                after[both] = after.get(both, 0) + chance * often * single[second]
        expected = after
    np.testing.assert_allclose(symmetries.chances, [expected.get(n, 0) for n in range(SYMMETRIES)], atol=1e-12)
    assert symmetries.chances[symmetries.draw((seed, 1))] > 0


def test_draws_follow_the_chances_and_depend_on_the_seed_alone():
    symmetries = Symmetries(DIHEDRAL)
    np.testing.assert_allclose(symmetries.chances, 1 / SYMMETRIES)
    drawn = [symmetries.draw((7, epoch, sample)) for epoch in range(40) for sample in range(100)]
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), 1 / SYMMETRIES, atol=0.02)
    assert drawn[:100] == [symmetries.draw((7, 0, sample)) for sample in range(100)]


def test_what_they_are():
    assert moves_pixels_only(DIHEDRAL)
    assert moves_pixels_only(())
    assert not moves_pixels_only((*DIHEDRAL, {"GaussNoise": {}}))
    assert not moves_pixels_only(({"HorizontalFlip": {}, "Affine": {"rotate": 20}},))


@pytest.mark.parametrize("parameters", [{"q": 1}, {"p": 2}, {"p": "often"}, {"p": True}])
def test_parameters_that_they_do_not_take(parameters):
    with pytest.raises(WrongUseError, match="takes p alone"):
        Symmetries(({"HorizontalFlip": parameters},))


@pytest.mark.parametrize("resampling", ["bilinear", "nearest"])
def test_bands_of_every_size_are_moved_alike(resampling):
    random = np.random.default_rng(0)
    bands = ("B02", "B05", "B01", "VV")
    tensors = {name: random.integers(0, 9000, (BANDS[name].size,) * 2).astype(BANDS[name].dtype) for name in bands}
    still, turned = (np.empty((len(bands), 120, 120), np.float32) for _ in range(2))
    normalise = Normaliser(bands, resampling)
    normalise(tensors, still)
    for number in range(SYMMETRIES):
        normalise(tensors, turned, number)
        for channel, expected in zip(turned, still, strict=True):
            np.testing.assert_allclose(channel, moved(expected, number), atol=2e-5 * np.abs(expected).max())


def test_the_default_needs_no_albumentations():
    code = "import sys, seg.data.dataset; print('albumentations' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

"""The gallery: which patches are chosen, and the file that keeps their pictures."""

import json
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import dense_counts, made_up_evidence
from safetensors.numpy import load_file, save

from seg.errors import EvidenceError
from seg.metrics.evidence import Evidence, Origin, batch_evidence, take_patches
from seg.metrics.patch import label_differences, patch_accuracy
from seg.reben.bands import PATCH_SIZE
from seg.reben.classes import CLASS_NAMES, IGNORE_INDEX, NUM_CLASSES
from seg.report.gallery import FILE_NAME, REASONS, Picture, choose_pictures, load_gallery, save_gallery

K = NUM_CLASSES
PIXELS = PATCH_SIZE * PATCH_SIZE


def picture(seed: int = 0, *, rgb: bool = True, s1: bool = True, edge: int = 12, why: str = "best") -> Picture:
    random = np.random.default_rng(seed)
    reference_HW = random.integers(0, K, (edge, edge), dtype=np.uint8)
    reference_HW[0] = IGNORE_INDEX
    return Picture(
        f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_{seed:02d}",
        why,
        random.integers(0, 256, (edge, edge, 3), dtype=np.uint8) if rgb else None,
        random.integers(0, 256, (edge, edge), dtype=np.uint8) if s1 else None,
        reference_HW,
        random.integers(0, K, (edge, edge), dtype=np.uint8),
        float(random.random()),
        CLASS_NAMES[seed : seed + 3],
        CLASS_NAMES[seed + 1 : seed + 2],
    )


def same(one: Picture, other: Picture) -> bool:
    for field in fields(Picture):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            if a is None or b is None or a.dtype != b.dtype or not np.array_equal(a, b):
                return False
        elif a != b:
            return False
    return True


def test_pictures_come_back_as_they_were(tmp_path):
    pictures = tuple(picture(i, rgb=i % 2 == 0, s1=i % 3 == 0, edge=10 + i, why=REASONS[i % 4]) for i in range(12))
    path = save_gallery(tmp_path / "new" / "folder", pictures)
    found = load_gallery(tmp_path / "new" / "folder")
    assert len(found) == 12
    assert all(map(same, pictures, found))
    content = path.read_bytes()
    save_gallery(tmp_path / "new" / "folder", found)
    assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == [FILE_NAME]


def test_an_empty_gallery_is_one(tmp_path):
    save_gallery(tmp_path, ())
    assert load_gallery(tmp_path) == ()


def test_a_missing_gallery_says_how_to_make_one(tmp_path):
    with pytest.raises(EvidenceError, match=r"there is no gallery at .*gallery\.safetensors; run 'seg eval'"):
        load_gallery(tmp_path)


def outcome(folder) -> tuple[Picture, ...] | str:
    """The pictures, or what is wrong with them."""
    try:
        return load_gallery(folder)
    except EvidenceError as error:
        return str(error)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_damaged_gallery_is_one_sentence(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("gallery")
    path = save_gallery(folder, (picture(0), picture(1, rgb=False)))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    found = outcome(folder)
    if isinstance(found, str):
        assert found.startswith(str(path))
        assert "\n" not in found
    else:
        # A changed letter of an id or a digit of a score cannot be told from a true one; pixels can.
        assert all(np.array_equal(p.reference_HW, picture(i).reference_HW) for i, p in enumerate(found))


@pytest.mark.parametrize("bit", [0, 7])
def test_a_changed_pixel_is_noticed(tmp_path, bit):
    path = save_gallery(tmp_path, (picture(),))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(EvidenceError, match="damaged"):
        load_gallery(tmp_path)


def rewritten(folder, *, header=None, **changes) -> None:
    """A gallery of one picture with some entries of its description or its header changed."""
    path = save_gallery(folder, (picture(),))
    arrays = load_file(path)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    document = json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["seg.gallery"])
    document["pictures"][0] |= changes
    document |= header or {}
    path.write_bytes(save(arrays, {"seg.gallery": json.dumps(document)}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": float("nan")}, "makes no sense"),
        ({"score": 1.2}, "makes no sense"),
        ({"score": "high"}, "damaged"),
        ({"why": "pretty"}, "makes no sense"),
        ({"patch_id": 5}, "makes no sense"),
        ({"labels": ["Sea"]}, "'Sea' is not one of the 19"),
        ({"decided": 3}, "damaged"),
        ({"header": {"format": 99}}, "has format 99 and this seg reads 1"),
        ({"header": {"pictures": []}}, "images of no patch"),
        ({"header": {"pictures": 3}}, "damaged"),
        ({"header": {"checksum": ""}}, "not those that were written"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, changes, message):
    rewritten(tmp_path, **changes)
    with pytest.raises(EvidenceError, match=message):
        load_gallery(tmp_path)
    rewritten(tmp_path)
    assert len(load_gallery(tmp_path)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference_HW": np.full((12, 12), 19, np.uint8)}, "no class"),
        ({"predicted_HW": np.full((12, 12), 254, np.uint8)}, "no class"),
        ({"predicted_HW": np.zeros((12, 11), np.uint8)}, r"predicted of picture 0 is uint8 \(12, 11\)"),
        ({"rgb_HW3": np.zeros((12, 12, 4), np.uint8)}, "rgb of picture 0"),
        ({"s1_HW": np.zeros((12, 12, 1), np.uint8)}, "s1 of picture 0"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path, change, message):
    save_gallery(tmp_path, (replace(picture(), **change),))
    with pytest.raises(EvidenceError, match=message):
        load_gallery(tmp_path)


def test_another_safetensors_file_is_no_gallery(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(save({"weight": np.zeros(3, np.float32)}))
    with pytest.raises(EvidenceError, match="is no gallery of seg"):
        load_gallery(tmp_path)


def patches(right: list[int], labelled: list[int], seed: int = 0, head: bool = True) -> Evidence:
    """Evidence of patches with so many right of so many labelled pixels, in an order that is not that of the ids."""
    random = np.random.default_rng(seed)
    number = len(right)
    counts = np.zeros((number, K, K), np.int64)
    counts[np.arange(number), 3, 3] = right
    counts[np.arange(number), 3, 5] = np.array(labelled) - right
    ids = random.permutation(
        [f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_{i // 90:02d}_{i % 90:02d}" for i in range(number)]
    )
    probabilities = random.random((number, K), dtype=np.float32) if head else None
    labels = random.random((number, K)) < 0.3
    return batch_evidence(Origin("test", "f", False), ids.tolist(), counts, labels, probabilities)


def chosen_by_sorting(evidence: Evidence) -> dict[str, list[str]]:
    """The rule in words: sort, take, strike out."""
    counts = dense_counts(evidence, np.arange(len(evidence)))
    ids = evidence.patch_ids.to_pylist()
    accuracy = patch_accuracy(evidence).tolist()
    left = [n for n in range(len(ids)) if counts[n].sum() >= PIXELS / 4]
    middle = float(np.median([accuracy[n] for n in left])) if left else 0
    found: dict[str, list[str]] = {}

    def take(why: str, number: int, key) -> None:
        best = sorted(left, key=lambda n: (key(n), ids[n]))[:number]
        found[why] = [ids[n] for n in best]
        for n in best:
            left.remove(n)

    take("best", min(3, (len(left) + 2) // 3), lambda n: -accuracy[n])
    take("worst", min(3, (len(left) + 1) // 2), lambda n: accuracy[n])
    take("median", 3, lambda n: abs(accuracy[n] - middle))
    differences = label_differences(evidence)
    if differences is not None:
        left = [n for n in left if differences[n]]
        take("most disagreeing", 3, lambda n: -differences[n])
    return found


@settings(deadline=None, max_examples=200)
@given(
    pairs=st.lists(
        st.sampled_from([(3600, 3600), (0, 3600), (3599, 3599), (100, 14400), (7200, 14400), (9000, 14400), (0, 0)])
        | st.integers(0, 14400).map(lambda right: (right, 14400)),
        min_size=1,
        max_size=40,
    ),
    seed=st.integers(0, 5),
    head=st.booleans(),
)
def test_the_choice_follows_the_rule(pairs, seed, head):
    evidence = patches([r for r, _ in pairs], [n for _, n in pairs], seed, head)
    chosen = choose_pictures(evidence)
    found: dict[str, list[str]] = {why: [] for why in REASONS}
    for row, why in chosen:
        found[why].append(evidence.patch_ids[row].as_py())
    assert found == {why: [] for why in REASONS} | chosen_by_sorting(evidence)
    rows = [row for row, _ in chosen]
    assert len(set(rows)) == len(rows)
    assert [REASONS.index(why) for _, why in chosen] == sorted(REASONS.index(why) for _, why in chosen)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (4, (2, 1, 1)), (8, (3, 2, 3)), (9, (3, 3, 3))],
)
def test_a_small_split_shares_its_patches_out(number, expected):
    evidence = patches([1440 * n for n in range(10)], [14400] * 10, head=False)
    chosen = [why for _, why in choose_pictures(take_patches(evidence, np.arange(number)))]
    assert tuple(chosen.count(why) for why in ("best", "median", "worst")) == expected
    assert len(chosen) == number


def test_the_order_of_the_patches_does_not_matter():
    evidence = made_up_evidence(300, 6)
    shuffled = take_patches(evidence, np.random.default_rng(0).permutation(300))

    def chosen(of: Evidence) -> list[tuple[str, str]]:
        return [(of.patch_ids[row].as_py(), why) for row, why in choose_pictures(of)]

    assert chosen(shuffled) == chosen(evidence)
    assert [why for _, why in chosen(evidence)] == [why for why in REASONS for _ in range(3)]


def test_a_head_that_agrees_with_the_map_has_no_disagreement():
    evidence = made_up_evidence(60, 3)
    counts = dense_counts(evidence, np.arange(60))
    agreeing = (counts.sum(1) > 0).astype(np.float32)
    assert {why for _, why in choose_pictures(replace(evidence, probabilities=agreeing))} == {*REASONS[:3]}
    agreeing[7, 0] = 1 - agreeing[7, 0]
    one = choose_pictures(replace(evidence, probabilities=agreeing))
    taken = [row for row, why in one if why != REASONS[3]]
    assert [row for row, why in one if why == REASONS[3]] == ([7] if 7 not in taken else [])


def test_no_patch_no_picture():
    evidence = patches([0], [0])
    assert choose_pictures(evidence) == []
    assert choose_pictures(take_patches(evidence, np.array([], np.int64))) == []
    assert isinstance(evidence.patch_ids, pa.StringArray)

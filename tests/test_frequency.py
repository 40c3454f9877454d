"""How often classes occur, where the counts are kept, and sampling of patches with rare classes."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st

from seg.config.sections import DataConfig
from seg.data.dataset import PatchDataset
from seg.data.frequency import class_frequencies, count_pixels
from seg.data.loader import make_loader
from seg.data.order import BatchOrder
from seg.data.sampling import draw, repeat_factors
from seg.errors import UnknownCodeError
from seg.prepare.build import build_store
from seg.prepare.sources import Sources
from seg.reben.classes import CLASS_NAMES, CLASS_OF_CODE
from seg.store.open import open_store
from seg.store.patches import MAP_SUFFIX, PatchWriter

K = 19
SHUFFLES = st.sampled_from(["shuffle", "blocks"])


@pytest.fixture(scope="module")
def store(real, tmp_path_factory):
    out = tmp_path_factory.mktemp("frequency") / "store"
    tree = real / "reben-10m-80"
    build_store(
        Sources(
            s2=tree / "BigEarthNet-S2",
            s1=None,
            maps=tree / "Reference_Maps",
            metadata=(tree / "metadata.parquet",),
        ),
        out,
        partial=True,
    )
    return open_store(out)


def counted_from_files(real, ids):
    counts = np.zeros(256, int)
    for patch in ids:
        path = real / "reben-10m-80" / "Reference_Maps" / patch[:-6] / patch / f"{patch}_reference_map.tif"
        with rasterio.open(path) as source:
            classes = np.vectorize(CLASS_OF_CODE.get)(source.read(1))
        counts += np.bincount(classes.ravel(), minlength=256)
    return counts[:K]


# --- counting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [range(0), range(3), range(70, 80), [5, 5, 79], range(80)])
def test_counts_against_the_published_files(store, real, rows):
    rows = np.array(rows, dtype=np.int64)
    ids = [store.index.patch_id(row) for row in rows]
    found = class_frequencies(store, rows)
    assert found.pixels_K.tolist() == counted_from_files(real, ids).tolist()
    official = {
        r["patch_id"]: r["labels"] for r in pq.read_table(real / "reben-10m-80" / "metadata.parquet").to_pylist()
    }
    labels = Counter(name for patch in ids for name in official[patch])
    assert found.positives_K.tolist() == [labels[name] for name in CLASS_NAMES]
    assert found.patches == len(rows)
    assert found.absent == tuple(n for n, count in zip(CLASS_NAMES, found.pixels_K, strict=True) if not count)


def test_labels_alone_read_no_map(store, monkeypatch):
    monkeypatch.setattr("seg.data.frequency.count_pixels", None)
    found = class_frequencies(store, np.arange(80), pixels=False)
    assert found.pixels_K is None
    assert found.positives_K.sum() == store.index.labels(np.arange(80)).sum()
    assert list(found.record()) == ["class_patches"]


def test_maps_are_read_once_for_each_selection(store, tmp_path, monkeypatch):
    reads = []
    real = store.patches.reference_map
    monkeypatch.setattr(store.patches, "reference_map", lambda patch, place: reads.append(patch) or real(patch, place))
    first = class_frequencies(store, np.arange(30), tmp_path)
    assert len(reads) == 30
    again = class_frequencies(store, np.arange(30), tmp_path)
    assert len(reads) == 30
    assert (again.pixels_K == first.pixels_K).all()
    class_frequencies(store, np.arange(29), tmp_path)
    assert len(reads) == 59
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pixels": {}}', '{"pixels": null}', None])
def test_a_damaged_count_is_made_again(store, tmp_path, content):
    expected = class_frequencies(store, np.arange(5), tmp_path)
    (file,) = tmp_path.iterdir()
    if content is None:
        document = json.loads(file.read_text())
        document["pixels"][CLASS_NAMES[0]] = -1
        content = json.dumps(document)
    file.write_text(content)
    assert (class_frequencies(store, np.arange(5), tmp_path).pixels_K == expected.pixels_K).all()
    assert json.loads(file.read_text())["pixels"][CLASS_NAMES[2]] == expected.pixels_K[2]


def test_nothing_is_written_where_nothing_can_be(store, tmp_path):
    """Neither into the store, nor where the folder of the counts cannot be made."""
    before = {path: path.stat().st_mtime_ns for path in (store.folder, *store.folder.iterdir())}
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    found = class_frequencies(store, np.arange(4), blocked / "counts")
    assert found.pixels_K.sum() > 0
    assert blocked.read_text() == "in the way"
    assert {path: path.stat().st_mtime_ns for path in (store.folder, *store.folder.iterdir())} == before


def bare_lmdb(folder, maps):
    """A bare LMDB that holds reference maps only, with its parquet."""
    folder.mkdir()
    with PatchWriter(folder) as writer:
        for patch, codes in maps.items():
            writer.put(patch + MAP_SUFFIX, {"Data": codes})


def test_a_bare_lmdb_with_other_pixels_is_counted_anew(real, tmp_path):
    """Its fingerprint knows nothing of its pixels."""
    metadata = real / "reben-10m-80" / "metadata.parquet"
    ids = pq.read_table(metadata).column("patch_id").to_pylist()[:3]
    counts = []
    for code in (111, 523):
        folder = tmp_path / str(code)
        bare_lmdb(folder, {patch: np.full((120, 120), code, np.uint16) for patch in ids})
        store = open_store(folder, (metadata,))
        counts.append(class_frequencies(store, np.arange(3), tmp_path / "cache").pixels_K)
    assert counts[0].nonzero()[0].tolist() == [0]
    assert counts[1].nonzero()[0].tolist() == [18]


@pytest.mark.parametrize(
    ("codes", "error", "message"),
    [
        (np.full((120, 120), 77, np.uint16), UnknownCodeError, "77"),
        (np.full((60, 120), 111, np.uint16), ValueError, r"shape \(60, 120\)"),
    ],
)
def test_a_damaged_map_is_named(real, tmp_path, codes, error, message):
    metadata = real / "reben-10m-80" / "metadata.parquet"
    (patch,) = pq.read_table(metadata).column("patch_id").to_pylist()[:1]
    bare_lmdb(tmp_path / "lmdb", {patch: codes})
    with pytest.raises(error, match=f"{patch}.*{message}"):
        count_pixels(open_store(tmp_path / "lmdb", (metadata,)), np.arange(1))


# --- sampling --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1))
def test_repeat_factors_by_hand(seed, share):
    labels = np.random.default_rng(seed).random((40, 5)) < [0.9, 0.5, 0.2, 0.03, 0]
    expected = []
    for row in labels:
        of_classes = [max(1, (share / labels[:, k].mean()) ** 0.5) for k in np.flatnonzero(row)]
        expected.append(max(of_classes, default=1.0))
    np.testing.assert_allclose(repeat_factors(labels, share), expected)


def test_repeat_factors_of_nothing():
    assert repeat_factors(np.zeros((0, K), bool), 0.1).tolist() == []
    assert repeat_factors(np.zeros((2, K), bool), 0.1).tolist() == [1, 1]


@given(st.lists(st.floats(1, 50), min_size=1, max_size=200), st.integers(0, 99))
def test_each_sample_is_drawn_as_often_as_it_should_but_for_rounding(factors, seed):
    factors = np.array(factors)
    drawn = draw(factors, np.random.default_rng(seed))
    assert len(drawn) == len(factors)
    assert (np.diff(drawn) >= 0).all()
    expected = factors / factors.sum() * len(factors)
    assert (np.abs(np.bincount(drawn, minlength=len(factors)) - expected) < 1 + 1e-9).all()


def test_draws_are_right_on_average():
    factors = np.array([1.0, 1.0, 1.0, 2.5, 4.0])
    counts = sum(np.bincount(draw(factors, np.random.default_rng(seed)), minlength=5) for seed in range(4000))
    np.testing.assert_allclose(counts / 4000, 5 * factors / factors.sum(), atol=0.03)


def order_of(samples, batch_size, shuffle="shuffle", rank=0, ranks=1, epoch=0, start=0):
    order = BatchOrder(samples, batch_size, 3, True, shuffle, rank, ranks)
    order.factors = 1 + 9 * (np.arange(samples) % 7 == 0)
    order.epoch, order.start = epoch, start
    return order


@given(st.integers(1, 300), st.integers(1, 20), st.integers(1, 3), SHUFFLES, st.integers(0, 2))
def test_ranks_share_what_is_drawn(samples, batch_size, ranks, shuffle, epoch):
    """Together they read what one process reads, but for an incomplete last batch; nobody's length changes."""
    whole = Counter(p for key in order_of(samples, 1, shuffle, epoch=epoch) for p in key.positions)
    assert sum(whole.values()) == samples
    dealt = Counter()
    for rank in range(ranks):
        order = order_of(samples, batch_size, shuffle, rank, ranks, epoch)
        uniform = BatchOrder(samples, batch_size, 3, True, shuffle, rank, ranks)
        keys = list(order)
        assert [len(key.positions) for key in keys] == [len(key.positions) for key in uniform]
        dealt.update((p, repeat) for key in keys for p, repeat in zip(key.positions, key.repeats, strict=True))
    # A repeat is numbered, so that no two draws are alike.
    assert max(dealt.values(), default=1) == 1
    assert not Counter(p for p, _ in dealt) - whole


@given(st.integers(0, 12), SHUFFLES, st.integers(0, 3))
def test_a_resumed_order_goes_on_where_it_stopped(start, shuffle, epoch):
    whole = [(key.positions, key.repeats) for key in order_of(100, 8, shuffle, epoch=epoch)]
    resumed = order_of(100, 8, shuffle, epoch=epoch, start=start)
    assert [(key.positions, key.repeats) for key in resumed] == whole[start:]


def test_epochs_draw_differently_and_rare_samples_come_more_often():
    epochs = [Counter(p for key in order_of(700, 10, epoch=epoch) for p in key.positions) for epoch in range(20)]
    assert len({tuple(sorted(epoch.items())) for epoch in epochs}) == 20
    total = sum(epochs, Counter())
    rare = np.mean([total[p] for p in range(0, 700, 7)])
    common = np.mean([total[p] for p in range(700) if p % 7])
    assert rare / common == pytest.approx(10, rel=0.05)


def test_uniform_order_is_left_as_it_was():
    """Without factors an order is what it was before there were any."""
    order = BatchOrder(50, 8, 3)
    order.epoch = 2
    expected = np.random.default_rng((3, 2)).permutation(50)
    assert [p for key in order for p in key.positions] == expected.tolist()
    assert all(key.repeats == () for key in order)


@pytest.mark.parametrize("workers", [0, 2])
def test_repeats_are_augmented_differently(store, workers):
    data = DataConfig(bands="B04", sampling="rare", rare_share=1.0, augment=({"RandomBrightnessContrast": {"p": 1.0}},))
    dataset = PatchDataset(store, np.arange(80), data, augment_seed=1)
    assert dataset.factors().tolist() == repeat_factors(store.index.labels(np.arange(80)), 1.0).tolist()
    assert PatchDataset(store, np.arange(80), DataConfig(bands="B04")).factors() is None
    order = BatchOrder(80, 8, 1)
    order.factors = dataset.factors()
    images = {}
    for batch in make_loader(dataset, order, workers):
        for row, image in zip(batch.rows_B.tolist(), batch.images_BCHW, strict=True):
            images.setdefault(row, []).append(image.clone())
    repeated = [seen for seen in images.values() if len(seen) > 1]
    assert repeated
    assert not any(torch.equal(a, b) for seen in repeated for a, b in pairwise(seen))

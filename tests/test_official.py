"""The official split is known by digests that anybody can compute from the published metadata."""

import hashlib
import random
import re
import shutil
import subprocess
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg.benchmark.form import Answers
from seg.benchmark.protocol import PROTOCOL
from seg.reben.official import OFFICIAL, ids_digest, is_official, labels_digest
from seg.reben.patch import PUBLISHED_PATCHES, SPLITS


@pytest.mark.parametrize("split", SPLITS)
def test_the_digests_are_those_of_the_published_metadata(split, real, tmp_path):
    table = pq.read_table(real / "official-metadata" / "metadata.parquet", columns=["patch_id", "labels", "split"])
    rows = table.filter(pc.equal(table["split"], split))
    ids, labels = rows["patch_id"].to_pylist(), rows["labels"].to_pylist()
    assert len(ids) == PUBLISHED_PATCHES[split]
    assert ids_digest(ids) == OFFICIAL[split].ids
    assert labels_digest(ids, labels) == OFFICIAL[split].labels
    if split == "test":
        assert is_official(ids, "test")
        assert not is_official(ids[1:], "test")
        assert not is_official([*ids, ids[0]], "test")
        assert not is_official(ids, "validation")
    if shutil.which("sort"):
        # By other programs, as the protocol says it.
        (tmp_path / "ids").write_text("\n".join(ids) + "\n")
        done = subprocess.run(["sort", tmp_path / "ids"], env={"LC_ALL": "C"}, capture_output=True, check=True)
        assert hashlib.sha256(done.stdout.removesuffix(b"\n")).hexdigest() == OFFICIAL[split].ids


@given(
    st.lists(
        st.tuples(st.text("abc_", min_size=1), st.lists(st.sampled_from("xyz"), unique=True)),
        unique_by=lambda row: row[0],
    )
)
def test_order_is_of_no_account(rows):
    mixed = [(name, random.Random(0).sample(labels, len(labels))) for name, labels in reversed(rows)]
    ids, labels = [name for name, _ in rows], [names for _, names in rows]
    assert ids_digest(ids) == ids_digest([name for name, _ in mixed])
    assert labels_digest(ids, labels) == labels_digest([name for name, _ in mixed], [names for _, names in mixed])


def test_a_label_that_changes_its_patch_is_noticed():
    assert labels_digest(["a", "b"], [["x"], ["y"]]) != labels_digest(["a", "b"], [["y"], ["x"]])
    assert labels_digest(["a"], [["x", "y"]]) != labels_digest(["a"], [["x"]])


def test_the_protocol_states_these_digests():
    text = (Path(__file__).resolve().parents[1] / "docs" / "protocol.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (train|validation|test) \| ([\d,]+) \| `(\w{64})` \| `(\w{64})` \|$", text, re.M)
    assert {name: (int(count.replace(",", "")), ids, labels) for name, count, ids, labels in rows} == {
        split: (PUBLISHED_PATCHES[split], OFFICIAL[split].ids, OFFICIAL[split].labels) for split in SPLITS
    }
    assert f"Protocol, version {PROTOCOL}" in text
    for name in Answers.model_fields:
        assert name == "protocol" or f"`{name}`" in text, f"clause 6 says nothing of {name}"

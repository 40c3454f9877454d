"""Submissions verified in a process of their own: what takes too much, or kills it, is told and stops no other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from entries import ANSWERS, small_store, three_runs

from seg.benchmark import apart
from seg.benchmark.apart import Examiner, Limits
from seg.benchmark.board import read_board
from seg.benchmark.form import form_text
from seg.benchmark.layout import manifest_text
from seg.benchmark.verify import verify_submission
from seg.errors import SubmissionError
from seg.pipeline.submit import submit

MANY = 20_000_000
"""Values that take 80 MB and, packed, next to nothing."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("apart")


@pytest.fixture(scope="module")
def store(place):
    return small_store(place)


@pytest.fixture(scope="module")
def entry(place, store):
    (place / "answers.yaml").write_text(form_text(ANSWERS)[0])
    submit(three_runs(place / "runs", store), place / "submissions" / "entry", answers=place / "answers.yaml")
    return place / "submissions" / "entry"


@pytest.fixture
def lying(entry, tmp_path):
    """A submission whose file says of one page, which unpacks to 80 MB, that it is small."""
    folder = Path(shutil.copytree(entry, tmp_path / "lying"))
    path = folder / "seeds" / "0" / "patches.parquet"
    table = pq.read_table(path)
    offsets = pa.array([0] * len(table) + [MANY], pa.int32())
    lists = pa.ListArray.from_arrays(offsets, pa.array(np.zeros(MANY, np.uint32)))
    number = table.schema.get_field_index("confusion_counts")
    options = {"compression": "zstd", "use_dictionary": False, "data_page_size": 1 << 30, "write_batch_size": MANY}
    pq.write_table(table.set_column(number, table.schema.field(number), lists), path, **options)
    _belittle(path)
    seeds = json.loads((folder / "submission.json").read_text())["seeds"]
    (folder / "submission.json").write_text(manifest_text(folder, ANSWERS["name"], seeds))
    return folder


def _belittle(path):
    """Put small numbers into the footer, in as many bytes as the large ones that stand there."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    large = (
        {group.total_byte_size} | {one.num_values for one in columns} | {one.total_uncompressed_size for one in columns}
    )
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    footer = content[-8 - length : -8]
    for number in (one for one in large if one > MANY / 2):
        there = _varint(number)
        assert there in footer
        small = bytes([40 | 0x80] + [0x80] * (len(there) - 2) + [0])
        footer = footer.replace(there, small)
    path.write_bytes(content[: -8 - length] + footer + content[-8:])
    assert max(pq.ParquetFile(path).metadata.row_group(0).column(n).num_values for n in range(len(columns))) < 10_000


def _varint(number):
    """As Thrift's compact protocol writes a whole number."""
    number, digits = number << 1, []
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_honest_one_comes_to_the_same_and_the_process_is_used_again(entry, store):
    steps = []

    def track(items, description, total):
        for item in items:
            steps.append((description, total))
            yield item

    with Examiner(store) as examiner:
        found = examiner.verify(entry, track)
        pid = examiner._process.pid
        again = examiner.verify(entry)
        assert examiner._process.pid == pid
    assert not alive(pid)
    here_steps, steps[:] = list(steps), []
    here = verify_submission(entry, store, track)
    assert steps == here_steps != []
    for name in ("name", "answers", "manifest", "patches", "subject", "predictions", "checked", "unverified"):
        assert getattr(found, name) == getattr(here, name) == getattr(again, name), name
    assert found.outcome.estimates == here.outcome.estimates


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not limit addresses so")
def test_a_file_that_lies_of_its_pages_takes_no_more_than_the_limit(lying):
    with Examiner(limits=Limits(memory=64 << 20)) as examiner:
        with pytest.raises(SubmissionError, match=r"more than 64 MiB|malloc of size 80000064 failed|ended the process"):
            examiner.verify(lying)
        assert examiner._process is None, "it is not used again"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
def test_what_ends_the_process_or_takes_forever_stops_no_other(entry, place, tmp_path, monkeypatch):
    shutil.copytree(place / "submissions", tmp_path / "submissions")
    for name in ("crash", "hang", "leave", "bug", "eat"):
        (tmp_path / "submissions" / name).mkdir()
    hostile = """
import os, time, tempfile
from pathlib import Path
import seg.benchmark.apart as apart
genuine = apart.verify_submission
def hostile(path, *rest):
    if path.name == "entry":
        return genuine(path, *rest)
    Path({trace!r}).write_text(tempfile.mkdtemp())
    print("noise")
    if path.name == "crash": os.kill(os.getpid(), 11)
    if path.name == "hang": time.sleep(600)
    if path.name == "leave": os._exit(0)
    if path.name == "eat": bytearray(1 << 40)
    raise KeyError(path.name)
apart.verify_submission = hostile
"""
    trace = tmp_path / "trace"
    code = f"exec({hostile.format(trace=str(trace))!r}); "
    before, after = apart._SERVE.split("from seg.benchmark.apart")
    monkeypatch.setattr(
        apart, "_SERVE", before + code.replace("{", "{{").replace("}", "}}") + "from seg.benchmark.apart" + after
    )
    monkeypatch.setattr(Limits, "seconds_for", lambda self, path, patches: 2.0 if path.name == "hang" else 600.0)
    board = read_board(tmp_path)
    assert [one.name for one in board.entries] == [ANSWERS["name"]]
    refused = dict(board.refused)
    assert "(signal 11): its files are damaged or take more than they say" in refused["crash"]
    assert "was given up after 2 seconds" in refused["hang"]
    assert "(code 0)" in refused["leave"]
    assert refused["bug"] == "it cannot be verified: KeyError, which is also worth a bug report"
    assert "takes more than 8,192 MiB of memory" in refused["eat"]
    assert not Path(trace.read_text()).exists(), "what it has unpacked goes with it"


def test_a_bug_shows_where_it_is(entry, monkeypatch):
    monkeypatch.setattr(apart, "_SERVE", "import seg.benchmark.verify as v; v.read_manifest = None; " + apart._SERVE)
    with Examiner() as examiner, pytest.raises(TypeError) as raised:
        examiner.verify(entry)
    assert any("in verify_submission" in note for note in raised.value.__notes__)


def test_time_goes_by_what_there_is_to_read(entry):
    size = sum(path.lstat().st_size for path in entry.rglob("*"))
    limits = Limits(seconds=10, bytes_per_second=100, patches_per_second=5)
    assert limits.seconds_for(entry, 50) == pytest.approx(10 + size / 100 + 10)
    assert limits.seconds_for(entry / "nowhere", 0) == 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have other limits")
def test_limits_are_set_where_the_system_has_them(tmp_path):
    code = """
import json, resource
from seg.benchmark.apart import _limit_memory, _limit_time
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
_limit_memory(1 << 30, 5 << 30)
_limit_time(100)
names = ("RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_CPU")
print(json.dumps([pages, *(resource.getrlimit(getattr(resource, name))[0] for name in names)]))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    taken, addresses, files, dumps, seconds = json.loads(said)
    assert 0 <= addresses - taken - (11 << 30) < 64 << 20
    assert (files, dumps) == (4 << 30, 0)
    assert 100 * os.cpu_count() < seconds < 100 * os.cpu_count() + 60

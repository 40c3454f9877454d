"""Builds that are stopped: by a kill, a full disk, Ctrl-C. The same command ends in the same store."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import lmdb
import numpy as np
import pytest
import rasterio

from seg.config.sections import DataConfig
from seg.data.dataset import PatchDataset
from seg.data.order import BatchOrder
from seg.errors import StoreError
from seg.prepare.build import build_store
from seg.prepare.layout import PUBLISHED as PARTS
from seg.prepare.sources import Sources, published_sources
from seg.prepare.tree import scan_tree
from seg.store.open import open_store


@pytest.fixture(scope="module")
def tree(real):
    return real / "reben-10m-80"


@pytest.fixture(scope="module")
def archives(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    for name in PARTS.values():
        subprocess.run(["tar", "-C", tree, "-czf", folder / f"{name}.tar.gz", name], check=True)
    return {kind: folder / f"{name}.tar.gz" for kind, name in PARTS.items()}


@pytest.fixture(scope="module")
def expected(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("stores") / "expected"
    build_store(published_sources(tree), out)
    return out


def command(tree, sources, out, *options):
    """Small batches, so that there is something to interrupt."""
    script = (
        "import sys\n"
        "from seg.store import patches\n"
        "from seg.cli.main import main\n"
        "if __name__ == '__main__':\n"
        "    patches._BATCH_BYTES = 1 << 19\n"
        "    main()\n"
    )
    named = [text for kind, path in sources.items() for text in (f"--{kind}", str(path))]
    metadata = ["--metadata", str(tree / "metadata.parquet")]
    return [sys.executable, "-c", script, "data", "build", *named, *metadata, *options, str(out)]


def assert_same(store, expected):
    def content(folder):
        with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin() as transaction:
            return {bytes(key): bytes(value) for key, value in transaction.cursor()}

    assert content(store) == content(expected)
    assert (store / "index.parquet").read_bytes() == (expected / "index.parquet").read_bytes()
    assert sorted(path.name for path in store.iterdir()) == [
        "data.mdb",
        "index.parquet",
        "offsets.parquet",
        "store.json",
    ]
    assert [path.name for path in store.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("form", ["tree", "archives"])
def test_killed_again_and_again(tree, archives, expected, tmp_path, form):
    """With SIGKILL, at whatever moment comes; each time it gets further."""
    sources = archives if form == "archives" else {kind: tree / name for kind, name in PARTS.items()}
    out = tmp_path / "store"
    building = tmp_path / ".store.building" / "data.mdb"
    for wanted in (1 << 19, 2 << 19, 4 << 19):
        process = subprocess.Popen(
            command(tree, sources, out, "--workers", "2"), stdout=subprocess.DEVNULL, start_new_session=True
        )
        while process.poll() is None and not (building.is_file() and building.stat().st_size > wanted):
            time.sleep(0.002)
        with_children = process.poll() is None
        if with_children:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if out.exists():
            break
        with pytest.raises(StoreError, match="is an unfinished store"):
            open_store(tmp_path / ".store.building")
    done = subprocess.run(command(tree, sources, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "is there already" in done.stderr
    assert_same(out, expected)


def processes_of(process):
    """The process and all that descend from it, by /proc."""
    known = {process.pid}
    for _ in range(3):
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                # The name in parentheses may hold anything.
                if int(status.read_text().rpartition(")")[2].split()[1]) in known:
                    known.add(int(status.parent.name))
    return known


def alive(pids):
    found = set()
    for pid in pids:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(pid)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processes are found in /proc")
def test_killed_work_leaves_no_process(tmp_path):
    """Only the main process is killed; its standard output must close, too."""
    arguments = [sys.executable, "-m", "seg", "data", "synth", str(tmp_path / "tree"), "--patches", "2000"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and len(family := processes_of(process)) < 4:
        time.sleep(0.002)
    assert process.poll() is None
    process.kill()
    try:
        process.communicate(timeout=30)
        for _ in range(3000):
            if not alive(family):
                break
            time.sleep(0.01)
        assert alive(family) == set()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def small_disk(folder, size):
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own may not be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("form", ["tree", "archives"])
def test_a_full_disk(tree, archives, expected, tmp_path, form):
    sources = archives if form == "archives" else {kind: tree / name for kind, name in PARTS.items()}
    with small_disk(tmp_path / "disk", "6m"):
        out = tmp_path / "disk" / "store"
        full = subprocess.run(command(tree, sources, out), capture_output=True, text=True, check=False)
        assert full.returncode == 1
        assert "No space left" in full.stderr
        assert "free some space and run the same command again" in full.stderr
        assert "Traceback" not in full.stderr
        assert not out.exists()
        subprocess.run(["mount", "-o", "remount,size=64m", str(tmp_path / "disk")], check=True)
        subprocess.run(command(tree, sources, out), capture_output=True, check=True)
        assert_same(out, expected)


@pytest.mark.parametrize(
    ("signal_", "everyone"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGTERM, False)]
)
def test_stopped_by_a_signal(tree, archives, expected, tmp_path, signal_, everyone):
    """As Ctrl-C sends it, to every process of the group, and as a scheduler may, to the main one."""
    out = tmp_path / "store"
    building = tmp_path / ".store.building" / "data.mdb"
    process = subprocess.Popen(
        command(tree, archives, out, "--workers", "2"), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and not (building.is_file() and building.stat().st_size > 1 << 19):
        time.sleep(0.002)
    if everyone:
        os.killpg(process.pid, signal_)
    else:
        process.send_signal(signal_)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert "resource_tracker" not in err
    if process.returncode:
        assert process.returncode == 1
        assert "Stopped. What is done is kept" in " ".join(err.split())
        assert "the same command goes on from there." in " ".join(err.split())
        subprocess.run(command(tree, archives, out), capture_output=True, check=True)
    assert_same(out, expected)


def shifted(tree, out, by=1):
    """A copy of a tree whose pixels are a little higher; same folder names, same sizes of arrays."""
    shutil.copytree(tree, out, copy_function=shutil.copyfile)
    for file in out.rglob("*.tif"):
        with rasterio.open(file, "r+") as target:
            target.write(target.read() + np.uint16(by))
    return out


STOPPED = """
import os, sys
from pathlib import Path
from seg.prepare.build import build_store
from seg.prepare.sources import Sources
from seg.store import patches

patches._BATCH_BYTES = 1 << 19
root, out, s2 = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
seen = 0

def track(items, description, total):
    global seen
    for item in items:
        seen += "LMDB" in description
        if seen == int(sys.argv[4]):
            os._exit(9)
        yield item

build_store(Sources(s2=s2, s1=None, maps=None, metadata=(root / "metadata.parquet",)), out, workers=1, track=track)
"""


@pytest.mark.parametrize("form", ["tree", "archive"])
def test_other_sources_of_the_same_name_are_not_mixed_in(tree, expected, tmp_path, form):
    """Also where the build from the other ones is stopped in turn, and goes on."""
    real, other = tree / PARTS["s2"], shifted(tree / PARTS["s2"], tmp_path / "other" / PARTS["s2"])
    if form == "archive":
        for name, folder in (("a", real), ("b", other)):
            (tmp_path / name).mkdir()
            subprocess.run(["tar", "-C", folder.parent, "-cf", tmp_path / name / "S2.tar", folder.name], check=True)
        real, other = tmp_path / "a" / "S2.tar", tmp_path / "b" / "S2.tar"
    out = tmp_path / "store"
    for source, after in ((real, 60), (other, 20), (other, 30)):
        arguments = [sys.executable, "-c", STOPPED, str(tree), str(out), str(source), str(after)]
        assert subprocess.run(arguments, check=False).returncode == 9
        with lmdb.open(str(tmp_path / ".store.building"), readonly=True, lock=False) as environment:
            assert environment.stat()["entries"] > 0
    plan = (tmp_path / ".store.building" / "build.json").read_text()
    assert str(tmp_path) not in plan
    info = build_store(Sources(s2=other, s1=None, maps=None, metadata=(tree / "metadata.parquet",)), out)
    fresh = build_store(
        Sources(s2=other, s1=None, maps=None, metadata=(tree / "metadata.parquet",)), tmp_path / "fresh"
    )
    assert info == fresh
    assert_same(out, tmp_path / "fresh")


def test_a_tree_that_was_changed_in_place_has_another_identity(tree, tmp_path):
    copy = shutil.copytree(tree / PARTS["s2"], tmp_path / PARTS["s2"])
    before = scan_tree(copy, "s2", ["B02", "B03"]).identity
    assert before == scan_tree(copy, "s2", ["B02", "B03"]).identity
    assert before != scan_tree(copy, "s2", ["B02"]).identity
    file = next(copy.rglob("*_B03.tif"))
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 1))
    assert before != scan_tree(copy, "s2", ["B02", "B03"]).identity


def test_little_address_space(tree, expected, tmp_path):
    """The map grows with the data instead of asking for 100 TB."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from seg.prepare.build import build_store\n"
        "from seg.prepare.sources import Sources\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "tree, out = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "named = {k: tree / n for k, n in zip(('s2', 's1', 'maps'), sys.argv[3:])}\n"
        "build_store(Sources(**named, metadata=(tree / 'metadata.parquet',)), out, workers=1)\n"
    )
    arguments = [sys.executable, "-c", script, str(tree), str(tmp_path / "store"), *PARTS.values()]
    subprocess.run(arguments, check=True, capture_output=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    assert_same(tmp_path / "store", expected)


def test_an_older_and_a_newer_store_are_refused(expected, tmp_path):
    store = shutil.copytree(expected, tmp_path / "store")
    text = (store / "store.json").read_text()
    for version, message in ((99, "newer version"), (1, "older version")):
        (store / "store.json").write_text(text.replace('"format": 2', f'"format": {version}'))
        with pytest.raises(StoreError, match=message):
            open_store(store)


def test_ranks_share_a_store(expected):
    """Three processes that each read their share have read every patch once."""
    script = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from seg.config.sections import DataConfig\n"
        "from seg.data.dataset import PatchDataset\n"
        "from seg.data.order import BatchOrder\n"
        "from seg.store.open import open_store\n"
        "store = open_store(Path(sys.argv[1]))\n"
        "dataset = PatchDataset(store, np.arange(80), DataConfig(bands='s2-10m'))\n"
        "order = BatchOrder(80, 8, shuffle_seed=1, rank=int(sys.argv[2]), ranks=3)\n"
        "for key in order:\n"
        "    batch = dataset[key]\n"
        "    for row, image in zip(batch.rows_B.tolist(), batch.images_BCHW):\n"
        "        print(row, float(image.double().sum((0, 1, 2))))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(expected), str(rank)], stdout=subprocess.PIPE, text=True)
        for rank in range(3)
    ]
    lines = [line.split() for process in processes for line in process.communicate()[0].splitlines()]
    assert sorted(int(row) for row, _ in lines) == list(range(80))
    store = open_store(expected)
    dataset = PatchDataset(store, np.arange(80), DataConfig(bands="s2-10m"))
    alone = {}
    for key in BatchOrder(80, 8):
        batch = dataset[key]
        alone |= {
            row: float(image.double().sum())
            for row, image in zip(batch.rows_B.tolist(), batch.images_BCHW, strict=True)
        }
    assert {int(row): float(total) for row, total in lines} == alone

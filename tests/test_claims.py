"""What a claim of a target does, whatever is written: foreign files stay, own ones are known, one process holds it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from seg.errors import BusyError, ForeignFileError, WrongUseError
from seg.maps.geotiff import write_category_names, write_class_map
from seg.reben.patch import GeoRef
from seg.runs.plan import plan
from seg.store import written
from seg.store.atomic import remove_file, staged_file, write_bytes, write_text
from seg.store.besides import tell_besides
from seg.store.locks import locked
from seg.store.marks import is_marked
from seg.store.targets import LOCK_FILE, Known, claimed_files, claimed_folder, claimed_place, lock_beside

ENCODED = '<?xml version="1.0" encoding="none-such"?><PAMDataset/>'
NAMES = ("a.txt", "b.csv", "sub/c.png")


def write_all(folder: Path, text: str, names=NAMES, **more) -> None:
    with claimed_folder(folder, names, **more):
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            write_text(folder / name, f"{text} {name}")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def in_another_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


HOLD = """
    import sys, time
    from pathlib import Path
    from seg.store.targets import claimed_folder
    with claimed_folder(Path(sys.argv[1]), ["a.txt"]):
        print("held", flush=True)
        time.sleep(60)
"""


def test_the_same_work_again_replaces_what_it_wrote(tmp_path):
    write_all(tmp_path / "out", "first")
    write_all(tmp_path / "out", "second")
    assert (tmp_path / "out" / "a.txt").read_text() == "second a.txt"
    assert sorted(contents(tmp_path / "out")) == [written.FILE_NAME, *NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_file_is_refused_before_anything_is_written(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "other.md").write_bytes(b"no matter")
    before = contents(tmp_path)
    with pytest.raises(ForeignFileError, match=name) as raised:
        write_all(tmp_path, "seg")
    assert isinstance(raised.value, WrongUseError)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("folder", "names", "what", "them"),
    [
        (".", ("b.csv",), "the current folder holds b.csv", "it"),
        ("sub", ("b.csv", "a.txt"), "sub holds a.txt, b.csv", "them"),
    ],
)
def test_a_refusal_reads_well(tmp_path, monkeypatch, folder, names, what, them):
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    for name in names:
        (Path(folder) / name).write_text("mine")
    words = f"{what}, which seg did not write or somebody has changed since; move {them} away, or name another --out"
    with pytest.raises(ForeignFileError) as raised, claimed_folder(Path(folder), NAMES):
        pass
    assert str(raised.value) == words
    with pytest.raises(ForeignFileError) as raised, claimed_files([Path(folder) / name for name in sorted(names)]):
        pass
    assert str(raised.value) == words


@pytest.mark.parametrize(("count", "words"), [(1, "f0"), (9, "f0, f1, f2, f3, f4, f5, f6, f7 and 1 more")])
def test_what_a_folder_holds_besides_is_said(tmp_path, monkeypatch, count, words):
    monkeypatch.chdir(tmp_path)
    write_all(Path(), "first")
    for number in range(count):
        Path(f"f{number}").write_text("mine")
    with claimed_folder(Path(), ["a.txt"]) as keeper:
        # Those of the work before are seg's, as is what it wrote into a folder.
        said: list[str] = []
        tell_besides(keeper, said.append)
        assert said == [f"What else the current folder holds stays as it is: {words}."]


def test_a_file_that_was_edited_or_replaced_is_its_editor_s(tmp_path):
    write_all(tmp_path, "first")
    (tmp_path / "b.csv").write_text("edited")
    before = contents(tmp_path)
    with pytest.raises(ForeignFileError, match=r"holds b\.csv, which seg did not write or somebody has changed"):
        write_all(tmp_path, "second")
    assert contents(tmp_path) == before
    (tmp_path / "b.csv").unlink()
    write_all(tmp_path, "second")


def test_an_edit_that_keeps_size_and_is_undone_is_told_from_one_that_is_not(tmp_path):
    write_all(tmp_path, "first")
    path, text = tmp_path / "a.txt", (tmp_path / "a.txt").read_text()
    path.write_text(text.upper())
    with pytest.raises(ForeignFileError):
        write_all(tmp_path, "second")
    path.write_text(text)
    os.utime(path, (1, 1))
    write_all(tmp_path, "second")


def test_a_copied_folder_is_known_by_its_digests(tmp_path):
    write_all(tmp_path / "one", "first")
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    write_all(tmp_path / "two", "second")
    assert (tmp_path / "two" / "a.txt").read_text() == "second a.txt"


def test_links_and_folders_in_the_place_of_files_are_foreign(tmp_path):
    for kind in ("link", "dangling", "folder", "file as folder"):
        out = tmp_path / kind
        out.mkdir()
        mine = tmp_path / f"{kind} mine.txt"
        mine.write_text("mine")
        if kind == "link":
            (out / "a.txt").symlink_to(mine)
        elif kind == "dangling":
            (out / "a.txt").symlink_to(tmp_path / "nowhere")
        elif kind == "folder":
            (out / "a.txt").mkdir()
        else:
            (out / "sub").write_text("mine")
        with pytest.raises(ForeignFileError, match="sub" if kind == "file as folder" else r"a\.txt"):
            write_all(out, "seg")
        assert mine.read_text() == "mine"
        assert len(list(out.iterdir())) == 1


def test_a_link_to_a_folder_is_a_folder_to_write_into(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_all(tmp_path / "link", "first")
    write_all(tmp_path / "real", "second")
    assert (tmp_path / "link" / "a.txt").read_text() == "second a.txt"


def test_what_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for name in ("file", "gone"):
        with pytest.raises(WrongUseError, match="is no folder"):
            write_all(tmp_path / name, "seg")


def test_a_refusal_makes_no_folder_and_neither_does_work_that_writes_nothing(tmp_path):
    with pytest.raises(RuntimeError), claimed_folder(tmp_path / "new" / "deep", NAMES):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_file_that_appears_meanwhile_stays(tmp_path):
    with claimed_folder(tmp_path, NAMES):
        write_text(tmp_path / "a.txt", "seg")
        write_text(tmp_path / "a.txt", "seg again")
        (tmp_path / "b.csv").write_text("mine")
        with pytest.raises(ForeignFileError, match="was put there by somebody else"):
            write_text(tmp_path / "b.csv", "seg")
        with pytest.raises(ForeignFileError), staged_file(tmp_path / "b.csv") as staged:
            staged.write_text("seg")
        with pytest.raises(ForeignFileError):
            remove_file(tmp_path / "b.csv")
        remove_file(tmp_path / "a.txt")
    assert contents(tmp_path).keys() == {"b.csv", written.FILE_NAME}


def test_files_of_one_folder_are_claimed_apart(tmp_path):
    one, two = [tmp_path / "one.tif", tmp_path / "one.png"], [tmp_path / "two.tif"]
    with claimed_files(one), claimed_files(two):
        write_bytes(one[1], b"1")
        write_bytes(two[0], b"2")
    with claimed_files(two):
        write_bytes(two[0], b"3")
    (tmp_path / "one.tif").write_bytes(b"mine")
    with pytest.raises(ForeignFileError, match=r"one\.tif"), claimed_files(one):
        pass


def test_temporary_names_are_nobody_else_s(tmp_path):
    """Neither a file nor a folder that has the name of a temporary one is touched."""
    (tmp_path / ".a.txt.partial").write_text("mine")
    (tmp_path / ".b.csv.partial").mkdir()
    (tmp_path / ".b.csv.partial" / "mine").write_text("mine")
    with claimed_folder(tmp_path, NAMES):
        write_text(tmp_path / "a.txt", "seg")
        with staged_file(tmp_path / "b.csv") as staged:
            staged.write_text("seg")
    assert (tmp_path / ".a.txt.partial").read_text() == "mine"
    assert (tmp_path / ".b.csv.partial" / "mine").read_text() == "mine"


def test_what_a_killed_process_leaves_is_known_and_its_temporary_files_go(tmp_path):
    killed = """
        import os, signal, sys
        from pathlib import Path
        from seg.store.atomic import staged_file, write_text
        from seg.store.targets import claimed_folder
        folder = Path(sys.argv[1])
        with claimed_folder(folder, ["a.txt", "b.csv", "sub/c.png"]):
            write_text(folder / "a.txt", "killed")
            with staged_file(folder / "b.csv") as staged:
                staged.write_text("half")
                os.kill(os.getpid(), signal.SIGKILL)
    """
    (tmp_path / ".mine.0123abcd.partial").write_text("mine")
    child = in_another_process(killed, tmp_path)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    left = [path.name for path in tmp_path.glob(".b.csv.*.partial")]
    assert len(left) == 1
    write_all(tmp_path, "after")
    assert not (tmp_path / left[0]).exists()
    assert (tmp_path / ".mine.0123abcd.partial").read_text() == "mine"


def test_a_record_with_a_torn_line_is_read_as_far_as_it_goes(tmp_path):
    write_all(tmp_path, "first")
    with (tmp_path / written.FILE_NAME).open("ab") as file:
        file.write(b'{"name": "a.t')
    (tmp_path / "b.csv").unlink()
    write_all(tmp_path, "second")
    write_all(tmp_path, "third")


def test_a_record_does_not_grow_for_ever(tmp_path):
    for number in range(6):
        write_all(tmp_path, str(number))
    lines = (tmp_path / written.FILE_NAME).read_text().splitlines()
    assert len([line for line in lines if "digest" in line]) < 2 * len(NAMES)


@settings(max_examples=30, deadline=None)
@given(
    theirs=st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=8)),
    first=st.booleans(),
    edited=st.sets(st.sampled_from(NAMES)),
)
def test_whatever_is_there_nothing_foreign_is_lost(tmp_path_factory, theirs, first, edited):
    """Against a model: a file is seg's if seg wrote it and nobody has written other bytes over it."""
    out = tmp_path_factory.mktemp("out")
    (out / "sub").mkdir()
    if first:
        write_all(out, "first")
        theirs = {name: theirs.get(name, b"edited") for name in edited}
    for name, content in theirs.items():
        (out / name).write_bytes(content)
    before = contents(out)
    if theirs:
        with pytest.raises(ForeignFileError):
            write_all(out, "second")
        assert contents(out) == before
    else:
        write_all(out, "second")
        assert (out / "a.txt").read_text() == "second a.txt"


def test_outputs_without_a_record_are_known_by_their_marks(tmp_path):
    """As of versions that kept none: a tagged GeoTIFF is seg's, a picture is not."""
    for name, tags in (("ours.tif", {"SEG_VERSION": "0.1.0"}), ("theirs.tif", {})):
        with rasterio.open(
            tmp_path / name, "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8", crs="EPSG:32633",
            transform=Affine(10, 0, 0, 0, -10, 0),
        ) as dataset:  # fmt: skip
            dataset.write(np.zeros((1, 2, 2), np.uint8))
            dataset.update_tags(**tags)
    (tmp_path / "ours.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    (tmp_path / "run.json").write_text(json.dumps({"versions": {"seg": "0.1.0"}}))
    (tmp_path / "page.html").write_text('<html><meta name="generator" content="seg">')
    (tmp_path / "same.qml").write_text("style")
    with claimed_files([tmp_path / "ours.tif", tmp_path / "same.qml"], Known(contents={"same.qml": "style"})):
        write_bytes(tmp_path / "ours.tif", b"new")
        write_text(tmp_path / "same.qml", "style")
    assert is_marked(tmp_path / "run.json")
    assert is_marked(tmp_path / "page.html")
    with pytest.raises(ForeignFileError, match=r"theirs\.tif"), claimed_files([tmp_path / "theirs.tif"]):
        pass
    # Changed since, though the record knows the name: the mark does not help.
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ForeignFileError), claimed_files([tmp_path / "run.json"]):
        pass


def test_a_sidecar_to_which_gdal_has_added_statistics_goes_with_its_raster(tmp_path):
    path, sidecar = tmp_path / "map.tif", tmp_path / "map.tif.aux.xml"
    image = np.resize(np.arange(19, dtype=np.uint8), (120, 120))
    georef = GeoRef(32633, 300000, 5900040, 10.0, 120, 120)

    def write() -> None:
        with claimed_files([path]):
            write_class_map(path, image, georef, {"SEG_VERSION": "0.3.0"})
            write_category_names(path)

    write()
    names = sidecar.read_text()
    with rasterio.open(path) as raster:
        raster.stats(approx=False)
    with rasterio.open(path) as raster:
        assert raster.tags(1)["STATISTICS_MAXIMUM"] == "18"
    assert sidecar.read_text() != names
    write()
    assert sidecar.read_text() == names
    notes = names.replace("</PAMRasterBand>", '<Metadata><MDI key="NOTE">seen</MDI></Metadata></PAMRasterBand>')
    for text in (
        "notes",
        notes,
        names.replace("<PAMDataset>", "<PAMDataset><SRS>EPSG:32633</SRS>"),
        "<html/>",
        ENCODED,
    ):
        sidecar.write_text(text)
        with pytest.raises(ForeignFileError, match=r"aux\.xml"):
            write()
        assert sidecar.read_text() == text


def test_a_voucher_speaks_for_a_folder_without_a_record_only(tmp_path):
    known = Known(vouchers=("run.json",))
    (tmp_path / "run.json").write_text(json.dumps({"versions": {"seg": "0.1.0"}}))
    (tmp_path / "tables.md").write_text("old")
    with claimed_folder(tmp_path, ["run.json", "tables.md"], known):
        write_text(tmp_path / "tables.md", "new")
    (tmp_path / "tables.md").write_text("notes")
    with pytest.raises(ForeignFileError, match=r"tables\.md"):
        write_all(tmp_path, "seg", ["run.json", "tables.md"], known=known)


def test_a_raster_that_is_the_second_of_one_is_not_the_first_of_another(tmp_path):
    one, other = tmp_path / "a.tif", tmp_path / "a_confidence.tif"
    with claimed_files([one, other, tmp_path / "a.png"]):
        with pytest.raises(BusyError, match=r"is writing .*a_confidence.tif; wait"), claimed_files([other]):
            pass
        with claimed_files([tmp_path / "b.tif"]):
            pass
    with claimed_files([other]):
        with pytest.raises(BusyError, match=r"is writing .*a_confidence.tif; wait"), claimed_files([one, other]):
            pass
        assert sorted(path.name for path in tmp_path.iterdir()) == [lock_beside(other).name]
    assert not list(tmp_path.iterdir())


def test_a_place_is_needed_whole(tmp_path):
    out, beside = tmp_path / "store", tmp_path / ".store.building"
    beside.mkdir()
    (beside / "mine").write_text("mine")
    with pytest.raises(ForeignFileError, match="seg has not made it"), claimed_place(out, {beside: lambda _: False}):
        pass
    with claimed_place(out, {beside: lambda path: (path / "mine").is_file()}):
        assert lock_beside(out).is_file()
    assert [path.name for path in tmp_path.iterdir()] == [".store.building"]


def test_the_second_learns_who_is_at_it_and_changes_nothing(tmp_path):
    holder = in_another_process(HOLD, tmp_path / "out")
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = contents(tmp_path)
        began = time.perf_counter()
        with pytest.raises(BusyError, match=rf"process {holder.pid} on .*, since 2.* UTC\) is writing .*out; wait"):
            write_all(tmp_path / "out", "seg")
        assert time.perf_counter() - began < 5
        assert contents(tmp_path) == before
        # Of a run it is said too, and not that it could be resumed.
        with pytest.raises(BusyError, match=rf"process {holder.pid} on .* is writing .*out; wait"):
            plan(out=tmp_path / "out")
    finally:
        holder.kill()
        holder.communicate()
    # The lock of a process that was killed is none.
    assert (tmp_path / "out" / LOCK_FILE).is_file()
    write_all(tmp_path / "out", "seg")
    assert not (tmp_path / "out" / LOCK_FILE).exists()


def test_of_several_processes_the_first_holds_the_lock_and_all_keep_the_record(tmp_path, monkeypatch):
    with claimed_folder(tmp_path, NAMES):
        write_text(tmp_path / "a.txt", "rank 0")
        with monkeypatch.context() as patched:
            patched.setenv("WORLD_SIZE", "2")
            patched.setenv("RANK", "1")
            member = claimed_folder(tmp_path, NAMES)
            member.__enter__()
        write_text(tmp_path / "b.csv", "rank 1")
        with monkeypatch.context() as patched:
            patched.setenv("WORLD_SIZE", "2")
            patched.setenv("RANK", "1")
            member.__exit__(None, None, None)
    assert [path.name for path in tmp_path.glob(".seg*")] == [written.FILE_NAME]
    write_all(tmp_path, "again")


STRESS = """
    import os, sys, time
    from pathlib import Path
    from seg.store.locks import BusyError, locked
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    entries = together = 0
    while entries < count:
        try:
            with locked(folder / "lock", folder / "target"):
                try:
                    os.close(os.open(folder / "holder", os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    together += 1
                else:
                    counter = folder / "counter"
                    counter.write_text(str(int(counter.read_text()) + 1))
                    os.unlink(folder / "holder")
                entries += 1
        except BusyError:
            pass
    print(entries, together, flush=True)
"""


def test_four_processes_never_hold_one_lock_at_once(tmp_path):
    (tmp_path / "counter").write_text("0")
    count = 100
    children = [in_another_process(STRESS, tmp_path, count) for _ in range(4)]
    said = [child.communicate()[0].split() for child in children]
    assert said == [[str(count), "0"]] * 4
    assert (tmp_path / "counter").read_text() == str(4 * count)
    assert not (tmp_path / "lock").exists()


def test_a_lock_of_another_kind_keeps_its_content(tmp_path):
    (tmp_path / "lock").write_text("12345\nhost\n")
    with locked(tmp_path / "lock", tmp_path / "target"):
        assert (tmp_path / "lock").read_text() == "12345\nhost\n"

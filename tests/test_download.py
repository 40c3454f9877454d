"""Fetching: from a server on loopback that breaks off, lies and changes its mind."""

import hashlib
import http.server
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import namedtuple

import pytest

from seg.cli.main import main
from seg.errors import ArchiveError, BusyError, ForeignFileError
from seg.prepare import download, transfer
from seg.prepare.download import RecordFile, fetch

DATA = {
    "metadata.parquet": b"PAR1" * 2_000,
    "metadata_for_patches_with_snow_cloud_or_shadow.parquet": b"snow" * 3_000,
    "Reference_Maps.tar.zst": os.urandom(70_000),
    "BigEarthNet-S2.tar.zst": os.urandom(300_000),
    "BigEarthNet-S1.tar.zst": os.urandom(200_000),
}


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; what a test sets makes it misbehave.

    Attributes:
        break_after: Bytes after which a body ends, once for each number in the list.
        ranges: Whether it supports ranges.
        status: Status for every request instead of an answer.
        announced: Content-Length by name instead of the true one.
        tagged: Whether it marks the version of a file.
        head: What answers a HEAD instead: status and header.
        reset: Whether a body that ends early ends with a reset of the connection, in the middle of a block.
        log: Method, name and Range header of every request.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.break_after, self.ranges, self.status = dict(DATA), [], True, None
        self.announced, self.log, self.slow = {}, [], 0
        self.tagged, self.reset, self.head = True, False, None

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """A client that is gone is part of the tests."""

    def ranges_asked(self, name):
        return [asked for method, what, asked in self.log if method == "GET" and what == name]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        if self.server.head:
            status, fields = self.server.head
            self.send_response(status)
            for field in fields.items():
                self.send_header(*field)
            self.end_headers()
            return
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        name = self.path.partition("?")[0].rpartition("/")[2]
        asked = self.headers.get("Range")
        self.server.log.append((self.command, name, asked))
        if self.server.status or name not in self.server.files:
            self.send_error(self.server.status or 404)
            return
        content = self.server.files[name]
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        begin = 0
        if asked and self.server.ranges and self.headers.get("If-Range", tag) == tag:
            begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if self.server.tagged:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(self.server.announced.get(name, len(content) - begin)))
        self.end_headers()
        if body:
            rest = content[begin:]
            if self.server.break_after:
                rest = rest[: self.server.break_after.pop(0)]
            for place in range(0, len(rest), 10_000):
                self.wfile.write(rest[place : place + 10_000])
                self.wfile.flush()
                time.sleep(self.server.slow)
            if self.server.reset and len(rest) < len(content) - begin:
                time.sleep(0.1)  # what was sent before would be lost with the connection
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    sums = [RecordFile(f.name, f.part, hashlib.md5(DATA[f.name]).hexdigest()) for f in download.FILES]
    monkeypatch.setattr(download, "FILES", tuple(sums))
    monkeypatch.setattr(download, "RECORD", f"{server.address}/records/10891137/files")
    monkeypatch.setattr(transfer, "_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(transfer, "_MEGABYTE", 10_000)
    monkeypatch.setattr(transfer, "_AT_ONCE", 10_000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def contents(folder):
    """Every file but the receipts."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".fetched.json"}


def test_the_published_sums(real):
    """The table is that of the facts, name by name."""
    facts = (real.parent / "facts.md").read_text()
    for file in download.FILES:
        assert re.search(rf"{re.escape(file.name)}\s+{file.md5}", facts), file.name
    assert {file.part for file in download.FILES} == set(download.PARTS)


def test_the_whole_record(server, tmp_path):
    shown = []

    def track(items, description, total):
        items = list(items)
        shown.append((description, len(items), total))
        return items

    files = fetch(tmp_path, track=track)
    assert contents(tmp_path) == DATA
    assert all(file.checked and file.new for file in files)
    assert all(count == total for _, count, total in shown)
    assert [what for what, *_ in shown] == [w for name in DATA for w in (f"{name}, MB", f"md5 sum of {name}, MB")]
    server.log.clear()
    shown.clear()
    assert [(file.new, file.checked, file.earlier) for file in fetch(tmp_path, track=track)] == [
        (False, True, True)
    ] * 5
    assert shown == []
    assert {method for method, *_ in server.log} == {"HEAD"}


def test_some_parts(server, tmp_path):
    fetch(tmp_path, ["metadata", "maps"])
    assert set(contents(tmp_path)) == {name for name in DATA if "BigEarthNet" not in name}


@pytest.mark.parametrize("breaks", [[100_000], [10_000, 50_000, 0, 100_000], [120_000] * 2])
def test_a_broken_connection_is_taken_up_where_it_broke(server, tmp_path, breaks):
    server.break_after = list(breaks)
    fetch(tmp_path, ["s2"])
    assert contents(tmp_path) == {"BigEarthNet-S2.tar.zst": DATA["BigEarthNet-S2.tar.zst"]}
    asked = server.ranges_asked("BigEarthNet-S2.tar.zst")
    assert len(asked) == len(breaks) + 1
    held = 0
    for before, expected in zip([0, *breaks], asked, strict=True):
        held += before
        assert expected == (f"bytes={held}-" if held else None)


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges = False
    server.break_after = [100_000]
    fetch(tmp_path, ["s2"])
    assert contents(tmp_path) == {"BigEarthNet-S2.tar.zst": DATA["BigEarthNet-S2.tar.zst"]}


def test_a_server_that_never_gets_anywhere(server, tmp_path):
    server.break_after = [100_000] + [0] * 20
    with pytest.raises(ArchiveError, match=r"broke off .* kept, run the same command to go on"):
        fetch(tmp_path, ["s2"])
    assert (tmp_path / ".BigEarthNet-S2.tar.zst.part").stat().st_size == 100_000
    server.break_after = []
    server.log.clear()
    fetch(tmp_path, ["s2"])
    assert server.ranges_asked("BigEarthNet-S2.tar.zst") == ["bytes=100000-"]
    assert contents(tmp_path) == {"BigEarthNet-S2.tar.zst": DATA["BigEarthNet-S2.tar.zst"]}


def test_a_corrupt_byte(server, tmp_path):
    name = "BigEarthNet-S1.tar.zst"
    damaged = bytearray(DATA[name])
    damaged[150_000] ^= 1
    server.files[name] = bytes(damaged)
    with pytest.raises(ArchiveError, match=r"BigEarthNet-S1\.tar\.zst arrived damaged .* run the same command"):
        fetch(tmp_path, ["s1"])
    assert name not in contents(tmp_path)
    server.files[name] = DATA[name]
    fetch(tmp_path, ["s1"])
    assert contents(tmp_path) == {name: DATA[name]}


def test_a_file_that_changed_meanwhile_is_not_spliced(server, tmp_path):
    name = "BigEarthNet-S1.tar.zst"
    server.files[name] = os.urandom(len(DATA[name]))
    server.break_after = [100_000] + [0] * 20
    with pytest.raises(ArchiveError):
        fetch(tmp_path, ["s1"])
    server.files[name] = DATA[name]
    server.break_after = []
    fetch(tmp_path, ["s1"])
    assert contents(tmp_path) == {name: DATA[name]}


def test_too_little_space(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage(10**6, 5 * 10**5, 550_000))
    with pytest.raises(ArchiveError, match=r"still to be fetched and .* left; free some space"):
        fetch(tmp_path)
    assert contents(tmp_path) == {}
    assert {method for method, *_ in server.log} == {"HEAD"}
    fetch(tmp_path, ["s2"])
    # What is there already needs no more space.
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage(10**6, 10**6, 0))
    fetch(tmp_path, ["s2"])


@pytest.mark.parametrize(
    ("status", "message"),
    [(404, "the record has no file"), (403, "the server answers 403"), (429, "429"), (503, "503")],
)
def test_refusals(server, tmp_path, status, message):
    server.status = status
    with pytest.raises(ArchiveError, match=message) as caught:
        fetch(tmp_path, ["maps"])
    assert "\n" not in str(caught.value)


PIECE = {"Reference_Maps.tar.gzaa": b"piece" * 9_000}


@pytest.mark.parametrize("files", [DATA, PIECE], ids=["whole", "split"])
@pytest.mark.parametrize(
    ("status", "fields"),
    [(405, {}), (501, {"Content-Length": "0"}), (200, {"Content-Length": "0"}), (200, {"Content-Length": "²"})],
)
def test_servers_that_do_not_say_how_large_a_file_is(server, tmp_path, monkeypatch, files, status, fields):
    """Nothing empty is taken for a file, and a server that answers no HEAD is asked by GET."""
    server.files = dict(files)
    find = Handler.do_HEAD
    known = lambda handler: handler.path.rpartition("/")[2] in server.files  # noqa: E731
    monkeypatch.setattr(server, "head", (status, fields))
    monkeypatch.setattr(Handler, "do_HEAD", lambda self: find(self) if known(self) else self.send_error(404))
    (got,) = fetch(tmp_path, ["maps"], mirror=server.address)
    assert got.path.read_bytes() == files[got.path.name]


@pytest.mark.parametrize(
    ("status", "fields", "message"),
    [
        (204, {}, "the server answers 204 No Content"),
        (302, {}, "the server answers 302 Found"),
        (302, {"Location": "http://[::none/x"}, "its address is none"),
        (302, {"Location": "http://.none..com/x"}, "its address is none"),
        (200, {"Content-Type": "text/html", "Content-Length": "9"}, "is a page and no file"),
    ],
)
def test_what_is_no_file_becomes_no_part_of_an_archive(server, tmp_path, monkeypatch, status, fields, message):
    server.files = dict(PIECE)
    find = Handler.do_HEAD
    monkeypatch.setattr(server, "head", (status, fields))
    known = lambda handler: handler.path.endswith("aa")  # noqa: E731
    monkeypatch.setattr(Handler, "do_HEAD", lambda self: find(self) if known(self) else self.send_error(404))
    with pytest.raises(ArchiveError, match=message):
        fetch(tmp_path, ["maps"], mirror=server.address)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("place", ["http://[::none/x", "http://.none..com/x"])
def test_a_body_that_leads_nowhere_is_one_sentence(server, tmp_path, monkeypatch, place):
    def lead(handler):
        handler.send_response(302)
        handler.send_header("Location", place)
        handler.end_headers()

    monkeypatch.setattr(Handler, "do_GET", lead)
    with pytest.raises(ArchiveError, match="broke off"):
        fetch(tmp_path, ["maps"], mirror=server.address)


def test_no_server(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "RECORD", "http://127.0.0.1:1/none")
    with pytest.raises(
        ArchiveError, match=r"\(the server refuses the connection\); look at the network and try again$"
    ):
        fetch(tmp_path, ["maps"])


def test_a_full_disk_keeps_what_arrived(server, tmp_path):
    """/dev/full takes the place of the partial file."""
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    (tmp_path / ".Reference_Maps.tar.zst.part").symlink_to("/dev/full")
    url = f"{download.RECORD}/Reference_Maps.tar.zst?download=1"
    tag = f'"{hashlib.md5(DATA["Reference_Maps.tar.zst"]).hexdigest()}"'
    (tmp_path / ".Reference_Maps.tar.zst.json").write_text(json.dumps({"url": url, "version": tag, "size": 70_000}))
    with pytest.raises(OSError, match="No space left"):
        fetch(tmp_path, ["maps"])
    assert not (tmp_path / "Reference_Maps.tar.zst").exists()


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.zst"])
def test_split_archives_of_a_mirror(server, tmp_path, ending):
    whole = server.files.pop("BigEarthNet-S2.tar.zst")
    names = [f"BigEarthNet-S2{ending}{letters}" for letters in ("aa", "ab", "ac")]
    pieces = whole[:100_000], whole[100_000:200_000], whole[200_000:]
    server.files.update(zip(names, pieces, strict=True))
    files = fetch(tmp_path, ["metadata", "s2"], f"{server.address}/mirror/")
    assert [(file.path.name, file.checked) for file in files] == [
        ("metadata.parquet", True),
        ("metadata_for_patches_with_snow_cloud_or_shadow.parquet", True),
        *((name, False) for name in names),
    ]
    assert b"".join((tmp_path / name).read_bytes() for name in names) == whole
    del server.files[names[0]]
    with pytest.raises(ArchiveError, match="has neither"):
        fetch(tmp_path, ["s2"], f"{server.address}/mirror")


def test_bad_addresses_and_folders(server, tmp_path):
    with pytest.raises(ArchiveError, match="is no address that can be fetched"):
        fetch(tmp_path, ["maps"], "not an address")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArchiveError, match="is a file; name a folder"):
        fetch(tmp_path / "file")
    (tmp_path / "Reference_Maps.tar.zst").write_bytes(bytes(70_001))
    with pytest.raises(ArchiveError, match="has 70,001 bytes and the server's 70,000; remove it"):
        fetch(tmp_path, ["maps"])


@pytest.mark.parametrize("mirror", ["ftp://example.org/x", "not an address", "http://", "http://[", ""])
def test_mirrors_that_are_no_address(tmp_path, mirror):
    with pytest.raises(ArchiveError, match="is no address that can be fetched; one begins with http://"):
        fetch(tmp_path / "out", ["maps"], mirror)
    assert not (tmp_path / "out").exists()


def test_a_changed_byte_in_a_file_that_is_there_is_found(server, tmp_path):
    """Whoever has put it there: without a receipt for what it is now, its md5 sum is compared."""
    path = tmp_path / "Reference_Maps.tar.zst"
    damaged = bytearray(DATA[path.name])
    damaged[50_000] ^= 1
    path.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(ArchiveError, match=r"is damaged or another file .*; remove it and run the same command"):
            fetch(tmp_path, ["maps"])
    assert path.read_bytes() == damaged
    path.write_bytes(DATA[path.name])
    assert [(file.new, file.earlier) for file in fetch(tmp_path, ["maps"])] == [(False, False)]
    assert [(file.new, file.earlier) for file in fetch(tmp_path, ["maps"])] == [(False, True)]
    path.write_bytes(damaged)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    with pytest.raises(ArchiveError, match="is damaged or another file"):
        fetch(tmp_path, ["maps"])
    (tmp_path / ".fetched.json").write_text("[junk")
    with pytest.raises(ForeignFileError, match=r"fetched\.json is not the list that seg keeps"):
        fetch(tmp_path, ["maps"])
    assert (tmp_path / ".fetched.json").read_text() == "[junk"


def test_a_file_that_is_too_short_is_continued(server, tmp_path):
    name = "Reference_Maps.tar.zst"
    (tmp_path / name).write_bytes(DATA[name][:30_001])
    assert [file.new for file in fetch(tmp_path, ["maps"])] == [True]
    assert server.ranges_asked(name)[-1] == "bytes=30001-"
    assert contents(tmp_path) == {name: DATA[name]}


@pytest.mark.parametrize("place", ["{}", ".{}.part", ".{}.json"])
def test_what_a_fetch_has_not_begun_stays_and_is_named(server, tmp_path, place):
    """A file that is shorter than the published one, and not its beginning."""
    path = tmp_path / place.format("Reference_Maps.tar.zst")
    path.write_bytes(b"mine" * 1000)
    with pytest.raises(ForeignFileError, match=f"holds {re.escape(path.name)}, which seg did not fetch"):
        fetch(tmp_path, ["maps"])
    assert contents(tmp_path) == {path.name: b"mine" * 1000}


def test_a_beginning_is_only_one_if_its_end_fits_too(server, tmp_path):
    name = "BigEarthNet-S2.tar.zst"
    for at in (0, 249_999):
        content = bytearray(DATA[name][:250_000])
        content[at] ^= 1
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ForeignFileError):
            fetch(tmp_path, ["s2"])
        assert (tmp_path / name).read_bytes() == content


def test_without_a_version_the_md5_sum_is_enough_to_go_on(server, tmp_path):
    name = "BigEarthNet-S2.tar.zst"
    server.tagged = False
    server.break_after = [100_000, 50_000] + [0] * 20
    with pytest.raises(ArchiveError, match="broke off"):
        fetch(tmp_path, ["s2"])
    server.break_after = []
    fetch(tmp_path, ["s2"])
    asked = server.ranges_asked(name)
    assert asked[:3] == [None, "bytes=100000-", "bytes=150000-"]
    assert asked[-1] == "bytes=150000-"
    assert contents(tmp_path) == {name: DATA[name]}


def test_without_a_version_and_a_sum_nothing_is_spliced(server, tmp_path):
    whole = server.files.pop("BigEarthNet-S2.tar.zst")
    name = "BigEarthNet-S2.tar.gzaa"
    server.files[name], server.tagged, server.break_after = whole, False, [100_000]
    fetch(tmp_path, ["s2"], server.address)
    assert server.ranges_asked(name) == [None, None]
    assert contents(tmp_path) == {name: whole}


def test_what_came_before_a_reset_is_kept(server, tmp_path, monkeypatch):
    """Also less than is read at once."""
    name = "BigEarthNet-S2.tar.zst"
    monkeypatch.setattr(transfer, "_AT_ONCE", 1 << 20)
    server.reset, server.break_after = True, [123_457]
    fetch(tmp_path, ["s2"])
    assert server.ranges_asked(name) == [None, "bytes=123457-"]
    assert contents(tmp_path) == {name: DATA[name]}


def test_a_mirror_goes_on_with_what_the_record_has_begun(server, tmp_path):
    name = "BigEarthNet-S2.tar.zst"
    server.break_after = [100_000] + [0] * 20
    with pytest.raises(ArchiveError):
        fetch(tmp_path, ["s2"])
    server.break_after, server.log = [], []
    fetch(tmp_path, ["s2"], f"{server.address}/mirror")
    assert server.ranges_asked(name) == ["bytes=100000-"]
    assert contents(tmp_path) == {name: DATA[name]}


def test_nothing_is_said_to_be_kept_where_nothing_is(server, tmp_path):
    server.break_after = [0] * 20
    with pytest.raises(ArchiveError, match=r"broke off \(the connection broke\); try again later$"):
        fetch(tmp_path, ["s2"])


def test_sizes_are_in_units_that_fit():
    assert [download._amount(size) for size in (70_000, 999_949_999, 10**9, 62 * 10**9)] == [
        "0.1 MB",
        "999.9 MB",
        "1.0 GB",
        "62.0 GB",
    ]


@pytest.fixture
def typed(server, capsys, monkeypatch, tmp_path):
    """`seg data fetch` as typed; exit code and what it prints."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["seg", "data", "fetch", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out + captured.err

    return run


def test_what_is_said_of_each_file_is_true(typed, tmp_path):
    out = tmp_path / "re ben"
    assert "fetched, md5 sum checked" in typed(out, "--only", "maps")[1]
    assert "was there already, unchanged since its md5 sum was checked" in typed(out, "--only", "maps")[1]
    (out / ".fetched.json").unlink()
    assert "was there already, md5 sum checked" in typed(out, "--only", "maps")[1]


def test_the_next_command_is_one_that_works(typed, tmp_path):
    """It names what lies in the folder, whichever call has fetched it, and what is still needed."""
    out = tmp_path / "re ben"
    fetch_more = f"Next: seg data fetch '{out}' --only"
    assert f"{fetch_more} metadata (a store needs the metadata too)" in typed(out, "--only", "s1")[1]
    assert f"{fetch_more} metadata,s2 (a store" in typed(tmp_path / "re ben" / "x", "--only", "maps")[1].replace(
        "/x", ""
    )
    text = typed(out, "--only", "metadata")[1]
    metadata = [f"--metadata '{out}/{file.name}'" for file in download.FILES if file.part == "metadata"]
    assert f"Next: seg data build --s1 '{out}/BigEarthNet-S1.tar.zst' {' '.join(metadata)} STORE" in text


@pytest.mark.parametrize(
    "options", [("--only", "foo"), ("--only", ""), ("--only", "s1,"), ("--mirror", "ftp://x"), ("--mirror", "")]
)
def test_wrong_options(typed, tmp_path, options):
    code, _ = typed(tmp_path / "out", *options)
    assert code == 2
    assert not (tmp_path / "out").exists()


def test_two_at_once(server, tmp_path):
    def another(items, *_):
        with pytest.raises(BusyError, match=r"is writing .*; wait for it to end"):
            fetch(tmp_path, ["maps"])
        return items

    fetch(tmp_path, ["maps"], track=another)


KILLED = """
import sys
from pathlib import Path
from seg.cli.main import main
from seg.prepare import download, transfer
download.RECORD = sys.argv[1]
download.FILES = (download.RecordFile("BigEarthNet-S2.tar.zst", "s2", sys.argv[3]),)
download.fetch(Path(sys.argv[2]), ["s2"])
"""


def test_a_killed_fetch_goes_on(server, tmp_path):
    name = "BigEarthNet-S2.tar.zst"
    server.slow = 0.02
    md5 = hashlib.md5(DATA[name]).hexdigest()
    process = subprocess.Popen([sys.executable, "-c", KILLED, download.RECORD, str(tmp_path), md5])
    part = tmp_path / f".{name}.part"
    while not part.exists() or part.stat().st_size < 100_000:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    held = part.stat().st_size
    assert 100_000 <= held < 300_000
    assert part.read_bytes() == DATA[name][:held]
    server.slow = 0
    server.log.clear()
    fetch(tmp_path, ["s2"])
    assert server.ranges_asked(name) == [f"bytes={held}-"]
    assert contents(tmp_path) == {name: DATA[name]}

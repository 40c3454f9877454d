"""A web server on loopback for a folder: ranges, and on request breaks, refusals, redirects and slow answers."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TYPES = {".json": "application/json", ".geojson": "application/geo+json", ".tif": "image/tiff", ".html": "text/html"}


@dataclass
class Served:
    """What is served, and what was asked for.

    Attributes:
        folder: Its files.
        url: Of the folder, without a slash at the end.
        faults: By the end of a path, what happens to requests of it: a status code, a number of bytes after which the
            connection breaks (negative), seconds to wait (float), or the place that it leads to (a string).
        times: How often a fault happens; those that are not in it, always.
        answers: By path, what answers a POST or GET of it instead of a file.
        asked: Method, path with query, first and last byte of every request.
        headers: Those of every request.
    """

    folder: Path
    url: str = ""
    faults: dict[str, int | float | str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, int, int]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def bytes_of(self, ending: str) -> int:
        """How many bytes of files with such a path were given out."""
        return sum(last - first + 1 for method, path, first, last in self.asked if ending in path and method == "GET")

    def fault(self, path: str) -> int | float | str | None:
        """What is to happen to a request."""
        for ending, fault in self.faults.items():
            if path.endswith(ending) and self.times.get(ending, 1) > 0:
                if ending in self.times:
                    self.times[ending] -= 1
                return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, served: Served, *args: Any) -> None:
        self.served = served
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        file = self.served.folder / path.lstrip("/")
        self.served.headers.append(dict(self.headers))
        answer = self.served.answers.get(path)
        data = answer(sent or self.path.encode()) if answer else file.read_bytes() if file.is_file() else None
        fault = self.served.fault(path)
        if isinstance(fault, float):
            time.sleep(fault)
        if isinstance(fault, str):
            self._head(302, 0, Location=fault)
        elif data is None or (isinstance(fault, int) and fault > 0):
            self.served.asked.append((self.command, self.path, 0, -1))
            self._head(fault if isinstance(fault, int) else 404, 0)
        else:
            self._send(data, file.suffix, body, after=-fault if isinstance(fault, int) else None)

    def _send(self, data: bytes, suffix: str, body: bool, after: int | None) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = 0, len(data) - 1
        if found:
            first, last = int(found[1]), min(int(found[2] or last), last)
        if first > last and data:
            self._head(416, 0)
            return
        self.served.asked.append((self.command, self.path, first, last))
        more = {"Content-Range": f"bytes {first}-{last}/{len(data)}"} if found else {}
        kind = TYPES.get(suffix, "application/octet-stream")
        self._head(206 if found else 200, last - first + 1, **{"Content-Type": kind, "ETag": '"1"', **more})
        if body:
            part = data[first : last + 1]
            if after is not None and len(part) > after:
                self.wfile.write(part[:after])
                self.wfile.flush()
                self.connection.close()
                self.close_connection = True
                return
            self.wfile.write(part)

    def _head(self, code: int, length: int, **more: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(length), "Accept-Ranges": "bytes", **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that clients have broken."""


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Serve a folder while the context lasts."""
    about = Served(folder)
    server = _Server(("127.0.0.1", 0), partial(_Handler, about))
    about.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield about
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""Asking web servers: what they say of a file before GDAL reads it, and small files as a whole.

GDAL says of all that goes wrong that a file cannot be opened. A few bytes asked for beforehand tell whether it is
there, who may read it, and whether it is a raster and not the page of a login.
"""

import io
import os
import re
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import requests

from seg.catalogue.address import Place, Remote, shown_remote
from seg.errors import SceneError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

_KEYS = {
    "s3://": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_NO_SIGN_REQUEST=YES for a public one",
    "gs://": "GOOGLE_APPLICATION_CREDENTIALS, or GS_NO_SIGN_REQUEST=YES for a public one",
    "az://": "AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_ACCESS_KEY (or AZURE_STORAGE_SAS_TOKEN), or with the account "
    "AZURE_NO_SIGN_REQUEST=YES for a public one",
    "/vsiadls/": "AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_ACCESS_KEY (or AZURE_STORAGE_SAS_TOKEN)",
    "/vsioss/": "OSS_ACCESS_KEY_ID, OSS_SECRET_ACCESS_KEY and OSS_ENDPOINT",
    "/vsiswift/": "SWIFT_STORAGE_URL and SWIFT_AUTH_TOKEN",
}
"""Where GDAL looks for the credentials of object stores."""
T = TypeVar("T")
WAITS = (0.3, 1.0, 4.0)
"""Seconds before each further try."""
_FIRST = 512
"""Bytes that are looked at."""
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""What servers say that may do better soon."""
_PAGE = re.compile(rb"\s*(<!doctype html|<html|<\?xml[^>]*\?>\s*<!doctype html)", re.IGNORECASE)
_PLAIN = {"Accept-Encoding": "identity"}
"""Compressed, the bytes of a part are not those of the file."""
_LARGEST = 256 << 20
"""Bytes of the largest file that is read as a whole."""
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Told:
    """What a server says of a file.

    Attributes:
        size: Bytes; None if it does not say.
        version: What changes with the content: its ETag, or when it was changed; empty if it says neither.
    """

    size: int | None = None
    version: str = ""


def look_at(file: Remote, named: Remote | None = None) -> Told:
    """What the server of a file says of it; nothing of what is in an object store.

    Args:
        file: The file.
        named: What somebody has named whose signed address this is.

    Raises:
        SceneError: If there is no such file, it may not be read, or it is a page and no file.
    """
    if file.url is None:
        return Told()

    def told(answer: requests.Response) -> Told:
        begin = next(answer.iter_content(_FIRST), b"")
        if _PAGE.match(begin) or answer.headers.get("Content-Type", "").lower().startswith("text/html"):
            how = f"leads to the page {shown_remote('/vsicurl/' + answer.url)}" if answer.history else "is a page"
            raise SceneError(
                f"{file} {how} and not a file, as where one has to log in; open it in a browser to see, and give the "
                "address of the file itself"
            )
        size = answer.headers.get("Content-Range", "").rpartition("/")[2] or answer.headers.get("Content-Length", "")
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        return Told(int(size) if size.isdigit() else None, version)

    return _asked(file, 0, _FIRST - 1, told, named)


def fetch(file: Remote) -> bytes:
    """A small file as a whole.

    Raises:
        SceneError: If it cannot be had.
    """
    return _asked(_reachable(file), None, None, lambda answer: _all_of(answer, file), _in_store(file))


class RangeFile(io.RawIOBase):
    """A file of a web server for those who read parts of it, such as `zipfile`.

    Args:
        file: The file.

    Raises:
        SceneError: If it cannot be had, or its server gives no parts.
    """

    def __init__(self, file: Remote) -> None:
        super().__init__()
        self._file, self._named, self._place = _reachable(file), _in_store(file), 0
        told = look_at(self._file, self._named)
        if told.size is None:
            raise SceneError(f"the server of {file} does not say how large it is; get the file and name your copy")
        self._size = told.size

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        """The place."""
        return self._place

    def readinto(self, buffer: "Buffer") -> int:
        """Bytes from the place on."""
        room = memoryview(buffer).cast("B")
        count = min(len(room), self._size - self._place)
        if count <= 0:
            return 0
        first, last = self._place, self._place + count - 1
        # Who asks for all of it from the beginning may get more than that.
        part = _asked(self._file, first, last, lambda answer: _all_of(answer, self._file), self._named)[:count]
        room[: len(part)] = part
        self._place += len(part)
        return len(part)


def opened_zip(place: Place) -> zipfile.ZipFile:
    """A zip, of which no more is read than is asked for.

    Raises:
        SceneError: If it cannot be had.
        zipfile.BadZipFile: If it is none.
    """
    return zipfile.ZipFile(io.BufferedReader(RangeFile(place), _CHUNK) if isinstance(place, Remote) else place)


def _all_of(answer: requests.Response, file: Remote) -> bytes:
    held = bytearray()
    for chunk in answer.iter_content(_CHUNK):
        held += chunk
        if len(held) > _LARGEST:
            raise SceneError(f"{file} is larger than a list of files or a STAC item is; name a raster")
    return bytes(held)


def _asked(
    file: Remote,
    first: int | None,
    last: int | None,
    read: Callable[[requests.Response], T],
    named: Remote | None = None,
) -> T:
    """What is read of the answer of a server; where connections break, it is asked again.

    Args:
        file: The file.
        first, last: Which of its bytes; None: all.
        read: What is done with the answer.
        named: The file of an object store whose signed address this is: that takes no other login.

    Raises:
        SceneError: If it does not have the file, or does not give it.
    """
    assert file.url is not None
    own, login, shown = (_headers(), _login(), file) if named is None else (_PLAIN, None, named)
    headers = own | ({} if first is None else {"Range": f"bytes={first}-{last}"})
    timeout = (_seconds("GDAL_HTTP_CONNECTTIMEOUT", 20), _seconds("GDAL_HTTP_TIMEOUT", 60))
    for wait in (*WAITS, None):
        try:
            with requests.get(file.url, headers=headers, auth=login, stream=True, timeout=timeout) as answer:
                if answer.ok and (first in (None, 0) or answer.status_code == requests.codes.partial_content):
                    return read(answer)
                if answer.ok:
                    raise SceneError(f"the server of {shown} gives whole files only; get the file and name your copy")
                if wait is None or answer.status_code not in _AGAIN:
                    raise refused(str(shown), answer.status_code)
        except SceneError:
            raise
        except (requests.RequestException, ValueError) as error:
            # urllib3 and urllib raise ValueErrors where it leads to what is no address.
            if wait is None:
                raise _unreachable(shown, error) from None
        time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def refused(shown: str, status: int) -> SceneError:
    """The error for a file that a server does not give.

    Args:
        shown: The file, as it may be shown.
        status: What the server says.
    """
    if status in (requests.codes.unauthorized, requests.codes.forbidden, requests.codes.conflict):
        if store := next((keys for scheme, keys in _KEYS.items() if shown.startswith(scheme)), None):
            how = f"set {store}"
            if shown.startswith("s3://") and os.environ.get("AWS_ACCESS_KEY_ID"):
                how = "the key of AWS_ACCESS_KEY_ID is not enough for it, or it wants AWS_REQUEST_PAYER=requester"
            return SceneError(f"{shown} may not be read by you ({status}): {how}", wrong_use=True)
        held = next((name for name in ("GDAL_HTTP_HEADERS", "GDAL_HTTP_USERPWD") if os.environ.get(name)), None)
        how = (
            f"what {held} holds is not enough for it"
            if held
            else "put what it asks for into GDAL_HTTP_HEADERS (such as 'Authorization: Bearer ...') or "
            "GDAL_HTTP_USERPWD (user:password), or give a signed address"
        )
        return SceneError(f"{shown} may not be read by you ({status}): {how}", wrong_use=True)
    if status in (requests.codes.not_found, requests.codes.gone):
        return SceneError(f"{shown} does not exist ({status}); name one that does", wrong_use=True)
    return SceneError(f"the server of {shown} answers {status}; try again later, the same command goes on")


def _unreachable(file: Remote, error: Exception) -> SceneError:
    if isinstance(error, requests.Timeout):
        how = "does not answer in time"
    elif isinstance(error, requests.ConnectionError):
        how = "cannot be reached"
    else:
        how = "breaks off"
    return SceneError(f"the server of {file} {how}; try again later, the same command goes on")


def _seconds(name: str, otherwise: float) -> float:
    try:
        return float(os.environ.get(name, otherwise)) or otherwise
    except ValueError:
        return otherwise


def _headers() -> dict[str, str]:
    """What GDAL sends too: lines or a list of ``name: value``."""
    stated = re.split(r"\r?\n|,(?=\s*[\w-]+:)", os.environ.get("GDAL_HTTP_HEADERS", ""))
    pairs = (line.partition(":") for line in stated if ":" in line)
    return {**_PLAIN, **{name.strip(): value.strip() for name, _, value in pairs}}


def _login() -> tuple[str, str] | None:
    name, colon, word = os.environ.get("GDAL_HTTP_USERPWD", "").partition(":")
    return (name, word) if colon else None


def _in_store(file: Remote) -> Remote | None:
    """The file if it is in an object store, which is asked with signed addresses."""
    return file if file.url is None else None


def _reachable(file: Remote) -> Remote:
    """The file as a web server has it.

    Raises:
        SceneError: If it is in an object store that nothing here can ask.
    """
    if file.url is not None:
        return file
    if not file.path.startswith("/vsis3/"):
        raise SceneError(f"{file} is read by GDAL, which gives rasters only; give its https:// address, or a copy")
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError:
        raise SceneError(
            f"{file} is no raster, and what else lies in S3 is read with boto3: pip install 'seg[s3]' (or give "
            "its https:// address)"
        ) from None
    bucket, _, key = file.path.removeprefix("/vsis3/").partition("/")
    public = os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "ON", "1")
    host = os.environ.get("AWS_S3_ENDPOINT")
    insecure = os.environ.get("AWS_HTTPS", "").upper() in ("NO", "FALSE", "OFF", "0")
    endpoint = host if not host or "://" in host else f"{'http' if insecure else 'https'}://{host}"
    try:
        payer = {"RequestPayer": who} if (who := os.environ.get("AWS_REQUEST_PAYER")) else {}
        how = Config(signature_version=UNSIGNED if public else "s3v4")
        client = boto3.client("s3", endpoint_url=endpoint, config=how)
        return Remote(
            "/vsicurl/" + client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key} | payer)
        )
    except BotoCoreError:
        raise refused(str(file), requests.codes.forbidden) from None

"""Where a file is that does not lie on this machine's disks: URLs, object stores, and GDAL's virtual paths."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

from seg.config.paths import AnyPath
from seg.errors import SceneError, WrongUseError

_SCHEMES = {"https": "/vsicurl/https://", "http": "/vsicurl/http://", "s3": "/vsis3/", "gs": "/vsigs/", "az": "/vsiaz/"}
"""What GDAL calls what lies behind each scheme."""
# A path that was made of a URL has one slash where that has two.
_URL = re.compile(rf"(?P<scheme>{'|'.join(_SCHEMES)}):/{{1,2}}(?P<rest>.+)", re.IGNORECASE | re.DOTALL)
_OTHER = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://.*", re.IGNORECASE | re.DOTALL)
_AS_IT_IS = "!#$%&'()*+,/:;=?@[]~"
"""What addresses of web servers hold beside letters and digits of ASCII; everything else is encoded."""
_ON_DISK = ("/vsizip/", "/vsitar/", "/vsigzip/", "/vsisubfile/")
_ZIP = "/vsizip/{"
_OPTIONS = {
    # Beside a file of a web server nothing can be listed, and every try costs a request.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
}


@dataclass(frozen=True, slots=True)
class Remote:
    """A file that lies elsewhere.

    Attributes:
        path: As GDAL opens it; may hold a signature, so it is for no eye: `str` leaves that out.
    """

    path: str

    def __str__(self) -> str:
        return shown_remote(self.path)

    @property
    def name(self) -> str:
        """Its name in its folder."""
        return PurePosixPath(unquote(str(self))).name

    @property
    def stem(self) -> str:
        """The same without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Its ending, with the dot."""
        return PurePosixPath(self.name).suffix

    @property
    def url(self) -> str | None:
        """Where a web server has it; None for object stores and what lies within another file."""
        return self.path.removeprefix("/vsicurl/") if self.path.startswith("/vsicurl/http") else None


Place = Path | Remote
"""A file or folder, wherever it is."""


def place_of(given: AnyPath | Remote) -> Place:
    """What somebody has named: a path of this machine's, or a file elsewhere.

    Raises:
        SceneError: If it is an address of a kind that nothing here reads.
    """
    if isinstance(given, Remote):
        return given
    text = os.fspath(given)
    if found := _URL.fullmatch(text):
        scheme = found["scheme"].lower()
        return Remote(_SCHEMES[scheme] + (encoded(found["rest"]) if scheme.startswith("http") else found["rest"]))
    if text.lower().startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    if other := _OTHER.fullmatch(text):
        raise SceneError(
            f"addresses that begin with {other['scheme']}:// are not read; give one that begins with "
            f"{', '.join(f'{one}://' for one in _SCHEMES)} or /vsi, or get the file and name your copy",
            wrong_use=True,
        )
    return Remote(text) if text.startswith("/vsi") else Path(given)


def is_address(text: str) -> bool:
    """Whether a text is the address of a file that is read where it lies."""
    return bool(_URL.fullmatch(text)) or text.startswith("/vsi") or text.lower().startswith("file://")


def require_here(path: AnyPath) -> None:
    """Refuse the address of a file that is read from this machine's disks alone.

    Raises:
        WrongUseError: If it is one.
    """
    if isinstance(place := place_of(path), Remote):
        raise WrongUseError(f"{place} is read from a disk of this machine only; get the file and name your copy")


def encoded(address: str) -> str:
    """An address of a web server without the spaces and letters that browsers take and GDAL does not."""
    return quote(address, safe=_AS_IT_IS)


def places_of(given: "AnyPath | Remote | Iterable[AnyPath | Remote]") -> list[Place]:
    """The same of several; one alone is a list of one."""
    alone = isinstance(given, str | os.PathLike | Remote)
    return [place_of(given)] if alone else [place_of(one) for one in given]  # type: ignore[union-attr, arg-type]


T = TypeVar("T")


def absolute(places: Iterable[T]) -> list[T]:
    """The same, with whole paths of what lies on this machine, for those who read it from another folder."""
    return [one.absolute() if isinstance(one, Path) else one for one in places]


def gdal_path(place: Place) -> str:
    """A file as GDAL opens it."""
    return place.path if isinstance(place, Remote) else str(place)


def is_remote(path: str) -> bool:
    """Whether what GDAL opens so lies elsewhere."""
    inner = path
    while found := next((each for each in _ON_DISK if inner.startswith(each)), None):
        inner = inner.removeprefix(found).lstrip("{")
    return inner.startswith("/vsi") and not inner.startswith("/vsimem/")


def shown_remote(path: str) -> str:
    """What GDAL opens, as people name it, without what signs it or tells who asks."""
    if path.startswith(_ZIP):
        archive, _, member = path.removeprefix(_ZIP).partition("}/")
        return "/".join(filter(None, (shown_remote(archive), member)))
    if path.startswith("/vsicurl?"):
        path = "/vsicurl/" + parse_qs(path.partition("?")[2]).get("url", [""])[0]
    scheme = next((each for each, prefix in _SCHEMES.items() if path.startswith(prefix)), None)
    if scheme is None:
        return path
    rest = path.removeprefix(_SCHEMES[scheme]).partition("?")[0] if scheme.startswith("http") else path
    host, slash, inside = rest.removeprefix(_SCHEMES[scheme]).partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{inside}"


def archive_of(path: str) -> Remote:
    """The file elsewhere that GDAL reads from: the zip of what lies in one."""
    inside = path.startswith(_ZIP)
    return Remote(path.removeprefix(_ZIP).partition("}/")[0] if inside else path)


def options_for(path: str) -> dict[str, str]:
    """Settings with which GDAL reads a file that lies elsewhere; those of the environment come first."""
    if not is_remote(path):
        return {}
    # What a broken answer has left behind is not looked at again.
    stated = {**_OPTIONS, "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/:/vsis3/:/vsigs/:/vsiaz/"}
    return {name: value for name, value in stated.items() if name not in os.environ}

"""Addresses that stand in catalogues: relative ones, and those that have to be signed."""

from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

from seg.catalogue.address import Place, Remote, encoded, place_of

_SIGNED_BY_GDAL = ".blob.core.windows.net"
"""Hosts of the files of Microsoft's Planetary Computer, which gives signatures to everybody."""


def joined(base: Place, href: str) -> Place:
    """What an address in a file means.

    Args:
        base: The file.
        href: An address, whole or beginning at the folder of the file.
    """
    if isinstance(place := place_of(href), Remote):
        return place
    if isinstance(base, Path):
        return place if place.is_absolute() else base.absolute().parent / unquote(href)
    if base.url is not None:
        return Remote("/vsicurl/" + urljoin(base.url, encoded(href)))
    return base if not href else Remote(f"{base.path.rpartition('/')[0]}/{href.removeprefix('./')}")


def signed(place: Place, collection: str) -> Place:
    """A file with the signature that its host wants, if GDAL gets that by itself, and anew whenever it ends."""
    url = place.url if isinstance(place, Remote) else None
    if url is None or not (urlsplit(url).hostname or "").endswith(_SIGNED_BY_GDAL) or urlsplit(url).query:
        return place
    named = f"&pc_collection={quote(collection, safe='')}" if collection else ""
    return Remote(f"/vsicurl?pc_url_signing=yes{named}&url={quote(url, safe='')}")

"""Searching a STAC API for the scenes of a place that have the fewest clouds."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, datetime
from typing import Any

from seg.catalogue.address import Remote, place_of
from seg.catalogue.item import Item, item_of
from seg.errors import SceneError, WrongUseError

COLLECTION = "sentinel-2-l2a"
"""What Earth Search, the Planetary Computer and the Copernicus Data Space call Level-2A."""
_MOST = 500
"""Items to look at; the API gives them in an order of its own."""
_DATE = r"(?:\d{4}(?:-\d\d(?:-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?Z?)?)?)?|\.\.)"
_DATES = re.compile(rf"{_DATE}(?:/{_DATE})?")
_ADDED = 0.001
"""Part of the place that a scene has to add to those before it."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Search:
    """What is searched for.

    Attributes:
        api: Address of the STAC API.
        dates: A day, month or year, or two with a slash between, ``..`` for no end: ``2023-06/2023-08-15``.
        collection: Name of the collection.

    Raises:
        WrongUseError: If the address or the dates are none.
    """

    api: str
    dates: str
    collection: str = COLLECTION

    def __post_init__(self) -> None:
        place = place_of(self.api)
        if not isinstance(place, Remote) or place.url is None:
            raise WrongUseError(f"'{self.api}' is no address of a STAC API; give one that begins with https://")
        if (
            not _DATES.fullmatch(self.dates)
            or not all(map(_in_calendar, self.dates.split("/")))
            or self.dates in ("..", "../..")
        ):
            raise WrongUseError(
                f"'{self.dates}' is no date; give a day, a month or a year, or two with a slash between, such as "
                "2023-06-01/2023-08-31"
            )
        begin, _, end = self.dates.partition("/")
        # As far as both say: 2023-06-15/2023-06 goes to the end of June.
        if end and ".." not in (begin, end) and begin[: len(end)] > end[: len(begin)]:
            raise WrongUseError(f"'{self.dates}' ends before it begins; give the earlier date first")


def _in_calendar(date: str) -> bool:
    """Whether there is such a date, and a year after it."""
    if date == "..":
        return True
    day, _, time = date.removesuffix("Z").partition("T")
    try:
        whole = datetime.fromisoformat(f"{day}{'-01-01'[len(day) - 4 :] if len(day) < 10 else ''}")
        return whole.year < MAXYEAR and bool(not time or datetime.fromisoformat(f"{day}T{time[:8]}"))
    except ValueError:
        return False


def searched(api: str | None, collection: str | None, dates: str | None) -> Search | None:
    """A search as typed on the command line; None if none was asked for.

    Raises:
        WrongUseError: If a part of it lacks.
    """
    if api is None:
        if collection is not None or dates is not None:
            option = "--collection" if collection is not None else "--date"
            raise WrongUseError(f"{option} is of a search; name the STAC API too, with --stac-api")
        return None
    if dates is None:
        raise WrongUseError("a search needs dates; give them with --date, such as 2023-06-01/2023-08-31")
    return Search(api, dates, collection or COLLECTION)


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        items: The scenes, those with the fewest clouds first.
        looked_at: How many there were.
        covered: Share of the place that they cover, 0 to 1.
    """

    items: tuple[Item, ...]
    looked_at: int
    covered: float

    @property
    def remark(self) -> str:
        """What was found, in a sentence."""
        clouds = ", ".join(f"{one.name} ({_cloud(one):.0f} % clouds)" for one in self.items)
        lacking = f" They cover {100 * self.covered:.1f} % of the box." if self.covered < 1 - _ADDED else ""
        return f"Of {self.looked_at} scenes those with the fewest clouds are taken: {clouds}.{lacking}"


def find_scenes(search: Search, box: Box, *, alone: bool) -> Found:
    """The scenes with the fewest clouds that together cover a box.

    Args:
        search: What is searched for.
        box: West, south, east, north in degrees.
        alone: Whether one has to cover it all.

    Raises:
        SceneError: If the API does not answer, or has no such scene.
    """
    features = _asked(search, box)
    place = place_of(search.api)
    items = [item_of(one, place) for one in features]
    if not items:
        raise SceneError(
            f"{search.api} has no scene of {search.collection} in {search.dates} at "
            f"{','.join(f'{edge:g}' for edge in box)}; widen --date, or name another --collection"
        )
    chosen, covered = _fewest_clouds(items, box, alone)
    if not chosen:
        raise SceneError(
            f"none of {len(items)} scenes covers the box alone; name a folder as --out to map several, or a smaller "
            "--bbox"
        )
    return Found(tuple(chosen), len(items), covered)


def _fewest_clouds(items: Sequence[Item], box: Box, alone: bool) -> tuple[list[Item], float]:
    import shapely

    wanted = _shape(box)
    left, chosen = wanted, list[Item]()
    for item in sorted(items, key=lambda one: (_cloud(one), one.name)):
        try:
            told = shapely.geometry.shape(item.geometry) if item.geometry else _shape(item.bbox or box)
            shape = shapely.make_valid(told)
        except (AttributeError, TypeError, ValueError, shapely.errors.ShapelyError):
            raise SceneError(f"the STAC item {item.name} does not say where it lies; leave it out by --date") from None
        if alone and shape.covers(wanted):
            return [item], 1.0
        rest = left.difference(shape)
        if not alone and left.area - rest.area > _ADDED * wanted.area:
            chosen.append(item)
            left = rest
        if left.area <= _ADDED * wanted.area:
            break
    return chosen, float(1 - left.area / wanted.area)


def _shape(box: Sequence[float]) -> Any:
    """A box of STAC, of two or three dimensions; where west is more than east, it lies across 180 degrees."""
    import shapely

    half = len(box) // 2
    (west, south), (east, north) = box[:2], box[half : half + 2]
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    return shapely.union_all([shapely.box(low, south, high, north) for low, high in spans])


def _cloud(item: Item) -> float:
    """Per cent; what does not say it comes last."""
    return 100.0 if item.cloud is None or not math.isfinite(item.cloud) else item.cloud


def _asked(search: Search, box: Box) -> list[dict[str, Any]]:
    try:
        import pystac_client
        from pystac_client.errors import ClientTypeError
        from pystac_client.exceptions import APIError
        from pystac_client.warnings import DoesNotConformTo
    except ModuleNotFoundError:
        raise WrongUseError(
            "a search needs pystac-client, which is not installed; run: pip install 'seg[stac]', or name the items"
        ) from None
    import requests

    broken = (APIError, ClientTypeError, DoesNotConformTo, requests.RequestException)
    try:
        client = pystac_client.Client.open(search.api, timeout=60)
        found = client.search(collections=[search.collection], bbox=box, datetime=search.dates, max_items=_MOST)
        features = list(found.items_as_dicts())
        if not all(isinstance(one, dict) for one in features):
            raise TypeError("what it finds are no items")
        return features
    except (*broken, NotImplementedError, AttributeError, ValueError, KeyError, TypeError) as error:
        # pystac takes for granted that lists are lists.
        raise _unanswered(search.api, error) from None


def _unanswered(api: str, error: Exception) -> SceneError:
    status = getattr(error, "status_code", None)
    if status in (401, 403):
        return SceneError(f"{api} may not be searched by you ({status}); name another API, or the items")
    if status == 429 or (status or 0) >= 500:
        return SceneError(f"{api} answers {status}; try again later")
    reason = " ".join(str(error).split())[:200] or (f"it answers {status}" if status else type(error).__name__)
    return SceneError(f"{api} does not answer as a STAC API ({reason}); name its landing page")

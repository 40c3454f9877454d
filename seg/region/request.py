"""What somebody asks for who makes a reBEN of his own, checked as far as that shows before anything is read."""

from dataclasses import dataclass
from pathlib import Path

from seg.catalogue.address import Place, places_of
from seg.catalogue.item import Source, sources_of
from seg.config.paths import AnyPath, AnyPaths, path_or_none
from seg.config.wording import listed
from seg.errors import WrongUseError
from seg.reben.names import product_in
from seg.region.numbering import Numbering

EXAMPLE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
"""A name of a product."""


@dataclass(frozen=True)
class Request:
    """What a set is to be made from.

    Attributes:
        s2: Sentinel-2 L2A products: SAFE folders or zips, stacks, or folders of bands, here or elsewhere, or items of
            catalogues.
        clc: Land cover of CORINE, polygons or raster.
        s1: Sentinel-1 rasters in dB, whose names begin with that of their scene.
        column, layer: Where a vector file has its codes; None: ``Code_18`` in the only layer that has it.
        bands: Names of the bands of a stack in their order; None: its band descriptions name them.
        product: Name of the only product, where files do not tell.
        countries: Polygons of countries.
        country_column: Where they have their names.
        require_s1: Leave out patches without Sentinel-1.
        numbering: Which of CORINE's numbers the land cover has; None: what it says itself.
        offset: What is to be taken off the DN of files that do not say it themselves, 0 or 1000; None: nothing, and a
            scene that looks as if it had to be is refused.
        cloud_mask: Leave out patches that have clouds or their shadows, by the product's scene classification.
    """

    s2: tuple[Source, ...]
    clc: Path
    s1: tuple[Place, ...] = ()
    column: str | None = None
    layer: str | None = None
    bands: tuple[str, ...] | None = None
    product: str | None = None
    countries: Path | None = None
    country_column: str | None = None
    require_s1: bool = False
    numbering: Numbering | None = None
    offset: int | None = None
    cloud_mask: bool = False


def check_make(request: Request) -> None:
    """Make sure that a request makes sense, as far as that shows before anything is read.

    Raises:
        WrongUseError: If it does not.
    """
    if not request.s2:
        raise WrongUseError("name at least one Sentinel-2 product with --s2")
    if request.product is not None and len(request.s2) > 1:
        raise WrongUseError(
            "--product is for a single --s2; of several, give files or folders the names of their products"
        )
    if request.product is not None and product_in(request.product) is None:
        raise WrongUseError(f"'{request.product}' is no name of a Sentinel-2 L2A product such as {EXAMPLE}")
    if request.require_s1 and not request.s1:
        raise WrongUseError("--require-s1 leaves every patch out where no --s1 is given")
    if request.country_column is not None and request.countries is None:
        raise WrongUseError("--country-column is a column of --countries; name that file too")
    for source in request.s2:
        if request.s2.count(source) > 1:
            raise WrongUseError(f"{source} is given twice with --s2; name every product once")


def request(  # noqa: PLR0913
    s2: AnyPaths,
    clc: AnyPath,
    *,
    s1: AnyPaths = (),
    column: str | None = None,
    layer: str | None = None,
    bands: str | None = None,
    product: str | None = None,
    countries: AnyPath | None = None,
    country_column: str | None = None,
    require_s1: bool = False,
    numbering: Numbering | None = None,
    offset: int | None = None,
    cloud_mask: bool = False,
) -> Request:
    """What a set is to be made from, as typed on the command line; see `Request`.

    Args:
        s2: Products.
        clc: Land cover.
        s1: Sentinel-1 rasters.
        column, layer, product, countries, country_column, require_s1, numbering, offset, cloud_mask: As there.
        bands: Comma-separated.

    Raises:
        WrongUseError: If the request makes no sense.
        SceneError: If an item of a catalogue cannot be read.
    """
    asked = Request(
        s2=tuple(sources_of(s2)),
        clc=Path(clc),
        s1=tuple(places_of(s1)),
        column=column,
        layer=layer,
        bands=None if bands is None else tuple(listed(bands)),
        product=product,
        countries=path_or_none(countries),
        country_column=country_column,
        require_s1=require_s1,
        numbering=numbering,
        offset=offset,
        cloud_mask=cloud_mask,
    )
    check_make(asked)
    return asked

"""Writing a Sentinel-2 Level-2A product of synthetic bands: the folders, names, files and metadata of a SAFE.

It holds what a reader of bands needs, readable by GDAL's Sentinel-2 driver too: the twelve bands as lossless JPEG 2000,
each at its own resolution, and both metadata files. Source of the layout: S2-PDGS-TAS-DI-PSD 14.9, section 4.
"""

import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from xml.sax.saxutils import escape

import rasterio.shutil

from seg.reben.bands import BANDS, S2_BANDS
from seg.reben.patch import GeoRef
from seg.scenes.product_files import METADATA

OFFSET = 1000
"""Added to DN by baselines from 04.00 on."""
_LOSSLESS = {"QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": "1024", "BLOCKYSIZE": "1024"}
# Numbers of the bands in the metadata; B10 (10) is not part of Level-2A.
_IDS = dict(zip(S2_BANDS, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12), strict=True))
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every member of a zip, so that the same seed gives the same bytes."""


class ProductName:
    """What a product's folder and the files below it are called.

    Args:
        product: As reBEN names it, such as ``S2A_MSIL2A_20170613T101111_N0511_R022_T33UUP``.
        baseline: Processing baseline, such as ``05.11``.

    Attributes:
        safe: Name of the folder.
        acquired: Start of the acquisition, such as ``20170613T101111``.
        granule: Path of the granule below the folder.
        offset: What is added to DN; local runs of sen2cor (99.99) on older Level-1C add nothing.
    """

    def __init__(self, product: str, baseline: str) -> None:
        self.product, self.baseline = product, baseline
        _, _, self.acquired, _, _, self._tile = product.split("_")
        self.safe = f"{product}_{self.acquired[:8]}T235959.SAFE"
        self.granule = f"GRANULE/L2A_{self._tile}_A012345_{self.acquired}"
        self.offset = OFFSET if 4 <= float(baseline) < 99 else 0

    def band(self, band: str) -> str:
        """Path of a band below the folder."""
        metres = BANDS[band].pixel_size
        return f"{self.granule}/IMG_DATA/R{metres}m/{self._tile}_{self.acquired}_{band}_{metres}m.jp2"


def write_product(folder: Path, name: ProductName, staged: Mapping[str, Path], grid: GeoRef) -> Path:
    """Write a product.

    Args:
        folder: Where its SAFE folder is made.
        name: Of the product.
        staged: A raster of stored DN per Sentinel-2 band, offset included.
        grid: The 10 m grid.

    Returns:
        The SAFE folder.
    """
    safe = folder / name.safe
    for band in S2_BANDS:
        path = safe / name.band(band)
        path.parent.mkdir(parents=True, exist_ok=True)
        rasterio.shutil.copy(staged[band], path, driver="JP2OpenJPEG", **_LOSSLESS)
    (safe / METADATA).write_text(_product_metadata(name), encoding="utf-8")
    (safe / name.granule / "MTD_TL.xml").write_text(_tile_metadata(name, grid), encoding="utf-8")
    return safe


def zip_product(safe: Path) -> Path:
    """Put a SAFE folder into a zip beside it, as it is delivered; the folder stays.

    Returns:
        The zip.
    """
    target = safe.with_name(f"{safe.name}.zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(safe.rglob("*")):
            if path.is_file():
                member = zipfile.ZipInfo(f"{safe.name}/{path.relative_to(safe).as_posix()}", _EPOCH)
                with path.open("rb") as source, archive.open(member, "w", force_zip64=True) as packed:
                    while part := source.read(1 << 20):
                        packed.write(part)
    return target


def _product_metadata(name: ProductName) -> str:
    images = "\n".join(f"<IMAGE_FILE>{name.band(band).removesuffix('.jp2')}</IMAGE_FILE>" for band in S2_BANDS)
    offsets = "\n".join(f'<BOA_ADD_OFFSET band_id="{i}">{-name.offset}</BOA_ADD_OFFSET>' for i in range(13))
    if name.offset:
        offsets = f"<BOA_ADD_OFFSET_VALUES_LIST>\n{offsets}\n</BOA_ADD_OFFSET_VALUES_LIST>\n"
    spectral = "\n".join(
        f'<Spectral_Information bandId="{i}" physicalBand="{band.replace("B0", "B")}">'
        f"<RESOLUTION>{BANDS[band].pixel_size}</RESOLUTION></Spectral_Information>"
        for band, i in _IDS.items()
    )
    time = f"{datetime.strptime(name.acquired, '%Y%m%dT%H%M%S'):%Y-%m-%dT%H:%M:%S}.000Z"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- SYNTHETIC: simulated by seg; nothing in this product was observed. -->
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
<n1:General_Info>
<Product_Info>
<PRODUCT_START_TIME>{time}</PRODUCT_START_TIME>
<PRODUCT_STOP_TIME>{time}</PRODUCT_STOP_TIME>
<PRODUCT_URI>{escape(name.safe)}</PRODUCT_URI>
<PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
<PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
<PROCESSING_BASELINE>{name.baseline}</PROCESSING_BASELINE>
<GENERATION_TIME>{time}</GENERATION_TIME>
<Datatake><SPACECRAFT_NAME>Sentinel-{name.product[1:3]}</SPACECRAFT_NAME></Datatake>
<Query_Options completeSingleTile="true"><PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT></Query_Options>
<Product_Organisation><Granule_List><Granule datastripIdentifier="SYNTHETIC" imageFormat="JPEG2000">
{images}
</Granule></Granule_List></Product_Organisation>
</Product_Info>
<Product_Image_Characteristics>
<Special_Values>
<SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
</Special_Values>
<Special_Values>
<SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
</Special_Values>
<QUANTIFICATION_VALUES_LIST>
<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
</QUANTIFICATION_VALUES_LIST>
{offsets if name.offset else ""}<Spectral_Information_List>
{spectral}
</Spectral_Information_List>
</Product_Image_Characteristics>
</n1:General_Info>
</n1:Level-2A_User_Product>
"""


def _tile_metadata(name: ProductName, grid: GeoRef) -> str:
    zone = f"{grid.epsg % 100}{'N' if grid.epsg < 32700 else 'S'}"
    places = "".join(
        f'<Size resolution="{m}"><NROWS>{grid.height * 10 // m}</NROWS><NCOLS>{grid.width * 10 // m}</NCOLS></Size>\n'
        f'<Geoposition resolution="{m}"><ULX>{grid.x_min:.0f}</ULX><ULY>{grid.y_max:.0f}</ULY><XDIM>{m}</XDIM>'
        f"<YDIM>-{m}</YDIM></Geoposition>\n"
        for m in (10, 20, 60)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- SYNTHETIC: simulated by seg; nothing in this product was observed. -->
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
<n1:General_Info><TILE_ID>{name.product}_SYNTHETIC</TILE_ID></n1:General_Info>
<n1:Geometric_Info><Tile_Geocoding metadataLevel="Brief">
<HORIZONTAL_CS_NAME>WGS84 / UTM zone {zone}</HORIZONTAL_CS_NAME>
<HORIZONTAL_CS_CODE>EPSG:{grid.epsg}</HORIZONTAL_CS_CODE>
{places}</Tile_Geocoding></n1:Geometric_Info>
</n1:Level-2A_Tile_ID>
"""

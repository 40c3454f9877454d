"""Where scenes have data: masks, alpha bands and fills in every form, against how they were made and rasterio."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.shutil
from click.testing import CliRunner
from commands import run_printed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio._env import get_gdal_config
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.rio.main import main_group
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

from seg.errors import SceneError
from seg.rasters.blocks import AT_EDGES, EVERYWHERE, blocks_over
from seg.rasters.fill import without_fills
from seg.rasters.header import read_header
from seg.rasters.layer import Layer, tagged_layer
from seg.rasters.sample import look
from seg.reben.bands import BANDS, S1_BANDS, S2_BANDS
from seg.scenes.grid import Window
from seg.scenes.open import open_scene, open_sentinel1
from seg.scenes.reader import Scene, cache_bytes
from seg.synthetic.scene import synthesise_scene

Array = npt.NDArray[Any]
RGB = ("B02", "B03", "B04")
SIZE, CUT = 240, 60
ALL = Window(0, 0, SIZE, SIZE)
PLACE = Affine(10, 0, 300_000, 0, -10, 5_300_040)
CRS = "EPSG:32633"
HUGE = 3.4028234663852886e38


def numbers(bands: int = 3, size: int = SIZE, seed: int = 0) -> Array:
    """DN of land: fields of 300 m with noise, float64 (band, row, column)."""
    random = np.random.default_rng(seed)
    fields = random.integers(150, 2500, (bands, size // 30, size // 30))
    return np.clip(np.kron(fields, np.ones((1, 30, 30))) + random.normal(0, 30, (bands, size, size)), 1, 9000)


def decibels(size: int = SIZE, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    return np.stack([random.normal(mean, 3, (size, size)) for mean in (-12, -19)]).astype(np.float32)


def inside(size: int = SIZE) -> npt.NDArray[np.bool_]:
    """Where there is data: not in the west, nor in a hole."""
    inside_HW = np.ones((size, size), bool)
    inside_HW[:, :CUT] = False
    inside_HW[100:130, 150:200] = False
    return inside_HW


def holed(images: Array, fill: float) -> Array:
    return np.where(inside(images.shape[-1]), images, np.asarray(fill, images.dtype))


def write(
    path: Path, images: Array, names: Sequence[str] | None = RGB, transform: Affine = PLACE, crs: str = CRS, **more: Any
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": images.shape[0], "height": images.shape[1], "width": images.shape[2]}
    driver = {"driver": "GTiff", "dtype": images.dtype, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", **(driver | shape | more)) as file:
        file.write(images)
        for index, name in enumerate(names or (), 1):
            file.set_band_description(index, name)
    return path


def masked(path: Path, internal: bool) -> Path:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as file:
        file.write_mask(inside())
    return path


def read(scene: Scene) -> tuple[dict[str, Array], npt.NDArray[np.bool_]]:
    window = Window(0, 0, scene.grid.width, scene.grid.height)
    with scene.open() as reader:
        return reader.read(window, scene.bands), reader.valid(window)


def expect(scene: Scene, images: Array, inside_HW: npt.NDArray[np.bool_]) -> None:
    """The scene has these values inside, and nothing elsewhere."""
    arrays, valid_HW = read(scene)
    assert np.array_equal(valid_HW, inside_HW)
    for band, image in zip(scene.bands, images, strict=True):
        if BANDS[band].sensor == "s1":
            assert np.isnan(arrays[band][~inside_HW]).all()
            assert np.allclose(arrays[band][inside_HW], image[inside_HW], atol=1e-3)
        else:
            assert (arrays[band][~inside_HW] == 0).all()
            assert np.array_equal(arrays[band][inside_HW], np.rint(image[inside_HW]))


# --- masks and alpha bands, in every form -----------------------------------------------------------------------------


def internal_mask(path: Path, images: Array) -> Path:
    return masked(write(path, images), internal=True)


def mask_beside(path: Path, images: Array) -> Path:
    masked(write(path, images), internal=False)
    assert path.with_name(f"{path.name}.msk").is_file()
    return path


def mask_and_nodata(path: Path, images: Array) -> Path:
    """The mask has the hole, the nodata value the west: GDAL knows only the first of the file."""
    images = images.copy()
    images[:, :, :CUT] = 7
    write(path, images, nodata=7)
    whole_west = inside()
    whole_west[:, :CUT] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(whole_west)
    return path


def alpha(**more: Any) -> Callable[[Path, Array], Path]:
    def made(path: Path, images: Array) -> Path:
        opaque = more.pop("opaque", 65535)
        band = np.where(inside(), opaque, 0).astype(images.dtype)[None]
        return write(path, np.concatenate([images, band]), [*RGB, more.pop("name", "")], **more)

    return made


def feathered_alpha(path: Path, images: Array) -> Path:
    band = np.where(inside(), 65535, 0).astype(images.dtype)
    band[50:60, CUT] = 20_000
    return write(path, np.concatenate([images, band[None]]), [*RGB, ""], photometric="RGB", alpha="unspecified")


def alpha_and_nodata(path: Path, images: Array) -> Path:
    """Where a nodata value is declared, GDAL lets the alpha band go."""
    images = images.copy()
    images[:, :, :CUT] = 9
    band = np.where(inside(), 255, 0).astype(images.dtype)
    band[:, :CUT] = 255
    return write(path, np.concatenate([images, band[None]]), [*RGB, ""], photometric="RGB", alpha="yes", nodata=9)


def data_mask_that_ends(nodata: float) -> Callable[[Path, Array], Path]:
    """As of a stack with a mask that was warped: the mask is filled as all bands are, which here hold something."""

    def made(path: Path, images: Array) -> Path:
        band = np.where(inside(), 1, nodata)[None]
        stored = np.concatenate([images, band]).astype(np.float32 if np.isnan(nodata) else np.int16)
        return write(path, stored, [*RGB, "dataMask"], nodata=nodata)

    return made


def tiled_with_overviews(path: Path, images: Array) -> Path:
    plain = masked(write(path.with_name("plain.tif"), images), internal=True)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        rasterio.shutil.copy(plain, path, driver="COG", BLOCKSIZE=128, OVERVIEWS="IGNORE_EXISTING", COMPRESS="DEFLATE")
    with rasterio.open(path) as file:
        assert file.overviews(1)
        assert file.mask_flag_enums[0] == [MaskFlags.per_dataset]
    return path


def vrt(path: Path, images: Array, mask: str = "", bands: Sequence[str] = ("", "", "")) -> Path:
    source = write(path.with_suffix(".tif"), images)
    with rasterio.open(write(path.with_name("mask.tif"), inside()[None].astype(np.uint8) * 255, None)):
        pass
    inner = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{index}"><Description>{name}</Description>{bands[index - 1]}'
        f"<SimpleSource><SourceFilename>{source}</SourceFilename><SourceBand>{index}</SourceBand></SimpleSource>"
        "</VRTRasterBand>"
        for index, name in enumerate(RGB, 1)
    )
    place = ", ".join(map(str, PLACE.to_gdal()))
    path = path.with_suffix(".vrt")
    path.write_text(
        f'<VRTDataset rasterXSize="{SIZE}" rasterYSize="{SIZE}"><SRS>{CRS}</SRS><GeoTransform>{place}</GeoTransform>'
        f"{inner}{mask}</VRTDataset>"
    )
    return path


def _mask_of(path: Path) -> str:
    source = f"<SimpleSource><SourceFilename>{path.with_name('mask.tif')}</SourceFilename></SimpleSource>"
    return f'<MaskBand><VRTRasterBand dataType="Byte">{source}</VRTRasterBand></MaskBand>'


def vrt_mask(path: Path, images: Array) -> Path:
    return vrt(path, images, _mask_of(path))


def vrt_mask_of_one_band(path: Path, images: Array) -> Path:
    made = vrt(path, images, bands=("", _mask_of(path), ""))
    with rasterio.open(made) as file:
        assert file.mask_flag_enums == ([MaskFlags.all_valid], [], [MaskFlags.all_valid])
    return made


def vrt_nodata_of_each_band(path: Path, images: Array) -> Path:
    values = (7, 65535, 3)
    images = np.stack([holed(image, value) for image, value in zip(images, values, strict=True)])
    return vrt(path, images, bands=[f"<NoDataValue>{value}</NoDataValue>" for value in values])


def values_of_all_bands(path: Path, images: Array) -> Path:
    """No data is where all bands have their value at once; each of them alone is a measurement."""
    images = np.stack([holed(image, value) for image, value in zip(images, (11, 12, 13), strict=True)])
    images[0, 5, 100] = 11
    write(path, images)
    with rasterio.open(path, "r+") as file:
        file.update_tags(NODATA_VALUES="11 12 13")
    return path


FORMS: dict[str, Callable[[Path, Array], Path]] = {
    "mask in the file": internal_mask,
    "mask beside the file": mask_beside,
    "mask and nodata": mask_and_nodata,
    "mask of a COG with overviews": tiled_with_overviews,
    "mask of a VRT": vrt_mask,
    "mask of one band of a VRT": vrt_mask_of_one_band,
    "nodata of each band of a VRT": vrt_nodata_of_each_band,
    "values of all bands at once": values_of_all_bands,
    "alpha": alpha(photometric="RGB", alpha="yes"),
    "alpha of 8 bits": alpha(photometric="RGB", alpha="yes", opaque=255),
    "alpha in a file without colours": alpha(alpha="yes"),
    "unspecified alpha": alpha(photometric="RGB", alpha="unspecified"),
    "unspecified alpha of 8 bits": alpha(photometric="RGB", alpha="unspecified", opaque=255),
    "unnamed last band": alpha(),
    "feathered alpha": feathered_alpha,
    "named alpha": alpha(name="Alpha", opaque=1),
    "Sentinel Hub's data mask": alpha(name="dataMask", opaque=1),
    "alpha and nodata": alpha_and_nodata,
    **{f"data mask that is {value:g} where it ends": data_mask_that_ends(value) for value in (np.nan, -1, -9999)},
}


@pytest.mark.parametrize("form", FORMS)
def test_masks_and_alpha_bands(form: str, tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    scene = open_scene(FORMS[form](tmp_path / "a.tif", images), needed=RGB)
    if form == "values of all bands at once":
        images[0, 5, 100] = 11
    if form == "mask of one band of a VRT":
        arrays, valid_HW = read(scene)
        assert np.array_equal(valid_HW, inside())
        for band, image in zip(RGB, images, strict=True):
            assert np.array_equal(arrays[band], np.where(inside() | (band != "B03"), image, 0))
    else:
        expect(scene, images, inside())
    with scene.open() as reader:
        part = Window(48, 96, 160, 50)
        assert np.array_equal(reader.valid(part), inside()[96:146, 48:208])
        layer = scene.layers["B03"]
        sampled = look([layer])[0].sample(layer)
    assert np.isclose(sampled.valid, inside().mean(), atol=1e-4)


def test_a_band_that_is_taken_for_a_mask_is_named(tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    said = {form: open_scene(FORMS[form](tmp_path / form / "a.tif", images), needed=RGB).remarks for form in FORMS}
    (remark,) = said["unnamed last band"]
    assert "Band 4 of" in remark
    assert "its mask" in remark
    assert "B03 on 72 %" in said.pop("mask of one band of a VRT")[0]
    assert {form for form, remarks in said.items() if remarks} == {
        "alpha in a file without colours", "unspecified alpha", "unspecified alpha of 8 bits", "unnamed last band",
        "feathered alpha", "named alpha", "Sentinel Hub's data mask", *(form for form in FORMS if "it ends" in form),
    }  # fmt: skip


def test_bands_are_no_alpha_because_they_are_coloured_or_last(tmp_path: Path) -> None:
    """GDAL's writer colours the second of several grey bands; only what it holds or is called decides."""
    images = numbers(4).astype(np.uint16)
    path = write(tmp_path / "a.tif", images, [*RGB, "B08"], alpha="yes")
    with rasterio.open(path) as file:
        assert file.colorinterp[1] == ColorInterp.alpha
    expect(open_scene(path, needed=(*RGB, "B08")), images, np.ones((SIZE, SIZE), bool))
    unnamed = write(tmp_path / "b.tif", images, [*RGB, ""])
    expect(open_scene(unnamed, needed=RGB), images[:3], np.ones((SIZE, SIZE), bool))
    two = write(tmp_path / "c.tif", decibels(), None, alpha="yes")
    with rasterio.open(two) as file:
        assert MaskFlags.alpha in file.mask_flag_enums[0] or file.colorinterp[1] == ColorInterp.alpha
    expect(open_scene(two, needed=S1_BANDS), decibels(), np.ones((SIZE, SIZE), bool))


def test_zero_and_one_might_be_clouds(tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    path = alpha(opaque=1)(tmp_path / "a file.tif", images)
    with pytest.raises(SceneError, match="holds 0 and 1 alone") as error:
        open_scene(path, needed=RGB)
    run_printed(str(error.value), tmp_path)
    expect(open_scene(path, needed=RGB), images, inside())
    again = alpha(opaque=1)(tmp_path / "b.tif", images)
    expect(open_scene(again, needed=RGB, bands=(*RGB, "-")), images, np.ones((SIZE, SIZE), bool))


@pytest.mark.parametrize("opaque", [1, 100, 254, 10_000])
@pytest.mark.parametrize("described", ["", "x"])
def test_a_band_whose_colour_is_alpha_is_believed(opaque: int, described: str, tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    path = alpha(photometric="RGB", alpha="yes", opaque=opaque, name=described)(tmp_path / "a.tif", images)
    with rasterio.open(path) as file:
        assert file.colorinterp[3] == ColorInterp.alpha
    scene = open_scene(path, needed=RGB)
    assert scene.remarks == ()
    expect(scene, images, inside())


@pytest.mark.parametrize("opaque", [1, 100, 255])
@pytest.mark.parametrize("name", ["mask", "nodata_mask", "Nodata Mask"])
def test_a_band_that_is_called_a_mask(name: str, opaque: int, tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    scene = open_scene(alpha(name=name, opaque=opaque)(tmp_path / "a.tif", images), needed=RGB)
    expect(scene, images, inside())
    assert "Band 4 of" in scene.remarks[0]
    # Mostly 0, it may as well be 1 where there are no data.
    few = np.where(inside(), 0, opaque).astype(np.uint16)[None]
    path = write(tmp_path / "b.tif", np.concatenate([images, few]), [*RGB, name])
    with pytest.raises(SceneError, match=f"is called a mask and holds 0 and {opaque} alone; if it is {opaque} where"):
        open_scene(path, needed=RGB)
    expect(open_scene(path, needed=RGB, bands=(*RGB, "-")), images, np.ones((SIZE, SIZE), bool))


@pytest.mark.parametrize(("name", "opaque"), [("QA", 1), ("cloud_mask", 100), ("", 100), ("clm", 255)])
def test_two_values_in_a_band_that_is_not_used_are_told(name: str, opaque: int, tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    path = alpha(name=name, opaque=opaque)(tmp_path / "a.tif", images)
    scene = open_scene(path, needed=RGB)
    (remark,) = scene.remarks
    assert f"holds 0 and {opaque} alone and is not used" in remark
    expect(scene, images, np.ones((SIZE, SIZE), bool))
    assert open_scene(path, needed=RGB, bands=(*RGB, "-")).remarks == ()
    run_printed(remark, tmp_path)
    expect(open_scene(path, needed=RGB), images, inside())


@pytest.mark.parametrize("name", ["SCL", "QA", "B08", "mask"])
def test_more_values_are_no_mask(name: str, tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    classes = np.random.default_rng(0).integers(0, 12, (1, SIZE, SIZE)).astype(np.uint16)
    scene = open_scene(write(tmp_path / "a.tif", np.concatenate([images, classes]), [*RGB, name]), needed=RGB)
    assert scene.remarks == ()
    expect(scene, images, np.ones((SIZE, SIZE), bool))


def rio(*arguments: str) -> None:
    """Rasterio's own program, without a process for it."""
    done = CliRunner().invoke(main_group, arguments)
    assert done.exit_code == 0, done.output


def test_alpha_beside_a_single_band(tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    opaque = np.where(inside(), 65535, 0).astype(np.uint16)
    for band, image in zip(RGB, images, strict=True):
        write(tmp_path / "x" / f"a_{band}.tif", np.stack([image, opaque]), None, alpha="yes")
    expect(open_scene(tmp_path / "x", needed=RGB), images, inside())
    write(tmp_path / "x" / "a_B02.tif", np.stack([images[0], images[1]]), None)
    with pytest.raises(SceneError, match="holds 2 bands"):
        open_scene(tmp_path / "x", needed=RGB)


def test_coarse_bands_have_masks_of_their_own(tmp_path: Path) -> None:
    fine, coarse = numbers(1)[0].astype(np.uint16), numbers(1, 240, seed=1)[0, ::6, ::6].astype(np.uint16)
    write(tmp_path / "x" / "B02.tif", fine[None], None)
    path = write(tmp_path / "x" / "B01.tif", coarse[None], None, transform=PLACE * Affine.scale(6))
    held = np.ones(coarse.shape, bool)
    held[:, :5] = False
    with rasterio.open(path, "r+") as file:
        file.write_mask(held)
    arrays, valid_HW = read(open_scene(tmp_path / "x", needed=("B01", "B02")))
    assert np.array_equal(arrays["B01"] != 0, held)
    assert np.array_equal(valid_HW, held.repeat(6, 0).repeat(6, 1))
    assert (arrays["B02"] == fine).all()


def test_what_says_where_data_are_is_part_of_the_identity(tmp_path: Path) -> None:
    path = mask_beside(tmp_path / "a.tif", numbers().astype(np.uint16))
    before = open_scene(path, needed=RGB).identity
    assert open_scene(path, needed=RGB).identity == before
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(np.ones((SIZE, SIZE), bool))
    assert open_scene(path, needed=RGB).identity != before


def test_masks_are_read_only_where_there_are_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = numbers().astype(np.uint16)
    plain = open_scene(write(tmp_path / "a.tif", images, nodata=0), needed=RGB)
    with_mask = open_scene(masked(write(tmp_path / "b.tif", images), internal=True), needed=RGB)
    assert not any(layer.masked for layer in plain.layers.values())
    with with_mask.open() as reader, rasterio.Env():
        assert get_gdal_config("GDAL_CACHEMAX") == cache_bytes(with_mask)
        reader.read(ALL, RGB)
    wide = {
        band: replace(layer, header=replace(layer.header, width=10_980, block=(1024, 1024)))
        for band, layer in with_mask.layers.items()
    }
    bare = {band: replace(layer, header=replace(layer.header, masked=frozenset())) for band, layer in wide.items()}
    assert cache_bytes(replace(with_mask, layers=wide)) == 1.5 * cache_bytes(replace(with_mask, layers=bare))


# --- declared values --------------------------------------------------------------------------------------------------


def test_zero_is_a_value_where_another_is_declared(tmp_path: Path) -> None:
    for nodata, dtype in ((65535, np.uint16), (-9999, np.int16), (-32768, np.int32), (np.nan, np.float32)):
        images = holed(numbers().astype(dtype), nodata)
        images[:, 200:210, 100:120] = 0
        scene = open_scene(write(tmp_path / "a.tif", images, nodata=nodata), needed=RGB)
        expect(scene, np.where(images == 0, 1, images), inside())
        (remark,) = scene.remarks
        assert "exactly 0" in remark
        assert "taken as measured" in remark
    db = holed(decibels(), -9999)
    db[:, 200:210, 100:120] = 0
    expect(open_scene(write(tmp_path / "s1.tif", db, S1_BANDS, nodata=-9999), needed=S1_BANDS), db, inside())


def test_zeros_at_the_edge_are_told_where_they_are_values(tmp_path: Path) -> None:
    images = numbers().astype(np.uint16)
    images[:, :, :CUT] = 0
    path = write(tmp_path / "a b.tif", images, nodata=65535)
    scene = open_scene(path, needed=RGB)
    assert read(scene)[1].all()
    (remark,) = scene.remarks
    assert "25 % of the pixels looked at are exactly 0" in remark
    run_printed(remark, tmp_path)
    assert read(open_scene(path, needed=RGB))[1].mean() == 0.75


def test_values_that_the_type_cannot_hold_declare_nothing(tmp_path: Path) -> None:
    images = holed(numbers().astype(np.uint16), 0)
    expect(open_scene(write(tmp_path / "a.tif", images, nodata=0.5), needed=RGB), images, inside())
    path = vrt(tmp_path / "b.tif", images, bands=["<NoDataValue>-9999</NoDataValue>"] * 3)
    expect(open_scene(path, needed=RGB), images, inside())


@pytest.mark.parametrize("declared", ["-3.4028234663852886e+38", "-3.40282346638529e+38", "-3.402823e38", "-9999.9"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_declared_values_that_were_rounded(tmp_path: Path, declared: str, dtype: type) -> None:
    """Single precision in the file, another number of digits in the tag."""
    stored = np.float32(-9999.9) if declared == "-9999.9" else np.float32(-HUGE)
    images = np.where(inside(), numbers(), np.float64(stored)).astype(dtype)
    path = write(tmp_path / "a.tif", images)
    rio("edit-info", "--nodata", declared, str(path))
    expect(open_scene(path, needed=RGB), numbers().astype(dtype), inside())


@pytest.mark.parametrize("scale", [0.0, float("nan")])
def test_scales_that_leave_nothing(tmp_path: Path, scale: float) -> None:
    path = write(tmp_path / "a.tif", numbers().astype(np.uint16))
    with rasterio.open(path, "r+") as file:
        file.scales = [scale] * 3
    with pytest.raises(SceneError, match="leave nothing of its values"):
        open_scene(path, needed=RGB)


def test_nodata_is_compared_as_it_is_stored(tmp_path: Path) -> None:
    """In the band's unit the fill is a reflectance that there may be, and a measurement is the fill's number."""
    stored = np.rint(numbers() / 2).astype(np.int16)
    stored[:, 5, 100] = 2000
    images = holed(stored, 1000)
    path = write(tmp_path / "a.tif", images, nodata=1000)
    with rasterio.open(path, "r+") as file:
        file.scales = [2e-4] * 3
    expected = inside() & (stored != 1000).all(0)
    arrays, valid_HW = read(open_scene(path, needed=RGB))
    assert np.array_equal(valid_HW, expected)
    for band, image, own in zip(RGB, images, stored, strict=True):
        assert np.array_equal(arrays[band], np.where(image == 1000, 0, 2 * own))


@pytest.mark.parametrize("dtype", ["uint32", "int32", "int64", "uint64", "float64", "int16"])
def test_every_type_of_number(tmp_path: Path, dtype: str) -> None:
    images = holed(numbers().astype(dtype), 0)
    expect(open_scene(write(tmp_path / "a.tif", images), needed=RGB), images, inside())
    tenths = holed(np.rint(decibels() * 100).astype(np.int16 if dtype[0] == "u" else dtype), 0)
    path = write(tmp_path / "s1.tif", tenths, S1_BANDS)
    with rasterio.open(path, "r+") as file:
        file.scales = [0.01] * 2
    expect(open_scene(path, needed=S1_BANDS), tenths / 100, inside() & (tenths != 0).all(0))


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    for needed, images in ((RGB, numbers()), (S1_BANDS, decibels())):
        path = write(tmp_path / "a.tif", images.astype(np.complex64), needed)
        with pytest.raises(SceneError, match=f"complex numbers for {needed[0]}"):
            open_scene(path, needed=needed)


# --- bands without any data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("needed", "band", "dtype", "fill", "nodata"),
    [
        (RGB, 0, np.float32, np.nan, np.nan), (RGB, 2, np.uint16, 0, 0), (RGB, 1, np.uint16, 0, None),
        (RGB, 1, np.int16, -9999, None), (RGB, 1, np.float32, HUGE, None), (RGB, 0, np.uint16, 65535, 65535),
        (RGB, 0, np.float32, np.inf, None), (RGB, 0, np.uint16, 65535, None),
        (S1_BANDS, 1, np.float32, np.nan, None), (S1_BANDS, 0, np.float32, -9999, None),
        (S1_BANDS, 0, np.float32, 0, None), (S1_BANDS, 1, np.float32, -np.inf, -np.inf),
    ],
)  # fmt: skip
def test_a_band_without_data_is_named(
    tmp_path: Path, needed: tuple[str, ...], band: int, dtype: type, fill: float, nodata: float | None
) -> None:
    images = (numbers() if needed == RGB else decibels()).astype(dtype)
    images[band] = fill
    path = write(tmp_path / "a.tif", images, needed, nodata=nodata)
    with pytest.raises(SceneError, match=f"holds no data in {needed[band]}: every pixel"):
        open_scene(path, needed=needed)
    others = [name for name in needed if name != needed[band]]
    assert read(open_scene(path, needed=others))[1].all()
    with pytest.raises(SceneError, match=r"holds no data: every pixel"):
        open_scene(path, needed=[needed[band]])


def test_a_mask_that_leaves_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbers().astype(np.uint16))
    with rasterio.open(path, "r+") as file:
        file.write_mask(False)
    with pytest.raises(SceneError, match=r"holds no data: every pixel"):
        open_scene(path, needed=RGB)


# --- fills that are not declared --------------------------------------------------------------------------------------

S2_FILLS = [
    ("int16", -9999), ("int16", -10_000), ("int16", -32_768), ("int16", -1), ("int16", -999), ("int16", 32_767),
    ("int32", -2_147_483_648), ("int32", -9999), ("int32", -99_999), ("uint16", 65_535), ("uint16", 55_537),
    ("uint16", 9999), ("uint32", 4_294_967_295), ("uint32", 65_535), ("float32", -9999), ("float32", HUGE),
    ("float32", -HUGE), ("float32", 9.969209968386869e36), ("float32", 1e20), ("float32", -9999.900390625),
    ("float64", -1.7976931348623157e308), ("float32", 65_535), ("float32", -1), ("float32", 1e32),
]  # fmt: skip
S1_FILLS = [0, -9999, -32_768, -999, -99, -1, 255, 9999, HUGE, -HUGE, 9.969209968386869e36, 1e20, -9999.900390625]


@pytest.mark.parametrize(("dtype", "fill"), S2_FILLS)
def test_undeclared_fills_of_sentinel_2(tmp_path: Path, dtype: str, fill: float) -> None:
    images = numbers().astype(dtype)
    scene = open_scene(write(tmp_path / "a.tif", holed(images, fill)), needed=RGB)
    expect(scene, images, inside())
    (remark,) = scene.remarks
    assert "not declared as nodata" in remark
    assert "(B02, B03, B04)" in remark
    assert f"{100 * (1 - inside().mean()):.2g} %" in remark


@pytest.mark.parametrize("fill", S1_FILLS)
def test_undeclared_fills_of_sentinel_1(tmp_path: Path, fill: float) -> None:
    images = decibels()
    scene = open_scene(write(tmp_path / "a.tif", holed(images, fill), S1_BANDS), needed=S1_BANDS)
    expect(scene, images, inside())
    assert len(scene.remarks) == 1


def test_fills_of_scaled_integers(tmp_path: Path) -> None:
    stored = np.rint(decibels() * 100).astype(np.int16)
    path = write(tmp_path / "s1.tif", holed(stored, -32_768), S1_BANDS)
    with rasterio.open(path, "r+") as file:
        file.scales = [0.01] * 2
    expect(open_scene(path, needed=S1_BANDS), stored / 100, inside() & (stored != 0).all(0))
    stored = numbers().astype(np.int16)
    path = write(tmp_path / "s2.tif", holed(stored, -9999))
    with rasterio.open(path, "r+") as file:
        file.scales = [1e-4] * 3
    expect(open_scene(path, needed=RGB), stored, inside())


def test_a_fill_other_than_the_declared_value(tmp_path: Path) -> None:
    """NaN is declared, and something else was written; both are no data."""
    images = holed(numbers().astype(np.float32), -9999)
    images[:, :10] = np.nan
    expected = inside()
    expected[:10] = False
    scene = open_scene(write(tmp_path / "a.tif", images, nodata=np.nan), needed=RGB)
    expect(scene, images, expected)
    assert len(scene.remarks) == 1


def test_two_fills_at_once(tmp_path: Path) -> None:
    images = holed(numbers().astype(np.int16), -9999)
    images[:, :30] = -32_768
    expected = inside()
    expected[:30] = False
    scene = open_scene(write(tmp_path / "a.tif", images), needed=RGB)
    expect(scene, images, expected)
    assert len(scene.remarks) == 2


def test_single_pixels_of_a_value_that_cannot_be(tmp_path: Path) -> None:
    images = numbers().astype(np.float32)
    images[:, 20, 30] = -9999
    images[:, 21, 90] = HUGE
    expected = np.ones((SIZE, SIZE), bool)
    expected[20, 30] = expected[21, 90] = False
    scene = open_scene(write(tmp_path / "a.tif", images), needed=RGB)
    expect(scene, images, expected)
    assert len(scene.remarks) == 2


@pytest.mark.parametrize(
    ("fill", "images", "needed"),
    [
        (12_345, numbers().astype(np.uint16), RGB), (8000, numbers().astype(np.float32), RGB),
        (-15.5, decibels(), S1_BANDS), (50, decibels(), S1_BANDS), (7.25, decibels(), S1_BANDS),
    ],
)  # fmt: skip
def test_values_that_may_be_either_are_asked_about(
    tmp_path: Path, fill: float, images: Array, needed: tuple[str, ...]
) -> None:
    path = write(tmp_path / "a b.tif", holed(images, fill), needed)
    with pytest.raises(SceneError, match="if nothing was measured there, say so") as error:
        open_scene(path, needed=needed)
    run_printed(str(error.value), tmp_path)
    scene = open_scene(path, needed=needed)
    expect(scene, images, inside())
    assert scene.remarks == ()


# --- what is measured stays -------------------------------------------------------------------------------------------


def nothing_said(path: Path, needed: Sequence[str], **more: Any) -> Scene:
    layers = open_scene(path, needed=needed, **more).layers.values()
    checked, remarks = without_fills(look(list(layers)))
    assert remarks == []
    assert not any(layer.fills for layer in checked)
    return open_scene(path, needed=needed, **more)


def test_clipped_and_saturated_data_stay(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    clouds = np.clip(numbers() + 14_000 * (np.kron(random.random((8, 8)), np.ones((30, 30))) - 0.2), 1, 10_000)
    for dtype in (np.uint16, np.float32):
        scene = nothing_said(write(tmp_path / "a.tif", clouds.astype(dtype)), RGB)
        assert (clouds == 10_000).mean() > 0.01
        assert read(scene)[1].all()
    sharp = numbers().astype(np.uint16)
    sharp[:, :100] = 10_000
    assert read(nothing_said(write(tmp_path / "d.tif", sharp), RGB))[1].all()
    dark = np.clip(numbers() - 1200, 1, None)
    assert (dark == 1).mean() > 0.3
    assert read(nothing_said(write(tmp_path / "b.tif", dark.astype(np.uint16)), RGB))[1].all()
    negative = np.rint(numbers() - 300).astype(np.int16)
    negative[negative == 0] = 1
    assert read(nothing_said(write(tmp_path / "c.tif", negative), RGB))[1].all()
    for low, high in ((-20, 0), (-30, -12)):
        clipped = np.clip(decibels(), low, high - 0.001)
        assert read(nothing_said(write(tmp_path / "s1.tif", clipped, S1_BANDS), S1_BANDS))[1].all()


def test_uniform_land_and_bright_targets_stay(tmp_path: Path) -> None:
    flat = np.full((3, SIZE, SIZE), 700, np.uint16)
    flat[:, :90] = 1500
    assert read(nothing_said(write(tmp_path / "a.tif", flat), RGB))[1].all()
    bright = numbers().astype(np.uint16)
    bright[:, 40, 50], bright[:, 0, 0] = 65_535, 28_000
    assert read(nothing_said(write(tmp_path / "b.tif", bright), RGB))[1].all()
    ships = decibels()
    ships[:, 70:73, 80:83] = 25.0
    assert read(nothing_said(write(tmp_path / "s1.tif", ships, S1_BANDS), S1_BANDS))[1].all()


def test_repeated_pixels_of_coarse_bands_are_no_blocks(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).integers(1, 20_000, (3, SIZE // 6, SIZE // 6)).astype(np.uint16)
    images = coarse.repeat(6, 1).repeat(6, 2)
    assert read(nothing_said(write(tmp_path / "a.tif", images), RGB))[1].all()


def test_real_patches_have_no_fills(real: Path) -> None:
    looked = 0
    for path in sorted(real.rglob("*_B02.tif"))[:30]:
        layers = [tagged_layer(band, read_header(str(path).replace("_B02.tif", f"_{band}.tif"))) for band in S2_BANDS
                  if Path(str(path).replace("_B02.tif", f"_{band}.tif")).is_file()]  # fmt: skip
        checked, remarks = without_fills(look(layers))
        assert remarks == []
        assert checked == layers
        looked += len(layers)
    for path in sorted(real.rglob("*_V[VH].tif"))[:30]:
        layer = tagged_layer(path.stem[-2:], read_header(str(path)))
        assert without_fills(look([layer])) == ([layer], [])
        looked += 1
    assert looked > 50


@pytest.mark.parametrize("seed", range(4))
def test_synthetic_scenes_have_no_fills(tmp_path: Path, seed: int) -> None:
    made = synthesise_scene(tmp_path / "out", SIZE, seed=seed)
    assert open_scene(made.stack, needed=list(BANDS), s1=made.s1).remarks == ()
    assert open_scene(made.product, needed=S2_BANDS).remarks == ()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fill=st.sampled_from([-9999, -10_000, -32_768]),
    box=st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(1, 200), st.integers(1, 200)),
    seed=st.integers(0, 99),
)
def test_fills_of_any_shape(tmp_path: Path, fill: int, box: tuple[int, int, int, int], seed: int) -> None:
    images = numbers(1, seed=seed).astype(np.int16)
    top, left, height, width = box
    expected = np.ones((SIZE, SIZE), bool)
    expected[top : top + height, left : left + width] = False
    if not expected.any():
        return
    images[0][~expected] = fill
    scene = open_scene(write(tmp_path / "a.tif", images, ["B02"]), needed=["B02"])
    expect(scene, images, expected)
    assert len(scene.remarks) == 1


# --- large rasters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [(256, 256), (512, 512), (1024, 1024), (1, 10_980), (64, 10_980), (10_980, 10_980)])
def test_what_is_looked_at_stays_bounded(block: tuple[int, int]) -> None:
    header = read_header_like(10_980, block)
    pixels, windows = 0, []
    for window in blocks_over(header):
        if pixels >= AT_EDGES + EVERYWHERE:
            break
        windows.append(window)
        pixels += window.width * window.height
    assert pixels <= max(14 << 20, block[0] * block[1])
    seen_HW = np.zeros((10_980, 10_980), bool)
    for window in windows:
        assert not seen_HW[window.toslices()].any()
        seen_HW[window.toslices()] = True
    assert seen_HW[0, 0]
    assert seen_HW[0, -1]
    assert seen_HW[-1, 0]
    assert seen_HW[-1, -1]
    assert all(edge.mean() > 0.05 for edge in (seen_HW[0], seen_HW[-1], seen_HW[:, 0], seen_HW[:, -1]))


def read_header_like(size: int, block: tuple[int, int]) -> Any:
    from seg.rasters.header import Header

    return Header("", None, PLACE, size, size, (), (), (), (), (), block)


def test_a_slanting_swath_edge_of_a_large_raster(tmp_path: Path) -> None:
    size = 3000
    images = np.random.default_rng(0).integers(300, 3000, (1, size, size)).astype(np.int16)
    rows, columns = np.mgrid[:size, :size]
    outside = columns + 4 * rows < 1200
    images[0][outside] = -10_000
    path = write(tmp_path / "a.tif", images, ["B02"], tiled=True, blockxsize=256, blockysize=256)
    scene = open_scene(path, needed=["B02"])
    assert np.array_equal(read(scene)[1], ~outside)
    assert len(scene.remarks) == 1


# --- Sentinel-1 that is warped ----------------------------------------------------------------------------------------

SHIFTED = Affine(10, 0, 300_003.7, 0, -10, 5_300_036.2)


@contextmanager
def optical(tmp_path: Path) -> Iterator[Path]:
    yield write(tmp_path / "s2.tif", numbers(1).astype(np.uint16), ["B02"])


def as_gdal_warps(images: Array) -> Array:
    """Bilinear, of what has NaN where it has no data."""
    out = np.full_like(images, np.nan)
    for source, target in zip(images, out, strict=True):
        reproject(
            source, target, src_transform=SHIFTED, src_crs=CRS, dst_transform=PLACE, dst_crs=CRS, src_nodata=np.nan,
            dst_nodata=np.nan, resampling=Resampling.bilinear, tolerance=0, XSCALE=1, YSCALE=1,
        )  # fmt: skip
    return out


def s1_masked(path: Path, images: Array) -> Path:
    return masked(write(path, images, S1_BANDS, SHIFTED), internal=True)


def s1_mask_beside(path: Path, images: Array) -> Path:
    return masked(write(path, images, S1_BANDS, SHIFTED), internal=False)


def s1_alpha(path: Path, images: Array) -> Path:
    band = np.where(inside(), 255, 0).astype(np.float32)[None]
    return write(path, np.concatenate([images, band]), [*S1_BANDS, ""], SHIFTED)


def s1_unnamed_alpha(path: Path, images: Array) -> Path:
    band = np.where(inside(), 255, 0).astype(np.float32)[None]
    return write(path, np.concatenate([images, band]), None, SHIFTED)


def s1_filled(fill: float, nodata: float | None = None) -> Callable[[Path, Array], Path]:
    return lambda path, images: write(path, holed(images, fill), S1_BANDS, SHIFTED, nodata=nodata)


def s1_two_fills(path: Path, images: Array) -> Path:
    filled = holed(images, -9999)
    filled[0, 100:130, 150:200] = -32_768
    return write(path, filled, S1_BANDS, SHIFTED)


def s1_with_angles(path: Path, images: Array) -> Path:
    angles = np.full((1, SIZE, SIZE), 38.5, np.float32)
    return write(path, np.concatenate([holed(images, 0), angles]), [*S1_BANDS, "angle"], SHIFTED)


def s1_mask_and_fill(path: Path, images: Array) -> Path:
    """The mask has only the west."""
    filled = holed(images, -9999)
    write(path, filled, S1_BANDS, SHIFTED)
    west = np.ones((SIZE, SIZE), bool)
    west[:, :CUT] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(west)
    return path


WARPED = {
    "mask": s1_masked, "mask beside": s1_mask_beside, "alpha": s1_alpha, "unnamed alpha": s1_unnamed_alpha,
    "-9999": s1_filled(-9999), "huge": s1_filled(-HUGE), "-1": s1_filled(-1), "0": s1_filled(0),
    "two": s1_two_fills, "mask and fill": s1_mask_and_fill, "declared": s1_filled(-9999, -9999),
    "other declared": s1_filled(-9999, np.nan), "netcdf": s1_filled(9.969209968386869e36),
    "angles": s1_with_angles,
}  # fmt: skip


@pytest.mark.parametrize("form", WARPED)
def test_nothing_bleeds_into_warped_sentinel_1(form: str, tmp_path: Path) -> None:
    images = decibels()
    path = WARPED[form](tmp_path / "s & 1.tif", images)
    expected = as_gdal_warps(holed(images, np.nan))
    with optical(tmp_path) as s2:
        scene = open_scene(s2, needed=("B02", *S1_BANDS), s1=path)
        alone = open_sentinel1([path], scene.grid)
        assert alone is not None
        for each in (scene, alone):
            arrays, valid_HW = read(each)
            for band, image in zip(S1_BANDS, expected, strict=True):
                assert np.array_equal(np.isnan(arrays[band]), np.isnan(image))
                assert np.allclose(arrays[band], image, atol=0.02, equal_nan=True)
            assert np.array_equal(valid_HW, np.isfinite(expected).all(0))
        assert 0.4 < np.isfinite(expected[1]).mean() < 0.75
        assert scene.remarks == alone.remarks


@pytest.mark.parametrize(("fill", "nodata"), [(-9999, -9999), (-9999, None), (0, None), (np.nan, np.nan), (0, 0)])
def test_holes_of_one_polarisation_do_not_bleed(tmp_path: Path, fill: float, nodata: float | None) -> None:
    images = decibels()
    path = write(tmp_path / "a.tif", np.stack([images[0], holed(images[1], fill)]), S1_BANDS, SHIFTED, nodata=nodata)
    expected = as_gdal_warps(np.stack([images[0], holed(images[1], np.nan)]))
    with optical(tmp_path) as s2:
        arrays, _ = read(open_scene(s2, needed=("B02", *S1_BANDS), s1=path))
    assert np.allclose(arrays["VV"], expected[0], atol=0.02, equal_nan=True)
    held = np.isfinite(arrays["VH"])
    assert np.allclose(arrays["VH"][held], expected[1][held], atol=0.02)
    # At the edge of a hole a pixel may be left out that could be had of the pixels on one side.
    assert np.isfinite(expected[1]).sum() - held.sum() < 4 * SIZE


def test_windows_of_warped_sentinel_1_with_a_mask_are_those_of_the_whole(tmp_path: Path) -> None:
    path = s1_mask_and_fill(tmp_path / "s1.tif", decibels())
    with optical(tmp_path) as s2:
        scene = open_scene(s2, needed=("B02", *S1_BANDS), s1=path)
    whole, _ = read(scene)
    with scene.open() as reader:
        for left, top, width, height in ((50, 90, 100, 60), (3, 5, 7, 200), (140, 95, 70, 40)):
            arrays = reader.read(Window(left, top, width, height), S1_BANDS)
            for band in S1_BANDS:
                part = whole[band][top : top + height, left : left + width]
                assert np.array_equal(arrays[band], part, equal_nan=True)


def test_vh_that_is_coloured_as_alpha_is_vh(tmp_path: Path) -> None:
    images = decibels()
    path = write(tmp_path / "s1.tif", images, S1_BANDS, SHIFTED)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
    expected = as_gdal_warps(images)
    with optical(tmp_path) as s2:
        arrays, _ = read(open_scene(s2, needed=("B02", *S1_BANDS), s1=path))
    for band, image in zip(S1_BANDS, expected, strict=True):
        assert np.allclose(arrays[band], image, atol=0.02, equal_nan=True)


def test_present_is_decoded(tmp_path: Path) -> None:
    """A sample takes what a reader has, whatever the type is."""
    random = np.random.default_rng(0)
    for dtype in ("uint16", "int16", "float32", "float64", "int32"):
        stored = random.integers(-20 if dtype != "uint16" else 0, 20, (64, 64)).astype(dtype)
        layer = Layer("B02", read_header(str(write(tmp_path / "a.tif", stored[None], None, nodata=7))), fills=(3.0,))
        mask = random.random(stored.shape) < 0.5
        assert np.array_equal(layer.present(stored, mask), mask & ~np.isin(stored, (3, 7)))
        assert np.array_equal(layer.decode(stored, mask) != 0, layer.present(stored, mask))

"""What ``seg score`` refuses: by name and number, before it is decoded, and never by running what is in a file."""

import json
import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import torch
from predicted import CONTAINERS, Made, folder_of, hdf5
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine
from rasterio.windows import Window
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from seg.errors import EvidenceError, PredictionError, WrongUseError
from seg.maps.geotiff import write_probabilities
from seg.predictions.folder import read_file
from seg.predictions.numbering import read_numbering
from seg.reben.classes import CLASS_NAMES
from seg.reben.patch import PatchId

Change = Callable[[Made, Path], None]


def file_of(made: Made, folder: Path, number: int = 0) -> Path:
    return next(folder.rglob(f"{made.ids[number]}*"))


def renamed(name: str) -> Change:
    return lambda made, folder: file_of(made, folder).rename(folder / name) and None


def twice(made: Made, folder: Path) -> None:
    np.save(folder / f"{made.ids[0]}_map.npy", made.masks[0])


def foreign(made: Made, folder: Path) -> None:
    train = made.store.index.patch_ids.filter(pa.array(made.store.index.splits == 0))[0]
    np.save(folder / f"{train}.npy", made.masks[0])


def unknown(made: Made, folder: Path) -> None:
    np.save(folder / "S2A_MSIL2A_20170101T101031_N9999_R022_T33UUP_26_57.npy", made.masks[0])


def instead(values: Callable[[np.ndarray], np.ndarray], patches: int = 2) -> Change:
    def change(made: Made, folder: Path) -> None:
        for number in range(patches):
            np.save(file_of(made, folder, number), values(made.masks[number]))

    return change


def at(value: float, where: Any, dtype: str = "float32") -> Callable[[np.ndarray], np.ndarray]:
    def put(values: np.ndarray) -> np.ndarray:
        values = values.astype(dtype)
        values[where] = value
        return values

    return put


class Bomb:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


def pickled(made: Made, folder: Path) -> None:
    np.save(file_of(made, folder), np.array([Bomb()], dtype=object), allow_pickle=True)


def colours(made: Made, folder: Path) -> None:
    file_of(made, folder).unlink()
    cv2.imwrite(str(folder / f"{made.ids[0]}.png"), np.zeros((120, 120, 3), np.uint8))


def cut_off(made: Made, folder: Path) -> None:
    path = file_of(made, folder)
    path.write_bytes(path.read_bytes()[:3000])


def enormous(made: Made, folder: Path) -> None:
    """A picture of 400 million pixels, which is small on the disk."""
    file_of(made, folder).unlink()
    cv2.imwrite(
        str(folder / f"{made.ids[0]}.png"), np.zeros((20_000, 20_000), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )


def one_name(made: Made, folder: Path) -> None:
    """A folder for each of two patches, with files of one name."""
    for number in range(2):
        file_of(made, folder, number).unlink()
        (folder / made.ids[number]).mkdir()
        np.save(folder / made.ids[number] / "mask.npy", made.masks[number])


def linked(made: Made, folder: Path) -> None:
    """A file that is a link out of the folder, and a folder that is one."""
    file = file_of(made, folder)
    elsewhere = folder.parent / ".elsewhere"
    elsewhere.mkdir()
    file.symlink_to(file.rename(elsewhere / file.name))
    (folder / "more").symlink_to(elsewhere)


ONE = r"1 cannot be scored \(S2"
TWO = r"2 cannot be scored \(S2\w+, S2\w+\): it"
FOLDER = {
    "misnamed": (renamed("meadow.npy"), r"1 name \(meadow\) is of no patch"),
    "none": (renamed("S2A_MSIL2A_20170113T101031_N9999_R022_T33UUP_26_99.npy"), "1 name .* is of no patch"),
    "doubled": (twice, r"S2\w+_map.npy are of one patch|are of one patch"),
    "foreign": (foreign, r"1 patch \(S2\w+\) is of the train split"),
    "unknown": (unknown, r"1 patch \(S2\w+\) is not in this store; name the one that they are of with --data"),
    "one name": (one_name, r"2 names \(S2\w+/mask.npy, mask\) are of no patch"),
    "linked": (linked, r"2 links lead out of it or nowhere \(\S+\), and none is followed; copy there"),
    "missing": (lambda made, folder: file_of(made, folder).unlink(), r"1 patch \(S2\w+\) is missing"),
    "size": (instead(lambda values: values[:60]), f"{TWO} is 60 x 120, and a patch has 120 x 120 pixels"),
    "NaN": (instead(at(np.nan, (3, 3))), f"{TWO} holds NaN"),
    "fractions": (instead(at(1.5, (3, 3))), f"{TWO} holds fractions"),
    "beyond": (
        instead(at(19, (3, 3), "int16")),
        f"{TWO} holds the number 19, which means nothing in 'reben' .* subtract 1 if",
    ),
    "far beyond": (instead(at(2**40, (3, 3), "int64")), f"{TWO} holds the number 2147483647"),
    "negative": (instead(at(-1, (3, 3), "int16")), f"{TWO} holds the number -1, which means nothing"),
    "words": (instead(lambda values: values.astype("U2")), f"{TWO} is of dtype <U2"),
    "abstained": (instead(at(255, ..., "uint8")), rf"{TWO} has no class \(255\) at pixels that are labelled"),
    "pickled": (pickled, f"{ONE}.*holds Python objects"),
    "colours": (colours, f"{ONE}.*has 3 bands"),
    "cut off": (cut_off, f"{ONE}.*cut off"),
    "enormous": (enormous, f"{ONE}.*is 20000 x 20000, and a patch has 120 x 120 pixels"),
}


@pytest.mark.parametrize("kind", FOLDER)
def test_a_folder_with_what_cannot_be_scored(kind: str, made: Made, scored: Any, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    change, sentence = FOLDER[kind]
    folder = folder_of("npy", made, tmp_path / "maps")
    change(made, folder)
    with pytest.raises(EvidenceError, match=sentence):
        scored(folder)
    left = sorted(path.name for path in tmp_path.iterdir() if path.name != ".elsewhere")
    assert left == ["maps"], "something was left or run"


def test_what_is_nothing_where_nothing_is_labelled_is_no_fault(made: Made, scored: Any, tmp_path: Path):
    masks = made.masks.copy()
    masks[made.truth == 255] = 255
    np.savez(tmp_path / "a.npz", ids=np.array(made.ids), masks=masks)
    assert (made.truth == 255).any()
    assert scored(tmp_path / "a.npz").scores.pixel.support.sum() == (made.truth != 255).sum()


PLACES = {
    "shifted": (lambda g: (Affine(10, 0, g.x_min + 10, 0, -10, g.y_max), g.epsg), "does not lie where its patch does"),
    "flipped": (lambda g: (Affine(10, 0, g.x_min, 0, 10, g.y_max - 1200), g.epsg), "does not lie where its patch does"),
    "coarse": (lambda g: (Affine(20, 0, g.x_min, 0, -20, g.y_max), g.epsg), "does not lie where its patch does"),
    "no code": (lambda g: (Affine(*g.transform), "+proj=tmerc +lon_0=9 +k=0.5 +units=m"), "is in another CRS, and its"),
    "no code of metres": (lambda g: (Affine(*g.transform), "+proj=laea +lat_0=52 +lon_0=11"), "is in another CRS"),
    "zone": (lambda g: (Affine(*g.transform), 32601), "is in EPSG:32601, and its patch in EPSG:"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_map_that_lies_elsewhere(kind: str, made: Made, scored: Any, tmp_path: Path):
    folder = folder_of("tif", made, tmp_path / "maps")
    where, sentence = PLACES[kind]
    transform, epsg = where(PatchId.parse(made.ids[0]).georef)
    profile = {"driver": "GTiff", "width": 120, "height": 120, "count": 1, "dtype": "uint8"}
    crs = epsg if isinstance(epsg, str) else f"EPSG:{epsg}"
    with rasterio.open(file_of(made, folder), "w", **profile, crs=crs, transform=transform) as dataset:
        dataset.write(made.masks[0], 1)
    with pytest.raises(EvidenceError, match=f"{ONE}.*{sentence}"):
        scored(folder)


def test_a_zone_without_its_code_is_that_zone(made: Made, tmp_path: Path):
    patch = PatchId.parse(made.ids[0])
    crs = f"EPSG:{patch.georef.epsg}+5773"  # with heights
    profile = {"driver": "GTiff", "width": 120, "height": 120, "count": 1, "dtype": "uint8"}
    place = {"crs": crs, "transform": Affine(*patch.georef.transform)}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, **place) as dataset:
        dataset.write(made.masks[0], 1)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.crs.to_epsg() is None
    found = read_file(tmp_path / "a.tif", patch, read_numbering("reben"), is_map=True)
    assert (found.values_HW == made.masks[0]).all()


@pytest.mark.parametrize("mosaic", [False, True])
def test_the_mask_of_a_raster_says_where_there_is_nothing(mosaic: bool, made: Made, scored: Any, tmp_path: Path):
    patch = PatchId.parse(made.ids[0])
    assert (made.truth[0, :60] != 255).any()
    folder = tmp_path / "maps"
    folder.mkdir()
    profile = {"driver": "GTiff", "width": 120, "height": 120, "count": 1, "dtype": "uint8"}
    place = {"crs": f"EPSG:{patch.georef.epsg}", "transform": Affine(*patch.georef.transform)}
    valid = np.zeros((120, 120), bool)
    valid[60:] = True
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(folder / ("map.tif" if mosaic else f"{patch}.tif"), "w", **profile, **place) as dataset,
    ):
        dataset.write(made.masks[0], 1)
        dataset.write_mask(valid)
    with pytest.raises(EvidenceError, match=f"{ONE}.*has no class at pixels that are labelled"):
        scored(folder, partial=True)


@pytest.mark.parametrize("mosaic", [False, True])
@pytest.mark.parametrize("blocks", [{}, {"tiled": True, "blockxsize": 32, "blockysize": 32}])
def test_blocks_that_were_never_written_hold_nothing(
    mosaic: bool, blocks: dict[str, Any], made: Made, scored: Any, tmp_path: Path
):
    """As a job leaves them that stopped half way; GDAL gives zeros."""
    patch = PatchId.parse(made.ids[0])
    folder = tmp_path / "maps"
    folder.mkdir()
    profile = {"driver": "GTiff", "width": 120, "height": 120, "count": 1, "dtype": "uint8", "SPARSE_OK": True}
    place = {"crs": f"EPSG:{patch.georef.epsg}", "transform": Affine(*patch.georef.transform)}
    path = folder / ("map.tif" if mosaic else f"{patch}.tif")
    for rows in (64, 120):
        with rasterio.open(path, "w", **profile, **place, **blocks) as dataset:
            dataset.write(made.masks[0, :rows] % 18 + 1, 1, window=Window(0, 0, 120, rows))
        if rows == 120:
            assert scored(folder, partial=True, out=tmp_path / "whole").scores.patches == 1
        else:
            with pytest.raises(EvidenceError, match=f"{ONE}.*has no class at pixels that are labelled"):
                scored(folder, partial=True)


def test_a_virtual_raster_that_leaves_pixels_out_says_so(made: Made, scored: Any, tmp_path: Path):
    patch = PatchId.parse(made.ids[0])
    folder = folder_of("tif", made, tmp_path / "maps")
    west, north = patch.georef.x_min, patch.georef.y_max
    text = (
        f"<VRTDataset rasterXSize='120' rasterYSize='120'><SRS>EPSG:{patch.georef.epsg}</SRS>"
        f"<GeoTransform>{west}, 10, 0, {north}, 0, -10</GeoTransform><VRTRasterBand dataType='Byte' band='1'>NODATA"
        f"<ComplexSource><SourceFilename relativeToVRT='0'>{file_of(made, folder)}</SourceFilename>"
        "<SourceBand>1</SourceBand><SrcRect xOff='0' yOff='0' xSize='120' ySize='120'/>"
        "<DstRect xOff='0' yOff='0' xSize='120' ySize='120'/><NODATA>255</NODATA></ComplexSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    (tmp_path / "a.vrt").write_text(text.replace(">NODATA<", "><"))
    with pytest.raises(EvidenceError, match="leaves out pixels of its sources and says no nodata of its own"):
        scored(tmp_path / "a.vrt", partial=True)
    (tmp_path / "a.vrt").write_text(text.replace(">NODATA<", "><NoDataValue>255</NoDataValue><"))
    assert scored(tmp_path / "a.vrt", partial=True).scores.patches >= 1


@pytest.mark.parametrize("mosaic", [False, True])
@pytest.mark.parametrize(("scale", "offset"), [(2, 0), (1, 1)])
def test_numbers_of_classes_are_not_scaled(
    mosaic: bool, scale: float, offset: float, made: Made, scored: Any, tmp_path: Path
):
    folder = folder_of("tif", made, tmp_path / "maps")
    path = file_of(made, folder)
    if mosaic:
        alone = tmp_path / "mosaic"
        alone.mkdir()
        folder, path = alone, path.rename(alone / "map.tif")
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = [scale], [offset]
    with pytest.raises(EvidenceError, match=f"{ONE}.*says scale {scale} and offset {offset} of its numbers"):
        scored(folder, partial=True)


def test_a_map_with_ground_control_points_lies_nowhere(made: Made, scored: Any, tmp_path: Path):
    folder = folder_of("tif", made, tmp_path / "maps")
    profile = {"driver": "GTiff", "width": 120, "height": 120, "count": 1, "dtype": "uint8"}
    points = [GroundControlPoint(row, column, column / 100, row / 100) for row in (0, 120) for column in (0, 120)]
    with rasterio.open(file_of(made, folder), "w", **profile, gcps=points, crs="EPSG:4326") as dataset:
        dataset.write(made.masks[0], 1)
    with pytest.raises(EvidenceError, match=f"{ONE}.*has ground control points instead of a grid"):
        scored(folder)


@pytest.mark.parametrize("mosaic", [False, True])
def test_a_file_of_several_pages_is_no_map(mosaic: bool, made: Made, scored: Any, tmp_path: Path):
    folder = tmp_path / "maps"
    folder.mkdir()
    path = folder / ("map.tif" if mosaic else f"{made.ids[0]}.tif")
    for page in (0, 1):
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=120,
            height=120,
            count=1,
            dtype="uint8",
            **({"APPEND_SUBDATASET": "YES"} if page else {}),
            crs="EPSG:32633",
            transform=Affine(10, 0, 0, 0, -10, 0),
        ) as dataset:
            dataset.write(made.masks[page], 1)
    with pytest.raises(EvidenceError, match="has 2 pages; write one map into a file"):
        scored(folder, partial=True)


def test_files_that_are_named_by_no_patch_are_counted(made: Made, scored: Any, tmp_path: Path):
    folder = folder_of("png", made, tmp_path / "maps")
    for path in list(folder.rglob("*.png")):
        path.rename(path.with_name(f"{path.stem}_leftImg8bit.png"))
    with pytest.raises(
        EvidenceError, match=rf"none of {len(made.ids)} files is named by a patch, such as S2\w+_left.*_pred"
    ):
        scored(folder)


def test_a_folder_may_be_called_anything(made: Made, scored: Any, tmp_path: Path):
    """What `seg export` calls so holds what it made of other maps."""
    folder = folder_of("npy", made, tmp_path / "maps")
    flat = tmp_path / "x_warped"
    flat.mkdir()
    for path in folder.rglob("*.npy"):
        path.rename(flat / path.name)
    assert scored(flat).scores.patches == len(made.ids)


def test_a_virtual_raster_of_virtual_rasters_is_not_read(made: Made, scored: Any, tmp_path: Path):
    (tmp_path / "map.vrt").write_text(
        "<VRTDataset><VRTRasterBand><SimpleSource><SourceFilename relativeToVRT='1'>warped/a.vrt</SourceFilename>"
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(EvidenceError, match="which is a virtual raster itself; give the folder of the rasters"):
        scored(tmp_path / "map.vrt")


@pytest.mark.parametrize("mark", ["<VRTDataset", "GIF89a"])
def test_a_virtual_raster_stands_for_what_begins_as_an_image(mark: str, scored: Any, tmp_path: Path):
    """GDAL goes by what a file holds: one that is called otherwise would be read, with all it names."""
    (tmp_path / "a.tif").write_text(f"{mark}><SourceFilename>/vsicurl/http://127.0.0.1:9/a.tif</SourceFilename>")
    (tmp_path / "map.vrt").write_text(
        "<VRTDataset><VRTRasterBand><SimpleSource><SourceFilename relativeToVRT='1'>a.tif</SourceFilename>"
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(EvidenceError, match=r"stands for a\.tif, which is no image file on this machine"):
        scored(tmp_path / "map.vrt")


SHARES = {
    "logits": (lambda made: made.logits.numpy(), "are not from 0 to 1; apply softmax"),
    "sigmoids": (lambda made: made.logits.sigmoid().numpy(), "do not add up to 1; apply softmax"),
    "doubled": (lambda made: made.shares * 2, "add up to about 2: divide them by that"),
    "halved": (lambda made: made.shares / 2, "do not add up to 1; those of a pixel add up to about 0.5: divide them"),
    "percent": (lambda made: made.shares * 100, "add up to about 100: divide them by that"),
    "coarse": (lambda made: made.shares * 1.06 // 0.01 / 100, "add up to nearly 1, as of rounded numbers: divide them"),
    "NaN": (lambda made: np.where(made.shares > 0.5, np.nan, made.shares), "holds NaN"),
    "bytes": (lambda made: np.rint(made.shares * 250).astype(np.uint8), "uint8 without a scale"),
    "none": (lambda made: made.shares * 0, "has no class at pixels that are labelled"),
}


@pytest.mark.parametrize("kind", SHARES)
def test_probabilities_that_are_none(kind: str, made: Made, scored: Any, tmp_path: Path):
    change, sentence = SHARES[kind]
    few = made.ids[:2]
    np.savez(tmp_path / "a.npz", ids=np.array(few), probabilities=change(made)[:2])
    with pytest.raises(EvidenceError, match=sentence):
        scored(tmp_path / "a.npz", partial=True)


BANDS = {
    "floats": (lambda shares: shares, 1.0, 0.0, ""),
    "fractions of 250": (lambda shares: np.rint(shares * 250).astype(np.uint8), 1 / 250, 0.0, ""),
    "scaled floats": (lambda shares: shares * 100, 0.01, 0.0, ""),
    "bytes": (lambda shares: np.rint(shares * 250).astype(np.uint8), 1.0, 0.0, "uint8 without a scale"),
    "offset": (lambda shares: shares, 1.0, 0.5, "with offsets"),
    "NaN": (lambda shares: np.where(shares > 0.5, np.nan, shares), 1.0, 0.0, "holds NaN"),
    "logits": (np.log, 1.0, 0.0, "apply softmax to logits"),
    "doubled": (lambda shares: shares * 2, 1.0, 0.0, "add up to about 2: divide"),
}


@pytest.mark.parametrize("kind", BANDS)
def test_bands_of_a_geotiff(kind: str, made: Made, tmp_path: Path):
    change, scale, offset, sentence = BANDS[kind]
    patch, bands = PatchId.parse(made.ids[0]), change(made.shares[0])
    profile = {"driver": "GTiff", "width": 120, "height": 120, "count": 19, "dtype": bands.dtype}
    place = {"crs": f"EPSG:{patch.georef.epsg}", "transform": Affine(*patch.georef.transform)}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, **place) as dataset:
        dataset.write(bands)
        dataset.scales, dataset.offsets = [scale] * 19, [offset] * 19

    def read() -> Any:
        return read_file(tmp_path / "a.tif", patch, read_numbering("reben"), is_map=False)

    if sentence:
        with pytest.raises(PredictionError, match=sentence):
            read()
    else:
        np.testing.assert_allclose(read().shares_KHW, made.shares[0], atol=1 / 499)


def test_maps_and_probabilities_that_contradict_each_other(made: Made, scored: Any, tmp_path: Path):
    arrays = {"ids": np.array(made.ids[:2]), "probabilities": made.shares[:2]}
    np.savez(tmp_path / "a.npz", masks=made.masks[1::-1], **arrays)
    with pytest.raises(EvidenceError, match=r"2 cannot be scored.*not of the most probable classes"):
        scored(tmp_path / "a.npz", partial=True)
    with pytest.raises(WrongUseError, match="'clc' does not number the bands of probabilities"):
        scored(tmp_path / "a.npz", partial=True, classes="clc")


def test_bands_that_are_named_in_another_order(made: Made, scored: Any, tmp_path: Path):
    patch = PatchId.parse(made.ids[0])
    (tmp_path / "maps").mkdir()
    write_probabilities(tmp_path / f"maps/{patch}_probs.tif", made.shares[0], patch.georef)
    with pytest.raises(EvidenceError, match="names its bands in another order than that of 'alphabetical'"):
        scored(tmp_path / "maps", partial=True, classes="alphabetical")


# Files of arrays


def archive(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


def npy(array: np.ndarray, **how: Any) -> bytes:
    stream = BytesIO()
    np.save(stream, array, **how)
    return stream.getvalue()


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def ids(made: Made) -> np.ndarray:
    return np.array(made.ids)


ARCHIVES: dict[str, tuple[Callable[[Made, Path], None], str]] = {
    "doubled": (
        lambda made, path: np.savez(path, ids=np.r_[ids(made), ids(made)[:1]], masks=np.r_[made.masks, made.masks[:1]]),
        r"1 ids are there more than once, such as S2",
    ),
    "too few": (
        lambda made, path: np.savez(path, ids=ids(made), masks=made.masks[1:]),
        r"masks is \d+ x 120 x 120, and",
    ),
    "other size": (
        lambda made, path: np.savez(path, ids=ids(made), masks=made.masks[:, :60]),
        r"masks is \d+ x 60 x 120",
    ),
    "no masks": (lambda made, path: np.savez(path, ids=ids(made)), "has ids, and neither masks nor probabilities"),
    "no ids": (lambda made, path: np.savez(path, masks=made.masks), "has masks, and ids is missing"),
    "other names": (
        lambda made, path: np.savez(path, names=ids(made), preds=made.masks),
        "a.npz has names, preds, which seg does not know; name the arrays ids and masks or probabilities",
    ),
    "numbers": (
        lambda made, path: np.savez(path, ids=np.arange(3), masks=made.masks[:3]),
        "ids is int64, and ids are text",
    ),
    "pickled ids": (
        lambda made, path: np.savez(path, ids=np.array([Bomb()], dtype=object), masks=made.masks[:1]),
        "ids holds pickled Python objects",
    ),
    "pickled": (
        lambda made, path: np.savez(path, ids=ids(made), masks=np.array([Bomb()], dtype=object)),
        "masks holds pickled Python objects",
    ),
    "empty": (lambda made, path: np.savez(path), "holds no arrays"),
    "no array": (lambda made, path: archive(path, {"a.txt": b"a"}), "holds a.txt, which is no array"),
    "other header": (
        lambda made, path: archive(path, {"ids.npy": npy(ids(made)), "masks.npy": header((len(made.ids), 120, 120))}),
        "masks is not as large as its header says",
    ),
    "bomb": (
        lambda made, path: archive(path, {"ids.npy": header((1 << 25,), "<U20") + bytes(1 << 20), "masks.npy": b""}),
        "ids is not as large as its header says",
    ),
    "bomb of ids": (
        lambda made, path: archive(path, {"ids.npy": header((1 << 24,), "<U5") + bytes(20 << 24), "masks.npy": b""}),
        "ids is far larger than ids of patches",
    ),
    "bomb by patch": (
        lambda made, path: archive(path, {f"{made.ids[0]}.npy": header((1 << 27,)) + bytes(1 << 27)}),
        "is 134217728, and a patch has 120 x 120",
    ),
    "cut off": (
        lambda made, path: path.write_bytes(npz_bytes(made)[:-2000]) and None,
        "cannot be read: it is cut off or damaged",
    ),
    "fortran": (lambda made, path: np.savez(path, ids=ids(made), masks=np.asfortranarray(made.masks)), "Fortran order"),
    "words": (
        lambda made, path: np.savez(path, ids=ids(made), masks=made.masks.astype("U2")),
        "masks is <U2, and no numbers",
    ),
    "words by patch": (
        lambda made, path: np.savez(path, **{made.ids[0]: made.masks[0].astype("U2")}),
        "is <U2, and no numbers",
    ),
    "wrong scale": (
        lambda made, path: np.savez(path, ids=ids(made), masks=made.masks, scale=np.array(0.0)),
        "scale is 0; write what a stored 1 stands for",
    ),
}


def npz_bytes(made: Made) -> bytes:
    stream = BytesIO()
    np.savez_compressed(stream, ids=ids(made), masks=made.masks)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_cannot_be_scored(kind: str, made: Made, scored: Any, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    write, sentence = ARCHIVES[kind]
    write(made, tmp_path / "a.npz")
    with pytest.raises(EvidenceError, match=sentence):
        scored(tmp_path / "a.npz", partial=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz"], "something was left or run"


def test_safetensors_that_cannot_be_scored(made: Made, scored: Any, tmp_path: Path):
    path, masks = tmp_path / "a.safetensors", {"masks": made.masks}
    for noted in ("S2A_1, S2A_2", '"S2A_1"', "[1, 2]", "[" * 100_000):
        save_file(masks, path, {"ids": noted})
        with pytest.raises(EvidenceError, match="no JSON list of names; write json"):
            scored(path)
    shares = torch.zeros(len(made.ids), 19, 120, 120, dtype=torch.bfloat16)
    save_torch({"probabilities": shares}, path, {"ids": json.dumps(list(made.ids))})
    with pytest.raises(EvidenceError, match="probabilities is of a kind that NumPy lacks, such as bfloat16"):
        scored(path)


def test_what_is_packed_is_to_be_unpacked(made: Made, scored: Any, tmp_path: Path):
    path = tmp_path / "maps.zarr.zip"
    path.write_bytes(npz_bytes(made))
    with pytest.raises(WrongUseError, match="is packed; unpack it"):
        scored(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".zarr"])
def test_another_file_of_arrays_that_is_damaged(suffix: str, made: Made, scored: Any, tmp_path: Path):
    path = tmp_path / f"a{suffix}"
    CONTAINERS[suffix](path, {"ids": ids(made), "masks": made.masks})
    if suffix == ".zarr":
        (path / "masks" / ".zarray").write_text("{")
    else:
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EvidenceError, match="cannot be read: it is cut off or damaged"):
        scored(path)


def test_zarr_is_never_unpickled(made: Made, scored: Any, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.zarr"
    CONTAINERS[".zarr"](path, {"ids": ids(made), "masks": made.masks})
    described = json.loads((path / "ids" / ".zarray").read_text())
    for codec in ({"filters": [{"id": "pickle", "protocol": 5}]}, {"compressor": {"id": "pickle"}}):
        (path / "ids" / ".zarray").write_text(json.dumps(described | {"dtype": "|O"} | codec))
        (path / "ids" / "0").write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(EvidenceError, match="ids holds pickled Python objects"):
            scored(path)
    assert not (tmp_path / "exploded").exists()


def test_pieces_that_are_only_decoded_as_wholes_are_bounded(made: Made, scored: Any, tmp_path: Path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ids"] = made.ids
        file.create_dataset(
            "masks", (len(made.ids), 120, 120), "u1", chunks=(20_000, 120, 120), maxshape=(None, 120, 120)
        )
    with pytest.raises(EvidenceError, match="masks is stored in pieces of 275 MiB"):
        scored(tmp_path / "a.h5")


def test_hdf5_reads_no_other_files(made: Made, scored: Any, tmp_path: Path):
    import h5py

    hdf5(tmp_path / "other.h5", {"masks": made.masks})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ids"] = made.ids
        file["masks"] = h5py.ExternalLink("other.h5", "masks")
    with pytest.raises(EvidenceError, match="has ids, and neither masks nor probabilities"):
        scored(tmp_path / "a.h5")


@pytest.mark.parametrize("chunks", [None, (1, 120, 120)])
def test_hdf5_that_was_not_written_in_full(chunks: Any, made: Made, scored: Any, tmp_path: Path):
    """Space that a loop has set aside and never come to is 0, which is a class."""
    import h5py

    def begun(path: Path, written: int) -> Path:
        with h5py.File(path, "w") as file:
            file["ids"] = made.ids
            masks = file.create_dataset("masks", made.masks.shape, "u1", chunks=chunks)
            for row in range(written):
                masks[row] = made.masks[row]
        return path

    written = 0 if chunks is None else len(made.ids) - 1
    with pytest.raises(EvidenceError, match=rf"masks was not written in full: {written} of \d+ pieces? of it"):
        scored(begun(tmp_path / "a.h5", written))
    assert scored(begun(tmp_path / "b.h5", len(made.ids))).scores.patches == len(made.ids)


# Tables


def table_with(name: str, change: Callable[[list[Any]], Any]) -> Callable[[Made], pa.Table]:
    def make(made: Made) -> pa.Table:
        table = made.table()
        return table.set_column(table.column_names.index(name), name, pa.array(change(table[name].to_pylist())))

    return make


def first(value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [value, *values[1:]]


SEA = CLASS_NAMES[18]
TABLES: dict[str, tuple[Callable[[Made], pa.Table], str]] = {
    "true labels": (
        lambda made: pa.table({"patch_id": made.ids, "labels": [[SEA]] * len(made.ids)}),
        "lacks the column 'Urban fabric' and 18 more.*'labels' are the true ones",
    ),
    "no class, but labels": (
        lambda made: made.table().drop_columns([SEA]).append_column("predicted_labels", [[[SEA]] * len(made.ids)]),
        f"lacks the column '{SEA}'",
    ),
    "percent": (table_with(SEA, first(99.0)), "outside of 0 to 1; divide them by what stands for 1, perhaps 100"),
    "logits": (table_with(SEA, lambda values: [-3.0, 2.0, *values[2:]]), "pass logits through a sigmoid"),
    "NaN": (table_with(SEA, first(float("nan"))), r"1 patch \(S2\w+\) without a value, or NaN"),
    "nothing": (table_with(SEA, first(None)), r"1 patch \(S2\w+\) without a value, or NaN"),
    "outside": (table_with(SEA, first(1.5)), r"1 patch \(S2\w+\) with values outside of 0 to 1"),
    "words": (table_with(SEA, lambda values: ["a"] * len(values)), f"column '{SEA}' holds no numbers"),
    "no id": (lambda made: made.table().drop_columns(["patch_id"]), "has no column 'patch_id'"),
    "no class": (lambda made: made.table().drop_columns([SEA]), f"lacks the column '{SEA}'"),
    "misnamed": (table_with("patch_id", first("meadow")), r"1 name \(meadow\) is of no patch"),
    "doubled": (
        lambda made: pa.concat_tables([made.table(), made.table()[:1]]),
        "1 patch .* is predicted more than once",
    ),
    "missing": (lambda made: made.table()[1:], r"1 patch \(S2\w+\) is missing"),
    "no label": (
        lambda made: pa.table({"patch_id": made.ids, "predicted_labels": [["Meadow"]] * len(made.ids)}),
        r"'Meadow' and \d+ other labels are none of the 19 classes",
    ),
    "labels of another opinion": (
        lambda made: made.table().append_column("predicted_labels", [[[SEA]] * len(made.ids)]),
        "labelled otherwise than above 0.5; leave out the column 'predicted_labels'",
    ),
    "columns of two kinds": (
        lambda made: made.table().append_column("probability: Urban fabric", [[0.5] * len(made.ids)]),
        "has columns 'Urban fabric' and 'probability: Urban fabric'; leave those of one kind",
    ),
    "nothing for labels": (
        lambda made: pa.table({"patch_id": made.ids, "predicted_labels": [None, *([SEA] * (len(made.ids) - 1))]}),
        r"1 patch \(S2\w+\) without labels",
    ),
    "one label": (
        lambda made: pa.table({"patch_id": made.ids[:1], "predicted_labels": [["Meadow"]]}),
        "'Meadow' is none of the 19 classes",
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_that_cannot_be_scored(kind: str, made: Made, scored: Any, tmp_path: Path):
    make, sentence = TABLES[kind]
    pq.write_table(make(made), tmp_path / "a.parquet")
    with pytest.raises((EvidenceError, WrongUseError), match=sentence):
        scored(scene=tmp_path / "a.parquet")


def test_a_table_that_is_larger_than_any_of_patches(made: Made, scored: Any, tmp_path: Path):
    pq.write_table(
        pa.table({"patch_id": pa.repeat("a", 2_000_001), "predicted_labels": pa.nulls(2_000_001)}),
        tmp_path / "a.parquet",
    )
    with pytest.raises(EvidenceError, match="is larger than any table of patches"):
        scored(scene=tmp_path / "a.parquet")


# Words


def test_a_numbering_that_is_not_there(scored: Any, tmp_path: Path):
    with pytest.raises(WrongUseError, match=r"there is no file 'nosuch\.json'; choose"):
        scored(tmp_path / "maps", classes="nosuch.json")


def test_a_scored_folder_among_the_predictions(made: Made, scored: Any, tmp_path: Path):
    folder = folder_of("npy", made, tmp_path / "maps")
    before = sorted(folder.rglob("*"))
    for out in (folder / "scored", tmp_path / "maps" / ".." / "maps" / "a" / "scored"):
        with pytest.raises(WrongUseError, match="lies among the predictions"):
            scored(folder, out=out)
    assert sorted(folder.rglob("*")) == before


def test_a_mosaic_of_several_zones(made: Made, scored: Any, tmp_path: Path):
    profile = {"driver": "GTiff", "width": 9, "height": 9, "count": 1, "dtype": "uint8", "crs": "EPSG:3035"}
    with rasterio.open(tmp_path / "map.tif", "w", **profile, transform=Affine(10, 0, 0, 0, -10, 0)):
        pass
    with pytest.raises(EvidenceError, match="in EPSG:3035, in which no patch of the split lies; give the folder"):
        scored(tmp_path / "map.tif")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 81, "a\x1b[31m"])
def test_a_name_that_fits_no_table(name: str, scored: Any, tmp_path: Path):
    with pytest.raises(WrongUseError, match="one line of 1 to 80"):
        scored(tmp_path, name=name)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "names no class"),
        ("[1]", "names no class for each number"),
        ('{"0": ["Pastures"]}', "is none of the 19 classes"),
        ("{", "is not valid JSON .* in line 1"),
        ('{"0": "Urban fabric",\n}', "is not valid JSON .* in line 2"),
        ('{"a": "Urban fabric"}', "names no class for each number"),
        ('{"0": "Urban"}', "'Urban' is none of the 19 classes"),
        ('{"0": "Urban fabric", "0": "Pastures"}', "0 is named twice"),
        ('{"-1": "Urban fabric"}', "not from 0 to 65535"),
        ('{"0": null}', "names no class"),
    ],
)
def test_a_numbering_that_is_none(text: str, sentence: str, scored: Any, tmp_path: Path):
    (tmp_path / "n.json").write_text(text)
    with pytest.raises(WrongUseError, match=sentence):
        scored(tmp_path / "maps", classes=str(tmp_path / "n.json"))

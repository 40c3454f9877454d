"""Predictions made elsewhere, whatever they are: one function that finds out by what they look like."""

from pathlib import Path

from seg.config.wording import clipped, counted
from seg.errors import EvidenceError, WrongUseError
from seg.predictions.arrays import open_arrays
from seg.predictions.containers import SUFFIXES, format_of
from seg.predictions.folder import DRIVERS as FILES
from seg.predictions.folder import open_folder
from seg.predictions.mosaics import DRIVERS, open_mosaics
from seg.predictions.numbering import CHOICES, Numbering
from seg.predictions.pixels import MAP_ENDINGS, SHARE_ENDINGS, Source, is_patch, split_name
from seg.store.index import Index, Rows

KINDS = (
    "a folder of class maps named by patch (GeoTIFF, PNG, NPY), a file of arrays with ids (.npz, .safetensors, .h5, "
    ".zarr) or georeferenced mosaics (.tif, .vrt)"
)


def open_predictions(path: Path, numbering: Numbering, index: Index, rows: Rows) -> Source:
    """Predictions of the pixels of patches.

    Args:
        path: `KINDS`.
        numbering: What their numbers mean.
        index, rows: The patches that are looked for, by which mosaics are cut.

    Raises:
        WrongUseError: If they are none of these.
        EvidenceError: If they cannot be read.
    """
    if not path.exists():
        raise WrongUseError(f"there are no predictions {path}; give {KINDS}")
    if not (path.is_file() or path.is_dir()):
        raise WrongUseError(f"{path} is no file, but a device or a pipe; give {KINDS}")
    if format_of(path) in SUFFIXES:
        source: Source = open_arrays(path)
    elif path.is_dir():
        source = open_folder(path, numbering) or _mosaics_in(path, numbering, index, rows)
    elif path.suffix.lower() in DRIVERS:
        source = open_mosaics([path], numbering, index, rows)
    else:
        what = "is packed; unpack it, and" if path.suffix.lower() in _PACKED else "is nothing that is scored;"
        raise WrongUseError(f"{path} {what} give {KINDS}")
    if source.shares and numbering.bands is None:
        raise WrongUseError(
            f"'{numbering.name}' does not number the bands of probabilities, which are 0 to 18; choose --classes "
            f"that does ({CHOICES})"
        )
    return source


def _mosaics_in(path: Path, numbering: Numbering, index: Index, rows: Rows) -> Source:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in DRIVERS and file.is_file())
    # Virtual rasters stand for others, and ``seg export`` writes reference and agreement beside what is predicted.
    rasters = [file for file in files if file.suffix.lower() != ".vrt" and not file.stem.endswith(_OTHERS)]
    if not rasters:
        found = sorted(
            file for file in path.rglob("*") if file.suffix.lower() in FILES and not file.name.startswith(".")
        )
        if not found:
            others = sorted(file for file in path.rglob("*") if is_patch(split_name(file.stem)[0]) and file.is_file())
            what = f"names patches by files that are no maps ({clipped(others[0].name)})" if others else _NOTHING
            raise EvidenceError(f"{path} {what}; give {KINDS}")
        raise EvidenceError(
            f"{path}: none of {counted(len(found), 'file', 'files')} is named by a patch, such as "
            f"{clipped(found[0].name)}; name each by its patch, with nothing or one of "
            f"{', '.join((*MAP_ENDINGS, *SHARE_ENDINGS))} behind it"
        )
    return open_mosaics(rasters, numbering, index, rows)


_NOTHING = "holds no file that is named by a patch, and no mosaics"
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".zst", ".xz", ".bz2", ".7z")
_OTHERS = ("_reference", "_agreement", "_confidence", "_entropy")

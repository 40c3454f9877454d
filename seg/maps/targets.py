"""Where the maps of scenes are put. Without torch, so that a wrong name is refused before it is loaded."""

import re
from collections.abc import Sequence
from pathlib import Path

from seg.catalogue.address import Remote, require_here
from seg.catalogue.item import Item, Source, name_of
from seg.errors import WrongUseError

_KNOWN_ENDING = re.compile(r"(\.SAFE)?(\.(zip|tiff?|vrt|jp2))?$", re.IGNORECASE)
_STRANGE = re.compile(r"[/\\:\0#?%]+")
"""What ids of items may hold and names of files may not, or what means something else in a link."""
_LINK_MARKS = re.compile(r"[#?%]")


def map_targets(scenes: Sequence[Source], out: Path, alone: bool = False, folder: bool = False) -> list[Path]:
    """The class map of each scene; of one only, if what belongs to it is given (`alone`).

    Args:
        scenes: The scenes.
        out: The map of the only one, or the folder for several.
        alone: Whether there may be only one.
        folder: Whether it is a folder however many there are.
    """
    if alone and len(scenes) > 1:
        raise WrongUseError("a Sentinel-1 raster belongs to one scene; predict the scenes one by one")
    if not scenes:
        raise WrongUseError("there is no scene to map; name one or more, or search for some with --stac-api")
    if len(scenes) == 1 and not folder:
        if out.is_dir():
            raise WrongUseError(f"{out} is a folder; name the map itself, such as --out {out / 'map.tif'}")
        if out.suffix.lower() not in (".tif", ".tiff"):
            raise WrongUseError(f"{out} is no name of a GeoTIFF; let --out end in .tif")
        return [out]
    if out.suffix.lower() in (".tif", ".tiff") or out.is_file():
        raise WrongUseError(
            f"{len(scenes)} scenes need a folder for their maps, and {out} is none; name a folder as --out"
        )
    names = [_STRANGE.sub("_", _KNOWN_ENDING.sub("", name_of(scene))) + ".tif" for scene in scenes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise WrongUseError(f"several scenes would become {out / twice[0]}; predict them one by one")
    return [out / name for name in names]


def require_linkable(out: Path) -> None:
    """Refuse a map whose name a link reads otherwise: some readers of STAC decode links of local files, others do not.

    Maps in a folder have names that `map_targets` gives them.
    """
    if out.suffix.lower() in (".tif", ".tiff") and (mark := _LINK_MARKS.search(out.name)):
        raise WrongUseError(
            f"STAC items link to a map by its name, and in a link {mark[0]} of {out.name} means something else; "
            "name another --out, or leave out --stac"
        )


def require_inputs(outputs: Sequence[Path], inputs: Sequence[Source]) -> None:
    """Refuse what is not there, and to write over what is read, or into it; of what lies elsewhere its server tells."""
    places = [
        place
        for one in inputs
        for place in (
            [asset.place for held in one.bands.values() for asset in held] if isinstance(one, Item) else [one]
        )
    ]
    here = [place for place in places if not isinstance(place, Remote)]
    # Of an item only the bands that are needed have to be there: whoever opens it looks.
    for path in inputs:
        if isinstance(path, Path) and not path.exists():
            require_here(path)
            raise WrongUseError(f"{path} does not exist; name a file or folder that does")
    for path in outputs:
        for source in map(Path.resolve, here):
            if path.resolve() == source or source in path.resolve().parents:
                raise WrongUseError(f"{path} would be written over, or into, {source.name}; name another --out")

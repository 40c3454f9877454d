"""The published layout: which files there are, what they are called, and what they are stored under.

```
<s2>/<product>/<patch_id>/<patch_id>_<BAND>.tif
<s1>/<scene>/<s1_name>/<s1_name>_{VV,VH}.tif
<maps>/<product>/<patch_id>/<patch_id>_reference_map.tif
```
"""

from typing import Literal, get_args

from seg.errors import UnknownNameError
from seg.reben.bands import S1_BANDS, S2_BANDS
from seg.reben.patch import PatchId, s1_scene
from seg.store.patches import MAP_SUFFIX

Kind = Literal["s2", "s1", "maps"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The three parts of the data set, in the order in which they are stored."""

MAP_LAYER = MAP_SUFFIX[1:]
LAYERS: dict[Kind, tuple[str, ...]] = {"s2": S2_BANDS, "s1": S1_BANDS, "maps": (MAP_LAYER,)}
"""What the file of a patch is called after ``<name>_``."""

WHAT: dict[Kind, str] = {"s2": "Sentinel-2 patches", "s1": "Sentinel-1 patches", "maps": "reference maps"}
PUBLISHED: dict[Kind, str] = {"s2": "BigEarthNet-S2", "s1": "BigEarthNet-S1", "maps": "Reference_Maps"}
"""What the folders are called that the published archives unpack to."""
EXAMPLE: dict[Kind, str] = {
    "s2": "<product>/<patch_id>/<patch_id>_B02.tif",
    "s1": "<scene>/<name>/<name>_VV.tif",
    "maps": "<product>/<patch_id>/<patch_id>_reference_map.tif",
}


def group_of(kind: Kind, name: str) -> str:
    """The folder that holds a patch of reBEN: its product, or its Sentinel-1 scene."""
    return name.rsplit("_", 3 if kind == "s1" else 2)[0]


def is_patch(kind: Kind, name: str) -> bool:
    """Whether a name is one of reBEN's; others are left alone."""
    try:
        if kind == "s1":
            s1_scene(name)
        else:
            PatchId.parse(name)
    except UnknownNameError:
        return False
    return True


def locate(kind: Kind, path: str) -> tuple[str, str, str] | None:
    """Group, name and layer of a published file by the form of its path; None for any other path.

    Whether the name is one of reBEN and lies in its own group is not checked.
    """
    folders, _, file = path.rpartition("/")
    head, _, name = folders.rpartition("/")
    if not file.endswith(".tif") or not file.startswith(f"{name}_") or path.startswith("/") or "../" in path:
        return None
    layer = file[len(name) + 1 : -4]
    return (head.rpartition("/")[2], name, layer) if layer in LAYERS[kind] else None


def kind_of_key(key: str) -> Kind:
    """Which part of the data set a key in the LMDB belongs to."""
    return "maps" if key.endswith(MAP_SUFFIX) else "s1" if key.startswith("S1") else "s2"


def key_of(kind: Kind, name: str) -> str:
    """The key in the LMDB."""
    return name + MAP_SUFFIX if kind == "maps" else name

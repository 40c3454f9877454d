"""Whether what is mapped or cut was simulated by `seg.synthetic`: a file beside it or its own metadata say so."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from seg.config.synthetic import SYNTHETIC_FILE
from seg.errors import SceneError
from seg.rasters.header import read_header
from seg.scenes.product_files import is_product, product_files


def find_synthetic_mark(paths: Iterable[Path]) -> dict[str, Any] | None:
    """What says that an input is simulated, beside it or in it; None if there is nothing.

    Args:
        paths: Products, rasters, folders of them, or vector files.
    """
    for path in paths:
        if (mark := path.resolve().parent / SYNTHETIC_FILE).is_file():
            document: dict[str, Any] = json.loads(mark.read_text(encoding="utf-8"))
            return document
        if _says_synthetic(path):
            return {"synthetic": True, "source": path.name}
    return None


def _says_synthetic(path: Path) -> bool:
    """Whether a product's metadata or a raster's tags say what `seg.synthetic.scene` writes there."""
    try:
        if not path.exists():
            return False
        if is_product(path):
            return b"<!-- SYNTHETIC" in product_files(path).metadata
        return not path.is_dir() and read_header(str(path)).simulated
    except SceneError:
        # Vector files are none of its, nor are zips of land cover.
        return False

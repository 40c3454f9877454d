"""STAC of the model that made maps: an item of the extension MLM 1.4 (Machine Learning Model)."""

import os
from datetime import datetime
from pathlib import Path

from seg.models.card import ModelCard
from seg.models.onnx_file import ONNX_SUFFIX
from seg.reben.bands import PATCH_SIZE
from seg.stac.items import REBEN, classes_of, json_text
from seg.store.atomic import write_text
from seg.styles.palette import LAND_COVER

_MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
_YEAR = ("2017-06-01T00:00:00Z", "2018-05-31T23:59:59Z")
"""When reBEN was acquired."""


def write_model_item(path: Path, card: ModelCard, weights: Path, digest: str) -> Path:
    """Write the item of a model.

    Args:
        path: The item.
        card: The model.
        weights: Its file.
        digest: Of its weights.

    Raises:
        OSError: If it cannot be written.
    """
    import pystac

    name = card.named
    edge = PATCH_SIZE + 2 * card.context
    shape = [-1, len(card.bands), edge, edge]
    start, end = (datetime.fromisoformat(text.replace("Z", "+00:00")) for text in _YEAR)
    scaling = [{"type": "z-score", "mean": m, "stddev": s} for m, s in zip(card.mean, card.std, strict=True)]
    item = pystac.Item(
        id=f"{name.replace(' ', '-')}-{digest[:12]}",
        geometry=None,
        bbox=None,
        datetime=None,
        start_datetime=start,
        end_datetime=end,
        properties={
            "title": name,
            "description": "Land-cover segmentation with the 19 classes of reBEN (BigEarthNet v2.0)"
            + ("; learned from SYNTHETIC data, for trying out the tool only" if card.data.synthetic else ""),
            "mlm:name": name,
            "mlm:architecture": card.arch,
            "mlm:tasks": ["semantic-segmentation"],
            "mlm:framework": "ONNX" if weights.suffix == ONNX_SUFFIX else "pytorch",
            "mlm:total_parameters": card.parameters,
            "mlm:input": [
                {
                    "name": "Sentinel bands: DN of reflectance times 10000, dB",
                    "bands": list(card.bands),
                    "input": {
                        "shape": shape,
                        "dim_order": ["batch", "bands", "height", "width"],
                        "data_type": "float32",
                    },
                    "value_scaling": scaling,
                    "resize_type": None,
                }
            ],
            "mlm:output": [
                {
                    "name": "land cover",
                    "tasks": ["semantic-segmentation"],
                    "result": {
                        "shape": [-1, len(card.classes), PATCH_SIZE, PATCH_SIZE],
                        "dim_order": ["batch", "class", "height", "width"],
                        "data_type": "float32",
                    },
                    "classification:classes": classes_of(LAND_COVER)[:-1],
                }
            ],
            "seg:weights": digest,
            "seg:data_fingerprint": card.data.fingerprint,
            "seg:temperature": card.calibration,
        },
        stac_extensions=[_MLM],
    )
    where = Path(os.path.relpath(weights, path.parent)).as_posix()
    more = {"mlm:artifact_type": weights.suffix.removeprefix(".")}
    roles, media_type = ["mlm:model", "mlm:weights"], "application/octet-stream"
    item.add_asset("weights", pystac.Asset(where, "Weights", media_type=media_type, roles=roles, extra_fields=more))
    if not card.data.synthetic:
        item.add_link(pystac.Link("derived_from", REBEN, title="reBEN (BigEarthNet v2.0)"))
    write_text(path, json_text(item.to_dict(include_self_link=False, transform_hrefs=False)))
    return path

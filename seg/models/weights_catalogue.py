"""Weights by name: what ``model.weights`` may say, and which file that is. Without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seg.errors import ModelError
from seg.foundation.catalogue import PUBLISHED, find_foundation, is_foundation
from seg.foundation.torch_file import require_torch_file
from seg.models.card import check_checkpoint, read_metadata
from seg.models.weights_file import BEST, CARD_FILE, CHECKPOINTS, WEIGHTS_FILE
from seg.models.weights_names import IMAGENET, REBEN, split_weights
from seg.reben.bands import CIRRUS, MODALITIES, S1_BANDS, S2_BANDS

IMAGENET_BANDS = MODALITIES["rgb"]
"""Red, green and blue, in ImageNet's order."""
L1C_BANDS = (*S2_BANDS[:10], CIRRUS, *S2_BANDS[10:])
"""The 13 bands of a Sentinel-2 L1C product, in the order of torchgeo and SSL4EO-S12: reBEN's and the cirrus band."""

REBEN_HUB = "BIFOLD-BigEarthNetv2-0"
"""Who publishes the reBEN models."""
_REBEN_VERSION = "v0.2.0"
_REBEN_10 = MODALITIES["s2-10m-20m"]
# From the model cards. The older order is that of ConfigILM: 10 m bands, 20 m bands, Sentinel-1, each by name.
_OLD_10 = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B11", "B12", "B8A")
REBEN_BANDS: dict[str, dict[int, tuple[str, ...]]] = {
    "0.2": {2: S1_BANDS, 10: _REBEN_10, 12: (*S1_BANDS, *_REBEN_10)},
    "0.1": {2: ("VH", "VV"), 10: _OLD_10, 12: (*_OLD_10, "VH", "VV")},
}
"""Input bands of the published reBEN models by version and number."""
SSL4EO_BANDS: dict[int, tuple[str, ...]] = {2: S1_BANDS, 13: L1C_BANDS}
"""Input bands of the encoders of SSL4EO-S12, which torchgeo publishes, by their number."""
_EUROSAT = (*S2_BANDS[:8], "B09", CIRRUS, "B11", "B12", "B8A")

# Orders in which models are published or data come, by number of bands; none of a number is taken for granted.
ORDERS: dict[int, dict[tuple[str, ...], str]] = {
    2: {S1_BANDS: "SSL4EO-S12, reBEN v0.2", ("VH", "VV"): "reBEN v0.1"},
    3: {IMAGENET_BANDS: "red, green, blue", tuple(reversed(IMAGENET_BANDS)): "blue, green, red"},
    4: {(*IMAGENET_BANDS, "B08"): "red first", ("B02", "B03", "B04", "B08"): "blue first"},
    10: {_REBEN_10: "reBEN v0.2", _OLD_10: "reBEN v0.1, ConfigILM"},
    12: {
        REBEN_BANDS["0.2"][12]: "reBEN v0.2",
        REBEN_BANDS["0.1"][12]: "reBEN v0.1",
        S2_BANDS: "Sentinel-2 L2A",
    },
    13: {L1C_BANDS: "Sentinel-2 L1C, SSL4EO-S12", _EUROSAT: "EuroSAT"},
    14: {MODALITIES["s1s2"]: "Sentinel-1 first", (*S2_BANDS, *S1_BANDS): "Sentinel-2 first"},
}

TENSORS, FETCH = ".safetensors", "fetch it again"
"""Ending of files that hold tensors alone, and what to do about a damaged one."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of the Hugging Face hub.

    Attributes:
        repository, revision, file: Where it is.
        bands: Its input bands in order; None: its id tells them.
    """

    repository: str
    revision: str
    file: str
    bands: tuple[str, ...] | None = None


def _ssl4eo(name: str, revision: str, digest: str, bands: tuple[str, ...]) -> HubFile:
    return HubFile(f"torchgeo/{name}", revision, f"{name}-{digest}.pth", bands)


_DECUR, _SOFTCON, _FGMAE = "torchgeo/decur", "wangyi111/softcon", "wangyi111/FGMAE"
_SOFTCON_REVISION = "62ff465b2e7467dbfc70758ec1e9d08ab87fc46b"
_FGMAE_REVISION = "24dd3077d7a99ecd454eaec7adb83d045d7fa122"

# The encoders that torchgeo publishes for SSL4EO-S12 (torchgeo/models/resnet.py and vit.py), by timm's name, sensor and
# method; the first of each is taken unless another is asked for.
SSL4EO_FILES: dict[str, dict[str, dict[str, HubFile]]] = {
    "resnet18": {
        "s2": {
            "moco": _ssl4eo(
                "resnet18_sentinel2_all_moco", "5b8cddc9a14f3844350b7f40b85bcd32aed75918", "59bfdff9", L1C_BANDS
            )
        }
    },
    "resnet50": {
        "s2": {
            "moco": _ssl4eo(
                "resnet50_sentinel2_all_moco", "da4f3c9dbe09272eb902f3b37f46635fa4726879", "df8b932e", L1C_BANDS
            ),
            "dino": _ssl4eo(
                "resnet50_sentinel2_all_dino", "d7f14bf5530d70ac69d763e58e77e44dbecfec7c", "d6c330e9", L1C_BANDS
            ),
            "decur": HubFile(
                _DECUR,
                "eba7ae5945d482a4319be046d34b552db5dd9950",
                "rn50_ssl4eo-s12_ms_decur_ep100-fc6b09ff.pth",
                L1C_BANDS,
            ),
            "softcon": HubFile(_SOFTCON, _SOFTCON_REVISION, "B13_rn50_softcon.pth", L1C_BANDS),
        },
        "s1": {
            "moco": _ssl4eo(
                "resnet50_sentinel1_all_moco", "e79862c667853c10a709bdd77ea8ffbad0e0f1cf", "906e4356", S1_BANDS
            ),
            "decur": HubFile(
                _DECUR,
                "9328eeb90c686a88b30f8526ed757b4bc0f12027",
                "rn50_ssl4eo-s12_sar_decur_ep100-f0e69ba2.pth",
                S1_BANDS,
            ),
            "softcon": HubFile(_SOFTCON, _SOFTCON_REVISION, "B2_rn50_softcon.pth", S1_BANDS),
        },
    },
    "vit_small_patch16_224": {
        "s2": {
            "moco": _ssl4eo(
                "vit_small_patch16_224_sentinel2_all_moco",
                "1cb683f6c14739634cdfaaceb076529adf898c74",
                "67c9032d",
                L1C_BANDS,
            ),
            "dino": _ssl4eo(
                "vit_small_patch16_224_sentinel2_all_dino",
                "5b41dd418a79de47ac9f5be3e035405a83818a62",
                "36bcc127",
                L1C_BANDS,
            ),
            "fgmae": HubFile(_FGMAE, _FGMAE_REVISION, "B13_vits16_fgmae_ep99_enc.pth", L1C_BANDS),
        },
        "s1": {"fgmae": HubFile(_FGMAE, _FGMAE_REVISION, "B2_vits16_fgmae_ep99_enc.pth", S1_BANDS)},
    },
}


def timm_name(encoder: str) -> str:
    """The name by which timm knows an encoder, if it does."""
    return encoder.removeprefix("tu-").partition(".")[0]


def published_file(weights: str, encoder: str, bands: Sequence[str]) -> Path | HubFile:
    """The file or folder that ``reben`` or ``ssl4eo`` weights, or a path, stand for.

    Args:
        weights: ``reben``, ``reben:<id>`` (with ``@<revision>`` for another than the newest), ``reben:<path>``,
            ``ssl4eo``, ``ssl4eo:<method>``, ``ssl4eo:<path>`` or a path.
        encoder: The encoder that they are for.
        bands: Its bands.

    Raises:
        ModelError: If there is no such path, or nothing is published for the encoder.
    """
    kind, detail = split_weights(weights)
    path = Path(detail).expanduser()
    if detail and path.exists():
        return path
    looks_like_path = path.suffix in (".safetensors", ".pth", ".pt") or detail.startswith(("/", ".", "~"))
    if not kind or (detail and looks_like_path):
        raise ModelError(
            f"there are no weights '{detail}'; give imagenet, reben, ssl4eo, none, a file (model.safetensors) or the "
            "folder of a run"
        )
    if kind == REBEN:
        return _reben_file(detail, encoder, bands)
    return _ssl4eo_file(detail, encoder, bands)


def run_checkpoint(place: Path) -> Path | None:
    """The checkpoint that a folder is, or that the folder of a run holds; None for any other place."""
    return next((folder for folder in (place, place / CHECKPOINTS / BEST) if (folder / CARD_FILE).is_file()), None)


def encoder_file(place: Path) -> Path:
    """The file of an encoder's tensors, by its path or that of its folder.

    Raises:
        ModelError: If there is none.
    """
    path = place / WEIGHTS_FILE if place.is_dir() else place
    if not path.is_file():
        raise ModelError(f"{place} holds neither a {WEIGHTS_FILE} nor the checkpoints of a run; give another folder")
    return path


def check_weights(weights: str, encoder: str, bands: Sequence[str]) -> None:
    """Check that weights exist and are of a kind that can be read, as far as that shows without torch or a network.

    Args:
        weights, encoder, bands: As of `published_file`.

    Raises:
        ModelError, CheckpointError, OSError: What is wrong.
    """
    if is_foundation(encoder) or weights == PUBLISHED:
        _check_kind(weights, encoder)
    place = published_file(weights, encoder, bands) if weights not in (IMAGENET, PUBLISHED) else None
    if not isinstance(place, Path):
        return
    if (checkpoint := run_checkpoint(place)) is not None:
        check_checkpoint(checkpoint)
        return
    path = encoder_file(place)
    if path.suffix == TENSORS:
        read_metadata(path, FETCH)
    else:
        require_torch_file(path)


def _check_kind(weights: str, encoder: str) -> None:
    """Refuse weights of other encoders for foundation models, and the other way round."""
    kind, _ = split_weights(weights)
    if not is_foundation(encoder):
        raise ModelError(
            f"'{PUBLISHED}' are weights of foundation models, and encoder '{encoder}' is none; "
            f"use --weights {IMAGENET}, or name another encoder"
        )
    if kind not in ("", PUBLISHED):
        raise ModelError(
            f"'{weights}' are weights of other encoders than '{encoder}'; use --weights {PUBLISHED}, none, a file or "
            "the folder of a run"
        )
    if weights == PUBLISHED and find_foundation(encoder).weights is None:
        raise ModelError(
            f"nobody publishes weights of encoder '{encoder}'; use --weights none, a file or the folder of a run, or "
            "name another encoder"
        )


def _reben_file(detail: str, encoder: str, bands: Sequence[str]) -> HubFile:
    s1, s2 = any(name in S1_BANDS for name in bands), any(name in S2_BANDS for name in bands)
    sensors = "all" if s1 and s2 else "s1" if s1 else "s2"
    name = detail or f"{timm_name(encoder)}-{sensors}-{_REBEN_VERSION}"
    repository, _, revision = (name if "/" in name else f"{REBEN_HUB}/{name}").partition("@")
    return HubFile(repository, revision or "main", "model.safetensors")


def _ssl4eo_file(method: str, encoder: str, bands: Sequence[str]) -> HubFile:
    sensors = SSL4EO_FILES.get(timm_name(encoder))
    if sensors is None:
        raise ModelError(
            f"torchgeo publishes no ssl4eo weights for encoder '{encoder}'; it does for resnet18, resnet50 and, with "
            "--arch dpt, tu-vit_small_patch16_224"
        )
    sensor = "s2" if any(name in S2_BANDS for name in bands) else "s1"
    if sensor not in sensors:
        raise ModelError(
            f"torchgeo publishes no ssl4eo weights for Sentinel-1 and encoder '{encoder}'; use --encoder resnet50"
        )
    files = sensors[sensor]
    if method and method not in files:
        raise ModelError(
            f"torchgeo publishes no ssl4eo weights by '{method}' for {sensor} and encoder '{encoder}'; there are "
            f"{', '.join(files)}"
        )
    return files[method or next(iter(files))]

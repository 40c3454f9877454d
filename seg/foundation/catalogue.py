"""The foundation models that seg knows, what they take and what they are published under. Without torch."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec

from seg.errors import ModelError
from seg.foundation.bands import check_bands
from seg.reben.bands import MODALITIES

PREFIX = "fm-"
"""What the names of foundation models begin with as encoders."""
PUBLISHED = "published"
"""What ``--weights`` says for the weights that their authors publish."""


@dataclass(frozen=True, slots=True)
class Family:
    """Models of one kind.

    Attributes:
        module: Of `seg.foundation`, and the class in it.
        package: What has to be installed, by the name by which it is imported.
        bands: Bands that they take.
        whole: Whether they need all bands of a sensor of which they see any.
        expects: What they were trained on, in words.
        licence: Of the published weights.
        citation: The paper.
    """

    module: str
    package: str
    bands: tuple[str, ...]
    whole: bool
    expects: str
    licence: str
    citation: str


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """Where published weights are.

    Attributes:
        repository, revision, file: On the Hugging Face hub.
        digest: How the SHA-256 of the file begins; empty if nobody says so.
    """

    repository: str
    revision: str
    file: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Foundation:
    """A foundation model.

    Attributes:
        name: As an encoder.
        family: Its kind.
        variant: What its package calls it.
        patch: Edge of its patches, pixels.
        parameters: Learned values that are used for features, without the pyramid and the stem.
        multiply_adds: For a patch of 120 x 120 pixels of all its bands.
        weights: What ``--weights published`` is; None if nobody publishes any.
    """

    name: str
    family: Family
    variant: str
    patch: int
    parameters: int
    multiply_adds: int
    weights: WeightsFile | None = None


_BOTH = MODALITIES["s1s2"]
_TORCHGEO, _TERRATORCH = "torchgeo", "terratorch"
_DOFA = Family(
    "dofa.Dofa",
    _TORCHGEO,
    _BOTH,
    False,
    "bands by wavelength, each standardised",
    "CC-BY-4.0",
    "Xiong et al. 2024, Neural Plasticity-Inspired Foundation Model for Observing the Earth Crossing Modalities, "
    "arXiv:2403.15356",
)
_CROMA = Family(
    "croma.Croma",
    _TORCHGEO,
    _BOTH,
    True,
    "each band from two deviations below its mean to two above, 0 to 1",
    "MIT",
    "Fuller et al. 2023, CROMA: Remote Sensing Representations with Contrastive Radar-Optical Masked Autoencoders, "
    "arXiv:2311.00566",
)
_PRITHVI = Family(
    "prithvi.Prithvi",
    _TERRATORCH,
    ("B02", "B03", "B04", "B8A", "B11", "B12"),
    True,
    "reflectance x 10,000, standardised by its own statistics",
    "Apache-2.0",
    "Szwarcman et al. 2024, Prithvi-EO-2.0: A Versatile Multi-Temporal Foundation Model for Earth Observation "
    "Applications, arXiv:2412.02732",
)
_TERRAMIND = Family(
    "terramind.TerraMind",
    _TERRATORCH,
    _BOTH,
    True,
    "DN and dB, standardised by its own statistics",
    "Apache-2.0",
    "Jakubik et al. 2025, TerraMind: Large-Scale Generative Multimodality for Earth Observation, arXiv:2504.11171",
)
_PANOPTICON = Family(
    "panopticon.Panopticon",
    _TORCHGEO,
    _BOTH,
    False,
    "bands by wavelength or polarisation, each standardised",
    "see lewaldm/panopticon",
    "Waldmann et al. 2025, Panopticon: Advancing Any-Sensor Foundation Models for Earth Observation, arXiv:2503.10845",
)
_COPERNICUS = Family(
    "copernicus.Copernicus",
    _TORCHGEO,
    _BOTH,
    False,
    "bands by wavelength and bandwidth, DN and dB standardised by its own statistics",
    "see wangyi111/Copernicus-FM",
    "Wang et al. 2025, Towards a Unified Copernicus Foundation Model for Earth Vision, arXiv:2503.11849",
)
_SATLAS = Family(
    "satlas.Satlas",
    _TORCHGEO,
    ("B04", "B03", "B02", "B05", "B06", "B07", "B08", "B11", "B12"),
    True,
    "colours over 3,558, other bands over 8,160, 0 to 1",
    "Apache-2.0",
    "Bastani et al. 2023, SatlasPretrain: A Large-Scale Dataset for Remote Sensing Image Understanding, "
    "arXiv:2211.15660",
)

_OLMOEARTH = Family(
    "olmoearth.OlmoEarth",
    "olmoearth_pretrain_minimal",
    _BOTH,
    True,
    "DN and dB, two deviations of its own below its mean to two above, 0 to 1; one date",
    "OlmoEarth Artifact License",
    "Herzog et al. 2025, OlmoEarth: Stable Latent Image Modeling for Multimodal Earth Observation, arXiv:2511.13655",
)
_CLAY = Family(
    "clay.Clay",
    _TERRATORCH,
    ("VV", "VH", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    False,
    "bands by wavelength, DN and dB standardised by its own statistics; each sensor by itself",
    "Apache-2.0",
    "Clay Foundation 2024, Clay Foundation Model v1.5, https://huggingface.co/made-with-clay/Clay",
)


def _torchgeo(name: str, revision: str, file: str) -> WeightsFile:
    """A file of torchgeo's, which ends its names with the beginning of their SHA-256."""
    return WeightsFile(f"torchgeo/{name}", revision, file, file.rpartition("-")[2].partition(".")[0])


def _prithvi(size: str, parameters: int, multiply_adds: int, patch: int = 16) -> Foundation:
    dashed, name = size.replace("_", "-"), size.lower()
    weights = WeightsFile(f"ibm-nasa-geospatial/Prithvi-EO-2.0-{dashed}", "main", f"Prithvi_EO_V2_{size}.pt")
    short = name.removesuffix("_tl").removesuffix("m")
    variant = name.replace("m_tl", "_tl").removesuffix("m")
    return Foundation(
        f"fm-prithvi2-{short}", _PRITHVI, f"prithvi_eo_v2_{variant}", patch, parameters, multiply_adds, weights
    )


def _terramind(size: str, parameters: int, multiply_adds: int) -> Foundation:
    weights = WeightsFile(f"ibm-esa-geospatial/TerraMind-1.0-{size}", "main", f"TerraMind_v1_{size}.pt")
    return Foundation(
        f"fm-terramind1-{size}", _TERRAMIND, f"terramind_v1_{size}", 16, parameters, multiply_adds, weights
    )


def _olmoearth(size: str, parameters: int, multiply_adds: int) -> Foundation:
    weights = WeightsFile(f"allenai/OlmoEarth-v1_2-{size.capitalize()}", "main", "weights.pth")
    return Foundation(f"fm-olmoearth1.2-{size}", _OLMOEARTH, size, 8, parameters, multiply_adds, weights)


_CLAY_WEIGHTS = WeightsFile("made-with-clay/Clay", "main", "v1.5/clay-v1.5.ckpt")
_DOFA_REVISION = "b8db318b64a90b9e085ec04ba8851233c5893666"
_SATLAS_REVISION = "081d6607431bf36bdb59c223777cbb267131b8f2"

_ALL = (
    Foundation("fm-dofa-small", _DOFA, "small", 16, 34_742_912, 1_773_454_592),
    Foundation(
        "fm-dofa-base",
        _DOFA,
        "base",
        16,
        111_310_592,
        6_217_246_976,
        _torchgeo("dofa", _DOFA_REVISION, "dofa_base_patch16_224-a0275954.pth"),
    ),
    Foundation(
        "fm-dofa-large",
        _DOFA,
        "large",
        16,
        337_103_360,
        20_631_822_592,
        _torchgeo("dofa", _DOFA_REVISION, "dofa_large_patch16_224-0ff904d3.pth"),
    ),
    Foundation(
        "fm-croma-base",
        _CROMA,
        "base",
        8,
        184_917_504,
        50_306_482_176,
        _torchgeo("croma", "387883f08af79d777167519c57cd826eda89a16f", "CROMA_base-0238d814.pt"),
    ),
    Foundation(
        "fm-croma-large",
        _CROMA,
        "large",
        8,
        655_765_504,
        175_791_669_248,
        _torchgeo("croma", "92cb1a0f4e34c6c01558baf070197c01255382f6", "CROMA_large-921e69ad.pt"),
    ),
    _prithvi("tiny_TL", 5_634_048, 383_390_208),
    _prithvi("100M_TL", 86_237_184, 5_674_125_312),
    _prithvi("300M", 303_886_336, 19_937_673_216),
    _prithvi("600M", 631_188_480, 52_262_696_960, patch=14),
    _terramind("tiny", 6_022_464, 799_014_912),
    _terramind("small", 22_661_760, 2_956_984_320),
    _terramind("base", 87_707_904, 11_349_786_624),
    _terramind("large", 305_662_976, 39_688_601_600),
    Foundation(
        "fm-panopticon-base",
        _PANOPTICON,
        "panopticon_vitb14",
        14,
        98_975_232,
        19_664_778_240,
        WeightsFile("lewaldm/panopticon", "c8c2bb9555819e8b2bcedf5b3b00e3bf531554e7", "panopticon_vitb14_teacher.pth"),
    ),
    Foundation(
        "fm-copernicus-base",
        _COPERNICUS,
        "base",
        16,
        113_083_904,
        6_135_906_304,
        _torchgeo(
            "copernicus-fm",
            "f395812cc990ba25a451dbb9c9e6d95c8482947e",
            "CopernicusFM_ViT_base_varlang-085350e4.pth",
        ),
    ),
    Foundation(
        "fm-satlas-swinv2-tiny",
        _SATLAS,
        "swin_v2_t",
        32,
        27_591_786,
        1_744_094_208,
        _torchgeo("satlas", _SATLAS_REVISION, "sentinel2_swint_si_ms-bc68e396.pth"),
    ),
    Foundation(
        "fm-satlas-swinv2-base",
        _SATLAS,
        "swin_v2_b",
        32,
        86_918_136,
        5_545_480_192,
        _torchgeo("satlas", _SATLAS_REVISION, "sentinel2_swinb_si_ms-fe22a12c.pth"),
    ),
    Foundation("fm-clay1.5-large", _CLAY, "large", 8, 311_442_944, 162_186_920_448, _CLAY_WEIGHTS),
    _olmoearth("nano", 991_616, 455_737_344),
    _olmoearth("tiny", 6_917_152, 3_135_242_240),
    _olmoearth("small", 24_450_112, 11_691_622_400),
    _olmoearth("base", 91_366_528, 45_111_836_672),
)

FOUNDATIONS: dict[str, Foundation] = {one.name: one for one in _ALL}
"""Foundation models by their names as encoders."""


def is_foundation(encoder: str) -> bool:
    """Whether the name of an encoder is one of a foundation model, known or not."""
    return encoder.startswith(PREFIX)


def find_foundation(encoder: str) -> Foundation:
    """A foundation model by its name as an encoder.

    Raises:
        ModelError: If there is none of this name.
    """
    if encoder not in FOUNDATIONS:
        near = get_close_matches(encoder, FOUNDATIONS, n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ModelError(f"there is no encoder '{encoder}'; {hint}seg models --encoder 'fm-*' lists them")
    return FOUNDATIONS[encoder]


def why_not(model: Foundation) -> str:
    """Why a model cannot be built here, and the cure; empty if it can. Nothing is imported."""
    if find_spec(model.family.package) is not None:
        return ""
    return (
        f"{model.family.package} is not installed: pip install 'seg[geofm]' (this is Python "
        f"{sys.version_info.major}.{sys.version_info.minor})"
    )


def check_foundation(encoder: str) -> None:
    """Check that a foundation model exists and that its package is installed.

    Raises:
        ModelError: With the cure.
    """
    model = find_foundation(encoder)
    if reason := why_not(model):
        raise ModelError(f"encoder '{encoder}' cannot be built here: {reason}")


def check_inputs(encoder: str, bands: Sequence[str]) -> None:
    """Check that an encoder has a place for each band, if it is a foundation model: others take any.

    Raises:
        ModelError: Naming those that it has none for.
    """
    if not is_foundation(encoder):
        return
    family = find_foundation(encoder).family
    check_bands(encoder, family.bands, family.whole, bands)

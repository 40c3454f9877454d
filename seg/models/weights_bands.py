"""Which input bands published weights take, and who says so.

Only what was written down about a file names its bands: its own metadata, the ``config.json`` or ``README.md`` beside
it, the hub id that it was fetched by, or ``model.weights_bands``. Neither the number of bands nor a path does: there is
more than one published order of every usual number, and folders are renamed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg.config.wording import counted
from seg.errors import ModelError
from seg.models.weights_catalogue import ORDERS, REBEN_BANDS, REBEN_HUB
from seg.reben.bands import BANDS, CIRRUS

SETTING = "model.weights_bands"
_KEYS = ("bands", "inputbands", "bandnames", "bandorder", "channels", "channelnames", "channelorder", "inputchannels")
"""What a list of band names is called in metadata, without case and separators."""
_VERSION_KEYS = ("version", "modelversion", "rebenversion")
_COLOURS = {"blue": "B02", "green": "B03", "red": "B04"}
_SENTINEL2 = re.compile(r"b(\d{1,2})(a?)")
# An id of the hub, resnet50-all-v0.2.0, is told from other versions that a page mentions.
_ID = re.compile(r"-(all|s1|s2)-v(\d+\.\d+)\.\d+(?![\d.]*\d)", re.IGNORECASE)
_ANY_VERSION = re.compile(r"(?<![\w.])v?(\d+\.\d+)\.\d+(?![\d.]*\d)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class InputBands:
    """Names of input bands in order, and what says so."""

    names: tuple[str, ...]
    source: str

    def __str__(self) -> str:
        return f"{','.join(self.names)} ({self.source})"


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of model whose input bands follow from their number.

    Attributes:
        orders: Input bands by their number.
        source: What says that weights are of this kind.
        binding: Whether no setting may say otherwise: the very file is known.
    """

    orders: Mapping[int, tuple[str, ...]]
    source: str
    binding: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was written down about the input bands of weights.

    Attributes:
        told: ``model.weights_bands``; None if it is not set.
        stated: Where bands are named.
        families: What the weights are said to be.
        reben: Whether they are those of a published reBEN model, of whatever version.
    """

    told: tuple[str, ...] | None = None
    stated: tuple[InputBands, ...] = ()
    families: tuple[Family, ...] = ()
    reben: bool = False

    def resolve(self, channels: int, weights: str) -> InputBands:
        """The input bands of weights, in order.

        Args:
            channels: How many their first layer takes.
            weights: What they are, for errors.

        Raises:
            ModelError: If nothing names them, or two things contradict each other, or they are another number.
        """
        of_number = [(family, family.orders[channels]) for family in self.families if channels in family.orders]
        binding = [InputBands(names, family.source) for family, names in of_number if family.binding]
        found = [*self.stated, *binding]
        if self.told is not None:
            found.insert(0, InputBands(self.told, SETTING))
        else:
            found += [InputBands(names, family.source) for family, names in of_number if not family.binding]
        if not found:
            raise _unknown(channels, weights, reben_orders(channels) if self.reben else ORDERS.get(channels, {}))
        for one in found:
            if len(one.names) != channels:
                raise ModelError(
                    f"the first layer of {weights} takes {counted(channels, 'band', 'bands')}, not the "
                    f"{len(one.names)} of {', '.join(one.names)} ({one.source})"
                )
            if one.names != found[0].names:
                cure = f"leave {SETTING} out" if self.told else f"say which with --set {SETTING}=..."
                raise ModelError(
                    f"the input bands of {weights} are {found[0]}, but also {one}; correct what is wrong, or {cure}"
                )
        return found[0]


def names_in(document: Mapping[str, Any], source: str) -> tuple[InputBands, ...]:
    """Input bands that metadata name, in reBEN's names: ``bands``, ``band_order`` and the like, a list or a text.

    Args:
        document: Metadata; one level of sections is looked into too.
        source: What it is, in words.

    Raises:
        ModelError: If a list of bands holds a name that is none, or one twice.
    """
    sections = [document, *(value for value in document.values() if isinstance(value, Mapping))]
    found: list[InputBands] = []
    for section in sections:
        for key, value in section.items():
            if re.sub(r"[^a-z]", "", str(key).lower()) not in _KEYS:
                continue
            if (listed := _listed(value)) is not None:
                found.append(InputBands(_known(listed, f"'{key}' of {source}"), f"'{key}' of {source}"))
    return tuple(found)


def versions_in(document: Mapping[str, Any]) -> set[str]:
    """Versions, as ``0.2``, of the reBEN model that metadata are about."""
    sections = [document, *(value for value in document.values() if isinstance(value, Mapping))]
    found: set[str] = set()
    for section in sections:
        for key, value in section.items():
            if not isinstance(value, str):
                continue
            found |= _versions(value)
            if re.sub(r"[^a-z]", "", str(key).lower()) in _VERSION_KEYS:
                found |= set(_ANY_VERSION.findall(value))
    return found


def reben_evidence(
    file: Path, metadata: Mapping[str, str], told: Sequence[str] | None, repository: str | None
) -> Evidence:
    """What says the order of bands of a published reBEN model: its version does, and something has to tell that.

    Args:
        file: The file.
        metadata: Of the file itself.
        told: ``model.weights_bands``.
        repository: Of the hub, that it was fetched from; None for a file of the disk, whose path is no evidence.
    """
    stated, config = _stated(file, metadata)
    if versions := _versions(repository or ""):
        # Pages in a repository's folder may speak of other models too.
        says = {f"the id {repository}": versions}
    else:
        says = {
            f"the metadata of {file.name}": versions_in(metadata),
            "config.json beside it": versions_in(config),
            "README.md beside it": _page_versions(file.parent / "README.md"),
        }
    official = (repository or "").startswith(f"{REBEN_HUB}/")
    families = tuple(
        Family(REBEN_BANDS[version], f"reBEN v{version} by {source}", official)
        for source, versions in says.items()
        for version in sorted(versions)
        if version in REBEN_BANDS
    )
    return Evidence(_tuple(told), stated, families, reben=True)


def file_evidence(
    file: Path, metadata: Mapping[str, str], told: Sequence[str] | None, families: tuple[Family, ...] = ()
) -> Evidence:
    """What says the input bands of any other file.

    Args:
        file: The file.
        metadata: Of the file itself.
        told: ``model.weights_bands``.
        families: As in `Evidence`.
    """
    return Evidence(_tuple(told), _stated(file, metadata)[0], families)


def bands_of_id(repository: str) -> tuple[str, ...] | None:
    """Input bands of the reBEN model that an id such as ``resnet50-all-v0.2.0`` names; None if it names none."""
    match = _ID.search(repository)
    orders = REBEN_BANDS.get(match[2], {}) if match else {}
    return orders.get({"s1": 2, "s2": 10, "all": 12}[match[1].lower()]) if match else None


def reben_orders(channels: int) -> Mapping[tuple[str, ...], str]:
    """The orders of so many bands that reBEN's models have had, and which of them did."""
    return {bands[channels]: f"reBEN v{version}" for version, bands in REBEN_BANDS.items() if channels in bands}


def _tuple(told: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if told is None else tuple(told)


def _stated(file: Path, metadata: Mapping[str, str]) -> tuple[tuple[InputBands, ...], Mapping[str, Any]]:
    """Bands that are named in a file or beside it, and what lies beside it."""
    try:
        config = json.loads((file.parent / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    config = config if isinstance(config, dict) else {}
    inside = names_in(metadata, f"the metadata of {file.name}")
    return (*inside, *names_in(config, "config.json beside it")), config


def _page_versions(page: Path) -> set[str]:
    try:
        text = page.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return _versions(text)


def _versions(text: str) -> set[str]:
    """Versions of the ids of reBEN models in a text."""
    return {match[2] for match in _ID.finditer(text)}


def _listed(value: Any) -> list[str] | None:
    """The parts of a list of names; None for what is none, such as a number of channels."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = json.loads(value.replace("'", '"'))
            except ValueError:
                value = value.strip("[] ")
        if isinstance(value, str):
            value = [part for part in re.split(r"[\s,;]+", value) if part]
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        return None
    return None if all(part.isdigit() for part in value) else value


def _known(listed: Sequence[str], source: str) -> tuple[str, ...]:
    names = [_in_reben(part) for part in listed]
    if unknown := next((part for part, name in zip(listed, names, strict=True) if name is None), None):
        raise ModelError(
            f"{source} names an input band '{unknown}' that is no band of Sentinel-1 or Sentinel-2 such as VV or B8A; "
            "correct it there"
        )
    known = tuple(name for name in names if name is not None)
    if twice := next((name for name in known if known.count(name) > 1), None):
        raise ModelError(f"{source} names the input band {twice} twice; correct it there")
    return known


def _in_reben(name: str) -> str | None:
    """A band as reBEN names it: ``b2`` is B02, and ``red`` is B04."""
    folded = name.strip().lower()
    if folded in _COLOURS:
        return _COLOURS[folded]
    if match := _SENTINEL2.fullmatch(folded):
        folded = f"b{match[1]}a" if match[2] else f"b{int(match[1]):02}"
    name = folded.upper()
    return name if name in (*BANDS, CIRRUS) else None


def _unknown(channels: int, weights: str, orders: Mapping[tuple[str, ...], str]) -> ModelError:
    bands = counted(channels, "band", "bands")
    cures = [f"--set {SETTING}={','.join(order)} ({whose})" for order, whose in orders.items()]
    if not cures:
        return ModelError(
            f"the first layer of {weights} takes {bands} and nothing says which; name them in order with "
            f"--set {SETTING}=B02,B03,..."
        )
    return ModelError(
        f"the first layer of {weights} takes {bands} and nothing says in which order; say so with {' or '.join(cures)}"
    )

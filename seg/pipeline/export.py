"""Export the predicted maps of a split as GeoTIFFs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from seg.config.track import Track, silent
from seg.engine.distributed import Ranks
from seg.engine.evaluate import predict
from seg.maps.geotiff import write_class_map, write_probabilities, write_reference
from seg.maps.mosaic import assemble
from seg.pipeline.data import Notify, ignore
from seg.pipeline.session import Session, joined_session, open_run
from seg.reben.bands import PATCH_SIZE
from seg.reben.patch import PatchId, Split
from seg.reben.reference_map import class_indices
from seg.report.figures.maps import map_figure, quicklook
from seg.report.figures.style import write_png
from seg.store.patches import MAP_SUFFIX

ClassMap = npt.NDArray[np.uint8]

OVERVIEW = "overview.png"
_OVERVIEW_PATCHES = 400
_RGB = ("B04", "B03", "B02")


@dataclass(frozen=True)
class ExportResult:
    """Outcome of an export.

    Attributes:
        folder: Where the maps are.
        patches: Number of predicted maps.
        overview: Picture of one product beside its reference; None without reference maps.
    """

    folder: Path
    patches: int
    overview: Path | None


def export(
    run: Path,
    out: Path,
    *,
    split: Split | None = None,
    data: Path | None = None,
    metadata: Path | None = None,
    probabilities: bool = False,
    reference: bool = False,
    device: str | None = None,
    track: Track = silent,
    notify: Notify = ignore,
) -> ExportResult:
    """Write ``<out>/<product>/<patch_id>_map.tif`` for every patch of a split, with the georeference of the patch.

    Under ``torchrun`` each process writes the maps of its own patches; the first one draws the overview.

    Args:
        run: Run folder of `train`.
        out: Folder for the maps; made if need be.
        split: The split; the configuration's ``eval.split`` (test) if None.
        data, metadata: Other data than the run's own.
        probabilities: Also write ``<patch_id>_probabilities.tif``, a band per class.
        reference: Also write ``<patch_id>_reference.tif``, the reference map as class indices.
        device: Instead of the run's setting.
        track: Progress.
        notify: Is told what the user must not miss.

    Raises:
        ValueError: One of its subclasses, in one sentence, for anything wrong with the run or the data.
        OSError: If a map cannot be written.
    """
    session = open_run(
        run,
        split=split,
        data=data,
        metadata=metadata,
        device=device,
        need_maps=reference,
        track=track,
        notify=notify,
    )
    with joined_session(session) as session:
        predicted = _write_maps(session, out, track, probabilities=probabilities, reference=reference)
        overview = _gathered(predicted, session.ranks)
        picture = _draw_overview(session, overview, out) if overview and session.ranks.first else None
        session.ranks.wait()
    return ExportResult(out, len(session.dataset), picture)


def _write_maps(
    session: Session, out: Path, track: Track, *, probabilities: bool, reference: bool
) -> dict[PatchId, ClassMap]:
    """Write the maps of the patches of this process; the predicted maps of those that the overview shows."""
    tags = _tags(session)
    shown = _overview_patches(session)
    overview: dict[PatchId, ClassMap] = {}
    for prediction in predict(session.model, session.dataset, session.how(track)):
        classes_BHW = prediction.pixel_logits_BKHW.max(1).indices.byte().cpu().numpy()
        shares_BKHW = prediction.pixel_logits_BKHW.softmax(1).cpu().numpy() if probabilities else None
        for i, name in enumerate(session.dataset.patch_ids(prediction.batch.rows_B.cpu().numpy())):
            patch = PatchId.parse(name)
            stem = out / patch.product / name
            stem.parent.mkdir(parents=True, exist_ok=True)
            write_class_map(stem.with_name(f"{name}_map.tif"), classes_BHW[i], patch.georef, tags)
            if shares_BKHW is not None:
                write_probabilities(stem.with_name(f"{name}_probabilities.tif"), shares_BKHW[i], patch.georef, tags)
            if reference:
                truth_HW = prediction.batch.masks_BHW[i].cpu().numpy()
                write_reference(stem.with_name(f"{name}_reference.tif"), truth_HW, patch.georef, tags)
            if name in shown:
                overview[patch] = classes_BHW[i]
    return overview


def _gathered(maps: dict[PatchId, ClassMap], ranks: Ranks) -> dict[PatchId, ClassMap]:
    """The maps of all processes, in the order of the patch ids."""
    names = ranks.gather("\n".join(map(str, maps)).encode())
    pixels = ranks.gather(b"".join(map_HW.tobytes() for map_HW in maps.values()))
    gathered = {
        PatchId.parse(name): map_HW
        for part, values in zip(names, pixels, strict=True)
        for name, map_HW in zip(
            part.decode().split("\n") if part else (),
            np.frombuffer(values, np.uint8).reshape(-1, PATCH_SIZE, PATCH_SIZE),
            strict=True,
        )
    }
    return {patch: gathered[patch] for patch in sorted(gathered, key=str)}


def _tags(session: Session) -> dict[str, str]:
    card, info = session.card, session.store.info
    tags = {
        "SEG_VERSION": card.seg_version,
        "MODEL": f"{card.arch} {card.encoder}",
        "BANDS": ",".join(card.bands),
        "DATA_FINGERPRINT": info.fingerprint,
    }
    return tags | ({"SYNTHETIC": "YES"} if info.synthetic or card.data.synthetic else {})


def _overview_patches(session: Session) -> set[str]:
    """Patches with a reference map of the product that has most of them, as far as a picture of them is small."""
    index = session.store.index.take(session.dataset.rows)
    mapped = index.patch_ids.filter(index.has_map)
    if not len(mapped):
        return set()
    # A patch id is its product, then _CC_RR.
    products = pc.utf8_slice_codeunits(mapped, 0, -6)
    largest = pc.mode(products.dictionary_encode().indices)[0]["mode"].as_py()
    chosen = mapped.filter(pc.equal(products, products.dictionary_encode().dictionary[largest]))
    return set(chosen.to_pylist()[:_OVERVIEW_PATCHES])


def _draw_overview(session: Session, predicted: dict[PatchId, ClassMap], out: Path) -> Path:
    reader = session.store.patches
    reference = {patch: class_indices(reader.reference_map(str(patch)), f"{patch}{MAP_SUFFIX}") for patch in predicted}
    rgb_HW3 = None
    if set(_RGB) <= set(session.store.info.bands):
        looks = {patch: _quicklook(session, patch) for patch in predicted}
        # A channel of a quick-look is uint8 like a map, and is put together in the same way.
        channels = [assemble({patch: look[..., i] for patch, look in looks.items()})[0] for i in range(3)]
        rgb_HW3 = np.stack(channels, axis=-1)
    figure = map_figure(
        assemble(reference)[0],
        assemble(predicted)[0],
        rgb_HW3,
        title=f"{next(iter(predicted)).product} · {session.card.arch} {session.card.encoder}",
        synthetic=session.store.info.synthetic,
    )
    write_png(out / OVERVIEW, figure)
    return out / OVERVIEW


def _quicklook(session: Session, patch: PatchId) -> npt.NDArray[np.uint8]:
    tensors = session.store.patches.tensors(str(patch))
    return quicklook(*(tensors[band] for band in _RGB))

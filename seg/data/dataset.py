"""From a store to batches."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset

from seg.config.sections import DataConfig
from seg.data.context import picture_size, require_shape, with_context
from seg.data.elastic import pulled
from seg.data.order import BatchKey
from seg.data.raw import Items, RawBatch, RawForm
from seg.data.sampling import Floats, repeat_factors
from seg.data.symmetry import Symmetries, moved, moves_pixels_only
from seg.data.transforms import Augmenter, Normaliser
from seg.errors import DamagedError, StoreError, WrongUseError
from seg.reben.bands import BANDS, PATCH_SIZE, SENSORS, Sensor, of_sensor
from seg.reben.classes import IGNORE_INDEX
from seg.reben.reference_map import class_indices
from seg.store.ahead import Stretch
from seg.store.index import Rows
from seg.store.offsets import WHOLE
from seg.store.open import Store
from seg.store.patches import MAP_SUFFIX
from seg.store.surroundings import MIDDLE, NOBODY, PLACES, Surroundings, surroundings
from seg.store.tensors import Array, front

_Places = tuple[Stretch | None, ...]
_UNKNOWN: _Places = (None, None, None)


@dataclass(frozen=True)
class Batch:
    """Patches that go through the network together.

    Attributes:
        images_BCHW: Normalised bands, float32, 120 x 120, or larger by the context of the data on every side.
        masks_BHW: Class indices, uint8, 255 where unlabelled.
        labels_BK: Official multi-label, float32, 0 or 1.
        rows_B: Rows of the store's index, int64; always on the CPU, which alone looks at them.
    """

    images_BCHW: Tensor
    masks_BHW: Tensor
    labels_BK: Tensor
    rows_B: Tensor

    def __len__(self) -> int:
        return len(self.rows_B)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the batch."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, but for its rows; the copy runs beside the computation where the memory is pinned."""
        images, masks, labels = (tensor.to(device, non_blocking=True) for tensor in self.tensors[:-1])
        return Batch(images, masks, labels, self.rows_B)

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory; called by the loader."""
        return Batch(*(tensor.pin_memory() for tensor in self.tensors))


class PatchDataset(Dataset[Batch | RawBatch]):
    """Whole batches out of a store; the samples are written straight into the batch.

    Args:
        store: The store.
        rows: Rows of its index, one per sample; they must have all that the bands need (`Store.usable`).
        data: Bands, resampling, augmentation.
        augment_seed: Seed of the augmentation; None does not augment.
        with_maps: Read reference maps; without, masks are unlabelled throughout.
        raw: Give batches as stored, for `seg.data.on_device.DevicePreparation`.

    Raises:
        WrongUseError: If the augmentation cannot be used, or does not run on a device while `raw` wants that.

    Attributes:
        rows, raw: As given.
        bands, resampling, context: Of the configuration.
        surroundings: The patches around each sample; None without a context.
        shuffle: The order in which the configuration wants training to read; see `seg.data.order`.
    """

    def __init__(
        self,
        store: Store,
        rows: Rows,
        data: DataConfig,
        augment_seed: int | None = None,
        with_maps: bool = True,
        raw: bool = False,
    ) -> None:
        self.rows = rows
        self._store, self._data = store, data
        self.shuffle = data.order
        self._all_ids = store.index.patch_ids
        self._all_countries = store.index.countries
        self._reader = store.patches
        self._index = store.index.take(rows)
        self._normalise = Normaliser(data.bands, data.resampling, data.context)
        self.with_maps = with_maps
        self._sensors = tuple(bool(of_sensor(data.bands, sensor)) for sensor in SENSORS)
        self._seed = augment_seed
        self._symmetries: Symmetries | None = None
        self._augment: Augmenter | None = None
        if augment_seed is not None and moves_pixels_only(data.augment):
            self._symmetries = Symmetries(data.augment)
        elif augment_seed is not None:
            self._augment = Augmenter(data.augment, len(data.bands), data.context)
        if raw and self._augment:
            raise WrongUseError(
                "data.preprocess=device takes only flips, transposition and quarter turns in data.augment; "
                "use --set data.preprocess=host"
            )
        self._form = RawForm(data.bands, data.context) if raw else None
        self.raw = raw
        self.bands, self.resampling, self.context = data.bands, data.resampling, data.context
        # Found before other processes are started, which inherit it.
        self._offsets = store.offsets and store.offsets.take(rows)
        self._wanted = self._wanted_bytes() if self._offsets else (0, 0, 0)
        self.surroundings: Surroundings | None = None
        self._all_s1_names, self._all_offsets = store.index.s1_names, store.offsets if data.context else None
        if data.context:
            self.surroundings = surroundings(store.index, rows, data.context_split == "same")

    def take(self, positions: Rows) -> "PatchDataset":
        """Some of the samples only, in that order, without augmentation."""
        return PatchDataset(self._store, self.rows[positions], self._data, with_maps=self.with_maps, raw=self.raw)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def values(self) -> float:
        """How many patches are read for a sample on average: itself, and its neighbours if there is a context."""
        if self.surroundings is None or not len(self):
            return 1.0
        return float((self.surroundings.s2_NP != NOBODY).sum(1).mean())

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        """The sensors that are read."""
        return tuple(sensor for sensor, read in zip(SENSORS, self._sensors, strict=True) if read)

    def context_record(self) -> dict[str, Any]:
        """What a record says of what is seen around the patches; nothing if nothing is."""
        if self.surroundings is None:
            return {}
        seen = {"pixels": self.context, "split": self._data.context_split, "labels": False}
        return {"context": seen | self.surroundings.record(self.sensors)}

    def factors(self) -> Floats | None:
        """How often training is to read the samples in relation to each other; None: each once."""
        if self._data.sampling == "uniform":
            return None
        return repeat_factors(self._index.labels(np.arange(len(self))), self._data.rare_share)

    def patch_ids(self, rows: Rows) -> list[str]:
        """Patch ids of rows of the store's index, such as those of a batch."""
        ids: list[str] = self._all_ids.take(pa.array(rows)).to_pylist()
        return ids

    def countries(self, rows: Rows) -> list[str]:
        """Countries of rows of the store's index."""
        names: list[str] = self._all_countries.take(pa.array(rows)).to_pylist()
        return names

    def __getitem__(self, key: BatchKey) -> Batch | RawBatch:
        """Read a batch.

        Raises:
            StoreError, UnknownCodeError: If a patch is missing or damaged; never replaced by another.
        """
        arrays = [np.empty((len(key.positions), *shape), dtype) for shape, dtype in self.items]
        arrays += self.read_into(key, arrays)
        return self.batch([torch.from_numpy(array) for array in arrays])

    @property
    def items(self) -> Items:
        """Shape and dtype of one sample in each array of a batch."""
        if self._form is not None:
            return self._form.items
        edge, size = picture_size(self.context), (PATCH_SIZE, PATCH_SIZE)
        return [((len(self._normalise.bands), edge, edge), np.float32), (size, np.uint8)]

    def batch(self, tensors: Sequence[Tensor]) -> Batch | RawBatch:
        """A batch of the arrays that `read_into` has filled and of those that it has returned, as tensors."""
        *images, masks_BHW, labels_BK, rows_B = tensors
        if self._form is None:
            return Batch(images[0], masks_BHW, labels_BK, rows_B)
        *groups, symmetries_B = images
        return RawBatch(tuple(groups), symmetries_B, masks_BHW, labels_BK, rows_B)

    def read_into(self, key: BatchKey, arrays: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[np.float32], Rows]:
        """Read a batch into arrays that are there; labels and rows are returned.

        Args:
            key: Which batch.
            arrays: As `items` describes them.

        Raises:
            StoreError, UnknownCodeError: As `__getitem__`.
        """
        masks_BHW = arrays[-1]
        if key.ahead and self._offsets:
            self._reader.read_ahead(self._stretches(np.array(key.ahead)))
        if not self.with_maps:
            masks_BHW.fill(IGNORE_INDEX)
        positions = np.array(key.positions, dtype=np.int64)
        places = self._offsets.places(positions) if self._offsets else [_UNKNOWN] * len(positions)
        for i, position in enumerate(key.positions):
            seed = () if self._seed is None else (self._seed, *key.seed(i))
            self._read(position, places[i], arrays, i, seed)
            if self._augment:
                self._augment(arrays[0][i], masks_BHW[i], seed)
        return self._index.labels(positions).astype(np.float32), self.rows[positions]

    def _read(
        self, position: int, places: _Places, arrays: Sequence[npt.NDArray[Any]], sample: int, seed: Sequence[int]
    ) -> None:
        symmetry = self._symmetries.draw(seed) if self._symmetries else 0
        patch_id, (s2_place, s1_place, map_place) = self._index.patch_id(position), places
        with_s1, with_s2 = self._sensors
        tensors = self._reader.tensors(patch_id, s2_place) if with_s2 else {}
        if with_s1:
            tensors |= self._reader.tensors(self._index.s1_name(position), s1_place)
        around = self._neighbours(position, self.surroundings) if self.surroundings is not None else {}
        try:
            framed: dict[str, Array] = {}
            for sensor, nine in around.items():
                nine[MIDDLE] = tensors
                framed |= with_context(nine, of_sensor(self.bands, sensor), self.context)
            tensors = framed or tensors
            if self._form is None:
                self._normalise(tensors, arrays[0][sample], symmetry)
            else:
                self._form.write(tensors, arrays, sample)
                arrays[-2][sample] = symmetry
            if self.with_maps:
                mask_HW = arrays[-1][sample]
                codes_HW = self._reader.reference_map(patch_id, map_place)
                class_indices(codes_HW, patch_id + MAP_SUFFIX, out=mask_HW)
                if self._data.label_elastic and self._seed is not None:
                    # As stored, before anything is turned, so that it is the same where a device turns it.
                    mask_HW[:] = pulled(mask_HW, self._data.label_elastic, self._data.label_elastic_scale, seed)
                if symmetry and self._form is None:
                    mask_HW[:] = moved(mask_HW, symmetry)
        except KeyError as error:
            raise StoreError(f"{patch_id} has no band {error.args[0]} in the store; build the store again") from None
        except (ValueError, TypeError) as error:
            raise StoreError(f"{patch_id} cannot be read: {error}") from error

    def _neighbours(self, position: int, around: Surroundings) -> dict[Sensor, list[Mapping[str, Array] | None]]:
        """What lies around a sample, by sensor, in the order of `PLACES`; None where there is nothing.

        Raises:
            StoreError: Naming the neighbour whose bands are not what they have to be.
        """
        found: dict[Sensor, list[Mapping[str, Array] | None]] = {}
        for sensor in self.sensors:
            kind, names = (1, self._all_s1_names) if sensor == "s1" else (0, self._all_ids)
            rows_P = around.read(sensor)[position]
            there = np.flatnonzero((rows_P != NOBODY) & (np.arange(PLACES) != MIDDLE))
            places = self._all_offsets.places(rows_P[there]) if self._all_offsets else [_UNKNOWN] * len(there)
            found[sensor] = [None] * PLACES
            for number, place in zip(there.tolist(), places, strict=True):
                name = names[int(rows_P[number])].as_py()
                found[sensor][number] = tensors = self._reader.tensors(name, place[kind])
                for band in of_sensor(self.bands, sensor):
                    if band not in tensors:
                        raise StoreError(f"{name} has no band {band} in the store; build the store again")
                    try:
                        require_shape(band, tensors[band], (BANDS[band].size,) * 2)
                    except DamagedError as error:
                        raise StoreError(f"{name} cannot be read: {error}") from error
        return found

    def _stretches(self, positions: Rows) -> list[Stretch]:
        """Where in the store all lies that some samples need; each value once, in the order of the file."""
        assert self._offsets is not None
        around, offsets = self.surroundings, self._all_offsets
        if around is None or offsets is None:
            return self._offsets.stretches(positions, self._wanted)
        s2, s1, maps = self._wanted
        stretches = self._offsets.stretches(positions, (0, 0, maps))
        for rows_NP, wanted in ((around.s2_NP, (s2, 0, 0)), (around.s1_NP, (0, s1, 0))):
            rows = np.unique(rows_NP[positions])
            stretches += offsets.stretches(rows[rows != NOBODY], wanted)
        return sorted(stretches)

    def _wanted_bytes(self) -> tuple[int, int, int]:
        """How much of the front of Sentinel-2, Sentinel-1 and map values is read, as the first of them tells."""
        assert self._offsets is not None
        wanted = [WHOLE if with_it else 0 for with_it in (self._sensors[1], self._sensors[0], self.with_maps)]
        if len(self) and wanted[0] and not self._reader.compact:
            patch_id, place = self._index.patch_id(0), self._offsets.places(np.array([0]))[0][0]
            value = self._reader.stored(patch_id, place)
            # A damaged value shows when it is read.
            with suppress(DamagedError):
                wanted[0] = WHOLE if value is None else front(value, self.bands, patch_id)
        return wanted[0], wanted[1], wanted[2]

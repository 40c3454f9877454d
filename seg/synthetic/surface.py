"""What covers the ground inside CLC polygons, down to single pixels.

A polygon of arable land consists of fields with different crops, a village of roofs and gardens, and almost every
polygon holds woods, farms, ponds, streams and roads too small for CORINE's map. This module draws that surface; it is
independent of the date, and `seg.synthetic.radiometry` says what it looks like on a day.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg.reben.bands import PATCH_SIZE
from seg.synthetic.landscape import Codes, Field, displacement, smooth_noise, warp
from seg.synthetic.materials import MATERIAL_NUMBER, VARIANTS

State = npt.NDArray[np.uint8]

# Per CLC code: the shape of its parcels, and the share of its area per material, in percent.
# field: rectangles of a hectare to several; plot: small rectangles; stand: patches of 1 to 3 ha; fine: houses, trees;
# open: water, which changes gradually.
_MIXTURES: dict[int, tuple[str, dict[str, int]]] = {
    111: ("fine", {"roof": 52, "asphalt": 30, "garden": 12, "broadleaf": 6}),
    112: ("fine", {"roof": 25, "asphalt": 16, "garden": 38, "broadleaf": 13, "meadow": 8}),
    121: ("plot", {"hall": 30, "yard": 34, "asphalt": 16, "meadow": 14, "bare": 6}),
    122: ("plot", {"asphalt": 60, "meadow": 25, "bare": 15}),
    123: ("plot", {"yard": 50, "hall": 20, "lake": 20, "asphalt": 10}),
    124: ("field", {"meadow": 70, "asphalt": 25, "hall": 5}),
    131: ("stand", {"bare": 75, "lake": 10, "shrub": 15}),
    132: ("stand", {"bare": 60, "yard": 20, "shrub": 20}),
    133: ("plot", {"bare": 65, "asphalt": 15, "roof": 10, "meadow": 10}),
    141: ("stand", {"meadow": 45, "broadleaf": 45, "asphalt": 10}),
    142: ("stand", {"meadow": 60, "broadleaf": 20, "sand": 5, "garden": 15}),
    211: ("field", {"winter crop": 52, "summer crop": 30, "rape": 6, "meadow": 6, "broadleaf": 3, "garden": 2,
                    "roof": 1}),
    212: ("field", {"summer crop": 75, "winter crop": 15, "bare": 5, "meadow": 5}),
    213: ("field", {"rice": 92, "meadow": 8}),
    221: ("field", {"vineyard": 82, "meadow": 8, "winter crop": 5, "broadleaf": 3, "roof": 2}),
    222: ("field", {"orchard": 80, "meadow": 10, "summer crop": 7, "roof": 3}),
    223: ("field", {"olive": 82, "dry grass": 10, "winter crop": 6, "shrub": 2}),
    231: ("field", {"meadow": 82, "rough grass": 8, "winter crop": 3, "broadleaf": 4, "garden": 2, "roof": 1}),
    241: ("plot", {"olive": 45, "winter crop": 40, "vineyard": 15}),
    242: ("plot", {"winter crop": 24, "summer crop": 22, "meadow": 26, "orchard": 8, "vineyard": 4, "garden": 7,
                   "broadleaf": 5, "roof": 4}),
    243: ("stand", {"winter crop": 22, "summer crop": 14, "meadow": 26, "broadleaf": 19, "shrub": 12, "conifer": 5,
                    "roof": 2}),
    244: ("fine", {"montado": 52, "dry grass": 36, "shrub": 8, "winter crop": 4}),
    311: ("stand", {"broadleaf": 88, "shrub": 5, "conifer": 4, "rough grass": 3}),
    312: ("stand", {"conifer": 88, "broadleaf": 4, "young wood": 4, "clearcut": 4}),
    313: ("stand", {"conifer": 46, "broadleaf": 45, "young wood": 6, "clearcut": 3}),
    321: ("stand", {"rough grass": 78, "shrub": 12, "rock": 6, "broadleaf": 4}),
    322: ("stand", {"heath": 82, "rough grass": 10, "bog": 8}),
    323: ("stand", {"maquis": 80, "dry grass": 12, "rock": 5, "broadleaf": 3}),
    324: ("stand", {"young wood": 40, "shrub": 24, "clearcut": 18, "broadleaf": 9, "conifer": 9}),
    331: ("stand", {"sand": 88, "dry grass": 8, "shrub": 4}),
    332: ("stand", {"rock": 92, "rough grass": 8}),
    333: ("stand", {"rock": 35, "dry grass": 40, "shrub": 25}),
    334: ("stand", {"burnt": 90, "shrub": 10}),
    335: ("stand", {"rock": 100}),
    411: ("stand", {"reed": 72, "meadow": 13, "lake": 10, "shrub": 5}),
    412: ("stand", {"bog": 78, "heath": 8, "conifer": 8, "lake": 6}),
    421: ("stand", {"salt marsh": 78, "mud": 16, "sea": 6}),
    422: ("plot", {"saline": 80, "mud": 20}),
    423: ("stand", {"mud": 85, "sea": 15}),
    511: ("open", {"river": 100}),
    512: ("open", {"lake": 100}),
    521: ("open", {"sea": 94, "mud": 6}),
    522: ("open", {"river": 70, "sea": 30}),
    523: ("open", {"sea": 100}),
    999: ("stand", {"meadow": 30, "winter crop": 30, "broadleaf": 40}),
}  # fmt: skip
_SHAPES = ("field", "plot", "stand", "fine", "open")
_CODES = sorted(_MIXTURES)
_CODE_POSITION = np.zeros(1000, dtype=np.uint8)
_CODE_POSITION[_CODES] = np.arange(len(_CODES))
_SHAPE_OF_CODE = np.zeros(256, dtype=np.uint8)
_SHAPE_OF_CODE[: len(_CODES)] = [_SHAPES.index(_MIXTURES[c][0]) for c in _CODES]


def _states(mixture: dict[str, int]) -> npt.NDArray[np.uint8]:
    """First state of the material that a random byte stands for, uint8 (256,)."""
    bounds = np.cumsum(list(mixture.values())) / sum(mixture.values()) * 256
    numbers = np.array([MATERIAL_NUMBER[name] * VARIANTS for name in mixture], np.uint8)
    return numbers[np.searchsorted(bounds, np.arange(256), side="right")]


_STATES = np.concatenate([_states(_MIXTURES[code][1]) for code in _CODES])
_VARIANT_OF_BYTE = (np.arange(256) * VARIANTS // 256).astype(np.uint8)


class Surface(NamedTuple):
    """The ground of a block, the same on every date.

    Attributes:
        state: uint8 (height, width), 10 m pixels: ``material * VARIANTS + variant``.
        slope: float32 (height, width): terrain slope towards the south-east, about unit standard deviation.
        place: float32 (height, width): a smooth field that decides where snow lies and clouds stand.
    """

    state: State
    slope: Field
    place: Field


def draw_surface(codes: Codes, rng: np.random.Generator) -> Surface:
    """Draw what covers the ground.

    Args:
        codes: CLC level-3 codes, (height, width), 10 m pixels.
        rng: Source of randomness.
    """
    shape = (codes.shape[0], codes.shape[1])
    # CORINE's boundaries are drawn by hand at 1:100,000: the true edge lies up to some tens of metres off.
    position = warp(_CODE_POSITION[codes], shape, 0, [displacement(rng, shape, 1.2, 25.0)])
    shape_of = cv2.LUT(position, _SHAPE_OF_CODE)
    first, second = _fields(rng, shape, shape_of == _SHAPES.index("plot"))
    for names, size, bend in ((("stand", "open"), 10.0, 3.0), (("fine",), 2.2, 0.8)):
        a, b = _blobs(rng, shape, size, bend)
        for name in names:
            chosen = shape_of == _SHAPES.index(name)
            np.copyto(first, a, where=chosen)
            np.copyto(second, b, where=chosen)
    drift = np.clip(128 + 60 * smooth_noise(rng, shape, 200), 0, 255).astype(np.uint8)
    np.copyto(second, drift, where=shape_of == _SHAPES.index("open"))
    state = _STATES[position.astype(np.uint16) << 8 | first] + cv2.LUT(second, _VARIANT_OF_BYTE)
    _draw_lines(state, rng)
    terrain = smooth_noise(rng, shape, 60) + np.float32(0.4) * smooth_noise(rng, shape, 18)
    slope = np.empty_like(terrain)
    slope[:-1, :-1] = terrain[1:, 1:] - terrain[:-1, :-1]
    slope[-1], slope[:, -1] = slope[-2], slope[:, -2]
    place = smooth_noise(rng, shape, 150) + np.float32(0.35) * terrain
    return Surface(state, np.asarray(18 * slope, dtype=np.float32), np.asarray(place, dtype=np.float32))


def _blobs(rng: np.random.Generator, shape: tuple[int, int], size: float, bend: float) -> tuple[State, State]:
    """Two random bytes per pixel, constant over irregular patches of about `size` pixels across."""
    lattice = (int(shape[0] / size) + 8, int(shape[1] / size) + 8)
    both = rng.integers(0, 256, (*lattice, 2), dtype=np.uint8)
    dy, dx = displacement(rng, shape, bend / size, max(3.0, size * 0.7))
    dy += np.arange(shape[0], dtype=np.float32)[:, None] / np.float32(size) + 3
    dx += np.arange(shape[1], dtype=np.float32)[None] / np.float32(size) + 3
    out = cv2.remap(both, dx, dy, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(out[..., 0]), np.ascontiguousarray(out[..., 1])


def _fields(rng: np.random.Generator, shape: tuple[int, int], small: npt.NDArray[np.bool_]) -> tuple[State, State]:
    """Two random bytes per pixel, constant over rectangular fields; their direction changes every kilometre or so."""
    quarter, _ = _blobs(rng, shape, 90.0, 25.0)
    angle = rng.uniform(0, np.pi, 256).astype(np.float32)
    length = rng.uniform(22, 46, 256).astype(np.float32)
    width = rng.uniform(9, 22, 256).astype(np.float32)
    # A plot is a field of a third of the size in both directions.
    scale = np.where(small, np.float32(2.8), np.float32(1))
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    x = np.arange(shape[1], dtype=np.float32)[None]
    c, s = np.cos(angle), np.sin(angle)
    across = cv2.LUT(quarter, -s / width) * x + cv2.LUT(quarter, c / width) * y
    strip = np.floor(across * scale).astype(np.int32)
    along = cv2.LUT(quarter, c / length) * x + cv2.LUT(quarter, s / length) * y
    # Neighbouring strips are shifted against each other, like bricks.
    along *= scale
    along += (strip & 7).astype(np.float32) * np.float32(0.37)
    parcel = np.floor(along).astype(np.int32)
    parcel *= 40503
    strip *= 30011
    parcel += strip
    parcel += quarter
    parcel &= 0xFFFF
    both = rng.integers(0, 256, (2, 65536), dtype=np.uint8)
    return both[0][parcel], both[1][parcel]


def _draw_lines(state: State, rng: np.random.Generator) -> None:
    """Roads, and streams with their fringe of trees: 10 to 20 m wide, far below what CORINE maps."""
    height, width = state.shape
    water = (MATERIAL_NUMBER["lake"] * VARIANTS, (MATERIAL_NUMBER["sea"] + 1) * VARIANTS)
    land = (state < water[0]) | (state >= water[1])
    lines = np.zeros(state.shape, dtype=np.uint8)
    area = height * width / PATCH_SIZE**2
    streams = [_path(rng, height, width, True) for _ in range(max(1, round(area / 8)))]
    roads = [_path(rng, height, width, False) for _ in range(max(1, round(area / 2)))]
    for name, thickness, paths in (("broadleaf", 3, streams), ("river", 1, streams), ("asphalt", 1, roads)):
        for path in paths:
            cv2.polylines(lines, [path], False, MATERIAL_NUMBER[name] * VARIANTS + 2, thickness)
    np.copyto(state, lines, where=(lines > 0) & land)


def _path(rng: np.random.Generator, height: int, width: int, winding: bool) -> npt.NDArray[np.int32]:
    steps = 24
    start, end = rng.uniform(-20, (width + 20, height + 20), (2, 2))
    line = start + np.linspace(0, 1, steps)[:, None] * (end - start)
    sway = np.cumsum(rng.normal(0, 7.0 if winding else 2.0, (steps, 2)), axis=0)
    return np.asarray(line + sway, dtype=np.int32)

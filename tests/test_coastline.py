"""The land behind the maps of places: that it lies where land is, and that the script makes what is read."""

import importlib.util
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as MplPath

from seg.figures import coastline as module
from seg.figures.coastline import FILE, Coastline, coastline
from seg.figures.places import places_chart
from seg.figures.svg import LAND, PLATE, inline_svg
from seg.report.places import patch_centres

ROOT = Path(__file__).resolve().parents[1]
ON_LAND = {
    "Vienna": (16.4, 48.2), "Evora": (-7.9, 38.6), "Kaunas": (23.9, 54.9), "Tampere": (23.8, 61.5),
    "Athlone": (-7.9, 53.4), "Pristina": (21.2, 42.7), "Bern": (7.4, 46.9), "Palma, inland": (3.0, 39.6),
    "Nicosia": (33.4, 35.2), "Reykjavik, inland": (-19.0, 64.9),
    "Manaus": (-60.0, -3.1), "Ulaanbaatar": (106.9, 47.9), "Alice Springs": (133.9, -23.7), "Timbuktu": (-3.0, 16.8),
    "South Pole": (0.0, -89.0), "Denver": (-105.0, 39.7), "Chukotka": (-176.0, 67.0), "Antananarivo": (47.5, -18.9),
}  # fmt: skip
AT_SEA = {
    "North Sea": (3.0, 56.0), "Biscay": (-5.0, 45.5), "Baltic": (18.5, 56.0), "Black Sea": (34.0, 43.0),
    "Caspian Sea": (50.5, 42.0), "Irish Sea": (-5.0, 53.7), "Adriatic": (15.5, 43.0), "Tyrrhenian Sea": (12.0, 40.0),
    "Gulf of Mexico": (-90.0, 25.0), "Tasman Sea": (160.0, -38.0), "Pacific": (-150.0, 0.0), "Arctic": (0.0, 86.0),
}  # fmt: skip


def inside(rings: Iterable[np.ndarray], place: tuple[float, float]) -> bool:
    """Whether a place lies in an odd number of rings, of which some go on beyond 180 degrees."""
    turned = [(place[0] + turn, place[1]) for turn in (-360, 0, 360)]
    return sum(int(MplPath(ring).contains_points(turned).sum()) for ring in rings) % 2 == 1


@pytest.mark.parametrize("name", ON_LAND)
def test_places_on_land_are_on_land(name):
    assert inside(coastline().rings, ON_LAND[name])


@pytest.mark.parametrize("name", AT_SEA)
def test_places_at_sea_are_at_sea(name):
    assert not inside(coastline().rings, AT_SEA[name])


def test_real_patches_are_not_far_out_at_sea(real):
    ids = sorted(path.parent.name for path in (real / "reben-10m-80" / "BigEarthNet-S2").glob("*/*/*_B02.tif"))
    assert len(ids) == 80
    longitude, latitude = patch_centres(pa.array(ids))
    line = shapely.MultiLineString([ring for ring in coastline().rings if ring[:, 0].min() < 60])
    distance = np.array(
        [
            0.0 if inside(coastline().rings, place) else line.distance(shapely.Point(place))
            for place in zip(longitude, latitude, strict=True)
        ]
    )
    # Patches of the sea lie off the coast, within the tiles of the ten countries.
    assert distance.max() < 0.35
    assert np.count_nonzero(distance > 2 * coastline().fine) < 10


def test_the_file_is_small_and_says_where_it_comes_from():
    path = ROOT / "seg" / "figures" / FILE
    assert path.stat().st_size < 40_000
    with np.load(path, allow_pickle=False) as stored:
        assert "Natural Earth" in str(stored["source"])
        assert str(stored["licence"]) == "public domain"
    for ring in coastline().rings:
        assert len(ring) > 3
        assert (ring[0] == ring[-1]).all()
        assert np.ptp(ring[:, 0]) <= 360
        assert np.abs(ring[:, 1]).max() <= 90


def drawn_at(figure: Figure, longitude: float, latitude: float) -> tuple[int, ...]:
    """The colour at a place of the map."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())
    x, y = figure.axes[0].transData.transform((longitude, latitude))
    return tuple(image[image.shape[0] - 1 - int(y), int(x), :3])


def rgb(color: str) -> tuple[int, ...]:
    return tuple(round(255 * value) for value in to_rgb(color))


def map_of(*places: tuple[float, float]) -> Figure:
    longitude, latitude = np.array(places, dtype=float).T
    return places_chart(longitude, latitude, np.full(len(places), 0.5), {})


@pytest.mark.parametrize(
    ("corners", "on_land", "at_sea"),
    [
        ([(-9, 37), (30, 66)], (16.4, 48.2), (3.1, 56.3)),  # Europe
        ([(12.1, 53.2), (14.6, 54.9)], (12.9, 53.4), (13.2, 54.75)),  # a few tiles at the Baltic
        ([(115, -36), (152, -12)], (133.9, -23.7), (130.5, -34.0)),  # Australia
        ([(-70, -30), (-35, 4)], (-61.0, -3.6), (-36.5, -22.0)),  # Brazil
        ([(-120, -50), (-5, 0), (5, 0), (140, 65)], (24.0, 3.0), (-30.0, 33.0)),  # most of the world
        ([(172, 62), (-172, 67)], (178.1, 66.7), (176.2, 61.6)),  # over the date line
        ([(40, 62), (54, 70)], (48.3, 65.3), (46.5, 69.6)),  # beyond what is finer
    ],
)
def test_land_is_drawn_where_it_is(corners, on_land, at_sea):
    figure = map_of(*corners)
    (patch,) = (p for p in figure.axes[0].patches if isinstance(p, PathPatch))
    assert drawn_at(figure, *on_land) == rgb(LAND)
    assert drawn_at(figure, *at_sea) == rgb(PLATE)
    # Nothing far outside is kept, and no point that cannot be told from its neighbour.
    assert len(patch.get_path().vertices) < 8000
    assert len(inline_svg(figure, "map", "t", "d")) < 120_000
    west, east = figure.axes[0].get_xlim()
    assert east - west < 359


def test_a_map_that_the_outline_is_too_coarse_for_has_none():
    for corners in ([(13.0, 48.0), (13.1, 48.1)], [(133.0, -23.0), (133.9, -22.0)]):
        assert not [p for p in map_of(*corners).axes[0].patches if isinstance(p, PathPatch)]


def test_a_map_far_from_any_coast_is_all_land_or_all_sea():
    assert drawn_at(map_of((16, 48.2), (20, 50)), 16.5, 49.9) == rgb(LAND)
    at_sea = map_of((-40, 25), (-20, 40))
    assert drawn_at(at_sea, -36.3, 38.2) == rgb(PLATE)


def test_ticks_over_the_date_line_are_degrees_of_either_side():
    figure = map_of((172, -20), (-172, -15))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    labels = {tick: label.get_text() for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)}
    shown = {tick: float(text) for tick, text in labels.items() if low <= tick <= high}
    assert min(shown.values()) < 0 < max(shown.values())
    assert all(abs(value) <= 180 for value in shown.values())
    assert all((tick - value) % 360 == 0 for tick, value in shown.items())


@settings(deadline=None, max_examples=60)
@given(
    west=st.floats(-25, 10), south=st.floats(34, 60), width=st.floats(0.5, 9), height=st.floats(0.5, 9),
    x=st.floats(0.02, 0.98), y=st.floats(0.02, 0.98),
)  # fmt: skip
def test_what_is_cut_and_thinned_covers_what_the_rings_cover(west, south, width, height, x, y):
    """Against the whole rings, but for what lies so near to the line that thinning may move it."""
    scale = 400 / max(width, height)
    found = module._land(coastline(), (west, west + width, south, south + height), scale)
    place = (west + x * width, south + y * height)
    rings = [ring for ring in coastline().rings if (ring.min(0) <= place).all() and (ring.max(0) >= place).all()]
    distance = min((shapely.LineString(ring).distance(shapely.Point(place)) for ring in rings), default=9.0)
    if distance * scale > 2:
        drawn = [] if found is None else found.to_polygons()
        assert inside(drawn, place) == inside(rings, place)


def test_the_script_makes_what_is_read(tmp_path, monkeypatch):
    """From a package of one square of land with a hole, an island that is too small, and a ring in two arcs."""
    units = {"scale": [0.01, 0.01], "translate": [0, 0]}

    def arc(*points: tuple[float, float]) -> list[list[int]]:
        whole = np.rint(np.array(points) * 100).astype(int)
        return np.diff(whole, axis=0, prepend=np.zeros((1, 2), int)).tolist()

    arcs = [
        arc((0, 40), (10, 40), (10, 50), (5, 50.001), (0, 50), (0, 40)),
        arc((4, 44), (4, 46), (6, 46), (6, 44), (4, 44)),
        arc((20, 40), (20.02, 40), (20, 40.02), (20, 40)),
        arc((160, -40), (170, -40), (170, -30)),
        arc((160, -40), (160, -30), (170, -30)),
    ]
    geometries = [
        {"type": "MultiPolygon", "arcs": [[[0], [1]], [[2]]]},
        {"type": "Polygon", "arcs": [[3, ~4]]},
    ]
    topology = {"transform": units, "arcs": arcs, "objects": {"land": {"geometries": geometries}}}
    text = json.dumps(topology).encode()
    with tarfile.open(tmp_path / "atlas.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("package/land-10m.json")
        member.size = len(text)
        archive.addfile(member, BytesIO(text))
    script = ROOT / "scripts" / "make_coastline.py"
    command = [sys.executable, script, tmp_path / "atlas.tgz", "--out", tmp_path / FILE]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    made: Coastline = coastline.__wrapped__()
    areas = sorted(shapely.Polygon(ring).area for ring in made.rings)
    assert areas == pytest.approx([4, 100, 100])
    assert [len(ring) for ring in made.rings] == [5, 5, 5]  # what lies on a line is left out
    assert made.error((0, 10, 40, 50)) == made.fine < made.coarse == made.error((160, 170, -40, -30))


def test_the_committed_file_is_what_the_script_states():
    spec = importlib.util.spec_from_file_location("make_coastline", ROOT / "scripts" / "make_coastline.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = coastline()
    west, south, east, north = script.NEAR
    assert made.near == (west, east, south, north)
    assert (made.fine, made.coarse) == (script.FINE, script.COARSE)

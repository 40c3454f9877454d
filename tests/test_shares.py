"""Strips of one scene that several processes make: the map is that of one, whoever dies, stops or comes between."""

from concurrent.futures import Executor, Future
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import die_after_a_strip_of_a_map
from test_executors import cluster  # noqa: F401
from test_predict import SIZE, mapped, place, run, scene  # noqa: F401

from seg.errors import BusyError, MapError, WorkerError
from seg.maps import elsewhere, parts, shares
from seg.maps.parts import IDENTITY_FILE
from seg.maps.shares import _neighbours
from seg.pipeline.predict import predict

pytestmark = pytest.mark.usefixtures("one_thread")
FINE = {"window": 96, "overlap": 32}
"""More strips than a share has."""
EXTRAS = {"probabilities": True, "confidence": True, "labels": True, "areas": True, "quicklook": True}


@pytest.fixture(scope="module")
def whole(run, scene, place):  # noqa: F811
    """The map that one process makes."""
    (one,) = predict(run, [scene.product], place / "fine" / "map.tif", **FINE, **EXTRAS)
    return one


class Here(Executor):
    """Calls at once, and lets somebody come between."""

    def __init__(self, before=lambda function, piece: None):
        self.before, self.called = before, []

    def submit(self, function, /, *args):
        future = Future()
        try:
            self.before(function, args[0])
            self.called.append((function.__name__, args[0]))
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def made(self):
        return [share for name, share in self.called if name == "make_share"]


def files(one):
    return {path.name: path.read_bytes() for path in one.files}


def test_strips_that_dask_workers_make_are_those_of_one_process(cluster, run, scene, whole, tmp_path):  # noqa: F811
    """Though one of two workers is killed in the middle of a share."""
    marker = tmp_path / "killed"
    cluster.wait_for_workers(2)
    cluster.run(die_after_a_strip_of_a_map, str(marker))
    address = f"dask:{cluster.scheduler.address}"
    said = []
    (one,) = predict(run, [scene.product], tmp_path / "map.tif", executor=address, notify=said.append, **FINE, **EXTRAS)
    assert marker.exists()
    assert files(one) == files(whole)
    assert (one.windows, one.predicted) == (whole.windows, whole.predicted)
    assert not list(tmp_path.glob("*.unfinished"))
    assert not any("Taking up" in sentence for sentence in said)


def test_a_scene_is_shared_out_and_taken_up_where_it_was_left(run, scene, whole, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(shares, "STRIPS", 2)
    out = tmp_path / "map.tif"

    def stop(function, piece):
        if len(pool.made()) == 2:
            raise WorkerError("all workers are gone")

    pool, said = Here(stop), []
    with pytest.raises(WorkerError, match="all workers are gone"):
        predict(run, [scene.product], out, executor=pool, **FINE, **EXTRAS)
    done = [number for share in pool.made() for number in share.strips]
    assert len(done) > 2
    rest = Here()
    (one,) = predict(run, [scene.product], out, executor=rest, notify=said.append, **FINE, **EXTRAS)
    assert files(one) == files(whole)
    again = [number for share in rest.made() for number in share.strips]
    assert sorted(done + again) == list(range(len(done) + len(again)))
    assert len({share.name for share in rest.made()}) == len(rest.made()) > 2, "names of jobs"
    assert [sentence for sentence in said if "Taking up" in sentence]


def test_nobody_else_may_come_between(run, scene, place, tmp_path):  # noqa: F811
    out = tmp_path / "map.tif"
    unfinished = parts.unfinished_folder(out)

    def other_command(function, piece):
        if function is shares.make_share:
            with pytest.raises(BusyError, match="is writing"):
                predict(run, [scene.product], out, executor=Here(), **FINE)
            # One without workers is let in, and may well have finished or begun another map.
            (unfinished / IDENTITY_FILE).write_text("{}\n")

    with pytest.raises(MapError, match="another command has finished or replaced what was begun"):
        predict(run, [scene.product], out, executor=Here(other_command), **FINE)
    assert [path.name for path in unfinished.iterdir()] == [IDENTITY_FILE]


def test_what_is_written_while_another_map_is_begun_is_gone(run, scene, tmp_path, monkeypatch):  # noqa: F811
    unfinished = parts.unfinished_folder(tmp_path / "map.tif")
    write = parts.write_bytes

    def late(path, content):
        write(path, content)
        (unfinished / IDENTITY_FILE).write_text("{}\n")

    monkeypatch.setattr(parts, "write_bytes", late)
    with pytest.raises(MapError, match="another command"):
        predict(run, [scene.product], tmp_path / "map.tif", executor=Here(), **FINE)
    assert [path.name for path in unfinished.iterdir()] == [IDENTITY_FILE]


def test_workers_that_are_not_alike_are_refused(run, scene, tmp_path):  # noqa: F811
    class Otherwise(Here):
        def submit(self, function, /, *args):
            if function is shares.make_share:
                sizes = replace(args[0].whole.sizes, batch=3)
                args = (replace(args[0], whole=replace(args[0].whole, sizes=sizes)),)
            return super().submit(function, *args)

    with pytest.raises(WorkerError, match="take workers that are alike, or name --device cpu"):
        predict(run, [scene.product], tmp_path / "map.tif", executor=Otherwise(), **FINE)


def test_of_many_scenes_each_is_made_by_one(run, scene, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(elsewhere, "FEW", 0)
    pool = Here()
    predict(run, [scene.product], tmp_path / "map.tif", executor=pool, **FINE)
    assert [name for name, _ in pool.called] == ["make_map"]


@given(st.sets(st.integers(0, 60)), st.integers(1, 6))
def test_neighbours_stay_together(numbers, most):
    runs = _neighbours(sorted(numbers), most)
    assert [number for some in runs for number in some] == sorted(numbers)
    assert all(1 <= len(some) <= most and some == list(range(some[0], some[-1] + 1)) for some in runs)
    starts = sum(number - 1 not in numbers for number in numbers)
    assert len(runs) <= starts + len(numbers) // most, "no more rows are run twice than have to be"

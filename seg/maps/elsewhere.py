"""Maps of scenes that others make: each of them one, or of few scenes each of them some strips."""

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from seg.config.track import Notify, Track, silent
from seg.maps.map_files import MapOptions, claimed_maps
from seg.maps.part import ScenePart
from seg.maps.parts import unfinished_folder
from seg.maps.scene_map import Sizes
from seg.maps.shares import begin_shares, finish_shares, make_share
from seg.maps.together import join_maps, run_tags
from seg.prepare.executors import LOGS, opened, results
from seg.runs.use import ChosenWeights
from seg.scenes.reader import Scene
from seg.stac.items import MODEL
from seg.store.locks import locked
from seg.store.targets import lock_beside

if TYPE_CHECKING:
    from seg.maps.mapping import SceneMap

FEW = 4
"""Scenes whose strips are shared out, one after the other; of more, whoever is free makes the next scene."""


@dataclass(frozen=True)
class MapPiece:
    """A map, as it is sent to who makes it.

    Attributes:
        chosen: The weights.
        scene, part, path: The scene, what is mapped of it, and the class map.
        options, sizes: As of `seg.maps.mapping.map_scenes`.
    """

    chosen: ChosenWeights
    scene: Scene
    part: ScenePart
    path: Path
    options: MapOptions
    sizes: Sizes

    @property
    def name(self) -> str:
        """Name of the map."""
        return self.path.stem


def make_map(piece: MapPiece) -> "tuple[SceneMap, tuple[str, ...]]":
    """Make a map, wherever this is called; gives it, and what the user must not miss."""
    from seg.maps.mapping import map_scenes

    said: list[str] = []
    with claimed_maps([piece.path], piece.path):
        scenes = [(piece.scene, piece.part, piece.path)]
        (made,) = map_scenes(piece.chosen, scenes, piece.options, piece.sizes, silent, said.append, together=False)
    return made, tuple(said)


def have_mapped(
    pieces: Sequence[MapPiece], executor: Executor | str, slurm: Sequence[str], track: Track, notify: Notify
) -> "tuple[SceneMap, ...]":
    """Have maps made; several lie in one folder and get a virtual raster.

    Args:
        pieces: The maps, with whole paths.
        executor, slurm: Who makes them, see `seg.prepare.executors.opened`.
        track, notify: Are told of progress, and what the user must not miss.

    Raises:
        SegError: One of its kinds, for anything wrong with the weights, a scene or the executor.
        OSError: If a file cannot be read or written.
    """
    folder = pieces[0].path.parent
    with opened(executor, slurm, folder / LOGS) as pool:
        made = (_made_in_shares if len(pieces) <= FEW else _made_whole)(pool, pieces, track, notify)
    maps = tuple(made[piece.path] for piece in pieces)
    if len(maps) > 1 or pieces[0].options.stac == folder / MODEL:
        # Claimed anew, for the record to have what the others have kept in it.
        with claimed_maps(list(made), folder):
            chosen, options = pieces[0].chosen, pieces[0].options
            tags = run_tags(chosen, options, any(piece.scene.synthetic for piece in pieces))
            join_maps([one.path for one in maps], chosen, options, tags)
    return maps


def _made_whole(pool: Executor, pieces: Sequence[MapPiece], track: Track, notify: Notify) -> "dict[Path, SceneMap]":
    """The maps, each of them made by one."""
    made: dict[Path, SceneMap] = {}
    for piece, done in track(results(pool, make_map, pieces), "scenes", len(pieces)):
        made[piece.path], said = done.result()
        for sentence in said:
            notify(sentence)
    return made


def _made_in_shares(pool: Executor, pieces: Sequence[MapPiece], track: Track, notify: Notify) -> "dict[Path, SceneMap]":
    """The maps, the strips of which are shared out."""
    made: dict[Path, SceneMap] = {}
    began = time.perf_counter()
    with ExitStack() as locks:
        for piece in pieces:
            # Whoever begins and ends a map claims it; this keeps other commands like this one away in between.
            locks.enter_context(locked(lock_beside(unfinished_folder(piece.path)), piece.path))
        begun = {piece.path: done.result() for piece, done in results(pool, begin_shares, pieces)}
        for sentence in (sentence for piece in pieces for sentence in begun[piece.path].said):
            notify(sentence)
        shares = [share for piece in pieces for share in begun[piece.path].shares]
        for _, share_done in track(results(pool, make_share, shares), "pieces of scenes", len(shares)):
            share_done.result()
        seconds = time.perf_counter() - began
        for piece, done in track(results(pool, finish_shares, pieces), "scenes", len(pieces)):
            one, said = done.result()
            made[piece.path] = replace(one, predicted=begun[piece.path].windows, seconds=seconds)
            for sentence in said:
                notify(sentence)
    return made

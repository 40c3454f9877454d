"""A map that several make: its strips are begun by one, shared out, and put together by one again.

Strips come out the same wherever they are made, so the map is that of one process. Whoever begins and whoever ends
claims the map; who only makes strips makes sure that the folder of them is still of that map. Whoever has them made
needs no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from seg.config.track import ignore, silent
from seg.errors import WorkerError
from seg.maps.map_files import claimed_maps
from seg.maps.parts import begin_map, identity_text
from seg.maps.scene_map import ScenePlan, map_identity, require_space
from seg.runs.mapper import open_mapper
from seg.scenes.left_out import LeftOut

if TYPE_CHECKING:
    from seg.maps.elsewhere import MapPiece
    from seg.maps.mapping import SceneMap

STRIPS = 4
"""Of a share, at most: the row of windows above its first strip is run once more, and no more than these are lost when
whoever makes them dies, though finished ones are kept."""
CELL_ROWS = 24
"""Of a share, at most: about as many as touch its strips."""


@dataclass(frozen=True)
class Share:
    """Neighbouring strips, or rows of cells, of a map that was begun.

    Attributes:
        whole: The map.
        identity: What its strips are of.
        strips, rows: Numbers of the strips and rows of cells.
    """

    whole: "MapPiece"
    identity: str
    strips: tuple[int, ...]
    rows: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the map, and what of it."""
        what, numbers = ("strips", self.strips) if self.strips else ("cells", self.rows)
        return f"{self.whole.name}-{what}-{numbers[0]}-{numbers[-1]}"


@dataclass(frozen=True)
class Begun:
    """A map that was begun.

    Attributes:
        shares: What is to be made of it.
        windows: How many windows these come to.
        said: What the user must not miss.
    """

    shares: tuple[Share, ...]
    windows: int
    said: tuple[str, ...]


def begin_shares(whole: "MapPiece") -> Begun:
    """Begin a map, or take it up, and find out what is to be made of it.

    Raises:
        SegError: One of its kinds, for anything wrong with the weights or the scene.
        OSError: If the folder of its strips cannot be made.
    """
    plan, said = _plan(whole), list[str]()
    identity = map_identity(plan)
    with claimed_maps([whole.path], whole.path):
        require_space(plan)
        begin_map(plan.unfinished.folder, identity, said.append)
    strips, rows = plan.unfinished.lacking(plan.tiling.strips), plan.unfinished.lacking_cells(plan.cell_rows)
    text = identity_text(identity)
    shares = [Share(whole, text, tuple(some), ()) for some in _neighbours(strips, STRIPS)]
    shares += [Share(whole, text, (), tuple(some)) for some in _neighbours(rows, CELL_ROWS)]
    return Begun(tuple(shares), len(strips) * len(plan.tiling.columns.starts), tuple(said))


def make_share(share: Share) -> None:
    """Make what is not there yet of a share.

    Raises:
        WorkerError: If it would come out otherwise here than where the map was begun.
        MapError: If another command has finished that map, or begun another one in its place.
        SegError, OSError: As `seg.maps.mapping.map_scenes`.
    """
    from seg.maps.mapping import predict_lacking

    plan = _plan(share.whole)
    if identity_text(map_identity(plan)) != share.identity:
        raise WorkerError(
            f"the map of {plan.scene.name} was begun on another kind of machine, with other files or with another seg "
            f"than the worker on {plan.mapper.compute[0]} has that was to go on with it; take workers that "
            "are alike, or name --device cpu"
        )
    unfinished = replace(plan.unfinished, identity=share.identity)
    unfinished.require_begun()
    predict_lacking(plan, unfinished, unfinished.lacking(share.strips), unfinished.lacking_cells(share.rows), silent)


def finish_shares(whole: "MapPiece") -> "tuple[SceneMap, tuple[str, ...]]":
    """Put a map together of which everything is there; gives it, and what the user must not miss.

    Raises:
        SegError, OSError: As `seg.maps.mapping.map_scenes`.
    """
    from seg.maps.mapping import map_scene

    said: list[str] = []
    with claimed_maps([whole.path], whole.path):
        plan = _plan(whole)
        # Strips of another map would be thrown away, and all of this one made by whoever only ends it.
        replace(plan.unfinished, identity=identity_text(map_identity(plan))).require_begun()
        # That there are strips is no news.
        made = map_scene(plan, silent, said.append, ignore)
    return made, tuple(said)


def _plan(whole: "MapPiece") -> ScenePlan:
    from seg.maps.mapping import plan_map

    mapper = open_mapper(whole.chosen)
    # Who works in threads of one process is sent the same scene, and counts by himself.
    scene = replace(whole.scene, left_out=LeftOut())
    return plan_map(mapper, scene, whole.part, whole.path, whole.options, whole.sizes)


def _neighbours(numbers: Sequence[int], most: int) -> list[list[int]]:
    """Runs of neighbouring numbers, of at most so many each and about as many in all of a run."""
    runs: list[list[int]] = []
    for number in numbers:
        if not runs or runs[-1][-1] != number - 1:
            runs.append([])
        runs[-1].append(number)
    found = []
    for run in runs:
        count = -(-len(run) // most)
        bounds = [len(run) * part // count for part in range(count + 1)]
        found += [run[begin:end] for begin, end in pairwise(bounds)]
    return found

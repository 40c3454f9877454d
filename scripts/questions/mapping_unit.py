"""What do CORINE's minimum mapping units do to predicted maps? The same models, scored as predicted and in units.

Maps are brought to 1, 5 and 25 ha by `seg eval --mmu`, each patch by itself: objects at its edge stay.

    python scripts/questions/mapping_unit.py [--data STORE] [--seeds 0,1,2]
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from asking import answer, arguments, ask, base_store

from seg.config.scope import Scope, unit_text
from seg.config.track import silent
from seg.engine.evaluate import predict
from seg.errors import RunError
from seg.generalise.units import Generalisation, unit_pixels
from seg.metrics.boundary import PIXEL_METRES, boundary_scores
from seg.metrics.evidence import Evidence
from seg.pipeline.evaluate import evaluate
from seg.report.answer import points
from seg.report.formats import Column, Estimate, Table
from seg.report.outcomes import Outcome, difference, differences_table, outcome_of, scores_table
from seg.runs.folder import read_evidence
from seg.runs.session import open_session
from seg.runs.study import Variant
from seg.runs.use import plan_use

QUESTION = "What does a minimum mapping unit do to predicted maps?"
UNITS = (1.0, 5.0, 25.0)
TILE, EDGE = 10_980, 120
"""Edges of a tile and of a patch, pixels."""


def main() -> None:
    args = arguments(__doc__)
    (plain,) = ask([Variant("as predicted", {"data__bands": "s2"}, base_store(args))], args)
    evidences = {plain.name: [read_evidence(run, Scope("test")) for run in plain.runs]}
    outcomes = [plain]
    for unit in UNITS:
        name = f"units of {unit_text(unit)} ha"
        evidences[name] = [in_units(run, unit) for run in plain.runs]
        outcomes.append(replace(outcome_of(name, evidences[name]), runs=plain.runs))
    pairs = [(one, plain) for one in outcomes[1:]]
    tables = [
        scores_table("scores", QUESTION, outcomes, ["Scenes are those of the same head: units change maps alone."]),
        differences_table("differences", "Against the maps as predicted, on the same test patches", pairs),
        boundary_table(evidences),
        cost_table(plain.runs[0]),
    ]
    answer(
        "mapping_unit",
        QUESTION,
        outcomes,
        tables,
        args,
        shown=("miou", "oa"),
        shows="mIoU against maps as predicted: " + "; ".join(_change(*pair) for pair in pairs) + ".",
        does_not=(
            "Patches of 144 ha are generalised by themselves, and what their edge cuts stays: over a whole tile more "
            "is merged. The reference is drawn by the same rules, as CORINE is; against maps with finer units the "
            "scores would rather fall."
        ),
    )


def _change(one: Outcome, plain: Outcome) -> str:
    return f"{one.name} {points(difference(one, plain, 'miou'))}"


def in_units(run: Path, unit: float) -> Evidence:
    """Evidence of the maps of a run in units; they are scored if they were not."""
    try:
        return read_evidence(run, Scope("test", unit=unit))
    except RunError:
        evaluate(run, split="test", mmu=unit)
    return read_evidence(run, Scope("test", unit=unit))


def boundary_table(evidences: dict[str, list[Evidence]]) -> Table:
    """Boundary IoU, mean over the seeds and their deviation."""
    columns = (Column("variant", "Variant", "text"), Column("boundary_miou", "Boundary mIoU", "percent"))
    rows = []
    for name, seeds in evidences.items():
        values = [scores.miou for one in seeds if (scores := boundary_scores(one)) is not None]
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        rows.append((name, Estimate(float(np.mean(values)), deviation)))
    return Table("boundaries", "Boundary IoU within 20 m", columns, tuple(rows))


def cost_table(run: Path) -> Table:
    """Objects and time of the merging over maps as large as a tile, made of predicted patches side by side."""
    strips = list(wide_strips(run))
    rows: list[tuple[str, float, float]] = []
    for unit in UNITS:
        whole, began = Generalisation(unit_pixels(unit, PIXEL_METRES)), time.perf_counter()
        named = [whole.add(*strip, EDGE * number) for number, strip in enumerate(strips)]
        whole.finish()
        maps = [whole.classes(names_HW) for names_HW in named]
        seconds = (time.perf_counter() - began) / len(strips) * TILE / EDGE
        pairs = zip(maps, (classes_HW for classes_HW, _ in strips), strict=True)
        changed = float(np.mean([(new != old).mean() for new, old in pairs]))
        rows.append((f"units of {unit_text(unit)} ha", changed, seconds))
    columns = (
        Column("unit", "Unit", "text"),
        Column("changed", "Pixels changed", "percent"),
        Column("seconds", "Seconds per tile", "number"),
    )
    note = "Of the merging alone, on one core; maps of the first run side by side, as wide as a tile, in rows of 120."
    return Table("cost", "What whole maps take", columns, tuple(rows), (note,))


def wide_strips(run: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Classes (120, 11,040) and surprisals (19, 120, 11,040) of predicted patches side by side, drawn at random."""
    session = open_session(plan_use(run, split="test"))
    classes, costs = [], []
    for prediction in predict(session.model, session.dataset, session.how(silent)):
        classes.append(prediction.classes().byte().cpu().numpy())
        costs.append(prediction.surprisals(session.card.temperature).cpu().numpy())
    classes_NHW, costs_NKHW = np.concatenate(classes), np.concatenate(costs)
    random = np.random.default_rng(0)
    for _ in range(3):
        drawn = random.integers(0, len(classes_NHW), -(-TILE // EDGE))
        yield np.concatenate(classes_NHW[drawn], axis=1), np.concatenate(costs_NKHW[drawn], axis=2)


if __name__ == "__main__":
    main()

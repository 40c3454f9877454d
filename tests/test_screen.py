"""Tables and summaries on a terminal of 80 columns, and as they are piped."""

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from seg.cli import console, models
from seg.metrics.jackknife import Interval
from seg.metrics.scores import headline
from seg.models.architectures import SHORT_LIST
from seg.report.formats import Column, Estimate, Table, shown
from seg.report.screen import in_parts
from seg.report.tables import HEADLINE, headline_lines
from tests.test_tables import some_scores

SCORES = ("mIoU", "OA", "AP macro", "AP micro", "F1 macro", "F1 micro")
names = st.lists(
    st.sampled_from(["unet", "deeplabv3plus", "resnet18", "tu-swin_tiny_patch4_window7_224", "s1s2", "train.lr=0.001"]),
    min_size=1,
    max_size=5,
).map(" ".join)
estimates = st.builds(
    lambda value, sd, ends: Estimate(value, sd, *(sorted(ends) if ends else (None, None))),
    st.floats(0, 1),
    st.none() | st.floats(0, 0.3),
    st.none() | st.lists(st.floats(0, 1), min_size=2, max_size=2),
)


def lines_of(parts: list[Any], width: int) -> list[str]:
    out = io.StringIO()
    printer = Console(file=out, width=width, highlight=False)
    for part in parts:
        printer.print(part)
    return out.getvalue().splitlines()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(names, st.lists(estimates, min_size=6, max_size=6)), min_size=1, max_size=7),
    width=st.sampled_from([80, 100, 240]),
)
def test_every_row_is_named_in_every_part_and_nothing_is_cut(
    rows: list[tuple[str, list[Estimate]]], width: int
) -> None:
    columns = (Column("configuration", "Configuration", "text"), *(Column(name, name, "percent") for name in SCORES))
    table = Table("compare", "Comparison", columns, tuple((name, *values) for name, values in rows), ("A note.",))
    parts = in_parts(table, width)
    lines = lines_of(parts, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    assert len(parts) == 1 or width < 240
    assert text.count("A note.") == 1
    for part in parts:
        words = lines_of([part], width)
        found = " ".join(word for line in words for word in line.replace("┃", " ").replace("│", " ").split())
        assert part.row_count == len(rows)
        for name, _ in rows:
            assert all(word in found.split() for word in name.split())
    every = " ".join(text.replace("│", " ").replace("┃", " ").split())
    for title in SCORES:
        assert all(word in every for word in title.split())
    for _, values in rows:
        for value in values:
            number, _, interval = shown(columns[1], value).partition(" [")
            assert number in every
            assert interval in every


def test_in_a_wide_terminal_a_row_stays_on_its_line() -> None:
    columns = (Column("configuration", "Configuration", "text"), Column("miou", "mIoU", "percent"))
    table = Table("compare", "Comparison", columns, (("a b", Estimate(0.5, 0.01, 0.4, 0.6)),))
    (part,) = in_parts(table, 80)
    assert any("a b" in line and "50.0 ± 1.0 [40.0, 60.0]" in line for line in lines_of([part], 80))


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_of_networks_fits(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=out, width=width, highlight=False))
    cost = SimpleNamespace(parameters=351_000_000, encoder_parameters=304_000_000, multiply_adds=123_456_000_000)
    networks = [SimpleNamespace(arch="deeplabv3plus", encoder=name, cost=cost) for name in SHORT_LIST]
    takes = {"deeplabv3plus": "encoders whose last stages can be dilated, such as resnet18 or tu-convnext_tiny"}
    misfits = (("unet", "tu-vit_tiny_patch16_224"),) * 30
    models._show(SimpleNamespace(bands=("B02",), fusion="dual", networks=networks, takes=takes, misfits=misfits))  # type: ignore[arg-type]
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in out.getvalue()
    for name in SHORT_LIST:
        (line, *_) = (line for line in lines if f"│ {name} " in line)
        assert all(number in line for number in ("351.00", "304.00", "123.456"))
    words = set(out.getvalue().replace("(", " ").split())
    assert {"params", "MACs", "dilated,", "tu-convnext_tiny.", "tu-vit_tiny_patch16_224"} <= words


@pytest.mark.parametrize(("head", "weights"), [(True, "w-1"), (False, "w-1"), (False, "")])
def test_an_evaluation_ends_with_the_scores_that_sum_it_up(head: bool, weights: str) -> None:
    scores = some_scores(synthetic=True, head=head)
    scores = replace(scores, origin=replace(scores.origin, weights=weights))
    known = headline(scores)
    intervals = {key: Interval(np.array(0.101), np.array(0.909)) for key in known}
    title, *lines = headline_lines(scores, intervals)
    assert title.startswith("SYNTHETIC data, no benchmark result: ")
    # What predictions made elsewhere come from has no head that seg knows of.
    assert ("no scene head" in title) == (not head and weights != "")
    assert ("no scene labels" in title) == (not head and weights == "")
    assert len(lines) == (5 if head else 2) == len([key for key in HEADLINE if key in known])
    for line, (key, name) in zip(lines, ((key, name) for key, name in HEADLINE.items() if key in known), strict=True):
        assert line.split() == [*name.split(), f"{100 * known[key]:.1f}", "[10.1,", "90.9]"]
        assert len(line) < 80
    (_, *bare) = headline_lines(scores)
    assert all("[" not in line for line in bare)

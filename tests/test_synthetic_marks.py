"""What is simulated is said of the part that is: the data, what the model learned from, or both."""

from pathlib import Path

import numpy as np
import pytest

from seg.config.synthetic import Synthetic
from seg.figures.land_cover import land_cover_figure
from seg.metrics.assess import assess
from seg.metrics.evidence import Origin
from seg.metrics.evidence_file import load_evidence, save_evidence
from seg.report.formats import table_title
from seg.report.html import render_report
from seg.report.model_card import Described, model_page
from tests.made_up import made_up_evidence

NOTHING, DATA, MODEL, BOTH = (Synthetic(value) for value in range(4))
ALL = (NOTHING, DATA, MODEL, BOTH)


def origin(what: Synthetic) -> Origin:
    return Origin("test", "f", bool(what & DATA), synthetic_model=bool(what & MODEL))


def says_images_are_simulated(text: str) -> bool:
    return "images are simulated" in text


@pytest.mark.parametrize("what", ALL)
def test_tags_come_back(what: Synthetic):
    assert Synthetic.in_tags(what.tags) == what
    assert ("SYNTHETIC" in what.tags) == bool(what)


def test_files_of_earlier_versions_say_less():
    assert Synthetic.in_tags({"SYNTHETIC": "YES"}) == BOTH


@pytest.mark.parametrize("what", ALL)
def test_titles(what: Synthetic):
    title = table_title(origin(what), "Scores")
    assert title.startswith("SYNTHETIC data") == bool(what & DATA)
    assert title.startswith("SYNTHETIC model") == (what == MODEL)
    assert ("SYNTHETIC" in title) == bool(what)


@pytest.mark.parametrize("what", ALL)
def test_pictures(what: Synthetic):
    figure = land_cover_figure(np.zeros((60, 60), np.uint8), title="a scene", synthetic=what, pixel_size=10)
    drawn = [text.get_text() for text in figure.texts]
    expected = {NOTHING: "a scene", MODEL: "SYNTHETIC MODEL – a scene"}.get(what, "SYNTHETIC – a scene")
    assert expected in drawn


@pytest.mark.parametrize("what", ALL)
def test_evidence_keeps_both(what: Synthetic, tmp_path: Path):
    save_evidence(tmp_path, made_up_evidence(8, 2, origin=origin(what), details=False))
    assert load_evidence(tmp_path).origin.simulated == what


@pytest.mark.parametrize("what", ALL)
def test_reports(what: Synthetic):
    evidence = made_up_evidence(8, 2, origin=origin(what), details=False)
    text = render_report(assess(evidence, replicates=100), evidence, [], {"Run": "r", "Model": "unet"})
    assert says_images_are_simulated(text) == bool(what & DATA)
    assert ("the images are real, but the model was trained on simulated ones" in text) == (what == MODEL)
    assert ("<strong>SYNTHETIC DATA</strong>" in text) == bool(what & DATA)
    assert ("<strong>SYNTHETIC MODEL</strong>" in text) == (what == MODEL)
    assert ("<title>SYNTHETIC MODEL – " in text) == (what == MODEL)
    assert ("SYNTHETIC model, no benchmark result: " in text) == (what == MODEL)
    assert ("SYNTHETIC" in text) == bool(what)


@pytest.mark.parametrize("what", ALL)
@pytest.mark.parametrize("scored", [True, False])
def test_model_pages(what: Synthetic, scored: bool):
    evidence = made_up_evidence(8, 2, origin=origin(what), details=False)
    described = Described("m", "m", "mit", ("B02",), "bilinear", "derived", what, {})
    page = model_page(described, assess(evidence, replicates=100) if scored else None, official=False)
    assert ("**SYNTHETIC.**" in page) == bool(what)
    assert ("This model was trained on simulated data" in page) == bool(what & MODEL)
    assert ("It knows no real image" in page) == bool(what & MODEL)
    assert ("This model was scored on simulated" in page) == (what == DATA)
    assert ("SYNTHETIC data of seg" in page) == (scored and bool(what & DATA))
    assert ("on real images" in page.replace("\n> ", " ")) == (scored and what == MODEL)

"""What is simulated is said of the part that is: the data, what the model learned from, or both."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from seg.config.scope import Scope
from seg.config.synthetic import Synthetic
from seg.figures.land_cover import land_cover_figure
from seg.metrics.assess import assess
from seg.metrics.evidence import Origin
from seg.metrics.evidence_file import load_evidence, load_origin, save_evidence
from seg.metrics.evidence_header import sealed
from seg.report.formats import table_title
from seg.report.html import render_report
from seg.report.model_card import Described, model_page
from seg.runs.folder import read_evidence
from tests.made_up import made_up_evidence

NOTHING, DATA, MODEL, BOTH, UNTOLD = (Synthetic(value) for value in range(5))
TAUGHT = MODEL | UNTOLD
"""What the model learned from is synthetic; whether the data are is not recorded."""
ALL = (NOTHING, DATA, MODEL, BOTH, UNTOLD, TAUGHT)


def origin(what: Synthetic) -> Origin:
    data = None if what & UNTOLD else bool(what & DATA)
    return Origin("test", "f", data, synthetic_model=None if what == UNTOLD else bool(what & MODEL))


def says_images_are_simulated(text: str) -> bool:
    return "images are simulated" in text


@pytest.mark.parametrize("what", ALL)
def test_tags_come_back(what: Synthetic):
    assert Synthetic.in_tags(what.tags) == what
    assert ("SYNTHETIC" in what.tags) == bool(what)


def test_files_of_earlier_versions_say_less():
    assert Synthetic.in_tags({"SYNTHETIC": "YES"}) == UNTOLD


def earlier_evidence(folder: Path, *, synthetic: bool, name: str = "test") -> None:
    """Evidence as it was written when one flag stood for both."""
    path = save_evidence(folder / "eval" / name / "evidence", made_up_evidence(8, 2, details=False))
    table = pq.read_table(path)
    header = json.loads(table.schema.metadata[b"seg.evidence"])
    header |= {"synthetic": synthetic, "on": name.partition("-on-")[2]}
    del header["synthetic_model"]
    header = sealed(header)
    pq.write_table(table.replace_schema_metadata({b"seg.evidence": json.dumps(header)}), path)


def test_evidence_of_earlier_versions_is_read_as_what_it_says(tmp_path: Path):
    for told, expected in ((True, UNTOLD), (False, NOTHING)):
        earlier_evidence(tmp_path, synthetic=told)
        folder = tmp_path / "eval" / "test" / "evidence"
        assert load_evidence(folder).origin.simulated == load_origin(folder).simulated == expected


@pytest.mark.parametrize(
    ("trained", "on", "expected"),
    [
        (None, "", UNTOLD),
        (True, "", BOTH),  # scored on what it was trained on
        (False, "", DATA),
        (True, "0123abcd", TAUGHT),
        (False, "0123abcd", DATA),
        (None, "0123abcd", UNTOLD),
    ],
)
def test_the_record_of_a_run_says_more_about_earlier_evidence(trained, on, expected, tmp_path: Path):
    earlier_evidence(tmp_path, synthetic=True, name=f"test-on-{on}" if on else "test")
    if trained is not None:
        (tmp_path / "run.json").write_text(json.dumps({"synthetic": trained}))
    assert read_evidence(tmp_path, Scope("test", on=on)).origin.simulated == expected


@pytest.mark.parametrize("what", ALL)
def test_titles(what: Synthetic):
    title = table_title(origin(what), "Scores")
    assert title.startswith("SYNTHETIC data, ") == bool(what & DATA)
    assert title.startswith("SYNTHETIC model") == (what in (MODEL, TAUGHT))
    assert title.startswith("SYNTHETIC data or model") == (what == UNTOLD)
    assert ("SYNTHETIC" in title) == bool(what)


@pytest.mark.parametrize("what", ALL)
def test_pictures(what: Synthetic):
    figure = land_cover_figure(np.zeros((60, 60), np.uint8), title="a scene", synthetic=what, pixel_size=10)
    drawn = [text.get_text() for text in figure.texts]
    marks = {
        NOTHING: "",
        MODEL: "SYNTHETIC MODEL – ",
        TAUGHT: "SYNTHETIC MODEL – ",
        UNTOLD: "SYNTHETIC DATA OR MODEL – ",
    }
    expected = marks.get(what, "SYNTHETIC – ") + "a scene"
    assert expected in drawn


@pytest.mark.parametrize("what", ALL)
def test_evidence_keeps_both(what: Synthetic, tmp_path: Path):
    save_evidence(tmp_path, made_up_evidence(8, 2, origin=origin(what), details=False))
    assert load_evidence(tmp_path).origin.simulated == what


@pytest.mark.parametrize("what", ALL)
def test_reports(what: Synthetic):
    evidence = made_up_evidence(8, 2, origin=origin(what), details=False)
    text = render_report(assess(evidence), evidence, [], {"Run": "r", "Model": "unet"})
    assert says_images_are_simulated(text) == bool(what & DATA or what == UNTOLD)
    assert ("which of the two is not recorded" in text) == (what == UNTOLD)
    assert ("whether these are simulated too is not recorded" in text) == (what == TAUGHT)
    assert (">own patches or an own split" in text) == (not what & (DATA | UNTOLD))
    assert ("the images are real, but the model was trained on simulated ones" in text) == (what == MODEL)
    assert ("<strong>SYNTHETIC DATA</strong>" in text) == bool(what & DATA)
    assert ("<strong>SYNTHETIC MODEL</strong>" in text) == (what in (MODEL, TAUGHT))
    assert ("<title>SYNTHETIC MODEL – " in text) == (what in (MODEL, TAUGHT))
    assert ("SYNTHETIC model, no benchmark result: " in text) == (what in (MODEL, TAUGHT))
    assert ("SYNTHETIC" in text) == bool(what)


@pytest.mark.parametrize("what", ALL)
@pytest.mark.parametrize("scored", [True, False])
def test_model_pages(what: Synthetic, scored: bool):
    evidence = made_up_evidence(8, 2, origin=origin(what), details=False)
    described = Described("m", "m", "mit", ("B02",), "bilinear", "derived", what, {})
    page = model_page(described, assess(evidence) if scored else None, official=False)
    assert ("**SYNTHETIC.**" in page) == bool(what)
    assert ("This model was trained on simulated data" in page) == bool(what & MODEL)
    assert ("It knows no real image" in page) == bool(what & MODEL)
    assert ("This model was scored on simulated" in page) == (what == DATA)
    assert ("SYNTHETIC data of seg" in page) == (scored and bool(what & DATA))
    assert ("on real images" in page.replace("\n> ", " ")) == (scored and what == MODEL)

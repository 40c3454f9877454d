"""The HTML report: that it is well-formed, complete, safe, self-contained and says what the numbers say."""

import base64
import math
import re
from dataclasses import dataclass, field, replace
from functools import cache
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pyarrow as pa
import pytest
from made_up import made_up_evidence
from PIL import Image

from seg.metrics.assess import Assessment, assess
from seg.metrics.evidence import Evidence, Origin, batch_evidence, take_patches, total_counts
from seg.reben.classes import CLASS_NAMES, CLASSES, IGNORE_INDEX, NUM_CLASSES
from seg.reben.official import OFFICIAL, OfficialPart, ids_digest
from seg.report.formats import UNDEFINED, Column, Estimate, Table, plain, shown
from seg.report.gallery import REASONS, Picture
from seg.report.html import render_report
from seg.report.html_tables import confusion_rows, html_table
from seg.report.results import detail_tables, summary_tables

K = NUM_CLASSES
ABOUT = {"Run": "unet-s2", "Model": "unet resnet18 · s2", "Architecture": "unet", "Encoder": "resnet18"}
VOID = {"meta", "link", "img", "br", "input", "hr"}
ID = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"


@dataclass
class Node:
    tag: str
    attributes: dict[str, str | None]
    parent: "Node | None" = None
    children: list["Node | str"] = field(default_factory=list)

    def walk(self):
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def find(self, tag: str, **attributes: str) -> list["Node"]:
        """Elements with a tag, and with attributes; a class is one of several."""
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [
            node
            for node in self.walk()
            if tag in (node.tag, "*")
            and all(
                value in (node.attributes.get(key) or "").split()
                if key == "class"
                else node.attributes.get(key) == value
                for key, value in wanted.items()
            )
        ]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


class Parser(HTMLParser):
    """Builds a tree, and refuses tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.root = self.here = Node("document", {})

    def handle_starttag(self, tag, attrs):
        node = Node(tag, dict(attrs), self.here)
        assert len(node.attributes) == len(attrs), f"an attribute occurs twice in {tag}"
        self.here.children.append(node)
        if tag not in VOID:
            self.here = node

    def handle_startendtag(self, tag, attrs):
        self.here.children.append(Node(tag, dict(attrs), self.here))

    def handle_endtag(self, tag):
        assert tag == self.here.tag, f"</{tag}> closes <{self.here.tag}>"
        self.here = self.here.parent

    def handle_data(self, data):
        self.here.children.append(data)


def parsed(html: str) -> Node:
    parser = Parser()
    parser.feed(html)
    parser.close()
    assert parser.here is parser.root, f"<{parser.here.tag}> is not closed"
    return parser.root


def picture(why: str = "best", seed: int = 0, **changes) -> Picture:
    random = np.random.default_rng(seed)
    reference_HW = random.integers(0, K, (120, 120), dtype=np.uint8)
    reference_HW[:5] = IGNORE_INDEX
    made = Picture(
        ID,
        why,
        random.integers(0, 256, (120, 120, 3), dtype=np.uint8),
        random.integers(0, 256, (120, 120), dtype=np.uint8),
        reference_HW,
        random.integers(0, K, (120, 120), dtype=np.uint8),
        0.5,
        ("Pastures", "Urban fabric"),
        ("Pastures", "Marine waters"),
    )
    return replace(made, **changes)


@cache
def case(name: str = "full") -> tuple[Assessment, Evidence]:
    synthetic = Origin("validation", "f00d", True)
    evidence = {
        "full": lambda: made_up_evidence(60, 6),
        "plain": lambda: made_up_evidence(60, 6, head=False, details=False),
        "synthetic": lambda: made_up_evidence(40, 3, origin=synthetic),
        "one tile": lambda: made_up_evidence(20, 1),
        "one patch": lambda: take_patches(made_up_evidence(20, 2), np.array([3])),
        "absent": absent,
        "unlabelled": lambda: replace_counts(made_up_evidence(10, 2, details=False), 0),
    }[name]()
    return assess(evidence), evidence


def replace_counts(evidence: Evidence, times: int) -> Evidence:
    counts = evidence.confusion.dense().reshape(-1, K, K) * times
    return batch_evidence(
        evidence.origin, evidence.patch_ids.to_pylist(), counts, evidence.labels, evidence.probabilities
    )


def absent() -> Evidence:
    """Evidence in which class 7 is predicted but neither in the reference nor among the labels."""
    evidence = made_up_evidence(60, 6, details=False)
    counts = evidence.confusion.dense().reshape(-1, K, K)
    counts[:, 7] = 0
    labels = evidence.labels.copy()
    labels[:, 7] = False
    return batch_evidence(
        evidence.origin, evidence.patch_ids.to_pylist(), counts, labels, evidence.probabilities,
        evidence.countries.cast(pa.string()).to_pylist(),
    )  # fmt: skip


CASES = ("full", "plain", "synthetic", "one tile", "one patch", "absent", "unlabelled")


@cache
def html(name: str = "full") -> str:
    assessment, evidence = case(name)
    return render_report(assessment, evidence, [picture("best"), picture("worst", 1)], ABOUT)


@cache
def page(name: str = "full") -> Node:
    return parsed(html(name))


@pytest.mark.parametrize("name", CASES)
def test_page_is_well_formed_and_complete(name):
    root = page(name)
    assert html(name).startswith("<!doctype html>")
    ids = [node.attributes["id"] for node in root.walk() if "id" in node.attributes]
    assert len(set(ids)) == len(ids)
    referenced = {
        each
        for node in root.walk()
        for key in ("aria-labelledby", "aria-describedby")
        for each in (node.attributes.get(key) or "").split()
    }
    referenced |= {node.attributes["href"][1:] for node in root.find("a")}
    assert referenced
    assert referenced <= set(ids)
    assert len(root.find("h1")) == 1
    assert root.find("html")[0].attributes["lang"] == "en"
    sections = [node.attributes["id"] for node in root.find("section")]
    assert [node.attributes["href"][1:] for nav in root.find("nav") for node in nav.find("a")] == sections
    expected = ["summary", "pixels", "confusion", "scenes", "joint", "calibration", "slices", "gallery", "reading"]
    if name == "plain":
        expected = [each for each in expected if each not in ("scenes", "calibration")]
    assert sections == expected


@pytest.mark.parametrize("name", CASES)
def test_page_needs_nothing_from_elsewhere(name):
    text = html(name)
    assert not re.search(r"https?:|//[a-z]+\.|@import|javascript:", text)
    for node in page(name).walk():
        for key, value in node.attributes.items():
            assert not key.startswith("on")
            if key in ("src", "href"):
                assert value.startswith(("#", "data:"))
            if "url(" in (value or ""):
                assert re.fullmatch(r"(?:[^u]|u(?!rl\())*url\(#[\w-]+\)[^(]*", value), value
    assert "url(" not in "".join(node.text for node in page(name).find("style"))
    (policy,) = page(name).find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy.attributes["content"].startswith("default-src 'none'")


@pytest.mark.parametrize("name", CASES)
def test_page_can_be_used_without_eyes(name):
    root = page(name)
    for table in root.find("table"):
        assert table.find("caption")[0].words
        assert all(node.attributes.get("scope") in ("col", "row") for node in table.find("th"))
        assert len(table.find("th", scope="col")) > 1
        assert all(row.find("th", scope="row") for body in table.find("tbody") for row in body.find("tr"))
    for region in root.find("div", role="region"):
        assert region.attributes["tabindex"] == "0"
    for svg in root.find("svg"):
        assert svg.attributes["role"] == "img"
        title, description = svg.children[:2]
        assert (title.tag, description.tag) == ("title", "desc")
        assert title.words
        assert description.words
    images = root.find("img")
    assert len(images) == 10
    assert all(len(image.attributes["alt"]) > 10 for image in images)
    for table in root.find("table", class_="sortable"):
        heads = table.find("thead")[0].find("th")
        assert all(len(head.find("button", type="button")) == 1 for head in heads)


def test_every_table_is_there_and_sorts_by_full_precision():
    assessment, _ = case()
    root = page()
    by_caption = {table.find("caption")[0].words: table for table in root.find("table")}
    tables = (*summary_tables(assessment), *detail_tables(assessment))
    assert len(tables) > 10
    for table in tables:
        if table.name == "slices":
            continue
        drawn = by_caption[table.title]
        rows = drawn.find("tbody")[0].find("tr")
        assert len(rows) == len(table.rows)
        heads = [head.words.replace("\xa0", " ") for head in drawn.find("thead")[0].find("th")]
        assert heads == [column.heading for column in table.columns]
        for row, values in zip(rows, table.rows, strict=True):
            cells = [cell for cell in row.children if isinstance(cell, Node)]
            for cell, column, value in zip(cells, table.columns, values, strict=True):
                expect_cell(cell, column, value)
        for note in table.notes:
            assert note in drawn.parent.parent.words


def expect_cell(cell: Node, column: Column, value: object) -> None:
    key = cell.attributes["data-sort"]
    if isinstance(value, str):
        official = next((c for c in CLASSES if c.name == value), None)
        short = column.kind == "class" and official is not None
        assert cell.words == (official.short if short else " ".join(value.split()))
        assert cell.attributes.get("title") == (value if short else None)
        return
    assert cell.words == shown(column, value)
    number = plain(value.value) if isinstance(value, Estimate) else plain(value)
    if number is None:
        assert (cell.words, key) == (UNDEFINED, "")
    else:
        assert float(key) == number


def test_slices_stand_in_a_table_for_each_dimension():
    assessment, _ = case()
    (table,) = (table for table in detail_tables(assessment) if table.name == "slices")
    dimensions = list(dict.fromkeys(row[0] for row in table.rows))
    drawn = [t for t in page().find("table") if t.find("caption")[0].words.startswith("Scores by ")]
    drawn = [t for t in drawn if "class, test" not in t.find("caption")[0].words]
    assert [t.find("caption")[0].words for t in drawn] == [f"Scores by {d}, test split" for d in dimensions]
    for dimension, part in zip(dimensions, drawn, strict=True):
        rows = [row for row in table.rows if row[0] == dimension]
        cells = [[cell.attributes["data-sort"] for cell in row.find("*") if "data-sort" in cell.attributes]
                 for row in part.find("tbody")[0].find("tr")]  # fmt: skip
        assert [c[0] for c in cells] == [row[1] for row in rows]
        assert [float(c[1]) for c in cells] == [row[2] for row in rows]
        assert part.find("th")[0].words == dimension.capitalize()
    section = next(node for node in page().find("section") if node.attributes["id"] == "slices")
    assert all(note in section.words for note in table.notes)


def test_a_table_of_anything():
    columns = (
        Column("a", "A", "text"),
        Column("c", "C", "class"),
        Column("p", "P", "percent"),
        Column("n", "N", "number"),
        Column("k", "K", "count"),
    )
    rows = (
        ("x", CLASS_NAMES[6], Estimate(0.2967, low=0.271, high=0.32), 1 / 3, 1234567),
        ("Pastures", "Pastures", math.nan, None, 0),
        ("y  z", "no class", Estimate(math.nan, low=0.1, high=0.2), -1.5, 3),
        ("w", CLASS_NAMES[0], Estimate(0.5, sd=0.01), 2, 3),
    )
    table = html_table(Table("t", "T", columns, rows, ("n",)))
    assert [(h.text, h.numeric) for h in table.headings] == [
        ("A", False), ("C", False), ("P\xa0%", True), ("N", True), ("K", True),
    ]  # fmt: skip
    first, second, third, fourth = table.rows
    assert (first[1].text, first[1].full, first[1].color) == (CLASSES[6].short, CLASS_NAMES[6], "#e6cc4d")
    assert (first[2].text, first[2].interval, first[2].sort) == ("29.7", " [27.1, 32.0]", "0.2967")
    assert (first[3].text, float(first[3].sort)) == ("0.3333", 1 / 3)
    assert (first[4].text, first[4].sort) == ("1,234,567", "1234567")
    assert [(cell.text, cell.sort) for cell in second[2:4]] == [(UNDEFINED, "")] * 2
    assert (second[0].text, second[0].color) == ("Pastures", "")
    assert (third[0].text, third[1].color, third[2].text, third[2].sort) == ("y z", "", UNDEFINED, "")
    assert (fourth[2].text, fourth[2].interval) == ("50.0", " ± 1.0")
    assert not table.long
    assert html_table(Table("t", "T", columns, rows * 10)).long


def test_confusion_matrix_holds_the_counts():
    assessment, evidence = case("absent")
    counts = total_counts(evidence)
    (matrix,) = page("absent").find("table", class_="matrix")
    rows = matrix.find("tbody")[0].find("tr")
    assert len(rows) == K
    for true, row in enumerate(rows):
        support = int(counts[true].sum())
        cells = row.find("td")
        assert cells[-1].words == f"{support:,}"
        if true == 7:
            assert len(cells) == 2
            assert cells[0].words == "– not in the reference"
            continue
        for predicted, cell in enumerate(cells[:-1]):
            pixels = int(counts[true, predicted])
            assert f"({pixels:,} of {support:,} pixels)" in cell.attributes["title"]
            assert CLASS_NAMES[true] in cell.attributes["title"]
            assert ("predicted right" if true == predicted else CLASS_NAMES[predicted]) in cell.attributes["title"]
            share = float(cell.attributes["style"].removeprefix("--v:"))
            assert share == pytest.approx(pixels / support, abs=0.0005)
            assert cell.words == (f"{100 * pixels / support:.0f}" if pixels / support >= 0.005 else "")
            assert ("past-light" in cell.attributes["class"].split()) == (pixels / support > 0.695)
            assert ("past-dark" in cell.attributes["class"].split()) == (pixels / support > 0.515)
            assert ("right" in cell.attributes["class"].split()) == (true == predicted)
    assert len(confusion_rows(np.zeros((K, K), np.int64))) == K
    assert assessment.counts_KK[7].sum() == 0


def test_headlines_show_scores_with_intervals():
    assessment, _ = case()
    shown_scores = {node.find("h3")[0].words: node for node in page().find("div", class_="headline")}
    scores, intervals = assessment.scores, assessment.intervals
    expected = {
        "mIoU": (scores.pixel.miou, "miou"),
        "mF1": (scores.pixel.mf1, "mf1"),
        "Overall accuracy": (scores.pixel.oa, "oa"),
        "AP macro": (scores.scene.ap_macro, "ap_macro"),
        "AP micro": (scores.scene.ap_micro, "ap_micro"),
        "F1 macro": (scores.scene_fitted.f1_macro, "f1_macro_fitted"),
    }
    assert list(shown_scores) == list(expected)
    for name, (value, key) in expected.items():
        assert f"{100 * value:.2f}" in shown_scores[name].words
        assert (
            f"{100 * float(intervals[key].low):.1f} to {100 * float(intervals[key].high):.1f}"
            in shown_scores[name].words
        )
    facts = {
        node.find("dt")[0].words: node.find("dd")[0].words for node in page().find("dl", class_="facts")[0].find("div")
    }
    assert facts["Patches"] == "60"
    assert facts["S2 tiles"] == "6"
    assert facts["Data fingerprint"] == "made-up"
    assert facts["Data"] == "own patches or an own split, so these are no scores of reBEN's split"
    assert facts["Labelled pixels"] == f"{int(scores.pixel.support.sum()):,}"
    assert facts["Architecture"] == "unet"
    assert facts["Temperature"] == "1.300, fitted on validation"
    assert "Run" not in facts
    assert page().find("h1")[0].words == "unet-s2, test split"


def test_the_title_names_model_and_data():
    assert page().find("title")[0].words == "unet resnet18 · s2 · test split of own patches · seg"
    expected = "SYNTHETIC – unet resnet18 · s2 · validation split of synthetic data · seg"
    assert page("synthetic").find("title")[0].words == expected
    assert "Model" not in {node.words for node in page().find("dt")}


@pytest.mark.parametrize(
    ("origin", "data"),
    [
        (Origin("test", "f00d", False, without="s1"), "test split of reBEN without Sentinel-1"),
        (Origin("test", "f00d", False, on="f00df00d"), "test split of other data (f00df00d)"),
    ],
)
def test_the_title_says_what_was_left_out_and_which_data(origin, data, monkeypatch):
    assessment, evidence = case("one patch")
    scored = replace(assessment, scores=replace(assessment.scores, origin=origin))
    whole = OfficialPart(ids_digest(evidence.patch_ids.to_pylist()), "")
    for known, named in ((OFFICIAL["test"], "own patches"), (whole, "reBEN")):
        monkeypatch.setitem(OFFICIAL, "test", known)
        title = parsed(render_report(scored, evidence, [], {"Run": "a-run"})).find("title")[0].words
        assert title == f"a-run · {data.replace('reBEN', named)} · seg"


def test_what_is_undefined_is_a_dash():
    summary = next(node for node in page("unlabelled").find("section") if node.attributes["id"] == "summary")
    miou = summary.find("div", class_="headline")[0]
    assert UNDEFINED in miou.words
    assert "nan" not in page("unlabelled").find("main")[0].words.lower().replace("finance", "")
    assert "%" not in miou.find("p", class_="value")[0].words
    assert "no intervals" in page("one tile").words
    assert "no interval" in page("one tile").find("div", class_="headline")[0].words
    assert "0.5" in page("synthetic").find("dl", class_="facts")[0].words


def test_synthetic_data_are_loud():
    (banner,) = page("synthetic").find("div", class_="synthetic")
    assert "SYNTHETIC DATA" in banner.words
    assert "No benchmark result" in banner.words
    assert banner.attributes["role"] == "alert"
    assert page("synthetic").find("title")[0].words.startswith("SYNTHETIC")
    captions = [table.find("caption")[0].words for table in page("synthetic").find("table")[:-1]]
    assert all(caption.startswith("SYNTHETIC data, no benchmark result: ") for caption in captions)
    assert "SYNTHETIC" not in html("full")


EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"


def test_all_text_is_escaped():
    _, evidence = case()
    countries = pa.array([EVIL] * len(evidence)).dictionary_encode()
    origin = replace(evidence.origin, fingerprint=EVIL, weights=EVIL)
    evil = replace(evidence, countries=countries, origin=origin)
    about = {"Run": EVIL, "Model": EVIL, EVIL: "x", "Encoder": EVIL, "Markup": "{{ 7 * 7 }}{% for %}"}
    text = render_report(assess(evil), evil, [picture(patch_id=EVIL, why=EVIL)], about)
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    root = parsed(text)
    assert len(root.find("script")) == 1
    assert len(root.find("img")) == 5
    assert root.find("h1")[0].text == f"{EVIL}, test split"
    assert root.find("title")[0].text == f"{EVIL} · test split of own patches · seg"
    assert "{{ 7 * 7 }}{% for %}" in root.words
    facts = root.find("dl", class_="facts")[0]
    assert [node.text for node in facts.find("dd")].count(EVIL) == 3
    assert EVIL in [node.text for node in facts.find("dt")]
    assert EVIL in [node.text for article in root.find("article") for node in article.find("h3")]
    chart = next(svg for svg in root.find("svg") if svg.attributes["aria-labelledby"].startswith("countries"))
    assert EVIL in [node.text for node in chart.find("text")]


def pixels(node: Node) -> np.ndarray:
    uri = node.attributes["src"]
    with Image.open(BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))) as image:
        return np.asarray(image.convert("RGB"))


def test_gallery_shows_every_pixel():
    shown_picture = picture()
    article = page().find("article")[0]
    images = {figure.find("figcaption")[0].words: figure.find("img")[0] for figure in article.find("figure")}
    assert list(images) == [
        "Sentinel-2, true colour", "Sentinel-1, VV, −25 to 0 dB", "Reference", "Predicted", "Right and wrong",
    ]  # fmt: skip
    color = np.full((256, 3), 150, np.uint8)
    color[:K] = [c.color for c in CLASSES]
    np.testing.assert_array_equal(pixels(images["Sentinel-2, true colour"]), shown_picture.rgb_HW3)
    s1 = pixels(images["Sentinel-1, VV, −25 to 0 dB"])
    np.testing.assert_array_equal(s1, np.stack([shown_picture.s1_HW] * 3, -1))
    np.testing.assert_array_equal(pixels(images["Reference"]), color[shown_picture.reference_HW])
    np.testing.assert_array_equal(pixels(images["Predicted"]), color[shown_picture.predicted_HW])
    marks = pixels(images["Right and wrong"])
    right = shown_picture.reference_HW == shown_picture.predicted_HW
    assert (marks[:5] == 150).all()
    assert (marks[5:][right[5:]] == (214, 234, 223)).all()
    assert (marks[5:][~right[5:]] == (178, 24, 43)).all()
    legend, key = ([item.words for item in each.find("li")] for each in article.find("ul", class_="legend"))
    assert legend == [*(c.short for c in CLASSES), "Unlabelled"]
    assert key == ["right", "wrong", "unlabelled"]
    assert "best" in article.words
    assert "50.0 %" in article.words
    assert "Urban fabric" in images["Reference"].attributes["alt"]


def test_gallery_compares_labels():
    head, mapped = page().find("article")[0].find("p", class_="chips")
    chips = {kind: [node.words for node in head.find("span", class_=kind)] for kind in ("found", "missed", "extra")}
    assert chips == {
        "found": ["✓ Pastures"],
        "missed": ["− missed: Urban fabric"],
        "extra": ["+ wrongly: Marine waters"],
    }
    assert len(mapped.find("span", class_="extra")) == K - 2
    alone = page("plain").find("article")[0].find("p", class_="chips")
    assert [node.words.startswith("Labels on the predicted map") for node in alone] == [True]


def test_labels_of_the_map_are_those_of_labelled_pixels():
    reference_HW = np.full((120, 120), 4, np.uint8)
    reference_HW[0] = IGNORE_INDEX
    predicted_HW = np.full((120, 120), 4, np.uint8)
    predicted_HW[0] = 9
    assessment, evidence = case("plain")
    one = picture(reference_HW=reference_HW, predicted_HW=predicted_HW, labels=("Pastures",), decided=())
    (chips,) = parsed(render_report(assessment, evidence, [one], ABOUT)).find("p", class_="chips")
    assert [node.words for node in chips.find("span", class_="chip")] == ["✓ Pastures"]


def test_pictures_without_images():
    assessment, evidence = case("one patch")
    text = render_report(assessment, evidence, [picture(rgb_HW3=None, s1_HW=None, decided=(), labels=())], ABOUT)
    article = parsed(text).find("article")[0]
    assert [node.words for node in article.find("figcaption")] == ["Reference", "Predicted", "Right and wrong"]
    assert article.find("p", class_="chips")[0].words == "Labels by the scene head: none"
    assert "gallery" not in [
        node.attributes["id"] for node in parsed(render_report(assessment, evidence, [], {})).find("section")
    ]


def test_charts_say_what_they_show():
    captions = [node.words for node in page().find("figcaption")]
    assert sum("AP " in caption for caption in captions) >= 20
    scene = case()[0].scores.scene
    for c in CLASSES:
        assert f"{c.short} AP {100 * scene.ap[c.index]:.1f} %" in captions
    assert f"All classes (micro) AP {100 * scene.ap_micro:.1f} %" in captions
    names = [svg.attributes["aria-labelledby"].removesuffix("-desc").split("-title")[0] for svg in page().find("svg")]
    assert names == [
        *("iou", "precision", "ap", "f1", "pr-micro"),
        *(f"pr-{k}" for k in range(K)),
        *("reliability-pixels", "reliability-pixels-scaled", "reliability-scenes", "countries", "places"),
    ]
    descriptions = [svg.children[1].text for svg in page().find("svg")]
    iou = case()[0].scores.pixel.iou
    assert all(f"{c.short} {100 * iou[c.index]:.1f} %" in descriptions[0] for c in CLASSES)
    assert [svg.attributes["aria-labelledby"].split("-title")[0] for svg in page("plain").find("svg")] == [
        *("iou", "precision", "countries", "places"),
    ]
    assert not any("pr-7-" in svg.attributes["aria-labelledby"] for svg in page("absent").find("svg"))


def test_the_same_input_gives_the_same_text():
    assessment, evidence = case()
    pictures = [picture("best"), picture("worst", 1)]
    assert render_report(assessment, evidence, pictures, ABOUT) == html()


def test_a_large_report_stays_small():
    evidence = made_up_evidence(20_000, 290)
    pictures = [picture(why, seed) for why in REASONS for seed in range(3)]
    text = render_report(assess(evidence), evidence, pictures, ABOUT)
    assert len(text.encode()) < 5_000_000
    (long,) = parsed(text).find("div", class_="long")
    assert len(long.find("tbody")[0].find("tr")) == 290

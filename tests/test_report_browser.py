"""The HTML report in a browser: no errors, sorting by mouse and keyboard, small screens, contrast."""

import numpy as np
import pytest
from browser import LUMINANCE, chromium
from browser import opened as opened_anew
from entries import ANSWERS
from made_up import made_up_evidence

from seg.benchmark.board import Board, Placed, board_files
from seg.benchmark.form import Answers
from seg.benchmark.layout import Manifest
from seg.benchmark.outcome import Outcome, measured
from seg.benchmark.ranking import Rank
from seg.benchmark.verify import Verified
from seg.config.synthetic import Synthetic
from seg.metrics.assess import assess
from seg.metrics.evidence import Origin, batch_evidence
from seg.reben.classes import NUM_CLASSES
from seg.report.gallery import Picture
from seg.report.html import render_report

ABSENT = 7
CELLS = "return [...arguments[0].tBodies[0].rows].map(row => row.cells[arguments[1]].textContent.trim())"
KEYS = "return [...arguments[0].tBodies[0].rows].map(row => row.cells[arguments[1]].dataset.sort)"
CONTRAST = (
    LUMINANCE
    + """return [...document.querySelectorAll("table.matrix td[title]")].map((cell, n) => {
  cell.style.setProperty("--v", n / 360);
  cell.classList.toggle("past-dark", n / 360 > 0.515);
  cell.classList.toggle("past-light", n / 360 > 0.695);
  const style = getComputedStyle(cell);
  const [low, high] = [luminance(style.color), luminance(style.backgroundColor)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
});
"""
)
OVERFLOWING = """
return [...document.querySelectorAll("body *")].filter(e => {
  const box = e.getBoundingClientRect();
  return box.right > innerWidth + 1 && !e.closest(".scroll, nav ul, svg, .skip");
}).map(e => e.tagName + " " + e.className);
"""
OVERLAPPING = """
const found = [];
for (const svg of document.querySelectorAll("svg")) {
  const texts = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
  const frame = svg.getBoundingClientRect();
  texts.forEach(([name, a], i) => {
    if (a.left < frame.left - 3 || a.right > frame.right + 3) found.push(name + " is cut off");
    for (const [other, b] of texts.slice(0, i)) {
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      // Boxes of text have room above and below the letters.
      if (x > 1 && y > 0.45 * Math.min(a.height, b.height)) found.push(name + " lies over " + other);
    }
  });
}
return found;
"""


def some_picture(why: str) -> Picture:
    maps = np.random.default_rng(0).integers(0, NUM_CLASSES, (2, 120, 120), dtype=np.uint8)
    return Picture("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57", why, None, None, *maps, 0.5, (), ())


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    """Address of a report in which one class is absent, so that there are dashes."""
    made = made_up_evidence(60, 6)
    counts = made.confusion.dense().reshape(-1, NUM_CLASSES, NUM_CLASSES)
    counts[:, ABSENT] = 0
    labels = made.labels.copy()
    labels[:, ABSENT] = False
    countries = made.countries.to_pylist()
    origin = Origin("test", "made-up", True, "", made.origin.thresholds)
    evidence = batch_evidence(origin, made.patch_ids.to_pylist(), counts, labels, made.probabilities, countries)
    path = tmp_path_factory.mktemp("report") / "report.html"
    about = {"Run": "a-run", "Model": "unet resnet18 · s2"}
    pictures = [some_picture("best"), some_picture("worst")]
    path.write_text(render_report(assess(evidence), evidence, pictures, about), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with chromium(browser="ALL") as driver:
        yield driver


def opened(browser, report: str, width: int = 1280, scheme: str = "light", height: int = 900) -> None:
    """Load the page anew on a screen of a size, in light or dark."""
    opened_anew(browser, report, width, height, scheme)


def table_of(browser, caption: str):
    (table,) = (
        table
        for table in browser.find_elements("tag name", "table")
        if caption in table.find_element("tag name", "caption").text
    )
    return table


def test_the_page_loads_without_errors(browser, report):
    opened(browser, report)
    assert browser.title == "SYNTHETIC – unet resnet18 · s2 · test split of synthetic data · seg"
    assert browser.get_log("browser") == []
    assert len(browser.find_elements("tag name", "svg")) > 20
    assert all(
        browser.execute_script("return arguments[0].naturalWidth", image) == 120
        for image in browser.find_elements("tag name", "img")
    )
    requests = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert not [name for name in requests if not name.startswith("data:")]


@pytest.mark.parametrize("press", ["click", "enter", "space"])
def test_headers_sort_up_and_down_with_dashes_last(browser, report, press):
    opened(browser, report)
    table = table_of(browser, "Pixel scores by class")
    head = table.find_elements("css selector", "thead th")[1]
    button = head.find_element("tag name", "button")
    keys = [float(key) if key else None for key in browser.execute_script(KEYS, table, 1)]
    assert keys[ABSENT] is None
    defined = sorted(key for key in keys if key is not None)
    assert len(defined) == NUM_CLASSES - 1

    def pressed() -> list[float | None]:
        if press == "click":
            button.click()
        else:
            button.send_keys({"enter": "\ue007", "space": " "}[press])
        return [float(key) if key else None for key in browser.execute_script(KEYS, table, 1)]

    assert head.get_attribute("aria-sort") is None
    assert pressed() == [*defined, None]
    assert head.get_attribute("aria-sort") == "ascending"
    assert browser.execute_script(CELLS, table, 1)[-1] == "–"
    assert pressed() == [*defined[::-1], None]
    assert head.get_attribute("aria-sort") == "descending"
    assert pressed() == [*defined, None]
    first = table.find_elements("css selector", "thead th")[0]
    first.find_element("tag name", "button").click()
    names = browser.execute_script(CELLS, table, 0)
    assert names == sorted(names, key=str.casefold)
    assert head.get_attribute("aria-sort") is None
    assert browser.get_log("browser") == []


def test_numbers_are_sorted_as_numbers(browser, report):
    opened(browser, report)
    table = table_of(browser, "Pixel scores by class")
    heads = table.find_elements("css selector", "thead th button")
    assert "Pixels" in heads[-1].text
    heads[-1].click()
    counts = [int(text.replace(",", "")) for text in browser.execute_script(CELLS, table, len(heads) - 1)]
    assert counts == sorted(counts)
    assert len({len(str(count)) for count in counts}) > 1  # as text they would stand in another order


def test_the_confusion_matrix_tells_what_is_pointed_at(browser, report):
    opened(browser, report, 390)
    cell = browser.find_element("css selector", "table.matrix td.right")
    readout = browser.find_element("css selector", ".readout")
    assert not readout.text.strip()
    cell.click()
    assert readout.text == cell.get_attribute("title")
    assert "predicted right" in readout.text


PHONE = (360, 740)


def rectangle(browser, element) -> dict[str, float]:
    """Left, right, top and bottom of an element on the screen, pixels."""
    script = (
        "const {left, right, top, bottom} = arguments[0].getBoundingClientRect(); return {left, right, top, bottom}"
    )
    return browser.execute_script(script, element)


def settled(browser) -> None:
    """Wait until the page has answered to a scroll: observers are called after the next frame."""
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0])))")


def scrolled(browser, element, script: str) -> set[str]:
    """Run a script on an element, and return the element's classes afterwards."""
    browser.execute_script(script, element)
    settled(browser)
    return set(element.get_attribute("class").split())


def tap(browser, element) -> None:
    """Touch an element below its middle with a finger, without moving the page before."""
    box = rectangle(browser, element)
    place = {"x": (box["left"] + box["right"]) / 2, "y": 0.3 * box["top"] + 0.7 * box["bottom"]}
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [place]})
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settled(browser)


@pytest.mark.parametrize("edge", ["above", "middle", "below"])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (9, 10), (17, 18)])
def test_a_tapped_cell_and_its_counts_are_on_the_screen_of_a_phone(browser, report, edge, row, column):
    opened(browser, report, PHONE[0], height=PHONE[1])
    cell = browser.find_elements("css selector", "table.matrix td[title]")[row * NUM_CLASSES + column]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", cell)
    # To where half of the cell is below the links, or the read-out will be.
    move = {
        "above": "top - document.querySelector('nav').offsetHeight + 16",
        "middle": "0",
        "below": "bottom - innerHeight",
    }
    browser.execute_script(
        f"const {{top, bottom}} = arguments[0].getBoundingClientRect(); window.scrollBy(0, {move[edge]})", cell
    )
    settled(browser)
    tap(browser, cell)
    readout = browser.find_element("css selector", ".readout")
    assert readout.text == cell.get_attribute("title")
    box, of_cell = rectangle(browser, readout), rectangle(browser, cell)
    assert 0 <= box["left"] < box["right"] <= PHONE[0]
    assert 0 <= box["top"] < box["bottom"] <= PHONE[1]
    links = rectangle(browser, browser.find_element("tag name", "nav"))
    # Neither the links nor the read-out lie over the cell.
    assert of_cell["top"] >= links["bottom"]
    assert of_cell["bottom"] <= box["top"]
    assert "chosen" in cell.get_attribute("class").split()


def test_the_matrix_is_read_by_the_arrow_keys_from_one_tab_stop(browser, report):
    opened(browser, report)
    rows = [
        row.find_elements("css selector", "td[title]")
        for row in browser.find_elements("css selector", "table.matrix tbody tr")
    ]
    assert not rows[ABSENT]
    readout = browser.find_element("css selector", ".readout")
    browser.execute_script("arguments[0].focus()", rows[0][0])
    for keys, row, column in (
        ("\ue014", 0, 1),  # right
        ("\ue015", 1, 1),  # down
        ("\ue015" * 6, 8, 1),  # over the row of the class that the reference does not have
        ("\ue013", 6, 1),  # up
        ("\ue012" * 3, 6, 0),  # left, and on to where nothing is
    ):
        for key in keys:
            browser.switch_to.active_element.send_keys(key)
        assert browser.switch_to.active_element == rows[row][column]
        assert readout.text == rows[row][column].get_attribute("title")
        assert browser.execute_script("return document.querySelectorAll('.matrix td[tabindex=\"0\"]').length") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_wide_table_fades_out_where_it_goes_on(browser, report, scheme):
    opened(browser, report, PHONE[0], scheme, PHONE[1])
    tables = browser.find_elements("css selector", ".scroll")
    goes_on = "return arguments[0].scrollWidth > arguments[0].clientWidth"
    wide = [table for table in tables if browser.execute_script(goes_on, table)]
    assert len(wide) > 5
    for table in tables:
        classes = scrolled(browser, table, "arguments[0].scrollLeft = 0")
        assert ("more-right" in classes) == (table in wide)
        assert "more-left" not in classes
    mask = "return getComputedStyle(arguments[0]).maskImage.split('linear-gradient')[1]"
    for table in wide[:2]:
        assert "44px" in browser.execute_script(mask, table)
        assert scrolled(browser, table, "arguments[0].scrollLeft = 20") >= {"more-left", "more-right"}
        at_the_end = scrolled(browser, table, "arguments[0].scrollLeft = 1e5")
        assert "more-left" in at_the_end
        assert "more-right" not in at_the_end
        assert "44px" not in browser.execute_script(mask, table)


@pytest.mark.parametrize("size", [PHONE, (1280, 900)])
def test_the_links_stay_in_sight_and_the_warning_does_not(browser, report, size):
    opened(browser, report, size[0], height=size[1])
    nav, banner = browser.find_element("tag name", "nav"), browser.find_element("css selector", ".synthetic")
    assert rectangle(browser, banner)["top"] == 0
    for link in browser.find_elements("css selector", "nav a"):
        name = link.get_attribute("hash")
        browser.execute_script("arguments[0].click()", link)
        settled(browser)
        box, heading = rectangle(browser, nav), browser.find_element("css selector", f"{name} h2")
        if name == "#summary":
            continue
        assert box["top"] == 0
        assert box["bottom"] < 60
        assert rectangle(browser, banner)["bottom"] < 0
        assert box["bottom"] < rectangle(browser, heading)["top"] < size[1]
        # The link of what is read is marked, and moved into sight where the list is wider than the screen.
        assert link.get_attribute("aria-current") == "true"
        assert len(browser.find_elements("css selector", "nav a[aria-current]")) == 1
        at = rectangle(browser, link)
        assert 0 <= at["left"] < at["right"] <= size[0]


@pytest.mark.parametrize("media", ["screen", "print"])
@pytest.mark.parametrize("width", [PHONE[0], 1280])
def test_no_interval_hides_behind_its_score(browser, report, width, media):
    opened(browser, report, width)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
    scales = browser.find_elements("css selector", ".scale")
    assert len(scales) == 6
    for scale in scales:
        # As narrow as an interval can be.
        script = "const span = arguments[0].querySelector('.span'); span.style.width = '0%'; return span"
        span = browser.execute_script(script, scale)
        dot = scale.find_element("css selector", ".dot")
        assert rectangle(browser, dot)["bottom"] <= rectangle(browser, span)["top"]
        assert rectangle(browser, span)["right"] - rectangle(browser, span)["left"] >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_in_the_confusion_matrix_can_be_read(browser, report, scheme):
    opened(browser, report, 1280, scheme)
    contrasts = browser.execute_script(CONTRAST)
    assert len(contrasts) == NUM_CLASSES * (NUM_CLASSES - 1)
    assert min(contrasts) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_the_colours_of_the_reader(browser, report, scheme):
    opened(browser, report, 1280, scheme)
    style = "const style = getComputedStyle(arguments[0]); return [style.color, style.fill, style.backgroundColor]"
    color, _, background = browser.execute_script(style, browser.find_element("tag name", "body"))
    ink = browser.execute_script(style, browser.find_element("css selector", "svg text"))[1]
    assert ink == color
    dark, bright = (color, background) if scheme == "light" else (background, color)
    assert sum(map(int, dark[4:-1].split(","))) < 150
    assert sum(map(int, bright[4:-1].split(","))) > 600


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_leaves_the_screen_and_no_labels_overlap(browser, report, width):
    opened(browser, report, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(OVERFLOWING) == []
    assert browser.execute_script(OVERLAPPING) == []


def test_the_page_prints(browser, report):
    opened(browser, report)
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert len(printed["data"]) > 100_000


HOSTILE = '=1+1<img src=x onerror="alert(1)">"><script>alert(2)</script>'


def entry_on(board: str, inputs: str, skill: float) -> Verified:
    """An entry of a leaderboard, on made-up evidence."""
    evidence = made_up_evidence(40, 4, seed=3, skill=skill, details=False)
    answers = Answers(**ANSWERS | {"name": board, "summary": HOSTILE, "inputs": inputs})
    manifest = Manifest(format=1, protocol=1, definitions=1, seg="0", name=board, seeds=["0"], files={})
    outcome = Outcome((measured(0, evidence),))
    return Verified(
        name=board,
        answers=answers,
        manifest=manifest,
        synthetic=Synthetic.DATA,
        patches=40,
        subject="f00d",
        predictions=frozenset({board}),
        prints=(),
        outcome=outcome,
        referenced=True,
        trained=True,
        checked=(),
        remarks=(),
        unrecorded=(),
        unverified=(),
    )


@pytest.fixture(scope="module")
def board(tmp_path_factory) -> str:
    """Address of a leaderboard with entries of two tracks and a hostile name."""
    entries = [
        Placed(one.name, one, {"miou": Rank(place, place, (), ())})
        for place, one in enumerate(
            [entry_on("first", "s2", 0.9), entry_on(HOSTILE, "s2", 0.5), entry_on("radar", "s1", 0.4)], 1
        )
    ]
    made = Board((tuple(entries[:2]), tuple(entries[2:])), ((HOSTILE, f"{HOSTILE} is forged"),))
    path = tmp_path_factory.mktemp("board") / "index.html"
    path.write_text(board_files(made)["index.html"], encoding="utf-8")
    return path.as_uri()


def shown_entries(browser) -> list[str]:
    rows = browser.find_elements("css selector", "#entries tbody tr")
    return [row.find_elements("css selector", "th, td")[1].text for row in rows if row.is_displayed()]


def test_a_leaderboard_is_filtered_by_track_and_sorted(browser, board):
    opened(browser, board)
    assert browser.title.startswith("SYNTHETIC")
    assert shown_entries(browser) == ["first", HOSTILE, "radar"]
    (inputs,) = (label for label in browser.find_elements("css selector", ".filters label") if "Inputs" in label.text)
    inputs.find_element("css selector", "option:nth-child(2)").click()
    assert shown_entries(browser) == ["radar"]
    assert browser.find_element("css selector", ".filters output").text == "1 of 2 tracks"
    inputs.find_element("css selector", "option:nth-child(1)").click()
    heads = browser.find_elements("css selector", "#entries thead th button")
    miou = next(head for head in heads if head.text.startswith("mIoU"))
    miou.click()
    assert shown_entries(browser) == [HOSTILE, "first", "radar"]
    assert browser.get_log("browser") == []


def test_a_hostile_name_is_only_text_on_a_leaderboard(browser, board):
    opened(browser, board)
    assert browser.find_elements("css selector", "img, main script") == []
    for summary in browser.find_elements("css selector", "details.entry summary"):
        summary.click()
    assert HOSTILE in browser.find_element("css selector", "#statements").text
    assert f"{HOSTILE}: {HOSTILE} is forged" in browser.find_element("css selector", "#refused").text
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [390, 1280])
def test_a_leaderboard_stays_on_the_screen(browser, board, width):
    opened(browser, board, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(OVERFLOWING) == []
    # Track, rank, name and score are in sight without moving anything.
    table = browser.find_element("css selector", "#entries .track .scroll")
    right = browser.execute_script("return arguments[0].getBoundingClientRect().right", table)
    assert "Sentinel-2, from scratch" in browser.find_element("css selector", "#entries .track h3").text
    for cell in browser.find_elements("css selector", "#entries tbody tr > :nth-child(-n + 3)"):
        assert browser.execute_script("return arguments[0].getBoundingClientRect().right", cell) <= right + 1

"""The HTML report in a browser: no errors, sorting by mouse and keyboard, small screens, contrast."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_up import made_up_evidence

from seg.metrics.assess import assess
from seg.metrics.evidence import Origin, batch_evidence
from seg.reben.classes import NUM_CLASSES
from seg.report.gallery import Picture
from seg.report.html import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("there is no chromium with its chromedriver on this machine", allow_module_level=True)

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
ABSENT = 7
CELLS = "return [...arguments[0].tBodies[0].rows].map(row => row.cells[arguments[1]].textContent.trim())"
KEYS = "return [...arguments[0].tBodies[0].rows].map(row => row.cells[arguments[1]].dataset.sort)"
CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function luminance(color) {
  canvas.fillStyle = "#000"; canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
return [...document.querySelectorAll("table.matrix td[title]")].map((cell, n) => {
  cell.style.setProperty("--v", n / 360);
  cell.classList.toggle("past-dark", n / 360 > 0.515);
  cell.classList.toggle("past-light", n / 360 > 0.695);
  const style = getComputedStyle(cell);
  const [low, high] = [luminance(style.color), luminance(style.backgroundColor)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
});
"""
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
    write_report(path, assess(evidence, 20), evidence, [some_picture("best"), some_picture("worst")], {"Run": "a-run"})
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator["webdriver.Chrome"]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def opened(browser, report: str, width: int = 1280, scheme: str = "light") -> None:
    """Load the page anew on a screen of a width, in light or dark."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(report)


def table_of(browser, caption: str):
    (table,) = (
        table
        for table in browser.find_elements("tag name", "table")
        if caption in table.find_element("tag name", "caption").text
    )
    return table


def test_the_page_loads_without_errors(browser, report):
    opened(browser, report)
    assert browser.title == "SYNTHETIC – a-run, test split"
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
    assert Path(CHROMIUM).exists()

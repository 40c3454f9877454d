"""The page of a map in a browser, opened as a file: what is drawn, clicked, compared, found and typed."""

import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyproj
import pytest
from browser import LUMINANCE, chromium
from browser import opened as opened_anew
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.ui import WebDriverWait
from web_pages import EPSG, HOSTILE, NORTH, WEST, MadeUp, a_page, made_up

from seg.reben.classes import CLASSES
from seg.styles.palette import AGREEMENT

PHONE = (390, 844)
COLOUR = """
const canvas = document.getElementById("map"), ratio = canvas.width / canvas.clientWidth;
return [...canvas.getContext("2d").getImageData(arguments[0] * ratio, arguments[1] * ratio, 1, 1).data];
"""
SHARED = """
const set = (box, on) => { if (box.checked !== on) box.click(); };
for (const row of document.querySelectorAll("[data-layer]")) {
  set(row.querySelector("[type=checkbox]"), arguments[0] === row.dataset.layer);
  const range = row.querySelector("[type=range]");
  range.value = arguments[1];
  range.dispatchEvent(new Event("input"));
}
"""
CONTRAST = (
    LUMINANCE
    + """function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (color !== "rgba(0, 0, 0, 0)") return color;
  }
  return "#fff";
}
return [...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && e.tagName !== "OPTION" &&
    [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
  const [low, high] = [luminance(getComputedStyle(e).color), luminance(behind(e))].sort((a, b) => a - b);
  return [e.tagName + " " + e.textContent.trim().slice(0, 30), (high + 0.05) / (low + 0.05)];
});
"""
)
WIDE = """
return [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 &&
  !e.closest("svg, .skip")).map(e => e.tagName + " " + e.id + " " + e.className);
"""
SMALL = """
return [...document.querySelectorAll("button, #degrees, #border span, select, .compare, .layer label")]
  .filter(e => e.checkVisibility()).map(e => [e.id || e.textContent.trim(), e.getBoundingClientRect().height])
  .filter(([, height]) => height < 36);
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> MadeUp:
    return made_up(tmp_path_factory.mktemp("rasters"))


@pytest.fixture(scope="module")
def page(made, tmp_path_factory) -> Path:
    return a_page(
        tmp_path_factory.mktemp("a page # of 100 %") / "map_web", made, SYNTHETIC="YES", SYNTHETIC_WHAT="data"
    )


@pytest.fixture(scope="module")
def browser():
    with chromium(browser="ALL", performance="ALL") as driver:
        yield driver


def opened(browser, page: Path, size=(1280, 860), scheme="light") -> SimpleNamespace:
    """Load the page anew; gives how pixels of the map and points of the canvas belong together."""
    opened_anew(browser, page.as_uri(), *size, scheme)
    canvas = browser.find_element("id", "map")
    width, height = canvas.size["width"], canvas.size["height"]
    drawn(browser)
    return SimpleNamespace(canvas=canvas, width=width, height=height, scale=min(width / 700, height / 600))


def drawn(browser) -> None:
    """Wait until everything that is seen is loaded and drawn."""
    wait = """
    const done = arguments[0];
    (function look(frames) {
      const busy = document.getElementById("map").getAttribute("aria-busy") !== "false";
      if (frames > 2) done(); else requestAnimationFrame(() => look(busy ? 0 : frames + 1));
    })(0);
    """
    browser.execute_async_script(wait)


def point(seen: SimpleNamespace, x: float, y: float) -> tuple[float, float]:
    """Where a place of the map is on the canvas, as long as all of it is seen."""
    return (x - 350) * seen.scale + seen.width / 2, (y - 300) * seen.scale + seen.height / 2


def colour(browser, x: float, y: float) -> tuple[int, ...]:
    return tuple(browser.execute_script(COLOUR, x, y))


def only(browser, layer: str, opacity: int = 100) -> None:
    browser.execute_script(SHARED, layer, opacity)
    drawn(browser)


def click(browser, seen: SimpleNamespace, x: float, y: float) -> None:
    """Click at a point of the canvas."""
    browser.execute_script("document.getElementById('here').replaceChildren()")
    dx, dy = round(x - seen.width / 2), round(y - seen.height / 2)
    ActionChains(browser).move_to_element_with_offset(seen.canvas, dx, dy).click().perform()


def told(browser) -> dict[str, str]:
    """What the page says of the place that was asked for last."""
    WebDriverWait(browser, 10).until(lambda b: b.find_elements("css selector", "#here dl"))
    drawn(browser)
    names, values = (browser.find_elements("css selector", f"#here {tag}") for tag in ("dt", "dd"))
    return {name.text: value.text for name, value in zip(names, values, strict=True)}


def search(browser, text: str) -> str:
    """Search for a place; gives what is said about it."""
    browser.execute_script("document.getElementById('here').replaceChildren()")
    box = browser.find_element("id", "degrees")
    box.clear()
    box.send_keys(text, Keys.ENTER)
    drawn(browser)
    return browser.find_element("id", "found").text


def degrees(x: float, y: float) -> tuple[float, float]:
    """Latitude and longitude of a place of the map."""
    projection = pyproj.Transformer.from_crs(EPSG, 4326, always_xy=True)
    longitude, latitude = projection.transform(WEST + 10 * x, NORTH - 10 * y)
    return latitude, longitude


def test_the_page_needs_no_network_and_no_server(browser, page):
    browser.get("about:blank")
    browser.get_log("performance")
    opened(browser, page)
    assert browser.title == "SYNTHETIC – A map"
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    tiles = [url for url in asked if url.startswith(f"{page.parent.as_uri()}/tiles/")]
    assert len(tiles) == 5
    assert {url.partition(":")[0] for url in asked if url not in tiles} == {"data", "file"}
    assert [url for url in asked if url.startswith("file:") and url not in tiles] == [page.as_uri()]


def test_what_is_drawn_is_the_map(browser, page, made):
    seen = opened(browser, page)
    marks = np.select([made.classes == 255, made.reference == 255, made.classes == made.reference], [255, 2, 1], 0)
    values = {"map": made.classes, "reference": made.reference, "agreement": marks}
    for layer, colors in {
        "map": [c.color for c in CLASSES],
        "reference": [c.color for c in CLASSES],
        "agreement": [e.color for e in AGREEMENT.entries],
    }.items():
        only(browser, layer)
        # In the middle of a block of 10 x 10 pixels, so that rounding does not matter.
        for x, y in np.random.default_rng(2).integers(0, (70, 60), (8, 2)) * 10 + 5:
            value = values[layer][y, x]
            expected = (0, 0, 0, 0) if value == 255 else (*colors[value], 255)
            assert colour(browser, *point(seen, x, y)) == expected, (layer, x, y)


def test_opacity_lets_the_imagery_through(browser, page, made):
    seen = opened(browser, page)
    at = point(seen, 355, 305)
    only(browser, "picture")
    below = np.array(colour(browser, *at)[:3])
    assert np.ptp(below) <= 4
    browser.execute_script("document.querySelector('[data-layer=map] [type=checkbox]').click()")
    color = np.array(CLASSES[made.classes[305, 355]].color)
    for opacity in (30, 100):
        script = "const r = document.querySelector('[data-layer=map] [type=range]'); r.value = arguments[0]; "
        browser.execute_script(script + "r.dispatchEvent(new Event('input'))", opacity)
        drawn(browser)
        expected = below + (color - below) * opacity / 100
        assert np.abs(np.array(colour(browser, *at)[:3]) - expected).max() <= 3


def test_a_click_tells_what_is_there(browser, page, made):
    seen = opened(browser, page)
    for x, y in ((355, 305), (15, 455), (605, 15)):
        click(browser, seen, *point(seen, x, y))
        found = told(browser)
        assert found["Land cover"] == CLASSES[made.classes[y, x]].name
        assert found["Reference"] == CLASSES[made.reference[y, x]].name
        assert browser.find_element("id", "where").text == found["Land cover"]
        easting, northing = map(int, re.findall(r"[EN] (\d+)", found["On the map's grid"]))
        assert abs(easting - WEST - 10 * x) < 20
        assert abs(NORTH - northing - 10 * y) < 20
    click(browser, seen, *point(seen, 80, 70))
    assert told(browser)["Land cover"] == "no data"


def test_a_search_finds_the_very_pixel_and_its_probabilities(browser, page, made):
    opened(browser, page)
    for x, y in ((444, 321), (0, 599), (699, 100), (511, 512), (513, 511)):
        latitude, longitude = degrees(x + 0.5, y + 0.5)
        assert search(browser, f"{latitude:.7f}, {longitude:.7f}").startswith("Found: ")
        found = told(browser)
        assert found["Land cover"] == CLASSES[made.classes[y, x]].name
        truth = made.reference[y, x]
        assert found["Reference"] == ("unlabelled" if truth == 255 else CLASSES[truth].name)
        assert float(found["Confidence"].split()[1]) == pytest.approx(made.confidence[y, x] / 2.5, abs=1.6)
        names = [e.text for e in browser.find_elements("css selector", "#here .shares li span:first-child")]
        shares = [float(e.text.split()[0]) for e in browser.find_elements("css selector", "#here .shares b")]
        expected = sorted(zip(made.probabilities[:, y, x] / 2.5, (c.name for c in CLASSES), strict=True), reverse=True)
        assert shares == pytest.approx([share for share, _ in expected[: len(shares)]], abs=0.51)
        assert names[0] == expected[0][1]
    assert browser.find_element("css selector", "#here h3").text == "Probabilities"


@pytest.mark.parametrize(
    "form", ["{0} {1}", "{0}N {1}E", "N {0}, E {1}", "{1}° E; {0}° N", "{2}°{3}'{4}\"N {5}°{6}'{7}\"E"]
)
def test_places_may_be_typed_in_many_ways(browser, page, form):
    opened(browser, page)
    place = degrees(400.5, 300.5)
    parts = [(int(value), int(value * 60 % 60), round(value * 3600 % 60, 3)) for value in place]
    typed = form.format(*(round(value, 6) for value in place), *parts[0], *parts[1])
    search(browser, typed)
    assert told(browser)["Place"] == "{:.5f}° N, {:.5f}° E".format(*place)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("somewhere", "Give latitude, then longitude"),
        ("47.8", "Give latitude, then longitude"),
        ("91, 13", "Give latitude, then longitude"),
        ("47.8 N, 13 N", "Give latitude, then longitude"),
        ("10, 170", "This place is not on the map, which reaches from 47."),
        ("-47.8, 13.7", "This place is not on the map"),
    ],
)
def test_what_is_no_place_of_the_map_is_told(browser, page, typed, said):
    opened(browser, page)
    assert search(browser, typed).startswith(said)
    assert browser.find_element("id", "degrees").get_attribute("aria-invalid") == "true"
    assert not browser.find_elements("css selector", "#here dl")


def test_two_layers_are_compared_by_a_line_that_keys_and_mouse_move(browser, page, made):
    seen = opened(browser, page)
    only(browser, "")
    browser.find_element("id", "swipe").click()
    border = browser.find_element("id", "border")
    x, y = next((x, y) for x, y in np.ndindex(600, 500) if x > 400 and y > 300 and _differ(made, x, y))
    at = point(seen, x, y)
    drawn(browser)
    assert colour(browser, *at)[:3] == CLASSES[made.reference[y, x]].color
    border.send_keys(Keys.END)
    drawn(browser)
    assert border.get_attribute("aria-valuenow") == "100"
    assert colour(browser, *at)[:3] == CLASSES[made.classes[y, x]].color
    border.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    assert border.get_attribute("aria-valuenow") == "2"
    ActionChains(browser).click_and_hold(border).move_by_offset(round(seen.width / 2), 0).release().perform()
    assert abs(int(border.get_attribute("aria-valuenow")) - 52) <= 2
    options = browser.find_elements("css selector", "#right option")
    assert [o.text for o in options] == ["Land cover", "Reference", "Agreement", "Confidence", "Imagery alone"]


def _differ(made: MadeUp, x: int, y: int) -> bool:
    """Whether a block of the map has one class, and its reference another one."""
    part = np.s_[y - 4 : y + 5, x - 4 : x + 5]
    classes, truth = np.unique(made.classes[part]), np.unique(made.reference[part])
    return len(classes) == len(truth) == 1 and classes[0] != truth[0]


def test_the_map_is_used_by_the_keyboard_alone(browser, page, made):
    seen = opened(browser, page)
    browser.execute_script("arguments[0].focus()", seen.canvas)
    keys = browser.switch_to.active_element
    keys.send_keys(Keys.ENTER)
    assert told(browser)["Land cover"] == CLASSES[made.classes[300, 350]].name
    keys.send_keys("+", "+", Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ENTER)
    scale = seen.scale * 2.25
    x, y = 350 + 80 / scale, 300 + 80 / scale
    WebDriverWait(browser, 10).until(lambda _: f"E {round(WEST + 10 * x)}" in told(browser)["On the map's grid"])
    assert f"N {round(NORTH - 10 * y)}" in told(browser)["On the map's grid"]
    keys.send_keys(Keys.HOME, Keys.ENTER)
    WebDriverWait(browser, 10).until(lambda _: f"E {round(WEST + 3500)}" in told(browser)["On the map's grid"])


def test_the_scale_bar_measures_the_map(browser, page):
    seen = opened(browser, page)
    for factor, press in ((1, ""), (2, "closer"), (4, "closer")):
        if press:
            browser.find_element("id", press).click()
            drawn(browser)
        number, unit = browser.find_element("id", "length").text.split()
        metres = float(number) * {"km": 1000, "m": 1}[unit]
        width = browser.execute_script("return document.getElementById('bar').getBoundingClientRect().width")
        assert width == pytest.approx(metres / 10 * seen.scale * factor, abs=1)
        assert 20 < width <= 161


def test_wheel_and_drag_keep_what_is_below_the_pointer(browser, page):
    seen = opened(browser, page)
    x, y = point(seen, 200, 150)
    wheel = """
    const {left, top} = arguments[0].getBoundingClientRect();
    const place = {clientX: left + arguments[1], clientY: top + arguments[2]};
    arguments[0].dispatchEvent(new WheelEvent("wheel", {deltaY: -250, ...place}));
    """
    browser.execute_script(wheel, seen.canvas, x, y)
    drawn(browser)
    click(browser, seen, x, y)
    easting = int(re.findall(r"E (\d+)", told(browser)["On the map's grid"])[0])
    assert abs(easting - WEST - 2000) < 15
    start = (round(x - seen.width / 2), round(y - seen.height / 2))
    chain = ActionChains(browser).move_to_element_with_offset(seen.canvas, *start).click_and_hold()
    chain.move_by_offset(120, 60).release().perform()
    drawn(browser)
    click(browser, seen, x + 120, y + 60)
    again = int(re.findall(r"E (\d+)", told(browser)["On the map's grid"])[0])
    assert abs(again - easting) < 15


def test_fingers_tap_and_pinch(browser, page, made):
    seen = opened(browser, page, PHONE)
    corner = "const {left, top} = arguments[0].getBoundingClientRect(); return [left, top]"
    box = browser.execute_script(corner, seen.canvas)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": box[0] + x, "y": box[1] + y, "id": n} for n, (x, y) in enumerate(points)]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": places})

    touch("Start", point(seen, 455, 355))
    touch("End")
    assert told(browser)["Land cover"] == CLASSES[made.classes[355, 455]].name
    pixels = """
    const [bar, length] = [document.getElementById("bar"), document.getElementById("length")];
    return parseFloat(length.textContent) * (length.textContent.endsWith("km") ? 1000 : 1) / bar.offsetWidth;
    """
    before = browser.execute_script(pixels)
    x, y = seen.width / 2, seen.height / 2
    touch("Start", (x - 40, y), (x + 40, y))
    for spread in (60, 80):
        touch("Move", (x - spread, y), (x + spread, y))
    touch("End")
    drawn(browser)
    assert before / browser.execute_script(pixels) == pytest.approx(2, rel=0.1)
    click(browser, seen, x, y)
    easting, northing = map(int, re.findall(r"[EN] (\d+)", told(browser)["On the map's grid"]))
    assert abs(easting - WEST - 3500) < 40
    assert abs(NORTH - northing - 3000) < 40


def test_a_server_may_show_it_too(browser, page):
    handler = partial(Quiet, directory=str(page.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    opened(browser, page)
    browser.get_log("browser")
    try:
        browser.get(f"http://127.0.0.1:{server.server_address[1]}/index.html")
        drawn(browser)
        assert browser.get_log("browser") == []
        assert not browser.find_element("id", "trouble").is_displayed()
        assert any(browser.execute_script(COLOUR, 400, 400))
    finally:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 860), PHONE])
def test_text_is_legible_and_everything_fits(browser, page, size, scheme):
    seen = opened(browser, page, size, scheme)
    click(browser, seen, seen.width / 2, seen.height / 2)
    told(browser)
    browser.execute_script("document.getElementById('swipe').click()")
    contrasts = browser.execute_script(CONTRAST)
    assert len(contrasts) > 60
    assert {name: contrast for name, contrast in contrasts if contrast < 4.5} == {}
    assert browser.execute_script(WIDE) == []
    if size == PHONE:
        assert browser.execute_script(SMALL) == []


def test_everything_has_a_name(browser, page):
    opened(browser, page)
    unnamed = """
    return [...document.querySelectorAll("button, input, select, canvas, [role=slider]")].filter(e =>
      !(e.getAttribute("aria-label") || e.labels?.length || e.textContent.trim())).map(e => e.outerHTML)
    """
    assert browser.execute_script(unnamed) == []
    label = browser.find_element("id", "map").get_attribute("aria-label")
    assert label == "Land-cover map of A map; the table in the legend holds its areas"


def test_hostile_names_do_nothing(browser, made, tmp_path):
    page = a_page(tmp_path / "map_web", made, HOSTILE, SCENE=HOSTILE, WARNINGS=HOSTILE)
    opened(browser, page)
    assert browser.execute_script("return window.hacked") is None
    assert browser.find_elements("tag name", "img") == []
    assert browser.find_element("tag name", "h1").get_attribute("textContent") == HOSTILE
    assert HOSTILE in [e.get_attribute("textContent") for e in browser.find_elements("tag name", "dd")]


def test_a_tile_that_is_lost_is_told(browser, made, tmp_path):
    page = a_page(tmp_path / "map_web", made)
    (page.parent / "tiles" / "0-0-0.js").unlink()
    seen = opened(browser, page)
    trouble = browser.find_element("id", "trouble")
    assert trouble.text == 'tiles/0-0-0.js cannot be read. Keep the page and its folder "tiles" together.'
    # What is there of a coarser level is shown in its place.
    only(browser, "map")
    assert colour(browser, *point(seen, 255, 255))[:3] == CLASSES[made.classes[255, 255]].color
    click(browser, seen, *point(seen, 255, 255))
    WebDriverWait(browser, 10).until(lambda b: "cannot be read" in b.find_element("id", "here").text)
    browser.get_log("browser")

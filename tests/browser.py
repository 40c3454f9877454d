"""Chromium for tests of pages; a module that imports this is skipped where there is none."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
WebDriverException = pytest.importorskip("selenium.common.exceptions").WebDriverException
WebDriverWait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
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

LAID_OUT = """
const [width, done] = arguments;
if (window.isOfBefore || document.readyState !== "complete" || innerWidth !== width) done(false);
else requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(true))));
"""

LUMINANCE = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function luminance(color) {
  canvas.fillStyle = "#000"; canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
"""
"""A function of scripts: the relative luminance of a colour, as WCAG defines it."""


@contextmanager
def chromium(**logs: str) -> Iterator["webdriver.Chrome"]:
    """A browser that keeps the logs named."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", logs)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def opened(driver: "webdriver.Chrome", address: str, width: int, height: int, scheme: str) -> None:
    """Load a page anew on a screen of a size, light or dark, and wait until all of it is there and laid out.

    The driver alone does not wait so long where the page is the one that is open already, and the machine busy.
    """
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    driver.execute_script("window.isOfBefore = true")
    driver.get(address)
    waiting = WebDriverWait(driver, 60, ignored_exceptions=[WebDriverException])
    waiting.until(lambda it: it.execute_async_script(LAID_OUT, width))

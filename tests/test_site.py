"""The site: the reference names everything public; `make test-site` opens it in Chromium.

RNNFAST_SITE is the folder that was built.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import rnnfast

ROOT = Path(__file__).parents[1]
PACKAGE = Path(rnnfast.__file__).parent
MODULES = [name for name in rnnfast.__all__ if inspect.ismodule(getattr(rnnfast, name))]
MODULES += rnnfast._BRIDGES


def exported(module: str) -> list[str]:
    """Read `__all__` from the source, as the bridges import what they are named after."""
    path = PACKAGE / module
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path} has no __all__")


def public_names() -> set[str]:
    """Each name once, by the shortest way to it."""
    top = {*rnnfast.__all__, *exported("estimators")} - {"__version__", *MODULES}
    below = {f"{m}.{n}" for m in MODULES for n in exported(m)}
    same = {f"optim.{name}" for name in top}  # from rnnfast import Adam
    return top | below - same


def test_every_public_name_has_its_place_in_the_reference():
    entries = re.findall(r"^   ([\w.]+)$", (ROOT / "docs" / "reference.rst").read_text(), re.M)
    assert sorted(entries) == sorted(public_names())


def test_every_page_is_in_the_contents():
    contents = (ROOT / "docs" / "index.md").read_text()
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    pages = {str(path.with_suffix("")) for path in pages if path.parts[0] != "generated"}
    listed = re.findall(r"^([\w/]+)$", contents, re.M)
    assert sorted(listed) == sorted(pages - {"index"} | {"reference"})


def test_every_example_has_a_page_in_the_gallery(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    gallery = importlib.import_module("gallery")
    monkeypatch.setattr(gallery, "PAGES", tmp_path)
    gallery.write_pages()
    examples = {path.stem for path in (ROOT / "examples").glob("*.py")} - {"common", "run"}
    assert {path.stem for path in tmp_path.glob("*.md")} == examples
    page = (tmp_path / "gates.md").read_text()
    assert page.startswith("# Look into the gates of an LSTM\n")
    assert "| A2 | remember the last marked value" in page
    cards = (tmp_path / "cards.txt").read_text()
    assert sorted(re.findall(r":link: generated/gallery/(\w+)", cards)) == sorted(examples)
    pictures = re.findall(r":img-top: gallery/(\S+)", cards)
    assert sorted(pictures) == sorted(path.name for path in (ROOT / "docs/gallery").iterdir())


# ---- what was built

SITE = Path(os.environ.get("RNNFAST_SITE", "/nowhere"))
built = pytest.mark.skipif(
    "RNNFAST_SITE" not in os.environ, reason="make test-site builds the site"
)
PAGES = ["index", "install", "tutorials/first_forecast", "gallery", "generated/gallery/gates"]
PAGES += ["switching", "networks", "performance", "results", "stability", "changelog"]
PAGES += ["reference", "generated/api/rnnfast.LSTM", "generated/api/rnnfast.Forecaster"]


@built
def test_every_public_name_has_a_page_with_its_source():
    for name in public_names():
        page = (SITE / f"generated/api/rnnfast.{name}.html").read_text()
        assert f'id="rnnfast.{name}"' in page, name
        if name != "datasets.REBER_SYMBOLS":  # a tuple
            assert 'class="viewcode-link"' in page, name


@pytest.fixture(scope="module")
def chromium():
    """A browser of a telephone's size, and the address of the site."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not shutil.which("chromedriver"):
        pytest.skip("Chromium's driver is not installed")
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    handler = partial(Quiet, directory=SITE)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        driver = webdriver.Chrome(options, service)
        yield driver, f"http://127.0.0.1:{server.server_port}"
        driver.quit()
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@built
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_open_without_errors_and_fit_the_screen(chromium, page, width):
    driver, address = chromium
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(f"{address}/{page}.html")
    assert driver.execute_script("return document.readyState") == "complete"
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    text = "getComputedStyle(document.querySelector('article p')).fontSize"
    assert float(driver.execute_script(f"return {text}").removesuffix("px")) >= 14


@built
def test_search_finds_a_name(chromium):
    from selenium.webdriver.support.wait import WebDriverWait

    driver, address = chromium
    driver.get(f"{address}/search.html?q=LSTM")
    links = "return [...document.querySelectorAll('#search-results li a')].map(a => a.href)"
    wait = WebDriverWait(driver, 30)
    found = wait.until(lambda _: driver.execute_script(links))
    assert any("generated/api/rnnfast.LSTM.html" in link for link in found)
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []

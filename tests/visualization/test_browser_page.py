"""The page of the feature browser in a real browser, without a network."""

import shutil

import numpy as np
import pytest

from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder
from keras_sae.visualization import browse

pytestmark = pytest.mark.slow
SHAPES = {"image": (8, 8, 1), "colour": (8, 8, 3), "series": (20, 2), "table": (5,), "words": (12,)}


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("the page is tested in Chromium, which is not installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page for each kind of data, and the codes that it shows."""
    folder, made = tmp_path_factory.mktemp("pages"), {}
    for kind, shape in SHAPES.items():
        model = DenseAutoencoder(shape, 24, sparsity=KSparse(3))
        x = np.random.default_rng(0).uniform(size=(40, *shape)).astype("float32")
        more = {
            "table": {"columns": ["age", "height", "weight", "income", "a column with a long name"]},
            "words": {"names": [f"word {index}" for index in range(40)]},
        }
        labels = np.arange(40) % 3
        data = x if kind == "words" else (x, labels)
        names = {} if kind == "words" else {"label_names": ["cat", "dog", "cow"]}
        path = browse(model, data, folder / f"{kind}.html", title=kind, source="Random numbers.", **names, **more.get(kind, {}))
        made[kind] = (path, np.asarray(model.encoder(x)))
    return made


@pytest.fixture
def visit(chromium, pages):
    """Opens a page at an address, and fails where anything went wrong on it or it asked the network for anything."""
    wrong, contexts = [], []

    def open_page(kind, address="", width=1280, color_scheme="light"):
        # Without the page's own policy, because axe-core is added to it.
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=color_scheme, bypass_csp=True)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: None if request.url.startswith(("file:", "blob:")) else wrong.append(request.url))
        page.goto(f"{pages[kind][0].as_uri()}{address}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


@pytest.mark.parametrize(("width", "color_scheme"), [(400, "dark"), (1280, "light")])
@pytest.mark.parametrize("kind", SHAPES)
def test_pages_are_accessible_and_nothing_is_cut_off(visit, kind, width, color_scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="accessibility is tested with axe-core").Axe()
    page = visit(kind, "", width, color_scheme)
    for address in ("#/units", "#/unit/3", "#/inputs", "#/input/5"):
        page.evaluate(f"location.hash = '{address}'")
        page.wait_for_function(f"document.getElementById('detail').hidden === {str(address.endswith('s')).lower()}")
        report = axe.run(page)
        assert report.violations_count == 0, report.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_units_are_sorted_and_searched(visit, pages):
    page, codes = visit("image"), pages["image"][1]
    tiles = page.locator("#grid a")
    assert tiles.count() == 24
    page.select_option("#sort", "rate")
    units = [
        int(each.removeprefix("#/unit/")) for each in tiles.evaluate_all("links => links.map((a) => a.getAttribute('href'))")
    ]
    rates = codes.mean(axis=0)[units]
    assert (np.diff(rates) <= 1e-6).all()
    page.check("#ascending")
    assert tiles.first.get_attribute("href") == f"#/unit/{codes.mean(axis=0).argmin()}"
    page.fill("#search", "7")
    assert [each.get_attribute("href") for each in tiles.all()] == ["#/unit/7"]
    page.fill("#search", "nothing has this name")
    assert tiles.count() == 0
    assert page.inner_text("#found") == "0 of 24 units"


def test_a_unit_shows_its_strongest_inputs(visit, pages):
    codes = pages["words"][1]
    unit = int(np.abs(codes).sum(axis=0).argmax())
    page = visit("words", f"#/unit/{unit}")
    strongest = f"word {np.abs(codes[:, unit]).argmax()}"
    assert page.locator("#detail .tiles b").first.inner_text() == strongest
    assert strongest in page.locator(f'#grid a[href="#/unit/{unit}"]').inner_text()
    assert "Active for" in page.locator("#detail svg").get_attribute("aria-label")


def test_a_reconstruction_is_composed_unit_by_unit(visit, pages):
    page, code = visit("image", "#/input/5"), pages["image"][1][5]
    listed = page.locator(".composition a").all_inner_texts()
    assert listed == [f"Unit {unit}" for unit in np.argsort(-np.abs(code), kind="stable")[:3]]

    def picture():
        return page.evaluate("document.querySelector('#sum canvas').toDataURL()")

    whole = picture()
    slider = page.locator("#count")
    slider.fill("1")
    assert picture() != whole
    assert page.locator(".composition [aria-current]").inner_text().startswith(listed[0])
    slider.fill("3")
    assert picture() == whole


@pytest.mark.parametrize("width", [400, 1280])
def test_the_keyboard_reaches_everything_and_focus_comes_back(visit, width):
    page = visit("image", width=width)
    page.locator("#grid a").nth(2).focus()
    opened = page.evaluate("document.activeElement.hash")
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "detail-heading"
    assert page.evaluate("document.getElementById('page').inert") == (width == 400)
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    assert page.evaluate("document.activeElement.hash") == opened
    page.go_back()
    page.wait_for_selector("#detail:not([hidden])")


def test_dark_pages_are_drawn_dark_and_follow_the_system(visit):
    page = visit("image")
    pixel = "[...document.querySelector('#grid canvas').getContext('2d').getImageData(0, 0, 8, 8).data]"
    light = page.evaluate(pixel)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"JSON.stringify({pixel}) !== '{str(light).replace(' ', '')}'")
    assert sum(page.evaluate(pixel)) < sum(light)

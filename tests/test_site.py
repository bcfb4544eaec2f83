"""The documentation: every Python example runs, the site builds without a warning, tables are those of the commands."""

import html
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from keras_sae import presets
from keras_sae.cli._compare import HEADER
from keras_sae.training import table

SHOWN = "fashion_mnist_dense_ksparse"
ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "pretrained/README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
# A comment `<!-- setup` has what an example needs and does not show; `<!-- not run: why -->` is before one that cannot run.
EXAMPLES = re.compile(r"^(<!-- not run: .*? -->\n\n)?```python\n(.*?)^```|^<!-- setup\n(.*?)^-->", re.MULTILINE | re.DOTALL)


def examples(page):
    return [code + setup for left, code, setup in EXAMPLES.findall(page.read_text(encoding="utf-8")) if not left]


def name(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=name)
def test_the_examples_of_a_page_run_one_after_the_other(page, tmp_path):
    script = tmp_path / "examples.py"
    script.write_text("\n".join(examples(page)))
    run = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "pretrained/README.md"], ids=name)
def test_tables_of_presets_are_the_generated_ones(page):
    found = re.search(
        r"<!-- presets: keras-sae list --markdown(.*?) -->\n(.*?)\n<!-- end of presets -->", page.read_text(), re.S
    )
    names = found[1].split() or presets.names()
    expected = table([presets.read_metadata(presets.find(name)) for name in names])
    if page.parent == ROOT:
        expected = expected.replace("](", "](pretrained/")
    assert found[2] == expected


def test_the_pages_have_the_measured_table_of_mechanisms():
    """The one that `keras-sae compare --markdown` prints, with a row for each mechanism that it trains now."""
    pages = [(ROOT / page).read_text() for page in ("benchmarks/RESULTS.md", "docs/mechanisms.md")]
    one, other = (re.search(r"keras-sae compare --markdown\n```\n.*?\n((?:\|[^\n]*\n)+)", page, re.S)[1] for page in pages)
    assert one == other
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in one.splitlines()]
    assert header == list(HEADER)
    settings = tomllib.loads((ROOT / "keras_sae/recipes/compare/mechanisms.toml").read_text())
    assert [row[0] for row in rows] == [row["name"] for row in settings["mechanisms"]]
    for _, error, active, rate, dead, accuracy, step in rows:
        figures = " ".join([error, active, rate, dead, accuracy, step])
        assert re.fullmatch(r"\d\.\d{4} \d+\.\d \d\.\d{4} \d+ \d+\.\d % \d\.\d\d", figures), figures


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert link.startswith(("https://", "http://localhost")) or (page.parent / link).exists(), link


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, with the page of units of one preset: those of all take minutes."""
    pytest.importorskip("mkdocs", reason="The site needs the extra `docs`.")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", ROOT / "mkdocs.yml", "-d", folder]
    subprocess.run(command, check=True, env={**os.environ, "KERAS_SAE_UNITS": SHOWN})
    return folder


@pytest.mark.slow
def test_the_site_has_its_parts(site):
    assert "images/overview.png" in (site / "index.html").read_text()
    assert 'id="keras_sae.layers.KSparse"' in (site / "api/layers.html").read_text()
    assert "<blockquote>" not in (site / "api/layers.html").read_text()  # doctests are code
    assert "- [Getting started](start.html)" in (site / "llms.txt").read_text()
    assert 'src="01_what_sparsity_does_1.png"' in (site / "notebooks/01_what_sparsity_does.html").read_text()
    assert "<mfrac>" in (site / "coming_from/matlab.html").read_text()
    card = (site / f"pretrained/{SHOWN}/index.html").read_text()
    assert 'href="units.html"' in card
    assert 'src="features.png"' in card
    zoo = (site / "pretrained/index.html").read_text()
    assert f'href="{SHOWN}/units.html"' in zoo
    for name in presets.names():
        figures = presets.read_metadata(presets.find(name))["metrics"]
        assert f'href="{name}/index.html"' in zoo
        assert "probe" not in figures or f"<td>{figures['probe']['error']:.2f} %</td>" in zoo


@pytest.mark.slow
def test_links_of_the_site_lead_somewhere_inside_it_or_to_an_address(site):
    pages = {
        path: path.read_text(encoding="utf-8") for path in site.rglob("*.html") if path.name not in ("units.html", "404.html")
    }
    places = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    broken = []
    for path, text in pages.items():
        assert not re.findall(r'<(?:script|img|link)[^>]* (?:src|href)="https?:[^"]*"', text), path
        for target in re.findall(r' (?:src|href)="([^"]+)"', text):
            address, _, place = html.unescape(target).partition("#")
            if re.match(r"[a-z]+:", address):
                continue
            found = path if not address else (path.parent / address).resolve()
            if not found.exists() or (place and found in places and not place.startswith("__") and place not in places[found]):
                broken.append((path.relative_to(site).as_posix(), target))
    assert not broken


@pytest.mark.slow
def test_the_site_works_when_it_is_opened_from_files(site):
    playwright = pytest.importorskip("playwright.sync_api", reason="the site is tested with playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("the site is tested in Chromium, which is not installed: apt-get install chromium")
    wrong = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:")) or wrong.append(request.url))
        page.goto((site / "tuning.html").as_uri())
        page.click(".md-search__input")
        page.keyboard.type("winner take all", delay=20)
        page.wait_for_selector(".md-search-result__link")
        page.goto((site / "pretrained/index.html").as_uri())
        page.click("th:has-text('probe error') button")
        errors = page.locator("tbody td:nth-child(5)").all_inner_texts()
        numbers = [float(each.split()[0]) for each in errors if each != "-"]
        assert numbers == sorted(numbers)
        page.fill(".filter input", "glove")
        assert page.locator("tbody tr:visible").count() == sum("glove" in name for name in presets.names())
        browser.close()
    assert not wrong


def test_every_public_package_has_a_page_of_the_reference():
    import keras_sae

    packages = {path.parent.name for path in (ROOT / "keras_sae").glob("*/__init__.py")}
    private = {"cli", "recipes"}
    assert {path.stem for path in (ROOT / "docs/api").glob("*.md")} == packages - private, keras_sae.__all__

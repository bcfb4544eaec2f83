"""The documentation: every Python example runs, the site builds without a warning, tables are those of the commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from keras_sae import presets
from keras_sae.training import table

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


def test_the_page_of_mechanisms_has_the_measured_table():
    measured = re.search(r"keras-sae compare\n```\n\n```\n(.*?)```", (ROOT / "benchmarks/RESULTS.md").read_text(), re.S)[1]
    assert measured in (ROOT / "docs/mechanisms.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert link.startswith(("https://", "http://localhost")) or (page.parent / link).exists(), link


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="The site needs the extra `docs`.")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", ROOT / "mkdocs.yml", "-d", tmp_path]
    subprocess.run(command, check=True)
    home = (tmp_path / "index.html").read_text()
    assert "images/overview.png" in home
    assert 'id="keras_sae.layers.KSparse"' in (tmp_path / "api/layers.html").read_text()
    assert "mnist_dense_ksparse" in (tmp_path / "pretrained/index.html").read_text()
    assert 'src="01_what_sparsity_does_1.png"' in (tmp_path / "notebooks/01_what_sparsity_does.html").read_text()
    assert "- [Getting started](start.html)" in (tmp_path / "llms.txt").read_text()


def test_every_public_package_has_a_page_of_the_reference():
    import keras_sae

    packages = {path.parent.name for path in (ROOT / "keras_sae").glob("*/__init__.py")}
    private = {"cli", "recipes"}
    assert {path.stem for path in (ROOT / "docs/api").glob("*.md")} == packages - private, keras_sae.__all__

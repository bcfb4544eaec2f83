"""Each notebook becomes a page of the site, with the outputs that are stored in it."""

import base64
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("mkdocs", reason="The site needs the extra `docs`.")
ROOT = Path(__file__).resolve().parent.parent
PAGES = runpy.run_path(str(ROOT / "docs/notebooks.py"))


def code(source, *outputs):
    return {"cell_type": "code", "source": source, "outputs": list(outputs)}


def test_a_notebook_as_markdown():
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": ["# What?\n", "\n", "You see this."]},
            code("%pip install keras_sae"),
            {"cell_type": "markdown", "source": ["## Numbers"]},
            code(["%matplotlib inline\n", "print(1)"], {"text": ["1\n"]}, {"data": {"text/plain": "\x1b[1m2\x1b[0m"}}),
            code("figure", {"data": {"image/png": base64.b64encode(b"picture").decode(), "text/plain": "<Figure>"}}),
        ]
    }
    text, pictures = PAGES["as_markdown"](notebook, "01_what")
    assert text.split("\n\n") == [
        "# What?",
        '<a href="01_what.ipynb" download>Download this notebook</a>. Its first cell installs the package.',
        "You see this.",
        "## Numbers",
        "``` { .python }\nprint(1)\n```",
        "``` { .text .output }\n1\n```",
        "``` { .text .output }\n2\n```",
        "``` { .python }\nfigure\n```",
        "![Numbers: picture 1](01_what_1.png)",
    ]
    assert pictures == {"01_what_1.png": b"picture"}


def test_a_fence_is_longer_than_those_in_the_text():
    assert PAGES["fenced"]("```\n", "text") == "```` { .text }\n```\n````"


def test_every_notebook_is_in_the_navigation():
    config = SimpleNamespace(nav=[{"Start": "start.md"}, {"Notebooks": []}])
    section = PAGES["on_config"](config).nav[1]["Notebooks"]
    names = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert section == ["notebooks/index.md", *({name.replace("_", " "): f"notebooks/{name}.md"} for name in names)]

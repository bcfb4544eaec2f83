"""Hooks of MkDocs: the README is the home page, and the cards, results and changes are pages too.

They lie outside of `docs/`, where people look for them in a checkout, and link to each other by relative paths. Here each of
them becomes a page with the same path from the root; `docs/` itself is the root.
"""

import re
from pathlib import Path, PurePosixPath

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/RESULTS.md",
    "pretrained/README.md",
    "pretrained/*/README.md",
)
PICTURES = ("pretrained/*/*.png",)
HOME = "index.md"
# The theme loads this from another host, so that search works from files. The site brings it along.
SHIM, OWN_SHIM = "https://unpkg.com/iframe-worker/shim", "assets/iframe_worker.js"

_written = []  # title, address and text of each page for language models


def on_files(files, config):
    _written.clear()
    for pattern in (*PAGES, *PICTURES):
        for path in sorted(ROOT.glob(pattern)):
            source = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, HOME if source == "README.md" else source, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Makes links between `docs/` and the rest of the checkout links of the site; what is no page is named in code font."""
    source = page.file.src_uri
    if source == "pretrained/README.md":
        page.meta["hide"] = ["toc"]  # room for the table
    inside = page.file.generated_by is None
    place = PurePosixPath("docs", source) if inside else PurePosixPath("README.md" if source == HOME else source)

    def link(match):
        text, target, anchor = match[1], match[2], match[3] or ""
        if re.match(r"[a-z]+:", target):
            return match[0]
        found = _site_path(_normal(place.parent / target))
        if files.get_file_from_path(found):
            return f"[{text}]({_relative(found, PurePosixPath(source).parent)}{anchor})"
        return f"{text} (`{_normal(place.parent / target)}`)" if "`" not in text else text

    markdown = re.sub(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]+)(#[^)\s]*)?\)", link, markdown)
    if not source.startswith(("api/", "pretrained/")):
        _written.append((page.title, page.url, markdown))
    return markdown


def on_post_page(output, page, config):
    return output.replace(SHIM, _relative(OWN_SHIM, PurePosixPath(page.file.dest_uri).parent))


def on_post_template(output_content, template_name, config):
    return output_content.replace(SHIM, f"/{OWN_SHIM}")  # the page for wrong addresses is shown at any depth


def on_post_build(config):
    """Writes `llms.txt`, an index for language models, and `llms-full.txt`, all pages of the documentation as Markdown."""
    site = Path(config.site_dir)
    (site / "llms.txt").write_text(
        f"# {config.site_name}\n\n> {config.site_description}\n\n"
        + "\n".join(f"- [{title}]({url})" for title, url, _ in _written),
        encoding="utf-8",
    )
    (site / "llms-full.txt").write_text("\n\n".join(text for *_, text in _written), encoding="utf-8")


def _normal(path):
    """A relative path without `..`."""
    parts = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _site_path(path):
    """Where a file of the checkout is in the site."""
    if path.endswith(".ipynb"):
        return f"{path.removesuffix('.ipynb')}.md"  # docs/notebooks.py makes these pages
    return {"README.md": HOME, "notebooks": "notebooks/index.md"}.get(path, path.removeprefix("docs/"))


def _relative(path, start):
    up = len(start.parts)
    return "../" * up + path

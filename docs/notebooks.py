"""Hook of MkDocs: each notebook is a page with its code, outputs and pictures, and `notebooks/index.md` lists them.

Pages are made from the outputs in the notebooks. Nothing runs.
"""

import base64
import json
import re
from pathlib import Path

from mkdocs.structure.files import File

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
INDEX = "notebooks/index.md"
SECTION = "Notebooks"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
ABOUT = (
    "Each notebook answers one question, in under a minute on one core, with data and models that the package ships. To run "
    "one, open it in a checkout, or download it from its page."
)


def on_config(config):
    """Lists the notebooks in the navigation, in the section that mkdocs.yml names."""
    pages = [{path.stem.replace("_", " "): f"notebooks/{path.stem}.md"} for path in notebooks()]
    for entry in config.nav:
        if SECTION in entry:
            entry[SECTION] = [INDEX, *pages]
    return config


def on_files(files, config):
    index = [f"# {SECTION}", ABOUT]
    for path in notebooks():
        text, pictures = as_markdown(json.loads(path.read_text(encoding="utf-8")), path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        files.append(File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path)))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
        title, _, first = text.split("\n\n", 3)[:3]
        title = title.removeprefix("# ")
        index += [f"## [{title}]({path.stem}.md)", first]
        index += [f"![A picture of this notebook]({name})" for name in list(pictures)[:1]]
    files.append(File.generated(config, INDEX, content="\n\n".join(index)))
    return files


def notebooks():
    return sorted(FOLDER.glob("*.ipynb"))


def as_markdown(notebook, name):
    """A notebook as Markdown, and its pictures by file name. The cell that installs the package is left out."""
    blocks, pictures, section = [], {}, name
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source)
            section = [section, *re.findall(r"^#+ (.+)", source, re.M)][-1]
        elif cell["cell_type"] == "code" and "%pip install" not in source:
            blocks.append(fenced(re.sub(r"^%matplotlib inline\n", "", source), "python"))
            for output in cell["outputs"]:
                data = output.get("data", {})
                if "image/png" in data:
                    picture = f"{name}_{len(pictures) + 1}.png"
                    pictures[picture] = base64.b64decode("".join(data["image/png"]))
                    blocks.append(f"![{section}: picture {len(pictures)}]({picture})")
                else:
                    text = "".join(output.get("text", data.get("text/plain", "")))
                    blocks.append(fenced(ANSI.sub("", text), "text .output"))
    title, _, rest = blocks[0].partition("\n\n")
    download = f'<a href="{name}.ipynb" download>Download this notebook</a>. Its first cell installs the package.'
    return "\n\n".join([title, download, rest, *blocks[1:]]), pictures


def fenced(text, classes):
    """A block of code. The fence is longer than any in the text."""
    fence = "`" * max(3, *(len(each) + 1 for each in re.findall("`+", text)), 3)
    return f"{fence} {{ .{classes} }}\n{text.strip(chr(10))}\n{fence}"

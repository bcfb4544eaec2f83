"""A hook of MkDocs for the pretrained encoders: the table of all figures, and a page of units for each card.

Pages of units (`keras_sae.visualization.browse`) are made once and kept in `build/units`. They show data that may be passed on:
the sample of Fashion-MNIST, photographs, words, definitions and classes of images from `docs/units`; test images of MNIST where
TensorFlow Datasets has them, and otherwise the few examples in the preset.
"""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
from mkdocs.structure.files import File

from keras_sae import presets
from keras_sae._markdown import table
from keras_sae.training import is_browsable

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ROOT / "docs" / "units"
CACHE = ROOT / "build" / "units"
PAGE = "units.html"
COUNT = 300  # inputs that a page shows
_PHOTOGRAPHS = "CC BY 2.0 (photographs by danielbuechele and vultilion, shipped with scikit-learn)"
_TABLE = re.compile(r"<!-- presets: .*?<!-- end of presets -->", re.DOTALL)
_CARD = re.compile(r"pretrained/(\w+)/README\.md")

_BEFORE = ("preset", "what it is", "look", "code")
# Figures: heading, and where it is in the metrics with its form.
_METRICS = {
    "probe error": ("probe.error", "{:.2f} %"),
    "random features": ("probe.random.error", "{:.2f} %"),
    "raw pixels": ("probe.raw_pixels.error", "{:.2f} %"),
    "1,000 labels": ("probe.labels_1000.error", "{:.2f} %"),
    "100 labels": ("probe.labels_100.error", "{:.2f} %"),
    "raw pixels, 100 labels": ("probe.raw_pixels.labels_100.error", "{:.2f} %"),
    "fine-tuned": ("finetune.error", "{:.2f} %"),
    "anomalies, AUROC": ("anomaly.auroc", "{:.1f} %"),
    "denoising, PSNR": ("denoise.psnr", "{:.1f} dB"),
    "recall@10": ("retrieval.code.recall_10", "{:.3f}"),
    "coherent units": ("units.coherent", "{:.3f}"),
    "active units": ("features.l0", "{:.1f}"),
    "dead units": ("features.dead_units", "{}"),
    "error (mse)": ("features.reconstruction_error", "{:.4f}"),
    "variance explained": ("features.explained_variance", "{:.3f}"),
}
_AFTER = ("parameters", "size", "training", "learned from", "licence of the data")


def on_files(files, config):
    for name, page in _pages().items():
        files.append(File.generated(config, f"pretrained/{name}/{PAGE}", abs_src_path=str(page)))
    return files


def on_page_markdown(markdown, page, files, **_):
    source = page.file.src_uri
    if source == "pretrained/README.md":
        lines = ['<div class="wide-table" markdown>', "", *_figures(files), "", "</div>"]
        return _TABLE.sub(lambda _: "\n".join(lines), markdown)
    card = _CARD.fullmatch(source)
    if card and files.get_file_from_path(f"pretrained/{card[1]}/{PAGE}"):
        title, rest = markdown.split("\n\n", 1)
        return f"{title}\n\n[Look through its units]({PAGE}){{ .md-button }}\n\n{rest}"
    return markdown


def _figures(files):
    """The table of all presets with all figures, whose links start from the folder of the presets."""
    rows = []
    for name in presets.names():
        metadata = presets.read_metadata(presets.find(name))
        page = f"{name}/{PAGE}"
        size = sum((presets.find(name) / file).stat().st_size for file in ("config.json", "model.weights.h5"))
        rows.append(
            (
                f"[{name}]({name}/README.md)",
                metadata["title"],
                f"[units]({page})" if files.get_file_from_path(f"pretrained/{page}") else "-",
                " x ".join("any" if each is None else str(each) for each in metadata["code_shape"]),
                *(_figure(metadata["metrics"], *where) for where in _METRICS.values()),
                f"{metadata['parameters']:,}",
                f"{size / 1e6:.2f} MB",
                f"{metadata['seconds'] / 60:,.0f} min" if "seconds" in metadata else "-",
                metadata["data"]["name"],
                metadata["data"]["licence"],
            )
        )
    return table((*_BEFORE, *_METRICS, *_AFTER), rows)


def _figure(metrics, path, form):
    for key in path.split("."):
        metrics = metrics.get(key, {})
    return "-" if metrics == {} else form.format(metrics)


def _pages():
    """The page of units of each preset. The variable KERAS_SAE_UNITS names presets, by default all; "" is none."""
    chosen = os.environ.get("KERAS_SAE_UNITS")
    names = presets.names() if chosen is None else chosen.split()
    names = [name for name in names if is_browsable(presets.read_metadata(presets.find(name)))]
    pages = {name: CACHE / f"{name}-{_key(name)}.html" for name in names}
    CACHE.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        if not page.exists():
            _write(name, page)
    return pages


def _write(name, page):
    """Writes the page of units of a preset."""
    from keras_sae.models import SparseAutoencoder  # loads Keras
    from keras_sae.visualization import browse

    metadata = presets.read_metadata(presets.find(name))
    browse(SparseAutoencoder.from_preset(name), path=page, title=metadata["title"], count=COUNT, **_shown(metadata))


def _shown(metadata):
    """Inputs that a page may show, with labels where they have some, and what the page says about them."""
    from keras_sae.datasets import SAMPLE, label_names, load_arrays

    name, licence = metadata["data"]["name"], metadata["data"]["licence"]
    texts = TEXTS / f"{name.split('_')[0]}.npz"
    if texts.exists():
        with np.load(texts) as kept:
            inputs, names = kept["inputs"].astype("float32"), kept["names"].tolist()
        return {"data": inputs, "names": names, "source": f"{len(names):,} test inputs. Licence: {licence}."}
    shown = SAMPLE if name == "fashion_mnist" else metadata["data"].get("shown", name)
    try:
        images, labels = load_arrays(shown, f"test[:{COUNT if None in metadata['code_shape'] else 1000}]")
    except (OSError, ValueError):  # the data is not on this machine
        reference = presets.load_reference(presets.find(metadata["name"]))
        return {"data": reference["inputs"], "source": f"The examples in the preset. Licence of the data: {licence}."}
    source = f"Data: {shown}, split test. Licence: {_PHOTOGRAPHS if shown == 'photographs' else licence}."
    names = label_names(shown)
    return {"data": images if names is None else (images, labels), "label_names": names, "source": source}


def _key(name):
    """A digest of what a page is made of."""
    code = [path for path in sorted((ROOT / "keras_sae/visualization").rglob("*.*")) if path.suffix != ".pyc"]
    parts = [path.read_bytes() for path in (*code, *sorted(TEXTS.glob("*.npz")))]
    files = presets.read_metadata(presets.find(name))["files"]
    parts.append(repr((COUNT, sorted(item for item in files.items() if item[0] != "README.md"))).encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]

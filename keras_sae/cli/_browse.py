from pathlib import Path

from keras_sae import presets
from keras_sae.cli._arguments import add_data_dir, add_preset
from keras_sae.cli._package import load_package
from keras_sae.cli._runs import PRESET, part_of_run

SUMMARY = "write a page to look through the units of a model"
DETAILS = (
    "The page is one HTML file of at most 10 MB, which needs no server and no network. It holds pictures of the data that it "
    "shows: pass it on only where the licence of the data lets you. Without DATA, the page of a model of Fashion-MNIST shows "
    "the images that this package ships, and that of another model the few reference inputs of the preset."
)


def add_arguments(parser):
    add_preset(parser)
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="the name of a data set, such as mnist; or a folder of images, a table, a series, or a .npy array",
    )
    parser.add_argument("--output", metavar="HTML", help="where to write the page (default: PRESET.html here)")
    parser.add_argument("--count", type=int, default=500, metavar="N", help="how many inputs to show (default: 500)")
    parser.add_argument("--split", default="test", help="the part of a named data set to measure units on (default: test)")
    parser.add_argument(
        "--names",
        metavar="FILE",
        help="a text file with a name for each input on a line of its own, such as the words of vectors",
    )
    add_data_dir(parser)


def run(options):
    preset = part_of_run(options.preset, PRESET)
    directory = presets.find(preset)  # a wrong name is found before Keras is loaded
    metadata = presets.read_metadata(directory)
    names = Path(options.names).expanduser().read_text(encoding="utf-8").splitlines() if options.names else None
    load_package()
    from keras_sae.models import SparseAutoencoder
    from keras_sae.visualization import browse

    name = Path(str(options.preset).rstrip("/")).name
    data, described = _read(options, metadata, directory)
    path = browse(
        SparseAutoencoder.from_preset(preset),
        data,
        options.output or f"{name}.html",
        title=metadata.get("title") or name,
        count=options.count,
        **{**described, **({"names": names} if names else {})},
    )
    print(f"Wrote {path}, {path.stat().st_size / 1e6:.1f} MB. Open it in a browser.")


def _read(options, metadata, directory):
    """Inputs, or inputs and labels; and what `browse` says about them."""
    from keras_sae.datasets import SAMPLE, label_names, load_arrays

    recorded = metadata.get("data", {})
    trained_on = recorded.get("name")
    name = options.data or (SAMPLE if trained_on == "fashion_mnist" else None)
    if name is None:
        reference = presets.load_reference(directory)
        if reference is None:
            raise ValueError(f"The preset {str(directory)!r} has no reference inputs. Name the DATA to show.")
        return reference["inputs"], {"source": _source("The reference inputs of the preset", recorded)}
    if Path(name).expanduser().exists():
        return _own(name, metadata)
    images, labels = load_arrays(name, options.split, options.data_dir)
    same = name in (trained_on, SAMPLE)
    described = {"source": _source(f"{name}, split {options.split}", recorded if same else {})}
    if labels is None:
        return images, described
    return (images, labels), {**described, "label_names": label_names(name, options.data_dir)}


def _own(path, metadata):
    import numpy as np

    from keras_sae.cli._own_inputs import Inputs

    inputs = Inputs(path, metadata)
    described = {"source": f"Data: {inputs.path.name}", "columns": inputs.columns or metadata.get("data", {}).get("columns")}
    if inputs.key == "file":
        described["names"] = inputs.names
    return np.concatenate(list(inputs.batches())), described


def _source(what, recorded):
    licence = recorded.get("licence")
    return f"Data: {what}.{f' Licence: {licence}.' if licence else ''}"

import os

from keras_sae import presets
from keras_sae.cli._arguments import add_preset
from keras_sae.cli._package import load_package
from keras_sae.cli._runs import new_file

SUMMARY = "encode images, the rows of a table or windows of a series"
DETAILS = (
    "DATA is a folder of images, a .csv or .parquet table, a series, or a .npy array of inputs: uint8, divided by 255, "
    "or floats, in [0, 1] for images. Other integers are refused. Data is read as the model was trained on it. Codes are "
    "float32, in the order of files, rows or time steps."
)


def add_arguments(parser):
    add_preset(parser)
    parser.add_argument("data", metavar="DATA", help="what to encode")
    parser.add_argument("codes", metavar="CODES", help="where to write the codes (.npy); an existing file is not overwritten")
    parser.add_argument(
        "--sparse", action="store_true", help="write a sparse matrix (.npz) that scipy.sparse.load_npz reads, in CSR form"
    )


def run(options):
    target = new_file(options.codes)
    directory = presets.find(options.preset)  # a wrong name is found before Keras is loaded
    load_package()
    import numpy as np

    from keras_sae.cli._own_inputs import Inputs
    from keras_sae.evaluation import encode
    from keras_sae.models import SparseAutoencoder

    inputs = Inputs(options.data, presets.read_metadata(directory))
    model = SparseAutoencoder.from_preset(options.preset)
    codes = encode(model, inputs.dataset(), sparse=options.sparse)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with unfinished.open("xb") as file:
            if options.sparse:
                from scipy import sparse

                sparse.save_npz(file, codes)
            else:
                np.save(file, codes)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
    stored = f", {codes.nnz / codes.shape[0]:.1f} of them active on average" if options.sparse else ""
    print(f"Wrote {codes.shape[0]:,} codes of {codes.shape[1:]} units{stored} to {target}.")

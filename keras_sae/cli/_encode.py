from pathlib import Path

from keras_sae import presets
from keras_sae.cli._arguments import add_preset
from keras_sae.cli._package import load_package

SUMMARY = "encode images from a .npy file"
DETAILS = "Images are uint8, which is divided by 255, or floats in [0, 1]; codes are float32. Other integers are refused."


def add_arguments(parser):
    add_preset(parser)
    parser.add_argument("images", metavar="IMAGES.npy", help="array of shape (n, height, width, channels)")
    parser.add_argument("codes", metavar="CODES", help="where to write the codes (.npy); an existing file is not overwritten")
    parser.add_argument(
        "--sparse", action="store_true", help="write a sparse matrix (.npz) that scipy.sparse.load_npz reads, in CSR form"
    )


def run(options):
    target = Path(options.codes).expanduser()
    if target.exists():
        raise FileExistsError(f"{str(target)!r} exists and is not overwritten. Choose another name, or remove it first.")
    presets.find(options.preset)  # a wrong name is found before Keras is loaded
    load_package()
    import numpy as np

    from keras_sae.evaluation import encode
    from keras_sae.models import SparseAutoencoder

    images = np.load(options.images, allow_pickle=False)
    model = SparseAutoencoder.from_preset(options.preset)
    expected = model.input_shape[1:]
    if images.shape[1:] != expected or len(images) == 0:
        raise ValueError(
            f"{options.preset!r} encodes images of shape (n, {', '.join(map(str, expected))}), with n at least 1. "
            f"Received: an array of shape {images.shape} from {options.images!r}."
        )
    codes = encode(model, images, sparse=options.sparse)
    with target.open("xb") as file:
        if options.sparse:
            from scipy import sparse

            sparse.save_npz(file, codes)
        else:
            np.save(file, codes)
    stored = f", {codes.nnz / codes.shape[0]:.1f} of them active on average" if options.sparse else ""
    print(f"Wrote {codes.shape[0]:,} codes of {codes.shape[1:]} units{stored} to {target}.")

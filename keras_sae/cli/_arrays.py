from keras_sae.cli._arguments import add_data_dir
from keras_sae.cli._package import load_package

SUMMARY = "write a data set as arrays, for machines without TensorFlow"
DETAILS = "Writes DIR/NAME.npz. On a machine with Keras on JAX or PyTorch, `keras-sae train --data-dir DIR` reads it."


def add_arguments(parser):
    parser.add_argument("name", metavar="NAME", help="a data set of TensorFlow Datasets, such as mnist")
    parser.add_argument("directory", metavar="DIR", help="where to write it")
    add_data_dir(parser)


def run(options):
    load_package()
    from keras_sae.datasets import save_arrays

    path = save_arrays(options.name, options.directory, options.data_dir)
    print(f"Wrote {path}, {path.stat().st_size / 1e6:,.1f} MB.")

"""Data sets as `tf.data` and as arrays: TensorFlow Datasets, folders of images, tables, series, vectors, patches."""

from keras_sae.datasets._activations import activations
from keras_sae.datasets._arrays import load_texts
from keras_sae.datasets._batches import batches
from keras_sae.datasets._convert import save_arrays
from keras_sae.datasets._fashion_mnist_sample import SAMPLE
from keras_sae.datasets._folder import Folder
from keras_sae.datasets._inputs_of import MOST_OF_STREAM, read_batches
from keras_sae.datasets._label_names import label_names
from keras_sae.datasets._load import load, load_arrays, load_training
from keras_sae.datasets._load_own import load_folder, load_series, load_table, load_vectors
from keras_sae.datasets._on_disk import OnDisk
from keras_sae.datasets._own_data import OPTIONS, described, open_path
from keras_sae.datasets._patches import patches, whiten, zca
from keras_sae.datasets._random_patches import random_patches
from keras_sae.datasets._series import Series
from keras_sae.datasets._table import Table
from keras_sae.datasets._vectors import Vectors

# Not listed, because they are for the other packages of keras_sae: MOST_OF_STREAM, OPTIONS, Folder, Series, Table, Vectors,
# described, open_path, read_batches.
__all__ = [
    "SAMPLE",
    "OnDisk",
    "activations",
    "batches",
    "label_names",
    "load",
    "load_arrays",
    "load_folder",
    "load_series",
    "load_table",
    "load_texts",
    "load_training",
    "load_vectors",
    "patches",
    "random_patches",
    "save_arrays",
    "whiten",
    "zca",
]

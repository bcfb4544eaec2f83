"""Image data sets as `tf.data`, through TensorFlow Datasets; a small sample that the package ships; natural patches."""

from keras_sae.datasets.arrays import save_arrays
from keras_sae.datasets.fashion_mnist_sample import SAMPLE
from keras_sae.datasets.on_disk import OnDisk
from keras_sae.datasets.patches import patches, whiten, zca
from keras_sae.datasets.pipeline import batches, load, load_arrays, load_training

__all__ = ["SAMPLE", "OnDisk", "batches", "load", "load_arrays", "load_training", "patches", "save_arrays", "whiten", "zca"]

"""Image data sets as `tf.data`, through TensorFlow Datasets, and a small sample that the package ships."""

from keras_sae.datasets.fashion_mnist_sample import SAMPLE
from keras_sae.datasets.pipeline import epochs_from, load, load_arrays

__all__ = ["SAMPLE", "epochs_from", "load", "load_arrays"]

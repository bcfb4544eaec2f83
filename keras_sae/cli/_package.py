import keras_sae
from keras_sae._backend import load_keras


def load_package():
    """Loads Keras and every package, so that all the classes that a saved model may name are registered."""
    load_keras()
    for name in keras_sae.__all__:
        getattr(keras_sae, name)

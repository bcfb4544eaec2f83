"""Every example in a docstring is run."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest

import keras_sae


def names():
    found = pkgutil.walk_packages(keras_sae.__path__, "keras_sae.")
    return [module.name for module in found if ".pretrained" not in module.name]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="some examples use TensorFlow")
@pytest.mark.parametrize("name", names())
def test_examples(name):
    import tempfile

    import tensorflow as tf

    given = {"keras": keras, "np": np, "tf": tf, "tempfile": tempfile}
    for room in (keras_sae.layers, keras_sae.regularizers, keras_sae.models, keras_sae.callbacks, keras_sae.metrics):
        given.update({public: getattr(room, public) for public in room.__all__})
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(module, extraglobs={**given, **vars(module)}, optionflags=flags)
    assert result.failed == 0

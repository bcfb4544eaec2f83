"""Every example in a docstring is run, and what must have an example has one."""

import doctest
import importlib
import inspect
import pkgutil
import tempfile

import keras
import numpy as np
import pytest

import keras_sae

OBJECTS = (keras_sae.layers, keras_sae.regularizers, keras_sae.models, keras_sae.callbacks, keras_sae.metrics)
BASES = {"ActivityPenalty", "CodeMetric"}  # nobody makes one
# Functions whose examples are short enough for a docstring.
FUNCTIONS = {
    "anomaly": {"AnomalyDetector"},
    "datasets": {"load", "load_arrays", "patches", "whiten", "zca"},
    "evaluation": {"auroc", "bootstrap_interval", "coherence", "gabor", "gabor_fit", "psnr", "readout", "support_overlap"},
    "ops": {"sparse_dense_matmul", "top_k"},
    "presets": {"names"},
    "serving": {"export"},
}


def found():
    """The docstrings of the package that have examples, by the full name of what they describe."""
    finder = doctest.DocTestFinder()
    modules = [module.name for module in pkgutil.walk_packages(keras_sae.__path__, "keras_sae.")]
    modules = [name for name in modules if ".pretrained" not in name and not name.endswith("__main__")]
    tests = (test for name in modules for test in finder.find(importlib.import_module(name)))
    return {test.name: test for test in tests if test.examples}


EXAMPLES = found()


def full_name(member):
    return f"{member.__module__}.{member.__qualname__}"


@pytest.mark.parametrize("package", OBJECTS, ids=lambda package: package.__name__)
def test_every_class_has_an_example(package):
    classes = [getattr(package, name) for name in package.__all__ if name not in BASES]
    classes = [member for member in classes if inspect.isclass(member)]
    assert classes
    assert {full_name(member) for member in classes} <= EXAMPLES.keys()


@pytest.mark.parametrize("room", FUNCTIONS)
def test_functions_that_have_an_example_keep_it(room):
    package = getattr(keras_sae, room)
    assert {full_name(getattr(package, name)) for name in FUNCTIONS[room]} <= EXAMPLES.keys()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="some examples use TensorFlow")
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name):
    import tensorflow as tf

    example = EXAMPLES[name]
    given = {"keras": keras, "np": np, "tf": tf, "tempfile": tempfile}
    for package in OBJECTS:
        given.update({public: getattr(package, public) for public in package.__all__})
    example.globs = {**given, **example.globs}
    said = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS).run(example, out=said.append)
    assert not said, "".join(said)

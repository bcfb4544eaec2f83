"""Every architecture can be exported with every mechanism, and gives the values of the model."""

import itertools

import keras
import numpy as np
import pytest
from mechanisms import MECHANISMS
from test_architectures import ARCHITECTURES, NAMES, SHAPE

from keras_sae.models import VariationalAutoencoder
from keras_sae.serving import export
from keras_sae.serving._endpoints import ENDPOINTS, signatures_of

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")

PAIRS = [(name, mechanism) for name in ARCHITECTURES for mechanism in NAMES if ARCHITECTURES[name].takes(mechanism)]
INPUTS = np.random.default_rng(0).uniform(size=(3, *SHAPE)).astype("float32")


def written():
    """The fewest pairs that include every architecture and every mechanism, since writing is slow."""
    pairs, left, turns = [], PAIRS, itertools.cycle(ARCHITECTURES)
    while left:
        architecture = next(turns)
        pairs += [pair for pair in left if pair[0] == architecture][:1]
        left = [pair for pair in left if pair[1] not in {mechanism for _, mechanism in pairs}]
    return pairs


def check(model, endpoints):
    import tensorflow as tf

    codes = model.encoder(INPUTS, training=False)
    reconstructions = np.asarray(model.decoder(codes, training=False))
    for name, given, output, expected in (
        ("encode", INPUTS, "codes", codes),
        ("decode", codes, "reconstructions", reconstructions),
        ("reconstruct", INPUTS, "reconstructions", reconstructions),
        ("anomaly_score", INPUTS, "scores", np.square(INPUTS - reconstructions).mean((1, 2, 3))),
    ):
        actual = endpoints[name](tf.constant(given))[output]
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_written_pairs_include_every_architecture_and_every_mechanism():
    names, mechanisms = zip(*written(), strict=True)
    assert set(names) == set(ARCHITECTURES)
    assert set(mechanisms) == set(NAMES)


@pytest.mark.parametrize(("name", "mechanism"), written())
def test_pairs_are_written_and_loaded(name, mechanism, tmp_path):
    import tensorflow as tf

    model = ARCHITECTURES[name].make(MECHANISMS[mechanism].make())
    signatures = tf.saved_model.load(str(export(model, tmp_path))).signatures

    def call(signature):
        (input_name,) = signature.structured_input_signature[1]
        return lambda tensor: signature(**{input_name: tensor})

    check(model, {name: call(signature) for name, signature in signatures.items()})


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_pairs_are_traced(name):
    """The other pairs are only traced, for a batch of any size. A trace is what an export writes."""
    import tensorflow as tf

    for mechanism in [mechanism for other, mechanism in PAIRS if other == name and (name, mechanism) not in written()]:
        model = ARCHITECTURES[name].make(MECHANISMS[mechanism].make())
        traced = {
            key: tf.function(
                signature.function,
                input_signature=[tf.TensorSpec(each.shape, each.dtype) for each in signature.inputs],
                autograph=False,
            )
            for key, signature in signatures_of(ENDPOINTS, model, {"top_k": 3}).items()
        }
        check(model, traced)


def test_the_variational_autoencoder_is_exported_too(tmp_path):
    import tensorflow as tf

    model = VariationalAutoencoder(SHAPE, 2)
    signatures = tf.saved_model.load(str(export(model, tmp_path))).signatures
    np.testing.assert_allclose(signatures["encode"](inputs=INPUTS)["codes"], model.encoder(INPUTS), rtol=1e-5, atol=1e-5)

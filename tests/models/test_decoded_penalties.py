"""Penalties of what the decoder makes of a code, by hand and by their laws."""

import keras
import numpy as np
import pytest

from keras_sae.layers import BatchKSparse, KSparse
from keras_sae.models import ConvolutionalAutoencoder, DeepAutoencoder, DenseAutoencoder, SparseAutoencoder
from keras_sae.regularizers import AuxiliaryK, Contrast, NestedPrefixes, SeveralK

INPUTS, UNITS = 5, 12
X = np.random.default_rng(0).normal(0.5, 1, size=(24, INPUTS)).astype("float32")

pytestmark = pytest.mark.usefixtures("eagerly")


def make(*sparsity, seed=0, **arguments):
    keras.utils.set_random_seed(seed)
    model = DenseAutoencoder(INPUTS, UNITS, sparsity=[KSparse(3), *sparsity], center=False, **arguments)
    model.encoder.get_layer("encode").bias.assign(np.linspace(-0.2, 0.2, UNITS))
    model.decoder.layers[-1].bias.assign(np.linspace(-0.3, 0.3, INPUTS))
    model.compile("sgd", "mse")
    return model


def weights_of(model):
    encode, decode = model.layers_around_code
    return [
        keras.ops.convert_to_numpy(each).astype("float64") for each in (encode.kernel, encode.bias, decode.kernel, decode.bias)
    ]


def largest(scores, k):
    kept = np.argsort(-scores, axis=-1, kind="stable")[:, :k]
    mask = np.zeros(scores.shape, bool)
    np.put_along_axis(mask, kept, True, axis=-1)
    return mask


def logs_of(model, **arguments):
    return model.evaluate(X, batch_size=len(X), return_dict=True, verbose=0, **arguments)


def test_several_k_by_hand():
    model = make(SeveralK([1, 8], weight=[0.5, 0.25]))
    w, b, v, c = weights_of(model)
    z = X @ w + b
    losses = [np.square(X - (z * largest(z, k)) @ v - c).mean() for k in (1, 8, 3)]
    logs = logs_of(model)
    np.testing.assert_allclose(logs["several_k"], 0.5 * losses[0] + 0.25 * losses[1], rtol=1e-5)
    np.testing.assert_allclose(logs["reconstruction_loss"], losses[2], rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], logs["several_k"] + losses[2], rtol=1e-5)


def test_several_k_selects_as_the_selection_does_and_takes_other_losses():
    model = DenseAutoencoder(
        INPUTS, UNITS, [KSparse(3, select_by="magnitude"), SeveralK(2, weight=1, loss="cosine_similarity")], center=False
    )
    model.compile("sgd", "cosine_similarity")
    w, b, v, c = weights_of(model)
    z = X @ w + b
    outputs = (z * largest(np.abs(z), 2)) @ v + c
    expected = -(X * outputs).sum(1) / np.linalg.norm(X, axis=1) / np.linalg.norm(outputs, axis=1)
    np.testing.assert_allclose(logs_of(model)["several_k"], expected.mean(), rtol=1e-5)


def test_nested_prefixes_by_hand():
    model = make(NestedPrefixes([2, 6], weight=[1.0, 0.5]))
    w, b, v, c = weights_of(model)
    z = X @ w + b
    code = z * largest(z, 3)
    losses = [np.square(X - code[:, :units] @ v[:units] - c).mean() for units in (2, 6)]
    np.testing.assert_allclose(logs_of(model)["nested_prefixes"], losses[0] + 0.5 * losses[1], rtol=1e-5)


def test_auxiliary_k_by_hand():
    model = make(AuxiliaryK(k=2, dead_after=10, weight=0.5))
    w, b, v, c = weights_of(model)
    z = X @ w + b
    assert logs_of(model)["auxiliary_k"] == 0  # no unit has been silent for long
    silent = np.where(np.arange(UNITS) % 3 == 0, 10.0, 9.0)
    model.objective.silent.assign(silent)
    residual = X - (z * largest(z, 3)) @ v - c
    dead = silent >= 10
    rest = (z * dead * largest(np.where(dead, z, -np.inf), 2)) @ v
    expected = 0.5 * np.square(residual - rest).mean() / np.square(residual - residual.mean(axis=0)).mean()
    np.testing.assert_allclose(logs_of(model)["auxiliary_k"], expected, rtol=1e-5)


def test_auxiliary_k_counts_the_samples_since_a_unit_fired():
    model = make(AuxiliaryK(dead_after=1000))
    fires = keras.ops.convert_to_numpy(model.encoder(X)) != 0
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(X, batch_size=8, shuffle=False, verbose=0)
    expected = [
        next((8 * ago for ago in range(3) if fires[24 - 8 * ago - 8 : 24 - 8 * ago, unit].any()), 24) for unit in range(UNITS)
    ]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.objective.silent), expected)
    logs_of(model)  # evaluation counts nothing
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.objective.silent), expected)


@pytest.mark.slow
def test_auxiliary_k_revives_dead_units():
    def dead_after_training(*penalties):
        keras.utils.set_random_seed(0)
        model = DenseAutoencoder(INPUTS, UNITS, [KSparse(2), *penalties], center=False)
        model.encoder.get_layer("encode").bias.assign(np.where(np.arange(UNITS) < 6, 0.0, -2.0))  # half of them never win
        model.compile(keras.optimizers.Adam(0.05), "mse", run_eagerly=False)
        model.fit(X, batch_size=24, epochs=300, verbose=0)
        return UNITS - (keras.ops.convert_to_numpy(model.encoder(X)) != 0).any(axis=0).sum()

    assert dead_after_training(AuxiliaryK(k=6, dead_after=48, weight=1.0)) < dead_after_training() - 2


def test_only_dead_units_get_gradients_of_auxiliary_k():
    model = make(AuxiliaryK(k=2, dead_after=10))
    model.objective.silent.assign(np.where(np.arange(UNITS) < 4, 10.0, 0.0))
    before = weights_of(model)[0]
    model.compile(keras.optimizers.SGD(1.0), lambda target, outputs: 0.0 * keras.ops.mean(outputs, axis=-1))
    model.fit(X, batch_size=24, verbose=0)
    moved = np.abs(weights_of(model)[0] - before).max(axis=0) > 1e-7
    assert moved[:4].any()
    assert not moved[4:].any()


@pytest.mark.parametrize(
    "penalty",
    [SeveralK(6), NestedPrefixes(4), AuxiliaryK(2, dead_after=1), Contrast()],
    ids=lambda penalty: type(penalty).__name__,
)
def test_parts_of_a_batch_and_sample_weights_count_as_in_one_batch(penalty):
    model = make(type(penalty).from_config(penalty.get_config()))
    if model.objective.silent is not None:
        model.objective.silent.assign(np.where(np.arange(UNITS) < 6, 1.0, 0.0))
    (name,) = model.objective.names
    whole = logs_of(model)[name]
    assert whole != 0
    weights = np.concatenate([np.ones(12), np.zeros(12)]).astype("float32")
    half = model.evaluate(X[:12], batch_size=12, return_dict=True, verbose=0)[name]
    np.testing.assert_allclose(logs_of(model, sample_weight=weights)[name], half, rtol=1e-5)  # a sample of weight 0 is none
    twice = np.concatenate([X, X])
    np.testing.assert_allclose(model.evaluate(twice, batch_size=48, return_dict=True, verbose=0)[name], whole, rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's")
@pytest.mark.slow
def test_two_replicas_are_as_one(two_replicas):
    results = []
    for scope in (None, two_replicas):
        with scope.scope() if scope else __import__("contextlib").nullcontext():
            model = make(SeveralK(6), NestedPrefixes(4), AuxiliaryK(2, dead_after=30), Contrast())
            model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=False)
        history = model.fit(X, batch_size=14, epochs=4, shuffle=False, verbose=0).history
        results.append([*(history[name][-1] for name in sorted(history)), *model.get_weights()])
    assert len(results[0]) > 8
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-6)


def test_they_are_saved_with_their_state(tmp_path):
    model = make(SeveralK([2, 6], [0.1, 0.2]), NestedPrefixes(4), AuxiliaryK(dead_after=20), Contrast(0.2))
    model.fit(X, epochs=2, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(each.objective.silent) for each in (again, model)))
    assert logs_of(again) == pytest.approx(logs_of(model), rel=1e-5)


def test_inside_another_model_they_are_in_its_losses():
    model = make(SeveralK(6), NestedPrefixes(4))
    logs = logs_of(model)
    model(X, training=True)
    losses = [float(keras.ops.convert_to_numpy(loss)) for loss in model.losses]
    np.testing.assert_allclose(sum(losses), logs["several_k"] + logs["nested_prefixes"], rtol=1e-5)


def test_they_work_where_codes_have_positions_and_decoders_are_deep():
    images = np.random.default_rng(0).uniform(size=(4, 8, 8, 1)).astype("float32")
    models = [
        ConvolutionalAutoencoder((8, 8, 1), [6], [KSparse(2), SeveralK(4), NestedPrefixes(3), AuxiliaryK(dead_after=1)]),
        DeepAutoencoder((8, 8, 1), [12], 10, [BatchKSparse(2), SeveralK(4), NestedPrefixes(3), AuxiliaryK(dead_after=1)]),
    ]
    for model in models:
        model.compile("adam", "mse")
        history = model.fit(images, epochs=2, batch_size=2, verbose=0).history
        for name in ("several_k", "nested_prefixes", "auxiliary_k"):
            assert np.isfinite(history[name]).all()
        assert history["several_k"][-1] > 0


def test_half_precision_is_measured_in_float32():
    model = make(SeveralK(6), dtype="mixed_bfloat16")
    full = make(SeveralK(6))
    full.set_weights(model.get_weights())
    np.testing.assert_allclose(logs_of(model)["several_k"], logs_of(full)["several_k"], rtol=0.05)
    loss = model.compute_loss(X, X, model(X, training=False), training=False)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"


def test_what_cannot_be_is_refused():
    for penalty, match in (
        (SeveralK(UNITS + 1), "cannot exceed its 12 units"),
        (NestedPrefixes([4, UNITS]), "fewer units than the code"),
        (AuxiliaryK(UNITS + 1), "cannot exceed the 12 units"),
    ):
        with pytest.raises(ValueError, match=match):
            make(penalty)
    with pytest.raises(ValueError, match="across='positions'"):
        ConvolutionalAutoencoder((8, 8, 1), [6], [KSparse(2, across="positions"), SeveralK(4)])
    with pytest.raises(ValueError, match=r"charges the code that the decoder reads\. Received: the code 'level_1'"):
        DeepAutoencoder(INPUTS, [8], UNITS, {"level_1": SeveralK(2)})
    with pytest.raises(ValueError, match="needs a decoder"):
        keras.layers.Dense(3, activity_regularizer=SeveralK(2))(X)
    with pytest.raises(ValueError, match="list of as many"):
        SeveralK([1, 2], weight=[0.1])
    with pytest.raises(TypeError, match="`dead`"):
        AuxiliaryK(dead=3)
    assert isinstance(make(SeveralK(4)), SparseAutoencoder)

"""The mean that a model subtracts from its input and adds to its reconstruction."""

import warnings

import keras
import numpy as np
import pytest

from keras_sae.layers import BatchKSparse, KSparse, SubtractMean, WinnerTakeAll
from keras_sae.models import (
    ConvolutionalAutoencoder,
    DeepAutoencoder,
    DenseAutoencoder,
    SparseAutoencoder,
    SparseCodingAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
)

SHAPE = (4, 3, 2)
X = np.random.default_rng(0).uniform(0.7, 1.0, (20, *SHAPE)).astype("float32")
ARCHITECTURES = {
    "dense": lambda **kw: DenseAutoencoder(SHAPE, 6, KSparse(2), tied=True, **kw),
    "unit norm": lambda **kw: DenseAutoencoder(SHAPE, 6, KSparse(2), unit_norm=True, **kw),
    "deep": lambda **kw: DeepAutoencoder(SHAPE, [5], 6, KSparse(2), **kw),
    "stacked": lambda **kw: StackedAutoencoder(SHAPE, [5, 6], KSparse(2), **kw),
    "conv": lambda **kw: ConvolutionalAutoencoder(SHAPE, 3, KSparse(2), **kw),
    "conv of any size": lambda **kw: ConvolutionalAutoencoder((None, None, 2), 3, KSparse(2), strides=1, tied=True, **kw),
    "sparse coding": lambda **kw: SparseCodingAutoencoder(SHAPE, 6, keras.regularizers.L1(0.1), steps=2, **kw),
    "variational": lambda **kw: VariationalAutoencoder(SHAPE, 3, hidden_units=(), **kw),
}
architectures = pytest.mark.parametrize("make", ARCHITECTURES.values(), ids=ARCHITECTURES)


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def mean_of(model):
    return as_numpy(model.encoder.get_layer("subtract_mean").mean)


def fitted(model, x=X, **options):
    model.compile("sgd", "mse", run_eagerly=keras.backend.backend() != "jax")
    model.fit(x, verbose=0, batch_size=10, **options)
    return model


@architectures
def test_a_model_sees_data_as_if_it_were_centred(make, tmp_path):
    model = make(center=True)
    plain = type(model).from_config({**model.get_config(), "center": False})
    model.adapt(X)
    mean = mean_of(model)
    np.testing.assert_allclose(mean, X.mean(0) if mean.ndim == 3 else X.mean((0, 1, 2)), rtol=1e-6)
    plain.set_weights([weight for weight in model.get_weights() if weight.shape != mean.shape or (weight != mean).any()])
    np.testing.assert_allclose(as_numpy(model.encoder(X)), as_numpy(plain.encoder(X - mean)), atol=1e-5)
    np.testing.assert_allclose(as_numpy(model(X)), as_numpy(plain(X - mean)) + mean, atol=1e-5)


@architectures
def test_files_keep_the_mean(make, tmp_path):
    model = make(center=True)
    model.adapt(X)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    for again in (keras.models.load_model(tmp_path / "model.keras"), SparseAutoencoder.from_preset(tmp_path / "preset")):
        np.testing.assert_array_equal(as_numpy(again(X)), as_numpy(model(X)))
        assert again.decoder.get_layer("add_mean").subtracted is again.encoder.get_layer("subtract_mean")
    assert "mean" not in " ".join(weight.path for weight in model.trainable_weights)


def test_the_default_is_on_for_selections_that_need_it():
    for sparsity, centers in ((KSparse(2), True), (BatchKSparse(2), True), (WinnerTakeAll(), True), ("l1", False)):
        sparsity = keras.regularizers.L1(0.1) if sparsity == "l1" else sparsity
        model = DenseAutoencoder(12, 6, sparsity)
        assert model.centers is centers
        assert DenseAutoencoder(**model.get_config()).centers is centers
        assert DenseAutoencoder.from_config(model.get_config()).centers is centers


def test_configs_from_before_the_argument_do_not_centre():
    config = DenseAutoencoder(12, 6, KSparse(2)).get_config()
    del config["center"]
    assert not DenseAutoencoder.from_config(config).centers
    assert "center" not in DenseAutoencoder(12, 6).get_config()


def test_an_activation_of_the_output_keeps_its_range():
    model = DenseAutoencoder(SHAPE, 6, KSparse(2), output_activation="sigmoid")
    model.adapt(X)
    assert as_numpy(model(X)).min() >= 0
    assert as_numpy(model(X)).max() <= 1


@pytest.mark.parametrize("kind", ["array", "generator", "PyDataset", "tf.data"])
def test_fit_learns_the_mean_from_all_it_takes(kind):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return (X[10 * index : 10 * index + 10],)

    data, options = {"array": X, "PyDataset": Batches()}.get(kind), {}
    if kind == "generator":
        data, options = ((X[at : at + 10],) for at in (0, 10)), {"steps_per_epoch": 2}
    if kind == "tf.data":
        tf = pytest.importorskip("tensorflow")
        data = tf.data.Dataset.from_tensor_slices(X).batch(8)
    model = DenseAutoencoder(SHAPE, 6, KSparse(2))
    model.compile("sgd", "mse", run_eagerly=keras.backend.backend() != "jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras, about shuffling
        model.fit(data, verbose=0, **options)
    np.testing.assert_allclose(mean_of(model), X.mean(0), rtol=1e-6)
    assert int(model.optimizer.iterations) == {"array": 1, "tf.data": 3}.get(kind, 2)  # no batch was lost


def test_fit_leaves_out_what_it_does_not_train_on():
    weights = np.r_[np.ones(12), np.zeros(8)]
    model = fitted(DenseAutoencoder(SHAPE, 6, KSparse(2)), validation_split=0.25)
    np.testing.assert_allclose(mean_of(model), X[:15].mean(0), rtol=1e-6)
    flat = X.reshape(20, -1)
    model = fitted(DenseAutoencoder(24, 6, KSparse(2)), flat, y=flat, sample_weight=weights)
    np.testing.assert_allclose(mean_of(model), flat[:12].mean(0), rtol=1e-6)
    broken = np.where(np.arange(20)[:, None, None, None] == 3, np.nan, X)
    model = DenseAutoencoder(SHAPE, 6, KSparse(2))
    model.adapt(broken)
    np.testing.assert_allclose(mean_of(model), np.delete(X, 3, axis=0).mean(0), rtol=1e-6)


def test_the_mean_is_learned_once():
    model = fitted(DenseAutoencoder(SHAPE, 6, KSparse(2)))
    fitted(model, X / 2)
    np.testing.assert_allclose(mean_of(model), X.mean(0), rtol=1e-6)
    model.adapt((X[:4] * 255).astype("uint8"))
    np.testing.assert_allclose(mean_of(model), X[:4].mean(0), atol=1 / 255)
    frozen = DenseAutoencoder(SHAPE, 6, KSparse(2))
    frozen.encoder.trainable = False
    assert not mean_of(fitted(frozen)).any()


def test_levels_of_a_stack_read_codes_of_centred_inputs():
    stack = StackedAutoencoder(SHAPE, [5, 6], KSparse(2))
    stack.pretrain(X, levels=["code"], verbose=0)
    np.testing.assert_allclose(mean_of(stack), X.mean(0), rtol=1e-6)


def test_custom_encoders_begin_with_the_layer():
    encoder = keras.Sequential([keras.Input((5,)), SubtractMean(), keras.layers.Dense(3)])
    model = SparseAutoencoder(encoder, keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)]), KSparse(1))
    x = X.reshape(-1, 24)[:, :5]
    fitted(model, x)
    np.testing.assert_allclose(as_numpy(encoder.layers[0].mean), x.mean(0), rtol=1e-6)


def test_nothing_to_adapt_is_refused():
    with pytest.raises(ValueError, match="center=True"):
        DenseAutoencoder(12, 6, KSparse(2), center=False).adapt(X)
    with pytest.raises(ValueError, match="center="):
        DenseAutoencoder(12, 6, KSparse(2), center="yes")


def test_fit_warns_once_where_a_selection_meets_data_far_from_centred():
    bright = DenseAutoencoder(SHAPE, 6, KSparse(2), center=False)
    with pytest.warns(UserWarning, match="center=True"):
        fitted(bright)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fitted(bright)
        fitted(DenseAutoencoder(SHAPE, 6, KSparse(2), center=False), X - X.mean(0))
        fitted(DenseAutoencoder(SHAPE, 6))
        fitted(DenseAutoencoder(SHAPE, 6, KSparse(2)))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute")
def test_replicas_have_one_mean(two_replicas):
    with two_replicas.scope():
        model = DenseAutoencoder(SHAPE, 6, KSparse(2))
        model.compile("sgd", "mse")
    model.fit(X, batch_size=10, verbose=0)
    variable = model.encoder.get_layer("subtract_mean").mean
    for replica in two_replicas.experimental_local_results(variable.value):
        np.testing.assert_allclose(replica.numpy(), X.mean(0), rtol=1e-6)


def test_units_live_on_bright_pictures():
    random = np.random.default_rng(0)
    x = 0.85 + random.normal(0, 0.02, (200, 64)).astype("float32")
    x[np.arange(200)[:, None], (random.integers(0, 56, 200)[:, None] + np.arange(8))] = random.uniform(0, 0.6, (200, 1))
    dead = {}
    for center in (False, True):
        keras.utils.set_random_seed(0)
        model = DenseAutoencoder(64, 32, KSparse(3), tied=True, center=center)
        model.compile(keras.optimizers.Adam(2e-3), "mse")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(np.tile(x, (20, 1)), batch_size=20, verbose=0)
        dead[center] = int((as_numpy(model.encoder(x)) == 0).all(axis=0).sum())
    assert dead[True] <= 4 < 16 <= dead[False]

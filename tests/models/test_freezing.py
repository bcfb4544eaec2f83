import copy
import json
import pickle
import warnings

import keras
import numpy as np
import pytest
from keras import ops
from transformations import freeze_a_layer, freeze_all, freeze_decoder, freeze_encoder, thaw_a_layer

from keras_sae import models
from keras_sae.layers import BatchKSparse, KSparse, TiedDense, WinnerTakeAll
from keras_sae.models import DenseAutoencoder, SparseAutoencoder, StackedAutoencoder
from keras_sae.regularizers import ActivityKL

X = np.random.default_rng(0).uniform(size=(32, 12)).astype("float32")


def pair():
    encoder = keras.Sequential([keras.Input((12,)), keras.layers.Dense(8, name="hidden"), keras.layers.Dense(6, name="encode")])
    return encoder, keras.Sequential([keras.Input((6,)), keras.layers.Dense(12, name="decode")])


ARCHITECTURES = {
    "custom": lambda: SparseAutoencoder(*pair(), sparsity=KSparse(3)),
    "dense": lambda: DenseAutoencoder(12, 8, ActivityKL(momentum=0.9)),
    "dense tied": lambda: DenseAutoencoder(12, 8, KSparse(3), tied=True),
    "deep": lambda: models.DeepAutoencoder(12, [10], 6, KSparse(3)),
    "deep tied": lambda: models.DeepAutoencoder(12, [10], 6, tied=True),
    "stacked": lambda: StackedAutoencoder(12, [10, 6]),
    "convolutional": lambda: models.ConvolutionalAutoencoder((12, 1), [3, 4]),
    "convolutional tied": lambda: models.ConvolutionalAutoencoder((12, 1), [3, 4], tied=True),
    "sparse coding": lambda: models.SparseCodingAutoencoder(12, 8, keras.regularizers.L1(0.1), inference="lista"),
    "variational": lambda: models.VariationalAutoencoder(12, 3, hidden_units=[8]),
}


def thaw_the_encoder(model):
    model.trainable = False
    model.encoder.trainable = True


FREEZINGS = (freeze_all, freeze_encoder, freeze_decoder, freeze_a_layer, thaw_a_layer, thaw_the_encoder)


def flags(model):
    """Which layers and weights train."""
    layers = [model.encoder, *model.encoder.layers, model.decoder, *model.decoder.layers]
    layers = [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]
    trained = {id(weight) for weight in model.trainable_weights}
    return [layer.trainable for layer in layers], [id(weight) in trained for weight in model.weights]


def reloaded(model, folder):
    model.save(folder / "model.keras")
    model.save_to_preset(folder / "preset")
    yield keras.models.load_model(folder / "model.keras")
    yield SparseAutoencoder.from_preset(folder / "preset")
    yield copy.deepcopy(model)
    yield pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("freeze", FREEZINGS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_config_holds_what_is_frozen(name, freeze):
    model = ARCHITECTURES[name]()
    freeze(model)
    assert flags(type(model).from_config(model.get_config())) == flags(model)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_frozen_stays_frozen_in_every_copy(name, tmp_path):
    model = ARCHITECTURES[name]()
    thaw_a_layer(model)
    for again in reloaded(model, tmp_path):
        assert flags(again) == flags(model)


def test_the_config_of_a_model_without_changes_says_nothing_of_them():
    assert not any("changes" in make().get_config() for make in ARCHITECTURES.values())


def test_a_loaded_model_trains_only_what_the_saved_one_did(tmp_path):
    model = DenseAutoencoder(12, 8, KSparse(3))
    freeze_encoder(model)
    model.compile("adam", "mse", run_eagerly=keras.backend.backend() != "jax")
    model.fit(X, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    before = again.get_weights()
    again.fit(X, verbose=0)
    moved = [bool((new != old).any()) for new, old in zip(again.get_weights(), before, strict=True)]
    assert moved == [weight.trainable for weight in again.weights]
    assert sum(moved) == 2


@pytest.mark.parametrize("make", [lambda: BatchKSparse(3), lambda: KSparse(3, alpha=2), lambda: WinnerTakeAll(lifetime=0.1)])
def test_a_frozen_selection_selects_as_at_inference_and_keeps_its_state(make):
    model = DenseAutoencoder(12, 8, make())
    model.encoder(X, training=True)
    before = model.encoder.get_weights()
    freeze_encoder(model)
    code, trained = (ops.convert_to_numpy(model.encoder(2 * X, training=training)) for training in (False, True))
    np.testing.assert_array_equal(trained, code)
    for weight, old in zip(model.encoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    model.encoder.trainable = True
    selected = (ops.convert_to_numpy(model.encoder(-X, training=training)) != 0 for training in (False, True))
    assert (next(selected) != next(selected)).any()


@pytest.mark.parametrize("frozen_when_made", [True, False])
def test_the_running_means_of_a_frozen_model_do_not_move(frozen_when_made):
    model = DenseAutoencoder(12, 8, ActivityKL(momentum=0.9), trainable=not frozen_when_made)
    model.trainable = False
    model.compile("sgd", "mse", run_eagerly=keras.backend.backend() != "jax")
    model(X, training=True)
    assert not ops.convert_to_numpy(model.objective.running[0]).any()


def test_a_frozen_tied_decoder_freezes_what_it_computes_with_and_nothing_else():
    model = DenseAutoencoder(12, 8, tied=True)
    encode = model.encoder.get_layer("encode")
    freeze_decoder(model)
    assert [weight is encode.bias for weight in model.trainable_weights] == [True]
    model.decoder.trainable = True
    assert len(model.trainable_weights) == 3


def test_thawing_a_tied_decoder_does_not_thaw_the_kernel_of_a_frozen_encoder():
    model = DenseAutoencoder(12, 8, tied=True)
    freeze_all(model)
    model.trainable = True
    assert len(model.trainable_weights) == 3
    freeze_encoder(model)
    model.decoder.trainable = True
    assert [weight is model.decoder.get_layer("decode").bias for weight in model.trainable_weights] == [True]


def test_a_deeper_stack_has_the_frozen_levels_frozen_and_the_new_ones_not():
    stack = StackedAutoencoder(12, [10, 6])
    freeze_all(stack)
    deeper = stack.extend(4)
    assert [layer.trainable for layer in deeper.encoder.layers if hasattr(layer, "kernel")] == [False, False, True]


def freeze_selection(model):
    model.selections[0].trainable = False


@pytest.mark.parametrize("freeze", [freeze_all, freeze_encoder, freeze_a_layer, freeze_selection])
@pytest.mark.parametrize("run_eagerly", [False, True])
def test_freezing_after_fit_acts_without_compile_or_says_that_it_cannot(freeze, run_eagerly):
    model = DenseAutoencoder(12, 8, BatchKSparse(3))
    model.compile("adam", "mse", run_eagerly=run_eagerly)
    model.fit(X, verbose=0)
    freeze(model)
    if keras.backend.backend() == "jax" and freeze is not freeze_selection:
        with pytest.raises(ValueError, match="Call `compile` again"):
            model.fit(X, verbose=0)
        return
    before = model.get_weights()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing trains
        model.fit(X, verbose=0)
        model.train_on_batch(X)
    moved = [weight for weight, old in zip(model.weights, before, strict=True) if (ops.convert_to_numpy(weight) != old).any()]
    expected = [*model.trainable_weights]
    selection = model.selections[0]
    expected += [selection.threshold] if selection.trainable else []
    assert {id(weight) for weight in moved} == {id(weight) for weight in expected}


def test_thawing_after_fit_needs_compile_and_says_so():
    model = DenseAutoencoder(12, 8)
    freeze_encoder(model)
    model.compile("adam", "mse")
    model.fit(X, verbose=0)
    model.encoder.trainable = True
    with pytest.raises(ValueError, match="Call `compile` again"):
        model.fit(X, verbose=0)
    model.compile("adam", "mse")
    before = model.get_weights()
    model.fit(X, verbose=0)
    assert all((new != old).any() for new, old in zip(model.get_weights(), before, strict=True))


def quantize(model):
    model.quantize("int8")


def quantize_to_4_bits(model):
    model.quantize("int4")


def adapt_by_lora(model):
    model.encoder.get_layer("encode").enable_lora(2)


def test_a_preset_counts_the_parameters_of_a_frozen_quantized_or_adapted_model(tmp_path):
    counts = []
    changes = (lambda model: None, freeze_all, freeze_a_layer, quantize, quantize_to_4_bits, adapt_by_lora)
    for index, change in enumerate(changes):
        for make in (ARCHITECTURES["custom"], lambda: DenseAutoencoder(12, 8)):
            model = make()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Keras warns of layers that stay as they are
                change(model)
            model.save_to_preset(tmp_path / str(index))
            counts.append(json.loads((tmp_path / str(index) / "metadata.json").read_text())["parameters"])
    assert counts == [12 * 8 + 8 + 8 * 6 + 6 + 6 * 12 + 12, 12 * 8 + 8 + 8 * 12 + 12] * len(changes)


def test_a_tied_decoder_that_is_made_frozen_freezes_its_kernel():
    encode = keras.layers.Dense(8)
    encode.build((None, 12))
    TiedDense(encode, trainable=False)
    assert [weight.trainable for weight in (encode.kernel, encode.bias)] == [False, True]


def test_a_custom_model_with_a_frozen_tied_decoder_comes_back_frozen():
    encode = keras.layers.Dense(8, name="encode")
    encoder = keras.Sequential([keras.Input((12,)), encode])
    model = SparseAutoencoder(encoder, keras.Sequential([keras.Input((8,)), TiedDense(encode, name="decode")]))
    freeze_decoder(model)
    again = copy.deepcopy(model)
    assert [weight.trainable for weight in again.weights] == [weight.trainable for weight in model.weights]
    assert len(again.trainable_weights) == 1

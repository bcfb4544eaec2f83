"""Constructors refuse what they do not know, and a regularizer of kernels is a part of the loss like any other."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae import models
from keras_sae.layers import BatchKSparse, KSparse, MaskingNoise, TiedDense, WinnerTakeAll
from keras_sae.metrics import L0
from keras_sae.models import (
    ConvolutionalAutoencoder,
    DeepAutoencoder,
    DenseAutoencoder,
    SparseAutoencoder,
    StackedAutoencoder,
)
from keras_sae.regularizers import ActivityKL, GroupL21

X = np.random.default_rng(0).uniform(size=(32, 12)).astype("float32")


def pair():
    encoder = keras.Sequential([keras.Input((12,)), keras.layers.Dense(8)])
    return encoder, keras.Sequential([keras.Input((8,)), keras.layers.Dense(12)])


MAKE = {
    "SparseAutoencoder": lambda **more: SparseAutoencoder(*pair(), **more),
    "DenseAutoencoder": lambda **more: DenseAutoencoder(12, 8, tied=True, **more),
    "DeepAutoencoder": lambda **more: models.DeepAutoencoder(12, [6], 4, **more),
    "StackedAutoencoder": lambda **more: StackedAutoencoder(12, [6, 4], **more),
    "ConvolutionalAutoencoder": lambda **more: ConvolutionalAutoencoder((6, 2), [4], **more),
    "SparseCodingAutoencoder": lambda **more: models.SparseCodingAutoencoder(12, 8, keras.regularizers.L1(0.1), **more),
    "VariationalAutoencoder": lambda **more: models.VariationalAutoencoder(12, 4, (6,), **more),
}


def test_every_architecture_is_here():
    assert set(MAKE) == {name for name in models.__all__ if isinstance(getattr(models, name), type)}


@pytest.mark.parametrize("name", MAKE)
def test_unknown_arguments_are_refused_with_the_nearest_name(name):
    for unknown in ("weight_decay", "sparcity", "inputs", "kernel_regulariser", "corruptions"):
        with pytest.raises(TypeError, match=f"`{unknown}`"):
            MAKE[name](**{unknown: None})
    with pytest.raises(TypeError, match="Did you mean 'kernel_regularizer'"):
        MAKE[name](kernel_regulariser="l2")
    MAKE[name](trainable=False)


def test_a_subclass_may_have_arguments_of_its_own():
    class Named(DenseAutoencoder):
        def __init__(self, label, **kwargs):
            super().__init__(12, 8, **kwargs)
            self.label = label

    assert Named("a", tied=True).label == "a"
    with pytest.raises(TypeError, match="Did you mean 'label'"):
        Named("a", lable="b")


@pytest.mark.parametrize("name", MAKE)
def test_kernel_regularizer_charges_each_kernel_once_and_is_logged_and_saved(name):
    plain, model = MAKE[name](), MAKE[name](kernel_regularizer=keras.regularizers.L2(0.1))
    assert "kernel_regularizer" not in plain.get_config()
    assert "kernel_regularizer" in inspect.signature(type(model)).parameters
    model.compile("sgd", "mse", run_eagerly=True)
    x = X.reshape(32, *model.input_shape[1:])
    logs = model.evaluate(x, batch_size=16, return_dict=True, verbose=0)
    kernels = [np.square(ops.convert_to_numpy(each)) for each in model.trainable_variables if each.name == "kernel"]
    assert kernels
    expected = 0.1 * sum(float(kernel.sum()) for kernel in kernels)
    assert logs["kernel_regularizer"] == pytest.approx(expected, rel=1e-4)
    assert logs["loss"] == pytest.approx(sum(value for key, value in logs.items() if key != "loss"), rel=1e-4)
    assert model.encoder.losses == []
    again = type(model).from_config(model.get_config())
    assert again.kernel_regularizer.get_config() == {"l2": pytest.approx(0.1)}


def test_a_shared_kernel_is_charged_once_and_a_frozen_one_is_not():
    model = MAKE["DenseAutoencoder"](kernel_regularizer="l1")
    assert len(model._kernels()) == 1
    model.encoder.trainable = False
    assert model._kernels() == []


def test_kernel_regularizer_is_trained_at_each_level_of_a_stack():
    stack = StackedAutoencoder(12, [6, 4], KSparse(2), kernel_regularizer=keras.regularizers.L2(1.0))
    before = [np.square(each).sum() for each in stack.get_weights() if each.ndim == 2]
    histories = stack.pretrain(np.tile(X, (30, 1)), batch_size=32, optimizer=keras.optimizers.SGD(0.1), verbose=0)
    assert all("kernel_regularizer" in history.history for history in histories.values())
    after = [np.square(each).sum() for each in stack.get_weights() if each.ndim == 2]
    assert all(b < 1e-2 * a for a, b in zip(before, after, strict=True))


def test_a_square_shape_without_channels_gets_a_warning():
    with pytest.warns(UserWarning, match=r"28 steps of 28 channels.*\(28, 28, 1\)"):
        ConvolutionalAutoencoder((28, 28), 4)
    ConvolutionalAutoencoder((100, 3), 4)  # warnings are errors in these tests


@pytest.mark.parametrize("tied", [False, True])
def test_penalties_and_kernels_count_once_in_other_models_and_loops(tied):
    model = DenseAutoencoder(12, 8, keras.regularizers.L1(0.01), tied=tied, kernel_regularizer=keras.regularizers.L2(0.1))
    model.compile("sgd", "mse")
    alone = model.evaluate(X, verbose=0, return_dict=True)
    model(X, training=True)
    reconstructed = model(X, training=True)  # the losses of the last call, however often there were others
    error = keras.losses.MeanSquaredError()(X, reconstructed)
    assert keras.ops.convert_to_numpy(error + sum(model.losses)) == pytest.approx(alone["loss"], rel=1e-5)
    nested = keras.Sequential([keras.Input((12,)), keras.layers.Rescaling(1.0), model])
    nested.compile("sgd", "mse")
    assert nested.evaluate(X, X, verbose=0) == pytest.approx(alone["loss"], rel=1e-5)
    one, two = keras.Input((12,)), keras.Input((12,))
    both = keras.Model([one, two], [model(one), model(two)])
    both([X, X], training=True)
    assert keras.ops.convert_to_numpy(sum(both.losses)) == pytest.approx(
        2 * alone["l1"] + alone["kernel_regularizer"], rel=1e-5
    )


MISSPELLED = {
    "k": lambda: KSparse(kk=3),
    "synchronized": lambda: BatchKSparse(3, synchronised=True),
    "spatial": lambda: WinnerTakeAll(spacial=True),
    "rate": lambda: MaskingNoise(rat=0.3),
    "activation": lambda: TiedDense(keras.layers.Dense(3), activatoin="relu"),
    "target": lambda: ActivityKL(traget=0.1),
    "weight": lambda: GroupL21(wieght=1),
    "threshold": lambda: L0(treshold=0.1),
}


@pytest.mark.parametrize("name", MISSPELLED)
def test_layers_penalties_and_metrics_refuse_unknown_arguments_with_the_nearest(name):
    with pytest.raises(TypeError, match=f"Did you mean '{name}'"):
        MISSPELLED[name]()


def test_classes_of_users_may_take_any_argument():
    class Mine(KSparse):
        def __init__(self, **anything):
            super().__init__(k=anything.pop("kept"), **anything)

    assert Mine(kept=3).k == 3


@pytest.mark.parametrize("option", ["tied", "unit_norm"])
@pytest.mark.parametrize("make", [DenseAutoencoder, DeepAutoencoder, StackedAutoencoder, ConvolutionalAutoencoder])
def test_text_is_no_boolean(make, option):
    shape = (8, 8, 1) if make is ConvolutionalAutoencoder else 12
    arguments = ([8], 4) if make is DeepAutoencoder else ([4],) if make is not DenseAutoencoder else (4,)
    with pytest.raises(ValueError, match="True or False"):
        make(shape, *arguments, **{option: "no"})

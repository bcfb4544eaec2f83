"""What `fit`, `evaluate`, `predict` and `compile` take, in the forms that Keras takes."""

import keras
import numpy as np
import pytest

from keras_sae.layers import KSparse
from keras_sae.metrics import L0, PSNR, DeadUnits, MeanRate, Rates
from keras_sae.models import DeepAutoencoder, DenseAutoencoder, SparseAutoencoder, StackedAutoencoder
from keras_sae.regularizers import GroupL21

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 12)).astype("uint8")
X = PIXELS / np.float32(255)

tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data is TensorFlow's")


def compiled(model=None, optimizer="sgd", **options):
    model = model or DenseAutoencoder(12, 8, KSparse(3))
    model.compile(optimizer, "mse", **{"run_eagerly": True, **options})
    return model


def logs_of(model, *data, **options):
    return model.evaluate(*data, verbose=0, return_dict=True, **options)


def test_one_input_in_a_list_or_a_dictionary():
    model = compiled()
    expected = logs_of(model, X)
    for data in (([X],), ([X], [X]), ({"inputs": X},), ({"inputs": X}, X), ((X,),)):
        assert logs_of(model, *data) == pytest.approx(expected)
    np.testing.assert_array_equal(model.predict({"inputs": X}, verbose=0), model.predict(X, verbose=0))
    np.testing.assert_array_equal(model.predict([X], verbose=0), model.predict(X, verbose=0))
    model.fit([X], validation_data=[X], verbose=0)
    for wrong in ([X, X], {"x": X}, X.tolist()):
        for method in (model.fit, model.evaluate, model.predict):
            with pytest.raises(ValueError, match="The model has one input"):
                method(wrong, verbose=0)


def test_sparse_matrices():
    csr = pytest.importorskip("scipy.sparse").csr_matrix(X)
    model = compiled()
    assert logs_of(model, csr) == pytest.approx(logs_of(model, X))
    assert logs_of(model, csr, csr) == pytest.approx(logs_of(model, X))
    np.testing.assert_allclose(model.predict(csr, verbose=0), model.predict(X, verbose=0), atol=1e-6)


@tensorflow_only
def test_uint8_is_divided_by_255_at_every_door():
    import tensorflow as tf

    model = compiled()
    expected = logs_of(model, X)
    for data in ((PIXELS,), (PIXELS, PIXELS), (X, PIXELS), (tf.data.Dataset.from_tensor_slices(PIXELS).batch(32),)):
        assert logs_of(model, *data) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(model.predict(PIXELS, verbose=0), model.predict(X, verbose=0), atol=1e-6)
    trained = [compiled(optimizer=keras.optimizers.SGD(0.0)) for _ in range(2)]
    trained[1].set_weights(trained[0].get_weights())
    losses = [each.fit(x, verbose=0).history["loss"] for each, x in zip(trained, (PIXELS, X), strict=True)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    stacks = [StackedAutoencoder(12, [6, 4]) for _ in range(2)]
    stacks[1].set_weights(stacks[0].get_weights())
    histories = [each.pretrain(x, shuffle=False, verbose=0) for each, x in zip(stacks, (PIXELS, X), strict=True)]
    for level, history in histories[0].items():
        assert history.history["loss"] == pytest.approx(histories[1][level].history["loss"], rel=1e-5)


@tensorflow_only
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint16"])
def test_other_integers_are_refused_at_every_door_and_before_the_work(dtype):
    import tensorflow as tf

    model, wrong, steps = compiled(), PIXELS.astype(dtype), []
    data = tf.data.Dataset.from_tensor_slices(wrong).batch(8)
    counts = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    for call in (
        *(lambda x=x, method=method: method(x, verbose=0) for x in (wrong, data) for method in (model.fit, model.evaluate)),
        *(lambda x=x: model.fit(X, validation_data=x, verbose=0, callbacks=[counts]) for x in (wrong, (wrong,), data)),
        lambda: model.fit(X, wrong, verbose=0),
        lambda: model.predict(wrong, verbose=0),
        lambda: model(wrong),
        lambda: StackedAutoencoder(12, [6, 4]).pretrain(wrong, verbose=0),
    ):
        with pytest.raises(ValueError, match=f"The range of other integers cannot be known.*of dtype {dtype}"):
            call()
    assert not steps


def test_a_model_of_integers_reads_them_as_they_are():
    tokens = keras.Input((5,), dtype="int32")
    code = keras.layers.Dense(4)(keras.layers.Flatten()(keras.layers.Embedding(10, 3)(tokens)))
    decoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    model = compiled(SparseAutoencoder(keras.Model(tokens, code), decoder))
    ids = np.arange(40).reshape(8, 5) % 10
    expected = keras.ops.convert_to_numpy(model.decoder(model.encoder(ids)))
    np.testing.assert_allclose(model.predict(ids, verbose=0), expected, rtol=1e-5)
    model.fit(ids, ids.astype("float32"), verbose=0)


def test_metrics_of_the_code_anywhere_in_compile():
    model = compiled(metrics=[L0()])
    expected = logs_of(model, X)["l0"]
    for options in (
        {"weighted_metrics": [L0()]},
        {"metrics": [[L0()]]},
        {"metrics": {"decoder": [L0(), "mae"]}, "weighted_metrics": {"decoder": PSNR()}},
        {"metrics": [L0]},
        {"metrics": L0},
        {"metrics": ["mae", ("mse", L0())]},
    ):
        assert logs_of(compiled(model, **options), X)["l0"] == expected
    compiled(model, metrics={"decoder": ["mae"]}, weighted_metrics=[[L0()]])
    config = model.get_compile_config()
    model.compile_from_config(config)
    assert {"l0", "mae"} <= set(logs_of(model, X))


def test_metrics_of_one_name_get_two():
    model = compiled(metrics=[L0(), L0(threshold=1e9), keras.metrics.MeanAbsoluteError(name="mean_rate"), MeanRate()])
    logs = logs_of(model, X)
    assert (logs["l0"], logs["l0_1"]) == (3.0, 0.0)
    assert {"mean_rate", "mean_rate_1"} <= set(logs)
    again = [L0(), L0(threshold=1e9)]
    for _ in range(2):  # the same objects keep their names
        logs = logs_of(compiled(model, metrics=again), X)
        assert (logs["l0"], logs["l0_1"]) == (3.0, 0.0)


@pytest.mark.parametrize("monitor", ["val_reconstruction_loss", "val_l1", "val_dead_units", "reconstruction_loss"])
def test_callbacks_know_that_less_is_better(monitor):
    """Keras knows the direction of metrics that it computes. This fails when its callbacks no longer read `mode`."""
    model = compiled(DenseAutoencoder(12, 8, keras.regularizers.L1(0.1)), metrics=[DeadUnits()])
    for make in (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau):
        callback = make(monitor=monitor)
        model.fit(X, validation_data=(X,), verbose=0, callbacks=[callback])
        assert callback.mode == "min"
        assert bool(callback.monitor_op(1.0, 2.0))


def test_callbacks_that_cannot_know_are_refused_before_the_first_step():
    model = compiled(metrics=[MeanRate()])
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"EarlyStopping monitors 'val_mean_rate'.*mode='min' or mode='max'"):
        model.fit(X, validation_data=(X,), verbose=0, callbacks=[keras.callbacks.EarlyStopping("val_mean_rate")])
    with pytest.raises(ValueError, match=r"TensorBoard writes numbers.*MeanRate"):
        compiled(model, metrics=[Rates()]).fit(X, verbose=0, callbacks=[keras.callbacks.TensorBoard("none")])
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_pretraining_on_the_input_as_target_is_pretraining_without():
    losses = []
    start = StackedAutoencoder(12, [12, 6])
    for data in ((X,), (X, X)):
        stack = StackedAutoencoder.from_config(start.get_config())
        stack.set_weights(start.get_weights())
        histories = stack.pretrain(*data, epochs=2, shuffle=False, verbose=0)
        losses.append([history.history["loss"] for history in histories.values()])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_labels_pass_levels_that_need_none():
    stack = StackedAutoencoder(12, [10, 6], {"code": GroupL21(0.1)})
    histories = stack.pretrain(X, np.arange(32) % 3, verbose=0)
    assert set(histories["level_1"].history) == {"loss", "reconstruction_loss"}
    assert "group_l21" in histories["code"].history


@pytest.mark.parametrize("labels", [np.full(32, 0.5), np.arange(32.0)])
def test_class_labels_that_are_no_integers_are_refused(labels):
    with pytest.raises(ValueError, match=r"Class labels are integers.*float"):
        compiled(DenseAutoencoder(12, 8, GroupL21())).fit(X, labels, verbose=0)
    with pytest.raises(ValueError, match=r"Class labels are integers.*float"):
        GroupL21().penalty(X, labels)


def test_the_argument_mixed_float16_scales_the_loss(tmp_path):
    model = DeepAutoencoder(12, [8], 4, dtype="mixed_float16")
    model.compile("adam", "mse")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    model.fit(X, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer, keras.optimizers.LossScaleOptimizer)
    assert not isinstance(again.optimizer.inner_optimizer, keras.optimizers.LossScaleOptimizer)
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))
    model.compile("adam", "mse", auto_scale_loss=False)
    assert not isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    plain = compiled(optimizer="adam")
    assert not isinstance(plain.optimizer, keras.optimizers.LossScaleOptimizer)


REFUSED = {
    "weights of another length": (lambda: {"x": X, "sample_weight": np.ones(3)}, "one finite number for each sample"),
    "weights that are not finite": (lambda: {"x": X, "sample_weight": np.full(len(X), np.nan)}, "one finite number"),
    "weights of text": (lambda: {"x": X, "sample_weight": np.full(len(X), "a")}, "one finite number"),
    "samples of another shape": (lambda: {"x": X[:, :3]}, r"samples of shape \(12,\)"),
    "one sample": (lambda: {"x": X[0]}, r"of one sample, x\[None\]"),
    "no sample": (lambda: {"x": X[:0]}, "at least one sample"),
    "complex numbers": (lambda: {"x": X.astype("complex64")}, "real numbers"),
    "text": (lambda: {"x": np.full(X.shape, "a")}, "real numbers"),
    "objects": (lambda: {"x": X.astype(object)}, "real numbers"),
    "names of classes": (lambda: {"x": X, "y": np.full(len(X), "cat")}, "return_inverse=True"),
    "validation data of another shape": (lambda: {"x": X, "validation_data": (X[:, :3],)}, r"samples of shape \(12,\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_data_that_no_model_reads_is_refused_before_the_first_step(case):
    model = compiled(DenseAutoencoder(12, 8, GroupL21(0.1) if case == "names of classes" else KSparse(2)))
    make, sentence = REFUSED[case]
    with pytest.raises(ValueError, match=sentence):
        model.fit(**make(), verbose=0)


@pytest.mark.parametrize("loss", [["mse", "mae"], {"decoder": "mse", "code": "mae"}])
def test_a_second_loss_is_refused(loss):
    with pytest.raises(ValueError, match="one loss"):
        DenseAutoencoder(12, 8).compile("sgd", loss)

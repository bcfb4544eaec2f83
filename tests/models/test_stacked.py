import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_sae.callbacks import KSchedule
from keras_sae.layers import BatchKSparse, KSparse, MaskingNoise
from keras_sae.models import DeepAutoencoder, DenseAutoencoder, SparseAutoencoder, StackedAutoencoder
from keras_sae.regularizers import ActivityKL, GroupL21

X = np.random.default_rng(0).uniform(size=(64, 4, 3, 1)).astype("float32")


def as_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def weights_of(model):
    return {layer.name: [as_numpy(weight) for weight in layer.weights] for layer in model.layers if layer.weights}


def test_each_level_trains_as_a_dense_autoencoder_on_the_codes_below():
    keras.utils.set_random_seed(0)
    stack = StackedAutoencoder((4, 3, 1), [8, 5], ActivityKL(0.2, 0.1), output_activation="sigmoid")
    alone = [
        DenseAutoencoder((4, 3, 1), 8, ActivityKL(0.2, 0.1), output_activation="sigmoid"),
        DenseAutoencoder(8, 5, ActivityKL(0.2, 0.1), output_activation="sigmoid"),
    ]
    for model, encode, decode in zip(alone, ("encode_1", "encode"), ("decode_1", "decode"), strict=True):
        model.encoder.get_layer("encode").set_weights(stack.encoder.get_layer(encode).get_weights())
        model.decoder.get_layer("decode").set_weights(stack.decoder.get_layer(decode).get_weights())
        model.compile(keras.optimizers.SGD(0.5, momentum=0.9), "mse")
    histories = stack.pretrain(
        X, epochs=[3, 2], optimizer=keras.optimizers.SGD(0.5, momentum=0.9), batch_size=16, shuffle=False, verbose=0
    )
    x = X
    for model, epochs, level in zip(alone, (3, 2), ("level_1", "code"), strict=True):
        history = model.fit(x, epochs=epochs, batch_size=16, shuffle=False, verbose=0).history
        assert histories[level].history.keys() == history.keys()
        for name, values in history.items():
            np.testing.assert_allclose(histories[level].history[name], values, rtol=1e-5, err_msg=name)
        x = as_numpy(model.encoder(x))
    np.testing.assert_allclose(as_numpy(stack.encoder(X)), x, rtol=1e-5)
    for name, model in (("decode_1", alone[0]), ("decode", alone[1])):
        for own, other in zip(
            stack.decoder.get_layer(name).get_weights(), model.decoder.get_layer("decode").get_weights(), strict=True
        ):
            np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("tied", [False, True])
def test_only_the_level_in_training_changes(tied):
    stack = StackedAutoencoder((4, 3, 1), [8, 6, 5], KSparse(3), tied=tied)
    before = weights_of(stack.encoder) | weights_of(stack.decoder)
    stack.pretrain(X, levels=["level_2"], verbose=0)
    after = weights_of(stack.encoder) | weights_of(stack.decoder)
    changed = {name for name in before if any((a != b).any() for a, b in zip(before[name], after[name], strict=True))}
    assert changed == {"encode_2", "decode_2", "subtract_mean", "add_mean"}  # the levels below read centred inputs
    assert all(layer.trainable for layer in stack.layers)
    stack.compile("sgd", "mse")
    stack.fit(X, verbose=0)
    tuned = weights_of(stack.encoder)
    assert (tuned["encode_1"][0] != after["encode_1"][0]).any()


def test_epochs_belong_to_the_levels_as_listed():
    stack = StackedAutoencoder((4, 3, 1), [8, 6, 5])
    histories = stack.pretrain(X, levels=["code", "level_1"], epochs=[3, 1], verbose=0)
    assert {name: len(history.epoch) for name, history in histories.items()} == {"level_1": 1, "code": 3}
    assert list(histories) == ["level_1", "code"]  # trained from the input to the code all the same


def test_pretraining_beats_no_pretraining_at_the_start_of_fine_tuning():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(1).normal(size=(512, 3)) @ np.random.default_rng(2).normal(size=(3, 12))
    stack = StackedAutoencoder(12, [8, 3], activation="linear")
    stack.compile("sgd", "mse")
    before = stack.evaluate(x, return_dict=True, verbose=0)["loss"]
    stack.pretrain(np.tile(x, (30, 1)), optimizer=keras.optimizers.Adam(0.02), verbose=0)
    assert stack.evaluate(x, return_dict=True, verbose=0)["loss"] < before / 20


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data, tf.distribute")
def test_data_sets_and_strategies(two_replicas):
    import tensorflow as tf

    results = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            stack = StackedAutoencoder((4, 3, 1), [8, 5], ActivityKL(0.2, 0.1))
        dataset = tf.data.Dataset.from_tensor_slices(X).batch(16)
        histories = stack.pretrain(dataset, epochs=2, optimizer=keras.optimizers.SGD(0.1, momentum=0.5), verbose=0)
        results.append(([history.history for history in histories.values()], stack.get_weights()))
    for one, two in zip(results[0][0], results[1][0], strict=True):
        for name, values in one.items():
            np.testing.assert_allclose(two[name], values, rtol=1e-5, err_msg=name)
    for one, two in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("eagerly")
def test_labels_reach_a_supervised_penalty():
    labels = np.arange(64) % 3
    stack = StackedAutoencoder((4, 3, 1), [8, 5], GroupL21(0.1))
    histories = stack.pretrain(X, labels, verbose=0, validation_split=0.25)
    assert all(history.history["group_l21"][0] > 0 and "val_loss" in history.history for history in histories.values())


def test_corruption_meets_what_each_level_reads():
    keras.utils.set_random_seed(0)
    losses = []
    for corruption in (None, MaskingNoise(0.9)):
        stack = StackedAutoencoder(
            (4, 3, 1), [8, 5], corruption=corruption, kernel_initializer=keras.initializers.GlorotUniform(1)
        )
        histories = stack.pretrain(X, optimizer=keras.optimizers.SGD(0.0), batch_size=64, verbose=0)
        losses.append([history.history["loss"][0] for history in histories.values()])
    for clean, corrupted in zip(*losses, strict=True):
        assert corrupted != pytest.approx(clean, rel=1e-3)


def test_a_schedule_anneals_each_level():
    stack = StackedAutoencoder((4, 3, 1), [8, 6], KSparse(2))
    stack.pretrain(X, batch_size=16, epochs=2, callbacks=[KSchedule(6, steps=4)], verbose=0)
    assert [int(layer.current_k) for layer in stack.encoder.layers if isinstance(layer, KSparse)] == [2, 2]


@pytest.mark.usefixtures("eagerly")
def test_levels_are_added_to_a_trained_stack():
    stack = StackedAutoencoder((4, 3, 1), [8, 6], {"level_1": ActivityKL(0.2), "code": BatchKSparse(2)}, tied=True)
    stack.pretrain(X, verbose=0)
    deeper = stack.extend([5, 4], sparsity=KSparse(2))
    assert deeper.levels == ["level_1", "level_2", "level_3", "code"]
    tap = keras.Model(deeper.encoder.inputs[0], deeper.encoder.get_layer("level_2").output)
    np.testing.assert_array_equal(as_numpy(tap(X)), as_numpy(stack.encoder(X)))
    decode = keras.Model(deeper.decoder.get_layer("decode_2").input, deeper.decoder.output)
    np.testing.assert_array_equal(as_numpy(decode(tap(X))), as_numpy(stack(X)))
    assert [type(layer).__name__ for layer in deeper.encoder.layers if "sparse" in layer.name] == [
        "BatchKSparse",
        "KSparse",
        "KSparse",
    ]
    assert list(deeper.penalties_by_code) == ["level_1"]
    assert list(deeper.pretrain(X, levels=["level_3", "code"], verbose=0)) == ["level_3", "code"]
    np.testing.assert_array_equal(as_numpy(tap(X)), as_numpy(stack.encoder(X)))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "arguments",
    [
        {"sparsity": KSparse(2)},
        {"sparsity": [ActivityKL(0.1), keras.regularizers.L2(0.1)], "unit_norm": True, "corruption": MaskingNoise(0.2)},
        {"sparsity": {"code": KSparse(2)}, "activation": ["tanh", "linear"], "output_activation": "sigmoid"},
        {"code_units": [5], "tied": True},
        {},
    ],
)
def test_files_and_configs_bring_it_back(arguments, tmp_path):
    stack = StackedAutoencoder((4, 3, 1), **{"code_units": [8, 5], **arguments})
    stack.pretrain(X, verbose=0)
    stack.compile("adam", "mse")
    stack.fit(X, verbose=0)
    stack.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert json.dumps(again.get_config()) == json.dumps(stack.get_config())
    np.testing.assert_allclose(again.predict(X, verbose=0), stack.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    again.pretrain(X, verbose=0)
    stack.save_to_preset(tmp_path / "preset")
    preset = SparseAutoencoder.from_preset(tmp_path / "preset")
    assert isinstance(preset, StackedAutoencoder)
    np.testing.assert_allclose(as_numpy(preset.encoder(X)), as_numpy(stack.encoder(X)), rtol=1e-5, atol=1e-6)


def test_progress_names_each_level(capsys):
    StackedAutoencoder((4, 3, 1), [8, 5]).pretrain(X, verbose=2)
    printed = capsys.readouterr().out
    assert "level_1: 8 units that reconstruct (4, 3, 1)" in printed
    assert "code: 5 units that reconstruct (8,)" in printed


def test_the_graph_is_that_of_a_deep_autoencoder():
    stack = StackedAutoencoder((4, 3, 1), [8, 5], KSparse(2))
    deep = DeepAutoencoder((4, 3, 1), [8], 5, {"level_1": KSparse(2), "code": KSparse(2)})
    deep.set_weights(stack.get_weights())
    np.testing.assert_array_equal(as_numpy(deep(X)), as_numpy(stack(X)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"code_units": []}, "at least one"),
        ({"code_units": [4, 0]}, "code_units=0"),
        ({"code_units": [4, 3], "activation": ["relu"]}, "one for each"),
        ({"code_units": [8, 4], "sparsity": KSparse(5)}, "k=5"),
        ({"code_units": [8, 4], "sparsity": {"level_2": KSparse(2)}}, "level_1, code"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StackedAutoencoder(6, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"levels": ["level_3"]}, "level_1, code"), ({"epochs": [1, 2, 3]}, "one for each")]
)
def test_bad_pretraining_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StackedAutoencoder(6, [4, 3]).pretrain(np.zeros((4, 6), "float32"), verbose=0, **arguments)


def test_labels_where_nothing_wants_them_are_refused():
    with pytest.raises(ValueError, match="drop the label"):
        StackedAutoencoder(6, [4, 3]).pretrain(np.zeros((4, 6), "float32"), np.zeros(4), verbose=0)

"""The matrix of transformations: what Keras can do to a model, times architectures, mechanisms and tying.

    python tests/conformance/transformations.py results.json            # runs all combinations, and keeps how each came out
    python tests/conformance/transformations.py --write *.json          # prints the counts, and writes docs/transformations.md

`KERAS_BACKEND` chooses the backend; `--share 1/2` runs one half, in one of two processes. `test_transformation_matrix.py` runs
the same combinations.
"""

import argparse
import collections
import copy
import dataclasses
import functools
import gc
import itertools
import json
import pickle
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import ops
from mechanisms import PENALTIES, SELECTIONS

from keras_sae import models
from keras_sae.callbacks import KSchedule, PenaltySchedule
from keras_sae.layers import KSelection, MaskingNoise, TiedDense, TiedLayer
from keras_sae.metrics import L0
from keras_sae.models import SparseAutoencoder
from keras_sae.regularizers import ActivityLog

BACKEND = keras.backend.backend()
EAGERLY = BACKEND != "jax"
PAGE = Path(__file__).parents[2] / "docs" / "transformations.md"
UNITS = 12
VECTORS, IMAGES = (6,), (8, 8, 1)


# Architectures and mechanisms


@dataclasses.dataclass(frozen=True)
class Case:
    """A model of the matrix.

    Attributes:
        architecture, mechanism: Strings, rows of the tables below.
        tied: Whether the decoder reads the kernel of the encoder.
        make: Makes the model.
        varied: Whether it has what only some have: noise at the input, unit norm, moving averages of weights.
    """

    architecture: str
    mechanism: str
    tied: bool
    make: Callable
    varied: bool

    def __str__(self):
        return " ".join([self.architecture, *["tied"] * self.tied, "with", self.mechanism])

    @property
    def shape(self):
        return IMAGES if self.architecture == "convolutional" else VECTORS


def _mechanisms():
    """Makers of the argument `sparsity` and of the activation. Penalties on one kind of code share a model."""
    kinds = {"nothing": (lambda: None, None, ())}
    kinds |= {name: (case.make, None, case.positions) for name, case in SELECTIONS.items()}
    for activation in sorted({case.activation for case in PENALTIES.values()}):
        cases = [case for case in PENALTIES.values() if case.activation == activation and not case.positions]
        kinds[f"penalties on {activation}"] = (lambda cases=cases: [case.make() for case in cases], activation, ())
    return kinds


MECHANISMS = _mechanisms()


def _custom(sparsity, tied, activation, **options):
    encode = keras.layers.Dense(UNITS, activation=activation, name="encode")
    encoder = keras.Sequential([keras.Input(VECTORS), keras.layers.Dense(8, activation="relu", name="hidden"), encode])
    reading = [TiedDense(encode, name="decode"), keras.layers.Dense(6, name="output")] if tied else [keras.layers.Dense(6)]
    return SparseAutoencoder(encoder, keras.Sequential([keras.Input((UNITS,)), *reading]), sparsity, **options)


ARCHITECTURES = {
    "custom": _custom,
    "dense": lambda sparsity, **options: models.DenseAutoencoder(VECTORS, UNITS, sparsity, **options),
    "deep": lambda sparsity, **options: models.DeepAutoencoder(VECTORS, [8], UNITS, sparsity, **options),
    "stacked": lambda sparsity, **options: models.StackedAutoencoder(VECTORS, [14, UNITS], sparsity, **options),
    "convolutional": lambda sparsity, **options: models.ConvolutionalAutoencoder(
        IMAGES, [3, UNITS], sparsity, strides=[1, 2], **options
    ),
}
ENERGIES = {"L1 by FISTA": ("L1", "fista"), "L1 by LISTA": ("L1", "lista"), "ActivityLog by FISTA": ("log", "fista")}


def _sparse_coding(penalty, inference, corruption):
    penalty = keras.regularizers.L1(0.05) if penalty == "L1" else ActivityLog(0.05)
    return models.SparseCodingAutoencoder(VECTORS, UNITS, penalty, inference=inference, center=True, corruption=corruption)


def _cases():
    number = itertools.count()
    for architecture, make in ARCHITECTURES.items():
        for name, (sparsity, activation, positions) in MECHANISMS.items():
            if positions and architecture != "convolutional":
                continue
            for tied in (False, True):
                varied = next(number) % 2 == 0

                def made(make=make, sparsity=sparsity, activation=activation, tied=tied, varied=varied):
                    options = {"tied": tied, "activation": activation, "kernel_regularizer": keras.regularizers.L2(1e-3)}
                    if make is not _custom:
                        options |= {"center": sparsity() is not None, "unit_norm": varied}
                    return make(sparsity(), corruption=MaskingNoise(0.3) if varied else None, **options)

                yield Case(architecture, name, tied, made, varied)
    for name, how in ENERGIES.items():
        yield Case("sparse coding", name, True, functools.partial(_sparse_coding, *how, None), False)
    options = {"hidden_units": [8], "center": True, "kernel_regularizer": keras.regularizers.L2(1e-3)}
    yield Case(
        "variational", "GaussianKL", False, lambda: models.VariationalAutoencoder(VECTORS, UNITS, **options), varied=True
    )


CASES = {str(case): case for case in _cases()}


# What is compared


def as_numpy(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def inputs_of(case, rows=16, seed=0):
    """Inputs, and labels or None."""
    supervised = case.mechanism in MECHANISMS and any(
        getattr(each, "supervised", False) for each in keras.tree.flatten(MECHANISMS[case.mechanism][0]())
    )
    x = np.random.default_rng(seed).uniform(size=(rows, *case.shape)).astype("float32")
    return x, (np.arange(rows) % 3).astype("int32") if supervised else None


def compiled(model, case, eagerly=EAGERLY):
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, use_ema=True) if case.varied else keras.optimizers.Adam(0.01)
    model.compile(optimizer, "mse", metrics=[L0(), "mae"], run_eagerly=eagerly)
    model.optimizer.build(model.trainable_variables)
    return model


def trained(case):
    """The model of a case, half way: schedules have begun, running means and thresholds have moved."""
    keras.utils.set_random_seed(0)
    model = compiled(case.make(), case)
    annealed = [layer for layer in model.selections if isinstance(layer, KSelection)]
    schedules = [KSchedule(max(layer.k for layer in annealed) + 2, 6)] if annealed else []
    schedules += [PenaltySchedule(0.5, 6)] if model.penalties else []
    model.fit(*inputs_of(case), batch_size=8, epochs=1, shuffle=False, callbacks=schedules, verbose=0)
    return model


def layers_in(model):
    """All layers of a model, and of the models in it."""
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            yield layer
        if isinstance(layer, keras.Model):
            yield from layers_in(layer)


def flags(model):
    """Which layers and weights train."""
    trains = {id(weight) for weight in model.trainable_weights}
    weights = {name: id(weight) in trains for name, weight in named_weights(model).items()}
    return [layer.trainable for layer in layers_in(model)], weights


def named_weights(model):
    """The weights by the number of their layer and their names. Their order depends on when a layer was quantised."""
    weights, known = {}, set()
    for number, layer in enumerate([*layers_in(model), *([model.objective] if model.penalties else [])]):
        for weight in () if isinstance(layer, keras.Model) else layer.weights:
            if id(weight) not in known:  # a tied layer has those of its encoding layer too
                weights[f"{number} {weight.name}"] = weight
                known.add(id(weight))
    return weights


def weights_of(model):
    return {name: ops.convert_to_numpy(weight).copy() for name, weight in named_weights(model).items()}


def set_weights(model, other):
    named = named_weights(model)
    for name, value in weights_of(other).items():
        named[name].assign(value)


def frozen_weights(model):
    """The names of the weights of frozen layers, which no layer that trains has too."""
    leaves = [layer for layer in layers_in(model) if not isinstance(layer, (keras.Model, TiedLayer))]
    train = {id(weight) for layer in leaves if layer.trainable for weight in layer.weights}
    frozen = {id(weight) for layer in leaves if not layer.trainable for weight in layer.weights} - train
    return [name for name, weight in named_weights(model).items() if id(weight) in frozen]


def variables_of(model):
    """All state of a model: weights, states of random numbers, the optimizer's."""
    return [*model.variables, *(model.optimizer.variables if getattr(model, "optimizer", None) else [])]


def draw_alike(model, other):
    """Gives a model the state of the random numbers of another."""
    seeds = [[each for each in one.variables if each.name == "seed_generator_state"] for one in (model, other)]
    for seed, original in zip(*seeds, strict=True):
        seed.assign(ops.convert_to_numpy(original).copy())


def values_of(model):
    return [ops.convert_to_numpy(variable).copy() for variable in variables_of(model)]


def optimizer_of(model):
    """The state of the optimizer, without the order of its weights."""
    values = [ops.convert_to_numpy(variable) for variable in model.optimizer.variables]
    return sorted((value.ravel().tolist() for value in values), key=lambda value: (len(value), value))


def assign(model, values):
    for variable, value in zip(variables_of(model), values, strict=True):
        variable.assign(value)


def same(got, expected, what, **tolerance):
    tolerance = {"rtol": 1e-4, "atol": 1e-5, **tolerance}
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), f"{what}: {sorted(got)} instead of {sorted(expected)}"
        for name, value in expected.items():
            same(got[name], value, f"{what}, {name}", **tolerance)
    elif isinstance(expected, list):
        assert len(got) == len(expected), f"{what}: {len(got)} instead of {len(expected)}"
        for index, value in enumerate(expected):
            same(got[index], value, f"{what} {index}", **tolerance)
    else:
        np.testing.assert_allclose(np.asarray(got, "float32"), np.asarray(expected, "float32"), **tolerance, err_msg=what)


class Observed:
    """What a model computes, and what a step of training makes of it. The model is left as it was."""

    def __init__(self, model, case, eagerly=EAGERLY):
        self.eagerly = eagerly
        self.x, self.labels = inputs_of(case, rows=8, seed=1)
        self.model, self.case = model, case
        self.outputs, self.code = self._outputs(model)
        self.flags = flags(model)
        if model.compiled:
            self.weights = weights_of(model)
            self.logs, self.steps, self.after = self._step(model)

    def _outputs(self, model):
        return as_numpy(model(self.x)), as_numpy(model.encoder(self.x))

    @functools.cached_property
    def afresh(self):
        """The step of a model that was compiled again."""
        model = copy.deepcopy(self.model)
        draw_alike(model, self.model)
        return self._step(compiled(model, self.case, self.eagerly))

    def _step(self, model):
        if BACKEND == "jax":  # whose `test_on_batch` deletes weights
            logs = model.evaluate(self.x, self.labels, batch_size=8, return_dict=True, verbose=0)
        else:
            logs = model.test_on_batch(self.x, self.labels, return_dict=True)
        before = values_of(model)  # with the seeds: all that is drawn in a step
        steps = model.train_on_batch(self.x, self.labels, return_dict=True)
        after = weights_of(model)
        assign(model, before)
        return logs, steps, after

    def check(self, other, whole):
        """Raises AssertionError unless another model is the same: as `whole`, with its optimizer, or as compiled again."""
        outputs, code = self._outputs(other)
        same(outputs, self.outputs, "outputs")
        same(code, self.code, "code")
        assert other.get_config()["name"] == self.model.name
        assert flags(other) == self.flags, "flags `trainable`"
        assert type(other) is type(self.model)
        expected = self.logs, self.steps, self.after
        draw_alike(other, self.model)  # Keras keeps no state of random numbers: a copy draws afresh
        if whole:
            assert other.compiled, "not compiled"
            other.run_eagerly = self.eagerly
            same(*(optimizer_of(each) for each in (other, self.model)), "optimizer")
        else:
            compiled(other, self.case, self.eagerly)
            expected = self.afresh
        for got, value, what in zip(self._step(other), expected, ("evaluation", "training", "weights"), strict=True):
            same(got, value, what)

    def check_untouched(self, state, config):
        """Raises AssertionError if a refused transformation has changed the model."""
        for got, value in zip(values_of(self.model), state, strict=True):
            np.testing.assert_array_equal(got, value, err_msg="a refusal changed a weight")
        assert self.model.get_config() == config, "a refusal changed the config"
        assert flags(self.model) == self.flags, "a refusal changed flags `trainable`"


# Transformations


def _saved(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def _saved_as_folder(model, folder):
    keras.saving.save_model(model, folder / "whole", zipped=False)
    return keras.saving.load_model(folder / "whole")


def _saved_under_another_policy(model, folder):
    model.save(folder / "policy.keras")
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return keras.models.load_model(folder / "policy.keras")
    finally:
        keras.config.set_dtype_policy(policy)


def _weights(model, folder, **options):
    name = "model.weights.json" if options else "model.weights.h5"
    model.save_weights(folder / name, **options)
    other = type(model).from_config(model.get_config())
    other.compile_from_config(model.get_compile_config())
    other.load_weights(folder / name)
    return other


def _preset(model, folder):
    model.save_to_preset(folder / "preset")
    return SparseAutoencoder.from_preset(folder / "preset")


def _config(model, folder):
    other = type(model).from_config(model.get_config())
    set_weights(other, model)
    return other


def _json(model, folder):
    other = keras.models.model_from_json(model.to_json())
    set_weights(other, model)
    return other


def _inside(model, folder):
    outer = keras.Sequential([keras.Input(model.input_shape[1:]), keras.layers.Rescaling(1.0), model])
    outer.save(folder / "outer.keras")
    return keras.models.load_model(folder / "outer.keras").layers[1]


# Those that promise the same model with its optimizer, and those that promise the model alone.
WHOLE = {
    "copy.copy": lambda model, folder: copy.copy(model),
    "copy.deepcopy": lambda model, folder: copy.deepcopy(model),
    "pickle": lambda model, folder: pickle.loads(pickle.dumps(model)),
    "`save` to `.keras`": _saved,
    "`save` to `.keras`, unzipped": _saved_as_folder,
    "`save` to `.keras`, loaded under another dtype policy": _saved_under_another_policy,
    "`save_weights` to `.weights.h5`": _weights,
    "`save_weights` in shards": lambda model, folder: _weights(model, folder, max_shard_size=1e-5),
}
ALONE = {
    "`save_to_preset`": _preset,
    "`get_config`, `from_config`, `set_weights`": _config,
    "`to_json`, `model_from_json`, `set_weights`": _json,
    "inside a model saved to `.keras`": _inside,
}


def _exported(model, folder):
    import tensorflow as tf

    model.export(folder / "export", verbose=False)
    loaded = tf.saved_model.load(folder / "export")
    return lambda x: loaded.serve(x)


def _served(model, folder):
    import tensorflow as tf

    from keras_sae import serving

    loaded = tf.saved_model.load(serving.export(model, folder / "served"))
    return lambda x: next(iter(loaded.signatures["reconstruct"](inputs=tf.constant(x)).values()))


EXPORTS = {"`Model.export`": _exported, "`serving.export`": _served}


# What is refused, and a pattern of the sentence.
REFUSED = {
    "`clone_model`": (lambda model, folder: keras.models.clone_model(model), r"copy\.deepcopy"),
    "`save` to `.h5`": (lambda model, folder: model.save(folder / "model.h5"), r"HDF5"),
    "`keras.saving.save_model` to `.h5`": (lambda model, folder: keras.saving.save_model(model, folder / "model.h5"), r"HDF5"),
    "`keras.models.save_model` to `.hdf5`": (
        lambda model, folder: keras.models.save_model(model, folder / "model.hdf5"),
        r"HDF5",
    ),
    '`quantize("gptq")`': (lambda model, folder: model.quantize("gptq"), r"language models"),
    '`quantize("awq")`': (lambda model, folder: model.quantize("awq"), r"language models"),
}


# Changes of a model in place, which every copy must keep


def _quantized(mode):
    def change(model):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of layers that it does not quantise
            model.quantize(mode)

    return change


def kernels_of(model):
    return [layer for layer in (*model.encoder.layers, *model.decoder.layers) if hasattr(layer, "enable_lora")]


def _lora(model):
    for layer in kernels_of(model):
        layer.enable_lora(2, lora_alpha=3)


def _lora_trained(model):
    _lora(model)
    for layer in kernels_of(model):
        layer.lora_kernel_b.assign(np.full(layer.lora_kernel_b.shape, 0.05, "float32"))


def _quantized_lora(model):
    _quantized("int8")(model)
    _lora_trained(model)


def freeze_all(model):
    model.trainable = False


def freeze_encoder(model):
    model.encoder.trainable = False


def freeze_decoder(model):
    model.decoder.trainable = False


def freeze_a_layer(model):
    model.encoder.get_layer("encode").trainable = False


def thaw_a_layer(model):
    model.encoder.trainable = False
    model.encoder.get_layer("encode").trainable = True


def _freeze_selections(model):
    for layer in model.selections:
        layer.trainable = False


def _frozen_quantized(model):
    freeze_encoder(model)
    _quantized("int8")(model)


def _policy(model):
    for layer in (*model.encoder.layers, *model.decoder.layers):
        if hasattr(layer, "kernel") or hasattr(layer, "tied_to"):
            layer.dtype_policy = "mixed_bfloat16"


# With how far the outputs may move, relative to their norm.
CHANGES = {
    '`quantize("int8")`': (_quantized("int8"), 0.3),
    '`quantize("int4")`': (_quantized("int4"), 2.0),
    '`quantize("float8")`': (_quantized("float8"), 0.6),
    "`enable_lora`": (_lora, 0.0),
    "`enable_lora`, trained": (_lora_trained, None),
    '`quantize("int8")` and `enable_lora`': (_quantized_lora, None),
    "`trainable = False` of the model": (freeze_all, 0.0),
    "`trainable = False` of the encoder": (freeze_encoder, 0.0),
    "`trainable = False` of the decoder": (freeze_decoder, 0.0),
    "`trainable = False` of a layer": (freeze_a_layer, 0.0),
    "`trainable = False` of all of the encoder but a layer": (thaw_a_layer, 0.0),
    "`trainable = False` of selections": (_freeze_selections, 0.0),
    '`trainable = False` of the encoder and `quantize("int8")`': (_frozen_quantized, 0.3),
    "`dtype_policy` of layers": (_policy, 0.1),
}
KEEPING = {**WHOLE, **ALONE}


# The matrix

SAME, SERVED, KEPT, REFUSES = "the same model", "the same outputs", "changes are kept", "is refused"
EVERY = 3  # each model tries every third change; the next model begins one later


def rows():
    """What each transformation promises, by its name."""
    exports = dict.fromkeys(EXPORTS if BACKEND == "tensorflow" else (), SERVED)
    return {**dict.fromkeys(KEEPING, SAME), **exports, **dict.fromkeys(CHANGES, KEPT), **dict.fromkeys(REFUSED, REFUSES)}


def combinations():
    """Pairs of a case and a row, case by case."""
    for number, case in enumerate(CASES):
        yield from ((case, row) for row in rows() if row not in CHANGES or (number + list(CHANGES).index(row)) % EVERY == 0)


class Trial:
    """A trained model, on which transformations are tried one after the other."""

    def __init__(self, name):
        self.case = CASES[name]
        self.number = list(CASES).index(name)
        self.model = trained(self.case)
        self.observed = Observed(self.model, self.case)

    def run(self, row):
        """Raises AssertionError unless a transformation does what it promises. Returns why it was refused, or None."""
        state, config = values_of(self.model), self.model.get_config()
        with tempfile.TemporaryDirectory() as folder:
            if row in REFUSED:
                transform, pattern = REFUSED[row]
                reason = _sentence(transform, self.model, Path(folder))
                assert re.search(pattern, reason), reason
            elif row in CHANGES:
                reason = self._change(row, Path(folder))
            else:
                reason = self._keep(row, self.observed, Path(folder))
        self.observed.check_untouched(state, config)
        return reason

    def _keep(self, how, observed, folder, **rounding):
        """Checks what another model, or what is exported, does."""
        if how in EXPORTS:
            same(as_numpy(EXPORTS[how](observed.model, folder)(observed.x)), observed.outputs, "served", **rounding)
        else:
            observed.check(KEEPING[how](observed.model, folder), whole=how in WHOLE)

    def _change(self, row, folder):
        """Changes a copy, and checks that a copy of it, or an export, keeps the change. Which one depends on the place here."""
        change, tolerance = CHANGES[row]
        model = compiled(copy.deepcopy(self.model), self.case)
        if "lora" in row and any(layer.kernel_constraint is not None for layer in kernels_of(model)):
            return self._refused_change(model, row)
        change(model)
        if tolerance is not None:
            moved = np.linalg.norm(as_numpy(model(self.observed.x)) - self.observed.outputs)
            assert moved <= tolerance * np.linalg.norm(self.observed.outputs) + 1e-5, f"outputs moved by {moved}"
        # Without a graph, TensorFlow cannot train float8.
        eagerly = EAGERLY and not ("float8" in row and BACKEND == "tensorflow")
        observed = Observed(compiled(model, self.case, eagerly), self.case, eagerly)
        for name in frozen_weights(model):
            np.testing.assert_array_equal(observed.after[name], observed.weights[name], err_msg="a frozen weight moved")
        keeping = [*KEEPING, *(EXPORTS if BACKEND == "tensorflow" else ())]
        how = keeping[(self.number // EVERY + list(CHANGES).index(row)) % len(keeping)]
        try:
            # bfloat16 is rounded elsewhere in a graph
            self._keep(how, observed, folder, **({"rtol": 0.05, "atol": 0.05} if change is _policy else {}))
        except Exception as error:
            raise AssertionError(f"{how}: {type(error).__name__}: {error}") from error
        return None

    def _refused_change(self, model, row):
        """Tries LoRA on the layers whose kernels have constraints."""
        observed, state, config = Observed(model, self.case), values_of(model), model.get_config()
        layers = [layer for layer in kernels_of(model) if layer.kernel_constraint is not None]
        reasons = {_sentence(lambda _, __, layer=layer: layer.enable_lora(2), model, None) for layer in layers}
        observed.check_untouched(state, config)
        assert len(reasons) == 1
        return reasons.pop()


def _sentence(transform, *arguments):
    """The sentence with which a transformation is refused."""
    try:
        transform(*arguments)
    except (ValueError, TypeError, NotImplementedError) as error:
        return str(error)
    raise AssertionError("was not refused")


def outcome(trial, row):
    """What came out of a transformation: "held", "refused: " and the sentence, or "failed: " and why."""
    try:
        reason = trial.run(row)
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}"
    return "held" if reason is None else f"refused: {re.split(r'(?<=[.]) ', reason)[0]}"


# Counts


def compile_once(folder):
    """Lets JAX keep what it compiles in a folder: the steps of a copy are those of the model."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def run(share=(1, 1), only=None):
    """Runs the combinations of a share of the cases. Yields lists `[backend, case, row, outcome]`."""
    gc.freeze()  # Keras collects garbage whenever it quantises a layer
    with tempfile.TemporaryDirectory() as folder:
        if BACKEND == "jax":
            compile_once(folder)
        yield from _run(share, only)


def _run(share, only):
    by_case = {case: list(pairs) for case, pairs in itertools.groupby(combinations(), key=lambda pair: pair[0])}
    mixed = np.random.default_rng(0).permutation(len(CASES))  # so that the first ones are of all kinds
    for case in [list(CASES)[number] for number in mixed][share[0] - 1 :: share[1]]:
        if not only or re.search(only, case):
            trial = Trial(case)
            for _, row in by_case[case]:
                yield [BACKEND, case, row, outcome(trial, row)]


def table(results):
    """Counts of results as Markdown: a table for each backend, and the sentences of refusals."""
    by_backend = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
    reasons = collections.Counter()
    for backend, _, row, result in results:
        kind, _, why = result.partition(": ")
        by_backend[backend][row][kind] += 1
        if kind == "refused":
            reasons[row, re.sub(r"Received:.*", "", why)] += 1
    lines = []
    for backend, counts in sorted(by_backend.items(), key=lambda item: item[0] != "tensorflow"):
        tried = sum(sum(each.values()) for each in counts.values())
        held, refused = (sum(each[kind] for each in counts.values()) for kind in ("held", "refused"))
        models = len({case for name, case, *_ in results if name == backend})
        lines += [f"## {NAMES[backend]}: {tried} combinations of {models} of the {len(CASES)} models", ""]
        lines += [f"{held} hold, {refused} are refused, {tried - held - refused} fail.", ""]
        lines += ["| transformation | tried | holds | refused |", "|---|---|---|---|"]
        lines += [
            f"| {row} | {sum(each.values())} | {each['held']} | {each['refused']} |"
            for row, each in sorted(counts.items(), key=_place)
        ]
        lines += [""]
    lines += ["## Why", "", "| transformation | the first sentence of the refusal |", "|---|---|"]
    lines += [f"| {row} | {why} |" for row, why in sorted(reasons)]
    return "\n".join(lines) + "\n"


def _place(item):
    return [*KEEPING, *EXPORTS, *CHANGES, *REFUSED].index(item[0])


NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
MARK = "<!-- What follows is written by tests/conformance/transformations.py -->\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="the file to write, or with --write those to read")
    parser.add_argument("--write", action="store_true", help="write the page from the files")
    parser.add_argument("--share", default="1/1", help="which part of the models to run")
    parser.add_argument("--only", help="a pattern of the names of models to run")
    arguments = parser.parse_args()
    if arguments.write:
        text = table([each for file in arguments.files for each in json.loads(Path(file).read_text())])
        PAGE.write_text(PAGE.read_text().partition(MARK)[0] + MARK + "\n" + text)
    else:
        results = []
        for result in run(tuple(map(int, arguments.share.split("/"))), arguments.only):
            results.append(result)
            Path(arguments.files[0]).write_text(json.dumps(results, indent=0))
            if result[-1].startswith("failed"):
                sys.stderr.write(f"{result}\n")
        text = table(results)
    sys.stdout.write(text)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "The model does not have any trainable weights")
    main()

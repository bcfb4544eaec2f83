"""The forward pass of a model whose code has few entries, without products of the dense code."""

import inspect

import keras
from keras import ops

from keras_sae.layers import BatchKSparse, KSparse, TiedDense
from keras_sae.models._entries import Entries
from keras_sae.ops import (
    dense_entries,
    dense_product,
    entries_matmul,
    entries_of_dense,
    flat_entries,
    has_nan,
    largest_entries,
    largest_of_dense,
    sparse_dense_matmul,
    to_dense,
    top_k_of_product,
    without_nan,
)

# What pays was measured on CPUs; see docs/speed.md.
LEAST_UNITS = 1000
LEAST_UNITS_PER_ENTRY = 64
_LEAST_UNITS_PER_ENTRY_IN_TRAINING = {"jax": 128}  # with the gradients, which are slow there in small batches too
_LEAST_BATCH_IN_TRAINING = {"jax": 512}


def most_that_pay(units, training=False):
    """The largest number of entries of a code of this width for which the sparse path is faster."""
    in_training = _LEAST_UNITS_PER_ENTRY_IN_TRAINING.get(keras.backend.backend(), 40)
    return units // (in_training if training else LEAST_UNITS_PER_ENTRY) if units >= LEAST_UNITS else 0


def pays(units, k, training=False, batch=None):
    """Whether the sparse path is faster for a code of this width with `k` entries, and batches of this size if it is known."""
    least = _LEAST_BATCH_IN_TRAINING.get(keras.backend.backend(), 0) if training else 0
    return k <= most_that_pay(units, training) and (batch is None or batch >= least)


class SparsePath:
    """Runs `decoder(encoder(x))` by the entries that a `KSparse` keeps: their rows of the decoder, and sparse gradients.

        hidden -> all units, without gradient -> top-k -> entries -> rows of the decoding kernel, weighted -> reconstruction

    Args:
        encoder, decoder: The models.
        codes: Names of the codes that are wanted besides "code".

    Attributes:
        fits: Whether encoder and decoder are made in a way that this path computes.
    """

    def __init__(self, encoder, decoder, codes=()):
        self.encoder, self.decoder = encoder, decoder
        self.encode, self.selection = end_of(encoder)
        self.decode, *self.rest = _chain(decoder) or [None]
        self.fits = self.encode is not None and self.decode is not None
        if self.fits:
            self.before = keras.Model(encoder.inputs[0], self.encode.input)
            known = {layer.name: layer for layer in self.before.layers}
            self.fits = all(name in known for name in codes)
            if self.fits:
                outputs = {name: known[name].output for name in codes}
                self.before = keras.Model(encoder.inputs[0], {"hidden": self.encode.input, "codes": outputs})

    @property
    def units(self):
        """The width of the code."""
        return self.encode.units

    def applies(self):
        """Whether this path computes what the layers do as they are now."""
        return (
            self.fits
            and _is_plain(self.encode)
            and self.encode.activation in (keras.activations.linear, keras.activations.relu)
            and (_is_plain(self.decode) or (type(self.decode) is TiedDense and _is_plain(self.decode.tied_to)))
            and self.decode.activity_regularizer is None
            and _holds(self.selection.compute_dtype, self.encode.compute_dtype)
        )

    def __call__(self, inputs, training, wants_code, most, decodes=False):
        """The reconstruction of `inputs`, a dictionary of codes, in which "code" is None unless it is wanted, and `Entries`.

        Args:
            inputs: What the encoder reads.
            training: Whether the model is in training.
            wants_code: Whether the dense code is wanted.
            most: The largest number of entries of a code that this path computes. For more, the layers run as they are.
            decodes: Whether the `Entries` are wanted. Otherwise they are None.
        """
        made = self.before(inputs, training=training)
        hidden, selection = made["hidden"], self.selection
        layer = self._product(hidden) if decodes else None

        def run(count, limit=None):
            if (count if limit is None else limit) <= most:
                outputs, code, values, indices = self._sparse(hidden, layer, count, limit, wants_code, training)
                entries = flat_entries(values, indices) if decodes else {}
            else:
                code = self._all_units(hidden, layer)
                scores = without_nan(selection.score(ops.stop_gradient(code)))
                code = ops.where(ops.isnan(code), code, selection.largest(code, scores, count, limit))
                outputs = self.decoder(code, training=training)
                entries = entries_of_dense(code) if decodes else {}
            return {"outputs": outputs, **({"code": code} if wants_code else {}), **entries}

        found = selection.at_current_k(run) if training and selection.trainable else run(selection.kept)
        return self._results(found, made["codes"], layer)

    def _results(self, found, codes, layer):
        """What a call returns, of what one of the graphs has found."""
        outputs, code = found.pop("outputs"), found.pop("code", None)
        return outputs, {**codes, "code": code}, Entries(*layer, **found) if found else None

    def encode_entries(self, inputs, k, most):
        """See `SparseAutoencoder.encode_entries`."""
        return self._largest(self.before(inputs, training=False)["hidden"], self.selection.kept)

    def _largest(self, hidden, k):
        """The `k` largest entries of the code: values and indices, and whether there may be a NaN in the code."""
        values, indices, doubtful = largest_of_dense(*self._layer(hidden), k, self._by_magnitude())
        return self._activated(values), indices, doubtful

    def entries(self, hidden, layer, count, limit=None, transposed=None):
        """The entries of the code that stay: values and indices, the dense product, and whether there may be a NaN in it."""
        hidden, kernel, bias, product = self._product(hidden) if layer is None else layer
        if limit is None:
            values, indices, doubtful = top_k_of_product(hidden, kernel, bias, product, count, self._by_magnitude(), transposed)
            return self._activated(values), indices, product, doubtful
        doubtful = has_nan(product)
        scores = ops.cond(doubtful, lambda: without_nan(product), lambda: product)
        _, indices = largest_entries(scores, limit, self._by_magnitude())  # the largest first
        values = self._activated(dense_entries(hidden, kernel, bias, product, indices, transposed))
        return ops.where(ops.arange(limit, dtype="int32") < count, values, ops.zeros_like(values)), indices, product, doubtful

    def largest_of(self, entries, k, among=None):
        """The `k` largest entries of what the selection reads, of each code: values and indices, both of shape `(batch, k)`."""
        transposed = self._decoding_kernel() if self._shares_kernel() else None
        scores = None
        if among is not None:
            lowest = 0 if self._by_magnitude() else float("-inf")
            among_all = ops.logical_or(among, ops.logical_not(ops.any(among)))  # a top-k of equal numbers takes long
            scores = ops.where(among_all, entries.product, ops.cast(lowest, entries.product.dtype))
        values, indices, _ = top_k_of_product(*entries.layer, k, self._by_magnitude(), transposed, scores=scores)
        values = self._activated(values)
        return (values if among is None else ops.where(ops.take(among, indices), values, ops.zeros_like(values))), indices

    def all_units(self, entries):
        """What the selection reads, dense."""
        return self._all_units(None, entries.layer)

    def decode_entries(self, values, indices, rows, batch, training, kernel=None):
        """The reconstruction from entries, in steps of a model: by operations that cannot be exported."""
        kernel = self._decoding_kernel() if kernel is None else kernel
        values = ops.cast(values, self.decode.compute_dtype)
        return self._finish(entries_matmul(values, indices, kernel, rows, batch), training)

    def decode_nothing(self, training):
        """The reconstruction from a code of zeros, of batch size 1."""
        return self._finish(ops.zeros((1, self._decoding_kernel().shape[1]), self.decode.compute_dtype), training)

    def _by_magnitude(self):
        """Whether the largest in absolute value stay. After a ReLU, they are those of the largest value."""
        by_magnitude = getattr(self.selection, "select_by", "value") == "magnitude"
        return by_magnitude and self.encode.activation is keras.activations.linear

    def _activated(self, values):
        return ops.cast(self.encode.activation(values), self.selection.compute_dtype)

    def _layer(self, hidden):
        """What the layer of the code reads, its kernel, and its bias or None, in the type that it computes in."""
        encode = self.encode
        hidden, kernel = ops.cast(hidden, encode.compute_dtype), ops.cast(encode.kernel, encode.compute_dtype)
        bias = ops.cast(encode.bias, encode.compute_dtype) if encode.use_bias else None
        return hidden, ops.convert_to_tensor(kernel), bias

    def _product(self, hidden):
        """What `_layer` gives, and all units without gradient."""
        hidden, kernel, bias = self._layer(hidden)
        return hidden, kernel, bias, dense_product(hidden, kernel, bias)

    def _all_units(self, hidden, layer):
        """What the selection reads, in its type. The tensors of `layer` are used where it is not None."""
        if layer is None:
            return ops.cast(self.encode(hidden), self.selection.compute_dtype)
        hidden, kernel, bias, _ = layer
        units = ops.matmul(hidden, kernel)
        return self._activated(units if bias is None else ops.add(units, bias))

    def reconstruct(self, values, indices):
        """The reconstruction from entries of codes, without the dense code, by operations that can be exported."""
        values = ops.cast(values, self.decode.compute_dtype)
        return self._finish(sparse_dense_matmul(values, indices, self._decoding_kernel()), training=False)

    def _finish(self, outputs, training):
        """What the decoder makes of the product of codes and its kernel."""
        decode = self.decode
        if decode.use_bias:
            outputs = ops.add(outputs, ops.cast(ops.convert_to_tensor(decode.bias), decode.compute_dtype))
        outputs = decode.activation(outputs)
        for layer in self.rest:
            in_training = {"training": training} if "training" in inspect.signature(layer.call).parameters else {}
            outputs = layer(outputs, **in_training)
        return outputs

    def _decoding_kernel(self):
        tied = isinstance(self.decode, TiedDense)
        kernel = self.decode.shared_kernel() if tied else self.decode.kernel
        kernel = ops.cast(ops.convert_to_tensor(kernel), self.decode.compute_dtype)
        return ops.transpose(kernel) if tied else kernel

    def _shares_kernel(self):
        """Whether both layers have one kernel. Then both of its gradients are added before they are transposed."""
        shared = isinstance(self.decode, TiedDense) and self.decode.tied_to is self.encode
        return shared and self.decode.compute_dtype == self.encode.compute_dtype

    def _sparse(self, hidden, layer, count, limit, wants_code, training):
        kernel = self._decoding_kernel()
        shared = kernel if self._shares_kernel() else None
        values, indices, product, doubtful = self.entries(hidden, layer, count, limit, shared)
        code = None
        if wants_code:
            code = to_dense(values, indices, self.units)
            nan = ops.cast(float("nan"), code.dtype)
            code = ops.cond(doubtful, lambda: ops.where(ops.isnan(product), nan, code), lambda: code)
        values = ops.cond(doubtful, lambda: _with_nan_of_rows(product, values), lambda: values)
        return self.decode_entries(values, indices, None, None, training, kernel), code, values, indices


def end_of(encoder):
    """The layer that makes the code of a functional encoder and the selection after it, or `(None, None)`."""
    makes = {id(layer.output): layer for layer in encoder.layers if not isinstance(layer, keras.layers.InputLayer)}
    layer = makes.get(id(encoder.outputs[0]))
    while type(layer) is keras.layers.Identity:
        layer = makes.get(id(layer.input))
    selection = layer
    if type(selection) not in (KSparse, BatchKSparse) or len(selection.input.shape) != 2:
        return None, None
    encode = makes.get(id(selection.input))
    return (encode, selection) if type(encode) is keras.layers.Dense else (None, None)


def _chain(model):
    """The layers of a functional model of which each reads what the one before it made, or None."""
    tensor, layers = model.inputs[0], [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    for layer in layers:
        if isinstance(layer, keras.Model) or layer.input is not tensor:
            return None
        tensor = layer.output
    return layers if tensor is model.outputs[0] else None


def _is_plain(layer):
    """Whether a layer is a `Dense` as Keras makes it: not quantised, without LoRA, and charged nothing for its output."""
    return (
        type(layer) is keras.layers.Dense
        and layer.quantization_mode is None
        and not layer.lora_enabled
        and layer.activity_regularizer is None
    )


def _holds(wide, narrow):
    """Whether the first dtype holds every value of the second."""
    return keras.backend.result_type(wide, narrow) == wide


def _with_nan_of_rows(product, values):
    """Makes all entries NaN in rows that have one, as a product with the dense code would."""
    doubtful = ops.any(ops.isnan(product), axis=-1, keepdims=True)
    return ops.where(doubtful, ops.cast(float("nan"), values.dtype), values)

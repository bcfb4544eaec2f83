"""Products of codes that are given by their entries, and their gradients, on JAX: loops that gather few rows at a time."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def sparse_dense_matmul(values, indices, kernel):
    return _weighted_rows(values, indices, kernel)


def _of_product(residuals, upstream):
    values, indices, kernel = residuals
    return _dot_rows(upstream, indices, kernel), None, _transposed_matmul(values, indices, upstream, len(kernel))


sparse_dense_matmul.defvjp(lambda *given: (sparse_dense_matmul(*given), given), _of_product)


def dense_entries(inputs, kernel, bias, product, indices, transposed):
    rows = kernel.T if transposed is None else transposed
    bias = jnp.zeros(len(rows), rows.dtype) if bias is None else bias
    return _entries(inputs, rows, bias, product, indices)


@jax.custom_vjp
def _entries(inputs, rows, bias, product, indices):
    """Entries of `product`, which is `inputs @ rows.T + bias`."""
    return jnp.take_along_axis(product, indices, axis=1)


def _of_entries(residuals, upstream):
    inputs, rows, indices = residuals
    of_rows = _transposed_matmul(upstream, indices, inputs, len(rows))
    of_bias = jnp.zeros(len(rows), upstream.dtype).at[indices].add(upstream)
    return _weighted_rows(upstream, indices, rows), of_rows, of_bias, None, None


_entries.defvjp(
    lambda inputs, rows, bias, product, indices: (_entries(inputs, rows, bias, product, indices), (inputs, rows, indices)),
    _of_entries,
)


def to_dense(values, indices, units):
    return jnp.zeros((len(values), units), values.dtype).at[jnp.arange(len(values))[:, None], indices].add(values)


def on_cpu():
    return jax.default_backend() == "cpu" and jax.device_count() == 1


def _weighted_rows(values, indices, kernel):
    def add(entry, outputs):
        return outputs + values[:, entry, None] * kernel[indices[:, entry]]

    return jax.lax.fori_loop(0, indices.shape[1], add, jnp.zeros((len(indices), kernel.shape[1]), kernel.dtype))


def _dot_rows(upstream, indices, kernel):
    return jax.lax.map(lambda sample: kernel[sample[0]] @ sample[1], (indices, upstream))


def _transposed_matmul(values, indices, dense, units):
    def add(entry, outputs):
        return outputs.at[indices[:, entry]].add(values[:, entry, None] * dense)

    return jax.lax.fori_loop(0, indices.shape[1], add, jnp.zeros((units, dense.shape[1]), dense.dtype))

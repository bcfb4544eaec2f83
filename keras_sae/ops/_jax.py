"""Products of codes that are given by their entries, and their gradients, on JAX: loops that gather few rows at a time."""

import functools


def sparse_dense_matmul(values, indices, kernel):
    product, _ = _functions()
    return product(values, indices, kernel)


def dense_entries(inputs, kernel, bias, product, indices, transposed):
    import jax.numpy as jnp

    rows = kernel.T if transposed is None else transposed
    bias = jnp.zeros(len(rows), rows.dtype) if bias is None else bias
    _, entries = _functions()
    return entries(inputs, rows, bias, product, indices)


def to_dense(values, indices, units):
    import jax.numpy as jnp

    return jnp.zeros((len(values), units), values.dtype).at[jnp.arange(len(values))[:, None], indices].add(values)


def on_cpu():
    import jax

    return jax.default_backend() == "cpu" and jax.device_count() == 1


@functools.cache
def _functions():
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def product(values, indices, kernel):
        return _weighted_rows(values, indices, kernel)

    def of_product(residuals, upstream):
        values, indices, kernel = residuals
        return _dot_rows(upstream, indices, kernel), None, _transposed_matmul(values, indices, upstream, len(kernel))

    @jax.custom_vjp
    def entries(inputs, rows, bias, product, indices):
        """Entries of `product`, which is `inputs @ rows.T + bias`."""
        return jnp.take_along_axis(product, indices, axis=1)

    def of_entries(residuals, upstream):
        inputs, rows, indices = residuals
        of_rows = _transposed_matmul(upstream, indices, inputs, len(rows))
        of_bias = jnp.zeros(len(rows), upstream.dtype).at[indices].add(upstream)
        return _weighted_rows(upstream, indices, rows), of_rows, of_bias, None, None

    def entries_and_residuals(inputs, rows, bias, product, indices):
        return entries(inputs, rows, bias, product, indices), (inputs, rows, indices)

    product.defvjp(lambda *given: (product(*given), given), of_product)
    entries.defvjp(entries_and_residuals, of_entries)
    return product, entries


def _weighted_rows(values, indices, kernel):
    import jax
    import jax.numpy as jnp

    def add(entry, outputs):
        return outputs + values[:, entry, None] * kernel[indices[:, entry]]

    return jax.lax.fori_loop(0, indices.shape[1], add, jnp.zeros((len(indices), kernel.shape[1]), kernel.dtype))


def _dot_rows(upstream, indices, kernel):
    import jax

    return jax.lax.map(lambda sample: kernel[sample[0]] @ sample[1], (indices, upstream))


def _transposed_matmul(values, indices, dense, units):
    import jax
    import jax.numpy as jnp

    def add(entry, outputs):
        return outputs.at[indices[:, entry]].add(values[:, entry, None] * dense)

    return jax.lax.fori_loop(0, indices.shape[1], add, jnp.zeros((units, dense.shape[1]), dense.dtype))

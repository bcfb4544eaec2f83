"""Products of codes that are given by their entries, and their gradients, on PyTorch.

A bag of embeddings is a weighted sum of rows: of the kernel for each sample, and of the samples for each unit.
"""

import functools


def sparse_dense_matmul(values, indices, kernel):
    product, _ = _functions()
    return product.apply(values, indices, kernel)


def dense_entries(inputs, kernel, bias, product, indices, transposed):
    _, entries = _functions()
    return entries.apply(inputs, kernel if transposed is None else transposed, bias, product, indices, transposed is not None)


def to_dense(values, indices, units):
    return values.new_zeros((len(values), units)).scatter_add(1, indices.long(), values)


def on_cpu():
    import torch

    return not torch.cuda.is_available()


@functools.cache
def _functions():
    import torch

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, values, indices, kernel):
            ctx.save_for_backward(values, indices, kernel)
            return _weighted_rows(values, indices, kernel)

        @staticmethod
        def backward(ctx, upstream):
            values, indices, kernel = ctx.saved_tensors
            of_values, _, of_kernel = ctx.needs_input_grad
            return (
                _dot_rows(upstream, indices, kernel) if of_values else None,
                None,
                _transposed_matmul(values, indices, upstream, len(kernel)) if of_kernel else None,
            )

    class Entries(torch.autograd.Function):
        @staticmethod
        def forward(ctx, inputs, kernel, bias, product, indices, units_first):
            ctx.save_for_backward(inputs, kernel, indices)
            ctx.units, ctx.units_first = product.shape[1], units_first
            return product.gather(1, indices.long())

        @staticmethod
        def backward(ctx, upstream):
            inputs, kernel, indices = ctx.saved_tensors
            of_inputs, of_kernel, of_bias, *others = ctx.needs_input_grad
            made = [None] * 3
            if of_inputs:
                made[0] = _weighted_rows(upstream, indices, kernel if ctx.units_first else kernel.T.contiguous())
            if of_kernel:
                gradient = _transposed_matmul(upstream, indices, inputs, ctx.units)
                made[1] = gradient if ctx.units_first else gradient.T
            if of_bias:
                made[2] = upstream.new_zeros(ctx.units).index_add_(0, indices.reshape(-1), upstream.reshape(-1))
            return *made, *(None for _ in others)

    return Product, Entries


def _weighted_rows(values, indices, kernel):
    from torch.nn.functional import embedding_bag

    return embedding_bag(indices, kernel, mode="sum", per_sample_weights=values)


def _dot_rows(upstream, indices, kernel):
    import torch

    # PyTorch has these products, without gathered rows, only as the gradient of the weights.
    with torch.enable_grad():
        values = torch.zeros(indices.shape, dtype=kernel.dtype, device=kernel.device, requires_grad=True)
        return torch.autograd.grad(_weighted_rows(values, indices, kernel.detach()), values, upstream)[0]


def _transposed_matmul(values, indices, dense, units):
    import torch
    from torch.nn.functional import embedding_bag

    units_in_order, order = torch.sort(indices.reshape(-1), stable=True)
    first = torch.searchsorted(units_in_order, torch.arange(units, dtype=units_in_order.dtype, device=indices.device))
    samples = order // max(indices.shape[1], 1)
    return embedding_bag(samples, dense, first, mode="sum", per_sample_weights=values.reshape(-1)[order])

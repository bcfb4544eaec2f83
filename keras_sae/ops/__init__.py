"""Fast operations on wide codes of which few entries count: exact top-k, and products of sparse codes with dense kernels."""

from keras_sae.ops._adam import fuse_adam
from keras_sae.ops._batch_top_k import at_least, largest_of_many
from keras_sae.ops._csr import stack_csr, to_csr
from keras_sae.ops._dense_top_k import dense_product, dense_top_k, largest_of_dense, reaching_of_dense, top_k_of_product
from keras_sae.ops._flat_entries import entries_of_dense, entries_where, flat_entries
from keras_sae.ops._gradient import input_gradient
from keras_sae.ops._sparse_dense import dense_entries, entries_matmul, in_rows, on_cpu, sparse_dense_matmul, to_dense
from keras_sae.ops._top_k import has_nan, largest_entries, largest_in_order, top_k, without_nan
from keras_sae.ops._winners import are_largest

# Not listed, because they are for the other packages of keras_sae: are_largest, at_least,
# dense_entries, dense_product, dense_top_k, entries_matmul, entries_of_dense, entries_where, flat_entries, fuse_adam, has_nan,
# in_rows, input_gradient, largest_entries, largest_in_order, largest_of_dense, largest_of_many, on_cpu, reaching_of_dense,
# to_dense, top_k_of_product, without_nan.
__all__ = ["sparse_dense_matmul", "top_k"]

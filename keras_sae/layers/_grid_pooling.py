import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_integer

_REDUCTIONS = {"mean": ops.mean, "sum": ops.sum, "max": ops.max}


@keras.saving.register_keras_serializable(package="keras_sae")
class GridPooling(KnownArguments, keras.layers.Layer):
    """Pools maps over the cells of a grid: quadrants by default. Maps of every size give the same number of features.

    Cell `i` of `size` cells covers the positions from `floor(i * positions / size)` up to `floor((i + 1) * positions / size)`,
    so every position belongs to one cell, and the sizes of cells differ by one at most. Where a map has fewer positions than
    cells, cells share positions.

    For windows and strides, use the pooling layers of Keras with `data_format="channels_last"`.

    Args:
        size: Integer, at least 1. Number of cells along each spatial axis.
        reduce: `"mean"`, `"sum"` or `"max"` over the positions of a cell. Sums grow with the size of the maps.

    Input shape:
        `(batch, *positions, units)` with one, two or three spatial axes, channels last. Their sizes may be unknown.

    Output shape:
        `(batch, size, ..., size, units)`, one for each spatial axis.

    Example:

    >>> maps = np.array([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0], [9.0, 8.0, 4.0]]).reshape(1, 3, 3, 1)
    >>> print(keras.ops.convert_to_numpy(GridPooling(2, reduce="max")(maps))[0, :, :, 0])
    [[1. 3.]
     [9. 8.]]
    """

    def __init__(self, size=2, reduce="mean", **kwargs):
        super().__init__(**kwargs)
        self.size = check_integer("size", size, "is the number of cells along each spatial axis")
        if reduce not in _REDUCTIONS:
            raise ValueError(f'`reduce` must be "mean", "sum" or "max". Received: reduce={reduce!r}.')
        self.reduce = reduce

    def build(self, input_shape):
        if not 3 <= len(input_shape) <= 5:
            raise ValueError(
                "GridPooling reads maps `(batch, *positions, units)` with one, two or three spatial axes. "
                f"Received: input_shape={tuple(input_shape)}."
            )

    def call(self, inputs):
        outputs = inputs if self.reduce == "max" else ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        whole = all(size and size % self.size == 0 for size in inputs.shape[1:-1])
        if self.reduce == "mean" and whole and keras.backend.backend() == "tensorflow":
            # The same means in a fifth of the time. Compiled by XLA for a CPU, as on JAX, it would take ten times as long.
            windows = tuple(size // self.size for size in inputs.shape[1:-1])
            return ops.cast(ops.average_pool(outputs, windows, windows, data_format="channels_last"), inputs.dtype)
        for axis in range(1, len(inputs.shape) - 1):
            outputs = self._pool(outputs, axis)
        return ops.cast(outputs, inputs.dtype)

    def _pool(self, maps, axis):
        positions = maps.shape[axis]
        positions = ops.shape(maps)[axis] if positions is None else positions
        cells = []
        for index in range(self.size):
            start, end = index * positions // self.size, (index + 1) * positions // self.size
            end = max(start + 1, end) if isinstance(end, int) else ops.maximum(start + 1, end)
            cell = maps[(*[slice(None)] * axis, slice(start, end))]
            cells.append(_REDUCTIONS[self.reduce](cell, axis=axis, keepdims=True))
        return ops.concatenate(cells, axis=axis)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *[self.size] * (len(input_shape) - 2), input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "size": self.size, "reduce": self.reduce}

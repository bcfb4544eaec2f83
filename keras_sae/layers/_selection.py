import math

import keras
from keras import ops

from keras_sae.layers._top_k import has_nan, with_nan_of, without_nan


class AnnealedK(keras.layers.Layer):
    """What the selections of the `k` largest share: a check of `k`, and `current_k`, the number that they train with.

    `current_k` is a saved weight that starts at `k`; `keras_sae.callbacks.KSchedule` changes it during training, and the
    compiled graph follows without being traced again.
    """

    across = "all"  # which entries of a sample compete: those of a position's units, of a unit's positions, or all

    def __init__(self, k, **kwargs):
        super().__init__(**kwargs)
        if isinstance(k, bool) or not hasattr(k, "__index__") or k < 1:
            raise ValueError(f"`k` counts the entries kept active and must be an integer of at least 1. Received: k={k!r}.")
        self.k = int(k)
        self.supports_masking = True
        self.compile_by_xla(False)

    def compile_by_xla(self, wanted):
        """Prepares for steps that TensorFlow compiles by XLA, or says to Keras' `jit_compile="auto"` that it should not.

        XLA of TensorFlow crashes where a gradient goes through a choice of graphs. So the layer then selects in one, which
        sorts whole codes, whatever `k`. Models of this package call this when they are compiled.

        Args:
            wanted: Whether XLA was asked for.
        """
        chooses = keras.backend.backend() != "tensorflow"
        self.supports_jit = wanted or chooses
        self._in_one_graph = wanted and not chooses

    def build(self, input_shape):
        self.competitors = self._count_competitors(tuple(input_shape))
        self.current_k = self.add_weight(
            name="current_k",
            shape=(),
            dtype="int32",
            initializer=keras.initializers.Constant(self.k),
            trainable=False,
            aggregation="only_first_replica",
        )

    def _count_competitors(self, input_shape):
        name, received = type(self).__name__, f"Received: input_shape={input_shape}."
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"{name} selects among the units of a code, its last axis, whose size must be known: `(batch, ..., units)`. "
                f"{received}"
            )
        *positions, units = input_shape[1:]
        if self.across == "positions" and not positions:
            raise ValueError(
                f'across="positions" lets the positions of each unit\'s map compete, and this code has no maps. {received} '
                'Use across="units".'
            )
        sizes = {"units": [units], "positions": positions, "all": [*positions, units]}[self.across]
        if None in sizes:
            raise ValueError(
                f"{name} must know the size of every axis along which entries compete, here that of the positions too. "
                f"{received} Give the model's input a fixed size."
            )
        competitors = math.prod(sizes)
        if self.k > competitors:
            counted = {
                "units": "the width of the code, the last axis",
                "positions": "the number of positions of a map",
                "all": "the number of entries of a sample's code",
            }[self.across]
            raise ValueError(
                f"`k` counts the entries kept active and cannot exceed {counted}. "
                f"Received: k={self.k}, {self.across if len(sizes) == 1 else 'entries'}={competitors}, "
                f"input_shape={input_shape}. Lower `k`, or make the code larger."
            )
        return competitors

    def at_current_k(self, inputs, scores, select):
        """Selects as many entries as `current_k` says at present.

        The width of a top-k is part of a compiled graph, and a wide one is slow. So there is a graph for what is wanted in
        the end, where nothing is NaN; and, for the rest, one for a few times that width, and one for everything.

        Args:
            inputs: The code.
            scores: What its entries compete by.
            select: Function of scores without NaN; of `count`, the number to keep; and of `limit`, an integer that `count`
                does not exceed, or None where `count` is an integer itself. Returns the selected code, and what else it
                wants to say, as a tuple.

        Returns:
            What `select` returned, with every NaN of `inputs` in its place.
        """
        current = ops.convert_to_tensor(self.current_k)
        widths = sorted({min(width, self.competitors) for width in (4 * self.k, self.competitors)})

        def with_care(width):
            selected, *more = select(without_nan(scores), current, width)
            return (with_nan_of(inputs, selected), *more)

        if self._in_one_graph:
            return with_care(self.competitors)
        branches = [lambda: select(scores, self.k, None), *(lambda width=width: with_care(width) for width in widths)]
        wide_enough = 1 + sum(ops.cast(current > width, "int32") for width in widths[:-1])
        ordinary = ops.logical_and(current == self.k, ops.logical_not(has_nan(scores)))
        return ops.switch(ops.where(ordinary, 0, wide_enough), branches)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "k": self.k}

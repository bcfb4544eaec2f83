import contextlib
import math

import keras
from keras import ops

from keras_sae._checks import KnownArguments, check_integer
from keras_sae.layers._top_k import with_nan_of
from keras_sae.ops import has_nan, without_nan


class Selection(KnownArguments, keras.layers.Layer):
    """Base class of selections, the layers that zero entries of a code: `KSparse`, `BatchKSparse`, `WinnerTakeAll`, yours.

    A subclass decides in `select` which entries stay. This class treats all selections alike:

    - A NaN takes no place among the winners. It leaves the layer as NaN, so that the loss becomes NaN and
      `keras.callbacks.TerminateOnNaN` ends the run.
    - With `trainable = False` it selects as at inference, also in training. So a frozen encoder has one code, and no state of
      the layer moves.
    - A batch without samples is returned as it is.
    - The output has the shape of the input, and masks pass through.
    - A code whose competing axes have an unknown size is refused when the layer is built.

    Models append a selection to the encoder, and read these attributes:

    Attributes:
        default_activation: Activation of the code where the user gives none.
        exact_zeros: Whether silent entries are exactly zero at inference.
        kept: Integer, how many of the entries that compete stay at inference. None where that depends on the sample.
        across: The entries of a sample that compete: `"units"` (those of each position), `"positions"` (those of each unit)
            or `"all"`.
        competitors: Integer, the number of entries that compete with each other. Set by `build`.

    Input shape:
        `(batch, ..., units)`. The sizes of the axes along which entries compete must be known.

    Output shape:
        The same.

    Example:

    >>> class NearlyLargest(Selection):
    ...     '''Keeps the entries of at least half the largest one at their position.'''
    ...
    ...     def select(self, inputs, scores, training):
    ...         least = 0.5 * keras.ops.max(scores, axis=-1, keepdims=True)
    ...         return keras.ops.where(scores >= least, inputs, 0.0)
    >>> code = np.array([[1.0, 4.0, 3.0], [np.nan, 2.0, 0.5]], "float32")
    >>> print(keras.ops.convert_to_numpy(NearlyLargest()(code)))
    [[ 0.  4.  3.]
     [nan  2.  0.]]
    """

    default_activation = "linear"
    exact_zeros = True
    kept = None
    across = "units"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def select(self, inputs, scores, training):
        """Zeroes the entries that lose. To be defined by subclasses.

        Args:
            inputs: The code. Gradients flow through the entries of it that you return.
            scores: What `score` makes of it, without gradient and with minus infinity in place of NaN.
            training: Whether the model is in training.

        Returns:
            Tensor of the shape of `inputs`: an entry of it where it wins, and 0 elsewhere.
        """
        raise NotImplementedError

    def score(self, inputs):
        """What entries compete by, of the shape of `inputs`: by default their values."""
        return inputs

    def compile_by_xla(self, wanted):
        """Prepares the layer for steps that XLA compiles. Models call it when they are compiled.

        Args:
            wanted: Whether the user asked for XLA.
        """

    def build(self, input_shape):
        self.competitors = self._count_competitors(tuple(input_shape))

    def call(self, inputs, training=False):
        training = training and self.trainable
        if inputs.shape[0] == 0:
            return inputs
        scores = self.score(ops.stop_gradient(inputs))
        # Two conditions rather than one around it all: `select` may gather over replicas, which must not be conditional.
        doubtful = has_nan(scores)
        scores = ops.cond(doubtful, lambda: without_nan(scores), lambda: scores)
        selected = self.select(inputs, scores, training)
        return ops.cond(doubtful, lambda: with_nan_of(inputs, selected), lambda: selected)

    def compute_output_shape(self, input_shape):
        return input_shape

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
                f"The positions of each unit's map compete in this {name}, but this code has no maps. {received} "
                "Use it on the code of a convolution, (batch, ..., units) with spatial axes, or let units compete."
            )
        sizes = {"units": [units], "positions": positions, "all": [*positions, units]}[self.across]
        if None in sizes:
            raise ValueError(
                f"{name} must know the size of every axis along which entries compete, here those of the positions too. "
                f"{received} Give the model's input a fixed size."
            )
        return math.prod(sizes)


class KSelection(Selection):
    """Base class of the selections that keep the `k` largest.

    In training they keep `current_k` entries, a saved weight that starts at `k`. `keras_sae.callbacks.KSchedule` changes
    it, and the compiled graph follows without being traced again.
    """

    def __init__(self, k, **kwargs):
        super().__init__(**kwargs)
        self.k = check_integer("k", k, "counts the entries kept active")
        self.compile_by_xla(False)

    def compile_by_xla(self, wanted):
        # XLA of TensorFlow crashes where a gradient goes through a switch of graphs. So under XLA there is one graph, of which
        # a mask comes without a gradient; and Keras' `jit_compile="auto"` is told to leave XLA out.
        switches = keras.backend.backend() != "tensorflow"
        self.supports_jit = wanted or switches
        self.in_one_graph = wanted and not switches

    def build(self, input_shape):
        super().build(input_shape)
        if self.k > self.competitors:
            counted, unit = {
                "units": ("the width of the code, the last axis", "units"),
                "positions": ("the number of positions of a map", "positions"),
                "all": ("the number of entries of a sample's code", "entries" if len(input_shape) > 2 else "units"),
            }[self.across]
            raise ValueError(
                f"`k` counts the entries kept active and cannot exceed {counted}. Received: k={self.k}, "
                f"{unit}={self.competitors}, input_shape={tuple(input_shape)}. Lower `k`, or make the code larger."
            )
        self.current_k = self.add_weight(
            name="current_k",
            shape=(),
            dtype="int32",
            initializer=keras.initializers.Constant(self.k),
            trainable=False,
            aggregation="only_first_replica",
        )

    @contextlib.contextmanager
    def judged_at_current_k(self):
        """Context in which calls at inference keep as many entries as if `current_k` were `k`. For calls outside of graphs."""
        final, self.k = self.k, int(keras.ops.convert_to_numpy(self.current_k))
        try:
            yield
        finally:
            self.k = final

    @property
    def anneals(self):
        """Whether a schedule has not reached `k` yet."""
        return int(keras.ops.convert_to_numpy(self.current_k)) != self.k

    def at_current_k(self, select):
        """Calls `select(count, limit)` to keep `current_k` entries.

        The width of a top-k is part of a compiled graph, and a wide one is slow. So there is a graph for `k` itself, one for
        a few times as many, and one for all entries; the current `k` picks the narrowest that is wide enough.

        Args:
            select: Function of `count`, the number to keep, and of `limit`, an integer that `count` does not exceed; None
                where `count` is an integer itself. Returns a tensor, or a tuple of tensors.
        """
        current = ops.convert_to_tensor(self.current_k)
        widths = sorted({min(width, self.competitors) for width in (4 * self.k, self.competitors)})
        branches = [lambda: select(self.k, None), *(lambda width=width: select(current, width) for width in widths)]
        wide_enough = 1 + sum(ops.cast(current > width, "int32") for width in widths[:-1])
        return ops.switch(ops.where(current == self.k, 0, wide_enough), branches)

    def get_config(self):
        return {**super().get_config(), "k": self.k}


def selections_of(model):
    """All selections of a model, and of the models in it, in the order of its layers."""
    found = []
    for layer in model.layers:
        if isinstance(layer, Selection):
            found.append(layer)
        elif isinstance(layer, keras.Model):
            found.extend(selections_of(layer))
    return found

"""How a reconstruction is composed: what each of the strongest units of a code adds."""

import keras
import numpy as np

from keras_sae.visualization._patch_shapes import folded, patches_of


def as_array(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def decoded(model, codes):
    """The reconstructions of codes. Patches are put together to images again."""
    outputs = as_array(model.decoder(codes, training=False))
    patches = patches_of(model)
    return outputs if patches is None else folded(patches, outputs)


def composition(model, inputs, steps):
    """What the strongest units add to the reconstruction of each input, one after the other.

    A unit is as strong as its largest absolute activation over positions. The pictures of an input, and that of no unit, add up
    to its reconstruction, also where the decoder is not linear: a unit adds the difference that it makes to those before it.

    Args:
        model: A `SparseAutoencoder`.
        inputs: Float array of inputs of shape `(n, ...)`.
        steps: Integer, how many units.

    Returns:
        `units`, integers of shape `(n, steps)`, strongest first; `added`, of shape `(n, steps + 1, *shape)`, what each adds,
        and last what all others add together; and `nothing`, of shape `(*shape,)`, the reconstruction from no unit.
    """
    chosen, added = [], []
    for start in range(len(inputs)):
        code = as_array(model.encoder(inputs[start : start + 1], training=False))[0]
        order = np.argsort(-np.abs(code).max(axis=tuple(range(code.ndim - 1))), kind="stable")[:steps]
        kept = np.zeros((len(order) + 2, code.shape[-1]), bool)
        for step, unit in enumerate(order, start=1):
            kept[step:, unit] = True
        kept[-1] = True
        sums = decoded(model, code * kept.reshape(len(kept), *[1] * (code.ndim - 1), -1))
        chosen.append(order)
        added.append(np.diff(sums, axis=0))
        nothing = sums[0]
    return np.array(chosen), np.array(added), nothing

import keras
import numpy as np

from keras_sae._checks import check_integer
from keras_sae._pixels import as_input

# Shares of the mean norm below which a sample has nothing to learn from, such as the blank border of a digit.
_BLANK = 0.1
# Entries that are computed at a time, and kept to draw from.
_ENTRIES = 20_000_000
# Inputs whose reconstructions decide the scale.
_TO_SCALE = 256


def start_from_samples(model, x, layer="encode", seed=0, scaled=False):
    """Sets the units of a layer to what it reads at random places of random inputs, scaled to norm 1.

        kernel[..., j] = sample_j / ||sample_j||        bias = 0

    With `scaled` the kernel is multiplied by `s`, so that the first reconstructions have the least squared error. Those of tied
    weights grow with the square of `s`, all others with `s`:

        reconstruction(s) = r0 + s^2 * (r - r0)         s^2 = sum (target - r0) * (r - r0) / sum (r - r0)^2

    where `r` is the reconstruction by units of norm 1 and `r0` that of a code of zeros. Units of norm 1 overlap, so where many
    are active they reconstruct too much. A large learning rate soon corrects that, a small one does not.

    For a convolution, these are random patches of images. Units that start so find something to win for from the first step,
    also if one unit of a thousand is active. With random weights most of them would stay dead. Untrained, they are the random
    patches that a learned dictionary must beat.

    Args:
        model: A `SparseAutoencoder`. Its preprocessing and mean must be adapted before, see `SparseAutoencoder.adapt`.
        x: Array of inputs, of uint8 divided by 255.
        layer: Name of the layer of the encoder whose kernel is set, a dense layer or a convolution.
        seed: Integer that fixes the places.
        scaled: Whether to scale the kernel by reconstructions of 256 of the inputs. The decoder must read a code that this
            layer makes, and be linear.

    Raises:
        ValueError: `x` has no input that is not blank; or no scale fits, as with a decoder of random weights, or the
            reconstruction is not proportional to the code.

    Example:

    >>> model = DenseAutoencoder((4,), 8, KSparse(1), tied=True, center=False)
    >>> start_from_samples(model, np.eye(4, dtype="float32"))
    >>> print(np.unique(keras.ops.convert_to_numpy(model.encoder.get_layer("encode").kernel)))
    [0. 1.]

    Reference:
        Coates and Ng, "The Importance of Encoding Versus Training with Sparse Coding and Vector Quantization", ICML 2011.
    """
    encode = model.encoder.get_layer(layer)
    units = encode.kernel.shape[-1]
    samples = samples_of(model, x, units, layer, seed)
    set_units(encode, samples)
    if scaled:
        _scale(model, encode, x[np.sort(np.random.default_rng(seed).permutation(len(x))[:_TO_SCALE])])


def _scale(model, encode, x):
    """Multiplies the kernel that makes the code by the number for which the reconstructions have the least squared error."""
    x = as_input(x)
    kernel = keras.ops.convert_to_numpy(encode.kernel)

    def reconstruction(scale):
        encode.kernel.assign(scale * kernel)
        return keras.ops.convert_to_numpy(model(x, training=False)).astype("float64")

    target = keras.ops.convert_to_numpy(model.target_of(x))
    of_nothing = reconstruction(0.0)
    of_units = reconstruction(1.0) - of_nothing
    best = ((target - of_nothing) * of_units).sum() / max(np.square(of_units).sum(), 1e-30)
    tied = getattr(model.layers_around_code[1], "tied_to", None) is encode
    scaled = reconstruction(max(best, 0.0) ** (0.5 if tied else 1.0)) - of_nothing
    if best <= 0 or not np.allclose(scaled, best * of_units, rtol=1e-2, atol=1e-3 * np.abs(scaled).max()):
        encode.kernel.assign(kernel)
        raise ValueError(
            "`scaled` needs a decoder that fits these units, such as one of tied weights, and a reconstruction that is "
            f"proportional to the code. Received: a model with a best factor of {best:.3g}. Leave `scaled` out."
        )


def samples_of(model, x, count, layer="encode", seed=0):
    """What a layer reads at random places of random inputs: an array `(count, entries)`. Blank places are left out."""
    count = check_integer("count", count, "is the number of samples")
    encode = model.encoder.get_layer(layer)
    below = keras.Model(model.encoder.inputs[0], encode.input)
    window = tuple(encode.kernel.shape[:-2])  # () for a dense layer
    random = np.random.default_rng(seed)
    order = random.permutation(len(x))
    drawn, found, first = [], 0, 0
    positions = max(1, int(np.prod(below.compute_output_shape((1, *x.shape[1:]))[1:-1])))
    # Few places of each input, so that samples differ, but at most 4,000 inputs.
    places = max(4, -(-2 * count // min(len(x), 4000))) if window or positions > 1 else 1
    size = max(1, _ENTRIES // (positions * int(np.prod(encode.kernel.shape[:-1]))))
    while found < 2 * count and first < len(order):
        inputs = as_input(x[np.sort(order[first : first + size])])
        first += size
        rows = _places(keras.ops.convert_to_numpy(below(inputs, training=False)), window, places, random)
        drawn.append(rows[np.linalg.norm(rows, axis=1) > 0])
        found += len(drawn[-1])
    if not found:
        raise ValueError("`x` has no input that the layer could start from: all that it reads is zero.")
    drawn = np.concatenate(drawn)
    norms = np.linalg.norm(drawn, axis=1)
    drawn = drawn[norms > _BLANK * norms.mean()]
    return drawn[random.choice(len(drawn), count, replace=len(drawn) < count)]


def set_units(encode, samples, mean=None):
    """Sets the kernel of a layer to samples `(units, entries)`, scaled to norm 1, and its bias to 0.

    With a `mean` `(entries,)`, the bias takes away the response to it: units respond to what deviates from the mean.
    """
    units = samples / np.linalg.norm(samples, axis=1, keepdims=True)
    encode.kernel.assign(units.T.reshape(encode.kernel.shape))
    if encode.bias is not None:
        encode.bias.assign(np.zeros(encode.bias.shape) if mean is None else -units @ mean)


def _places(maps, window, places, random):
    """Windows of maps `(n, *positions, channels)` at random places of each, flattened: `(n * places, entries)`."""
    if window:
        axes = tuple(range(1, 1 + len(window)))
        maps = np.lib.stride_tricks.sliding_window_view(maps, window, axis=axes)
        maps = np.moveaxis(maps, 1 + len(window), -1)  # (n, *positions, *window, channels)
        positions = maps.shape[1 : 1 + len(window)]
    else:
        positions = maps.shape[1:-1]
    index = [random.integers(each, size=(len(maps), places)) for each in positions]
    rows = maps[(np.arange(len(maps))[:, None], *index)] if index else maps[:, None]
    return rows.reshape(-1, int(np.prod(rows.shape[2:])))

import keras
import numpy as np


def check_finite(model, what):
    """Raises ValueError if a weight of a model holds NaN or an infinite value.

    Args:
        what: What is refused, such as "is not exported".
    """
    for weight in model.weights:
        if "float" not in weight.dtype:
            continue
        values = keras.ops.convert_to_numpy(weight).astype("float64")  # a large float64 is infinite as a float32
        wrong = int(np.isnan(values).sum() if _is_state(weight) else (~np.isfinite(values)).sum())
        if wrong:
            raise ValueError(
                f"The {type(model).__name__} {model.name!r} {what}: {wrong} of {np.size(values)} values of its weight "
                f"{weight.path!r} are NaN or infinite, as after a training that diverged. Train again, for example with a "
                "lower learning rate, or load weights of an earlier epoch."
            )


def _is_state(weight):
    """Whether a weight may be infinite: a scalar that is not trained, as the threshold of `BatchKSparse` before training."""
    return weight.shape == () and not weight.trainable

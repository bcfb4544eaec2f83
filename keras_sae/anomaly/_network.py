"""The graph of a detector: from inputs to errors, codes, scores and maps."""

import keras
import numpy as np
from keras import ops

from keras_sae._checks import nearest
from keras_sae.anomaly._scores import SCORES, WINDOWS, local_statistics, size_of, smooth, squared_errors


def check_model(model):
    """Raises unless the model is one that reconstructs its input or has a code."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be an autoencoder, a SparseAutoencoder or another keras.Model from inputs to their reconstructions. "
            f"Received: {model!r} of type {type(model).__name__}. For a saved one, use `AnomalyDetector.from_preset` or "
            "`SparseAutoencoder.from_preset`."
        )
    if not getattr(model, "inputs", None) or len(model.inputs) != 1:
        raise ValueError(
            f"`model` must be a functional or sequential model with one input. Received: the {type(model).__name__} "
            f"{model.name!r}, whose inputs are {getattr(model, 'inputs', None)}. Build it on a `keras.Input` first."
        )


def has_code(model):
    return hasattr(model, "encoder") and hasattr(model, "decoder")


def reconstructs(model):
    """Whether the output of a model can be compared with its input, or with what its `preprocessing` makes of that."""
    output = model.decoder.outputs[0] if has_code(model) else model.outputs[0]
    dtype = keras.backend.standardize_dtype(model.inputs[0].dtype)
    preprocessing = getattr(model, "preprocessing", None)
    target = model.inputs[0] if preprocessing is None else preprocessing.outputs[0]
    return "float" in dtype and tuple(output.shape) == tuple(target.shape)


def has_surroundings(inputs):
    """Whether inputs have positions with neighbours on both sides."""
    sizes = tuple(inputs.shape)[1:-1]
    return bool(sizes) and all(size is None or size > max(WINDOWS) // 2 for size in sizes)


def possible_scores(model):
    """The names of the scores that a model can have."""
    return [name for name, score in SCORES.items() if _reason_against(score, model) is None]


def default_score(model):
    """The name of the score for a model where none is named: that of small defects, where inputs have positions."""
    return next(name for name in ("patch", "reconstruction", "code") if name in possible_scores(model))


def check_score(name, model):
    """Raises ValueError unless a model can have this score."""
    if name not in (*SCORES, "auto", None):
        raise ValueError(
            f"`score` must be one of {', '.join(map(repr, (*SCORES, 'auto')))}. {nearest(name, SCORES)}"
            f"Received: score={name!r}."
        )
    possible = possible_scores(model)
    if not possible:
        raise ValueError(
            f"The model {model.name!r} has no code, and its outputs of shape {model.output_shape} cannot be compared with its "
            f"inputs of shape {model.input_shape}. A detector needs a code or reconstructions."
        )
    if name not in ("auto", None, *possible):
        raise ValueError(
            f"`score={name!r}` does not fit the model {model.name!r}: {_reason_against(SCORES[name], model)}. "
            f"Possible: {', '.join(map(repr, possible))}."
        )


def _reason_against(score, model):
    if score.reads_errors and not reconstructs(model):
        return "its reconstructions cannot be compared with its inputs"
    if score.reads_code and not has_code(model):
        return "it has no `encoder`, and so no code"
    if score.reads_surroundings and not has_surroundings(model.outputs[0]):
        return "it reads tables, whose columns have no neighbours, or images that are too small"
    if score.name == "patch" and len(model.inputs[0].shape) == 2:
        return "it reads tables, whose columns have no neighbours"
    return None


def window_of(shape, patch):
    """The side of a patch, for inputs of this shape. By default about an eighth of the shortest side; 1 for tables."""
    sizes = shape[:-1]
    if not sizes:
        return 1
    known = [size for size in sizes if size] or [16]
    return min(patch or max(3, 2 * (min(known) // 16) + 1), min(known))


def network(model, score, window):
    """A functional model from inputs to `errors`, `maps`, `codes` and `scores`, as far as the model and the score have them.

    It shares its weights with `model`. Corruption is not part of it, and layers run as at inference.
    """
    inputs = keras.Input(batch_shape=(None, *model.inputs[0].shape[1:]), dtype=model.inputs[0].dtype, name="inputs")
    preprocessing = getattr(model, "preprocessing", None)
    parts = {"inputs": inputs if preprocessing is None else preprocessing(inputs, training=False)}
    if has_code(model):
        parts["codes"] = model.encoder(inputs, training=False)
    if reconstructs(model):
        parts["reconstructions"] = (
            model.decoder(parts["codes"], training=False) if has_code(model) else model(inputs, training=False)
        )
    return keras.Model(inputs, Detect(score, window, name="detect")(parts), name="detector")


class Detect(keras.layers.Layer):
    """From inputs, reconstructions and codes to scores and what they are made of."""

    def __init__(self, score, window, **kwargs):
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self._score, self._window = score, window

    def call(self, parts):
        codes = parts.get("codes")
        outputs = {} if codes is None else {"codes": ops.cast(codes, "float32")}
        errors = None
        if "reconstructions" in parts:
            errors = squared_errors(parts["inputs"], parts["reconstructions"])
            outputs.update(errors=errors, maps=smooth(errors, self._window))
        inputs = outputs["inputs"] = ops.cast(parts["inputs"], "float32")
        if errors is not None and has_surroundings(inputs):
            outputs["surroundings"] = local_statistics(inputs)
        outputs["sizes"] = size = size_of(inputs)
        if self._score is not None:
            outputs["scores"] = self._score(errors, codes, size, inputs)
            if errors is not None:
                outputs["maps"] = self._score.maps(errors, codes, inputs)
        return outputs


def only(whole, *names):
    """The part of a network that gives these outputs."""
    return keras.Model(whole.inputs[0], {name: whole.output[name] for name in names})


def predict(part, batch):
    """The outputs of a network for a batch, as arrays."""
    # In sizes that are powers of two: each size is compiled once.
    padded = np.resize(batch, (1 << (len(batch) - 1).bit_length(), *batch.shape[1:]))
    return {name: np.asarray(value)[: len(batch)] for name, value in part.predict_on_batch(padded).items()}


class _Decide(keras.layers.Layer):
    """Compares scores with the threshold."""

    def __init__(self, threshold, **kwargs):
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self._threshold = np.float32(threshold)

    def call(self, scores):
        return {
            # True of NaN. TensorFlow would turn `not (scores <= threshold)` into `scores > threshold`.
            "is_anomalous": ops.where(scores <= self._threshold, False, True),
            "threshold": ops.zeros_like(scores) + self._threshold,
        }


def detector_model(model, score, window, threshold):
    """A functional model from inputs to `scores`, `is_anomalous`, `threshold`, and `maps` where the model has such."""
    whole = network(model, score, window)
    outputs = {"scores": whole.output["scores"], **_Decide(threshold, name="decide")(whole.output["scores"])}
    if "maps" in whole.output:
        outputs["maps"] = whole.output["maps"]
    return keras.Model(whole.inputs[0], outputs, name="detector")

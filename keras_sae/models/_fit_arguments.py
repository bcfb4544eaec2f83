"""Reads the arguments of `fit` and `evaluate` before Keras does, so that each of them acts or is refused."""

import keras
import numpy as np

from keras_sae._pixels import scale_of
from keras_sae.models._inputs import one_of


def read_arguments(arguments, model):
    """Makes the arguments of `fit` or `evaluate` ones that Keras takes as they are meant.

    Args:
        arguments: Dictionary of the arguments. It is changed in place.
        model: The model.
    """
    input_names, output_names, shape = [model.inputs[0].name], model.output_names, tuple(model.inputs[0].shape)
    integers = "float" not in model.inputs[0].dtype  # such as token ids

    def triple(x, y, sample_weight):
        # Keras drops weights where there is no target.
        names = [*output_names, *input_names]
        x = _WithTargets(x) if isinstance(x, keras.utils.PyDataset) else one_of(x, input_names)
        y = one_of(y, names, "target") if isinstance(y, (list, dict)) or (isinstance(y, tuple) and len(y) == 1) else y
        if isinstance(sample_weight, (list, tuple, dict)):
            sample_weight = one_of(sample_weight, names, "array of sample weights")
        if _is_array(x):
            _check_shape(x, shape)
            _check_weights(sample_weight, x)
            y = x if y is None and sample_weight is not None else y
        _check_not_text(y)
        if not integers:
            _check_dtypes(x, "inputs")
            if _is_array(x) and _is_array(y) and tuple(y.shape[1:]) == tuple(x.shape[1:]):
                _check_dtypes(y, "a target")
        return x, y, sample_weight

    names = ("x", "y", "sample_weight")
    read = triple(*(arguments.get(name) for name in names))
    arguments.update({name: value for name, value in zip(names, read, strict=True) if value is not None})
    validation = arguments.get("validation_data")
    if isinstance(validation, (list, tuple)):
        x, y, weight = triple(*keras.utils.unpack_x_y_sample_weight(validation))
        arguments["validation_data"] = (x,) if y is None else (x, y) if weight is None else (x, y, weight)
    elif isinstance(validation, keras.utils.PyDataset):
        arguments["validation_data"] = _WithTargets(validation)
    elif validation is not None and not integers:
        _check_dtypes(validation, "inputs")


class _WithTargets(keras.utils.PyDataset):
    """A `PyDataset` whose batches have no None, which Keras cannot read: `(x, None, weights)` becomes `(x, x, weights)`."""

    def __init__(self, data):
        super().__init__(data.workers, data.use_multiprocessing, data.max_queue_size)
        self.data = data

    def __getitem__(self, index):
        batch = self.data[index]
        if not isinstance(batch, (list, tuple)) or len(batch) < 2 or batch[1] is not None:
            return batch
        weights = batch[2] if len(batch) == 3 else None
        return (batch[0],) if weights is None else (batch[0], batch[0], weights)

    @property
    def num_batches(self):
        return self.data.num_batches

    def on_epoch_begin(self):
        self.data.on_epoch_begin()

    def on_epoch_end(self):
        self.data.on_epoch_end()


def refuse_class_weight(class_weight, y, supervised):
    """Raises ValueError for class weights without labels, which Keras would look up by the largest pixel of a target."""
    labels = y is None or (_is_array(y) and (len(y.shape) == 1 or (len(y.shape) == 2 and y.shape[1] == 1)))
    if class_weight is not None and not (supervised and labels):
        raise ValueError(
            "`class_weight` weights samples by class labels, and needs a model with a supervised penalty such as GroupL21, "
            "trained by fit(x, labels). Received: class_weight without labels. Pass "
            "`sample_weight=numpy.array([class_weight[label] for label in labels])` instead."
        )


def choose_modes(callbacks, directions):
    """Tells callbacks with `mode="auto"` whether less or more of what they monitor is better.

    Keras knows it of its own metrics only.

    Args:
        callbacks: What `fit` takes.
        directions: Dictionary from names in the logs to "min", "max", or None where that depends on the aim.
    """
    for callback in _each(callbacks):
        name = str(getattr(callback, "monitor", "")).removeprefix("val_")
        if getattr(callback, "mode", None) != "auto" or name not in directions:
            continue
        if directions[name] is None:
            raise ValueError(
                f"{type(callback).__name__} monitors {callback.monitor!r}, and whether less or more of it is better depends on "
                "your aim. Pass it mode='min' or mode='max'."
            )
        callback.mode = directions[name]


def refuse_vectors(callbacks, metrics):
    """Raises ValueError for a TensorBoard, which writes scalars alone, with a metric whose result is a vector."""
    if not any(isinstance(callback, keras.callbacks.TensorBoard) for callback in _each(callbacks)):
        return
    vectors = [metric for metric in metrics if len(getattr(metric.result(), "shape", ()))]
    if vectors:
        raise ValueError(
            f"TensorBoard writes numbers, and the metric {vectors[0].name!r} of type {type(vectors[0]).__name__} is a vector, "
            "an entry for each unit. Use keras_sae.metrics.MeanRate, or leave TensorBoard out."
        )


def _each(callbacks):
    return getattr(callbacks, "callbacks", keras.tree.flatten(callbacks))


def _check_shape(x, shape):
    """Raises ValueError for an array of samples of another shape than the model reads. Keras adds a last axis of size 1."""
    given = tuple(x.shape)
    if len(given) == 0 or given[0] == 0:
        raise ValueError(f"There must be at least one sample. Received: inputs of shape {given}.")
    for each in (given, (*given, 1), given[:-1] if given[-1] == 1 else given):
        pairs = list(zip(each, shape, strict=False))[1:]
        if len(each) == len(shape) and all(a == b or None in (a, b) for a, b in pairs):
            return
    raise ValueError(
        f"The model reads samples of shape {shape[1:]}. Received: inputs of shape {given}. Give an array of shape "
        f"{('samples', *shape[1:])}; of one sample, x[None]."
    )


def _check_weights(weights, x):
    """Raises ValueError unless sample weights are finite numbers, one or more for each sample."""
    if not _is_array(weights):
        return
    values = keras.ops.convert_to_numpy(weights) if keras.ops.is_tensor(weights) else np.asarray(weights)
    rows = values.shape[0] if values.ndim else None
    if rows != x.shape[0] or values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise ValueError(
            f"`sample_weight` holds one finite number for each sample. Received: an array of shape {values.shape} and dtype "
            f"{values.dtype} for {x.shape[0]} samples."
        )


def _check_not_text(y):
    for each in keras.tree.flatten(y):
        if getattr(getattr(each, "dtype", None), "kind", "") in ("U", "S", "O"):
            raise ValueError(
                f"Targets and class labels are numbers. Received: an array of dtype {each.dtype}. Turn names of classes into "
                "integers by `numpy.unique(labels, return_inverse=True)[1]`."
            )


def refuse_other_losses(loss):
    """Raises ValueError for several losses, of which Keras would compute the first alone."""
    if sum(each is not None for each in keras.tree.flatten(loss)) > 1:
        raise ValueError(
            f"An autoencoder has one output, its reconstruction, and one loss. Received: loss={loss!r}. Watch others as "
            "`metrics`, or pass a function that adds them up."
        )


def _is_array(data):
    return hasattr(data, "shape")


def _check_dtypes(data, name):
    """Refuses integers other than uint8, in an array or in a data set that says its types before it is read."""
    specification = getattr(data, "element_spec", None)
    if specification is not None:
        data = keras.utils.unpack_x_y_sample_weight(specification)[0]
    for each in keras.tree.flatten(data):
        dtypes = getattr(each, "dtypes", None)  # of a DataFrame, whose columns become one array of their common type
        if dtypes is not None and hasattr(each, "to_numpy"):
            each = each.iloc[:1].to_numpy()
        dtype = getattr(each, "dtype", None)
        if dtype is not None and not any(word in str(dtype) for word in ("float", "bool")):
            scale_of(dtype if hasattr(dtype, "as_numpy_dtype") else str(dtype).removeprefix("torch."), name)

"""Metrics of the code among the metrics that `compile` takes."""

import keras

from keras_sae.metrics import CodeMetric


def split_metrics(metrics):
    """Splits an argument of `compile` into what Keras computes, and the metrics of the code.

    Args:
        metrics: None, or metrics, their names or classes, alone or in lists and dictionaries.

    Returns:
        The argument without metrics of the code, as it was where it holds none; and a list of these metrics.
    """
    flat = keras.tree.flatten(metrics)
    of_code = [each() if isinstance(each, type) else each for each in flat if _is_of_code(each)]
    if of_code:
        metrics = [each for each in flat if each is not None and not _is_of_code(each)] or None
    return metrics, of_code


def distinct_names(of_code, taken, others):
    """Renames metrics of the code whose name is taken: `l0`, `l0_1`, as Keras does.

    Args:
        of_code: List of metrics.
        taken: Names that are logged anyway.
        others: Metrics that Keras computes, or their names, in lists and dictionaries.
    """
    taken = {*taken, *(getattr(each, "name", each) for each in keras.tree.flatten(others) if each is not None)}
    for metric in of_code:
        name, count = metric.name, 0
        while metric.name in taken:
            count += 1
            metric.name = f"{name}_{count}"
        taken.add(metric.name)


def _is_of_code(metric):
    return isinstance(metric, CodeMetric) or (isinstance(metric, type) and issubclass(metric, CodeMetric))


def has_any(metrics):
    """Whether there is a metric in lists and dictionaries."""
    return any(metric is not None for metric in keras.tree.flatten(metrics))


def refuse_metrics_on_jax(metrics, model):
    """Raises ValueError where Keras would compare reconstructions with a preprocessed target on JAX.

    It computes metrics there where the weights of layers cannot be read.
    """
    if keras.backend.backend() == "jax" and model.preprocessing is not None and has_any(split_metrics(metrics)[0]):
        raise ValueError(
            "On JAX, metrics cannot compare reconstructions with what `preprocessing` gives. Received: metrics for the model "
            f"{model.name!r}. Leave them out: the reconstruction loss is logged anyway. Those of the code may stay."
        )

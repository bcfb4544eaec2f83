def target_and_labels(charges, x, y, y_pred, training):
    """What a reconstruction is compared with, and the class labels where a penalty takes them.

    Args:
        charges: Pairs of the name of a code and a penalty on it.
        x: The input, which is the target where none is given.
        y: None, or the target. Where a penalty is supervised, also the labels, or the pair (target, labels).
        y_pred: The reconstruction.
        training: Whether a supervised penalty insists on labels.

    Raises:
        ValueError: The target has another shape than the reconstruction, or labels are missing or are no integers a sample.
    """
    if not any(getattr(penalty, "supervised", False) for _, penalty in charges):
        return _target(x, y, y_pred), None
    if isinstance(y, (list, tuple)) and len(y) == 2:
        target, labels = y
    elif y is None or (len(y.shape) == len(y_pred.shape) and tuple(y.shape[1:]) == tuple(y_pred.shape[1:])):
        target, labels = y, None
    else:
        target, labels = None, y
    if labels is None and training:
        raise ValueError(
            "A supervised penalty such as GroupL21 needs class labels in training: fit(x, labels), or "
            "fit(noisy, (clean, labels)). Received no labels."
        )
    if labels is not None and (len(labels.shape) > 2 or (len(labels.shape) == 2 and labels.shape[1] != 1)):
        raise ValueError(
            f"Class labels are integers of shape (batch,). Received: labels of shape {tuple(labels.shape)}. Turn one-hot "
            "labels into integers by numpy.argmax(labels, axis=-1)."
        )
    return _target(x, target, y_pred), labels


def _target(x, y, y_pred):
    """What the reconstruction is compared with: `y`, or the input where there is none."""
    target = x if y is None else y
    shapes = [tuple(tensor.shape) for tensor in (target, y_pred)]
    if len(shapes[0]) == len(shapes[1]) - 1:
        shapes[0] = (*shapes[0], 1)  # Keras' losses let a last axis of size 1 be left out
    if len(shapes[0]) != len(shapes[1]) or any(
        a != b for a, b in zip(shapes[0][1:], shapes[1][1:], strict=True) if None not in (a, b)
    ):
        raise ValueError(
            "An autoencoder is trained on its input, or on a target of the same shape as its reconstruction (as in "
            f"`fit(noisy, clean)`). Received: a target of shape {tuple(target.shape)}, and a reconstruction of shape "
            f"{tuple(y_pred.shape)}. If the data set yields (image, label), drop the label: "
            "`dataset.map(lambda image, label: image)`."
        )
    return target
